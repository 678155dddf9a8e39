r"""Noise on the weights of attention: random factors on the numbers that compete for a token's attention.

A factor is :math:`e^{\xi}`, and :math:`\xi_{ij} = F^{-1}(\Phi(z_{ij}))`: z is a stationary Ornstein-Uhlenbeck process,
whose values are standard normal at every depth, so the factors have exactly the law F at every depth, and their memory
is that of z. In discrete depth z is exact: a step of length h takes it to :math:`\rho z + \sqrt{1 - \rho^2}\, N` with
:math:`\rho = e^{-h/\tau}`. All is computed from :math:`\log\Phi`, since :math:`\Phi(z)` itself rounds to 1 beyond 8.
"""

import abc
from collections.abc import Callable
from typing import Any, ClassVar

import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, PRNGKeyArray

from ...declaration import nearest, option, parameter
from ..base import Reading
from .base import AbstractNoise
from .quantiles import log_exponential, log_gamma

SHARING = ("edge", "key", "row")
DRAWS = 2**24  # after so many steps the draws repeat: what float32 can count


class Hidden(eqx.Module):
    """The process behind the noise on weights.

    Attributes
    ----------
    z : standard normal numbers, one for each head and pair, or for each key or row.
    count : how many steps it has made.
    """

    z: Float[Array, "h n m"]
    count: Float[Array, ""]


class AbstractWeightNoise(AbstractNoise):
    """Noise that is added to the logits of attention.

    Members have the parameters `tau` and `sharing`, and say what z means by `shift`.
    """

    attends: ClassVar[bool] = True
    tau: eqx.AbstractVar[Float[Array, ""]]
    sharing: eqx.AbstractVar[str]

    def __check_init__(self):
        if self.sharing not in SHARING:
            raise ValueError(
                f"`sharing` must be one of {list(SHARING)}; got {self.sharing!r}.{nearest(self.sharing, SHARING)}"
            )

    @abc.abstractmethod
    def shift(self, z: Float[Array, "h n m"], weights: Callable[[], Float[Array, "h n n"]]) -> Float[Array, "h a b"]:
        """What is added to the logits, for each pair, or for what pairs share."""

    @property
    def readings(self) -> tuple[Reading, ...]:
        return (Reading.ordinary,)

    def begin(self, heads: int, n: int, dtype: Any, key: PRNGKeyArray) -> Hidden:
        rows, columns = {"edge": (n, n), "key": (1, n), "row": (n, 1)}[self.sharing]
        z = jax.random.normal(jax.random.fold_in(key, 0), (heads, rows, columns), dtype)
        return Hidden(z, jnp.zeros((), dtype))

    def moved(self, hidden: Hidden, step: Float[Array, ""], key: PRNGKeyArray) -> Hidden:
        z, tau = hidden.z, self.tau.astype(step.dtype)
        count = hidden.count % DRAWS + 1
        fresh = jax.random.normal(jax.random.fold_in(key, count.astype(jnp.int32)), z.shape, z.dtype)
        remembers = tau > 0
        age = step / jnp.where(remembers, tau, 1)
        kept = jnp.where(remembers, jnp.exp(-age), 0)
        renewed = jnp.where(remembers, -jnp.expm1(-2 * age), 1)
        moves = renewed > 0
        return Hidden(kept * z + jnp.where(moves, jnp.sqrt(jnp.where(moves, renewed, 1)), 0) * fresh, count)

    def matrices(self, heads: int) -> int:
        return 4 * heads


class Gumbel(AbstractWeightNoise):
    r"""Gumbel noise on the logits: with `Hardmax`, a token drawn with the probability that `Softmax` would give it.

    .. math:: \xi = -\log(-\log\Phi(z))

    The mean weights of `Hardmax` under fresh noise are those of `Softmax` with the same measure, so tau -> 0 is softmax
    attention. With `Softmax` they are not: its weights are then blurred twice.

    Parameters
    ----------
    tau : the correlation depth; 0 is fresh noise in every step, infinity noise that never changes.
    sharing : whose noise it is: "edge", every pair its own; "key", one for each token attended to, a random mass;
        "row", one for each attending token, which Softmax does not notice.

    Cost
    ----
    Per edge O(heads n^2) memory, whatever the summation; per key and per row O(heads n).

    Source
    ------
    maddison2014sampling; uhlenbeck1930theory for its memory.
    """

    tau: Float[Array, ""] = parameter(ge=0, infinite=True)
    sharing: str = option("edge")
    sources: ClassVar[tuple[str, ...]] = ("maddison2014sampling", "uhlenbeck1930theory")

    def shift(self, z: Float[Array, "h n m"], weights: Callable[[], Float[Array, "h n n"]]) -> Float[Array, "h a b"]:
        return -log_exponential(z)


