"""The logit of a pair of tokens: how much a query x and a key y have to do with each other.

A score is a function of two points and knows no others. Temperature lives here and nowhere else: `beta` is the inverse
temperature, and a score with beta = 0 holds all tokens for alike.
"""

import abc
from typing import ClassVar

import jax.numpy as jnp
from equinox import AbstractVar
from jaxtyping import Array, Float

from ..declaration import Declared, parameter


class AbstractScore(Declared):
    """A function of a query and a key."""

    beta: AbstractVar[Float[Array, ""]]

    @abc.abstractmethod
    def __call__(self, x: Float[Array, "n d"], y: Float[Array, "m d"]) -> Float[Array, "n m"]:
        """The logit of every pair, temperature included."""

    @abc.abstractmethod
    def bound(self, x: Float[Array, "n d"], y: Float[Array, "m d"]) -> Float[Array, ""]:
        """A number that no logit exceeds in size; infinite where none is known."""


class DotProduct(AbstractScore):
    r"""The score of the transformer, a bilinear form of query and key.

    .. math:: s(x, y) = \beta \langle Q x, K y\rangle \quad\text{or}\quad \beta\, x^T B y

    Any sign of `beta` is allowed: a negative one makes tokens attend to their opposites. Not Lipschitz on all of R^d.

    Parameters
    ----------
    beta : inverse temperature.
    query, key : Q and K, given together; without them the identity.
    form : B, in place of Q and K.

    Raises
    ------
    ValueError
        If one of Q and K is missing, if B stands beside them, or if their shapes do not meet.

    Cost
    ----
    O(n m k) for queries and keys of width k.

    Source
    ------
    vaswani2017attention.
    """

    beta: Float[Array, ""] = parameter(1.0)
    query: Float[Array, "k d"] | None = parameter(None)
    key: Float[Array, "_k d"] | None = parameter(None)
    form: Float[Array, "d d"] | None = parameter(None)
    sources: ClassVar[tuple[str, ...]] = ("vaswani2017attention",)

    def __check_init__(self):
        _check_maps(self.query, self.key)
        if (self.query is None) != (self.key is None):
            raise ValueError(
                "DotProduct needs `query` and `key` together; got one of them. One matrix alone is `form`."
            )
        if self.form is not None:
            if self.query is not None:
                raise ValueError("DotProduct takes `query` and `key`, or `form` = Q^T K; got all of them")
            if self.form.shape[0] != self.form.shape[1]:
                raise ValueError(f"`form` of DotProduct must be square; got shape {self.form.shape}")

    def __call__(self, x: Float[Array, "n d"], y: Float[Array, "m d"]) -> Float[Array, "n m"]:
        x, y = self._images(x, y)
        return (self.beta * x) @ y.T

    def bound(self, x: Float[Array, "n d"], y: Float[Array, "m d"]) -> Float[Array, ""]:
        x, y = self._images(x, y)
        return jnp.abs(self.beta) * _longest(x) * _longest(y)

    def _images(
        self, x: Float[Array, "n d"], y: Float[Array, "m d"]
    ) -> tuple[Float[Array, "n k"], Float[Array, "m k"]]:
        if self.form is not None:
            return x @ self.form, y
        if self.query is not None and self.key is not None:
            return x @ self.query.T, y @ self.key.T
        return x, y


class SquaredDistance(AbstractScore):
    r"""A Gaussian kernel in the distance of query and key: L2 attention, mean shift.

    .. math:: s(x, y) = -\frac{\beta}{2} |Q x - K y|^2

    With tied maps (K left out) and a value matrix of bounded norm the law is Lipschitz on all of R^d. On the sphere,
    with no maps, it is `DotProduct` of the same beta up to a constant. The kernel's width is 1/sqrt(beta).

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
        _check_maps(self.query, self.key)
        if self.query is None and self.key is not None:
            raise ValueError("SquaredDistance takes `key` only beside `query`; give `query` alone to tie the two")

    def __call__(self, x: Float[Array, "n d"], y: Float[Array, "m d"]) -> Float[Array, "n m"]:
        x, y = self._images(x, y)
        center = jnp.mean(y, axis=0, keepdims=True)
        x, y = x - center, y - center
        half_x, half_y = 0.5 * jnp.sum(x * x, axis=-1), 0.5 * jnp.sum(y * y, axis=-1)
        return self.beta * (x @ y.T - half_x[:, None] - half_y[None, :])

    def bound(self, x: Float[Array, "n d"], y: Float[Array, "m d"]) -> Float[Array, ""]:
        x, y = self._images(x, y)
        return 0.5 * self.beta * (_longest(x) + _longest(y)) ** 2

    def _images(
        self, x: Float[Array, "n d"], y: Float[Array, "m d"]
    ) -> tuple[Float[Array, "n k"], Float[Array, "m k"]]:
        if self.query is None:
            return x, y
        return x @ self.query.T, y @ (self.query if self.key is None else self.key).T


def _longest(rows: Float[Array, "n k"]) -> Float[Array, ""]:
    return jnp.sqrt(jnp.max(jnp.sum(rows * rows, axis=-1)))


def _check_maps(query: Float[Array, "k d"] | None, key: Float[Array, "_k d"] | None) -> None:
    if query is not None and key is not None and query.shape != key.shape:
        raise ValueError(
            f"`query` and `key` must have the same shape (width, dim), so that their images meet; "
            f"got {query.shape} and {key.shape}"
        )
