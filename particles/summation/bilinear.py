"""Pairs whose logit is a product of row and column: what a fast summation must know of them.

    l_ij = <a_i, b_j> + r_i + c_j

The dot product is one, the squared distance is one, and a normalizer that adds numbers to rows and columns leaves it
one. Since <a, b> = (|a|^2 + |b|^2 - |a - b|^2) / 2, the weights of all of them are a Gaussian kernel between factors.
"""

from collections.abc import Sequence

import equinox as eqx
import jax.numpy as jnp
from jaxtyping import Array, Float


class Unserved(ValueError):
    """A pair has not what a fast summation needs; the message says why."""


class Bilinear(eqx.Module):
    """Logits l_ij = <a_i, b_j> + r_i + c_j, the level of the pair left out.

    Attributes
    ----------
    a, b : the images of rows and columns.
    r, c : what is added for each row and each column; c is -inf for a column that nobody sees.
    itself : whether row i sees column i; if not, rows and columns are the same tokens in the same order.
    """

    a: Float[Array, "n k"]
    b: Float[Array, "m k"]
    r: Float[Array, " n"]
    c: Float[Array, " m"]
    itself: bool = eqx.field(static=True, default=True)

    @classmethod
    def product(cls, a: Float[Array, "n k"], b: Float[Array, "m k"]) -> "Bilinear":
        """<a_i, b_j> alone."""
        return cls(a, b, jnp.zeros_like(a[:, 0]), jnp.zeros_like(b[:, 0]))

    @classmethod
    def distance(cls, a: Float[Array, "n k"], b: Float[Array, "m k"]) -> "Bilinear":
        """-|a_i - b_j|^2 / 2, written around a common center, so that no digits are lost far from the origin."""
        center = jnp.mean(b, axis=0, keepdims=True)
        a, b = a - center, b - center
        return cls(a, b, -0.5 * jnp.sum(a * a, axis=1), -0.5 * jnp.sum(b * b, axis=1))

    def plus(self, r: Float[Array, " n"] | None, c: Float[Array, " m"] | None) -> "Bilinear":
        """With more added for each row and each column; None for nothing."""
        rows = self.r if r is None else self.r + r
        columns = self.c if c is None else self.c + c
        return Bilinear(self.a, self.b, rows, columns, self.itself)

    @property
    def transposed(self) -> "Bilinear":
        """With the roles of row and column exchanged."""
        return Bilinear(self.b, self.a, self.c, self.r, self.itself)

    def diagonal(self) -> Float[Array, " n"]:
        """l_ii, where rows are columns."""
        return jnp.sum(self.a * self.b, axis=1) + self.r + self.c


def added(parts: Sequence[Bilinear]) -> Bilinear:
    """The logits of several added."""
    return Bilinear(
        jnp.concatenate([part.a for part in parts], axis=1),
        jnp.concatenate([part.b for part in parts], axis=1),
        jnp.sum(jnp.stack([part.r for part in parts]), axis=0),
        jnp.sum(jnp.stack([part.c for part in parts]), axis=0),
        all(part.itself for part in parts),
    )
