"""How alike the tokens are, pair by pair.

The cosine of a pair is what the law of attention sees, so its distribution is the state of the system up to rotation:
a bell about zero of width one over the root of the dimension at a uniform start, lines where gatherings have formed,
and all mass at one once they have merged. It needs no projection, and is the picture for high dimension.
"""

from typing import ClassVar

import numpy as np
import xarray as xr
from jaxtyping import Float
from matplotlib.cm import ScalarMappable
from matplotlib.colors import LogNorm
from matplotlib.figure import Figure

from ..declaration import option
from .base import AbstractFigure
from .panels import BAR, MOST, arranged, outer_labels
from .paths import Path, depth_label, paths, pick_note, picked, token_fault

_FLOOR = 1e-2
"""Least density that is told from none; a density is per unit of cosine, 1/2 if all cosines are equally frequent."""

_COLORS = "magma_r"  # nothing is white, as the paper is


class CosineHistogram(AbstractFigure):
    """The density of the cosines of all pairs of tokens over depth, as an image.

    To be taken in any dimension, and first in a high one. Plateaus are horizontal bands; two gatherings that merge are
    a band that bends up to one. Members of a sweep are panels. In free space the angle is seen from the origin.

    Parameters
    ----------
    bins : bins between -1 and 1.
    tokens : most tokens that are paired; of more, an evenly spaced subsample, and the caption says so.
    frames : most depths.
    panels : most members of a sweep that are shown.

    Cost
    ----
    O(frames tokens^2) per member.
    """

    name: ClassVar[str] = "cosines"

    bins: int = option(100, ge=2)
    tokens: int = option(512, ge=2)
    frames: int = option(200, ge=1)
    panels: int = option(MOST, ge=1, le=MOST)

    def draw(self, dataset: xr.Dataset) -> Figure:
        shown = paths(dataset, self.panels, self.frames)
        norm = LogNorm(_FLOOR, max(self.bins / 2, 1.0))  # at most all pairs in one bin
        figure, every = arranged(len(shown), 0.72)
        for axes, path in zip(every, shown, strict=True):
            edges = np.linspace(-1, 1, self.bins + 1)
            axes.pcolormesh(
                cell_edges(path.time), edges, densities(path, self.bins, self.tokens).T, norm=norm, cmap=_COLORS,
                rasterized=True,
            )  # fmt: skip
            axes.set(ylim=(-1, 1), xlabel=depth_label(dataset), ylabel=r"cosine $\cos(x_i, x_j)$")
            axes.set_yticks([-1, -0.5, 0, 0.5, 1], ["$-1$", "$-0.5$", "0", "0.5", "1"])
            axes.set_title(path.title)
        low, high = min(a.get_xlim()[0] for a in every), max(a.get_xlim()[1] for a in every)
        for axes in every:
            axes.set_xlim(low, high)
        outer_labels(every)
        image = ScalarMappable(norm, _COLORS)
        bar = figure.colorbar(image, ax=every, label="density of pairs", extend="min", **BAR)
        bar.outline.set_visible(False)
        return figure

    def refusal(self, dataset: xr.Dataset) -> str | None:
        fault = token_fault(dataset, "the cosine histogram")
        if fault is None and dataset.sizes["token"] < 2:
            return "the cosine histogram needs two tokens or more, got 1; use `trajectories`"
        if fault is None and dataset.sizes["dim"] < 2:
            return "the cosine histogram needs tokens of dimension 2 or more, got 1; use `trajectories`"
        return fault

    def shows(self, dataset: xr.Dataset) -> str:
        n = dataset.sizes["token"]
        what = "Density of the cosines of all pairs of tokens against depth, on a logarithmic color scale."
        if n > self.tokens:
            what = what.replace("all pairs of tokens", f"all pairs of {self.tokens} evenly spaced tokens of the {n}")
        return what + pick_note(dataset, self.panels)


def densities(path: Path, bins: int, most: int) -> Float[np.ndarray, "t bins"]:
    """The histogram of the cosines of distinct pairs at each depth, normalized to one over [-1, 1].

    A token at the origin or not finite is in no pair; a depth without pairs is NaN.
    """
    some = picked(path.x.shape[1], most)
    rows, columns = np.triu_indices(len(some), k=1)
    found = np.full((len(path.time), bins), np.nan)
    for k, x in enumerate(path.x[:, some]):
        length = np.linalg.norm(x, axis=-1, keepdims=True)
        unit = x / np.where(length > 0, length, np.nan)
        cosine = (unit @ unit.T)[rows, columns]
        cosine = cosine[np.isfinite(cosine)]
        if cosine.size:
            place = np.clip(((cosine + 1) * (bins / 2)).astype(int), 0, bins - 1)
            found[k] = np.bincount(place, minlength=bins) * (bins / 2 / cosine.size)
    return found


def cell_edges(time: Float[np.ndarray, " t"]) -> Float[np.ndarray, " t+1"]:
    """The edges of cells about the depths, half way between neighbors; a single depth has a cell of width one."""
    if len(time) == 1:
        return time[0] + np.array([-0.5, 0.5])
    middle = (time[1:] + time[:-1]) / 2
    return np.concatenate([[time[0]], middle, [time[-1]]])
