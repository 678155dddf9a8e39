"""Pairs of tokens as a summation sees them: a logit made of a score, a measure, and what a normalizer makes of both.

A normalizer's weights are w_ij = pi_ij e^r(s_ij), r its log ratio, which may hold a number for each row and each column
that it has solved for. So whatever a normalizer does is again a pair with logits, and runs on every summation.
"""

import abc
from typing import Any, Literal

import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, Int, PyTree

from ..declaration import Declared
from ..summation import AbstractPair, Bilinear, Unserved

Pattern = Literal["full", "causal", "other"]


class Tokens(eqx.Module):
    """Tokens with their indices: what a summation slices into rows and columns.

    Attributes
    ----------
    weight : a log weight of each as a column, beside its mass; None for none.
    """

    index: Int[Array, " n"]
    position: Float[Array, "n d"]
    weight: Float[Array, " n"] | None = None

    @classmethod
    def of(cls, x: Float[Array, "n d"]) -> "Tokens":
        return cls(jnp.arange(x.shape[0], dtype=jnp.int32), x)

    @property
    def nothing(self) -> Float[Array, "n 0"]:
        """Values without columns, for a gather of masses alone."""
        return self.position[:, :0]


class AbstractWeighed(AbstractPair):
    """A pair that knows the parts of its logit: score, factor of the pair, masses of row and column."""

    score: eqx.AbstractVar[Declared]

    @abc.abstractmethod
    def scores(self, rows: Tokens, columns: Tokens) -> Float[Array, "n m"]:
        """The score of every pair."""

    @abc.abstractmethod
    def factor(self, rows: Tokens, columns: Tokens) -> Float[Array, "n m"] | None:
        """The log factor of every pair, masses left out; None where it is 0 throughout."""

    @abc.abstractmethod
    def column_mass(self, columns: Tokens) -> Float[Array, " m"] | None:
        """The log mass of every column, the level left out; None where it is 0 throughout."""

    @abc.abstractmethod
    def row_mass(self, rows: Tokens) -> Float[Array, " n"]:
        """The log mass of every row, to be seen by columns."""

    @property
    @abc.abstractmethod
    def pattern(self) -> Pattern:
        """Who sees whom, where that has a name."""

    @property
    @abc.abstractmethod
    def plain(self) -> "AbstractWeighed":
        """The pair whose density is its measure, and no part of its score."""

    @property
    @abc.abstractmethod
    def symmetric(self) -> bool:
        """Whether rows and columns are the same tokens, see all of each other, and score each other alike."""

    @abc.abstractmethod
    def products(self, rows: Tokens, columns: Tokens) -> Bilinear:
        """The logits as products of row and column, masses left out.

        Raises
        ------
        Unserved
            If they are none.
        """

    @abc.abstractmethod
    def query_features(self, rows: Tokens) -> Float[Array, "n f"]:
        """The features of rows, for a score that is made of features."""

    @abc.abstractmethod
    def key_features(self, columns: Tokens) -> Float[Array, "m f"]:
        """The features of columns, for a score that is made of features."""

    def density(self, rows: Tokens, columns: Tokens) -> Float[Array, "n m"] | None:
        """The log density of every pair, the level left out; None where it is 0 throughout."""
        factor, mass = self.factor(rows, columns), self.column_mass(columns)
        if mass is None:
            return factor
        alone = jnp.broadcast_to(mass[None, :], (rows.index.shape[0], mass.shape[0]))
        return alone if factor is None else factor + mass[None, :]

    def logits(self, rows: Tokens, columns: Tokens) -> Float[Array, "n m"]:
        return _sum(self.scores(rows, columns), self.density(rows, columns))

    def bilinear(self, rows: Tokens, columns: Tokens) -> Bilinear:
        return self.products(rows, columns).plus(None, self.column_mass(columns))


class Held(eqx.Module):
    """Tokens with what was solved for: trees of arrays whose first axis runs over tokens."""

    tokens: Tokens
    numbers: PyTree[Array]


class Shift(eqx.Module):
    """A log ratio that is the score, or nothing, and numbers added for each row and each column.

    Attributes
    ----------
    score : whether the score counts.
    row, column : the signs with which the numbers count, 0 for those that are not there.
    """

    score: bool = eqx.field(static=True, default=True)
    row: int = eqx.field(static=True, default=0)
    column: int = eqx.field(static=True, default=0)

    def __call__(self, scores: Float[Array, "n m"], row: Any, column: Any) -> Float[Array, "n m"]:
        shifted = scores if self.score else jnp.zeros_like(scores)
        shifted = shifted + self.row * row if self.row else shifted
        return shifted + self.column * column if self.column else shifted

    def applied(self, form: Bilinear, row: Any, column: Any) -> Bilinear:
        """The same for products, numbers `[n]` and `[m]`."""
        if not self.score:
            nothing = jnp.zeros_like
            form = Bilinear(nothing(form.a), nothing(form.b), nothing(form.r), nothing(form.c), form.itself)
        return form.plus(self.row * row if self.row else None, self.column * column if self.column else None)


