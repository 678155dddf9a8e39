"""Transport on the line: whatever the cost of a length is, convex, mass keeps its order."""

import numpy as np
from scipy.sparse import coo_array

from .clouds import Weighted
from .result import Transport, exactly, mean_power

NOTHING = 4 * np.finfo(float).eps  # a mass that is the rounding of sums of masses
LITTLE = 1e-12  # a mass of which no distance of p = inf is made: masses that are given are rounded, too


def on_line(first: Weighted, second: Weighted, p: float) -> Transport:
    r"""The distance of two clouds in dimension 1, by quantiles.

    .. math:: W_p = \Big(\int_0^1 |F^{-1}(u) - G^{-1}(u)|^p du\Big)^{1/p}

    Cost
    ----
    O(n log n).

    Source
    ------
    villani2009optimal.
    """
    rows, columns, mass = _coupled(first, second, LITTLE if np.isinf(p) else NOTHING)
    distances = np.abs(first.x[rows, 0] - second.x[columns, 0])
    plan = coo_array((mass, (rows, columns)), shape=(len(first.x), len(second.x)))
    return exactly(mean_power(distances, mass, p), "quantiles", plan)


def _coupled(first: Weighted, second: Weighted, least: float) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Which tokens share mass, and how much, if mass keeps its order; less than the least is left out."""
    i, j = np.argsort(first.x[:, 0], kind="stable"), np.argsort(second.x[:, 0], kind="stable")
    u, v = filled(first.masses[i]), filled(second.masses[j])
    mass, middle = pieces([u, v], least)
    return i[np.searchsorted(u, middle)], j[np.searchsorted(v, middle)], mass


def filled(masses: np.ndarray) -> np.ndarray:
    """How much mass there is up to each token; exactly 1 at the last."""
    sums = np.minimum(np.cumsum(masses, dtype=np.longdouble).astype(float), 1.0)
    sums[-1] = 1.0
    return sums


def pieces(cuts: list[np.ndarray], least: float) -> tuple[np.ndarray, np.ndarray]:
    """The masses between cuts of the unit of mass, and a level in each; what is not above the least is left out."""
    levels = np.unique(np.concatenate(cuts))
    mass = np.diff(levels, prepend=0.0)
    kept = mass > least
    return mass[kept], (levels - mass / 2)[kept]
