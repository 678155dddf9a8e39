"""Tokens of equal overlaps under softmax attention: the exact solution."""

import dataclasses
from typing import ClassVar

import numpy as np
from jaxtyping import Array, Float

from particles import limits
from particles.declaration import option, parameter

from .equiangular import AbstractEquiangular


class EquiangularSoftmax(AbstractEquiangular):
    """Under softmax attention equal overlaps stay equal and follow the known solution, for every beta.

    Tokens whose overlaps are all equal keep them equal, and the common overlap solves a scalar equation, whose
    solution is a quadrature.

    Parameters
    ----------
    tokens : how many, in as many dimensions.
    betas : inverse temperatures.
    overlap : the common overlap of the start.
    until : the last depth.
    control : the negative control: steps that normalize x + h A(x) without projecting A, whose clock is slower.

    Source
    ------
    geshkovski2023perspective, Theorem 6.8; its integral by quadrature.
    """

    kind: ClassVar[limits.equiangular.Kind] = "softmax"
    tolerance: ClassVar[tuple[float, str]] = (1e-9, "error of the solver at rtol 1e-12")
    minutes: ClassVar[float] = 0.5
    tokens: int = option(8, ge=2)
    betas: tuple[float, ...] = option((0.0, 1.0, 2.0, 3.0, 4.0))
    overlap: Float[Array, ""] = parameter(0.0, lt=1)
    until: Float[Array, ""] = parameter(8.0, gt=0)
    control: bool = option(False)
    sources: ClassVar[tuple[str, ...]] = ("geshkovski2023perspective",)

    def depths(self) -> np.ndarray:
        return np.full(len(self.betas), float(self.until))

    def shrunk(self) -> "EquiangularSoftmax":
        return dataclasses.replace(self, tokens=4, betas=(0.0, 2.0))
