"""Linear attention: features multiplied out are softmax with the logarithm of their product as its score.

Source: 2006.16236 for the regrouping, 2009.14794 for the mean of positive random features.
"""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from reference import ALGEBRAIC, CONTROL, field, off, weights
from samples import MASSES, MATRIX, SAMPLES, N, members, tokens

import particles as pt
from particles.laws import normalizer

X = tokens()
LONG = tokens(150)  # not a multiple of the block of the prefix sum
POSITIVE = pt.LogFeatures(pt.maps.EluPlusOne(MATRIX))
SIGNED = pt.LogFeatures(pt.maps.Affine(MATRIX))
RANDOM = pt.LogFeatures(pt.maps.RandomFeatures(4, 3, 2.0, seed=1))
LONG_MASSES = np.random.default_rng(0).dirichlet(np.ones(150))


@pytest.mark.parametrize("score", [POSITIVE, RANDOM], ids=["elu", "random"])
@pytest.mark.parametrize(
    ("measure", "x"),
    [
        (pt.measures.Uniform(), X),
        (pt.Masses(MASSES), X),
        (pt.Causal(), X),
        (pt.Causal(), LONG),
        (pt.Masses(LONG_MASSES) * pt.Causal(), LONG),
    ],
    ids=["uniform", "masses", "causal", "long", "long masses"],
)
def test_linear_is_softmax_of_the_logarithm_of_features(score, measure, x):
    law = lambda normalizer: pt.Attention(score, measure, normalizer, pt.values.Linear(MATRIX))  # noqa: E731
    assert off(field(law(pt.normalizers.Linear()), x), field(law(pt.Softmax()), x)) < ALGEBRAIC
    unnormalized = pt.normalizers.Linear(normalized=False)
    assert off(field(law(unnormalized), x), field(law(pt.Mean()), x)) < ALGEBRAIC
    other = pt.Attention(score, pt.measures.Uniform() * pt.NotSelf(), value=pt.values.Linear(MATRIX))
    assert off(field(law(pt.normalizers.Linear()), x), field(other, x)) > CONTROL * ALGEBRAIC


def test_a_row_that_sees_tokens_without_mass_alone_stands_still():
    masses = np.append(0.0, np.full(N - 1, 1 / (N - 1)))
    law = lambda normalizer: pt.Attention(POSITIVE, pt.Masses(masses) * pt.Causal(), normalizer)  # noqa: E731
    found = field(law(pt.normalizers.Linear()), X)
    assert np.all(np.asarray(found)[0] == 0)
    assert off(found, field(law(pt.Softmax()), X)) < ALGEBRAIC
    gradient = jax.jacobian(lambda x: law(pt.normalizers.Linear())(jnp.zeros(()), x, pt.Dense()))(X)
    assert np.all(np.isfinite(gradient))


@pytest.mark.parametrize("score", [SIGNED, SIGNED + pt.DotProduct(1.0)], ids=["alone", "in a sum"])
@members(normalizer.AbstractNormalizer)
def test_products_of_any_sign_are_no_weights(cls, score):
    """Their logarithms are NaN, with any normalizer that takes them."""
    assert np.isnan(np.asarray(score(X, X))).any()
    with pytest.raises(ValueError, match="needs positive features.*EluPlusOne or RandomFeatures|multiplies out"):
        pt.Attention(score, normalizer=SAMPLES[cls])


@pytest.mark.parametrize("value", [pt.Difference(MATRIX), pt.LowRank(MATRIX[:, :2], MATRIX[1:])])
def test_whatever_is_pulled(value):
    law = lambda normalizer: pt.Attention(  # noqa: E731
        POSITIVE, pt.Causal(), normalizer, value, pt.gates.Constant(0.3), pt.gates.Activation(MATRIX[0])
    )
    assert off(field(law(pt.normalizers.Linear()), X), field(law(pt.Softmax()), X)) < ALGEBRAIC


@pytest.mark.parametrize("mask", [False, True])
def test_signed_features_without_a_denominator(mask):
    law = pt.Attention(SIGNED, pt.Causal() if mask else pt.measures.Uniform(), pt.normalizers.Linear(normalized=False))
    x = np.asarray(X)
    w = (x @ MATRIX.T) @ (x @ MATRIX.T).T / N * (np.tri(N) if mask else 1)
    assert w.min() < 0
    assert off(weights(law, X), w) < ALGEBRAIC
    assert off(field(law, X), w @ x) < ALGEBRAIC
    assert off(field(law, X), np.abs(w) @ x) > CONTROL * ALGEBRAIC


@pytest.mark.parametrize(
    ("make", "words"),
    [
        (lambda: pt.Attention(normalizer=pt.normalizers.Linear()), "LogFeatures"),
        (lambda: pt.Attention(SIGNED, normalizer=pt.normalizers.Linear()), "positive features"),
        (lambda: pt.Attention(POSITIVE, pt.Window(2), pt.normalizers.Linear()), "need no pairs"),
        (lambda: pt.Attention(POSITIVE, pt.Causal() * pt.Window(2), pt.normalizers.Linear()), "need no pairs"),
        (lambda: pt.Attention(POSITIVE, pt.NotSelf(), pt.normalizers.Linear()), "need no pairs"),
        (lambda: pt.Attention(POSITIVE, normalizer=pt.normalizers.Linear(), value=pt.GradScore()), "never forms"),
        (
            lambda: pt.Attention(POSITIVE, normalizer=pt.normalizers.Linear(), gate=pt.gates.InversePartition()),
            "never forms",
        ),
    ],
)
def test_what_linear_cannot_serve_is_refused(make, words):
    with pytest.raises(ValueError, match=words):
        make()


@pytest.mark.parametrize("beta", [0.5, 2.0])
def test_random_features_have_the_exponential_as_their_mean(beta):
    count = 40_000
    features = pt.maps.RandomFeatures(count, 3, beta, seed=2)
    fx, fy = (count**0.5 * np.asarray(features(z)) for z in (X, tokens(seed=1)))
    expected = np.exp(beta * np.asarray(X) @ np.asarray(tokens(seed=1)).T)
    products = fx[:, None] * fy[None]
    score = np.abs(products.mean(axis=2) - expected) / (products.std(axis=2) / count**0.5)
    assert score.max() < 4.5  # the largest of 49 that are not independent
    squares = np.exp(beta / 2 * np.sum(np.asarray(X) ** 2, axis=1))[:, None]  # without -beta |x|^2 / 2
    assert np.abs(products.mean(axis=2) * squares - expected).max() > 10 * (products.std(axis=2) / count**0.5).max()
    assert jnp.all(features(X) > 0)
