"""The Gibbs principle of every normalizer: penalties written out again, exact gaps, envelope theorem."""

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from samples import MASSES, MATRIX, N, tokens
from scipy.special import logsumexp, xlogy

import particles as pt
from particles.analysis import competitors, gibbs

X, DENSE = 2 * tokens(), pt.Dense()
SCORE = pt.DotProduct(3.0, form=MATRIX)
S = np.asarray(SCORE(X, X))
PRIOR = pt.Masses(MASSES) * pt.NotSelf()
PI = MASSES[None, :] * (1 - np.eye(N))
PLAIN = np.full((N, N), 1 / N)
nz = pt.normalizers


def kl(r):
    return xlogy(r, r)


def tsallis(a):
    return lambda r: (r**a - r) / (a * (a - 1))


def two_sided(r):
    return xlogy(r, r) + xlogy(1 - r, 1 - r) - 0.2 * r


SOFT = logsumexp(S, axis=1, b=PI)
# normalizer, measure, what its penalty refers to, the penalty, and the free energy where it has a closed form
PRINCIPLES = {
    "softmax": (pt.Softmax(), PRIOR, PI, kl, SOFT),
    "mean": (pt.Mean(0.4), PRIOR, PI, lambda r: kl(r) - 0.6 * r, np.exp(SOFT - 0.4)),
    "sigmoid": (nz.Sigmoid(0.2), PRIOR, PI, two_sided, np.sum(PI * np.logaddexp(0, S + 0.2), axis=1)),
    "sigmoid, counting": (
        nz.Sigmoid(0.2, "counting"),
        pt.NotSelf(),
        1 - np.eye(N),
        two_sided,
        np.sum((1 - np.eye(N)) * np.logaddexp(0, S + 0.2), axis=1),
    ),
    "entmax": (pt.Entmax(1.5), PRIOR, PI / PI.sum(axis=1, keepdims=True), tsallis(1.5), None),
    "sparsemax, counting": (pt.Entmax(2.0, "counting"), pt.NotSelf(), 1 - np.eye(N), tsallis(2.0), None),
    "entmax above 2": (pt.Entmax(3.0), PRIOR, PI / PI.sum(axis=1, keepdims=True), tsallis(3.0), None),
    "hardmax": (pt.Hardmax(), PRIOR, PI, lambda r: 0 * r, np.max(np.where(PI > 0, S, -np.inf), axis=1)),
    "softened": (
        pt.Hardmax(softness=0.3),
        PRIOR,
        PI,
        lambda r: 0.3 * kl(r),
        0.3 * logsumexp(S / 0.3, axis=1, b=PI),
    ),
}


def law_of(normalizer, measure, beta=3.0):
    return pt.Attention(pt.DotProduct(beta, form=MATRIX), measure, normalizer)


COUNT = 50
FREE = eqx.filter_jit(lambda law: law.free_energy(X, DENSE))


def own_weights(law):
    """The law's own, as competitors whose scores nothing was added to."""
    return competitors(law, X, jax.random.key(1), COUNT, scale=0.0)[0]


def drawn(law):
    """Competitors, some far, some near, and the law's own weights last."""
    own = own_weights(law)
    far = competitors(law, X, jax.random.key(1), COUNT, scale=2.0)
    return np.concatenate([far, own + 0.01 * (far - own), own[None]])


@pytest.mark.parametrize("name", PRINCIPLES)
def test_the_gap_is_the_divergence_and_what_is_lost_at_the_boundary(name):
    normalizer, measure, reference, phi, best = PRINCIPLES[name]
    law = law_of(normalizer, measure)
    eta = drawn(law)
    found = gibbs(law, X, eta)
    ratio = np.divide(eta, reference, out=np.zeros_like(eta), where=reference > 0)
    np.testing.assert_allclose(found.left, np.sum(eta * S - reference * phi(ratio), axis=-1), atol=1e-11, rtol=1e-12)
    if best is not None:
        np.testing.assert_allclose(found.free_energy, best, rtol=1e-12)
    assert np.abs(found.error).max() < 1e-12
    assert min(found.gap.min(), found.divergence.min(), found.boundary.min()) > -1e-12
    assert np.abs(found.gap[-1]).max() < 1e-12 * max(1, np.abs(found.free_energy).max())
    assert found.gap[:-1].max() > 0.1


def test_the_check_can_fail():
    """The divergence from the weights at another temperature, and with its arguments exchanged."""
    law = law_of(pt.Softmax(), PRIOR)
    eta = drawn(law)
    found, cold = gibbs(law, X, eta), gibbs(law_of(pt.Softmax(), PRIOR, beta=1.5), X, eta)
    assert np.abs(found.left - (found.free_energy - cold.divergence)).max() > 1e-2
    own, seen = eta[-1], PI > 0
    logs = np.log(np.where(seen, own, 1)) - np.log(np.where(seen, eta, 1))
    exchanged = np.sum(np.where(seen, own * logs, 0), axis=-1)
    assert np.abs(found.gap - exchanged).max() > 1e-2


