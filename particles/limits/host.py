"""What formulas worked out on the host take, and how their equations are solved."""

from collections.abc import Callable, Sequence
from typing import Any

import jax
import numpy as np
from scipy.optimize import brentq

from ..integration import Failed

Depths = float | int | Sequence[float] | np.ndarray | jax.Array
"""A depth, or several."""


def root(function: Callable[[float], float], low: float, high: float) -> float:
    """Where a continuous function changes its sign between two numbers, by Brent's method, to the last digit.

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


def solved(found: Any) -> Any:
    """What SciPy made of an initial value problem.

    Raises
    ------
    Failed
        If it did not come to the end.
    """
    if not found.success:
        raise Failed(f"SciPy's integrator did not come to the end: {found.message}")
    return found
