"""By how much a flow stretches small displacements of its tokens, from depth to depth and from the start on."""

import dataclasses
from collections.abc import Sequence
from typing import ClassVar, Literal

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import xarray as xr
from jaxtyping import Array, Float
from scipy.integrate import cumulative_simpson, cumulative_trapezoid

from ..analysis import bounds
from ..analysis.carrier import check_tokens_alone
from ..analysis.local import NORMS, local_lipschitz
from ..analysis.token_map import AbstractTokenMap, FieldMap, FlowMap, LawMap, LayerMap, LinearMap
from ..chart import Curves, Panel
from ..declaration import Declared, option, parameter
from ..dynamics import AbstractFlow, Layers, Reading
from ..experiment import Check, Sense, most
from ..integration import Plan, solve
from ..spaces import AbstractSpace
from ..starts import AbstractStart
from .base import AbstractFlowStudy

FEW = 256
"""So many coordinates of all tokens, or fewer, and the derivative of the flow is worked out as a matrix."""

Variables = dict[str, tuple[str, np.ndarray, dict[str, str]]]
FAR = 30
"""Numbers that differ by this factor are drawn on a logarithmic axis."""

LOCAL, WAY = {"symbol": "$L$"}, {"symbol": r"$\|D F_t\|$"}
"""How the constant at a depth is written, and the one of the whole way there."""


