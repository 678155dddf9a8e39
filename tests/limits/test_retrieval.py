"""The retrieval profile, against its equation on a grid, solved by the exponential of a matrix."""

import numpy as np
from scipy.linalg import expm

from particles.limits import retrieval

DECAY, PULL = 1.0, 0.8


def on_grid(n, source):
    """By the rule of midpoints; the source is one cell."""
    s = (np.arange(n) + 0.5) / n
    back = s[:, None] - s[None, :]
    kernel = np.where(back >= 0, np.exp(-DECAY * back), 0.0) * (1 - 0.5 * np.eye(n))
    kernel = DECAY * kernel / -np.expm1(-DECAY * s)[:, None] / n
    j = int(source * n)
    return (expm(PULL * kernel)[-1, j] * n, s[-1], s[j])


def test_profile():
    found, s, source = on_grid(800, 0.4)
    assert np.isclose(retrieval.profile(s, source, PULL, DECAY), found, rtol=1e-3)
    assert not np.isclose(retrieval.profile(s, source, PULL, 2 * DECAY), found, rtol=1e-2)


def test_profile_solves_its_equation():
    assert abs(retrieval.residual(1.0, 0.3, PULL, DECAY)) < 1e-10
    assert abs(retrieval.residual(0.7, 0.01, 3.0, 2.0)) < 1e-10


def test_one_minimum_up_to_the_largest_pull():
    sources = np.linspace(0.001, 0.999, 400)
    assert retrieval.largest_pull(DECAY) > PULL
    assert retrieval.turns(np.asarray([retrieval.profile(1.0, s, PULL, DECAY) for s in sources])) == 1
    assert retrieval.turns(np.sin(np.linspace(0, 7, 50))) == 2
