"""A long run, in which tokens soon stand in a few clusters and wait: with clusters that move as one, and without."""

import dataclasses
import itertools
import pathlib
import tempfile

import jax
import numpy as np

from particles import Attention, DotProduct, Flow, Plan, Record, Sphere, simulate

from .row import Bound, Measured, Row
from .timing import alternately

TOKENS, DIM, BETA, UNTIL, TOLERANCE = 256, 3, 9.0, 1e4, 1e-6
FLOW = Flow(Sphere(), Attention(score=DotProduct(beta=BETA)))
DEPTHS = (*np.geomspace(0.5, UNTIL, 32)[:-1].tolist(), UNTIL)
PLAN = Plan(until=UNTIL, save=DEPTHS, chunk=2, watch=("energy", "clusters"))


def long_run(rounds: int) -> Measured:
    """Whole runs, with their records; the answers are compared at the end."""
    x0, count = Sphere().uniform(jax.random.key(0), n=TOKENS, d=DIM), itertools.count()
    merging = dataclasses.replace(PLAN, coalesce=TOLERANCE)
    with tempfile.TemporaryDirectory() as folder:

        def run(plan: Plan) -> Record:
            return simulate(FLOW, x0, plan, pathlib.Path(folder) / str(next(count)), progress=False)

        ends = [run(plan).dataset.tokens[-1].values for plan in (merging, PLAN)]
        note = f"answers {np.abs(ends[0] - ends[1]).max():.1e} apart"
        return alternately(lambda: run(merging), lambda: run(PLAN), max(3, rounds // 3), note)


ROWS = (
    Row("coalesce", f"run in a record, n={TOKENS}, T={UNTIL:g}, coalesce={TOLERANCE:g}; the same without",
        long_run, Bound(">=", 3)),
)  # fmt: skip
