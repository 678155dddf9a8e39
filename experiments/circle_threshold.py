"""On the circle attention to opposites synchronizes, up to a point."""

import dataclasses
from typing import ClassVar

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import xarray as xr
from jaxtyping import Array, Float

import particles as pt
from particles.chart import Curves, Panel
from particles.declaration import option, parameter
from particles.experiment import most
from particles.limits.host import root


class CircleThreshold(pt.AbstractClaim):
    """On the circle three equidistant tokens become stable at beta = -2/3; tokens synchronize at beta = -0.1.

    The Jacobian of the unnormalized law at three equidistant tokens has the eigenvalue 0, of rotations, and twice
    exp(-beta/2) (1/2 + 3 beta / 4).

    Parameters
    ----------
    betas : inverse temperatures at which the Jacobian is taken.
    mild : the negative inverse temperature of the runs, at least -0.16.
    tokens, starts : of the runs.
    until : their last depth.
    seed : of the starts.
    control : the negative control: softmax attention.

    Source
    ------
    polyanskiy2025synchronization; the eigenvalue derived by hand.
    """

    minutes: ClassVar[float] = 0.5
    betas: tuple[float, ...] = option(tuple(np.linspace(-2, 2, 25).tolist()))
    mild: Float[Array, ""] = parameter(-0.1, lt=0)
    tokens: int = option(12, ge=3)
    starts: int = option(6, ge=1)
    until: Float[Array, ""] = parameter(25.0, gt=0)
    seed: int = option(0)
    control: bool = option(False)
    sources: ClassVar[tuple[str, ...]] = ("polyanskiy2025synchronization",)

    def outside(self, data: xr.Dataset) -> str:
        return "" if float(self.mild) >= -0.16 else "synchronization is shown for beta >= -0.16 alone"

    def data(self) -> xr.Dataset:
        betas = np.asarray(self.betas)
        matrices = eqx.filter_vmap(self._jacobian)(jnp.asarray(betas))
        eigenvalues = np.sort(np.linalg.eigvals(np.asarray(matrices)).real, axis=1)
        exact = np.exp(-betas / 2) * (0.5 + 0.75 * betas)
        off = [np.abs(np.sort([0.0, one, one]) - found).max() for one, found in zip(exact, eigenvalues, strict=True)]
        trace = eqx.filter_jit(lambda beta: jnp.trace(self._jacobian(beta)))
        threshold = root(lambda beta: float(trace(jnp.asarray(beta))), -1.5, -0.1)
        keys = jax.random.split(jax.random.key(self.seed), self.starts)
        x0 = jnp.stack([pt.Sphere().uniform(key, self.tokens, 2) for key in keys])
        flow, plan = self._flow(self.mild), pt.Plan(self.until, save=80, rtol=1e-9, atol=1e-12)
        run = eqx.filter_vmap(lambda start: pt.solve(flow, start, plan))(x0).complete()
        x = np.asarray(run.tokens)
        apart = np.sum((x[:, :, :, None] - x[:, :, None]) ** 2, axis=-1).max(axis=(2, 3)) / 2
        eigenvalue = {"symbol": r"$\lambda$"}
        return xr.Dataset(
            {
                "smallest": ("beta", eigenvalues[:, 0], eigenvalue | {"long_name": "smallest eigenvalue"}),
                "largest": ("beta", eigenvalues[:, 2], eigenvalue | {"long_name": "largest eigenvalue"}),
                "exact": ("beta", exact, eigenvalue | {"long_name": "theory"}),
                "error": ("beta", off, {"long_name": "largest error of an eigenvalue"}),
                "threshold": ((), threshold, {"long_name": "threshold"}),
                "gap": (
                    ("depth", "start"),
                    np.maximum(apart, 1e-18).T,
                    {"long_name": "width", "symbol": r"$\max(1-\cos)$"},
                ),
            },
            coords={
                "beta": ("beta", betas, {"long_name": "inverse temperature", "symbol": r"$\beta$"}),
                "depth": ("depth", np.asarray(run.times)[0], {"long_name": "depth", "symbol": "$t$"}),
            },
        )

    def _flow(self, beta: Float[Array, ""]) -> pt.Flow:
        normalizer = pt.Softmax() if self.control else pt.Mean()
        return pt.Flow(pt.Sphere(), pt.Attention(pt.DotProduct(beta), normalizer=normalizer))

    def _jacobian(self, beta: Float[Array, ""]) -> Float[Array, "3 3"]:
        """The derivative of the angles' velocities at three equidistant tokens."""

        def speed(theta: Float[Array, " 3"]) -> Float[Array, " 3"]:
            x = jnp.stack([jnp.cos(theta), jnp.sin(theta)], axis=1)
            along = jnp.stack([-jnp.sin(theta), jnp.cos(theta)], axis=1)
            return jnp.sum(self._flow(beta)(jnp.zeros(()), x) * along, axis=1)

        return jax.jacfwd(speed)(2 * jnp.pi * jnp.arange(3.0) / 3)

    def checks(self, data: xr.Dataset) -> tuple[pt.Check, ...]:
        width = float(data.gap[-1].max())
        return (
            pt.Check("largest error of an eigenvalue", most(data.error), 0.0, 1e-10, "rounding"),
            pt.Check("beta at which the eigenvalue is zero", float(data.threshold), -2 / 3, 1e-10, "rounding"),
            pt.Check("largest 1 - cos at the end, mild beta", width, 0.0, 1e-6, "what is left of the approach"),
        )

    def chart(self, data: xr.Dataset) -> tuple[Panel, ...]:
        return (
            Curves("beta", ("smallest", "largest"), ("exact",), title="three equidistant tokens"),
            Curves("depth", ("gap",), log="y", title="random starts, mild beta"),
        )

    def shrunk(self) -> "CircleThreshold":
        return dataclasses.replace(self, betas=(-1.0, -0.5, 1.0), tokens=6, starts=3)
