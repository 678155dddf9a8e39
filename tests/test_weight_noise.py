"""Noise on the weights of attention: its laws, its memory, and what it does to the weights.

Statistics are means over independent draws, held to 4 standard errors; what is wrong must fail at 10.
"""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from samples import MASSES, OPTIMIZED, on_sphere
from scipy import special, stats
from test_noise import standard_errors

import particles as pt
from particles import noises
from particles.dynamics.noise.quantiles import log_exponential, log_gamma, log_normal

KEY = jax.random.key(3)
ZERO = jnp.zeros(())
Z = np.linspace(-30, 30, 121)
X = on_sphere()
LAW = pt.Attention(pt.DotProduct(2.0), pt.Masses(MASSES))
WEIGHTS = np.asarray(LAW.weights(X, pt.Dense()))


def noisy(noise, law=LAW):
    return pt.NoisyFlow(pt.Sphere(), law, noise)


def drawn(flow, count=20_000, x=X):
    """The attention matrix of the first head under independent noise."""

    def one(key):
        state = flow.begin(x, key)
        return flow.acting(ZERO, state).head_weights(ZERO, x, flow.summation)[0]

    return np.asarray(jax.jit(jax.vmap(one), compiler_options=OPTIMIZED)(jax.random.split(KEY, count)))


def test_logarithms_of_normal_ranks_are_exact_in_both_tails():
    np.testing.assert_allclose(jax.jit(log_normal)(jnp.asarray(Z)), special.log_ndtr(Z), rtol=1e-12)
    ours = jax.jit(log_exponential)(jnp.asarray(Z))
    np.testing.assert_allclose(ours, np.log(-special.log_ndtr(Z)), atol=1e-12)
    np.testing.assert_allclose(log_normal(jnp.asarray([-8.0, 4.0], jnp.float32)), special.log_ndtr([-8, 4]), rtol=1e-5)


def test_gamma_quantiles_against_scipy():
    """To 1e-8 for shapes from 1e-3 to 1e3; below 1e-300 SciPy has no numbers, and ours are the power law's."""
    shapes, z = (jnp.asarray(v) for v in np.meshgrid(np.geomspace(1e-3, 1e3, 25), Z, indexing="ij"))
    ours = np.asarray(jax.jit(log_gamma)(shapes, z))
    lower, upper = stats.gamma.ppf(special.ndtr(Z), shapes), stats.gamma.isf(special.ndtr(-Z), shapes)
    theirs = np.where(z < 0, lower, upper)
    there = theirs > 1e-300
    assert 0.6 < there.mean() < 1
    np.testing.assert_allclose(ours[there], np.log(theirs[there]), atol=1e-8)
    power = (special.log_ndtr(np.asarray(z)) + special.gammaln(shapes + 1)) / shapes
    np.testing.assert_allclose(ours[~there], np.asarray(power)[~there], rtol=1e-12)


@jax.jit
def log_gamma_along(at, direction):
    """A quantile and its derivative."""
    return jax.jvp(log_gamma, at, direction)


@pytest.mark.parametrize("shape", [1e-3, 0.3, 5.0, 800.0])
def test_gamma_quantiles_have_derivatives(shape):
    z, h = jnp.asarray([-20.0, -3.0, 0.5, 6.0, 25.0]), 1e-5
    at = jnp.full_like(z, shape)
    for argument in ((at, 0 * z), (0 * z, jnp.ones_like(z))):
        _, exact = log_gamma_along((at, z), argument)
        moved = lambda s: (at + s * h * argument[0], z + s * h * argument[1])  # noqa: B023, E731
        ahead, behind = (log_gamma_along(moved(s), argument)[0] for s in (1, -1))
        np.testing.assert_allclose(exact, (ahead - behind) / (2 * h), rtol=2e-8)


def paths(noise, steps, h=0.3, size=300):
    """The hidden process of noise on `size`^2 edges at each of some steps."""
    hidden = noise.begin(1, size, jnp.float64, KEY)
    seen = [hidden.z]
    for _ in range(steps):
        hidden = noise.moved(hidden, jnp.asarray(h), KEY)
        seen.append(hidden.z)
    return np.asarray(seen).reshape(steps + 1, -1)


def test_the_hidden_process_is_stationary_with_its_memory():
    """Normal at every step, with correlation e^(-s/tau) between steps s apart."""
    tau, h = 0.7, 0.3
    z = paths(noises.Gumbel(tau), 3)
    for k in range(4):
        assert standard_errors(np.stack([z[k], z[k] ** 2], axis=1), [0, 1]) < 4
        assert standard_errors(z[0] * z[k], np.exp(-k * h / tau)) < 4
    assert stats.kstest(z[3], "norm").pvalue > 1e-4
    fresh = np.random.default_rng(0).normal(size=z.shape[1])
    euler = z[0] * (1 - h / tau) + np.sqrt(2 * h / tau) * fresh  # the step that is not exact
    assert standard_errors(euler**2, 1) > 10


