"""Attention matrices are what moves tokens: of every law, of heads that talk, of none at all, and under noise."""

import contextlib

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from samples import MASSES, MATRIX, SAMPLES, WIDE, D, N, members, on_sphere, tokens
from scipy.special import rel_entr

import particles as pt
from particles import laws, observables
from particles.declaration import family
from particles.dynamics import noise
from particles.laws.terms import AbstractTerm

ZERO, DENSE, X = jnp.zeros(()), pt.Dense(), tokens()
nz = pt.normalizers
LINEAR = pt.Attention(pt.LogFeatures(pt.maps.EluPlusOne(MATRIX)), normalizer=nz.Linear())
SIGNED = pt.Attention(pt.LogFeatures(pt.maps.Affine(MATRIX)), normalizer=nz.Linear(normalized=False))
PAIR = (
    pt.Attention(pt.DotProduct(3.0, form=MATRIX), pt.Masses(MASSES), value=pt.values.Linear(MATRIX)),
    pt.Attention(pt.SquaredDistance(1.0), pt.Window(2), value=pt.values.LowRank(WIDE.T, WIDE[::-1])),
)
NEGATIVE, POSITIVE = np.array([[1.0, 0.5], [-0.3, 0.8]]), np.array([[1.0, 0.5], [0.3, 0.8]])
TALKING = pt.TalkingHeads(PAIR, NEGATIVE)
LAWS = {cls.__name__: SAMPLES[cls] for cls in family(laws.AbstractLaw).values()} | {
    "talking": TALKING,
    "talking, positive": pt.TalkingHeads(PAIR, POSITIVE),
    "linear": LINEAR,
    "signed": SIGNED,
    "half steps": pt.Attention(pt.DotProduct(2.0), normalizer=nz.Sinkhorn(half_steps=2)),
    "deep": pt.Normalized(LINEAR + (TALKING + pt.Drift(confinement=0.3)), pt.norms.Pre()),
    "mixing in depth": pt.Scheduled(TALKING, (pt.schedules.Piecewise("mixing", [POSITIVE, NEGATIVE], [0.5]),)),
    "seen by others": pt.Attention() + pt.Cross(SIGNED, (0, 3), (3, 7)),
}
HEADLESS = {
    "Drift": pt.Drift(confinement=0.3),
    "FeedForward": SAMPLES[laws.FeedForward],
    "Cross": SAMPLES[laws.Cross],
    "Sum": pt.Drift(confinement=0.3) + SAMPLES[laws.FeedForward],
    "Normalized": pt.Normalized(pt.Drift(confinement=0.3), pt.norms.Pre()),
    "Scheduled": pt.Scheduled(
        pt.Drift(confinement=0.3), (pt.schedules.Interpolated("confinement", [0.1, 0.5], [0.0, 1.0]),)
    ),
    "Backward": pt.analysis.Backward(pt.Drift(confinement=0.3), 2.0),
}


def velocity(law, x, weights):
    """What attention matrices, taken one after another, make of a law: each pulls at the values of its head."""

    def pulled(value, w, x):
        offered = value.offered(x)
        sums = w @ offered
        return value.output(sums - jnp.sum(w, axis=1, keepdims=True) * offered if value.relative else sums)

    match law:
        case pt.Attention():
            return pulled(law.value, next(weights), x)
        case pt.TalkingHeads():
            return sum(pulled(head.value, next(weights), x) for head in law.laws)
        case pt.Sum():
            return sum(velocity(part, x, weights) for part in law.laws)
        case pt.Scheduled():
            return velocity(law.at(ZERO), x, weights)
        case pt.Normalized():
            return law.norm.field(ZERO, x, lambda seen: velocity(law.law, seen, weights))
        case pt.analysis.Backward():
            return -velocity(law.law.at(law.until), x, weights)
        case AbstractTerm() | pt.Cross():
            return law(ZERO, x, DENSE)
    raise AssertionError(f"no formula for {type(law).__name__}; write it here")


