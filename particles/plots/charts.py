"""What was measured beside what theory says: the figure that a record describes of itself.

Marks are measured, lines are theory, dashed lines are bounds. A dim told by color has one color for a value's marks and
its lines, so agreement is seen as marks that sit on lines.
"""

from typing import Any, ClassVar

import numpy as np
import xarray as xr
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.patheffects import withStroke
from matplotlib.ticker import NullLocator

from ..chart import Curves, Map, Panel, read
from .base import AbstractFigure
from .palette import Palette, single
from .panels import BAR, arranged
from .paths import LARGEST, picked

MANY = 40
"""More marks than this on a curve hide one another; some are left out."""

CROWD = 4
"""A legend of more entries stands beside the axes, where it covers nothing."""

FEW, TICKS = 8, 5
"""As many values or fewer along a logarithmic axis are its ticks, as far as these many."""

MARKED = tuple({"marker": marker, "linestyle": ""} for marker in ("o", "s", "^", "D", "v", "P"))
JOINED = ("-", (0, (4, 1)), (0, (1, 1)))
OUTLINE = withStroke(linewidth=2.2, foreground="0.15")
"""Around a white curve, which is then seen on bright colors, too."""

LINES = ("-", "-.", ":")
NOT_CONVERGED = "not converged"


class Chart(AbstractFigure):
    """The panels that a record describes: measured numbers as marks, theory as lines, bounds dashed."""

    name: ClassVar[str] = "chart"

    def draw(self, dataset: xr.Dataset) -> Figure:
        every = read(dataset.attrs["chart"])
        figure, axes = arranged(len(every), 0.75 if len(every) > 1 else 0.7)
        for panel, at in zip(every, axes, strict=True):
            _draw(panel, at, dataset, figure)
        return figure

    def refusal(self, dataset: xr.Dataset) -> str | None:
        if "chart" not in dataset.attrs:
            return "the figure `chart` is for records that describe one, those of claims"
        missing = [name for panel in read(dataset.attrs["chart"]) for name in panel.variables if name not in dataset]
        return f"the chart of this record needs {missing}, which it does not hold" if missing else None

    def shows(self, dataset: xr.Dataset) -> str:
        return "Marks are measured, lines are theory, dashed lines are bounds."


def _draw(panel: Panel, axes: Axes, dataset: xr.Dataset, figure: Figure) -> None:
    if isinstance(panel, Map):
        _map(panel, axes, dataset, figure)
    else:
        _curves(panel, axes, dataset, figure)
    axes.set_title(panel.title)
    axes.set_xlabel(_label(dataset[panel.x]))


def _curves(panel: Curves, axes: Axes, dataset: xr.Dataset, figure: Figure) -> None:
    ink = single(dataset, panel.by) if panel.by else Palette(None, None)
    _scales(panel.log, axes)
    for name, style in _styles(panel):
        _series(panel, name, style, axes, dataset, ink)
    if panel.slopes:
        _guides(panel, axes, dataset)
    for name, slope in zip(panel.measured, panel.fits, strict=False):
        _fit(panel, name, slope, axes, dataset, ink)
    if _named(dataset[panel.x]):
        axes.set_xticks(range(dataset[panel.x].size), labels=[str(word) for word in dataset[panel.x].values])
        axes.tick_params(axis="x", labelrotation=90)
    elif "x" in panel.log and dataset[panel.x].ndim == 1 and dataset[panel.x].size <= FEW:
        _ticks(axes, dataset[panel.x].values)
    named = (*panel.measured, *panel.theory, *panel.bounds)
    axes.set_ylabel(_shared_label([dataset[name] for name in named], len(named) > 1))
    handles = ink.entries() + (_entries(panel, axes, dataset) if len(named) > 1 or panel.slopes or panel.fits else [])
    handles += _flagged(axes)
    if len(handles) > CROWD:
        axes.legend(handles=handles, loc="upper left", bbox_to_anchor=(1.0, 1.0))
    elif handles:
        axes.legend(handles=handles, loc="best")
    ink.bar(figure, [axes])


def _styles(panel: Curves) -> list[tuple[str, dict[str, Any]]]:
    """Every variable with how it is drawn; bounds and theory below, so that marks are seen on them."""
    marks = [
        {"linestyle": JOINED[k % len(JOINED)]} if panel.joined else MARKED[k % len(MARKED)]
        for k in range(len(panel.measured))
    ]
    measured = list(zip(panel.measured, marks, strict=True))
    theory = [(name, {"linestyle": LINES[k % len(LINES)]}) for k, name in enumerate(panel.theory)]
    return [*((name, {"linestyle": "--"}) for name in panel.bounds), *theory, *measured]


