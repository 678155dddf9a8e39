r"""What the weights of an attention maximize: the Gibbs principle, written out over all pairs.

The weights of a row are those that make the mean score, less a penalty on how far they are from the measure, largest:

    w_i = argmax over w of  sum_j w_j s_ij - sum_j rho_ij phi(w_j / rho_ij)

with rho the measure of the row, as it is, divided by its sum, or counting what is seen. Whoever takes other weights eta
falls short of the maximum F_i by exactly

    sum_j rho_ij D(eta_j / rho_ij | w_j / rho_ij)  +  sum over j with w_j = 0 of eta_j (lam_i + phi'(0) - s_ij)

D the Bregman divergence of phi, KL where phi is the entropy, and lam_i the multiplier of the row's sum. The second
term, never negative, is there only where phi lets weights be exactly zero. Hence the first alone is a bound from below.
"""

import abc
from typing import Literal

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jax.scipy.special import xlogy
from jaxtyping import Array, Float

from ..meeting import Meeting, Weighing, flat

OFF = 1e-9  # by which the sums of weights may be off before they are refused


class AbstractPenalty(eqx.Module):
    """A convex function phi of the ratio of a weight to the measure."""

    @abc.abstractmethod
    def __call__(self, ratio: Float[Array, "*any"]) -> Float[Array, "*any"]:
        """phi(r)."""

    @abc.abstractmethod
    def slope(self, log_ratio: Float[Array, "*any"]) -> Float[Array, "*any"]:
        """phi'(r), from log r; -inf where it has no limit at 0."""

    @property
    def most(self) -> float:
        """The largest ratio for which phi is finite."""
        return jnp.inf


class Entropy(AbstractPenalty):
    """T r log r + c r, whose Bregman divergence is T KL; at T = 0 none at all.

    Attributes
    ----------
    temperature, cost : T and c.
    """

    temperature: Float[Array, ""]
    cost: Float[Array, ""]

    def __call__(self, ratio: Float[Array, "*any"]) -> Float[Array, "*any"]:
        return self.temperature * xlogy(ratio, ratio) + self.cost * ratio

    def slope(self, log_ratio: Float[Array, "*any"]) -> Float[Array, "*any"]:
        warm = self.temperature > 0
        return jnp.where(warm, self.temperature * (jnp.where(warm, log_ratio, 0) + 1), 0) + self.cost


class Tsallis(AbstractPenalty):
    """(r^a - r) / (a (a - 1)), with a finite slope at 0, so that weights can be zero."""

    alpha: Float[Array, ""]

    def __call__(self, ratio: Float[Array, "*any"]) -> Float[Array, "*any"]:
        return (ratio**self.alpha - ratio) / (self.alpha * (self.alpha - 1))

    def slope(self, log_ratio: Float[Array, "*any"]) -> Float[Array, "*any"]:
        return (self.alpha * jnp.exp((self.alpha - 1) * log_ratio) - 1) / (self.alpha * (self.alpha - 1))


class TwoSided(AbstractPenalty):
    """r log r + (1 - r) log(1 - r) - b r, for ratios between 0 and 1; its slope loses digits as r nears 1."""

    bias: Float[Array, ""]

    def __call__(self, ratio: Float[Array, "*any"]) -> Float[Array, "*any"]:
        return xlogy(ratio, ratio) + xlogy(1 - ratio, 1 - ratio) - self.bias * ratio

    def slope(self, log_ratio: Float[Array, "*any"]) -> Float[Array, "*any"]:
        return log_ratio - jnp.log1p(-jnp.exp(log_ratio)) - self.bias

    @property
    def most(self) -> float:
        return 1.0


class AbstractPrinciple(eqx.Module):
    """What the weights of an attention maximize, and by how much others fall short.

    Where rows do not know of each other there is one number for each row, else one for all of them, r = 1.
    """

    weights: eqx.AbstractVar[Float[Array, "n m"]]
    best: eqx.AbstractVar[Float[Array, " r"]]

    @abc.abstractmethod
    def objective(self, eta: Float[Array, "n m"]) -> Float[Array, " r"]:
        """What weights eta reach."""

    @abc.abstractmethod
    def divergence(self, eta: Float[Array, "n m"]) -> Float[Array, " r"]:
        """How far they are from the best, in the Bregman divergence of the penalty."""

    @abc.abstractmethod
    def boundary(self, eta: Float[Array, "n m"]) -> Float[Array, " r"]:
        """What they lose beside that where the best weights are zero; 0 where none are."""

    @abc.abstractmethod
    def fault(self, eta: Float[np.ndarray, "n m"]) -> str | None:
        """Why weights are not among those that compete, in words, or None."""


