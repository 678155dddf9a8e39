"""Scores from their formulas, and which of them are one another.

On the sphere a dot product is a squared distance; off it they differ by a prior (polarization). Derived by hand.
"""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from reference import ALGEBRAIC, CONTROL, field, off, weights
from samples import MASSES, MATRIX, MLP, WIDE, on_sphere, tokens

import particles as pt

BETA = 3.0
NORMALIZERS = {
    "softmax": pt.Softmax(),
    "entmax": pt.Entmax(1.5),
    "sparsemax": pt.Entmax(2.0),
    "hardmax": pt.Hardmax(),
    "sinkhorn": pt.Sinkhorn(tolerance=1e-14),
    "sinkhorn 1": pt.Sinkhorn(1.0, tolerance=1e-14),
    "mean": pt.Mean(),
    "sigmoid": pt.normalizers.Sigmoid(),
}


def two_scores(normalizer, x, factor=1.0, prior=MASSES):
    """How far the velocities of the two scores are apart."""
    dot = field(pt.Attention(pt.DotProduct(BETA), pt.Masses(prior), normalizer, pt.values.Linear(MATRIX)), x)
    square = field(pt.Attention(pt.SquaredDistance(BETA), pt.Masses(MASSES), normalizer, pt.values.Linear(MATRIX)), x)
    return off(factor * np.asarray(square), dot)


@pytest.mark.parametrize("name", NORMALIZERS)
def test_on_the_sphere_a_dot_product_is_a_squared_distance(name):
    normalizer, x = NORMALIZERS[name], on_sphere()
    if name == "sigmoid":
        assert two_scores(normalizer, x) > CONTROL * ALGEBRAIC
        return
    factor = np.exp(BETA) if name == "mean" else 1.0
    assert two_scores(normalizer, x, factor) < ALGEBRAIC
    if name != "sinkhorn":
        away = x * (1 + 0.5 * jnp.cos(jnp.arange(7.0)))[:, None]
        assert two_scores(normalizer, away, factor) > CONTROL * ALGEBRAIC


def test_everywhere_they_differ_by_a_prior_of_keys():
    x = tokens()
    prior = MASSES * np.exp(-BETA * np.sum(np.asarray(x) ** 2, axis=1) / 2)
    assert two_scores(pt.Softmax(), x, prior=prior / prior.sum()) < ALGEBRAIC
    assert two_scores(pt.Softmax(), x) > CONTROL * ALGEBRAIC
    assert two_scores(NORMALIZERS["sinkhorn"], x) < ALGEBRAIC  # which sees neither terms of rows nor of columns
    assert two_scores(NORMALIZERS["sinkhorn 1"], x) > CONTROL * ALGEBRAIC


V, KEY = MATRIX[0, :2], MATRIX[1:]


def phi(x):
    return x + MLP_NUMPY(x)


def MLP_NUMPY(x):
    (w1, w2), (b1, b2) = MLP.weights, MLP.biases
    return np.asarray(w2) @ np.tanh(np.asarray(w1) @ x + np.asarray(b1)) + np.asarray(b2)


def cosine(x, y):
    return x @ y / np.linalg.norm(x) / np.linalg.norm(y)


FORMULAS = {
    "dot": (pt.DotProduct(2.0, query=WIDE, key=KEY), lambda x, y: 2 * (WIDE @ x) @ (KEY @ y)),
    "form": (pt.DotProduct(-2.0, form=MATRIX), lambda x, y: -2 * x @ MATRIX @ y),
    "distance": (pt.SquaredDistance(2.0, query=WIDE), lambda x, y: -np.sum((WIDE @ (x - y)) ** 2)),
    "two maps": (
        pt.SquaredDistance(2.0, query=WIDE, key=KEY),
        lambda x, y: -np.sum((WIDE @ x - KEY @ y) ** 2),
    ),
    "metric": (
        pt.Metric(pt.maps.Residual(MLP), 3.0),
        lambda x, y: -1.5 * np.sum((phi(x) - phi(y)) ** 2),
    ),
    "cosine": (
        pt.Cosine(2.0, query=WIDE, key=KEY),
        lambda x, y: 2 * cosine(WIDE @ x, KEY @ y),
    ),
    "additive": (
        pt.Additive(V, WIDE, KEY, 3.0),
        lambda x, y: 3 * V @ np.tanh(WIDE @ x + KEY @ y),
    ),
    "graph": (
        pt.Additive([1.0], MATRIX[:1], MATRIX[1:2], activation="leaky_relu"),
        lambda x, y: (lambda z: z if z > 0 else 0.2 * z)(MATRIX[0] @ x + MATRIX[1] @ y),
    ),
    "logarithm": (
        pt.LogDistance(3.0, 0.05, WIDE),
        lambda x, y: -1.5 * np.log(np.sum((WIDE @ (x - y)) ** 2) + 0.05),
    ),
    "constant": (pt.scores.Constant(), lambda x, y: 0.0),
    "within": (pt.scores.Within(0.6), lambda x, y: 0.0 if np.linalg.norm(x - y) < 0.6 else -np.inf),
    "features": (
        pt.LogFeatures(pt.maps.EluPlusOne(MATRIX)),
        lambda x, y: np.log(np.dot(*(np.where(z < 0, np.exp(z), z + 1) for z in (MATRIX @ x, MATRIX @ y)))),
    ),
    "sum": (pt.DotProduct(2.0) + pt.Cosine(-1.0), lambda x, y: 2 * x @ y - cosine(x, y)),
}


