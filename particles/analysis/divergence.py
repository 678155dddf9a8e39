r"""How different two clouds of tokens are as measures, in ways that can be differentiated and watched.

Each is a number of two weighted clouds, and a sum over pairs of tokens that is gathered as a law is: no array of all
pairs is needed. Those that iterate say whether they got there. Transport between clouds at its cheapest, which none of
these is, is in `transport`.
"""

import abc
from collections.abc import Callable
from typing import Any, ClassVar

import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import Array, ArrayLike, Bool, Float

from ..declaration import Declared, concrete, option, parameter
from ..summation import AbstractPair, AbstractSummation, Auto

OFF = 1e-5  # by which masses may miss the sum 1
LOOK = 20  # sweeps after which it is looked how slowly steps get shorter
NEAR = 0.1  # steps of log scalings that count as small
LONGEST, GROWING = 1.999, 1.2  # the largest factor of over-relaxation, and the rate at which steps count as growing


class Cloud(eqx.Module):
    """Tokens of given masses.

    Attributes
    ----------
    position, mass : where they are, and how much each weighs; masses add up to 1.
    """

    position: Float[Array, "n d"]
    mass: Float[Array, " n"]

    @classmethod
    def of(cls, x: Float[Array, "n d"], mass: Float[Array, " n"] | None = None) -> "Cloud":
        """A cloud of tokens; of equal ones where no mass is given."""
        return cls(x, jnp.full_like(x[:, 0], 1 / x.shape[0]) if mass is None else mass.astype(x.dtype))

    @property
    def log_mass(self) -> Float[Array, " n"]:
        """Its logarithm, -inf with zero gradient for a token without any."""
        there = self.mass > 0
        return jnp.where(there, jnp.log(jnp.where(there, self.mass, 1)), -jnp.inf)

    @property
    def still(self) -> "Cloud":
        """The same, a constant to differentiation."""
        return jax.lax.stop_gradient(self)


class Found(eqx.Module):
    """A number that was computed, and whether what it took converged."""

    value: Float[Array, ""]
    converged: Bool[Array, ""]


class AbstractDivergence(Declared):
    """A number of two clouds: how different they are."""

    symbol: ClassVar[str]
    proper: ClassVar[bool] = True  # whether it is never negative, and 0 for a cloud and itself

    @abc.abstractmethod
    def between(self, x: Cloud, y: Cloud, summation: AbstractSummation) -> Found:
        """The value for two clouds in one space."""

    def __call__(
        self,
        x: ArrayLike,
        y: ArrayLike,
        a: ArrayLike | None = None,
        b: ArrayLike | None = None,
        summation: AbstractSummation | None = None,
    ) -> Found:
        """The value for two clouds, with whether it converged.

        Parameters
        ----------
        x, y : tokens, `[n d]` and `[m d]`.
        a, b : their masses, `[n]` and `[m]`, with sum 1; equal ones by default.
        summation : how all pairs are visited.

        Raises
        ------
        ValueError
            If the clouds do not fit, or masses are not those of a cloud.
        """
        x, y = jnp.asarray(x), jnp.asarray(y)
        if x.ndim != 2 or y.ndim != 2 or x.shape[1] != y.shape[1]:
            raise ValueError(f"expected two clouds (tokens, dim) in one dimension; got shapes {x.shape} and {y.shape}")
        clouds = Cloud.of(x, _masses("a", a, x.shape[0])), Cloud.of(y, _masses("b", b, y.shape[0]))
        return self.between(*clouds, summation or Auto())


