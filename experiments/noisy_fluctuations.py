"""Tokens under strong noise: modes of their density flicker, the more the closer order is."""

import dataclasses
from typing import ClassVar

import jax
import jax.numpy as jnp
import numpy as np
import xarray as xr
from jaxtyping import Array, Float
from scipy.special import iv

import particles as pt
from particles import limits
from particles.chart import Curves, Panel
from particles.declaration import option, parameter

MODES = 3


class NoisyFluctuations(pt.AbstractClaim):
    """Below the threshold of order, n E|m_k|^2 of n noisy tokens is 1 / (1 - kappa I_k(beta) / beta).

    Averages over depth and replicas, from independent tokens, for which that number is 1.

    Parameters
    ----------
    tokens, replicas : how many, in how many independent runs.
    beta : inverse temperature.
    around : strengths kappa / kappa_#, below 1.
    until, dt : the last depth, of which the first third is left out, and the step, both in units of kappa, in which
        the noise of an angle is 2 for every kappa.
    seed : of starts and noise.
    control : the negative control: tokens repel.

    Source
    ------
    Derived by hand, in the setting of rigollet2025meanfield.
    """

    minutes: ClassVar[float] = 4.0
    tokens: int = option(96, ge=8)
    replicas: int = option(32, ge=2)
    beta: Float[Array, ""] = parameter(2.0, gt=0)
    around: tuple[float, ...] = option((0.25, 0.5, 0.7))
    until: Float[Array, ""] = parameter(60.0, gt=0)
    dt: Float[Array, ""] = parameter(0.01, gt=0)
    seed: int = option(0, ge=0)
    control: bool = option(False)
    sources: ClassVar[tuple[str, ...]] = ("rigollet2025meanfield",)

    def data(self) -> xr.Dataset:
        beta, k = float(self.beta), np.arange(1, MODES + 1)
        kappas = limits.growth.threshold(2, beta) * np.asarray(self.around)
        every = self._squares(kappas) * self.tokens  # [kappa replica mode]
        exact = 1 / (1 - kappas[:, None] * iv(k, beta)[None, :] / beta)
        symbol, dims = {"symbol": r"$n\,E|m_k|^2$"}, ("around", "mode")
        return xr.Dataset(
            {
                "square": (dims, every.mean(axis=1), symbol | {"long_name": f"{self.tokens} tokens"}),
                "spread": (dims, every.std(axis=1, ddof=1) / np.sqrt(self.replicas), {"long_name": "standard error"}),
                "exact": (dims, exact, symbol | {"long_name": "leading order"}),
            },
            coords={
                "around": (
                    "around",
                    list(self.around),
                    {"symbol": r"$\kappa / \kappa_\#$", "long_name": "inverse noise"},
                ),
                "mode": ("mode", k, {"symbol": "$k$"}),
            },
        )

    def _squares(self, kappas: np.ndarray) -> np.ndarray:
        value = pt.values.Linear(-1.0 if self.control else 1.0)
        law = pt.Attention(pt.DotProduct(self.beta), normalizer=pt.Mean(), value=value)
        frames = 3 * int(self.until)

        def one(kappa: jax.Array, key: jax.Array) -> jax.Array:
            first, noise = jax.random.split(key)
            x0 = pt.Sphere().uniform(first, self.tokens, 2)
            flow = pt.NoisyFlow(pt.Sphere(), law, pt.noises.Brownian(jnp.sqrt(2 / kappa)))
            plan = pt.Plan(kappa * self.until, save=frames, solver="Heun", dt=kappa * self.dt)
            x = pt.solve(flow, x0, plan, key=noise).tokens[frames // 3 :]
            angle = jnp.arctan2(x[..., 1], x[..., 0])
            phase = jnp.arange(1.0, MODES + 1)[:, None, None] * angle[None]
            return jnp.mean(jnp.mean(jnp.cos(phase), axis=2) ** 2 + jnp.mean(jnp.sin(phase), axis=2) ** 2, axis=1)

        keys = jax.random.split(jax.random.key(self.seed), (len(kappas), self.replicas))
        return np.asarray(jax.jit(jax.vmap(jax.vmap(one, (None, 0))))(jnp.asarray(kappas), keys))

    def outside(self, data: xr.Dataset) -> str:
        return "" if max(self.around) < 0.8 else "Too close to the threshold for the leading order in 1/n."

    def checks(self, data: xr.Dataset) -> tuple[pt.Check, ...]:
        slack = 0.05 * data.exact.values + 3 * data.spread.values
        off = np.abs(data.square - data.exact).values / slack
        worst = np.unravel_index(off.argmax(), off.shape)
        measured, expected = float(data.square.values[worst]), float(data.exact.values[worst])
        words = f"n E|m_{worst[1] + 1}|^2 at kappa = {self.around[worst[0]]:g} kappa_#, the worst"
        return (pt.Check(words, measured, expected, float(slack[worst]), "5%: 1/n and dt; 3 standard errors"),)

    def chart(self, data: xr.Dataset) -> tuple[Panel, ...]:
        return (Curves("around", ("square",), ("exact",), error="spread", by="mode"),)

    def shrunk(self) -> "NoisyFluctuations":
        few = {"tokens": 40, "replicas": 8, "around": (0.5,)}
        return dataclasses.replace(self, **few, until=jnp.asarray(10.0), dt=jnp.asarray(0.02))
