"""What a narrow kernel moves Gaussian tokens by: against quadrature, and its limit."""

import numpy as np
import pytest
from scipy.integrate import quad, solve_ivp
from scipy.stats import norm

from particles.limits import small_bandwidth as narrow

S, EPS, A = 0.8, 0.3, 0.6


def seen(x, weight):
    """The mean of tokens of N(0, S) seen from x, weighed by the kernel and by a weight of their own."""

    def moment(power):
        kernel = lambda y: y**power * weight(y) * norm.pdf(y, 0, S**0.5) * np.exp(-((x - y) ** 2) / (2 * EPS))  # noqa: E731
        return quad(kernel, -12, 12, epsabs=1e-14, limit=200)[0]

    return moment(1) / moment(0)


def test_softmax_and_the_density_power_are_those_of_quadrature():
    crowd = norm(0, np.sqrt(S + EPS)).pdf
    assert narrow.kept(S, EPS, "softmax") == pytest.approx(seen(1.3, np.ones_like) / 1.3, rel=1e-9)
    assert narrow.kept(S, EPS, "density", A) == pytest.approx(seen(1.3, lambda y: crowd(y) ** -A) / 1.3, rel=1e-9)
    assert abs(narrow.kept(S, EPS, "density", -A) - seen(1.3, lambda y: crowd(y) ** -A) / 1.3) > 1e-2


def test_sinkhorn_solves_the_equation_of_doubly_stochastic_weights():
    m = narrow.kept(S, EPS, "sinkhorn")
    assert m == pytest.approx(S * (1 - m**2) / EPS, rel=1e-12)


@pytest.mark.parametrize("kind", ["softmax", "sinkhorn", "density"])
def test_displacement_tends_to_a_gradient_and_variance_solves_its_equation(kind):
    assert (1 - narrow.kept(S, 1e-6, kind, A)) / 1e-6 * S == pytest.approx(narrow.factor(kind, A), rel=1e-5)
    t = np.array([0.0, 0.5, 1.0])
    rate = lambda _, s: 2 * s * (1 - narrow.kept(s[0], EPS, kind, A)) / EPS  # noqa: E731
    solved = solve_ivp(rate, (0, 1), [S], "DOP853", t, rtol=1e-11, atol=1e-13).y[0]
    np.testing.assert_allclose(narrow.variance(t, S, EPS, kind, A), solved, rtol=1e-9)


def test_softmax_spreads_by_the_implicit_formula():
    s = narrow.variance(np.array([2.0]), S, EPS, "softmax")[0]
    assert s + EPS * np.log(s) == pytest.approx(S + EPS * np.log(S) + 4, rel=1e-10)


def test_unknown_kinds_are_refused():
    with pytest.raises(ValueError, match="softmax"):
        narrow.kept(S, EPS, "hardmax")


def test_the_unnormalized_displacement_is_an_integral():
    x, s, eps = 0.7, 1.3, 0.2
    kernel = lambda y: np.exp(-((x - y) ** 2) / (2 * eps)) / np.sqrt(2 * np.pi * eps)  # noqa: E731
    density = lambda y: np.exp(-(y**2) / (2 * s)) / np.sqrt(2 * np.pi * s)  # noqa: E731
    expected = quad(lambda y: kernel(y) * density(y) * (y - x), -15, 15, epsabs=1e-13)[0] / eps
    assert np.isclose(narrow.unnormalized(np.array(x), s, eps), expected, rtol=1e-9)
    assert not np.isclose(narrow.unnormalized(np.array(x), s, 1.1 * eps), expected, rtol=1e-3)
