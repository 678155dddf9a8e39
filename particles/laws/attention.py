"""Attention: four slots, score, measure, normalizer and value, composed into one law.

    score       the logit of a pair                      s(x_i, y_j)
    measure     how much of each token there is for whom  pi_ij
    normalizer  what logits become                       w = N[s ; pi]
    value       what is pulled                           nu_ij

The law of one head is u_i = sum_j w_ij nu_ij. Everything that is true of all attentions is written here; everything
that distinguishes them is in the slots.
"""

from typing import ClassVar

import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Int

from ..summation import AbstractPair, AbstractSummation
from .base import AbstractPotentialLaw
from .measure import AbstractMeasure, Uniform
from .normalizer import AbstractNormalizer, Softmax
from .score import AbstractScore, DotProduct
from .value import AbstractValue, Identity


class Tokens(eqx.Module):
    """Tokens with their indices: what a summation slices into rows and columns."""

    index: Int[Array, " n"]
    position: Float[Array, "n d"]

    @classmethod
    def of(cls, x: Float[Array, "n d"]) -> "Tokens":
        return cls(jnp.arange(x.shape[0], dtype=jnp.int32), x)


class Weighed(AbstractPair):
    """The logit of a pair of tokens with the log density of the measure added."""

    score: AbstractScore
    measure: AbstractMeasure
    size: int = eqx.field(static=True)

    def logits(self, rows: Tokens, columns: Tokens) -> Float[Array, "n m"]:
        logits = self.score(rows.position, columns.position)
        terms = self.measure.terms(rows.index, columns.index)
        return sum((term.astype(logits.dtype) for term in terms), start=logits)

    def level(self) -> float:
        return self.measure.level(self.size)

    def bound(self, rows: Tokens, columns: Tokens) -> Float[Array, ""]:
        bound = self.score.bound(rows.position, columns.position) + self.measure.bound()
        return jax.lax.stop_gradient(bound)


class Attention(AbstractPotentialLaw):
    r"""One head of attention, composed of its slots.

    .. math:: u_i = \sum_j w_{ij} \nu_{ij}, \qquad w = N[s(x_i, x_j); \pi_{ij}]

    Parameters
    ----------
    score, measure, normalizer, value : the slots. By default the plain softmax attention of weight-shared layers.

    Cost
    ----
    As many gathers as the normalizer needs, one for Softmax and Mean.

    Source
    ------
    vaswani2017attention; as an operator on measures, vuckovic2020mathematical.
    """

    score: AbstractScore = eqx.field(default_factory=DotProduct)
    measure: AbstractMeasure = eqx.field(default_factory=Uniform)
    normalizer: AbstractNormalizer = eqx.field(default_factory=Softmax)
    value: AbstractValue = eqx.field(default_factory=Identity)
    sources: ClassVar[tuple[str, ...]] = ("vaswani2017attention", "vuckovic2020mathematical")

    def __call__(
        self, t: Float[Array, ""], x: Float[Array, "n d"], summation: AbstractSummation
    ) -> Float[Array, "n d"]:
        offered = self.value.offered(x)
        return self.value.received(self._weighted(x, offered, summation), x, x)

    def weights(self, x: Float[Array, "n d"], summation: AbstractSummation) -> Float[Array, "n n"]:
        """The attention matrix: how much of token j is in the velocity of token i. Memory O(n^2)."""
        return self._weighted(x, jnp.eye(x.shape[0], dtype=x.dtype), summation)

    def energy(self, x: Float[Array, "n d"], summation: AbstractSummation) -> Float[Array, ""]:
        beta = self.score.beta.astype(x.dtype)

        def partition(beta: Float[Array, ""]) -> Float[Array, ""]:
            law = eqx.tree_at(lambda law: law.score.beta, self, beta)
            return law._partition(x, summation)

        def finite_temperature() -> Float[Array, ""]:
            return partition(beta) / (2 * beta)

        def infinite_temperature() -> Float[Array, ""]:
            """The first two terms of (Z(beta) - 1) / (2 beta) at 0: the second has no value there, but a derivative."""
            at, one = jax.lax.stop_gradient(beta), jnp.ones_like(beta)
            slope = lambda beta: jax.jvp(partition, (beta,), (one,))[1]  # noqa: E731
            first, second = jax.jvp(slope, (at,), (one,))
            return first / 2 + (beta - at) * second / 4

        return jax.lax.cond(beta == 0, infinite_temperature, finite_temperature)

    def _partition(self, x: Float[Array, "n d"], summation: AbstractSummation) -> Float[Array, ""]:
        """The sum over all pairs of pi_i pi_ij e^(s_ij)."""
        tokens = Tokens.of(x)
        gathered = summation.gather(self._pair(x), tokens, tokens, x[:, :0])
        mass = self.measure.mass(x.shape[0]).astype(x.dtype)
        return jnp.sum(mass * jnp.exp(gathered.log_mass))

    def check_tokens(self, n: int, d: int) -> None:
        self.measure.check_tokens(n)
        for slot, rows in ((self.score, None), (self.value, d)):
            for name, matrix in vars(slot).items():
                if getattr(matrix, "ndim", 0) == 2 and (
                    matrix.shape[1] != d or matrix.shape[0] != (rows or matrix.shape[0])
                ):
                    raise ValueError(
                        f"`{name}` of {type(slot).__name__} has shape {matrix.shape}, but tokens have dimension {d}: "
                        f"it must be {'k' if rows is None else d} x {d}"
                    )

    def _pair(self, x: Float[Array, "n d"]) -> Weighed:
        return Weighed(self.score, self.measure, x.shape[0])

    def _weighted(
        self, x: Float[Array, "n d"], offered: Float[Array, "n k"], summation: AbstractSummation
    ) -> Float[Array, "n k"]:
        tokens = Tokens.of(x)
        return self.normalizer.weighted(self._pair(x), tokens, tokens, offered, summation)
