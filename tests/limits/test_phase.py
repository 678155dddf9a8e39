"""The phase diagram: its starts, its shares, and what it does with runs that end early."""

import jax
import numpy as np
import pytest

import particles as pt
from particles import limits
from particles.integration import Failed
from particles.limits.phase import Phases, uniform


def test_starts_in_high_dimension_have_the_overlaps_of_uniform_tokens():
    n, d, starts = 4, 40, 4000
    x = np.asarray(uniform(jax.random.key(0), starts, n, d))
    np.testing.assert_allclose(np.linalg.norm(x, axis=-1), 1, rtol=1e-12)
    gram = x @ x.transpose(0, 2, 1)
    for i, j in zip(*np.triu_indices(n, 1), strict=True):
        assert abs(d * np.mean(gram[:, i, j] ** 2) - 1) < 4 * np.sqrt(2 / starts)
    cycle = gram[:, 0, 1] * gram[:, 1, 2] * gram[:, 2, 0]  # its mean is d^(-2)
    assert abs(np.mean(cycle) - d**-2.0) < 4 * cycle.std() / np.sqrt(starts)
    assert abs(d * np.mean(np.asarray(uniform(jax.random.key(0), starts, n, 10))[:, 0, 0] ** 2) - 1) > 0.5


def test_shares_are_those_of_the_tokens_and_one_where_all_have_met():
    times, beta, delta = np.array([1.0, 4.0, 12.0]), 1.0, 1e-2
    starts = uniform(jax.random.key(1), 4, 5, 3)
    phases = limits.phase_diagram(np.array([beta]), times, starts, delta=delta, chunk=3, tolerance=1e-8)
    plan = pt.Plan(12.0, save=tuple(times), rtol=1e-8, atol=1e-10)
    shares = []
    for x0 in starts:
        tokens = np.asarray(pt.solve(pt.Flow(pt.Sphere(), pt.Attention(pt.DotProduct(beta))), x0, plan).tokens)
        cosines = (tokens @ tokens.transpose(0, 2, 1))[:, *np.triu_indices(5, 1)]
        shares.append(np.mean(cosines >= 1 - delta, axis=1))
    np.testing.assert_allclose(phases.share[0], np.mean(shares, axis=0), atol=1e-12)
    assert phases.share[0, -1] == 1


def test_a_transition_is_where_the_share_passes_a_level():
    phases = Phases(np.zeros(2), np.array([0.0, 1.0, 2.0]), np.array([[0, 0.25, 0.75], [0, 0, 0]]), np.zeros((2, 3)))
    np.testing.assert_array_equal(phases.transition(), [1.5, np.nan])


def test_numerics_that_fail_are_told():
    with pytest.raises(Failed):
        limits.phase_diagram(np.ones(1), np.ones(1), uniform(jax.random.key(0), 2, 3, 3), tolerance=1e-30)
