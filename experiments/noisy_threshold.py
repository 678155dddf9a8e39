"""Noise against attention on the circle and the sphere: when the uniform law becomes unstable."""

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

AMPLITUDE = 1e-7


class NoisyThreshold(pt.AbstractClaim):
    """Under noise mode k of the uniform law relaxes at k(k+d-2)/kappa - r_k; mode 1 grows first, above a known kappa.

    The Fokker-Planck flow from the uniform density and one small harmonic, on both sides of the threshold.

    Parameters
    ----------
    spheres : ambient dimensions; 2 is the circle.
    betas : inverse temperatures.
    degrees : of the harmonics.
    until : the depth over which a rate is measured.
    control : the negative control: the noise is sqrt(1/kappa) dW, another convention.

    Source
    ------
    mun2026phase, for the threshold; the rates derived by hand.
    """

    minutes: ClassVar[float] = 1.0
    spheres: tuple[int, ...] = option((2, 3), ge=2)
    betas: tuple[float, ...] = option((0.5, 2.0, 5.0))
    degrees: int = option(3, ge=1)
    until: Float[Array, ""] = parameter(0.05, gt=0)
    control: bool = option(False)
    sources: ClassVar[tuple[str, ...]] = ("mun2026phase",)

    def data(self) -> xr.Dataset:
        degrees, around = np.arange(1, self.degrees + 1), np.array([0.5, 0.8, 1.25, 2.0])
        shape = (len(self.spheres), len(self.betas), len(around), self.degrees)
        rates, exact, crossings, thresholds = np.zeros(shape), np.zeros(shape), [], []
        for i, dim in enumerate(self.spheres):
            for j, beta in enumerate(self.betas):
                kappas = limits.growth.threshold(dim, beta) * around
                rates[i, j] = self._rates(dim, beta, kappas)
                for a, kappa in enumerate(kappas):
                    for k in degrees:
                        exact[i, j, a, k - 1] = limits.growth.growth_rate(int(k), dim, beta, "mean", kappa)
                line = np.polyfit(1 / kappas, rates[i, j, :, 0], 1)
                crossings.append(-line[0] / line[1])
                thresholds.append(limits.growth.threshold(dim, beta))
        symbol = {"symbol": "$r_k$"}
        dims = ("sphere", "beta", "around", "degree")
        first = {"symbol": "$r_1$"}
        return xr.Dataset(
            {
                "rate": (dims, rates, symbol | {"long_name": "measured"}),
                "exact": (dims, exact, symbol | {"long_name": "theory"}),
                "first": (("around", "beta"), rates[0, :, :, 0].T, first | {"long_name": "measured"}),
                "first_exact": (("around", "beta"), exact[0, :, :, 0].T, first | {"long_name": "theory"}),
                "crossing": ("case", crossings, {"symbol": r"$\kappa_\#$"}),
                "threshold": ("case", thresholds, {"symbol": r"$\kappa_\#$"}),
            },
            coords={
                "sphere": ("sphere", list(self.spheres), {"symbol": "$d$"}),
                "beta": ("beta", list(self.betas), {"symbol": r"$\beta$"}),
                "around": ("around", around, {"symbol": r"$\kappa / \kappa_\#$", "long_name": "inverse noise"}),
                "degree": ("degree", degrees, {"symbol": "$k$"}),
            },
        )

    def _rates(self, dim: int, beta: float, kappas: np.ndarray) -> np.ndarray:
        """Measured growth, `[kappa degree]`."""
        modes = self.degrees + 12
        domain = limits.Circle(modes, 3 * modes) if dim == 2 else limits.Zonal(dim, modes, 3 * modes, 24)
        law = pt.Attention(pt.DotProduct(beta), normalizer=pt.Mean())
        starts = np.zeros((self.degrees, modes, domain.components))
        starts[:, 0, 0] = 1.0
        starts[np.arange(self.degrees), np.arange(1, self.degrees + 1), 0] = AMPLITUDE
        plan = pt.Plan(self.until, save=1, rtol=1e-9, atol=1e-17)
        strengths = np.sqrt((1 if self.control else 2) / kappas)
        solved = lambda s, x: pt.solve(limits.MeanField(law, domain, s), x, plan)  # noqa: E731
        grid = eqx.filter_vmap(eqx.filter_vmap(solved, in_axes=(None, 0)), in_axes=(0, None))
        ends = np.asarray(grid(jnp.asarray(strengths), jnp.asarray(starts)).complete().final)
        index = np.arange(self.degrees)
        return np.log(ends[:, index, index + 1, 0] / AMPLITUDE) / float(self.until)

    def outside(self, data: xr.Dataset) -> str:
        grown = AMPLITUDE * float(np.exp(data.exact.max() * float(self.until)))
        return "" if grown < 1e-5 else f"Waves are no longer small at `until`: the fastest has grown to {grown:.1e}."

    def checks(self, data: xr.Dataset) -> tuple[pt.Check, ...]:
        wrong = float((np.abs(data.rate - data.exact) / np.abs(data.exact).max("around")).max())
        off = worst(data.crossing / data.threshold - 1)
        above, below = data.rate.sel(around=1.25), data.rate.sel(around=0.8)
        alone = float(((above[..., 0] > 0) & (below <= 0).all("degree")).all())
        return (
            pt.Check("relative error of a rate", wrong, 0.0, 1e-6, "quadratic terms at amplitude 1e-7"),
            pt.Check("relative error of the threshold", off, 0.0, 1e-6, "rates are linear in 1/kappa"),
            pt.Check("mode 1 grows above it, no mode below (1: yes)", alone, 1.0, 0.0, "signs"),
        )

    def chart(self, data: xr.Dataset) -> tuple[Panel, ...]:
        return (Curves("around", ("first",), ("first_exact",), by="beta", title="growth of the first mode"),)

    def shrunk(self) -> "NoisyThreshold":
        return dataclasses.replace(self, spheres=(2,), betas=(2.0,), degrees=2)
