"""Laws against other programs: attention of JAX and equinox, einsum, and oscillators with frequencies."""

import dataclasses

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from reference import ALGEBRAIC, CONTROL, DENSE, ZERO, between, field, moved, off, softmax
from samples import MATRIX, WIDE, N, tokens

import particles as pt

X = tokens()
HEADS, WIDTH = 2, 4
Q, K, V = (jnp.asarray(np.random.default_rng(k).normal(size=(HEADS * WIDTH, 3))) for k in range(3))
OUT = jnp.asarray(np.random.default_rng(3).normal(size=(3, HEADS * WIDTH)))
MASKS = {
    "full": (pt.measures.Uniform(), np.ones((N, N), bool)),
    "causal": (pt.Causal(), np.tri(N, dtype=bool)),
    "window": (pt.Window(2), np.abs(np.subtract.outer(np.arange(N), np.arange(N))) <= 2),
}


def masked(laws, measure):
    return pt.Sum(tuple(dataclasses.replace(law, measure=measure) for law in laws.laws))


@pytest.mark.parametrize("mask", MASKS)
def test_multihead_agrees_with_jax(mask):
    measure, seen = MASKS[mask]
    split = lambda m: (X @ m.T).reshape(1, N, HEADS, WIDTH)  # noqa: E731
    with jax.numpy_dtype_promotion("standard"):  # theirs mixes precisions
        pulled = jax.nn.dot_product_attention(split(Q), split(K), split(V), mask=jnp.asarray(seen)[None, None])
    expected = pulled.reshape(N, -1) @ OUT.T
    ours = field(masked(pt.multihead(Q, K, V, OUT, HEADS), measure), X)
    assert off(ours, expected) < 1e-5  # theirs takes the softmax in single precision
    assert off(field(masked(pt.multihead(Q, K, V, OUT, 1), measure), X), expected) > 1e-3


@pytest.mark.parametrize("mask", MASKS)
def test_multihead_agrees_with_equinox(mask):
    measure, seen = MASKS[mask]
    theirs = eqx.nn.MultiheadAttention(HEADS, 3, qk_size=WIDTH, vo_size=WIDTH, key=jax.random.key(0), dtype=float)
    projections = ("query_proj", "key_proj", "value_proj", "output_proj")
    for name, matrix in zip(projections, (Q, K, V, OUT), strict=True):
        theirs = eqx.tree_at(lambda m, name=name: getattr(m, name).weight, theirs, matrix)
    expected = theirs(X, X, X, mask=jnp.asarray(seen))
    ours = lambda **options: field(masked(pt.multihead(Q, K, V, OUT, HEADS, **options), measure), X)  # noqa: E731
    assert off(ours(), expected) < ALGEBRAIC
    assert off(ours(beta=1.0), expected) > CONTROL * ALGEBRAIC


@pytest.mark.parametrize(("k", "v"), [(4, 2), (2, 4), (3, 1)])
def test_values_have_a_width_of_their_own(k, v):
    rng, x = np.random.default_rng(k), np.asarray(X)
    q, key, value = (rng.normal(size=(HEADS, width, 3)) for width in (k, k, v))
    out = rng.normal(size=(3, HEADS, v))
    heads = [softmax(x @ q[h].T @ key[h] @ x.T / np.sqrt(k)) @ x @ value[h].T @ out[:, h].T for h in range(HEADS)]
    stacked = lambda m: m.reshape(-1, 3)  # noqa: E731
    ours = pt.multihead(stacked(q), stacked(key), stacked(value), out.reshape(3, -1), HEADS)
    assert off(field(ours, X), sum(heads)) < ALGEBRAIC
    exchanged = pt.multihead(stacked(q), stacked(key), stacked(value[::-1]), out.reshape(3, -1), HEADS)
    assert off(field(exchanged, X), sum(heads)) > CONTROL * ALGEBRAIC