class SinkhornDivergence(AbstractDivergence):
    r"""The cost of blurred transport, with what blurring costs by itself taken away.

    .. math:: S_\epsilon(\mu, \nu) = T(\mu, \nu) - \tfrac12 T(\mu, \mu) - \tfrac12 T(\nu, \nu), \qquad
       T(\mu, \nu) = \min_P \sum_{ij} P_{ij} |x_i - y_j|^2 + \epsilon\, \mathrm{KL}(P | a \otimes b)

    Never negative, and 0 for equal measures alone. The square of the Wasserstein distance as eps tends to 0, the
    squared distance of the means as it tends to infinity.

    Parameters
    ----------
    epsilon : in units of a squared distance.
    tolerance : largest change of a log scaling in the last sweep, which is the relative error of a marginal. Times the
        largest squared distance it bounds the error of the value, which mostly is far smaller, of second order.
    sweeps : the most that are made. Where that is not enough `converged` says so.

    Cost
    ----
    Two gathers of masses for each sweep between the clouds, one for each within a cloud, of which there are about 30.
    Over-relaxed sweeps are some hundreds where epsilon is some percent of the squared distance of neighbors, and
    thousands where it is less. The gradient costs a gather and its transpose: at the best plan nothing else changes.

    Source
    ------
    feydy2019interpolating; over-relaxation, lehmann2022note.
    """

    epsilon: Float[Array, ""] = parameter(0.1, gt=0)
    tolerance: Float[Array, ""] = parameter(1e-6, gt=0)
    sweeps: int = option(20_000, ge=1)
    symbol: ClassVar[str] = r"$S_\epsilon$"
    sources: ClassVar[tuple[str, ...]] = ("feydy2019interpolating", "lehmann2022note")

    def between(self, x: Cloud, y: Cloud, summation: AbstractSummation) -> Found:
        (x_scaling, x_met), (y_scaling, y_met) = self._own(x.still, summation), self._own(y.still, summation)
        scaling, met = self._across(x.still, y.still, y_scaling, summation)
        value = self._cost(x, y, scaling, summation)
        value = value - 0.5 * self._cost(x, x, x_scaling, summation) - 0.5 * self._cost(y, y, y_scaling, summation)
        return Found(value, met & x_met & y_met)

    def _across(
        self, x: Cloud, y: Cloud, start: Float[Array, " m"], summation: AbstractSummation
    ) -> tuple[Float[Array, " n"], Bool[Array, ""]]:
        """The log scaling of x for transport to y, and whether it was reached; from one of y to itself.

        By alternating steps, each too long by a factor that is learned from how slowly they get shorter.
        """

        def better(state: Any) -> Any:
            count, phi, psi, change, before, factor = state
            step = self._scaling(x, y, psi, summation) - phi
            phi = phi + factor * step
            psi = psi + factor * (self._scaling(y, x, phi, summation) - psi)
            change, looking = jnp.max(jnp.abs(step)), count % LOOK == LOOK - 1
            longer = _lengthened(factor, (change / before) ** (1 / LOOK), change < NEAR)
            factor = jnp.where(looking, longer, factor)
            return count + 1, phi, psi, change, jnp.where(looking, change, before), factor

        far = jnp.full((), jnp.inf, start.dtype)
        first = self._scaling(x, y, start, summation)
        state = (0, first, self._scaling(y, x, first, summation), far, far, jnp.ones_like(far))
        _, phi, _, change, _, _ = jax.lax.while_loop(self._going(3), better, state)
        return phi, change <= self._reachable(change)

    def _own(self, x: Cloud, summation: AbstractSummation) -> tuple[Float[Array, " n"], Bool[Array, ""]]:
        """The same to itself, where half of each step is taken."""

        def better(state: Any) -> Any:
            count, phi, _ = state
            step = self._scaling(x, x, phi, summation) - phi
            return count + 1, phi + 0.5 * step, jnp.max(jnp.abs(step))

        state = (0, jnp.zeros_like(x.mass), jnp.full((), jnp.inf, x.mass.dtype))
        _, phi, change = jax.lax.while_loop(self._going(2), better, state)
        return phi, change <= self._reachable(change)

    def _going(self, at: int) -> Callable[[Any], Bool[Array, ""]]:
        """Whether a state, which begins with the number of sweeps and has the last change at a place, has to go on."""
        return lambda state: (state[0] < self.sweeps) & (state[at] > self._reachable(state[at]))

    def _reachable(self, like: Float[Array, ""]) -> Float[Array, ""]:
        """The tolerance, as far as numbers of this precision can meet it."""
        return jnp.maximum(self.tolerance.astype(like.dtype), 50 * jnp.finfo(like.dtype).eps)

    def _scaling(self, x: Cloud, y: Cloud, psi: Float[Array, " m"], summation: AbstractSummation) -> Float[Array, " n"]:
        """-log sum_j b_j e^(psi_j - |x_i - y_j|^2 / eps)."""
        return -_gathered(_Cooled(self.epsilon), x, y, psi, summation)

    def _cost(self, x: Cloud, y: Cloud, phi: Float[Array, " n"], summation: AbstractSummation) -> Float[Array, ""]:
        """What scalings prove the cost to be at least: the cost itself at the best ones, where it is stationary."""
        psi = jax.lax.stop_gradient(self._scaling(y.still, x.still, phi, summation))
        excess = jnp.exp(phi - self._scaling(x, y, psi, summation)) - 1
        return self.epsilon * (_mean(x, phi - excess) + _mean(y, psi))


