"""Observables against closed forms and SciPy."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from samples import attention_flow, on_sphere
from scipy.sparse.csgraph import connected_components
from scipy.spatial.distance import pdist, squareform

import particles as pt
from particles.observables import (
    AttentionWeights,
    Clusters,
    Diameter,
    EffectiveRank,
    MeanCosine,
    OrderParameter,
    Radius,
    labels,
    observable,
)

ZERO = jnp.zeros(())
FLOW = attention_flow()
FLAT = pt.Flow(pt.Euclidean(), pt.Attention())


def test_mean_cosine_and_order_parameter():
    x = np.asarray(on_sphere(20))
    cosines = (x @ x.T)[np.triu_indices(20, 1)]
    np.testing.assert_allclose(MeanCosine()(FLOW, ZERO, jnp.asarray(3 * x)), cosines.mean(), rtol=1e-12)
    np.testing.assert_allclose(
        OrderParameter()(FLOW, ZERO, jnp.asarray(3 * x)), np.linalg.norm(x.mean(axis=0)), rtol=1e-12
    )
    assert MeanCosine()(FLOW, ZERO, jnp.asarray(x[:1])) == 1


def test_diameter_and_radius():
    x = 2.0 * np.asarray(on_sphere(20))
    np.testing.assert_allclose(Diameter()(FLAT, ZERO, jnp.asarray(x)), pdist(x).max(), rtol=1e-13)
    np.testing.assert_allclose(Radius()(FLAT, ZERO, jnp.asarray(x)), 2, rtol=1e-13)
    arc = 2 * np.arccos((x @ x.T / 4).min())
    np.testing.assert_allclose(
        Diameter()(pt.Flow(pt.Sphere(2.0), pt.Attention()), ZERO, jnp.asarray(x)), arc, rtol=1e-9
    )


def test_effective_rank():
    rank = lambda x: EffectiveRank()(FLAT, ZERO, jnp.asarray(x, float))  # noqa: E731
    np.testing.assert_allclose(rank(np.eye(4)), 4, rtol=1e-12)
    np.testing.assert_allclose(rank(np.outer(np.ones(5), [1, 2, 3])), 1, atol=1e-6)
    share = np.array([3, 1]) / 4
    np.testing.assert_allclose(rank(np.diag([3.0, 1.0])), np.exp(-np.sum(share * np.log(share))), rtol=1e-12)
    assert rank(np.zeros((3, 2))) == 1  # no direction at all


@pytest.mark.parametrize("delta", [0.05, 0.15, 0.3, 0.6])
def test_clusters_are_scipy_components(delta):
    x = np.asarray(on_sphere(300, 3, seed=4))
    adjacency = squareform(2 * np.arcsin(np.minimum(pdist(x) / 2, 1))) < delta
    count, theirs = connected_components(adjacency, directed=False)
    assert Clusters(delta)(FLOW, ZERO, jnp.asarray(x)) == count
    ours = np.asarray(labels(pt.Sphere(), jnp.asarray(x), jnp.asarray(delta)))
    smallest = np.array([np.flatnonzero(theirs == theirs[k])[0] for k in range(300)])
    np.testing.assert_array_equal(ours, smallest)


@pytest.mark.parametrize("seed", [0, 1, 2])
def test_a_chain_in_any_order_is_one_cluster(seed):
    order = np.random.default_rng(seed).permutation(500)
    chain = jnp.asarray(order[:, None] * 1.0)
    assert Clusters(1.001)(FLAT, ZERO, chain) == 1
    assert Clusters(0.999)(FLAT, ZERO, chain) == 500
    broken = jnp.where(chain > 249.5, chain + 1, chain)
    assert Clusters(1.001)(FLAT, ZERO, broken) == 2


def test_names():
    assert isinstance(observable("clusters"), Clusters)
    with pytest.raises(ValueError, match="Did you mean `energy`"):
        observable("energie")
    with pytest.raises(ValueError, match="more than once"):
        pt.Plan(until=1.0, watch=("clusters", Clusters(0.2)))
    with pytest.raises(ValueError, match="Write"):
        pt.Plan(until=1.0, watch="clusters")


def test_a_token_without_direction_has_no_cosine():
    assert MeanCosine()(FLAT, ZERO, jnp.asarray([[0.0, 0.0], [1.0, 0.0]])) == 0


def test_attention_is_the_matrix_of_softmax_and_is_kept_as_tokens_are():
    x = on_sphere(6)
    w = jax.nn.softmax(4.0 * x @ x.T, axis=-1)
    np.testing.assert_allclose(observable("attention")(attention_flow(4.0), ZERO, x)[0], w, rtol=1e-12)
    plan = pt.Plan(until=0.1, save=1, watch=("attention",), tokens=3)
    run = pt.solve(attention_flow(4.0), x, plan)
    np.testing.assert_allclose(run.observed["attention"][0, 0], w[::2, ::2], rtol=1e-12)
    with pytest.raises(ValueError, match="at most 4 tokens; got 6"):
        AttentionWeights(4)(attention_flow(), ZERO, x)
    with pytest.raises(ValueError, match="has none"):
        AttentionWeights().check_flow(pt.Flow(pt.Sphere(), pt.Drift()))
