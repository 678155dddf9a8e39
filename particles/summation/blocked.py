"""Tiles of pairs, one after another: memory that grows with the number of tokens, not of pairs.

Rows are cut into blocks; each block walks over the blocks of columns and merges what it gathers. Neither number of
tokens needs to be a multiple of its block: the tail is padded with rows that are thrown away and columns whose logit
is -inf. Reverse mode computes a tile again instead of keeping its scores.

A tile in which nobody sees anybody is skipped. That a pair may score the same both ways is not used: on processors the
second use of a tile costs more than its exponentials.
"""

from collections.abc import Callable
from typing import ClassVar, Literal

import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, PyTree

from ..declaration import option
from .base import AbstractPair, AbstractSummation, Gathered, closed, length, nothing, raised, weighed

# Logits below this part of the largest exponent can be summed as they are: exponentials of either sign neither
# overflow, even added up, nor vanish.
TAME = 0.45
TILE = 2**20  # pairs in a tile


class Blocked(AbstractSummation):
    """Tile by tile, with a running peak: any number of tokens in memory linear in it.

    Parameters
    ----------
    rows, columns : the largest tile. By default about a million pairs, fewer rows than columns: the fastest on two
        processor cores at dimensions 3 and 64.
    scores : the precision in which scores are computed, by default that of the tokens; sums stay in that of the tokens.
        With "bfloat16" a logit of size s has an error of about s / 256.

    Cost
    ----
    O(n m (d + k)) time, O(n k + rows * columns) memory; about half the tiles for a causal measure, those near the
    diagonal for a window.

    Source
    ------
    milakov2018online, for the running peak; rabe2021selfattention, for the two levels.
    """

    rows: int | None = option(None, ge=1)
    columns: int | None = option(None, ge=1)
    scores: Literal["float64", "float32", "bfloat16"] | None = option(None)
    sources: ClassVar[tuple[str, ...]] = ("milakov2018online", "rabe2021selfattention")

    def __check_init__(self):
        if self.scores not in (None, "float64", "float32", "bfloat16"):
            raise ValueError(f"`scores` of Blocked must be float64, float32 or bfloat16; got {self.scores!r}")

    def tile(self, n: int, m: int) -> tuple[int, int]:
        """The tile for n rows and m columns: wide, and taller where there are few columns."""
        columns = min(self.columns or max(2048, TILE // max(n, 1)), m)
        return min(self.rows or max(1, TILE // columns), n), columns

    def gather(
        self, pair: AbstractPair, rows: PyTree[Array], columns: PyTree[Array], values: Float[Array, "m k"]
    ) -> Gathered:
        bound, pair = pair.bound(rows, columns), _Rounded(pair, self.scores) if self.scores else pair
        walk = lambda close: self._walked(pair, rows, columns, values, close)  # noqa: E731
        if bound is None:
            gathered = walk(closed)
        else:
            tame = bound < TAME * jnp.log(jnp.finfo(values.dtype).max)
            gathered = jax.lax.cond(tame, lambda: walk(_summed), lambda: walk(closed))
        return raised(gathered, pair.level())

    def _walked(
        self,
        pair: AbstractPair,
        rows: PyTree[Array],
        columns: PyTree[Array],
        values: Float[Array, "m k"],
        close: Callable[[Array, Array], Gathered],
    ) -> Gathered:
        """Block of rows by block of rows, each past all blocks of columns."""
        n, m = length(rows), length(columns)
        height, width = self.tile(n, m)
        row_blocks, column_blocks = _blocks(rows, height), _blocks((columns, values, jnp.ones(m, bool)), width)

        @jax.checkpoint
        def visit(gathered: Gathered, row_block: PyTree[Array], column_block: PyTree[Array]) -> Gathered:
            some_columns, some_values, real = column_block
            logits = pair.logits(row_block, some_columns).astype(values.dtype)
            if m % width:
                logits = jnp.where(real[None, :], logits, -jnp.inf)
            return gathered.merge(close(logits, some_values))

        def visit_if_needed(gathered: Gathered, row_block: PyTree[Array], column_block: PyTree[Array]) -> Gathered:
            meet = pair.meets(row_block, column_block[0])
            if meet is None:
                return visit(gathered, row_block, column_block)
            return jax.lax.cond(meet, visit, lambda gathered, *_: gathered, gathered, row_block, column_block)

        def one_row_block(row_block: PyTree[Array]) -> Gathered:
            start = nothing(length(row_block), values.shape[1], values.dtype)
            return jax.lax.scan(lambda g, c: (visit_if_needed(g, row_block, c), None), start, column_blocks)[0]

        return _rejoined(jax.lax.map(one_row_block, row_blocks), n)

    def chosen(self, n: int, m: int, itemsize: int) -> AbstractSummation:
        return self

    def memory(self, n: int, m: int, k: int, itemsize: int) -> int:
        height, width = self.tile(n, m)
        return itemsize * (3 * height * width + (2 * n + m) * (k + 2))


class _Rounded(AbstractPair):
    """A pair whose logits are computed in another precision."""

    pair: AbstractPair
    precision: str = eqx.field(static=True)

    def logits(self, rows: PyTree[Array], columns: PyTree[Array]) -> Float[Array, "n m"]:
        cast = lambda leaf: leaf.astype(self.precision) if eqx.is_inexact_array(leaf) else leaf  # noqa: E731
        pair, rows, columns = jax.tree.map(cast, (self.pair, rows, columns))
        return pair.logits(rows, columns)

    def level(self) -> float:
        return self.pair.level()

    def bound(self, rows: PyTree[Array], columns: PyTree[Array]) -> Float[Array, ""] | None:
        return self.pair.bound(rows, columns)

    def meets(self, rows: PyTree[Array], columns: PyTree[Array]) -> Array | None:
        return self.pair.meets(rows, columns)


def _summed(logits: Float[Array, "n m"], values: Float[Array, "m k"]) -> Gathered:
    """What rows gather from columns whose logits are too small to overflow: no peak is looked for."""
    return weighed(jnp.zeros(logits.shape[0], logits.dtype), jnp.exp(logits), values)


def _blocks(tree: PyTree[Array], size: int) -> PyTree[Array]:
    """Every leaf with its first axis cut into blocks of a given size, the last one padded with zeros."""

    def cut(leaf: Array) -> Array:
        count = -(-leaf.shape[0] // size)
        tail = [(0, count * size - leaf.shape[0])] + [(0, 0)] * (leaf.ndim - 1)
        return jnp.pad(leaf, tail).reshape(count, size, *leaf.shape[1:])

    return jax.tree.map(cut, tree)


def _rejoined(blocks: PyTree[Array], n: int) -> PyTree[Array]:
    return jax.tree.map(lambda leaf: leaf.reshape(leaf.shape[0] * leaf.shape[1], *leaf.shape[2:])[:n], blocks)
