"""Where one normalizer becomes another, and at which rate; where sparse ones freeze.

Entmax tends to softmax as alpha tends to 1, Sinkhorn as rho tends to 0, softmax to hardmax as beta grows. The freezing
thresholds follow from the form of entmax: a group of mass m takes everything from m^(1-alpha) / (alpha-1) on.
"""

import jax.numpy as jnp
import numpy as np
import pytest
from reference import ALGEBRAIC, CONTROL, field, moved, off, row, softmax, weights
from samples import MASSES, MATRIX, N, tokens

import particles as pt

X = tokens()
SCORE = pt.DotProduct(3.0, form=MATRIX)
SCORES = 3 * np.asarray(X) @ MATRIX @ np.asarray(X).T


def weigh(normalizer, masses=MASSES):
    return np.asarray(weights(pt.Attention(SCORE, pt.Masses(masses), normalizer), X))


def slopes(errors, steps):
    return np.diff(np.log(errors)) / np.diff(np.log(steps))


def test_entmax_tends_to_softmax_with_the_prior():
    steps = np.array([0.03, 0.01, 0.003])
    errors = lambda expected: [np.abs(weigh(pt.Entmax(1 + a)) - expected).max() for a in steps]  # noqa: E731
    assert np.all(np.abs(slopes(errors(softmax(SCORES, MASSES)), steps) - 1) < 0.05)
    assert np.all(np.abs(slopes(errors(softmax(SCORES)), steps) - 1) > 0.5)


def test_sinkhorn_tends_to_softmax():
    steps = np.array([1e-2, 1e-3, 1e-4])
    distance = lambda expected: [  # noqa: E731
        np.abs(weigh(pt.Sinkhorn(rho, tolerance=1e-14)) - expected).max() for rho in steps
    ]
    assert np.all(np.abs(slopes(distance(softmax(SCORES, MASSES)), steps) - 1) < 0.05)
    assert np.all(np.abs(slopes(distance(softmax(SCORES)), steps) - 1) > 0.5)
    assert off(weigh(pt.Sinkhorn(0.0)), softmax(SCORES, MASSES)) < ALGEBRAIC


def test_columns_of_sinkhorn_receive_their_masses_as_rho_grows():
    steps = np.array([1e2, 1e3, 1e4])
    defects = []
    for rho in (*steps, np.inf):
        w = weigh(pt.Sinkhorn(rho, tolerance=1e-14))
        assert np.abs(w.sum(axis=1) - 1).max() < ALGEBRAIC
        defects.append(np.abs(MASSES @ w / MASSES - 1).max())
    assert np.all(np.abs(slopes(defects[:3], steps) + 1) < 0.05)
    assert defects[3] < ALGEBRAIC


def test_rows_of_sinkhorn_would_not_sum_to_one_if_they_were_relaxed_too():
    kernel, kappa = np.exp(SCORES), 0.5
    f, h = np.zeros(N), np.zeros(N)
    for _ in range(200):
        h = -kappa * np.log(MASSES @ (kernel * np.exp(f)[:, None]))
        f = -kappa * np.log((kernel * np.exp(h)) @ MASSES)
    assert np.abs((kernel * np.exp(f[:, None] + h) * MASSES).sum(axis=1) - 1).max() > CONTROL * ALGEBRAIC


def test_the_null_token_fades_and_takes_everything():
    assert off(weigh(pt.normalizers.Null(-60.0, 0.5)), softmax(SCORES, MASSES)) < ALGEBRAIC
    assert np.abs(weigh(pt.normalizers.Null(60.0, 0.5))).max() < 1e-20
    mean = MASSES * np.exp(SCORES)
    assert off(weigh(pt.normalizers.Null(0.3, 0.5)), mean / (0.5 * np.exp(0.3) + mean.sum(1, keepdims=True))) < 1e-12


def test_sigmoid_is_the_mean_in_its_tail():
    bias = -40.0  # e^s / (1 + e^s) differs from e^s by e^(2 s)
    assert off(weigh(pt.normalizers.Sigmoid(bias)) * np.exp(-bias), MASSES * np.exp(SCORES)) < ALGEBRAIC
    assert off(weigh(pt.normalizers.Sigmoid(0.0)), MASSES * np.exp(SCORES)) > CONTROL * ALGEBRAIC


def test_softmax_tends_to_hardmax():
    gaps = np.sort(SCORES, axis=1)
    sharp = 41 / (gaps[:, -1] - gaps[:, -2]).min()
    hot = lambda beta: weights(pt.Attention(pt.DotProduct(3 * beta, form=MATRIX), pt.Masses(MASSES)), X)  # noqa: E731
    assert off(hot(sharp), weigh(pt.Hardmax())) < ALGEBRAIC
    assert off(hot(sharp / 10), weigh(pt.Hardmax())) > CONTROL * ALGEBRAIC
    np.testing.assert_array_equal(weigh(pt.Hardmax()), np.eye(N)[SCORES.argmax(axis=1)])


