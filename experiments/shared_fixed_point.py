"""One layer with a bias, applied for ever: everything ends in one point that is known."""

import dataclasses
from typing import ClassVar

import jax
import jax.numpy as jnp
import numpy as np
import xarray as xr

import particles as pt
from particles import limits
from particles.chart import Curves, Panel
from particles.declaration import option
from particles.laws.maps import Affine


class SharedFixedPoint(pt.AbstractClaim):
    """One layer with a bias, applied for ever, takes all tokens to one point, at the rate of its linear part.

    Without residual, T(mu) = F#(mu A_mu) with F(x) = W x + b contracts the differences of tokens faster than
    exponentially, so the limit is the Dirac at (I - W V)^-1 b, approached at the spectral radius of W V. Without a bias
    the same layer ends at zero: the trivial limit.

    Parameters
    ----------
    tokens, starts : how many tokens, and from how many random starts.
    radii : the eigenvalues of W V, real and distinct in size, below 1.
    passes : the number of layers.
    seed : of matrices and starts.
    control : the negative control: the bias is left out of the layer, but not of what is expected.

    Source
    ------
    vuckovic2020mathematical, for the map; place and rate derived by hand.
    """

    minutes: ClassVar[float] = 0.5
    tokens: int = option(16, ge=2)
    starts: int = option(8, ge=2)
    radii: tuple[float, ...] = option((0.8, -0.5, 0.3))
    passes: int = option(120, ge=20)
    seed: int = option(0, ge=0)
    control: bool = option(False)
    sources: ClassVar[tuple[str, ...]] = ("vuckovic2020mathematical",)

    def data(self) -> xr.Dataset:
        rng, d = np.random.default_rng(self.seed), len(self.radii)
        value, frame, bias = rng.normal(size=(d, d)) / d + np.eye(d), rng.normal(size=(d, d)), rng.normal(size=d)
        linear = frame @ np.diag(self.radii) @ np.linalg.inv(frame)
        forward = linear @ np.linalg.inv(value)  # W, such that W V has these eigenvalues
        expected = np.linalg.solve(np.eye(d) - linear, bias)
        law = pt.Attention(pt.DotProduct(0.5), value=pt.values.Linear(value))
        x0 = jnp.asarray(rng.normal(size=(self.starts, self.tokens, d)))
        biased = limits.fixed_point.Block(law, Affine(forward, None if self.control else bias))
        bare = limits.fixed_point.Block(law, Affine(forward))
        there, nowhere = (np.asarray(self._clouds(block, x0)) for block in (biased, bare))
        distance = np.abs(there - expected).max(axis=(-2, -1)).T
        return xr.Dataset(
            {
                "distance": (("layer", "start"), distance, {"long_name": "with bias, distance to the point"}),
                "rate": ("layer", self._guide(distance), {"long_name": "rate of the linear part"}),
                "trivial": (("layer", "start"), np.abs(nowhere).max(axis=(-2, -1)).T, {"long_name": "without bias"}),
                "spread": (("layer", "start"), np.ptp(there, axis=-2).max(-1).T, {"long_name": "diameter, with bias"}),
                "end": ("dim", there[:, -1].mean(axis=(0, 1)), {"long_name": "end"}),
                "expected": ("dim", expected, {"long_name": r"$(I - WV)^{-1} b$"}),
            },
            coords={"layer": ("layer", np.arange(self.passes + 1), {"symbol": "$k$"})},
        )

    def _clouds(self, block: limits.fixed_point.Block, x0: jax.Array) -> jax.Array:
        """All tokens behind every layer, `[start layer token dim]`."""
        return jax.vmap(lambda x: limits.fixed_point.passed(block, x, self.passes))(x0)

    def _guide(self, distance: np.ndarray) -> np.ndarray:
        middle = self.passes // 2
        return distance[middle].max() * max(map(abs, self.radii)) ** (np.arange(self.passes + 1.0) - middle)

    def outside(self, data: xr.Dataset) -> str:
        sizes = sorted(map(abs, self.radii), reverse=True)
        if sizes[0] >= 1:
            return f"The linear part must contract; its spectral radius is {sizes[0]:g}."
        return "" if sizes[0] > sizes[1] else "Two eigenvalues of the largest size give no single rate."

    def checks(self, data: xr.Dataset) -> tuple[pt.Check, ...]:
        rates = [limits.fixed_point.asymptotic_rate(data.distance[:, k].values) for k in range(self.starts)]
        wrong = float(data.distance[-1].max())
        return (
            pt.Check("largest distance to (I - WV)^-1 b", wrong, 0.0, 1e-10, "0.8^120 is 2e-12"),
            pt.Check(
                "rate of approach", float(np.median(rates)), max(map(abs, self.radii)), 0.008, "1%: other modes die out"
            ),
        )

    def chart(self, data: xr.Dataset) -> tuple[Panel, ...]:
        return (
            Curves("layer", ("distance",), ("rate",), log="y", title="with bias: one point"),
            Curves("layer", ("spread", "trivial"), log="y", title="differences die; without bias, all does"),
        )

    def shrunk(self) -> "SharedFixedPoint":
        return dataclasses.replace(self, tokens=6, starts=2)
