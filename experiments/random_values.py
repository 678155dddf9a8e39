"""Random weights in every layer against the same weights in all of them."""

import dataclasses
from typing import ClassVar

import jax
import numpy as np
import xarray as xr
from jaxtyping import Array, Float

import particles as pt
from particles import limits
from particles.chart import Curves, Panel
from particles.declaration import option, parameter


class RandomValues(pt.AbstractClaim):
    """With values drawn afresh in every layer, the mean overlap of tokens grows by a law of its own, half as fast.

    Uniform attention, thin layers, equiangular tokens at the start: (1 + (n-1) g) / (1 - g) grows like e^t, not e^(2t)
    as with V = I, up to terms of order 1/d, and the overlap of one network is off that by d^(-1/2).

    Parameters
    ----------
    tokens, overlap : n, and the overlap of every pair at the start.
    dims : d, at least n.
    draws : networks of each dimension.
    until : the depth, in units in which sigma^2 d = 1.
    layers, frames : the number of layers, and after how many of them the overlap is looked at.
    seed : of the values.
    control : the negative control: weights shared by all layers.

    Source
    ------
    koubbi2026homogenized; at finite d derived by hand.
    """

    minutes: ClassVar[float] = 3.0
    tokens: int = option(8, ge=2)
    overlap: Float[Array, ""] = parameter(0.1, ge=0, lt=1)
    dims: tuple[int, ...] = option((32, 64, 128, 256), ge=2)
    draws: int = option(192, ge=2)
    until: Float[Array, ""] = parameter(3.0, gt=0)
    layers: int = option(200, ge=1)
    frames: int = option(10, ge=1)
    seed: int = option(0, ge=0)
    control: bool = option(False)
    sources: ClassVar[tuple[str, ...]] = ("koubbi2026homogenized",)

    def data(self) -> xr.Dataset:
        n, start, until = self.tokens, float(self.overlap), float(self.until)
        depth = until * np.arange(self.frames + 1) / self.frames
        means, spreads, laws = [], [], []
        for d in self.dims:
            x0 = pt.starts.Equiangular(n, d, start)(pt.Sphere(), jax.random.key(0))
            keys = jax.random.split(jax.random.key(self.seed + d), self.draws)
            found = np.asarray(
                limits.random_values.mean_overlaps(x0, keys, until, self.layers, self.frames, shared=self.control)
            )
            found = np.concatenate([np.full((self.draws, 1), start), found], axis=1)
            means.append(found.mean(axis=0))
            spreads.append(found.std(axis=0, ddof=1))
            laws.append(limits.random_values.overlap(depth, start, n, d))
        mean, spread = {"symbol": r"$\bar g$"}, {"symbol": r"$\mathrm{std}\,\bar g$"}
        last = np.asarray(spreads)[:, self.frames // 2]
        cells = ("depth", "dim")
        return xr.Dataset(
            {
                "mean": (cells, np.stack(means, axis=1), mean | {"long_name": "random values"}),
                "law": (cells, np.stack(laws, axis=1), mean | {"long_name": "law at this $d$"}),
                "limit": ("depth", limits.random_values.limit(depth, start, n), mean | {"long_name": "infinite $d$"}),
                "error": (cells, np.stack(spreads, axis=1) / np.sqrt(self.draws), {"long_name": "standard error"}),
                "spread": ("dim", last, spread | {"long_name": "over networks"}),
                "root": (
                    "dim",
                    last[-1] * np.sqrt(self.dims[-1] / np.asarray(self.dims)),
                    spread | {"long_name": "slope -1/2"},
                ),
            },
            coords={
                "depth": ("depth", depth, {"long_name": "depth", "symbol": "$t$"}),
                "dim": ("dim", list(self.dims), {"long_name": "dimension", "symbol": "$d$"}),
            },
        )

    def outside(self, data: xr.Dataset) -> str:
        return "" if min(self.dims) >= self.tokens else "the simplex of the start needs dimensions of at least n"

    def checks(self, data: xr.Dataset) -> tuple[pt.Check, ...]:
        largest = data.isel(dim=-1)
        middle = self.frames // 2
        reason = "four standard errors, and 2/d: the simplex is kept as d grows"
        return (
            *(
                pt.Check(
                    f"mean overlap at depth {float(one.depth):g}, d = {self.dims[-1]}",
                    float(one["mean"]),
                    float(one.law),
                    4 * float(one.error) + 2 / self.dims[-1],
                    reason,
                )
                for one in (largest.isel(depth=k) for k in (middle, -1))
            ),
            pt.Check(
                "slope in d of the spread over networks, half way",
                limits.depth.slope(data.dim.values, data.spread.values),
                -0.5,
                0.1 if len(self.dims) > 2 else 0.25,
                "sampling, and the next term of order 1/d",
            ),
        )

    def chart(self, data: xr.Dataset) -> tuple[Panel, ...]:
        return (
            Curves("depth", ("mean",), ("law",), ("limit",), error="error", by="dim", title="mean overlap"),
            Curves("dim", ("spread",), ("root",), log="xy", title="from network to network, half way"),
        )

    def shrunk(self) -> "RandomValues":
        return dataclasses.replace(self, tokens=4, dims=(16, 64), draws=64, layers=60, frames=4)