@pytest.mark.parametrize("name", LAWS)
def test_attention_matrices_are_what_moves_tokens(name):
    law = LAWS[name]

    @jax.jit
    def both(x):
        weights = law.head_weights(ZERO, x, DENSE)
        at_work = jnp.stack([head.weighted(jnp.eye(N)) for head in law.attending(ZERO, x, DENSE)] or [weights])
        return law(ZERO, x, DENSE), velocity(law, x, iter(weights)), weights, at_work

    moved, made, weights, at_work = both(X)
    np.testing.assert_allclose(made, moved, rtol=1e-12, atol=1e-14)
    assert weights.shape == (law.heads, N, N)
    if law.heads:
        np.testing.assert_allclose(at_work, weights, rtol=1e-12, atol=1e-14)
        wrong = velocity(law, X, iter(jnp.asarray(weights)[:, ::-1]))
        assert np.abs(wrong - moved).max() > 1e-4


def test_weights_that_are_not_mixed_would_not_move_heads_that_talk():
    plain = jnp.concatenate([law.head_weights(ZERO, X, DENSE) for law in PAIR])
    assert np.abs(velocity(TALKING, X, iter(plain)) - TALKING(ZERO, X, DENSE)).max() > 0.1
    mixed = np.einsum("hg,gij->hij", NEGATIVE, plain)
    np.testing.assert_allclose(TALKING.head_weights(ZERO, X, DENSE), mixed, rtol=1e-12, atol=1e-15)


def softmax(scores, density):
    w = density * np.exp(scores)
    return w / w.sum(axis=1, keepdims=True)


def test_what_is_observed_of_heads_that_talk_is_that_of_the_mixture():
    x = np.asarray(X)
    window = (np.abs(np.subtract.outer(np.arange(N), np.arange(N))) <= 2) * 1.0
    square = np.sum((x[:, None] - x[None]) ** 2, axis=2)
    w = np.stack([softmax(3 * x @ MATRIX @ x.T, MASSES[None, :]), softmax(-square / 2, window)])
    pi = np.stack([np.tile(MASSES, (N, 1)), window / window.sum(axis=1, keepdims=True)])
    mixed, prior = (np.einsum("hg,gij->hij", POSITIVE, m) for m in (w, pi))
    p, q = (m / m.sum(axis=2, keepdims=True) for m in (mixed, prior))
    mass = np.stack([MASSES, np.full(N, 1 / N)])
    entropy, divergence = -np.sum(p * np.log(p), axis=2), rel_entr(p, q).sum(axis=2)
    expected = {
        "row_entropy": np.sum(mass * entropy, axis=1).mean(),
        "token_entropy": entropy.mean(axis=0),
        "prior_divergence": np.sum(mass * divergence, axis=1).mean(),
        "sink_mass": np.einsum("hi,hij->hj", mass, mixed).mean(axis=0),
        "attention": mixed,
    }
    flow, of_sum = (
        pt.Flow(pt.Euclidean(), LAWS["talking, positive"], DENSE),
        pt.Flow(pt.Euclidean(), sum_of(PAIR), DENSE),
    )
    for name, number in expected.items():
        watched = observables.observable(name)
        watched.check_flow(flow)
        np.testing.assert_allclose(watched(flow, ZERO, X), number, rtol=1e-12)
        assert np.abs(watched(of_sum, ZERO, X) - number).max() > 1e-3
    gradient = jax.grad(
        lambda x: observables.RowEntropy()(flow, ZERO, x) + observables.PriorDivergence()(flow, ZERO, x)
    )
    assert np.all(np.isfinite(gradient(X)))


def sum_of(some):
    return pt.Sum(tuple(some))


def test_noise_comes_before_the_mixing():
    x, shift = np.asarray(X), np.random.default_rng(0).normal(size=(2, N, N))
    heads = tuple(pt.Attention(pt.DotProduct(beta), value=pt.values.Linear(MATRIX)) for beta in (1.0, 4.0))
    w = np.stack([softmax(beta * x @ x.T + noise, 1.0) for beta, noise in zip((1.0, 4.0), shift, strict=True)])
    mixed = np.einsum("hg,gij->hij", NEGATIVE, w)
    law = pt.TalkingHeads(heads, NEGATIVE).tilted(jnp.asarray(shift))
    np.testing.assert_allclose(law.head_weights(ZERO, X, DENSE), mixed, rtol=1e-12)
    np.testing.assert_allclose(law(ZERO, X, DENSE), mixed.sum(axis=0) @ x @ MATRIX.T, rtol=1e-12)
    run = pt.solve(
        pt.NoisyFlow(pt.Euclidean(), pt.TalkingHeads(heads, NEGATIVE), pt.noises.Gaussian(1.0, 1.0)),
        X,
        pt.Plan(until=0.2, save=2, dt=0.1, watch=("attention", "sink_mass")),
        key=jax.random.key(0),
    )
    assert run.status == pt.Status.done


