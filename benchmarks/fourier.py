"""Sums over modes against sums over pairs, at equal accuracy, from a thousand tokens to a million.

Where all pairs would take an hour, pairs are visited for some of the rows and the time is scaled; the note says so.
"""

import functools
import statistics
import time
from collections.abc import Callable

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np

from particles import Attention, Blocked, DotProduct, Fourier

from .row import Bound, Measured, Row

BETA, TOLERANCE, ROWS_SEEN = 4.0, 1e-7, 2000
SIZES = (1_000, 3_000, 10_000, 30_000, 100_000, 300_000, 1_000_000)
ZERO = jnp.zeros(())
LAW = Attention(DotProduct(BETA))


def tokens(n: int, d: int) -> jax.Array:
    """n random tokens on the unit sphere, in float64."""
    x = np.random.default_rng(0).normal(size=(n, d))
    return jnp.asarray(x / np.linalg.norm(x, axis=1, keepdims=True))


@eqx.filter_jit
def by_modes(x: jax.Array) -> jax.Array:
    return LAW(ZERO, x, Fourier(TOLERANCE))


@eqx.filter_jit
def by_pairs(rows: jax.Array, x: jax.Array) -> jax.Array:
    """What some rows see of all tokens."""
    return LAW.between(ZERO, rows, x, Blocked())


def median(work: Callable[[], object], rounds: int) -> float:
    jax.block_until_ready(work())
    readings = []
    for _ in range(rounds):
        begun = time.perf_counter()
        jax.block_until_ready(work())
        readings.append(time.perf_counter() - begun)
    return statistics.median(readings)


@functools.cache
def curve(d: int, rounds: int) -> tuple[tuple[int, float, float, float], ...]:
    """For each size: tokens, seconds by modes, seconds by pairs, and the largest difference of some rows."""
    found = []
    for n in SIZES:
        x = tokens(n, d)
        some = x[:: -(-n // ROWS_SEEN)]
        modes = median(lambda x=x: by_modes(x), rounds)
        pairs = median(lambda x=x, some=some: by_pairs(some, x), rounds) * n / some.shape[0]
        apart = jnp.max(jnp.abs(by_modes(x)[:: -(-n // ROWS_SEEN)] - by_pairs(some, x)))
        found.append((n, modes, pairs, float(apart)))
    return tuple(found)


def ratio(d: int, n: int, rounds: int) -> Measured:
    """How many times longer all pairs take than modes."""
    _, modes, pairs, apart = next(point for point in curve(d, max(1, rounds // 3)) if point[0] == n)
    scaled = f"; pairs scaled from {ROWS_SEEN} rows" if n > 2 * ROWS_SEEN else ""
    return Measured(pairs / modes, f"{modes:.3g} s", f"{pairs:.3g} s", f"answers {apart:.1e} apart{scaled}")


def growth(d: int, rounds: int) -> Measured:
    """The exponent of growth of the time by modes, over the last two decades."""
    points = [point for point in curve(d, max(1, rounds // 3)) if point[0] >= 10_000]
    slope = np.polyfit(np.log([point[0] for point in points]), np.log([point[1] for point in points]), 1)[0]
    return Measured(float(slope), f"n = {points[0][0]:,} to {points[-1][0]:,}", "pairs: 2")


def crossover(d: int, rounds: int) -> Measured:
    """The number of tokens from which modes are cheaper, between two sizes by the slopes of both."""
    points = curve(d, max(1, rounds // 3))
    gain = np.log([pairs / modes for _, modes, pairs, _ in points])
    first = int(np.argmax(gain > 0))
    if first == 0:
        return Measured(float(points[0][0]), "modes at every size measured", "", "an upper bound")
    share = gain[first - 1] / (gain[first - 1] - gain[first])
    where = np.exp(np.interp(share, [0, 1], np.log([points[first - 1][0], points[first][0]])))
    return Measured(float(where), "modes beyond", "pairs below")


SPACES = {2: "circle", 3: "sphere S^2"}
ROWS = tuple(
    row
    for d, space in SPACES.items()
    for row in (
        *(
            Row(f"fourier-d{d}-n{n}", f"attention step on the {space}, n={n:,}, 1e-7; Blocked",
                functools.partial(ratio, d, n), Bound(">=", 1) if n >= 30_000 else None)
            for n in SIZES
        ),
        Row(f"fourier-d{d}-growth", f"exponent of growth on the {space}", functools.partial(growth, d),
            Bound("<=", 1.15, "")),
        Row(f"fourier-d{d}-crossover", f"tokens from which modes are cheaper on the {space}",
            functools.partial(crossover, d)),
    )
)  # fmt: skip
