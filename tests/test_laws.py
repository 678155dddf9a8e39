"""Attention against other programs, and where its edges are."""

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from samples import MASSES, MATRIX, WIDE, N, tokens

import particles as pt
from particles.laws.pair import Tokens
from particles.summation import Blocked, Dense, Gathered
from particles.summation.base import closed, nothing

ZERO = jnp.zeros(())


@pytest.mark.parametrize("masked", [False, True])
def test_agrees_with_jax_dot_product_attention(masked):
    x, beta = tokens(), 1.7
    measure = pt.Causal() if masked else pt.measures.Uniform()
    law = pt.Attention(pt.DotProduct(beta, query=MATRIX, key=MATRIX.T), measure, value=pt.values.Linear(MATRIX))
    heads = lambda rows: rows[None, :, None, :]  # noqa: E731
    with jax.numpy_dtype_promotion("standard"):  # theirs mixes precisions
        expected = jax.nn.dot_product_attention(
            heads(x @ MATRIX.T), heads(x @ MATRIX), heads(x @ MATRIX.T), scale=beta, is_causal=masked
        )
    np.testing.assert_allclose(
        law(ZERO, x, Dense()), expected[0, :, 0], rtol=1e-5
    )  # theirs takes the softmax in float32


def test_a_sum_of_heads_agrees_with_equinox_multihead_attention():
    x = tokens()
    theirs = eqx.nn.MultiheadAttention(2, 3, qk_size=2, vo_size=3, key=jax.random.key(0), dtype=jnp.float64)
    q, k = (np.asarray(m.weight).reshape(2, 2, 3) for m in (theirs.query_proj, theirs.key_proj))
    v = np.asarray(theirs.value_proj.weight).reshape(2, 3, 3)
    o = np.asarray(theirs.output_proj.weight).reshape(3, 2, 3)
    heads = [
        pt.Attention(pt.DotProduct(2**-0.5, query=q[h], key=k[h]), value=pt.values.Linear(o[:, h] @ v[h]))
        for h in (0, 1)
    ]
    np.testing.assert_allclose((heads[0] + heads[1])(ZERO, x, Dense()), theirs(x, x, x), rtol=1e-12)


def test_dot_product_forms_are_the_same_law():
    x, law = tokens(), lambda **maps: pt.Attention(pt.DotProduct(1.3, **maps))(ZERO, tokens(), Dense())
    np.testing.assert_allclose(law(query=WIDE, key=WIDE[::-1]), law(form=WIDE.T @ WIDE[::-1]), rtol=1e-12)
    assert x.shape == (N, 3)


def test_squared_distance_keeps_its_digits_far_from_the_origin():
    x = tokens()
    score = pt.SquaredDistance(1.0)
    np.testing.assert_allclose(score(x + 1e6, x + 1e6), score(x, x), atol=1e-8)  # 1e6 * 1e-16, times the distance
    square = -0.5 * np.sum((np.asarray(x)[:, None] - np.asarray(x)[None]) ** 2, axis=-1)
    np.testing.assert_allclose(score(x, x), square, atol=1e-14)


def test_softmax_with_squared_distance_is_dot_product_with_a_prior():
    x, beta = tokens(), 1.7
    prior = np.exp(-beta * np.sum(np.asarray(x) ** 2, axis=1) / 2)
    ours = pt.Attention(pt.SquaredDistance(beta))(ZERO, x, Dense())
    theirs = pt.Attention(pt.DotProduct(beta), pt.Masses(prior / prior.sum()))(ZERO, x, Dense())
    np.testing.assert_allclose(ours, theirs, rtol=1e-12)
    without = pt.Attention(pt.DotProduct(beta))(ZERO, x, Dense())
    assert np.abs(ours - without).max() > 1e-3


