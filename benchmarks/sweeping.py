"""Many small systems as one program, against a loop over calls that are compiled already."""

import functools

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np

from particles import Attention, DotProduct, Flow, Plan, Sphere, solve

from .row import Bound, Measured, Row
from .timing import alternately

MEMBERS, DIM, BETA = 1000, 3, 4.0
FLOW = Flow(Sphere(), Attention(score=DotProduct(beta=BETA)))
PLAN = Plan(until=10.0, save=10)


def starts(n: int) -> jax.Array:
    """Random tokens on the unit sphere for every member, in float64."""
    x = np.random.default_rng(0).normal(size=(MEMBERS, n, DIM))
    return jnp.asarray(x / np.linalg.norm(x, axis=-1, keepdims=True))


def together(n: int, rounds: int) -> Measured:
    stacked = starts(n)
    single = list(stacked)
    program = eqx.filter_jit(eqx.filter_vmap(lambda x: solve(FLOW, x, PLAN)))

    def batch() -> object:
        return jax.block_until_ready(program(stacked))

    def loop() -> object:
        return jax.block_until_ready([solve(FLOW, x, PLAN) for x in single])

    return alternately(batch, loop, max(3, rounds // 2))


ROWS = (
    Row("sweep-n8", f"{MEMBERS} systems of n=8 vmapped; loop of compiled calls",
        functools.partial(together, 8), Bound(">=", 5)),
    Row("sweep-n32", f"{MEMBERS} systems of n=32 vmapped; loop of compiled calls",
        functools.partial(together, 32), Bound(">=", 1)),
)  # fmt: skip
