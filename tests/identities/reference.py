"""What the identities share: laws compiled once for each structure, and the size of a failure."""

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np

import particles as pt

ZERO = jnp.zeros(())
DENSE = pt.Dense()
ALGEBRAIC = 1e-12  # relative to the largest number; a control must fail by a hundred times as much
CONTROL = 100


@eqx.filter_jit
def field(law, x):
    """The velocity of every token."""
    return law(ZERO, x, DENSE)


@eqx.filter_jit
def between(law, x, y):
    """The velocity of rows that look at columns."""
    return law.between(ZERO, x, y, DENSE)


@eqx.filter_jit
def weights(law, x):
    """The attention matrix."""
    return law.weights(x, DENSE)


@eqx.filter_jit
def pair_weights(law, x, y):
    """The attention matrix of rows that look at columns."""
    return law.head(x, DENSE, y).weighted(jnp.eye(y.shape[0], dtype=x.dtype))


@eqx.filter_jit
def moved(flow, x, until, steps=2000):
    """Tokens at a depth, by the classical method of fourth order with steps so small that its error is below 1e-10."""
    h = jnp.asarray(until) / steps

    def step(_, x):
        k1 = flow(ZERO, x)
        k2 = flow(ZERO, x + h / 2 * k1)
        k3 = flow(ZERO, x + h / 2 * k2)
        k4 = flow(ZERO, x + h * k3)
        return flow.space.project(x + h / 6 * (k1 + 2 * k2 + 2 * k3 + k4))

    return jax.lax.fori_loop(0, steps, step, x)


def row(normalizer, scores, masses=None):
    """The weights of one row with the given scores."""
    measure = pt.measures.Uniform() if masses is None else pt.Masses(masses)
    law = pt.Attention(pt.DotProduct(1.0), measure, normalizer)
    return np.asarray(pair_weights(law, jnp.ones((1, 1)), jnp.asarray(scores)[:, None]))[0]


def off(found, expected):
    """The largest error, relative to the largest number expected."""
    found, expected = np.asarray(found), np.asarray(expected)
    assert found.shape == expected.shape
    assert np.all(np.isfinite(found))
    return np.abs(found - expected).max() / np.abs(expected).max()


def softmax(scores, density=1.0):
    """Weights of rows, from the formula."""
    mass = density * np.exp(scores - scores.max(axis=1, keepdims=True))
    return mass / mass.sum(axis=1, keepdims=True)


def tangent(x, v):
    """Without what is normal to the unit sphere."""
    x, v = np.asarray(x), np.asarray(v)
    return v - np.sum(x * v, axis=-1, keepdims=True) * x


def entmax(scores, alpha, masses):
    """Weights of one row and its threshold, from the definition by bisection."""
    lifted = (alpha - 1) * scores
    low, high = lifted.max() - masses.min() ** (1 - alpha), lifted.max()
    for _ in range(200):
        t = (low + high) / 2
        w = masses * np.maximum(lifted - t, 0) ** (1 / (alpha - 1))
        low, high = (t, high) if w.sum() > 1 else (low, t)
    return w, t
