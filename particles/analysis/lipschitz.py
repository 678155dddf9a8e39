"""By how much attention can stretch distances: proved bounds in closed form."""

import numpy as np


def transport_bound(slope: float, value: float, radius: float) -> float:
    r"""A Lipschitz constant of softmax attention mu -> mu A_mu in every Wasserstein distance, on a ball.

    .. math:: v \big(a R^2 + (1 + 2 a R^2) e^{2 a R^2}\big)

    Parameters
    ----------
    slope : a, the operator norm of the matrix of the logits <y, A x>, inverse temperature and scale included.
    value : v, the operator norm of the value matrix.
    radius : R, of the ball that holds the tokens.

    Source
    ------
    vuckovic2021regularity, for the property; the constant derived by hand.
    """
    s = slope * radius**2
    return float(value * (s + (1 + 2 * s) * np.exp(2 * s)))


def displacement_bound(slope: float, value: float, radius: float) -> float:
    r"""The same for tokens that keep their labels, in the largest displacement of a token: there is no exponential.

    .. math:: v (1 + 2 a R^2)

    Parameters
    ----------
    slope, value, radius : as `transport_bound`.

    Source
    ------
    Derived by hand.
    """
    return float(value * (1 + 2 * slope * radius**2))
