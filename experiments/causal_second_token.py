"""The second token of a causal sequence takes twice the time of a pair."""

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
from particles.experiment import most


class CausalSecondToken(pt.AbstractClaim):
    """Under causal attention the second token comes to the first in exactly twice the depth of two that see each other.

    Parameters
    ----------
    betas : inverse temperatures.
    overlap : of the two tokens at the start.
    end : their overlap at the end.
    control : the negative control: no mask.

    Source
    ------
    karagodin2024causal for the model; the factor derived by hand.
    """

    minutes: ClassVar[float] = 0.5
    betas: tuple[float, ...] = option((0.0, 1.0, 3.0, 6.0))
    overlap: Float[Array, ""] = parameter(-0.6, gt=-1, lt=1)
    end: Float[Array, ""] = parameter(0.9999, lt=1)
    control: bool = option(False)
    sources: ClassVar[tuple[str, ...]] = ("karagodin2024causal",)

    def data(self) -> xr.Dataset:
        start, end = float(self.overlap), float(self.end)
        pair = [limits.equiangular.hitting_time(start, end, 2, beta) for beta in self.betas]
        x0 = jnp.asarray([[1.0, 0.0], [start, np.sqrt(1 - start**2)]])
        measure = pt.measures.Uniform() if self.control else pt.Causal()

        def along(beta: Float[Array, ""], until: Float[Array, ""]) -> pt.Run:
            flow = pt.Flow(pt.Sphere(), pt.Attention(pt.DotProduct(beta), measure))
            return pt.solve(flow, x0, pt.Plan(until, save=24, solver="Dopri8", rtol=1e-12, atol=1e-14))

        run = eqx.filter_vmap(along)(jnp.asarray(self.betas), 2 * jnp.asarray(pair)).complete()
        x, depths = np.asarray(run.tokens), np.asarray(run.times)
        gap = np.sum((x[:, :, 0] - x[:, :, 1]) ** 2, axis=-1) / 2
        exact = [limits.equiangular.gap(t / 2, start, 2, beta) for t, beta in zip(depths, self.betas, strict=True)]
        at, overlap, far = ("beta", "share"), {"symbol": r"$\cos\varphi$"}, {"symbol": r"$1-\cos\varphi$"}
        return xr.Dataset(
            {
                "overlap": (at, 1 - gap, overlap | {"long_name": "second token"}),
                "exact": (at, 1 - np.asarray(exact), overlap | {"long_name": "pair, at half the depth"}),
                "gap": (at, gap, far | {"long_name": "second token"}),
                "exact_gap": (at, np.asarray(exact), far | {"long_name": "pair, at half the depth"}),
                "error": (at, np.abs(gap - exact), {"long_name": "error of the overlap"}),
                "depth": (at, depths, {"long_name": "depth", "symbol": "$t$"}),
            },
            coords={"beta": ("beta", list(self.betas), {"long_name": "inverse temperature", "symbol": r"$\beta$"})},
        )

    def checks(self, data: xr.Dataset) -> tuple[pt.Check, ...]:
        largest = most(data.error)
        return (pt.Check("largest error of the overlap", largest, 0.0, 1e-9, "error of the solver at rtol 1e-12"),)

    def chart(self, data: xr.Dataset) -> tuple[Panel, ...]:
        return (
            Curves("depth", ("overlap",), ("exact",), by="beta", log="x", title="overlap with the first token"),
            Curves("depth", ("gap",), ("exact_gap",), by="beta", log="xy", title="what is left"),
        )

    def shrunk(self) -> "CausalSecondToken":
        return dataclasses.replace(self, betas=(0.0, 3.0))