@pytest.mark.parametrize("name", FORMULAS)
def test_scores_are_their_formulas(name):
    score, formula = FORMULAS[name]
    x, y = np.asarray(tokens()), np.asarray(tokens(5, seed=1))
    expected = np.array([[formula(a, b) for b in y] for a in x])
    found = np.asarray(score(jnp.asarray(x), jnp.asarray(y)))
    np.testing.assert_allclose(found, expected, rtol=1e-12, atol=1e-14)
    assert np.abs(found[np.isfinite(found)]).max() <= score.bound(jnp.asarray(x), jnp.asarray(y))
    if name not in ("constant", "within"):
        assert np.abs(found - expected[:, ::-1]).max() > CONTROL * ALGEBRAIC


def test_geodesic_is_the_squared_arc_at_all_angles():
    """By atan2 of chord and sum, which keeps digits at both ends."""
    angles = np.array([0.0, 1e-9, 1e-4, 0.15, 0.2, 0.21, 1.0, 2.0, 3.0, 3.141])
    x = 1.5 * np.stack([np.cos(angles), np.sin(angles)], axis=1)
    arc = np.array([[2 * np.arctan2(np.linalg.norm(a - b), np.linalg.norm(a + b)) for b in x] for a in x])
    found = np.asarray(pt.Geodesic(2.0, 1.5)(jnp.asarray(x), jnp.asarray(x)))
    np.testing.assert_allclose(found, -(1.5**2) * arc**2, atol=1e-11)
    assert np.abs(found + 1.5**2 * 2 * (1 - np.cos(arc))).max() > 1  # the chord instead of the arc


@pytest.mark.parametrize("angle", [0.0, 1e-7, 0.05, 0.2003, 0.1997, 1.0, 3.0])
def test_the_gradient_of_the_geodesic_score_points_along_the_arc(angle):
    """-beta R^2 theta in the angle; zero where the tokens meet."""

    def score(phi):
        x = jnp.stack([jnp.cos(phi), jnp.sin(phi)])[None, :]
        return pt.Geodesic(2.0, 1.5)(1.5 * x, jnp.asarray([[1.5, 0.0]]))[0, 0]

    np.testing.assert_allclose(jax.grad(score)(angle), -2 * 1.5**2 * angle, rtol=1e-9, atol=1e-12)


def test_a_zero_vector_has_no_direction_and_no_gradient():
    x = tokens().at[2].set(0)
    score, gradient = jax.value_and_grad(lambda x: jnp.sum(pt.Cosine(2.0)(x, x)[2]))(x)
    assert score == 0
    assert np.all(np.asarray(gradient) == 0)


def test_without_a_nonlinearity_softmax_does_not_see_the_query():
    rows = lambda activation: np.asarray(  # noqa: E731
        weights(pt.Attention(pt.Additive(V, WIDE, KEY, activation=activation)), tokens())
    )
    assert np.ptp(rows("identity"), axis=0).max() < ALGEBRAIC
    assert np.ptp(rows("tanh"), axis=0).max() > CONTROL * ALGEBRAIC


def test_symmetric_says_whether_the_score_is():
    x, y = tokens(), tokens(7, seed=1)
    for score, _ in FORMULAS.values():
        assert score.symmetric == bool(np.allclose(score(x, y), score(y, x).T, atol=1e-12))
