"""Scores that fall with the distance of query and key: straight, along a sphere, in coordinates of their own."""

import math
from typing import ClassVar

import jax.numpy as jnp
from jaxtyping import Array, Float

from ...declaration import parameter
from ...summation import Bilinear
from ..maps import AbstractMap, same_matrix
from .base import AbstractScore, check_maps, check_widths, longest


class SquaredDistance(AbstractScore):
    r"""A Gaussian kernel in the distance of query and key: L2 attention, mean shift, a Mahalanobis metric.

    .. math:: s(x, y) = -\frac{\beta}{2} |Q x - K y|^2

    With tied maps (K left out) and a value matrix of bounded norm the law is Lipschitz on all of R^d, and Q^T Q is the
    metric. On the sphere, with no maps, it is `DotProduct` of the same beta up to a constant. The kernel's width is
    1/sqrt(beta).

    Parameters
    ----------
    beta : inverse temperature, positive.
    query : Q; without it the identity.
    key : K; without it the same as Q.

    Raises
    ------
    ValueError
        If K stands without Q or their shapes do not meet.

    Cost
    ----
    O(n m k): a product of matrices and two norms, never an array `[n m d]`. A common center is taken away first, since
    the expanded square loses digits far from the origin.

    Source
    ------
    kim2021lipschitz.
    """

    beta: Float[Array, ""] = parameter(1.0, gt=0)
    query: Float[Array, "k d"] | None = parameter(None)
    key: Float[Array, "_k d"] | None = parameter(None)
    sources: ClassVar[tuple[str, ...]] = ("kim2021lipschitz",)

    def __check_init__(self):
        check_maps(self.query, self.key)
        if self.query is None and self.key is not None:
            raise ValueError("SquaredDistance takes `key` only beside `query`; give `query` alone to tie the two")

    def __call__(self, x: Float[Array, "n d"], y: Float[Array, "m d"]) -> Float[Array, "n m"]:
        return self.beta * _minus_half_square(*self._images(x, y))

    def bound(self, x: Float[Array, "n d"], y: Float[Array, "m d"]) -> Float[Array, ""]:
        x, y = self._images(x, y)
        return 0.5 * self.beta * (longest(x) + longest(y)) ** 2

    def bilinear(self, x: Float[Array, "n d"], y: Float[Array, "m d"]) -> Bilinear:
        root = jnp.sqrt(self.beta)
        x, y = self._images(x, y)
        return Bilinear.distance(root * x, root * y)

    def check_dim(self, d: int) -> None:
        check_widths(self, d, query=self.query, key=self.key)

    @property
    def symmetric(self) -> bool:
        return self.key is None or self.query is None or same_matrix(self.query, self.key)

    @property
    def symmetric_by_form(self) -> bool:
        return self.key is None

    def _images(
        self, x: Float[Array, "n d"], y: Float[Array, "m d"]
    ) -> tuple[Float[Array, "n k"], Float[Array, "m k"]]:
        if self.query is None:
            return x, y
        return x @ self.query.T, y @ (self.query if self.key is None else self.key).T


class Metric(AbstractScore):
    r"""A Gaussian kernel in learned coordinates: metric attention.

    .. math:: s(x, y) = -\frac{\beta}{2} |\phi(x) - \phi(y)|^2

    A residual map phi(x) = x + f(x) bends the space; a linear one is a Mahalanobis metric, as is `SquaredDistance`.

    Parameters
    ----------
    map : phi.
    beta : inverse temperature, 1/eps, positive.

    Cost
    ----
    As `SquaredDistance`, and the map once for each token and block.

    Source
    ------
    ruan2024towards.
    """

    map: AbstractMap
    beta: Float[Array, ""] = parameter(1.0, gt=0)
    sources: ClassVar[tuple[str, ...]] = ("ruan2024towards",)

    def __call__(self, x: Float[Array, "n d"], y: Float[Array, "m d"]) -> Float[Array, "n m"]:
        return self.beta * _minus_half_square(self.map(x), self.map(y))

    def bound(self, x: Float[Array, "n d"], y: Float[Array, "m d"]) -> Float[Array, ""]:
        return 0.5 * self.beta * (longest(self.map(x)) + longest(self.map(y))) ** 2

    def bilinear(self, x: Float[Array, "n d"], y: Float[Array, "m d"]) -> Bilinear:
        root = jnp.sqrt(self.beta)
        return Bilinear.distance(root * self.map(x), root * self.map(y))

    def check_dim(self, d: int) -> None:
        self.map.image_dim(d)

    @property
    def symmetric_by_form(self) -> bool:
        return True