@pytest.mark.parametrize(
    ("matrices", "words"),
    [
        ((Q[:4], K[:6], V, OUT), r"one shape .*; got query \(4, 3\), key \(6, 3\), value \(8, 3\), output \(3, 8\)"),
        ((Q, K, V, OUT[:, :6]), r"output \(3, 6\)"),
        ((Q, K, V, OUT.T), r"output \(8, 3\)"),
        ((Q, K, V[:, :2], OUT), r"value \(8, 2\)"),
        ((Q, K, V, OUT[:2]), r"output \(2, 8\)"),
        ((Q[0], K[0], V, OUT), r"query \(3,\)"),
        ((Q, K, V[:3], OUT[:, :3]), "2 heads do not divide a width of 3, that of the values"),
        ((Q[:3], K[:3], V, OUT), "2 heads do not divide a width of 3, that of the queries"),
        ((Q[:0], K[:0], V, OUT), "2 heads do not divide a width of 0"),
    ],
)
def test_multihead_refuses_what_does_not_fit(matrices, words):
    with pytest.raises(ValueError, match=words):
        pt.multihead(*matrices, HEADS)


@pytest.mark.parametrize(("name", "activation"), [("gelu", jax.nn.gelu), ("tanh", jnp.tanh), ("relu", jax.nn.relu)])
@pytest.mark.parametrize("bias", [True, False])
def test_feed_forward_agrees_with_equinox(name, activation, bias):
    network = eqx.nn.MLP(3, 3, 5, 2, activation, use_bias=bias, use_final_bias=bias, key=jax.random.key(1))
    law = pt.FeedForward(pt.Perceptron.of(network, name))
    assert off(field(law, X), jax.vmap(network)(X)) < ALGEBRAIC
    other = pt.FeedForward(pt.Perceptron.of(network, "silu"))
    assert off(field(other, X), jax.vmap(network)(X)) > CONTROL * ALGEBRAIC


def test_talking_heads_agree_with_einsum():
    q, k, v = (np.asarray(m).reshape(HEADS, WIDTH, 3) for m in (Q, K, V))
    o = np.asarray(OUT).reshape(3, HEADS, WIDTH)
    mixing = np.array([[1.0, 0.5], [-0.3, 0.8]])
    x = np.asarray(X)
    w = np.stack([softmax(x @ q[h].T @ k[h] @ x.T / np.sqrt(WIDTH)) for h in range(HEADS)])
    expected = lambda m: np.einsum("hg,gij,hkd,jd,chk->ic", m, w, v, x, o)  # noqa: E731
    plain = pt.multihead(Q, K, V, OUT, HEADS)
    law = lambda m: pt.TalkingHeads(plain.laws, m)  # noqa: E731
    assert off(field(law(mixing), X), expected(mixing)) < ALGEBRAIC
    assert off(field(law(mixing), X), expected(mixing.T)) > CONTROL * ALGEBRAIC
    assert off(field(law(np.eye(2)), X), field(plain, X)) < ALGEBRAIC


@pytest.mark.parametrize("value", [pt.values.Linear(MATRIX), pt.Difference(MATRIX), pt.GradScore()])
def test_cross_attention_is_a_block(value):
    score = pt.DotProduct(3.0, query=WIDE, key=MATRIX[1:])
    found = field(pt.Cross(pt.Attention(score, value=value), (1, 4), (3, 7)), X)
    x, y = np.asarray(X)[1:4], np.asarray(X)[3:7]
    w = softmax(3 * x @ WIDE.T @ MATRIX[1:] @ y.T)
    pulled = {
        "Linear": w @ y @ MATRIX.T,
        "Difference": (w @ y - x) @ MATRIX.T,
        "GradScore": 3 * w @ y @ MATRIX[1:].T @ WIDE,
    }[type(value).__name__]
    expected = np.zeros((N, 3))
    expected[1:4] = pulled
    assert off(found, expected) < ALGEBRAIC
    assert np.all(np.asarray(found)[[0, 4, 5, 6]] == 0)
    assert off(found, expected[[0, 2, 1, 3, 4, 5, 6]]) > CONTROL * ALGEBRAIC


def test_cross_attention_of_one_range_is_the_law_of_those_tokens():
    """With row masses too, on which Sinkhorn's columns depend."""
    law = pt.Attention(pt.DotProduct(3.0, form=MATRIX), pt.Masses([0.1, 0.2, 0.3, 0.4]), pt.Sinkhorn(1.0))
    x = X[:6]
    found, alone = field(pt.Cross(law, (0, 4), (0, 4)), x), field(law, x[:4])
    assert off(found[:4], alone) < ALGEBRAIC
    assert np.all(np.asarray(found)[4:] == 0)
    assert off(between(law, x[:4], x[:4]), alone) > CONTROL * ALGEBRAIC  # as rows of other tokens they weigh alike