class Ratio(AbstractPair):
    """The logarithm of a normalizer's weight: its ratio to the measure, and the measure.

    Parameters
    ----------
    ratio : of scores `[n m]`, numbers of rows `[n 1]` and of columns `[1 m]`; a `Shift` where it only adds numbers.
    counting : whether the measure counts as 1 wherever it is not 0.
    """

    pair: AbstractWeighed
    ratio: Any
    counting: bool = eqx.field(static=True)

    def logits(self, rows: Held, columns: Held) -> Float[Array, "n m"]:
        return self.of(self.pair.scores(rows.tokens, columns.tokens), rows, columns)

    def of(self, scores: Float[Array, "n m"], rows: Held, columns: Held) -> Float[Array, "n m"]:
        """The log weights for given scores."""
        density = self.pair.density(rows.tokens, columns.tokens)
        if density is not None and self.counting:
            density = jnp.where(density > -jnp.inf, jnp.zeros_like(density), density)
        return _sum(self.alone(scores, rows, columns), density)

    def alone(self, scores: Float[Array, "n m"], rows: Held, columns: Held) -> Float[Array, "n m"]:
        """The log ratios for given scores, without the measure."""
        row_numbers = jax.tree.map(lambda leaf: leaf[:, None], rows.numbers)
        column_numbers = jax.tree.map(lambda leaf: leaf[None, :], columns.numbers)
        return self.ratio(scores, row_numbers, column_numbers)

    def bilinear(self, rows: Held, columns: Held) -> Bilinear:
        return self.read(rows.tokens, rows, columns)

    def read(self, there: Tokens, rows: Held, columns: Held) -> Bilinear:
        """The log weights as products, the score read with the rows at other places."""
        if not isinstance(self.ratio, Shift) or self.counting:
            raise Unserved("the normalizer makes of a logit more than a sum with numbers of row and column")
        form = self.pair.products(there, columns.tokens)
        form = self.ratio.applied(form, rows.numbers, columns.numbers)
        return form.plus(None, self.pair.column_mass(columns.tokens))

    def meets(self, rows: Held, columns: Held) -> Bool[Array, ""] | None:
        return self.pair.meets(rows.tokens, columns.tokens)

    def level(self) -> float:
        return 0.0 if self.counting else self.pair.level()

    def bound(self, rows: Held, columns: Held) -> None:
        return None


class Transposed(AbstractPair):
    """A pair with the roles of row and column exchanged: columns gather from rows, weighed by the rows' masses.

    Rows of this pair are the other's columns, and its columns are the other's rows with a number each, which is added
    to the logits.
    """

    pair: AbstractWeighed

    def logits(self, rows: Tokens, columns: Held) -> Float[Array, "n m"]:
        pair, seen = self.pair, columns.tokens
        logits = _sum(pair.scores(seen, rows), pair.factor(seen, rows)).T
        return logits + (columns.numbers + pair.row_mass(seen))[None, :]

    def bilinear(self, rows: Tokens, columns: Held) -> Bilinear:
        form = self.pair.products(columns.tokens, rows).transposed
        return form.plus(None, columns.numbers + self.pair.row_mass(columns.tokens))

    def meets(self, rows: Tokens, columns: Held) -> Bool[Array, ""] | None:
        return self.pair.meets(columns.tokens, rows)

    def level(self) -> float:
        return 0.0

    def bound(self, rows: Tokens, columns: Held) -> None:
        return None


class Moved(eqx.Module):
    """Rows that weigh from one place and are read at another."""

    held: Held
    position: Float[Array, "n d"]


class Slope(AbstractPair):
    """A pair whose gathered mass has sum_j w_ij grad_1 s(x_i, y_j) as its gradient in the position of row i.

    The weights are those at the rows' own places; only the score is read at `position`.
    """

    weights: Ratio

    def logits(self, rows: Moved, columns: Held) -> Float[Array, "n m"]:
        tokens, pair = rows.held.tokens, self.weights.pair
        there = Tokens(tokens.index, rows.position, tokens.weight)
        scores = pair.scores(tokens, columns.tokens)
        change = pair.scores(there, columns.tokens) - scores
        seen = jnp.isfinite(scores)
        return self.weights.of(scores, rows.held, columns) + jnp.where(seen, jnp.where(seen, change, 0), 0)

    def bilinear(self, rows: Moved, columns: Held) -> Bilinear:
        tokens = rows.held.tokens
        there = Tokens(tokens.index, rows.position, tokens.weight)
        return self.weights.read(there, rows.held, columns)

    def meets(self, rows: Moved, columns: Held) -> Bool[Array, ""] | None:
        return self.weights.meets(rows.held, columns)

    def level(self) -> float:
        return self.weights.level()

    def bound(self, rows: Moved, columns: Held) -> None:
        return None


class Tilted(eqx.Module):
    """Rows with a number each, by which the weights are tilted."""

    held: Held
    tilt: Float[Array, " n"]


class Averaged(AbstractPair):
    """A pair whose log mass has, as derivative in the tilt at 0, the mean of a function under the row's weights.

    Parameters
    ----------
    function : of scores, log ratios and log weights `[n m]`, finite wherever there is weight.
    """

    weights: Ratio
    function: Any

    def logits(self, rows: Tilted, columns: Held) -> Float[Array, "n m"]:
        held, weights = rows.held, self.weights
        scores = weights.pair.scores(held.tokens, columns.tokens)
        log_weights = weights.of(scores, held, columns) + weights.level()
        values = self.function(scores, weights.alone(scores, held, columns), log_weights)
        return log_weights + rows.tilt[:, None] * jnp.where(log_weights > -jnp.inf, values, 0)

    def meets(self, rows: Tilted, columns: Held) -> Bool[Array, ""] | None:
        return self.weights.meets(rows.held, columns)

    def level(self) -> float:
        return 0.0

    def bound(self, rows: Tilted, columns: Held) -> None:
        return None


def _sum(scores: Float[Array, "n m"], density: Float[Array, "n m"] | None) -> Float[Array, "n m"]:
    return scores if density is None else scores + density.astype(scores.dtype)
