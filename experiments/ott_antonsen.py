"""Attention at beta = 0 on the circle is Kuramoto's model, whose order parameter is known."""

import dataclasses
from typing import ClassVar

import jax.numpy as jnp
import numpy as np
import xarray as xr
from jaxtyping import Array, Float

import particles as pt
from particles import limits
from particles.chart import Curves, Panel
from particles.declaration import option, parameter
from particles.experiment import most


class OttAntonsen(pt.AbstractClaim):
    """At beta = 0 tokens on the circle are identical Kuramoto oscillators, whose order parameter has a closed form.

    Tokens at the quantiles of a Poisson kernel with mean r_0: r(t) = (1 + (1/r_0^2 - 1) e^-t)^(-1/2).

    Parameters
    ----------
    tokens : how many; r^tokens must be small.
    starts : r_0, one run for each.
    until : the last depth.
    control : the negative control: tokens are pulled by a tenth more than they should.

    Source
    ------
    ott2008low; as attention, geshkovski2023perspective.
    """

    minutes: ClassVar[float] = 0.5
    tokens: int = option(400, ge=8)
    starts: tuple[float, ...] = option((0.05, 0.2, 0.4))
    until: Float[Array, ""] = parameter(3.5, gt=0)
    control: bool = option(False)
    sources: ClassVar[tuple[str, ...]] = ("ott2008low", "geshkovski2023perspective")

    def data(self) -> xr.Dataset:
        value = pt.values.Linear(1.1 if self.control else 1.0)
        flow = pt.Flow(pt.Sphere(), pt.Attention(pt.DotProduct(0.0), normalizer=pt.Mean(), value=value))
        plan = pt.Plan(self.until, save=30, rtol=1e-11, atol=1e-13, solver="Dopri8")
        measured = []
        for r in self.starts:
            half = limits.circle_modes.quantiles(self.tokens) / 2 - np.pi / 2
            angles = 2 * np.arctan((1 - r) / (1 + r) * np.tan(half))
            x0 = jnp.asarray(np.stack([np.cos(angles), np.sin(angles)], axis=1))
            run = pt.solve(flow, x0, plan).complete()
            measured.append(np.linalg.norm(np.asarray(run.tokens).mean(axis=1), axis=-1))
        t, r0 = np.asarray(run.times), np.asarray(self.starts)
        exact = (1 + (r0**-2 - 1)[None, :] * np.exp(-t)[:, None]) ** -0.5
        symbol, at = {"symbol": "$r$"}, ("time", "start")
        error = np.abs(np.array(measured).T - exact) + 1e-17
        return xr.Dataset(
            {
                "order": (at, np.array(measured).T, symbol | {"long_name": "tokens"}),
                "exact": (at, exact, symbol | {"long_name": "closed form"}),
                "error": (at, error, {"symbol": r"$|r - r^*|$", "long_name": "error"}),
            },
            coords={
                "time": ("time", t, {"symbol": "$t$", "long_name": "depth"}),
                "start": ("start", r0, {"symbol": "$r_0$"}),
            },
        )

    def outside(self, data: xr.Dataset) -> str:
        left = most(data.exact) ** self.tokens
        return "" if left < 1e-9 else f"So few tokens do not sample a density so sharp: r^n = {left:.1e} at `until`."

    def checks(self, data: xr.Dataset) -> tuple[pt.Check, ...]:
        reason = "solver; quantiles are exact up to r^n"
        return (pt.Check("largest error of r", most(data.error), 0.0, 1e-8, reason),)

    def chart(self, data: xr.Dataset) -> tuple[Panel, ...]:
        return (
            Curves("time", ("order",), ("exact",), by="start", title="order parameter"),
            Curves("time", ("error",), by="start", log="y", title="error"),
        )

    def shrunk(self) -> "OttAntonsen":
        return dataclasses.replace(self, tokens=256, starts=(0.1, 0.4), until=jnp.asarray(2.0))
