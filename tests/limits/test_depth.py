"""Networks against their flow: orders, distances, and what is refused."""

import jax
import numpy as np
import pytest
from samples import on_sphere

import particles as pt
from particles import limits
from particles.analysis import wasserstein

LAW = pt.Attention(pt.DotProduct(2.0))


def test_the_limit_of_every_placement_is_its_field():
    x = on_sphere()
    for norm in (pt.norms.Post(), pt.norms.Pre(), pt.norms.Peri(), pt.norms.NGPT(0.7), pt.norms.SqrtDepth()):
        network = pt.Layers(LAW, norm)
        t = jax.numpy.asarray(0.4)
        np.testing.assert_allclose(network.limit()(t, x), network(t, x), atol=1e-12)


def test_residual_layers_are_of_order_one():
    found = limits.depth.converge(pt.Layers(LAW), on_sphere(), 1.0, (32, 64, 128))
    assert found.order == pytest.approx(1, abs=0.05)
    assert np.all(found.transport <= found.displacement * (1 + 1e-12))


def test_midpoint_layers_are_not():
    found = limits.depth.converge(pt.Layers(LAW, stages=2), on_sphere(), 1.0, (32, 64, 128))
    assert found.order == pytest.approx(2, abs=0.1)


def test_numbers_of_layers_must_fit():
    with pytest.raises(ValueError, match="multiples of the first"):
        limits.depth.converge(pt.Layers(LAW), on_sphere(), 1.0, (16, 24))


def test_a_split_schedule_has_no_limit_of_its_own():
    scheduled = pt.Scheduled(LAW + LAW, (pt.schedules.Interpolated("laws.0.score.beta", [1.0, 2.0], [0.0, 1.0]),))
    with pytest.raises(ValueError, match="schedule the terms"):
        pt.Layers(scheduled, splitting="Lie").limit()


@pytest.mark.parametrize("p", [1.0, 2.0, np.inf])
def test_wasserstein_of_moved_and_shuffled_clouds(p):
    rng = np.random.default_rng(0)
    x = 10 * rng.normal(size=(12, 2))
    shift = np.array([0.03, 0.04])
    assert wasserstein(x, rng.permutation(x) + shift, p) == pytest.approx(0.05, rel=1e-12)


def test_wasserstein_on_the_line_is_the_assignment():
    rng = np.random.default_rng(1)
    x, y = rng.normal(size=(9, 1)), rng.normal(size=(9, 1))
    flat = lambda a: np.concatenate([a, np.zeros_like(a)], axis=1)  # noqa: E731
    for p in (1.0, 2.0, np.inf):
        assert wasserstein(x, y, p) == pytest.approx(wasserstein(flat(x), flat(y), p), rel=1e-12)
    assert wasserstein(x, y) != pytest.approx(np.abs(x - y).mean(), rel=1e-3)  # labels do not matter


def test_clouds_must_fit():
    with pytest.raises(ValueError, match="two clouds of one dimension"):
        wasserstein(np.zeros((3, 2)), np.zeros((3, 1)))
    with pytest.raises(ValueError, match="`p` must be at least 1"):
        wasserstein(np.zeros((3, 2)), np.zeros((3, 2)), 0.5)
