"""Linear attention: features multiplied out, and no pair looked at."""

from typing import ClassVar

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from ...declaration import option
from ..head import Asked
from ..meeting import Meeting, Weighing
from ..pair import Pattern
from .base import AbstractNormalizer, divided
from .principle import Rows, entropy

PREFIX_BLOCK = 64


class Linear(AbstractNormalizer):
    r"""Linear attention: the score's features are multiplied out, and no pair is ever looked at.

    .. math:: u_i = \frac{\phi(x_i)^T \sum_j \pi_{ij} \phi(y_j) v_j^T}{\phi(x_i)^T \sum_j \pi_{ij} \phi(y_j)}

    The same weights as `Softmax` with the score `LogFeatures`, which it needs. For all tokens or those before it; any
    other mask would destroy the saving and is refused.

    Parameters
    ----------
    normalized : whether to divide. Without, features may have any sign, and nothing is a convex mean any more.

    Raises
    ------
    ValueError
        For another score, another measure, or features that can be negative where it must divide.

    Cost
    ----
    O((n + m) f k) for f features: linear in the number of tokens.

    Source
    ------
    katharopoulos2020transformers.
    """

    needs_features: ClassVar[bool] = True
    normalized: bool = option(True)
    sources: ClassVar[tuple[str, ...]] = ("katharopoulos2020transformers",)

    @property
    def signed(self) -> bool:  # pyright: ignore[reportIncompatibleVariableOverride]
        """Where it does not divide."""
        return not self.normalized

    def check_slots(self, *, traits: frozenset[str], pattern: Pattern) -> None:
        if pattern == "other":
            raise ValueError(
                "Linear serves Uniform, Masses and Causal measures, whose sums need no pairs; with another one use "
                "Softmax and the same score"
            )

    def check_asked(self, asked: Asked) -> None:
        if asked == "logits":
            raise ValueError(
                "Linear multiplies features out and never forms the logits that noise would be added to; use Softmax "
                "with the same score"
            )
        if asked in ("entropy", "free energy") and not self.normalized:
            raise ValueError(
                "the weights of Linear(normalized=False) may have any sign, so they have no entropy and no free "
                "energy; where features are positive, Mean with the same score has the same weights"
            )

    def weighted(self, meeting: Meeting, values: Float[Array, "m k"]) -> Float[Array, "n k"]:
        sums = _sums(meeting, jnp.concatenate([values, jnp.ones_like(values[:, :1])], axis=1))
        total, seen = sums[:, -1:], sums[:, -1:] != 0
        return jnp.where(seen, sums[:, :-1] / jnp.where(seen, total, 1), 0) if self.normalized else sums[:, :-1]

    def of_pairs(self, meeting: Meeting) -> Weighing:
        self.check_asked("entropy")
        return divided(meeting.log_partition())

    def free_energy(self, meeting: Meeting) -> Float[Array, " n"]:
        """log Z_i, from the sums of features."""
        self.check_asked("free energy")
        return jnp.log(_sums(meeting, jnp.ones_like(meeting.columns.position[:, :1]))[:, 0])

    def principle(self, meeting: Meeting) -> Rows:
        """That of `Softmax`, with the logarithm of the features' product as the score."""
        best = self.free_energy(meeting)
        return Rows.of(meeting, self.of_pairs(meeting), best, entropy(best))


def _sums(meeting: Meeting, values: Float[Array, "m k"]) -> Float[Array, "n k"]:
    """The sum over columns of measure times product of features times value."""
    pair, columns = meeting.pair, meeting.columns
    queries, keys = pair.query_features(meeting.rows), pair.key_features(columns)
    mass = pair.column_mass(columns)
    keys = keys * jnp.exp(pair.level() + (0 if mass is None else mass[:, None]))
    return _prefixes(queries, keys, values) if pair.pattern == "causal" else queries @ (keys.T @ values)


def _prefixes(
    queries: Float[Array, "n f"], keys: Float[Array, "n f"], values: Float[Array, "n k"]
) -> Float[Array, "n k"]:
    """sum_{j <= i} <query_i, key_j> value_j, block by block with a running sum of key times value."""
    n = queries.shape[0]
    size = min(PREFIX_BLOCK, n)
    cut = lambda a: jnp.pad(a, [(0, -n % size), (0, 0)]).reshape(-1, size, a.shape[1])  # noqa: E731
    before = jnp.tril(jnp.ones((size, size), queries.dtype))

    def one(state: Float[Array, "f k"], block: tuple[Array, Array, Array]) -> tuple[Array, Array]:
        query, key, value = block
        return state + key.T @ value, query @ state + (query @ key.T * before) @ value

    start = jnp.zeros((keys.shape[1], values.shape[1]), values.dtype)
    return jax.lax.scan(one, start, (cut(queries), cut(keys), cut(values)))[1].reshape(-1, values.shape[1])[:n]
