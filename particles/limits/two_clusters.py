"""Two tokens, or two clusters with masses: on the sphere their angle, on the line their distance, is a quadrature.

Tokens that coincide stay together, so two clusters are two tokens with masses. Everything here is worked out on the
host in double precision by SciPy: no integrator of the package takes part.
"""

from typing import Literal

import numpy as np
from scipy.integrate import quad

from .host import root

Kind = Literal["softmax", "mean"]
Masses = tuple[float, float]
EQUAL: Masses = (0.5, 0.5)


def closing(phi: float, beta: float, masses: Masses = EQUAL, kind: Kind = "softmax") -> float:
    r"""How fast log tan(phi/2) falls, where phi is the angle between two clusters of masses m1 + m2 = 1.

    .. math:: \dot\varphi = -\sin\varphi \left[ \frac{m_2 w}{m_1 + m_2 w} + \frac{m_1 w}{m_2 + m_1 w} \right],
        \qquad w = e^{\beta (\cos\varphi - 1)}

    Parameters
    ----------
    phi : the angle, between 0 and pi.
    beta : inverse temperature.
    masses : m1 and m2, positive, with sum 1.
    kind : "softmax"; with "mean" the bracket is exp(beta cos phi), whatever the masses.

    Units
    -----
    1 per unit of depth.

    Source
    ------
    geshkovski2023perspective for equal masses; with masses derived by hand.
    """
    if kind == "mean":
        return float(np.exp(beta * np.cos(phi)))
    m1, m2 = masses
    w = np.exp(beta * (np.cos(phi) - 1))
    return float(m2 * w / (m1 + m2 * w) + m1 * w / (m2 + m1 * w))


def waiting_time(first: float, last: float, beta: float, masses: Masses = EQUAL, kind: Kind = "softmax") -> float:
    """The depth that two clusters need to come from one angle to a smaller one.

    Parameters
    ----------
    first, last : angles, pi > first >= last > 0.
    beta, masses, kind : as `closing`.

    Raises
    ------
    ValueError
        If the angles are not in that order, or not within these bounds.

    Source
    ------
    geshkovski2023perspective; the integral of one over the speed, by quadrature.
    """
    if not np.pi > first >= last > 0:
        raise ValueError(f"expected pi > first >= last > 0; got {first:g} and {last:g}")
    return _depth(_stretched(first), _stretched(last), beta, masses, kind)


def angle(t: float, first: float, beta: float, masses: Masses = EQUAL, kind: Kind = "softmax") -> float:
    """The angle after a depth t: the inverse of `waiting_time`."""
    start = _stretched(first)
    if t == 0:
        return first
    low = start - 1.0
    while _depth(start, low, beta, masses, kind) < t:
        low = start + 2 * (low - start)
    return _angle(root(lambda u: _depth(start, u, beta, masses, kind) - t, low, start))


def slow_angle(s: float, first: float, masses: Masses = EQUAL) -> float:
    r"""The angle of two clusters that hardly see each other, after the slow time :math:`s = \int w\,dt`.

    .. math:: \tan\frac{\varphi}{2} = \tan\frac{\varphi_0}{2}\, e^{-c s}, \qquad
        c = \frac{m_2}{m_1} + \frac{m_1}{m_2}

    The softmax law to leading order in w; 2 is the least c.

    Parameters
    ----------
    s : the slow time.
    first : the angle at s = 0.
    masses : as `closing`.

    Source
    ------
    rigollet2025meanfield for equal masses; with masses derived by hand.
    """
    return _angle(_stretched(first) - slow_rate(masses) * s)


def slow_rate(masses: Masses = EQUAL) -> float:
    """The rate c of `slow_angle`."""
    m1, m2 = masses
    return m2 / m1 + m1 / m2


def hull_vertex(start: float, a: float = 1.0) -> float:
    r"""Where the rescaled token :math:`e^{-t} y(t)` of two tokens +-y on the line ends, for values V = 1.

    .. math:: z_\infty = y_0 \exp\left(-\int_{u_0}^\infty \frac{1 - \tanh u}{2 u \tanh u}\,du\right),
        \qquad u_0 = a y_0^2

    Parameters
    ----------
    start : y at depth 0, positive.
    a : the score is a times the product of two tokens.

    Source
    ------
    Derived by hand, in the setting of geshkovski2023emergence.
    """
    first = a * start**2
    exponent = sum(
        quad(lambda u: 1 / (u * np.expm1(2 * u)), low, high, epsabs=1e-15, epsrel=1e-13, limit=500)[0]
        for low, high in ((first, first + 1), (first + 1, first + 20))  # beyond, less than e^-40 is left
    )
    return float(start * np.exp(-exponent))


def repelled(t: float, start: float, a: float = 1.0) -> float:
    r"""The token y(t) of two tokens +-y on the line that repel, V = -1: they fall to 0 as :math:`(2 a t)^{-1/2}`.

    .. math:: \dot y = -y \tanh(a y^2), \qquad t = \int_{u(t)}^{u_0} \frac{du}{2 u \tanh u}, \quad u = a y^2

    Parameters
    ----------
    t : depth.
    start, a : as `hull_vertex`.

    Source
    ------
    Derived by hand, in the setting of geshkovski2023emergence.
    """
    if t == 0:
        return start
    begin = -np.log(a * start**2)  # in the logarithm of u the integrand is 1 / (2 tanh u)

    def reached(v: float) -> float:
        return float(quad(lambda v: 0.5 / np.tanh(np.exp(-v)), begin, v, epsabs=0, epsrel=1e-13, limit=500)[0]) - t

    high = begin + 1.0
    while reached(high) < 0:
        high = begin + 2 * (high - begin)
    return float(np.exp(-root(reached, begin, high) / 2) / np.sqrt(a))


def _stretched(phi: float) -> float:
    """log tan(phi/2): the angle in a coordinate that runs over all real numbers."""
    return float(np.log(np.tan(phi / 2)))


def _angle(u: float) -> float:
    return float(2 * np.arctan(np.exp(u)))


def _depth(first: float, last: float, beta: float, masses: Masses, kind: Kind) -> float:
    """The depth between two stretched angles."""
    return float(
        quad(lambda u: 1 / closing(_angle(u), beta, masses, kind), last, first, epsabs=0, epsrel=1e-13, limit=1000)[0]
    )
