"""Gaussian tokens under softmax attention: the covariance at every depth in closed form."""

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


class GaussianSoftmax(pt.AbstractClaim):
    """Softmax attention with V = I changes the inverse covariance of Gaussian tokens linearly in depth.

    For any matrix A of the score <y, A x>. The covariance is held against its closed form, the mean, which feels A and
    not A + A^T alone, against the equation that it obeys, up to a share of the depth at which the covariance blows up.

    Parameters
    ----------
    dim : of the tokens.
    share : how much of the way to the blow-up is followed.
    seed : of the matrix A, the covariance and the mean at depth 0.
    control : the negative control: L2 attention with the same A, whose keys have a quadratic term of their own.

    Source
    ------
    castin2025unified, for the equation of the covariance; its solution derived by hand.
    """

    minutes: ClassVar[float] = 0.5
    dim: int = option(4, ge=2)
    share: Float[Array, ""] = parameter(0.9, gt=0, lt=1)
    frames: int = option(18, ge=2)
    seed: int = option(0, ge=0)
    control: bool = option(False)
    sources: ClassVar[tuple[str, ...]] = ("castin2025unified",)

    def data(self) -> xr.Dataset:
        rng, d = np.random.default_rng(self.seed), self.dim
        a, root, mean = rng.normal(size=(d, d)) / np.sqrt(d), rng.normal(size=(d, d)) / np.sqrt(d), rng.normal(size=d)
        covariance = root @ root.T + 0.2 * np.eye(d)
        blow_up = limits.gaussian_exact.blow_up_time(covariance, a)
        until = float(self.share) * min(blow_up, 10.0)
        score = pt.SquaredDistance(1.0, query=a, key=np.eye(d)) if self.control else pt.DotProduct(form=a.T)
        plan = pt.Plan(until, save=self.frames, solver="Dopri8", rtol=1e-12, atol=1e-14)
        flow = limits.GaussianFlow(pt.Attention(score))
        run = pt.solve(flow, limits.stacked(mean, covariance), plan).complete()
        state, depth = np.asarray(run.tokens), np.asarray(run.times)
        expected = limits.gaussian_exact.softmax_covariance(depth, covariance, a)
        means, _ = limits.gaussian_exact.follow(
            depth[1:], mean, covariance, [(np.eye(d), limits.gaussian_exact.softmax_seen(a))]
        )
        means = np.concatenate([mean[None], means])
        size = np.linalg.norm(expected, axis=(1, 2))
        variance, error = {"symbol": r"$\lambda_k(\Sigma)$"}, {"symbol": "relative error"}
        off = np.linalg.norm(state[:, 1:] - expected, axis=(1, 2)) / size
        off_mean = np.linalg.norm(state[:, 0] - means, axis=1) / np.linalg.norm(means, axis=1)
        return xr.Dataset(
            {
                "spectrum": (
                    ("depth", "eigenvalue"),
                    np.linalg.eigvalsh(state[:, 1:]),
                    variance | {"long_name": "moments followed"},
                ),
                "law": (
                    ("depth", "eigenvalue"),
                    np.linalg.eigvalsh(expected),
                    variance | {"long_name": "closed form"},
                ),
                "error": ("depth", off, error | {"long_name": "covariance"}),
                "mean_error": ("depth", off_mean, error | {"long_name": "mean"}),
                "tolerance": ("depth", np.full(len(depth), 1e-9), error | {"long_name": "tolerance"}),
            },
            coords={
                "depth": ("depth", depth, {"long_name": "depth", "symbol": "$t$"}),
                "eigenvalue": ("eigenvalue", 1 + np.arange(d), {"long_name": "eigenvalue", "symbol": "$k$"}),
            },
            attrs={"blow_up": blow_up},
        )

    def outside(self, data: xr.Dataset) -> str:
        endless = not np.isfinite(data.attrs["blow_up"])
        return "A + A^T has no positive eigenvalue, so there is no blow-up to approach" if endless else ""

    def checks(self, data: xr.Dataset) -> tuple[pt.Check, ...]:
        reason = "a hundred times the error of a step, for the growth of the covariance"
        return (
            pt.Check("relative error of the covariance", most(data.error), 0, 1e-9, reason),
            pt.Check("relative error of the mean", most(data.mean_error), 0, 1e-9, reason),
        )

    def chart(self, data: xr.Dataset) -> tuple[Panel, ...]:
        return (
            Curves("depth", ("spectrum",), ("law",), by="eigenvalue", log="y", title="covariance"),
            Curves("depth", ("error", "mean_error"), bounds=("tolerance",), log="y", title="error"),
        )

    def shrunk(self) -> "GaussianSoftmax":
        return dataclasses.replace(self, dim=2, frames=6)