@members(noise.AbstractNoise)
@pytest.mark.parametrize("name", LAWS)
def test_a_noisy_flow_is_refused_when_it_is_made_or_not_at_all(cls, name):
    with contextlib.suppress(ValueError):
        flow = pt.NoisyFlow(pt.Euclidean(), LAWS[name], SAMPLES[cls])
        state = flow.begin(X, jax.random.key(0))
        jax.eval_shape(flow, ZERO, state)
        if flow.brownian(state) is not None:
            jax.eval_shape(flow.diffusion, ZERO, state, flow.brownian(state))
        return
    attends = SAMPLES[cls].attends
    assert attends and name not in ("Attention", "Sum", "Scheduled", "Normalized"), "refused without a reason"


@pytest.mark.parametrize(
    ("law", "given", "words"),
    [
        (LINEAR, pt.noises.Gumbel(1.0), "never forms the logits"),
        (pt.Attention() + LINEAR, pt.noises.Gumbel(1.0), "never forms the logits"),
        (pt.TalkingHeads((LINEAR,), [[1.0]]), pt.noises.Gumbel(1.0), "never forms the logits"),
        (TALKING, pt.noises.Gamma(5.0, 1.0), "mixtures of those of several heads"),
        (pt.Drift(confinement=0.3), pt.noises.Gumbel(1.0), "needs a law with attention weights; got Drift"),
    ],
)
def test_noise_that_cannot_be_is_refused_at_once(law, given, words):
    with pytest.raises(ValueError, match=words):
        pt.NoisyFlow(pt.Euclidean(), law, given)


@members(observables.AbstractObservable)
@pytest.mark.parametrize("name", LAWS)
def test_what_may_be_watched_is_known_before_a_run(cls, name):
    watched, x = SAMPLES[cls], on_sphere()
    flow = pt.Flow(pt.Sphere(), LAWS[name])
    try:
        watched.check_flow(flow)
    except ValueError:
        return
    jax.eval_shape(watched.observe, flow, ZERO, x)


@pytest.mark.parametrize(
    ("name", "watched", "words"),
    [
        ("talking", "row_entropy", "here -0.3, may be negative and then have no entropy; watch `sink_mass`"),
        ("talking", "free_energy", "not known to maximize anything"),
        ("mixing in depth", "token_entropy", "have no entropy"),
        ("signed", "prior_divergence", "may have any sign"),
        ("deep", "row_entropy", "have no entropy"),
        ("half steps", "free_energy", "after a fixed number of `half_steps`"),
        ("Drift", "row_entropy", "has none"),
    ],
)
def test_what_cannot_be_watched_is_told_before_a_run(name, watched, words):
    with pytest.raises(ValueError, match=words):
        pt.Simulation(
            pt.starts.Uniform(N, D), pt.Flow(pt.Euclidean(), LAWS[name]), pt.Plan(until=1.0, watch=(watched,))
        )


@pytest.mark.parametrize("name", HEADLESS)
def test_a_law_without_heads_has_no_matrix_and_says_so(name):
    law = HEADLESS[name]
    assert law.heads == 0
    assert law.head_weights(ZERO, X, DENSE).shape == (0, N, N)
    assert law.head_weights(ZERO, X.astype(jnp.float32), DENSE).dtype == jnp.float32
    assert law.attending(ZERO, X, DENSE) == ()
    with pytest.raises(ValueError, match="has no attention weights to which noise could be added"):
        law.tilted(jnp.zeros((0, N, N)))