def test_hardmax_softened_is_softmax_at_that_temperature():
    softened = weigh(pt.Hardmax(softness=0.25))
    assert off(softened, softmax(SCORES / 0.25, MASSES)) < ALGEBRAIC
    assert off(softened, softmax(SCORES, MASSES)) > CONTROL * ALGEBRAIC


def test_ties_are_shared_by_mass():
    scores, masses = np.array([1.0, 3.0, 3.0, 2.0, 3.0 - 1e-9]), np.array([0.1, 0.2, 0.3, 0.2, 0.2])
    np.testing.assert_allclose(row(pt.Hardmax(), scores, masses), [0, 0.4, 0.6, 0, 0], atol=1e-15)
    limit = softmax(50 * (scores * np.array([1, 1, 1, 1, 0])[None, :]), masses)[0]
    np.testing.assert_allclose(row(pt.Hardmax(), scores, masses), limit, atol=1e-12)
    np.testing.assert_allclose(row(pt.Hardmax("first"), scores, masses), [0, 1, 0, 0, 0], atol=1e-15)
    tolerant = row(pt.Hardmax(tolerance=1e-6), scores, masses)
    np.testing.assert_allclose(tolerant, np.array([0, 2, 3, 0, 2]) / 7, atol=1e-15)


def test_hardmax_with_a_prior_looks_for_the_largest_of_both():
    masses = np.array([0.7, 0.2, 0.1])
    scores = np.array([0.0, 1.0, 1.5])  # s + log p: -0.36, -0.61, -0.80
    np.testing.assert_array_equal(row(pt.Hardmax(prior=True), scores, masses), [1, 0, 0])
    np.testing.assert_array_equal(row(pt.Hardmax(), scores, masses), [0, 0, 1])


def test_hardmax_with_a_leader_is_a_straight_line():
    """x_i(t) = v + e^-t (x_i(0) - v) as long as token i looks at v."""
    x = jnp.asarray([[2.0, 0.1], [1.0, 0.3], [0.6, -0.4], [1.2, -0.1]])
    flow = pt.Flow(pt.Euclidean(), pt.Attention(pt.DotProduct(1.0), normalizer=pt.Hardmax(), value=pt.Difference()))
    end = moved(flow, x, 1.5)
    assert off(end, x[:1] + np.exp(-1.5) * (x - x[:1])) < 1e-8


def threshold(mass, alpha):
    return mass ** (1 - alpha) / (alpha - 1)


@pytest.mark.parametrize("alpha", [1.25, 1.5, 2.0, 3.0])
def test_entmax_freezes_a_group_beyond_its_threshold(alpha):
    masses = np.array([0.15, 0.2, 0.05, 0.4, 0.2])
    group, best = np.array([1, 1, 0, 0, 0], bool), 0.7

    def taken_by_others(gap, normalizer, masses=None):
        return row(normalizer, np.where(group, best, best - gap), masses)[~group]

    measure, counting = threshold(0.35, alpha), threshold(2, alpha)
    assert np.all(taken_by_others(measure * 1.0001, pt.Entmax(alpha), masses) == 0)
    assert np.all(taken_by_others(measure * 0.9999, pt.Entmax(alpha), masses) > 0)
    assert np.all(taken_by_others(counting * 1.0001, pt.Entmax(alpha, "counting")) == 0)
    assert np.all(taken_by_others(counting * 0.9999, pt.Entmax(alpha, "counting")) > 0)
    assert np.all(taken_by_others(counting * 1.0001, pt.Entmax(alpha), masses) > 0)  # the other convention's formula
    assert np.all(taken_by_others(measure * 0.9999, pt.Entmax(alpha, "counting")) == 0)


@pytest.mark.parametrize(
    ("alpha", "reference", "angle"),
    [(1.5, "counting", 1.0472), (2.0, "counting", 0.7227), (1.5, "measure", 1.2735), (2.0, "measure", 1.0472)],
)
def test_two_tokens_on_the_circle_freeze_at_the_angle_of_the_formula(alpha, reference, angle):
    beta = 4.0
    share = 1.0 if reference == "counting" else 2 ** (alpha - 1)
    formula = np.arccos(1 - share / (beta * (alpha - 1)))
    np.testing.assert_allclose(formula, angle, atol=5e-5)

    def other(phi):
        x = jnp.asarray([[1.0, 0.0], [np.cos(phi), np.sin(phi)]])
        return weights(pt.Attention(pt.DotProduct(beta), normalizer=pt.Entmax(alpha, reference)), x)[0, 1]

    assert other(formula + 1e-4) == 0
    assert other(formula - 1e-4) > 0


@pytest.mark.parametrize("normalizer", [pt.Softmax(), pt.Entmax(1.5), pt.Hardmax(), pt.Sinkhorn(1.0), pt.Sinkhorn()])
def test_without_scores_the_weights_are_the_measure(normalizer):
    law = pt.Attention(pt.scores.Constant(), pt.Masses(MASSES), normalizer)
    assert off(weights(law, X), np.tile(MASSES, (N, 1))) < ALGEBRAIC
    assert off(field(law, X), np.tile(MASSES @ np.asarray(X), (N, 1))) < ALGEBRAIC
