"""Distances between clouds of tokens as measures: by the cheapest matching, exactly."""

import jax
import numpy as np
from scipy.optimize import linear_sum_assignment

Cloud = np.ndarray | jax.Array


def wasserstein(x: Cloud, y: Cloud, p: float = 1.0) -> float:
    r"""The Wasserstein distance between two clouds of as many tokens, each token of the same mass.

    .. math:: W_p = \Big(\min_\sigma \frac1n \sum_i |x_i - y_{\sigma(i)}|^p\Big)^{1/p}

    On the line by sorting, elsewhere by an optimal assignment. For p = inf the largest displacement of a best matching.

    Parameters
    ----------
    x, y : clouds, `[n d]`; distances are those of the ambient space.
    p : at least 1; may be infinite.

    Raises
    ------
    ValueError
        If the clouds differ in shape, or p is below 1.

    Cost
    ----
    O(n log n) on the line, O(n^3) elsewhere.

    Source
    ------
    villani2009optimal.
    """
    x, y = np.asarray(x, float), np.asarray(y, float)
    if x.ndim != 2 or x.shape != y.shape:
        raise ValueError(f"expected two clouds of one shape (tokens, dim); got {x.shape} and {y.shape}")
    if not p >= 1:
        raise ValueError(f"`p` must be at least 1; got {p}")
    if x.shape[1] == 1:
        distances = np.abs(np.sort(x[:, 0]) - np.sort(y[:, 0]))
        return _mean(distances, p)
    costs = np.linalg.norm(x[:, None, :] - y[None, :, :], axis=-1)
    if np.isinf(p):
        return _bottleneck(costs)
    return _mean(costs[linear_sum_assignment(costs**p)], p)


def _mean(distances: np.ndarray, p: float) -> float:
    return float(distances.max() if np.isinf(p) else np.mean(distances**p) ** (1 / p))


def _bottleneck(costs: np.ndarray) -> float:
    """The smallest number such that some matching has no pair farther apart, by bisection over the costs."""
    levels = np.unique(costs)
    low, high = 0, len(levels) - 1
    while low < high:
        middle = (low + high) // 2
        far = (costs > levels[middle]).astype(float)
        if far[linear_sum_assignment(far)].sum() == 0:
            high = middle
        else:
            low = middle + 1
    return float(levels[low])
