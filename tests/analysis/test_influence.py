"""Influence and attention paths, against matrix exponentials and each other."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy.linalg import expm

import particles as pt
from particles.analysis import FlowMap
from particles.analysis.influence import influence, rank_correlation, total_variation
from particles.analysis.paths import paths, remainder_bound, strength

N, D, T = 5, 3, 1.5
PLAN = pt.Plan(until=T, save=3, rtol=1e-10, atol=1e-12)
X0 = pt.Sphere().uniform(jax.random.key(0), N, D)
GIVEN = np.random.default_rng(0).uniform(0.1, 1.0, (N, N))
WEIGHTS = GIVEN / GIVEN.sum(axis=1, keepdims=True)
V = np.diag([1.0, 0.5, 0.2])
SECOND = pt.Attention(pt.DotProduct(1.0), value=pt.values.Linear(V))
HEADS = pt.Flow(pt.Euclidean(), pt.Attention(pt.DotProduct(2.0)) + SECOND)


def frozen(value, score=None):
    """Attention with given weights."""
    given = pt.measures.Given(GIVEN)
    return pt.Flow(pt.Euclidean(), pt.Attention(score or pt.scores.Constant(), measure=given, value=value))


def test_influence_of_frozen_weights_is_a_matrix_exponential():
    found = influence(frozen(pt.values.Difference(1.0)), X0, PLAN)
    expected = expm(T * (WEIGHTS - np.eye(N)))
    np.testing.assert_allclose(found.blocks[-1], expected, atol=1e-9)
    np.testing.assert_allclose(found.rollout[-1], expected, atol=1e-9)
    np.testing.assert_allclose(found.weights[1], WEIGHTS, atol=1e-14)
    np.testing.assert_allclose(found.blocks[0], np.eye(N), atol=1e-14)
    moving = influence(frozen(pt.values.Difference(1.0), pt.DotProduct(2.0)), X0, PLAN)
    assert np.abs(np.asarray(moving.blocks[-1]) - expected).max() > 0.05


def test_influence_is_the_size_of_blocks_of_the_derivative():
    sphere = pt.Flow(pt.Sphere(), HEADS.law)
    found = influence(sphere, X0, PLAN)
    jacobian = np.asarray(FlowMap(sphere, PLAN).jacobian(X0))
    expected = np.linalg.norm(jacobian.transpose(0, 2, 1, 3), ord=2, axis=(2, 3))
    np.testing.assert_allclose(found.blocks[-1], expected, atol=1e-8)
    np.testing.assert_allclose(found.shares.sum(axis=2), 1.0, atol=1e-12)


def test_distances_between_explanations():
    p, q = jnp.asarray(WEIGHTS), jnp.asarray(WEIGHTS[:, ::-1])
    assert float(total_variation(p, p)) == 0
    np.testing.assert_allclose(float(total_variation(p, q)), np.abs(p - q).sum(axis=1).mean() / 2)
    off = ~np.eye(N, dtype=bool)

    def tau(a, b):
        signs = [np.sign(a[i] - a[j]) * np.sign(b[i] - b[j]) for i in range(N - 1) for j in range(i)]
        return np.mean(signs)

    expected = np.mean([tau(np.asarray(p)[k, off[k]], np.asarray(q)[k, off[k]]) for k in range(N)])
    np.testing.assert_allclose(rank_correlation(p, q), expected)
    assert rank_correlation(p, p) == pytest.approx(1.0)
    assert np.isnan(rank_correlation(p, jnp.ones_like(p)))


def test_paths_of_frozen_weights_are_powers():
    found = paths(frozen(pt.values.Linear(V)), X0, PLAN, order=4)
    power, factorial = np.asarray(X0), 1.0
    for k in range(5):
        np.testing.assert_allclose(found.content[-1, k], power * T**k / factorial, atol=1e-9)
        power, factorial = WEIGHTS @ power @ V.T, factorial * (k + 1)


@pytest.fixture(scope="module")
def by_head():
    return paths(HEADS, X0, PLAN, order=3, by_head=True)


def test_words_add_up_to_orders_and_orders_to_the_trajectory(by_head):
    together = paths(HEADS, X0, PLAN, order=12)
    lengths = np.array([len(word) for word in by_head.words])
    assert by_head.words[:4] == ((), (0,), (1,), (0, 0)) and len(lengths) == 15
    for k in range(4):
        parts = np.asarray(by_head.content)[:, lengths == k].sum(axis=1)
        np.testing.assert_allclose(parts, together.content[:, k], atol=1e-8)
    assert float(together.remainder(12)[-1]) < 1e-3
    assert strength(HEADS, D) == pytest.approx(2.0)
    left_out = np.array([together.remainder(k) for k in range(8)])
    for frame in (1, 2, 3):
        size = float(jnp.max(jnp.linalg.norm(together.tokens[: frame + 1], axis=2)))
        proved = [remainder_bound(HEADS, D, T * frame / 3, size, k) for k in range(10)]
        assert np.all(left_out[:, frame] <= proved[:8])
        if frame == 1:
            assert np.any(left_out[:, frame] > proved[2:])  # a bound that forgot two orders


def test_paths_on_the_sphere_stay_with_the_tokens():
    sphere = pt.Flow(pt.Sphere(), HEADS.law)
    found = paths(sphere, X0, PLAN, order=12)
    np.testing.assert_allclose(jnp.linalg.norm(found.tokens, axis=2), 1.0, atol=1e-12)
    assert float(found.remainder(12)[-1]) < 1e-3 < float(found.remainder(3)[-1])
    assert float(found.remainder(6)[-1]) <= remainder_bound(sphere, D, T, 1.0, 6)


def test_what_has_no_paths_is_refused():
    with pytest.raises(ValueError, match="GradScore is a gradient"):
        paths(pt.Flow(pt.Euclidean(), pt.Attention(pt.DotProduct(1.0), value=pt.values.GradScore())), X0, PLAN)
    bent = pt.values.Nonlinear(pt.maps.Perceptron((V, V), (V[0], V[0]), "tanh"))
    with pytest.raises(ValueError, match="linear in the key"):
        paths(pt.Flow(pt.Euclidean(), pt.Attention(value=bent)), X0, PLAN)
    with pytest.raises(ValueError, match="lower `order`"):
        paths(HEADS, X0, PLAN, order=12, by_head=True)
    with pytest.raises(ValueError, match="Drift"):
        paths(pt.Flow(pt.Euclidean(), pt.Attention() + pt.Drift(-np.eye(D))), X0, PLAN)
    with pytest.raises(ValueError, match="no attention weights"):
        influence(pt.Flow(pt.Euclidean(), pt.Drift(-np.eye(D))), X0, PLAN)
    with pytest.raises(ValueError, match="SecondOrder"):
        influence(pt.SecondOrder(pt.Sphere(), pt.Attention(), 0.5), X0, PLAN)
