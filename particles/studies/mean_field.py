"""The density of many tokens beside that of infinitely many."""

from typing import ClassVar

import jax
import jax.numpy as jnp
import numpy as np
import xarray as xr
from jaxtyping import Array, Float

from ..chart import Curves, Panel
from ..declaration import option
from ..dynamics import AbstractFlow
from ..integration import Plan, solve
from ..limits import Circle, MeanField
from ..starts import AbstractStart
from .base import AbstractFlowStudy


class MeanFieldDensity(AbstractFlowStudy):
    """The density of tokens on the circle follows the mean-field density, and the more tokens, the closer.

    Parameters
    ----------
    start, flow, plan : tokens on the circle, what moves them, how far and how exactly.
    clouds : how many clouds of the start make the density that the mean field begins with.
    modes : of that density and of the flow; a density that gathers needs more of them.
    name, seed : of the study, and of the start; the clouds are drawn beside it.

    Source
    ------
    geshkovski2023perspective.
    """

    start: AbstractStart
    flow: AbstractFlow
    plan: Plan
    clouds: int = option(200, ge=1)
    modes: int = option(48, ge=2)
    name: str = option("mean_field")
    seed: int = option(0, ge=0)
    minutes: ClassVar[float] = 1.0
    sources: ClassVar[tuple[str, ...]] = ("geshkovski2023perspective",)

    def __check_init__(self):
        super().__check_init__()
        if type(self.flow.space).__name__ != "Sphere" or getattr(self.start, "dim", 2) != 2:
            raise ValueError("the mean-field density is followed on the circle: Sphere, and a start of dimension 2")
        if self.plan.tokens is not True:
            raise ValueError(f"the density of tokens needs all of them; got `plan.tokens` = {self.plan.tokens}")

    def data(self) -> xr.Dataset:
        domain = Circle(self.modes, nodes=4 * self.modes)
        run = solve(self.flow, self.first(), self.plan).complete()
        flow = MeanField(law=self.flow.law, domain=domain)  # pyright: ignore[reportCallIssue, reportArgumentType]
        field = solve(flow, self._density(domain), self.plan).complete().tokens
        assert run.tokens is not None  # a plan that keeps none is refused
        assert field is not None
        density = np.asarray(jax.vmap(domain.density)(field))
        turn = np.argsort(_angle(domain.rows()), kind="stable")
        symbol = {"symbol": r"$|m_1|$"}
        return xr.Dataset(
            {
                "tokens": (("time", "token", "dim"), np.asarray(run.tokens), {"long_name": "tokens", "symbol": "$x$"}),
                "mean_field": (("time", "place"), density[:, turn], {"long_name": "mean-field density"}),
                "order": ("time", _order(np.asarray(run.tokens)), symbol | {"long_name": "tokens"}),
                "field_order": ("time", _field_order(np.asarray(field)), symbol | {"long_name": "mean field"}),
                "last_mode": ("time", np.abs(np.asarray(field)[:, -1]).max(axis=-1), {"long_name": "last mode"}),
            },
            coords={
                "time": ("time", np.asarray(run.times), {"symbol": "$t$", "long_name": "depth"}),
                "place": ("place", _angle(domain.rows())[turn], {"symbol": r"$\theta$", "long_name": "angle"}),
            },
            attrs={"space": "Sphere", "radius": 1.0},
        )

    def _density(self, domain: Circle) -> Float[Array, "k c"]:
        """The first modes of the start, as many clouds of it have them."""
        keys = jax.random.split(self.key(1), self.clouds)
        angles = _angle(np.asarray(jax.jit(jax.vmap(lambda key: self.start(self.flow.space, key)))(keys))).ravel()
        waves = np.exp(1j * np.arange(domain.modes)[:, None] * angles[None, :]).mean(axis=1)
        scale = np.where(np.arange(domain.modes) == 0, 1.0, np.sqrt(2.0))
        return jnp.asarray(np.stack([scale * waves.real, scale * waves.imag], axis=1))

    def chart(self, data: xr.Dataset) -> tuple[Panel, ...]:
        return (
            Curves("time", ("order",), ("field_order",), title="order parameter"),
            Curves("time", ("last_mode",), log="y", title="is it resolved?"),
        )

    def figure_kinds(self) -> tuple[str, ...]:
        return ("density", "chart")

    def shrunk(self) -> "MeanFieldDensity":
        plan = self.plan.shrunk(0.5, 4)
        return self.small(plan=plan, clouds=8, modes=12)


def _angle(x: np.ndarray) -> np.ndarray:
    return np.arctan2(x[..., 1], x[..., 0])


def _order(x: Float[np.ndarray, "t n 2"]) -> Float[np.ndarray, " t"]:
    return np.linalg.norm(x.mean(axis=1), axis=-1)


def _field_order(c: Float[np.ndarray, "t k 2"]) -> Float[np.ndarray, " t"]:
    """The first mode from the coefficients in the orthonormal basis of the circle."""
    return np.linalg.norm(c[:, 1], axis=-1) / np.sqrt(2.0)
