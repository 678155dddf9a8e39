"""Gaussian tokens on the line under L2 attention: the variance at every depth, by an implicit formula."""

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
from particles.declaration import option, parameter
from particles.experiment import most


class GaussianL2(pt.AbstractClaim):
    """Under L2 attention the variance of Gaussian tokens on the line never blows up, and an implicit formula tells it.

    For the score -(q x - k y)^2 and the value v y. Late, the variance grows at the rate 2 v q / k.

    Parameters
    ----------
    variance : at depth 0.
    value : v.
    queries, keys : the q and k of each member.
    until : the last depth.
    control : the negative control: a law with q and k exchanged.

    Source
    ------
    castin2025unified, for the equation of the variance; its solution derived by hand.
    """

    minutes: ClassVar[float] = 0.5
    variance: Float[Array, ""] = parameter(0.8, gt=0)
    value: Float[Array, ""] = parameter(0.7, gt=0)
    queries: Float[Array, " m"] = parameter((0.5, 0.8, 1.5, 1.0), gt=0)
    keys: Float[Array, " m"] = parameter((1.0, 1.2, 1.2, 0.7), gt=0)
    until: Float[Array, ""] = parameter(12.0, gt=0)
    frames: int = option(24, ge=2)
    control: bool = option(False)
    sources: ClassVar[tuple[str, ...]] = ("castin2025unified",)

    def data(self) -> xr.Dataset:
        start, value = float(self.variance), float(self.value)
        queries, keys = np.asarray(self.queries), np.asarray(self.keys)
        plan = pt.Plan(self.until, save=self.frames, solver="Dopri8", rtol=1e-12, atol=1e-14)

        def follow(query: Float[Array, ""], key: Float[Array, ""]) -> pt.Run:
            score = pt.SquaredDistance(2.0, query=query[None, None], key=key[None, None])
            law = pt.Attention(score, value=pt.values.Linear(value))
            return pt.solve(limits.GaussianFlow(law), limits.stacked(np.zeros(1), start * np.eye(1)), plan)

        asked = (keys, queries) if self.control else (queries, keys)
        run = eqx.filter_vmap(follow)(*(jnp.asarray(one) for one in asked)).complete()
        depth, found = np.asarray(run.times)[0], np.asarray(run.tokens)[:, :, 1, 0].T
        expected = np.stack(
            [limits.gaussian_exact.l2_variance(depth, start, value, *pair) for pair in zip(queries, keys, strict=True)],
            axis=1,
        )
        rates = np.gradient(np.log(found), depth, axis=0)
        late = 2 * value * queries / keys
        s, rate = {"symbol": "$s$"}, {"symbol": r"$\dot s / s$ over $2vq/k$"}
        members = ("depth", "member")
        return xr.Dataset(
            {
                "variance": (members, found, s | {"long_name": "moments followed"}),
                "law": (members, expected, s | {"long_name": "formula"}),
                "rate": (members, rates / late, rate | {"long_name": "moments followed"}),
                "late": ("depth", np.ones(len(depth)), rate | {"long_name": "late rate"}),
                "error": (members, np.abs(found / expected - 1), {"long_name": "relative error"}),
            },
            coords={
                "depth": ("depth", depth, {"long_name": "depth", "symbol": "$t$"}),
                "member": ("member", queries / keys, {"long_name": "query over key", "symbol": "$q/k$"}),
            },
        )

    def checks(self, data: xr.Dataset) -> tuple[pt.Check, ...]:
        last = np.log(data.variance[-1] / data.variance[-2]) / float(data.depth[-1] - data.depth[-2])
        off = float(np.abs(last / (2 * float(self.value) * data.member) - 1).max())
        least = float(data.law[-2].min()) * 2 * float(np.min(np.asarray(self.keys))) ** 2
        return (
            pt.Check("variance, relative error", most(data.error), 0, 1e-9, "a hundred times that of a step"),
            pt.Check("late rate over 2vq/k, off 1 by", off, 0, 1 / (1 + least), "the exact rate is less by this share"),
        )

    def chart(self, data: xr.Dataset) -> tuple[Panel, ...]:
        return (
            Curves("depth", ("variance",), ("law",), by="member", log="y", title="variance"),
            Curves("depth", ("rate",), bounds=("late",), by="member", title="rate of growth over the late one"),
        )

    def shrunk(self) -> "GaussianL2":
        return dataclasses.replace(self, queries=self.queries[:2], keys=self.keys[:2], until=6.0, frames=8)