class EnergyDistance(AbstractDivergence):
    r"""The energy distance: how much farther apart tokens of two clouds are than those of one.

    .. math:: 2\, \mathbb{E}|X - Y| - \mathbb{E}|X - X'| - \mathbb{E}|Y - Y'|

    Zero for equal measures alone. A length: its root is a distance of measures.

    Cost
    ----
    Three gathers of masses.

    Source
    ------
    szekely2013energy.
    """

    symbol: ClassVar[str] = r"$\mathcal{E}$"
    sources: ClassVar[tuple[str, ...]] = ("szekely2013energy",)

    def between(self, x: Cloud, y: Cloud, summation: AbstractSummation) -> Found:
        mean = lambda x, y: _mean_over_pairs(_Length(), x, y, summation)  # noqa: E731
        return Found(2 * mean(x, y) - mean(x, x) - mean(y, y), jnp.asarray(True))


class KernelDistance(AbstractDivergence):
    r"""The squared maximum mean discrepancy for a Gaussian kernel.

    .. math:: \mathbb{E}\,k(X, X') - 2\, \mathbb{E}\,k(X, Y) + \mathbb{E}\,k(Y, Y'), \qquad
       k(x, y) = e^{-|x - y|^2 / (2 h^2)}

    Zero for equal measures alone, and at most 2.

    Parameters
    ----------
    bandwidth : h.

    Cost
    ----
    Three gathers of masses.

    Source
    ------
    gretton2012kernel.
    """

    bandwidth: Float[Array, ""] = parameter(1.0, gt=0)
    symbol: ClassVar[str] = r"$\mathrm{MMD}^2$"
    sources: ClassVar[tuple[str, ...]] = ("gretton2012kernel",)

    def between(self, x: Cloud, y: Cloud, summation: AbstractSummation) -> Found:
        kernel = _Cooled(2 * self.bandwidth**2)
        mean = lambda x, y: _mean_over_pairs(kernel, x, y, summation)  # noqa: E731
        return Found(mean(x, x) - 2 * mean(x, y) + mean(y, y), jnp.asarray(True))


class Bures(AbstractDivergence):
    r"""The squared Wasserstein distance of the Gaussians that have the clouds' means and covariances.

    .. math:: |m_x - m_y|^2 + \mathrm{tr}\, S_x + \mathrm{tr}\, S_y
       - 2\, \mathrm{tr} \big(S_x^{1/2} S_y S_x^{1/2}\big)^{1/2}

    At most the squared Wasserstein distance of the clouds themselves, whatever they are, and 0 where they agree in mean
    and covariance. Its gradient leaves out directions that a cloud does not fill, along which there is none.

    Cost
    ----
    O((n + m) d^2 + d^3), no pairs.

    Source
    ------
    gelbrich1990formula.
    """

    symbol: ClassVar[str] = r"$\mathrm{BW}^2$"
    sources: ClassVar[tuple[str, ...]] = ("gelbrich1990formula",)

    def between(self, x: Cloud, y: Cloud, summation: AbstractSummation) -> Found:
        (x_mean, x_spread), (y_mean, y_spread) = _moments(x), _moments(y)
        apart = jnp.sum((x_mean - y_mean) ** 2)
        fidelity = _fidelity(x, x_spread, y, y_spread)
        return Found(apart + jnp.trace(x_spread) + jnp.trace(y_spread) - 2 * fidelity, jnp.asarray(True))