def test_memory_without_end_and_without_beginning():
    quenched, fresh = paths(noises.Gumbel(np.inf), 2), paths(noises.Gumbel(0.0), 2)
    np.testing.assert_array_equal(quenched[2], quenched[0])
    assert standard_errors(fresh[0] * fresh[1], 0) < 4
    assert standard_errors(fresh[1] * fresh[2], 0) < 4


@pytest.mark.parametrize(("sharing", "shape"), [("edge", (2, 5, 5)), ("key", (2, 1, 5)), ("row", (2, 5, 1))])
def test_sharing(sharing, shape):
    assert noises.Weibull(3.0, 1.0, sharing).begin(2, 5, jnp.float32, KEY).z.shape == shape


def test_hardmax_under_gumbel_is_softmax_in_the_mean():
    """The winner of s + log pi + Gumbel is j with the probability of softmax."""
    gumbel = noises.Gumbel(0.0)
    z = jax.random.normal(KEY, (40_000, 7, 7))
    xi = np.asarray(gumbel.shift(z, lambda: z))
    logits = np.log(WEIGHTS)
    winners = lambda noise, logits: np.eye(7)[np.argmax(logits + noise, axis=2)]  # noqa: E731
    assert standard_errors(winners(xi, logits), WEIGHTS) < 4
    assert standard_errors(winners(xi, logits - np.log(MASSES)), WEIGHTS) > 10  # the prior left out
    assert standard_errors(winners(np.asarray(z), logits), WEIGHTS) > 10  # another noise


def test_the_law_hardmax_with_gumbel_noise():
    law = dataclasses.replace(LAW, normalizer=pt.normalizers.Hardmax(prior=True))
    assert standard_errors(drawn(noisy(noises.Gumbel(0.0), law)), WEIGHTS) < 4


def test_softmax_under_gumbel_is_not_softmax_in_the_mean():
    assert standard_errors(drawn(noisy(noises.Gumbel(0.0))), WEIGHTS) > 10


def test_gumbel_noise_does_not_notice_a_split_token():
    """A token split into halves wins as often as it did; under Gaussian noise it does not."""
    split = np.log([0.5, 0.25, 0.25])
    z = jax.random.normal(KEY, (1, 40_000, 3))
    won = {}
    for noise in (noises.Gumbel(0.0), noises.Gaussian(1.0, 0.0)):
        xi = np.asarray(noise.shift(z, lambda: z))[0]
        won[type(noise)] = np.argmax(split + xi, axis=1) > 0
    assert standard_errors(won[noises.Gumbel], 0.5) < 4
    assert standard_errors(won[noises.Gaussian], 0.5) > 10


def variance_error(draws, expected):
    """By how many standard errors a variance is off, at most."""
    return standard_errors((draws - draws.mean(axis=0)) ** 2, expected)


def test_weibull_weights_have_their_variance():
    """(pi^2 / 6 k^2) w_i^2 sum_j (delta_ij - w_j)^2 for large k; one more power of w is wrong."""
    draws = drawn(noisy(noises.Weibull(100.0, 0.0)))
    spread = np.sum((np.eye(7)[None] - WEIGHTS[:, None, :]) ** 2, axis=2)
    expected = np.pi**2 / (6 * 100**2) * WEIGHTS**2 * spread
    assert variance_error(draws, expected) < 4
    assert variance_error(draws, expected * WEIGHTS) > 10


def test_gaussian_factors_are_lognormal_of_mean_one():
    z = jax.random.normal(KEY, (1, 200, 200))
    factors = np.exp(np.asarray(noises.Gaussian(0.5, 0.0).shift(z, lambda: z)).ravel())
    assert standard_errors(factors, 1) < 4
    assert variance_error(factors, np.exp(0.25) - 1) < 4
    assert standard_errors(np.exp(0.5 * np.asarray(z).ravel()), 1) > 10


def test_gamma_weights_are_dirichlet():
    """Mean w and variance w (1 - w) / (c + 1); c in the place of c + 1 is wrong."""
    x, law = X[:3], pt.Attention(pt.DotProduct(2.0))
    weights = np.asarray(law.weights(x, pt.Dense()))
    draws = drawn(noisy(noises.Gamma(3.0, 0.0), law), 10_000, x)
    np.testing.assert_allclose(draws.sum(axis=2), 1, rtol=1e-12)
    assert standard_errors(draws, weights) < 4
    assert variance_error(draws, weights * (1 - weights) / 4) < 4
    assert variance_error(draws, weights * (1 - weights) / 3) > 10  # a quarter of it is 18 standard errors


