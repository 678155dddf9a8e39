"""Causal attention is a triangle: a token never feels those after it."""

import dataclasses
from typing import ClassVar

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import xarray as xr
from jaxtyping import Array, Float

import particles as pt
from particles.chart import Curves, Map, Panel
from particles.declaration import option, parameter
from particles.experiment import most

NOTHING = 1e-17  # what is less than rounding is drawn as this


class CausalTriangle(pt.AbstractClaim):
    """Under causal attention with V = I the first token stays, and no token feels a change of those after it.

    Steps are constant: adaptive ones would be chosen by all tokens together.

    Parameters
    ----------
    tokens, dim : of a uniform start on the sphere.
    beta : inverse temperature.
    until, step : the last depth, and the step.
    seed : of the tokens, of the change, and of Q and K.
    control : the negative control: no mask.

    Source
    ------
    karagodin2024causal.
    """

    minutes: ClassVar[float] = 0.5
    tokens: int = option(10, ge=2)
    dim: int = option(3, ge=2)
    beta: Float[Array, ""] = parameter(3.0)
    until: Float[Array, ""] = parameter(5.0, gt=0)
    step: Float[Array, ""] = parameter(0.05, gt=0)
    seed: int = option(0)
    control: bool = option(False)
    sources: ClassVar[tuple[str, ...]] = ("karagodin2024causal",)

    def data(self) -> xr.Dataset:
        n, d = self.tokens, self.dim
        query, key = np.random.default_rng(self.seed).normal(size=(2, d, d)) / np.sqrt(d)
        first, second = (pt.Sphere().uniform(key, n, d) for key in jax.random.split(jax.random.key(self.seed)))
        seen = jnp.arange(n)[None, :] < jnp.arange(1, n + 1)[:, None]
        x0 = jnp.where(seen[:, :, None], first[None, :, :], second[None, :, :])
        measure = pt.measures.Uniform() if self.control else pt.Causal()
        flow = pt.Flow(pt.Sphere(), pt.Attention(pt.DotProduct(self.beta, query=query, key=key), measure))
        plan = pt.Plan(self.until, save=1, solver="RK4", dt=self.step)
        x = np.asarray(eqx.filter_vmap(lambda start: pt.solve(flow, start, plan))(x0).complete().final)
        moved = np.linalg.norm(x - x[-1], axis=-1)  # the last start is unchanged
        index = np.arange(1, n + 1)
        earlier = index[None, :] <= index[:, None]
        felt = {"symbol": r"$|\Delta x_i|$"}
        return xr.Dataset(
            {
                "response": (
                    ("kept", "token"),
                    np.log10(np.maximum(moved, NOTHING)),
                    {"long_name": "response", "symbol": r"$\log_{10}|\Delta x_i|$"},
                ),
                "before": (
                    "token",
                    np.where(earlier, moved, 0).max(axis=0) + NOTHING,
                    felt | {"long_name": "to later tokens"},
                ),
                "after": (
                    "token",
                    np.where(earlier, np.nan, moved).T[:, 0],
                    felt | {"long_name": "to all but the first"},
                ),
                "rounding": ("token", np.full(n, 1e-14), felt | {"long_name": "rounding"}),
                "first": ((), np.abs(x[:, 0] - np.asarray(first[0])).max(), {"long_name": "way of the first token"}),
            },
            coords={
                "token": ("token", index, {"long_name": "token", "symbol": "$i$"}),
                "kept": ("kept", index, {"long_name": "tokens kept", "symbol": "$k$"}),
            },
        )

    def checks(self, data: xr.Dataset) -> tuple[pt.Check, ...]:
        return (
            pt.Check("way of the first token", float(data["first"]), 0.0, 1e-14, "rounding"),
            pt.Check("largest response to later tokens", most(data.before), 0.0, 1e-14, "rounding"),
            pt.Check(
                "least response to earlier tokens",
                float(data.after.min()),
                1e-3,
                0.0,
                "a triangle, not nothing",
                pt.Sense.at_least,
            ),
        )

    def chart(self, data: xr.Dataset) -> tuple[Panel, ...]:
        return (
            Map("token", "kept", "response", title="tokens after the k-th changed"),
            Curves("token", ("after", "before"), bounds=("rounding",), log="y", title="who feels whom"),
        )

    def shrunk(self) -> "CausalTriangle":
        return dataclasses.replace(self, tokens=5, until=jnp.asarray(2.0))
