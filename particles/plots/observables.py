"""Numbers against depth.

Every observable has axes of its own, labeled by the symbol and unit it declares, and all share depth, so that what
happens at one depth stands in one vertical line. Members of a sweep are curves colored by the value that is swept.
"""

from typing import ClassVar

import numpy as np
import xarray as xr
from jaxtyping import Float
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from ..declaration import option
from .base import AbstractFigure
from .depth import EARLY
from .events import events
from .palette import Palette, palette
from .panels import panels
from .paths import LARGEST, depth_label, members, observables, sweep_dims, symbol

_ORDERS = 1e3
"""A quantity declared positive is drawn on a logarithmic axis if its largest value is this many times the smallest."""


class Observables(AbstractFigure):
    """Every scalar observable against depth, one above the other.

    Shows when things happen: plateaus are states that last, steps are mergers. A second swept dim is told by the dashes
    of the curve, as far as there are dashes. A curve that ends early belongs to a run that did.

    Parameters
    ----------
    log_depth : depth on a logarithmic axis, for states that last exponentially long; depth zero is then not seen. By
        default where half of the frames lie in the first tenth of the depth.
    events : whether upright lines mark mergers (where `clusters` or `distinct` was watched), jumps of the law, and
        where a stop condition ended a run.
    """

    name: ClassVar[str] = "observables"

    log_depth: bool | None = option(None)
    events: bool = option(True)

    def draw(self, dataset: xr.Dataset) -> Figure:
        names = observables(dataset)
        columns = 1 if len(names) <= 3 else 2
        figure, grid = panels(-(-len(names) // columns), columns, 0.42)
        every = list(grid.flat)
        for axes in every[len(names) :]:
            axes.remove()
        every = every[: len(names)]
        ink, happened = palette(dataset), events(dataset)
        for k, (axes, name) in enumerate(zip(every, names, strict=True)):
            curves(axes, dataset, name, ink)
            self._depth(axes, dataset)
            if self.events:
                happened.mark(axes)
            last = k + columns >= len(names)
            axes.set_xlabel(depth_label(dataset) if last else "")
            axes.tick_params(labelbottom=last)
        figure.align_ylabels(every)
        ink.key(figure, every)
        return figure

    def _depth(self, axes: Axes, dataset: xr.Dataset) -> None:
        time = np.asarray(dataset["time"].values, float)
        if self._logarithmic(dataset):
            axes.set_xscale("log")
            axes.set_xlim(time[time > 0].min(), time.max())
        else:
            axes.set_xlim(*_limits(time, 0.0))

    def _logarithmic(self, dataset: xr.Dataset) -> bool:
        time = np.asarray(dataset["time"].values, float)
        early = bool((time > 0).sum() > 1 and np.median(time) < EARLY * time.max())
        return early if self.log_depth is None else self.log_depth

    def refusal(self, dataset: xr.Dataset) -> str | None:
        names = observables(dataset)
        if not names or not dataset.sizes.get("time"):
            return "the figure of observables needs an observable; name some in `plan.watch`"
        if not any(np.isfinite(dataset[name].values).any() for name in names):
            return "the figure of observables needs a frame that was reached; all values of this dataset are NaN"
        if self._logarithmic(dataset) and (dataset["time"].values > 0).sum() < 2:
            return "a logarithmic depth axis needs two depths above zero; set `log_depth = false` or store more frames"
        return None

    def shows(self, dataset: xr.Dataset) -> str:
        named = [str(dataset[name].attrs.get("long_name", name)) for name in observables(dataset)]
        symbols = " and ".join(symbol(dataset, d) for d in sweep_dims(dataset))
        swept = f", for {len(members(dataset))} members of a sweep over {symbols}" if symbols else ""
        marked = events(dataset).words() if self.events else ""
        return f"Against depth{swept}: {', '.join(named)}.{marked}"


def curves(axes: Axes, dataset: xr.Dataset, name: str, ink: Palette) -> None:
    """One observable of all members against depth, with the scale, label and title that follow from what it is."""
    variable = dataset[name]
    time = np.asarray(dataset["time"].values, float)
    for at in members(dataset):
        value = np.asarray(variable.isel(at).values, float)
        value = np.where(np.abs(value) <= LARGEST, value, np.nan)
        alone = np.isfinite(value).sum() == 1
        axes.plot(time, value, marker="o" if alone else None, **ink.pen(at))
    positive = bool(variable.attrs.get("positive", False))
    _value_axis(axes, np.concatenate([line.get_ydata() for line in axes.lines]), positive)
    unit = str(variable.attrs.get("units", "1"))
    axes.set_ylabel(str(variable.attrs.get("symbol", name)) + ("" if unit == "1" else f" [{unit}]"))
    axes.set_title(str(variable.attrs.get("long_name", name)))


def _value_axis(axes: Axes, values: Float[np.ndarray, " m"], positive: bool) -> None:
    """Limits and ticks: whole numbers for counts, a logarithm for a positive quantity over orders of magnitude."""
    finite = values[np.isfinite(values)]
    low, high = _limits(values, 0.06)
    if positive and finite.size and finite.min() > 0 and finite.max() > _ORDERS * finite.min():
        axes.set_yscale("log")
    elif finite.size and np.abs(finite).max() < 1e6 and (finite == np.round(finite)).all():
        axes.set_ylim(min(low, finite.min() - 0.5), max(high, finite.max() + 0.5))
        axes.yaxis.set_major_locator(MaxNLocator(4, integer=True, min_n_ticks=1))
    else:
        axes.set_ylim(low, high)
        axes.ticklabel_format(axis="y", useMathText=True)
        axes.locator_params(axis="y", nbins=4)


def _limits(values: Float[np.ndarray, " m"], pad: float) -> tuple[float, float]:
    """Limits about all finite values, with a share of their range to spare; about a constant, a tenth of its size."""
    finite = values[np.isfinite(values)]
    low, high = (float(finite.min()), float(finite.max())) if finite.size else (0.0, 1.0)
    size = max(abs(low), abs(high))
    spare = pad * (high - low) if high - low > 1e-9 * size else 0.1 * size or 1.0
    return low - spare, high + spare
