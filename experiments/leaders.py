"""Tokens of the line: attention becomes a Boolean matrix that sees the leaders alone."""

import dataclasses
from typing import ClassVar

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import xarray as xr
from jaxtyping import Array, Float

import particles as pt
from particles.chart import Curves, Map, Panel
from particles.declaration import option, parameter


class Leaders(pt.AbstractClaim):
    """On the line with positive V and QK every row of attention but one at most turns to one of the two end tokens.

    Parameters
    ----------
    tokens : distinct ones, from the uniform law on [-1, 1], in order.
    draws : how many starts.
    until : the last depth.
    value : V.
    seed : of the draws.
    control : the negative control: V is negative.

    Source
    ------
    geshkovski2023emergence.
    """

    minutes: ClassVar[float] = 0.5
    tokens: int = option(16, ge=3)
    draws: int = option(6, ge=1)
    until: Float[Array, ""] = parameter(7.0, gt=0)
    value: Float[Array, ""] = parameter(1.0, gt=0)
    seed: int = option(1)
    control: bool = option(False)
    sources: ClassVar[tuple[str, ...]] = ("geshkovski2023emergence",)

    def data(self) -> xr.Dataset:
        starts = np.sort(np.random.default_rng(self.seed).uniform(-1, 1, size=(self.draws, self.tokens, 1)), axis=1)
        law = pt.Attention(pt.DotProduct(4.0), value=pt.values.Linear(-self.value if self.control else self.value))
        plan = pt.Plan(self.until, save=60, solver="Dopri8", rtol=1e-8, atol=1e-10)

        def along(start: Float[Array, "n d"]) -> tuple[pt.Run, Float[Array, "time n n"]]:
            run = pt.solve(pt.Flow(pt.Euclidean(), law), start, plan)
            return run, jax.lax.map(lambda x: law.weights(x, pt.Dense()), run.tokens)

        run, found = eqx.filter_vmap(along)(jnp.asarray(starts))
        depth, weights = np.asarray(run.complete().times)[0], np.asarray(found)
        ends = np.eye(self.tokens)[[0, -1]]
        off = np.abs(weights[:, :, :, None] - ends).max(axis=-1).min(axis=-1)
        ranked = np.sort(off, axis=-1)
        far = {"symbol": r"$\min_\ell\max_j|P_{ij}-\delta_{j\ell}|$"}
        ranks = np.arange(1, self.tokens + 1)
        return xr.Dataset(
            {
                "second": (
                    ("depth", "draw"),
                    np.maximum(ranked[:, :, -2].T, 1e-18),
                    far | {"long_name": "all rows but one"},
                ),
                "wanted": ("depth", np.full(len(depth), 1e-3), far | {"long_name": "wanted"}),
                "weights": (("row", "column"), weights[0, -1], {"long_name": "attention", "symbol": "$P_{ij}$"}),
            },
            coords={
                "depth": ("depth", depth, {"long_name": "depth", "symbol": "$t$"}),
                "row": ("row", ranks, {"long_name": "query", "symbol": "$i$"}),
                "column": ("column", ranks, {"long_name": "key", "symbol": "$j$"}),
            },
        )

    def checks(self, data: xr.Dataset) -> tuple[pt.Check, ...]:
        farthest = float(data.second[-1].max())
        return (pt.Check("farthest row but one from a leader", farthest, 0.0, 1e-3, "margins grow like exp(2 V t)"),)

    def chart(self, data: xr.Dataset) -> tuple[Panel, ...]:
        return (
            Map("column", "row", "weights", title="attention at the end"),
            Curves("depth", ("second",), bounds=("wanted",), log="y", title="all rows but one"),
        )

    def shrunk(self) -> "Leaders":
        return dataclasses.replace(self, tokens=8, draws=3)
