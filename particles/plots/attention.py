"""Who attends to whom, as matrices and as lines between tokens where they are, at a few depths.

The weights are what the observable `attention` has stored; nothing is computed of scores here. A matrix is read in an
order of tokens in which those that end together stand together, so that clusters are blocks; where no token looks ahead
of itself the order of the record means something and is kept.
"""

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

from ..declaration import option
from .base import AbstractFigure
from .panels import BAR, arranged, outer_labels, panel_width, panels
from .paths import Index, Path, begun, depth_symbol, members, path, picked, title, token_fault, written
from .timelapse import flat, moments
from .views import AbstractView, views

WEIGHTS = "attention"
"""The observable that is drawn."""

_COLORS = ListedColormap(matplotlib.colormaps["magma_r"](np.linspace(0, 0.9, 256)), name="weights")
"""Nothing is white, as the paper is, and nothing black, as the frame is."""

_FLOOR = 1e-2
"""Least weight that is told from none, in units of what each token has if all have the same."""

_WIDEST = 2.0
"""Points of the line of a weight of one."""


class AttentionMatrix(AbstractFigure):
    """The attention matrices at a few depths: a row is who attends, a column who is attended to.

    Needs the observable `attention`. Rows of panels are heads, or members of a sweep, of which the mean over heads is
    shown. Colors are logarithmic. Clusters are blocks, sinks are columns, a causal law is a triangle.

    Parameters
    ----------
    panels : depths that are shown, spread over how far the tokens moved.
    rows : most heads, or members, that are shown.
    ordered : whether those that end together stand together; by default unless no token looks ahead of itself.
    """

    name: ClassVar[str] = "attention"

    panels: int = option(4, ge=1, le=8)
    rows: int = option(4, ge=1, le=6)
    ordered: bool | None = option(None)

    def draw(self, dataset: xr.Dataset) -> Figure:
        shown = _shown(dataset, self.rows)
        stops = [_stops(dataset, at, self.panels) for at, _, _ in shown]
        columns = max(len(frames) for frames in stops)
        figure, grid = panels(len(shown), max(columns, 2), 1.0)
        n = dataset.sizes["token"]
        norm = LogNorm(_FLOOR / n, 1.0)
        for row, (at, head, words), frames in zip(grid, shown, stops, strict=True):
            order = self._order(dataset, at)
            for axes, frame in zip(row, frames, strict=False):
                w = _weights(dataset, at, head, frame)[np.ix_(order, order)]
                axes.imshow(np.maximum(w, _FLOOR / n), norm=norm, cmap=_COLORS, interpolation="nearest")
                axes.set_title(_depth(dataset, frame))
                axes.set(xticks=[], yticks=[])
                axes.spines[:].set_visible(True)
            for axes in row[len(frames) :]:
                axes.set_axis_off()
            row[0].set_ylabel(f"{words}\nattends" if words else "attends")
        for axes in grid[-1, :columns]:
            axes.set_xlabel("is attended to")
        bar = figure.colorbar(ScalarMappable(norm, _COLORS), ax=list(grid.flat), extend="min", label="weight", **BAR)
        bar.outline.set_visible(False)
        return figure

    def refusal(self, dataset: xr.Dataset) -> str | None:
        return _fault(dataset, "the figure of attention matrices")

    def shows(self, dataset: xr.Dataset) -> str:
        ordered = not _ahead_of_none(dataset) if self.ordered is None else self.ordered
        order = " in an order in which those that end together stand together" if ordered else ""
        return f"Attention weights of {dataset.sizes['token']} tokens{order}, on a logarithmic color scale."

    def _order(self, dataset: xr.Dataset, at: Index) -> Int[np.ndarray, " n"]:
        """The order of the tokens, from where they are at the end, or from their last weights."""
        n = dataset.sizes["token"]
        if not ((not _ahead_of_none(dataset)) if self.ordered is None else self.ordered) or n < 3:
            return np.arange(n)
        last = path(dataset, at, 2).x[-1] if "tokens" in dataset else None
        if last is None or len(last) != n or not np.isfinite(last).all():
            last = _weights(dataset, at, None, -1)
        from scipy.cluster.hierarchy import leaves_list, linkage  # half a second that other figures are spared

        return np.asarray(leaves_list(linkage(last, "single", optimal_ordering=n <= 300)))


