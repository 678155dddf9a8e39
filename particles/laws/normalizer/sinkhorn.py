"""Rows and columns normalized: a scaling of the columns, found by gathers both ways."""

from collections.abc import Callable
from typing import Any, ClassVar

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Float

from ...declaration import concrete, option, parameter
from ...summation.base import finite
from ..head import Asked
from ..meeting import Meeting, Weighing, flat
from ..pair import Pattern, Shift
from .base import AbstractRatio
from .gaussian import AffineField, Moments, Quadratic
from .principle import Rows, Transport, entropy


class Sinkhorn(AbstractRatio):
    r"""Attention whose columns are normalized, too: from softmax to doubly stochastic weights.

    .. math:: w_{ij} = \pi_{ij} e^{s_{ij} + f_i + h_j}, \quad \sum_j w_{ij} = 1, \quad
       h_j = -\frac{\rho}{1 + \rho} \log \sum_i a_i \pi_{ij} e^{s_{ij} + f_i} / b_j

    Rows sum to 1 at every rho. With rho = 0 this is `Softmax`, with rho infinite every column receives its own mass,
    and the flow with a symmetric score is a gradient flow. Columns are scaled by alternating steps in log space; h is
    found up to a constant, on which no weight depends.

    Parameters
    ----------
    rho : strength of the column constraint, at least 0, may be infinite. A row that sees nobody, or a column that
        nobody sees, has weights zero; with rho infinite no weights are doubly stochastic then, and a run says so.
    tolerance : largest change of any h in the last sweep: for rho infinite, the relative error of a column's sum. Well
        below the solver's tolerance, since the field is only as smooth as that.
    sweeps : the most that are made. Where that is not enough a run ends and says so.
    half_steps : in place of a tolerance, a fixed number of half sweeps, rows first, as layers of the literature do; 1
        is `Softmax`, and with an even number it is the columns that are exact.

    Raises
    ------
    ValueError
        If the measure is causal and rho infinite: the only doubly stochastic weights are then the identity.

    Cost
    ----
    Two gathers of masses for each sweep, one where f = h, which takes about 30 sweeps at any beta. Alternating sweeps
    grow with beta: 18, 66, 877 at beta = 1, 4, 16 for 30 tokens on a sphere. Gradients come from the implicit function
    theorem, and cost as many sweeps again.

    Source
    ------
    sander2022sinkformers; sinkhorn1967diagonal; with unequal marginals, chizat2018scaling.
    """

    rho: Float[Array, ""] = parameter(jnp.inf, ge=0, infinite=True)
    tolerance: Float[Array, ""] = parameter(1e-10, gt=0)
    sweeps: int = option(10_000, ge=1)
    half_steps: int | None = option(None, ge=1)
    sources: ClassVar[tuple[str, ...]] = ("sander2022sinkformers", "sinkhorn1967diagonal", "chizat2018scaling")

    @property
    def iterates(self) -> bool:  # pyright: ignore[reportIncompatibleVariableOverride]
        """Unless the number of half steps is fixed."""
        return self.half_steps is None

    def check_slots(self, *, traits: frozenset[str], pattern: Pattern) -> None:
        if "one-sided" in traits and self.half_steps is None and not _finite_number(self.rho):
            raise ValueError(
                "Sinkhorn with rho infinite cannot serve a causal measure: the only doubly stochastic weights on one "
                "side of the diagonal are the identity. Give a finite `rho`, a fixed number of `half_steps`, or use "
                "Softmax."
            )

    def weighing(self, meeting: Meeting) -> Weighing:
        start = jnp.zeros_like(meeting.columns.position[:, 0])
        if self.half_steps is not None:
            return self._after(self.half_steps, meeting, start)

        def sweep(h: Float[Array, " m"]) -> Float[Array, " m"]:
            return self._swept(h, meeting)

        def half_way(h: Float[Array, " m"]) -> Float[Array, " m"]:
            h = 0.5 * (h + _rows(h, meeting))
            return h - jnp.mean(h)

        if meeting.pair.symmetric:
            sweep = _either(~jnp.isfinite(self.rho), half_way, sweep)
        h = _fixed_point(sweep, start, self.tolerance, self.sweeps)
        return Weighing(Shift(row=1, column=1), _rows(h, meeting), h)

    def free_energy(self, meeting: Meeting) -> Float[Array, " n"]:
        """-f_i, h being minus rho times the log of how much too full a column is; with rho infinite, of b-mean 0.

        Its mean over rows with their masses is what all weights together maximize. The gradient of that mean in a row
        is the row's mass times the mean of grad_1 s under its weights; a single -f_i feels the other rows as well.
        """
        self.check_asked("free energy")
        weighing = self.weighing(meeting)
        return jnp.where(self._seen(meeting), self._shift(weighing.column, meeting) - weighing.row, -jnp.inf)

    def principle(self, meeting: Meeting) -> Transport:
        """That of all rows together, a problem of transport."""
        mass, best = meeting.row_mass, self.free_energy(meeting)
        total = jnp.sum(jnp.where(mass > 0, mass * best, 0))[None]
        rows = Rows.of(meeting, self.of_pairs(meeting), best, entropy(best))
        columns = jnp.exp(self._log_column_mass(meeting))
        return Transport(
            rows=rows,
            weights=rows.weights,
            best=total,
            row_mass=mass,
            column_mass=columns,
            rho=self.rho.astype(best.dtype),
        )

    def check_asked(self, asked: Asked) -> None:
        if asked == "free energy" and self.half_steps is not None:
            raise ValueError(
                "the weights of Sinkhorn after a fixed number of `half_steps` maximize nothing; leave it out, or use "
                "Softmax"
            )

    def _seen(self, meeting: Meeting) -> Bool[Array, " n"]:
        """Whether there is anybody for a row to see."""
        return meeting.log_weight(Weighing(flat)) > -jnp.inf

    def _log_column_mass(self, meeting: Meeting) -> Float[Array, " m"]:
        pair, columns = meeting.pair, meeting.columns
        mass = pair.column_mass(columns)
        return jnp.full_like(columns.position[:, 0], pair.level()) + (0 if mass is None else mass)

    def _shift(self, h: Float[Array, " m"], meeting: Meeting) -> Float[Array, ""]:
        """What h lacks to be minus rho times the log of how much too full a column is: then full ones add up to 1."""
        infinite, free = ~jnp.isfinite(self.rho), self.rho == 0
        rho = jnp.where(infinite | free, 1, self.rho).astype(h.dtype)
        log_mass = self._log_column_mass(meeting)
        reached = meeting.log_load(jnp.zeros_like(meeting.rows.position[:, 0])) > -jnp.inf
        priced = rho * jax.nn.logsumexp(jnp.where(reached, log_mass - h / rho, -jnp.inf))
        return jnp.where(infinite, -jnp.sum(jnp.exp(log_mass) * h), jnp.where(free, 0, priced))

    def unsolved(self, meeting: Meeting) -> Bool[Array, ""]:
        if not self.iterates:
            return jnp.asarray(False)
        h = self.weighing(meeting).column
        change = jnp.max(jnp.abs(self._swept(h, meeting) - h))
        column = meeting.log_load(jnp.zeros_like(meeting.rows.position[:, 0]))
        lonely = jnp.any(meeting.log_partition() == -jnp.inf) | jnp.any(column == -jnp.inf)
        return ~(change <= _reachable(self.tolerance)) | (lonely & ~jnp.isfinite(self.rho))

    def gaussian(self, columns: Moments, score: Quadratic) -> AffineField:
        """M solves M = (S - M S M^T) A, S the covariance, and the mean sees itself; `own` and `tilt` play no part."""
        rho = concrete(self.rho)
        if self.half_steps is not None or (rho is not None and np.isfinite(rho)):
            raise ValueError(
                "what Sinkhorn makes of Gaussian tokens is known where its weights are doubly stochastic: leave `rho` "
                "infinite, without `half_steps`"
            )
        root = _function(columns.covariance, jnp.sqrt)
        inner = root @ score.form @ root
        shrunk = _function(inner @ inner.T, lambda square: 2 / (1 + jnp.sqrt(1 + 4 * square)))
        slope = jnp.where(jnp.isfinite(self.rho), jnp.nan, root @ shrunk @ root @ score.form)
        return AffineField(columns.mean - slope @ columns.mean, slope)

    def _after(self, half_steps: int, meeting: Meeting, h: Float[Array, " m"]) -> Weighing:
        """The weighing after a number of half sweeps, rows first."""
        f = _rows(h, meeting)
        for half in range(1, half_steps):
            if half % 2:
                h = self._columns(f, meeting)
            else:
                f = _rows(h, meeting)
        return Weighing(Shift(row=1, column=1), f, h)

    def _columns(self, f: Float[Array, " n"], meeting: Meeting) -> Float[Array, " m"]:
        """h, from the sums of the columns."""
        infinite = ~jnp.isfinite(self.rho)
        rho = jnp.where(infinite, 1, self.rho)
        kappa = jnp.where(infinite, 1, rho / (1 + rho))
        return -kappa * finite(meeting.log_load(f))

    def _swept(self, h: Float[Array, " m"], meeting: Meeting) -> Float[Array, " m"]:
        """h one sweep further, its mean taken away."""
        h = self._columns(_rows(h, meeting), meeting)
        return h - jnp.mean(h)


