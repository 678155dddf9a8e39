"""The paths of the tokens: where each began, where it went, where it is.

Depth is color. What the picture is, a globe, a circle unrolled, a plane or the shadow of a larger space, follows from
the space of the dataset; the members of a sweep are small panels seen from the same side and at the same scale, so
that they may be compared.
"""

from typing import ClassVar

import xarray as xr
from matplotlib.figure import Figure

from ..declaration import option
from .base import AbstractFigure
from .panels import MOST, arranged, outer_labels
from .paths import curved, depth_label, paths, pick_note, still_note, token_fault
from .strokes import depth_bar, depth_norm, draw_lines, draw_points
from .views import views


class Trajectories(AbstractFigure):
    """The path of every token, colored by depth, from a small hollow point to a filled one.

    The first picture to look at. On the circle it is the angle against depth beside the ring, on the sphere of R^3 a
    globe turned such that the ends are seen, the far side faint; in one dimension the position against depth; in more
    dimensions the directions in which the tokens vary most, found over all depths and members together. Depth is
    logarithmic where half of the motion is over in its first tenth, and a path on a sphere follows arcs.

    Parameters
    ----------
    panels : most members of a sweep that are shown.
    frames : most frames that are drawn of one member.

    Cost
    ----
    One line per token and frame; a second for about 100 000 of them.
    """

    name: ClassVar[str] = "trajectories"

    panels: int = option(MOST, ge=1, le=MOST)
    frames: int = option(400, ge=2)

    def draw(self, dataset: xr.Dataset) -> Figure:
        shown = paths(dataset, self.panels, self.frames)
        seen, norm = views(dataset, shown), depth_norm(shown)
        pairs = [(p, v) for p in shown for v in (seen if len(shown) == 1 else seen[:1])]
        figure, every = arranged(len(pairs), 0.72 if seen[0].shows_depth else 0.9)
        for axes, (path, view) in zip(every, pairs, strict=True):
            view.frame(axes)
            axes.set_title(path.title)
            draw_lines(axes, view, path if view.shows_depth else curved(dataset, path), norm)
            still = path.still()
            draw_points(axes, view, path, 0, norm, still, hollow=True)
            draw_points(axes, view, path, -1, norm, still)
        if len(shown) > 1:
            outer_labels(every)
        if not all(view.shows_depth for _, view in pairs):
            depth_bar(figure, every, norm, depth_label(dataset))
        return figure

    def refusal(self, dataset: xr.Dataset) -> str | None:
        return token_fault(dataset, "the figure of trajectories")

    def shows(self, dataset: xr.Dataset) -> str:
        what = f"Paths of {dataset.sizes['token']} tokens, colored by depth, from hollow to filled points."
        return what + still_note(paths(dataset, self.panels, self.frames)) + pick_note(dataset, self.panels)
