"""What a picture of measured numbers shows, as data that a record can hold, so that it can be drawn from that alone."""

import dataclasses
import json
from typing import Any

import numpy as np


@dataclasses.dataclass(frozen=True)
class Curves:
    """Numbers against another: what was measured as marks, what theory says as lines.

    Attributes
    ----------
    x : the variable or coordinate along the axis.
    measured, theory, bounds : variables drawn as marks, as lines, and as dashed lines that are not to be crossed.
    error : the variable that holds the standard error of what was measured, if there is one.
    by : the dim whose values are told apart by color.
    log : the axes that are logarithmic: "", "x", "y" or "xy".
    slopes : slopes of guide lines on logarithmic axes, each through the last point of another measured curve.
    title : of the panel.
    along : the coordinate of theory and bounds, where it is another one, a finer one than `x`.
    flag : the variable that says which of the first measured numbers converged; the others are crossed out.
    joined : whether measured numbers are joined by lines, as those of one thing that moves are.
    fits : variables that hold the fitted slope of each measured variable on logarithmic axes, as `fitted` finds it; a
        line of that slope goes through the middle of the marks, and the legend has its value.
    """

    x: str
    measured: tuple[str, ...] = ()
    theory: tuple[str, ...] = ()
    bounds: tuple[str, ...] = ()
    error: str = ""
    by: str = ""
    log: str = ""
    slopes: tuple[float, ...] = ()
    title: str = ""
    along: str = ""
    flag: str = ""
    joined: bool = False
    fits: tuple[str, ...] = ()

    @property
    def variables(self) -> tuple[str, ...]:
        """Every variable that must be there."""
        named = (self.x, *self.measured, *self.theory, *self.bounds, *self.fits, self.error, self.along, self.flag)
        return tuple(filter(None, named))


@dataclasses.dataclass(frozen=True)
class Map:
    """One number over a plane, in color, with curves that theory draws through it.

    Attributes
    ----------
    x, y : the coordinates of the plane.
    value : the variable in color, over x and y.
    theory : variables over x, drawn as curves in the units of y.
    path : two variables, the places along x and along y of something that moves over the plane; or none.
    log : the axes that are logarithmic: "", "x", "y" or "xy".
    title : of the panel.
    """

    x: str
    y: str
    value: str
    theory: tuple[str, ...] = ()
    log: str = ""
    title: str = ""
    path: tuple[str, ...] = ()

    @property
    def variables(self) -> tuple[str, ...]:
        """Every variable that must be there."""
        return (self.x, self.y, self.value, *self.theory, *self.path)


Panel = Curves | Map
_KINDS: dict[str, type[Panel]] = {cls.__name__: cls for cls in (Curves, Map)}


def fitted(x: np.ndarray, y: np.ndarray) -> float:
    """The slope of y against x on logarithmic axes, by least squares over the places where both are positive.

    NaN with fewer than two of them.
    """
    kept = (x > 0) & (y > 0) & np.isfinite(x) & np.isfinite(y)
    if len(np.unique(x[kept])) < 2:
        return float("nan")
    return float(np.polyfit(np.log(x[kept]), np.log(y[kept]), 1)[0])


def written(panels: tuple[Panel, ...]) -> str:
    """A chart as text that a record can hold."""
    return json.dumps([{"kind": type(panel).__name__} | dataclasses.asdict(panel) for panel in panels])


def read(text: str) -> tuple[Panel, ...]:
    """The chart behind a text.

    Raises
    ------
    ValueError
        If it does not describe one.
    """
    try:
        return tuple(_panel(dict(entry)) for entry in json.loads(text))
    except (TypeError, KeyError, ValueError) as error:
        raise ValueError(f"this record describes no chart that can be drawn: {error}") from error


def _panel(entry: dict[str, Any]) -> Panel:
    cls = _KINDS[entry.pop("kind")]
    fields: dict[str, Any] = {key: tuple(one) if isinstance(one, list) else one for key, one in entry.items()}
    return cls(**fields)
