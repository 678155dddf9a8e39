"""Groups of tokens that have met: none is moved farther than the tolerance, pairs are exact, and it is no n^2."""

import time

import jax.numpy as jnp
import numpy as np
import pytest
from samples import SAMPLES

import particles as pt
from particles import spaces
from particles.analysis import groups
from particles.analysis.groups import leaders, parted, places
from particles.declaration import family

TOLERANCE = 1e-3
ROUNDING = 1e-15  # of positions of order one


def cloud(space, tolerance, n=200):
    """Tokens in a few clumps of all widths up to many tolerances, so that every kind of group occurs, with masses."""
    d = 3
    rng = np.random.default_rng(7)
    x = 0.4 * rng.normal(size=(4, d))[rng.integers(0, 4, n)]
    x = x + min(20 * tolerance, 1.0) * rng.normal(size=(n, d)) * rng.uniform(0, 1, (n, 1)) ** 3
    return np.asarray(space.project(jnp.asarray(x))), rng.uniform(0.1, 3.0, n)


@pytest.mark.parametrize("cls", family(spaces.AbstractSpace).values(), ids=lambda cls: cls.__name__)
@pytest.mark.parametrize("tolerance", [TOLERANCE, 0.3])
def test_no_token_is_farther_than_the_tolerance_from_leader_or_place(cls, tolerance):
    space = SAMPLES[cls]
    x, mass = cloud(space, tolerance)
    leader = leaders(space, x, mass, tolerance)
    place, moved = places(space, x, mass, leader)
    exact = np.asarray(space.distance(jnp.asarray(x), jnp.asarray(place)))
    np.testing.assert_allclose(np.diagonal(exact), moved, atol=ROUNDING)
    assert moved.max() <= tolerance
    apart = np.asarray(space.distance(jnp.asarray(x), jnp.asarray(x)))
    assert apart[np.arange(len(x)), leader].max() <= tolerance
    assert np.array_equal(leader[leader], leader)
    alone = np.bincount(leader, minlength=len(x))[leader] == 1
    assert 0 < alone.sum() < len(x) - 20
    np.testing.assert_array_equal(place[alone], x[alone])
    np.testing.assert_allclose(space.project(jnp.asarray(place)), place, atol=ROUNDING)


@pytest.mark.parametrize("count", [2, 3, 40])
@pytest.mark.parametrize("step", [0.4, 0.7, 0.99])
def test_a_chain_is_not_one_group(count, step):
    """Single linkage would make one group of it, and move the ends by half its length."""
    x = np.zeros((count, 2))
    x[:, 0] = step * TOLERANCE * np.arange(count)
    order = np.random.default_rng(count).permutation(count)
    leader = leaders(pt.Euclidean(), x[order], np.ones(count), TOLERANCE)
    moved = places(pt.Euclidean(), x[order], np.ones(count), leader)[1]
    assert moved.max() <= TOLERANCE
    assert count / 6 < len(np.unique(leader)) <= max(1, 2 * count // 3)


def test_the_check_of_chains_can_fail():
    x = np.zeros((40, 2))
    x[:, 0] = 0.7 * TOLERANCE * np.arange(40)
    assert places(pt.Euclidean(), x, np.ones(40), np.zeros(40, int))[1].max() > TOLERANCE  # all in one


@pytest.mark.parametrize("space", [pt.Euclidean(), pt.Sphere(2.0)], ids=["flat", "sphere"])
@pytest.mark.parametrize("tolerance", [1e-6, 0.5])
@pytest.mark.parametrize("heavy", [1.0, 1e6])
def test_two_tokens_are_one_exactly_within_the_tolerance(space, tolerance, heavy):
    """Distances are those of the space: 0.5 along the sphere is less in its ambient space."""
    for factor, together in ((1 - 1e-6, True), (1 + 1e-6, False)):
        turn = factor * tolerance / 2.0
        pair = np.array([[2.0, 0.0], [2 * np.cos(turn), 2 * np.sin(turn)]])
        pair = pair if isinstance(space, pt.Sphere) else np.array([[0.0, 0.0], [factor * tolerance, 0.0]])
        leader = leaders(space, pair, np.array([1.0, heavy]), tolerance)
        assert (len(np.unique(leader)) == 1) is together


def test_the_place_is_the_mean_with_masses():
    x = np.array([[0.0, 0.0], [4e-4, 0.0], [0.0, 1.0]])
    mass = np.array([3.0, 1.0, 2.0])
    leader = leaders(pt.Euclidean(), x, mass, TOLERANCE)
    assert leader.tolist() == [0, 0, 2]
    place, moved = places(pt.Euclidean(), x, mass, leader)
    np.testing.assert_allclose(place, [[1e-4, 0], [1e-4, 0], [0, 1]], atol=ROUNDING)
    np.testing.assert_allclose(moved, [1e-4, 3e-4, 0], atol=ROUNDING)


def test_tokens_that_coincide_stay_where_they_are_to_the_bit():
    """A mean that is summed up naively would be off by the number of tokens times rounding."""
    x = np.repeat([[0.1, -0.7, 0.3]], 5000, axis=0)
    leader = leaders(pt.Euclidean(), x, np.ones(5000), 1e-9)
    place, moved = places(pt.Euclidean(), x, np.ones(5000), leader)
    assert len(np.unique(leader)) == 1
    assert moved.max() == 0
    np.testing.assert_array_equal(place, x)


def test_groups_are_dissolved():
    leader = np.array([0, 0, 2, 2, 4])
    np.testing.assert_array_equal(parted(leader, np.array([False, True, False, False, False])), [0, 1, 2, 2, 4])


class _Far(spaces.AbstractSpace):
    """A space that brings tokens back to where they were not."""

    constrained = True

    def project(self, x):
        return x + 10 * TOLERANCE

    def tangent(self, x, v):
        return v

    def distance(self, x, y):
        return spaces.chord(x, y)

    def uniform(self, key, n, d):
        raise ValueError("none")

    def check_dim(self, d):
        pass


def test_a_group_that_would_be_moved_too_far_is_left_apart():
    x, mass = cloud(pt.Euclidean(), TOLERANCE)
    np.testing.assert_array_equal(leaders(_Far(), x, mass, TOLERANCE), np.arange(len(x)))


@pytest.mark.parametrize(("radius", "fewest", "most"), [(1.0, 100_000, 100_000), (0.8e-6, 4, 60), (0.0, 3, 3)])
def test_a_hundred_thousand_tokens_take_no_pairs(radius, fewest, most, monkeypatch):
    """All pairs would be 10^10: what the tree hands over is counted, and is a few for each token."""
    n, handed, rng = 100_000, [], np.random.default_rng(0)

    class Counted(groups.cKDTree):
        def query_ball_point(self, *arguments):
            ball = super().query_ball_point(*arguments)
            handed.append(len(ball))
            return ball

    monkeypatch.setattr(groups, "cKDTree", Counted)
    directions = rng.normal(size=(n, 3))
    directions /= np.linalg.norm(directions, axis=1, keepdims=True)
    x = directions if radius == 1 else np.eye(3)[rng.integers(0, 3, n)] + radius * directions
    begun = time.process_time()
    leader = leaders(pt.Euclidean(), x, np.ones(n), 1e-6)
    assert time.process_time() - begun < 60
    assert sum(handed) < 20 * n
    assert fewest <= len(np.unique(leader)) <= most
