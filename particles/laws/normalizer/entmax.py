"""Sparse attention: a threshold for each row, found on the gather."""

from collections.abc import Callable
from typing import Any, ClassVar, Literal

import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float

from ...declaration import option, parameter
from ...summation.base import finite
from ..meeting import Meeting, Weighing
from .base import AbstractReferred

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
        peak = meeting.peak()
        total = meeting.log_weight(Weighing(_flat, counting=self.counting))
        top = meeting.log_weight(Weighing(_at_peak, peak, counting=self.counting))
        seen = top > -jnp.inf
        unit = jnp.zeros_like(total) if self.counting else finite(total)

        def at(depth: Float[Array, " n"], unit: Float[Array, " n"]) -> Weighing:
            return Weighing(self._ratio, (peak, depth, unit), counting=self.counting)

        def log_norm(depth: Float[Array, " n"]) -> Float[Array, " n"]:
            """The log of (sum of weights)^(alpha - 1), nearly linear in the log of the threshold's depth."""
            return jnp.where(seen, (self.alpha - 1) * finite(meeting.log_weight(at(depth, unit))), depth)

        slow = 1 - jax.lax.stop_gradient(self.alpha)
        shallow = jnp.where(seen, slow * finite(total - unit), 0)
        deep = jnp.where(seen, slow * finite(top - unit), 0)
        depth = _root(log_norm, shallow, deep)
        return at(depth, unit + finite(meeting.log_weight(at(depth, unit))))

    def _ratio(self, scores: Float[Array, "n m"], row: Any, column: Any) -> Float[Array, "n m"]:
        peak, depth, total = row
        above = (self.alpha - 1) * (scores - peak) + jnp.exp(depth)
        inside = above > 0
        return jnp.where(inside, jnp.log(jnp.where(inside, above, 1)) / (self.alpha - 1) - total, -jnp.inf)


def _flat(scores: Float[Array, "n m"], row: Any, column: Any) -> Float[Array, "n m"]:
    """The ratio of weights that are the measure itself."""
    return jnp.zeros_like(scores)


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
