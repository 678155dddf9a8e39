"""How well inputs are recovered from outputs: of a flow, by running it backwards, and of residual layers."""

import itertools
from typing import ClassVar

import jax.numpy as jnp
import numpy as np
import xarray as xr

from ..analysis.inversion import backward, contraction, inverted, reconstruction
from ..analysis.token_map import LawMap
from ..chart import Curves, Panel
from ..declaration import as_float, option
from ..dynamics import AbstractFlow
from ..experiment import Check, Sense, most
from ..integration import Plan
from ..starts import AbstractStart
from .base import AbstractFlowStudy

FRAMES = 8  # depths at which the size of the cloud is looked at
ROUNDING = 1e-13  # of the size of the tokens: what no iteration can better
RESIDUAL = {"symbol": "$|X_{k+1} - X_k| / |Y|$"}
ERROR = {"symbol": r"$\max_i |\hat x_i - x_i|$"}


class Invertible(AbstractFlowStudy):
    """Inputs are recovered from outputs: those of a flow to its tolerance stretched, those of a layer at a proved rate.

    The flow is followed to a depth and back. Beside it stand residual layers x + s Gamma(x) of the same law in ambient
    space, undone by X <- Y - s Gamma(X).

    Parameters
    ----------
    start, flow : what is followed; of first order, on a space without a boundary.
    depths : how far.
    tolerances : of the solver, relative and absolute.
    solver : with error estimate.
    steps : s of the layers.
    sweeps : of the iteration, for each layer.
    tolerance : of its residual, relative.
    name, seed : of the study, and of the start.

    Source
    ------
    behrmann2019invertible; the flow, chen2018neural; bounds derived by hand.
    """

    start: AbstractStart
    flow: AbstractFlow
    depths: tuple[float, ...] = option((0.5, 1.0, 1.5, 2.0, 2.5, 3.0), gt=0)
    tolerances: tuple[float, ...] = option((1e-4, 1e-6, 1e-8, 1e-10), gt=0)
    solver: str = option("Tsit5")
    steps: tuple[float, ...] = option((0.1, 0.2, 0.3), gt=0)
    sweeps: int = option(60, ge=1)
    tolerance: float = option(1e-14, gt=0)
    name: str = option("invertible")
    seed: int = option(0, ge=0)
    minutes: ClassVar[float] = 1.0
    sources: ClassVar[tuple[str, ...]] = ("behrmann2019invertible", "chen2018neural")

    def __check_init__(self):
        if not (self.depths and self.tolerances and self.steps):
            raise ValueError("`depths`, `tolerances` and `steps` must each have an entry")
        self._plan(self.depths[0], self.tolerances[0]).check_flow(backward(self.flow, max(self.depths)))

    def _plan(self, depth: float, tolerance: float) -> Plan:
        near = as_float(tolerance)
        return Plan(as_float(depth), save=FRAMES, solver=self.solver, rtol=near, atol=near)

    def data(self) -> xr.Dataset:
        x0 = self.first()
        ways = [
            reconstruction(self.flow, x0, self._plan(depth, tolerance))
            for depth, tolerance in itertools.product(self.depths, self.tolerances)
        ]
        shape, at = (len(self.depths), len(self.tolerances)), ("depth", "tolerance")
        table = lambda values: (at, np.reshape(values, shape))  # noqa: E731
        flow = {
            "error": (*table([way.error for way in ways]), ERROR | {"long_name": "measured"}),
            "error_bound": (*table([way.bound for way in ways]), ERROR | {"long_name": "at most"}),
            "flow_converged": (*table([way.converged for way in ways]), {"long_name": "whether both ways were gone"}),
        }
        return xr.Dataset(
            flow | self._layers(x0),
            coords={
                "depth": ("depth", list(self.depths), {"symbol": "$T$", "long_name": "depth"}),
                "tolerance": ("tolerance", [f"{one:g}" for one in self.tolerances], {"long_name": "tolerance"}),
                "sweep": ("sweep", np.arange(self.sweeps + 1), {"symbol": "$k$", "long_name": "sweeps"}),
                "step": ("step", [f"{one:g}" for one in self.steps], {"symbol": "$s$", "long_name": "step"}),
            },
        )

    def _layers(self, x0: jnp.ndarray) -> dict[str, tuple]:
        """What came of undoing each layer."""
        branch, residuals, factors, errors, met = LawMap(self.flow), [], [], [], []
        for step in self.steps:
            y = x0 + step * branch(x0)
            found = inverted(branch, y, as_float(step), self.tolerance, self.sweeps)
            try:
                factors.append(contraction(self.flow.law.at(jnp.zeros(())), y, step).factor)
            except ValueError:  # no bound is proved for this law
                factors.append(np.nan)
            residuals.append(np.asarray(found.residuals))
            size = jnp.max(jnp.linalg.norm(y, axis=1))
            errors.append(float(jnp.max(jnp.linalg.norm(found.tokens - x0, axis=1)) / size))
            met.append(bool(found.converged))
        residual, factor = np.stack(residuals, axis=1), np.asarray(factors)
        bound = residual[:1] * factor[None, :] ** np.arange(self.sweeps + 1)[:, None]
        bound = np.where(np.isfinite(residual), bound, np.nan)
        return {
            "residual": (("sweep", "step"), residual, RESIDUAL | {"long_name": "measured"}),
            "residual_bound": (("sweep", "step"), bound, RESIDUAL | {"long_name": "at most"}),
            "factor": ("step", factor, {"symbol": "$q$", "long_name": "proved factor"}),
            "left": ("step", errors, {"long_name": "distance from the input, over the size of the output"}),
            "layer_converged": ("step", met, {"long_name": "whether the residual met its tolerance"}),
        }

    def outside(self, data: xr.Dataset) -> str:
        largest = np.max(np.nan_to_num(data.factor.values, posinf=np.inf))
        return "" if largest < 1 else f"A layer need not be invertible: the proved factor is {largest:.4g}."

    def checks(self, data: xr.Dataset) -> tuple[Check, ...]:
        found = []
        if np.all(np.isfinite(data.error_bound)):
            reason = "an inequality, where every step keeps its tolerance"
            words = "error of the flow there and back, over its bound"
            found.append(Check(words, most(data.error / data.error_bound), 1.0, 1e-9, reason, Sense.at_most))
        if np.all(np.isfinite(data.factor)):
            reason, seen = "an inequality; rounding", np.isfinite(data.residual.values[1:])
            ratio = (data.residual / (data.residual_bound + ROUNDING)).values[1:][seen]
            found.append(Check("residual over its bound", most(ratio), 1.0, 1e-9, reason, Sense.at_most))
            allowed = (self.tolerance + ROUNDING) / (1 - data.factor)
            words = "distance from the input of a layer, over its bound"
            found.append(Check(words, most(data.left / allowed), 1.0, 1e-9, reason, Sense.at_most))
        return tuple(found)

    def chart(self, data: xr.Dataset) -> tuple[Panel, ...]:
        return (
            Curves(
                "depth", ("error",), bounds=("error_bound",), by="tolerance", log="y", title="a flow, there and back"
            ),
            Curves("sweep", ("residual",), bounds=("residual_bound",), by="step", log="y", title="layers, undone"),
        )

    def shrunk(self) -> "Invertible":
        return self.small(
            depths=tuple(min(depth, 1.0) for depth in self.depths[:2]),
            tolerances=self.tolerances[-2:],
            steps=self.steps[:1],
        )
