"""Gaussian tokens: the flow of the moments against independent equations, tokens, and what must be refused."""

import jax.numpy as jnp
import numpy as np
import pytest

import particles as pt
from particles.laws.normalizer import Moments, Quadratic
from particles.limits import gaussian_exact as exact
from particles.limits.gaussian import GaussianFlow, stacked

RNG = np.random.default_rng(0)
MEAN = np.array([0.3, -0.2, 0.5])
ROOT = RNG.normal(size=(3, 3)) / 2
COVARIANCE = ROOT @ ROOT.T + 0.2 * np.eye(3)
FORM, QUERY, KEY, VALUE = (0.5 * RNG.normal(size=(3, 3)) for _ in range(4))


def rate(law):
    """The rate of change of the moments."""
    return np.asarray(GaussianFlow(law)(jnp.zeros(()), stacked(MEAN, COVARIANCE)))


def test_every_head_moves_the_moments_as_the_equations_say():
    softmax = pt.Attention(pt.DotProduct(form=FORM), value=pt.values.Linear(VALUE))
    l2 = pt.Attention(pt.SquaredDistance(2.0, query=QUERY, key=KEY))
    sinkhorn = pt.Attention(pt.DotProduct(form=FORM), normalizer=pt.Sinkhorn())
    heads = [
        (VALUE, exact.softmax_seen(FORM.T)),
        (np.eye(3), exact.l2_seen(QUERY, KEY)),
        (np.eye(3), exact.sinkhorn_seen(FORM.T)),
    ]
    run = pt.solve(
        GaussianFlow(softmax + l2 + sinkhorn),
        stacked(MEAN, COVARIANCE),
        pt.Plan(0.2, save=2, solver="Dopri8", rtol=1e-11, atol=1e-13),
    )
    mean, covariance = exact.follow([0.1, 0.2], MEAN, COVARIANCE, heads)
    tokens = np.asarray(run.complete().tokens)[1:]
    np.testing.assert_allclose(tokens[:, 0], mean, rtol=1e-9)
    np.testing.assert_allclose(tokens[:, 1:], covariance, rtol=1e-9)
    wrong, _ = exact.follow([0.1, 0.2], MEAN, COVARIANCE, [(VALUE, exact.softmax_seen(FORM)), *heads[1:]])
    assert np.abs(tokens[:, 0] - wrong).max() > 1e-3


@pytest.mark.parametrize(
    ("law", "other"),
    [
        (pt.Attention(pt.Metric(pt.maps.Affine(QUERY), beta=2.0)), pt.Attention(pt.SquaredDistance(2.0, query=QUERY))),
        (
            pt.Attention(pt.DotProduct(form=FORM), value=pt.LowRank(VALUE, QUERY)),
            pt.Attention(pt.DotProduct(form=FORM), value=pt.values.Linear(VALUE @ QUERY)),
        ),
        (pt.Attention(pt.DotProduct() + pt.DotProduct(2.0)), pt.Attention(pt.DotProduct(3.0))),
    ],
)
def test_slots_are_known_by_what_they_do(law, other):
    np.testing.assert_allclose(rate(law), rate(other), rtol=1e-12, atol=1e-14)


def test_differences_take_the_token_itself_away():
    plain = rate(pt.Attention(pt.DotProduct(form=FORM)))
    expected = plain - np.concatenate([MEAN[None], 2 * COVARIANCE])
    np.testing.assert_allclose(
        rate(pt.Attention(pt.DotProduct(form=FORM), value=pt.Difference())), expected, rtol=1e-12
    )


def test_quantile_tokens_see_what_the_normalizers_say():
    x = np.asarray([[v] for v in np.polynomial.hermite_e.hermegauss(60)[0]])
    masses = np.polynomial.hermite_e.hermegauss(60)[1]
    for normalizer in (pt.Softmax(), pt.Sinkhorn()):
        law = pt.Attention(pt.DotProduct(0.7), pt.Masses(masses / masses.sum()), normalizer)
        velocity = np.asarray(law(jnp.zeros(()), jnp.asarray(x), pt.Dense()))
        zero, one = jnp.zeros((1, 1)), jnp.ones((1, 1))
        slope = normalizer.gaussian(Moments(zero[0], one), Quadratic(0.7 * one, zero, zero[0])).slope
        inner = np.abs(x[:, 0]) < 2
        np.testing.assert_allclose(velocity[inner, 0], float(slope[0, 0]) * x[inner, 0], atol=1e-8)


