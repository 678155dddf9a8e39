"""Masks and priors: densities from their formulas, rows that see nobody, and what a causal mask does on the circle.

The causal facts are those of 2411.04990, derived again by hand; BigBird's pattern is that of 2007.14062, ALiBi's slopes
those of 2108.12409.
"""

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from reference import ALGEBRAIC, CONTROL, DENSE, ZERO, field, moved, off, softmax, weights
from samples import DENSITIES, MASSES, MATRIX, N, tokens
from scipy.integrate import quad

import particles as pt
from particles.summation import Blocked

X = tokens()
SCORE = pt.DotProduct(3.0, form=MATRIX)
SCORES = 3 * np.asarray(X) @ MATRIX @ np.asarray(X).T
ROW, COLUMN = np.indices((N, N))
BACK = ROW - COLUMN
M = pt.measures

SIGMOID = 1 / (1 + np.exp(-np.array([2.0, -1.0, 0.5]) / 0.7))
BAND = np.abs(BACK)
FORMULAS = {
    "causal": (pt.Causal(), BACK >= 0),
    "window": (pt.Window(2), BAND <= 2),
    "ring": (pt.Window(2, periodic=True), np.minimum(BAND, N - BAND) <= 2),
    "looking back": (pt.Causal() * pt.Window(2), (BACK >= 0) & (BACK <= 2)),
    "not self": (pt.NotSelf(), BACK != 0),
    "star": (M.Global(1), (ROW == 0) | (COLUMN == 0)),
    "given": (M.Given(DENSITIES), DENSITIES),
    "logarithms": (M.Given(np.log(DENSITIES + 1e-3), logarithmic=True), DENSITIES + 1e-3),
    "blocks": (M.Blocks((4, 3), [[1.0, 0.2], [0.0, 1.5]]), np.array([[1, 0.2], [0, 1.5]])[ROW // 4, COLUMN // 4]),
    "alibi": (pt.ALiBi(0.5), np.where(BACK >= 0, np.exp(-0.5 * BACK), 0)),
    "strict alibi": (pt.ALiBi(0.5, "strict"), np.where(BACK > 0, np.exp(-0.5 * BACK), 0)),
    "alibi of both sides": (pt.ALiBi(0.5, "both"), np.exp(-0.5 * BAND)),
    "toeplitz": (M.Toeplitz([0.0, 1.0, 0.5]), np.array([0, 1, 0.5, 0, 0, 0, 0])[BAND]),
    "relaxed": (M.RelaxedMask([2.0, -1.0, 0.5], 0.7), np.append(SIGMOID, np.zeros(4))[BAND]),
    "union": (pt.Window(1) | M.Global(1), (BAND <= 1) | (ROW == 0) | (COLUMN == 0)),
    "graded union": (pt.ALiBi(0.5) | M.Toeplitz([0.3]), np.where(BACK >= 0, np.exp(-0.5 * BACK), 0)),
    "power": (M.Given(DENSITIES) ** 0.4, DENSITIES**0.4),
    "power zero": (M.Given(DENSITIES) ** 0.0, np.ones((N, N))),
    "product": (pt.ALiBi(0.5, "both") * pt.NotSelf(), np.exp(-0.5 * BAND) * (BACK != 0)),
}


@pytest.mark.parametrize("name", FORMULAS)
def test_densities_are_their_formulas(name):
    factor, expected = FORMULAS[name]
    expected = np.asarray(expected, float)
    found = np.exp(factor.log_density(jnp.arange(N), jnp.arange(N), N))
    np.testing.assert_allclose(found, expected / N, rtol=1e-13)
    masses = pt.Masses(MASSES) * factor
    seen = expected.any(axis=1)
    law = pt.Attention(SCORE, masses, pt.Mean(), pt.values.Linear(MATRIX))
    assert off(field(law, X), expected * MASSES * np.exp(SCORES) @ np.asarray(X) @ MATRIX.T) < ALGEBRAIC
    law = pt.Attention(SCORE, masses)
    assert off(np.asarray(weights(law, X))[seen], softmax(SCORES[seen], (expected * MASSES)[seen])) < ALGEBRAIC
    if name != "power zero":
        assert off(np.asarray(weights(law, X))[seen], softmax(SCORES[seen], MASSES)) > CONTROL * ALGEBRAIC


def test_slopes_of_alibi_and_its_indifference_to_temperature():
    np.testing.assert_array_equal(pt.ALiBi.slopes(8), [2.0**-h for h in range(1, 9)])
    hot = np.asarray(weights(pt.Attention(pt.DotProduct(0.0), pt.ALiBi(0.5, "both")), X))
    assert off(hot, softmax(-0.5 * BAND)) < ALGEBRAIC


def test_random_masks_have_their_share_and_their_seed():
    n = 60
    seen = lambda share, seed: np.isfinite(M.Random(share, seed).log_factor(*(jnp.arange(n),) * 2, n))  # noqa: E731
    error = np.sqrt(0.3 * 0.7) / n
    for seed in range(3):
        assert abs(seen(0.3, seed).mean() - 0.3) < 4 * error
        assert abs(seen(0.6, seed).mean() - 0.3) > 10 * error
    assert np.mean(seen(0.3, 0) == seen(0.3, 1)) < 0.65  # 0.58 for independent draws
    union = (pt.Window(1) | M.Global(1) | M.Random(0.3)).log_factor(*(jnp.arange(n),) * 2, n)
    i, j = np.indices((n, n))
    expected = (abs(i - j) <= 1) | (i == 0) | (j == 0) | seen(0.3, 0)
    np.testing.assert_array_equal(np.isfinite(union), expected)


def test_a_union_is_not_a_sum_of_heads():
    one, other = pt.Window(1), M.Global(1)
    union = field(pt.Attention(SCORE, one | other), X)
    heads = field(pt.Attention(SCORE, one) + pt.Attention(SCORE, other), X)
    assert off(heads / 2, union) > CONTROL * ALGEBRAIC


def test_the_mean_of_a_causal_row_keeps_its_share():
    law = pt.Attention(pt.scores.Constant(), pt.Causal(), pt.Mean())
    past = np.cumsum(np.asarray(X), axis=0)
    assert off(field(law, X), past / N) < ALGEBRAIC
    assert off(field(law, X), past / np.arange(1, N + 1)[:, None]) > CONTROL * ALGEBRAIC


def test_priors_fuse_geometrically():
    """pi^(1 - lambda) e^(lambda s): the prior alone at 0, softmax at 1, in between the mean of the logarithms."""
    prior, share = DENSITIES + 0.1, 0.3
    fused = lambda share: np.asarray(  # noqa: E731
        weights(pt.Attention(pt.DotProduct(3 * share, form=MATRIX), M.Given(prior) ** (1 - share)), X)
    )
    assert off(fused(0.0), prior / prior.sum(1, keepdims=True)) < ALGEBRAIC
    assert off(fused(1.0), softmax(SCORES)) < ALGEBRAIC
    mixed = np.exp(share * np.log(fused(1.0)) + (1 - share) * np.log(fused(0.0)))
    assert off(fused(share), mixed / mixed.sum(1, keepdims=True)) < ALGEBRAIC
    arithmetic = share * fused(1.0) + (1 - share) * fused(0.0)
    assert off(fused(share), arithmetic) > CONTROL * ALGEBRAIC


def test_groups_without_prior_mass_between_them_never_meet():
    apart = pt.Attention(SCORE, M.Blocks((4, 3), np.eye(2)))
    moved = X.at[5].add(0.3)
    np.testing.assert_array_equal(field(apart, moved)[:4], field(apart, X)[:4])
    together = pt.Attention(SCORE, M.Blocks((4, 3), [[1, 1e-3], [1e-3, 1]]))
    assert off(field(together, moved)[:4], field(together, X)[:4]) > CONTROL * ALGEBRAIC


def test_density_power_divides_by_the_density():
    symmetric = MATRIX @ MATRIX.T
    x, a = np.asarray(X), 0.6
    kernel = np.exp(3 * x @ symmetric @ x.T)
    expected = softmax(np.log(kernel), MASSES * (kernel @ MASSES) ** -a)
    law = lambda *factors: pt.Attention(  # noqa: E731
        pt.DotProduct(3.0, form=symmetric), np.prod([pt.Masses(MASSES), *factors])
    )
    assert off(weights(law(pt.DensityPower(a)), X), expected) < ALGEBRAIC
    assert off(weights(law(), X), expected) > CONTROL * ALGEBRAIC
    once = softmax(np.log(kernel), MASSES * np.exp(-a * np.log(kernel.T @ MASSES)))  # a sweep of Sinkhorn from f = 0
    assert off(weights(law(pt.DensityPower(a)), X), once) < ALGEBRAIC


NORMALIZERS = {
    "softmax": pt.Softmax(),
    "mean": pt.Mean(),
    "null": pt.normalizers.Null(0.3, 0.5),
    "sigmoid": pt.normalizers.Sigmoid(0.2),
    "counting sigmoid": pt.normalizers.Sigmoid(0.2, "counting"),
    "entmax": pt.Entmax(1.5),
    "entmax 3": pt.Entmax(3.0),
    "counting entmax": pt.Entmax(1.5, "counting"),
    "hardmax": pt.Hardmax(),
    "first": pt.Hardmax("first"),
    "prior": pt.Hardmax(prior=True),
    "soft": pt.Hardmax(softness=0.5),
}


@eqx.filter_jit
def velocity_and_gradient(law, x, summation):
    def number(arguments):
        law, x = arguments
        u = law(ZERO, x, summation)
        return jnp.sum(jnp.sin(u + 0.3)), u

    return eqx.filter_value_and_grad(number, has_aux=True)((law, x))


BLOCKED = Blocked(rows=3, columns=2)


@pytest.mark.parametrize(
    ("name", "summation"), [*((name, DENSE) for name in NORMALIZERS), ("mean", BLOCKED), ("entmax", BLOCKED)]
)
def test_a_row_that_sees_nobody_pulls_nothing_and_has_finite_gradients(name, summation):
    slots = {"normalizer": NORMALIZERS[name], "value": pt.values.Linear(MATRIX)}
    alone = pt.Attention(SCORE, pt.NotSelf(), **slots)
    hidden = pt.Attention(SCORE, pt.NotSelf() * pt.Causal(), **slots)
    for law, x in ((alone, X[:1]), (hidden, X)):
        (_, u), gradient = velocity_and_gradient(law, x, summation)
        assert np.all(u[0] == 0)
        assert len(x) == 1 or np.all(np.abs(u[1:]).max(axis=1) > 0)
        for leaf in jax.tree.leaves(gradient):
            assert np.all(np.isfinite(leaf))
        assert not (len(x) == 1 and np.any(gradient[1] != 0))


@pytest.mark.parametrize("value", [pt.Difference(MATRIX), pt.GradScore(), pt.LowRank(MATRIX, MATRIX)])
@pytest.mark.parametrize("name", ["softmax", "mean", "null", "sigmoid", "entmax"])
def test_whatever_is_pulled(name, value):
    law = pt.Attention(SCORE, pt.NotSelf() * pt.Causal(), NORMALIZERS[name], value)
    (_, u), gradient = velocity_and_gradient(law, X, DENSE)
    assert np.all(u[0] == 0)
    assert all(np.all(np.isfinite(leaf)) for leaf in jax.tree.leaves(gradient))


def test_a_row_that_sees_nobody_has_no_free_energy():
    free = pt.Attention(SCORE, pt.NotSelf() * pt.Causal()).free_energy(X, DENSE)
    assert free[0] == -np.inf
    assert np.all(np.isfinite(free[1:]))


def test_gradients_in_a_given_density_are_finite_where_it_is_zero():
    matrix = jnp.asarray(DENSITIES).at[0].set(0)
    law = pt.Attention(SCORE, M.Given(matrix), value=pt.values.Linear(MATRIX))
    (_, u), gradient = velocity_and_gradient(law, X, DENSE)
    assert np.all(u[0] == 0)
    assert all(np.all(np.isfinite(leaf)) for leaf in jax.tree.leaves(gradient))


def time_of_the_second_token(mask, until=1.5, beta=3.0, start=2.0):
    """The depth at which the angle reached is due: phi' = -sin phi e / (1 + e), e = e^(beta (cos phi - 1))."""
    x = jnp.asarray([[1.0, 0.0], [np.cos(start), np.sin(start)], [0.6, -0.8]])
    flow = pt.Flow(pt.Sphere(), pt.Attention(pt.DotProduct(beta), mask))
    end = np.asarray(moved(flow, x, until))
    np.testing.assert_allclose(end[0], x[0], atol=1e-13)  # the first never moves
    phi = np.arccos(end[1] @ end[0])
    slowness = lambda phi: (1 + np.exp(-beta * (np.cos(phi) - 1))) / np.sin(phi)  # noqa: E731
    return quad(slowness, phi, start, epsabs=1e-13, epsrel=1e-13)[0]


def test_the_second_causal_token_follows_the_first():
    assert abs(time_of_the_second_token(pt.Causal()) / 1.5 - 1) < 1e-8
    assert abs(time_of_the_second_token(M.Given(np.tri(3, k=-1))) / 1.5 - 1) > 1e-2  # shifted by one
