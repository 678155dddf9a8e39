"""A local Lipschitz constant without a matrix, against the same from the derivative as a matrix."""

import functools
import statistics
import time

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np

from particles import Attention, DotProduct, Flow, Sphere
from particles.analysis import AbstractTokenMap, LawMap, local_lipschitz

from .row import Bound, Measured, Row
from .timing import alternately

BETA = 8.0
LAW = LawMap(Flow(Sphere(), Attention(DotProduct(BETA))))


def tokens(n: int, d: int, dtype: str) -> jax.Array:
    """n random tokens on the unit sphere."""
    x = np.random.default_rng(0).normal(size=(n, d))
    return jnp.asarray(x / np.linalg.norm(x, axis=1, keepdims=True), dtype)


@eqx.filter_jit
def largest(moved: AbstractTokenMap, x: jax.Array) -> jax.Array:
    """The largest singular value of the derivative, which is formed."""
    return jnp.linalg.norm(moved.jacobian(x).reshape(x.size, x.size), 2)


def against_the_matrix(n: int, d: int, rounds: int) -> Measured:
    x = tokens(n, d, "float64")
    ours = lambda: jax.block_until_ready(local_lipschitz(LAW, x).value)  # noqa: E731
    return alternately(ours, lambda: jax.block_until_ready(largest(LAW, x)), max(3, rounds // 3))


def seconds(n: int, d: int, dtype: str, tolerance: float, rounds: int) -> Measured:
    """How long one constant takes, with all tokens in one step of attention."""
    x = tokens(n, d, dtype)
    found = local_lipschitz(LAW, x, tolerance=tolerance)
    readings = []
    for _ in range(max(1, rounds // 4)):
        begun = time.perf_counter()
        found = jax.block_until_ready(local_lipschitz(LAW, x, tolerance=tolerance))
        readings.append(time.perf_counter() - begun)
    words = f"{int(found.products)} products, {'converged' if found.converged else 'NOT converged'}"
    return Measured(statistics.median(readings), f"{min(readings):.3g}-{max(readings):.3g} s", note=words)


ROWS = (
    Row("lipschitz-matrix", "local Lipschitz constant, d=4, n=256; matrix and SVD",
        functools.partial(against_the_matrix, 256, 4), Bound(">=", 5)),
    Row("lipschitz-f32", "local Lipschitz constant to 1e-5, d=64, n=4096, f32",
        functools.partial(seconds, 4096, 64, "float32", 1e-5), Bound("<=", 60, " s")),
    Row("lipschitz-f64", "local Lipschitz constant to 1e-8, d=64, n=4096, f64",
        functools.partial(seconds, 4096, 64, "float64", 1e-8)),
)  # fmt: skip
