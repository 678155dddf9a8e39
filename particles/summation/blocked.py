"""Tiles of pairs, one after another: memory that grows with the number of tokens, not of pairs.

Rows are cut into blocks; each block walks over the blocks of columns and merges what it gathers. Neither number of
tokens needs to be a multiple of its block: the tail is padded with rows that are thrown away and columns whose logit
is -inf. Reverse mode computes a tile again instead of keeping its scores.

A tile in which nobody sees anybody is skipped. Where pairs score alike both ways, a tile serves its columns too: half
the logits and half the exponentials.
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
SIDE, STEP = 832, 16  # the largest side of a tile that serves both ways, and what it is a multiple of: the fastest


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
    diagonal for a window, and for a score that is symmetric by its form with tokens that all see each other.

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

    def circle(self, n: int) -> tuple[int, int]:
        """How n tokens that score each other alike are cut: an odd number of blocks, and the tokens in each."""
        given = [size for size in (self.rows, self.columns) if size]
        count = -(-n // min(given or [SIDE])) | 1
        size = -(-n // count)
        return count, size if given or count == 1 else -(-size // STEP) * STEP

    def gather(
        self, pair: AbstractPair, rows: PyTree[Array], columns: PyTree[Array], values: Float[Array, "m k"]
    ) -> Gathered:
        bound, pair = pair.bound(rows, columns), _Rounded(pair, self.scores) if self.scores else pair
        walk = lambda close: self._walked(pair, rows, columns, values, close)  # noqa: E731
        if bound is None:
            gathered = walk(closed)
        else:
            tame = bound < TAME * jnp.log(jnp.finfo(values.dtype).max)
            both_ways = pair.mirrored(rows, columns)
            summed = lambda: self._mirrored(pair, rows, columns, values) if both_ways else walk(_summed)  # noqa: E731
            gathered = jax.lax.cond(tame, summed, lambda: walk(closed))
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
        real = jnp.arange(-(-m // width) * width) < m
        row_blocks, column_blocks = _blocks(rows, height), _blocks((columns, values, real), width)

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

    def _mirrored(
        self, pair: AbstractPair, rows: PyTree[Array], columns: PyTree[Array], values: Float[Array, "n k"]
    ) -> Gathered:
        """Blocks of tokens in a circle: each meets itself, and those up to half the way round on behalf of both.

        A token repeated at the end holds nothing, and what it gathers is thrown away.
        """
        n = length(rows)
        count, side = self.circle(n)
        row_blocks, column_blocks = _blocks(rows, side, count), _blocks(columns, side, count)
        held = jnp.concatenate([values, jnp.ones((n, 1), values.dtype)], axis=1)
        held = _blocks(jnp.pad(held, [(0, count * side - n), (0, 0)]), side)

        def weights(row_block: PyTree[Array], column_block: PyTree[Array]) -> Float[Array, "side side"]:
            return jnp.exp(pair.logits(row_block, column_block).astype(values.dtype))

        @jax.checkpoint
        def alone(blocks: PyTree[Array]) -> Float[Array, "side held"]:
            row_block, column_block, held = blocks
            return weights(row_block, column_block) @ held

        @jax.checkpoint
        def together(blocks: PyTree[Array]) -> tuple[Float[Array, "side held"], Float[Array, "held side"]]:
            row_block, here, column_block, there = blocks
            both = weights(row_block, column_block)
            return both @ there, here @ both

        @jax.checkpoint
        def apart(sums: Float[Array, "count side held"], way: Array) -> tuple[Float[Array, "count side held"], None]:
            others = jax.tree.map(lambda leaf: jnp.roll(leaf, -way, axis=0), (column_blocks, held))
            for_rows, for_columns = jax.lax.map(together, (row_blocks, jnp.swapaxes(held, 1, 2), *others))
            return sums + for_rows + jnp.roll(jnp.swapaxes(for_columns, 1, 2), way, axis=0), None

        sums = jax.lax.map(alone, (row_blocks, column_blocks, held))
        sums = _rejoined(jax.lax.scan(apart, sums, jnp.arange(1, count // 2 + 1))[0], n)
        return Gathered(jnp.zeros_like(sums[:, -1]), sums[:, -1], sums[:, :-1])

    def chosen(self, n: int, m: int, itemsize: int) -> AbstractSummation:
        return self

    def memory(self, n: int, m: int, k: int, itemsize: int) -> int:
        height, width = self.tile(n, m)
        tile = max(height * width, self.circle(n)[1] ** 2 if n == m else 0)
        return itemsize * (3 * tile + (4 * n + m) * (k + 2))


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

    def mirrored(self, rows: PyTree[Array], columns: PyTree[Array]) -> bool:
        return self.pair.mirrored(rows, columns)


def _summed(logits: Float[Array, "n m"], values: Float[Array, "m k"]) -> Gathered:
    """What rows gather from columns whose logits are too small to overflow: no peak is looked for."""
    return weighed(jnp.zeros(logits.shape[0], logits.dtype), jnp.exp(logits), values)


def _blocks(tree: PyTree[Array], size: int, count: int | None = None) -> PyTree[Array]:
    """Every leaf with its first axis cut into blocks of a given size, its end repeated where tokens are missing."""

    def cut(leaf: Array) -> Array:
        blocks = count or -(-leaf.shape[0] // size)
        tail = [(0, blocks * size - leaf.shape[0])] + [(0, 0)] * (leaf.ndim - 1)
        return jnp.pad(leaf, tail, mode="edge").reshape(blocks, size, *leaf.shape[1:])

    return jax.tree.map(cut, tree)


def _rejoined(blocks: PyTree[Array], n: int) -> PyTree[Array]:
    return jax.tree.map(lambda leaf: leaf.reshape(leaf.shape[0] * leaf.shape[1], *leaf.shape[2:])[:n], blocks)
