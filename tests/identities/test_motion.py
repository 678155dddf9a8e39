"""Closed forms along trajectories: equal overlaps, two tokens without a diagonal, frozen weights, cones and hulls.

Equal overlaps and cones: 2312.10794. The clock of a normalized step, frozen weights and the reference numbers are
derived by hand and were computed by another program.
"""

import dataclasses

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from reference import ZERO, between, field, moved, off, weights
from samples import DENSITIES, MASSES, MATRIX, N, on_sphere, tokens
from scipy.linalg import expm

import particles as pt
from particles.starts import Equiangular


def overlaps(n, start, beta, times, normalizer=None):
    """The common overlap of equiangular tokens at some depths, and by how much overlaps differ."""
    law = pt.Attention(pt.DotProduct(beta), normalizer=normalizer or pt.Softmax())
    x = Equiangular(n, n, start)(pt.Sphere(), jax.random.key(0))
    tokens = np.stack([moved(pt.Flow(pt.Sphere(), law), x, t) for t in times])
    gram = np.einsum("tid,tjd->tij", tokens, tokens)[:, *np.triu_indices(n, 1)]
    return gram.mean(axis=1), np.ptp(gram, axis=1).max()


@pytest.mark.parametrize(
    ("beta", "expected"), [(0.0, 0.166429101108), (1.0, 0.151849335544), (4.0, 0.035441398374), (9.0, 0.000247061975)]
)
def test_equal_overlaps_of_thirty_two_tokens(beta, expected):
    found, spread = overlaps(32, 0.0, beta, (1.0,))
    assert abs(found[0] - expected) < 1e-11
    assert spread < 1e-11
    assert abs(found[0] - overlaps(32, 0.0, beta * 1.01 + 0.01, (1.0,))[0][0]) > 1e-6


def test_equal_overlaps_of_ten_tokens():
    found, _ = overlaps(10, 0.5, 2.0, (1.0, 2.0, 5.0))
    np.testing.assert_allclose(found, [0.87323023, 0.98049642, 0.9999506], atol=6e-9)


def test_the_rate_at_consensus_is_two():
    """1 - g falls by e^-2 per unit of depth, not by e^(-2/n), since (n-1) g + 1 = n there."""
    g = overlaps(10, 0.999, 2.0, (1.0, 2.0))[0]
    rate = np.log((1 - g[0]) / (1 - g[1]))
    assert abs(rate - 2) < 2e-2
    assert abs(rate - 0.2) > 1


@pytest.mark.parametrize("beta", [0.0, 9.0])
def test_two_tokens_without_a_diagonal_do_not_notice_beta(beta):
    def angle(measure):
        x = jnp.asarray([[1.0, 0.0], [np.cos(1.2), np.sin(1.2)]])
        flow = pt.Flow(pt.Sphere(), pt.Attention(pt.DotProduct(beta), measure))
        end = np.asarray(moved(flow, x, 0.7))
        return np.arccos(end[0] @ end[1])

    assert abs(angle(pt.NotSelf()) - 0.334265) < 1e-6
    if beta == 9:
        assert abs(angle(pt.measures.Uniform()) - 1.195742) < 1e-6


VECTORS = st.integers(0, 1000).map(lambda seed: np.random.default_rng(seed).normal(size=(2, N, 3)))


@settings(max_examples=20, deadline=None, derandomize=True)
@given(VECTORS, st.floats(0.05, 0.3))
def test_a_normalized_step_is_a_tangent_step_on_a_slower_clock(vectors, h):
    """N(x + h v) = N(x + h' P v) with h' = h / (1 + h <x, v>)."""
    space = pt.Sphere()
    x, v = space.project(jnp.asarray(vectors[0])), jnp.asarray(vectors[1])
    inward = jnp.sum(x * v, axis=1, keepdims=True)
    slower = h / (1 + h * inward)
    step = space.project(x + h * v)
    assert off(space.project(x + slower * space.tangent(x, v)), step) < 1e-14 * float(jnp.max(1 / (1 + h * inward)))
    assert off(space.project(x + h * space.tangent(x, v)), step) > 1e-6


def end(law, x, until):
    return moved(pt.Flow(pt.Euclidean(), law), x, until)


