"""The energy over a plane of states, with the way that a run takes through it."""

import dataclasses
from typing import ClassVar

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import xarray as xr
from jaxtyping import Array, Float

from ..chart import Curves, Map, Panel
from ..declaration import option
from ..dynamics import AbstractFlow
from ..experiment import Check
from ..integration import Plan, solve
from ..observables import Energy
from ..starts import AbstractStart
from .base import AbstractFlowStudy

MARGIN = 0.25  # of the way's extent, shown around it


class Landscape(AbstractFlowStudy):
    """A gradient flow climbs its energy landscape, from plateau to plateau: a staircase against depth.

    The plane goes through the first and the last state, and toward the state that is farthest from the line between
    them. States off the space are brought back to it, so the plane is a sheet on which the first and the last state lie
    exactly and the others as near as two directions allow.

    Parameters
    ----------
    start, flow, plan : a run with an energy, how far and how exactly.
    points : of the landscape in each direction.
    name, seed : of the study, and of the start.

    Source
    ------
    geshkovski2024dynamic.
    """

    start: AbstractStart
    flow: AbstractFlow
    plan: Plan
    points: int = option(80, ge=3)
    name: str = option("landscape")
    seed: int = option(0, ge=0)
    minutes: ClassVar[float] = 1.0
    sources: ClassVar[tuple[str, ...]] = ("geshkovski2024dynamic",)

    def __check_init__(self):
        super().__check_init__()
        Energy().check_flow(self.flow)

    def data(self) -> xr.Dataset:
        plan = dataclasses.replace(self.plan, watch=("energy", "clusters"), tokens=True)
        run = solve(self.flow, self.first(), plan).complete()
        x = np.asarray(run.tokens)
        plane = _plane(x)
        way = np.einsum("tnd,pnd->tp", x - x[0], plane)
        low, high = way.min(axis=0), way.max(axis=0)
        spare = MARGIN * np.maximum(high - low, 1e-3 * (high - low).max() + 1e-12)
        sides = [np.linspace(a, b, self.points) for a, b in zip(low - spare, high + spare, strict=True)]
        across, up = np.meshgrid(*sides)
        sheet = np.stack([across.ravel(), up.ravel()], axis=1)
        height = np.asarray(_energies(self.flow, jnp.asarray(x[0]), jnp.asarray(plane), jnp.asarray(sheet)))
        words = {"symbol": r"$E_\beta$", "long_name": "energy"}
        return xr.Dataset(
            {
                "landscape": (("up", "across"), height.reshape(across.shape), words),
                "way_across": ("depth", way[:, 0], {"long_name": "way, toward the end"}),
                "way_up": ("depth", way[:, 1], {"long_name": "way, aside"}),
                "energy": ("depth", np.asarray(run.observed["energy"]), words),
                "clusters": ("depth", np.asarray(run.observed["clusters"]), {"long_name": "clusters"}),
            },
            coords={
                "across": ("across", sides[0], {"long_name": "toward the last state"}),
                "up": ("up", sides[1], {"long_name": "aside"}),
                "depth": ("depth", np.asarray(run.times), {"long_name": "depth", "symbol": "$t$"}),
            },
        )

    def checks(self, data: xr.Dataset) -> tuple[Check, ...]:
        return ()

    def chart(self, data: xr.Dataset) -> tuple[Panel, ...]:
        first, last = (float(data.energy[k]) for k in (0, -1))
        early = float(np.median(np.interp(np.linspace(first, last, 9), data.energy, data.depth)))
        log = "x" if early < 0.1 * float(data.depth[-1]) and float(data.depth[1]) > 0 else ""
        return (
            Map("across", "up", "landscape", path=("way_across", "way_up"), title="landscape"),
            Curves("depth", ("energy",), joined=True, log=log, title="staircase"),
            Curves("depth", ("clusters",), joined=True, log=log, title="clusters"),
        )

    def shrunk(self) -> "Landscape":
        plan = self.plan.shrunk(1.0, 5)
        return self.small(plan=plan, points=4)


def _plane(x: Float[np.ndarray, "t n d"]) -> Float[np.ndarray, "2 n d"]:
    """Two orthonormal directions of states: to the last one, and to the one farthest from the line there."""
    first = x[-1] - x[0]
    size = np.linalg.norm(first)
    first = first / size if size > 0 else np.eye(1, x[0].size).reshape(x[0].shape)
    off = x - x[0] - np.einsum("tnd,nd->t", x - x[0], first)[:, None, None] * first
    second = off[int(np.argmax(np.linalg.norm(off, axis=(1, 2))))]
    if np.linalg.norm(second) < 1e-9 * max(size, 1.0):  # the way is straight: any other direction will do
        other = np.random.default_rng(0).normal(size=first.shape)
        second = other - np.sum(other * first) * first
    return np.stack([first, second / np.linalg.norm(second)])


@eqx.filter_jit
def _energies(
    flow: AbstractFlow, x0: Float[Array, "n d"], plane: Float[Array, "2 n d"], sheet: Float[Array, "m 2"]
) -> Float[Array, " m"]:
    def energy(at: Float[Array, "2"]) -> Float[Array, ""]:
        state = flow.space.project(x0 + jnp.einsum("p,pnd->nd", at, plane))
        return Energy()(flow, jnp.zeros(()), state)

    return jax.lax.map(energy, sheet)
