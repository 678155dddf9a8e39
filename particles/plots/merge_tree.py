"""Clusters through depth as a tree: when they merge, into which, and at which distances they are told apart.

The tree is that of `analysis.merge_tree`, found from the stored tokens. What merges is seen better than in a bundle of
paths, and waits that last for decades of depth as well as the first moments: depth is logarithmic where it should be.
Below stands the number of clusters at every distance, in which a distance well chosen crosses broad bands.
"""

import dataclasses
from collections.abc import Callable, Sequence
from typing import ClassVar

import matplotlib
import numpy as np
import xarray as xr
from jaxtyping import Float, Int
from matplotlib.axes import Axes
from matplotlib.cm import ScalarMappable
from matplotlib.collections import LineCollection
from matplotlib.colors import ListedColormap, LogNorm
from matplotlib.figure import Figure

from ..analysis.merge_tree import MergeTree, branches
from ..analysis.stored import cluster_distance, stored_space, stored_tokens
from ..declaration import option
from ..spaces import AbstractSpace
from .base import AbstractFigure
from .branches import Stroke, in_place, in_rows, rows
from .cosines import cell_edges
from .depth import EARLY, Depth
from .panels import BAR, MOST, arranged, outer_labels, panel_width
from .paths import Index, begun, depth_label, members, picked, title, token_fault
from .style import DOUBLE

_COLORED = 7
"""Branches with a color of their own: as many as the house has that are read on white."""

_PLAIN, _FAINT = "0.5", "0.75"
"""The grays of the other branches, and of those that lie in a fan."""

_WIDEST, _STEP, _THINNEST = 5.0, 0.8, 0.35
"""Points of the line that carries most mass, of the widest step, and of the thinnest line."""

_NUMBERED, _CLEAR = 12, 0.06
"""Up to so many clusters at the end have numbers, which keep this share of the height from each other."""

_MANY = 2000
"""More lines than this are an image inside vector files."""

_CELLS, _DEEPEST = 160, 1e-3
"""Distances in the image of the number of clusters, and the smallest of them in units of the largest."""

_COLORS = ListedColormap(matplotlib.colormaps["magma_r"](np.linspace(0, 0.85, 256)), name="clusters")
"""Nothing is white, as the paper is, and nothing black, as the frame is."""


@dataclasses.dataclass(frozen=True)
class Member:
    """A run of a sweep, or the run: its tree, its space, and its tokens at the frames of the tree."""

    title: str
    tree: MergeTree
    space: AbstractSpace
    x: Float[np.ndarray, "t n d"]


@dataclasses.dataclass(frozen=True)
class Place:
    """A number that says where a token is, in a space of one dimension; it comes back to itself after a period."""

    coordinate: Callable[[Float[np.ndarray, "*m d"]], Float[np.ndarray, "*m"]]
    period: float
    label: str

    def frame(self, axes: Axes, values: Float[np.ndarray, "..."]) -> None:
        """Limits, ticks and label."""
        if np.isfinite(self.period):
            ticks = [r"$-\pi$", r"$-\pi/2$", "$0$", r"$\pi/2$", r"$\pi$"]
            axes.set_yticks(self.period * np.linspace(-0.5, 0.5, 5), ticks)
            axes.set_ylim(-self.period / 2, self.period / 2)
        else:
            low, high = float(np.nanmin(values)), float(np.nanmax(values))
            spare = 0.05 * (high - low) or 0.1 * abs(high) or 1.0
            axes.set_ylim(low - spare, high + spare)
        axes.set_ylabel(self.label)


