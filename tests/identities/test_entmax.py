"""Entmax against the algorithms of the literature, and its derivative against the formula.

Sorting gives sparsemax (1602.02068) and entmax-1.5 (1905.05702) in finitely many steps; both count tokens. The form
with a measure, its bracket and its Jacobian are derived by hand from w = pi [(alpha-1) s - t]_+^(1/(alpha-1)).
"""

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from reference import ALGEBRAIC, entmax, off, pair_weights, row, weights
from samples import MASSES, N, on_sphere

import particles as pt

SCORES = st.lists(st.floats(-3, 3), min_size=N, max_size=N).map(np.array)
COMMON = settings(max_examples=20, deadline=None, derandomize=True)


def sorted_sparsemax(scores):
    z = np.sort(scores)[::-1]
    taus = (np.cumsum(z) - 1) / np.arange(1, len(z) + 1)
    tau = taus[np.flatnonzero(z > taus)[-1]]
    return np.maximum(scores - tau, 0)


def sorted_entmax15(scores):
    z = np.sort(scores / 2)[::-1]
    k = np.arange(1, len(z) + 1)
    mean = np.cumsum(z) / k
    spread = np.cumsum(z**2) / k - mean**2
    inside = (1 - k * spread) / k
    taus = mean - np.sqrt(np.maximum(inside, 0))
    tau = taus[np.flatnonzero((taus <= z) & (inside > 0))[-1]]
    return np.maximum(scores / 2 - tau, 0) ** 2


@COMMON
@given(SCORES)
def test_counting_entmax_is_that_of_the_literature(scores):
    assert off(row(pt.Entmax(2.0, "counting"), scores), sorted_sparsemax(scores)) < ALGEBRAIC
    assert off(row(pt.Entmax(1.5, "counting"), scores), sorted_entmax15(scores)) < ALGEBRAIC


@COMMON
@given(SCORES, st.sampled_from([1.05, 1.3, 1.5, 2.0, 2.5, 4.0]))
def test_entmax_with_masses_is_its_definition(scores, alpha):
    expected, t = entmax(scores, alpha, MASSES)
    found = row(pt.Entmax(alpha), scores, MASSES)
    # alpha > 2: a weight near the edge of the support is a root of what rounding leaves of the threshold
    assert off(found, expected) < (ALGEBRAIC if alpha <= 2 else (1e-14) ** (1 / (alpha - 1)))
    assert abs(found.sum() - 1) < ALGEBRAIC
    best = (alpha - 1) * scores.max()
    top = MASSES[scores == scores.max()].sum()
    assert best - top ** (1 - alpha) - 1e-12 <= t <= best - 1 + 1e-12  # the bracket


@COMMON
@given(SCORES, st.sampled_from([1.5, 2.0]))
def test_the_two_references_differ_by_a_temperature(scores, alpha):
    found = row(pt.Entmax(alpha), scores)
    assert off(found, row(pt.Entmax(alpha, "counting"), scores * N ** (1 - alpha))) < ALGEBRAIC


def test_the_two_references_differ():
    scores = np.linspace(-1, 1, N)
    assert off(row(pt.Entmax(1.5), scores), row(pt.Entmax(1.5, "counting"), scores)) > 1e-2
    assert off(row(pt.Entmax(1.5, "counting"), scores), sorted_sparsemax(scores)) > 1e-2


def test_the_support_in_counting_form_shrinks_with_the_number_of_tokens_and_in_measure_form_does_not():
    shares = {"counting": [], "measure": []}
    for n in (100, 3000):
        scores = 2 * np.random.default_rng(0).normal(size=n)
        for reference, found in shares.items():
            found.append(np.mean(row(pt.Entmax(1.5, reference), scores) > 0))
    assert shares["counting"][0] > 10 * shares["counting"][1]
    assert 0.5 < shares["measure"][0] / shares["measure"][1] < 2


