"""Tiles: which are left out, how large they are, and scores of another precision."""

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import pytest

import particles as pt
from particles.laws import measure
from particles.laws.composed import Weighed
from particles.laws.pair import Tokens

ZERO, M = jnp.zeros(()), 24


@pytest.mark.parametrize(
    ("factor", "exact"),
    [
        (measure.Causal(), True),
        (measure.Window(3), True),
        (measure.Window(3, periodic=True), True),
        (measure.Window(2) | measure.Causal(), True),
        (measure.Window(1) | measure.Global(1), False),
    ],
    ids=["causal", "window", "ring", "union", "unknown"],
)
def test_a_tile_is_left_out_where_nobody_sees_anybody(factor, exact):
    seen = np.asarray(factor.log_factor(jnp.arange(M), jnp.arange(M), M)) > -np.inf
    for i in range(0, M, 4):
        for j in range(0, M, 3):
            reaches = factor.reaches(jnp.arange(i, i + 4), jnp.arange(j, j + 3), M)
            assert (reaches is None) == (not exact)
            if exact:
                assert bool(reaches) == seen[i : i + 4, j : j + 3].any()


def test_tiles_suit_the_shape():
    for n, m in ((1_000_000, 1_000_000), (200, 1_000_000), (1_000_000, 50), (7, 5)):
        rows, columns = pt.Blocked().tile(n, m)
        assert rows <= n and columns <= m and rows * columns <= 2**20
        assert rows == n or columns == m or rows * columns > 2**19  # no crumbs
    assert pt.Blocked(rows=3, columns=2).tile(7, 5) == (3, 2)


@pytest.mark.parametrize(("scores", "unit"), [("bfloat16", 2.0**-8), ("float32", 2.0**-23), ("float64", 2.0**-52)])
def test_scores_of_another_precision_are_as_good_as_they_can_be(scores, unit):
    x = pt.Sphere().uniform(jax.random.key(0), 40, 3)
    law = pt.Attention(pt.DotProduct(4.0))
    error = np.abs(law(ZERO, x, pt.Blocked(scores=scores)) - law(ZERO, x, pt.Dense())).max()
    assert error <= 16 * 4.0 * unit  # a few roundings of coordinates and products, as errors of the logit
    if scores != "float64":
        assert error > 2.0**-52
    with pytest.raises(ValueError, match="float64, float32 or bfloat16; got 'int8'"):
        pt.Blocked(scores="int8")


@pytest.mark.parametrize("n", [5, 19, 28])
def test_a_tile_that_serves_both_ways_gives_what_all_pairs_give(n):
    """One block, an odd number of them, and even numbers made odd."""
    x = pt.Sphere().uniform(jax.random.key(1), n, 3)
    w = jax.random.normal(jax.random.key(2), x.shape)

    @eqx.filter_jit
    def found(law, way):
        value, pull = jax.vjp(lambda x: law(ZERO, x, way), x)
        return value, *pull(w)

    law = pt.Attention(pt.DotProduct(4.0), normalizer=pt.Mean())
    for one, other in zip(found(law, pt.Blocked(7, 7)), found(law, pt.Dense()), strict=True):
        np.testing.assert_allclose(one, other, rtol=0, atol=1e-12 * n)


def test_tiles_serve_both_ways_only_where_both_see_each_other_alike(monkeypatch):
    n, rows = 24, Tokens.of(pt.Sphere().uniform(jax.random.key(1), 24, 3))
    mirrored = lambda law: law.head(rows.position, pt.Dense()).meeting.pair.mirrored(rows, rows)  # noqa: E731
    dot = pt.DotProduct(4.0)
    assert mirrored(pt.Attention(dot)) and mirrored(pt.Attention(pt.SquaredDistance(1.0)))
    turned = pt.DotProduct(4.0, form=np.roll(np.eye(3), 1, axis=0))
    masses = pt.Masses(np.arange(1, n + 1) / (n * (n + 1) / 2))
    for law in (pt.Attention(turned), pt.Attention(dot, pt.Causal()), pt.Attention(dot, masses)):
        assert not mirrored(law)
        expected = law(ZERO, rows.position, pt.Dense())
        np.testing.assert_allclose(law(ZERO, rows.position, pt.Blocked(7, 7)), expected, rtol=0, atol=1e-13)
        with monkeypatch.context() as broken:  # the negative control: as if they did
            broken.setattr(Weighed, "mirrored", lambda *_: True)
            assert np.abs(law(ZERO, rows.position, pt.Blocked(7, 7)) - expected).max() > 1e-3
    pair = pt.Attention(dot).head(rows.position, pt.Dense()).meeting.pair
    assert not pair.mirrored(rows, Tokens.of(-rows.position))


def test_the_circle_of_blocks():
    for n in (1, 7, 832, 833, 1665, 4096, 100_000):
        count, side = pt.Blocked().circle(n)
        assert count % 2 and count * side >= n and side <= 832
        assert count * side < 1.1 * n or n < 100
    assert pt.Blocked(rows=3, columns=2).circle(7) == (5, 2)
