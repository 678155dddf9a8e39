"""The phase diagram of clustering: which share of all pairs of tokens has met, over temperature and depth.

A diagram is one compiled program: temperatures one after another, the starts of each in chunks that are followed side
by side with steps of their own, and nothing kept but the shares. Tokens in a dimension above their number span no more
than that many dimensions, and never leave them, so they are drawn there at once: no cost grows with the dimension.
"""

import dataclasses
from typing import ClassVar

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Float, Int, PRNGKeyArray, PyTree

from ..declaration import parameter
from ..dynamics import AbstractFlow, Flow
from ..integration import Failed, Plan, Status, solve
from ..laws import Attention, DotProduct
from ..observables import AbstractObservable
from ..spaces import Sphere
from ..stopping import AbstractStop
from ..summation import Dense


@dataclasses.dataclass(frozen=True)
class Phases:
    """The share of pairs of tokens that have met.

    Attributes
    ----------
    betas, times : the axes: inverse temperatures, and depths from 0 on.
    share : `[beta time]`, the mean over starts.
    error : its standard error.
    """

    betas: np.ndarray
    times: np.ndarray
    share: np.ndarray
    error: np.ndarray

    def transition(self, level: float = 0.5) -> np.ndarray:
        """The depth at which the share first passes a level, for each temperature; NaN where it does not."""
        return np.asarray([_crossing(self.times, row, level) for row in self.share])


def phase_diagram(
    betas: np.ndarray,
    times: np.ndarray,
    starts: Float[Array, "s n k"],
    *,
    delta: float = 1e-3,
    chunk: int = 16,
    tolerance: float = 1e-4,
) -> Phases:
    """Softmax attention on the sphere from many starts: the share of pairs with a cosine of at least 1 - delta.

    Parameters
    ----------
    betas : inverse temperatures.
    times : depths, increasing, above 0.
    starts : on the unit sphere, the same for all temperatures; `uniform` draws them.
    delta : above 0.
    chunk : starts followed side by side.
    tolerance : of the solver, relative; the absolute one is a hundredth of it.

    Raises
    ------
    Failed
        If the numerics failed anywhere.

    Cost
    ----
    About 20 steps of 7 evaluations for a start to depth 30, each 2 n^2 min(n, d) products and n^2 exponentials: 90
    temperatures of 2^10 starts of 32 tokens take three to four minutes on one core. Memory is that of a chunk.

    Source
    ------
    geshkovski2023perspective.
    """
    near, rtol = jnp.asarray(delta, float), jnp.asarray(tolerance, float)
    plan = Plan(
        jnp.asarray(times[-1], float),
        save=tuple(float(t) for t in times),
        watch=(Met(near),),
        stop=(AllMet(near),),
        rtol=rtol,
        atol=rtol / 100,
        tokens=False,
        max_steps=10_000,
    )
    shares, status = _shares(jnp.asarray(betas, float), starts, plan, chunk)
    worst = Status(int(np.max(np.asarray(status))))
    if worst.failed:
        raise Failed(f"the integration {worst.message}")
    shares = np.asarray(shares)
    count = shares.shape[1]
    error = shares.std(axis=1, ddof=1) / np.sqrt(count) if count > 1 else np.full_like(shares[:, 0], np.nan)
    return Phases(np.asarray(betas), np.append(0.0, times), shares.mean(axis=1), error)


@eqx.filter_jit
def _shares(
    betas: Float[Array, " b"], x: Float[Array, "s n k"], plan: Plan, chunk: int
) -> tuple[Float[Array, "b s time"], Int[Array, "b s"]]:
    """The share at each depth, for every temperature and start; 1 after the depth at which all have met."""

    def one(beta: Float[Array, ""], x: Float[Array, "n k"]) -> tuple[Float[Array, " time"], Int[Array, ""]]:
        run = solve(Flow(Sphere(), Attention(DotProduct(beta)), Dense()), x, plan)
        met, stopped = run.observed[Met.name], run.status == Status.stopped
        return jnp.where(stopped & jnp.isnan(met), 1, met), run.status

    return jax.lax.map(lambda beta: jax.lax.map(lambda one_x: one(beta, one_x), x, batch_size=chunk), betas)


class Met(AbstractObservable):
    r"""The share of pairs of tokens that have met: whose cosine is at least 1 - delta.

    .. math:: \frac{1}{n(n-1)} \#\{i \ne j: \langle x_i, x_j\rangle \geq 1 - \delta\}

    Parameters
    ----------
    delta : above 0.

    Source
    ------
    geshkovski2023perspective.
    """

    delta: Float[Array, ""] = parameter(1e-3, gt=0)
    name: ClassVar[str] = "met"
    symbol: ClassVar[str] = r"$P(\langle x_i, x_j\rangle \geq 1 - \delta)$"
    sources: ClassVar[tuple[str, ...]] = ("geshkovski2023perspective",)

    def __call__(self, flow: AbstractFlow, t: Float[Array, ""], x: Float[Array, "n d"]) -> Float[Array, ""]:
        n = x.shape[0]
        met = jnp.sum((x @ x.T >= 1 - self.delta).astype(x.dtype))
        return (met - n) / max(n * (n - 1), 1)


class AllMet(AbstractStop):
    """Stop when all pairs of tokens have a cosine of at least 1 - delta; on the sphere they then stay so close.

    Parameters
    ----------
    delta : above 0, below 1.

    Source
    ------
    geshkovski2023perspective.
    """

    delta: Float[Array, ""] = parameter(1e-3, gt=0, lt=1)
    sources: ClassVar[tuple[str, ...]] = ("geshkovski2023perspective",)

    def __call__(self, flow: AbstractFlow, t: Float[Array, ""], state: PyTree) -> Bool[Array, ""]:
        x = flow.tokens(state)
        return jnp.min(x @ x.T) >= 1 - self.delta


def uniform(key: PRNGKeyArray, starts: int, tokens: int, dim: int) -> Float[Array, "s n k"]:
    """Independent uniform tokens on the sphere of R^dim, in the min(n, dim) dimensions that they span.

    Above n dimensions the Gram matrix is that of uniform tokens exactly: the triangular factor of a Gaussian matrix has
    normal numbers below the diagonal and chi numbers on it (Bartlett). Draws of one key in several dimensions share the
    normal numbers.

    Source
    ------
    geshkovski2023perspective; derived by hand.
    """
    below, on = jax.random.split(key)
    x = jax.random.normal(below, (starts, tokens, min(tokens, dim)))
    if dim > tokens:
        squares = 2 * jax.random.gamma(on, (dim - jnp.arange(tokens)) / 2, (starts, tokens))
        x = jnp.tril(x, -1) + jnp.sqrt(squares)[:, :, None] * jnp.eye(tokens)[None, :, :]
    return x / jnp.linalg.norm(x, axis=-1, keepdims=True)


def _crossing(t: np.ndarray, share: np.ndarray, level: float) -> float:
    """Where a share first reaches a level, by the straight line between two depths."""
    above = np.flatnonzero(share >= level)
    if not len(above):
        return np.nan
    k = above[0]
    if k == 0:
        return float(t[0])
    return float(t[k - 1] + (level - share[k - 1]) / (share[k] - share[k - 1]) * (t[k] - t[k - 1]))
