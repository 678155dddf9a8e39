"""How tokens come to lie on paper.

A view says where a token at a depth goes (`place`), whether it is on the side that faces the reader (`front`), and what
is drawn around it (`frame`). Everything is flat: a sphere is seen from far away, so a projection is two inner products,
and the third, along the line of sight, tells the near side from the far one. Which views a dataset calls for follows
from its space and dimension and is a table. Knows nothing of colors, lines or panels.
"""

import abc
from collections.abc import Callable, Sequence
from typing import Any, ClassVar

import equinox as eqx
import numpy as np
import xarray as xr
from jaxtyping import Bool, Float
from matplotlib.axes import Axes
from matplotlib.collections import LineCollection
from matplotlib.patches import Circle

from .depth import Depth, moving
from .panels import panel_width, place
from .paths import Path, depth_label
from .sight import facing

_INK = "0.55"
FAINT = "0.86"
"""The gray of what is drawn around tokens and is not to be looked at."""

_MARGIN = 1.06
_NARROW = 1.6  # inches; a compass would hide what it points at
_STEM = {"arrowstyle": "-", "color": _INK, "linewidth": 0.6, "shrinkA": 0, "shrinkB": 0}


class AbstractView(eqx.Module):
    """A way to see tokens: points of paper for points of space."""

    period: ClassVar[float] = np.inf
    """After how much the second coordinate of the paper comes back to itself."""

    shows_depth: ClassVar[bool] = False
    """Whether the first coordinate of the paper is depth."""

    @abc.abstractmethod
    def place(self, time: Float[np.ndarray, " t"], x: Float[np.ndarray, "t n d"]) -> Float[np.ndarray, "t n 2"]:
        """Where the tokens are on paper."""

    @abc.abstractmethod
    def front(self, x: Float[np.ndarray, "t n d"]) -> Bool[np.ndarray, "t n"]:
        """Which tokens face the reader; the others are hidden by the space itself."""

    @abc.abstractmethod
    def frame(self, axes: Axes) -> None:
        """Outline, limits and labels."""


class Globe(AbstractView):
    """The sphere of R^3 seen from far away, the third coordinate pointing up: an orthographic projection.

    Parameters
    ----------
    toward : the unit vector that points at the reader; not the third axis itself.
    """

    toward: Float[np.ndarray, "3"]
    radius: float = eqx.field(static=True)

    def _paper(self) -> Float[np.ndarray, "2 3"]:
        right = np.cross([0.0, 0.0, 1.0], self.toward)
        right = right / np.linalg.norm(right)
        return np.stack([right, np.cross(self.toward, right)])

    def place(self, time: Float[np.ndarray, " t"], x: Float[np.ndarray, "t n d"]) -> Float[np.ndarray, "t n 2"]:
        return x @ self._paper().T

    def front(self, x: Float[np.ndarray, "t n d"]) -> Bool[np.ndarray, "t n"]:
        return x @ self.toward >= 0

    def frame(self, axes: Axes) -> None:
        near = LineCollection(self.graticule(), colors=FAINT, linewidths=0.4, zorder=1)
        axes.add_collection(near, autolim=False)
        self.outline(axes)
        if panel_width(axes) > _NARROW:
            self._compass(axes, 0.97, 9.0)
        elif place(axes)[0] == 0:  # once for all narrow panels: they are seen from the same side
            self._compass(axes, 1.15, 6.0)

    def graticule(self) -> list[Float[np.ndarray, "m 2"]]:
        """Meridians and parallels on paper, NaN where they are on the far side."""
        lines = self.radius * _graticule()
        return list(np.where((lines @ self.toward >= 0)[..., None], lines @ self._paper().T, np.nan))

    def outline(self, axes: Axes) -> None:
        """The rim and the limits, which are the same from wherever the sphere is looked at."""
        axes.add_patch(Circle((0, 0), self.radius, fill=False, edgecolor=_INK, linewidth=0.6, zorder=1))
        _square(axes, np.zeros(2), self.radius * _MARGIN)
        axes.set_axis_off()

    def turned(self, angle: float) -> "Globe":
        """The same sphere seen from further east by an angle."""
        cos, sin = np.cos(angle), np.sin(angle)
        x, y, z = self.toward
        return Globe(np.array([cos * x - sin * y, sin * x + cos * y, z]), self.radius)

    def _compass(self, axes: Axes, aside: float, points: float) -> None:
        """The three coordinate axes, of a fixed size in points, in the lower left corner.

        The longest is labeled first, and labels that would collide are left out: two are enough to know the third.
        """
        style: dict[str, Any] = {"textcoords": "offset points", "annotation_clip": False}
        corner = (-aside * self.radius, -aside * self.radius)
        tips = self._paper().T
        labeled: list[np.ndarray] = []
        for k in np.argsort(-np.linalg.norm(tips, axis=1), kind="stable"):
            length = np.linalg.norm(tips[k])
            axes.annotate("", corner, tuple(points * tips[k]), arrowprops=_STEM, **style)
            at = tips[k] * (1 + 0.55 / max(length, 0.1))
            if length > 0.25 and all(np.linalg.norm(at - other) > 0.75 for other in labeled):
                labeled.append(at)
                label = axes.annotate(f"$x_{k + 1}$", corner, tuple(points * at), color=_INK, fontsize=6, **style)
                label.set(ha="center", va="center")


