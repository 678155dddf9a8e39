"""The choice among the summations: by sizes and by what a pair can do, so that it is known before anything runs."""

import dataclasses
from typing import ClassVar

import jax
from jaxtyping import Array, Float, PyTree

from ..declaration import option
from .base import AbstractDevices, AbstractPair, AbstractSummation, Gathered, length
from .bilinear import Unserved
from .blocked import Blocked
from .dense import Dense
from .fourier import Fourier


class Auto(AbstractSummation):
    """Dense while all pairs fit into a few megabytes, Fourier where it can serve many tokens, Blocked for the rest.

    Where modes turn out to miss the tolerance as tokens move, pairs are visited after all, for that step.

    Parameters
    ----------
    dense_bytes : the largest array of logits that is still made in one piece.
    tolerance : of Fourier; in a run a tenth of the plan's `rtol` unless given, 1e-9 elsewhere. 0 keeps to pairs.

    Cost
    ----
    That of the summation it chooses, which the record keeps.

    Source
    ------
    milakov2018online; greengard2022equispaced.
    """

    dense_bytes: int = option(2**22, ge=0)
    tolerance: float | None = option(None, ge=0, lt=1)
    sources: ClassVar[tuple[str, ...]] = ("milakov2018online", "greengard2022equispaced")

    def gather(
        self, pair: AbstractPair, rows: PyTree[Array], columns: PyTree[Array], values: Float[Array, "m k"]
    ) -> Gathered:
        pairwise = self.chosen(length(rows), length(columns), values.dtype.itemsize)
        modes = self._modes(pair, rows, columns, values, pairwise)
        if modes is None:
            return pairwise.gather(pair, rows, columns, values)
        gathered, report = modes.attempt(modes.form(pair, rows, columns, values.dtype), pair.level(), values)
        return jax.lax.cond(report.met, lambda: gathered, lambda: pairwise.gather(pair, rows, columns, values))

    def around(
        self,
        devices: AbstractDevices,
        pair: AbstractPair,
        rows: PyTree[Array],
        columns: PyTree[Array],
        values: Float[Array, "m k"],
    ) -> Gathered:
        n, m = length(rows), length(columns)
        pairwise = self.chosen(devices.part(n), devices.part(m), values.dtype.itemsize)
        around = lambda: pairwise.around(devices, pair, rows, columns, values)  # noqa: E731
        modes = self._modes(pair, rows, columns, values, self.chosen(n, m, values.dtype.itemsize))
        if modes is None:
            return around()
        form = modes.form(pair, rows, columns, values.dtype)
        gathered, report = modes.attempt_around(devices, form, pair.level(), values)
        return jax.lax.cond(report.met, lambda: gathered, around)

    def serving(
        self, pair: AbstractPair, rows: PyTree[Array], columns: PyTree[Array], values: Float[Array, "m k"]
    ) -> AbstractSummation:
        pairwise = self.chosen(length(rows), length(columns), values.dtype.itemsize)
        return self._modes(pair, rows, columns, values, pairwise) or pairwise

    def _modes(
        self,
        pair: AbstractPair,
        rows: PyTree[Array],
        columns: PyTree[Array],
        values: Float[Array, "m k"],
        pairwise: AbstractSummation,
    ) -> Fourier | None:
        """The sum over modes, where it can serve and is likely to be cheaper than visiting pairs."""
        if self.tolerance == 0 or pairwise == Dense():
            return None
        modes = Fourier() if self.tolerance is None else Fourier(self.tolerance)
        try:
            form = modes.form(pair, rows, columns, values.dtype)
        except Unserved:
            return None
        return modes if modes.worth(form) else None

    def within(self, tolerance: float) -> "Auto":
        return self if self.tolerance is not None else dataclasses.replace(self, tolerance=tolerance)

    def report(
        self, pair: AbstractPair, rows: PyTree[Array], columns: PyTree[Array], values: Float[Array, "m k"]
    ) -> PyTree[Array] | None:
        serving = self.serving(pair, rows, columns, values)
        return None if isinstance(serving, Auto) else serving.report(pair, rows, columns, values)

    def chosen(self, n: int, m: int, itemsize: int) -> AbstractSummation:
        return Dense() if n * m * itemsize <= self.dense_bytes else Blocked()

    def memory(self, n: int, m: int, k: int, itemsize: int) -> int:
        return self.chosen(n, m, itemsize).memory(n, m, k, itemsize)
