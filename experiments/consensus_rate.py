"""How fast tokens that are close to one another become one."""

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
from particles.declaration import option

WINDOW = (1e-9, 1e-4)  # of 1 - cos: below it rounding, above it the next term
FRAMES = 140
SPAN = 14.0  # the depth, in units of half the time in which 1 - cos falls by e


class ConsensusRate(pt.AbstractClaim):
    """Near consensus 1 - cos falls as exp(-2 t) under softmax, as exp(-2 exp(beta) t) under the mean, for every beta.

    Parameters
    ----------
    tokens, dim : of a start in a cap of the sphere.
    betas : inverse temperatures.
    kinds : normalizers, of "softmax" and "mean".
    seed : of the start.
    control : the negative control: steps that normalize x + h A(x) without projecting A, whose clock is slower.

    Source
    ------
    rigollet2025meanfield.
    """

    minutes: ClassVar[float] = 0.5
    tokens: int = option(8, ge=2)
    dim: int = option(3, ge=2)
    betas: tuple[float, ...] = option((0.0, 1.0, 2.0, 3.0, 4.0))
    kinds: tuple[limits.two_clusters.Kind, ...] = option(("softmax", "mean"))
    seed: int = option(0)
    control: bool = option(False)
    sources: ClassVar[tuple[str, ...]] = ("rigollet2025meanfield",)

    def data(self) -> xr.Dataset:
        betas, clock = np.asarray(self.betas), np.linspace(0, SPAN, FRAMES + 1)
        gap, rate = {"symbol": r"$1-\cos$"}, {"symbol": r"$-d\ln(1-\cos)/dt$"}
        rates, slopes, found = [], [], {}
        for kind in self.kinds:
            rates.append(2 * np.exp(betas) if kind == "mean" else np.full_like(betas, 2.0))
            gaps = self._gaps(pt.Mean() if kind == "mean" else pt.Softmax(), rates[-1])
            slopes.append([-_slope(clock, one) * fast / 2 for one, fast in zip(gaps, rates[-1], strict=True)])
            found[kind] = (("beta", "clock"), gaps, gap | {"long_name": "mean over pairs"})
            law = gaps[0, -1] * np.exp(2 * (SPAN - clock))
            found[f"{kind}_decay"] = ("clock", law, gap | {"long_name": "theory"})
        at = ("law", "beta")
        found |= {
            "rate": (at, np.asarray(slopes), rate | {"long_name": "measured"}),
            "exact": (at, np.asarray(rates), rate | {"long_name": "theory"}),
        }
        return xr.Dataset(
            found,
            coords={
                "law": ("law", list(self.kinds), {"long_name": "law"}),
                "beta": ("beta", betas, {"long_name": "inverse temperature", "symbol": r"$\beta$"}),
                "clock": ("clock", clock, {"long_name": "depth times half the rate", "symbol": r"$t\lambda/2$"}),
            },
        )

    def _gaps(self, normalizer: pt.Softmax | pt.Mean, rates: np.ndarray) -> np.ndarray:
        """The mean of 1 - cos over pairs, `[beta time]`; every run is as long as its rate asks for."""
        noise = jax.random.normal(jax.random.key(self.seed), (self.tokens, self.dim))
        x0 = pt.Sphere().project(jnp.eye(self.dim)[:1] + 0.3 * noise)

        def along(beta: Float[Array, ""], until: Float[Array, ""]) -> pt.Run:
            flow = pt.Flow(pt.Sphere(), pt.Attention(pt.DotProduct(beta), normalizer=normalizer))
            if self.control:
                return pt.solve(flow, x0, pt.Plan(until, save=FRAMES, solver="EulerNormalize", dt=until / (2 * FRAMES)))
            return pt.solve(flow, x0, pt.Plan(until, save=FRAMES, solver="Dopri8", rtol=1e-10, atol=1e-13))

        x = np.asarray(eqx.filter_vmap(along)(jnp.asarray(self.betas), jnp.asarray(2 * SPAN / rates)).complete().tokens)
        apart = x[:, :, :, None] - x[:, :, None]
        i, j = np.triu_indices(self.tokens, 1)
        return np.mean(np.sum(apart**2, axis=-1)[..., i, j], axis=-1) / 2

    def checks(self, data: xr.Dataset) -> tuple[pt.Check, ...]:
        off = np.abs(data.rate / data.exact - 1)
        reason = "the next term is 1 - cos, at most 1e-4, and the solver"
        return tuple(
            pt.Check(f"largest relative error of the rate, {law}", float(off.sel(law=law).max()), 0.0, 1e-3, reason)
            for law in self.kinds
        )

    def chart(self, data: xr.Dataset) -> tuple[Panel, ...]:
        return (
            Curves("beta", ("rate",), ("exact",), by="law", log="y", title="rate of consensus"),
            *(Curves("clock", (kind,), (f"{kind}_decay",), by="beta", log="y", title=kind) for kind in self.kinds),
        )

    def shrunk(self) -> "ConsensusRate":
        return dataclasses.replace(self, tokens=4, betas=(0.0, 2.0), kinds=("mean",))


def _slope(t: np.ndarray, gap: np.ndarray) -> float:
    """The slope of log gap against t, fitted where the gap lies in the window."""
    inside = (gap > WINDOW[0]) & (gap < WINDOW[1])
    return float(np.polyfit(t[inside], np.log(gap[inside]), 1)[0])