class ClusterTree(AbstractFigure):
    """The clusters through depth as a tree, and their number at every distance.

    A line is a cluster, as wide as its mass; it ends where it merges into an older or heavier one, and begins dotted
    where it falls off from another. On the circle and on the line its height is where the cluster is, elsewhere a place
    in an order in which lines do not cross. Those that last longest are colored; numbers at the right are tokens.
    Depth is logarithmic where most happens early, so that waits of very different lengths are seen together. To be
    taken where clusters merge one after another.

    Parameters
    ----------
    delta : the distance below which clusters merge; by default that of the observable `clusters` in the record, else
        its default.
    split : the distance at which a cluster falls apart; by default `delta`. Larger where tokens tremble.
    branches : most branches with a row of their own, those that last longest; the others lie close, like a fan.
    log_depth : whether depth is logarithmic; by default where half of what happens does so in its first tenth.
    panels : most members of a sweep that are shown.
    frames : most frames that are looked at; births and mergers are known up to the distance of two frames.
    tokens : most tokens; more are refused.

    Cost
    ----
    O(frames tokens^2 d) for each member; some five seconds for 200 frames of 512 tokens.
    """

    name: ClassVar[str] = "merge_tree"

    delta: float | None = option(None, gt=0)
    split: float | None = option(None, gt=0)
    branches: int = option(60, ge=1)
    log_depth: bool | None = option(None)
    panels: int = option(MOST, ge=1, le=MOST)
    frames: int = option(200, ge=2)
    tokens: int = option(512, ge=2)

    def draw(self, dataset: xr.Dataset) -> Figure:
        shown = [self._member(dataset, at) for at in self._chosen(dataset)]
        depth = self._depth(dataset, [member.tree for member in shown])
        heaviest = max(float(member.tree.masses().max()) for member in shown) or 1.0
        place = _place(dataset)
        if len(shown) == 1:
            figure = Figure(figsize=(DOUBLE, 0.68 * DOUBLE))
            every = list(figure.subplots(2, 1, sharex=True, height_ratios=[1.8, 1]))
            _draw_numbers(figure, every, shown[0].tree)
            depth.frame(every[1])
        else:
            figure, every = arranged(len(shown), 0.72)
        for axes, member in zip(every, shown, strict=False):
            depth.frame(axes)
            _draw_strokes(axes, *self._strokes(axes, member, depth, place), heaviest)
            axes.set_title(member.title)
        if len(shown) == 1:
            every[0].set_xlabel("")
            figure.align_ylabels(every)
        else:
            limits = np.asarray([axes.get_ylim() for axes in every])
            for axes in every if place else ():
                axes.set_ylim(limits.min(), limits.max())
            outer_labels(every)
        return figure

    def refusal(self, dataset: xr.Dataset) -> str | None:
        fault = token_fault(dataset, "the merge tree")
        if fault:
            return fault
        if dataset.sizes["token"] > self.tokens:
            return (
                f"the merge tree looks at all pairs at every depth, of at most {self.tokens} tokens; "
                f"got {dataset.sizes['token']}: raise `tokens` of the figure"
            )
        delta = self._delta(dataset)
        if self.split is not None and self.split < delta:
            return f"`split` of the merge tree must be at least `delta`, {delta:g}; got {self.split:g}"
        chosen = self._chosen(dataset)
        if not chosen:
            return "the merge tree needs two tokens at two depths or more; use `trajectories`"
        try:
            stored_space(dataset.isel(chosen[0]))
        except ValueError:
            space = dataset.attrs.get("space", "?")
            return f"the merge tree needs distances, and the record does not say enough of its space, {space}"
        return None

    def shows(self, dataset: xr.Dataset) -> str:
        apart = "" if self.split is None else f", and fall apart at {self.split:g}"
        drawn, all_of_them = len(self._chosen(dataset)), len(members(dataset))
        what = [
            f"Clusters of {dataset.sizes['token']} tokens through depth: they merge by single linkage at distance",
            f"{self._delta(dataset):g}{apart}. Width is mass; the branches that last longest are colored, and end",
            "where they merge into an older or heavier one, known up to the distance of two frames.",
        ]
        if drawn == 1:
            what.append("Below, the number of clusters at every distance; the line is the distance of the tree.")
        if drawn < all_of_them:
            what.append(f"Shown are {drawn} of the {all_of_them} members of the sweep.")
        return " ".join(what)

    def _delta(self, dataset: xr.Dataset) -> float:
        return cluster_distance(dataset) if self.delta is None else self.delta

    def _chosen(self, dataset: xr.Dataset) -> list[Index]:
        """The members that are shown: evenly picked, and with a tree."""
        every = begun(dataset)
        some = [every[k] for k in picked(len(every), self.panels)]
        return [at for at in some if min(stored_tokens(dataset.isel(at))[2].shape[:2]) > 1]

    def _member(self, dataset: xr.Dataset, at: Index) -> Member:
        part = dataset.isel(at)
        time, _, x = stored_tokens(part)
        kept = picked(len(time), self.frames)
        space = stored_space(part)
        tree = branches(space, time[kept], x[kept], self._delta(dataset), split=self.split)
        return Member(title(dataset, at), tree, space, x[kept])

    def _depth(self, dataset: xr.Dataset, trees: Sequence[MergeTree]) -> Depth:
        times = np.concatenate([tree.time for tree in trees])
        events = np.concatenate([_events(tree) for tree in trees])
        first, last = float(times.min()), float(times.max())
        halves = [np.median(times), *([np.median(events[:, 1])] if len(events) else [])]
        early = min(halves) - first < EARLY * (last - first)
        floor = None
        if early if self.log_depth is None else self.log_depth:
            before = float(events[:, 0].min()) / 3 if len(events) else 0.0
            floor = max(float(times[times > 0].min()), before)
        return Depth(first, last, floor, depth_label(dataset))

    def _strokes(self, axes: Axes, member: Member, depth: Depth, place: Place | None) -> tuple[list[Stroke], list[str]]:
        """The lines of a tree and the colors of its branches, the axes made ready for them."""
        tree = member.tree
        ranked = _ranked(tree, depth)
        if place is None:
            ends = rows(tree, ranked[: self.branches])
            strokes = in_rows(tree, ends)
            axes.set(ylim=(ends.min() - 1, ends.max() + 1), ylabel="clusters", yticks=[])
        else:
            where = place.coordinate(tree.representatives(member.space, member.x))
            ends = where[-1]
            strokes = in_place(tree, where, place.period)
            place.frame(axes, where)
        _draw_sizes(axes, tree, ends)
        colors = [_FAINT] * len(ranked)
        for k, branch in enumerate(ranked[: self.branches]):
            colors[branch] = f"C{k}" if k < _COLORED else _PLAIN
        return strokes, colors


