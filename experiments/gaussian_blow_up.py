"""Gaussian tokens under softmax attention: the depth at which the covariance is infinite."""

import dataclasses
from typing import ClassVar

import equinox as eqx
import jax.numpy as jnp
import numpy as np
import xarray as xr
from jaxtyping import Array, Float

import particles as pt
from particles import limits
from particles.chart import Curves, Panel
from particles.declaration import option
from particles.experiment import most

STEPS = 2000  # enough to come as close to a blow-up as numbers of 16 digits tell


class GaussianBlowUp(pt.AbstractClaim):
    """The covariance of Gaussian tokens is infinite at a depth that A + A^T and its start tell.

    Depth is in units of the expected one, so that one plan serves all matrices. The blow-up is found twice: it is where
    the run ends because no step leads any farther, and where the reciprocal of the largest eigenvalue, extrapolated
    from the last frames before, is zero.

    Parameters
    ----------
    members : how many matrices A are drawn, each with a positive eigenvalue of A + A^T.
    dim : of the tokens.
    frames : at which the largest eigenvalue is looked at, up to one hundredth before the blow-up.
    seed : of the matrices.
    control : the negative control: L2 attention, which is Lipschitz, so nothing blows up at any depth.

    Source
    ------
    castin2025unified, for the equation of the covariance; the depth derived by hand.
    """

    minutes: ClassVar[float] = 0.5
    members: int = option(8, ge=1)
    dim: int = option(3, ge=1)
    frames: int = option(33, ge=4)
    seed: int = option(0, ge=0)
    control: bool = option(False)
    sources: ClassVar[tuple[str, ...]] = ("castin2025unified",)

    def data(self) -> xr.Dataset:
        rng, d = np.random.default_rng(self.seed), self.dim
        root = rng.normal(size=(self.members, d, d)) / np.sqrt(d)
        a = rng.normal(size=(self.members, d, d)) / np.sqrt(d) + 0.5 * np.eye(d)
        covariance = root @ root.transpose(0, 2, 1) + 0.2 * np.eye(d)
        expected = np.asarray([limits.gaussian_exact.blow_up_time(*pair) for pair in zip(covariance, a, strict=True)])
        order = np.argsort(expected)
        a, covariance, expected = a[order], covariance[order], expected[order]
        shares = np.append(1 - np.geomspace(1, 0.01, self.frames)[1:], 1.5)  # of the way; the last is not reached

        def follow(form: Float[Array, "d d"], start: Float[Array, "k d"], clock: Float[Array, ""]) -> pt.Run:
            score = pt.SquaredDistance(clock, query=form.T, key=jnp.eye(d)) if self.control else None
            law = pt.Attention(score or pt.DotProduct(clock, form=form))
            plan = pt.Plan(1.5, save=tuple(shares), solver="Dopri8", rtol=1e-11, atol=1e-13, max_steps=STEPS)
            return pt.solve(limits.GaussianFlow(law), start, plan)

        starts = jnp.stack([limits.stacked(np.zeros(d), one) for one in covariance])
        run = eqx.filter_vmap(follow)(jnp.asarray(a.transpose(0, 2, 1)), starts, jnp.asarray(expected))
        spectrum = np.linalg.eigvalsh(np.asarray(run.tokens)[:, :-1, 1:])[..., -1]
        depth = np.asarray(run.times)[:, :-1]
        ended = expected * np.asarray(run.depth)
        extrapolated = expected * [_zero(t[-4:], 1 / top[-4:]) for t, top in zip(depth, spectrum, strict=True)]
        law = np.linalg.eigvalsh(
            limits.gaussian_exact.softmax_covariance(expected[:, None] * depth, covariance[:, None], a[:, None])
        )[..., -1]
        top, error = {"symbol": r"$1/\lambda_{\max}(\Sigma)$"}, {"symbol": "relative error"}
        return xr.Dataset(
            {
                "left": (("share", "member"), 1 / spectrum.T, top | {"long_name": "moments followed"}),
                "law": (("share", "member"), 1 / law.T, top | {"long_name": "closed form"}),
                "ended_error": ("blow_up", np.abs(ended / expected - 1), error | {"long_name": "where the run ended"}),
                "error": ("blow_up", np.abs(extrapolated / expected - 1), error | {"long_name": "extrapolated"}),
                "failed": ("blow_up", [pt.Status(one).failed for one in run.status], {"long_name": "ended early"}),
            },
            coords={
                "share": ("share", depth[0], {"long_name": "share of the way", "symbol": "$t / t_*$"}),
                "member": ("member", np.arange(self.members), {"long_name": "matrix", "symbol": "$A$"}),
                "blow_up": ("blow_up", expected, {"long_name": "blow-up", "symbol": "$t_*$"}),
            },
        )

    def checks(self, data: xr.Dataset) -> tuple[pt.Check, ...]:
        ended, extrapolated = most(data.ended_error), most(data.error)
        return (
            pt.Check("runs that do not come to their end", float(data.failed.sum()), self.members, 0, "a count"),
            pt.Check("depth where a run ends, relative error", ended, 0, 1e-8, "the solver's error"),
            pt.Check("extrapolated depth, relative error", extrapolated, 0, 1e-4, "the other eigenvalues still count"),
        )

    def chart(self, data: xr.Dataset) -> tuple[Panel, ...]:
        return (
            Curves("share", ("left",), ("law",), by="member", title="the largest eigenvalue"),
            Curves("blow_up", ("ended_error", "error"), log="y", title="error of the blow-up"),
        )

    def shrunk(self) -> "GaussianBlowUp":
        return dataclasses.replace(self, members=3, dim=2, frames=17)


def _zero(t: np.ndarray, values: np.ndarray) -> float:
    """Where the cubic through four values is zero: t as a polynomial of the value, at 0."""
    return float(np.polyval(np.polyfit(values, t, 3), 0.0))
