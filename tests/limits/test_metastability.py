"""The numbers of well separated caps: their overlap by search, their bounds at values worked out by hand."""

import numpy as np

from particles.limits.metastability import Caps, overlap


def test_overlap_of_caps_is_the_largest_of_sampled_points():
    rng, size = np.random.default_rng(0), 0.05
    centers = np.eye(3)[:2]
    x = rng.normal(size=(200_000, 3))
    x /= np.linalg.norm(x, axis=1, keepdims=True)
    first, second = (x[x @ center >= 1 - size] for center in centers)
    found = np.max(first @ second.T)
    assert overlap(centers, size) - 0.05 < found <= overlap(centers, size)
    assert not found <= overlap(centers, size / 4)


def test_bounds():
    caps = Caps(tokens=6, beta=25.0, size=0.01, overlap=0.3)
    assert np.isclose(caps.kept, 0.01 / 6 * np.exp(0.7 * 25))
    assert np.isclose(caps.margin, 0.7 - 0.08 - np.log(7200) / 25)
    assert np.isclose(caps.gathered(0.2), 12 * np.exp(2) + np.e * 6 * 0.2 * 625 / 24)
    assert caps.least_tightness < caps.largest_tightness
    assert not Caps(tokens=6, beta=5.0, size=0.01, overlap=0.3).margin > 0
