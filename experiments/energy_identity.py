"""The energy that attention climbs, and how fast."""

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
from particles.experiment import most
from particles.observables import Energy

SIGNS = (1.0, -1.0)  # of the value map V
DEPTH = {"symbol": "$t$", "long_name": "depth"}


class EnergyIdentity(pt.AbstractClaim):
    """Attention climbs its energy at the rate at which tokens move, weighed by Z for softmax; V = -I descends.

    The energy is differentiated automatically along the field of the flow; the dissipation is written out on the host.

    Parameters
    ----------
    tokens, dim : of a uniform start on the sphere.
    beta : inverse temperature.
    until : the last depth; the mean is taken on its slow clock, that of exp(beta (<x, y> - 1)).
    kinds : normalizers, of "softmax" and "mean".
    seed : of the start.
    control : the negative control: values that no symmetric form gives.

    Source
    ------
    geshkovski2023perspective.
    """

    minutes: ClassVar[float] = 0.5
    tokens: int = option(16, ge=2)
    dim: int = option(3, ge=2)
    beta: Float[Array, ""] = parameter(3.0, gt=0)
    until: Float[Array, ""] = parameter(12.0, gt=0)
    kinds: tuple[limits.two_clusters.Kind, ...] = option(("softmax", "mean"))
    seed: int = option(0)
    control: bool = option(False)
    sources: ClassVar[tuple[str, ...]] = ("geshkovski2023perspective",)

    def data(self) -> xr.Dataset:
        runs = [self._followed(pt.Softmax() if kind == "softmax" else pt.Mean(offset=self.beta)) for kind in self.kinds]
        energy, climbed, formula = (np.concatenate(each) for each in zip(*runs, strict=True))
        at, rate = ("law", "time"), {"symbol": r"$|\dot E_\beta|$"}
        largest = np.max(np.abs(formula), axis=1)
        seen = np.where(np.abs(formula) > 1e-14 * largest[:, None], 1.0, np.nan)  # the rest is rounding
        rises = np.asarray(SIGNS * len(self.kinds))[:, None] * np.diff(energy, axis=1) / energy[:, -1:]
        return xr.Dataset(
            {
                "energy": (at, energy, {"long_name": "energy", "symbol": r"$E_\beta$"}),
                "climbed": (at, np.abs(climbed) * seen, rate | {"long_name": "derivative along the field"}),
                "formula": (at, np.abs(formula) * seen, rate | {"long_name": "dissipation of the tokens"}),
                "error": ("law", np.max(np.abs(climbed - formula), axis=1) / largest, {"long_name": "relative error"}),
                "rise": ("law", rises.min(axis=1), {"long_name": "least step uphill"}),
            },
            coords={
                "law": (
                    "law",
                    [name for kind in self.kinds for name in (kind, f"{kind}, V = -I")],
                    {"long_name": "law"},
                ),
                "time": ("time", np.linspace(0, float(self.until), energy.shape[1]), DEPTH),
            },
        )

    def _followed(self, normalizer: pt.Softmax | pt.Mean) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Energy, its derivative along the field and the dissipation, `[sign time]`."""
        value = np.eye(self.dim)
        value[0, 1], value[1, 0] = (0.7, -0.7) if self.control else (0.0, 0.0)
        x0 = pt.Sphere().uniform(jax.random.key(self.seed), self.tokens, self.dim)
        plan = pt.Plan(self.until, save=60, solver="Dopri8", rtol=1e-10, atol=1e-12)

        def along(sign: Float[Array, ""]) -> tuple[pt.Run, tuple[Array, Array]]:
            law = pt.Attention(pt.DotProduct(self.beta), normalizer=normalizer, value=pt.values.Linear(sign * value))
            flow, start = pt.Flow(pt.Sphere(), law), jnp.zeros(())
            run = pt.solve(flow, x0, plan)
            height = lambda x: Energy()(flow, start, x)  # noqa: E731
            return run, jax.lax.map(lambda x: jax.jvp(height, (x,), (flow(start, x),)), run.tokens)

        run, (energy, climbed) = eqx.filter_vmap(along)(jnp.asarray(SIGNS))
        dissipated = self._dissipated(np.asarray(run.complete().tokens), isinstance(normalizer, pt.Softmax))
        return np.asarray(energy), np.asarray(climbed), dissipated

    def _dissipated(self, x: np.ndarray, softmax: bool) -> np.ndarray:
        """The mean over tokens of Z_i |x_i'|^2, of a law written out; the mean has a slow clock and Z = 1."""
        beta = float(self.beta)
        weights = np.exp(beta * (np.einsum("...id,...jd->...ij", x, x) - 1)) / self.tokens
        z = weights.sum(axis=-1) if softmax else np.ones(x.shape[:-1])
        pulled = np.einsum("...ij,...jd->...id", weights / z[..., None], x)
        speed = pulled - np.sum(pulled * x, axis=-1, keepdims=True) * x
        rate = np.exp(beta) * np.mean(z * np.sum(speed**2, axis=-1), axis=-1)
        return np.asarray(SIGNS)[:, None] * rate

    def checks(self, data: xr.Dataset) -> tuple[pt.Check, ...]:
        least, sense = float(data.rise.min()), pt.Sense.at_least
        return (
            pt.Check("largest error of dE/dt, relative", most(data.error), 0.0, 1e-10, "rounding of sums"),
            pt.Check("least step of the energy, uphill", least, 0.0, 1e-12, "rounding, relative", sense),
        )

    def chart(self, data: xr.Dataset) -> tuple[Panel, ...]:
        return (
            Curves("time", ("energy",), by="law", title="energy"),
            Curves("time", ("climbed",), ("formula",), by="law", log="y", title="energy production"),
        )

    def shrunk(self) -> "EnergyIdentity":
        return dataclasses.replace(self, tokens=8, until=jnp.asarray(4.0), kinds=("softmax",))
