"""Clusters through depth: which there are, when they merge, when one falls apart.

At every frame single linkage at one distance says which tokens are together. From frame to frame the clusters are
followed as branches: a branch lives as long as it can be told to be the same cluster. Where clusters merge the oldest
branch goes on, of equally old ones the heaviest, and the others die (the elder rule); where one falls apart its
heaviest part goes on, and the others are born. With two distances, one to merge and a larger one to fall apart,
a gap that oscillates or rounds about a threshold makes no births and deaths.

Only partitions of numbered tokens are compared, so what space they live in does not matter here.
"""

import dataclasses
import math
from typing import Any

import jax.numpy as jnp
import numpy as np
from jaxtyping import Float, Int

from ..spaces import AbstractSpace
from .linkage import Cloud, components, dendrograms
from .stored import cluster_distance, stored_space, stored_tokens


@dataclasses.dataclass(frozen=True)
class MergeTree:
    """Branches, numbered in the order in which they were born, and the branch of each token at each depth.

    Attributes
    ----------
    time : the depths of the frames.
    token : which tokens of the record were followed: those that are anywhere.
    mass : of each of them; together 1.
    label : the branch of each token at each frame.
    distances : at which clusters would merge at each frame, increasing: its persistence.
    first, last : the frames at which a branch is first and last seen.
    origin : the branch out of which it fell; -1 if it was there from the first frame on.
    parent : the branch into which it merged; -1 if it is there at the last frame.
    delta, split : the distance below which clusters merge, and that at which one falls apart.
    """

    time: Float[np.ndarray, " time"]
    token: Int[np.ndarray, " token"]
    mass: Float[np.ndarray, " token"]
    label: Int[np.ndarray, "time token"]
    distances: Float[np.ndarray, "time edge"]
    first: Int[np.ndarray, " branch"]
    last: Int[np.ndarray, " branch"]
    origin: Int[np.ndarray, " branch"]
    parent: Int[np.ndarray, " branch"]
    delta: float
    split: float

    @property
    def born(self) -> Float[np.ndarray, "branch 2"]:
        """Between which depths each branch was born; twice the first depth if it was there from the beginning."""
        return np.stack([self.time[np.maximum(self.first - 1, 0)], self.time[self.first]], axis=1)

    @property
    def died(self) -> Float[np.ndarray, "branch 2"]:
        """Between which depths each branch merged into its parent; from the last depth to infinity if it did not."""
        return np.stack([self.time[self.last], np.append(self.time, np.inf)[self.last + 1]], axis=1)

    @property
    def persistence(self) -> Float[np.ndarray, "branch 2"]:
        """Over how much depth each branch lived: at least, and at most."""
        return np.stack([self.died[:, 0] - self.born[:, 1], self.died[:, 1] - self.born[:, 0]], axis=1)

    @property
    def size(self) -> Int[np.ndarray, " branch"]:
        """The number of tokens of each branch when it is last seen."""
        return self.sizes()[self.last, np.arange(len(self.last))]

    @property
    def clusters(self) -> Int[np.ndarray, " time"]:
        """The number of clusters at each frame."""
        return np.count_nonzero(self.sizes(), axis=1)

    @property
    def mergers(self) -> Int[np.ndarray, " merger"]:
        """The branches that merged into others, in order of depth."""
        gone = np.flatnonzero(self.parent >= 0)
        return gone[np.argsort(self.last[gone], kind="stable")]

    def sizes(self) -> Int[np.ndarray, "time branch"]:
        """The number of tokens of each branch at each frame."""
        return self._summed(np.ones(len(self.token))).astype(int)

    def masses(self) -> Float[np.ndarray, "time branch"]:
        """The mass of each branch at each frame."""
        return self._summed(self.mass)

    def representatives(self, space: AbstractSpace, x: Cloud) -> Float[np.ndarray, "time branch d"]:
        """The mean of the tokens of each branch, by mass, brought back to the space.

        NaN where there is no branch, or where its tokens cancel and no point of the space is their mean.

        Parameters
        ----------
        x : the tokens that were followed at the frames of the tree, `[time token d]`.
        """
        mass = np.maximum(self.mass, np.finfo(float).tiny)  # of tokens without mass the plain mean
        total = np.stack([self._summed(mass * column) for column in np.moveaxis(np.asarray(x), -1, 0)], axis=-1)
        weight = self._summed(mass)
        alive = weight > 0
        found, means = np.full(total.shape, np.nan), total[alive] / weight[alive][:, None]
        several = np.array(x, float).reshape(-1, total.shape[-1])  # one shape for all trees, for one compilation
        several[: len(means)] = means
        found[alive] = np.asarray(space.project(jnp.asarray(several)))[: len(means)]
        return found

    def _summed(self, values: np.ndarray) -> np.ndarray:
        """The sum over the tokens of each branch at each frame, of values `[token]` or `[time token]`."""
        count = len(self.first)
        rows = np.broadcast_to(values, self.label.shape)
        return np.stack([np.bincount(at, row, count) for at, row in zip(self.label, rows, strict=True)])


