"""The covariance of the tokens through depth, as ellipses: where a cloud is, how wide, and which way it leans.

In the plane an ellipse is the cloud's covariance; in more dimensions it is that of its shadow on the two directions in
which all clouds together vary most. Where a record holds the covariance that a theory says, the variable `covariance`
along depth and two dims of coordinates, its ellipses are dashed lines on those of the tokens.
"""

from typing import ClassVar

import numpy as np
import xarray as xr
from jaxtyping import Float
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.patches import Ellipse

from ..declaration import option
from .base import AbstractFigure
from .panels import MOST, arranged, outer_labels
from .paths import Path, begun, depth_label, path, pick_note, picked, title, token_fault
from .strokes import depth_bar, depth_colors, depth_norm
from .timelapse import moments
from .views import Plane, principal

EXPECTED = "covariance"
"""The variable that holds the covariance of a theory, along depth and two dims."""


class Ellipses(AbstractFigure):
    """Ellipses of covariance at a few depths, colored by depth, with the tokens at the first and the last of them.

    An ellipse holds the points within so many standard deviations of the mean. To be taken for Gaussian clouds, and in
    free space, where clouds shrink, grow and turn.

    Parameters
    ----------
    depths : how many ellipses, spread over how far the tokens moved.
    deviations : standard deviations from the mean to an ellipse; within 2 are 86 % of a Gaussian cloud in the plane.
    panels : most members of a sweep that are shown.
    """

    name: ClassVar[str] = "ellipses"

    depths: int = option(8, ge=2, le=20)
    deviations: float = option(2.0, converter=float, gt=0)
    panels: int = option(MOST, ge=1, le=MOST)

    def draw(self, dataset: xr.Dataset) -> Figure:
        every = begun(dataset)
        chosen = [every[k] for k in picked(len(every), self.panels)]
        shown = [path(dataset, at, dataset.sizes["time"]) for at in chosen]
        view, norm = self._plane(shown), depth_norm(shown)
        figure, panels = arranged(len(shown), 1.0)
        for axes, whole, at in zip(panels, shown, chosen, strict=True):
            view.frame(axes)
            axes.set_title(title(dataset, at))
            frames = moments(whole, self.depths)
            for frame in frames:
                self._ellipse(axes, *_spread(whole.x[frame], view.directions), depth_colors()(norm(whole.time[frame])))
                if EXPECTED in dataset:
                    matrix = dataset[EXPECTED].isel(at).sel(time=whole.time[frame]).values
                    mean, _ = _spread(whole.x[frame], view.directions)
                    self._ellipse(axes, mean, view.directions @ matrix @ view.directions.T, "black", "--")
            for frame, size in ((0, 2.0), (-1, 5.0)):
                places = view.place(whole.time, whole.x)[frame]
                axes.scatter(*places.T, s=size, color=depth_colors()(norm(whole.time[frame])), linewidths=0, zorder=1)
        outer_labels(panels)
        depth_bar(figure, panels, norm, depth_label(dataset))
        return figure

    def _plane(self, shown: list[Path]) -> Plane:
        """The plane that all clouds are seen in, wide enough for tokens and ellipses."""
        pooled = np.concatenate([whole.x[whole.finite()] for whole in shown])
        d = pooled.shape[1]
        directions = np.eye(2) if d == 2 else principal(pooled)[0][:2]
        labels = ("$x_1$", "$x_2$") if d == 2 else ("principal direction 1", "principal direction 2")
        corners = [pooled @ directions.T]
        for whole in shown:
            for frame in moments(whole, self.depths):
                mean, covariance = _spread(whole.x[frame], directions)
                reach = self.deviations * np.sqrt(np.diag(covariance))
                corners.append(np.stack([mean - reach, mean + reach]))
        flat = np.concatenate(corners)
        low, high = flat.min(axis=0), flat.max(axis=0)
        return Plane(directions, labels, (low + high) / 2, float((high - low).max() / 2) or 1.0)

    def _ellipse(
        self, axes: Axes, mean: Float[np.ndarray, "2"], covariance: Float[np.ndarray, "2 2"], color: object, dash="-"
    ) -> None:
        values, vectors = np.linalg.eigh(covariance)
        width, height = 2 * self.deviations * np.sqrt(np.maximum(values, 0))
        angle = float(np.degrees(np.arctan2(vectors[1, 0], vectors[0, 0])))
        style = {"fill": False, "edgecolor": color, "linestyle": dash, "linewidth": 0.6 if dash == "--" else 1.0}
        axes.add_patch(Ellipse((float(mean[0]), float(mean[1])), width, height, angle=angle, zorder=2, **style))

    def refusal(self, dataset: xr.Dataset) -> str | None:
        fault = token_fault(dataset, "the figure of ellipses")
        if fault is None and dataset.attrs.get("space") == "Sphere":
            return "the figure of ellipses is for clouds in free space or in a ball; on a sphere use `trajectories`"
        if fault is None and min(dataset.sizes["dim"], dataset.sizes["token"]) < 2:
            return "the figure of ellipses needs two tokens of dimension 2 or more; use `trajectories`"
        if fault is None and len(path(dataset, begun(dataset)[0], 2).time) < 2:
            return "the figure of ellipses needs two depths that were reached; use `trajectories`"
        return fault

    def shows(self, dataset: xr.Dataset) -> str:
        shadow = ", seen along the two directions of largest variance" if dataset.sizes["dim"] > 2 else ""
        theory = "; dashed lines are those of theory" if EXPECTED in dataset else ""
        what = f"Covariance of {dataset.sizes['token']} tokens as ellipses of {self.deviations:g} standard deviations"
        return f"{what}{shadow}{theory}.{pick_note(dataset, self.panels)}"


def _spread(x: Float[np.ndarray, "n d"], directions: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Mean and covariance of a cloud along two directions."""
    flat = x[np.isfinite(x).all(axis=-1)] @ directions.T
    if not len(flat):
        return np.zeros(2), np.zeros((2, 2))
    return flat.mean(axis=0), (flat - flat.mean(axis=0)).T @ (flat - flat.mean(axis=0)) / len(flat)
