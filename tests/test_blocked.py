"""Tiles: which are left out, how large they are, and scores of another precision."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import particles as pt
from particles.laws import measure

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