def test_one_softmax_over_species_is_not_a_softmax_for_each():
    score, ranges = pt.DotProduct(3.0, form=MATRIX), ((0, 4), (4, 7))
    union = field(pt.Attention(score, pt.measures.Blocks((4, 3), np.ones((2, 2)))), X)
    each = pt.Sum(tuple(pt.Cross(pt.Attention(score), q, k) for q in ranges for k in ranges))
    s = 3 * np.asarray(X) @ MATRIX @ np.asarray(X).T
    halves = [softmax(s[:, slice(*k)]) @ np.asarray(X)[slice(*k)] for k in ranges]
    assert off(union, softmax(s) @ np.asarray(X)) < ALGEBRAIC
    assert off(field(each, X), halves[0] + halves[1]) < ALGEBRAIC
    assert off(field(each, X) / 2, union) > CONTROL * ALGEBRAIC
    mass = [np.exp(s[:, slice(*k)]).sum(axis=1, keepdims=True) for k in ranges]
    assert off(union, sum(m * h for m, h in zip(mass, halves, strict=True)) / sum(mass)) < ALGEBRAIC


def test_drift_is_its_formula():
    x = np.asarray(X)
    rotation, frequencies = MATRIX - MATRIX.T, np.arange(1.0, 6.0)
    law = pt.Drift(rotation, frequencies, MATRIX[0], 0.3, tokens=(1, 6))
    expected = np.zeros((N, 3))
    expected[1:6] = frequencies[:, None] * (x[1:6] @ rotation.T) + MATRIX[0] - 0.3 * x[1:6]
    assert off(field(law, X), expected) < ALGEBRAIC
    own = pt.Drift(stimulus=np.asarray(tokens(seed=1)))
    assert off(field(own, X), tokens(seed=1)) < ALGEBRAIC


TURN = np.array([[0.0, -1.0], [1.0, 0.0]])


def angle_of_two_oscillators(difference, start, until):
    """phi = theta_1 - theta_2 of two of Kuramoto's oscillators: phi' = difference - sin phi."""
    x = jnp.asarray([[np.cos(start), np.sin(start)], [1.0, 0.0]])
    law = pt.Attention(pt.scores.Constant()) + pt.Drift(TURN, [0.4 + difference, 0.4])
    end = np.asarray(moved(pt.Flow(pt.Sphere(), law), x, until))
    return np.angle(np.exp(1j * (np.arctan2(*end[0, ::-1]) - np.arctan2(*end[1, ::-1]))))


def test_two_oscillators_lock_below_the_threshold_and_turn_above():
    """Below 1 at the angle arcsin of the difference; above with the period 2 pi / sqrt(difference^2 - 1)."""
    assert abs(angle_of_two_oscillators(0.6, 2.0, 40.0) - np.arcsin(0.6)) < 1e-8
    period = 2 * np.pi / np.sqrt(1.25**2 - 1)
    assert abs(angle_of_two_oscillators(1.25, 0.7, period) - 0.7) < 1e-7
    assert abs(angle_of_two_oscillators(1.25, 0.7, 0.5 * period) - 0.7) > 0.1


def test_symmetric_couplings_and_stimuli_lower_an_energy():
    """E = -(1/2) sum J_ij <x_i, x_j> - sum <c_i, x_i> falls at the rate of the squared velocities."""
    x = jnp.asarray(np.asarray(X) / np.linalg.norm(X, axis=1, keepdims=True))
    coupling = np.abs(np.random.default_rng(0).normal(size=(N, N)))
    stimulus = np.asarray(tokens(seed=1))

    def miss(j):
        law = pt.Attention(pt.scores.Constant(), pt.measures.Given(j), pt.Mean()) + pt.Drift(stimulus=stimulus)
        energy = lambda x: -0.5 * jnp.sum(x * (j / N @ x)) - jnp.sum(stimulus * x)  # noqa: E731
        u = pt.Flow(pt.Sphere(), law, DENSE)(ZERO, x)
        return abs(jax.jvp(energy, (x,), (u,))[1] + jnp.sum(u**2)) / jnp.sum(u**2)

    assert miss(coupling + coupling.T) < ALGEBRAIC
    assert miss(coupling) > CONTROL * ALGEBRAIC
