"""Where tokens live.

A space knows four things: how to bring a point back onto itself (`project`), how to keep a velocity from leaving it
(`tangent`), how far two points are apart (`distance`), and how to draw from its uniform law (`uniform`). One without a
boundary also knows how a free particle moves in it (`acceleration`). It knows nothing of attention or of time. Tokens
are always rows of an array in the ambient space, `[n d]`, so a law is written once, in ambient coordinates, and every
space can hold it.
"""

import abc
import itertools
from typing import ClassVar

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, PRNGKeyArray

from .declaration import Declared, option, parameter


class AbstractSpace(Declared):
    """A subset of R^d that tokens cannot leave."""

    @property
    @abc.abstractmethod
    def constrained(self) -> bool:
        """Whether there is anything to leave: False only where `project` and `tangent` change nothing."""

    @abc.abstractmethod
    def project(self, x: Float[Array, "n d"]) -> Float[Array, "n d"]:
        """The nearest point of the space, for each token; idempotent."""

    @abc.abstractmethod
    def tangent(self, x: Float[Array, "n d"], v: Float[Array, "n d"]) -> Float[Array, "n d"]:
        """The part of a velocity that does not leave the space; linear in `v` on a manifold, idempotent."""

    @abc.abstractmethod
    def distance(self, x: Float[Array, "n d"], y: Float[Array, "m d"]) -> Float[Array, "n m"]:
        """The length of the shortest path within the space, for each pair."""

    @abc.abstractmethod
    def uniform(self, key: PRNGKeyArray, n: int, d: int) -> Float[Array, "n d"]:
        """n independent tokens from the uniform law in ambient dimension d.

        Raises
        ------
        ValueError
            If the space has no uniform law, or none in this dimension.
        """

    @abc.abstractmethod
    def check_dim(self, d: int) -> None:
        """Raises ValueError if the space does not exist in ambient dimension d."""

    @property
    def smooth(self) -> bool:
        """Whether the space has no boundary and says how a free particle moves in it: inertia and noise need that."""
        return False

    @property
    def edges(self) -> tuple[int, ...]:
        """The numbers of leading coordinates that form a space of their own, whatever the coordinates after them do."""
        return ()

    def acceleration(self, x: Float[Array, "n d"], v: Float[Array, "n d"]) -> Float[Array, "n d"]:
        """The acceleration of free particles at x with tangent velocity v, which keeps them in the space.

        Raises
        ------
        ValueError
            If the space is not `smooth`.
        """
        raise ValueError(f"a {type(self).__name__} does not say how a free particle moves in it")


class Euclidean(AbstractSpace):
    """All of R^d: nothing to project, nothing to leave.

    Units
    -----
    Positions carry the unit of the data; depth is a pure number.

    Source
    ------
    geshkovski2023emergence.
    """

    sources: ClassVar[tuple[str, ...]] = ("geshkovski2023emergence",)

    @property
    def constrained(self) -> bool:
        return False

    def project(self, x: Float[Array, "n d"]) -> Float[Array, "n d"]:
        return x

    def tangent(self, x: Float[Array, "n d"], v: Float[Array, "n d"]) -> Float[Array, "n d"]:
        return v

    def distance(self, x: Float[Array, "n d"], y: Float[Array, "m d"]) -> Float[Array, "n m"]:
        return chord(x, y)

    def uniform(self, key: PRNGKeyArray, n: int, d: int) -> Float[Array, "n d"]:
        raise ValueError(
            "Euclidean space has no uniform law. Use the start Blobs(blobs=1) for a Gaussian cloud, or the space Ball."
        )

    def check_dim(self, d: int) -> None:
        _at_least(1, d, "Euclidean space")

    @property
    def smooth(self) -> bool:
        return True

    def acceleration(self, x: Float[Array, "n d"], v: Float[Array, "n d"]) -> Float[Array, "n d"]:
        return jnp.zeros_like(x)


