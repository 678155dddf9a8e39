"""Tokens of equal overlaps under softmax attention: the exact solution."""

import dataclasses
from typing import ClassVar

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import xarray as xr
from jaxtyping import Array, Float

import particles as pt
from particles import limits
from particles.chart import Curves, Panel
from particles.declaration import option, parameter


class EquiangularSoftmax(pt.AbstractClaim):
    """Under softmax attention equal overlaps stay equal and follow the known solution, for every beta.

    Tokens whose overlaps are all equal keep them equal, and the common overlap solves a scalar equation, whose
    solution is a quadrature.

    Parameters
    ----------
    tokens : how many, in as many dimensions.
    betas : inverse temperatures.
    overlap : the common overlap of the start.
    until : the last depth.
    control : the negative control: steps that normalize x + h A(x) without projecting A, whose clock is slower.

    Source
    ------
    geshkovski2023perspective, Theorem 6.8; its integral by quadrature.
    """

    minutes: ClassVar[float] = 0.5
    tokens: int = option(8, ge=2)
    betas: tuple[float, ...] = option((0.0, 1.0, 2.0, 3.0, 4.0))
    overlap: Float[Array, ""] = parameter(0.0, lt=1)
    until: Float[Array, ""] = parameter(8.0, gt=0)
    control: bool = option(False)
    sources: ClassVar[tuple[str, ...]] = ("geshkovski2023perspective",)

    def data(self) -> xr.Dataset:
        n, start = self.tokens, float(self.overlap)
        x0 = pt.starts.Equiangular(n, n, start)(pt.Sphere(), jax.random.key(0))
        until = float(self.until) * np.ones(len(self.betas))
        frames = 24

        def along(beta: Float[Array, ""], last: Float[Array, ""]) -> pt.Run:
            flow = pt.Flow(pt.Sphere(), pt.Attention(pt.DotProduct(beta)))
            if self.control:
                return pt.solve(flow, x0, pt.Plan(last, save=frames, solver="EulerNormalize", dt=last / 400))
            return pt.solve(flow, x0, pt.Plan(last, save=frames, solver="Dopri8", rtol=1e-12, atol=1e-14))

        run = eqx.filter_vmap(along)(jnp.asarray(self.betas), jnp.asarray(until)).complete()
        x, depths = np.asarray(run.tokens), np.asarray(run.times)
        i, j = np.triu_indices(n, 1)
        gaps = np.sum((x[:, :, i] - x[:, :, j]) ** 2, axis=-1) / 2  # keeps its digits near consensus
        pairs = zip(depths, self.betas, strict=True)
        exact = np.stack([limits.equiangular.gap(t, start, n, beta) for t, beta in pairs])
        at, overlap = ("beta", "time"), {"symbol": "$g$"}
        gap, wrong = {"symbol": "$1-g$"}, {"symbol": r"$|\Delta g|$"}
        error = np.abs(gaps.mean(axis=-1) - exact)
        return xr.Dataset(
            {
                "overlap": (at, 1 - gaps.mean(axis=-1), overlap | {"long_name": "mean over pairs"}),
                "exact": (at, 1 - exact, overlap | {"long_name": "theory"}),
                "gap": (at, gaps.mean(axis=-1), gap | {"long_name": "mean over pairs"}),
                "exact_gap": (at, exact, gap | {"long_name": "theory"}),
                "error": (at, np.where(error > 0, error, np.nan), wrong | {"long_name": "error of the mean"}),
                "spread": (at, np.ptp(gaps, axis=-1), {"long_name": "spread of the overlaps"}),
                "depth": (at, depths, {"long_name": "depth", "symbol": "$t$"}),
            },
            coords={
                "beta": ("beta", list(self.betas), {"long_name": "inverse temperature", "symbol": r"$\beta$"}),
                "time": ("time", np.linspace(0, 1, frames + 1), {"long_name": "share of the depth", "symbol": "$t/T$"}),
            },
        )

    def checks(self, data: xr.Dataset) -> tuple[pt.Check, ...]:
        error, spread = float(np.nanmax(data.error)), float(data.spread.max())
        return (
            pt.Check("largest error of the overlap", error, 0.0, 1e-9, "error of the solver at rtol 1e-12"),
            pt.Check("largest spread of the overlaps", spread, 0.0, 1e-10, "error of the solver, one for all pairs"),
        )

    def chart(self, data: xr.Dataset) -> tuple[Panel, ...]:
        return (
            Curves("depth", ("overlap",), ("exact",), by="beta", title="common overlap"),
            Curves("depth", ("gap",), ("exact_gap",), by="beta", log="y", title="approach to consensus"),
        )

    def shrunk(self) -> "EquiangularSoftmax":
        return dataclasses.replace(self, tokens=4, betas=(0.0, 2.0))
