"""Tokens whose pairwise overlaps are all equal: the flow on the sphere, and its layers, become scalar laws.

Everything here is worked out on the host in double precision by SciPy, from formulas alone: no integrator of the
package takes part, so that its integrators can be held against it.
"""

from typing import Literal

import numpy as np
from scipy.integrate import quad

from .host import Depths, root

Kind = Literal["softmax", "mean"]


def rate(g: float, n: int, beta: float, kind: Kind = "softmax") -> float:
    r"""The speed of the common overlap.

    .. math:: \dot g = \frac{2 e^{\beta g} (1-g) ((n-1) g + 1)}{Z}, \qquad Z = e^\beta + (n-1) e^{\beta g}

    Parameters
    ----------
    g : the overlap of every pair, between -1/(n-1) and 1.
    n : tokens.
    beta : inverse temperature.
    kind : "softmax"; with "mean", Z = n.

    Units
    -----
    1 per unit of depth.

    Source
    ------
    geshkovski2023perspective, Theorem 6.8.
    """
    scaled = np.exp(beta * (g - 1))
    normalizer = 1 + (n - 1) * scaled if kind == "softmax" else n * np.exp(-beta)
    return 2 * scaled * (1 - g) * ((n - 1) * g + 1) / normalizer


def hitting_time(start: float, end: float, n: int, beta: float, kind: Kind = "softmax") -> float:
    """The depth at which the overlap has grown from `start` to `end`.

    Parameters
    ----------
    start, end : overlaps, -1/(n-1) < start <= end < 1.
    n, beta, kind : as `rate`.

    Raises
    ------
    ValueError
        If the overlaps are not in that order, or not within these bounds.

    Source
    ------
    geshkovski2023perspective, Theorem 6.8; its integral by quadrature.
    """
    if not -1 / (n - 1) < start <= end < 1:
        raise ValueError(f"expected -1/(n-1) < start <= end < 1 for n = {n}; got {start:g} and {end:g}")
    return _depth(log_odds(start, n), log_odds(end, n), n, beta, kind)


def overlap(t: Depths, start: float, n: int, beta: float, kind: Kind = "softmax") -> np.ndarray:
    """The common overlap at some depths: the inverse of `hitting_time`.

    Parameters
    ----------
    t : depths, at least 0.
    start, n, beta, kind : as `hitting_time`.

    Source
    ------
    geshkovski2023perspective, Theorem 6.8.
    """
    return np.asarray(1 - gap(t, start, n, beta, kind))


def gap(t: Depths, start: float, n: int, beta: float, kind: Kind = "softmax") -> np.ndarray:
    """One minus the common overlap at some depths, to full relative precision near consensus; as `overlap`."""
    reached = [_log_odds_at(float(one), log_odds(start, n), n, beta, kind) for one in np.ravel(t)]
    return np.asarray([_gap(u, n) for u in reached]).reshape(np.shape(t))


def log_odds(g: float, n: int) -> float:
    """log((1 + (n-1) g) / (1 - g)): the overlap in a coordinate that runs over all real numbers."""
    return float(np.log1p((n - 1) * g) - np.log1p(-g))


def _gap(u: float, n: int) -> float:
    return float(n / (n - 1 + np.exp(u)))


def _depth(first: float, last: float, n: int, beta: float, kind: Kind) -> float:
    """The depth between two log-odds u, in which dg = (1 - g)(1 + (n-1) g) / n du cancels the zeros of the rate."""

    def slowness(u: float) -> float:
        scaled = np.exp(beta * _gap(u, n))
        return (scaled + n - 1 if kind == "softmax" else n * scaled * np.exp(-beta)) / (2 * n)

    return float(quad(slowness, first, last, epsabs=0, epsrel=1e-13, limit=1000)[0])


def _log_odds_at(t: float, first: float, n: int, beta: float, kind: Kind) -> float:
    if t == 0:
        return first
    last = first + 1.0
    while _depth(first, last, n, beta, kind) < t:
        last = first + 2 * (last - first)
    return root(lambda u: _depth(first, u, n, beta, kind) - t, first, last)


def layer(g: float, h: float, n: int, beta: float, projected: bool = True) -> float:
    """The overlap behind a layer of step h, from the overlap g before it: exact, no solver.

    Parameters
    ----------
    g, n, beta : as `rate`.
    h : step of the layer normalize(x + h P_x A); without `projected`, of the published normalize(x + h A).

    Source
    ------
    Derived by hand: the Gram matrix of equiangular tokens behind a layer is again one.
    """
    if not projected:
        h = h / (1 + h * pull(g, n, beta))
    q, c = 1 + (n - 1) * g, h * weight(g, n, beta)
    above = g + 2 * c * (1 - g) * q + c * c * q * (n - 2 * q + q * g)
    return above / (1 + c * c * (n - 1) * (1 - g) * q)


def weight(g: float, n: int, beta: float) -> float:
    """The softmax weight of another token."""
    scaled = np.exp(beta * (g - 1))
    return scaled / (1 + (n - 1) * scaled)


def pull(g: float, n: int, beta: float) -> float:
    """The overlap of a token with what it attends to on average."""
    return 1 - (n - 1) * weight(g, n, beta) * (1 - g)


def leading_constant(start: float, t: float, n: int, beta: float, projected: bool = True) -> float:
    r"""The limit of L (g_L - g(t)) / t, where g_L is the overlap behind L layers of step t/L and g that of the flow.

    .. math:: F(g(t)) \int_{g(0)}^{g(t)} \frac{F_2 - F F'/2}{F^2} dg

    with F the rate of the flow and F_2 the second-order coefficient of a layer.

    Parameters
    ----------
    start, t, n, beta : the overlap at depth 0, the depth, tokens, inverse temperature.
    projected : as in `layer`.

    Source
    ------
    Derived by hand: the modified equation of Euler's method for a scalar law.
    """

    def integrand(g: float) -> float:
        q, kappa = 1 + (n - 1) * g, weight(g, n, beta)
        slope = beta * kappa * (1 - (n - 1) * kappa)  # of kappa
        force = 2 * kappa * (1 - g) * q
        force_slope = 2 * (slope * (1 - g) * q - kappa * q + kappa * (1 - g) * (n - 1))
        second = kappa**2 * q * (n - 2 * q + q * g - (n - 1) * g * (1 - g))
        second -= 0 if projected else pull(g, n, beta) * force
        return (second - force * force_slope / 2) / force**2

    end = float(overlap(t, start, n, beta))
    return rate(end, n, beta) * float(quad(integrand, start, end, epsabs=0, epsrel=1e-11, limit=500)[0])
