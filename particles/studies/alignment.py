"""Queries and keys as two clouds, through depth."""

import dataclasses
import re
from typing import Any, ClassVar

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import xarray as xr
from jaxtyping import Array, Bool, Float

from ..analysis.alignment import clouds, maps
from ..analysis.divergence import (
    AbstractDivergence,
    Bures,
    ConditionalTransport,
    EnergyDistance,
    KernelDistance,
    SinkhornDivergence,
)
from ..analysis.transport import wasserstein
from ..chart import Curves, Panel
from ..declaration import option
from ..dynamics import AbstractFlow, at_precision
from ..experiment import Check, Sense, most
from ..integration import Plan, solve
from ..starts import AbstractStart
from .base import AbstractFlowStudy

ROUNDING = 1e-10  # of the exact distances, whose linear programs and roots are no more exact


class QueryKeyAlignment(AbstractFlowStudy):
    """Divergences tell how far queries and keys are from one cloud; the Gaussian one never exceeds transport.

    Divergences of the clouds Q x_i and K x_j at every depth, averaged over heads, beside the squared Wasserstein
    distance, which the Gaussian one never exceeds; and what each gives for the queries and themselves, which is 0 for
    divergences and not for conditional transport.

    Parameters
    ----------
    start, flow, plan : what is followed, how far and how exactly; laws of heads with matrices for queries and keys.
    divergences : those compared, each of another kind.
    name, seed : of the study, and of the start.

    Raises
    ------
    ValueError
        If the law's scores have no matrices `query` and `key`, or two divergences are of one kind.

    Source
    ------
    zhang2021alignment; the bound, gelbrich1990formula.
    """

    start: AbstractStart
    flow: AbstractFlow
    plan: Plan
    divergences: tuple[AbstractDivergence, ...] = (
        SinkhornDivergence(),
        Bures(),
        EnergyDistance(),
        KernelDistance(),
        ConditionalTransport(),
    )
    name: str = option("alignment")
    seed: int = option(0, ge=0)
    minutes: ClassVar[float] = 1.0
    sources: ClassVar[tuple[str, ...]] = ("zhang2021alignment", "gelbrich1990formula")

    def __check_init__(self):
        kinds = [type(divergence).__name__ for divergence in self.divergences]
        if not kinds or len(set(kinds)) < len(kinds):
            raise ValueError(
                f"`divergences` of QueryKeyAlignment must be of different kinds, at least one; got {kinds}"
            )

    def data(self) -> xr.Dataset:
        x0 = self.first()
        heads = self.flow.placed.attending(jnp.zeros(()), x0, self.flow.summation)
        if not heads:
            raise ValueError(
                f"QueryKeyAlignment needs a law of attention heads; {type(self.flow.law).__name__} has none"
            )
        for head in heads:
            maps(head.score)
        plan = dataclasses.replace(self.plan, watch=(), stop=(), tokens=True)
        run = solve(self.flow, x0, plan, key=self.key(1) if self.flow.random else None).complete()
        assert run.tokens is not None, "the plan keeps them"
        measured = [_measured(self.flow, one, run.times, run.tokens) for one in self.divergences]
        value, own, converged = (np.stack([np.asarray(one[k]) for one in measured]) for k in range(3))
        axes, kinds = ("kind", "depth"), [_words(divergence) for divergence in self.divergences]
        exact = [self._transported(t, x) for t, x in zip(run.times, run.tokens, strict=True)]
        return xr.Dataset(
            {
                "divergence": (axes, value, {"long_name": "divergence", "symbol": "$D(Qx, Kx)$"}),
                "own": (axes, np.abs(own), {"long_name": "queries and themselves", "symbol": "$D(Qx, Qx)$"}),
                "transport": (
                    "depth",
                    exact,
                    {"long_name": "squared Wasserstein distance", "symbol": "$W_2^2$", "units": "position²"},
                ),
                "proper": ("kind", [one.proper for one in self.divergences], {"long_name": "whether a divergence"}),
                "gaussian": (
                    "kind",
                    [isinstance(one, Bures) for one in self.divergences],
                    {"long_name": "whether below transport"},
                ),
                "divergence_converged": (axes, converged, {"long_name": "whether it converged"}),
            },
            coords={
                "kind": ("kind", kinds, {"symbol": "divergence"}),
                "depth": ("depth", np.asarray(run.times), {"long_name": "depth", "symbol": "$t$"}),
            },
        )

    def chart(self, data: xr.Dataset) -> tuple[Panel, ...]:
        return (
            Curves(
                "depth",
                ("divergence",),
                bounds=("transport",),
                by="kind",
                log="y",
                joined=True,
                title="queries and keys",
            ),
            Curves("depth", ("own",), by="kind", joined=True, title="a cloud and itself"),
        )

    def checks(self, data: xr.Dataset) -> tuple[Check, ...]:
        size, found = float(np.max(data.transport)) or 1.0, []
        proper, gaussian = (data.where(data[name], drop=True) for name in ("proper", "gaussian"))
        if proper.kind.size:
            least, own = float(np.min(proper.divergence)), most(proper.own)
            found.append(Check("least divergence", least, 0, 1e-12, "rounding of sums", Sense.at_least))
            found.append(Check("largest of a cloud and itself", own, 0, 1e-9, "rounding of sums", Sense.at_most))
        if gaussian.kind.size:
            beyond = most(gaussian.divergence - data.transport) / size
            found.append(Check("Bures beyond transport", beyond, 0, ROUNDING, "of exact transport", Sense.at_most))
        return tuple(found)

    def shrunk(self) -> "QueryKeyAlignment":
        plan = self.plan.shrunk(1.0, 2)
        return self.small(plan=plan, divergences=self.divergences[1:3] or self.divergences)

    def _transported(self, t: Float[Array, ""], x: Float[Array, "n d"]) -> float:
        """The squared Wasserstein distance, averaged over heads."""
        pairs = [clouds(head) for head in self.flow.placed.attending(t, x, self.flow.summation)]
        return float(np.mean([wasserstein(q.position, k.position, 2.0, q.mass, k.mass) ** 2 for q, k in pairs]))


@eqx.filter_jit
def _measured(
    flow: AbstractFlow, divergence: AbstractDivergence, times: Float[Array, " time"], tokens: Float[Array, "time n d"]
) -> tuple[Float[Array, " time"], Float[Array, " time"], Bool[Array, " time"]]:
    """At each frame: the divergence of queries and keys, that of queries and themselves, and whether both converged."""
    law = at_precision(flow.placed, tokens.dtype)

    def at(frame: tuple[Float[Array, ""], Float[Array, "n d"]]) -> tuple[Any, Any, Any]:
        pairs = [clouds(head) for head in law.attending(*frame, flow.summation)]
        apart = [divergence.between(q, k, flow.summation) for q, k in pairs]
        own = [divergence.between(q, q, flow.summation) for q, _ in pairs]
        mean = lambda found: jnp.mean(jnp.stack([one.value for one in found]))  # noqa: E731
        return mean(apart), mean(own), jnp.all(jnp.stack([one.converged for one in (*apart, *own)]))

    return jax.lax.map(at, (times, tokens))


def _words(divergence: AbstractDivergence) -> str:
    """What a divergence is called in a legend."""
    return re.sub(r"(?<=[a-z])(?=[A-Z])", " ", type(divergence).__name__).lower().capitalize()
