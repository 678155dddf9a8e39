"""The flow of first order: a law is a velocity."""

import dataclasses
from typing import Any, ClassVar

import equinox as eqx
from jaxtyping import Array, Float, PRNGKeyArray

from ..laws import AbstractLaw
from ..spaces import AbstractSpace
from ..summation import AbstractSummation, Auto
from .base import AbstractFlow, Reading


class Flow(AbstractFlow):
    r"""Tokens moved by a law on a space: a differential equation in depth. Its state is the tokens.

    .. math:: \dot x_i = P_{x_i} u_i(x_1, \dots, x_n)

    The field of a flow is the law's velocity with the part that would leave the space taken away.

    Parameters
    ----------
    space : where the tokens live.
    law : what they do to each other.
    summation : how all pairs are visited; chosen by size if left out.

    Units
    -----
    Positions per unit of depth. T units of depth with T/h layers of step h is the same network.

    Cost
    ----
    One evaluation of the law.

    Source
    ------
    geshkovski2023perspective.
    """

    space: AbstractSpace
    law: AbstractLaw
    summation: AbstractSummation = eqx.field(default_factory=Auto)
    sources: ClassVar[tuple[str, ...]] = ("geshkovski2023perspective",)

    @property
    def readings(self) -> tuple[Reading, ...]:
        return Reading.ordinary, Reading.ambient

    def begin(self, x0: Float[Array, "n d"], key: PRNGKeyArray | None) -> Float[Array, "n d"]:
        return self.space.project(x0)

    def __call__(self, t: Float[Array, ""], x: Float[Array, "n d"], args: Any = None) -> Float[Array, "n d"]:
        return self.space.tangent(x, self.velocity(t, x))

    def on_masses(self, p: Float[Array, " m"]) -> "Flow":
        return dataclasses.replace(self, law=self.law.on_masses(p))

    def tokens(self, state: Float[Array, "n d"]) -> Float[Array, "n d"]:
        return state

    def project(self, state: Float[Array, "n d"]) -> Float[Array, "n d"]:
        return self.space.project(state)
