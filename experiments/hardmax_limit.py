"""Softmax attention at low temperature follows hardmax attention for a while."""

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
from particles.experiment import most


class HardmaxLimit(pt.AbstractClaim):
    """Softmax attention stays near hardmax attention as long as the margin of the best match lasts.

    If along its path every token has a best match that is unique and ahead by `gap`, the distance from the straight
    way to the vertex is at most (1 + t) (n - 1) diam exp(-beta gap). The margin is read off the path, up to each depth.

    Parameters
    ----------
    corners : tokens on the unit circle.
    inner : tokens inside their hull.
    betas : inverse temperatures.
    until : the last depth.
    seed : of the tokens.
    control : the negative control: the tokens have half of beta, the bound all of it.

    Source
    ------
    alcalde2025attention, for the limit; the bound derived by hand.
    """

    minutes: ClassVar[float] = 0.5
    corners: int = option(4, ge=3)
    inner: int = option(6, ge=1)
    betas: tuple[float, ...] = option((25.0, 50.0, 100.0, 200.0))
    until: Float[Array, ""] = parameter(3.0, gt=0)
    seed: int = option(0)
    control: bool = option(False)
    sources: ClassVar[tuple[str, ...]] = ("alcalde2025attention",)

    def data(self) -> xr.Dataset:
        betas = np.asarray(self.betas)
        start = self._tokens()
        goal = start[np.argmax(start @ start.T, axis=1)]
        plan = pt.Plan(self.until, save=60, solver="Dopri8", rtol=1e-11, atol=1e-14)

        def along(beta: Float[Array, ""]) -> pt.Run:
            law = pt.Attention(pt.DotProduct(beta), value=pt.Difference())
            return pt.solve(pt.Flow(pt.Euclidean(), law), start, plan)

        run = eqx.filter_vmap(along)(jnp.asarray(betas / 2 if self.control else betas)).complete()
        x, depth = np.asarray(run.tokens), np.asarray(run.times)[0]
        straight = goal + np.exp(-depth)[:, None, None] * (start - goal)
        error = np.linalg.norm(x - straight, axis=-1).max(axis=2)
        logits = np.sort(np.einsum("btid,btjd->btij", x, x), axis=-1)
        gap = np.minimum.accumulate((logits[..., -1] - logits[..., -2]).min(axis=2), axis=1)
        width = np.max(np.linalg.norm(start[:, None] - start[None], axis=-1))
        bound = (1 + depth) * (len(start) - 1) * width * np.exp(-betas[:, None] * gap)
        off, at = {"symbol": r"$\max_i|x_i-x_i^\infty|$"}, ("beta", "depth")
        shown = np.where(error > 1e-9, error, np.nan)  # what is less may be the solver's
        return xr.Dataset(
            {
                "error": (at, shown, off | {"long_name": "softmax"}),
                "bound": (at, np.where(bound < 10, bound, np.nan), off | {"long_name": "bound"}),
                "gap": (at, gap, {"long_name": "least margin so far", "symbol": "gap"}),
                "ratio": ("beta", np.nanmax(shown / bound, axis=1), {"long_name": "largest error over its bound"}),
                "midway": ("beta", error[:, len(depth) // 2], off | {"long_name": "half way"}),
            },
            coords={
                "beta": ("beta", betas, {"long_name": "inverse temperature", "symbol": r"$\beta$"}),
                "depth": ("depth", depth, {"long_name": "depth", "symbol": "$t$"}),
            },
        )

    def _tokens(self) -> np.ndarray:
        """Corners on the unit circle, and tokens inside that have a clear best match."""
        rng = np.random.default_rng(self.seed)
        angles = 2 * np.pi * (np.arange(self.corners) + 0.3 * rng.uniform(size=self.corners)) / self.corners
        vertices = np.stack([np.cos(angles), np.sin(angles)], axis=1)
        drawn = rng.dirichlet(np.ones(self.corners), size=200) @ vertices
        logits = np.sort(drawn @ vertices.T, axis=1)
        clear = drawn[logits[:, -1] - logits[:, -2] > 0.25]
        return np.concatenate([vertices, clear[: self.inner]])

    def checks(self, data: xr.Dataset) -> tuple[pt.Check, ...]:
        falls = float(np.max(data.midway.values[1:] / data.midway.values[:-1]))
        at_most = pt.Sense.at_most
        return (
            pt.Check("largest error over its bound", most(data.ratio), 1.0, 0.0, "an inequality", at_most),
            pt.Check("error half way over that of half of beta", falls, 1.0, 0.0, "it falls with beta", at_most),
        )

    def chart(self, data: xr.Dataset) -> tuple[Panel, ...]:
        return (
            Curves("depth", ("error",), bounds=("bound",), by="beta", log="y", title="distance from hardmax"),
            Curves("depth", ("gap",), by="beta", log="y", title="margin of the best match"),
        )

    def shrunk(self) -> "HardmaxLimit":
        return dataclasses.replace(self, betas=(50.0, 100.0), inner=4, until=jnp.asarray(1.5))
