"""One attention step of all tokens, tile by tile, and the memory it takes.

Theirs is attention alone; ours is the whole field of the flow, the part that would leave the sphere taken away.
"""

import functools
import statistics
from collections.abc import Callable

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np

from particles import Attention, Blocked, DotProduct, Flow, Sphere

from .row import Bound, Measured, Row
from .timing import alternately, cores, peak_memory

BETA = 4.0
MEGABYTE = 2**20
STEP = """
import sys
import equinox as eqx, jax, jax.numpy as jnp
from particles import Attention, Blocked, DotProduct, Flow, Sphere
n = int(sys.argv[1])
x = Sphere().project(jnp.sin(jnp.arange(n * 64.0).reshape(n, 64)))
flow = Flow(Sphere(), Attention(score=DotProduct(beta=4.0)), summation=Blocked())
jax.block_until_ready(eqx.filter_jit(flow)(jnp.zeros(()), x))
"""


def tokens(n: int, d: int) -> jax.Array:
    """n random tokens on the unit sphere, in float32."""
    x = np.random.default_rng(0).normal(size=(n, d))
    return jnp.asarray(x / np.linalg.norm(x, axis=1, keepdims=True), jnp.float32)


def ours(x: jax.Array) -> Callable[[], object]:
    flow = Flow(Sphere(), Attention(score=DotProduct(beta=BETA)), summation=Blocked())
    step, zero = eqx.filter_jit(flow), jnp.zeros((), x.dtype)
    return lambda: jax.block_until_ready(step(zero, x))


def in_torch(x: jax.Array) -> Callable[[], object]:
    import torch

    torch.set_num_threads(cores())
    given = torch.tensor(np.asarray(x))[None, None]
    attend = torch.nn.functional.scaled_dot_product_attention

    def step() -> object:
        with torch.no_grad():
            return attend(given, given, given, scale=BETA)

    return step


def in_keops(x: jax.Array) -> Callable[[], object]:
    from pykeops.numpy import LazyTensor

    given = np.asarray(x)

    def step() -> object:
        rows, columns = LazyTensor(given[:, None, :]), LazyTensor(given[None, :, :])
        return (BETA * (rows | columns)).sumsoftmaxweight(columns, axis=1)

    return step


def in_jax(x: jax.Array) -> Callable[[], object]:
    given = x[None, :, None, :]
    step = jax.jit(functools.partial(jax.nn.dot_product_attention, scale=BETA))
    return lambda: jax.block_until_ready(step(given, given, given))


def against(peer: Callable[[jax.Array], Callable[[], object]], n: int, d: int, rounds: int) -> Measured:
    x = tokens(n, d)
    return alternately(ours(x), peer(x), rounds)


def growth(small: int, large: int, rounds: int) -> Measured:
    """How the memory of a step grows with the tokens, what any program with JAX in it holds taken away."""

    def peak(n: int) -> float:
        return statistics.median(peak_memory(STEP, n) for _ in range(min(rounds, 3)))

    floor = peak(64)
    extra = [(peak(n) - floor) / MEGABYTE for n in (small, large)]
    if extra[0] < 1:
        raise RuntimeError(f"the smaller step added {extra[0]:.1f} MB to the floor: too little to measure growth by")
    pairs = [4 * n * n / MEGABYTE for n in (small, large)]
    return Measured(
        extra[1] / extra[0],
        f"{extra[0]:.0f} MB, then {extra[1]:.0f} MB",
        f"all pairs: {pairs[0]:.0f}, {pairs[1]:.0f} MB",
        "linear is 4x, all pairs are 16x",
    )


ROWS = (
    Row("blocked-small-d", "attention step, d=3, n=16384, f32; torch sdpa",
        functools.partial(against, in_torch, 16384, 3), Bound(">=", 2), "torch"),
    Row("blocked-large-d", "attention step, d=64, n=4096, f32; torch sdpa",
        functools.partial(against, in_torch, 4096, 64), Bound(">=", 1), "torch"),
    Row("blocked-keops-small-d", "attention step, d=3, n=16384, f32; pykeops",
        functools.partial(against, in_keops, 16384, 3), None, "pykeops"),
    Row("blocked-jax-small-d", "attention step, d=3, n=16384, f32; jax.nn",
        functools.partial(against, in_jax, 16384, 3)),
    Row("blocked-jax-large-d", "attention step, d=64, n=4096, f32; jax.nn",
        functools.partial(against, in_jax, 4096, 64)),
    Row("memory", "peak memory of a step, d=64, n=8192 to 32768",
        functools.partial(growth, 8192, 32768), Bound("<=", 5)),
)  # fmt: skip
