"""Which color and which dashes stand for which member of a sweep, and the key that says so.

Color stands for the first dim that means something, dashes for a second one with few values. A few colors are
explained by a legend, many by a colorbar. Colors run from dark to light with a value that is a number, so that the
order of the curves can be read without the key and in black and white; a few kinds without an order have colors of
their own.
"""

from collections.abc import Sequence
from typing import Any

import equinox as eqx
import numpy as np
import xarray as xr
from jaxtyping import Float
from matplotlib.axes import Axes
from matplotlib.cm import ScalarMappable
from matplotlib.colors import LogNorm, Normalize
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from .panels import BAR
from .paths import Index, picked, sweep_dims, symbol, written
from .strokes import depth_colors

_FEW = 6
"""More values than this are read from a colorbar and not from a legend."""

_WIDE = 30.0
"""Positive values whose largest is this many times the smallest are spread by their logarithm."""

_REPLICATES = ("seed", "replicate")
"""Dims whose values mean nothing: if anything else is swept, their members are curves of one color."""

_LIGHTEST = 0.85
"""Of the range of colors, how far a few go: lines lighter than that are not read on white."""

_DASHES = ("-", "--", ":", "-.")
_HANDLE, _LETTER = 0.5, 0.065  # inches of a legend's line with its margins, and of a letter


class Scale(eqx.Module):
    """A swept dim as it is read from a picture: how it is called, its values as numbers and in words."""

    dim: str = eqx.field(static=True)
    label: str = eqx.field(static=True)
    values: Float[np.ndarray, " m"]
    words: tuple[str, ...] = eqx.field(static=True)

    def named(self, word: str) -> str:
        """A value with the symbol of its dim; words stand for themselves."""
        return f"{self.label} = {word}" if _numbers(self.words) else word

    def norm(self) -> Normalize:
        """From values to the range of a colormap; a legend needs no scale, only an order."""
        low, high = float(self.values.min()), float(self.values.max())
        return LogNorm(low, high) if low > 0 and high >= _WIDE * low else Normalize(low, high)


class Palette(eqx.Module):
    """The pens of a sweep: color by `hue`, dashes by `dash`; absent where nothing is swept."""

    hue: Scale | None
    dash: Scale | None

    def pen(self, at: Index) -> dict[str, Any]:
        """Color and dashes of the curve of one member."""
        color = "C0" if self.hue is None else self._color(at[self.hue.dim])
        return {"color": color, "linestyle": "-" if self.dash is None else _DASHES[at[self.dash.dim]]}

    def _color(self, k: int) -> Any:
        assert self.hue is not None
        count = len(self.hue.values)
        if count <= _FEW and not _numbers(self.hue.words):
            return f"C{k}"
        if count <= _FEW:
            return depth_colors()(_LIGHTEST * k / max(count - 1, 1))
        return depth_colors()(self.hue.norm()(self.hue.values[k]))

    def key(self, figure: Figure, axes: Sequence[Axes]) -> None:
        """A legend above the axes, and a colorbar beside them if there are many colors."""
        self.bar(figure, axes)
        lines = self.entries()
        if lines:
            longest = max(len(str(line.get_label()).replace("$", "").replace("\\", "")) for line in lines)
            columns = int(figure.get_figwidth() / (_HANDLE + _LETTER * longest))
            figure.legend(handles=lines, loc="outside upper center", ncols=min(len(lines), max(1, columns)))

    def entries(self) -> list[Line2D]:
        """What stands in a legend: few colors, and dashes."""
        lines = []
        if self.hue is not None and len(self.hue.values) <= _FEW:
            for k, word in enumerate(self.hue.words):
                lines.append(Line2D([], [], color=self._color(k), label=self.hue.named(word)))
        if self.dash is not None:
            for k, word in enumerate(self.dash.words):
                lines.append(Line2D([], [], color="0.3", linestyle=_DASHES[k], label=self.dash.named(word)))
        return lines

    def bar(self, figure: Figure, axes: Sequence[Axes]) -> None:
        """A colorbar, if there are many colors."""
        if self.hue is None or len(self.hue.values) <= _FEW:
            return
        mappable = ScalarMappable(self.hue.norm(), depth_colors())
        bar = figure.colorbar(mappable, ax=list(axes), label=self.hue.label, **BAR)
        bar.outline.set_visible(False)
        if not _numbers(self.hue.words):
            some = picked(len(self.hue.words), _FEW)
            bar.set_ticks(self.hue.values[some].tolist(), labels=[self.hue.words[k] for k in some])


def palette(dataset: xr.Dataset) -> Palette:
    """The pens for the sweep of a dataset."""
    dims = sorted(sweep_dims(dataset), key=lambda d: d in _REPLICATES)  # stable: replicates last
    second = [d for d in dims[1:2] if d not in _REPLICATES and dataset.sizes[d] <= len(_DASHES)]
    return Palette(_scale(dataset, dims[0]) if dims else None, _scale(dataset, second[0]) if second else None)


def single(dataset: xr.Dataset, dim: str) -> Palette:
    """The pens for one dim."""
    return Palette(_scale(dataset, dim), None)


def _scale(dataset: xr.Dataset, dim: str) -> Scale:
    values = dataset[dim].values
    words = tuple(written(v) for v in values)
    numeric = values.dtype.kind in "fiu" and bool(np.isfinite(values).all())
    numbers = np.asarray(values if numeric else np.arange(len(values)), float)
    return Scale(dim, symbol(dataset, dim), numbers, words)


def _numbers(words: Sequence[str]) -> bool:
    try:
        [float(word) for word in words]
    except ValueError:
        return False
    return True