class Geodesic(AbstractScore):
    r"""A Gaussian kernel in the arc length on a sphere, for tokens that live there.

    .. math:: s(x, y) = -\frac{\beta}{2} R^2 \arccos^2 \frac{\langle x, y\rangle}{R^2}

    Computed from the chord, by its series where tokens are close, so that the gradient is right where they meet. Where
    two tokens are antipodes the distance has no gradient; it is given as zero there.

    Parameters
    ----------
    beta : inverse temperature, 1/eps, positive.
    radius : R.

    Source
    ------
    ruan2024towards, with the distance of the sphere.
    """

    beta: Float[Array, ""] = parameter(1.0, gt=0)
    radius: Float[Array, ""] = parameter(1.0, gt=0)
    sources: ClassVar[tuple[str, ...]] = ("ruan2024towards",)

    def __call__(self, x: Float[Array, "n d"], y: Float[Array, "m d"]) -> Float[Array, "n m"]:
        square = -2 * _minus_half_square(x, y)  # of the chord
        return -2 * self.beta * self.radius**2 * _squared_arcsine(square / (4 * self.radius**2))

    def bound(self, x: Float[Array, "n d"], y: Float[Array, "m d"]) -> Float[Array, ""]:
        return 0.5 * self.beta * (math.pi * self.radius) ** 2

    def check_dim(self, d: int) -> None:
        if d < 2:
            raise ValueError(f"Geodesic is a score on a sphere, which needs dimension 2 or more; got {d}")

    @property
    def symmetric_by_form(self) -> bool:
        return True


class LogDistance(AbstractScore):
    r"""A power law in the distance: gravity, and the focus of attention.

    .. math:: s(x, y) = -\frac{\beta}{2} \log(|Q x - Q y|^2 + \epsilon)

    With `Mean` and `Difference` at beta = 2 a token is drawn as by softened masses in the plane; the energy with beta =
    1 is Plummer's. `Softmax` in place of `Mean` is mean shift with Cauchy's kernel.

    Parameters
    ----------
    beta : the power, positive.
    softening : epsilon, positive; zero would be singular where a token meets itself.
    query : Q; without it the identity.

    Source
    ------
    zanca2020gravitational.
    """

    beta: Float[Array, ""] = parameter(2.0, gt=0)
    softening: Float[Array, ""] = parameter(1e-2, gt=0)
    query: Float[Array, "k d"] | None = parameter(None)
    sources: ClassVar[tuple[str, ...]] = ("zanca2020gravitational",)

    def __call__(self, x: Float[Array, "n d"], y: Float[Array, "m d"]) -> Float[Array, "n m"]:
        square = -2 * _minus_half_square(*self._images(x, y))
        return -0.5 * self.beta * jnp.log(square + self.softening)

    def bound(self, x: Float[Array, "n d"], y: Float[Array, "m d"]) -> Float[Array, ""]:
        x, y = self._images(x, y)
        farthest = (longest(x) + longest(y)) ** 2 + self.softening
        return 0.5 * self.beta * jnp.maximum(jnp.abs(jnp.log(farthest)), jnp.abs(jnp.log(self.softening)))

    def check_dim(self, d: int) -> None:
        check_widths(self, d, query=self.query)

    @property
    def symmetric_by_form(self) -> bool:
        return True

    def _images(
        self, x: Float[Array, "n d"], y: Float[Array, "m d"]
    ) -> tuple[Float[Array, "n k"], Float[Array, "m k"]]:
        return (x, y) if self.query is None else (x @ self.query.T, y @ self.query.T)


class Within(AbstractScore):
    r"""Tokens see those within a radius, all alike: bounded confidence.

    .. math:: s(x, y) = 0 \text{ if } |x - y| < r, \text{ else } -\infty

    The field jumps when a token enters or leaves, so a solver loses its order there; `Entmax(2)` with `SquaredDistance`
    is the continuous relative. The gradient is zero wherever there is one.

    Parameters
    ----------
    radius : r, positive.

    Source
    ------
    hegselmann2002opinion.
    """

    smooth: ClassVar[bool] = False
    radius: Float[Array, ""] = parameter(1.0, gt=0)
    sources: ClassVar[tuple[str, ...]] = ("hegselmann2002opinion",)

    def __call__(self, x: Float[Array, "n d"], y: Float[Array, "m d"]) -> Float[Array, "n m"]:
        near = -2 * _minus_half_square(x, y) < self.radius**2
        return jnp.where(near, jnp.zeros((), x.dtype), jnp.full((), -jnp.inf, x.dtype))

    def bound(self, x: Float[Array, "n d"], y: Float[Array, "m d"]) -> Float[Array, ""]:
        return jnp.zeros((), x.dtype)

    @property
    def symmetric_by_form(self) -> bool:
        return True


def _minus_half_square(x: Float[Array, "n k"], y: Float[Array, "m k"]) -> Float[Array, "n m"]:
    """-|x - y|^2 / 2 of every pair, around a common center, never positive."""
    center = jnp.mean(y, axis=0, keepdims=True)
    x, y = x - center, y - center
    half_x, half_y = 0.5 * jnp.sum(x * x, axis=-1), 0.5 * jnp.sum(y * y, axis=-1)
    return x @ y.T - half_x[:, None] - half_y[None, :]


def _squared_arcsine(q: Float[Array, "n m"]) -> Float[Array, "n m"]:
    """arcsin(sqrt(q))^2, smooth at 0: by its series there. At 1 and beyond it is constant."""
    near = q < 0.01
    small, term = jnp.zeros_like(q), jnp.where(near, q, 0)
    for k in range(1, 9):  # the next term is below 1e-18
        small = small + 4**k / (2 * k**2 * math.comb(2 * k, k)) * term**k
    inside = jnp.where(near, 0.5, jnp.where(q < 1, q, 0.5))
    large = jnp.where(q < 1, jnp.arcsin(jnp.sqrt(inside)) ** 2, (math.pi / 2) ** 2)
    return jnp.where(near, small, large)
