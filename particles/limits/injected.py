"""Two tokens on the line into which +c and -c are injected at every pass: the fixed point in closed form."""

from typing import Any

import numpy as np
from scipy.optimize import minimize_scalar

from .host import root

_SUMMIT: Any = minimize_scalar(lambda u: -(np.tanh(u) + 2 * u / np.cosh(u) ** 2), bounds=(0, 3))
STEEPEST = -float(_SUMMIT.fun)
"""The largest slope of y tanh(a y^2) in y: below its inverse in v the fixed point is the only one."""


def place(injection: float, value: float, slope: float) -> float:
    r"""The fixed point +-y of x_i -> c_i + v Gamma_X(x_i) with logits a x y.

    .. math:: y = c + v y \tanh(a y^2)

    Parameters
    ----------
    injection : c, positive.
    value : v, in magnitude below 1 / 1.6016.
    slope : a.

    Raises
    ------
    ValueError
        If |v| is not: then there need not be one such point alone.

    Source
    ------
    bai2019deep, for the model; derived by hand.
    """
    if not unique(value):
        raise ValueError(f"the value must be below {1 / STEEPEST:.4f} in magnitude; got {value:g}")
    excess = lambda y: injection + value * y * np.tanh(slope * y * y) - y  # noqa: E731
    return root(excess, 0.0, injection / (1 - abs(value)) + 1.0)


def unique(value: float) -> bool:
    """Whether there is one fixed point alone, whatever is injected and however steep the logits are.

    Source
    ------
    Derived by hand.
    """
    return abs(value) * STEEPEST < 1


def rates(injection: float, value: float, slope: float) -> tuple[float, float]:
    """The factors by which a small odd and a small even displacement of the two tokens shrink in a pass.

    Parameters
    ----------
    injection, value, slope : as `place`.

    Source
    ------
    Derived by hand.
    """
    u = slope * place(injection, value, slope) ** 2
    return value * (np.tanh(u) + 2 * u / np.cosh(u) ** 2), value * (1 + u / np.cosh(u) ** 2)


def sensitivity(injection: float, value: float, slope: float) -> float:
    """The derivative of the fixed point with respect to what is injected.

    Parameters
    ----------
    injection, value, slope : as `place`.

    Source
    ------
    Derived by hand.
    """
    return 1 / (1 - rates(injection, value, slope)[0])
