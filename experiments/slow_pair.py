"""Two clusters that hardly see each other, on the clock of what they see."""

import dataclasses
from typing import ClassVar

import equinox as eqx
import jax.numpy as jnp
import numpy as np
import xarray as xr
from jaxtyping import Array, Float
from scipy.interpolate import CubicSpline

import particles as pt
from particles import limits
from particles.chart import Curves, Panel
from particles.declaration import option, parameter
from particles.limits import two_clusters

FRAMES = 400


class SlowPair(pt.AbstractClaim):
    """In the slow time s two clusters at low temperature close as tan(phi/2) = tan(phi_0/2) exp(-c s), c = 2 if equal.

    The slow time is the integral of w = exp(beta (cos phi - 1)) over depth, and c = m2/m1 + m1/m2. The run is followed
    along its path, so that depth may grow exponentially in beta.

    Parameters
    ----------
    betas : inverse temperatures.
    share : the smaller mass of unequal clusters; equal ones are followed, too.
    first, last : the angle at the start, and the one at the end, where w is largest.
    control : the negative control: the theory takes unequal clusters for equal.

    Source
    ------
    rigollet2025meanfield and bruno2025multiscale, for time scaled by w; the law with masses derived by hand.
    """

    minutes: ClassVar[float] = 0.5
    betas: tuple[float, ...] = option((6.0, 9.0, 12.0))
    share: Float[Array, ""] = parameter(0.25, gt=0, lt=0.5)
    first: Float[Array, ""] = parameter(2.0, gt=0, lt=3.1415)
    last: Float[Array, ""] = parameter(1.2, gt=0)
    control: bool = option(False)
    sources: ClassVar[tuple[str, ...]] = ("rigollet2025meanfield", "bruno2025multiscale")

    def data(self) -> xr.Dataset:
        share, first, last = float(self.share), float(self.first), float(self.last)
        pairs = [(mass, 1 - mass) for mass in (0.5, share) for _ in self.betas]
        betas = np.asarray(self.betas * 2)
        x0 = jnp.asarray([[1.0, 0.0], [np.cos(first), np.sin(first)]])
        lengths = jnp.asarray([_length(first - last, pair) for pair in pairs])

        def along(beta: Float[Array, ""], masses: Float[Array, " 2"], until: Float[Array, ""]) -> pt.Run:
            flow = pt.Flow(pt.Sphere(), pt.Attention(pt.DotProduct(beta), pt.Masses(masses)))
            plan = pt.Plan(until, save=FRAMES, solver="Dopri8", rtol=1e-11, atol=1e-13, watch=(limits.TrueDepth(),))
            clocked = limits.Reclocked(flow, 1e-30)  # pyright: ignore[reportCallIssue]
            return pt.solve(clocked, x0, plan)

        run = eqx.filter_vmap(along)(jnp.asarray(betas), jnp.asarray(pairs), lengths).complete()
        x, depth = np.asarray(run.tokens), np.asarray(run.observed["true_depth"])
        phi = 2 * np.arcsin(np.linalg.norm(x[:, :, 0] - x[:, :, 1], axis=-1) / 2)
        w = np.exp(betas[:, None] * (np.cos(phi) - 1))
        slow = np.stack([_integral(*each) for each in zip(np.asarray(run.times), depth, w, strict=True)])
        known = [two_clusters.EQUAL if self.control else pair for pair in pairs]
        law = [[two_clusters.slow_angle(s, first, pair) for s in row] for row, pair in zip(slow, known, strict=True)]
        error = np.abs(np.tan(phi / 2) / np.tan(np.asarray(law) / 2) - 1)
        ratio = np.asarray([pair[1] / pair[0] for pair in pairs])
        shape, tangent = (2, len(self.betas), -1), {"symbol": r"$\tan(\varphi/2)$"}
        at, off = ("mass", "beta", "frame"), {"symbol": "$|$relative error$|$"}
        data = {
            "slow": (at, slow.reshape(shape), {"long_name": "slow time", "symbol": r"$s=\int w\,dt$"}),
            "depth": (at, depth.reshape(shape), {"long_name": "depth", "symbol": "$t$"}),
            "angle": (at, phi.reshape(shape), {"long_name": "angle", "symbol": r"$\varphi$"}),
            "tangent": (at, np.tan(phi / 2).reshape(shape), tangent | {"long_name": "two clusters"}),
            "law": (at, np.tan(np.asarray(law) / 2).reshape(shape), tangent | {"long_name": "slow law"}),
            "error": (at[:2], error.max(axis=1).reshape(shape[:2]), off | {"long_name": "measured"}),
            "neglected": (
                at[:2],
                (2 * w.max(axis=1) * ratio).reshape(shape[:2]),
                off | {"long_name": "neglected term"},
            ),
        }
        return _split(xr.Dataset(data)).assign_coords(
            beta=("beta", list(self.betas), {"long_name": "inverse temperature", "symbol": r"$\beta$"})
        )

    def checks(self, data: xr.Dataset) -> tuple[pt.Check, ...]:
        return tuple(
            pt.Check(
                f"error over the neglected term, {kind} masses",
                float((data[f"error_{kind}"] / data[f"neglected_{kind}"]).max()),
                1.0,
                0.0,
                "to leading order in w the error is below 2 w m2 / m1",
                pt.Sense.at_most,
            )
            for kind in ("equal", "unequal")
        )

    def chart(self, data: xr.Dataset) -> tuple[Panel, ...]:
        return (
            Curves("depth_equal", ("angle_equal",), by="beta", log="x", title="in depth, equal masses"),
            Curves("slow_equal", ("tangent_equal",), ("law_equal",), by="beta", title="equal masses"),
            Curves("slow_unequal", ("tangent_unequal",), ("law_unequal",), by="beta", title="unequal masses"),
            Curves("beta", ("error_equal",), bounds=("neglected_equal",), log="y", title="what is neglected"),
        )

    def shrunk(self) -> "SlowPair":
        return dataclasses.replace(self, betas=(6.0, 9.0))


def _length(turn: float, masses: two_clusters.Masses) -> float:
    """The root mean square path of two clusters that close their angle by `turn`: they share it as their pulls do."""
    m1, m2 = masses
    share = (m2 / m1) / (m2 / m1 + m1 / m2)  # to leading order in w
    return turn * float(np.sqrt((share**2 + (1 - share) ** 2) / 2))


def _integral(length: np.ndarray, depth: np.ndarray, w: np.ndarray) -> np.ndarray:
    """The integral of w over depth, both known along the path."""
    passing = CubicSpline(length, depth).derivative()
    return CubicSpline(length, w * passing(length)).antiderivative()(length)


def _split(data: xr.Dataset) -> xr.Dataset:
    """The same with a variable of its own for equal and for unequal masses."""
    found = {}
    for k, kind in enumerate(("equal", "unequal")):
        found |= {f"{name}_{kind}": variable.isel(mass=k) for name, variable in data.items()}
    return xr.Dataset(found)
