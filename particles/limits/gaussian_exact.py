"""Gaussian tokens under attention: what is known of their covariance in closed form, and as plain equations.

Everything here is worked out on the host by SciPy, from formulas alone: no integrator of the package takes part, so
that its integrators can be held against it. A is the form of the score <y, A x>, `form.T` in the words of `DotProduct`.
"""

from collections.abc import Callable, Sequence

import numpy as np
from scipy.integrate import solve_ivp
from scipy.linalg import null_space, sqrtm

from .host import Depths, root, solved

Seen = Callable[[np.ndarray, np.ndarray], tuple[np.ndarray, np.ndarray]]


def softmax_covariance(t: Depths, start: np.ndarray, a: np.ndarray) -> np.ndarray:
    r"""The covariance at some depths under softmax attention with V = I, for any A.

    .. math:: \Sigma(t) = (\Sigma_0^{-1} - (A + A^T) t)^{-1}

    Parameters
    ----------
    t : depths, below `blow_up_time`.
    start : the covariance at depth 0, invertible.
    a : A.

    Source
    ------
    castin2025unified, for the equation; its solution derived by hand.
    """
    depths = np.asarray(t, float)[..., None, None]
    return np.linalg.inv(np.linalg.inv(start) - depths * (a + np.swapaxes(a, -1, -2)))


def blow_up_time(start: np.ndarray, a: np.ndarray) -> float:
    r"""The depth at which `softmax_covariance` is infinite; infinity if there is none.

    .. math:: t_* = 1 / \lambda_{\max}(\Sigma_0^{1/2} (A + A^T) \Sigma_0^{1/2})

    Source
    ------
    Derived by hand.
    """
    root = np.real(sqrtm(start))
    largest = np.linalg.eigvalsh(root @ (a + a.T) @ root)[-1]
    return float(1 / largest) if largest > 0 else np.inf


def low_rank_limit(start: np.ndarray, a: np.ndarray) -> np.ndarray:
    r"""What `softmax_covariance` tends to where A + A^T has no positive eigenvalue, its kernel spanned by U.

    .. math:: \Sigma_\infty = U (U^T \Sigma_0^{-1} U)^{-1} U^T

    Raises
    ------
    ValueError
        If A + A^T has a positive eigenvalue.

    Source
    ------
    castin2025unified, for the rank; the matrix derived by hand.
    """
    spectrum = np.linalg.eigvalsh(a + a.T)
    if spectrum[-1] > 1e-12 * np.abs(spectrum).max():
        raise ValueError("A + A^T has a positive eigenvalue, so the covariance blows up")
    kernel = null_space(a + a.T, rcond=1e-12)
    return kernel @ np.linalg.inv(kernel.T @ np.linalg.solve(start, kernel)) @ kernel.T


def l2_variance(t: Depths, start: float, value: float, query: float, key: float) -> np.ndarray:
    r"""The variance on the line at some depths under the score -(q x - k y)^2 and the value v y.

    .. math:: \frac{1}{4 v k q}\Big(-\frac1s + 2 k^2 \ln s\Big) = t + \text{const}

    Parameters
    ----------
    t : depths, at least 0.
    start : the variance at depth 0.
    value, query, key : v, q and k, with v q k > 0.

    Source
    ------
    castin2025unified, for the equation; its solution derived by hand.
    """

    def clock(s: float) -> float:
        return (-1 / s + 2 * key**2 * np.log(s)) / (4 * value * key * query)

    return _reached(clock, t, start)


def sinkhorn_variance(t: Depths, start: float, value: float, a: float) -> np.ndarray:
    r"""The variance on the line at some depths under Sinkhorn attention with score a x y and value v y.

    .. math:: \frac{1}{2v}\Big[\operatorname{arsinh}(2as) - \frac{1 + \sqrt{1 + 4a^2s^2}}{2as}\Big] = t + \text{const}

    Parameters
    ----------
    t, start, value : as `l2_variance`.
    a : positive.

    Source
    ------
    castin2025unified, for the equation; its solution derived by hand.
    """

    def clock(s: float) -> float:
        w = 2 * a * s
        return (np.arcsinh(w) - (1 + np.hypot(1, w)) / w) / (2 * value)

    return _reached(clock, t, start)


