"""Gaussian tokens that softmax attention flattens: the covariance that is left, and its rank."""

import dataclasses
from typing import ClassVar

import numpy as np
import xarray as xr
from jaxtyping import Array, Float

import particles as pt
from particles import limits
from particles.chart import Curves, Panel
from particles.declaration import option, parameter
from particles.experiment import most


class GaussianLowRank(pt.AbstractClaim):
    """With K = -Q of p rows, softmax attention leaves Gaussian tokens a covariance of rank d - p that is known.

    The covariance approaches its limit like 1/t, so the limit is extrapolated from two late depths (Richardson).

    Parameters
    ----------
    dim : d.
    rows : p, of the query matrix.
    until : the latest depth; the limit is extrapolated from it and its half.
    seed : of the query matrix and the covariance at depth 0.
    control : the negative control: a value matrix that is not the identity.

    Source
    ------
    castin2025unified, for the rank; the limit derived by hand.
    """

    minutes: ClassVar[float] = 0.5
    dim: int = option(5, ge=2)
    rows: int = option(2, ge=1)
    until: Float[Array, ""] = parameter(1e4, gt=0)
    seed: int = option(0, ge=0)
    control: bool = option(False)
    sources: ClassVar[tuple[str, ...]] = ("castin2025unified",)

    def data(self) -> xr.Dataset:
        rng, d, until = np.random.default_rng(self.seed), self.dim, float(self.until)
        query, root = rng.normal(size=(self.rows, d)), rng.normal(size=(d, d)) / np.sqrt(d)
        covariance = root @ root.T + 0.2 * np.eye(d)
        value = np.diag(np.linspace(0.8, 1.2, d)) if self.control else np.eye(d)
        law = pt.Attention(pt.DotProduct(query=query, key=-query), value=pt.values.Linear(value))
        save = tuple(until * 2.0 ** np.arange(-14, 1))
        plan = pt.Plan(until, save=save, solver="Dopri8", rtol=1e-12, atol=1e-15)
        run = pt.solve(limits.GaussianFlow(law), limits.stacked(np.zeros(d), covariance), plan).complete()
        states = np.asarray(run.tokens)[1:, 1:]
        limit = limits.gaussian_exact.low_rank_limit(covariance, -query.T @ query)
        expected = limits.gaussian_exact.softmax_covariance(np.asarray(save), covariance, -query.T @ query)
        size = {"symbol": r"$\lambda_k(\Sigma)$"}
        distance = {"symbol": r"$\|\Sigma - \Sigma_\infty\| / \|\Sigma_\infty\|$"}
        scale = np.linalg.norm(limit)
        return xr.Dataset(
            {
                "spectrum": (
                    ("depth", "eigenvalue"),
                    np.linalg.eigvalsh(states),
                    size | {"long_name": "moments followed"},
                ),
                "law": (("depth", "eigenvalue"), np.linalg.eigvalsh(expected), size | {"long_name": "closed form"}),
                "distance": (
                    "depth",
                    np.linalg.norm(states - limit, axis=(1, 2)) / scale,
                    distance | {"long_name": "moments followed"},
                ),
                "extrapolated": (
                    "depth",
                    np.append(np.nan, np.linalg.norm(2 * states[1:] - states[:-1] - limit, axis=(1, 2)) / scale),
                    distance | {"long_name": "extrapolated"},
                ),
                "left": (
                    "eigenvalue",
                    np.linalg.eigvalsh(2 * states[-1] - states[-2]),
                    {"long_name": "spectrum of the extrapolated limit", "symbol": r"$\lambda_k(\Sigma_\infty)$"},
                ),
            },
            coords={
                "depth": ("depth", np.asarray(save), {"long_name": "depth", "symbol": "$t$"}),
                "eigenvalue": ("eigenvalue", 1 + np.arange(d), {"long_name": "eigenvalue", "symbol": "$k$"}),
            },
        )

    def outside(self, data: xr.Dataset) -> str:
        return "" if self.rows < self.dim else "the query matrix needs fewer rows than there are dimensions"

    def checks(self, data: xr.Dataset) -> tuple[pt.Check, ...]:
        rank = int((np.abs(data.left) > 1e-6 * most(data.left)).sum())
        early = data.sel(depth=slice(float(self.until) / 100, None))
        slope = limits.depth.slope(early.depth.values, early.distance.values)
        return (
            pt.Check("rank of the limit", rank, self.dim - self.rows, 0, "a count"),
            pt.Check("limit, relative error", float(data.extrapolated[-1]), 0, 1e-6, "the next term, C/t^2"),
            pt.Check("slope of the distance in t", slope, -1, 0.02, "the next term, C/t^2"),
        )

    def chart(self, data: xr.Dataset) -> tuple[Panel, ...]:
        return (
            Curves("depth", ("spectrum",), ("law",), by="eigenvalue", log="xy", title="covariance"),
            Curves("depth", ("distance", "extrapolated"), log="xy", slopes=(-1.0,), title="approach to the limit"),
        )

    def shrunk(self) -> "GaussianLowRank":
        return dataclasses.replace(self, dim=3, rows=1)