def merge_tree(
    record: Any,
    delta: float | None = None,
    *,
    split: float | None = None,
    masses: Cloud | None = None,
    space: AbstractSpace | None = None,
) -> MergeTree:
    """The branches of the clusters of a record through depth.

    Tokens that only pad are left out, and frames from the first on at which a token is not finite. Depths are known up
    to the distance of two frames; where tokens that met stay together, `limits.mergers` finds those of mergers exactly.

    Parameters
    ----------
    record : a record, or its dataset; of a sweep, the dataset of one member: `record.dataset.isel({"beta": 0})`.
    delta : the distance below which clusters merge; by default that of the observable `clusters` in the record, else
        its default.
    split, masses : as `branches`; masses for all tokens of the record.
    space : by default what the record says of it.

    Raises
    ------
    ValueError
        If the record holds no tokens, several members, one token or one frame, or does not describe its space.

    Source
    ------
    gower1969minimum, for clusters; edelsbrunner2010computational, for the elder rule.
    """
    dataset = getattr(record, "dataset", record)
    time, token, x = stored_tokens(dataset)
    delta = cluster_distance(dataset) if delta is None else delta
    space = stored_space(dataset) if space is None else space
    if masses is not None and np.shape(masses) != (dataset.sizes["token"],):
        raise ValueError(
            f"`masses` needs one mass for each of {dataset.sizes['token']} tokens; got shape {np.shape(masses)}"
        )
    kept = None if masses is None else np.asarray(masses)[token]
    found = branches(space, time, x, delta, split=split, masses=kept)
    return dataclasses.replace(found, token=token)


def branches(
    space: AbstractSpace,
    time: Float[np.ndarray, " time"],
    x: Cloud,
    delta: float,
    *,
    split: float | None = None,
    masses: Cloud | None = None,
) -> MergeTree:
    r"""The branches of clusters through depth.

    With :math:`C_\delta` the partition by single linkage at a frame, the clusters are

    .. math:: P_0 = C_\delta, \qquad P_k = C_\delta \vee (P_{k-1} \wedge C_{\mathrm{split}}),

    so clusters merge when they come closer than delta, and one falls apart only into parts that are `split` or more
    from each other. Tokens that leave one branch for another between two frames make no branch of their own.

    Parameters
    ----------
    space : whose distance is meant.
    time : the depths of the frames.
    x : tokens at these depths, `[time token d]`.
    delta : the distance below which clusters merge.
    split : the distance at which a cluster falls apart, at least delta; by default delta.
    masses : of the tokens, by which the heavier of two clusters is told, and means are taken; by default equal.

    Returns
    -------
    MergeTree
        Tokens in another order have the same tree: ties are broken by where tokens are, never by their numbers.

    Raises
    ------
    ValueError
        For fewer than two tokens or frames, tokens that are not finite, depths that do not increase, distances or
        masses out of bounds.

    Cost
    ----
    A minimum spanning tree for each frame: O(time n^2 d) time; memory O(time n).

    Source
    ------
    gower1969minimum, for clusters; edelsbrunner2010computational, for the elder rule; the two distances by hand.
    """
    x, time = np.asarray(x), np.asarray(time, float)
    split = float(delta if split is None else split)
    _check(time, x, float(delta), split)
    mass, order = _shares(masses, x.shape[1]), _order(x)
    frames = dendrograms(space, x[:, order])
    clusters = [frame.labels(delta) for frame in frames]
    if split > delta:
        clusters = _held(clusters, [frame.labels(split) for frame in frames])
    growing = _Growing(clusters, mass[order])
    label = np.empty(x.shape[:2], int)
    label[:, order] = growing.label
    return MergeTree(
        time=time,
        token=np.arange(x.shape[1]),
        mass=mass,
        label=label,
        distances=np.stack([frame.distances for frame in frames]),
        first=np.asarray(growing.first),
        last=np.asarray(growing.last),
        origin=np.asarray(growing.origin),
        parent=np.asarray(growing.parent),
        delta=float(delta),
        split=split,
    )


