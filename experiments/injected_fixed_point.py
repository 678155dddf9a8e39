"""Input injection: distinct tokens survive infinite depth, at a known place, reached at a known rate."""

import dataclasses
from typing import ClassVar

import jax.numpy as jnp
import numpy as np
import xarray as xr
from jaxtyping import Array, Float

import particles as pt
from particles import limits
from particles.chart import Curves, Panel
from particles.declaration import option, parameter
from particles.experiment import worst


class InjectedFixedPoint(pt.AbstractClaim):
    """Two injected tokens stay apart through infinitely many layers, at a place and with a rate that are known.

    The layer x_i -> c_i + v Gamma_X(x_i) with c = +-c on the line has the fixed point +-y, y = c + v y tanh(a y^2); a
    generic start approaches it at the larger of the rates of odd and even displacements.

    Parameters
    ----------
    slopes : a, of the logits a x y; one fixed point for each.
    value : v.
    injection : c.
    passes : the number of layers.
    control : the negative control: attention is not normalized.

    Source
    ------
    bai2019deep, for the model; place and rates derived by hand.
    """

    minutes: ClassVar[float] = 0.5
    slopes: tuple[float, ...] = option((0.25, 0.5, 1.0, 2.0, 3.0))
    value: Float[Array, ""] = parameter(0.6, gt=0)
    injection: Float[Array, ""] = parameter(0.7, gt=0)
    passes: int = option(150, ge=20)
    control: bool = option(False)
    sources: ClassVar[tuple[str, ...]] = ("bai2019deep",)

    def data(self) -> xr.Dataset:
        c, v = float(self.injection), float(self.value)
        injected = pt.Drift(stimulus=[[c], [-c]])
        ends, residuals, spectra = [], [], []
        for a in self.slopes:
            normalizer = pt.Mean() if self.control else pt.Softmax()
            law = pt.Attention(pt.DotProduct(a), normalizer=normalizer, value=pt.values.Linear(v)) + injected
            block = limits.fixed_point.Block(law)
            found = limits.fixed_point.fixed_point(
                block, jnp.asarray([[1.0], [0.1]]), tolerance=1e-14, passes=self.passes
            )
            ends.append(np.asarray(found.x)[:, 0])
            residuals.append(np.asarray(found.residuals))
            spectra.append(np.sort(np.abs(limits.fixed_point.spectrum(block, found.x)))[::-1])
        expected = [limits.injected.place(c, v, a) for a in self.slopes]
        rates = np.asarray([limits.injected.rates(c, v, a) for a in self.slopes])
        fine = np.linspace(min(self.slopes), max(self.slopes), 80)
        places = np.outer([limits.injected.place(c, v, a) for a in fine], [1, -1])
        curves = np.asarray([limits.injected.rates(c, v, a) for a in fine])
        measured = [limits.fixed_point.asymptotic_rate(r) for r in residuals]
        place, rate = {"symbol": "$x$"}, {"symbol": r"$\rho$"}
        return xr.Dataset(
            {
                "place": (("slope", "token"), np.asarray(ends), place | {"long_name": "tokens"}),
                "root": (("slope", "token"), np.outer(expected, [1, -1]), place | {"long_name": r"$\pm y$"}),
                "places": (("fine", "token"), places, place | {"long_name": r"$\pm y$"}),
                "measured": ("slope", measured, rate | {"long_name": "measured rate"}),
                "radius": ("slope", [s[0] for s in spectra], rate | {"long_name": "spectral radius"}),
                "rate": ("slope", rates.max(axis=1), rate | {"long_name": "larger rate"}),
                "odd": ("fine", curves[:, 0], rate | {"long_name": "odd displacements"}),
                "even": ("fine", curves[:, 1], rate | {"long_name": "even displacements"}),
                "residual": (("layer", "slope"), np.asarray(residuals).T, {"symbol": "$|T(x)-x|/|x|$"}),
            },
            coords={
                "slope": ("slope", list(self.slopes), {"symbol": "$a$", "long_name": "slope of the logits"}),
                "fine": ("fine", fine, {"symbol": "$a$", "long_name": "slope of the logits"}),
                "layer": ("layer", np.arange(self.passes + 1), {"symbol": "$k$"}),
            },
        )

    def outside(self, data: xr.Dataset) -> str:
        only = limits.injected.unique(float(self.value))
        return "" if only else "The fixed point need not be the only one: v is too large."

    def checks(self, data: xr.Dataset) -> tuple[pt.Check, ...]:
        rate = data.rate
        wrong = worst(data.measured / rate - 1)
        return (
            pt.Check("error of the place", worst(data.place - data.root), 0.0, 1e-10, "residual 1e-14"),
            pt.Check("relative error of the rate", wrong, 0.0, 5e-3, "the slower mode has died"),
            pt.Check(
                "relative error of the spectral radius",
                worst(data.radius / rate - 1),
                0.0,
                1e-9,
                "a derivative at the fixed point",
            ),
        )

    def chart(self, data: xr.Dataset) -> tuple[Panel, ...]:
        return (
            Curves("slope", ("place",), ("places",), title="where the tokens end", along="fine"),
            Curves("slope", ("measured", "radius"), ("odd", "even"), title="rate of approach", along="fine"),
            Curves("layer", ("residual",), by="slope", log="y", title="residual"),
        )

    def shrunk(self) -> "InjectedFixedPoint":
        return dataclasses.replace(self, slopes=(0.5, 2.0))
