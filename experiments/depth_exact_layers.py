"""A network on equiangular tokens, layer by layer, against a scalar map: no solver on either side."""

import dataclasses
from typing import ClassVar

import jax
import numpy as np
import xarray as xr
from jaxtyping import Array, Float

import particles as pt
from particles import limits
from particles.chart import Curves, Panel
from particles.declaration import option, parameter
from particles.experiment import most


class DepthExactLayers(pt.AbstractClaim):
    """Behind every layer of a network, equiangular tokens are equiangular, with an overlap that a scalar map gives.

    Layers normalize(x + h A(x)), for several steps h: the overlaps of all pairs behind each of them against the map.

    Parameters
    ----------
    tokens, beta, overlap : of the equiangular start and of softmax attention.
    steps : the steps h of the layers.
    layers : how many layers.
    control : the negative control: layers that add A with its radial part taken away.

    Source
    ------
    geshkovski2023perspective, for the invariance; the map derived by hand.
    """

    minutes: ClassVar[float] = 0.5
    tokens: int = option(8, ge=2)
    beta: Float[Array, ""] = parameter(2.0, ge=0)
    overlap: Float[Array, ""] = parameter(0.05, lt=1)
    steps: tuple[float, ...] = option((0.05, 0.2, 0.5, 1.0))
    layers: int = option(100, ge=1)
    control: bool = option(False)
    sources: ClassVar[tuple[str, ...]] = ("geshkovski2023perspective",)

    def data(self) -> xr.Dataset:
        n, beta, start = self.tokens, float(self.beta), float(self.overlap)
        law = pt.Attention(pt.DotProduct(beta))
        network = pt.Flow(pt.Sphere(), law) if self.control else pt.Layers(law, pt.norms.Post())
        x0 = pt.starts.Equiangular(n, n, start)(pt.Sphere(), jax.random.key(0))
        pairs, overlaps, expected = np.triu_indices(n, 1), [], []
        for h in self.steps:
            plan = pt.Plan(h * self.layers, save=self.layers, solver="Euler" if self.control else "Layers", dt=h)
            x = np.asarray(pt.solve(network, x0, plan).complete().tokens)
            overlaps.append(np.einsum("tid,tjd->tij", x, x)[:, *pairs])
            values = [start]
            for _ in range(self.layers):
                values.append(limits.equiangular.layer(values[-1], h, n, beta, projected=False))
            expected.append(values)
        every, exact = np.stack(overlaps), np.asarray(expected)
        symbol = {"symbol": "$g$"}
        return xr.Dataset(
            {
                "overlap": (("step", "layer"), every.mean(-1), symbol | {"long_name": "network"}),
                "map": (("step", "layer"), exact, symbol | {"long_name": "scalar map"}),
                "error": (
                    ("step", "layer"),
                    np.abs(every - exact[:, :, None]).max(-1) + 1e-17,
                    {"symbol": r"$\max_{ij} |g_{ij} - g|$", "long_name": "error"},
                ),
            },
            coords={
                "step": ("step", list(self.steps), {"symbol": "$h$"}),
                "layer": ("layer", np.arange(self.layers + 1), {"symbol": "$k$"}),
            },
        )

    def checks(self, data: xr.Dataset) -> tuple[pt.Check, ...]:
        reason = "rounding of 100 layers"
        return (pt.Check("largest error of an overlap", most(data.error), 0.0, 1e-12, reason),)

    def chart(self, data: xr.Dataset) -> tuple[Panel, ...]:
        return (
            Curves("layer", ("overlap",), ("map",), by="step", title="common overlap"),
            Curves("layer", ("error",), by="step", log="y", title="error"),
        )

    def shrunk(self) -> "DepthExactLayers":
        return dataclasses.replace(self, steps=(0.2, 1.0), layers=30)
