"""How far wrong inputs carry, beside how far they can."""

import dataclasses
import itertools
from collections.abc import Callable
from typing import Any, ClassVar

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import xarray as xr
from jaxtyping import Array, Float

from ..analysis.bounds import known
from ..analysis.gronwall import exponents
from ..analysis.misspecification import AbstractFault, WrongCloud, misspecified, response
from ..analysis.token_map import LawMap
from ..chart import Curves, Panel
from ..declaration import option
from ..dynamics import AbstractFlow
from ..experiment import Check, Sense, most
from ..integration import Plan, Run, solve
from ..starts import AbstractStart
from .base import AbstractFlowStudy

NOTHING = 1e-9  # of the size of the cloud: a distance that is rounding
NORMS = ("W1", "max")
MEASURED = {
    "before": "W_1 at the input",
    "step": "W_1 behind the law",
    "end": "W_1 at the end",
    "shift_step": "largest displacement behind the law",
    "shift_end": "largest displacement at the end",
}
SYMBOLS = {False: "$W_1$", True: r"$\max_i |x_i - x_i'|$"}


class Misspecified(AbstractFlowStudy):
    """Wrong tokens change what attention makes of a cloud by no more than is proved, at one step and at the end.

    Faults are put to the start. What the law makes of the right and of the wrong cloud, and where the flow takes them,
    is compared in W_1 and, where tokens keep their labels, token by token; against the Lipschitz constant of the law
    and, at the end, against the exponential of that of the field, summed up over depth.

    Parameters
    ----------
    start, flow, plan : what is followed, how far and how exactly.
    faults : what goes wrong.
    counts : with how many tokens.
    draws : how often each is tried.
    name, seed : of the study, and of the start and the faults.

    Source
    ------
    vuckovic2020mathematical, vuckovic2021regularity.
    """

    start: AbstractStart
    flow: AbstractFlow
    plan: Plan
    faults: tuple[AbstractFault, ...]
    counts: tuple[int, ...] = option((1, 2, 4, 8, 16), ge=1)
    draws: int = option(4, ge=1)
    name: str = option("misspecified")
    seed: int = option(0, ge=0)
    minutes: ClassVar[float] = 1.0
    sources: ClassVar[tuple[str, ...]] = ("vuckovic2020mathematical", "vuckovic2021regularity")

    def __check_init__(self):
        if not self.faults:
            raise ValueError("`faults` names nothing that goes wrong; give at least one, Moved(0.1)")
        if self.flow.random:
            raise ValueError("noise parts right and wrong tokens by itself: take a flow without it")

    def data(self) -> xr.Dataset:
        x, shape = self.first(), (len(self.faults), len(self.counts), self.draws)
        keys = jax.random.split(self.key(1), shape)
        wrong = [
            fault(self.flow.space, x, keys[i, j, k], count)
            for (i, fault), (j, count) in itertools.product(enumerate(self.faults), enumerate(self.counts))
            for k in range(self.draws)
        ]
        clouds = [WrongCloud.right(x), *wrong]
        paths = np.asarray(_each(self._followed, clouds).complete().tokens)
        radii = np.linalg.norm(paths, axis=-1).max(axis=(0, 2))
        step, end = (
            [response(x, one, ends[0], image) for one, image in zip(wrong, ends[1:], strict=True)]
            for ends in (np.asarray(_each(self._attended, clouds)), paths[:, -1])
        )
        found = {
            "before": [one.before for one in step],
            "step": [one.after for one in step],
            "end": [one.after for one in end],
            "shift": [one.moved_before for one in step],
            "shift_step": [one.moved_after for one in step],
            "shift_end": [one.moved_after for one in end],
        }
        numbers = {name: np.reshape(values, shape) for name, values in found.items()}
        said = np.reshape([float(one.bound) for one in wrong], shape)
        return self._dataset(numbers, said, self._factors(len(x), radii), NOTHING * float(radii[0]))

    def _attended(self, wrong: WrongCloud) -> Float[Array, "n d"]:
        return LawMap(misspecified(self.flow, wrong))(wrong.tokens)

    def _followed(self, wrong: WrongCloud) -> Run:
        plan = dataclasses.replace(self.plan, watch=(), stop=(), tokens=True)
        return solve(misspecified(self.flow, wrong), wrong.tokens, plan)

    def _factors(self, n: int, radii: np.ndarray) -> dict[str, float]:
        """By how much the law and the flow can stretch distances at most; NaN where nothing is proved."""
        found = {}
        for norm, name in zip(NORMS, ("", "shift_"), strict=True):
            law = known(self.flow.law, norm, np.inf if norm == "W1" else float(n), float(radii[0]))
            found[f"{name}step"] = np.nan if law is None else law.value
            try:
                times = np.asarray(self.plan.depths(0, self.plan.frames - 1, jnp.dtype(float)))
                found[f"{name}end"] = float(np.exp(exponents(self.flow, norm, n, times, radii)[-1]))
            except ValueError:  # no bound is proved for this flow
                found[f"{name}end"] = np.nan
        return found

    def _dataset(
        self, found: dict[str, np.ndarray], said: np.ndarray, factors: dict[str, float], nothing: float
    ) -> xr.Dataset:
        """Means over draws of what was measured and of its bound, and how close any draw came to its own."""
        inputs = {name: found["shift" if "shift" in name else "before"] for name in factors}
        bounds = {"before": said} | {name: factor * inputs[name] for name, factor in factors.items()}
        variables: dict[str, Any] = {}
        for name, words in MEASURED.items():
            measured, bound, symbol = found[name], bounds[name], {"symbol": SYMBOLS["shift" in name]}
            variables[name] = (("kind", "count"), measured.mean(axis=-1), symbol | {"long_name": "measured"})
            variables[f"{name}_bound"] = (("kind", "count"), bound.mean(axis=-1), symbol | {"long_name": "at most"})
            ratio = measured / np.maximum(bound, nothing)
            variables[f"{name}_ratio"] = (("kind", "count", "draw"), ratio, {"long_name": f"{words}, over its bound"})
        labeled = [fault.labeled for fault in self.faults]
        variables["labeled"] = ("kind", labeled, {"long_name": "whether tokens keep their labels"})
        return xr.Dataset(
            variables,
            coords={
                "kind": ("kind", _names(self.faults), {"long_name": "fault", "symbol": "fault"}),
                "count": ("count", list(self.counts), {"symbol": "$k$", "long_name": "wrong tokens"}),
            },
        )

    def checks(self, data: xr.Dataset) -> tuple[Check, ...]:
        reason, found = "an inequality; rounding and the solver's error", []
        for name in MEASURED:
            ratio = data[f"{name}_ratio"]
            kinds = data.labeled.values if "shift" in name else np.full(data.sizes["kind"], True)
            if kinds.any() and np.all(np.isfinite(data[f"{name}_bound"].values[kinds])):
                words = str(ratio.attrs["long_name"])
                found.append(Check(words, most(ratio.values[kinds]), 1.0, 1e-5, reason, Sense.at_most))
        return tuple(found)

    def chart(self, data: xr.Dataset) -> tuple[Panel, ...]:
        titles = {"before": "input", "step": "behind the law", "end": "at the end"}
        if np.any(data.labeled):
            titles["shift_end"] = "at the end, token by token"
        return tuple(
            Curves("count", (name,), bounds=(f"{name}_bound",), by="kind", log="xy", title=title)
            for name, title in titles.items()
        )

    def shrunk(self) -> "Misspecified":
        small = self.small(draws=2, plan=self.plan.shrunk(0.5, 4))
        n = len(small.first())
        return dataclasses.replace(small, counts=tuple(count for count in self.counts if 2 * count <= n)[:2] or (1,))


def _each(function: Callable[[WrongCloud], Any], clouds: list[WrongCloud]) -> Any:
    """What a function makes of every cloud, stacked; with masses, unless all have the same."""
    labeled = all(one.labeled for one in clouds)
    stacked = jax.tree.map(
        lambda *leaves: jnp.stack(leaves), *(dataclasses.replace(one, labeled=labeled) for one in clouds)
    )
    return eqx.filter_jit(eqx.filter_vmap(function))(stacked)


def _names(faults: tuple[AbstractFault, ...]) -> list[str]:
    """The kinds of faults; numbered where there are several of one."""
    kinds = [type(fault).__name__.lower() for fault in faults]
    return [f"{kind} {kinds[: i + 1].count(kind)}" if kinds.count(kind) > 1 else kind for i, kind in enumerate(kinds)]
