"""One contracting layer: consecutive clouds come closer by at least the proved factor."""

import dataclasses
import itertools
from typing import ClassVar

import jax
import numpy as np
import xarray as xr
from jaxtyping import Array, Float

import particles as pt
from particles import limits
from particles.analysis import bounds, wasserstein
from particles.chart import Curves, Panel
from particles.declaration import option, parameter
from particles.laws.maps import Affine


class SharedContraction(pt.AbstractClaim):
    """Consecutive clouds of a contracting layer come closer by at least the proved factor, in W_1 and token by token.

    T(mu) = F#(mu A_mu) with multiples of rotations as matrices. The factors are Lip(F) v (a R^2 + (1 + 2 a R^2)
    e^(2 a R^2)) in W_1 and Lip(F) v (1 + 2 a R^2) in the largest displacement, nearly attained where a R^2 is small.

    Parameters
    ----------
    tokens, dim, starts : how many tokens, in what dimension, from how many random starts.
    slope, value, lip : the norms of the logits' matrix, a; of the value matrix, v; and of the linear map F.
    radius : R of the ball that the layer keeps.
    passes : the number of layers.
    seed : of matrices and starts.
    control : the negative control: the value matrix is three times what the bound is told.

    Source
    ------
    vuckovic2021regularity, for contraction in Wasserstein distances; constants derived by hand.
    """

    minutes: ClassVar[float] = 1.0
    tokens: int = option(24, ge=2)
    dim: int = option(3, ge=1)
    starts: int = option(8, ge=1)
    slope: Float[Array, ""] = parameter(0.05, ge=0)
    value: Float[Array, ""] = parameter(0.9, gt=0)
    lip: Float[Array, ""] = parameter(0.8, gt=0)
    radius: Float[Array, ""] = parameter(1.0, gt=0)
    passes: int = option(12, ge=2)
    seed: int = option(0, ge=0)
    control: bool = option(False)
    sources: ClassVar[tuple[str, ...]] = ("vuckovic2021regularity", "vuckovic2020mathematical")

    def data(self) -> xr.Dataset:
        rng, d = np.random.default_rng(self.seed), self.dim
        form, value, forward = (np.linalg.qr(rng.normal(size=(d, d)))[0] for _ in range(3))
        form *= float(self.slope)
        value *= float(self.value) * (3 if self.control else 1)
        law = pt.Attention(pt.DotProduct(1.0, form=form), value=pt.values.Linear(value))
        block = limits.fixed_point.Block(law, Affine(float(self.lip) * forward))
        x0 = pt.Ball(self.radius).uniform(jax.random.key(self.seed), self.starts * self.tokens, d)
        clouds = np.asarray(self._clouds(block, x0.reshape(self.starts, self.tokens, d)))
        labeled = np.linalg.norm(np.diff(clouds, axis=1), axis=-1).max(-1)
        transport = np.array([[wasserstein(x, y) for x, y in itertools.pairwise(c)] for c in clouds])
        proved = [float(self.lip) * bound(*self._constants()) for bound in _BOUNDS]
        words = {"symbol": r"$\mathrm{dist}_{k+1} / \mathrm{dist}_k$"}
        return xr.Dataset(
            {
                "labeled": (("layer", "start"), _ratios(labeled), words | {"long_name": "largest displacement"}),
                "transport": (("layer", "start"), _ratios(transport), words | {"long_name": "$W_1$"}),
                "labeled_bound": ("layer", np.full(self.passes - 1, proved[1]), words | {"long_name": "its bound"}),
                "transport_bound": ("layer", np.full(self.passes - 1, proved[0]), words | {"long_name": "its bound"}),
            },
            coords={"layer": ("layer", np.arange(1, self.passes), {"symbol": "$k$"})},
        )

    def _constants(self) -> tuple[float, float, float]:
        return float(self.slope), float(self.value), float(self.radius)

    def _clouds(self, block: limits.fixed_point.Block, x0: jax.Array) -> jax.Array:
        """All tokens behind every layer, `[start layer token dim]`."""
        return jax.vmap(lambda x: limits.fixed_point.passed(block, x, self.passes))(x0)

    def outside(self, data: xr.Dataset) -> str:
        kept = float(self.lip) * float(self.value)
        if kept > 1:
            return f"The layer does not keep the ball: Lip(F) v = {kept:g} is above 1."
        factors = [float(self.lip) * bound(*self._constants()) for bound in _BOUNDS]
        return "" if max(factors) < 1 else f"The layer need not contract: the proved factor is {max(factors):g}."

    def checks(self, data: xr.Dataset) -> tuple[pt.Check, ...]:
        slack = "an inequality; rounding"
        worst = {name: float(data[name].max()) for name in ("labeled", "transport")}
        bound = {name: float(data[f"{name}_bound"][0]) for name in worst}
        return (
            pt.Check(
                "largest ratio of displacements", worst["labeled"], bound["labeled"], 1e-9, slack, pt.Sense.at_most
            ),
            pt.Check("largest ratio of W_1", worst["transport"], bound["transport"], 1e-9, slack, pt.Sense.at_most),
        )

    def chart(self, data: xr.Dataset) -> tuple[Panel, ...]:
        return (
            Curves("layer", ("labeled",), bounds=("labeled_bound",), title="tokens with labels"),
            Curves("layer", ("transport",), bounds=("transport_bound",), title="clouds"),
        )

    def shrunk(self) -> "SharedContraction":
        return dataclasses.replace(self, starts=2, passes=8)


_BOUNDS = (bounds.transport_bound, bounds.displacement_bound)


def _ratios(distances: np.ndarray) -> np.ndarray:
    """Of consecutive distances, where they are well above rounding; `[layer start]`."""
    return np.where(distances[:, 1:] > 1e-12, distances[:, 1:] / distances[:, :-1], np.nan).T
