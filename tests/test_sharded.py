"""One system over several devices: the same field and gradients as on one, whoever visits the pairs."""

import dataclasses

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import pytest

import particles as pt
from particles.simulation.mesh import Mesh
from particles.summation import devices

N = 32  # which three devices cannot share equally
X = pt.Sphere().uniform(jax.random.key(0), N, 3)
W = jax.random.normal(jax.random.key(1), X.shape)
MASSES = np.random.default_rng(3).dirichlet(np.ones(N))
PAIRS = pt.Blocked(rows=7, columns=5)
LAWS = {
    "softmax": pt.Attention(pt.DotProduct(4.0)),
    "causal, masses": pt.Attention(pt.SquaredDistance(2.0), pt.Causal() * pt.Masses(MASSES), pt.Mean()),
}


@eqx.filter_jit
def field_and_gradients(law, x, summation):
    def weighted(law, x):
        return jnp.sum(W * pt.Flow(pt.Sphere(), law, summation)(jnp.zeros(()), x))

    velocity = pt.Flow(pt.Sphere(), law, summation)(jnp.zeros(()), x)
    return velocity, eqx.filter_grad(lambda both: weighted(*both))((law, x))


def largest_error(law, summation):
    found, expected = (field_and_gradients(law, X, way) for way in (summation, pt.Dense()))
    return max(float(jnp.max(jnp.abs(a - b))) for a, b in zip(*map(jax.tree.leaves, (found, expected)), strict=True))


@pytest.mark.parametrize("law", LAWS.values(), ids=LAWS)
def test_devices_together_gather_what_one_does(law):
    assert largest_error(law, pt.Sharded(3, PAIRS)) < 1e-13


def test_columns_that_did_not_go_round_would_be_noticed(monkeypatch):
    """The negative control: every device sees its own columns only, as often as there are devices."""
    monkeypatch.setattr(jax.lax, "ppermute", lambda leaf, *_: leaf)
    assert largest_error(pt.Attention(pt.DotProduct(3.0)), pt.Sharded(2, PAIRS)) > 1e-2


def test_modes_are_added_up_over_devices(few_programs):
    assert largest_error(LAWS["softmax"], pt.Sharded(3, pt.Fourier(1e-9))) < 1e-8
    apart = pt.Attention(pt.SquaredDistance(40.0), pt.NotSelf())  # some rows see too little for modes
    summation = pt.Sharded(3, pt.Fourier(1e-9))
    far = jnp.concatenate([X[: N - 2], jnp.asarray([[2.5, 0.0, 0.0], [0.0, 2.6, 0.0]])])
    flow = pt.Flow(pt.Euclidean(), apart, summation)
    [said] = pt.summation_report(flow, far)
    assert said["poor"] > 0 and said["met"] and said["summation"] == summation
    exact = pt.Flow(pt.Euclidean(), apart, pt.Dense())(jnp.zeros(()), far)
    np.testing.assert_allclose(eqx.filter_jit(flow)(jnp.zeros(()), far), exact, atol=1e-8)


def test_a_run_over_devices_is_the_run_of_one():
    plan = pt.Plan(until=4.0, save=4, rtol=1e-9, atol=1e-11)
    ends = [pt.solve(pt.Flow(pt.Sphere(), LAWS["softmax"], way), X, plan) for way in (pt.Dense(), pt.Sharded(2))]
    assert int(ends[0].steps) == int(ends[1].steps)
    assert all(leaf.sharding.is_fully_replicated for leaf in jax.tree.leaves(ends[1]))  # any process can read it
    np.testing.assert_allclose(ends[1].tokens, ends[0].tokens, rtol=0, atol=1e-12)


def test_a_mesh_in_a_config_shares_the_tokens(tmp_path):
    plan = pt.Plan(until=1.0, save=4, chunk=2)
    flow = pt.Flow(pt.Sphere(), LAWS["softmax"])
    one = pt.Simulation(pt.starts.Uniform(N, 3), flow, plan, name="mesh")
    two = dataclasses.replace(one, mesh=Mesh(tokens=2))
    assert one.identity() == two.identity()
    records = [pt.simulate(run, path=tmp_path / str(k), progress=False) for k, run in enumerate((one, two))]
    assert [record.manifest["summations"][0]["kind"] for record in records] == ["Dense", "Sharded"]
    np.testing.assert_allclose(records[1].dataset.tokens, records[0].dataset.tokens, rtol=0, atol=1e-12)


def test_bad_meshes_are_refused(tmp_path):
    with pytest.raises(ValueError, match=r"leave one of them at 1"):
        Mesh(members=2, tokens=2)
    with pytest.raises(ValueError, match=r"mesh\.tokens = 99 and this process has .*device_count=99"):
        Mesh(tokens=99).spread(pt.Flow(pt.Sphere(), pt.Attention()))
    with pytest.raises(ValueError, match="Sharded\\(devices\\) = 99"):
        devices.devices(99)
    with pytest.raises(ValueError, match="must be one for a single device"):
        pt.Sharded(2, pt.Sharded(2))
    with pytest.raises(ValueError, match="Fourier cannot serve"):
        pt.Flow(pt.Sphere(), pt.Attention(pt.DotProduct(4.0), pt.Causal()), pt.Sharded(2, pt.Fourier()))(
            jnp.zeros(()), X
        )
