"""Composites whose brackets mean nothing: however sums, products and unions are put together, they are one.

Each is compared with the flat one, to the bit, and the networks and paths that depend on it with loops written out.
"""

import dataclasses
import typing

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from samples import SAMPLES, D, N, on_sphere, tokens

import particles as pt
from particles import config, laws, measures, scores, spaces, starts
from particles.declaration import Declared, described, replaced
from particles.laws import norm
from particles.simulation.grid import combinations, dimensions
from particles.summation import Dense

ZERO, X = jnp.zeros(()), on_sphere()
ATTENTION, REPEL = pt.Attention(pt.DotProduct(2.0)), pt.Attention(pt.SquaredDistance(1.0), value=pt.values.Linear(-0.5))
WEIGHT = np.random.default_rng(1).normal(size=(D, D))
FEED, PUSH = pt.FeedForward(pt.maps.Affine(WEIGHT)), pt.Drift(stimulus=[1.0, 0.0, 0.0])
PARTS = {
    laws.Sum: (ATTENTION, FEED, PUSH),
    scores.Sum: (pt.DotProduct(2.0), pt.scores.Cosine(-1.0), pt.SquaredDistance(0.5)),
    measures.Union: (pt.Window(1), pt.measures.Global(1), pt.measures.Random(0.3)),
    measures.Product: (pt.Masses(np.full(N, 1 / N)), pt.NotSelf(), pt.Causal()),
    starts.Together: (starts.Uniform(2, D), starts.Uniform(3, D), starts.Blobs(2, D, blobs=1)),
}
PLUS = {
    laws.Sum: lambda a, b: a + b,
    scores.Sum: lambda a, b: a + b,
    measures.Union: lambda a, b: a | b,
    measures.Product: lambda a, b: a * b,
}


def composites():
    """Every final class that is made of members of its own family, with the name of the field that holds them."""
    found = {}
    for cls in SAMPLES:
        for name, hint in typing.get_type_hints(cls).items():
            entry = typing.get_args(hint)[0] if typing.get_origin(hint) is tuple else None
            if isinstance(entry, type) and issubclass(entry, Declared) and issubclass(cls, entry):
                found[cls] = name
    return found


COMPOSITES = composites()


def same(one, other):
    return described(one) == described(other) and bool(eqx.tree_equal(one, other))


def test_no_composite_is_forgotten():
    assert set(COMPOSITES) == {*PARTS, spaces.Product}


@pytest.mark.parametrize("cls", PARTS, ids=lambda cls: f"{cls.__module__.split('.')[-2]}.{cls.__name__}")
def test_brackets_mean_nothing(cls):
    (a, b, c), name = PARTS[cls], COMPOSITES[cls]
    flat = cls((a, b, c))
    assert len(getattr(flat, name)) == 3
    ways = [cls((cls((a, b)), c)), cls((a, cls((b, c)))), cls((cls((cls((a,)), cls((b, c)))),))]
    ways += [replaced(cls((a, c)), {f"{name}.1": cls((b, c))}), dataclasses.replace(flat, **{name: (cls((a, b)), c)})]
    if cls in PLUS:
        plus = PLUS[cls]
        ways += [plus(plus(a, b), c), plus(a, plus(b, c))]
    for way in ways:
        assert same(way, flat)
    assert not same(cls((b, a, c)), flat)  # the order counts


def test_brackets_of_a_config_mean_nothing():
    def built(law):
        flow = {"space": {"kind": "Sphere"}, "law": law}
        return config.build({"start": {"kind": "Uniform", "tokens": N, "dim": D}, "flow": flow, "plan": {"until": 1.0}})

    a, b, c = map(described, PARTS[laws.Sum])
    bracketed = built({"kind": "Sum", "laws": [{"kind": "Sum", "laws": [a, b]}, c]})
    assert same(bracketed.flow.law, laws.Sum(PARTS[laws.Sum]))
    assert bracketed.identity() == built({"kind": "Sum", "laws": [a, b, c]}).identity()


def lie(x, h):
    """A layer of attention, feed-forward and push, one after another, each normalized."""
    x = np.asarray(x)
    for branch in (lambda x: softmax(2.0 * x @ x.T) @ x, lambda x: x @ WEIGHT.T, lambda x: np.array([[1.0, 0, 0]])):
        x = x + h * branch(x)
        x = x / np.linalg.norm(x, axis=1, keepdims=True)
    return x