class Rows(AbstractPrinciple):
    """The principle of each row for itself.

    Attributes
    ----------
    scores, density, log_ratio : of all pairs; the density is rho, the log ratio that of the best weights to it.
    weights, best : the maximum and where it is.
    penalty : phi.
    conserved : whether the sum of a row is 1, or free.
    null : whether the last column is a null token, which takes what is left of 1.
    """

    scores: Float[Array, "n c"]
    density: Float[Array, "n c"]
    log_ratio: Float[Array, "n c"]
    weights: Float[Array, "n m"]
    best: Float[Array, " n"]
    penalty: AbstractPenalty
    conserved: bool = eqx.field(static=True, default=True)
    null: bool = eqx.field(static=True, default=False)

    @classmethod
    def of(
        cls,
        meeting: Meeting,
        weighing: Weighing,
        best: Float[Array, " n"],
        penalty: AbstractPenalty,
        reference: Literal["measure", "row", "counting"] = "measure",
        conserved: bool = True,
    ) -> "Rows":
        """The principle of weights whose penalty refers to the measure as it is, divided by its sum, or counting."""
        log_density = meeting.log_weights(Weighing(flat, counting=reference == "counting"))
        if reference == "row":
            total = jax.nn.logsumexp(log_density, axis=1, keepdims=True)
            log_density = log_density - jnp.where(total > -jnp.inf, total, 0)
        log_weights = meeting.log_weights(weighing)
        seen = log_density > -jnp.inf
        log_ratio = jnp.where(seen, log_weights - jnp.where(seen, log_density, 0), -jnp.inf)
        scores = jnp.broadcast_to(meeting.pair.scores(meeting.rows, meeting.columns), log_ratio.shape)
        weights = jnp.exp(log_weights)
        return cls(scores, jnp.exp(log_density), log_ratio, weights, best, penalty, conserved)

    def with_null(self, score: Float[Array, ""], mass: Float[Array, ""], log_ratio: Float[Array, " n"]) -> "Rows":
        """The principle with one column more, a null token of that score, mass and log ratio."""
        beside = lambda rows, more: jnp.concatenate([rows, jnp.broadcast_to(more, rows[:, :1].shape)], axis=1)  # noqa: E731
        return Rows(
            beside(self.scores, score),
            beside(self.density, mass),
            beside(self.log_ratio, log_ratio[:, None]),
            self.weights,
            self.best,
            self.penalty,
            null=True,
        )

    def objective(self, eta: Float[Array, "n m"]) -> Float[Array, " n"]:
        eta = self._filled(eta)
        gained = jnp.where(eta != 0, eta * self.scores, 0)
        paid = self._weighed(self.penalty(self._ratio(eta)))
        return jnp.where(self._possible, jnp.sum(gained - paid, axis=1), -jnp.inf)

    def divergence(self, eta: Float[Array, "n m"]) -> Float[Array, " n"]:
        ratio, best, slope = self._ratio(self._filled(eta)), jnp.exp(self.log_ratio), self.penalty.slope(self.log_ratio)
        change = ratio - best
        curved = self.penalty(ratio) - self.penalty(best) - jnp.where(change != 0, slope * change, 0)
        return jnp.sum(self._weighed(curved), axis=1)

    def boundary(self, eta: Float[Array, "n m"]) -> Float[Array, " n"]:
        slope, best = self.penalty.slope(self.log_ratio), self.density * jnp.exp(self.log_ratio)
        inside = self.log_ratio > -jnp.inf
        multiplier = jnp.sum(jnp.where(inside, best * (self.scores - slope), 0), axis=1) if self.conserved else 0
        lost = jnp.reshape(multiplier, (-1, 1)) + slope - self.scores
        eta = self._filled(eta)
        clipped = ~inside & (self.density > 0) & (eta != 0)
        return jnp.sum(jnp.where(clipped, eta * lost, 0), axis=1)

    def fault(self, eta: Float[np.ndarray, "n m"]) -> str | None:
        if np.min(eta) < 0:
            return f"weights must not be negative; got {np.min(eta):.3g}"
        own = self.density[:, : eta.shape[1]]
        if np.any((eta > 0) & (np.asarray(own) == 0)):
            return "weights must be 0 wherever the measure is"
        if np.isfinite(self.penalty.most) and np.any(eta > self.penalty.most * np.asarray(own) * (1 + OFF)):
            return f"weights must not exceed {self.penalty.most:g} times the measure"
        sums = eta.sum(axis=1)
        if self.null:
            return f"rows must not sum to more than 1; got {sums.max():.6g}" if sums.max() > 1 + OFF else None
        off = np.abs(sums - np.asarray(self._possible))
        return f"rows must sum to 1; one is off by {off.max():.3g}" if self.conserved and off.max() > OFF else None

    @property
    def _possible(self) -> Array:
        """Whether there are weights that a row may have."""
        return jnp.any(self.density > 0, axis=1) if self.conserved else jnp.ones_like(self.best, bool)

    def _filled(self, eta: Float[Array, "n m"]) -> Float[Array, "n c"]:
        """The weights with what the null token takes."""
        if not self.null:
            return eta
        left = jnp.maximum(1 - jnp.sum(eta, axis=1, keepdims=True), 0)
        return jnp.concatenate([eta, left], axis=1)

    def _ratio(self, eta: Float[Array, "n c"]) -> Float[Array, "n c"]:
        there = self.density > 0
        return jnp.where(there, eta / jnp.where(there, self.density, 1), 0)

    def _weighed(self, penalties: Float[Array, "n c"]) -> Float[Array, "n c"]:
        return jnp.where(self.density > 0, self.density * penalties, 0)


