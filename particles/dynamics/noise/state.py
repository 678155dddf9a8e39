"""Noise on the tokens: each on its own, or all under one random matrix."""

from collections.abc import Callable
from typing import ClassVar

import jax.numpy as jnp
from jaxtyping import Array, Float

from ...declaration import parameter
from ..base import Reading
from .base import AbstractStateNoise


class Brownian(AbstractStateNoise):
    r"""Independent Brownian motion of every token, within the space.

    .. math:: dx_i = P_{x_i} u_i\, dt + \sigma P_{x_i} \circ dB_i

    The equation is Stratonovich's: the methods Heun and EulerHeun follow it as it stands, Euler in Ito's sense, with
    the drift :math:`-\sigma^2 (d-1) x / 2|x|^2` added on a sphere. The papers' inverse temperature of tokens is
    :math:`\kappa = 2/\sigma^2`.

    Parameters
    ----------
    sigma : the standard deviation in each direction per square root of depth.

    Cost
    ----
    The draws of one Brownian tree, O(n d log(until / dt)) for each step.

    Source
    ------
    hsu2002stochastic; as noise on tokens, geshkovski2023perspective.
    """

    sigma: Float[Array, ""] = parameter(ge=0)
    sources: ClassVar[tuple[str, ...]] = ("hsu2002stochastic", "geshkovski2023perspective")

    @property
    def readings(self) -> tuple[Reading, ...]:
        return Reading.stratonovich, Reading.ito

    def shape(self, heads: int, n: int, d: int) -> tuple[int, ...]:
        return n, d

    def pushed(self, increment: Float[Array, "..."], means: Callable[[], Float[Array, "h n d"]]) -> Float[Array, "n d"]:
        return self.sigma.astype(increment.dtype) * increment

    def variance(self, x: Float[Array, "n d"], means: Callable[[], Float[Array, "h n d"]]) -> Float[Array, " n"]:
        return jnp.full_like(x[:, 0], self.sigma.astype(x.dtype) ** 2)

    def matrices(self, heads: int) -> int:
        return 0


class CommonMatrix(AbstractStateNoise):
    r"""Random values, fresh in every layer: one Brownian matrix for each head that moves all tokens at once.

    .. math:: dx_i = P_{x_i} \big(u_i\, dt + \sigma \sum_h dW_h\, m_i^h\big)
        - \tfrac{\sigma^2 (d-1)}{2} \sum_h |m_i^h|^2\, x_i\, dt, \qquad m_i^h = \sum_j w_{ij}^h x_j

    The equation is Ito's, and that is where independent layers with normalization lead; the drift is that of the unit
    sphere. In Stratonovich's sense the same symbols are another law, since the means move with the tokens. Needs the
    method Euler. The weights alone count, whatever the values of the law are: with values 0 the noise acts alone.

    Parameters
    ----------
    sigma : the standard deviation of an entry of a matrix per square root of depth.

    Cost
    ----
    The attention matrices, O(heads n^2) memory, twice for each step.

    Source
    ------
    fedorov2026clustering.
    """

    attends: ClassVar[bool] = True
    common: ClassVar[bool] = True
    sigma: Float[Array, ""] = parameter(ge=0)
    sources: ClassVar[tuple[str, ...]] = ("fedorov2026clustering",)

    @property
    def readings(self) -> tuple[Reading, ...]:
        return (Reading.ito,)

    def shape(self, heads: int, n: int, d: int) -> tuple[int, ...]:
        return heads, d, d

    def pushed(self, increment: Float[Array, "..."], means: Callable[[], Float[Array, "h n d"]]) -> Float[Array, "n d"]:
        return self.sigma.astype(increment.dtype) * jnp.einsum("hde,hne->nd", increment, means())

    def variance(self, x: Float[Array, "n d"], means: Callable[[], Float[Array, "h n d"]]) -> Float[Array, " n"]:
        return self.sigma.astype(x.dtype) ** 2 * jnp.sum(means() ** 2, axis=(0, 2))

    def matrices(self, heads: int) -> int:
        return 2 * heads