class Gaussian(AbstractWeightNoise):
    r"""Gaussian noise on the logits: lognormal factors of mean 1.

    .. math:: \xi = \sigma z - \sigma^2 / 2

    Splitting a token into two halves changes what it does, unlike under `Gumbel`.

    Parameters
    ----------
    sigma : the standard deviation of a logit.
    tau : the correlation depth; 0 is fresh noise in every step, infinity noise that never changes.
    sharing : "edge", "key" or "row"; see `Gumbel`.

    Cost
    ----
    As `Gumbel`.

    Source
    ------
    zhang2021bayesian; uhlenbeck1930theory for its memory.
    """

    sigma: Float[Array, ""] = parameter(ge=0)
    tau: Float[Array, ""] = parameter(ge=0, infinite=True)
    sharing: str = option("edge")
    sources: ClassVar[tuple[str, ...]] = ("zhang2021bayesian", "uhlenbeck1930theory")

    def shift(self, z: Float[Array, "h n m"], weights: Callable[[], Float[Array, "h n n"]]) -> Float[Array, "h a b"]:
        sigma = self.sigma.astype(z.dtype)
        return sigma * z - sigma**2 / 2


class Weibull(AbstractWeightNoise):
    r"""Weibull noise with one shape for all weights: :math:`\mathrm{softmax}(s + \tfrac1k \log E)`, E exponential.

    .. math:: \xi = \tfrac1k \log(-\log\Phi(z))

    With `Softmax` the weights are normalized Weibull variables. For large k their variance is
    :math:`(\pi^2 / 6k^2)\, w_i^2 \sum_j (\delta_{ij} - w_j)^2`, and their bias is of order :math:`k^{-2}`.

    Parameters
    ----------
    k : the shape; infinity is no noise.
    tau : the correlation depth; 0 is fresh noise in every step, infinity noise that never changes.
    sharing : "edge", "key" or "row"; see `Gumbel`.

    Cost
    ----
    As `Gumbel`.

    Source
    ------
    zhang2021bayesian; uhlenbeck1930theory for its memory.
    """

    k: Float[Array, ""] = parameter(gt=0, infinite=True)
    tau: Float[Array, ""] = parameter(ge=0, infinite=True)
    sharing: str = option("edge")
    sources: ClassVar[tuple[str, ...]] = ("zhang2021bayesian", "uhlenbeck1930theory")

    def shift(self, z: Float[Array, "h n m"], weights: Callable[[], Float[Array, "h n n"]]) -> Float[Array, "h a b"]:
        return log_exponential(z) / self.k.astype(z.dtype)


class Gamma(AbstractWeightNoise):
    r"""Gamma variables in the place of weights: with `Softmax`, rows drawn from a Dirichlet law.

    .. math:: \xi_{ij} = \log \Gamma^{-1}_{c w_{ij}}(\Phi(z_{ij})) - \log w_{ij}, \qquad
        w'_i \sim \mathrm{Dirichlet}(c\, w_{i1}, c\, w_{i2}, \dots)

    The mean of a weight is the weight without noise, its variance w(1-w)/(c+1). That is true of `Softmax`; noise per
    key or row ties the variables of a row or column together, and the law is then another.

    Parameters
    ----------
    concentration : c, the sum of the shapes of a row.
    tau : the correlation depth; 0 is fresh noise in every step, infinity noise that never changes.
    sharing : "edge", "key" or "row"; see `Gumbel`.

    Cost
    ----
    The attention matrices and the inverse of an incomplete gamma function for every entry: O(heads n^2) memory, and
    some hundred times the time of a softmax.

    Source
    ------
    ferguson1973bayesian; zhang2021bayesian as noise on attention; uhlenbeck1930theory for its memory.
    """

    weighs: ClassVar[bool] = True
    concentration: Float[Array, ""] = parameter(gt=0)
    tau: Float[Array, ""] = parameter(ge=0, infinite=True)
    sharing: str = option("edge")
    sources: ClassVar[tuple[str, ...]] = ("ferguson1973bayesian", "zhang2021bayesian", "uhlenbeck1930theory")

    def shift(self, z: Float[Array, "h n m"], weights: Callable[[], Float[Array, "h n n"]]) -> Float[Array, "h a b"]:
        w = weights()
        seen = w > 0
        w = jnp.where(seen, w, 1)
        drawn = log_gamma(self.concentration.astype(z.dtype) * w, jnp.broadcast_to(z, w.shape))
        return jnp.where(seen, drawn - jnp.log(w), 0)

    def matrices(self, heads: int) -> int:
        return 12 * heads
