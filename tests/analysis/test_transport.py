"""Distances of clouds as measures: every algorithm against another one, a closed form, or a linear program."""

import sys

import jax.numpy as jnp
import numpy as np
import pytest
from scipy.integrate import quad
from scipy.optimize import linprog
from scipy.stats import wasserstein_distance, wasserstein_distance_nd

import particles as pt
from particles.analysis import optimal_transport, transport_to_density, wasserstein
from particles.analysis.transport import circle, clouds, pairs

POWERS = (1.0, 1.5, 2.0, 3.0)


def rng(seed=0):
    return np.random.default_rng(seed)


def cloud(n, d, seed):
    """Tokens and masses, some of them zero."""
    draw = rng(seed)
    masses = draw.dirichlet(np.full(n, 0.7))
    masses[n // 2] = 0
    return draw.normal(size=(n, d)), masses / masses.sum()


def around(angles):
    return np.stack([np.cos(angles), np.sin(angles)], axis=1)


def program(costs, a, b):
    """The least cost, by a linear program written down once more."""
    n, m = costs.shape
    rows, columns = np.kron(np.eye(n), np.ones(m)), np.kron(np.ones(n), np.eye(m))
    return linprog(costs.reshape(-1), A_eq=np.concatenate([rows, columns]), b_eq=np.concatenate([a, b])).fun


def arcs(x, y):
    return np.arccos(np.clip(x @ y.T, -1, 1))


def check(found, costs, a, b, p):
    """A plan of the right masses that costs what is said, and prices that prove that none is cheaper."""
    plan = found.plan.toarray()
    np.testing.assert_allclose(plan.sum(1), a, atol=1e-12)
    np.testing.assert_allclose(plan.sum(0), b, atol=1e-12)
    assert plan.min() >= 0 and np.sum(plan * costs**p) ** (1 / p) == pytest.approx(found.upper, rel=1e-9)
    if found.potentials is not None:
        f, g = found.potentials
        assert np.all(f[:, None] + g[None, :] <= costs**p + 1e-12)
        assert max(a @ f + b @ g, 0) ** (1 / p) == pytest.approx(found.lower, rel=1e-9)


@pytest.mark.parametrize("p", POWERS)
def test_on_the_line_any_masses(p):
    (x, a), (y, b) = cloud(9, 1, 0), cloud(6, 1, 1)
    found = optimal_transport(x, y, p, a, b)
    costs = np.abs(x - y.T)
    check(found, costs, a, b, p)
    assert found.value == pytest.approx(program(costs**p, a, b) ** (1 / p), rel=1e-9)
    flat = lambda one: np.concatenate([one, np.zeros_like(one)], axis=1)  # noqa: E731
    assert found.value == pytest.approx(wasserstein(flat(x), flat(y), p, a, b), rel=1e-9)
    assert found.method == "quantiles"


def test_on_the_line_as_scipy():
    (x, a), (y, b) = cloud(40, 1, 2), cloud(25, 1, 3)
    assert wasserstein(x, y, a=a, b=b) == pytest.approx(wasserstein_distance(x[:, 0], y[:, 0], a, b), rel=1e-12)


@pytest.mark.parametrize("p", POWERS)
def test_on_the_circle_any_masses(p):
    for seed in range(6):
        draw = rng(seed)
        (_, a), (_, b) = cloud(8, 2, seed), cloud(5, 2, seed + 50)
        spread = (0.3, 2 * np.pi)[seed % 2]  # clouds in an arc, which may lie across the angle 0, and all around
        x, y = around(draw.uniform(0, spread, 8) - 0.1), around(draw.uniform(0, spread, 5) + 3)
        found = optimal_transport(x, y, p, a, b, pt.Sphere())
        check(found, arcs(x, y), a, b, p)
        assert found.converged and found.method == "circle"
        assert found.value == pytest.approx(program(arcs(x, y) ** p, a, b) ** (1 / p), rel=1e-9)


@pytest.mark.parametrize("p", [1.0, 2.0, 4.0, np.inf])
def test_on_the_circle_as_an_assignment_of_equal_masses(p):
    draw = rng(7)
    x, y = around(draw.uniform(0, 6, 31)), around(draw.vonmises(1.0, 2.0, 31))
    (first, second), circle_ = clouds.pair(x, y, None, None, None), pt.Sphere(2.0)
    elsewhere = pairs.on_pairs(first, second, p, pt.Sphere(1.0)).value
    assert wasserstein(2 * x, 2 * y, p, space=circle_) == pytest.approx(2 * elsewhere, rel=1e-12)
    assert wasserstein(2 * x, 2 * x[::-1], p, space=circle_) < 1e-14  # the same cloud


def test_median_and_shift_agree_on_the_circle():
    x, y = (clouds.Weighted(around(rng(k).uniform(0, 7, n)), cloud(n, 2, k)[1]) for k, n in ((1, 30), (2, 17)))
    lower, upper, _ = circle._best(circle.Lifted.of(x), circle.Lifted.of(y), 1.0)
    median, _ = circle._median(circle.Lifted.of(x), circle.Lifted.of(y))
    assert lower == pytest.approx(median, rel=1e-12) and upper == pytest.approx(median, rel=1e-12)


def test_half_of_the_circle_is_the_farthest():
    x = around(np.zeros(1))
    for p in (1.0, 2.0, np.inf):
        assert wasserstein(x, -x, p, space=pt.Sphere()) == pytest.approx(np.pi, rel=1e-14)
    uniform = around(2 * np.pi * (np.arange(400) + 0.5) / 400)
    exact = quad(lambda u: (2 * np.pi * u) ** 2, -0.5, 0.5)[0] ** 0.5
    assert wasserstein(x, uniform, 2.0, space=pt.Sphere()) == pytest.approx(exact, rel=1e-4)  # a sum for an integral


@pytest.mark.parametrize("p", POWERS)
def test_any_masses_in_space(p):
    (x, a), (y, b) = cloud(11, 3, 4), cloud(7, 3, 5)
    costs = np.linalg.norm(x[:, None] - y[None], axis=-1)
    found = optimal_transport(x, y, p, a, b)
    check(found, costs, a, b, p)
    assert found.converged and found.method == "linear program"
    assert found.value == pytest.approx(program(costs**p, a, b) ** (1 / p), rel=1e-8)
    if p == 1:
        assert found.value == pytest.approx(wasserstein_distance_nd(x, y, a, b), rel=1e-8)


@pytest.mark.parametrize("p", [1.0, 2.0, np.inf])
def test_a_token_of_twice_the_mass_is_two_tokens(p):
    x, y = rng(1).normal(size=(2, 10, 3))
    once, twice = np.concatenate([x, x[:2]]), np.concatenate([y, y[5:7]])
    a, b = np.full((2, 10), 1 / 12)
    a[:2], b[5:7] = 1 / 6, 1 / 6
    assert wasserstein(x, y, p, a, b) == pytest.approx(wasserstein(once, twice, p), rel=1e-9)
    assert optimal_transport(once, twice, p).method == ("bottleneck" if np.isinf(p) else "assignment")


@pytest.mark.parametrize("p", [1.0, 2.0])
def test_small_distances_keep_their_digits(p):
    x = rng(2).normal(size=(12, 3))
    y = np.delete(x, 4, axis=0) + 1e-7 * rng(3).normal(size=(11, 3))
    a = np.full(12, 1 / 11)
    a[4] = 0  # the two clouds differ by the small displacements alone
    exact = np.mean(np.linalg.norm(np.delete(x, 4, axis=0) - y, axis=1) ** p) ** (1 / p)
    assert wasserstein(x, y, p, a) == pytest.approx(exact, rel=1e-7)  # the dual tolerance of the linear program


@pytest.mark.parametrize(("p", "space"), [(1.0, pt.Sphere()), (1.5, None)])
def test_entropic_bounds_hold_the_exact_distance(p, space):
    (x, a), (y, b) = cloud(24, 3, 6), cloud(24, 3, 7)
    x, y = (one / np.linalg.norm(one, axis=1, keepdims=True) for one in (x, y))
    exact = wasserstein(x, y, p, a, b, space)
    found = optimal_transport(x, y, p, a, b, space, "entropic", 1e-2)
    assert found.converged and found.upper - found.lower <= 1e-2 * found.upper
    assert found.lower <= exact * (1 + 1e-12) and exact <= found.upper * (1 + 1e-12)
    f, g = found.potentials
    costs = arcs(x, y) if space else np.linalg.norm(x[:, None] - y[None], axis=-1)
    assert np.all(f[:, None] + g[None, :] <= costs**p + 1e-9)
    assert wasserstein(x, y, p, a, b, space, "entropic", 1e-2) == found.value


def test_entropic_in_blocks_is_the_same(monkeypatch):
    from particles.analysis.transport import entropic

    (x, a), (y, b) = cloud(25, 3, 6), cloud(18, 3, 7)
    whole = optimal_transport(x, y, 1.5, a, b, None, "entropic", 0.05)
    monkeypatch.setattr(entropic, "BLOCK", 4 * 18)
    monkeypatch.setattr(entropic, "KEPT", 0)
    parts = optimal_transport(x, y, 1.5, a, b, pt.Ball(100.0), "entropic", 0.05)  # as in Euclidean space, compiled anew
    assert (parts.lower, parts.upper) == pytest.approx((whole.lower, whole.upper), rel=1e-9)


def test_what_does_not_converge_is_told(monkeypatch):
    from particles.analysis.transport import entropic

    monkeypatch.setattr(entropic, "HALVINGS", 2)
    x, y = rng(0).normal(size=(2, 24, 3))
    found = optimal_transport(x, y, 1.5, method="entropic", tolerance=1e-4)
    assert not found.converged and found.lower < wasserstein(x, y, 1.5) < found.upper
    with pytest.raises(pt.Failed, match="is not known better"):
        wasserstein(x, y, 1.5, method="entropic", tolerance=1e-4)


def test_a_density_on_the_circle():
    """Against the same density on many more nodes; the distance of the two is within what is said."""
    density = lambda theta: 1 + 0.8 * np.cos(theta) + 0.3 * np.sin(2 * theta)  # noqa: E731
    theta = lambda m: 2 * np.pi * np.arange(m) / m  # noqa: E731
    x = around(rng(4).uniform(0, 6, 20))
    fine = wasserstein(x, around(theta(4000)), b=density(theta(4000)) / 4000, space=pt.Sphere())
    errors = []
    for m in (16, 64, 256):
        found = transport_to_density(x, around(theta(m)), density(theta(m)) / m)
        assert found.lower < fine < found.upper
        assert found.upper - found.value == pytest.approx(np.pi / m, rel=1e-9)
        errors.append(abs(found.value - fine))
    assert errors[-1] < 1e-4


def test_tokens_and_the_mean_field_that_they_sample():
    domain = pt.limits.Circle(16, 64)
    coefficients = domain.coefficients(lambda theta: 1 + 0.5 * np.cos(theta))
    masses = np.asarray(domain.weights() * domain.density(coefficients))
    distances = []
    for n in (20, 2000):
        u = (np.arange(n) + 0.5) / n
        theta = 2 * np.pi * np.linspace(0, 1, 20001)
        sums = theta / (2 * np.pi) + 0.5 * np.sin(theta) / (2 * np.pi)
        x = around(np.interp(u, sums, theta))  # quantiles of the density
        distances.append(transport_to_density(x, domain.rows(), masses, 2.0))
    assert distances[1].value < distances[0].value  # what remains is the spacing of the nodes
    assert distances[1].lower == 0 and distances[1].value < np.pi / 64


@pytest.mark.parametrize("p", [1.0, 2.0, np.inf])
def test_exact_distances_obey_the_triangle_and_symmetry(p):
    for space, d in ((None, 1), (pt.Sphere(), 2), (None, 3)):
        (x, a), (y, b), (z, c) = cloud(6, d, 1), cloud(5, d, 2), cloud(7, d, 3)
        if space:
            x, y, z = (one / np.linalg.norm(one, axis=1, keepdims=True) for one in (x, y, z))
        one, two, three = (
            wasserstein(x, y, p, a, b, space),
            wasserstein(y, z, p, b, c, space),
            wasserstein(x, z, p, a, c, space),
        )
        assert three <= (one + two) * (1 + 1e-8)
        assert wasserstein(y, x, p, b, a, space) == pytest.approx(one, rel=1e-8)
        assert wasserstein(x, x, p, a, a, space) == pytest.approx(0, abs=1e-8)


def test_a_wrong_cost_is_noticed():
    """The negative control of the comparisons: chords in place of arcs."""
    x, y = around(rng(0).uniform(0, 6, 12)), around(rng(1).uniform(0, 6, 12))
    assert wasserstein(x, y, space=pt.Sphere()) > 1.01 * wasserstein(x, y)


def test_jax_arrays_and_single_precision():
    x, y = rng(0).normal(size=(2, 5, 2))
    single = wasserstein(jnp.asarray(x, jnp.float32), jnp.asarray(y, jnp.float32))
    assert single == pytest.approx(wasserstein(x, y), rel=1e-6)


X, Y = np.zeros((3, 2)), np.ones((4, 2))


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ((X, np.zeros((4, 3))), "two clouds of one dimension"),
        ((X[0], Y), "two clouds of one dimension"),
        ((X[:0], Y), "two clouds of one dimension"),
        ((X * np.nan, Y), "3 of 3 tokens of the first cloud are not finite"),
        ((X, Y, 0.5), "`p` must be at least 1; got 0.5"),
        ((X, Y, 1.0, np.full(2, 0.5)), r"one mass for each of 3 tokens; got shape \(2,\)"),
        ((X, Y, 1.0, np.array([0.5, 0.7, -0.2])), "the smallest of `a` is -0.2"),
        ((X, Y, 1.0, None, np.array([0.5, 0.7, 0.2, 0])), "those of `b` sum to 1.4"),
        ((X, Y, 1.0, None, None, pt.Sphere()), "lie off the Sphere"),
        ((X, Y, 1.0, None, None, None, "sinkhorn"), "`method` must be one of exact, entropic; got 'sinkhorn'"),
        ((X, Y, np.inf, None, None, None, "entropic"), "needs a finite `p`"),
        ((X, Y, 1.0, None, None, None, "entropic", 0.0), "`tolerance` must be positive"),
        ((np.zeros((40_000, 2)), np.zeros((40_000, 2))), "40000 x 40000 pairs need about 47.7 GiB here"),
        ((np.zeros((4000, 2)), np.zeros((3000, 2))), "more than 4: take fewer tokens, or method="),
    ],
)
def test_faults_are_told(arguments, words):
    with pytest.raises(ValueError, match=words):
        wasserstein(*arguments)


def test_a_missing_extra_is_named(monkeypatch):
    monkeypatch.setitem(sys.modules, "ott", None)
    with pytest.raises(ModuleNotFoundError, match=r"attention-particles\[ot\]"):
        wasserstein(X, Y, method="entropic")
