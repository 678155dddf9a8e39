"""Tokens of R^d in the frame of their growth: a positive value map gathers them on few hyperplanes."""

import dataclasses
from typing import ClassVar

import equinox as eqx
import jax.numpy as jnp
import numpy as np
import xarray as xr
from jaxtyping import Array, Float

import particles as pt
from particles.chart import Curves, Panel
from particles.declaration import option, parameter

CLOSE = 0.01  # of the spread at the start: values closer than this are one


class ThreeHyperplanes(pt.AbstractClaim):
    """With a positive matrix V the rescaled tokens exp(-t V) x end on at most three parallel hyperplanes.

    The hyperplanes are level sets of the left eigenvector of the largest eigenvalue of V, whose value on a rescaled
    token is counted by single linkage.

    Parameters
    ----------
    tokens, dim : of Gaussian starts.
    draws : how many starts, each with a positive matrix V of its own, of largest eigenvalue 1. Q = K = I.
    until : the last depth.
    seed : of the draws.
    control : the negative control: V = I, whose largest eigenvalue is not simple.

    Source
    ------
    geshkovski2023emergence.
    """

    minutes: ClassVar[float] = 0.5
    tokens: int = option(32, ge=4)
    dim: int = option(3, ge=2)
    draws: int = option(6, ge=1)
    until: Float[Array, ""] = parameter(9.0, gt=0)
    seed: int = option(0)
    control: bool = option(False)
    sources: ClassVar[tuple[str, ...]] = ("geshkovski2023emergence",)

    def data(self) -> xr.Dataset:
        rng = np.random.default_rng(self.seed)
        positive = rng.uniform(0.1, 1.0, size=(self.draws, self.dim, self.dim))
        growth, normals = zip(*(_perron(one) for one in positive), strict=True)
        values = (
            np.broadcast_to(np.eye(self.dim), positive.shape)
            if self.control
            else positive / np.reshape(growth, (-1, 1, 1))
        )
        x0 = jnp.asarray(rng.normal(size=(self.draws, self.tokens, self.dim)))
        plan = pt.Plan(self.until, save=90, solver="Dopri8", rtol=1e-8, atol=1e-10)

        def along(value: Float[Array, "d d"], start: Float[Array, "n d"]) -> pt.Run:
            return pt.solve(pt.Flow(pt.Euclidean(), pt.Attention(value=pt.values.Linear(value))), start, plan)

        run = eqx.filter_vmap(along)(jnp.asarray(values), x0).complete()
        depth = np.asarray(run.times)[0]
        levels = np.exp(-depth)[:, None] * np.einsum("rtnd,rd->rtn", np.asarray(run.tokens), np.asarray(normals))
        counts = np.asarray([[_count(one, np.ptp(draw[0])) for one in draw] for draw in levels])
        words = {"long_name": "rescaled tokens", "symbol": r"$\phi_1^*(z_i)$"}
        return xr.Dataset(
            {
                "levels": (("depth", "token"), levels[0], words),
                "ends": (
                    ("token", "draw"),
                    np.sort(levels[:, -1] / np.abs(levels[:, -1]).max(axis=1, keepdims=True)).T,
                    words,
                ),
                "count": (("depth", "draw"), counts.T, {"long_name": "values", "symbol": "values"}),
                "most": ("depth", np.full(len(depth), 3), {"long_name": "at most", "symbol": "values"}),
            },
            coords={
                "depth": ("depth", depth, {"long_name": "depth", "symbol": "$t$"}),
                "token": ("token", np.arange(self.tokens), {"long_name": "token, in order of value", "symbol": "$i$"}),
                "draw": ("draw", np.arange(self.draws), {"long_name": "draw", "symbol": "draw"}),
            },
        )

    def checks(self, data: xr.Dataset) -> tuple[pt.Check, ...]:
        most = float(data["count"][-1].max())
        return (
            pt.Check("largest number of values", most, 3, 0, "a count", pt.Sense.at_most),
            pt.Check("the same", most, 2, 0, "tokens that all agreed would have lost their scale", pt.Sense.at_least),
        )

    def chart(self, data: xr.Dataset) -> tuple[Panel, ...]:
        return (
            Curves("depth", ("levels",), title="values on the first draw"),
            Curves("token", ("ends",), title="values at the end, over the largest"),
            Curves("depth", ("count",), bounds=("most",), log="y", title="how many values"),
        )

    def shrunk(self) -> "ThreeHyperplanes":
        return dataclasses.replace(self, tokens=12, draws=2)


def _perron(matrix: np.ndarray) -> tuple[float, np.ndarray]:
    """The largest eigenvalue of a positive matrix, and its left eigenvector."""
    values, vectors = np.linalg.eig(matrix.T)
    first = np.argmax(np.real(values))
    vector = np.real(vectors[:, first])
    return float(np.real(values[first])), vector / vector.sum()


def _count(levels: np.ndarray, spread: float) -> int:
    """How many numbers there are, if those closer than a part of a spread are one, by single linkage."""
    return 1 + int(np.sum(np.diff(np.sort(levels)) > CLOSE * spread))
