"""Random values: the drift of the overlap from one thin layer, and its limits."""

import jax
import numpy as np

import particles as pt
from particles.limits import random_values


def test_one_thin_layer_moves_the_overlap_by_the_drift():
    n, d, g, h2 = 3, 6, 0.3, 1e-3
    x0 = pt.starts.Equiangular(n, d, g)(pt.Sphere(), jax.random.key(0))
    keys = jax.random.split(jax.random.key(1), 60_000)
    change = (np.asarray(random_values.mean_overlaps(x0, keys, h2, 1, 1))[:, 0] - g) / h2
    error = change.std() / np.sqrt(len(change))
    drift = (random_values.overlap(np.array([1e-6]), g, n, d)[0] - g) / 1e-6
    assert abs(change.mean() - drift) < 4 * error
    wide = (random_values.limit(np.array([1e-6]), g, n)[0] - g) / 1e-6
    assert abs(change.mean() - wide) > 4 * error


def test_in_high_dimension_the_odds_grow_like_an_exponential():
    t = np.array([0.5, 2.0])
    np.testing.assert_allclose(random_values.overlap(t, 0.1, 8, 10**7), random_values.limit(t, 0.1, 8), rtol=1e-6)
    g = random_values.limit(t, 0.1, 8)
    np.testing.assert_allclose((1 + 7 * g) / (1 - g), 1.7 / 0.9 * np.exp(t), rtol=1e-12)


def test_shared_values_are_others():
    x0 = pt.starts.Equiangular(3, 6, 0.1)(pt.Sphere(), jax.random.key(0))
    keys = jax.random.split(jax.random.key(1), 16)
    fresh, shared = (np.asarray(random_values.mean_overlaps(x0, keys, 3.0, 60, 1, shared=s)) for s in (False, True))
    assert shared.mean() > fresh.mean() + 0.1