def _reached(clock: Callable[[float], float], t: Depths, start: float) -> np.ndarray:
    """The variance at which an increasing clock has gone on by t, for each t."""

    def at(depth: float) -> float:
        if depth == 0:
            return start
        late, low, high = clock(start) + depth, np.log(start), np.log(start) + 1
        while clock(np.exp(high)) < late:
            high += 1
        return float(np.exp(root(lambda u: clock(np.exp(u)) - late, low, high)))

    return np.asarray([at(float(one)) for one in np.ravel(t)]).reshape(np.shape(t))


def softmax_seen(a: np.ndarray) -> Seen:
    """What a token sees under softmax with the score <y, A x>: m + Sigma A x."""
    return lambda mean, covariance: (mean, covariance @ a)


def l2_seen(query: np.ndarray, key: np.ndarray) -> Seen:
    """What a token sees under softmax with the score -|Q x - K y|^2: a Gaussian of precision Sigma^{-1} + 2 K^T K."""

    def seen(mean: np.ndarray, covariance: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        precision = np.linalg.inv(covariance)
        narrowed = precision + 2 * key.T @ key
        return np.linalg.solve(narrowed, precision @ mean), np.linalg.solve(narrowed, 2 * key.T @ query)

    return seen


def sinkhorn_seen(a: np.ndarray) -> Seen:
    """What a token sees under Sinkhorn with the score <y, A x>: m + N (x - m), N = (Sigma - N Sigma N^T) A.

    By singular values of Sigma^{1/2} A Sigma^{1/2}; derived by hand.
    """

    def seen(mean: np.ndarray, covariance: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        root = np.real(sqrtm(covariance))
        left, size, right = np.linalg.svd(root @ a @ root)
        slope = root @ (left * (2 * size / (1 + np.hypot(1, 2 * size)))) @ right @ np.linalg.inv(root)
        return mean - slope @ mean, slope

    return seen


def follow(
    t: Depths, mean: np.ndarray, covariance: np.ndarray, heads: Sequence[tuple[np.ndarray, Seen]]
) -> tuple[np.ndarray, np.ndarray]:
    r"""Mean and covariance at some depths, by SciPy's integrator of order 8 on the equations of the moments.

    .. math:: \dot m = \sum_h V_h (b_h + M_h m), \qquad
       \dot\Sigma = M \Sigma + \Sigma M^T, \quad M = \sum_h V_h M_h

    Parameters
    ----------
    t : depths, increasing, at least 0.
    mean, covariance : at depth 0.
    heads : for each head its value matrix V_h, and the b_h + M_h x that a token at x sees, a function of the moments.

    Raises
    ------
    ValueError
        If the integrator does not come to the end.

    Source
    ------
    castin2025unified.
    """
    d = mean.shape[0]

    def rate(_: float, state: np.ndarray) -> np.ndarray:
        m, sigma = state[:d], state[d:].reshape(d, d)
        velocity, slope = np.zeros(d), np.zeros((d, d))
        for value, seen in heads:
            offset, inner = seen(m, sigma)
            velocity += value @ (offset + inner @ m)
            slope += value @ inner
        spread = slope @ sigma
        return np.concatenate([velocity, (spread + spread.T).ravel()])

    depths = np.asarray(t, float)
    start = np.concatenate([mean, covariance.ravel()])
    solution = solved(solve_ivp(rate, (0, depths[-1]), start, "DOP853", depths, rtol=1e-12, atol=1e-14))
    return solution.y[:d].T, solution.y[d:].T.reshape(-1, d, d)
