"""Flows that carry something along beside what they move."""

import dataclasses
from collections.abc import Callable
from typing import Any

import equinox as eqx

from ..dynamics import AbstractFlow, Reading
from ..laws import AbstractLaw
from ..spaces import AbstractSpace
from ..summation import AbstractSummation


class AbstractCarrier(AbstractFlow):
    """A flow around another, whose state holds that of the other and something that is carried along.

    Raises
    ------
    ValueError
        If the flow is random, or can only be solved in a sense that has no derivative.
    """

    flow: eqx.AbstractVar[AbstractFlow]

    def __check_init__(self):
        check_quiet(self.flow)
        if not self.readings:
            raise ValueError(f"nothing can be carried along by a {type(self.flow).__name__}, which is no equation")

    @property
    def readings(self) -> tuple[Reading, ...]:
        return tuple(reading for reading in self.flow.readings if reading is Reading.ordinary)

    @property
    def space(self) -> AbstractSpace:  # pyright: ignore[reportIncompatibleVariableOverride]
        return self.flow.space

    @property
    def law(self) -> AbstractLaw:  # pyright: ignore[reportIncompatibleVariableOverride]
        return self.flow.law

    @property
    def summation(self) -> AbstractSummation:  # pyright: ignore[reportIncompatibleVariableOverride]
        return self.flow.summation

    def summed(self, change: Callable[[AbstractSummation], AbstractSummation]) -> AbstractFlow:
        return dataclasses.replace(self, flow=self.flow.summed(change))

    @property
    def constant_steps(self) -> bool:
        return self.flow.constant_steps

    def check_tokens(self, x: Any) -> None:
        self.flow.check_tokens(x)


def check_quiet(flow: AbstractFlow) -> None:
    """Raises ValueError for a flow with noise."""
    if flow.random:
        raise ValueError(f"what a flow carries along is followed for one without noise; got a {type(flow).__name__}")


def check_tokens_alone(flow: AbstractFlow, x: Any, what: str) -> None:
    """Raises ValueError if x are no tokens of the flow, or its state holds more than tokens."""
    flow.check_tokens(x)
    state = flow.begin(x, None) if not flow.random else None
    if getattr(state, "shape", None) != x.shape:
        raise ValueError(f"{what} for a flow without noise whose state is its tokens; got a {type(flow).__name__}")
