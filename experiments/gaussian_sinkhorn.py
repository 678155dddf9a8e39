"""Gaussian tokens under Sinkhorn attention: what a token sees, and the moments at every depth."""

import dataclasses
from typing import ClassVar

import equinox as eqx
import jax.numpy as jnp
import numpy as np
import xarray as xr
from jaxtyping import Array, Float
from scipy.linalg import expm

import particles as pt
from particles import limits
from particles.chart import Curves, Panel
from particles.declaration import option, parameter
from particles.experiment import worst


class GaussianSinkhorn(pt.AbstractClaim):
    """Under Sinkhorn attention Gaussian tokens see an affine map of known slope, and their mean moves by V alone.

    On the line the variance obeys an implicit formula; in the plane, with values and scores that do not commute, the
    mean is a matrix exponential of V. The slope is that of doubly stochastic weights between tokens on a grid, too.

    Parameters
    ----------
    variance, value : on the line, at depth 0, and v.
    forms : the a of the score a x y on the line, for each member.
    until : the last depth.
    grid : the tokens of the grid, which weigh as a Gaussian does.
    seed : of the matrices in the plane.
    control : the negative control: softmax in place of Sinkhorn.

    Source
    ------
    castin2025unified, for the equations; their solution, for any score, derived by hand.
    """

    minutes: ClassVar[float] = 1.0
    variance: Float[Array, ""] = parameter(0.8, gt=0)
    value: Float[Array, ""] = parameter(0.4, gt=0)
    forms: Float[Array, " m"] = parameter((0.05, 0.1, 0.2, 0.4, 0.7, 1.0, 1.5, 2.0), gt=0)
    until: Float[Array, ""] = parameter(2.0, gt=0)
    frames: int = option(16, ge=2)
    grid: int = option(400, ge=2)
    seed: int = option(0, ge=0)
    control: bool = option(False)
    sources: ClassVar[tuple[str, ...]] = ("castin2025unified",)

    def data(self) -> xr.Dataset:
        s, normalizer = {"symbol": "$s$"}, pt.Softmax() if self.control else pt.Sinkhorn()
        depth, line, expected, plane, mean = self._followed(normalizer)
        seen, slope = self._grid(normalizer)
        means, slopes = {"symbol": "$m$"}, {"symbol": "$N$"}
        return xr.Dataset(
            {
                "variance": (("depth", "form"), line, s | {"long_name": "moments followed"}),
                "law": (("depth", "form"), expected, s | {"long_name": "formula"}),
                "mean": (("depth", "axis"), plane, means | {"long_name": "moments followed"}),
                "mean_law": (("depth", "axis"), mean, means | {"long_name": "exponential"}),
                "slope": ("form", seen, slopes | {"long_name": "tokens on a grid"}),
                "slope_law": ("form", slope, slopes | {"long_name": "formula"}),
            },
            coords={
                "depth": ("depth", depth, {"long_name": "depth", "symbol": "$t$"}),
                "form": ("form", np.asarray(self.forms), {"long_name": "form", "symbol": "$a$"}),
                "axis": ("axis", [1, 2], {"long_name": "coordinate", "symbol": "$i$"}),
            },
        )

    def _followed(self, normalizer: pt.normalizers.AbstractNormalizer) -> tuple[np.ndarray, ...]:
        """Depths; the variance on the line, followed and by the formula; the mean in the plane, likewise.

        What is on the line is followed in the plane, on its first axis, so that all is one program.
        """
        start, value, forms = float(self.variance), float(self.value), np.asarray(self.forms)
        rng = np.random.default_rng(self.seed)
        form, matrix, root, mean = rng.normal(size=(2, 2)), rng.normal(size=(2, 2)), rng.normal(size=(2, 2)), np.ones(2)
        every_form = jnp.asarray([*(a * np.eye(2) for a in forms), form])
        every_value = jnp.asarray([*(value * np.eye(2) for _ in forms), matrix])
        lines = [limits.stacked(np.zeros(2), start * np.eye(2))] * len(forms)
        states = jnp.stack([*lines, limits.stacked(mean, root @ root.T / 4 + 0.2 * np.eye(2))])
        plan = pt.Plan(self.until, save=self.frames, solver="Dopri8", rtol=1e-12, atol=1e-14)

        def follow(form: Float[Array, "2 2"], value: Float[Array, "2 2"], state: Float[Array, "3 2"]) -> pt.Run:
            law = pt.Attention(pt.DotProduct(form=form), normalizer=normalizer, value=pt.values.Linear(value))
            return pt.solve(limits.GaussianFlow(law), state, plan)

        run = eqx.filter_vmap(follow)(every_form, every_value, states).complete()
        depth, tokens = np.asarray(run.times)[0], np.asarray(run.tokens)
        formula = [limits.gaussian_exact.sinkhorn_variance(depth, start, value, a) for a in forms]
        exponential = np.stack([expm(t * matrix) @ mean for t in depth])
        return depth, tokens[:-1, :, 1, 0].T, np.stack(formula, axis=1), tokens[-1, :, 0], exponential

    def _grid(self, normalizer: pt.normalizers.AbstractNormalizer) -> tuple[np.ndarray, ...]:
        """The slope of what tokens on a grid see, and that of the formula, for each form."""
        spread = np.sqrt(float(self.variance))
        x = spread * np.linspace(-7, 7, self.grid)[:, None]
        masses = np.exp(-(x[:, 0] ** 2) / (2 * float(self.variance)))
        inner, formula = np.abs(x[:, 0]) < spread, []

        def seen(form: Float[Array, ""]) -> Float[Array, "n d"]:
            law = pt.Attention(pt.DotProduct(form), pt.Masses(masses / masses.sum()), normalizer)
            return law(jnp.zeros(()), jnp.asarray(x), pt.Dense())

        velocities = np.asarray(eqx.filter_jit(eqx.filter_vmap(seen))(jnp.asarray(self.forms)))[:, inner, 0]
        for a in np.asarray(self.forms):
            _, slope = limits.gaussian_exact.sinkhorn_seen(a * np.eye(1))(np.zeros(1), float(self.variance) * np.eye(1))
            formula.append(slope[0, 0])
        return velocities @ x[inner, 0] / np.sum(x[inner, 0] ** 2), np.asarray(formula)

    def checks(self, data: xr.Dataset) -> tuple[pt.Check, ...]:
        variance = worst(data.variance / data.law - 1)
        slope = worst(data.slope / data.slope_law - 1)
        mean = float(np.abs(data["mean"] - data.mean_law).max())
        reason = "a hundred times the error of a step"
        return (
            pt.Check("variance on the line, relative error", variance, 0, 1e-9, reason),
            pt.Check("mean in the plane, error", mean, 0, 1e-9, reason),
            pt.Check("slope on a grid, relative error", slope, 0, 1e-4, "the tolerance of Sinkhorn's sweeps"),
        )

    def chart(self, data: xr.Dataset) -> tuple[Panel, ...]:
        return (
            Curves("depth", ("variance",), ("law",), by="form", log="y", title="variance on the line"),
            Curves("depth", ("mean",), ("mean_law",), by="axis", title="mean in the plane"),
            Curves("form", ("slope",), ("slope_law",), title="what a token sees"),
        )

    def shrunk(self) -> "GaussianSinkhorn":
        return dataclasses.replace(self, forms=self.forms[:2], frames=4, grid=100)
