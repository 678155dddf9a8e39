"""Tokens of one hemisphere become one."""

import dataclasses
from typing import ClassVar

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import xarray as xr
from jaxtyping import Array, Float

import particles as pt
from particles.chart import Curves, Panel
from particles.declaration import option, parameter
from particles.experiment import most

NEAR = 1e-8  # of 1 - alpha: closer than this to consensus, where it ends is not known well enough


class HemisphereCollapse(pt.AbstractClaim):
    """Tokens of a hemisphere never come closer to its rim, whatever Q and K, and collapse at a rate of their own.

    For Q = K = I and alpha = min_i <x_i, x*>, with x* where all end: once alpha >= 1/2, it grows at least at the rate
    (1 - alpha) / (2 n exp(2 beta)).

    Parameters
    ----------
    tokens, dim : of uniform starts, turned into the hemisphere of the last axis w.
    beta : inverse temperature.
    draws : starts; the first has Q = K = I, the others random Q and K. V = I for all.
    until : the last depth.
    seed : of the draws.
    control : the negative control: one token is moved out of the hemisphere.

    Source
    ------
    geshkovski2023perspective, with the exponent of the rate as in its proof.
    """

    minutes: ClassVar[float] = 0.5
    tokens: int = option(16, ge=2)
    dim: int = option(3, ge=2)
    beta: Float[Array, ""] = parameter(1.0, ge=0)
    draws: int = option(8, ge=2)
    until: Float[Array, ""] = parameter(25.0, gt=0)
    seed: int = option(0)
    control: bool = option(False)
    sources: ClassVar[tuple[str, ...]] = ("geshkovski2023perspective",)

    def data(self) -> xr.Dataset:
        d, count = self.dim, self.draws
        matrices = np.random.default_rng(self.seed).normal(size=(2, count, d, d)) / np.sqrt(d)
        matrices[:, 0] = np.eye(d)
        x0 = np.array(pt.Sphere().uniform(jax.random.key(self.seed), count * self.tokens, d))
        x0 = x0.reshape(count, self.tokens, d)
        x0[..., -1] = np.abs(x0[..., -1])
        x0[:, 0, -1] *= -1 if self.control else 1
        plan = pt.Plan(self.until, save=200, solver="Dopri8", rtol=1e-10, atol=1e-13)

        def along(query: Float[Array, "d d"], key: Float[Array, "d d"], start: Float[Array, "n d"]) -> pt.Run:
            law = pt.Attention(pt.DotProduct(self.beta, query=query, key=key))
            return pt.solve(pt.Flow(pt.Sphere(), law), start, plan)

        run = eqx.filter_vmap(along)(*map(jnp.asarray, matrices), jnp.asarray(x0)).complete()
        x = np.asarray(run.tokens)
        lowest = x[..., -1].min(axis=2)
        gap, rate = self._collapse(x[0])
        depth = np.asarray(run.times)[0]
        speed = {"symbol": r"$\dot\alpha/(1-\alpha)$"}
        bound = np.where(np.isfinite(rate), np.exp(-2 * float(self.beta)) / (2 * self.tokens), np.nan)
        return xr.Dataset(
            {
                "lowest": (
                    ("draw", "time"),
                    lowest,
                    {"long_name": "lowest token", "symbol": r"$\min_i\langle x_i,w\rangle$"},
                ),
                "gap": ("time", gap, {"long_name": "farthest token", "symbol": r"$1-\alpha$"}),
                "rate": ("time", rate, speed | {"long_name": "measured"}),
                "least": ("time", bound, speed | {"long_name": "least rate"}),
                "apart": (
                    "draw",
                    np.linalg.norm(x[:, -1] - x[:, -1, :1], axis=-1).max(axis=1),
                    {"long_name": "width at the end"},
                ),
            },
            coords={
                "time": ("time", depth, {"long_name": "depth", "symbol": "$t$"}),
                "draw": ("draw", np.arange(count), {"long_name": "draw", "symbol": "draw"}),
            },
        )

    def _collapse(self, x: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """1 - alpha along a run with Q = K = I, and the growth of alpha over it while alpha is at least 1/2."""
        end = x[-1].mean(axis=0)
        end = end / np.linalg.norm(end)
        gaps = np.sum((x - end) ** 2, axis=-1) / 2
        farthest = np.argmax(gaps, axis=1)
        gap = np.take_along_axis(gaps, farthest[:, None], axis=1)[:, 0]
        weights = np.exp(float(self.beta) * (x @ x.transpose(0, 2, 1) - 1))
        pulled = weights @ x / weights.sum(axis=-1, keepdims=True)
        speed = pulled - np.sum(pulled * x, axis=-1, keepdims=True) * x
        growth = np.take_along_axis(speed @ end, farthest[:, None], axis=1)[:, 0]
        return np.where(gap > 1e-15, gap, np.nan), np.where(
            (gap <= 0.5) & (gap > NEAR), growth / np.maximum(gap, NEAR), np.nan
        )

    def checks(self, data: xr.Dataset) -> tuple[pt.Check, ...]:
        fall, slack = float(data.lowest.diff("time").min()), float((data.rate - data.least).min())
        at_least = pt.Sense.at_least
        return (
            pt.Check("least step of min <x, w>", fall, 0.0, 1e-9, "error of the solver", at_least),
            pt.Check("least excess of the rate of alpha", slack, 0.0, 1e-9, "error of the solver", at_least),
            pt.Check("largest width at the end", most(data.apart), 0.0, 1e-2, "collapse is under way"),
        )

    def chart(self, data: xr.Dataset) -> tuple[Panel, ...]:
        return (
            Curves("time", ("lowest",), by="draw", title="height over the rim"),
            Curves("time", ("gap",), log="y", title="collapse, Q = K = I"),
            Curves("time", ("rate",), bounds=("least",), log="y", title="rate of collapse"),
        )

    def shrunk(self) -> "HemisphereCollapse":
        return dataclasses.replace(self, tokens=8, draws=3)