class Plane(AbstractView):
    """Two coordinates of the tokens along given directions: the plane itself, or a shadow of a larger space.

    Parameters
    ----------
    directions : two orthonormal vectors.
    ring : radius of the boundary of a disk or of a circle, whose shadow it also is; absent in free space.
    """

    directions: Float[np.ndarray, "2 d"]
    labels: tuple[str, str] = eqx.field(static=True)
    center: Float[np.ndarray, "2"]
    half: float = eqx.field(static=True)
    ring: float | None = eqx.field(static=True, default=None)

    def place(self, time: Float[np.ndarray, " t"], x: Float[np.ndarray, "t n d"]) -> Float[np.ndarray, "t n 2"]:
        return x @ self.directions.T

    def front(self, x: Float[np.ndarray, "t n d"]) -> Bool[np.ndarray, "t n"]:
        return np.ones(x.shape[:-1], bool)

    def frame(self, axes: Axes) -> None:
        if self.ring is not None:
            axes.add_patch(Circle((0, 0), self.ring, fill=False, edgecolor=_INK, linewidth=0.6, zorder=1))
        _square(axes, self.center, self.half * _MARGIN)
        axes.locator_params(nbins=5)
        axes.set(xlabel=self.labels[0], ylabel=self.labels[1])


class Angle(AbstractView):
    """The circle unrolled: angle against depth, so that gatherings are horizontal lines and meetings are forks."""

    period: ClassVar[float] = 2 * np.pi
    shows_depth: ClassVar[bool] = True

    depth: Depth

    def place(self, time: Float[np.ndarray, " t"], x: Float[np.ndarray, "t n d"]) -> Float[np.ndarray, "t n 2"]:
        angle = np.arctan2(x[..., 1], x[..., 0])
        return np.stack([np.broadcast_to(time[:, None], angle.shape), angle], axis=-1)

    def front(self, x: Float[np.ndarray, "t n d"]) -> Bool[np.ndarray, "t n"]:
        return np.ones(x.shape[:-1], bool)

    def frame(self, axes: Axes) -> None:
        _along(axes, self.depth)
        axes.set(ylim=(-np.pi, np.pi), ylabel=r"angle $\theta$")
        ticks = [r"$-\pi$", r"$-\pi/2$", "$0$", r"$\pi/2$", r"$\pi$"]
        axes.set_yticks(np.pi * np.linspace(-1, 1, 5), ticks)


class Line(AbstractView):
    """The only coordinate of the tokens against depth."""

    shows_depth: ClassVar[bool] = True

    reach: tuple[float, float] = eqx.field(static=True)
    depth: Depth

    def place(self, time: Float[np.ndarray, " t"], x: Float[np.ndarray, "t n d"]) -> Float[np.ndarray, "t n 2"]:
        return np.stack([np.broadcast_to(time[:, None], x.shape[:2]), x[..., 0]], axis=-1)

    def front(self, x: Float[np.ndarray, "t n d"]) -> Bool[np.ndarray, "t n"]:
        return np.ones(x.shape[:-1], bool)

    def frame(self, axes: Axes) -> None:
        _along(axes, self.depth)
        axes.set(ylim=_padded(*self.reach), ylabel="position $x$")


def views(dataset: xr.Dataset, paths: Sequence[Path]) -> tuple[AbstractView, ...]:
    """How these paths are seen, together: the best view first, then others that add to it.

    A space that has no picture of its own in the dimension of the tokens is seen as free space.
    """
    room = Room(
        space=str(dataset.attrs.get("space", "")),
        radius=float(dataset.attrs.get("radius", 1.0)),
        depth=depth_label(dataset),
        paths=tuple(paths),
    )
    d = dataset.sizes["dim"]
    choose = _CHOICES.get((room.space, d)) or _CHOICES.get(("", d), _principal)
    return choose(room)


