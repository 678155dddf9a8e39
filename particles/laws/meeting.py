"""Rows that meet columns: all that a normalizer can ask of an attention at work.

A normalizer's weights are w_ij = pi_ij e^r(s_ij). It says what r is, a `Weighing`, and the meeting gathers with it:
sums of values, sums of weights, the largest score.
"""

from collections.abc import Callable
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, PyTree

from ..summation import AbstractSummation, Gathered
from ..summation.base import finite
from .pair import AbstractWeighed, Held, Moved, Ratio, Slope, Tokens, Transposed


class Weighing(eqx.Module):
    """What logits become: the log ratio of a weight to the measure, with a number of each row and of each column.

    Attributes
    ----------
    ratio : of scores `[n m]`, numbers of rows `[n 1]` and of columns `[1 m]`.
    row, column : the numbers, trees of arrays whose first axis runs over tokens.
    counting : whether the measure counts as 1 wherever it is not 0.
    """

    ratio: Callable
    row: PyTree[Array] = None
    column: PyTree[Array] = None
    counting: bool = eqx.field(static=True, default=False)


class Meeting(eqx.Module):
    """Rows, columns, what they are to each other, and the way to visit all of them."""

    pair: AbstractWeighed
    rows: Tokens
    columns: Tokens
    summation: AbstractSummation

    def gather(self, values: Float[Array, "m k"]) -> Gathered:
        """What each row gathers with weights pi_ij e^s_ij."""
        return self.summation.gather(self.pair, self.rows, self.columns, values)

    def log_partition(self) -> Float[Array, " n"]:
        """log Z_i, the log of sum_j pi_ij e^s_ij; -inf for a row that sees nobody."""
        return self.summation.gather(self.pair.plain, self.rows, self.columns, self.columns.nothing).log_mass

    def weighed(self, weighing: Weighing, values: Float[Array, "m k"]) -> Float[Array, "n k"]:
        """The sum over columns of weight times value, for each row."""
        gathered = self._gathered(weighing, values)
        return jnp.exp(finite(gathered.peak))[:, None] * gathered.total

    def log_weight(self, weighing: Weighing) -> Float[Array, " n"]:
        """The log of the sum of each row's weights; -inf for a row that sees nobody."""
        return self._gathered(weighing, self.columns.nothing).log_mass

    def log_load(self, f: Float[Array, " n"]) -> Float[Array, " m"]:
        """The log of sum_i a_i pi_ij e^(s_ij + f_i) / b_j, for rows of mass a_i and columns of mass b_j."""
        rows = Held(self.rows, f)
        return self.summation.gather(Transposed(self.pair), self.columns, rows, self.rows.nothing).log_mass

    def best(self, weighing: Weighing) -> Float[Array, " n"]:
        """The largest log ratio that each row sees, a constant to differentiation; 0 for a row that sees nobody.

        For a weighing that counts. It has no bound, which makes every summation look for the true peak.
        """
        return finite(self._gathered(weighing, self.columns.nothing).peak)

    def peak(self) -> Float[Array, " n"]:
        """The largest score that each row sees, a constant to differentiation; 0 for a row that sees nobody."""
        return self.best(Weighing(_score, counting=True))

    def diagonal(self, weighing: Weighing) -> Float[Array, " n"]:
        """log w_ii, for rows that are columns too."""
        weights = self._ratio(weighing)

        def one(row: Held, column: Held) -> Float[Array, ""]:
            alone = lambda tree: jax.tree.map(lambda leaf: leaf[None], tree)  # noqa: E731
            return weights.logits(alone(row), alone(column))[0, 0] + weights.level()

        return jax.vmap(one)(*self._held(weighing))

    def slope(self, weighing: Weighing) -> Float[Array, "n d"]:
        """sum_j w_ij grad_1 s(x_i, y_j), the gradient of the score in the query, for each row."""
        held_rows, held_columns = self._held(weighing)
        slope = Slope(self._ratio(weighing))

        def mass(position: Float[Array, "n d"]) -> Float[Array, ""]:
            moved = Moved(held_rows, position)
            gathered = self.summation.gather(slope, moved, held_columns, self.columns.nothing)
            return jnp.sum(jnp.exp(finite(gathered.peak)) * gathered.mass)

        return jax.grad(mass)(self.rows.position)

    def _gathered(self, weighing: Weighing, values: Float[Array, "m k"]) -> Gathered:
        return self.summation.gather(self._ratio(weighing), *self._held(weighing), values)

    def _ratio(self, weighing: Weighing) -> Ratio:
        return Ratio(self.pair, weighing.ratio, weighing.counting)

    def _held(self, weighing: Weighing) -> tuple[Held, Held]:
        return Held(self.rows, weighing.row), Held(self.columns, weighing.column)


def _score(scores: Float[Array, "n m"], row: Any, column: Any) -> Float[Array, "n m"]:
    return scores
