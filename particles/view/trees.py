"""The clusters of a member through depth, as a page shows them: labels, colors that persist, and a tree.

Clusters are those of `analysis.merge_tree`: single linkage at the distance that the record watched. A branch keeps its
color for as long as it lives, through all that merges into it; the branches that last longest have a color of their
own, the others are gray.
"""

import dataclasses
from typing import Any

import numpy as np
import xarray as xr

from ..analysis.merge_tree import MergeTree, branches
from ..analysis.stored import cluster_distance, stored_space, stored_tokens
from ..plots.branches import in_rows, rows
from ..plots.paths import picked
from .packing import packed

MOST = 512
"""Clusters are told apart among at most so many tokens: all pairs are looked at."""

COLORED = 7
"""Branches with a color of their own."""

_FRAMES, _FEWEST = 200, 40
_WORK = 4e7
"""Pairs of tokens, over all frames and members, that are looked at for one page: some seconds."""


@dataclasses.dataclass(frozen=True)
class Grown:
    """The tree of a member, and the frames of the page that it was grown on."""

    tree: MergeTree
    frames: list[int]


def grown(dataset: xr.Dataset, members: int) -> Grown | None:
    """The tree of a member; None where there is none: too many tokens or too few, one frame, an unknown space.

    Parameters
    ----------
    dataset : of the member, at the frames and tokens of the page.
    members : how many trees the page needs.
    """
    if not 2 <= dataset.sizes["token"] <= MOST:
        return None
    time, token, x = stored_tokens(dataset)
    if len(time) < 2 or len(token) < 2:
        return None
    try:
        space = stored_space(dataset)
    except ValueError:
        return None
    most = int(np.clip(_WORK / (members * len(token) ** 2), _FEWEST, _FRAMES))
    kept = picked(len(time), most)
    tree = branches(space, time[kept], x[kept], cluster_distance(dataset))
    return Grown(dataclasses.replace(tree, token=token), kept)


def plain(found: Grown, tokens: int) -> dict[str, Any]:
    """A tree as plain data.

    Parameters
    ----------
    tokens : on the page; those that are nowhere have the label -1.
    """
    tree, ranked = found.tree, _ranked(found.tree)
    color = np.full(len(ranked), -1)
    color[ranked[:COLORED]] = np.arange(min(COLORED, len(ranked)))
    label = np.full((len(tree.time), tokens), -1)
    label[:, tree.token] = tree.label
    height = rows(tree, ranked[:60])
    strokes = [[s.branch, *s.points.ravel().tolist(), s.mass, int(s.step)] for s in in_rows(tree, height)]
    return {
        "frames": found.frames,
        "delta": tree.delta,
        "label": packed(label, "<i2"),
        "color": color.tolist(),
        "size": tree.size.tolist(),
        "strokes": [[_short(number) for number in stroke] for stroke in strokes],
        "height": [_short(height.min() - 1), _short(height.max() + 1)],
        "clusters": tree.clusters.tolist(),
        "order": order(tree, tokens).tolist(),
    }


def order(tree: MergeTree, tokens: int) -> np.ndarray:
    """The tokens such that those that end together stand together, and of those the ones that met first."""
    key = np.full((len(tree.time), tokens), len(tree.first))
    key[:, tree.token] = tree.label
    weight = np.bincount(tree.label[-1], minlength=len(tree.first))
    ends = np.append(-weight, 1)[key[-1]]
    return np.lexsort((*key, ends))


def _ranked(tree: MergeTree) -> np.ndarray:
    """The branches: those that are there at the end first, then those that last longest, the heaviest first."""
    positive = np.diff(tree.time)
    along = np.arcsinh((tree.time - tree.time[0]) / positive.min())
    mass = tree.masses()
    final = mass[-1] * (tree.last == len(tree.time) - 1)
    return np.lexsort((-mass.max(axis=0), -(along[tree.last] - along[tree.first]), -np.round(final, 9)))


def _short(number: Any) -> float:
    return float(f"{float(number):.7g}")
