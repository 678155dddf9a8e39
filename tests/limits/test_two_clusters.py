"""The quadratures of two clusters, against the ordinary differential equations that they solve, by SciPy."""

import numpy as np
import pytest
from scipy.integrate import solve_ivp

from particles.limits import equiangular, two_clusters


def integrated(field, start, until):
    return solve_ivp(lambda t, y: [field(y[0])], (0, until), [start], method="DOP853", rtol=1e-12, atol=1e-14).y[0, -1]


@pytest.mark.parametrize(("masses", "kind"), [((0.5, 0.5), "softmax"), ((0.2, 0.8), "softmax"), ((0.2, 0.8), "mean")])
def test_angle_and_waiting_time_solve_the_equation(masses, kind):
    field = lambda phi: -np.sin(phi) * two_clusters.closing(phi, 2.0, masses, kind)  # noqa: E731
    expected = integrated(field, 2.0, 0.8)
    assert np.isclose(two_clusters.angle(0.8, 2.0, 2.0, masses, kind), expected, rtol=1e-10)
    assert np.isclose(two_clusters.waiting_time(2.0, expected, 2.0, masses, kind), 0.8, rtol=1e-10)
    assert not np.isclose(two_clusters.waiting_time(2.0, expected, 2.1, masses, kind), 0.8, rtol=1e-3)


def test_known_waiting_times():
    """The equiangular solution for two tokens."""
    for first, last in ((0.0, 0.5), (-0.5, 0.9)):
        found = two_clusters.waiting_time(np.arccos(first), np.arccos(last), 3.0)
        assert np.isclose(found, equiangular.hitting_time(first, last, 2, 3.0), rtol=1e-11)


def test_slow_law_is_the_limit_of_large_beta():
    beta, masses, first, last = 40.0, (0.3, 0.7), 2.5, 2.0
    late = integrated(lambda phi: -np.sin(phi) * two_clusters.slow_rate(masses), first, 0.3)
    assert np.isclose(two_clusters.slow_angle(0.3, first, masses), late, rtol=1e-10)
    w = np.exp(beta * (np.cos(last) - 1))
    assert np.isclose(two_clusters.closing(last, beta, masses), two_clusters.slow_rate(masses) * w, rtol=3 * w, atol=0)
    assert not np.isclose(two_clusters.closing(last, beta, masses), 2 * w, rtol=0.1, atol=0)


def test_hull_vertex_is_where_the_rescaled_token_ends():
    for start in (0.3, 1.0):
        path = solve_ivp(
            lambda t, y: [y[0] * (np.tanh(np.exp(2 * t) * y[0] ** 2) - 1)],
            (0, 25),
            [start],
            method="DOP853",
            rtol=1e-12,
            atol=1e-14,
        )
        assert np.isclose(two_clusters.hull_vertex(start), path.y[0, -1], rtol=1e-10)
        assert not np.isclose(two_clusters.hull_vertex(start, 2.0), path.y[0, -1], rtol=1e-3)


def test_repelled_token():
    expected = integrated(lambda y: -y * np.tanh(1.3 * y**2), 0.8, 5.0)
    assert np.isclose(two_clusters.repelled(5.0, 0.8, 1.3), expected, rtol=1e-10)
    assert not np.isclose(two_clusters.repelled(5.0, 0.8, 1.0), expected, rtol=1e-2)


def test_angles_out_of_order_are_refused():
    with pytest.raises(ValueError, match="pi > first >= last > 0"):
        two_clusters.waiting_time(1.0, 2.0, 1.0)
