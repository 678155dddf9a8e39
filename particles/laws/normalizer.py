"""What logits become: the weights with which a row pulls at the values of the columns.

A normalizer is handed a way to gather and asks for as much as it needs. One gather is enough for those that only close
the result, `AbstractOnePass`; those that solve for a threshold or a scaling gather several times with logits of their
own, and so run on every summation without knowing which.
"""

import abc
from typing import ClassVar

import jax.numpy as jnp
from jaxtyping import Array, Float, PyTree

from ..declaration import Declared
from ..summation import AbstractPair, AbstractSummation, Gathered
from ..summation.base import finite


class AbstractNormalizer(Declared):
    """A map from the logits of all pairs to their weights, applied to values without holding either."""

    @abc.abstractmethod
    def weighted(
        self,
        pair: AbstractPair,
        rows: PyTree[Array],
        columns: PyTree[Array],
        values: Float[Array, "m k"],
        summation: AbstractSummation,
    ) -> Float[Array, "n k"]:
        """The sum over columns of weight times value, for each row; 0 for a row that sees nobody."""


class AbstractOnePass(AbstractNormalizer):
    """A normalizer that needs one gather and only closes it."""

    @abc.abstractmethod
    def close(self, gathered: Gathered) -> Float[Array, "n k"]:
        """The weighted sum of each row from what it has gathered."""

    def weighted(
        self,
        pair: AbstractPair,
        rows: PyTree[Array],
        columns: PyTree[Array],
        values: Float[Array, "m k"],
        summation: AbstractSummation,
    ) -> Float[Array, "n k"]:
        return self.close(summation.gather(pair, rows, columns, values))


class Softmax(AbstractOnePass):
    r"""Attention as a convex mean: the weights of a row are positive and sum to one.

    .. math:: F_i = \sum_j \frac{\pi_{ij} e^{s_{ij}}}{\sum_k \pi_{ik} e^{s_{ik}}} v_j

    On the sphere with `DotProduct` this is the flow SA in which clusters form; `beta` sets how long tokens stay
    apart. A row that sees nobody has no mean: its weights, its field and all their gradients are defined as zero.

    Units
    -----
    Weights are pure numbers; the field is in units of the values per unit of depth.

    Cost
    ----
    One gather: O(n m d) time; memory is the summation's.

    Source
    ------
    vaswani2017attention; as a flow, geshkovski2023perspective.
    """

    sources: ClassVar[tuple[str, ...]] = ("vaswani2017attention", "geshkovski2023perspective")

    def close(self, gathered: Gathered) -> Float[Array, "n k"]:
        seen = (gathered.mass > 0)[:, None]
        mass = jnp.where(seen, gathered.mass[:, None], 1)
        return jnp.where(seen, gathered.total / mass, 0)


class Mean(AbstractOnePass):
    r"""Attention without the denominator, USA: a mean over tokens of e^s times the value.

    .. math:: F_i = \sum_j \pi_{ij} e^{s_{ij}} v_j

    With a symmetric form as score and value it is the gradient flow of the energy, and the easier one to prove
    things about. Its clock is exponential in the score: the field is of size e^beta where tokens have met, and
    overflows at scores above 88 in float32, 709 in float64.

    Cost
    ----
    One gather.

    Source
    ------
    geshkovski2023perspective.
    """

    sources: ClassVar[tuple[str, ...]] = ("geshkovski2023perspective",)

    def close(self, gathered: Gathered) -> Float[Array, "n k"]:
        return jnp.exp(finite(gathered.peak))[:, None] * gathered.total
