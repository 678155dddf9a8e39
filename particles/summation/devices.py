"""The devices that share a gather: rows stay, columns go round.

Each device holds a part of the rows and a part of the columns. It gathers for its rows from the columns that it holds,
hands these on to its neighbor, and takes those of the other: after as many turns as there are devices every row has met
every column, and what was gathered from each part is merged. No device ever holds more pairs than a part against a
part. Numbers of tokens that cannot be shared equally are filled up with copies of the last token, which nobody sees.
"""

from collections.abc import Callable
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jax.sharding import AxisType, Mesh, NamedSharding, PartitionSpec
from jaxtyping import Array, Bool, Float, PyTree

from .base import AbstractDevices, AbstractPair, Gather, Gathered, length, nothing
from .bilinear import Bilinear


class Devices(AbstractDevices):
    """The first few devices there are, over all processes that take part.

    Parameters
    ----------
    count : how many.
    """

    count: int = eqx.field(static=True)

    def ring(
        self,
        gather: Gather,
        pair: AbstractPair,
        rows: PyTree[Array],
        columns: PyTree[Array],
        values: Float[Array, "m k"],
    ) -> Gathered:
        neighbors = [(k, (k + 1) % self.count) for k in range(self.count)]
        even = length(columns) % self.count == 0

        def turns(pair: AbstractPair, rows: PyTree[Array], columns: PyTree[Array], real: Array) -> Gathered:
            columns, values = columns
            pair, columns = (pair, columns) if even else (_Filled(pair), (columns, real))

            @jax.checkpoint
            def turn(gathered: Gathered, held: tuple[PyTree[Array], Array]) -> tuple[Gathered, PyTree[Array]]:
                gathered = gathered.merge(gather(pair, rows, *held))
                return gathered, jax.tree.map(lambda leaf: jax.lax.ppermute(leaf, self.axis, neighbors), held)

            start = nothing(length(rows), values.shape[1], values.dtype), (columns, values)
            return jax.lax.scan(lambda state, _: (turn(*state), None), start, length=self.count)[0][0]

        return self._shared(turns, pair, rows, (columns, values), PartitionSpec(self.axis))

    def added(
        self, program: Callable[[PyTree[Array], Bool[Array, " m"]], PyTree], rows: PyTree[Array], columns: PyTree[Array]
    ) -> PyTree:
        each = lambda _, rows, columns, real: program((rows, columns), real)  # noqa: E731
        return self._shared(each, None, rows, columns, (PartitionSpec(self.axis), PartitionSpec()))

    def part(self, n: int) -> int:
        return -(-n // self.count)

    def _shared(
        self, program: Callable[..., PyTree], known: PyTree, rows: PyTree[Array], columns: PyTree[Array], out: PyTree
    ) -> PyTree:
        """`program(known, rows, columns, real)` on every device, for its part of rows and columns.

        What goes in is whole on all devices and what comes back is put together on all of them, so that whatever is
        done with it, the choice of a step among it, is the same everywhere.

        Parameters
        ----------
        known : what every device knows as a whole.
        out : which results are in parts, and which are whole.
        """
        n, m = length(rows), length(columns)
        mesh = Mesh(np.asarray(devices(self.count)), (self.axis,), axis_types=(AxisType.Auto,))
        parts = (*jax.tree.map(self._filled, (rows, columns)), jnp.arange(m + -m % self.count) < m)
        everywhere = NamedSharding(mesh, PartitionSpec())
        whole = lambda tree: jax.tree.map(lambda leaf: jax.lax.with_sharding_constraint(leaf, everywhere), tree)  # noqa: E731
        arrays, static = eqx.partition((known, parts), eqx.is_array)

        def one(*given: PyTree[Array]) -> PyTree:
            known, parts = eqx.combine(given, static)
            return program(known, *parts)

        specs = (PartitionSpec(), PartitionSpec(self.axis))
        found = jax.shard_map(one, mesh=mesh, in_specs=specs, out_specs=out, check_vma=False)(*whole(arrays))
        return jax.tree.map(lambda leaf: leaf[:n] if leaf.ndim else leaf, whole(found))

    def _filled(self, leaf: Array) -> Array:
        more = -leaf.shape[0] % self.count
        return jnp.pad(leaf, [(0, more)] + [(0, 0)] * (leaf.ndim - 1), mode="edge") if more else leaf


class _Filled(AbstractPair):
    """A pair whose columns come with a word whether they are real."""

    pair: AbstractPair

    def logits(self, rows: PyTree[Array], columns: PyTree[Array]) -> Float[Array, "n m"]:
        columns, real = columns
        return jnp.where(real[None, :], self.pair.logits(rows, columns), -jnp.inf)

    def level(self) -> float:
        return self.pair.level()

    def bound(self, rows: PyTree[Array], columns: PyTree[Array]) -> Float[Array, ""] | None:
        return self.pair.bound(rows, columns[0])

    def meets(self, rows: PyTree[Array], columns: PyTree[Array]) -> Bool[Array, ""] | None:
        return self.pair.meets(rows, columns[0])

    def bilinear(self, rows: PyTree[Array], columns: PyTree[Array]) -> Bilinear:
        form = self.pair.bilinear(rows, columns[0])
        return Bilinear(form.a, form.b, form.r, jnp.where(columns[1], form.c, -jnp.inf), form.itself)


def devices(count: int, who: str = "Sharded(devices)") -> list[Any]:
    """The first few devices there are, in all processes together.

    Parameters
    ----------
    who : asks for them, in words.

    Raises
    ------
    ValueError
        If there are fewer.
    """
    there = jax.devices()
    if count > len(there):
        raise ValueError(
            f"{who} = {count} and this process has {len(there)} {there[0].platform} device(s): take fewer, start more "
            f"processes, or, on processors, set XLA_FLAGS=--xla_force_host_platform_device_count={count}"
        )
    return there[:count]
