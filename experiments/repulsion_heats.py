"""Repulsion through a narrow kernel spreads tokens as heat does."""

import dataclasses
from typing import ClassVar

import numpy as np
import xarray as xr
from jaxtyping import Array, Float
from scipy.stats import norm

import particles as pt
from particles import limits
from particles.chart import Curves, Panel
from particles.declaration import option, parameter


class RepulsionHeats(pt.AbstractClaim):
    """The variance of Gaussian tokens that repel each other through a narrow kernel is known at every depth and width.

    As the width tends to 0 they spread like heat, under Sinkhorn half as fast as under softmax. The variance is held
    against the moments of infinitely many tokens, and against tokens that start as quantiles, whose tails are cut.

    Parameters
    ----------
    kinds : of "softmax" and "sinkhorn".
    tokens : the quantiles, scaled to variance 1.
    eps : squared width of the kernel.
    until : the last depth.
    control : the negative control: weights of softmax and of Sinkhorn exchanged.

    Source
    ------
    sander2022sinkformers, for the heat equation; the variance derived by hand.
    """

    minutes: ClassVar[float] = 1.0
    kinds: tuple[str, ...] = option(("softmax", "sinkhorn"))
    tokens: int = option(400, ge=16)
    eps: Float[Array, ""] = parameter(0.2, gt=0)
    until: Float[Array, ""] = parameter(1.0, gt=0)
    frames: int = option(10, ge=1)
    control: bool = option(False)
    sources: ClassVar[tuple[str, ...]] = ("sander2022sinkformers",)

    def data(self) -> xr.Dataset:
        eps = float(self.eps)
        x = norm.ppf((np.arange(self.tokens) + 0.5) / self.tokens)[:, None]
        x = x / x.std()
        symbol, variables, depth = {"symbol": "$s$"}, {}, np.zeros(0)
        for kind in self.kinds:
            law = self._law(kind)
            plan = pt.Plan(self.until, save=self.frames, rtol=1e-6, atol=1e-8)
            run = pt.solve(pt.Flow(pt.Euclidean(), law), x, plan).complete()
            tight = pt.Plan(self.until, save=self.frames, solver="Dopri8", rtol=1e-12, atol=1e-14)
            moments = pt.solve(limits.GaussianFlow(law), limits.stacked(np.zeros(1), np.eye(1)), tight).complete()
            depth = np.asarray(run.times)
            expected = limits.small_bandwidth.variance(depth, 1.0, eps, kind)
            variables |= {
                f"{kind}_tokens": (
                    "depth",
                    np.var(np.asarray(run.tokens)[..., 0], axis=1),
                    symbol | {"long_name": "tokens"},
                ),
                f"{kind}_moments": (
                    "depth",
                    np.asarray(moments.tokens)[:, 1, 0],
                    symbol | {"long_name": "moments"},
                ),
                f"{kind}_law": ("depth", expected, symbol | {"long_name": "formula"}),
                f"{kind}_heat": (
                    "depth",
                    1 + 2 * limits.small_bandwidth.factor(kind) * depth,
                    symbol | {"long_name": "heat equation"},
                ),
            }
        return xr.Dataset(variables, coords={"depth": ("depth", depth, {"long_name": "depth", "symbol": "$t$"})})

    def _law(self, kind: str) -> pt.Attention:
        sinkhorn = (kind == "sinkhorn") != self.control
        return pt.Attention(
            pt.SquaredDistance(1 / self.eps),
            normalizer=pt.Sinkhorn() if sinkhorn else pt.Softmax(),
            value=pt.Difference(-1 / self.eps),
        )

    def checks(self, data: xr.Dataset) -> tuple[pt.Check, ...]:
        checks = []
        for kind in self.kinds:
            tokens, moments = (
                float(np.abs(data[f"{kind}_{one}"] / data[f"{kind}_law"] - 1).max()) for one in ("tokens", "moments")
            )
            checks += [
                pt.Check(
                    f"{kind}: variance of tokens, relative error", tokens, 0, 0.02, "tails that quantiles cut off"
                ),
                pt.Check(f"{kind}: variance of moments, relative error", moments, 0, 1e-9, "that of the solver"),
            ]
        return tuple(checks)

    def chart(self, data: xr.Dataset) -> tuple[Panel, ...]:
        return tuple(
            Curves(
                "depth",
                (f"{kind}_tokens", f"{kind}_moments"),
                (f"{kind}_law", f"{kind}_heat"),
                title="Sinkhorn" if kind == "sinkhorn" else kind,
            )
            for kind in self.kinds
        )

    def shrunk(self) -> "RepulsionHeats":
        return dataclasses.replace(self, kinds=("softmax",), tokens=200, frames=4)
