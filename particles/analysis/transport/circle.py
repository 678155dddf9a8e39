"""Transport on the circle: mass keeps its order, and what remains to be found is where to cut.

Lengths are in turns. Lifted to the line, a quantile function rises by 1 with every unit of mass, so cutting elsewhere
shifts one of the two quantile functions against the other, and the cost is convex in the shift.
"""

import dataclasses

import numpy as np
from scipy.sparse import coo_array

from .clouds import Weighted
from .line import LITTLE, NOTHING, filled, pieces
from .result import Transport, between, exactly, mean_power

EXACT = 1e-12  # of the circle: the width of the bracket at which a shift is the best one
LARGEST = 1.5  # shifts beyond which some mass would go around more than half the circle
CUTS = 100  # tangents allowed; two of them halve the bracket at least


@dataclasses.dataclass(frozen=True)
class Lifted:
    """A cloud on the circle in the order of its angles.

    Attributes
    ----------
    place : angles in turns, increasing, `[n]`.
    sums : the mass up to each token and with it, `[n]`.
    order : which tokens they are.
    """

    place: np.ndarray
    sums: np.ndarray
    order: np.ndarray

    @classmethod
    def of(cls, cloud: Weighted) -> "Lifted":
        """The cloud, ordered; tokens of no mass are left out."""
        there = np.flatnonzero(cloud.masses > 0)
        angle = np.arctan2(cloud.x[there, 1], cloud.x[there, 0]) / (2 * np.pi) % 1.0
        order = np.argsort(angle, kind="stable")
        return cls(angle[order], filled(cloud.masses[there[order]]), there[order])

    def at(self, u: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """The lifted quantile at levels of mass, and which token it is."""
        turn = np.floor(u)
        index = np.minimum(np.searchsorted(self.sums, u - turn), len(self.sums) - 1)
        return self.place[index] + turn, index

    def mass_before(self, place: np.ndarray, side: str) -> np.ndarray:
        """The lifted mass up to some places, with what lies there (side "right") or without it."""
        turn = np.floor(place)
        sums = np.concatenate([[0.0], self.sums])
        return sums[np.searchsorted(self.place, place - turn, side=side)] + turn  # pyright: ignore


@dataclasses.dataclass(frozen=True)
class Tangent:
    """A line that touches the cost from below.

    Attributes
    ----------
    at : the shift where it does.
    cost : the cost there, to the power p.
    slope : of the line; where the cost has a corner, one of the slopes in between.
    """

    at: float
    cost: float
    slope: float

    def crossing(self, other: "Tangent") -> float:
        """The shift where this line, which falls, meets another, which rises."""
        rise = other.cost - self.cost - other.slope * (other.at - self.at)
        return float(np.clip(self.at + rise / (self.slope - other.slope), self.at, other.at))


def on_circle(first: Weighted, second: Weighted, p: float, radius: float) -> Transport:
    r"""The distance of two clouds on a circle in the plane, of arc lengths.

    .. math:: W_p = 2 \pi r \min_\theta \Big(\int_0^1 |F^{-1}(u) - G^{-1}(u + \theta)|^p du\Big)^{1/p}

    For p = 1 the best shift is a median of F - G; for other p it is found between tangents of the convex cost, which
    prove how far it can be from the best one.

    Cost
    ----
    O(n log n) for each shift that is tried; one for p = 1, some ten for others.

    Source
    ------
    delon2010fast; for p = 1, cabrelli1995kantorovich.
    """
    x, y = Lifted.of(first), Lifted.of(second)
    shape, turn = (len(first.x), len(second.x)), 2 * np.pi * radius
    if p == 1:
        value, shift = _median(x, y)
        return exactly(turn * value, "circle", _plan(x, y, shift, shape))
    if np.isinf(p):
        value, shift = _bottleneck(x, y)
        return exactly(turn * value, "circle", _plan(x, y, shift, shape))
    lower, upper, shift = _best(x, y, p)
    return between(turn * lower, turn * upper, EXACT * turn, "circle", _plan(x, y, shift, shape))


def spread(nodes: Weighted, p: float, radius: float) -> float:
    """How far in W_p a density can be from atoms at nodes of the circle, each with the mass of the arc nearest to it.

    Source
    ------
    Derived by hand.
    """
    turns = np.arctan2(nodes.x[:, 1], nodes.x[:, 0]) / (2 * np.pi) % 1.0
    order = np.argsort(turns, kind="stable")
    gaps = np.diff(turns[order], append=turns[order[0]] + 1.0)
    reach = np.maximum(gaps, np.roll(gaps, 1)) / 2
    return 2 * np.pi * radius * mean_power(reach, nodes.masses[order], p)


def _median(x: Lifted, y: Lifted) -> tuple[float, float]:
    """The cost for p = 1, the mean distance of F - G from its median along the circle, and the shift."""
    cuts = np.unique(np.concatenate([[0.0], x.place, y.place]))
    length = np.diff(cuts, append=1.0)
    excess = x.mass_before(cuts, "right") - y.mass_before(cuts, "right")
    order = np.argsort(excess, kind="stable")
    half = np.searchsorted(np.cumsum(length[order]), 0.5)
    level = float(excess[order[min(int(half), len(order) - 1)]])
    return float(np.sum(length * np.abs(excess - level))), -level


def _best(x: Lifted, y: Lifted, p: float) -> tuple[float, float, float]:
    """A lower and an upper bound of the distance, and the shift of the upper one."""
    low, high = (_tangent(x, y, at, p) for at in (-LARGEST, LARGEST))
    best, least = min(low, high, key=lambda one: one.cost), 0.0
    for cut in range(CUTS):
        crossing = low.crossing(high)
        least = max(least, low.cost + low.slope * (crossing - low.at))
        middle = _tangent(x, y, crossing if cut % 2 == 0 else (low.at + high.at) / 2, p)
        best = min(best, middle, key=lambda one: one.cost)
        if middle.slope == 0 or best.cost ** (1 / p) - least ** (1 / p) <= EXACT / 2:
            least = best.cost if middle.slope == 0 else least
            break
        low, high = (middle, high) if middle.slope < 0 else (low, middle)
    return least ** (1 / p), best.cost ** (1 / p), best.at


def _tangent(x: Lifted, y: Lifted, shift: float, p: float) -> Tangent:
    mass, _, _, apart = _coupled(x, y, shift)
    here, _ = x.at(y.sums - shift)
    behind = np.append(y.place[1:], y.place[0] + 1.0)
    slope = np.sum(np.abs(here - behind) ** p - np.abs(here - y.place) ** p)
    return Tangent(shift, float(np.sum(mass * apart**p)), float(slope))


def _coupled(
    x: Lifted, y: Lifted, shift: float, least: float = NOTHING
) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """For a shift: the masses that go together, from which to which token, and how far."""
    mass, middle = pieces([x.sums, (y.sums - shift) % 1.0], least)
    (start, i), (end, j) = x.at(middle), y.at(middle + shift)
    return mass, i, j, np.abs(start - end)


def _plan(x: Lifted, y: Lifted, shift: float, shape: tuple[int, int]) -> coo_array:
    mass, i, j, _ = _coupled(x, y, shift)
    plan = coo_array((mass, (x.order[i], y.order[j])), shape=shape)
    plan.sum_duplicates()
    return plan


def _bottleneck(x: Lifted, y: Lifted) -> tuple[float, float]:
    """The cost for p = inf: the least length for which some shift moves no mass farther, and that shift."""
    low, high = 0.0, 0.5
    while high - low > EXACT / 4:
        middle = (low + high) / 2
        least, most = _shifts(x, y, middle)
        low, high = (low, middle) if least <= most + LITTLE else (middle, high)
    least, most = _shifts(x, y, high)
    shift = (least + most) / 2
    *_, apart = _coupled(x, y, shift, 2 * LITTLE)
    return float(apart.max()), shift


def _shifts(x: Lifted, y: Lifted, length: float) -> tuple[float, float]:
    """The smallest and the largest shift that moves no mass farther; the wrong way round where there is none."""
    before = np.concatenate([[0.0], x.sums[:-1]])
    least = np.max(y.mass_before(x.place - length, "left") - before)
    most = np.min(y.mass_before(x.place + length, "right") - x.sums)
    return float(least), float(most)
