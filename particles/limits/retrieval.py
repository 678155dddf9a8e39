"""How much of the token at one place of a context is found at a later place, under causal attention that fades.

Positions run from 0 to 1. Weights are those of a causal measure that decays with distance,
k(s, s') = lam exp(-lam (s - s')) / (1 - exp(-lam s)), and the law is linear: a times the weighted mean.
"""

import numpy as np
from scipy.integrate import quad
from scipy.special import i0, ive


def weight(s: float, source: float, decay: float) -> float:
    """The density k with which position s sees an earlier one.

    Parameters
    ----------
    s, source : positions, 0 < source < s <= 1.
    decay : lam, positive.

    Source
    ------
    duerinckx2026kinetic.
    """
    return float(decay * np.exp(-decay * (s - source)) / -np.expm1(-decay * s))


def profile(s: float, source: float, pull: float, decay: float) -> float:
    r"""What position s has of the token at an earlier one after a depth t, where pull = a t.

    .. math:: g = k(s, s_0) \sqrt{\frac{at}{Y}}\, I_1(2\sqrt{atY}), \qquad
        Y = \log\frac{e^{\lambda s} - 1}{e^{\lambda s_0} - 1}

    Parameters
    ----------
    s, source, decay : as `weight`.
    pull : the rate of the law times the depth.

    Source
    ------
    duerinckx2026kinetic.
    """
    stretch = _stretch(s, source, decay)
    root = np.sqrt(pull * stretch)
    bessel = ive(1, 2 * root) * np.exp(2 * root)
    return float(weight(s, source, decay) * np.sqrt(pull / stretch) * bessel)


def residual(s: float, source: float, pull: float, decay: float) -> float:
    r"""By how much the profile misses its equation, relative to what drives it.

    .. math:: \partial_t g(t, s) = a \Big( k(s, s_0) + \int_{s_0}^s k(s, s') g(t, s') ds' \Big)

    The left side is a k I_0(2 sqrt(a t Y)); the integral is done by quadrature.

    Parameters
    ----------
    s, source, pull, decay : as `profile`.

    Source
    ------
    duerinckx2026kinetic for the equation; derived by hand.
    """
    driven = quad(
        lambda between: weight(s, between, decay) * profile(between, source, pull, decay), source, s, epsrel=1e-12
    )[0]
    change = weight(s, source, decay) * i0(2 * np.sqrt(pull * _stretch(s, source, decay)))
    return float(change / (weight(s, source, decay) + driven) - 1)


def largest_pull(decay: float) -> float:
    """The pull up to which the profile at position 1 is shown to fall to one minimum and to rise again.

    Parameters
    ----------
    decay : as `weight`.

    Source
    ------
    duerinckx2026kinetic.
    """
    return float(min(3 - np.sqrt(3), -2 * np.expm1(-decay)))


def turns(values: np.ndarray) -> int:
    """How often a sequence changes between falling and rising.

    Parameters
    ----------
    values : the sequence.

    Source
    ------
    Derived by hand.
    """
    rising = np.diff(values) > 0
    return int(np.sum(rising[1:] != rising[:-1]))


def _stretch(s: float, source: float, decay: float) -> float:
    return float(np.log(np.expm1(decay * s)) - np.log(np.expm1(decay * source)))
