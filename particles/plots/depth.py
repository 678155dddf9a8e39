"""Depth along a picture: linear, or logarithmic from a floor on, so that long waits do not hide short events."""

from collections.abc import Sequence

import equinox as eqx
import numpy as np
from jaxtyping import Float
from matplotlib.axes import Axes

from .paths import Path

EARLY = 0.1
"""Depth is logarithmic if half of what happens does so before this share of it."""

_LINEAR = 0.35
"""Decades that a logarithmic axis gives to the depths before its floor."""

_DECADES = 6
"""Powers of ten that can be read along an axis."""

_FIRST = 0.05
"""The share of the motion that is over at the floor of logarithmic depth."""


class Depth(eqx.Module):
    """The axis of depth, the same for all panels: linear, or logarithmic from a floor on."""

    first: float = eqx.field(static=True)
    last: float = eqx.field(static=True)
    floor: float | None = eqx.field(static=True)
    label: str = eqx.field(static=True)

    def frame(self, axes: Axes) -> None:
        """Scale, limits and label."""
        if self.floor is not None:
            axes.set_xscale("symlog", linthresh=self.floor, linscale=_LINEAR)
            decades, between = self._ticks(self.floor)
            axes.set_xticks(decades)
            axes.set_xticks(between, minor=True)
        axes.set(xlim=(self.first, self.last), xlabel=self.label)

    def _ticks(self, floor: float) -> tuple[list[float], list[float]]:
        """The first depth and the powers of ten, as many as can be read; and what lies evenly between them."""
        powers = np.arange(np.ceil(np.log10(floor)), np.floor(np.log10(self.last)) + 1)
        every = 10.0 ** powers[:: -(-len(powers) // _DECADES) or 1]
        within = (10.0 ** np.append(powers[:1] - 1, powers)[:, None] * np.arange(2, 10)).ravel()
        return [self.first, *every], within[(within >= floor) & (within <= self.last)].tolist()

    def along(self, t: Float[np.ndarray, "..."]) -> Float[np.ndarray, "..."]:
        """How far along the axis a depth is, up to a factor."""
        return t if self.floor is None else np.arcsinh(t / self.floor)

    def spread(self, count: int) -> Float[np.ndarray, " count"]:
        r"""Depths that are evenly spaced along the axis, the first and the last among them.

        .. math:: t_k = f \sinh\Big((1 - \tfrac{k}{m}) \operatorname{arsinh}\frac{t_0}{f}
           + \tfrac{k}{m} \operatorname{arsinh}\frac{t_m}{f}\Big)

        with f the floor; without one they are evenly spaced in depth.
        """
        low, high = self.along(np.asarray([self.first, self.last], float))
        even = np.linspace(low, high, count)
        found = even if self.floor is None else self.floor * np.sinh(even)
        return np.clip(found, self.first, self.last)


def moving(paths: Sequence[Path], label: str, logarithmic: bool | None = None) -> Depth:
    """The axis on which motion is spread: logarithmic where half of it is over in the first tenth of depth.

    The floor is the depth at which a twentieth of the motion is over, of the path that is first there, but no less than
    the first stored depth after the start.
    """
    times = np.concatenate([path.time for path in paths])
    first, last = float(times.min()), float(times.max())
    halves, floors = [], []
    for path in paths:
        motion = path.motion()
        if motion[-1] > 0:
            halves.append(float(np.interp(motion[-1] / 2, motion, path.time)))
            floors.append(float(np.interp(_FIRST * motion[-1], motion, path.time)))
    early = bool(halves) and np.median(halves) - first < EARLY * (last - first)
    positive = times[times > 0]
    if not (early if logarithmic is None else logarithmic) or not len(positive):
        return Depth(first, last, None, label)
    return Depth(first, last, max([float(positive.min()), *([min(floors)] if floors else [])]), label)
