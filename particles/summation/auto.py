"""The choice among the summations, made from the sizes alone, so that it is known before anything runs."""

from typing import ClassVar

from jaxtyping import Array, Float, PyTree

from ..declaration import option
from .base import AbstractPair, AbstractSummation, Gathered, length
from .blocked import Blocked
from .dense import Dense


class Auto(AbstractSummation):
    """Dense while all pairs fit into a few megabytes, Blocked beyond.

    Parameters
    ----------
    dense_bytes : the largest array of logits that is still made in one piece.

    Cost
    ----
    That of the summation it chooses, which `chosen` names and the record keeps.

    Source
    ------
    milakov2018online.
    """

    dense_bytes: int = option(2**22, ge=0)
    sources: ClassVar[tuple[str, ...]] = ("milakov2018online",)

    def gather(
        self, pair: AbstractPair, rows: PyTree[Array], columns: PyTree[Array], values: Float[Array, "m k"]
    ) -> Gathered:
        chosen = self.chosen(length(rows), length(columns), values.dtype.itemsize)
        return chosen.gather(pair, rows, columns, values)

    def chosen(self, n: int, m: int, itemsize: int) -> AbstractSummation:
        return Dense() if n * m * itemsize <= self.dense_bytes else Blocked()

    def memory(self, n: int, m: int, k: int, itemsize: int) -> int:
        return self.chosen(n, m, itemsize).memory(n, m, k, itemsize)
