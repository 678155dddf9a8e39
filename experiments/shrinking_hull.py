"""Tokens of R^d in the frame of their growth: the hull shrinks to a polytope."""

import dataclasses
from typing import ClassVar

import equinox as eqx
import jax.numpy as jnp
import numpy as np
import xarray as xr
from jaxtyping import Array, Float
from scipy.linalg import expm

import particles as pt
from particles.chart import Curves, Panel
from particles.declaration import option, parameter
from particles.experiment import most

DIRECTIONS = 64
SHOWN = 3  # directions in the figure


class ShrinkingHull(pt.AbstractClaim):
    """Without normalization and with V = I, the hull of the rescaled tokens exp(-t) x never grows.

    Seen in the support function of the hull, max_i <u, z_i>, for directions u all around.

    Parameters
    ----------
    tokens : in the plane.
    draws : how many starts, each with its own random Q and K.
    until : the last depth; attention is all but one-hot there.
    seed : of the draws.
    control : the negative control: V turns by 45 degrees and stretches, and tokens are rescaled by exp(-t V).

    Source
    ------
    geshkovski2023emergence.
    """

    minutes: ClassVar[float] = 0.5
    tokens: int = option(24, ge=3)
    draws: int = option(4, ge=1)
    until: Float[Array, ""] = parameter(4.0, gt=0)
    seed: int = option(0)
    control: bool = option(False)
    sources: ClassVar[tuple[str, ...]] = ("geshkovski2023emergence",)

    def data(self) -> xr.Dataset:
        value = np.asarray([[1.0, -1.0], [1.0, 1.0]]) if self.control else np.eye(2)
        rng = np.random.default_rng(self.seed)
        matrices = jnp.asarray(rng.normal(size=(2, self.draws, 2, 2)))
        x0 = jnp.asarray(rng.normal(size=(self.draws, self.tokens, 2)))
        plan = pt.Plan(self.until, save=120, solver="Dopri8", rtol=1e-10, atol=1e-12)

        def along(query: Float[Array, "d d"], key: Float[Array, "d d"], start: Float[Array, "n d"]) -> pt.Run:
            law = pt.Attention(pt.DotProduct(query=query, key=key), value=pt.values.Linear(value))
            return pt.solve(pt.Flow(pt.Euclidean(), law), start, plan)

        run = eqx.filter_vmap(along)(*matrices, x0).complete()
        depth = np.asarray(run.times)[0]
        back = np.stack([expm(-t * value) for t in depth])
        z = np.einsum("tij,rtnj->rtni", back, np.asarray(run.tokens))
        angles = np.linspace(0, 2 * np.pi, DIRECTIONS, endpoint=False)
        support = np.max(z @ np.stack([np.cos(angles), np.sin(angles)]), axis=2)
        width = np.max(support, axis=2).max(axis=1)
        growth = np.diff(support, axis=1) / width[:, None, None]
        few = np.arange(0, DIRECTIONS, DIRECTIONS // SHOWN)[:SHOWN]
        height = {"long_name": "support function", "symbol": r"$\max_i\langle u,z_i\rangle$"}
        return xr.Dataset(
            {
                "support": (("direction", "depth"), support[0].T[few], height),
                "across": (("depth", "token"), z[0, :, :, 0], {"long_name": "rescaled tokens", "symbol": "$z_1$"}),
                "up": (("depth", "token"), z[0, :, :, 1], {"long_name": "rescaled tokens", "symbol": "$z_2$"}),
                "growth": ("draw", growth.max(axis=(1, 2)), {"long_name": "largest step of a support function"}),
            },
            coords={
                "direction": (
                    "direction",
                    np.round(np.degrees(angles[few])),
                    {"long_name": "direction", "symbol": r"$\theta_u$"},
                ),
                "depth": ("depth", depth, {"long_name": "depth", "symbol": "$t$"}),
            },
        )

    def checks(self, data: xr.Dataset) -> tuple[pt.Check, ...]:
        return (
            pt.Check(
                "largest step of a support function over the hull's size",
                most(data.growth),
                0.0,
                1e-8,
                "error of the solver at rtol 1e-10",
                pt.Sense.at_most,
            ),
        )

    def chart(self, data: xr.Dataset) -> tuple[Panel, ...]:
        return (
            Curves("depth", ("support",), by="direction", title="support functions"),
            Curves("across", ("up",), by="token", title="rescaled tokens"),
        )

    def shrunk(self) -> "ShrinkingHull":
        return dataclasses.replace(self, tokens=8, draws=2, until=jnp.asarray(2.0))