def _rows(h: Float[Array, " m"], meeting: Meeting) -> Float[Array, " n"]:
    """f, from the sums of the rows."""
    return -finite(meeting.log_weight(Weighing(Shift(column=1), column=h)))


def _either(condition: Bool[Array, ""], one: Callable, other: Callable) -> Callable:
    return lambda h: jax.lax.cond(condition, one, other, h)


def _fixed_point(
    sweep: Callable[[Float[Array, " m"]], Float[Array, " m"]],
    start: Float[Array, " m"],
    tolerance: Float[Array, ""],
    most: int,
) -> Float[Array, " m"]:
    """h = sweep(h), by repetition. Differentiated by the implicit function theorem, solved by repetition again."""
    tolerance = jax.lax.stop_gradient(_reachable(tolerance))

    def solve(excess: Callable, h: Float[Array, " m"]) -> Float[Array, " m"]:
        return _repeated(lambda h: -excess(h), h, tolerance, most)

    def tangent(linear: Callable, y: Float[Array, " m"]) -> Float[Array, " m"]:
        def inverse(apply: Callable, y: Float[Array, " m"]) -> Float[Array, " m"]:
            return _repeated(lambda h: y - apply(h), y, tolerance * jnp.max(jnp.abs(y)), most)

        return jax.lax.custom_linear_solve(linear, y, inverse, inverse)

    return jax.lax.custom_root(lambda h: h - sweep(h), start, solve, tangent)


