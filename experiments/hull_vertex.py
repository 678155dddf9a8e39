"""Where two tokens of the line end, in the frame of their growth."""

import dataclasses
from typing import ClassVar

import equinox as eqx
import jax.numpy as jnp
import numpy as np
import xarray as xr
from jaxtyping import Array, Float

import particles as pt
from particles.chart import Curves, Panel
from particles.declaration import option, parameter
from particles.experiment import worst
from particles.limits import two_clusters


class HullVertex(pt.AbstractClaim):
    """Two tokens +-y of the line with V = 1, rescaled by exp(-t), end at a vertex that a quadrature gives.

    Parameters
    ----------
    starts : y at depth 0.
    a : the score is a x y.
    until : the last depth; attention is one-hot to rounding long before.
    control : the negative control: one token is half as heavy again as the other.

    Source
    ------
    geshkovski2023emergence for the setting; derived by hand.
    """

    minutes: ClassVar[float] = 0.5
    starts: tuple[float, ...] = option(tuple(np.geomspace(0.2, 2.0, 13).tolist()))
    a: Float[Array, ""] = parameter(1.0, gt=0)
    until: Float[Array, ""] = parameter(30.0, gt=0)
    control: bool = option(False)
    sources: ClassVar[tuple[str, ...]] = ("geshkovski2023emergence",)

    def data(self) -> xr.Dataset:
        starts, masses = np.asarray(self.starts), (0.6, 0.4) if self.control else (0.5, 0.5)
        flow = pt.Flow(pt.Euclidean(), pt.Attention(pt.DotProduct(self.a), pt.Masses(masses)))
        plan = pt.Plan(self.until, save=150, solver="Dopri8", rtol=1e-12, atol=1e-12)
        x0 = jnp.asarray(np.stack([starts, -starts], axis=1)[..., None])
        run = eqx.filter_vmap(lambda start: pt.solve(flow, start, plan))(x0).complete()
        depth = np.asarray(run.times)[0]
        rescaled = np.exp(-depth) * np.asarray(run.tokens)[:, :, 0, 0]
        end = np.asarray([two_clusters.hull_vertex(start, float(self.a)) for start in starts])
        ratio, at = {"symbol": r"$z_\infty/y_0$"}, ("start", "depth")
        return xr.Dataset(
            {
                "coupling": ("start", float(self.a) * starts**2, {"long_name": "logit", "symbol": "$u_0=a\\,y_0^2$"}),
                "vertex": ("start", rescaled[:, -1] / starts, ratio | {"long_name": "measured"}),
                "exact": ("start", end / starts, ratio | {"long_name": "theory"}),
                "rescaled": (at, rescaled, {"long_name": "rescaled token", "symbol": "$e^{-t}y$"}),
                "limit": (
                    at,
                    np.broadcast_to(end[:, None], rescaled.shape),
                    {"long_name": "theory", "symbol": "$z_\\infty$"},
                ),
            },
            coords={
                "start": ("start", starts, {"long_name": "start", "symbol": "$y_0$"}),
                "depth": ("depth", depth, {"long_name": "depth", "symbol": "$t$"}),
            },
        )

    def checks(self, data: xr.Dataset) -> tuple[pt.Check, ...]:
        largest = worst(data.vertex / data.exact - 1)
        return (
            pt.Check("largest relative error of the vertex", largest, 0.0, 1e-8, "error of the solver at rtol 1e-12"),
        )

    def chart(self, data: xr.Dataset) -> tuple[Panel, ...]:
        return (
            Curves("coupling", ("vertex",), ("exact",), log="x", title="where it ends"),
            Curves("depth", ("rescaled",), ("limit",), by="start", log="y", title="how it goes there"),
        )

    def shrunk(self) -> "HullVertex":
        return dataclasses.replace(self, starts=(0.5, 1.2), until=jnp.asarray(16.0))