class Sphere(AbstractSpace):
    r"""The sphere of a given radius, where layer normalization puts the tokens.

    .. math:: P_x v = v - \frac{\langle x, v\rangle}{\langle x, x\rangle} x

    The tangent divides by :math:`\langle x, x\rangle` and not by the squared radius, so the field is tangent also a
    little off the sphere, where the inner stages of a solver look, and neither attracts nor repels. The projection of
    the origin is undefined and gives NaN.

    Units
    -----
    `distance` is an arc length; divide by the radius for an angle.

    Source
    ------
    geshkovski2023perspective.
    """

    radius: Float[Array, ""] = parameter(1.0, gt=0)
    sources: ClassVar[tuple[str, ...]] = ("geshkovski2023perspective",)

    @property
    def constrained(self) -> bool:
        return True

    def project(self, x: Float[Array, "n d"]) -> Float[Array, "n d"]:
        return x * (self.radius.astype(x.dtype) / jnp.linalg.norm(x, axis=-1, keepdims=True))

    def tangent(self, x: Float[Array, "n d"], v: Float[Array, "n d"]) -> Float[Array, "n d"]:
        along = jnp.sum(x * v, axis=-1, keepdims=True) / jnp.sum(x * x, axis=-1, keepdims=True)
        return v - along * x

    def distance(self, x: Float[Array, "n d"], y: Float[Array, "m d"]) -> Float[Array, "n m"]:
        radius = self.radius.astype(x.dtype)
        half = 0.5 * chord(x, y) / radius
        capped = jnp.where(half < 1, half, 1)  # the derivative of arcsin is infinite at 1, that of a constant is zero
        return 2 * radius * jnp.arcsin(capped)

    def uniform(self, key: PRNGKeyArray, n: int, d: int) -> Float[Array, "n d"]:
        self.check_dim(d)
        _some(n)
        return self.project(jax.random.normal(key, (n, d)))

    def check_dim(self, d: int) -> None:
        _at_least(2, d, "a sphere (in dimension 1 it is two points, which nothing can join)")

    @property
    def smooth(self) -> bool:
        return True

    def acceleration(self, x: Float[Array, "n d"], v: Float[Array, "n d"]) -> Float[Array, "n d"]:
        return -x * (jnp.sum(v * v, axis=-1, keepdims=True) / jnp.sum(x * x, axis=-1, keepdims=True))


class Ball(AbstractSpace):
    r"""The closed ball of a given radius: free inside, held back at the boundary.

    Inside, the tangent is the velocity itself; on the boundary an outward normal component is dropped. The field is
    discontinuous there, so an adaptive solver takes small steps while tokens slide along the boundary.

    Source
    ------
    vuckovic2020mathematical, whose contraction theorems live on a ball.
    """

    radius: Float[Array, ""] = parameter(1.0, gt=0)
    sources: ClassVar[tuple[str, ...]] = ("vuckovic2020mathematical",)

    @property
    def constrained(self) -> bool:
        return True

    def project(self, x: Float[Array, "n d"]) -> Float[Array, "n d"]:
        radius = self.radius.astype(x.dtype)
        square = jnp.sum(x * x, axis=-1, keepdims=True)
        outside = square > radius**2
        return jnp.where(outside, x * (radius / jnp.sqrt(jnp.where(outside, square, 1))), x)

    def tangent(self, x: Float[Array, "n d"], v: Float[Array, "n d"]) -> Float[Array, "n d"]:
        radius = self.radius.astype(x.dtype)
        square = jnp.sum(x * x, axis=-1, keepdims=True)
        outward = jnp.sum(x * v, axis=-1, keepdims=True)
        close = 16 * jnp.finfo(x.dtype).eps  # a projected point is on the boundary to rounding only
        leaving = (square >= radius**2 * (1 - close)) & (outward > 0)
        return jnp.where(leaving, v - (outward / jnp.where(leaving, square, 1)) * x, v)

    def distance(self, x: Float[Array, "n d"], y: Float[Array, "m d"]) -> Float[Array, "n m"]:
        return chord(x, y)

    def uniform(self, key: PRNGKeyArray, n: int, d: int) -> Float[Array, "n d"]:
        self.check_dim(d)
        _some(n)
        return jax.random.ball(key, d, shape=(n,)) * self.radius

    def check_dim(self, d: int) -> None:
        _at_least(1, d, "a ball")