class Lipschitz(AbstractFlowStudy):
    """No displacement outgrows the local Lipschitz constants on its way, and those stay below what is proved.

    At each depth the local constant L of the law, of the field where the space is curved, and of the layer where the
    flow is a network; and the one of the whole way from the start, F, which obeys Gronwall's inequality,

        |D F_t| <= e^(integral of L of the field from 0 to t), or the product of the constants of the layers.

    Parameters
    ----------
    start, flow, plan : what is followed, how far and how exactly; constants are found at the plan's frames. Of a
        network every layer must be one, `save` = `until` / `dt`.
    norm : of displacements, as in `local_lipschitz`.
    tolerance : of every constant.
    name, seed : of the study, and of the start.

    Source
    ------
    vuckovic2021regularity, castin2024smooth.
    """

    start: AbstractStart
    flow: AbstractFlow
    plan: Plan
    norm: Literal["euclidean", "W2", "conditional", "max", "W1"] = option("euclidean")
    tolerance: Float[Array, ""] = parameter(1e-6, gt=0)
    name: str = option("lipschitz")
    seed: int = option(0, ge=0)
    minutes: ClassVar[float] = 1.0
    sources: ClassVar[tuple[str, ...]] = ("vuckovic2021regularity", "castin2024smooth")

    def __check_init__(self):
        Declared.__check_init__(self)  # what follows asks the nouns themselves
        if self._curved and not self.flow.space.smooth:
            raise ValueError(
                "at a boundary displacements are cut off on one side: give Euclidean, Sphere or a Product of them; "
                f"got {type(self.flow.space).__name__}"
            )
        if self.norm not in NORMS:
            raise ValueError(f"`norm` must be one of {', '.join(NORMS)}; got {self.norm!r}")
        if self._network and self.plan.frames - 1 != self._layers:
            raise ValueError(
                f"the constants of all layers count: `save` of the plan must be their number, {self._layers}; "
                f"got {self.plan.save}"
            )

    @property
    def _curved(self) -> bool:
        return self.flow.space.constrained

    @property
    def _network(self) -> bool:
        return Reading.layers in self.flow.readings

    @property
    def _layers(self) -> int:
        return 0 if self.plan.dt is None else round(float(self.plan.length) / float(self.plan.dt))

    def data(self) -> xr.Dataset:
        x0, watched = self.first(), dataclasses.replace(self.plan, watch=(), stop=(), tokens=True)
        check_tokens_alone(self.flow, x0, "local constants through depth are")
        run = solve(self.flow, x0, watched).complete()
        assert run.tokens is not None
        times, tokens = np.asarray(run.times), run.tokens
        found = {}
        if self._curved or self._network:
            found |= self._followed("law", [LawMap(self.flow, t) for t in run.times], tokens, "law")
        if self._network:
            found |= self._followed("step", [self._layer(t) for t in run.times], tokens, "layer")
            gronwall = np.concatenate([[1.0], np.cumprod(found["step"][1][:-1])])
        else:
            found |= self._followed("step", [FieldMap(self.flow, t) for t in run.times], tokens, "field")
            gronwall = np.exp(cumulative_simpson(found["step"][1], x=times, initial=0))
            rough = np.exp(cumulative_trapezoid(found["step"][1], times, initial=0))
            found["rough"] = ("depth", rough, WAY | {"long_name": "the bound by the trapezoidal rule"})
        found |= self._grown(times, x0)
        found["gronwall"] = ("depth", gronwall, WAY | {"long_name": "bound by constants on the way"})
        found |= self._proved(tokens)
        return xr.Dataset(found, coords={"depth": ("depth", times, {"symbol": "$t$", "long_name": "depth"})})

    def _layer(self, t: Array) -> LayerMap:
        assert isinstance(self.flow, Layers)
        assert self.plan.dt is not None
        return LayerMap(self.flow, self.plan.dt, t)

    def _followed(self, name: str, maps: Sequence[AbstractTokenMap], tokens: Array, words: str) -> Variables:
        """The constant of one map after another, each at its own tokens."""
        constants = [self._constant(moved, x) for moved, x in zip(maps, tokens, strict=True)]
        values, converged = (np.array(column) for column in zip(*constants, strict=True))
        return {
            name: ("depth", values, LOCAL | {"long_name": words}),
            f"{name}_converged": ("depth", converged, {"long_name": f"whether that of the {words} converged"}),
        }

    def _grown(self, times: np.ndarray, x0: Array) -> Variables:
        """The constants from the start to each depth."""
        plans = [dataclasses.replace(self.plan, until=t, save=1, watch=(), stop=(), tokens=False) for t in times[1:]]
        maps = [FlowMap(self.flow, plan) for plan in plans]
        derived = [LinearMap(_matrix(moved, x0)) for moved in maps] if x0.size <= FEW else maps
        constants = [(1.0, True), *(self._constant(moved, x0) for moved in derived)]
        values, converged = (np.array(column) for column in zip(*constants, strict=True))
        return {
            "grown": ("depth", values, WAY | {"long_name": "whole way from the start"}),
            "grown_converged": ("depth", converged, {"long_name": "whether that of the way converged"}),
        }

    def _constant(self, moved: AbstractTokenMap, x: Array) -> tuple[float, bool]:
        found = local_lipschitz(moved, x, self.norm, tolerance=float(self.tolerance))
        return float(found.value), bool(found.converged)

    def _proved(self, tokens: Array) -> Variables:
        """What is proved of the law, in the ball that holds the tokens, and of the field, where something is."""
        n, radii = tokens.shape[1], np.asarray(jnp.max(jnp.linalg.norm(tokens, axis=2), axis=1))
        asked: dict[str, tuple[str, AbstractSpace | None]] = {}
        if self._curved or self._network:
            asked["law"] = ("proved for the law", None)
        if not self._network:
            asked["step"] = ("proved for the field", self.flow.space)
        known = {}
        for name, (words, space) in asked.items():
            proved = [bounds.known(self.flow.law, self.norm, n, float(r), space=space) for r in radii]
            values = [one.value for one in proved if one is not None]
            if len(values) == len(radii):
                known[f"{name}_bound"] = ("depth", np.array(values), LOCAL | {"long_name": words})
        return known

    def checks(self, data: xr.Dataset) -> tuple[Check, ...]:
        words = {"law": "the law", "step": "the field"}
        proved = [
            Check(
                f"constant of {words[name]} over its bound",
                most(data[name] / data[f"{name}_bound"]),
                1,
                1e-6,
                "an inequality; that of the constant",
                Sense.at_most,
            )
            for name in words
            if f"{name}_bound" in data
        ]
        rough = abs(float((data.rough / data.gronwall)[-1]) - 1) if "rough" in data else 0.0
        slack = rough + 10 * (float(self.tolerance) + float(self.plan.rtol))
        reason = "the integral over depth, and the solver"
        grown = Check("growth over its bound", most((data.grown / data.gronwall)[1:]), 1, slack, reason, Sense.at_most)
        return (*proved, grown)

    def chart(self, data: xr.Dataset) -> tuple[Panel, ...]:
        steps = tuple(name for name in ("step", "law") if name in data)
        known = tuple(name for name in ("step_bound", "law_bound") if name in data)[:1]
        shown = [data[name] for name in (*steps, *known)]
        far = max(float(one.max()) for one in shown) > FAR * min(float(one.min()) for one in shown)
        log = "y" if far else ""
        grown = Curves(
            "depth",
            ("grown",),
            bounds=("gronwall",),
            log="y",
            flag="grown_converged",
            joined=True,
            title="from the start",
        )
        return (
            Curves("depth", steps, bounds=known, log=log, flag="step_converged", joined=True, title="at each depth"),
            grown,
        )

    def shrunk(self) -> "Lipschitz":
        if self._network:
            few = min(4, self._layers)
            return self.small(plan=self.plan.shrunk(few * float(self.plan.length) / self._layers, few))
        return self.small(plan=self.plan.shrunk(1.0, 4))


@eqx.filter_jit
def _matrix(moved: AbstractTokenMap, x: Array) -> jax.Array:
    return moved.jacobian(x)
