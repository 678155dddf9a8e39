"""Attention against noise on the circle at beta = 0: order appears at a known strength."""

import dataclasses
from typing import ClassVar

import jax
import jax.numpy as jnp
import numpy as np
import xarray as xr
from jaxtyping import Array, Float

import particles as pt
from particles import limits
from particles.chart import Curves, Panel
from particles.declaration import option, parameter
from particles.experiment import worst


class NoisyKuramoto(pt.AbstractClaim):
    """Noisy tokens at beta = 0 order for kappa above 2, to the root of r = I_1(kappa r) / I_0(kappa r), and not below.

    n tokens, averaged over depth and replicas, and the stationary density of infinitely many.

    Parameters
    ----------
    tokens, replicas : how many, in how many independent runs.
    kappas : inverse strengths of the noise sqrt(2/kappa) dW, one run for each.
    until, dt : the last depth of the tokens, of which the second half is averaged, and their step.
    seed : of starts and noise.
    control : the negative control: the noise is sqrt(1/kappa) dW.

    Source
    ------
    rigollet2025meanfield.
    """

    minutes: ClassVar[float] = 2.0
    tokens: int = option(400, ge=8)
    replicas: int = option(8, ge=2)
    kappas: tuple[float, ...] = option((1.0, 2.6, 3.2, 4.0, 6.0, 9.0))
    until: Float[Array, ""] = parameter(40.0, gt=0)
    dt: Float[Array, ""] = parameter(0.05, gt=0)
    seed: int = option(0, ge=0)
    control: bool = option(False)
    sources: ClassVar[tuple[str, ...]] = ("rigollet2025meanfield",)

    def data(self) -> xr.Dataset:
        kappas = np.asarray(self.kappas)
        sigma = np.sqrt((1 if self.control else 2) / kappas)
        clouds, spread = self._clouds(sigma)
        curve = np.linspace(0.5, 1.1 * kappas.max(), 200)
        exact = [limits.circle_modes.order_parameter(kappa) for kappa in kappas]
        symbol = {"symbol": "$r$"}
        return xr.Dataset(
            {
                "order": ("kappa", clouds, symbol | {"long_name": f"{self.tokens} tokens"}),
                "spread": ("kappa", spread, {"long_name": "standard error"}),
                "field": ("kappa", self._densities(sigma), symbol | {"long_name": "density"}),
                "exact": ("kappa", exact, symbol | {"long_name": "root"}),
                "branch": (
                    "curve",
                    [limits.circle_modes.order_parameter(k) for k in curve],
                    symbol | {"long_name": r"$I_1(\kappa r)/I_0(\kappa r)$"},
                ),
            },
            coords={
                "kappa": ("kappa", kappas, {"symbol": r"$\kappa$", "long_name": "inverse noise"}),
                "curve": ("curve", curve, {"symbol": r"$\kappa$", "long_name": "inverse noise"}),
            },
        )

    def _clouds(self, sigma: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """The root mean square of r over the second half of the runs, and its standard error."""
        law = pt.Attention(pt.DotProduct(0.0), normalizer=pt.Mean())
        plan = pt.Plan(self.until, save=int(self.until), solver="Heun", dt=self.dt, tokens=True)
        x0 = pt.starts.VonMisesFisher(self.tokens, 2, kappa=2.0)(pt.Sphere(), jax.random.key(self.seed))

        def one(strength: jax.Array, key: jax.Array) -> jax.Array:
            flow = pt.NoisyFlow(pt.Sphere(), law, pt.noises.Brownian(strength))
            return jnp.sum(jnp.mean(pt.solve(flow, x0, plan, key=key).tokens, axis=1) ** 2, axis=-1)

        keys = jax.random.split(jax.random.key(self.seed + 1), (len(sigma), self.replicas))
        every = jax.jit(jax.vmap(jax.vmap(one, (None, 0))))(jnp.asarray(sigma), keys)
        square = np.asarray(every)[:, :, plan.frames // 2 :].mean(axis=2)
        mean = np.sqrt(square.mean(axis=1))
        return mean, square.std(axis=1, ddof=1) / np.sqrt(self.replicas) / (2 * mean)

    def _densities(self, sigma: np.ndarray) -> np.ndarray:
        domain = limits.Circle(20, 50)
        law = pt.Attention(pt.DotProduct(0.0), normalizer=pt.Mean())
        start = domain.coefficients(lambda theta: np.exp(np.cos(theta)))
        plan = pt.Plan(80.0, save=1, rtol=1e-8, atol=1e-10)

        def one(strength: jax.Array) -> jax.Array:
            run = pt.solve(limits.MeanField(law, domain, strength), start, plan).complete()
            return run.final[1, 0] / np.sqrt(2)

        return np.asarray([one(jnp.asarray(s)) for s in sigma])

    def checks(self, data: xr.Dataset) -> tuple[pt.Check, ...]:
        checks = [pt.Check("error of r, density", worst(data.field - data.exact), 0.0, 1e-6, "relaxation")]
        for kappa, order, spread, exact in zip(
            data.kappa.values, data.order.values, data.spread.values, data.exact.values, strict=True
        ):
            reason = "3 standard errors, 1/n, and dt"
            if kappa > 2:
                slack = 3 * spread + 2 / self.tokens + 0.01
                checks.append(pt.Check(f"r at kappa = {kappa:g}", float(order), float(exact), float(slack), reason))
            else:  # the spontaneous order of n tokens
                free, square = 1 / (1 - kappa / 2), float(order**2 * self.tokens)
                slack = 6 * order * spread * self.tokens + 0.08 * free
                checks.append(pt.Check(f"n r^2 at kappa = {kappa:g}", square, free, float(slack), reason))
        return tuple(checks)

    def outside(self, data: xr.Dataset) -> str:
        near = [kappa for kappa in self.kappas if abs(kappa - 2) < 0.3]
        return f"Too close to the threshold 2 for finite n: kappa = {near[0]:g}." if near else ""

    def chart(self, data: xr.Dataset) -> tuple[Panel, ...]:
        return (Curves("kappa", ("order", "field"), ("branch",), error="spread", along="curve"),)

    def shrunk(self) -> "NoisyKuramoto":
        return dataclasses.replace(self, tokens=64, replicas=4, kappas=(4.0,), until=jnp.asarray(15.0))