def _place(dataset: xr.Dataset) -> Place | None:
    """How it is said where a token of this dataset is, if a number does."""
    d = dataset.sizes["dim"]
    if d == 2 and dataset.attrs["space"] == "Sphere":
        return Place(lambda x: np.arctan2(x[..., 1], x[..., 0]), 2 * np.pi, r"angle $\theta$")
    return Place(lambda x: x[..., 0], np.inf, "position $x$") if d == 1 else None


def _events(tree: MergeTree) -> Float[np.ndarray, "event 2"]:
    """Between which depths clusters merged or fell apart."""
    return np.concatenate([tree.died[tree.parent >= 0], tree.born[tree.origin >= 0]])


def _ranked(tree: MergeTree, depth: Depth) -> Int[np.ndarray, " branch"]:
    """The branches, those first that are longest on paper, and of equally long ones the heaviest."""
    along = depth.along(tree.time)
    mass = tree.masses().max(axis=0)
    return np.lexsort((-mass, -(along[tree.last] - along[tree.first])))


def _draw_strokes(axes: Axes, strokes: Sequence[Stroke], colors: Sequence[str], heaviest: float) -> None:
    """Lines as wide as their mass, the widest on top; steps are thin, births dotted, and the faintest below all."""
    full = _WIDEST * min(1.0, 2 * panel_width(axes) / DOUBLE)  # narrower in narrow panels

    def width(stroke: Stroke) -> float:
        most = _THINNEST if colors[stroke.branch] == _FAINT else _STEP if stroke.step else full
        return max(min(full * stroke.mass / heaviest, most), _THINNEST)

    ordered = sorted(strokes, key=lambda one: (colors[one.branch] != _FAINT, not one.step, one.mass))
    bundle = LineCollection([one.points for one in ordered], linewidths=[width(one) for one in ordered])
    bundle.set(color=[colors[one.branch] for one in ordered], rasterized=len(ordered) > _MANY)
    bundle.set_linestyle([":" if one.birth else "-" for one in ordered])
    level = any(one.step for one in strokes)
    bundle.set_capstyle("butt" if level else "round")
    bundle.set_antialiased([not (level and width(one) > _STEP) for one in ordered])  # else seams are seen
    axes.add_collection(bundle, autolim=False)


def _draw_sizes(axes: Axes, tree: MergeTree, ends: Float[np.ndarray, " branch"]) -> None:
    """Right of the clusters at the end the numbers of their tokens, as far as there is room."""
    final, size = np.flatnonzero(tree.last == len(tree.time) - 1), tree.size
    low, high = axes.get_ylim()
    taken: list[float] = []
    for branch in final[np.argsort(-size[final], kind="stable")] if len(final) <= _NUMBERED else ():
        at, word = (tree.time[-1], float(ends[branch])), str(size[branch])
        if np.isfinite(at[1]) and all(abs(at[1] - other) > _CLEAR * (high - low) for other in taken):
            taken.append(at[1])
            number = axes.annotate(word, at, (3, 0), textcoords="offset points", annotation_clip=False)
            number.set(fontsize=6, va="center", color="0.3")


def _draw_numbers(figure: Figure, every: Sequence[Axes], tree: MergeTree) -> None:
    """The number of clusters over depth and distance in the lower panel, with the distances of the tree."""
    axes, n, deaths = every[1], len(tree.token), tree.distances
    highest = max(1.1 * float(deaths.max()), 1.5 * tree.split)
    lowest = min(_DEEPEST * highest, tree.delta / 3)
    edges = np.geomspace(lowest, highest, _CELLS + 1)
    middle = np.sqrt(edges[1:] * edges[:-1])
    count = n - np.stack([np.searchsorted(one, middle, side="left") for one in deaths], axis=1)
    norm = LogNorm(1, n)
    axes.pcolormesh(cell_edges(tree.time), edges, count, norm=norm, cmap=_COLORS, rasterized=True)
    axes.set(yscale="log", ylim=(lowest, highest), ylabel="distance")
    for distance, word in {tree.split: "split", tree.delta: r"$\delta$"}.items():
        axes.axhline(distance, color="white", linewidth=2.0)
        axes.axhline(distance, color="C0", linewidth=0.9)
        place = {"xycoords": ("axes fraction", "data"), "textcoords": "offset points", "annotation_clip": False}
        axes.annotate(word, (1, distance), (3, 0), **place).set(va="center", color="C0")
    ticks = [k for k in (1, 2, 5, 10, 20, 50, 100, 200, 500, 1000) if k <= n]
    bar = figure.colorbar(ScalarMappable(norm, _COLORS), ax=list(every), label="number of clusters", **BAR)
    bar.set_ticks(ticks, labels=[str(k) for k in ticks])
    bar.minorticks_off()
    bar.outline.set_visible(False)
