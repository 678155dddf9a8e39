"""Independent tokens approach the mean field like one over the square root of their number."""

import dataclasses
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
from particles.declaration import option, parameter


class ChaosRate(pt.AbstractClaim):
    """Independent tokens propagate chaos: the error of a mode of their density falls as the root of their number.

    The first mode m_1 at a later depth, over many independent starts, against the mean-field equation.

    Parameters
    ----------
    tokens : numbers n of tokens.
    replicas : independent starts for each.
    beta, until : inverse temperature, and the depth at which the mode is looked at.
    seed : of the starts.
    control : the negative control: tokens at the quantiles of the density, which are not independent.

    Source
    ------
    geshkovski2023perspective; as stability of a Markov map, vuckovic2020mathematical.
    """

    minutes: ClassVar[float] = 2.0
    tokens: tuple[int, ...] = option((64, 128, 256, 512))
    replicas: int = option(256, ge=16)
    beta: Float[Array, ""] = parameter(1.5, gt=0)
    until: Float[Array, ""] = parameter(0.5, gt=0)
    seed: int = option(0, ge=0)
    control: bool = option(False)
    sources: ClassVar[tuple[str, ...]] = ("geshkovski2023perspective", "vuckovic2020mathematical")

    def data(self) -> xr.Dataset:
        start = limits.circle_modes.push_forward(limits.circle_modes.wavy, 80)
        exact = limits.circle_modes.follow([0.0, float(self.until)], start, float(self.beta))[-1, 1]
        flow = pt.Flow(pt.Sphere(), pt.Attention(pt.DotProduct(self.beta), normalizer=pt.Mean()))
        plan = pt.Plan(self.until, save=1, solver="RK4", dt=0.05)
        solved = eqx.filter_jit(eqx.filter_vmap(lambda x0: pt.solve(flow, x0, plan)))
        errors, spread = [], []
        for n, key in zip(self.tokens, jax.random.split(jax.random.key(self.seed), len(self.tokens)), strict=True):
            x = np.asarray(solved(self._starts(n, key)).complete().final)
            square = np.abs((x[..., 0] - 1j * x[..., 1]).mean(axis=1) - exact) ** 2
            errors.append(np.sqrt(square.mean()))
            spread.append(square.std(ddof=1) / np.sqrt(self.replicas) / (2 * errors[-1]))
        n = np.asarray(self.tokens)
        symbol = {"symbol": r"$\langle |m_1 - m_1^*|^2 \rangle^{1/2}$"}
        return xr.Dataset(
            {
                "error": ("tokens", errors, symbol | {"long_name": "independent tokens"}),
                "spread": ("tokens", spread, {"long_name": "standard error"}),
            },
            coords={"tokens": ("tokens", n, {"symbol": "$n$"})},
        )

    def _starts(self, n: int, key: jax.Array) -> jax.Array:
        if self.control:
            u = jnp.broadcast_to(jnp.asarray(limits.circle_modes.quantiles(n))[None, :], (self.replicas, n))
        else:
            u = jax.random.uniform(key, (self.replicas, n), maxval=2 * jnp.pi)
        angles = limits.circle_modes.wavy(u)
        return jnp.stack([jnp.cos(angles), jnp.sin(angles)], axis=-1)

    def checks(self, data: xr.Dataset) -> tuple[pt.Check, ...]:
        slope = limits.depth.slope(data.tokens.values, data.error.values)
        width = np.log(data.tokens.values[-1] / data.tokens.values[0])
        noise = 3 * float((data.spread / data.error).max()) / width
        return (pt.Check("slope of the error in n", slope, -0.5, max(0.05, noise), "sampling of the replicas"),)

    def chart(self, data: xr.Dataset) -> tuple[Panel, ...]:
        return (Curves("tokens", ("error",), error="spread", log="xy", slopes=(-0.5,)),)

    def shrunk(self) -> "ChaosRate":
        return dataclasses.replace(self, tokens=(16, 128), replicas=128)