def _repeated(
    change: Callable[[Float[Array, " m"]], Float[Array, " m"]],
    start: Float[Array, " m"],
    tolerance: Float[Array, ""],
    most: int,
) -> Float[Array, " m"]:
    """h <- h + change(h) until the largest change is within the tolerance."""

    def going(state: Any) -> Bool[Array, ""]:
        step, _, size = state
        return (step < most) & (size > tolerance)

    def better(state: Any) -> Any:
        step, h, _ = state
        moved = change(h)
        return step + 1, h + moved, jnp.max(jnp.abs(moved))

    return jax.lax.while_loop(going, better, (0, start, jnp.full((), jnp.inf, start.dtype)))[1]


def _reachable(tolerance: Float[Array, ""]) -> Float[Array, ""]:
    """A tolerance that numbers of this precision can meet."""
    return jnp.maximum(tolerance, 50 * jnp.finfo(tolerance.dtype).eps)


def _finite_number(value: Float[Array, ""]) -> bool:
    """Whether a parameter is finite, as far as a transformation lets it be seen."""
    numbers = concrete(value)
    return numbers is None or bool(np.isfinite(numbers))


def _function(
    matrix: Float[Array, "d d"], function: Callable[[Float[Array, " d"]], Float[Array, " d"]]
) -> Float[Array, "d d"]:
    """A function of a symmetric matrix without negative eigenvalues."""
    values, vectors = jnp.linalg.eigh(matrix)
    return (vectors * function(jnp.maximum(values, 0))[None, :]) @ vectors.T
