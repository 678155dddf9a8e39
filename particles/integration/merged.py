"""Tokens that have met and move as one.

A state then has a row for each token that moves, and not for each token there is; a few rows more, without mass, fill
it up to one of few sizes, so that few programs are compiled. What is looked at is all tokens, each where its row is.
"""

from typing import Any

import equinox as eqx
import jax
from jaxtyping import Array, Float, Int, PyTree

from ..dynamics import AbstractFlow


class Merged(eqx.Module):
    """Which token moves with which row of a state that is tokens and nothing beside.

    Attributes
    ----------
    flow : of all tokens, which nothing follows any more.
    member : for each token the row that moves it.
    row : for each row itself; the first, where a row is there to fill up.
    """

    flow: AbstractFlow
    member: Int[Array, " n"]
    row: Int[Array, " m"]

    def moving(self, state: PyTree) -> PyTree:
        """The rows, those that fill up being copies of the first."""
        return jax.tree.map(lambda leaf: leaf[self.row], state)

    def everybody(self, state: PyTree) -> PyTree:
        """The state of all tokens."""
        return jax.tree.map(lambda leaf: leaf[self.member], state)


class Tied(eqx.Module):
    """A field in which the rows that fill up follow the first.

    By themselves they would be drawn to it at a rate that many steps are too long for, and hold all to short ones.
    """

    field: Any
    merged: Merged

    def __call__(self, t: Float[Array, ""], state: PyTree, args: Any) -> PyTree:
        return self.merged.moving(self.field(t, state, args))
