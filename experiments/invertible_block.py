"""Contracting residual layers, and flows, are undone."""

import dataclasses
from typing import ClassVar

import jax
import jax.numpy as jnp
import numpy as np
import xarray as xr
from jaxtyping import Array, Float

import particles as pt
from particles.analysis import LawMap, bounds
from particles.analysis.inversion import inverted, reconstruction
from particles.chart import Curves, Panel
from particles.declaration import as_float, option, parameter
from particles.experiment import most

END = 1e-14  # of the size of the tokens: the residual at which an iteration ends
FLOOR = 1e-13  # of the size of the tokens: residuals below are rounding


class InvertibleBlock(pt.AbstractClaim):
    """Residual attention layers that contract, and flows, give back their inputs, as fast and as exactly as is proved.

    A layer Y = X + s Gamma(X) with q = s v (1 + 2 a R^2) below 1 on the ball of radius R = R_Y / (1 - s v), which the
    iteration X <- Y - s Gamma(X) does not leave, is undone at the rate q. A flow on the sphere is undone by running it
    backwards, with an error of at most its steps times their tolerance times e^(v (2 + 2 a) T).

    Parameters
    ----------
    tokens, dim : of a uniform start on the sphere.
    slope, value : a and v, the norms of the logits' and the value matrix, multiples of rotations.
    steps : s of the layers.
    sweeps : of the iteration.
    depths, tolerance : T of the flows, and of their solver's steps, relative and absolute.
    seed : of matrices and start.
    control : the negative control: the value matrix is four times what the bounds are told.

    Source
    ------
    vuckovic2021regularity, behrmann2019invertible; constants derived by hand.
    """

    minutes: ClassVar[float] = 1.0
    tokens: int = option(24, ge=2)
    dim: int = option(3, ge=2)
    slope: Float[Array, ""] = parameter(0.3, gt=0)
    value: Float[Array, ""] = parameter(1.0, gt=0)
    steps: tuple[float, ...] = option((0.1, 0.2, 0.3), gt=0)
    sweeps: int = option(60, ge=1)
    depths: tuple[float, ...] = option((0.5, 1.0, 1.5, 2.0, 2.5, 3.0), gt=0)
    tolerance: Float[Array, ""] = parameter(1e-11, gt=0)
    seed: int = option(0, ge=0)
    control: bool = option(False)
    sources: ClassVar[tuple[str, ...]] = ("vuckovic2021regularity", "behrmann2019invertible")

    def data(self) -> xr.Dataset:
        rng, d = np.random.default_rng(self.seed), self.dim
        form, value = (np.linalg.qr(rng.normal(size=(d, d)))[0] for _ in range(2))
        form, value = float(self.slope) * form, float(self.value) * (4 if self.control else 1) * value
        law = pt.Attention(pt.DotProduct(1.0, form=form), value=pt.values.Linear(value))
        x0 = pt.Sphere().uniform(jax.random.key(self.seed), self.tokens, d)
        residual = {"symbol": "$|X_{k+1} - X_k| / |Y|$"}
        error = {"symbol": r"$\max_i |\hat x_i - x_i|$"}
        residuals, rates, left = self._layers(LawMap(pt.Flow(pt.Euclidean(), law)), x0)
        wrong, allowed = self._flows(pt.Flow(pt.Sphere(), law), x0)
        bound = residuals[:1] * rates ** np.arange(self.sweeps + 1)[:, None]
        bound = np.where(np.isfinite(residuals), bound, np.nan)
        return xr.Dataset(
            {
                "residual": (("sweep", "step"), residuals, residual | {"long_name": "measured"}),
                "residual_bound": (("sweep", "step"), bound, residual | {"long_name": "at most"}),
                "rate": ("step", rates, {"symbol": "$q$", "long_name": "proved factor"}),
                "left": ("step", left, {"long_name": "distance from the input of a layer"}),
                "error": ("depth", wrong, error | {"long_name": "measured"}),
                "error_bound": ("depth", allowed, error | {"long_name": "at most"}),
            },
            coords={
                "sweep": ("sweep", np.arange(self.sweeps + 1), {"symbol": "$k$", "long_name": "sweeps"}),
                "step": ("step", list(self.steps), {"symbol": "$s$", "long_name": "step"}),
                "depth": ("depth", list(self.depths), {"symbol": "$T$", "long_name": "depth"}),
            },
        )

    def _layers(self, branch: LawMap, x0: Float[Array, "n d"]) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Of every layer: residuals of all sweeps, the proved factor, and how far the end is from the input."""
        residuals, rates, left = [], [], []
        for step in self.steps:
            y = x0 + step * branch(x0)
            found = inverted(branch, y, as_float(step), END, self.sweeps)
            residuals.append(np.asarray(found.residuals))
            rates.append(self._factor(step, float(jnp.max(jnp.linalg.norm(y, axis=1)))))
            left.append(float(jnp.max(jnp.linalg.norm(found.tokens - x0, axis=1))))
        return np.stack(residuals, axis=1), np.asarray(rates), np.asarray(left)

    def _factor(self, step: float, size: float) -> float:
        """The proved factor of a layer behind which tokens have at most some size."""
        kept = 1 - step * float(self.value)
        if kept <= 0:
            return np.inf
        return step * bounds.displacement_bound(float(self.slope), float(self.value), size / kept)

    def _flows(self, flow: pt.Flow, x0: Float[Array, "n d"]) -> tuple[np.ndarray, np.ndarray]:
        """Of every depth: the error of the way there and back, and what it is at most."""
        rate = bounds.sphere_bound(float(self.slope), float(self.value))
        errors, allowed = [], []
        for depth in self.depths:
            plan = pt.Plan(as_float(depth), save=1, solver="Dopri8", rtol=self.tolerance, atol=self.tolerance)
            found = reconstruction(flow, x0, plan)
            if not found.converged:
                raise pt.Failed(f"the flow was not followed to depth {depth:g} and back")
            errors.append(found.error)
            allowed.append(found.steps * 2 * np.sqrt(self.dim) * float(self.tolerance) * np.exp(rate * depth))
        return np.asarray(errors), np.asarray(allowed)

    def outside(self, data: xr.Dataset) -> str:
        largest = most([self._factor(step, 1 + step * float(self.value)) for step in self.steps])
        return "" if largest < 1 else f"A layer must contract on its ball; the proved factor may be {largest:.4g}."

    def checks(self, data: xr.Dataset) -> tuple[pt.Check, ...]:
        slack = "an inequality; rounding"
        made = np.isfinite(data.residual.values[1:])
        ratio = most((data.residual / (data.residual_bound + FLOOR)).values[1:][made])
        stretched = most(data.error / data.error_bound)
        words = "an inequality, where every step keeps its tolerance"
        return (
            pt.Check("residual of a layer over its bound", ratio, 1, 1e-9, slack, pt.Sense.at_most),
            pt.Check("distance from the input of a layer", most(data.left), 0, 1e-10, "rounding over 1 - q"),
            pt.Check("error of a flow over its bound", stretched, 1, 1e-9, words, pt.Sense.at_most),
            pt.Check("error of a flow", most(data.error), 0, 1e-7, "the tolerance, stretched on the way back"),
        )

    def chart(self, data: xr.Dataset) -> tuple[Panel, ...]:
        return (
            Curves("sweep", ("residual",), bounds=("residual_bound",), by="step", log="y", title="layers"),
            Curves("depth", ("error",), bounds=("error_bound",), log="y", title="flow, there and back"),
        )

    def shrunk(self) -> "InvertibleBlock":
        return dataclasses.replace(self, tokens=8, steps=(0.2,), depths=(1.0,), sweeps=40)
