"""How exactly each method follows a flow for the work that it takes."""

from typing import ClassVar

import equinox as eqx
import jax.numpy as jnp
import numpy as np
import xarray as xr
from jaxtyping import Array, Float

from ..chart import Curves, Panel, fitted
from ..declaration import option, parameter
from ..dynamics import AbstractFlow
from ..integration import Plan, solve
from ..starts import AbstractStart
from .base import AbstractFlowStudy

_solved = eqx.filter_jit(solve)
"""One program for each method, whatever the tolerance."""


class WorkPrecision(AbstractFlowStudy):
    """The error of a method falls with its steps as a power that is its order, where steps are small enough.

    Parameters
    ----------
    start, flow : what is followed.
    until : how far.
    solvers : names of adaptive methods.
    tolerances : relative tolerances, each with a thousandth of it as absolute one.
    reference : the tolerance of the run with Dopri8 that errors are measured from; well below all others.
    name, seed : of the study, and of the start.

    Source
    ------
    hairer1993solving.
    """

    start: AbstractStart
    flow: AbstractFlow
    until: Float[Array, ""] = parameter(5.0, gt=0)
    solvers: tuple[str, ...] = option(("Heun", "Bosh3", "Dopri5", "Tsit5", "Dopri8"))
    tolerances: tuple[float, ...] = option((1e-3, 1e-4, 1e-5, 1e-6, 1e-7, 1e-8), gt=0)
    reference: float = option(1e-12, gt=0)
    name: str = option("work_precision")
    seed: int = option(0, ge=0)
    minutes: ClassVar[float] = 1.0
    sources: ClassVar[tuple[str, ...]] = ("hairer1993solving",)

    def __check_init__(self):
        super().__check_init__()
        for solver in self.solvers:
            self._plan(solver, 1e-3).check_flow(self.flow)

    def data(self) -> xr.Dataset:
        x0 = self.first()
        exact = _solved(self.flow, x0, self._plan("Dopri8", self.reference)).complete().final
        shape = len(self.solvers), len(self.tolerances)
        steps, error = np.zeros(shape), np.zeros(shape)
        for i, solver in enumerate(self.solvers):
            for j, tolerance in enumerate(self.tolerances):
                run = _solved(self.flow, x0, self._plan(solver, tolerance)).complete()
                steps[i, j] = float(run.steps)
                error[i, j] = float(jnp.max(jnp.linalg.norm(run.final - exact, axis=1)))
        at = ("solver", "tolerance")
        slopes = [fitted(*each) for each in zip(steps, error, strict=True)]
        return xr.Dataset(
            {
                "steps": (at, steps, {"long_name": "steps tried"}),
                "error": (at, error, {"long_name": "error of a token", "symbol": r"$|x_i - x_i^*|$"}),
                "slope": ("solver", slopes, {"long_name": "fitted slope"}),
                "line": ("tolerance", np.asarray(self.tolerances), {"long_name": "tolerance"}),
            },
            coords={
                "solver": ("solver", np.asarray(self.solvers), {"symbol": "solver"}),
                "tolerance": ("tolerance", np.asarray(self.tolerances), {"long_name": "tolerance"}),
            },
        )

    def chart(self, data: xr.Dataset) -> tuple[Panel, ...]:
        return (
            Curves("steps", ("error",), by="solver", log="xy", fits=("slope",), title="work and precision"),
            Curves("tolerance", ("error",), bounds=("line",), by="solver", log="xy", title="what a tolerance gives"),
        )

    def _plan(self, solver: str, tolerance: float) -> Plan:
        rtol = jnp.asarray(tolerance)
        return Plan(self.until, save=1, solver=solver, rtol=rtol, atol=1e-3 * rtol)

    def shrunk(self) -> "WorkPrecision":
        solvers, tolerances = self.solvers[:2], self.tolerances[:2]
        return self.small(until=jnp.minimum(self.until, 0.5), solvers=solvers, tolerances=tolerances)
