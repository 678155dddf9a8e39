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
from .pair import AbstractWeighed, Averaged, Held, Moved, Ratio, Shift, Slope, Tilted, Tokens, Transposed


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
        return self.best(Weighing(score, counting=True))

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

    def average(self, weighing: Weighing, function: Callable) -> tuple[Float[Array, " n"], Float[Array, " n"]]:
        """The log of the sum of each row's weights, and the mean of a function of its pairs under them.

        Parameters
        ----------
        function : of scores, log ratios and log weights `[n m]`, finite wherever there is weight.
        """
        rows, columns = self._held(weighing)
        averaged = Averaged(self._ratio(weighing), function)

        def log_mass(tilt: Float[Array, " n"]) -> Float[Array, " n"]:
            gathered = self.summation.gather(averaged, Tilted(rows, tilt), columns, self.columns.nothing)
            return gathered.log_mass

        zero = jnp.zeros_like(self.rows.position[:, 0])
        return jax.jvp(log_mass, (zero,), (jnp.ones_like(zero),))

    def entropy(self, weighing: Weighing) -> Float[Array, " n"]:
        """The entropy of each row's weights, divided by their sum; 0 for a row that sees nobody."""
        log_sum, mean = self.average(weighing, _log_weight)
        return jnp.where(log_sum > -jnp.inf, finite(log_sum) - mean, 0)

    def relative_entropy(self, weighing: Weighing) -> Float[Array, " n"]:
        """KL of each row's weights against its measure, each divided by its sum; 0 for a row that sees nobody."""
        log_sum, mean = self.average(weighing, _log_ratio)
        log_total = self.log_weight(Weighing(flat, counting=weighing.counting))
        return jnp.where(log_sum > -jnp.inf, mean - finite(log_sum) + finite(log_total), 0)

    def load(self, linear: Callable[[Float[Array, "m 1"]], Float[Array, "n 1"]]) -> Float[Array, " m"]:
        """sum_i a_i w_ij for rows of mass a_i, from the sums over columns that weights w make of values."""
        nothing = jnp.zeros_like(self.columns.position[:, :1])
        return jax.vjp(linear, nothing)[1](self.row_mass[:, None])[0][:, 0]

    def log_weights(self, weighing: Weighing) -> Float[Array, "n m"]:
        """The log of the weight of every pair. Memory O(n m)."""
        ratio = self._ratio(weighing)
        return ratio.logits(*self._held(weighing)) + ratio.level()

    @property
    def row_mass(self) -> Float[Array, " n"]:
        """The mass of each row."""
        return jnp.exp(self.pair.row_mass(self.rows))

    def _gathered(self, weighing: Weighing, values: Float[Array, "m k"]) -> Gathered:
        return self.summation.gather(self._ratio(weighing), *self._held(weighing), values)

    def _ratio(self, weighing: Weighing) -> Ratio:
        return Ratio(self.pair, weighing.ratio, weighing.counting)

    def _held(self, weighing: Weighing) -> tuple[Held, Held]:
        return Held(self.rows, weighing.row), Held(self.columns, weighing.column)


flat = Shift(score=False)  # the ratio of weights that are the measure itself


def score(scores: Float[Array, "n m"], *others: Any) -> Float[Array, "n m"]:
    """The score itself, as a ratio and as what is averaged."""
    return scores


def _log_ratio(scores: Float[Array, "n m"], ratios: Float[Array, "n m"], *others: Any) -> Float[Array, "n m"]:
    return ratios


def _log_weight(
    scores: Float[Array, "n m"], ratios: Float[Array, "n m"], log_weights: Float[Array, "n m"]
) -> Float[Array, "n m"]:
    return log_weights
