"""In high dimension all overlaps of tokens follow one curve."""

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


class HighDimensionBand(pt.AbstractClaim):
    """From a uniform start in dimension d all overlaps follow the one of orthogonal tokens, up to d^(-1/2).

    The root mean square over pairs and starts of the distance to the equiangular solution, at fixed depths.

    Parameters
    ----------
    tokens, beta : n, and of softmax attention.
    dims : d, ambient.
    starts : of each dimension, drawn from the same normal numbers.
    until : the last depth, at which the slope is taken.
    seed : of the starts.
    control : the negative control: attention without the softmax denominator.

    Source
    ------
    geshkovski2023perspective, for the concentration; its exponent derived by hand.
    """

    minutes: ClassVar[float] = 2.0
    tokens: int = option(16, ge=2)
    beta: Float[Array, ""] = parameter(2.0, ge=0)
    dims: tuple[int, ...] = option((256, 1024, 4096, 16384), ge=2)
    starts: int = option(256, ge=2)
    until: Float[Array, ""] = parameter(2.0, gt=0)
    frames: int = option(8, ge=1)
    seed: int = option(0, ge=0)
    control: bool = option(False)
    sources: ClassVar[tuple[str, ...]] = ("geshkovski2023perspective",)

    def data(self) -> xr.Dataset:
        n, beta = self.tokens, float(self.beta)
        law = pt.Attention(pt.DotProduct(beta), normalizer=pt.Mean(offset=beta) if self.control else pt.Softmax())
        plan = pt.Plan(self.until, save=self.frames, rtol=1e-8, atol=1e-10)
        key = jax.random.key(self.seed)
        times, square, quantiles = np.zeros(0), [], []
        for dim in self.dims:
            x = limits.phase.uniform(key, self.starts, n, dim)
            depth, overlaps = _overlaps(law, x, plan)
            times = np.asarray(depth)
            off = np.asarray(overlaps) - limits.equiangular.overlap(times, 0.0, n, beta)[None, :, None]
            square.append(np.sqrt(np.mean(off**2, axis=(0, 2))))
            quantiles.append(np.quantile(np.asarray(overlaps), (0.01, 0.99), axis=(0, 2)))
        band = np.stack(square)
        words, overlap = {"symbol": r"$\mathrm{rms}(g_{ij} - g)$"}, {"symbol": "$g$"}
        law_of = band[-1] * np.sqrt(self.dims[-1] / np.asarray(self.dims))[:, None]
        return xr.Dataset(
            {
                "band": (("dim", "time"), band, words | {"long_name": "overlaps"}),
                "root": (("dim", "time"), law_of, words | {"long_name": "slope -1/2"}),
                "low": (("time", "dim"), np.stack(quantiles)[:, 0].T, overlap | {"long_name": "lowest of 100"}),
                "high": (("time", "dim"), np.stack(quantiles)[:, 1].T, overlap | {"long_name": "highest of 100"}),
                "law": (
                    "time",
                    limits.equiangular.overlap(times, 0.0, n, beta),
                    overlap | {"long_name": "orthogonal tokens"},
                ),
            },
            coords={
                "dim": ("dim", list(self.dims), {"long_name": "dimension", "symbol": "$d$"}),
                "time": ("time", times, {"long_name": "depth", "symbol": "$t$"}),
            },
        )

    def checks(self, data: xr.Dataset) -> tuple[pt.Check, ...]:
        slope = limits.depth.slope(data.dim.values, data.band[:, -1].values)
        start = limits.depth.slope(data.dim.values, data.band[:, 0].values)
        reason = "the next term is of order 1/d; draws are shared"
        return (
            pt.Check("slope of the band in d, at the last depth", slope, -0.5, 0.05, reason),
            pt.Check("slope of the band in d, at the start", start, -0.5, 0.05, reason),
        )

    def chart(self, data: xr.Dataset) -> tuple[Panel, ...]:
        return (
            Curves("dim", ("band",), ("root",), by="time", log="xy", title="width of the band"),
            Curves("time", ("low", "high"), ("law",), by="dim", title="the band"),
        )

    def shrunk(self) -> "HighDimensionBand":
        return dataclasses.replace(self, tokens=8, dims=(256, 4096), starts=32, frames=2)


@eqx.filter_jit
def _overlaps(
    law: pt.Attention, x: Float[Array, "s n k"], plan: pt.Plan
) -> tuple[Float[Array, " time"], Float[Array, "s time pair"]]:
    """The depths, and the overlaps of all pairs at each, for every start."""
    rows, columns = np.triu_indices(x.shape[1], 1)

    def one(x: Float[Array, "n k"]) -> tuple[Float[Array, " time"], Float[Array, "time pair"]]:
        run = pt.solve(pt.Flow(pt.Sphere(), law, pt.Dense()), x, plan)
        assert run.tokens is not None
        gram = jnp.einsum("tnk,tmk->tnm", run.tokens, run.tokens)
        return run.times, jnp.where(run.status == pt.Status.done, gram[:, rows, columns], jnp.nan)

    times, overlaps = jax.lax.map(one, x, batch_size=32)
    return times[0], overlaps
