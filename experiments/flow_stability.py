"""How fast the flow of softmax attention on the sphere can part two clouds."""

import dataclasses
from typing import ClassVar

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import xarray as xr
from jaxtyping import Array, Float

import particles as pt
from particles.analysis import AbstractTokenMap, FieldMap, FlowMap, wasserstein
from particles.analysis.local import Local, local_lipschitz
from particles.analysis.token_map import LinearMap
from particles.chart import Curves, Panel
from particles.declaration import option, parameter
from particles.experiment import most

SLACK = 1e-6  # the solver's error


class FlowStability(pt.AbstractClaim):
    """The softmax flow on the sphere parts two clouds at most like e^((2 + 2 beta) t) in their largest displacement.

    The field is (2 + 2 beta)-Lipschitz in that norm: the law 1 + 2 beta, and the tangent plane that turns. Small beta
    come near it where all tokens are at one point, larger ones where one token stands between two opposite crowds. The
    flow is differentiated there and at random tokens; and crowds are parted in truth, by a finite displacement along
    the worst direction, and compared in W_inf.

    Parameters
    ----------
    tokens, dim, beta : of the flow.
    depths : at which growth is measured, increasing.
    betas : for the field alone.
    apart : the largest finite displacement of a token at depth 0.
    seed : of the random tokens.
    control : the negative control: values three times as large as the bound is told.

    Source
    ------
    vuckovic2021regularity, for stability; the constant derived by hand.
    """

    minutes: ClassVar[float] = 1.0
    tokens: int = option(64, ge=3)
    dim: int = option(3, ge=2)
    beta: Float[Array, ""] = parameter(2.0, ge=0)
    depths: tuple[float, ...] = option((0.1, 0.2, 0.3, 0.4, 0.6, 0.8, 1.0), converter=tuple, gt=0)
    betas: tuple[float, ...] = option((0.0, 0.5, 1.0, 1.5, 2.0, 2.5, 3.0, 4.0), converter=tuple, ge=0)
    apart: Float[Array, ""] = parameter(0.05, gt=0, lt=1)
    seed: int = option(0, ge=0)
    control: bool = option(False)
    sources: ClassVar[tuple[str, ...]] = ("vuckovic2021regularity",)

    def data(self) -> xr.Dataset:
        crossed, drawn = self._crossed(), pt.Sphere().uniform(jax.random.key(self.seed), self.tokens, self.dim)
        flow, rate = self._flow(float(self.beta)), 2 + 2 * float(self.beta)
        maps = [FlowMap(flow, pt.Plan(until=t, save=1, rtol=1e-8, atol=1e-10)) for t in self.depths]
        worst, usual = ([_constant(_derived(moved, x), x) for moved in maps] for x in (crossed, drawn))
        fields = [FieldMap(self._flow(beta)) for beta in self.betas]
        clouds = {"point": jnp.broadcast_to(crossed[:1], crossed.shape), "crossed": crossed, "drawn": drawn}
        names = {"point": "one point", "crossed": "between two crowds", "drawn": "random tokens"}
        grown = {"symbol": r"$\max |\xi_i(t)| / \max |\xi_i(0)|$"}
        steep = {"symbol": "Lipschitz constant of the field"}
        return xr.Dataset(
            {
                "worst": ("depth", [float(one.value) for one in worst], grown | {"long_name": names["crossed"]}),
                "usual": ("depth", [float(one.value) for one in usual], grown | {"long_name": names["drawn"]}),
                "parted": (
                    "depth",
                    [self._parted(moved, crossed, one.direction) for moved, one in zip(maps, worst, strict=True)],
                    grown | {"long_name": f"crowds {float(self.apart):g} apart, $W_\\infty$"},
                ),
                "bound": ("depth", np.exp(rate * np.array(self.depths)), grown | {"long_name": "bound"}),
                **{
                    f"{name}_field": (
                        "beta",
                        [float(_constant(moved, x).value) for moved in fields],
                        steep | {"long_name": names[name]},
                    )
                    for name, x in clouds.items()
                },
                "field_bound": ("beta", 2 + 2 * np.array(self.betas), steep | {"long_name": "bound"}),
            },
            coords={
                "depth": ("depth", list(self.depths), {"symbol": "$t$", "long_name": "depth"}),
                "beta": ("beta", list(self.betas), {"symbol": r"$\beta$", "long_name": "inverse temperature"}),
            },
        )

    def _flow(self, beta: float) -> pt.Flow:
        return pt.Flow(
            pt.Sphere(), pt.Attention(pt.DotProduct(beta), value=pt.values.Linear(3.0 if self.control else 1.0))
        )

    def _crossed(self) -> jax.Array:
        """One token halfway between two opposite points, where all others are."""
        x = np.zeros((self.tokens, self.dim))
        x[0, 1] = 1
        x[1:, 0] = np.where(np.arange(self.tokens - 1) % 2, 1, -1)
        return jnp.asarray(x)

    def _parted(self, moved: AbstractTokenMap, x: jax.Array, direction: jax.Array) -> float:
        """How much farther apart two clouds are behind the flow, as arcs."""
        y = moved.space.project(x + float(self.apart) * direction)
        return _arc(moved(x), moved(y)) / _arc(x, y)

    def checks(self, data: xr.Dataset) -> tuple[pt.Check, ...]:
        fields = [data[f"{name}_field"] / data.field_bound for name in ("point", "crossed", "drawn")]
        steepest = most(fields)
        flows = max(most(data[name] / data.bound) for name in ("worst", "usual", "parted"))
        near = float(np.min(np.max(fields, axis=0)))
        return (
            pt.Check("field over its bound", steepest, 1, 1e-9, "an inequality; rounding", pt.Sense.at_most),
            pt.Check("growth over its bound", flows, 1, SLACK, "an inequality; the solver", pt.Sense.at_most),
            pt.Check("the best example for every beta", near, 0.3, 0, "what is attained", pt.Sense.at_least),
        )

    def chart(self, data: xr.Dataset) -> tuple[Panel, ...]:
        return (
            Curves(
                "depth",
                ("worst", "parted", "usual"),
                bounds=("bound",),
                log="y",
                title=rf"flow, $\beta = {float(self.beta):g}$",
            ),
            Curves("beta", ("point_field", "crossed_field", "drawn_field"), bounds=("field_bound",), title="field"),
        )

    def shrunk(self) -> "FlowStability":
        return dataclasses.replace(self, tokens=16, depths=(0.2, 0.4), betas=(0.5, 2.0))


def _constant(moved: AbstractTokenMap, x: jax.Array) -> Local:
    found = local_lipschitz(moved, x, "max", tolerance=1e-4)
    if not found.converged:
        raise pt.Failed("the power method for a local Lipschitz constant did not converge")
    return found


def _derived(moved: FlowMap, x: jax.Array) -> LinearMap:
    """The derivative as a matrix: of a few tokens it is the cheapest."""
    return LinearMap(eqx.filter_jit(moved.jacobian)(x))


def _arc(x: jax.Array, y: jax.Array) -> float:
    """W_inf on the unit sphere in lengths of arcs, which grow with chords."""
    return float(2 * np.arcsin(wasserstein(x, y, np.inf) / 2))
