"""Divergences of clouds against SciPy, ott and closed forms; queries and keys as two clouds."""

import warnings

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from samples import on_sphere
from scipy import stats
from scipy.linalg import sqrtm
from scipy.spatial.distance import cdist

import particles as pt
from particles.analysis import (
    Alignment,
    Asymmetry,
    Bures,
    ConditionalTransport,
    EnergyDistance,
    KernelDistance,
    SinkhornDivergence,
    wasserstein,
)

RNG = np.random.default_rng(0)
X, Y = RNG.normal(size=(8, 3)), 0.7 * RNG.normal(size=(11, 3)) + 0.4
A, B = RNG.dirichlet(np.ones(8)), RNG.dirichlet(np.ones(11))
SQUARE = cdist(X, Y) ** 2
ROTATION = np.linalg.qr(RNG.normal(size=(3, 3)))[0]
ZERO, DENSE = jnp.zeros(()), pt.Dense()
PROPER = (SinkhornDivergence(0.5, tolerance=1e-9), EnergyDistance(), KernelDistance(0.7), Bures())
EVERY = (*PROPER, ConditionalTransport(0.5))
FOUND = eqx.filter_jit(lambda divergence, x, y, a, b: divergence(x, y, a, b, DENSE))
SLOPE = eqx.filter_jit(eqx.filter_grad(lambda z, divergence, a, b: divergence(*z, a, b, DENSE).value))


def value(divergence, x=X, y=Y, a=A, b=B):
    found = FOUND(divergence, *map(jnp.asarray, (x, y, a, b)))
    assert found.converged
    return float(found.value)


def expect(cost, a, b):
    return a @ cost @ b


@pytest.mark.parametrize("divergence", EVERY, ids=lambda divergence: type(divergence).__name__)
def test_they_do_not_depend_on_where_one_stands(divergence):
    here = value(divergence)
    np.testing.assert_allclose(value(divergence, X @ ROTATION.T + 2, Y @ ROTATION.T + 2), here, rtol=1e-9)
    assert abs(value(divergence, X + 0.1, Y) - here) > 1e-3
    if divergence.proper:
        assert here > 0.01 and abs(value(divergence, X, X, A, A)) < 1e-12


@pytest.mark.parametrize("divergence", EVERY, ids=lambda divergence: type(divergence).__name__)
def test_they_can_be_differentiated(divergence):
    dx, dy, h = RNG.normal(size=X.shape), RNG.normal(size=Y.shape), 1e-5
    exact = SLOPE((jnp.asarray(X), jnp.asarray(Y)), divergence, jnp.asarray(A), jnp.asarray(B))
    numeric = (value(divergence, X + h * dx, Y + h * dy) - value(divergence, X - h * dx, Y - h * dy)) / (2 * h)
    np.testing.assert_allclose(np.sum(exact[0] * dx) + np.sum(exact[1] * dy), numeric, rtol=1e-6)


def test_they_are_gathered_in_blocks_as_well():
    found = eqx.filter_jit(lambda divergence: divergence(X, Y, A, B, pt.Blocked(3, 4)))
    for divergence in (EnergyDistance(), ConditionalTransport(0.5)):
        np.testing.assert_allclose(found(divergence).value, value(divergence), rtol=1e-12)


def test_sinkhorn_divergence_is_that_of_ott():
    with warnings.catch_warnings(), jax.numpy_rank_promotion("allow"), jax.numpy_dtype_promotion("standard"):
        warnings.simplefilter("ignore")
        from ott.geometry import pointcloud
        from ott.tools import sinkhorn_divergence

        options = {"epsilon": 0.5, "a": jnp.asarray(A), "b": jnp.asarray(B)}
        solved = {"solve_kwargs": {"threshold": 1e-10, "max_iterations": 20_000}}
        theirs = sinkhorn_divergence.sinkhorn_divergence(
            pointcloud.PointCloud, jnp.asarray(X), jnp.asarray(Y), **options, **solved
        )
    np.testing.assert_allclose(value(SinkhornDivergence(0.5)), float(theirs[0]), rtol=1e-7)


def test_sinkhorn_divergence_goes_from_transport_to_means():
    np.testing.assert_allclose(value(SinkhornDivergence(1e5)), np.sum((A @ X - B @ Y) ** 2), rtol=1e-3)
    far = Y[:8] + np.array([4.0, 0, 0])  # of one mass each, so that a plan is a matching and sharp
    equal = np.full(8, 1 / 8)
    transported = wasserstein(X, far, 2.0) ** 2
    errors = [abs(value(SinkhornDivergence(eps), X, far, equal, equal) / transported - 1) for eps in (1.0, 0.1)]
    assert errors[1] < 1e-3 < errors[0]


def test_what_did_not_converge_says_so():
    short = SinkhornDivergence(0.01, sweeps=3)
    assert not FOUND(short, *map(jnp.asarray, (X, Y, A, B))).converged
    flow = flow_of(QUERY, KEY)
    assert np.isnan(Alignment(short)(flow, ZERO, on_sphere()))


