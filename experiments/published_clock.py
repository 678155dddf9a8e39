"""The step of the published scripts is a projected step on a slower clock."""

import dataclasses
from typing import ClassVar

import jax
import jax.numpy as jnp
import numpy as np
import xarray as xr
from jaxtyping import Array, Float

import particles as pt
from particles import limits
from particles.chart import Curves, Panel
from particles.declaration import option, parameter
from particles.experiment import most


class PublishedClock(pt.AbstractClaim):
    """The step normalize(x + h A) of published scripts is a projected step of length h / (1 + h <x, A>).

    So movies made with it run slow, near consensus by 1 / (1 + h). The identity is checked on random tokens, the lag on
    equiangular ones, whose error constant differs from that of projected steps by the slow clock alone.

    Parameters
    ----------
    tokens, dim, beta : of the random start and of softmax attention.
    overlap, until : of the equiangular start, and the depth of the comparison.
    layers : numbers of steps to that depth.
    seed : of the random start.
    control : the negative control: projected steps in place of the published ones.

    Source
    ------
    geshkovski2023perspective, for the scheme; the clock derived by hand.
    """

    minutes: ClassVar[float] = 0.5
    tokens: int = option(12, ge=2)
    dim: int = option(3, ge=2)
    beta: Float[Array, ""] = parameter(2.0, ge=0)
    overlap: Float[Array, ""] = parameter(0.1, lt=1)
    until: Float[Array, ""] = parameter(2.0, gt=0)
    layers: tuple[int, ...] = option((16, 32, 64, 128, 256, 512, 1024))
    seed: int = option(0, ge=0)
    control: bool = option(False)
    sources: ClassVar[tuple[str, ...]] = ("geshkovski2023perspective",)

    def data(self) -> xr.Dataset:
        n, beta, until, start = self.tokens, float(self.beta), float(self.until), float(self.overlap)
        law, solver = pt.Attention(pt.DotProduct(beta)), "Euler" if self.control else "EulerNormalize"
        flow, sphere = pt.Flow(pt.Sphere(), law), pt.Sphere()
        x0 = sphere.uniform(jax.random.key(self.seed), n, self.dim)
        steps, wrong = (0.01, 0.1, 1.0), []
        for h in steps:
            x1 = pt.solve(flow, x0, pt.Plan(h, save=1, solver=solver, dt=h)).final
            pulled = np.asarray(law(jnp.zeros(()), x0, pt.Dense()))
            radial = np.sum(pulled * np.asarray(x0), axis=1, keepdims=True)
            moved = np.asarray(x0) + h / (1 + h * radial) * (pulled - radial * np.asarray(x0))
            wrong.append(np.abs(moved / np.linalg.norm(moved, axis=1, keepdims=True) - np.asarray(x1)).max())
        exact = limits.equiangular.overlap(until, start, n, beta)
        constant = limits.equiangular.leading_constant(start, until, n, beta, projected=False)
        y0 = pt.starts.Equiangular(n, n, start)(sphere, jax.random.key(0))
        scaled = []
        for count in self.layers:
            y = pt.solve(flow, y0, pt.Plan(until, save=1, solver=solver, dt=until / count)).complete().final
            scaled.append(count * (float((y @ y.T)[0, 1]) - exact) / until)
        words = {"symbol": r"$L\,(g_L - g(T))/T$"}
        projected = limits.equiangular.leading_constant(start, until, n, beta)
        return xr.Dataset(
            {
                "identity": ("step", np.asarray(wrong) + 1e-17, {"long_name": "error of the identity"}),
                "scaled": ("layers", scaled, words | {"long_name": "published step"}),
                "constant": ("layers", [constant] * len(scaled), words | {"long_name": "its constant"}),
                "projected": ("layers", [projected] * len(scaled), words | {"long_name": "that of projected steps"}),
            },
            coords={
                "layers": ("layers", list(self.layers), {"symbol": "$L$"}),
                "step": ("step", list(steps), {"symbol": "$h$"}),
            },
        )

    def checks(self, data: xr.Dataset) -> tuple[pt.Check, ...]:
        constant = float(data.constant[-1])
        slack = abs(constant) * max(0.02, 3 / float(data.layers[-1]))
        return (
            pt.Check("error of the identity", most(data.identity), 0.0, 1e-14, "rounding"),
            pt.Check(
                "L error / T at the largest L", float(data.scaled[-1]), constant, slack, "2%: the next term is 1/L"
            ),
        )

    def chart(self, data: xr.Dataset) -> tuple[Panel, ...]:
        return (Curves("layers", ("scaled",), ("constant", "projected"), log="x", title="lag of the slow clock"),)

    def shrunk(self) -> "PublishedClock":
        return dataclasses.replace(self, layers=(128,))