class Transport(AbstractPrinciple):
    r"""The principle of all rows together, as a plan of transport whose columns have a price.

    .. math:: \sum_i a_i \Big(\sum_j w_{ij} s_{ij} - \mathrm{KL}(w_i | \pi_i)\Big) - \rho\, \mathrm{KL}(a w | b)

    over weights whose rows sum to 1. With rho infinite the columns must have their masses, (a w)_j = b_j.

    Attributes
    ----------
    rows : the principle of softmax, which is that of a row while the columns cost nothing.
    weights, best : the maximum and where it is.
    row_mass, column_mass : a and b.
    rho : the price of columns, may be infinite.
    """

    rows: Rows
    weights: Float[Array, "n m"]
    best: Float[Array, " 1"]
    row_mass: Float[Array, " n"]
    column_mass: Float[Array, " m"]
    rho: Float[Array, ""]

    def objective(self, eta: Float[Array, "n m"]) -> Float[Array, " 1"]:
        return self._over_rows(self.rows.objective(eta)) - self._price(self._columns(eta), self.column_mass)

    def divergence(self, eta: Float[Array, "n m"]) -> Float[Array, " 1"]:
        columns = self._price(self._columns(eta), self._columns(self.weights))
        return self._over_rows(self.rows.divergence(eta)) + columns

    def boundary(self, eta: Float[Array, "n m"]) -> Float[Array, " 1"]:
        return jnp.zeros_like(self.best)

    def fault(self, eta: Float[np.ndarray, "n m"]) -> str | None:
        off = np.abs(np.asarray(self.row_mass) @ eta - np.asarray(self.column_mass))
        if not np.isfinite(self.rho) and off.max() > OFF:
            return f"with `rho` infinite columns must have their masses; one is off by {off.max():.3g}"
        return self.rows.fault(eta)

    def _over_rows(self, each: Float[Array, " n"]) -> Float[Array, " 1"]:
        return jnp.sum(jnp.where(self.row_mass > 0, self.row_mass * each, 0))[None]

    def _columns(self, eta: Float[Array, "n m"]) -> Float[Array, " m"]:
        return self.row_mass @ eta

    def _price(self, columns: Float[Array, " m"], reference: Float[Array, " m"]) -> Float[Array, ""]:
        """rho KL, 0 where rho is infinite and the two are one."""
        there = (columns > 0) & (reference > 0)
        ratio = jnp.where(there, columns / jnp.where(there, reference, 1), 1)
        relative = jnp.sum(columns * jnp.log(ratio) - columns + reference)
        missing = jnp.any((columns > 0) & (reference == 0))
        priced = jnp.isfinite(self.rho)
        return jnp.where(priced, jnp.where(priced, self.rho, 0) * jnp.where(missing, jnp.inf, relative), 0)


def entropy(like: Float[Array, "*any"], temperature: float = 1.0, cost: float = 0.0) -> Entropy:
    """T r log r + c r with plain numbers, at the precision of an array."""
    return Entropy(jnp.asarray(temperature, like.dtype), jnp.asarray(cost, like.dtype))
