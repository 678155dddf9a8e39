"""An adaptive solve of a small system, the same tolerances and outputs for all, against SciPy and torchdiffeq.

Tolerances mean the same to nobody: ours are held in every coordinate, theirs in the root mean square, so ours takes the
smaller steps. The field that NumPy and torch are given is the leanest that is right on the sphere: no pass for the
maximum, no general case.
"""

import functools
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from particles import Attention, DotProduct, Flow, Plan, Sphere, solve

from .row import Bound, Measured, Row
from .timing import alternately, cores

TOKENS, DIM, UNTIL, BETA, RTOL, ATOL, OUTPUTS = 32, 3, 50.0, 9.0, 1e-6, 1e-9, 101
FLOW = Flow(Sphere(), Attention(score=DotProduct(beta=BETA)))
PLAN = Plan(until=UNTIL, save=OUTPUTS - 1, rtol=RTOL, atol=ATOL)

Trajectory = Callable[[], np.ndarray]  # tokens at all outputs, [time token dim]


def start() -> np.ndarray:
    """Random tokens on the unit sphere, in float64."""
    x = np.random.default_rng(0).normal(size=(TOKENS, DIM))
    return x / np.linalg.norm(x, axis=1, keepdims=True)


def field(exp: Callable[[Any], Any], x: Any) -> Any:
    """Softmax attention on the unit sphere in whatever array library x belongs to."""
    weights = exp(BETA * (x @ x.T) - BETA)
    pulled = (weights @ x) / weights.sum(1)[:, None]
    return pulled - (pulled * x).sum(1)[:, None] * x


def ours(x0: np.ndarray) -> Trajectory:
    x = jnp.asarray(x0)
    return lambda: np.asarray(jax.block_until_ready(solve(FLOW, x, PLAN).tokens))


def in_scipy(x0: np.ndarray) -> Trajectory:
    from scipy.integrate import solve_ivp

    def flat(t: float, x: np.ndarray) -> np.ndarray:
        return field(np.exp, x.reshape(TOKENS, DIM)).ravel()

    times = np.linspace(0, UNTIL, OUTPUTS)

    def trajectory() -> np.ndarray:
        found = solve_ivp(flat, (0, UNTIL), x0.ravel(), "RK45", times, rtol=RTOL, atol=ATOL)
        return found.y.T.reshape(OUTPUTS, TOKENS, DIM)

    return trajectory


def in_torchdiffeq(x0: np.ndarray) -> Trajectory:
    import torch
    from torchdiffeq import odeint

    torch.set_num_threads(cores())
    x, times = torch.tensor(x0), torch.linspace(0, UNTIL, OUTPUTS, dtype=torch.float64)

    def trajectory() -> np.ndarray:
        with torch.no_grad():
            found = odeint(lambda t, x: field(torch.exp, x), x, times, rtol=RTOL, atol=ATOL, method="dopri5")
        return found.numpy()  # pyright: ignore[reportAttributeAccessIssue]

    return trajectory


def against(peer: Callable[[np.ndarray], Trajectory], rounds: int) -> Measured:
    left, right = ours(start()), peer(start())
    return alternately(left, right, rounds, f"answers {apart(left(), right()):.1e} apart")


def agreement(peer: Callable[[np.ndarray], Trajectory], rounds: int) -> Measured:
    """The largest difference of a coordinate at any output."""
    return Measured(apart(ours(start())(), peer(start())()), "solve", peer.__name__.removeprefix("in_"))


def apart(left: np.ndarray, right: np.ndarray) -> float:
    return float(np.max(np.abs(left - right)))


WORK = f"solve, n={TOKENS}, T={UNTIL:g}, beta={BETA:g}, rtol={RTOL:g}"
ROWS = (
    Row("solve-scipy", f"{WORK}; SciPy RK45", functools.partial(against, in_scipy), Bound(">=", 3), "scipy"),
    Row("solve-torchdiffeq", f"{WORK}; torchdiffeq dopri5",
        functools.partial(against, in_torchdiffeq), Bound(">=", 20), "torchdiffeq"),
    Row("agree-scipy", "largest difference of the two answers",
        functools.partial(agreement, in_scipy), Bound("<=", 1e-5, ""), "scipy"),
    Row("agree-torchdiffeq", "largest difference of the two answers",
        functools.partial(agreement, in_torchdiffeq), Bound("<=", 1e-5, ""), "torchdiffeq"),
)  # fmt: skip
