"""Tokens of equal overlaps under unnormalized attention: the exact solution."""

import dataclasses
from typing import ClassVar

import numpy as np
from jaxtyping import Array, Float

from particles import limits
from particles.declaration import option, parameter

from .equiangular import AbstractEquiangular


class EquiangularMean(AbstractEquiangular):
    """Under unnormalized attention equal overlaps stay equal and follow the known solution, on a clock of exp(beta).

    Tokens whose overlaps are all equal keep them equal, and the common overlap solves a scalar equation, whose
    solution is a quadrature.

    Parameters
    ----------
    tokens : how many, in as many dimensions.
    betas : inverse temperatures.
    overlap : the common overlap of the start.
    end : the common overlap at which the runs end.
    control : the negative control: steps that normalize x + h A(x) without projecting A, whose clock is slower.

    Source
    ------
    geshkovski2023perspective, Theorem 6.8; its integral by quadrature.
    """

    kind: ClassVar[limits.equiangular.Kind] = "mean"
    tolerance: ClassVar[tuple[float, str]] = (1e-8, "stiffness exp(beta)")
    minutes: ClassVar[float] = 0.5
    tokens: int = option(8, ge=2)
    betas: tuple[float, ...] = option((0.0, 1.0, 2.0, 3.0, 4.0))
    overlap: Float[Array, ""] = parameter(-0.1, lt=1)
    end: Float[Array, ""] = parameter(0.999, lt=1)
    control: bool = option(False)
    sources: ClassVar[tuple[str, ...]] = ("geshkovski2023perspective",)

    def depths(self) -> np.ndarray:
        first, last = float(self.overlap), float(self.end)
        return np.asarray(
            [limits.equiangular.hitting_time(first, last, self.tokens, beta, self.kind) for beta in self.betas]
        )

    def shrunk(self) -> "EquiangularMean":
        return dataclasses.replace(self, tokens=4, betas=(0.0, 4.0))
