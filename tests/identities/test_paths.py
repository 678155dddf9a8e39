"""Along a trajectory X(t), orders dZ_k/dt = sum_h A_h(X) Z_(k-1) V_h^T with Z_0 = X(0) sum to X(T), words to orders.

The paths of 2405.15926; the factorial bound on what is left after K orders is derived by hand.
"""

import functools

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from reference import DENSE
from samples import MASSES, MATRIX, tokens

import particles as pt

X, UNTIL, STEPS, ORDERS = tokens(), 0.5, 400, 20
V = np.stack([0.6 * MATRIX, -0.4 * MATRIX[::-1] + 0.3 * np.diag([1.0, -1.0, 0.5])])
HEADS = (
    pt.Attention(pt.DotProduct(3.0, form=MATRIX), pt.Masses(MASSES), value=pt.values.Linear(V[0])),
    pt.Attention(pt.SquaredDistance(2.0), pt.Causal(), value=pt.values.Linear(V[1])),
)
WORDS = 3  # longest


@eqx.filter_jit
def orders_and_words(maps):
    """X, Z_0 .. Z_K and words up to a length, by a fourth-order method whose own error is below 1e-11."""
    words = [jnp.zeros((2,) * k + X.shape).at[(0,) * 0].add(X if k == 0 else 0) for k in range(WORDS + 1)]
    orders = jnp.zeros((ORDERS + 1, *X.shape)).at[0].set(X)

    def rates(state):
        x, orders, words = state
        a = jnp.stack([head.weights(x, DENSE) for head in HEADS])
        push = lambda z: jnp.einsum("hij,...jd,hkd->h...ik", a, z, maps)  # noqa: E731
        moved = jnp.einsum("hij,jd,hkd->ik", a, x, jnp.asarray(V))
        climbed = jnp.concatenate([jnp.zeros_like(orders[:1]), jnp.sum(push(orders[:-1]), axis=0)])
        return moved, climbed, [jnp.zeros_like(words[0]), *(push(word) for word in words[:-1])]

    h = UNTIL / STEPS
    plus = lambda state, rate, c: jax.tree.map(lambda s, r: s + c * h * r, state, rate)  # noqa: E731

    def step(_, state):
        k1 = rates(state)
        k2 = rates(plus(state, k1, 0.5))
        k3 = rates(plus(state, k2, 0.5))
        k4 = rates(plus(state, k3, 1.0))
        return functools.reduce(
            lambda s, part: plus(s, *part), zip((k1, k2, k3, k4), (1 / 6, 1 / 3, 1 / 3, 1 / 6), strict=True), state
        )

    return jax.lax.fori_loop(0, STEPS, step, (X, orders, words))


@pytest.fixture(scope="module")
def run():
    plan = pt.Plan(until=UNTIL, save=50, rtol=1e-12, atol=1e-14)
    return pt.solve(pt.Flow(pt.Euclidean(), HEADS[0] + HEADS[1]), X, plan)


def test_orders_sum_to_the_end_within_the_factorial_bound(run):
    c = UNTIL * sum(np.linalg.norm(v, 2) for v in V)
    assert 0.5 < c <= 1
    largest = np.linalg.norm(run.tokens, axis=2).max()
    end, orders, _ = orders_and_words(jnp.asarray(V))
    np.testing.assert_allclose(end, run.final, atol=1e-10)
    factorial, slack = 1.0, []
    for k in range(ORDERS + 1):
        factorial *= k + 1
        left = np.linalg.norm(run.final - jnp.sum(orders[: k + 1], axis=0), axis=1).max()
        slack.append(left / (largest * c ** (k + 1) / factorial + 1e-10))
    assert max(slack) <= 1
    assert slack[0] > 0.1
    np.testing.assert_allclose(jnp.sum(orders, axis=0), run.final, atol=1e-9)


def test_words_sum_to_orders():
    _, orders, words = orders_and_words(jnp.asarray(V))
    for k, word in enumerate(words):
        np.testing.assert_allclose(jnp.sum(word.reshape(-1, *X.shape), axis=0), orders[k], atol=1e-13)


def test_values_must_not_be_transposed(run):
    _, orders, _ = orders_and_words(jnp.asarray(V.transpose(0, 2, 1)))
    assert np.abs(jnp.sum(orders, axis=0) - run.final).max() > 1e-3
