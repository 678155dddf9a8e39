"""What a code tells of the token that it stands for, where tokens are assigned to codes in parts."""

import abc
from typing import ClassVar

import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from ..declaration import parameter
from ..dynamics import AbstractFlow
from ..laws.maps import image_dim_of
from .base import AbstractObservable


class AbstractAssignment(AbstractObservable):
    """A number of tokens each of which is assigned to every code, in parts p_i = softmax(C x_i / T)."""

    codes: eqx.AbstractVar[Float[Array, "m d"] | None]
    temperature: eqx.AbstractVar[Float[Array, ""]]

    @abc.abstractmethod
    def of_parts(self, log_p: Float[Array, "n m"], log_mean: Float[Array, " m"]) -> Float[Array, ""]:
        """The value for the logs of the parts of each token, and of their mean over tokens."""

    def __call__(self, flow: AbstractFlow, t: Float[Array, ""], x: Float[Array, "n d"]) -> Float[Array, ""]:
        if self.codes is not None:
            image_dim_of("codes", self.codes, x.shape[1], self)
            x = x @ self.codes.astype(x.dtype).T
        log_p = jax.nn.log_softmax(x / self.temperature.astype(x.dtype), axis=1)
        return self.of_parts(log_p, jax.nn.logsumexp(log_p, axis=0) - jnp.log(jnp.asarray(x.shape[0], x.dtype)))


class MutualInformation(AbstractAssignment):
    r"""How much a code tells of which token it stands for: the entropy of codes less that of a single token's.

    .. math:: I = H(\bar p) - \frac1n \sum_i H(p_i) = \frac1n \sum_i \mathrm{KL}(p_i | \bar p),
       \qquad p_i = \mathrm{softmax}(C x_i / T)

    Between 0, all tokens assigned alike, and the log of the number of codes, or of tokens where they are fewer.

    Parameters
    ----------
    codes : C, a row for each code; without it the coordinates of a token are its codes.
    temperature : T; tokens are assigned to their best code as it tends to 0.

    Raises
    ------
    ValueError
        If the codes are not for tokens of this dimension.

    Units
    -----
    Nats.

    Source
    ------
    tiezzi2020focus.
    """

    codes: Float[Array, "m d"] | None = parameter(None)
    temperature: Float[Array, ""] = parameter(1.0, gt=0)
    name: ClassVar[str] = "mutual_information"
    symbol: ClassVar[str] = "$I$"
    unit: ClassVar[str] = "nat"
    positive: ClassVar[bool] = True
    sources: ClassVar[tuple[str, ...]] = ("tiezzi2020focus",)

    def of_parts(self, log_p: Float[Array, "n m"], log_mean: Float[Array, " m"]) -> Float[Array, ""]:
        return jnp.mean(jnp.sum(jnp.exp(log_p) * (log_p - log_mean[None, :]), axis=1))


class QuadraticInformation(AbstractAssignment):
    r"""The same with 1 - |p|^2 in place of the entropy: how far the tokens' assignments are spread.

    .. math:: I_2 = \frac1n \sum_i |p_i|^2 - |\bar p|^2 = \frac1n \sum_i |p_i - \bar p|^2 \le 1 - \frac1m

    for m codes; reached where all are used alike and each token has one of them.

    Parameters
    ----------
    codes, temperature : as for `MutualInformation`.

    Raises
    ------
    ValueError
        If the codes are not for tokens of this dimension.

    Source
    ------
    tiezzi2020focus.
    """

    codes: Float[Array, "m d"] | None = parameter(None)
    temperature: Float[Array, ""] = parameter(1.0, gt=0)
    name: ClassVar[str] = "quadratic_information"
    symbol: ClassVar[str] = "$I_2$"
    positive: ClassVar[bool] = True
    sources: ClassVar[tuple[str, ...]] = ("tiezzi2020focus",)

    def of_parts(self, log_p: Float[Array, "n m"], log_mean: Float[Array, " m"]) -> Float[Array, ""]:
        return jnp.mean(jnp.sum((jnp.exp(log_p) - jnp.exp(log_mean)[None, :]) ** 2, axis=1))
