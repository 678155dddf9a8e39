"""Tiles of pairs, one after another: memory that grows with the number of tokens, not of pairs.

Rows are cut into blocks; each block walks over the blocks of columns and merges what it gathers. Neither number of
tokens needs to be a multiple of its block: the tail is padded with rows that are thrown away and columns whose logit
is -inf. Reverse mode computes a tile again instead of keeping its scores.
"""

from collections.abc import Callable
from typing import ClassVar

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, PyTree

from ..declaration import option
from .base import AbstractPair, AbstractSummation, Gathered, closed, length, nothing, raised, weighed

# Logits below this part of the largest exponent can be summed as they are: exponentials of either sign neither
# overflow, even added up, nor vanish.
TAME = 0.45


class Blocked(AbstractSummation):
    """Tile by tile, with a running peak: any number of tokens in memory linear in it.

    Parameters
    ----------
    rows, columns : the largest tile. The defaults are the fastest on two processor cores at dimensions 3 and 64.

    Cost
    ----
    O(n m (d + k)) time, O(n k + rows * columns) memory.

    Source
    ------
    milakov2018online, for the running peak; rabe2021selfattention, for the two levels.
    """

    rows: int = option(512, ge=1)
    columns: int = option(2048, ge=1)
    sources: ClassVar[tuple[str, ...]] = ("milakov2018online", "rabe2021selfattention")

    def gather(
        self, pair: AbstractPair, rows: PyTree[Array], columns: PyTree[Array], values: Float[Array, "m k"]
    ) -> Gathered:
        n, m = length(rows), length(columns)
        row_blocks = _blocks(rows, min(self.rows, n))
        column_blocks = _blocks((columns, values, jnp.ones(m, bool)), min(self.columns, m))
        bound = pair.bound(rows, columns)

        def visited(close: Callable[[Array, Array], Gathered]) -> Gathered:
            @jax.checkpoint
            def visit(gathered: Gathered, row_block: PyTree[Array], column_block: PyTree[Array]) -> Gathered:
                some_columns, some_values, real = column_block
                logits = pair.logits(row_block, some_columns)
                if m % min(self.columns, m):
                    logits = jnp.where(real[None, :], logits, -jnp.inf)
                return gathered.merge(close(logits, some_values))

            def one_row_block(row_block: PyTree[Array]) -> Gathered:
                start = nothing(length(row_block), values.shape[1], values.dtype)
                return jax.lax.scan(lambda g, c: (visit(g, row_block, c), None), start, column_blocks)[0]

            blocks = jax.lax.map(one_row_block, row_blocks)
            return jax.tree.map(lambda a: a.reshape(a.shape[0] * a.shape[1], *a.shape[2:])[:n], blocks)

        if bound is None:
            gathered = visited(closed)
        else:
            tame = bound < TAME * jnp.log(jnp.finfo(values.dtype).max)
            gathered = jax.lax.cond(tame, lambda: visited(_summed), lambda: visited(closed))
        return raised(gathered, pair.level())

    def chosen(self, n: int, m: int, itemsize: int) -> AbstractSummation:
        return self

    def memory(self, n: int, m: int, k: int, itemsize: int) -> int:
        tiles = 3 * min(self.rows, n) * min(self.columns, m)
        return itemsize * (tiles + (2 * n + m) * (k + 2))


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
