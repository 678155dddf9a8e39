"""Depth to infinity at a fixed end, on tokens for which the network needs no solver either."""

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


class DepthEuler(pt.AbstractClaim):
    """A network of L weight-shared layers of step T/L is off the flow by c T/L, with a constant c that is known.

    Equiangular tokens on the sphere: the overlap behind every layer, and that of the flow, are known exactly. The slope
    of the error against L is -1, and L times the error over T tends to the constant of the modified equation.

    Parameters
    ----------
    tokens, beta, overlap : of the equiangular start and of softmax attention.
    until : the depth T.
    layers : the numbers L; the constant is read off the largest.
    control : the negative control: layers that normalize x + h A(x) without projecting A, whose constant is another.

    Source
    ------
    lu2020understanding, for layers as steps of a flow; the constant derived by hand.
    """

    tokens: int = option(8, ge=2)
    beta: Float[Array, ""] = parameter(2.0, ge=0)
    overlap: Float[Array, ""] = parameter(0.1, lt=1)
    until: Float[Array, ""] = parameter(2.0, gt=0)
    layers: tuple[int, ...] = option((16, 32, 64, 128, 256, 512, 1024))
    control: bool = option(False)
    sources: ClassVar[tuple[str, ...]] = ("lu2020understanding",)

    def data(self) -> xr.Dataset:
        n, beta, until, start = self.tokens, float(self.beta), float(self.until), float(self.overlap)
        law = pt.Attention(pt.DotProduct(beta))
        x0 = pt.starts.Equiangular(n, n, start)(pt.Sphere(), jax.random.key(0))
        exact = limits.equiangular.overlap(until, start, n, beta)
        constant = limits.equiangular.leading_constant(start, until, n, beta)
        solver = "EulerNormalize" if self.control else "Euler"
        overlaps = []
        for count in self.layers:
            plan = pt.Plan(until, save=1, solver=solver, dt=until / count)
            x = pt.solve(pt.Flow(pt.Sphere(), law), x0, plan).complete().final
            overlaps.append(float(jnp.mean((x @ x.T)[np.triu_indices(n, 1)])))
        layers, error = np.asarray(self.layers), np.asarray(overlaps) - exact
        words = {"symbol": r"$|g_L - g(T)|$"}
        scaled = {"symbol": r"$L\,(g_L - g(T))/T$"}
        return xr.Dataset(
            {
                "error": ("layers", np.abs(error), words | {"long_name": "network"}),
                "law": ("layers", abs(constant) * until / layers, words | {"long_name": "leading term"}),
                "scaled": ("layers", layers * error / until, scaled | {"long_name": "network"}),
                "constant": ("layers", np.full(len(layers), constant), scaled | {"long_name": "leading constant"}),
            },
            coords={"layers": ("layers", layers, {"symbol": "$L$"})},
        )

    def checks(self, data: xr.Dataset) -> tuple[pt.Check, ...]:
        slope = limits.depth.slope(data.layers.values, data.error.values)
        constant = float(data.constant[-1])
        return (
            pt.Check("slope of the error in L", slope, -1.0, 0.05, "the next term is of order 1/L"),
            pt.Check(
                "L error / T at the largest L",
                float(data.scaled[-1]),
                constant,
                10 / float(data.layers[-1]) * abs(constant),
                "the next term is of order 1/L",
            ),
        )

    def chart(self, data: xr.Dataset) -> tuple[Panel, ...]:
        return (
            Curves("layers", ("error",), ("law",), log="xy", title="error of the overlap"),
            Curves("layers", ("scaled",), ("constant",), log="x", title="leading constant"),
        )

    def shrunk(self) -> "DepthEuler":
        return dataclasses.replace(self, layers=(128, 256, 512))