def test_without_the_boundary_the_divergence_is_a_bound_and_no_more():
    for normalizer in (pt.Entmax(1.5), pt.Entmax(2.0), pt.Hardmax()):
        law = law_of(normalizer, PRIOR)
        found = gibbs(law, X, drawn(law))
        assert np.all(found.gap >= found.divergence - 1e-12)
        assert (found.gap - found.divergence).max() > 0.1
    law = law_of(pt.Softmax(), PRIOR)
    assert gibbs(law, X, drawn(law)).boundary.max() == 0


def test_the_null_token_takes_what_is_left():
    law = law_of(nz.Null(0.3, 0.5), PRIOR)
    eta = drawn(law)
    found = gibbs(law, X, eta)
    left = 1 - eta.sum(axis=-1)
    ratio = np.divide(eta, PI, out=np.zeros_like(eta), where=PI > 0)
    reached = np.sum(eta * S - PI * kl(ratio), axis=-1) + 0.3 * left - 0.5 * kl(left / 0.5)
    np.testing.assert_allclose(found.left, reached, rtol=1e-12, atol=1e-12)
    np.testing.assert_allclose(found.free_energy, np.logaddexp(SOFT, 0.3 + np.log(0.5)), rtol=1e-13)
    assert np.abs(found.error).max() < 1e-12
    assert found.gap[:-1].min() > 0


def test_linear_attention_is_softmax_of_the_log_of_its_features():
    score = pt.LogFeatures(pt.maps.EluPlusOne(MATRIX))
    linear, soft = (pt.Attention(score, pt.Masses(MASSES), n) for n in (nz.Linear(), pt.Softmax()))
    eta = competitors(linear, X, jax.random.key(2), COUNT)
    np.testing.assert_allclose(eta, competitors(soft, X, jax.random.key(2), COUNT), rtol=1e-12)
    one, other = gibbs(linear, X, eta), gibbs(soft, X, eta)
    np.testing.assert_allclose(one.free_energy, other.free_energy, rtol=1e-13)
    np.testing.assert_allclose(one.divergence, other.divergence, rtol=1e-11, atol=1e-14)
    assert np.abs(one.error).max() < 1e-12


@pytest.mark.parametrize("rho", [0.0, 0.5, np.inf])
def test_sinkhorn_maximizes_one_sum_over_all_rows(rho):
    measure = pt.Masses(MASSES) * pt.NotSelf()
    law = law_of(pt.Sinkhorn(rho, tolerance=1e-14), measure)
    eta = drawn(law)
    found = gibbs(law, X, eta)
    ratio = np.divide(eta, PI, out=np.zeros_like(eta), where=PI > 0)
    columns = MASSES @ eta
    price = 0.0 if np.isinf(rho) else rho * np.sum(kl(columns / MASSES) * MASSES, axis=-1)
    reached = np.sum(eta * S - PI * kl(ratio), axis=-1) @ MASSES - price
    np.testing.assert_allclose(found.left[..., 0], reached, rtol=1e-12)
    assert found.left.shape == (len(eta), 1)
    assert np.abs(found.error).max() < 1e-12
    assert np.abs(found.gap[-1]).max() < 1e-12
    assert found.gap[:-1].min() > 0
    rows = np.asarray(FREE(law))
    np.testing.assert_allclose(MASSES @ rows, found.free_energy[0], rtol=1e-13)
    if rho == 0:
        np.testing.assert_allclose(rows, SOFT, rtol=1e-13)


def test_sinkhorn_is_no_better_than_softmax_and_worse_the_dearer_the_columns():
    total = [float(MASSES @ np.asarray(FREE(law_of(pt.Sinkhorn(rho), PRIOR)))) for rho in (0, 0.1, 1, np.inf)]
    assert np.all(np.diff(total) < 0)


@eqx.filter_jit
def envelope(law, x, y, coupled):
    """The gradient of the free energies in the rows, the columns held still or not, beside the mean of grad_1 s."""
    head = law.head(x, DENSE, y)
    mass = head.row_mass() if coupled else jnp.ones_like(head.row_mass())

    def total(x, y):
        return jnp.sum(mass * law.head(x, DENSE, y).free_energy())

    still = jax.grad(total)(x, y)
    moved = jax.grad(lambda x: total(x, x))(x)
    return still, moved, mass[:, None] * head.slope()


