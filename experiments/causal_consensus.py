"""Causal attention ends where the first token is."""

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


class CausalConsensus(pt.AbstractClaim):
    """Under causal attention with V = I every token comes to where the first one started, whatever Q and K.

    Parameters
    ----------
    tokens, dim : of uniform starts on the sphere.
    beta : inverse temperature.
    draws : how many starts, each with its own random Q and K.
    until : the last depth.
    seed : of the draws.
    control : the negative control: no mask.

    Source
    ------
    karagodin2024causal.
    """

    minutes: ClassVar[float] = 0.5
    tokens: int = option(12, ge=2)
    dim: int = option(3, ge=2)
    beta: Float[Array, ""] = parameter(1.0)
    draws: int = option(6, ge=1)
    until: Float[Array, ""] = parameter(40.0, gt=0)
    seed: int = option(0)
    control: bool = option(False)
    sources: ClassVar[tuple[str, ...]] = ("karagodin2024causal",)

    def data(self) -> xr.Dataset:
        n, d = self.tokens, self.dim
        matrices = jnp.asarray(np.random.default_rng(self.seed).normal(size=(2, self.draws, d, d)) / np.sqrt(d))
        x0 = pt.Sphere().uniform(jax.random.key(self.seed), self.draws * n, d).reshape(self.draws, n, d)
        measure = pt.measures.Uniform() if self.control else pt.Causal()
        plan = pt.Plan(self.until, save=60, solver="Dopri8", rtol=1e-9, atol=1e-12)

        def along(query: Float[Array, "d d"], key: Float[Array, "d d"], start: Float[Array, "n d"]) -> pt.Run:
            law = pt.Attention(pt.DotProduct(self.beta, query=query, key=key), measure)
            return pt.solve(pt.Flow(pt.Sphere(), law), start, plan)

        run = eqx.filter_vmap(along)(*matrices, x0).complete()
        gap = np.sum((np.asarray(run.tokens) - np.asarray(x0)[:, None, :1]) ** 2, axis=-1) / 2
        shown = np.where(gap > 1e-20, gap, np.nan)
        far = {"symbol": r"$1-\langle x_k,x_1(0)\rangle$"}
        return xr.Dataset(
            {
                "gap": (("depth", "token"), shown[0, :, 1:], far | {"long_name": "first draw"}),
                "farthest": (("depth", "draw"), gap.max(axis=2).T, far | {"long_name": "farthest token"}),
            },
            coords={
                "depth": ("depth", np.asarray(run.times)[0], {"long_name": "depth", "symbol": "$t$"}),
                "token": ("token", np.arange(2, n + 1), {"long_name": "token", "symbol": "$k$"}),
                "draw": ("draw", np.arange(self.draws), {"long_name": "draw", "symbol": "draw"}),
            },
        )

    def checks(self, data: xr.Dataset) -> tuple[pt.Check, ...]:
        farthest = float(data.farthest[-1].max())
        return (pt.Check("largest 1 - cos to the first token", farthest, 0.0, 1e-6, "what is left of the approach"),)

    def chart(self, data: xr.Dataset) -> tuple[Panel, ...]:
        return (
            Curves("depth", ("gap",), by="token", log="y", title="first draw"),
            Curves("depth", ("farthest",), by="draw", log="y", title="farthest token"),
        )

    def shrunk(self) -> "CausalConsensus":
        return dataclasses.replace(self, tokens=6, draws=3)
