"""Infinitely many tokens on the circle in Fourier modes, as plain equations of the host.

These are the mode equations of one law, `Mean` attention with logits beta cos(theta - theta'), worked out by hand and
followed by SciPy: what `MeanField` and clouds of tokens are held against.
"""

from collections.abc import Callable
from typing import Any

import jax.numpy as jnp
import numpy as np
from scipy.integrate import solve_ivp
from scipy.special import iv, ive

from ..integration import Failed
from .host import Depths, root, solved


def push_forward(place: Callable[[np.ndarray], np.ndarray], modes: int, points: int = 4096) -> np.ndarray:
    """The modes m_0, m_1, ... of the law of place(U), with U uniform on the circle and `place` smooth.

    .. math:: m_k = \\int e^{-ik\\theta} d\\mu

    Parameters
    ----------
    place : angles of angles; place(u) - u has period 2 pi.
    modes : how many.
    points : of the trapezoidal rule, which converges faster than any power.

    Source
    ------
    boyd2001chebyshev.
    """
    angles = place(quantiles(points))
    return np.exp(-1j * np.outer(np.arange(modes), angles)).mean(axis=1)


def wavy(u: Any) -> Any:
    """A smooth law on the circle in which every mode is present: that of this angle of a uniform one."""
    module = np if isinstance(u, np.ndarray) else jnp
    return u + 0.5 * module.sin(u) + 0.2 * module.cos(2 * u)


def quantiles(count: int) -> np.ndarray:
    """Angles 2 pi (i - 1/2) / count, whose modes below `count` are those of the uniform law."""
    return 2 * np.pi * (np.arange(count) + 0.5) / count


def mode_rates(m: np.ndarray, beta: float, kappa: float = np.inf) -> np.ndarray:
    r"""The rates of change of the modes m_0, m_1, ...; modes beyond the last are taken to be zero.

    .. math:: \dot m_k = \frac k\beta \sum_l l\, I_l(\beta)\, m_l\, m_{k-l} - \frac{k^2}{\kappa} m_k

    At beta = 0 the first part is k (m_1 m_{k-1} - conj(m_1) m_{k+1}) / 2.

    Parameters
    ----------
    m : complex modes.
    beta : inverse temperature.
    kappa : inverse strength of the noise sqrt(2/kappa) dW; infinite without noise.

    Source
    ------
    geshkovski2023perspective, for the equation; its modes derived by hand.
    """
    top = len(m) - 1
    order = np.arange(-top, top + 1)
    both = np.concatenate([np.conj(m[:0:-1]), m])
    kernel = order * iv(np.abs(order), beta) / beta if beta else np.where(np.abs(order) == 1, order / 2, 0.0)
    k = np.arange(top + 1)
    return k * np.convolve(kernel * both, both)[2 * top : 3 * top + 1] - k**2 / kappa * m


def follow(t: Depths, start: np.ndarray, beta: float, kappa: float = np.inf) -> np.ndarray:
    """The modes at some depths, `[depth mode]`, by SciPy's method of order 8.

    Parameters
    ----------
    t : depths, increasing from 0.
    start, beta, kappa : as `mode_rates`.

    Source
    ------
    hairer1993solving.
    """
    depths = np.asarray(t, float)
    size = len(start)

    def rates(_: float, y: np.ndarray) -> np.ndarray:
        rate = mode_rates(y[:size] + 1j * y[size:], beta, kappa)
        return np.concatenate([np.real(rate), np.imag(rate)])

    y0 = np.concatenate([np.real(start), np.imag(start)])
    method = "DOP853" if np.isinf(kappa) else "Radau"
    found = solved(solve_ivp(rates, (0.0, depths[-1]), y0, method, depths, rtol=1e-11, atol=1e-13))
    return found.y[:size].T + 1j * found.y[size:].T


def stationary(kappa: float, beta: float, modes: int = 40, first: float = 1.0, points: int = 512) -> np.ndarray:
    r"""A stationary law under noise: its modes m_0, m_1, ..., real, by iterating the self-consistent density.

    .. math:: \rho \propto \exp\Big(2\kappa \sum_l \frac{I_l(\beta)}{\beta} m_l \cos l\theta\Big)

    Parameters
    ----------
    kappa : inverse strength of the noise sqrt(2/kappa) dW.
    beta : inverse temperature.
    modes : how many.
    first : m_1 to begin with, near the branch that is wanted: 1 for the ordered one.
    points : of the trapezoidal rule.

    Raises
    ------
    Failed
        If the iteration does not settle, which close to the threshold it does slowly.

    Source
    ------
    rigollet2025meanfield; the fixed-point form derived by hand.
    """
    theta, k = quantiles(points), np.arange(modes)
    waves = np.cos(np.outer(k, theta))
    pull = np.where(k > 0, iv(k, beta) / beta, 0.0) if beta else np.where(k == 1, 0.5, 0.0)
    m = first ** k.astype(float) if first else np.where(k == 0, 1.0, 0.0)
    for _ in range(200_000):
        exponent = 2 * kappa * (pull * m) @ waves
        density = np.exp(exponent - exponent.max())
        moved = waves @ density / density.sum()
        if np.abs(moved - m).max() < 1e-14:
            return moved
        m = moved
    raise Failed(f"the density did not settle at kappa = {kappa:g}, beta = {beta:g}: too close to the threshold")


def order_parameter(kappa: float) -> float:
    """The stationary |m_1| at beta = 0: the positive root of r = I_1(kappa r) / I_0(kappa r); zero for kappa <= 2.

    Source
    ------
    rigollet2025meanfield.
    """
    if kappa <= 2:
        return 0.0
    return root(lambda r: ive(1, kappa * r) / ive(0, kappa * r) - r, 1e-6, 1.0)


def tricritical(dim: int) -> float:
    r"""The inverse temperature above which noise breaks the order with a jump.

    .. math:: I_{d/2+1}(\beta_*) / I_{d/2}(\beta_*) = 1/d

    Source
    ------
    mun2026phase.
    """
    return root(lambda beta: ive(dim / 2 + 1, beta) / ive(dim / 2, beta) - 1 / dim, 1e-3, 50.0 * dim)