class AttentionGraph(AbstractFigure):
    """Attention as lines between tokens where they are, at a few depths: the strongest pairs, wider for more weight.

    Needs the observable `attention` and the tokens. Of the two directions of a pair the stronger is shown, of several
    heads their mean; what a token gives to itself is left out. Points are larger the more they are given by all.

    Parameters
    ----------
    panels : depths that are shown, spread over how far the tokens moved.
    edges : most pairs that are drawn.
    """

    name: ClassVar[str] = "attention_graph"

    panels: int = option(6, ge=1, le=9)
    edges: int = option(300, ge=1)

    def draw(self, dataset: xr.Dataset) -> Figure:
        at = begun(dataset)[-1]
        whole = path(dataset, at, dataset.sizes["time"])
        frames = moments(whole, self.panels)
        view = flat(views(dataset, [whole]))
        figure, every = arranged(len(frames), 1.0)
        norm = LogNorm(1 / whole.x.shape[1], 1.0)
        for axes, frame in zip(every, frames, strict=True):
            view.frame(axes)
            axes.set_title(_depth(dataset, frame))
            _draw_graph(axes, view, whole.at([frame]), _weights(dataset, at, None, frame), self.edges, norm)
        outer_labels(every)
        mappable = ScalarMappable(norm, _COLORS)
        bar = figure.colorbar(mappable, ax=every, extend="min", label="weight of a pair", **BAR)
        bar.outline.set_visible(False)
        return figure

    def refusal(self, dataset: xr.Dataset) -> str | None:
        fault = _fault(dataset, "the graph of attention") or token_fault(dataset, "the graph of attention")
        if fault is None and dataset.sizes["dim"] < 2:
            return "the graph of attention needs tokens of dimension 2 or more, got 1; use `attention`"
        if fault is None and path(dataset, begun(dataset)[-1], 2).x.shape[1] != dataset.sizes["token"]:
            return "the graph of attention needs all tokens to be somewhere; use `attention`"
        return fault

    def shows(self, dataset: xr.Dataset) -> str:
        n = dataset.sizes["token"]
        pairs = min(self.edges, n * (n - 1) // 2)
        several = len(members(dataset)) > 1
        member = f" Shown is the member {title(dataset, begun(dataset)[-1])} of the sweep." if several else ""
        return f"The {pairs} strongest pairs of {n} tokens by attention weight, at depths of equal motion.{member}"


def _draw_graph(
    axes: Axes, view: AbstractView, now: Path, w: Float[np.ndarray, "n n"], edges: int, norm: LogNorm
) -> None:
    places, front = view.place(now.time, now.x)[0], view.front(now.x)[0]
    low, high = np.triu_indices(len(w), 1)
    weight = np.maximum(w[low, high], w[high, low])
    chosen = np.argsort(weight, kind="stable")[-edges:]
    low, high, weight = low[chosen], high[chosen], weight[chosen]
    near = view.front((now.x[:, low] + now.x[:, high]) / 2)[0]
    room = min(1.0, panel_width(axes) / 2)
    for side, strength, z in ((~near, 0.35, 0.6), (near, 1.0, 2)):
        color = 1 - strength * (1 - _COLORS(norm(np.maximum(weight[side], 1 / len(w))))[:, :3])
        lines = LineCollection(list(np.stack([places[low], places[high]], axis=1)[side]), colors=color, zorder=z)
        lines.set_linewidth(np.maximum(_WIDEST * room * np.sqrt(weight[side]), 0.2).tolist())
        axes.add_collection(lines, autolim=False)
    given = w.sum(axis=0) / max(float(w.sum()), 1e-300) * len(w)
    for side, gray, z in ((~front, "0.8", 0.8), (front, "0.25", 3)):
        size = room * np.clip(10 * given[side], 3, 60)
        axes.scatter(*places[side].T, s=size, color=gray, linewidths=0.3, edgecolors="white", zorder=z, clip_on=False)


def _fault(dataset: xr.Dataset, what: str) -> str | None:
    if WEIGHTS not in dataset or not {"token", "key"} <= set(dataset[WEIGHTS].dims):
        return f"{what} needs the observable `attention`; add it to `plan.watch`"
    if not dataset[WEIGHTS].sizes["time"] or not np.isfinite(dataset[WEIGHTS].isel(time=0).values).any():
        return f"{what} needs a frame that was reached; the weights of this dataset are nowhere finite at first"
    return None


def _shown(dataset: xr.Dataset, rows: int) -> list[tuple[Index, int | None, str]]:
    """What has a row of panels: member, head or the mean of all, and what it is called."""
    every = begun(dataset) if "tokens" in dataset else list(members(dataset))
    heads = dataset.sizes["head"]
    if len(every) == 1 and heads > 1:
        return [(every[0], head, f"head {head + 1}") for head in picked(heads, rows)]
    return [(every[k], None, title(dataset, every[k])) for k in picked(len(every), rows)]


def _stops(dataset: xr.Dataset, at: Index, count: int) -> list[int]:
    """The frames that are shown: at equal motion, where tokens are stored; they are those of a path that is whole."""
    finite = np.isfinite(dataset[WEIGHTS].isel(at).values).any(axis=(-1, -2, -3))
    last = int(np.flatnonzero(finite)[-1]) + 1
    if "tokens" not in dataset:
        return picked(last, count)
    part = path(dataset.isel(time=slice(last)), at, last)
    return moments(part, count) if len(part.time) == last else picked(last, count)


def _weights(dataset: xr.Dataset, at: Index, head: int | None, frame: int) -> Float[np.ndarray, "n n"]:
    stored = dataset[WEIGHTS].isel(at).isel(time=frame).transpose("head", "token", "key").values
    w = np.asarray(stored, float)
    return np.nan_to_num(np.nanmean(w, axis=0) if head is None else w[head])


def _ahead_of_none(dataset: xr.Dataset) -> bool:
    """Whether no token attends to one after it, as under a causal law."""
    first = dataset[WEIGHTS].isel(time=0).transpose(..., "token", "key").values
    n = first.shape[-1]
    return n > 1 and not np.nan_to_num(np.triu(first, 1)).any()


def _depth(dataset: xr.Dataset, frame: int) -> str:
    return f"{depth_symbol(dataset)} = {written(float(f'{float(dataset.time.values[frame]):.3g}'))}"
