"""L2 attention is Lipschitz on all of space."""

import dataclasses
import math
from typing import ClassVar

import jax
import numpy as np
import xarray as xr
from jaxtyping import Array, Float

import particles as pt
from particles.analysis import LawMap, bounds
from particles.analysis.worst_case import worst_case
from particles.chart import Curves, Panel
from particles.declaration import option, parameter
from particles.experiment import most


class L2Lipschitz(pt.AbstractClaim):
    """L2 attention is Lipschitz on all of space, with a constant that grows like the logarithm of the number of tokens.

    For scores -|W (x - y)|^2 and values V = U W no displacement of the tokens is stretched by more than
    |V| + 4 phi |U| |W| in the largest displacement of a token, phi = W_0((n - 1)/e): as n grows, like 4 ln n. The worst
    clouds are looked for by gradient ascent, in balls far larger than the kernel is wide. A token between two clusters
    of all others, both at the distance sqrt(1 + phi) / |W|, comes to 4 phi - 1 + 2/(1 + phi) where |U| |W| = |V| = 1.

    Parameters
    ----------
    tokens, dim : numbers of tokens, and their dimension.
    width : the size of W.
    radius : of the ball, over the distance sqrt(1 + phi) / |W| of the tokens that a row sees best.
    starts, steps : of the ascents.
    near : how much of the constant must be found.
    seed : of matrices and clouds.
    control : the negative control: W loses a row, so that values see a direction which scores do not.

    Source
    ------
    kim2021lipschitz, for the property; the constant derived by hand.
    """

    minutes: ClassVar[float] = 2.0
    tokens: tuple[int, ...] = option((3, 5, 9, 17, 33, 65), ge=2)
    dim: int = option(2, ge=2)
    width: Float[Array, ""] = parameter(1.0, gt=0)
    radius: Float[Array, ""] = parameter(2.0, gt=1)
    starts: int = option(24, ge=1)
    steps: int = option(600, ge=1)
    near: Float[Array, ""] = parameter(0.3, gt=0, lt=1)
    seed: int = option(0, ge=0)
    control: bool = option(False)
    sources: ClassVar[tuple[str, ...]] = ("kim2021lipschitz",)

    def data(self) -> xr.Dataset:
        moved = LawMap(pt.Flow(pt.Euclidean(), self._law()))
        phi = np.array([bounds.mean_distance(n - 1) for n in self.tokens])
        best = np.array([self._worst(moved, n, math.sqrt(1 + one)) for n, one in zip(self.tokens, phi, strict=True)])
        proved = np.array([bounds.distance_bound(1.0, 1.0, n) for n in self.tokens])
        words = {"symbol": r"$\mathrm{Lip}$"}
        return xr.Dataset(
            {
                "best": ("tokens", best, words | {"long_name": "worst found"}),
                "proved": ("tokens", proved, words | {"long_name": "proved"}),
                "clusters": ("tokens", 4 * phi - 1 + 2 / (1 + phi), words | {"long_name": "between two clusters"}),
                "share": ("tokens", best / proved, {"long_name": "worst found over proved"}),
            },
            coords={"tokens": ("tokens", list(self.tokens), {"symbol": "$n$", "long_name": "tokens"})},
        )

    def _law(self) -> pt.AbstractLaw:
        """Of orthogonal U and W / |W|, so that |U| |W| = |V|, which is 1."""
        rng = np.random.default_rng(self.seed)
        seen, value = (np.linalg.qr(rng.normal(size=(self.dim, self.dim)))[0] for _ in range(2))
        query = seen[:-1] if self.control else seen
        score = pt.SquaredDistance(2 * float(self.width) ** 2, query=query)
        return pt.Attention(score, value=pt.values.Linear(value @ seen))

    def _worst(self, moved: LawMap, n: int, far: float) -> float:
        radius, key = float(self.radius) * far / float(self.width), jax.random.key(self.seed)
        search = {"radius": radius, "starts": self.starts, "steps": self.steps}
        return float(worst_case(moved, "max", n=n, d=self.dim, key=key, **search).value)

    def checks(self, data: xr.Dataset) -> tuple[pt.Check, ...]:
        least, near = float(data.share.min()), float(self.near)
        return (
            pt.Check("worst found over proved", most(data.share), 1.0, 1e-9, "an inequality", pt.Sense.at_most),
            pt.Check("the same, least", least, near, 0.0, "two clusters nearly attain it", pt.Sense.at_least),
        )

    def chart(self, data: xr.Dataset) -> tuple[Panel, ...]:
        return (
            Curves("tokens", ("best",), ("clusters",), ("proved",), log="x", title="largest displacement"),
            Curves("tokens", ("share",), log="x", title="how near"),
        )

    def shrunk(self) -> "L2Lipschitz":
        return dataclasses.replace(self, tokens=(7,), starts=4, steps=120)
