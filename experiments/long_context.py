"""One layer over a long context: outputs collapse, or are their inputs, and change over at one logarithmic scale."""

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


class LongContext(pt.AbstractClaim):
    """At beta = gamma log n the cosine of two outputs is known at every n, and steps at gamma = 1/(1 - rho) as n grows.

    One layer without a residual on equiangular tokens of overlap rho: below the step outputs coincide, above it their
    cosine is that of the inputs.

    Parameters
    ----------
    tokens : the numbers n; the limits are read off the largest.
    overlap : rho.
    gammas : the inverse temperatures over log n, in units of the threshold.
    control : the negative control: no token sees itself.

    Source
    ------
    chen2025critical; the form at finite n derived by hand.
    """

    minutes: ClassVar[float] = 0.5
    tokens: tuple[int, ...] = option((16, 128, 1024, 4096))
    overlap: Float[Array, ""] = parameter(0.4, gt=0, lt=1)
    gammas: tuple[float, ...] = option(tuple((np.arange(0, 33) / 16).tolist()))
    control: bool = option(False)
    sources: ClassVar[tuple[str, ...]] = ("chen2025critical",)

    def outside(self, data: xr.Dataset) -> str:
        return "" if {0.0, 1.0, 2.0} <= set(self.gammas) else "the three limits need gammas of 0, 1 and 2 thresholds"

    def data(self) -> xr.Dataset:
        rho = float(self.overlap)
        gammas = np.asarray(self.gammas) * limits.long_context.threshold(rho)
        found = np.stack([self._cosines(n, gammas) for n in self.tokens])
        exact = [[limits.long_context.output_cosine(gamma, rho, n) for gamma in gammas] for n in self.tokens]
        limit = np.asarray([limits.long_context.limit(gamma, rho) for gamma in gammas])
        at, cosine = ("tokens", "gamma"), {"symbol": r"$\cos(y_1,y_2)$"}
        error = np.abs(found - exact)
        return xr.Dataset(
            {
                "cosine": (at, found, cosine | {"long_name": "layer"}),
                "exact": (at, np.asarray(exact), cosine | {"long_name": "theory"}),
                "limit": ("gamma", limit, cosine | {"long_name": r"$n\to\infty$"}),
                "error": (at, error, {"long_name": "error", "symbol": "error"}),
                "off": (
                    at,
                    np.where(np.abs(found - limit) > 1e-12, np.abs(found - limit), np.nan),
                    {"long_name": "distance", "symbol": r"$|\cos-\cos_\infty|$"},
                ),
            },
            coords={
                "tokens": ("tokens", list(self.tokens), {"long_name": "tokens", "symbol": "$n$"}),
                "gamma": ("gamma", gammas, {"long_name": "scale of beta", "symbol": r"$\gamma=\beta/\ln n$"}),
            },
        )

    def _cosines(self, n: int, gammas: np.ndarray) -> np.ndarray:
        """The cosine of two outputs of one layer, for each gamma."""
        x = pt.starts.Equiangular(n, n, float(self.overlap))(pt.Sphere(), jax.random.key(0))
        measure = pt.NotSelf() if self.control else pt.measures.Uniform()

        @eqx.filter_jit
        def cosine(beta: Float[Array, ""], x: Float[Array, "n d"]) -> Float[Array, ""]:
            law = pt.Attention(pt.DotProduct(beta), measure)
            y = law.between(jnp.zeros(()), x[:2], x, pt.Dense())
            return jnp.sum(y[0] * y[1]) / jnp.sqrt(jnp.sum(y[0] ** 2) * jnp.sum(y[1] ** 2))

        return np.asarray([cosine(jnp.asarray(gamma * np.log(n)), x) for gamma in gammas])

    def checks(self, data: xr.Dataset) -> tuple[pt.Check, ...]:
        n = max(self.tokens)
        at = {share: data.cosine[-1, self.gammas.index(share)] for share in (0.0, 1.0, 2.0)}
        wanted = {share: data.limit[self.gammas.index(share)] for share in at}
        names = {0.0: "gamma = 0", 1.0: "the threshold", 2.0: "twice the threshold"}
        return (
            pt.Check("largest error of the cosine", most(data.error), 0.0, 1e-10, "rounding of sums"),
            *(
                pt.Check(
                    f"cosine at {names[share]}", float(at[share]), float(wanted[share]), 2 / n, "corrections O(1/n)"
                )
                for share in at
            ),
        )

    def chart(self, data: xr.Dataset) -> tuple[Panel, ...]:
        return (
            Curves("gamma", ("cosine",), ("exact", "limit"), by="tokens", title="cosine of two outputs"),
            Curves("gamma", ("off",), by="tokens", log="y", title="distance from the limit"),
        )

    def shrunk(self) -> "LongContext":
        return dataclasses.replace(self, tokens=(16, 128), gammas=(0.0, 0.5, 1.0, 1.5, 2.0))
