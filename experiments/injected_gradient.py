"""The derivative of a fixed point through the solver that found it."""

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
from particles.experiment import worst


class InjectedGradient(pt.AbstractClaim):
    """Differentiating through the fixed point of infinitely many layers gives its exact derivative.

    Two injected tokens on the line: dy/dc = 1 / (1 - r) with r the rate of odd displacements. The implicit derivative
    needs no pass of the layer to be kept.

    Parameters
    ----------
    injections : c, one fixed point for each.
    slope, value : a and v of the layer x_i -> c_i + v Gamma_X(x_i).
    control : the negative control: the derivative through three passes.

    Source
    ------
    bai2019deep; the value derived by hand.
    """

    minutes: ClassVar[float] = 0.5
    injections: tuple[float, ...] = option((0.3, 0.45, 0.5, 0.54, 0.6, 0.7, 0.9, 1.2, 1.6))
    slope: Float[Array, ""] = parameter(1.0, gt=0)
    value: Float[Array, ""] = parameter(0.6, gt=0, lt=1)
    control: bool = option(False)
    sources: ClassVar[tuple[str, ...]] = ("bai2019deep",)

    def data(self) -> xr.Dataset:
        a, v = float(self.slope), float(self.value)
        attention = pt.Attention(pt.DotProduct(a), value=pt.values.Linear(v))

        def upper(c: jax.Array) -> jax.Array:
            block = limits.fixed_point.Block(attention + pt.Drift(stimulus=c * jnp.asarray([[1.0], [-1.0]])))
            start = jnp.asarray([[1.0], [-1.0]])
            if self.control:
                return block(block(block(start)))[0, 0]
            return limits.fixed_point.fixed_point(block, start, "Newton", tolerance=1e-14).x[0, 0]

        through = jax.jit(jax.vmap(jax.grad(upper)))(jnp.asarray(self.injections))
        exact = [limits.injected.sensitivity(c, v, a) for c in self.injections]
        curve = np.linspace(min(self.injections), max(self.injections), 80)
        symbol = {"symbol": r"$\mathrm{d}y/\mathrm{d}c$"}
        return xr.Dataset(
            {
                "derivative": ("injection", np.asarray(through), symbol | {"long_name": "through the solver"}),
                "exact": ("injection", exact, symbol | {"long_name": r"$1/(1 - r)$"}),
                "curve": (
                    "fine",
                    [limits.injected.sensitivity(c, v, a) for c in curve],
                    symbol | {"long_name": r"$1/(1 - r)$"},
                ),
            },
            coords={
                "injection": ("injection", list(self.injections), {"symbol": "$c$"}),
                "fine": ("fine", curve, {"symbol": "$c$", "long_name": "injection"}),
            },
        )

    def outside(self, data: xr.Dataset) -> str:
        only = limits.injected.unique(float(self.value))
        return "" if only else "The fixed point need not be the only one: v is too large."

    def checks(self, data: xr.Dataset) -> tuple[pt.Check, ...]:
        wrong = worst(data.derivative - data.exact)
        return (pt.Check("error of dy/dc", wrong, 0.0, 1e-7, "tolerance of the residual over 1 - r"),)

    def chart(self, data: xr.Dataset) -> tuple[Panel, ...]:
        return (Curves("injection", ("derivative",), ("curve",), along="fine"),)

    def shrunk(self) -> "InjectedGradient":
        return dataclasses.replace(self, injections=(0.5, 1.2))
