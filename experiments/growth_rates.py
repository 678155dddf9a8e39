"""Waves on the uniform law grow at rates that are known, on the circle and on the sphere."""

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
from particles.experiment import worst
from particles.limits.equiangular import Kind

AMPLITUDE = 1e-6


class GrowthRates(pt.AbstractClaim):
    """Small waves on the uniform law grow exponentially, at rates given by Bessel functions, the fastest one first.

    The mean-field flow of a law, started from the uniform density and one harmonic of amplitude 1e-6.

    Parameters
    ----------
    beta : inverse temperature.
    spheres : ambient dimensions; 2 is the circle.
    degrees : of the harmonics, one run for each.
    until : the depth over which a rate is measured; short, so that waves stay small.
    control : the negative control: the tokens have the other normalizer.

    Source
    ------
    bruno2024emergence, for the circle; constants and spheres derived by hand.
    """

    minutes: ClassVar[float] = 1.0
    beta: Float[Array, ""] = parameter(5.0, gt=0)
    spheres: tuple[int, ...] = option((2, 3), ge=2)
    degrees: int = option(6, ge=1)
    until: Float[Array, ""] = parameter(0.05, gt=0)
    control: bool = option(False)
    sources: ClassVar[tuple[str, ...]] = ("bruno2024emergence",)

    def data(self) -> xr.Dataset:
        beta, degrees = float(self.beta), np.arange(1, self.degrees + 1)
        measured, exact = [], []
        for dim, kind in self._cases():
            other: Kind = "softmax" if kind == "mean" else "mean"
            measured.append(self._rates(dim, other if self.control else kind))
            exact.append([limits.growth.growth_rate(int(k), dim, beta, kind) for k in degrees])
        names = [f"d = {dim}, {kind}" for dim, kind in self._cases()]
        symbol = {"symbol": "$r_k$"}
        return xr.Dataset(
            {
                "rate": (("degree", "case"), np.array(measured).T, symbol | {"long_name": "measured"}),
                "exact": (("degree", "case"), np.array(exact).T, symbol | {"long_name": "theory"}),
            },
            coords={
                "degree": ("degree", degrees, {"symbol": "$k$"}),
                "case": ("case", names, {"symbol": "case"}),
            },
        )

    def _cases(self) -> list[tuple[int, Kind]]:
        kinds: tuple[Kind, ...] = ("mean", "softmax")
        return [(dim, kind) for dim in self.spheres for kind in kinds]

    def _rates(self, dim: int, kind: str) -> np.ndarray:
        modes = self.degrees + 12
        normalizer = pt.Mean() if kind == "mean" else pt.Softmax()
        domain = limits.Circle(modes, 3 * modes) if dim == 2 else limits.Zonal(dim, modes, 3 * modes, 16)
        flow = limits.MeanField(pt.Attention(pt.DotProduct(self.beta), normalizer=normalizer), domain)
        degrees = jnp.arange(1, self.degrees + 1)
        starts = jnp.zeros((self.degrees, modes, domain.components)).at[:, 0, 0].set(1.0)
        starts = starts.at[jnp.arange(self.degrees), degrees, 0].set(AMPLITUDE)
        plan = pt.Plan(self.until, save=1, rtol=1e-9, atol=1e-17)
        ends = eqx.filter_vmap(lambda start: pt.solve(flow, start, plan))(starts).complete().final
        waves = np.asarray(ends)[np.arange(self.degrees), np.asarray(degrees), 0]
        return np.log(waves / AMPLITUDE) / float(self.until)

    def outside(self, data: xr.Dataset) -> str:
        grown = AMPLITUDE * float(np.exp(data.exact.max() * float(self.until)))
        return "" if grown < 1e-4 else f"Waves are no longer small at `until`: the fastest has grown to {grown:.1e}."

    def checks(self, data: xr.Dataset) -> tuple[pt.Check, ...]:
        wrong = worst(data.rate / data.exact - 1)
        fastest = [int(data.degree[int(k)]) for k in data.rate.argmax("degree")]
        expected = [limits.growth.fastest_mode(dim, float(self.beta), kind) for dim, kind in self._cases()]
        return (
            pt.Check("relative error of a rate", wrong, 0.0, 1e-5, "quadratic terms at amplitude 1e-6"),
            *(
                pt.Check(f"fastest degree, d = {dim}, {kind}", measured, right, 0.0, "a whole number")
                for (dim, kind), measured, right in zip(self._cases(), fastest, expected, strict=True)
            ),
        )

    def chart(self, data: xr.Dataset) -> tuple[Panel, ...]:
        return (Curves("degree", ("rate",), ("exact",), by="case", log="y"),)

    def shrunk(self) -> "GrowthRates":
        return dataclasses.replace(self, spheres=(2,), degrees=4)
