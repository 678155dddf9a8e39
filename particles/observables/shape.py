"""How a cloud of tokens is shaped: its alignment, its size, how many directions it fills."""

from typing import ClassVar

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from ..dynamics import AbstractFlow
from ..spaces import AbstractSpace
from .base import AbstractObservable

ROWS = 256  # rows of pairs looked at together, so that memory grows with the number of tokens


class MeanCosine(AbstractObservable):
    """The mean cosine over pairs of distinct tokens: 0 for a uniform cloud, 1 for a single cluster.

    A lone token has no pair; its value is 1, that of a cluster.

    Source
    ------
    geshkovski2023perspective.
    """

    name: ClassVar[str] = "mean_cosine"
    symbol: ClassVar[str] = r"$\langle\cos\rangle$"
    sources: ClassVar[tuple[str, ...]] = ("geshkovski2023perspective",)

    def __call__(self, flow: AbstractFlow, t: Float[Array, ""], x: Float[Array, "n d"]) -> Float[Array, ""]:
        n = x.shape[0]
        if n == 1:
            return jnp.ones((), x.dtype)
        u = directions(x)
        return (jnp.sum(jnp.sum(u, axis=0) ** 2) - jnp.sum(u**2)) / (n * (n - 1))


class OrderParameter(AbstractObservable):
    """The length of the mean direction; in d = 2 the order parameter of Kuramoto's model.

    Source
    ------
    kuramoto1975self.
    """

    name: ClassVar[str] = "order_parameter"
    symbol: ClassVar[str] = "$r$"
    sources: ClassVar[tuple[str, ...]] = ("kuramoto1975self",)

    def __call__(self, flow: AbstractFlow, t: Float[Array, ""], x: Float[Array, "n d"]) -> Float[Array, ""]:
        return jnp.linalg.norm(jnp.mean(directions(x), axis=0))


class Radius(AbstractObservable):
    """The largest distance of a token from the origin; constant on a sphere.

    Units
    -----
    That of the positions.

    Source
    ------
    vuckovic2021regularity.
    """

    name: ClassVar[str] = "radius"
    of_measure: ClassVar[bool] = True
    symbol: ClassVar[str] = r"$\max_i |x_i|$"
    positive: ClassVar[bool] = True
    unit: ClassVar[str] = "position"
    sources: ClassVar[tuple[str, ...]] = ("vuckovic2021regularity",)

    def __call__(self, flow: AbstractFlow, t: Float[Array, ""], x: Float[Array, "n d"]) -> Float[Array, ""]:
        return jnp.max(jnp.linalg.norm(x, axis=1))


class Diameter(AbstractObservable):
    """The largest distance between two tokens, within the space.

    Units
    -----
    That of the positions; an arc length on a sphere.

    Cost
    ----
    O(n^2 d) time, O(n) memory.

    Source
    ------
    dong2021attention.
    """

    name: ClassVar[str] = "diameter"
    of_measure: ClassVar[bool] = True
    pairwise: ClassVar[bool] = True
    symbol: ClassVar[str] = r"$\max_{ij} d(x_i, x_j)$"
    positive: ClassVar[bool] = True
    unit: ClassVar[str] = "position"
    sources: ClassVar[tuple[str, ...]] = ("dong2021attention",)

    def __call__(self, flow: AbstractFlow, t: Float[Array, ""], x: Float[Array, "n d"]) -> Float[Array, ""]:
        return diameter(flow.space, x)


class EffectiveRank(AbstractObservable):
    """The exponential of the entropy of the normalized singular values: how many directions the tokens fill.

    Between 1, all tokens on one line through the origin, and the dimension.

    Source
    ------
    roy2007effective.
    """

    name: ClassVar[str] = "effective_rank"
    symbol: ClassVar[str] = r"$\mathrm{erank}$"
    sources: ClassVar[tuple[str, ...]] = ("roy2007effective",)

    def __call__(self, flow: AbstractFlow, t: Float[Array, ""], x: Float[Array, "n d"]) -> Float[Array, ""]:
        singular = jnp.linalg.svd(x, compute_uv=False)
        share = singular / jnp.maximum(jnp.sum(singular), jnp.finfo(x.dtype).tiny)
        positive = share > 0
        return jnp.exp(-jnp.sum(jnp.where(positive, share * jnp.log(jnp.where(positive, share, 1)), 0)))


def directions(x: Float[Array, "n d"]) -> Float[Array, "n d"]:
    """Each token divided by its norm; the zero vector has no direction and stays zero."""
    square = jnp.sum(x * x, axis=1, keepdims=True)
    return x / jnp.sqrt(jnp.where(square > 0, square, 1))


def diameter(space: AbstractSpace, x: Float[Array, "n d"]) -> Float[Array, ""]:
    """The largest distance between two tokens."""
    farthest = jax.lax.map(lambda row: jnp.max(space.distance(row[None, :], x)), x, batch_size=ROWS)
    return jnp.max(farthest)