def test_difference_is_translation_invariant_and_keeps_its_digits():
    x, law = tokens(), pt.Attention(pt.SquaredDistance(1.0), value=pt.Difference(MATRIX))
    np.testing.assert_allclose(law(ZERO, x + 1e3, Dense()), law(ZERO, x, Dense()), atol=1e-11)
    tight = 1.0 + 1e-9 * x
    weights = np.asarray(law.weights(tight, Dense()))
    gap = np.asarray(tight)[None] - np.asarray(tight)[:, None]
    expected = np.einsum("ij,ijd,kd->ik", weights, gap, MATRIX)
    np.testing.assert_allclose(law(ZERO, tight, Dense()), expected, rtol=1e-6)  # 1e-16 of 1 in 1e-9
    careless = weights @ np.asarray(tight) - np.asarray(tight)
    assert np.abs(careless @ MATRIX.T - expected).max() > 1e-8 * np.abs(expected).max()


@pytest.mark.parametrize("summation", [Dense(), Blocked(rows=2, columns=3)])
@pytest.mark.parametrize("normalizer", [pt.Softmax(), pt.Mean()])
def test_a_row_that_sees_nobody_stands_still(summation, normalizer):
    law = pt.Attention(pt.DotProduct(5.0), pt.NotSelf() * pt.Causal(), normalizer)
    field = lambda x: law(ZERO, x, summation)  # noqa: E731
    assert np.all(field(tokens())[0] == 0)
    assert np.all(np.isfinite(jax.jacobian(field)(tokens())))
    alone = pt.Attention(measure=pt.NotSelf(), normalizer=normalizer)
    assert np.all(alone(ZERO, tokens(1), summation) == 0)


def test_a_token_without_mass_is_seen_by_nobody():
    x = tokens()
    masses = np.append(MASSES, 0.0)
    law = lambda p: pt.Attention(pt.DotProduct(2.0), pt.Masses(p))  # noqa: E731
    with_ghost = law(masses)(ZERO, jnp.concatenate([x, 100 * x[:1]]), Dense())
    np.testing.assert_allclose(with_ghost[:N], law(MASSES)(ZERO, x, Dense()), rtol=1e-13)
    gradient = jax.grad(
        lambda p: jnp.sum(eqx.tree_at(lambda m: m.p, pt.Masses(masses), p).mass_terms(jnp.arange(8))[0][0, :7])
    )
    assert np.all(np.isfinite(gradient(jnp.asarray(masses))))


def test_large_scores_do_not_overflow_softmax():
    x = tokens()
    sharp = pt.Attention(pt.DotProduct(1e6))(ZERO, x, Dense())
    nearest = np.argmax(np.asarray(x) @ np.asarray(x).T, axis=1)
    np.testing.assert_allclose(sharp, np.asarray(x)[nearest], atol=1e-12)


def random_gathered(seed):
    rng = np.random.default_rng(seed)
    logits = rng.normal(size=(4, 5)) * 30
    logits[1] = -np.inf
    return closed(jnp.asarray(logits), jnp.asarray(rng.normal(size=(5, 2))))


def test_gathering_is_a_commutative_monoid():
    a, b, c = (random_gathered(seed) for seed in range(3))
    unit = nothing(4, 2, jnp.dtype("float64"))
    same = lambda p, q: all(  # noqa: E731
        np.allclose(x, y, rtol=1e-12, atol=1e-14) for x, y in zip(jax.tree.leaves(p), jax.tree.leaves(q), strict=True)
    )
    assert same(a.merge(b), b.merge(a))
    assert same(a.merge(b).merge(c), a.merge(b.merge(c)))
    assert same(a.merge(unit), a)
    assert same(unit.merge(unit), unit)
    assert not same(a.merge(Gathered(jnp.zeros(4), jnp.ones(4), jnp.zeros((4, 2)))), a)


@pytest.mark.parametrize("n", [1, 5, 64, 129])
@pytest.mark.parametrize("block", [(1, 1), (64, 128), (32, 50)])
def test_blocked_takes_any_number_of_tokens(n, block):
    x = tokens(n)
    law = pt.Attention(pt.DotProduct(4.0), pt.Causal())
    np.testing.assert_allclose(law(ZERO, x, Blocked(*block)), law(ZERO, x, Dense()), rtol=1e-12, atol=1e-14)


