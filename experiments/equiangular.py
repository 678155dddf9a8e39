"""Tokens whose overlaps are all equal: what the claims of two laws about them have in common."""

import abc
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
from particles.experiment import most, worst

FRAMES = 24


class AbstractEquiangular(pt.AbstractClaim):
    """Equal overlaps stay equal, and their common value is that of a quadrature, for several inverse temperatures."""

    kind: ClassVar[limits.equiangular.Kind]
    tolerance: ClassVar[tuple[float, str]]

    tokens: eqx.AbstractVar[int]
    betas: eqx.AbstractVar[tuple[float, ...]]
    overlap: eqx.AbstractVar[Float[Array, ""]]

    @abc.abstractmethod
    def depths(self) -> np.ndarray:
        """The last depth for each inverse temperature."""

    def data(self) -> xr.Dataset:
        n, start = self.tokens, float(self.overlap)
        x0 = pt.starts.Equiangular(n, n, start)(pt.Sphere(), jax.random.key(0))
        normalizer = pt.Softmax() if self.kind == "softmax" else pt.Mean()

        def along(beta: Float[Array, ""], last: Float[Array, ""]) -> pt.Run:
            flow = pt.Flow(pt.Sphere(), pt.Attention(pt.DotProduct(beta), normalizer=normalizer))
            if self.control:
                return pt.solve(flow, x0, pt.Plan(last, save=FRAMES, solver="EulerNormalize", dt=last / 400))
            return pt.solve(flow, x0, pt.Plan(last, save=FRAMES, solver="Dopri8", rtol=1e-12, atol=1e-14))

        run = eqx.filter_vmap(along)(jnp.asarray(self.betas), jnp.asarray(self.depths())).complete()
        depths, gaps = np.asarray(run.times), gaps_of(np.asarray(run.tokens))
        pairs = zip(depths, self.betas, strict=True)
        exact = np.stack([limits.equiangular.gap(t, start, n, beta, self.kind) for t, beta in pairs])
        share = {"long_name": "share of the depth", "symbol": "$t/T$"}
        coordinates = {
            "beta": ("beta", list(self.betas), {"long_name": "inverse temperature", "symbol": r"$\beta$"}),
            "time": ("time", np.linspace(0, 1, FRAMES + 1), share),
        }
        depth = (("beta", "time"), depths, {"long_name": "depth", "symbol": "$t$"})
        return compared(gaps, exact, ("beta", "time")).assign_coords(coordinates).assign(depth=depth)

    def checks(self, data: xr.Dataset) -> tuple[pt.Check, ...]:
        error, spread = worst(data.error), most(data.spread)
        return (
            pt.Check("largest error of the overlap", error, 0.0, *self.tolerance),
            pt.Check("largest spread of the overlaps", spread, 0.0, 1e-10, "error of the solver, one for all pairs"),
        )

    def chart(self, data: xr.Dataset) -> tuple[Panel, ...]:
        return panels("time", "beta")


def gaps_of(x: np.ndarray) -> np.ndarray:
    """One minus the overlap of every pair of tokens, `[... pair]`, from distances, which keep their digits."""
    i, j = np.triu_indices(x.shape[-2], 1)
    return np.sum((x[..., i, :] - x[..., j, :]) ** 2, axis=-1) / 2


def compared(gaps: np.ndarray, exact: np.ndarray, at: tuple[str, ...]) -> xr.Dataset:
    """Overlaps and what is left to consensus, beside their theory."""
    mean = gaps.mean(axis=-1)
    error = np.abs(mean - exact)
    overlap, gap, wrong = {"symbol": "$g$"}, {"symbol": "$1-g$"}, {"symbol": r"$|\Delta g|$"}
    return xr.Dataset(
        {
            "overlap": (at, 1 - mean, overlap | {"long_name": "mean over pairs"}),
            "exact": (at, 1 - exact, overlap | {"long_name": "theory"}),
            "gap": (at, mean, gap | {"long_name": "mean over pairs"}),
            "exact_gap": (at, exact, gap | {"long_name": "theory"}),
            "error": (at, error, wrong | {"long_name": "error of the mean"}),
            "spread": (at, np.ptp(gaps, axis=-1), {"long_name": "spread of the overlaps"}),
        }
    )


def panels(x: str, by: str) -> tuple[Panel, ...]:
    """The figure of such a comparison."""
    return (
        Curves(x, ("overlap",), ("exact",), by=by, title="common overlap"),
        Curves(x, ("gap",), ("exact_gap",), by=by, log="y", title="approach to consensus"),
    )
