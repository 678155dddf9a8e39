"""What laws commute with beyond the plain flow: every normalizer, rotations that commute with maps, any grouping."""

import functools
import random

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from reference import ALGEBRAIC, CONTROL, field, off, weights
from samples import MATRIX, WIDE, tokens
from scipy.stats import special_ortho_group

import particles as pt
from particles.summation import Gathered
from particles.summation.base import closed, nothing

X = tokens()
ORDER = np.array([3, 1, 6, 0, 2, 5, 4])
ROTATION = special_ortho_group(3, seed=1).rvs()
TURN = 0.8
AXIAL = np.array([[np.cos(TURN), -np.sin(TURN), 0], [np.sin(TURN), np.cos(TURN), 0], [0, 0, 1]])
COMMUTING = np.array([[0.7, -0.4, 0], [0.4, 0.7, 0], [0, 0, -1.3]])  # with rotations about the third axis
NORMALIZERS = {
    "null": pt.normalizers.Null(),
    "sigmoid": pt.normalizers.Sigmoid(),
    "entmax": pt.Entmax(1.5),
    "hardmax": pt.Hardmax(),
    "sinkhorn": pt.Sinkhorn(tolerance=1e-14),
    "linear": pt.normalizers.Linear(),
}


@pytest.mark.parametrize("name", NORMALIZERS)
def test_permutations(name):
    normalizer = NORMALIZERS[name]
    score = pt.LogFeatures(pt.maps.EluPlusOne(WIDE)) if normalizer.needs_features else pt.DotProduct(3.0, form=MATRIX)
    law = pt.Attention(score, normalizer=normalizer, value=pt.values.Linear(MATRIX))
    assert off(field(law, X[ORDER]), field(law, X)[ORDER]) < ALGEBRAIC


def test_permutations_of_ties():
    """Two tokens that score alike: sharing commutes, taking the first does not."""
    x = jnp.asarray([[1.0, 0.5], [1.0, -0.5], [0.2, 0.0]])
    score = pt.DotProduct(1.0, form=np.diag([1.0, 0.0]))
    law = lambda ties: pt.Attention(score, normalizer=pt.Hardmax(ties))  # noqa: E731
    swap = np.array([1, 0, 2])
    assert off(field(law("mass"), x[swap]), field(law("mass"), x)[swap]) < ALGEBRAIC
    assert off(field(law("first"), x[swap]), field(law("first"), x)[swap]) > CONTROL * ALGEBRAIC


@pytest.mark.parametrize("name", [name for name, one in NORMALIZERS.items() if not one.needs_features])
def test_rotations_that_commute_with_both_maps(name):
    def fails(form, value, rotation):
        law = pt.Attention(
            pt.DotProduct(3.0, form=form), normalizer=NORMALIZERS[name], value=pt.values.Linear(jnp.asarray(value))
        )
        return off(field(law, X @ rotation.T), field(law, X) @ rotation.T)

    assert fails(COMMUTING, COMMUTING, AXIAL) < ALGEBRAIC
    assert fails(MATRIX, COMMUTING, AXIAL) > CONTROL * ALGEBRAIC
    assert fails(COMMUTING, COMMUTING, ROTATION) > CONTROL * ALGEBRAIC


@pytest.mark.parametrize("score", [pt.DotProduct, pt.SquaredDistance, pt.Cosine])
def test_a_rotation_of_both_maps_changes_no_weight(score):
    turn = ROTATION[:2, :2] / np.sqrt(abs(np.linalg.det(ROTATION[:2, :2])))
    turn = np.linalg.qr(turn)[0]
    w = lambda q, k: weights(pt.Attention(score(3.0, query=q, key=k)), X)  # noqa: E731
    assert off(w(turn @ WIDE, turn @ MATRIX[1:]), w(WIDE, MATRIX[1:])) < ALGEBRAIC
    assert off(w(turn @ WIDE, MATRIX[1:]), w(WIDE, MATRIX[1:])) > CONTROL * ALGEBRAIC


@pytest.mark.parametrize("score", [pt.SquaredDistance(3.0, query=WIDE), pt.LogDistance(), pt.scores.Within(0.6)])
def test_translations(score):
    law = lambda value: pt.Attention(score, value=value)  # noqa: E731
    assert off(field(law(pt.Difference()), X + 0.25), field(law(pt.Difference()), X)) < ALGEBRAIC
    assert off(field(law(pt.values.Identity()), X + 0.25), field(law(pt.values.Identity()), X)) > CONTROL * ALGEBRAIC


PIECES = [
    closed(jnp.asarray(np.random.default_rng(k).normal(size=(4, 3)) * 100.0 - np.where(k == 2, np.inf, 0)), values)
    for k, values in enumerate(jax.random.normal(jax.random.key(0), (5, 3, 2)))
]
EVERYTHING = functools.reduce(Gathered.merge, PIECES)


@settings(max_examples=20, deadline=None, derandomize=True)
@given(st.randoms(use_true_random=False))
def test_every_tree_of_merges_gathers_the_same(draw: random.Random):
    """One piece sees nobody."""
    pieces = [*PIECES, nothing(4, 2, jnp.dtype("float64"))]
    while len(pieces) > 1:
        draw.shuffle(pieces)
        pieces.append(pieces.pop().merge(pieces.pop()))
    for found, expected in zip(jax.tree.leaves(pieces[0]), jax.tree.leaves(EVERYTHING), strict=True):
        assert off(found, expected) < ALGEBRAIC


def test_a_merge_that_forgets_peaks_depends_on_the_tree():
    plain = [jnp.exp(piece.peak - 100) * piece.mass for piece in PIECES]
    assert not np.allclose(sum(plain), EVERYTHING.mass, rtol=CONTROL * ALGEBRAIC)
