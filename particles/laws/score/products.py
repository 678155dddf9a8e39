"""Scores that are products: of query and key, of their directions."""

from typing import ClassVar

import jax.numpy as jnp
from jaxtyping import Array, Float

from ...declaration import parameter
from ...summation import Bilinear
from ..maps import same_matrix, symmetric_matrix
from .base import AbstractScore, check_maps, check_widths, longest


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
        check_maps(self.query, self.key)
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
        return jnp.abs(self.beta) * longest(x) * longest(y)

    def bilinear(self, x: Float[Array, "n d"], y: Float[Array, "m d"]) -> Bilinear:
        x, y = self._images(x, y)
        return Bilinear.product(self.beta * x, y)

    def check_dim(self, d: int) -> None:
        check_widths(self, d, query=self.query, key=self.key, form=self.form)

    @property
    def symmetric(self) -> bool:
        if self.form is not None:
            return symmetric_matrix(self.form)
        return self.query is None or self.key is None or symmetric_matrix(self.query.T @ self.key)

    @property
    def symmetric_by_form(self) -> bool:
        return self.query is None and self.form is None

    def _images(
        self, x: Float[Array, "n d"], y: Float[Array, "m d"]
    ) -> tuple[Float[Array, "n k"], Float[Array, "m k"]]:
        if self.form is not None:
            return x @ self.form, y
        if self.query is not None and self.key is not None:
            return x @ self.query.T, y @ self.key.T
        return x, y


class Cosine(AbstractScore):
    r"""The cosine of query and key: only directions count.

    .. math:: s(x, y) = \beta \frac{\langle Q x, K y\rangle}{|Q x|\,|K y|}

    The zero vector has no direction: its score and the gradient there are defined as zero.

    Parameters
    ----------
    beta : inverse temperature, any sign.
    query, key : Q and K, given together; without them the identity.

    Raises
    ------
    ValueError
        If one of Q and K is missing, or their shapes do not meet.

    Source
    ------
    henry2020query.
    """

    beta: Float[Array, ""] = parameter(1.0)
    query: Float[Array, "k d"] | None = parameter(None)
    key: Float[Array, "_k d"] | None = parameter(None)
    sources: ClassVar[tuple[str, ...]] = ("henry2020query",)

    def __check_init__(self):
        check_maps(self.query, self.key)
        if (self.query is None) != (self.key is None):
            raise ValueError("Cosine needs `query` and `key` together; got one of them")

    def __call__(self, x: Float[Array, "n d"], y: Float[Array, "m d"]) -> Float[Array, "n m"]:
        form = self.bilinear(x, y)
        return form.a @ form.b.T

    def bound(self, x: Float[Array, "n d"], y: Float[Array, "m d"]) -> Float[Array, ""]:
        return jnp.abs(self.beta)

    def bilinear(self, x: Float[Array, "n d"], y: Float[Array, "m d"]) -> Bilinear:
        if self.query is not None and self.key is not None:
            x, y = x @ self.query.T, y @ self.key.T
        return Bilinear.product(self.beta * _direction(x), _direction(y))

    def check_dim(self, d: int) -> None:
        check_widths(self, d, query=self.query, key=self.key)

    @property
    def symmetric(self) -> bool:
        return self.query is None or self.key is None or same_matrix(self.query, self.key)

    @property
    def symmetric_by_form(self) -> bool:
        return self.query is None


def _direction(rows: Float[Array, "n k"]) -> Float[Array, "n k"]:
    square = jnp.sum(rows * rows, axis=-1, keepdims=True)
    there = square > 0
    return jnp.where(there, rows / jnp.sqrt(jnp.where(there, square, 1)), 0)
