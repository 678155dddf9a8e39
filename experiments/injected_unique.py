"""Input injection below the contraction threshold: one fixed point, however it is looked for."""

import dataclasses
from typing import ClassVar

import jax
import jax.numpy as jnp
import numpy as np
import xarray as xr
from jaxtyping import Array, Float

import particles as pt
from particles import limits
from particles.analysis import bounds
from particles.chart import Curves, Panel
from particles.declaration import option, parameter
from particles.experiment import most, worst


class InjectedUnique(pt.AbstractClaim):
    """A contracting layer with injection has one fixed point: iteration, Newton and the steady flow agree on it.

    x_i -> c_i + s Gamma_X(x_i) contracts in the largest displacement if s v (1 + 2 a R^2) is below 1, on the ball of
    radius R = max |c_i| / (1 - s v). The steady state of x' = -x + c_i + s Gamma_X(x) is the same point.

    Parameters
    ----------
    tokens, dim, starts : how many tokens, in what dimension, from how many random starts.
    value : s v, the norm of the value matrix.
    slope : a, the norm of the logits' matrix.
    seed : of matrices, injections and starts.
    control : the negative control: the value matrix is five times as large, and starts part.

    Source
    ------
    bai2019deep, for the model; the contraction derived by hand.
    """

    minutes: ClassVar[float] = 1.0
    tokens: int = option(24, ge=2)
    dim: int = option(3, ge=1)
    starts: int = option(6, ge=2)
    value: Float[Array, ""] = parameter(0.5, gt=0)
    slope: Float[Array, ""] = parameter(0.1, ge=0)
    seed: int = option(0, ge=0)
    control: bool = option(False)
    sources: ClassVar[tuple[str, ...]] = ("bai2019deep",)

    def data(self) -> xr.Dataset:
        rng, n, d = np.random.default_rng(self.seed), self.tokens, self.dim
        unit = lambda a: a / np.linalg.norm(a, 2)  # noqa: E731
        form, value = (
            float(self.slope) * unit(rng.normal(size=(d, d))),
            float(self.value) * unit(rng.normal(size=(d, d))),
        )
        value *= 5.0 if self.control else 1.0
        c = rng.normal(size=(n, d))
        c /= np.linalg.norm(c, axis=1).max()
        law = pt.Attention(pt.DotProduct(1.0, form=form), value=pt.values.Linear(value))
        block = limits.fixed_point.Block(law + pt.Drift(stimulus=c))
        radius = 1 / (1 - float(self.value)) if self.value < 1 else 1.0
        x0 = pt.Ball(radius).uniform(jax.random.key(self.seed), self.starts * n, d).reshape(self.starts, n, d)
        iterated = jax.vmap(lambda x: limits.fixed_point.fixed_point(block, x, passes=60))(x0)
        newton = jax.vmap(lambda x: limits.fixed_point.fixed_point(block, x, "Newton", passes=12))(x0[:2])
        flow = pt.Flow(pt.Euclidean(), law + pt.Drift(stimulus=c, confinement=1.0))
        steady = pt.solve(flow, x0[0], pt.Plan(60.0, save=1, rtol=1e-9, atol=1e-11, solver="Dopri8")).complete().final
        ends = np.concatenate([np.asarray(iterated.x), np.asarray(newton.x), np.asarray(steady)[None]])
        far = np.abs(ends - ends[0]).max(axis=(1, 2))
        residual = {"symbol": "$|T(x)-x|/|x|$"}
        passes = np.arange(61)
        clouds = np.asarray(jax.vmap(lambda x: limits.fixed_point.passed(block, x, 20))(x0))
        moved = np.linalg.norm(np.diff(clouds, axis=1), axis=-1).max(axis=-1)
        step = {"symbol": r"$|x^{k+1} - x^k| / |x^k - x^{k-1}|$"}
        short = np.full((61, 2), np.nan)
        short[:13] = np.asarray(newton.residuals).T
        return xr.Dataset(
            {
                "iteration": (
                    ("layer", "start"),
                    np.asarray(iterated.residuals).T,
                    residual | {"long_name": "iteration"},
                ),
                "newton": (("layer", "second"), short, residual | {"long_name": "Newton"}),
                "ratio": (("pass", "start"), (moved[:, 1:] / moved[:, :-1]).T, step | {"long_name": "measured"}),
                "factor": ("pass", np.full(19, self._factor()), step | {"long_name": "proved"}),
                "apart": ("way", far, {"long_name": "distance to the first end"}),
                "last": ("way", [float(limits.fixed_point.residual_of(block, jnp.asarray(x))) for x in ends]),
            },
            coords={
                "layer": ("layer", passes, {"symbol": "$k$", "long_name": "pass"}),
                "pass": ("pass", np.arange(1, 20), {"symbol": "$k$", "long_name": "pass"}),
            },
        )

    def _factor(self) -> float:
        radius = 1 / (1 - float(self.value))
        return bounds.displacement_bound(float(self.slope), float(self.value), radius)

    def outside(self, data: xr.Dataset) -> str:
        factor = self._factor() if float(self.value) < 1 else np.inf
        return "" if factor < 1 else f"The layer must contract; the proved factor is {factor:g}."

    def checks(self, data: xr.Dataset) -> tuple[pt.Check, ...]:
        wrong = most(data.apart)
        ratio, factor = worst(data.ratio), float(data.factor[0])
        return (
            pt.Check("largest distance between the ends", wrong, 0.0, 1e-8, "tolerances over 1 - rho"),
            pt.Check(
                "largest ratio of displacements", ratio, factor, 1e-9, "an inequality; rounding", pt.Sense.at_most
            ),
            pt.Check("largest residual", most(data["last"]), 0.0, 1e-8, "tolerance of the flow"),
        )

    def chart(self, data: xr.Dataset) -> tuple[Panel, ...]:
        return (
            Curves("layer", ("iteration", "newton"), log="y", title="residual"),
            Curves("pass", ("ratio",), bounds=("factor",), title="contraction of displacements"),
        )

    def shrunk(self) -> "InjectedUnique":
        return dataclasses.replace(self, tokens=8, starts=2)