def test_energy_distance():
    within = expect(cdist(X, X), A, A) + expect(cdist(Y, Y), B, B)
    np.testing.assert_allclose(value(EnergyDistance()), 2 * expect(cdist(X, Y), A, B) - within, rtol=1e-12)
    line = stats.energy_distance(X[:, 0], Y[:, 0], A, B) ** 2
    np.testing.assert_allclose(value(EnergyDistance(), X[:, :1], Y[:, :1]), line, rtol=1e-12)


def test_kernel_distance():
    kernel = lambda x, y: np.exp(-(cdist(x, y) ** 2) / (2 * 0.7**2))  # noqa: E731
    expected = expect(kernel(X, X), A, A) - 2 * expect(kernel(X, Y), A, B) + expect(kernel(Y, Y), B, B)
    np.testing.assert_allclose(value(KernelDistance(0.7)), expected, rtol=1e-12)
    far = value(KernelDistance(0.1), X[:1], X[:1] + 5, np.ones(1), np.ones(1))
    np.testing.assert_allclose(far, 2, rtol=1e-12)


def moments(x, a):
    mean = a @ x
    return mean, (x - mean).T @ np.diag(a) @ (x - mean)


def test_bures_distance():
    (m, s), (k, r) = moments(X, A), moments(Y, B)
    half = sqrtm(s)
    expected = np.sum((m - k) ** 2) + np.trace(s + r - 2 * np.real(sqrtm(half @ r @ half)))
    np.testing.assert_allclose(value(Bures()), expected, rtol=1e-10)
    assert value(Bures()) < wasserstein(X, Y, 2.0, A, B) ** 2
    stretched = X @ np.diag([2.0, 1.0, 0.5]) + 1  # the gradient of a convex function moves mass at the least cost
    np.testing.assert_allclose(value(Bures(), X, stretched, A, A), wasserstein(X, stretched, 2.0, A, A) ** 2, rtol=1e-9)


def test_bures_distance_of_clouds_that_do_not_fill_space():
    flat, point = X * np.array([1.0, 1.0, 0.0]), np.zeros((2, 3))
    np.testing.assert_allclose(value(Bures(), flat, flat * 2, A, A), np.sum(A @ flat**2) + 0, rtol=1e-10)
    masses = np.full(2, 0.5)
    np.testing.assert_allclose(value(Bures(), flat, point, A, masses), np.sum(A @ flat**2), rtol=1e-12)
    slopes = SLOPE((jnp.asarray(flat), jnp.asarray(point)), Bures(), jnp.asarray(A), jnp.asarray(masses))
    assert all(np.all(np.isfinite(slope)) for slope in slopes)


def test_conditional_transport():
    cold, warm, hot = (value(ConditionalTransport(t, 0.3)) for t in (1e-7, 0.5, np.inf))
    chamfer = 0.3 * B @ SQUARE.min(axis=0) + 0.7 * A @ SQUARE.min(axis=1)
    np.testing.assert_allclose([cold, hot], [chamfer, A @ SQUARE @ B], rtol=1e-12)
    there, back = A[:, None] * np.exp(-SQUARE / 0.5), B[None, :] * np.exp(-SQUARE / 0.5)
    by_key = B @ np.sum(there / there.sum(axis=0) * SQUARE, axis=0)
    by_query = A @ np.sum(back / back.sum(axis=1, keepdims=True) * SQUARE, axis=1)
    np.testing.assert_allclose(warm, 0.3 * by_key + 0.7 * by_query, rtol=1e-12)
    assert value(ConditionalTransport(0.5), X, X, A, A) > 0.05  # no divergence


def test_clouds_that_do_not_fit_are_refused():
    x, y = jnp.asarray(X), jnp.asarray(Y)
    with pytest.raises(ValueError, match="in one dimension"):
        EnergyDistance()(x, y[:, :2])
    with pytest.raises(ValueError, match="one mass for each of 8 tokens"):
        EnergyDistance()(x, y, a=jnp.asarray(B))
    with pytest.raises(ValueError, match="`b` must not be negative and must sum to 1"):
        EnergyDistance()(x, y, b=2 * jnp.asarray(B))


QUERY, KEY = np.array([[0.8, 0.3, -0.1], [-0.2, 1.1, 0.4]]), np.array([[0.1, -0.7, 0.5], [0.9, 0.2, 0.3]])


SEEN = eqx.filter_jit(lambda divergence, flow, x: Alignment(divergence)(flow, ZERO, x))


def flow_of(query, key, measure=None):
    law = pt.Attention(pt.DotProduct(2.0, query, key), measure or pt.measures.Uniform())
    return pt.Flow(pt.Sphere(), law, DENSE)


