"""One layer of softmax attention over a long context of equiangular tokens, at beta = gamma log n."""

import numpy as np


def output_cosine(gamma: float, rho: float, n: int) -> float:
    r"""The cosine of two outputs of one layer without a residual, on n unit tokens of overlap rho.

    Parameters
    ----------
    gamma : the inverse temperature over log n.
    rho : the overlap of every pair of tokens, between -1/(n-1) and 1.
    n : tokens.

    Source
    ------
    chen2025critical for the model and its limits; the form at finite n derived by hand.
    """
    own = 1 / (1 + (n - 1) * np.exp(-gamma * (1 - rho) * np.log(n)))
    other = (1 - own) / (n - 1)
    square = own**2 + 2 * own * other * (n - 1) * rho + other**2 * ((n - 1) + (n - 1) * (n - 2) * rho)
    product = (
        own**2 * rho + 2 * own * other * (1 + (n - 2) * rho) + other**2 * ((n - 2) + ((n - 1) ** 2 - (n - 2)) * rho)
    )
    return float(product / square)


def threshold(rho: float) -> float:
    """The gamma at which a token weighs as much as all others together: 1 / (1 - rho).

    Parameters
    ----------
    rho : as `output_cosine`.

    Source
    ------
    chen2025critical.
    """
    return 1 / (1 - rho)


def limit(gamma: float, rho: float) -> float:
    """The cosine of two outputs for ever longer contexts: 1 below the threshold, rho above it.

    Parameters
    ----------
    gamma, rho : as `output_cosine`.

    Source
    ------
    chen2025critical; the value at the threshold derived by hand.
    """
    if np.isclose(gamma, threshold(rho), rtol=1e-12):
        return 4 * rho / (1 + 3 * rho)
    return 1.0 if gamma < threshold(rho) else rho
