"""At which rates a flow stretches displacements in the long run, and how many of them its symmetries keep at zero."""

from typing import ClassVar

import jax.numpy as jnp
import numpy as np
import xarray as xr
from jaxtyping import Array, Float

from ..analysis.lyapunov import lyapunov
from ..analysis.symmetry import symmetries
from ..chart import Curves, Panel
from ..declaration import option, parameter
from ..dynamics import AbstractFlow
from ..experiment import Check, Sense
from ..integration import Plan
from ..starts import AbstractStart
from .base import AbstractFlowStudy


class Lyapunov(AbstractFlowStudy):
    """The exponents of a flow add up to the mean divergence of its field, and symmetries keep some of them at zero.

    Parameters
    ----------
    start, flow, plan : what is followed, how far and how exactly; running exponents are known at the plan's frames.
    transient : the part of the depth that is left out at the start.
    tolerance : by how much the two halves of the rest may differ in an exponent; larger ones are crossed out.
    name, seed : of the study, and of the start.

    Source
    ------
    benettin1980lyapunov.
    """

    start: AbstractStart
    flow: AbstractFlow
    plan: Plan
    transient: Float[Array, ""] = parameter(0.2, ge=0, lt=1)
    tolerance: Float[Array, ""] = parameter(0.02, gt=0)
    name: str = option("lyapunov")
    seed: int = option(0, ge=0)
    minutes: ClassVar[float] = 1.0
    sources: ClassVar[tuple[str, ...]] = ("benettin1980lyapunov",)

    def data(self) -> xr.Dataset:
        x0 = self.first()
        kept, agreed = float(self.transient), float(self.tolerance)
        found = lyapunov(self.flow, x0, self.plan, transient=kept, tolerance=agreed)
        count = found.exponents.shape[0]
        zeros = symmetries(self.flow, found.final).moved
        largest = jnp.max(jnp.linalg.norm(self.flow(self.plan.until, found.final), axis=1))
        symbol = {"symbol": r"$\lambda_k$"}
        return xr.Dataset(
            {
                "running": (("depth", "index"), np.asarray(found.running), symbol | {"long_name": "running exponent"}),
                "exponent": ("index", np.asarray(found.exponents), symbol | {"long_name": "exponent"}),
                "spread": ("index", np.asarray(found.spread), {"long_name": "difference between the halves"}),
                "exponent_converged": ("index", np.asarray(found.converged), {"long_name": "whether they agree"}),
                "zero": ("index", np.zeros(count), symbol | {"long_name": "zero"}),
                "sum": ((), float(jnp.sum(found.exponents)), {"long_name": "sum of the exponents"}),
                "divergence": ((), float(found.divergence), {"long_name": "mean divergence of the field"}),
                "zeros": ((), zeros, {"long_name": "independent displacements of the symmetries"}),
                "speed": ((), float(largest), {"long_name": "largest speed of a token at the end"}),
            },
            coords={
                "depth": ("depth", np.asarray(found.times), {"symbol": "$t$", "long_name": "depth"}),
                "index": ("index", np.arange(1, count + 1), {"symbol": "$k$", "long_name": "index"}),
            },
        )

    def checks(self, data: xr.Dataset) -> tuple[Check, ...]:
        size = float(np.sum(np.abs(data.exponent)))
        zeros = int(np.sum(np.abs(data.exponent) <= float(self.tolerance)))
        reason = "each symmetry that moves the tokens has one; there may be more"
        found = [Check("exponents that are zero", zeros, int(data.zeros), 0, reason, Sense.at_least)]
        if np.isfinite(data.divergence):
            words = "rounding and the solver's error"
            found.append(Check("sum of the exponents", float(data["sum"]), float(data.divergence), 1e-4 * size, words))
        return tuple(found)

    def chart(self, data: xr.Dataset) -> tuple[Panel, ...]:
        return (
            Curves("depth", ("running",), by="index", joined=True, title="running exponents"),
            Curves("index", ("exponent",), bounds=("zero",), flag="exponent_converged", title="spectrum"),
        )

    def shrunk(self) -> "Lyapunov":
        plan = self.plan.shrunk(6.0, 12)
        return self.small(plan=plan)