def test_alignment_is_the_divergence_of_queries_and_keys():
    x, masses = on_sphere(), np.array([0.05, 0.2, 0.1, 0.25, 0.15, 0.05, 0.2])
    flow = flow_of(QUERY, KEY, pt.Masses(masses))
    q, k = np.asarray(x) @ QUERY.T, np.asarray(x) @ KEY.T
    for divergence in EVERY:
        np.testing.assert_allclose(SEEN(divergence, flow, x), value(divergence, q, k, masses, masses), rtol=1e-9)
    turn = np.array([[0.6, -0.8], [0.8, 0.6]])
    turned = flow_of(turn @ QUERY, turn @ KEY, pt.Masses(masses))
    np.testing.assert_allclose(turned.law.weights(x, DENSE), flow.law.weights(x, DENSE), rtol=1e-12)
    away = flow_of(turn @ QUERY, KEY, pt.Masses(masses))
    for divergence in EVERY:
        here = SEEN(divergence, flow, x)
        np.testing.assert_allclose(SEEN(divergence, turned, x), here, rtol=1e-9)
        assert abs(SEEN(divergence, away, x) - here) > 1e-3


def test_tied_queries_and_keys_are_aligned_at_every_depth():
    plan = pt.Plan(until=1.0, save=2, watch=(Alignment(EnergyDistance()),))
    for key, tied in ((QUERY, True), (KEY, False)):
        flow = flow_of(QUERY, key)
        run = pt.solve(flow, on_sphere(), plan)
        for divergence in EVERY:
            seen = np.array([SEEN(divergence, flow, x) for x in run.tokens])
            aligned = tied and divergence.proper
            assert np.all(np.abs(seen) < 1e-12) if aligned else np.all(seen > 1e-3)
        assert np.all(np.abs(run.observed["alignment"]) < 1e-12) == tied


def test_alignment_of_heads_and_of_laws_without_two_matrices():
    one, other = flow_of(QUERY, KEY).law, flow_of(KEY, QUERY[::-1]).law
    watched = Alignment(EnergyDistance())
    each = [watched(pt.Flow(pt.Sphere(), law, DENSE), ZERO, on_sphere()) for law in (one, other)]
    both = watched(pt.Flow(pt.Sphere(), one + other, DENSE), ZERO, on_sphere())
    np.testing.assert_allclose(both, np.mean(each), rtol=1e-12)
    plan = pt.Plan(until=1.0, watch=(watched,))
    for score in (pt.DotProduct(2.0), pt.SquaredDistance(1.0, QUERY), pt.scores.Constant()):
        with pytest.raises(ValueError, match="no matrices of their own"):
            plan.check_flow(pt.Flow(pt.Sphere(), pt.Attention(score)))
    untied = pt.Flow(pt.Sphere(), pt.Attention(pt.SquaredDistance(1.0, QUERY, KEY)), DENSE)
    np.testing.assert_allclose(watched(untied, ZERO, on_sphere()), each[0], rtol=1e-12)


def test_asymmetry_of_the_form():
    form = QUERY.T @ KEY
    seen = lambda score: float(Asymmetry()(pt.Flow(pt.Sphere(), pt.Attention(score)), ZERO, on_sphere()))  # noqa: E731
    expected = np.linalg.norm(form - form.T) / np.linalg.norm(form)
    np.testing.assert_allclose(seen(pt.DotProduct(2.0, QUERY, KEY)), expected, rtol=1e-13)
    np.testing.assert_allclose(seen(pt.DotProduct(2.0, form=form)), expected, rtol=1e-13)
    assert seen(pt.DotProduct(2.0, form=form - form.T)) == 2
    assert seen(pt.DotProduct(2.0, QUERY, QUERY)) < 1e-15
    with pytest.raises(ValueError, match="no matrices of their own"):
        Asymmetry().check_flow(pt.Flow(pt.Sphere(), pt.Attention()))


def study_of(query, key, *divergences):
    plan = pt.Plan(until=0.5, save=2)
    return pt.studies.QueryKeyAlignment(pt.starts.Uniform(5, 3), flow_of(query, key), plan, divergences)


def test_the_study_follows_queries_and_keys():
    study = study_of(QUERY, KEY, Bures(), ConditionalTransport(0.5))
    data = study.data()
    assert list(data.kind.values) == ["Bures", "Conditional transport"]
    assert all(check.holds for check in study.checks(data))
    assert float(data.own[0].max()) < 1e-12 < 1e-3 < float(data.own[1].min())
    np.testing.assert_allclose(data.divergence[0, 0], SEEN(Bures(), study.flow, study.first()), rtol=1e-12)
    nearer = data.assign(transport=0.5 * data.transport)
    assert [check.holds for check in study.checks(nearer)] == [True, True, False]


def test_what_the_study_refuses():
    with pytest.raises(ValueError, match="of different kinds"):
        study_of(QUERY, KEY, Bures(), Bures())
    with pytest.raises(ValueError, match="no matrices of their own"):
        study_of(None, None, Bures()).data()