def test_frozen_weights_move_tokens_by_an_exponential():
    prior = DENSITIES + 0.1
    w, x = prior / prior.sum(axis=1, keepdims=True), tokens()
    law = lambda value: pt.Attention(pt.scores.Constant(), pt.measures.Given(prior), value=value)  # noqa: E731
    assert off(end(law(pt.Difference()), x, 1.5), expm(1.5 * (w - np.eye(N))) @ x) < 1e-8
    assert off(end(law(pt.values.Identity()), x, 1.5), expm(1.5 * w) @ x) < 1e-8
    assert off(end(law(pt.values.Identity()), x, 1.5), expm(1.5 * (w - np.eye(N))) @ x) > 1e-6


def test_entmax_keeps_two_groups_apart_for_ever_and_softmax_does_not():
    x = jnp.asarray([[1.0, 0.0], [1.0, 0.0], [np.cos(1.4), np.sin(1.4)]])
    law = pt.Attention(pt.DotProduct(4.0), normalizer=pt.Entmax(2.0))
    assert np.all(np.asarray(weights(law, x))[:2, 2] == 0)
    moves = lambda law: np.abs(pt.Sphere().tangent(x, field(law, x))).max()  # noqa: E731
    assert moves(law) < 1e-15
    assert moves(dataclasses.replace(law, normalizer=pt.Softmax())) > 1e-3


POSITIVE = {
    "softmax": pt.Softmax(),
    "mean": pt.Mean(),
    "null": pt.normalizers.Null(),
    "sigmoid": pt.normalizers.Sigmoid(),
    "entmax": pt.Entmax(1.5),
    "hardmax": pt.Hardmax(),
    "sinkhorn": pt.Sinkhorn(),
    "linear": pt.normalizers.Linear(),
}


def attention(name, value):
    positive = POSITIVE[name].needs_features
    score = pt.LogFeatures(pt.maps.EluPlusOne(MATRIX)) if positive else pt.DotProduct(3.0, form=MATRIX)
    return pt.Attention(score, pt.Masses(MASSES), POSITIVE[name], value)


@eqx.filter_jit
def many(law, x):
    """The velocities of several systems."""
    return jax.lax.map(lambda one: law(ZERO, one, pt.Dense()), x)


STATES = jnp.stack([on_sphere(seed=seed) for seed in range(100)])
AXIS = np.array([0.0, 0.0, 1.0])


def falls(law):
    """The largest rate at which the lowest token of a cone falls."""
    x = STATES * jnp.sign(STATES[..., 2:])
    u = np.asarray(pt.Sphere().tangent(x.reshape(-1, 3), many(law, x).reshape(-1, 3)).reshape(x.shape))
    height = np.asarray(x)[..., 2]
    lowest = height.argmin(axis=1)
    return -u[np.arange(len(x)), lowest, 2].min()


def widens(law):
    """The largest rate at which the hull grows, in a hundred directions for each of a hundred clouds."""
    x, u = np.asarray(STATES), np.asarray(many(law, STATES))
    directions = np.asarray(on_sphere(100, 3, seed=99))
    farthest = (x @ directions.T).argmax(axis=1)
    rates = u @ directions.T
    return np.take_along_axis(rates, farthest[:, None, :], axis=1).max()


@pytest.mark.parametrize("name", POSITIVE)
def test_positive_weights_close_cones_and_shrink_hulls(name):
    assert falls(attention(name, pt.values.Identity())) < 1e-12
    assert widens(attention(name, pt.Difference())) < 1e-12


def test_repulsion_and_signed_weights_open_them():
    assert falls(attention("softmax", pt.values.Linear(-1.0))) > 1e-2
    assert widens(attention("softmax", pt.Difference(-1.0))) > 1e-2
    signed = pt.Attention(
        pt.LogFeatures(pt.maps.Affine(MATRIX)), pt.Masses(MASSES), pt.normalizers.Linear(normalized=False)
    )
    assert falls(signed) > 1e-2
    assert widens(dataclasses.replace(signed, value=pt.Difference())) > 1e-2


def test_columns_elsewhere_pull_rows_into_their_hull():
    """Rows that look at others end in the mean of their values, by weights that sum to 1."""
    x, y = tokens(), 2 + tokens(5, seed=1)
    u = between(pt.Attention(pt.SquaredDistance(2.0), value=pt.Difference()), x, y)
    assert np.all(np.asarray(x + u).min(axis=0) >= np.asarray(y).min(axis=0))
    assert np.all(np.asarray(x + u).max(axis=0) <= np.asarray(y).max(axis=0))
