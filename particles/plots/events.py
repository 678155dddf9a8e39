"""What happened at single depths: clusters that merged, laws that jumped, runs that were stopped by a condition.

All of it is what a record says: the number of clusters that was watched, the attribute `jumps`, the attribute `stops`.
"""

import equinox as eqx
import numpy as np
import xarray as xr
from jaxtyping import Float
from matplotlib.axes import Axes

from .paths import members

COUNTS = ("clusters", "distinct")
"""Observables that count clusters, the first that is there."""

LATE = 8
"""Mergers that leave more clusters than this are not marked: there are too many to be told apart."""


class Events(eqx.Module):
    """Depths of events.

    Attributes
    ----------
    mergers : half way between the frames between which clusters became fewer, of the last few mergers of a run.
    jumps : where the law jumps.
    stops : where a stop condition ended a member; NaN for those that came to their planned depth.
    """

    mergers: Float[np.ndarray, " m"]
    jumps: Float[np.ndarray, " j"]
    stops: Float[np.ndarray, " s"]

    def mark(self, axes: Axes) -> None:
        """Thin upright lines: dotted at mergers, dashed at jumps, full where a run was stopped."""
        low, high = axes.get_xlim()
        kinds = ((self.mergers, ":", "0.6"), (self.jumps, "--", "0.6"), (self.stops, "-", "0.35"))
        for depths, dash, gray in kinds:
            for depth in depths[(depths >= low) & (depths <= high)]:
                axes.axvline(depth, color=gray, linestyle=dash, linewidth=0.6, zorder=0.5)

    def words(self) -> str:
        """What the lines mean, of those that are there."""
        said = [
            ("dotted lines are mergers", len(self.mergers)),
            ("dashed lines are jumps of the law", len(self.jumps)),
            ("full lines are where a stop condition held", np.isfinite(self.stops).sum()),
        ]
        there = "; ".join(word for word, count in said if count)
        return f" Upright {there}." if there else ""


def events(dataset: xr.Dataset) -> Events:
    """The events of a dataset; mergers of a run alone, since those of many members would cover everything."""
    stops = [np.nan if stop is None else float(stop) for stop in dataset.attrs.get("stops", ())]
    jumps = np.asarray(dataset.attrs.get("jumps", ()), float)
    return Events(_mergers(dataset), jumps, np.asarray(stops, float))


def _mergers(dataset: xr.Dataset) -> Float[np.ndarray, " m"]:
    counts = [name for name in COUNTS if name in dataset]
    if not counts or len(members(dataset)) != 1:
        return np.empty(0)
    count = np.asarray(dataset[counts[0]].isel(members(dataset)[0]).values, float)
    time = np.asarray(dataset["time"].values, float)
    fell = np.flatnonzero((count[1:] < count[:-1]) & (count[1:] <= LATE))
    return (time[fell] + time[fell + 1]) / 2
