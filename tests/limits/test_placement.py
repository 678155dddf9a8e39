"""Overlap and radius under each placement of the normalization, against quadratures."""

import numpy as np
import pytest
from scipy.integrate import quad

from particles.limits import equiangular, placement

N, BETA, START = 6, 1.3, 0.2
T = np.array([0.5, 2.0, 4.0])


def test_post_and_sqrt_depth_are_the_flow_on_the_sphere_in_its_clock():
    gap, radius = placement.follow(T, "Post", START, N, BETA)
    np.testing.assert_allclose(gap, equiangular.gap(T, START, N, BETA), rtol=1e-9)
    np.testing.assert_array_equal(radius, 1)
    gap, _ = placement.follow(T, "SqrtDepth", START, N, BETA)
    np.testing.assert_allclose(gap, equiangular.gap(2 * np.sqrt(T + 1) - 2, START, N, BETA), rtol=1e-9)
    assert np.abs(gap - equiangular.gap(T, START, N, BETA)).max() > 1e-2


@pytest.mark.parametrize("name", ["Pre", "Peri"])
def test_radius_and_depth_are_quadratures_over_the_overlap(name):
    gap, radius = placement.follow(T, name, START, N, BETA)

    def log_radius(g):
        rate = lambda h: equiangular.pull(h, N, BETA) / equiangular.rate(h, N, BETA)  # noqa: E731
        return quad(rate, START, g, epsabs=1e-13)[0]

    def slowness(g):
        size = placement.length(g, N, BETA) if name == "Peri" else 1.0
        return np.exp(log_radius(g)) * size / equiangular.rate(g, N, BETA)

    np.testing.assert_allclose(np.log(radius), [log_radius(1 - one) for one in gap], rtol=1e-8)
    np.testing.assert_allclose(T, [quad(slowness, START, 1 - one, epsrel=1e-9)[0] for one in gap], rtol=1e-8)


def test_mixed_is_post_and_then_pre():
    mixed, radius = placement.follow(T, "Mix", START, N, BETA, until=2.0)
    early, _ = placement.follow(T[:2], "Post", START, N, BETA)
    late, outward = placement.follow(T[2:] - 2, "Pre", 1 - early[-1], N, BETA)
    np.testing.assert_allclose(mixed, [*early, *late], rtol=1e-9)
    np.testing.assert_allclose(radius, [1, 1, *outward], rtol=1e-9)


def test_a_smaller_step_size_is_a_slower_clock():
    fast, _ = placement.follow(T, "NGPT", START, N, BETA)
    slow, _ = placement.follow(T / 0.5, "NGPT", START, N, BETA, alpha=0.5)
    np.testing.assert_allclose(slow, fast, rtol=1e-9)


def test_unknown_placements_are_refused():
    with pytest.raises(ValueError, match="must be one of Post"):
        placement.follow(T, "Sandwich", START, N, BETA)
