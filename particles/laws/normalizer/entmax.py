"""Sparse attention: a threshold for each row, found on the gather."""

from collections.abc import Callable
from typing import Any, ClassVar, Literal

import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float

from ...declaration import option, parameter
from ...summation.base import finite
from ..meeting import Meeting, Weighing, flat
from .base import AbstractReferred
from .principle import Rows, Tsallis

EPSILONS = 4  # rounding errors that a solved threshold may be off


class Entmax(AbstractReferred):
    r"""Sparse attention: tokens far below the best get the weight zero, exactly.

    .. math:: w_{ij} = \pi_{ij} [(\alpha - 1) s_{ij} - t_i]_+^{1/(\alpha - 1)}, \qquad \sum_j w_{ij} = 1

    alpha = 2 is sparsemax, alpha -> 1 softmax. The rows of the measure are scaled to total 1 first. Below alpha = 2 the
    weights are once differentiable in the scores; at 2 they have kinks where a token enters or leaves; above 2 their
    derivative is unbounded there, and adaptive steps become small.

    Parameters
    ----------
    alpha : in (1, 4].
    reference : "measure"; or "counting", the form of the literature, which counts tokens: at a fixed score it tends to
        `Hardmax` as n grows. The two are the same up to a temperature n^(1 - alpha).

    Raises
    ------
    ValueError
        If the counting form meets masses or densities other than 0 and 1.

    Cost
    ----
    Four gathers for peak, total, top and the exact sum, about six for the threshold, each with its derivative, and one
    for the values.
    Gradients come from the implicit function theorem, not from the iteration.

    Source
    ------
    peters2019sparse; sparsemax, martins2016softmax.
    """

    alpha: Float[Array, ""] = parameter(1.5, gt=1, le=4)
    reference: Literal["measure", "counting"] = option("measure")
    sources: ClassVar[tuple[str, ...]] = ("peters2019sparse", "martins2016softmax")

    def weighing(self, meeting: Meeting) -> Weighing:
        peak, depth, unit = self._solved(meeting)
        total = meeting.log_weight(self._at(self._ratio, peak, depth, unit))
        return self._at(self._ratio, peak, depth, unit + finite(total))

    def free_energy(self, meeting: Meeting) -> Float[Array, " n"]:
        """The smallest value of the dual: with the threshold t it is (t + 1/a)/(a - 1) + sum_j pi_ij r_ij^a / a."""
        peak, depth, unit = self._solved(meeting)
        power = jnp.exp(meeting.log_weight(self._at(self._powered, peak, depth, unit))) / self.alpha
        threshold = (self.alpha - 1) * peak - jnp.exp(depth)
        seen = meeting.log_weight(Weighing(flat, counting=self.counting)) > -jnp.inf
        return jnp.where(seen, (threshold + 1 / self.alpha) / (self.alpha - 1) + power, -jnp.inf)

    def principle(self, meeting: Meeting) -> Rows:
        """With phi(r) = (r^a - r) / (a (a - 1)), against the measure of each row divided by its sum."""
        reference = "counting" if self.counting else "row"
        return Rows.of(meeting, self.of_pairs(meeting), self.free_energy(meeting), Tsallis(self.alpha), reference)

    def _solved(self, meeting: Meeting) -> tuple[Float[Array, " n"], Float[Array, " n"], Float[Array, " n"]]:
        """The largest score of each row, the log of how far below it the threshold lies, and the log of its total."""
        peak = meeting.peak()
        total = meeting.log_weight(Weighing(flat, counting=self.counting))
        top = meeting.log_weight(Weighing(_at_peak, peak, counting=self.counting))
        seen = top > -jnp.inf
        unit = jnp.zeros_like(total) if self.counting else finite(total)

        def log_norm(depth: Float[Array, " n"]) -> Float[Array, " n"]:
            """The log of (sum of weights)^(alpha - 1), nearly linear in the log of the threshold's depth."""
            log_sum = meeting.log_weight(self._at(self._ratio, peak, depth, unit))
            return jnp.where(seen, (self.alpha - 1) * finite(log_sum), depth)

        slow = 1 - jax.lax.stop_gradient(self.alpha)
        shallow = jnp.where(seen, slow * finite(total - unit), 0)
        deep = jnp.where(seen, slow * finite(top - unit), 0)
        return peak, _root(log_norm, shallow, deep), unit

    def _at(
        self, ratio: Callable, peak: Float[Array, " n"], depth: Float[Array, " n"], total: Float[Array, " n"]
    ) -> Weighing:
        return Weighing(ratio, (peak, depth, total), counting=self.counting)

    def _ratio(self, scores: Float[Array, "n m"], row: Any, column: Any) -> Float[Array, "n m"]:
        """r, with the weights divided by e^total."""
        return self._raised(1 / (self.alpha - 1), scores, row)

    def _powered(self, scores: Float[Array, "n m"], row: Any, column: Any) -> Float[Array, "n m"]:
        """r^alpha, in the same way."""
        return self._raised(self.alpha / (self.alpha - 1), scores, row)

    def _raised(self, power: Float[Array, ""], scores: Float[Array, "n m"], row: Any) -> Float[Array, "n m"]:
        """A power of how far the scores are above the threshold."""
        peak, depth, total = row
        above = (self.alpha - 1) * (scores - peak) + jnp.exp(depth)
        inside = above > 0
        return jnp.where(inside, power * jnp.log(jnp.where(inside, above, 1)) - total, -jnp.inf)


def _at_peak(scores: Float[Array, "n m"], row: Any, column: Any) -> Float[Array, "n m"]:
    """The ratio that leaves those with the largest score of their row."""
    return jnp.where(scores >= row, jnp.zeros_like(scores), -jnp.inf)


def _root(
    log_norm: Callable[[Float[Array, " n"]], Float[Array, " n"]], low: Float[Array, " n"], high: Float[Array, " n"]
) -> Float[Array, " n"]:
    """Where an increasing function is 0, for each row between two ends: Newton's method, bisection where that leaves.

    Differentiated by the implicit function theorem.
    """
    accuracy = EPSILONS * jnp.finfo(low.dtype).eps

    def solve(function: Callable, start: Float[Array, " n"]) -> Float[Array, " n"]:
        def going(state: Any) -> Bool[Array, ""]:
            step, at, _, _, change = state
            return (step < 100) & jnp.any(change > accuracy * (1 + jnp.abs(at)))

        def better(state: Any) -> Any:
            step, at, below, above, change = state
            value, slope = jax.jvp(function, (at,), (jnp.ones_like(at),))
            below, above = jnp.where(value <= 0, at, below), jnp.where(value >= 0, at, above)
            newton = at - value / jnp.where(slope > 0, slope, 1)
            move = jnp.abs(newton - at)
            settled = (slope > 0) & (move <= accuracy * (1 + jnp.abs(at)))
            inside = (slope > 0) & (newton >= below) & (newton <= above) & (move <= 0.5 * change)  # never to and fro
            following = jnp.where(settled | inside, newton, 0.5 * (below + above))
            return step + 1, following, below, above, jnp.abs(following - at)

        return jax.lax.while_loop(going, better, (0, start, low, start, jnp.full_like(start, jnp.inf)))[1]

    def tangent(linear: Callable, y: Float[Array, " n"]) -> Float[Array, " n"]:
        return y / linear(jnp.ones_like(y))  # rows do not know of each other

    return jax.lax.custom_root(log_norm, high, solve, tangent)
