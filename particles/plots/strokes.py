"""Paths and points in ink: depth is color, what is hidden is faint.

A path is cut into one short line per pair of successive frames, colored by its depth; all lines of a side and a depth
are one piece of ink, so that fifty thousand of them are drawn in the time of a few hundred. On a circle unrolled a line
that leaves at the top comes in again at the bottom: it is drawn twice and the axes cut it. Dense collections become an
image inside pdf and svg, so that the files stay small.
"""

from collections.abc import Sequence

import equinox as eqx
import matplotlib
import numpy as np
from jaxtyping import Bool, Float
from matplotlib.axes import Axes
from matplotlib.cm import ScalarMappable
from matplotlib.collections import PathCollection
from matplotlib.colors import Colormap, ListedColormap, Normalize, PowerNorm
from matplotlib.figure import Figure
from matplotlib.path import Path as Pen

from .panels import BAR, panel_width
from .paths import Path
from .views import AbstractView

_MANY = 2000
"""More lines or points than this are an image inside vector files."""

_FEW = 64
"""Up to so many tokens, lines and points are bold."""

_HIDDEN = 0.35
"""How much of a color is left on the far side; the rest is white. Not transparent: many faint lines must stay faint."""


class Strokes(eqx.Module):
    """Short lines on paper: their two ends, the depth in their middle, and whether they face the reader."""

    ends: Float[np.ndarray, "s 2 2"]
    depth: Float[np.ndarray, " s"]
    front: Bool[np.ndarray, " s"]


def strokes(view: AbstractView, path: Path) -> Strokes:
    """The lines of all tokens between successive frames; none where a token is not finite.

    A stroke faces the reader if its middle does.
    """
    places = view.place(path.time, path.x)
    first, step = places[:-1], np.diff(places, axis=0)
    if np.isfinite(view.period):
        step[..., 1] -= view.period * np.round(step[..., 1] / view.period)
    last = first + step
    middle = path.x[:-1] / 2 + path.x[1:] / 2
    depth = np.broadcast_to((path.time[:-1, None] + path.time[1:, None]) / 2, first.shape[:2])
    kept = np.isfinite(first).all(axis=-1) & np.isfinite(last).all(axis=-1)
    ends, depth, front = np.stack([first, last], axis=-2)[kept], depth[kept], view.front(middle)[kept]
    if np.isfinite(view.period):
        again = np.abs(ends[:, 1, 1]) > view.period / 2
        shift = np.array([0.0, view.period]) * np.sign(ends[again, 1:, 1:])
        ends = np.concatenate([ends, ends[again] - shift])
        depth, front = np.concatenate([depth, depth[again]]), np.concatenate([front, front[again]])
    return Strokes(ends, depth, front)


def depth_colors(strength: float = 1.0) -> Colormap:
    """Viridis without its palest end, which is lost on white paper; of less strength, mixed with white."""
    colors = matplotlib.colormaps["viridis"](np.linspace(0, 0.92, 256))
    return ListedColormap(1 - strength * (1 - colors) * [1, 1, 1, 0], name="depth")


def depth_norm(paths: Sequence[Path]) -> Normalize:
    """From the depths of all paths together to colors, for one colorbar.

    Tokens often move early and then wait. The scale is a power of depth, such that the first half of the colors goes to
    the first half of the motion (of the median path); never to less than a hundredth of the depth, and linear if the
    motion is late.
    """
    times = np.concatenate([p.time for p in paths])
    first, last = float(times.min()), float(times.max())
    if last <= first:
        return Normalize(first, last)
    halves = []
    for p in paths:
        motion = p.motion()
        halves.append(p.time[int(np.searchsorted(motion, motion[-1] / 2))] if motion[-1] > 0 else last)
    half = (float(np.median(halves)) - first) / (last - first)
    return PowerNorm(np.log(0.5) / np.log(np.clip(half, 0.01, 0.5)), first, last)


def draw_lines(axes: Axes, view: AbstractView, path: Path, norm: Normalize) -> None:
    """The paths, far side first and faint."""
    lines = strokes(view, path)
    few = path.x.shape[1] <= _FEW
    width, alpha = (0.9, 1.0) if few else (0.5, 0.7)
    for side, strength, zorder in ((~lines.front, _HIDDEN, 0.5), (lines.front, 1.0, 2)):
        if side.any():
            depths, drawn = together(lines.depth[side], lines.ends[side])
            bundle = PathCollection(drawn, facecolors="none", linewidths=width, alpha=alpha, zorder=zorder)
            bundle.set(array=depths, cmap=depth_colors(strength), norm=norm, rasterized=len(lines.depth) > _MANY)
            bundle.set_capstyle("round" if alpha == 1 else "butt")  # round ends of see-through lines are beads
            axes.add_collection(bundle, autolim=False)


def together(
    depth: Float[np.ndarray, " s"], ends: Float[np.ndarray, "s 2 2"]
) -> tuple[Float[np.ndarray, " k"], list[Pen]]:
    """The lines of one depth as one path with gaps, by depth."""
    order = np.argsort(depth, kind="stable")
    depths, first = np.unique(depth[order], return_index=True)
    codes = np.array([Pen.MOVETO, Pen.LINETO], dtype=Pen.code_type)
    bundles = np.split(ends[order], first[1:])
    return depths, [Pen(lines.reshape(-1, 2), np.tile(codes, len(lines))) for lines in bundles]


def draw_points(
    axes: Axes,
    view: AbstractView,
    path: Path,
    frame: int,
    norm: Normalize,
    still: Bool[np.ndarray, " n"],
    hollow: bool = False,
) -> None:
    """The tokens of one frame: small and hollow where paths start, larger and filled where they are or end.

    Those that never move are diamonds without a color of depth.
    """
    now = path.at([frame])
    places, front = view.place(now.time, now.x)[0], view.front(now.x)[0]
    few = path.x.shape[1] <= _FEW
    size = (6.0 if few else 3.0) if hollow else (20.0 if few else 12.0)
    size *= min(1.0, panel_width(axes) / 2)  # smaller in narrow panels
    for side, strength, zorder in ((~front, _HIDDEN, 0.7), (front, 1.0, 3 if hollow else 4)):
        color = depth_colors(strength)(norm(now.time[0]))
        gray = "0.45" if strength == 1 else "0.8"
        pen = {"facecolors": "none", "edgecolors": gray} if hollow else {"facecolors": [color], "edgecolors": "white"}
        fixed = {"facecolors": "0.2" if strength == 1 else "0.75", "edgecolors": "white", "marker": "D"}
        marks = [(side & ~still, pen)] if hollow else [(side & ~still, pen), (side & still, fixed)]
        for here, ink in marks:
            shown = places[here & np.isfinite(places).all(axis=-1)]
            if len(shown):
                points = axes.scatter(*shown.T, s=size, linewidths=0.4, zorder=zorder, clip_on=False, **ink)
                points.set_rasterized(len(shown) > _MANY)


def depth_bar(figure: Figure, axes: Sequence[Axes], norm: Normalize, label: str) -> None:
    """The one colorbar of a figure; none if there is only one depth."""
    if norm.vmax != norm.vmin:
        bar = figure.colorbar(ScalarMappable(norm, depth_colors()), ax=list(axes), label=label, **BAR)
        bar.outline.set_visible(False)
