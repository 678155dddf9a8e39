"""Hardmax attention: every token walks straight to its vertex."""

import dataclasses
from typing import ClassVar

import equinox as eqx
import jax.numpy as jnp
import numpy as np
import xarray as xr
from jaxtyping import Array, Float

import particles as pt
from particles.chart import Curves, Panel
from particles.declaration import option, parameter

FRAMES = 40


class HardmaxVertices(pt.AbstractClaim):
    """Under hardmax attention every token goes straight to a vertex of the hull, which stays, at the rate exp(-t).

    The vertices must be their own best match, as they are on a circle. A step of length h shortens the way by 1 - h.

    Parameters
    ----------
    corners : tokens on the unit circle.
    inner : tokens inside their hull.
    until : the last depth.
    step : h, of the discrete form.
    seed : of the tokens.
    control : the negative control: one vertex is moved inwards beside another, its best match now.

    Source
    ------
    alcalde2025attention; the condition on the vertices derived by hand.
    """

    minutes: ClassVar[float] = 0.5
    corners: int = option(7, ge=3)
    inner: int = option(24, ge=1)
    until: Float[Array, ""] = parameter(4.0, gt=0)
    step: Float[Array, ""] = parameter(0.1, gt=0, lt=1)
    seed: int = option(0)
    control: bool = option(False)
    sources: ClassVar[tuple[str, ...]] = ("alcalde2025attention",)

    def outside(self, data: xr.Dataset) -> str:
        return "" if self.control or float(data.margin) >= 0 else "a vertex is not its own best match"

    def data(self) -> xr.Dataset:
        start = _tokens(self.corners, self.inner, self.seed, self.control)
        goal = start[np.argmax(start @ start.T, axis=1)]
        goal[: self.corners] = start[: self.corners]
        margin = np.min([[v @ (v - w) for w in start] for v in start[: self.corners]])
        flow = pt.Flow(pt.Euclidean(), pt.Attention(normalizer=pt.normalizers.Hardmax(), value=pt.Difference()))
        h, until = float(self.step), float(self.until)
        smooth = pt.Plan(until, save=FRAMES, solver="Dopri8", rtol=1e-11, atol=1e-13)
        run = pt.solve(flow, start, smooth).complete()
        walk = eqx.filter_jit(lambda x: x + h * flow(jnp.zeros(()), x))
        steps, walked = round(until / h), [jnp.asarray(start)]
        for _ in range(steps):
            walked.append(walk(walked[-1]))
        depth, x = np.asarray(run.times), np.asarray(run.tokens)
        far = np.linalg.norm(start - goal, axis=1)
        inner = far > 0
        left = lambda path: np.linalg.norm(path - goal, axis=-1)[:, inner] / far[inner]  # noqa: E731
        count = np.arange(steps + 1)
        way, at = {"symbol": r"$|x-v|\,/\,|x_0-v|$"}, ("depth", "token")
        return xr.Dataset(
            {
                "left": (at, left(x), way | {"long_name": "tokens"}),
                "exact": ("depth", np.exp(-depth), way | {"long_name": "$e^{-t}$"}),
                "walked": (("count", "token"), left(np.stack(walked)), way | {"long_name": "tokens"}),
                "steps": ("count", (1 - h) ** count, way | {"long_name": "$(1-h)^k$"}),
                "across": (("depth", "index"), x[:, :, 0], {"long_name": "tokens", "symbol": "$x_1$"}),
                "up": (("depth", "index"), x[:, :, 1], {"long_name": "tokens", "symbol": "$x_2$"}),
                "line": (
                    (),
                    np.abs(x - goal - np.exp(-depth)[:, None, None] * (start - goal)).max(),
                    {"long_name": "error"},
                ),
                "broken": (
                    (),
                    np.abs(np.stack(walked) - goal - ((1 - h) ** count)[:, None, None] * (start - goal)).max(),
                    {"long_name": "error in steps"},
                ),
                "margin": ((), margin, {"long_name": "least margin of a vertex"}),
            },
            coords={
                "depth": ("depth", depth, {"long_name": "depth", "symbol": "$t$"}),
                "index": ("index", np.arange(len(start)), {"long_name": "token", "symbol": "$i$"}),
                "count": ("count", count, {"long_name": "steps", "symbol": "$k$"}),
            },
        )

    def checks(self, data: xr.Dataset) -> tuple[pt.Check, ...]:
        return (
            pt.Check("largest distance from the straight line", float(data.line), 0.0, 1e-9, "solver at rtol 1e-11"),
            pt.Check("the same of steps", float(data.broken), 0.0, 1e-13, "rounding"),
        )

    def chart(self, data: xr.Dataset) -> tuple[Panel, ...]:
        return (
            Curves("across", ("up",), by="index", title="paths"),
            Curves("depth", ("left",), ("exact",), log="y", title="flow"),
            Curves("count", ("walked",), ("steps",), log="y", title="steps"),
        )

    def shrunk(self) -> "HardmaxVertices":
        return dataclasses.replace(self, corners=5, inner=8, until=jnp.asarray(2.0))


def _tokens(corners: int, inner: int, seed: int, moved: bool) -> np.ndarray:
    """Corners on the unit circle, perhaps one of them moved inwards beside the next, and convex combinations."""
    rng = np.random.default_rng(seed)
    angles = 2 * np.pi * (np.arange(corners) + 0.3 * rng.uniform(size=corners)) / corners
    vertices = np.stack([np.cos(angles), np.sin(angles)], axis=1)
    if moved:
        vertices[0] = 0.92 * np.asarray([np.cos(angles[1] - 0.2), np.sin(angles[1] - 0.2)])
    return np.concatenate([vertices, rng.dirichlet(np.ones(corners), size=inner) @ vertices])
