"""What is observed of attention weights, against the weights themselves."""

import dataclasses

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from samples import MASSES, MATRIX, N, on_sphere, tokens
from scipy.special import entr, rel_entr, softmax

import particles as pt
from particles.observables import (
    FreeEnergy,
    MutualInformation,
    PriorDivergence,
    QuadraticInformation,
    RowEntropy,
    SinkMass,
    TokenEntropy,
    observable,
)

X, ZERO, DENSE = tokens(), jnp.zeros(()), pt.Dense()
SCORE = pt.DotProduct(6.0, form=MATRIX)
PRIOR = pt.Masses(MASSES) * pt.Window(2)
KINDS = (RowEntropy(), TokenEntropy(), PriorDivergence(), SinkMass())
SEEN = eqx.filter_jit(lambda flow, x: [watched(flow, ZERO, x) for watched in KINDS])
ENERGY = eqx.filter_jit(lambda flow, x: FreeEnergy()(flow, ZERO, x))
nz = pt.normalizers


def flow_of(law, summation=DENSE):
    return pt.Flow(pt.Euclidean(), law, summation)


def expected(w, mass, pi):
    """From the weights, all of them: entropies of rows, relative entropies, what columns are given."""
    p, pi = w / w.sum(axis=1, keepdims=True), pi / pi.sum(axis=1, keepdims=True)
    entropies = entr(p).sum(axis=1)
    return [mass @ entropies, entropies, mass @ rel_entr(p, pi).sum(axis=1), mass @ w]


NORMALIZERS = {
    "softmax": pt.Softmax(),
    "mean": pt.Mean(),
    "null": nz.Null(0.3, 0.5),
    "sigmoid": nz.Sigmoid(-1.0),
    "sparsemax": pt.Entmax(2.0),
    "hardmax": pt.Hardmax(),
    "sinkhorn": pt.Sinkhorn(1.0, tolerance=1e-13),
}


@pytest.mark.parametrize("name", NORMALIZERS)
def test_every_number_is_that_of_the_weights(name):
    law = pt.Attention(SCORE, PRIOR, NORMALIZERS[name])
    index = jnp.arange(N)
    pi = np.exp(np.asarray(PRIOR.log_density(index, index, N)))
    weights = eqx.filter_jit(lambda law: law.weights(X, DENSE))
    truth = expected(np.asarray(weights(law)), MASSES, pi)
    other = np.asarray(weights(pt.Attention(pt.DotProduct(3.0, form=MATRIX), PRIOR, NORMALIZERS[name])))
    for summation in (DENSE, pt.Blocked(3, 2)) if name == "softmax" else (DENSE,):
        for found, number in zip(SEEN(flow_of(law, summation), X), truth, strict=True):
            np.testing.assert_allclose(found, number, rtol=1e-12, atol=1e-14)
    if name != "hardmax":  # which does not know of temperature
        assert abs(expected(other, MASSES, pi)[0] - truth[0]) > 1e-3


def test_in_counting_form_the_measure_still_is_what_weights_are_compared_with():
    law = pt.Attention(SCORE, pt.NotSelf(), pt.Entmax(1.5, "counting"))
    w = np.asarray(law.weights(X, DENSE))
    for found, number in zip(SEEN(flow_of(law), X), expected(w, np.full(N, 1 / N), 1 - np.eye(N)), strict=True):
        np.testing.assert_allclose(found, number, rtol=1e-12, atol=1e-14)


def test_linear_attention_has_the_entropies_of_its_pairs():
    score = pt.LogFeatures(pt.maps.EluPlusOne(MATRIX))
    linear, soft = (flow_of(pt.Attention(score, pt.Masses(MASSES), n)) for n in (nz.Linear(), pt.Softmax()))
    for one, other in zip(SEEN(linear, X), SEEN(soft, X), strict=True):
        np.testing.assert_allclose(one, other, rtol=1e-12)
    np.testing.assert_allclose(ENERGY(linear, X), ENERGY(soft, X), rtol=1e-13)


def test_free_energy_is_a_mean_of_logarithms_of_sums():
    law = pt.Attention(SCORE, PRIOR)
    np.testing.assert_allclose(ENERGY(flow_of(law), X), MASSES @ np.asarray(law.log_partition(X, DENSE)), rtol=1e-13)
    with pytest.raises(ValueError, match="half_steps"):
        ENERGY(flow_of(pt.Attention(SCORE, PRIOR, pt.Sinkhorn(half_steps=4))), X)


def test_rows_that_look_at_all_alike_and_at_one_alone():
    flat, sharp = (flow_of(pt.Attention(score)) for score in (pt.scores.Constant(), pt.DotProduct(1e4)))
    entropy, _, divergence, sink = SEEN(flat, X)
    np.testing.assert_allclose([entropy, divergence], [np.log(N), 0], atol=1e-14)
    np.testing.assert_allclose(sink, np.full(N, 1 / N), rtol=1e-14)
    on = on_sphere()
    np.testing.assert_allclose(np.asarray(SEEN(sharp, on)[0]), 0, atol=1e-12)
    np.testing.assert_allclose(SEEN(sharp, on)[2], np.log(N), rtol=1e-12)


def test_sinkhorn_has_no_sink():
    law = pt.Attention(SCORE, pt.Masses(MASSES), pt.Sinkhorn(tolerance=1e-13))
    np.testing.assert_allclose(SEEN(flow_of(law), X)[3], MASSES, rtol=1e-11)
    soft = SEEN(flow_of(dataclasses.replace(law, normalizer=pt.Softmax())), X)[3]
    assert np.abs(soft - MASSES).max() > 0.01


