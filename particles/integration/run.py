"""What came of a flow: the run, and why it ended."""

import enum
from typing import Any

import equinox as eqx
import numpy as np
from jaxtyping import Array, Float, Int, PyTree, UInt32

from .. import display


class Status(enum.IntEnum):
    """Why an integration ended, with the message that says so. The codes stand in records and never change."""

    message: str

    def __new__(cls, code: int, message: str) -> "Status":
        member = int.__new__(cls, code)
        member._value_ = code
        member.message = message
        return member

    running = 0, "is under way"
    done = 1, "reached the planned depth"
    stopped = 2, "a stop condition held"
    not_finite = 3, "a token or an observable is not finite"
    dt_min = 4, "the error could not be held with any step that the numbers can resolve"
    max_steps = 5, "the largest number of steps was used up; raise `max_steps` or loosen the tolerances"
    nonlinear = 6, "the equation of an implicit step was not solved; tighten the tolerance or use an explicit solver"
    unsolved = (
        7,
        "an inner iteration of the law (Sinkhorn) missed its tolerance; raise its `sweeps` or loosen its `tolerance`",
    )

    @property
    def failed(self) -> bool:
        """Whether the numerics failed."""
        return self >= Status.not_finite


class Failed(RuntimeError):
    """The numerics failed; what was good before is kept."""


class Run(eqx.Module):
    """What came of following a flow.

    Attributes
    ----------
    times : the depth of each frame, the start included.
    tokens : the tokens at each frame, on the space; NaN at frames that were not reached; None if the plan keeps none.
    observed : each watched observable at each frame, by name.
    final : the tokens where the integration ended.
    depth : the depth where it ended.
    status : why it ended, the code of a `Status`; `run.status == Status.done`.
    steps, rejected : how many steps were tried, and how many of those were not accepted.
    """

    times: Float[Array, " time"]
    tokens: Float[Array, "time kept dim"] | None
    observed: dict[str, Float[Array, "time ..."]]
    final: Float[Array, "token dim"]
    depth: Float[Array, ""]
    status: Int[Array, ""]
    steps: Int[Array, ""]
    rejected: Int[Array, ""]

    @property
    def message(self) -> str:
        """The status in words; for a batch of runs, that of the worst."""
        return Status(int(np.max(np.asarray(self.status)))).message

    def view(self, height: int = 860) -> Any:
        """The page of the run, as the last thing of a notebook's cell; its height is in pixels."""
        return display.view(self, height)

    def _repr_html_(self) -> str:
        return display.still(self)

    def complete(self) -> "Run":
        """This run, if it came to its end: the planned depth, or a stop condition.

        Raises
        ------
        Failed
            If the numerics failed, in any run of a batch.
        """
        if Status(int(np.max(np.asarray(self.status)))).failed:
            raise Failed(f"the integration {self.message}")
        return self


class State(eqx.Module):
    """What must be kept to go on: going on from it gives the same bits as never having stopped.

    Attributes
    ----------
    state : of the flow: its tokens, and what moves with them.
    key : the data of the key that noise comes from; None where there is none.
    dt : the step to try next.
    depth : the depth reached.
    status : the code of a `Status`; `running` while there is more to do.
    """

    state: PyTree
    key: UInt32[Array, " word"] | None
    dt: Float[Array, ""]
    depth: Float[Array, ""]
    status: Int[Array, ""]


class Effort(eqx.Module):
    """What a chunk took.

    Attributes
    ----------
    steps, rejected : steps tried, and those of them not accepted.
    depth : the depth that was reached, also where the numerics failed.
    """

    steps: Int[Array, ""]
    rejected: Int[Array, ""]
    depth: Float[Array, ""]