def test_gamma_noise_leaves_masked_tokens_masked_and_has_a_gradient():
    flow = noisy(noises.Gamma(3.0, 1.0), dataclasses.replace(LAW, measure=pt.Causal()))
    state = flow.begin(X, KEY)
    weights = flow.acting(ZERO, state).head_weights(ZERO, X, flow.summation)[0]
    assert np.all(np.asarray(weights)[np.triu_indices(7, 1)] == 0)
    push = lambda s: flow.tokens(flow(ZERO, dataclasses.replace(state, tokens=X + s * on_sphere(seed=4))))  # noqa: E731
    both = jax.jit(lambda s: jax.jvp(push, (s,), (jnp.ones(()),)))
    (ahead, _), (behind, _) = both(jnp.asarray(1e-6)), both(jnp.asarray(-1e-6))
    np.testing.assert_allclose(both(ZERO)[1], (ahead - behind) / 2e-6, atol=1e-7)


@pytest.mark.parametrize("noise", [noises.Gumbel(1.0, "row"), noises.Gaussian(2.0, 1.0, "row")])
def test_softmax_does_not_notice_noise_of_rows(noise):
    """A number added to a row cancels; Mean notices it, and noise of keys is a random mass."""
    flow = noisy(noise)
    np.testing.assert_allclose(drawn(flow, 1)[0], WEIGHTS, rtol=1e-12)
    loud = dataclasses.replace(LAW, normalizer=pt.Mean())
    quiet = np.asarray(loud.weights(X, pt.Dense()))
    assert np.abs(drawn(noisy(noise, loud), 1)[0] - quiet).max() > 1e-2
    keys = dataclasses.replace(noise, sharing="key")
    z = noisy(keys).begin(X, jax.random.split(KEY, 1)[0]).hidden.z
    masses = MASSES * np.exp(np.asarray(keys.shift(z, lambda: z)))[0, 0]
    tilted = dataclasses.replace(LAW, measure=pt.Masses(masses / masses.sum()))
    np.testing.assert_allclose(drawn(noisy(keys), 1)[0], tilted.weights(X, pt.Dense()), rtol=1e-12)


def test_noise_stands_still_within_a_step():
    """One step of RK4 under fresh noise is that of the law tilted once; the noise then moves on."""
    flow = noisy(noises.Gaussian(0.7, 0.0))
    plan = pt.Plan(until=0.2, save=1, solver="RK4", dt=0.2)
    run = pt.solve(flow, X, plan, key=KEY)
    tilted = pt.Flow(pt.Sphere(), flow.acting(ZERO, flow.begin(X, KEY)))
    np.testing.assert_allclose(run.final, pt.solve(tilted, X, plan).final, atol=1e-14)
    two = pt.solve(flow, X, dataclasses.replace(plan, until=0.4), key=KEY).final
    assert np.abs(two - pt.solve(tilted, X, dataclasses.replace(plan, until=0.4)).final).max() > 1e-3


def test_shorter_memory_averages():
    """RMS distance to the averaged law falls like sqrt(tau): 2 +- 0.3 for a quarter of tau."""
    law = pt.Attention(pt.DotProduct(0.0), value=pt.Difference())
    start = on_sphere(12)

    def rms(tau):
        flow = pt.NoisyFlow(pt.Euclidean(), law, noises.Gaussian(0.3, tau))
        plan = pt.Plan(until=0.8, save=1, solver="RK4", dt=tau / 8)
        finals = jax.vmap(lambda key: pt.solve(flow, start, plan, key=key).final)(jax.random.split(KEY, 100))
        return np.sqrt(np.mean(np.var(np.asarray(finals), axis=0)))

    assert abs(rms(0.1) / rms(0.025) - 2) < 0.3


@pytest.mark.parametrize(
    ("make", "words"),
    [
        (lambda: noises.Gumbel(1.0, "keys"), "must be one of .*Did you mean `key`"),
        (lambda: noises.Gumbel(-1.0), "at least 0; got -1"),
        (
            lambda: pt.solve(noisy(noises.Gumbel(1.0)), X, pt.Plan(until=1.0), key=KEY),
            "takes constant steps: give `dt`",
        ),
        (
            lambda: pt.solve(noisy(noises.Gumbel(1.0)), X, pt.Plan(until=1.0, solver="EulerHeun", dt=0.1), key=KEY),
            "this NoisyFlow is an ordinary differential equation",
        ),
    ],
)
def test_what_cannot_be_is_refused(make, words):
    with pytest.raises(ValueError, match=words):
        make()
