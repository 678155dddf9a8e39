"""Work and precision: error at the end against wall time, for adaptive steps and for the step of published scripts.

The error is that of the tokens at depth 10 against a solution of tolerance 1e-12.
"""

import dataclasses
import functools
import statistics
import time

import jax
import numpy as np

from particles import Attention, DotProduct, Flow, Plan, Sphere, solve

from .row import Bound, Measured, Row

UNTIL, N = 10.0, 32
FLOW = Flow(Sphere(), Attention(score=DotProduct(beta=4.0)))
TIGHT = Plan(until=UNTIL, save=1, solver="Dopri8", rtol=1e-12, atol=1e-14)
PLANS = {
    "Tsit5": [Plan(until=UNTIL, save=1, rtol=10.0**-k, atol=10.0 ** -(k + 3)) for k in range(3, 11)],
    "Dopri8": [Plan(until=UNTIL, save=1, solver="Dopri8", rtol=10.0**-k, atol=10.0 ** -(k + 3)) for k in range(3, 11)],
    "EulerNormalize": [Plan(until=UNTIL, save=1, solver="EulerNormalize", dt=2.0**-k) for k in range(1, 12)],
}
AT = 1e-4  # the error at which the two are compared


def start() -> jax.Array:
    return Sphere().uniform(jax.random.key(0), N, 3)


@functools.cache
def curves(rounds: int) -> dict[str, tuple[tuple[float, float], ...]]:
    """For each method the seconds and the error of every plan."""
    exact, found = np.asarray(solve(FLOW, start(), TIGHT).final), {}
    for name, plans in PLANS.items():
        found[name] = tuple(_point(dataclasses.replace(plan, max_steps=100_000), exact, rounds) for plan in plans)
    return found


def _point(plan: Plan, exact: np.ndarray, rounds: int) -> tuple[float, float]:
    x = start()
    error = float(np.max(np.abs(np.asarray(solve(FLOW, x, plan).final) - exact)))
    readings = []
    for _ in range(rounds):
        begun = time.perf_counter()
        jax.block_until_ready(solve(FLOW, x, plan).final)
        readings.append(time.perf_counter() - begun)
    return statistics.median(readings), error


def seconds_at(name: str, error: float, rounds: int) -> float:
    """The time in which a method reaches an error, by the slope between its two nearest plans, or beyond its last."""
    points = np.log(np.asarray(sorted(curves(rounds)[name], key=lambda point: -point[1])))
    place = int(np.clip(np.searchsorted(-points[:, 1], -np.log(error)), 1, len(points) - 1))
    (t0, e0), (t1, e1) = points[place - 1], points[place]
    return float(np.exp(t0 + (t1 - t0) * (np.log(error) - e0) / (e1 - e0)))


def against_euler(rounds: int) -> Measured:
    ours, theirs = (seconds_at(name, AT, rounds) for name in ("Tsit5", "EulerNormalize"))
    note = f"for an error of {AT:g} at depth {UNTIL:g}"
    return Measured(theirs / ours, f"{1e3 * ours:.3g} ms", f"{1e3 * theirs:.3g} ms", note)


ROWS = (Row("precision", f"solve n={N} by Tsit5; Euler-normalize", against_euler, Bound(">=", 1)),)
