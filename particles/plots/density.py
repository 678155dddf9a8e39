"""How densely the tokens lie along one coordinate, through depth, beside the density of infinitely many.

The picture for many tokens, of which paths would be a smear: on the circle it is a space-time diagram. Where the record
holds a mean-field density it is drawn over the histogram of the tokens, so that agreement is a line through steps.
"""

from collections.abc import Callable
from typing import ClassVar

import equinox as eqx
import numpy as np
import xarray as xr
from jaxtyping import Float
from matplotlib.axes import Axes
from matplotlib.colors import LogNorm
from matplotlib.figure import Figure

from ..declaration import option
from .base import AbstractFigure
from .cosines import cell_edges
from .panels import BAR
from .paths import Path, depth_label, depth_symbol, members, path, token_fault, written
from .strokes import depth_colors
from .style import DOUBLE
from .timelapse import moments

FIELD = "mean_field"
"""The variable that holds a mean-field density, along depth and `place`."""

_COLORS = "magma_r"
_FAINTEST = 1e-2
"""Least density, in units of the uniform one, that is told from none."""


class Coordinate(eqx.Module):
    """A number that says where a token is along something, and between which values."""

    of: Callable[[Float[np.ndarray, "*m d"]], Float[np.ndarray, "*m"]]
    low: float = eqx.field(static=True)
    high: float = eqx.field(static=True)
    label: str = eqx.field(static=True)
    circle: bool = eqx.field(static=True, default=False)


class Density(AbstractFigure):
    """The density of the tokens along a coordinate: as an image over depth, and as steps at a few depths.

    On the circle the coordinate is the angle, on the line the position, on the sphere of R^3 the height along the first
    axis; on circle and sphere the uniform law has density 1. A mean-field density in the record, the variable
    `mean_field` along `place`, is drawn as lines. To be taken for thousands of tokens.

    Parameters
    ----------
    bins : of the histograms.
    curves : depths at which the density is drawn as a curve, spread over how far the tokens moved.
    frames : most depths of the image.
    member : which member of a sweep is shown, counted from 0.
    """

    name: ClassVar[str] = "density"

    bins: int = option(64, ge=2)
    curves: int = option(4, ge=1, le=6)
    frames: int = option(400, ge=2)
    member: int = option(0, ge=0)

    def draw(self, dataset: xr.Dataset) -> Figure:
        at = members(dataset)[self.member]
        whole = path(dataset, at, self.frames)
        along = _coordinate(dataset, whole)
        assert along is not None  # a dataset without one is refused
        edges = np.linspace(along.low, along.high, self.bins + 1)
        density = histograms(along, whole, edges)
        figure = Figure(figsize=(DOUBLE, 0.4 * DOUBLE))
        image, lines = figure.subplots(1, 2)
        norm = LogNorm(_FAINTEST, max(float(density.max()), 10 * _FAINTEST))
        mesh = image.pcolormesh(cell_edges(whole.time), edges, density.T, norm=norm, cmap=_COLORS, rasterized=True)
        image.set(xlabel=depth_label(dataset), ylabel=along.label)
        figure.colorbar(mesh, ax=image, label="density", extend="min", **BAR).outline.set_visible(False)  # pyright: ignore
        self._curves(lines, dataset.isel(at), whole, density, edges)
        lines.set(xlim=(along.low, along.high), xlabel=along.label, ylabel=r"density $\rho$")
        for axes, which in ((image, "y"), (lines, "x")):
            if along.circle:
                _angles(axes, which)
        return figure

    def _curves(
        self, axes: Axes, member: xr.Dataset, whole: Path, density: Float[np.ndarray, "t b"], edges: np.ndarray
    ) -> None:
        frames = moments(whole, self.curves) if self.curves > 1 else [len(whole.time) - 1]
        for k, frame in enumerate(frames):
            color = depth_colors()(0.95 * k / max(len(frames) - 1, 1))
            label = f"{depth_symbol(member)} = {written(float(f'{whole.time[frame]:.3g}'))}"
            axes.stairs(density[frame], edges, color=color, label=label, linewidth=0.8, alpha=0.8)
            if FIELD in member:
                place = np.asarray(member["place"].values, float)
                exact = np.asarray(member[FIELD].sel(time=whole.time[frame]).values, float)
                axes.plot(place, exact, color="black", linewidth=0.8, label="mean field" if k == 0 else None)
        axes.set_ylim(bottom=0)
        axes.legend(loc="best")

    def refusal(self, dataset: xr.Dataset) -> str | None:
        fault = token_fault(dataset, "the figure of densities")
        if fault:
            return fault
        count = len(members(dataset))
        if self.member >= count:
            return f"the figure of densities shows member {self.member}, and there are {count}: lower `member`"
        whole = path(dataset, members(dataset)[self.member], 2)
        if len(whole.time) < 2 or not whole.finite()[0].any():
            return "the figure of densities needs two depths that were reached; use `trajectories`"
        if _coordinate(dataset, whole) is None:
            space, d = dataset.attrs.get("space", "?"), dataset.sizes["dim"]
            known = "the circle, the line and the sphere of R^3"
            return f"the figure of densities is for {known}; got {space} of dimension {d}: use `cosines`"
        if FIELD in dataset and "place" not in dataset[FIELD].dims:
            return f"the variable `{FIELD}` must lie along `place`; got {dataset[FIELD].dims}"
        return None

    def shows(self, dataset: xr.Dataset) -> str:
        field = "; black lines are the mean-field density" if FIELD in dataset else ""
        several = f" Shown is member {self.member} of the sweep." if len(members(dataset)) > 1 else ""
        what = (
            f"Density of {dataset.sizes['token']} tokens in {self.bins} bins, as an image over depth and at some depths"
        )
        return f"{what}{field}.{several}"


def histograms(along: Coordinate, whole: Path, edges: Float[np.ndarray, " e"]) -> Float[np.ndarray, "t b"]:
    """The density in each bin at each frame, relative to the uniform law or, on the line, per unit of length."""
    uniform = 1.0 if along.label.startswith("position") else along.high - along.low
    found = np.zeros((len(whole.time), len(edges) - 1))
    for row, x, seen in zip(found, whole.x, whole.finite(), strict=True):
        count = np.histogram(np.clip(along.of(x[seen]), edges[0], edges[-1]), edges)[0]
        row[:] = count / max(count.sum(), 1) / np.diff(edges) * uniform
    return found


def _coordinate(dataset: xr.Dataset, whole: Path) -> Coordinate | None:
    """The coordinate along which a dataset has a density, or None."""
    space, d, radius = dataset.attrs.get("space"), dataset.sizes["dim"], float(dataset.attrs.get("radius", 1.0))
    if space == "Sphere" and d == 2:
        return Coordinate(lambda x: np.arctan2(x[..., 1], x[..., 0]), -np.pi, np.pi, r"angle $\theta$", True)
    if space == "Sphere" and d == 3:
        return Coordinate(lambda x: x[..., 0], -radius, radius, "height $x_1$")
    if d != 1:
        return None
    values = whole.x[whole.finite()]
    low, high = float(values.min()), float(values.max())
    spare = 0.02 * (high - low) or 0.5
    return Coordinate(lambda x: x[..., 0], low - spare, high + spare, "position $x$")


def _angles(axes: Axes, which: str) -> None:
    ticks = [r"$-\pi$", r"$-\pi/2$", "$0$", r"$\pi/2$", r"$\pi$"]
    (axes.set_yticks if which == "y" else axes.set_xticks)(np.pi * np.linspace(-1, 1, 5), ticks)
