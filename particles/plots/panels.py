"""Small pictures side by side in one figure, at the width of a column or of two."""

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from .style import DOUBLE, SINGLE

MOST = 9
"""More panels than this are not read."""

BAR = {"fraction": 0.04, "aspect": 30, "pad": 0.02}
"""Place and shape of a colorbar beside all panels."""


def panels(rows: int, columns: int, height: float) -> tuple[Figure, np.ndarray]:
    """A figure of panels in rows and columns; `height` of one panel, in units of its width.

    One column of panels is one column of print wide.
    """
    width = SINGLE if columns == 1 else DOUBLE
    figure = Figure(figsize=(width, rows * height * width / columns))
    return figure, figure.subplots(rows, columns, squeeze=False)


def arranged(count: int, height: float) -> tuple[Figure, list[Axes]]:
    """A figure of `count` panels in at most three columns; places that are left over stay empty."""
    columns = {1: 1, 2: 2, 4: 2}.get(count, 3)
    figure, grid = panels(-(-count // columns), columns, height)
    for axes in grid.flat[count:]:
        axes.remove()
    return figure, list(grid.flat[:count])


def panel_width(axes: Axes) -> float:
    """The width in inches that a panel has for itself and its labels."""
    figure = axes.get_figure(root=True)
    assert figure is not None  # all panels are made here
    return figure.get_figwidth() / place(axes)[1]


def place(axes: Axes) -> tuple[int, int]:
    """Which panel of its figure this is, counted along the rows, and how many stand in a row."""
    spec = axes.get_subplotspec()
    assert spec is not None  # all panels are made here, in a grid
    return int(spec.num1), spec.get_gridspec().ncols


def outer_labels(every: list[Axes]) -> None:
    """Of panels with the same limits, labels and numbers only below the lowest and left of the first."""
    _, columns = place(every[0])
    for k, axes in enumerate(every):
        if k % columns:
            axes.set_ylabel("")
            axes.tick_params(labelleft=False)
        if k + columns < len(every):
            axes.set_xlabel("")
            axes.tick_params(labelbottom=False)