class ConditionalTransport(AbstractDivergence):
    r"""Conditional transport: each token of one cloud looks for near ones of the other, and the cost is averaged.

    .. math:: \rho \sum_j b_j \sum_i p_{i|j} |x_i - y_j|^2 + (1 - \rho) \sum_i a_i \sum_j p_{j|i} |x_i - y_j|^2,
       \qquad p_{i|j} \propto a_i e^{-|x_i - y_j|^2 / T}, \quad p_{j|i} \propto b_j e^{-|x_i - y_j|^2 / T}

    A weighted Chamfer distance as T tends to 0, the mean cost of all pairs as it tends to infinity. **Not a
    divergence**: at a positive temperature it is positive for a cloud and itself, and it can be smallest elsewhere.

    Parameters
    ----------
    temperature : T of the navigator, in units of a squared distance; may be infinite.
    balance : rho.

    Cost
    ----
    Two gathers of masses with their derivatives.

    Source
    ------
    zheng2021exploiting; for queries and keys, zhang2021alignment.
    """

    temperature: Float[Array, ""] = parameter(1.0, gt=0, infinite=True)
    balance: Float[Array, ""] = parameter(0.5, ge=0, le=1)
    symbol: ClassVar[str] = r"$\mathrm{CT}$"
    proper: ClassVar[bool] = False
    sources: ClassVar[tuple[str, ...]] = ("zheng2021exploiting", "zhang2021alignment")

    def between(self, x: Cloud, y: Cloud, summation: AbstractSummation) -> Found:
        back, forth = self._navigated(y, x, summation), self._navigated(x, y, summation)
        return Found(self.balance * _mean(y, back) + (1 - self.balance) * _mean(x, forth), jnp.asarray(True))

    def _navigated(self, x: Cloud, y: Cloud, summation: AbstractSummation) -> Float[Array, " n"]:
        """What each token of x expects to pay: the derivative of its log mass in a price on the cost."""

        def log_mass(price: Float[Array, " n"]) -> Float[Array, " n"]:
            rows, columns = (x.position, price), (y.position, y.log_mass)
            return summation.gather(_Priced(self.temperature), rows, columns, y.position[:, :0]).log_mass

        zero = jnp.zeros_like(x.mass)
        return jax.jvp(log_mass, (zero,), (jnp.ones_like(zero),))[1]


class _AbstractSum(AbstractPair):
    """A pair that gathers a sum over columns of known log weights."""

    @abc.abstractmethod
    def log_term(self, square: Float[Array, "n m"]) -> Float[Array, "n m"]:
        """The log of what is summed, from the squared distance."""

    def logits(
        self, rows: Float[Array, "n d"], columns: tuple[Float[Array, "m d"], Float[Array, " m"]]
    ) -> Float[Array, "n m"]:
        position, log_weight = columns
        return self.log_term(_square(rows, position)) + log_weight[None, :]

    def level(self) -> float:
        return 0.0

    def bound(self, rows: Any, columns: Any) -> None:
        return None


class _Cooled(_AbstractSum):
    """e^(-|x - y|^2 / T)."""

    temperature: Float[Array, ""]

    def log_term(self, square: Float[Array, "n m"]) -> Float[Array, "n m"]:
        return -square / self.temperature.astype(square.dtype)


class _Length(_AbstractSum):
    """|x - y|, whose gradient where the two coincide is zero."""

    def log_term(self, square: Float[Array, "n m"]) -> Float[Array, "n m"]:
        apart = square > 0
        return jnp.where(apart, 0.5 * jnp.log(jnp.where(apart, square, 1)), -jnp.inf)


class _Priced(AbstractPair):
    """e^(-|x - y|^2 / T + p |x - y|^2), p a number of the row."""

    temperature: Float[Array, ""]

    def logits(
        self,
        rows: tuple[Float[Array, "n d"], Float[Array, " n"]],
        columns: tuple[Float[Array, "m d"], Float[Array, " m"]],
    ) -> Float[Array, "n m"]:
        square = _square(rows[0], columns[0])
        priced = (rows[1][:, None] - 1 / self.temperature.astype(square.dtype)) * square
        return priced + columns[1][None, :]

    def level(self) -> float:
        return 0.0

    def bound(self, rows: Any, columns: Any) -> None:
        return None


def _lengthened(factor: Float[Array, ""], rate: Float[Array, ""], near: Bool[Array, ""]) -> Float[Array, ""]:
    """The factor of over-relaxation that suits alternating steps which shorten at a rate with the factor they have.

    From Young's relation of the two, which is one of small steps; back to 1 where steps are large or grow.
    """
    slow = jnp.minimum((rate + factor - 1) ** 2 / (factor**2 * jnp.maximum(rate, 1e-3)), 1)
    longer = jnp.clip(2 / (1 + jnp.sqrt(1 - slow)), factor, LONGEST)
    return jnp.where(near & (rate <= GROWING), jnp.where(rate < 1, longer, factor), 1)