class Room(eqx.Module):
    """What a view is chosen from: the space by name and radius, the label of depth, the paths to be seen."""

    space: str = eqx.field(static=True)
    radius: float = eqx.field(static=True)
    depth: str = eqx.field(static=True)
    paths: tuple[Path, ...]

    def pooled(self) -> Float[np.ndarray, "m d"]:
        """All positions at all depths."""
        return np.concatenate([p.x[p.finite()] for p in self.paths])

    def window(self, directions: Float[np.ndarray, "2 d"], labels: tuple[str, str]) -> Plane:
        """The view along two directions that holds all positions."""
        if self.space in ("Sphere", "Ball"):
            return Plane(directions, labels, np.zeros(2), self.radius, self.radius)
        flat = self.pooled() @ directions.T
        low, high = flat.min(axis=0), flat.max(axis=0)
        half, size = float((high - low).max() / 2), float(np.abs(flat).max()) or 1.0
        return Plane(directions, labels, (low + high) / 2, half if half > 1e-9 * size else size)


def _circle(room: Room) -> tuple[AbstractView, ...]:
    return Angle(moving(room.paths, room.depth)), room.window(np.eye(2), ("$x_1$", "$x_2$"))


def _globe(room: Room) -> tuple[AbstractView, ...]:
    return (Globe(facing(room.paths), room.radius),)


def _line(room: Room) -> tuple[AbstractView, ...]:
    values = room.pooled()
    return (Line((float(values.min()), float(values.max())), moving(room.paths, room.depth)),)


def _plane(room: Room) -> tuple[AbstractView, ...]:
    return (room.window(np.eye(2), ("$x_1$", "$x_2$")),)


def _principal(room: Room) -> tuple[AbstractView, ...]:
    directions, shares = principal(room.pooled())
    labels = [f"principal direction {k + 1} ({100 * share:.0f} %)" for k, share in enumerate(shares)]
    return tuple(room.window(directions[[0, k]], (labels[0], labels[k])) for k in (1, 2))


_CHOICES: dict[tuple[str, int], Callable[[Room], tuple[AbstractView, ...]]] = {
    ("Sphere", 2): _circle,
    ("Sphere", 3): _globe,
    ("", 1): _line,
    ("", 2): _plane,
}


def principal(x: Float[np.ndarray, "m d"]) -> tuple[Float[np.ndarray, "3 d"], Float[np.ndarray, "3"]]:
    """The three directions in which the points vary most, with their shares of the variance.

    Each is oriented such that its largest entry is positive, so the picture does not depend on the eigensolver's signs.
    """
    scale = np.abs(x).max() or 1.0
    centered = (x - x.mean(axis=0)) / scale
    values, vectors = np.linalg.eigh(centered.T @ centered)
    values, directions = np.maximum(values[::-1], 0), vectors.T[::-1][:3]
    largest = np.take_along_axis(directions, np.abs(directions).argmax(axis=1)[:, None], axis=1)
    return directions * np.sign(largest), values[:3] / (values.sum() or 1.0)


def _padded(low: float, high: float) -> tuple[float, float]:
    """Limits a little wider than the values; about a single value, wide enough to have an inside."""
    pad = 0.02 * (high - low)
    if pad <= 1e-9 * max(abs(low), abs(high)):
        pad = 0.1 * max(abs(low), abs(high)) or 1.0
    return low - pad, high + pad


def _along(axes: Axes, depth: Depth) -> None:
    """Depth as the first coordinate, with some room about it where it is linear."""
    if depth.floor is None:
        axes.set(xlim=_padded(depth.first, depth.last), xlabel=depth.label)
    else:
        depth.frame(axes)


def _square(axes: Axes, center: Float[np.ndarray, "2"], half: float) -> None:
    axes.set(xlim=(center[0] - half, center[0] + half), ylim=(center[1] - half, center[1] + half))
    axes.set_aspect("equal")


def _graticule() -> Float[np.ndarray, "lines points 3"]:
    """Meridians and parallels of the unit sphere, every thirty degrees."""
    along = np.linspace(-np.pi, np.pi, 181)
    latitudes, longitudes = np.radians([-60, -30, 0, 30, 60]), np.radians(np.arange(0, 180, 30))
    parallels = [(along, np.full_like(along, latitude)) for latitude in latitudes]
    meridians = [(np.full_like(along, longitude), along) for longitude in longitudes]  # over both poles
    a, b = np.array(parallels + meridians).swapaxes(0, 1)
    return np.stack([np.cos(b) * np.cos(a), np.cos(b) * np.sin(a), np.sin(b)], axis=-1)
