"""All pairs at once: the shortest program, and memory that grows with their number."""

from typing import ClassVar

from jaxtyping import Array, Float, PyTree

from .base import AbstractPair, AbstractSummation, Gathered, raised, tile


class Dense(AbstractSummation):
    """Every pair in one array: fastest for small systems, and the yardstick of every other summation.

    Cost
    ----
    O(n m (d + k)) time, O(n m) memory.

    Source
    ------
    vaswani2017attention.
    """

    sources: ClassVar[tuple[str, ...]] = ("vaswani2017attention",)

    def gather(
        self, pair: AbstractPair, rows: PyTree[Array], columns: PyTree[Array], values: Float[Array, "m k"]
    ) -> Gathered:
        return raised(tile(pair, rows, columns, values), pair.level())

    def chosen(self, n: int, m: int, itemsize: int) -> AbstractSummation:
        return self

    def memory(self, n: int, m: int, k: int, itemsize: int) -> int:
        return itemsize * (2 * n * m + n * (k + 2))  # the logits and the weights; XLA may hold both
