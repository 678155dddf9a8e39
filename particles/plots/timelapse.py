"""The tokens at a few depths, side by side, like frames of a film.

Where nothing happens there is nothing to see, and in this subject long waits lie between short events: tokens gather
quickly, gatherings merge slowly. The depths are therefore spread evenly over how far the tokens have moved, not over
depth; the first and the last are always among them.
"""

from typing import ClassVar

import numpy as np
import xarray as xr
from jaxtyping import Bool
from matplotlib.axes import Axes
from matplotlib.colors import Normalize
from matplotlib.figure import Figure

from ..declaration import option
from .base import AbstractFigure
from .panels import arranged, outer_labels, panels, place
from .paths import Path, curved, depth_label, depth_symbol, paths, pick_note, still_note, token_fault, written
from .strokes import depth_bar, depth_norm, draw_lines, draw_points
from .views import AbstractView, views


class Timelapse(AbstractFigure):
    """The tokens at a few depths, each with the way they came since the depth before.

    To be taken when trajectories overlap too much to be followed. Each row is a member of the sweep, with depths of its
    own; a run alone is folded into two rows. Gatherings that merge late are seen because depths are chosen by motion.

    Parameters
    ----------
    panels : depths that are shown; fewer if the tokens were never elsewhere.
    members : most members of a sweep that are shown.
    frames : most frames that are looked at and drawn.
    """

    name: ClassVar[str] = "timelapse"

    panels: int = option(6, ge=2, le=8)
    members: int = option(4, ge=1, le=6)
    frames: int = option(400, ge=2)

    def draw(self, dataset: xr.Dataset) -> Figure:
        shown = paths(dataset, self.members, self.frames)
        view, norm = flat(views(dataset, shown)), depth_norm(shown)
        stops = [moments(p, self.panels) for p in shown]
        columns = max(len(s) for s in stops)
        if len(shown) == 1:
            figure, every = arranged(columns, 1.0)
            rows = [every]
        else:
            figure, grid = panels(len(shown), columns, 1.0)
            every, rows = list(grid.flat), [list(row) for row in grid]
        for row, path, frames in zip(rows, shown, stops, strict=True):
            for k, frame in enumerate(frames):
                since = frames[k - 1] if k else frame
                way = curved(dataset, path.at(slice(since, frame + 1)))
                _panel(row[k], view, way, norm, path.still(), depth_symbol(dataset))
            for axes in row[len(frames) :]:
                axes.set_axis_off()
        outer_labels(every)
        for row, path in zip(rows, shown, strict=True):
            _row_title(row[0], path.title)
        depth_bar(figure, every, norm, depth_label(dataset))
        return figure

    def refusal(self, dataset: xr.Dataset) -> str | None:
        fault = token_fault(dataset, "the timelapse")
        if fault is None and dataset.sizes["dim"] < 2:
            return "the timelapse needs tokens of dimension 2 or more, got 1; use `trajectories`"
        return fault

    def shows(self, dataset: xr.Dataset) -> str:
        what = f"{dataset.sizes['token']} tokens at depths between which they have moved equally far"
        what = f"{what}; lines show the way since the depth before."
        return what + still_note(paths(dataset, self.members, self.frames)) + pick_note(dataset, self.members)


def moments(path: Path, count: int) -> list[int]:
    """At most `count` frames, evenly spread over how far the tokens have moved, first and last included.

    Tokens that never move are shown at their first and last depth.
    """
    motion = path.motion()
    goals = np.linspace(0, motion[-1], count)
    near = {int(np.argmin(np.abs(motion - goal))) for goal in goals[1:-1]} if motion[-1] > 0 else set()
    return sorted({0, len(motion) - 1} | near)


def flat(seen: tuple[AbstractView, ...]) -> AbstractView:
    """The first view that does not spend an axis on depth."""
    return next(view for view in seen if not view.shows_depth)


def _panel(
    axes: Axes, view: AbstractView, path: Path, norm: Normalize, still: Bool[np.ndarray, " n"], depth: str
) -> None:
    view.frame(axes)
    axes.set_title(f"{depth} = {written(float(f'{path.time[-1]:.3g}'))}")
    if axes.axison and place(axes)[1] > 3:
        axes.locator_params(nbins=2)
    draw_lines(axes, view, path, norm)
    draw_points(axes, view, path, -1, norm, still)


def _row_title(axes: Axes, text: str) -> None:
    """What sets a row apart, left of its first panel and of the label of that."""
    if text and axes.axison:
        axes.set_ylabel(f"{text}\n{axes.get_ylabel()}")
    elif text:
        label = axes.annotate(text, (0, 0.5), (-4, 0), xycoords="axes fraction", textcoords="offset points")
        label.set(rotation=90, ha="right", va="center")
