"""Tokens of equal overlaps at beta = 0: a solution in elementary functions."""

import dataclasses
from typing import ClassVar

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import xarray as xr
from jaxtyping import Array, Float

import particles as pt
from particles.chart import Panel
from particles.declaration import option, parameter
from particles.experiment import most

from .equiangular import compared, gaps_of, panels


class ConsensusBetaZero(pt.AbstractClaim):
    """At beta = 0 equal overlaps g grow as g = (C exp(2 t) - 1) / (C exp(2 t) + n - 1), from any start but the least.

    Parameters
    ----------
    tokens : how many, in as many dimensions.
    starts : common overlaps of the start, above -1/(n-1); C = (1 + (n-1) g) / (1 - g).
    until : the last depth.
    control : the negative control: beta = 0.1.

    Source
    ------
    geshkovski2023perspective, Theorem 6.8; solved by hand.
    """

    minutes: ClassVar[float] = 0.5
    tokens: int = option(8, ge=2)
    starts: tuple[float, ...] = option((-0.14, 0.0, 0.3, 0.8))
    until: Float[Array, ""] = parameter(6.0, gt=0)
    control: bool = option(False)
    sources: ClassVar[tuple[str, ...]] = ("geshkovski2023perspective",)

    def outside(self, data: xr.Dataset) -> str:
        least = -1 / (self.tokens - 1)
        return "" if least < min(self.starts) and max(self.starts) < 1 else f"an overlap is not between {least:g} and 1"

    def data(self) -> xr.Dataset:
        n = self.tokens
        starts = [pt.starts.Equiangular(n, n, g)(pt.Sphere(), jax.random.key(0)) for g in self.starts]
        flow = pt.Flow(pt.Sphere(), pt.Attention(pt.DotProduct(0.1 if self.control else 0.0)))
        plan = pt.Plan(self.until, save=24, solver="Dopri8", rtol=1e-12, atol=1e-14)
        run = eqx.filter_vmap(lambda x0: pt.solve(flow, x0, plan))(jnp.stack(starts)).complete()
        depth, first = np.asarray(run.times)[0], np.asarray(self.starts)[:, None]
        exact = n / ((1 + (n - 1) * first) / (1 - first) * np.exp(2 * depth) + n - 1)
        coordinates = {
            "start": ("start", list(self.starts), {"long_name": "overlap at depth 0", "symbol": "$g_0$"}),
            "depth": ("depth", depth, {"long_name": "depth", "symbol": "$t$"}),
        }
        return compared(gaps_of(np.asarray(run.tokens)), exact, ("start", "depth")).assign_coords(coordinates)

    def checks(self, data: xr.Dataset) -> tuple[pt.Check, ...]:
        reason = "error of the solver at rtol 1e-12"
        return (
            pt.Check("largest error of the overlap", most(data.error), 0.0, 1e-10, reason),
            pt.Check("largest spread of the overlaps", most(data.spread), 0.0, 1e-10, reason),
        )

    def chart(self, data: xr.Dataset) -> tuple[Panel, ...]:
        return panels("depth", "start")

    def shrunk(self) -> "ConsensusBetaZero":
        return dataclasses.replace(self, tokens=4, starts=(-0.3, 0.3))
