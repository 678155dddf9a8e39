"""Noise against attention on the circle: order is lost continuously, or with a jump."""

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

SWEEPS = ("from order", "from noise")


class NoisyTransition(pt.AbstractClaim):
    """Order is lost continuously for beta below beta_*, and with a jump above it, where order and noise coexist.

    The Fokker-Planck flow is followed to rest at several strengths of noise around the threshold kappa_#, from an
    ordered density and from an almost uniform one. Below beta_* both end in one law; above it, just below kappa_#, they
    do not. Each end is held against the self-consistent density of its branch.

    Parameters
    ----------
    below, above : inverse temperatures on the two sides of beta_*, I_2(beta_*) / I_1(beta_*) = 1/2.
    around : the strengths kappa / kappa_#.
    until : the depth at which the flow is taken to be at rest.
    modes : of the density.
    control : the negative control: the noise is stronger by a tenth than what is told.

    Source
    ------
    mun2026phase, for the dichotomy; the branches derived by hand.
    """

    minutes: ClassVar[float] = 2.0
    below: Float[Array, ""] = parameter(1.5, gt=0)
    above: Float[Array, ""] = parameter(6.0, gt=0)
    around: tuple[float, ...] = option((0.75, 0.85, 0.9, 1.1, 1.2, 1.3))
    until: Float[Array, ""] = parameter(200.0, gt=0)
    modes: int = option(28, ge=8)
    control: bool = option(False)
    sources: ClassVar[tuple[str, ...]] = ("mun2026phase",)

    def data(self) -> xr.Dataset:
        around, curve = np.asarray(self.around), np.linspace(0.705, 1.355, 66)
        dims, found = ("around", "sweep"), {}
        symbol = {"symbol": "$|m_1|$"}
        for side, beta in (("below", float(self.below)), ("above", float(self.above))):
            ends = self._ends(beta, limits.growth.threshold(2, beta) * around)
            found[f"{side}_end"] = (dims, ends, symbol | {"long_name": "flow"})
            found[f"{side}_exact"] = (dims, self._branches(beta, around), symbol | {"long_name": "self-consistent"})
            branches = self._branches(beta, curve)
            found[f"{side}_branch"] = (("curve", "sweep"), branches, symbol | {"long_name": "self-consistent"})
        words = {"symbol": r"$\kappa / \kappa_\#$", "long_name": "inverse noise"}
        coordinates = {
            "around": ("around", around, words),
            "curve": ("curve", curve, words),
            "sweep": ("sweep", list(SWEEPS), {"symbol": "start"}),
        }
        return xr.Dataset(found, coords=coordinates)

    def _branches(self, beta: float, around: np.ndarray) -> np.ndarray:
        """|m_1| of the ordered law and of the one near noise, by iterating the density, `[kappa sweep]`."""
        kappas = limits.growth.threshold(2, beta) * around
        ordered = [limits.circle_modes.stationary(kappa, beta, self.modes, first=0.98)[1] for kappa in kappas]
        return np.stack([ordered, np.where(around > 1, ordered, 0.0)], axis=1)

    def _ends(self, beta: float, kappas: np.ndarray) -> np.ndarray:
        """|m_1| at rest, `[kappa sweep]`."""
        domain = limits.Circle(self.modes, int(2.5 * self.modes))
        law = pt.Attention(pt.DotProduct(beta), normalizer=pt.Mean())
        scale = float(limits.growth.growth_rate(1, 2, beta))  # the clock of the law
        plan = pt.Plan(self.until / scale, save=1, rtol=1e-8, atol=1e-11, solver="Kvaerno5")
        starts = [domain.coefficients(lambda a, c=c: np.exp(c * np.cos(a))) for c in (4.0, 1e-3)]

        def one(strength: jax.Array, start: jax.Array) -> jax.Array:
            return pt.solve(limits.MeanField(law, domain, strength), start, plan)

        noise = np.sqrt((2.2 if self.control else 2.0) / kappas)
        rows = [[one(jnp.asarray(s), start).complete().final[1, 0] for start in starts] for s in noise]
        return np.asarray(rows) / np.sqrt(2)

    def outside(self, data: xr.Dataset) -> str:
        critical = limits.circle_modes.tricritical(2)
        if float(self.below) < critical < float(self.above):
            return ""
        return f"beta_* = {critical:.4f} must lie between `below` and `above`."

    def checks(self, data: xr.Dataset) -> tuple[pt.Check, ...]:
        reason = "relaxation, slow near the threshold"
        gap = {side: float(np.ptp(data[f"{side}_end"].values, axis=1).max()) for side in ("below", "above")}
        errors = {side: float(np.abs(data[f"{side}_end"] - data[f"{side}_exact"]).max()) for side in gap}
        return (
            pt.Check("error of |m_1| for beta below beta_*", errors["below"], 0.0, 1e-6, reason),
            pt.Check("error of |m_1| for beta above beta_*", errors["above"], 0.0, 1e-6, reason),
            pt.Check("coexistence below beta_*", gap["below"], 0.0, 1e-6, "one stable law at each kappa"),
            pt.Check("coexistence above beta_*", gap["above"], 0.3, 0.0, "a jump", pt.Sense.at_least),
        )

    def chart(self, data: xr.Dataset) -> tuple[Panel, ...]:
        titles = {
            "below": rf"$\beta = {float(self.below):g} < \beta_*$",
            "above": rf"$\beta = {float(self.above):g} > \beta_*$",
        }
        return tuple(
            Curves("around", (f"{side}_end",), (f"{side}_branch",), by="sweep", title=title, along="curve")
            for side, title in titles.items()
        )

    def shrunk(self) -> "NoisyTransition":
        return dataclasses.replace(self, around=(0.87,), modes=18, until=jnp.asarray(120.0))
