"""Six places for the normalization of a layer, on tokens for which all of them are known."""

import dataclasses
from typing import Any, ClassVar

import jax
import numpy as np
import xarray as xr
from jaxtyping import Array, Float

import particles as pt
from particles import limits
from particles.chart import Curves, Panel
from particles.declaration import option, parameter


class NormPlacement(pt.AbstractClaim):
    """Where a layer normalizes sets the clock of its tokens' directions: six placements, each with its own.

    Equiangular directions stay so under each placement, and their common overlap obeys a scalar equation, with one for
    the radius where that grows.

    Parameters
    ----------
    placements : by the names of their classes.
    tokens, beta, overlap : of the equiangular start and of softmax attention.
    until : the last depth.
    mixed : the depth up to which the mixed placement is Post.
    alpha : the step size of nGPT.
    control : the negative control: all of them are Post.

    Source
    ------
    karagodin2025normalization; on equiangular tokens derived by hand.
    """

    minutes: ClassVar[float] = 1.0
    placements: tuple[str, ...] = option(("Post", "Pre", "Peri", "Mix", "NGPT", "SqrtDepth"))
    tokens: int = option(8, ge=2)
    beta: Float[Array, ""] = parameter(1.5)
    overlap: Float[Array, ""] = parameter(0.1, lt=1)
    until: Float[Array, ""] = parameter(10.0, gt=0)
    frames: int = option(20, ge=1)
    mixed: Float[Array, ""] = parameter(1.5, gt=0)
    alpha: Float[Array, ""] = parameter(0.7, gt=0)
    control: bool = option(False)
    sources: ClassVar[tuple[str, ...]] = ("karagodin2025normalization",)

    def data(self) -> xr.Dataset:
        gaps, expected, radii, outward, depth = [], [], [], [], np.zeros(0)
        plan = pt.Plan(self.until, save=self.frames, solver="Dopri8", rtol=1e-11, atol=1e-13)
        x0 = pt.starts.Equiangular(self.tokens, self.tokens, self.overlap)(pt.Sphere(), jax.random.key(0))
        for name in self.placements:
            norm = pt.norms.Post() if self.control else self._norm(name)
            law = pt.laws.Normalized(pt.Attention(pt.DotProduct(self.beta)), norm)
            run = pt.solve(pt.Flow(pt.Sphere() if norm.spherical else pt.Euclidean(), law), x0, plan).complete()
            depth, tokens = np.asarray(run.times), np.asarray(run.tokens)
            radius = np.linalg.norm(tokens, axis=-1)
            theta = tokens / radius[..., None]
            rows, columns = np.triu_indices(self.tokens, 1)
            gaps.append(np.mean(np.sum((theta[:, rows] - theta[:, columns]) ** 2, axis=-1) / 2, axis=-1))
            radii.append(radius.mean(axis=-1))
            gap, r = limits.placement.follow(
                depth,
                name,
                float(self.overlap),
                self.tokens,
                float(self.beta),
                until=float(self.mixed),
                alpha=float(self.alpha),
            )
            expected.append(gap)
            outward.append(r)
        words, radius = {"symbol": "$1 - g$"}, {"symbol": "$r$"}
        dims = ("depth", "placement")
        return xr.Dataset(
            {
                "gap": (dims, np.stack(gaps, axis=1), words | {"long_name": "tokens"}),
                "law": (dims, np.stack(expected, axis=1), words | {"long_name": "scalar equation"}),
                "radius": (dims, np.stack(radii, axis=1), radius | {"long_name": "tokens"}),
                "radius_law": (dims, np.stack(outward, axis=1), radius | {"long_name": "scalar equation"}),
            },
            coords={
                "depth": ("depth", depth, {"long_name": "depth", "symbol": "$t$"}),
                "placement": ("placement", list(self.placements), {"long_name": "placement", "symbol": "placement"}),
            },
        )

    def _norm(self, name: str) -> Any:
        given = {"Mix": {"until": self.mixed}, "NGPT": {"alpha": self.alpha}}.get(name, {})
        return getattr(pt.norms, name)(**given)

    def checks(self, data: xr.Dataset) -> tuple[pt.Check, ...]:
        reason = "a hundred times the error of a step"
        gap, radius = np.abs(data.gap - data.law).max("depth"), np.abs(data.radius / data.radius_law - 1).max("depth")
        return tuple(
            pt.Check(f"{name}: error of the overlap or of the radius", max(float(g), float(r)), 0, 1e-8, reason)
            for name, g, r in zip(self.placements, gap, radius, strict=True)
        )

    def chart(self, data: xr.Dataset) -> tuple[Panel, ...]:
        return (
            Curves("depth", ("gap",), ("law",), by="placement", log="y", title="directions"),
            Curves("depth", ("radius",), ("radius_law",), by="placement", title="radius"),
        )

    def shrunk(self) -> "NormPlacement":
        return dataclasses.replace(self, placements=("Pre",), tokens=4, frames=4)
