"""Many small systems as one program, against a loop over compiled calls; many large ones by two workers or by one."""

import concurrent.futures
import functools
import itertools
import pathlib
import tempfile

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np

from particles import Attention, DotProduct, Flow, Plan, Simulation, Sphere, simulate, solve
from particles import starts as starts_of

from .row import Bound, Measured, Row
from .timing import alternately

MEMBERS, DIM, BETA = 1000, 3, 4.0
LARGE_MEMBERS, LARGE = 4, 1024
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


def workers(rounds: int) -> Measured:
    """From the start of the first worker to the finished record. One worker alone may use all cores."""
    plan = Plan(until=1.0, save=4, chunk=1, dt=0.01)
    sweep = {"seed": tuple(range(LARGE_MEMBERS))}
    large = Simulation(starts_of.Uniform(LARGE, DIM), FLOW, plan, sweep=sweep)
    with tempfile.TemporaryDirectory() as folder:
        fresh = (pathlib.Path(folder) / str(k) for k in itertools.count())

        def made(count: int) -> object:
            with concurrent.futures.ThreadPoolExecutor(count) as one:
                executor = one if count == 1 else None
                return simulate(large, path=next(fresh), workers=count, executor=executor, progress=False)

        return alternately(functools.partial(made, 2), functools.partial(made, 1), max(1, rounds // 4))


ROWS = (
    Row("sweep-n8", f"{MEMBERS} systems of n=8 vmapped; loop of compiled calls",
        functools.partial(together, 8), Bound(">=", 5)),
    Row("sweep-n32", f"{MEMBERS} systems of n=32 vmapped; loop of compiled calls",
        functools.partial(together, 32), Bound(">=", 1)),
    Row("sweep-workers", f"{LARGE_MEMBERS} systems of n={LARGE} by two workers; by one, from start to record",
        workers),
)  # fmt: skip