def _check(time: np.ndarray, x: np.ndarray, delta: float, split: float) -> None:
    if x.ndim != 3 or time.shape != x.shape[:1]:
        raise ValueError(
            f"expected tokens of shape (time, tokens, dim) at as many depths; got {x.shape} and {time.shape}"
        )
    if len(time) < 2:
        raise ValueError(f"a merge tree needs two frames or more, got {len(time)}; for one depth take `dendrogram`")
    if x.shape[1] < 2:
        raise ValueError(f"a merge tree needs two tokens or more, got {x.shape[1]}")
    if not np.all(np.diff(time) > 0):
        raise ValueError("the depths of the frames must increase")
    if not 0 < delta < np.inf or not delta <= split < np.inf:
        raise ValueError(f"expected 0 < `delta` <= `split`, both finite; got delta={delta:g} and split={split:g}")


def _shares(masses: Cloud | None, n: int) -> Float[np.ndarray, " n"]:
    """The masses of n tokens divided by their sum."""
    mass = np.ones(n) if masses is None else np.asarray(masses, float)
    if mass.shape != (n,):
        raise ValueError(f"`masses` needs one mass for each of {n} tokens; got shape {mass.shape}")
    if not (np.isfinite(mass).all() and np.all(mass >= 0) and mass.sum() > 0):
        raise ValueError("`masses` must be finite, not negative and not all zero")
    return mass / math.fsum(mass)


def _order(x: Float[np.ndarray, "time n d"]) -> Int[np.ndarray, " n"]:
    """The tokens by where they begin, and where that is the same by where they go: an order without their numbers."""
    keys = [(*start.tolist(), way.tobytes()) for start, way in zip(x[0], x.swapaxes(0, 1), strict=True)]
    return np.asarray(sorted(range(len(keys)), key=keys.__getitem__))


def _held(near: list[np.ndarray], far: list[np.ndarray]) -> list[np.ndarray]:
    """The clusters of each frame from those at both distances: what was together stays so while `split` allows."""
    found = [near[0]]
    for close, wide in zip(near[1:], far[1:], strict=True):
        n = len(close)
        _, first, inverse = np.unique(found[-1] * n + wide, return_index=True, return_inverse=True)
        stays = first[inverse]
        tokens = np.arange(n)
        found.append(components(np.stack([np.tile(tokens, 2), np.concatenate([close, stays])], axis=1), n))
    return found


class _Growing:
    """A tree while it grows, frame by frame, from the clusters of each: for each token the smallest in its own."""

    def __init__(self, clusters: list[np.ndarray], mass: Float[np.ndarray, " n"]):
        self.mass = mass
        self.first: list[int] = []
        self.last: list[int] = []
        self.origin: list[int] = []
        self.parent: list[int] = []
        self.label = np.empty((len(clusters), len(mass)), int)
        for tokens in _classes(clusters[0]).values():
            self.label[0, tokens] = self._born(0, -1)
        for k in range(1, len(clusters)):
            self.label[k] = self.label[k - 1]
            if (clusters[k] != clusters[k - 1]).any():
                self._step(k, clusters[k])

    def _born(self, frame: int, origin: int) -> int:
        self.first.append(frame)
        self.last.append(len(self.label) - 1)
        self.origin.append(origin)
        self.parent.append(-1)
        return len(self.first) - 1

    def _weight(self, tokens: Int[np.ndarray, " part"]) -> float:
        """The mass of some tokens, to the last digit the same in whatever order they come."""
        return math.fsum(self.mass[tokens])

    def _step(self, k: int, clusters: Int[np.ndarray, " n"]) -> None:
        """Carries the branches of frame k - 1 over to the clusters of frame k."""
        before, count = self.label[k - 1], len(self.first)
        age = {one: (self.first[one], -self._weight(tokens), one) for one, tokens in _classes(before).items()}
        parts = {divmod(key, count): tokens for key, tokens in _classes(clusters * count + before).items()}
        weight = {part: self._weight(tokens) for part, tokens in parts.items()}
        goes = {}  # for each branch the cluster that its heaviest part is in
        for cluster, branch in sorted(parts, key=lambda part: (weight[part], -parts[part][0])):
            goes[branch] = cluster
        heirs: dict[int, list[int]] = {}
        for branch, cluster in goes.items():
            heirs.setdefault(cluster, []).append(branch)
        for cluster, tokens in _classes(clusters).items():
            if cluster in heirs:
                keeps = min(heirs[cluster], key=age.__getitem__)
            else:
                pieces = [part for part in parts if part[0] == cluster]
                keeps = self._born(k, max(pieces, key=lambda part: (weight[part], -part[1]))[1])
            for branch in heirs.get(cluster, ()):
                if branch != keeps:
                    self.last[branch], self.parent[branch] = k - 1, keeps
            self.label[k, tokens] = keeps


def _classes(key: Int[np.ndarray, " n"]) -> dict[int, np.ndarray]:
    """For each value of a key, increasing, the tokens that have it, increasing."""
    order = np.argsort(key, kind="stable")
    values, first = np.unique(key[order], return_index=True)
    return dict(zip(values.tolist(), np.split(order, first[1:]), strict=True))