def test_weights_that_cannot_be_summed_are_not_a_number():
    one = jnp.ones((1, 1))
    assert np.isnan(pt.Softmax().gaussian(Moments(one[0], one), Quadratic(one, 2 * one, one[0])).slope).all()


@pytest.mark.parametrize(
    ("law", "words"),
    [
        (pt.Attention(normalizer=pt.Mean()), "Softmax is"),
        (pt.Attention(normalizer=pt.Sinkhorn(rho=1.0)), "leave `rho` infinite"),
        (pt.Attention(measure=pt.Causal()), "measure Uniform"),
        (pt.Attention(gate=pt.gates.Constant(0.5)), "gates"),
        (pt.Attention(value=pt.GradScore()), "use Linear"),
        (pt.FeedForward(pt.maps.Affine(1.0)), "sums of it"),
    ],
)
def test_laws_without_a_gaussian_closure_are_refused(law, words):
    with pytest.raises(ValueError, match=words):
        GaussianFlow(law)


@pytest.mark.parametrize(
    ("law", "words"),
    [
        (pt.Attention(pt.Cosine()), "quadratic"),
        (pt.Attention(value=pt.values.Nonlinear(pt.maps.EluPlusOne())), "affine"),
    ],
)
def test_slots_that_are_not_what_their_derivatives_say_are_refused(law, words):
    with pytest.raises(ValueError, match=words):
        pt.solve(GaussianFlow(law), stacked(MEAN, COVARIANCE), pt.Plan(1.0))


def test_a_state_must_be_a_mean_and_a_covariance():
    flow = GaussianFlow(pt.Attention())
    with pytest.raises(ValueError, match=r"\[1\+d d\]"):
        pt.solve(flow, np.zeros((3, 3)), pt.Plan(1.0))
    with pytest.raises(ValueError, match="negative eigenvalues"):
        pt.solve(flow, np.concatenate([MEAN[None], -COVARIANCE]), pt.Plan(1.0))


def test_closed_forms_solve_their_equations():
    t = np.linspace(0.02, 0.2, 4)
    a = np.array([[0.4]])
    _, l2 = exact.follow(t, np.zeros(1), np.ones((1, 1)), [(0.7 * np.eye(1), exact.l2_seen(a, 2 * a))])
    np.testing.assert_allclose(exact.l2_variance(t, 1.0, 0.7, 0.4, 0.8), l2[:, 0, 0], rtol=1e-10)
    assert np.abs(exact.l2_variance(t, 1.0, 0.7, 0.8, 0.4) - l2[:, 0, 0]).max() > 1e-3
    _, sinkhorn = exact.follow(t, np.zeros(1), np.ones((1, 1)), [(0.7 * np.eye(1), exact.sinkhorn_seen(a))])
    np.testing.assert_allclose(exact.sinkhorn_variance(t, 1.0, 0.7, 0.4), sinkhorn[:, 0, 0], rtol=1e-10)
    until = 0.9 * exact.blow_up_time(COVARIANCE, FORM)
    _, softmax = exact.follow(until * t / t[-1], MEAN, COVARIANCE, [(np.eye(3), exact.softmax_seen(FORM))])
    np.testing.assert_allclose(exact.softmax_covariance(until * t / t[-1], COVARIANCE, FORM), softmax, rtol=1e-8)


def test_what_is_left_is_in_the_kernel():
    query = FORM[:1]
    limit = exact.low_rank_limit(COVARIANCE, -query.T @ query)
    late = exact.softmax_covariance(np.array(1e6), COVARIANCE, -query.T @ query)
    np.testing.assert_allclose(limit, late, atol=1e-5)
    assert np.linalg.matrix_rank(limit, tol=1e-10) == 2
    with pytest.raises(ValueError, match="blows up"):
        exact.low_rank_limit(COVARIANCE, query.T @ query)
