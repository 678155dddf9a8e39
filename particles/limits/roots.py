"""Roots of one number, to the last digit."""

from collections.abc import Callable
from typing import Any

from scipy.optimize import brentq


def root(function: Callable[[float], float], low: float, high: float) -> float:
    """Where a continuous function changes its sign between two numbers, by Brent's method.

    Raises
    ------
    ValueError
        If it has one sign at both.

    Source
    ------
    brent1973algorithms.
    """
    found: Any = brentq(function, low, high, xtol=1e-15, rtol=1e-14)  # pyright: ignore[reportArgumentType]
    return float(found)
