"""Which tokens are together. The one definition of a cluster in the project.

Two tokens are neighbors if their distance in the space is below `delta`; a cluster is a connected component of that
graph, as in single linkage cut at delta. A chain of neighbors is one cluster, however long; the rank of the graph's
matrix, which some scripts count instead, is not that number.
"""

from typing import ClassVar

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Int

from ..declaration import parameter
from ..dynamics import AbstractFlow
from ..spaces import AbstractSpace
from .base import AbstractObservable
from .shape import ROWS


class Clusters(AbstractObservable):
    """The number of clusters: connected components of "closer than delta".

    Piecewise constant: its gradient is zero.

    Parameters
    ----------
    delta : the distance, within the space, below which two tokens are neighbors: an arc length on a sphere.

    Cost
    ----
    O(n^2 d) time for each of a few sweeps, about the logarithm of the longest chain; O(n) memory.

    Source
    ------
    gower1969minimum, for single linkage; geshkovski2024dynamic, for its use.
    """

    delta: Float[Array, ""] = parameter(0.1, gt=0)
    name: ClassVar[str] = "clusters"
    of_measure: ClassVar[bool] = True
    pairwise: ClassVar[bool] = True
    symbol: ClassVar[str] = "clusters"
    sources: ClassVar[tuple[str, ...]] = ("gower1969minimum", "geshkovski2024dynamic")

    def __call__(self, flow: AbstractFlow, t: Float[Array, ""], x: Float[Array, "n d"]) -> Float[Array, ""]:
        found = labels(flow.space, x, self.delta)
        return jnp.sum(found == jnp.arange(x.shape[0], dtype=found.dtype)).astype(x.dtype)


class Distinct(AbstractObservable):
    """The number of distinct tokens: those at the same place, to the bit, count as one.

    Under `plan.coalesce` this is how many tokens move by themselves, each with those that it stands for.

    Cost
    ----
    One stable sort for each dimension: O(d n log n).

    Source
    ------
    vuckovic2020mathematical, for tokens that stand for many.
    """

    name: ClassVar[str] = "distinct"
    symbol: ClassVar[str] = "distinct tokens"
    positive: ClassVar[bool] = True
    sources: ClassVar[tuple[str, ...]] = ("vuckovic2020mathematical",)

    def __call__(self, flow: AbstractFlow, t: Float[Array, ""], x: Float[Array, "n d"]) -> Float[Array, ""]:
        x = jax.lax.stop_gradient(x)

        def by(order: Int[Array, " n"], coordinate: Float[Array, " n"]) -> tuple[Int[Array, " n"], None]:
            return order[jnp.argsort(coordinate[order], stable=True)], None

        ordered = x[jax.lax.scan(by, jnp.arange(x.shape[0]), x.T)[0]]
        return 1 + jnp.sum(jnp.any(ordered[1:] != ordered[:-1], axis=1)).astype(x.dtype)


def labels(space: AbstractSpace, x: Float[Array, "n d"], delta: Float[Array, ""]) -> Int[Array, " n"]:
    """For each token the smallest index in its cluster.

    Every sweep takes the smallest label among neighbors, hands it to the token whose label one carried before, and
    follows labels of labels, so a chain is joined in a number of sweeps that grows with the logarithm of its length.
    """
    x, delta = jax.lax.stop_gradient(x), jax.lax.stop_gradient(delta).astype(x.dtype)
    n = x.shape[0]

    def sweep(label: Int[Array, " n"]) -> Int[Array, " n"]:
        def smallest(row: Float[Array, " d"]) -> Int[Array, ""]:
            return jnp.min(jnp.where(space.distance(row[None, :], x)[0] < delta, label, n))

        lowest = jnp.minimum(jax.lax.map(smallest, x, batch_size=ROWS), label)
        joined = label.at[label].min(lowest)
        joined = jnp.minimum(joined, lowest)
        return joined[joined]

    def unsettled(carry: tuple[Int[Array, " n"], Int[Array, " n"]]) -> Array:
        return jnp.any(carry[0] != carry[1])

    first = jnp.arange(n, dtype=jnp.int32)
    return jax.lax.while_loop(unsettled, lambda c: (c[1], sweep(c[1])), (first, sweep(first)))[1]