def test_laws_without_heads_beside_heads_change_nothing_of_theirs():
    head = pt.Attention(pt.DotProduct(2.0))
    law = HEADLESS["Drift"] + head + HEADLESS["Cross"]
    np.testing.assert_array_equal(law.head_weights(ZERO, X, DENSE), head.head_weights(ZERO, X, DENSE))
    shift = jnp.ones((1, N, N)).at[0, 0, 1].set(3.0)
    others = HEADLESS["Drift"](ZERO, X, DENSE) + HEADLESS["Cross"](ZERO, X, DENSE)
    np.testing.assert_allclose(
        law.tilted(shift)(ZERO, X, DENSE), head.tilted(shift)(ZERO, X, DENSE) + others, rtol=1e-12
    )
    assert not eqx.tree_equal(head.tilted(shift)(ZERO, X, DENSE), head(ZERO, X, DENSE))


SIGNS = {
    **LAWS,
    **{f"beta {beta:g}": pt.Attention(pt.DotProduct(beta)) for beta in (-2.0, 0.0, 3.0)},
    "beta of both signs": pt.Attention(pt.DotProduct(-2.0)) + pt.Attention(pt.DotProduct(3.0)),
    "repelling": pt.Attention(pt.DotProduct(2.0), value=pt.values.Linear(-1.0)),
    "far below": pt.Attention(pt.DotProduct(2.0), normalizer=pt.Mean(5.0)),
    "beta through zero": pt.Scheduled(
        pt.Attention(), (pt.schedules.Interpolated("score.beta", [2.0, -2.0], [0.0, 1.0]),)
    ),
    "negative score in a sum": pt.Attention(pt.DotProduct(-2.0) + pt.scores.Cosine(1.0)),
    "massless": pt.Attention(pt.DotProduct(2.0), pt.Masses(np.eye(N)[0])),
}


@members(observables.AbstractObservable)
def test_what_is_called_positive_is_never_negative(cls):
    """A logarithmic axis relies on it; rounding may take a number that should be 0 below by a few bits."""
    watched, x = SAMPLES[cls], jnp.concatenate([on_sphere(N - 1), -on_sphere(1)])
    for law in SIGNS.values():
        for flow in (pt.Flow(pt.Sphere(), law), pt.SecondOrder(pt.Sphere(), law)):
            with contextlib.suppress(ValueError):
                watched.check_flow(flow)
                if watched.positive_in(flow):
                    state = flow.begin(x, None)
                    for t in (0.0, 1.0):
                        assert jnp.min(watched.observe(flow, jnp.asarray(t), state)) > -1e-12


def test_the_sign_of_the_energy_is_that_of_the_temperatures():
    signs = {name: observables.Energy().positive_in(pt.Flow(pt.Sphere(), SIGNS[name])) for name in SIGNS}
    assert signs["beta 3"] and signs["repelling"] and signs["negative score in a sum"]
    assert not any(signs[name] for name in ("beta -2", "beta 0", "beta of both signs", "beta through zero"))
    for beta, sign in ((-2.0, -1), (3.0, 1)):  # a mean of exponentials, divided by 2 beta
        law, x = pt.Attention(pt.DotProduct(beta)), np.asarray(on_sphere())
        found = observables.Energy()(pt.Flow(pt.Sphere(), law), ZERO, on_sphere())
        np.testing.assert_allclose(found, np.mean(np.exp(beta * x @ x.T)) / (2 * beta), rtol=1e-12)
        assert sign * found > 0


def test_a_record_says_positive_where_all_members_are(tmp_path):
    flow, plan = pt.Flow(pt.Sphere(), pt.Attention()), pt.Plan(until=0.1, save=1, watch=("energy", "diameter"))
    for betas, expected in (((1.0, 2.0), True), ((1.0, -2.0), False)):
        sweep = {"flow.law.score.beta": betas}
        simulation = pt.Simulation(pt.starts.Uniform(4, 3), flow, plan, sweep=sweep)
        record = pt.simulate(simulation, path=tmp_path / str(expected), progress=False)
        assert bool(record.dataset.energy.attrs["positive"]) is expected
        assert bool(record.dataset.diameter.attrs["positive"])