class Product(AbstractSpace):
    """Several spaces side by side: the coordinates of a token are split among the factors, in order.

    Parameters
    ----------
    factors : the spaces.
    dims : how many coordinates each factor takes; their sum is the ambient dimension.

    Source
    ------
    geshkovski2023perspective, for the single factors.
    """

    factors: tuple[AbstractSpace, ...]
    dims: tuple[int, ...] = option(ge=1)
    sources: ClassVar[tuple[str, ...]] = ("geshkovski2023perspective",)

    def __check_init__(self):
        if len(self.factors) != len(self.dims) or not self.factors:
            raise ValueError(
                f"Product needs one entry of `dims` for each of its `factors`, and at least one; "
                f"got {len(self.factors)} factors and dims={self.dims}"
            )
        for factor, d in zip(self.factors, self.dims, strict=True):
            factor.check_dim(d)

    @property
    def constrained(self) -> bool:
        return any(factor.constrained for factor in self.factors)

    def _split(self, x: Float[Array, "n d"]) -> list[Float[Array, "n _"]]:
        edges = [sum(self.dims[:k]) for k in range(1, len(self.dims))]
        return jnp.split(x, edges, axis=-1)

    def project(self, x: Float[Array, "n d"]) -> Float[Array, "n d"]:
        parts = [f.project(p) for f, p in zip(self.factors, self._split(x), strict=True)]
        return jnp.concatenate(parts, axis=-1)

    def tangent(self, x: Float[Array, "n d"], v: Float[Array, "n d"]) -> Float[Array, "n d"]:
        pairs = zip(self.factors, self._split(x), self._split(v), strict=True)
        return jnp.concatenate([f.tangent(p, w) for f, p, w in pairs], axis=-1)

    def distance(self, x: Float[Array, "n d"], y: Float[Array, "m d"]) -> Float[Array, "n m"]:
        pairs = zip(self.factors, self._split(x), self._split(y), strict=True)
        square = sum(f.distance(p, q) ** 2 for f, p, q in pairs)
        positive = square > 0
        return jnp.where(positive, jnp.sqrt(jnp.where(positive, square, 1)), 0)

    def uniform(self, key: PRNGKeyArray, n: int, d: int) -> Float[Array, "n d"]:
        self.check_dim(d)
        keys = jax.random.split(key, len(self.factors))
        parts = [f.uniform(k, n, p) for f, k, p in zip(self.factors, keys, self.dims, strict=True)]
        return jnp.concatenate(parts, axis=-1)

    def check_dim(self, d: int) -> None:
        if d != sum(self.dims):
            raise ValueError(f"this Product has dims={self.dims}, which sum to {sum(self.dims)}; got dimension {d}")

    @property
    def smooth(self) -> bool:
        return all(factor.smooth for factor in self.factors)

    @property
    def edges(self) -> tuple[int, ...]:
        ends = tuple(itertools.accumulate(self.dims))
        begins = zip(self.factors, (0, *ends), strict=False)
        return tuple(sorted({*ends, *(begin + edge for factor, begin in begins for edge in factor.edges)}))

    def acceleration(self, x: Float[Array, "n d"], v: Float[Array, "n d"]) -> Float[Array, "n d"]:
        pairs = zip(self.factors, self._split(x), self._split(v), strict=True)
        return jnp.concatenate([f.acceleration(p, w) for f, p, w in pairs], axis=-1)


def chord(x: Float[Array, "n d"], y: Float[Array, "m d"]) -> Float[Array, "n m"]:
    """The Euclidean distance of each pair, from differences: exact for tokens that have nearly met.

    Its gradient at coinciding points is defined as zero.
    """
    square = jnp.sum((x[:, None, :] - y[None, :, :]) ** 2, axis=-1)
    apart = square > 0
    return jnp.where(apart, jnp.sqrt(jnp.where(apart, square, 1)), 0)


def _some(n: int) -> None:
    if n < 1:
        raise ValueError(f"there must be at least one token; got n = {n}")


def _at_least(least: int, d: int, what: str) -> None:
    if d < least:
        raise ValueError(f"{what} needs dimension {least} or more; got {d}")