ENVELOPES = {name: case[0] for name, case in PRINCIPLES.items() if "counting" not in name} | {
    "null": nz.Null(0.3, 0.5),
    "sinkhorn": pt.Sinkhorn(tolerance=1e-14),
    "sinkhorn, finite": pt.Sinkhorn(0.5, tolerance=1e-14),
}


@pytest.mark.parametrize("name", ENVELOPES)
def test_the_free_energy_slopes_like_the_score_under_the_weights(name):
    law = law_of(ENVELOPES[name], pt.Masses(MASSES))
    still, moved, slope = envelope(law, X, X, "sinkhorn" in name)
    scale = float(jnp.max(jnp.abs(slope)))
    assert float(jnp.max(jnp.abs(still - slope))) < 1e-10 * scale
    assert float(jnp.max(jnp.abs(moved - slope))) > 1e-3 * scale


def test_hardmax_is_the_limit_of_no_temperature():
    best = np.asarray(FREE(law_of(pt.Hardmax(), PRIOR)))
    for temperature in (0.1, 0.01):
        soft = np.asarray(FREE(law_of(pt.Hardmax(softness=temperature), PRIOR)))
        assert np.all(soft < best) and np.all(soft > best + temperature * np.log(MASSES.min()) - 1e-12)


def test_rows_that_see_nobody_have_nothing_to_reach():
    lonely = pt.NotSelf() * pt.Causal()
    law = law_of(pt.Softmax(), lonely)
    found = gibbs(law, X, own_weights(law))
    assert found.free_energy[0] == found.left[0] == -np.inf and found.gap[0] == found.error[0] == 0
    for normalizer in (pt.Entmax(1.5), pt.Hardmax(), pt.Sinkhorn(1.0)):
        assert FREE(law_of(normalizer, lonely))[0] == -np.inf
    assert FREE(law_of(pt.Mean(), lonely))[0] == 0


def test_what_does_not_compete_is_refused():
    law = law_of(pt.Softmax(), PRIOR)
    own = own_weights(law)
    with pytest.raises(ValueError, match="rows must sum to 1; one is off by 0.5"):
        gibbs(law, X, own / 2)
    with pytest.raises(ValueError, match="must be 0 wherever the measure is"):
        gibbs(law, X, PLAIN)
    with pytest.raises(ValueError, match="must not be negative"):
        gibbs(law, X, own - 1)
    with pytest.raises(ValueError, match="not exceed 1 times the measure"):
        gibbs(law_of(nz.Sigmoid(), PRIOR), X, 5 * own)
    with pytest.raises(ValueError, match="not sum to more than 1"):
        gibbs(law_of(nz.Null(), PRIOR), X, 2 * own)
    with pytest.raises(ValueError, match="columns must have their masses"):
        gibbs(law_of(pt.Sinkhorn(), PRIOR), X, own)
    with pytest.raises(ValueError, match=r"\[7 7\] of 7 tokens"):
        gibbs(law, X, own[:3])
    with pytest.raises(ValueError, match="half_steps"):
        gibbs(law_of(pt.Sinkhorn(half_steps=3), PRIOR), X, own)
    signed = pt.Attention(pt.LogFeatures(pt.maps.EluPlusOne(MATRIX)), normalizer=nz.Linear(normalized=False))
    with pytest.raises(ValueError, match="may have any sign"):
        signed.free_energy(X, DENSE)


def study_of(law, **options):
    plan = pt.Plan(until=0.5, save=2)
    return pt.studies.MaximumEntropy(pt.starts.Uniform(5, 3), pt.Flow(pt.Sphere(), law), plan, **options)


def test_the_study_exchanges_the_normalizer_of_one_attention():
    with pytest.raises(ValueError, match="exchanges the normalizer of one attention; the law is a Sum"):
        study_of(pt.Attention() + pt.Attention())
    with pytest.raises(ValueError, match="different ones"):
        study_of(pt.Attention(), normalizers=(pt.Entmax(2.0), pt.Entmax(2.0)))
    with pytest.raises(ValueError, match="features of a score"):
        study_of(pt.Attention(), normalizers=(nz.Linear(),))


def test_the_study_fails_where_the_identity_does():
    study = study_of(pt.Attention(pt.DotProduct(2.0)), normalizers=(pt.Softmax(),), competitors=3, steps=2)
    data = study.data()
    assert all(check.holds for check in study.checks(data))
    assert list(data.normalizer.values) == ["Softmax"]
    np.testing.assert_allclose(data.short, data.lost, rtol=1e-9)
    wrong = data.assign(error=data.error + 1e-6, least=data.least - 1)
    assert [check.holds for check in study.checks(wrong)] == [False, False, True]