@pytest.mark.parametrize("beta", [1.0, 200.0, 2000.0])
@pytest.mark.parametrize("normalizer", [pt.Softmax(), pt.Mean()])
def test_blocked_equals_dense_with_and_without_looking_for_peaks(beta, normalizer):
    """Logits up to 75 are summed as they are; up to 300 they are near the limit; up to 1500 peaks are needed."""
    x, law = tokens(40), pt.Attention(pt.DotProduct(beta), pt.Masses(np.arange(40) / 780), normalizer)
    assert (law.head(x, Dense()).meeting.pair.bound(Tokens.of(x), Tokens.of(x)) < 319) == (beta < 500)
    blocked = law(ZERO, x, Blocked(rows=16, columns=7))
    np.testing.assert_allclose(blocked, law(ZERO, x, Dense()), rtol=1e-11)
    assert np.all(np.isfinite(blocked)) or (isinstance(normalizer, pt.Mean) and beta > 500)  # e^1500 is no number


def test_memory_of_blocked_grows_with_tokens_and_that_of_dense_with_pairs():
    growth = lambda s: s.memory(80_000, 80_000, 4, 4) / s.memory(40_000, 40_000, 4, 4)  # noqa: E731
    assert growth(Blocked()) < 2.01
    assert growth(Dense()) > 3.9


def test_auto_is_dense_for_few_and_blocked_for_many():
    assert pt.Auto().chosen(100, 100, 8) == Dense()
    assert pt.Auto().chosen(20_000, 20_000, 4) == Blocked()


@pytest.mark.parametrize(
    ("make", "words"),
    [
        (lambda: pt.DotProduct(query=WIDE), "together"),
        (lambda: pt.DotProduct(query=WIDE, key=MATRIX), r"\(2, 3\) and \(3, 3\)"),
        (lambda: pt.DotProduct(query=WIDE, key=WIDE, form=MATRIX), "all of them"),
        (lambda: pt.DotProduct(form=WIDE), "square"),
        (lambda: pt.DotProduct(np.nan), "finite; got nan"),
        (lambda: pt.SquaredDistance(-1.0), "greater than 0; got -1"),
        (lambda: pt.SquaredDistance(key=WIDE), "beside `query`"),
        (lambda: pt.Masses([0.5, 0.6]), "sum to 1; got 1.1"),
        (lambda: pt.Masses([1.5, -0.5]), "at least 0"),
        (lambda: pt.Masses([1.0]) * pt.measures.Uniform(), "one mass factor"),
        (lambda: Blocked(rows=0), "at least 1; got 0"),
        (lambda: pt.Sphere(0.0), "greater than 0"),
        (lambda: pt.DotProduct([1.0, 2.0]), r"must be a number; got an array of shape \(2,\)"),
        (lambda: pt.DotProduct(None), "must be a number; got None"),
        (lambda: pt.DotProduct(1 + 1j), "real number"),
        (lambda: pt.Plan(until=1.0, chunk=2.5), "whole number; got 2.5"),
        (lambda: pt.DotProduct("4"), "expected a real number"),
        (
            lambda: pt.Flow(pt.Sphere(), pt.Attention(measure=pt.Masses([0.5, 0.5]))).check_tokens(tokens()),
            "2 masses and 7",
        ),
        (
            lambda: pt.Flow(pt.Sphere(), pt.Attention(value=pt.values.Linear(np.eye(2)))).check_tokens(tokens()),
            "dimension 3",
        ),
        (lambda: pt.Flow(pt.Sphere(), pt.Attention()).check_tokens(tokens(4, 1)), "dimension 2 or more"),
        (lambda: pt.Flow(pt.Sphere(), pt.Attention()).check_tokens(jnp.arange(6).reshape(2, 3)), "floating array"),
    ],
)
def test_what_does_not_fit_is_refused(make, words):
    with pytest.raises(ValueError, match=words):
        make()
