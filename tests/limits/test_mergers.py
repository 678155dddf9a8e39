"""Mergers and clocks, against the quadrature of two clusters and against each other."""

import jax.numpy as jnp
import numpy as np
import pytest

import particles as pt
from particles import limits
from particles.limits import two_clusters

BETA = 6.0
FLOW = pt.Flow(pt.Sphere(), pt.Attention(pt.DotProduct(BETA)))


def at(angles):
    return jnp.asarray(np.stack([np.cos(angles), np.sin(angles)], axis=1))


def test_a_merger_is_where_the_quadrature_has_it():
    [merger] = limits.mergers(FLOW, at([0.0, 2.2, 2.2, 2.2]), 1e9, 0.3)
    expected = two_clusters.waiting_time(2.2, 0.3, BETA, (0.25, 0.75))
    assert abs(merger.depth / expected - 1) < 1e-6
    assert merger.clusters == 1
    assert merger.labels == (0, 0, 0, 0)
    assert abs(merger.depth / two_clusters.waiting_time(2.2, 0.3, BETA) - 1) > 1e-2


def test_mergers_come_in_order_and_only_up_to_the_end():
    x0 = at([0.0, 0.02, 1.0, 2.6])
    first, last = limits.mergers(FLOW, x0, 1e9, 0.3)
    assert (first.clusters, first.labels) == (2, (0, 0, 0, 3))
    assert (last.clusters, last.labels) == (1, (0, 0, 0, 0))
    assert limits.mergers(FLOW, x0, first.depth / 2, 0.3) == ()


def test_laws_that_see_the_order_of_tokens_are_refused():
    causal = pt.Flow(pt.Sphere(), pt.Attention(pt.DotProduct(BETA), pt.Causal()))
    with pytest.raises(ValueError, match="masses"):
        limits.mergers(causal, at([0.0, 2.0]), 1.0)


def test_reclocked_reaches_the_same_tokens_at_its_true_depth():
    x0, floor = at([0.0, 1.0, 2.4]), 1e-9
    clocked = limits.Reclocked(FLOW, floor)
    plan = pt.Plan(0.8, save=4, watch=(limits.TrueDepth(),), solver="Dopri8", rtol=1e-11, atol=1e-12)
    run = pt.solve(clocked, x0, plan).complete()
    depth = float(run.observed["true_depth"][-1])
    direct = pt.solve(FLOW, x0, pt.Plan(depth, save=1, solver="Dopri8", rtol=1e-11, atol=1e-12)).complete()
    np.testing.assert_allclose(run.final, direct.final, atol=1e-9)
    assert not np.allclose(run.final, pt.solve(FLOW, x0, pt.Plan(0.8, save=1)).final, atol=1e-2)


def test_reclocked_goes_on_after_all_has_come_to_rest():
    run = pt.solve(limits.Reclocked(FLOW, 1e-3), at([0.0, 1.0]), pt.Plan(2.0, save=1, watch=(limits.TrueDepth(),)))
    assert np.all(np.isfinite(run.complete().final))
    assert float(run.observed["true_depth"][-1]) > 100
    with pytest.raises(ValueError, match="Reclocked"):
        pt.solve(FLOW, at([0.0, 1.0]), pt.Plan(1.0, watch=(limits.TrueDepth(),)))