def _series(panel: Curves, name: str, style: dict[str, Any], axes: Axes, dataset: xr.Dataset, ink: Palette) -> None:
    """One variable: a curve, or one for each value of the dim told by color."""
    variable, x = dataset[name], dataset[panel.x if name in panel.measured else panel.along or panel.x]
    split = panel.by in variable.dims
    for k in range(dataset.sizes[panel.by] if split else 1):
        at = {panel.by: k} if split else {}
        here, place = variable.isel(at), x.isel({dim: one for dim, one in at.items() if dim in x.dims})
        values = _drawable(here.transpose(*(dim for dim in place.dims if dim in here.dims), ...))
        along = _places(place)
        pen = {"color": ink.pen(at)["color"] if split else _alone(panel, name)} | style
        if style.get("marker"):
            pen |= {"markerfacecolor": "none", "markevery": max(1, values.shape[0] // MANY)}
        for one in values.reshape(values.shape[0], -1).T:
            axes.plot(along, one, **pen)  # pyright: ignore[reportArgumentType]
        if panel.flag and name == panel.measured[0]:
            _crossed(np.asarray(dataset[panel.flag].isel(at).values, bool), along, values, axes)
        if panel.error and name == panel.measured[0]:
            error = np.asarray(dataset[panel.error].isel(at).values, float)
            axes.errorbar(along, values, error, fmt="none", ecolor=pen["color"], elinewidth=0.7, capsize=1.5)


def _named(x: xr.DataArray) -> bool:
    """Whether what stands along an axis are words."""
    return x.dtype.kind in "OSU"


def _places(x: xr.DataArray) -> np.ndarray:
    """Where values stand along an axis; words stand one after another."""
    return np.arange(x.size, dtype=float) if _named(x) else np.asarray(x.values, float)


def _crossed(converged: np.ndarray, along: np.ndarray, values: np.ndarray, axes: Axes) -> None:
    """Crosses out the numbers that did not converge."""
    missed = ~np.broadcast_to(converged.reshape(converged.shape[0], -1), values.reshape(values.shape[0], -1).shape)
    if missed.any():
        x = np.broadcast_to(along.reshape(along.shape[0], -1), missed.shape)
        axes.plot(x[missed], values.reshape(missed.shape)[missed], "x", color="black", label=NOT_CONVERGED, zorder=5)


def _drawable(variable: xr.DataArray) -> np.ndarray:
    """Values that have a place in a picture; NaN for the others."""
    values = np.asarray(variable.values, float)
    return np.where(np.abs(values) <= LARGEST, values, np.nan)


def _alone(panel: Curves, name: str) -> str:
    """The color of a variable that is not split: measured ones differ, theory is black, bounds are grey."""
    if name in panel.measured:
        return f"C{panel.measured.index(name)}"
    return "black" if name in panel.theory else "0.45"


def _ticks(axes: Axes, values: np.ndarray) -> None:
    """Ticks at the values themselves, where they are few: those of an axis of one decade would be crowded."""
    some = values[picked(len(values), TICKS)]
    axes.set_xticks(some, labels=[f"{value:g}" for value in some])
    axes.xaxis.set_minor_locator(NullLocator())


def _guides(panel: Curves, axes: Axes, dataset: xr.Dataset) -> None:
    """Lines of given slopes through the last point of the first measured variable, each of another of its curves."""
    x = np.asarray(dataset[panel.x].values, float)
    curves = _drawable(dataset[panel.measured[0]].transpose(panel.x, ...)).reshape(x.shape[0], -1).T
    for k, slope in enumerate(panel.slopes):
        y = curves[k % len(curves)]
        last = np.flatnonzero(np.isfinite(y))[-1]
        label = f"slope {slope:g}" if slope not in panel.slopes[:k] else "_again"
        axes.plot(x, y[last] * (x / x[last]) ** slope, color="0.6", linewidth=0.7, zorder=0, label=label)


def _fit(panel: Curves, name: str, fit: str, axes: Axes, dataset: xr.Dataset, ink: Palette) -> None:
    """Lines of the slopes that a record holds, each through the middle of the marks that it was fitted to."""
    split = panel.by in dataset[name].dims
    for k in range(dataset.sizes[panel.by] if split else 1):
        at = {panel.by: k} if split else {}
        x, y = dataset[panel.x], dataset[name].isel(at)
        x = np.asarray(x.isel({dim: one for dim, one in at.items() if dim in x.dims}).values, float).ravel()
        y = _drawable(y).ravel()
        slope = float(dataset[fit].isel({dim: one for dim, one in at.items() if dim in dataset[fit].dims}))
        kept = (x > 0) & (y > 0)
        if not np.isfinite(slope) or not kept.any():
            continue
        middle = [np.exp(np.mean(np.log(values[kept]))) for values in (x, y)]
        ends = np.array([x[kept].min(), x[kept].max()])
        color = ink.pen(at)["color"] if split else _alone(panel, name)
        label = f"slope {slope:.2f} fitted"
        axes.plot(ends, middle[1] * (ends / middle[0]) ** slope, color=color, linewidth=0.7, zorder=0, label=label)


def _entries(panel: Curves, axes: Axes, dataset: xr.Dataset) -> list[Line2D]:
    """What stands in the legend for variables and guides; grey where color stands for a value."""
    lines = []
    for name, style in reversed(_styles(panel)):
        color = "0.3" if panel.by in dataset[name].dims else _alone(panel, name)
        face: dict[str, Any] = {"markerfacecolor": "none"} if style.get("marker") else {}
        lines.append(Line2D([], [], color=color, label=_words(dataset[name]), **style, **face))
    return lines + [line for line in axes.lines if str(line.get_label()).startswith("slope")]


def _flagged(axes: Axes) -> list[Line2D]:
    """What stands in the legend for numbers that did not converge, if there are any."""
    return [line for line in axes.lines if line.get_label() == NOT_CONVERGED][:1]


def _map(panel: Map, axes: Axes, dataset: xr.Dataset, figure: Figure) -> None:
    x, y, value = dataset[panel.x], dataset[panel.y], dataset[panel.value].transpose(panel.y, panel.x)
    _scales(panel.log, axes)
    mesh = axes.pcolormesh(x.values, y.values, value.values, shading="nearest", rasterized=True)
    figure.colorbar(mesh, ax=axes, label=_label(value), **BAR).outline.set_visible(False)  # pyright: ignore
    for k, name in enumerate(panel.theory):
        style: dict[str, Any] = {"linestyle": LINES[k % len(LINES)], "label": _words(dataset[name])}
        axes.plot(x.values, dataset[name].values, color="white", path_effects=[OUTLINE], **style)
    axes.set_xlim(*_span(x))
    axes.set_ylim(*_span(y))
    axes.set_ylabel(_label(y))
    if panel.path:
        across, up = (np.asarray(dataset[name].values, float) for name in panel.path)
        axes.plot(across, up, color="white", linewidth=1.0, path_effects=[OUTLINE], zorder=3)
        axes.plot(across[:1], up[:1], "o", markerfacecolor="none", color="white", markersize=4, zorder=4)
        axes.plot(across[-1:], up[-1:], "o", color="white", markeredgecolor="0.15", markersize=4, zorder=4)
    if panel.theory:
        axes.legend(loc="best", labelcolor="white", frameon=True, facecolor="0.15", edgecolor="none", framealpha=0.7)


def _span(coordinate: xr.DataArray) -> tuple[float, float]:
    """What is shown along a coordinate: of numbered things all of the first cell and of the last."""
    half = 0.5 if coordinate.dtype.kind in "iu" else 0.0
    return float(coordinate.min()) - half, float(coordinate.max()) + half


def _scales(log: str, axes: Axes) -> None:
    if "x" in log:
        axes.set_xscale("log")
    if "y" in log:
        axes.set_yscale("log")


def _words(variable: xr.DataArray) -> str:
    """What a variable is called; a name of the code loses its underscores, mathtext keeps them."""
    return str(variable.attrs.get("long_name", str(variable.name).replace("_", " ")))


def _label(variable: xr.DataArray) -> str:
    """Words, symbol and unit of an axis, as far as they are known."""
    unit = str(variable.attrs.get("units", "1"))
    symbol = str(variable.attrs.get("symbol", ""))
    return " ".join(filter(None, [_words(variable), symbol, "" if unit == "1" else f"[{unit}]"]))


def _shared_label(variables: list[xr.DataArray], several: bool) -> str:
    """The label of an axis of one variable, or of several that the legend names: then the symbols they have."""
    if not several:
        return _label(variables[0])
    symbols = [str(variable.attrs.get("symbol", "")) for variable in variables]
    return ", ".join(dict.fromkeys(filter(None, symbols)))