def test_a_token_that_is_split_changes_the_count_and_not_the_divergence():
    law = lambda masses: flow_of(pt.Attention(SCORE, pt.Masses(masses)))  # noqa: E731
    entropy, _, divergence, _ = SEEN(law(MASSES), X)
    halves = np.concatenate([MASSES[:1] / 2, MASSES[:1] / 2, MASSES[1:]])
    split = SEEN(law(halves), jnp.concatenate([X[:1], X]))
    np.testing.assert_allclose(split[2], divergence, rtol=1e-12)
    assert split[0] - entropy > 1e-2


def test_heads_are_averaged_and_see_what_the_law_sees():
    one, other = (pt.Attention(pt.DotProduct(beta, form=MATRIX)) for beta in (2.0, 5.0))
    each = [SEEN(flow_of(law), X) for law in (one, other)]
    for found, first, second in zip(SEEN(flow_of(one + other), X), *each, strict=True):
        np.testing.assert_allclose(found, (first + second) / 2, rtol=1e-12)
    talking = pt.TalkingHeads((one, other), np.eye(2))
    np.testing.assert_allclose(SEEN(flow_of(talking), X)[0], SEEN(flow_of(one + other), X)[0], rtol=1e-13)
    scheduled = pt.Scheduled(one, (pt.schedules.Piecewise("score.beta", [5.0, 2.0], [1.0]),))
    np.testing.assert_allclose(SEEN(flow_of(scheduled), X)[0], each[1][0], rtol=1e-13)
    on = X / jnp.linalg.norm(X, axis=1, keepdims=True)
    layers = pt.Layers(one, pt.norms.Pre())
    seen = RowEntropy().observe(layers, ZERO, X)
    np.testing.assert_allclose(RowEntropy()(layers, ZERO, X), seen, rtol=1e-13)
    np.testing.assert_allclose(seen, SEEN(flow_of(one), on)[0], rtol=1e-12)
    np.testing.assert_allclose(SEEN(layers.limit(), X)[0], seen, rtol=1e-12)
    np.testing.assert_allclose(layers.limit().law.head_weights(ZERO, X, DENSE)[0], one.weights(on, DENSE), rtol=1e-12)
    assert abs(seen - SEEN(flow_of(one), X)[0]) > 1e-2


def test_noise_on_the_logits_is_seen_in_a_state():
    law = pt.Attention(SCORE)
    flow = pt.NoisyFlow(pt.Euclidean(), law, pt.noises.Gaussian(2.0, 1.0), summation=DENSE)
    state = flow.begin(X, jax.random.key(0))
    w = np.asarray(flow.acting(ZERO, state).head_weights(ZERO, X, DENSE)[0])
    np.testing.assert_allclose(RowEntropy().observe(flow, ZERO, state), entr(w).sum(axis=1).mean(), rtol=1e-12)
    assert abs(RowEntropy()(flow, ZERO, X) - entr(w).sum(axis=1).mean()) > 1e-2


def test_a_law_without_attention_has_no_such_numbers():
    plan = pt.Plan(until=1.0, watch=("row_entropy",))
    with pytest.raises(ValueError, match="`row_entropy` is a number of attention weights"):
        pt.solve(flow_of(pt.Drift(confinement=1.0)), X, plan)


def test_they_are_watched_by_name_and_differentiated():
    names = ("row_entropy", "token_entropy", "prior_divergence", "sink_mass", "free_energy", "mutual_information")
    plan = pt.Plan(until=0.5, save=2, watch=names, tokens=False)
    run = pt.solve(flow_of(pt.Attention(SCORE)), X, plan)
    assert run.observed["sink_mass"].shape == (3, N)
    np.testing.assert_allclose(run.observed["token_entropy"].mean(axis=1), run.observed["row_entropy"], rtol=1e-13)
    direction, h = tokens(seed=2), 1e-5
    of = lambda x: observable("row_entropy")(flow_of(pt.Attention(SCORE)), ZERO, x)  # noqa: E731
    value = jax.jit(of)
    numeric = (value(X + h * direction) - value(X - h * direction)) / (2 * h)
    np.testing.assert_allclose(jnp.sum(jax.jit(jax.grad(of))(X) * direction), numeric, rtol=1e-7)


def test_information_of_assignments():
    flow = flow_of(pt.Attention())
    codes = MATRIX[:2]
    p = softmax(np.asarray(X) @ codes.T / 0.3, axis=1)
    mean = p.mean(axis=0)
    found = MutualInformation(codes, 0.3)(flow, ZERO, X)
    np.testing.assert_allclose(found, entr(mean).sum() - entr(p).sum(axis=1).mean(), rtol=1e-12)
    found = QuadraticInformation(codes, 0.3)(flow, ZERO, X)
    np.testing.assert_allclose(found, (p**2).sum(axis=1).mean() - (mean**2).sum(), rtol=1e-11)
    with pytest.raises(ValueError, match="tokens have dimension 3"):
        MutualInformation(np.eye(2))(flow, ZERO, X)


def test_information_is_largest_where_each_token_has_a_code_of_its_own():
    flow, own = flow_of(pt.Attention()), jnp.eye(4)
    full = MutualInformation(temperature=1e-3)(flow, ZERO, own), QuadraticInformation(temperature=1e-3)(flow, ZERO, own)
    np.testing.assert_allclose(full, [np.log(4), 1 - 1 / 4], rtol=1e-12)
    rng = np.random.default_rng(0)
    some = [jnp.asarray(rng.normal(size=(9, 4))) for _ in range(50)]
    quadratic = [float(QuadraticInformation(temperature=0.05)(flow, ZERO, x)) for x in some]
    assert 0 < max(quadratic) < 1 - 1 / 4
    alike = jnp.broadcast_to(some[0][:1], (9, 4))
    assert abs(MutualInformation()(flow, ZERO, alike)) < 1e-15
