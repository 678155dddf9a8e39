"""Equiangular tokens stay equiangular, and their common overlap solves a scalar equation with known hitting times.

Source: 2312.10794, Theorem 6.8; the hitting times by integrating it in closed form with exponential integrals.
"""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy.special import exp1, expi

import particles as pt
from particles.starts import Equiangular

TOKENS, START, DEPTHS = 10, 0.1, (0.5, 1.0, 2.0)


def hitting_time(beta, n, g0, g, mean):
    """The depth at which the overlap g is reached from g0."""
    k = 1 / (n - 1)
    if beta == 0:
        logarithm = lambda x: np.log((1 + (n - 1) * x) / (1 - x))  # noqa: E731
        return (logarithm(g) - logarithm(g0)) / 2  # both laws: g' = 2 (1 - g) ((n - 1) g + 1) / n
    rising = np.exp(-beta) * (expi(beta * (1 - g0)) - expi(beta * (1 - g)))
    falling = np.exp(beta * k) * (exp1(beta * (g0 + k)) - exp1(beta * (g + k)))
    usa = (rising + falling) / 2
    if mean:
        return usa
    logarithm = lambda x: np.log((1 + (n - 1) * x) / (1 - x))  # noqa: E731
    return np.exp(beta) / n * usa + (n - 1) / (2 * n) * (logarithm(g) - logarithm(g0))


def hits_on_time(law, beta, mean=False):
    """Whether all overlaps stay equal and reach their values at the depths of the formula."""
    flow = pt.Flow(pt.Sphere(), law)
    x0 = Equiangular(TOKENS, TOKENS, START)(pt.Sphere(), jax.random.key(0))
    scale = np.exp(-beta) if mean else 1.0  # the clock of USA is e^beta faster
    plan = pt.Plan(until=scale * DEPTHS[-1], save=tuple(scale * t for t in DEPTHS), rtol=1e-11, atol=1e-13)
    run = pt.solve(flow, x0, plan)
    assert run.status == pt.Status.done
    gram = np.einsum("tid,tjd->tij", run.tokens, run.tokens)
    overlaps = gram[:, *np.triu_indices(TOKENS, 1)]
    equal = np.ptp(overlaps, axis=1).max() < 1e-9
    expected = [hitting_time(beta, TOKENS, START, g, mean) for g in overlaps.mean(axis=1)[1:]]
    # the solver's tolerance, times 100 for the error it accumulates and for the slope of the hitting time
    return equal and np.allclose(expected, run.times[1:], rtol=1e-8, atol=0)


@pytest.mark.parametrize("beta", [0.0, 2.0])
def test_softmax(beta):
    assert hits_on_time(pt.Attention(pt.DotProduct(beta)), beta)


@pytest.mark.parametrize("beta", [0.0, 2.0])
def test_mean(beta):
    assert hits_on_time(pt.Attention(pt.DotProduct(beta), normalizer=pt.Mean()), beta, mean=True)


def test_squared_distance_is_the_same_law_on_the_sphere():
    assert hits_on_time(pt.Attention(pt.SquaredDistance(2.0)), 2.0)


def test_the_check_can_fail():
    assert not hits_on_time(pt.Attention(pt.DotProduct(2.02)), 2.0)
    assert not hits_on_time(pt.Attention(pt.DotProduct(2.0), measure=pt.NotSelf()), 2.0)


def test_closed_form_at_beta_zero():
    n, g0 = TOKENS, START
    run = pt.solve(
        pt.Flow(pt.Sphere(), pt.Attention(pt.DotProduct(0.0))),
        Equiangular(n, n, g0)(pt.Sphere(), jax.random.key(0)),
        pt.Plan(until=DEPTHS[-1], save=DEPTHS, rtol=1e-11, atol=1e-13),
    )
    c = (1 + (n - 1) * g0) / (1 - g0)
    expected = (c * np.exp(2 * run.times) - 1) / (c * np.exp(2 * run.times) + n - 1)
    np.testing.assert_allclose(jnp.sum(run.tokens[:, 0] * run.tokens[:, 1], axis=1), expected, rtol=1e-9)
