"""One system over many devices: each gathers for a part of the tokens."""

from typing import ClassVar

import equinox as eqx
import jax
from jaxtyping import Array, Float, PyTree

from ..declaration import option
from .auto import Auto
from .base import AbstractPair, AbstractSummation, Gathered, length
from .devices import Devices, devices


class Sharded(AbstractSummation):
    """Rows and columns shared out over devices, of one process or of several, around another summation.

    Pairs are visited in a ring: every device gathers for its own tokens, while the columns go round. Sums over modes
    are added up over the devices. Any number of tokens will do; the last device has the fewest. What is gathered is put
    together on every device, since the tokens are small and their pairs are not.

    Parameters
    ----------
    devices : how many; by default all there are.
    summation : how each device visits the pairs of its part.

    Raises
    ------
    ValueError
        If there are fewer devices, or the other summation is one over devices, too.

    Cost
    ----
    That of the other summation, divided by the number of devices; each sends the columns it holds once around, or the
    modes.

    Source
    ------
    liu2023ring.
    """

    devices: int | None = option(None, ge=1)
    summation: AbstractSummation = eqx.field(default_factory=Auto)
    sources: ClassVar[tuple[str, ...]] = ("liu2023ring",)

    def __check_init__(self):
        if isinstance(self.summation, Sharded):
            raise ValueError("`summation` of Sharded must be one for a single device: Auto, Blocked, Fourier, Dense")

    @property
    def mesh(self) -> Devices:
        """The devices that take part."""
        count = self.devices or len(jax.devices())
        devices(count)
        return Devices(count)

    def gather(
        self, pair: AbstractPair, rows: PyTree[Array], columns: PyTree[Array], values: Float[Array, "m k"]
    ) -> Gathered:
        return self.summation.around(self.mesh, pair, rows, columns, values)

    def chosen(self, n: int, m: int, itemsize: int) -> AbstractSummation:
        mesh = self.mesh
        return Sharded(mesh.count, self.summation.chosen(mesh.part(n), mesh.part(m), itemsize))

    def serving(
        self, pair: AbstractPair, rows: PyTree[Array], columns: PyTree[Array], values: Float[Array, "m k"]
    ) -> AbstractSummation:
        whole = self.summation.serving(pair, rows, columns, values)
        if whole != self.summation.chosen(length(rows), length(columns), values.dtype.itemsize):
            return Sharded(self.mesh.count, whole)
        return self.chosen(length(rows), length(columns), values.dtype.itemsize)

    def within(self, tolerance: float) -> "Sharded":
        return Sharded(self.devices, self.summation.within(tolerance))

    def work(self, n: int, m: int) -> int:
        return self.summation.work(n, m) // self.mesh.count

    def report(
        self, pair: AbstractPair, rows: PyTree[Array], columns: PyTree[Array], values: Float[Array, "m k"]
    ) -> PyTree[Array] | None:
        return self.summation.report(pair, rows, columns, values)

    def memory(self, n: int, m: int, k: int, itemsize: int) -> int:
        mesh = self.mesh
        sums = itemsize * 2 * n * (k + 2)
        return self.summation.memory(mesh.part(n), mesh.part(m), k, itemsize) + sums
