"""Attention through a narrow kernel: what it moves Gaussian tokens by, at the bandwidth it has and in the limit.

The score is -(x - y)^2 / (2 eps), the value the difference of key and query, so a token is moved to the average of what
it sees. As eps tends to 0 the displacement over eps is a gradient of the log density times a factor, and the law that
repels is a heat equation. For Gaussian tokens on the line all is exact at every eps, worked out here by SciPy.
"""

import numpy as np
from scipy.integrate import quad

from .host import Depths, root


def kept(s: float, eps: float, kind: str, exponent: float = 0.0) -> float:
    r"""The share m of its place that a token of N(0, s) is averaged to, x -> m x.

    .. math:: \frac{s}{s + \epsilon}, \qquad \frac{\sqrt{\epsilon^2 + 4 s^2} - \epsilon}{2 s}, \qquad
       \frac{1/\epsilon}{1/\epsilon + 1/s - a/(s + \epsilon)}

    Parameters
    ----------
    s : variance of the tokens.
    eps : squared width of the kernel.
    kind : "softmax"; "sinkhorn", of doubly stochastic weights; "density", softmax over keys weighed by the power -a of
        the kernel density estimate.
    exponent : a, for "density".

    Raises
    ------
    ValueError
        If there is no such kind.

    Source
    ------
    Derived by hand.
    """
    if kind == "softmax":
        return s / (s + eps)
    if kind == "sinkhorn":
        return 2 * s / (np.hypot(eps, 2 * s) + eps)
    if kind == "density":
        return 1 / (1 + eps / s - exponent * eps / (s + eps))
    raise ValueError(f'`kind` must be "softmax", "sinkhorn" or "density"; got {kind!r}')


def unnormalized(x: Depths, s: float, eps: float) -> np.ndarray:
    r"""The displacement over eps of tokens at x among those of N(0, s), pulled through a kernel of mass 1.

    .. math:: \frac{d}{dx} \mathcal N(x; 0, s + \epsilon) = -\frac{x}{s + \epsilon} \mathcal N(x; 0, s + \epsilon)

    As eps tends to 0 it is the gradient of the density itself, and the law that repels is a porous medium equation.

    Parameters
    ----------
    x : places.
    s, eps : as `kept`.

    Source
    ------
    sander2022sinkformers, for the limit; the displacement derived by hand.
    """
    x, wide = np.asarray(x), s + eps
    return np.asarray(-x / wide * np.exp(-(x**2) / (2 * wide)) / np.sqrt(2 * np.pi * wide))


def factor(kind: str, exponent: float = 0.0) -> float:
    """The factor of the gradient of the log density to which the displacement over eps tends: 1, 1/2 or 1 - a.

    Source
    ------
    sander2022sinkformers; the factors derived by hand.
    """
    factors = {"softmax": 1.0, "sinkhorn": 0.5, "density": 1 - exponent}
    if kind not in factors:
        raise ValueError(f'`kind` must be "softmax", "sinkhorn" or "density"; got {kind!r}')
    return factors[kind]


def variance(t: Depths, start: float, eps: float, kind: str, exponent: float = 0.0) -> np.ndarray:
    r"""The variance of Gaussian tokens that repel each other, at some depths.

    .. math:: \dot s = 2 s (1 - m) / \epsilon

    Parameters
    ----------
    t : depths, at least 0.
    start : the variance at depth 0.
    eps, kind, exponent : as `kept`; exponent below 1.

    Source
    ------
    Derived by hand: a separable equation, its time by quadrature, inverted by root finding.
    """

    def slowness(u: float) -> float:
        return eps / (2 * (1 - kept(np.exp(u), eps, kind, exponent)))

    def clock(u: float) -> float:
        return quad(slowness, np.log(start), u, epsabs=0, epsrel=1e-12)[0]

    def at(depth: float) -> float:
        if depth == 0:
            return start
        high = np.log(start) + 1
        while clock(high) < depth:
            high += 1
        return float(np.exp(root(lambda u: clock(u) - depth, np.log(start), high)))

    return np.asarray([at(float(one)) for one in np.ravel(t)]).reshape(np.shape(t))
