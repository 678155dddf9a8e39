"""What moves in a film. Each actor owns some artists and knows how they look at one frame of the film; nothing else
is drawn again from frame to frame.
"""

import abc
from collections.abc import Callable

import numpy as np
from jaxtyping import Bool, Float
from matplotlib.artist import Artist
from matplotlib.axes import Axes
from matplotlib.collections import LineCollection, PathCollection
from matplotlib.path import Path
from matplotlib.text import Text

from ..views import FAINT, AbstractView, Globe
from .hues import Hues

HIDDEN = 0.35
"""How much of a color is left on the far side of a sphere; the rest is white."""

_FRESH, _OLD = 0.6, 0.06
"""How much of its color a trail has where its token is, and where it ends."""

_SEGMENTS = 30_000
"""Most pieces of all trails of a panel together: more take longer to draw than the rest of a frame."""


class AbstractActor(abc.ABC):
    """Something that moves: its artists, in the order in which they are drawn, and how it takes its place."""

    axes: Axes | None
    artists: list[Artist]

    @abc.abstractmethod
    def move(self, k: int, t: float) -> None:
        """Takes the place of frame k of the film, at depth t."""


class Tokens(AbstractActor):
    """The tokens of one member with their trails, as seen from a side that may change from frame to frame.

    Parameters
    ----------
    side : the view of each frame.
    time, x : of the film's frames.
    hues : the colors of the tokens.
    trail : how many frames long a trail is.
    turns : whether the side changes, and what stands still on a sphere must be drawn again with it.
    """

    def __init__(
        self,
        axes: Axes,
        side: Callable[[int], AbstractView],
        time: Float[np.ndarray, " f"],
        x: Float[np.ndarray, "f n d"],
        hues: Hues,
        trail: int,
        turns: bool,
    ):
        self.axes, self.side, self.time, self.x, self.hues = axes, side, time, x, hues
        n = x.shape[1]
        self.trail = min(trail, max(_SEGMENTS // max(n, 1), 1)) if trail else 0
        size = next(points for most, points in _SIZES if n <= most) * _room(axes)
        width = 0.9 if n <= 64 else 0.6
        self.net = LineCollection([], colors=FAINT, linewidths=0.4, zorder=1) if turns else None
        self.trails = [PathCollection([], linewidths=width, facecolors="none", zorder=z) for z in (0.5, 2)]
        empty = np.empty(0)
        self.points = [
            axes.scatter(empty, empty, s=size, linewidths=0.25, edgecolors="white", zorder=z, clip_on=False)
            for z in (0.7, 3)
        ]
        for bundle in filter(None, [self.net, *self.trails]):
            axes.add_collection(bundle, autolim=False)
        far, near = zip(self.trails, self.points, strict=True)
        self.artists = [*far, *filter(None, [self.net]), *near]

    def move(self, k: int, t: float) -> None:
        view = self.side(k)
        color, _ = self.hues.at(t)
        if self.net is not None and isinstance(view, Globe):
            self.net.set_segments(view.graticule())
        first = max(k - self.trail, 0)
        since = slice(first, k + 1)
        places, front = view.place(self.time[since], self.x[since]), view.front(self.x[since])
        for side, points, strength in zip((~front[-1], front[-1]), self.points, (HIDDEN, 1.0), strict=True):
            shown = side & np.isfinite(places[-1]).all(axis=-1)
            points.set_offsets(places[-1][shown])
            points.set_facecolor(_mixed(color[shown], strength).tolist())
        if k > first:
            self._draw_trails(places, front, color, k - first)

    def _draw_trails(
        self, places: Float[np.ndarray, "t n 2"], front: Bool[np.ndarray, "t n"], color: np.ndarray, length: int
    ) -> None:
        ends = np.stack([places[:-1], places[1:]], axis=-2)
        age = np.linspace(_OLD, _FRESH, self.trail)[-length:]
        near = front[1:]
        moved = np.isfinite(ends).all(axis=(-1, -2)) & (ends[..., 0, :] != ends[..., 1, :]).any(axis=-1)
        for side, bundle, strength in zip((~near, near), self.trails, (HIDDEN, 1.0), strict=True):
            shown = side & moved
            found = [
                (_joined(ends[row, alike & shown[row]]), _mixed(hue, strength * float(age[row])).tolist())
                for hue, alike in _alike(color)
                for row in range(length)
                if (alike & shown[row]).any()
            ]
            bundle.set_paths([lines for lines, _ in found])
            bundle.set_edgecolor([hue for _, hue in found])


class Marks(AbstractActor):
    """The tokens at their depth, in a panel in which one axis is depth."""

    def __init__(self, axes: Axes, view: AbstractView, x: Float[np.ndarray, "f n d"], hues: Hues):
        self.axes, self.view, self.x, self.hues = axes, view, x, hues
        size = 0.6 * next(points for most, points in _SIZES if x.shape[1] <= most)
        self.points = axes.scatter(np.empty(0), np.empty(0), s=size, linewidths=0.2, edgecolors="white", zorder=4)
        self.line = axes.axvline(0, color="0.3", linewidth=0.6, zorder=3)
        self.artists = [self.line, self.points]

    def move(self, k: int, t: float) -> None:
        self.line.set_xdata([t, t])
        places = self.view.place(np.asarray([t]), self.x[k : k + 1])[0]
        shown = np.isfinite(places).all(axis=-1)
        self.points.set_offsets(places[shown])
        self.points.set_facecolor(self.hues.at(t)[0][shown].tolist())


class Cursor(AbstractActor):
    """A line at the depth of the film through a panel of curves, with a point on each of them."""

    def __init__(self, axes: Axes):
        self.axes = axes
        self.curves = [
            (np.asarray(line.get_xdata(), float), np.asarray(line.get_ydata(), float)) for line in axes.lines
        ]
        colors = [line.get_color() for line in axes.lines]
        self.line = axes.axvline(0, color="0.3", linewidth=0.6, zorder=1)
        self.points = axes.scatter(
            np.zeros(len(colors)), np.zeros(len(colors)), s=14, c=colors, linewidths=0.4, edgecolors="white", zorder=4
        )
        self.artists = [self.line, self.points]

    def move(self, k: int, t: float) -> None:
        self.line.set_xdata([t, t])
        self.points.set_offsets([(t, np.interp(t, x, y, right=np.nan)) for x, y in self.curves])


class Words(AbstractActor):
    """A text that says something of each frame."""

    def __init__(self, axes: Axes | None, text: Text, said: Callable[[int, float], str]):
        self.axes, self.text, self.said = axes, text, said
        self.artists = [text]

    def move(self, k: int, t: float) -> None:
        self.text.set_text(self.said(k, t))


_SIZES = ((16, 44.0), (64, 28.0), (256, 16.0), (1024, 8.0), (4096, 4.0), (np.inf, 1.5))
"""Up to how many tokens a point has which area, in square points."""


def _room(axes: Axes) -> float:
    """Points are smaller in panels that are narrower than half the picture."""
    spec = axes.get_subplotspec()
    return 1.0 if spec is None else 1 / spec.get_gridspec().ncols


def _alike(color: Float[np.ndarray, "n 3"]) -> list[tuple[np.ndarray, Bool[np.ndarray, " n"]]]:
    """Each color with the tokens that have it."""
    hues, which = np.unique(color, axis=0, return_inverse=True)
    return [(hue, which.reshape(-1) == k) for k, hue in enumerate(hues)]


def _joined(ends: Float[np.ndarray, "s 2 2"]) -> Path:
    """Lines as one path: a hundred of them are drawn in the time of ten."""
    return Path(ends.reshape(-1, 2), np.tile([Path.MOVETO, Path.LINETO], len(ends)))


def _mixed(color: Float[np.ndarray, "*m 3"], strength: float) -> Float[np.ndarray, "*m 3"]:
    """A color mixed with white. Not transparent: many faint lines must stay faint."""
    return 1 - strength * (1 - color)
