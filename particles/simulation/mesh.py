"""The devices of one process, and what is spread over them."""

from collections.abc import Callable
from typing import Any, ClassVar

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jax.sharding import AxisType, NamedSharding, PartitionSpec
from jaxtyping import PyTree

from ..declaration import Declared, option
from ..dynamics import AbstractFlow
from ..summation import Sharded
from ..summation.devices import devices


class Mesh(Declared):
    """How many devices share the work of a run. It is no part of a run's identity: a run may go on with another.

    Parameters
    ----------
    members : devices that share the members of a sweep which one program moves.
    tokens : devices that share the tokens of one system, `Sharded`; where several processes move it, all they have.

    Raises
    ------
    ValueError
        If both are more than one.

    Source
    ------
    xu2021gspmd; liu2023ring.
    """

    members: int = option(1, ge=1)
    tokens: int = option(1, ge=1)
    sources: ClassVar[tuple[str, ...]] = ("xu2021gspmd", "liu2023ring")

    def __check_init__(self):
        Declared.__check_init__(self)
        if self.members > 1 and self.tokens > 1:
            raise ValueError(
                f"devices share the members of a sweep or the tokens of a system; got members = {self.members} and "
                f"tokens = {self.tokens}: leave one of them at 1"
            )

    def spread(self, flow: AbstractFlow) -> AbstractFlow:
        """The flow with its tokens shared by the devices.

        Raises
        ------
        ValueError
            If there are fewer devices, or processes that none of them belongs to.
        """
        everywhere, alone = len(jax.devices()), jax.process_count() == 1
        if self.tokens == 1 and alone:
            return flow
        if self.members > 1 or (self.tokens not in (1, everywhere) and not alone):
            raise ValueError(
                f"{jax.process_count()} processes with {everywhere} devices in all move one system together: give mesh."
                f"tokens = {everywhere}, or leave the mesh out; got members = {self.members}, tokens = {self.tokens}"
            )
        count = self.tokens if alone else everywhere
        devices(count, "mesh.tokens")
        return flow.summed(lambda given: given if isinstance(given, Sharded) else Sharded(count, given))


def spread(program: Callable[..., Any], batch: PyTree, shared: PyTree, count: int) -> Any:
    """`program(*batch, *shared)` with the leading axis of the batch, and of all results, spread over some devices.

    An axis that cannot be shared equally is filled up with copies of its last entry, which are thrown away again.
    """
    if count == 1:
        return program(*batch, *shared)
    arrays, static = eqx.partition(batch, eqx.is_array)
    size = len(jax.tree.leaves(arrays)[0])
    mesh = jax.sharding.Mesh(np.asarray(devices(count, "mesh.members")), ("member",), axis_types=(AxisType.Auto,))
    filled = jax.tree.map(lambda leaf: _filled(leaf, -size % count), arrays)
    placed = jax.device_put(filled, NamedSharding(mesh, PartitionSpec("member")))
    found = program(*eqx.combine(placed, static), *shared)
    return jax.tree.map(lambda leaf: leaf[:size], found)


def _filled(leaf: Any, more: int) -> Any:
    return jnp.concatenate([leaf, jnp.repeat(leaf[-1:], more, axis=0)]) if more else leaf
