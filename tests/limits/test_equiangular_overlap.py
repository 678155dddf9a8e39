"""Equiangular tokens: times, overlaps and layers, against exponential integrals, SciPy and explicit layers."""

import numpy as np
import pytest
from scipy.integrate import solve_ivp
from scipy.special import exp1, expi

from particles.limits import equiangular


def by_exponential_integrals(beta, n, g0, g, kind):
    """The same hitting times in closed form."""
    k = 1 / (n - 1)
    rising = np.exp(-beta) * (expi(beta * (1 - g0)) - expi(beta * (1 - g)))
    mean = (rising + np.exp(beta * k) * (exp1(beta * (g0 + k)) - exp1(beta * (g + k)))) / 2
    if kind == "mean":
        return mean
    logarithm = lambda x: np.log((1 + (n - 1) * x) / (1 - x))  # noqa: E731
    return np.exp(beta) / n * mean + (n - 1) / (2 * n) * (logarithm(g) - logarithm(g0))


@pytest.mark.parametrize("kind", ["softmax", "mean"])
@pytest.mark.parametrize(("n", "beta", "g0", "g"), [(2, 3.0, -0.5, 0.9), (8, 2.0, 0.0, 0.99), (64, 5.0, 0.1, 0.4)])
def test_hitting_times(kind, n, beta, g0, g):
    expected = by_exponential_integrals(beta, n, g0, g, kind)
    assert equiangular.hitting_time(g0, g, n, beta, kind) == pytest.approx(expected, rel=1e-10)
    assert equiangular.hitting_time(g0, g, n, 1.1 * beta, kind) != pytest.approx(expected, rel=1e-3)


@pytest.mark.parametrize("kind", ["softmax", "mean"])
def test_overlaps_solve_their_equation(kind):
    t = np.linspace(0, 3, 7)
    rate = lambda _, g: [equiangular.rate(g[0], 6, 1.5, kind)]  # noqa: E731
    found = solve_ivp(rate, (0, 3), [0.05], "DOP853", t, rtol=1e-12, atol=1e-14).y[0]
    np.testing.assert_allclose(equiangular.overlap(t, 0.05, 6, 1.5, kind), found, atol=1e-10)


def test_the_gap_keeps_its_digits_near_consensus():
    first, second = equiangular.gap([20.0, 21.0], 0.0, 8, 2.0)
    assert first < 1e-15
    assert np.log(second / first) == pytest.approx(-2, rel=1e-6)


def layer(x, h, beta, projected):
    """One layer written out."""
    weights = np.exp(beta * x @ x.T)
    pulled = weights @ x / weights.sum(axis=1, keepdims=True)
    if projected:
        pulled -= np.sum(pulled * x, axis=1, keepdims=True) * x
    y = x + h * pulled
    return y / np.linalg.norm(y, axis=1, keepdims=True)


@pytest.mark.parametrize("projected", [True, False])
def test_layers(projected):
    n, g, h, beta = 5, 0.2, 0.7, 1.5
    x = np.linalg.cholesky((1 - g) * np.eye(n) + g * np.ones((n, n)))
    gram = layer(x, h, beta, projected) @ layer(x, h, beta, projected).T
    expected = equiangular.layer(g, h, n, beta, projected)
    np.testing.assert_allclose(gram[np.triu_indices(n, 1)], expected, rtol=1e-13)
    assert abs(equiangular.layer(g, h, n, beta, not projected) - expected) > 1e-3


@pytest.mark.parametrize("projected", [True, False])
def test_the_leading_constant_is_the_limit_of_scaled_errors(projected):
    n, beta, start, t = 8, 2.0, 0.1, 2.0
    scaled = []
    for count in (512, 1024):
        g = start
        for _ in range(count):
            g = equiangular.layer(g, t / count, n, beta, projected)
        scaled.append(count * (g - float(equiangular.overlap(t, start, n, beta))) / t)
    extrapolated = 2 * scaled[1] - scaled[0]
    constant = equiangular.leading_constant(start, t, n, beta, projected)
    assert constant == pytest.approx(extrapolated, rel=1e-4)
    assert equiangular.leading_constant(start, t, n, beta, not projected) != pytest.approx(extrapolated, rel=0.5)


def test_impossible_overlaps_are_refused():
    with pytest.raises(ValueError, match=r"-1/\(n-1\) < start <= end < 1"):
        equiangular.hitting_time(0.5, 0.2, 4, 1.0)
    with pytest.raises(ValueError, match="n = 3; got -0.6"):
        equiangular.hitting_time(-0.6, 0.2, 3, 1.0)
