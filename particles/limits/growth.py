"""How fast waves on the uniform law grow, and which one first."""

import numpy as np
from scipy.special import gammaln, ive

from .equiangular import Kind


def growth_rate(k: int, dim: int, beta: float, kind: Kind = "mean", kappa: float = np.inf) -> float:
    r"""The exponential rate at which a harmonic of degree k on the uniform law of a sphere grows.

    .. math::
        r_k = \frac{k(k+d-2)}{\beta}\, \Gamma(\tfrac d2) \Big(\frac 2\beta\Big)^{d/2-1} I_{k+d/2-1}(\beta)
              - \frac{k(k+d-2)}{\kappa}

    On the circle k^2 I_k(beta) / beta - k^2 / kappa. For "softmax" the first part is divided by the mean of the kernel.

    Parameters
    ----------
    k : degree, at least 1.
    dim : ambient dimension d, at least 2.
    beta : inverse temperature, positive.
    kind : "mean" or "softmax".
    kappa : inverse strength of the noise sqrt(2/kappa) dW; infinite without noise.

    Units
    -----
    1 per unit of depth.

    Source
    ------
    bruno2024emergence; constants derived by hand.
    """
    order = k * (k + dim - 2)
    scale = np.exp(gammaln(dim / 2) + (dim / 2 - 1) * np.log(2 / beta) + beta)
    growth = order / beta * scale * ive(k + dim / 2 - 1, beta)
    if kind == "softmax":
        growth /= scale * ive(dim / 2 - 1, beta)
    return float(growth - order / kappa)


def fastest_mode(dim: int, beta: float, kind: Kind = "mean", kappa: float = np.inf) -> int:
    """The degree that grows fastest from the uniform law."""
    highest = int(4 * np.sqrt(beta) + 10)
    return 1 + int(np.argmax([growth_rate(k, dim, beta, kind, kappa) for k in range(1, highest)]))


def threshold(dim: int, beta: float) -> float:
    """The kappa above which the uniform law is unstable under noise sqrt(2/kappa) dW, with `Mean` attention.

    Source
    ------
    mun2026phase; the constant derived by hand.
    """
    return float(dim) if beta == 0 else (dim - 1) / growth_rate(1, dim, beta)
