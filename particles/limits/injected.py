"""Two tokens on the line into which +c and -c are injected at every pass: the fixed point in closed form."""

import numpy as np

from .host import root


def place(injection: float, value: float, slope: float) -> float:
    r"""The fixed point +-y of x_i -> c_i + v Gamma_X(x_i) with logits a x y.

    .. math:: y = c + v y \tanh(a y^2)

    Parameters
    ----------
    injection : c, positive.
    value : v, in magnitude below 1.
    slope : a.

    Raises
    ------
    ValueError
        If |v| is not below 1: then there need not be one such point.

    Source
    ------
    bai2019deep, for the model; derived by hand.
    """
    if abs(value) >= 1:
        raise ValueError(f"the value must be below 1 in magnitude; got {value:g}")
    excess = lambda y: injection + value * y * np.tanh(slope * y * y) - y  # noqa: E731
    return root(excess, 0.0, injection / (1 - abs(value)) + 1.0)


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