def softmax(s):
    e = np.exp(s - s.max(axis=1, keepdims=True))
    return e / e.sum(axis=1, keepdims=True)


def test_a_split_network_does_not_depend_on_brackets():
    a, f, g = PARTS[laws.Sum]
    scheduled = pt.Scheduled(a + f, (pt.schedules.Piecewise("laws.0.score.beta", [2.0, 5.0], [1.0]),))
    for law in ((a + f) + g, a + (f + g), pt.Sum((a, f, g)), scheduled + g):
        layer = pt.Layers(law, splitting="Lie").layer(ZERO, jnp.asarray(0.5), X)
        np.testing.assert_allclose(layer, lie(X, 0.5), rtol=1e-12, atol=1e-14)
    as_one = pt.Layers(pt.Normalized(a + f, norm.Residual()) + g, splitting="Lie")  # heads that act together
    x = X + 0.5 * (a + f)(ZERO, X, Dense())
    x = x / jnp.linalg.norm(x, axis=1, keepdims=True)
    expected = x + 0.5 * jnp.asarray([[1.0, 0.0, 0.0]])
    expected = expected / jnp.linalg.norm(expected, axis=1, keepdims=True)
    np.testing.assert_allclose(as_one.layer(ZERO, jnp.asarray(0.5), X), expected, rtol=1e-12)
    assert np.abs(expected - lie(X, 0.5)).max() > 1e-2
    with pytest.raises(ValueError, match="schedule the terms of the sum instead"):
        pt.Layers(scheduled + g, splitting="Lie").limit()


def test_every_head_of_a_sum_keeps_its_noise():
    shift = jnp.asarray(np.random.default_rng(0).normal(size=(3, N, N)))
    third = pt.Attention(pt.DotProduct(-1.0))
    tilted = (ATTENTION + (FEED + REPEL) + third).tilted(shift)
    parts = [law.tilted(shift[k : k + 1]) for k, law in enumerate((ATTENTION, REPEL, third))]
    velocity = sum(part(ZERO, X, Dense()) for part in parts) + FEED(ZERO, X, Dense())
    np.testing.assert_allclose(tilted(ZERO, X, Dense()), velocity, rtol=1e-12)
    np.testing.assert_allclose(
        tilted.head_weights(ZERO, X, Dense()), jnp.concatenate([p.head_weights(ZERO, X, Dense()) for p in parts])
    )


class Holder(Declared):
    """What holds a law, as a simulation does."""

    flow: laws.AbstractLaw


def test_swept_positions_are_those_of_the_law_that_is_given():
    """A term that is swept over sums, which are longer, does not move what stands behind it."""
    terms, betas = (PUSH, pt.Sum((FEED, REPEL))), (1.0, 7.0)
    sweep = {"flow.laws.0": terms, "flow.laws.1.score.beta": betas}
    found = combinations(Holder(pt.Sum((PUSH, ATTENTION))), dimensions(sweep))
    expected = [term + pt.Attention(pt.DotProduct(beta)) for term in terms for beta in betas]
    for member, law in zip(found, expected, strict=True):
        assert same(member.flow, law)


def test_brackets_of_a_space_mean_nothing():
    sphere, ball, line = pt.Sphere(), pt.Sphere(2.0), pt.Euclidean()
    flat = spaces.Product((sphere, ball, line), (2, 2, 1))
    x, v = tokens(N, 5), tokens(N, 5, seed=1)
    for bracketed in (
        spaces.Product((spaces.Product((sphere, ball), (2, 2)), line), (4, 1)),
        spaces.Product((sphere, spaces.Product((ball, line), (2, 1))), (2, 3)),
    ):
        assert bracketed.edges == flat.edges == (2, 4, 5)
        on = flat.project(x)
        np.testing.assert_array_equal(bracketed.project(x), on)
        np.testing.assert_array_equal(bracketed.tangent(on, v), flat.tangent(on, v))
        np.testing.assert_allclose(bracketed.distance(on, on), flat.distance(on, on), rtol=1e-14)
        for inertial in (2, 4):
            pt.SecondOrder(bracketed, ATTENTION, 0.5, inertial=inertial)


def test_starts_in_brackets_draw_the_same_tokens():
    a, b, c = PARTS[starts.Together]
    key = jax.random.key(3)
    flat = starts.Together((a, b, c))(pt.Sphere(), key)
    np.testing.assert_array_equal(starts.Together((starts.Together((a, b)), c))(pt.Sphere(), key), flat)
