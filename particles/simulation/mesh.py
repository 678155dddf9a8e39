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


class Mesh(Declared):
    """How many devices share the work of a run. It is no part of a run's identity: a run may go on with another.

    Parameters
    ----------
    members : devices that share the members of a sweep which one program moves.

    Source
    ------
    xu2021gspmd.
    """

    members: int = option(1, ge=1)
    sources: ClassVar[tuple[str, ...]] = ("xu2021gspmd",)


def devices(count: int) -> list[Any]:
    """The first few devices of this process.

    Raises
    ------
    ValueError
        If there are fewer.
    """
    there = jax.devices()
    if count > len(there):
        raise ValueError(
            f"mesh.members = {count} and this process has {len(there)} {there[0].platform} device(s): take fewer, "
            f"or, on processors, set XLA_FLAGS=--xla_force_host_platform_device_count={count}"
        )
    return there[:count]


def spread(program: Callable[..., Any], batch: PyTree, shared: PyTree, count: int) -> Any:
    """`program(*batch, *shared)` with the leading axis of the batch, and of all results, spread over some devices.

    An axis that cannot be shared equally is filled up with copies of its last entry, which are thrown away again.
    """
    if count == 1:
        return program(*batch, *shared)
    arrays, static = eqx.partition(batch, eqx.is_array)
    size = len(jax.tree.leaves(arrays)[0])
    mesh = jax.sharding.Mesh(np.asarray(devices(count)), ("member",), axis_types=(AxisType.Auto,))
    filled = jax.tree.map(lambda leaf: _filled(leaf, -size % count), arrays)
    placed = jax.device_put(filled, NamedSharding(mesh, PartitionSpec("member")))
    found = program(*eqx.combine(placed, static), *shared)
    return jax.tree.map(lambda leaf: leaf[:size], found)


def _filled(leaf: Any, more: int) -> Any:
    return jnp.concatenate([leaf, jnp.repeat(leaf[-1:], more, axis=0)]) if more else leaf