def _square(x: Float[Array, "n d"], y: Float[Array, "m d"]) -> Float[Array, "n m"]:
    """|x - y|^2 of each pair, from differences: exact for tokens that have nearly met."""
    return jnp.sum((x[:, None, :] - y[None, :, :]) ** 2, axis=-1)


def _gathered(
    pair: _AbstractSum, x: Cloud, y: Cloud, log_weight: Float[Array, " m"], summation: AbstractSummation
) -> Float[Array, " n"]:
    """The log of sum_j b_j e^(log_weight_j) term_ij, for each row."""
    columns = (y.position, y.log_mass + log_weight)
    return summation.gather(pair, x.position, columns, y.position[:, :0]).log_mass


def _mean_over_pairs(pair: _AbstractSum, x: Cloud, y: Cloud, summation: AbstractSummation) -> Float[Array, ""]:
    return _mean(x, jnp.exp(_gathered(pair, x, y, jnp.zeros_like(y.mass), summation)))


def _mean(x: Cloud, values: Float[Array, " n"]) -> Float[Array, ""]:
    return jnp.sum(jnp.where(x.mass > 0, x.mass * values, 0))


def _moments(x: Cloud) -> tuple[Float[Array, " d"], Float[Array, "d d"]]:
    """Mean and covariance."""
    mean = x.mass @ x.position
    centered = x.position - mean[None, :]
    return mean, centered.T @ (x.mass[:, None] * centered)


def _fidelity(x: Cloud, x_spread: Float[Array, "d d"], y: Cloud, y_spread: Float[Array, "d d"]) -> Float[Array, ""]:
    """tr (S_x^(1/2) S_y S_x^(1/2))^(1/2), as a sum of singular values of a product of roots.

    Its derivative is half the trace of dS_x with the best map from x to y and of dS_y with that back, which stays
    finite where singular values coincide.
    """
    x_root, y_root = jax.lax.stop_gradient((_root(x), _root(y)))
    left, size, right = jnp.linalg.svd(x_root.T @ y_root)
    forth, back = _best_map(x_root, left, size), _best_map(y_root, right.T, size)
    first_order = jnp.sum(forth * (x_spread - jax.lax.stop_gradient(x_spread)))
    first_order = first_order + jnp.sum(back * (y_spread - jax.lax.stop_gradient(y_spread)))
    return jnp.sum(size) + 0.5 * first_order


def _root(x: Cloud) -> Float[Array, "d d"]:
    """A matrix L whose L L^T is the covariance, from the singular values of the cloud, so that small ones are exact."""
    mean = x.mass @ x.position
    weighed = jnp.sqrt(x.mass)[:, None] * (x.position - mean[None, :])
    n, d = weighed.shape
    padded = weighed if n >= d else jnp.concatenate([weighed, jnp.zeros((d - n, d), weighed.dtype)])
    _, size, directions = jnp.linalg.svd(padded, full_matrices=False)
    return directions.T * size[None, :]


def _best_map(root: Float[Array, "d d"], left: Float[Array, "d d"], size: Float[Array, " d"]) -> Float[Array, "d d"]:
    """L^-T U S U^T L^-1, the derivative of the fidelity; directions without spread are left out."""
    inverse = jnp.linalg.pinv(root)
    half = inverse.T @ left
    return (half * size[None, :]) @ half.T


def _masses(name: str, given: ArrayLike | None, n: int) -> Float[Array, " n"] | None:
    """The masses of a cloud of n tokens as they are given, if they are; raises ValueError where they are none."""
    if given is None:
        return None
    mass = jnp.asarray(given)
    if mass.shape != (n,):
        raise ValueError(f"`{name}` needs one mass for each of {n} tokens; got shape {mass.shape}")
    numbers = concrete(mass)
    if numbers is not None and (numbers.min() < 0 or abs(numbers.sum() - 1) > OFF):
        raise ValueError(
            f"`{name}` must not be negative and must sum to 1; got {numbers.min():.3g} at the least and the sum "
            f"{numbers.sum():.6g}"
        )
    return mass
