"""Colors of tokens in a film: that of the cluster they belong to, which a cluster keeps for as long as it lives.

A cluster is a branch of the merge tree. The branches that last longest on the film's clock have colors of their own,
all others are gray; where two merge the younger or lighter one takes on the color of the other, by the elder rule of
the tree, and no color ever changes in between.
"""

import equinox as eqx
import numpy as np
import xarray as xr
from jaxtyping import Float, Int
from matplotlib.colors import to_rgb

from ...analysis.merge_tree import MergeTree, branches
from ...analysis.stored import cluster_distance, stored_space, stored_tokens
from ...spaces import AbstractSpace
from ..depth import Depth
from ..paths import Index, Path

COLORED = 7
"""Branches with a color of their own: as many as the house has that are read on white."""

PLAIN = "0.55"
"""The gray of all other clusters."""

ALONE = "C0"
"""The color of all tokens where clusters are not told apart."""


class Hues(eqx.Module):
    """The color of each token of a path at each of its frames, and the number of clusters there.

    Attributes
    ----------
    time : the depths of the frames.
    color : red, green and blue from 0 to 1.
    clusters : how many there are; absent where they are not told apart.
    """

    time: Float[np.ndarray, " t"]
    color: Float[np.ndarray, "t n 3"]
    clusters: Int[np.ndarray, " t"] | None = None

    def at(self, t: float) -> tuple[Float[np.ndarray, "n 3"], int | None]:
        """Colors and number of clusters at a depth: those of the last frame that it has reached."""
        k = int(np.clip(np.searchsorted(self.time, t, side="right") - 1, 0, len(self.time) - 1))
        return self.color[k], None if self.clusters is None else int(self.clusters[k])


def hues(dataset: xr.Dataset, at: Index, path: Path, clock: Depth, delta: float | None, most: int) -> Hues:
    """The colors of one member of a dataset by its clusters; one color where its clusters cannot be told apart.

    Parameters
    ----------
    delta : the distance below which clusters merge; by default that of the record.
    most : tokens up to which clusters are told apart.
    """
    part = dataset.isel(at)
    space = known_space(part)
    time, _, x = stored_tokens(part)
    frames = np.flatnonzero(np.isin(path.time, time))
    whole = min(x.shape[:2]) > 1 and x.shape[1] == path.x.shape[1] <= most and len(frames) > 1
    if space is None or not whole:
        return Hues(path.time[:1], np.broadcast_to(np.asarray(to_rgb(ALONE)), (1, path.x.shape[1], 3)))
    tree = branches(space, path.time[frames], path.x[frames], cluster_distance(dataset) if delta is None else delta)
    return Hues(tree.time, colors(tree, clock)[tree.label], tree.clusters)


def colors(tree: MergeTree, clock: Depth) -> Float[np.ndarray, "branch 3"]:
    """The colors of the branches: those that are longest on the clock have one of their own, heavier ones first."""
    along = clock.along(tree.time)
    ranked = np.lexsort((-tree.masses().max(axis=0), -(along[tree.last] - along[tree.first])))
    found = np.tile(np.asarray(to_rgb(PLAIN)), (len(ranked), 1))
    for k, branch in enumerate(ranked[:COLORED]):
        found[branch] = to_rgb(f"C{k}")
    return found


def known_space(dataset: xr.Dataset) -> AbstractSpace | None:
    """The space of a run, or None where its record does not say enough of it."""
    try:
        return stored_space(dataset)
    except ValueError:
        return None
