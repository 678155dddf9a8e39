"""Clusters at every distance at once: the dendrogram of a cloud of tokens, and how long its numbers of clusters last.

Single linkage at a distance delta is the project's definition of a cluster: components of "closer than delta". As delta
grows components only merge, n - 1 times, at the lengths of the edges of a minimum spanning tree. In the language of
topology these are the deaths of the components, the persistence in dimension 0, each component being born at distance
zero. They are stable: tokens that move by at most e move no death by more than 2 e.
"""

import dataclasses

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Int
from scipy.sparse import coo_array
from scipy.sparse.csgraph import connected_components

from ..spaces import AbstractSpace

Cloud = np.ndarray | jax.Array

_TIED = 1e-9
"""Ranges whose lengths differ relatively by less are equally long."""


@dataclasses.dataclass(frozen=True)
class Plateau:
    """A number of clusters that is the same over a range of distances, `low < delta <= high`.

    Attributes
    ----------
    clusters : how many.
    low, high : the range.
    """

    clusters: int
    low: float
    high: float

    @property
    def delta(self) -> float:
        """The distance in the middle of the range."""
        return (self.low + self.high) / 2

    @property
    def stability(self) -> float:
        """As long as no token moves as far as this, there are as many clusters at `delta`."""
        return (self.high - self.low) / 4


@dataclasses.dataclass(frozen=True)
class Dendrogram:
    """A minimum spanning tree of n tokens, from the shortest edge to the longest.

    Attributes
    ----------
    pairs : the two tokens of each edge, the smaller number first.
    distances : the lengths of the edges, increasing: where clusters merge as delta grows past them.
    """

    pairs: Int[np.ndarray, "edge 2"]
    distances: Float[np.ndarray, " edge"]

    @property
    def n(self) -> int:
        """The number of tokens."""
        return len(self.distances) + 1

    def clusters(self, delta: float | np.ndarray) -> Int[np.ndarray, "..."]:
        """The number of clusters at a distance, or at each of several."""
        merged = np.searchsorted(self.distances, np.asarray(delta, self.distances.dtype), side="left")
        return np.asarray(self.n - merged)

    def labels(self, delta: float) -> Int[np.ndarray, " n"]:
        """For each token the smallest number of a token in its cluster."""
        return components(self.pairs[self.distances < delta], self.n)

    def plateau(self, ceiling: float | None = None) -> Plateau:
        """The number of clusters that lasts over the longest range of distances; of equally long ones the fewest.

        Parameters
        ----------
        ceiling : the largest distance that is looked at. Without one a single cluster, which lasts for ever, is no
            answer, so look at the range: in a cloud that has all but met every range is short.

        Raises
        ------
        ValueError
            For a lone token, or a ceiling below the last merger.
        """
        if self.n == 1:
            raise ValueError("a lone token is one cluster at every distance; give two tokens or more")
        edges = np.concatenate([[0.0], self.distances, [] if ceiling is None else [ceiling]])
        length = np.diff(edges)
        if length[-1] < 0:
            raise ValueError(f"`ceiling` must be at least the last merger, {edges[-2]:.6g}; got {ceiling}")
        k = int(np.flatnonzero(length >= length.max() * (1 - _TIED))[-1])
        return Plateau(self.n - k, float(edges[k]), float(edges[k + 1]))


def components(pairs: Int[np.ndarray, "pair 2"], n: int) -> Int[np.ndarray, " n"]:
    """For each of n tokens the smallest that some chain of pairs joins it to."""
    a, b = pairs.T
    graph = coo_array((np.ones(len(a), bool), (a, b)), shape=(n, n))
    component = connected_components(graph, directed=False)[1]
    return np.unique(component, return_index=True)[1][component]


def dendrogram(space: AbstractSpace, x: Cloud) -> Dendrogram:
    """The dendrogram of single linkage of a cloud.

    Parameters
    ----------
    space : whose distance is meant.
    x : tokens on it, `[n d]`.

    Raises
    ------
    ValueError
        If there are no tokens, or one is not finite or too far away for its distance to be a number.

    Units
    -----
    Distances are those of the space: arc lengths on a sphere.

    Cost
    ----
    Prim's algorithm: O(n^2 d) time, O(n) memory beside the tokens.

    Source
    ------
    gower1969minimum.
    """
    if x.ndim != 2:
        raise ValueError(f"expected tokens of shape (tokens, dim); got {x.shape}")
    return dendrograms(space, x[None])[0]


def dendrograms(space: AbstractSpace, x: Cloud) -> tuple[Dendrogram, ...]:
    """The dendrogram of each of several clouds of as many tokens, `[time n d]`; otherwise as `dendrogram`."""
    if x.ndim != 3 or 0 in x.shape[1:]:
        raise ValueError(f"expected clouds of shape (time, tokens, dim) with at least one token; got {x.shape}")
    if not np.isfinite(np.asarray(x)).all():
        raise ValueError("a token is not finite; leave it out, or the depths at which it is not")
    return tuple(_sorted(*_spanning_tree(space, jnp.asarray(cloud))) for cloud in np.asarray(x))


def persistence(space: AbstractSpace, x: Cloud) -> Float[np.ndarray, " edge"]:
    r"""The n - 1 distances at which clusters merge, increasing: the deaths of 0-dimensional persistence.

    If every token moves by at most e, the k-th of them moves by at most 2 e: tokens that were linked at delta are
    linked at delta + 2 e, so there are no more clusters at delta + 2 e than there were at delta, and conversely.

    Parameters
    ----------
    space, x : as `dendrogram`, which see also for what is raised and what it costs.

    Source
    ------
    gower1969minimum; carlsson2010characterization, for stability.
    """
    return dendrogram(space, x).distances


def _sorted(pairs: Int[Array, "edge 2"], distances: Float[Array, " edge"]) -> Dendrogram:
    lengths = np.asarray(distances)
    if not np.isfinite(lengths).all():
        raise ValueError("tokens are so far apart that their distance is not finite; divide them by their size")
    order = np.argsort(lengths, kind="stable")
    return Dendrogram(np.sort(np.asarray(pairs)[order], axis=1), lengths[order])


@eqx.filter_jit
def _spanning_tree(space: AbstractSpace, x: Float[Array, "n d"]) -> tuple[Int[Array, "edge 2"], Float[Array, " edge"]]:
    """Prim's algorithm: the token nearest to the tree joins it, n - 1 times."""
    n = x.shape[0]

    def join(carry: tuple[Array, ...], _: None) -> tuple[tuple[Array, ...], tuple[Array, Array]]:
        near, link, outside, last = carry
        distance = space.distance(x[last][None, :], x)[0]
        link = jnp.where(distance < near, last, link)
        near = jnp.minimum(distance, near)
        outside = outside.at[last].set(False)
        gap = jnp.where(outside, near, jnp.inf)
        new = jnp.argmin(gap).astype(link.dtype)
        return (near, link, outside, new), (jnp.stack([link[new], new]), gap[new])

    first = jnp.full(n, jnp.inf, x.dtype), jnp.zeros(n, jnp.int32), jnp.ones(n, bool), jnp.zeros((), jnp.int32)
    return jax.lax.scan(join, first, None, length=n - 1)[1]