@pytest.mark.parametrize("p", [1, 2, 3])
def test_with_a_squared_distance_entmax_is_a_compact_kernel(p):
    """[1 - r^2]_+^p with alpha = 1 + 1/p: Epanechnikov, biweight, triweight; the radius comes from the threshold."""
    beta, alpha = 4.0, 1 + 1 / p
    x = np.asarray(on_sphere())
    square = np.sum((x[:, None] - x[None]) ** 2, axis=2)
    found = np.asarray(weights(pt.Attention(pt.SquaredDistance(beta), normalizer=pt.Entmax(alpha)), jnp.asarray(x)))
    for i in range(N):
        _, t = entmax(-beta / 2 * square[i], alpha, np.full(N, 1 / N))
        radius = np.sqrt(-2 * t / (beta * (alpha - 1)))
        kernel = np.maximum(1 - square[i] / radius**2, 0) ** p
        assert off(found[i], kernel / kernel.sum()) < 1e-11
        assert off(found[i], np.sqrt(kernel) / np.sqrt(kernel).sum()) > 1e-3
    assert 0 < np.mean(found == 0) < 1


@eqx.filter_jit
def jacobian_in_scores(law, scores):
    """Of one row, by automatic differentiation."""
    return jax.jacobian(lambda s: pair_weights(law, jnp.ones((1, 1)), s[:, None])[0])(scores)


@eqx.filter_jit
def jacobian_in_masses(law, scores):
    def of(masses):
        held = eqx.tree_at(lambda law: law.measure.p, law, masses)
        return pair_weights(held, jnp.ones((1, 1)), scores[:, None])[0]

    return jax.jacobian(of)(law.measure.p)


GENERIC = np.array([0.3, -1.2, 0.9, 0.25, -0.4, 1.1, -2.0])


@pytest.mark.parametrize("alpha", [1.2, 1.5, 2.0, 2.5])
def test_the_jacobian_of_entmax_is_the_formula(alpha):
    """diag(q) - q q^T / |q|_1 with q = pi (w / pi)^(2 - alpha) on the support."""
    law = pt.Attention(pt.DotProduct(1.0), pt.Masses(MASSES), pt.Entmax(alpha))
    w = row(pt.Entmax(alpha), GENERIC, MASSES)
    q = np.where(w > 0, MASSES * (np.where(w > 0, w, 1) / MASSES) ** (2 - alpha), 0)
    found = jacobian_in_scores(law, jnp.asarray(GENERIC))
    assert off(found, np.diag(q) - np.outer(q, q) / q.sum()) < 1e-10
    assert off(found, np.diag(w) - np.outer(w, w)) > 1e-8  # that of softmax


@pytest.mark.parametrize("alpha", [1.2, 1.5, 2.0, 2.5])
def test_the_jacobian_of_entmax_in_masses_is_the_numerical_one(alpha):
    """Masses that do not sum to 1 are scaled to, so each can be moved alone."""
    law = pt.Attention(pt.DotProduct(1.0), pt.Masses(MASSES), pt.Entmax(alpha))
    found, h = jacobian_in_masses(law, jnp.asarray(GENERIC)), 1e-6
    moved = lambda k, step: entmax(GENERIC, alpha, (p := MASSES + step * np.eye(N)[k]) / p.sum())[0]  # noqa: E731
    numeric = np.stack([(moved(k, h) - moved(k, -h)) / (2 * h) for k in range(N)], axis=1)
    assert off(found, numeric) < 1e-7


def test_the_derivative_of_entmax_in_alpha_is_the_numerical_one():
    law = pt.Attention(pt.DotProduct(1.0), pt.Masses(MASSES), pt.Entmax(1.5))
    of = lambda alpha: pair_weights(  # noqa: E731
        eqx.tree_at(lambda law: law.normalizer.alpha, law, alpha), jnp.ones((1, 1)), jnp.asarray(GENERIC)[:, None]
    )[0]
    numeric = (entmax(GENERIC, 1.5 + 1e-6, MASSES)[0] - entmax(GENERIC, 1.5 - 1e-6, MASSES)[0]) / 2e-6
    assert off(jax.jacfwd(of)(jnp.asarray(1.5)), numeric) < 1e-7
