"""When tokens meet in high dimension, over temperature and depth."""

import dataclasses
from typing import ClassVar

import jax
import numpy as np
import xarray as xr
from jaxtyping import Array, Float

import particles as pt
from particles import limits
from particles.chart import Curves, Map, Panel
from particles.declaration import option, parameter


class PhaseDiagram(pt.AbstractClaim):
    """In high dimension all pairs of tokens meet at one depth, which orthogonal tokens tell for every temperature.

    The share of pairs with a cosine of at least 1 - delta, from uniform starts on the sphere: the depth at which it
    passes one half is that at which equiangular tokens of the same number come from overlap 0 to 1 - delta.

    Parameters
    ----------
    tokens : n.
    dims : ambient dimensions; the diagram is that of the last, in which the transition is compared.
    low : a dimension for a diagram in which there is no such transition.
    starts : of each temperature.
    betas : how many inverse temperatures, from 0 to `coldest`.
    coldest : the largest of them.
    compared : the largest that is compared.
    until : the last depth.
    delta : how close is close.
    seed : of the starts.
    control : the negative control: equiangular tokens of half the number.

    Source
    ------
    geshkovski2023perspective.
    """

    minutes: ClassVar[float] = 5.0
    tokens: int = option(32, ge=2)
    dims: tuple[int, ...] = option((32, 128, 512), ge=2)
    low: int = option(3, ge=0)
    starts: int = option(64, ge=2)
    betas: int = option(46, ge=2)
    coldest: Float[Array, ""] = parameter(9.0, gt=0)
    compared: Float[Array, ""] = parameter(5.0, gt=0)
    until: Float[Array, ""] = parameter(30.0, gt=0)
    frames: int = option(150, ge=2)
    delta: Float[Array, ""] = parameter(1e-3, gt=0, lt=1)
    seed: int = option(0, ge=0)
    control: bool = option(False)
    sources: ClassVar[tuple[str, ...]] = ("geshkovski2023perspective",)

    def data(self) -> xr.Dataset:
        n, until = self.tokens, float(self.until)
        betas = np.linspace(0, float(self.coldest), self.betas)
        times = until * np.arange(1, self.frames + 1) / self.frames
        number = n // 2 if self.control else n
        expected = np.asarray(
            [limits.equiangular.hitting_time(0.0, 1 - float(self.delta), number, beta) for beta in betas]
        )
        phases = {dim: self._phases(dim, betas, times) for dim in (*self.dims, *([self.low] if self.low else []))}
        share = {"symbol": "$P$"}
        depth = {"symbol": "$t$"}
        maps = {
            "share": (("beta", "time"), phases[self.dims[-1]].share, share | {"long_name": "share of pairs"}),
        }
        if self.low:
            maps["low"] = (("beta", "time"), phases[self.low].share, share | {"long_name": "share of pairs"})
        seen = np.where(expected <= until, expected, np.nan)
        return xr.Dataset(
            maps
            | {
                "transition": (
                    ("beta", "dim"),
                    np.stack([phases[dim].transition() for dim in self.dims], axis=1),
                    depth | {"long_name": "half of the pairs"},
                ),
                "law": ("beta", seen, depth | {"long_name": "equiangular tokens"}),
            },
            coords={
                "beta": ("beta", betas, {"long_name": "inverse temperature", "symbol": r"$\beta$"}),
                "time": ("time", np.append(0.0, times), {"long_name": "depth", "symbol": "$t$"}),
                "dim": ("dim", list(self.dims), {"long_name": "dimension", "symbol": "$d$"}),
            },
        )

    def _phases(self, dim: int, betas: np.ndarray, times: np.ndarray) -> limits.phase.Phases:
        starts = limits.phase.uniform(jax.random.key(self.seed), self.starts, self.tokens, dim)
        return limits.phase_diagram(betas, times, starts, delta=float(self.delta))

    def outside(self, data: xr.Dataset) -> str:
        late = data.law.sel(beta=slice(0, float(self.compared))).isnull().any()
        return "the transition of a temperature that is compared comes after the last depth" if late else ""

    def checks(self, data: xr.Dataset) -> tuple[pt.Check, ...]:
        near = data.sel(beta=slice(0, float(self.compared)))
        off = np.abs(near.transition / near.law - 1).max("beta", skipna=False).values
        last = pt.Check(
            f"depth of the transition in dimension {self.dims[-1]}, relative error",
            float(off[-1]),
            0,
            0.05,
            "overlaps at the start are of size d^(-1/2)",
        )
        if len(self.dims) == 1:
            return (last,)
        words = f"the same over that in dimension {self.dims[0]}, at most"
        closer = pt.Check(words, float(off[-1] / off[0]), 0.5, 0, "closer as d grows", pt.Sense.at_most)
        return (last, closer)

    def chart(self, data: xr.Dataset) -> tuple[Panel, ...]:
        maps = [Map("beta", "time", "share", ("law",), title=f"dimension {self.dims[-1]}")]
        if self.low:
            maps.append(Map("beta", "time", "low", ("law",), title=f"dimension {self.low}"))
        return (*maps, Curves("beta", ("transition",), ("law",), by="dim", title="the transition"))

    def shrunk(self) -> "PhaseDiagram":
        return dataclasses.replace(
            self, dims=(512,), low=0, starts=8, betas=6, coldest=self.compared, until=16.0, frames=64
        )
