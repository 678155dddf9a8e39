"""What is pulled: the contribution that a column offers and a row receives.

A value is split into two halves, so that no array over pairs is ever made: what each column offers, before the weighted
sum, and what each row makes of the sum, after it.
"""

import abc
from typing import ClassVar

import jax.numpy as jnp
from jaxtyping import Array, Float

from ..declaration import Declared, parameter


class AbstractValue(Declared):
    """A map from key (and query) to a velocity, linear in the weights."""

    @abc.abstractmethod
    def offered(self, y: Float[Array, "m d"]) -> Float[Array, "m k"]:
        """What each column puts into the weighted sum."""

    @abc.abstractmethod
    def received(
        self, weighted: Float[Array, "n k"], x: Float[Array, "n d"], y: Float[Array, "m d"]
    ) -> Float[Array, "n d"]:
        """The velocity of each row, from the weighted sum of what was offered."""


class Identity(AbstractValue):
    """The key itself: tokens are pulled towards those they attend to.

    Source
    ------
    geshkovski2023perspective.
    """

    sources: ClassVar[tuple[str, ...]] = ("geshkovski2023perspective",)

    def offered(self, y: Float[Array, "m d"]) -> Float[Array, "m k"]:
        return y

    def received(
        self, weighted: Float[Array, "n k"], x: Float[Array, "n d"], y: Float[Array, "m d"]
    ) -> Float[Array, "n d"]:
        return weighted


class Linear(AbstractValue):
    """A matrix times the key: the value map of the transformer. A negative one repels.

    Parameters
    ----------
    matrix : V; a number stands for that multiple of the identity.

    Source
    ------
    vaswani2017attention.
    """

    matrix: Float[Array, "d d"] | Float[Array, ""] = parameter()
    sources: ClassVar[tuple[str, ...]] = ("vaswani2017attention",)

    def offered(self, y: Float[Array, "m d"]) -> Float[Array, "m k"]:
        return y

    def received(
        self, weighted: Float[Array, "n k"], x: Float[Array, "n d"], y: Float[Array, "m d"]
    ) -> Float[Array, "n d"]:
        return apply_map(self.matrix, weighted)


class Difference(AbstractValue):
    r"""A matrix times key minus query: the consensus form, invariant under translations.

    .. math:: \nu_{ij} = V (y_j - x_i)

    Where the weights are positive and V is the identity, the convex hull of the tokens never grows. With
    `SquaredDistance` it is mean shift. Formed around the tokens' center, so that it keeps its digits when a cloud is
    tight.

    Parameters
    ----------
    matrix : V; a number stands for that multiple of the identity, the default for the identity.

    Source
    ------
    geshkovski2023emergence.
    """

    matrix: Float[Array, "d d"] | Float[Array, ""] = parameter(1.0)
    sources: ClassVar[tuple[str, ...]] = ("geshkovski2023emergence",)

    def offered(self, y: Float[Array, "m d"]) -> Float[Array, "m k"]:
        return jnp.concatenate([y - _center(y), jnp.ones_like(y[:, :1])], axis=1)

    def received(
        self, weighted: Float[Array, "n k"], x: Float[Array, "n d"], y: Float[Array, "m d"]
    ) -> Float[Array, "n d"]:
        pulled, weight = weighted[:, :-1], weighted[:, -1:]
        return apply_map(self.matrix, pulled - weight * (x - _center(y)))


def apply_map(matrix: Float[Array, "..."], rows: Float[Array, "n d"]) -> Float[Array, "n d"]:
    """V applied to each row, V being a matrix or a multiple of the identity."""
    return matrix * rows if matrix.ndim == 0 else rows @ matrix.T


def _center(y: Float[Array, "m d"]) -> Float[Array, "1 d"]:
    return jnp.mean(y, axis=0, keepdims=True)
