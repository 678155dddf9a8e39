"""The same contracts on an accelerator: `JAX_PLATFORMS=cuda,cpu pytest -m gpu`. Skipped where there is none."""

import os

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import pytest

import particles as pt

ACCELERATORS = [device for device in jax.devices() if device.platform != "cpu"]
pytestmark = [
    pytest.mark.gpu,
    pytest.mark.skipif(not ACCELERATORS, reason=f"no accelerator with JAX_PLATFORMS={os.environ['JAX_PLATFORMS']}"),
]
N = 700
LAWS = {
    "softmax": pt.Attention(pt.DotProduct(4.0)),
    "causal": pt.Attention(pt.DotProduct(4.0), pt.Causal()),
    "mean": pt.Attention(pt.SquaredDistance(2.0), normalizer=pt.Mean()),
    "sinkhorn": pt.Attention(pt.DotProduct(2.0), normalizer=pt.Sinkhorn()),
}
WAYS = {"blocked": pt.Blocked(rows=128, columns=256), "sharded": pt.Sharded(1), "auto": pt.Auto(dense_bytes=0)}


def field(law, way, x):
    return np.asarray(eqx.filter_jit(pt.Flow(pt.Sphere(), law, way))(jnp.zeros((), x.dtype), x))


@pytest.mark.parametrize("law", LAWS.values(), ids=LAWS)
@pytest.mark.parametrize("way", WAYS.values(), ids=WAYS)
def test_every_summation_equals_dense_on_the_processor(law, way):
    x = pt.Sphere().uniform(jax.random.key(0), N, 3)
    with jax.default_device(jax.devices("cpu")[0]):
        expected = field(law, pt.Dense(), jax.device_put(x, jax.devices("cpu")[0]))
    np.testing.assert_allclose(field(law, way, x), expected, rtol=0, atol=1e-10)


def test_modes_are_summed_one_by_one():
    x = pt.Sphere().uniform(jax.random.key(0), N, 3)
    law = LAWS["softmax"]
    np.testing.assert_allclose(field(law, pt.Fourier(1e-8), x), field(law, pt.Dense(), x), rtol=0, atol=1e-7)


def test_a_run_is_that_of_the_processor():
    x, plan = pt.Sphere().uniform(jax.random.key(0), 64, 3), pt.Plan(until=5.0, save=5, rtol=1e-9, atol=1e-11)
    flow = pt.Flow(pt.Sphere(), LAWS["softmax"])
    there = pt.solve(flow, x, plan)
    with jax.default_device(jax.devices("cpu")[0]):
        here = pt.solve(flow, jax.device_put(x, jax.devices("cpu")[0]), plan)
    np.testing.assert_allclose(np.asarray(there.tokens), np.asarray(here.tokens), rtol=0, atol=1e-7)


def test_scores_in_half_precision_agree_with_the_fused_attention_of_the_vendor():
    """As far as bfloat16 goes: both round queries, keys and weights to 8 bits."""
    x = pt.Sphere().uniform(jax.random.key(0), 1024, 64).astype(jnp.float32)
    half = x.astype(jnp.bfloat16)[None, :, None, :]
    fused = jax.nn.dot_product_attention(half, half, half, scale=4.0, implementation="cudnn")[0, :, 0]
    law = pt.Attention(pt.DotProduct(4.0))
    ours = law(jnp.zeros((), x.dtype), x, pt.Blocked(scores="bfloat16"))
    exact = np.asarray(law(jnp.zeros((), x.dtype), x, pt.Dense()))
    assert np.abs(np.asarray(fused, np.float32) - exact).max() < 2e-2
    assert np.abs(np.asarray(ours) - exact).max() < 2e-2
    wrong = np.asarray(pt.Attention(pt.DotProduct(8.0))(jnp.zeros((), x.dtype), x, pt.Dense()))
    assert np.abs(wrong - exact).max() > 2e-2  # the tolerance would notice another temperature
