"""Attention as a map of measures: Lipschitz in W_1, with a constant that is nearly attained."""

import dataclasses
import math
from typing import ClassVar

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import xarray as xr
from jaxtyping import Array, Float

import particles as pt
from particles.analysis import LawMap, bounds, wasserstein
from particles.analysis.drawing import drawn
from particles.analysis.objectives import TransportRatio
from particles.analysis.worst_case import worst_case
from particles.chart import Curves, Panel
from particles.declaration import option, parameter
from particles.experiment import most

NEAR = 1e-3  # how far the second cloud of a local search is, relative to the radius


class LipschitzTransport(pt.AbstractClaim):
    """Softmax attention on a ball is Lipschitz in W_1, and small logits nearly attain the proved constant.

    W_1(mu A_mu, nu A_nu) <= v (s + (1 + 2 s) e^(2 s)) W_1(mu, nu), s = a R^2, for clouds in a ball of radius R. Held
    against random pairs of clouds, and pairs that gradient ascent makes worse: of two clouds at once, and of one cloud
    with a small displacement. Every distance is that of an optimal assignment.

    Parameters
    ----------
    tokens, dim : how many tokens in what dimension.
    slopes : s, which is a in the unit ball, from the smallest.
    value : v, the norm of the value matrix.
    pairs : of random clouds.
    starts, steps : of the ascents.
    near : how much of the constant must be attained at the smallest s.
    seed : of matrices and clouds.
    control : the negative control: a residual connection beside attention, which the constant leaves out.

    Source
    ------
    vuckovic2021regularity, vuckovic2020mathematical; the constant derived by hand.
    """

    minutes: ClassVar[float] = 3.0
    tokens: int = option(8, ge=2)
    dim: int = option(2, ge=1)
    slopes: tuple[float, ...] = option((0.003, 0.01, 0.03, 0.1, 0.3, 1.0), gt=0)
    value: Float[Array, ""] = parameter(0.9, gt=0)
    pairs: int = option(1700, ge=1)
    starts: int = option(32, ge=1)
    steps: int = option(600, ge=1)
    near: Float[Array, ""] = parameter(0.9, gt=0, lt=1)
    seed: int = option(0, ge=0)
    control: bool = option(False)
    sources: ClassVar[tuple[str, ...]] = ("vuckovic2021regularity", "vuckovic2020mathematical")

    def data(self) -> xr.Dataset:
        size, laws = float(self.value), [self._law(slope) for slope in self.slopes]
        ratios = [self._largest(LawMap(pt.Flow(pt.Euclidean(), law))) for law in laws]
        proved = np.array([bounds.transport_bound(slope, size, 1.0) for slope in self.slopes])
        finite = [bounds.transport_bound(slope, size, 1.0, n=self.tokens) for slope in self.slopes]
        words = {"symbol": r"$W_1(\mu A_\mu, \nu A_\nu) / W_1(\mu, \nu)$"}
        found = {name: np.array([one[name] for one in ratios]) for name in ratios[0]}
        worst = np.max([found["local"], found["pair"]], axis=0)
        return xr.Dataset(
            {
                "random": ("slope", found["random"], words | {"long_name": "largest of random pairs"}),
                "pair": ("slope", found["pair"], words | {"long_name": "ascent of two clouds"}),
                "local": ("slope", found["local"], words | {"long_name": "ascent of a displacement"}),
                "proved": ("slope", proved, words | {"long_name": "proved"}),
                "finite": ("slope", np.array(finite), words | {"long_name": f"proved for {self.tokens} tokens"}),
                "share": ("slope", worst / proved, {"long_name": "worst found over proved"}),
                "largest": ("slope", np.maximum(worst, found["random"]) / proved, {"long_name": "any over proved"}),
            },
            coords={"slope": ("slope", list(self.slopes), {"symbol": "$aR^2$", "long_name": "logits"})},
        )

    def _law(self, slope: float) -> pt.AbstractLaw:
        rng = np.random.default_rng(self.seed)
        form, value = (np.linalg.qr(rng.normal(size=(self.dim, self.dim)))[0] for _ in range(2))
        law = pt.Attention(pt.DotProduct(1.0, form=slope * form), value=pt.values.Linear(float(self.value) * value))
        return law + pt.Drift(confinement=-1.0 if self.control else 0.0)

    def _largest(self, moved: LawMap) -> dict[str, float]:
        """The largest ratio of random pairs, of two clouds that climb, and of one and its worst displacement."""
        keys = jax.random.split(jax.random.key(self.seed), 3)
        search = {"n": self.tokens, "d": self.dim, "radius": 1.0, "starts": self.starts, "steps": self.steps}
        pair = worst_case(moved, TransportRatio(), key=keys[0], **search)
        local = worst_case(moved, "W1", key=keys[1], **search)
        inside = (1 - NEAR) * local.tokens  # so that the displacement does not leave the ball
        found = [(pair.tokens, pair.tokens + pair.direction), (inside, inside + NEAR * local.direction)]
        of_pair, of_local, *of_random = _ratios(moved, np.concatenate([np.asarray(found), self._pairs(keys[2])]))
        return {"random": max(of_random), "pair": of_pair, "local": of_local}

    def _pairs(self, key: Array) -> np.ndarray:
        """Random pairs of clouds, half of them near one another, and half of those by a common displacement."""
        rng, shape = np.random.default_rng(self.seed), (self.tokens, self.dim)
        pairs = np.array(drawn(pt.Ball(1.0), key, 2 * self.pairs, *shape)).reshape(self.pairs, 2, *shape)
        steps = 0.1 * rng.normal(size=(self.pairs, *shape))
        steps[::4] = 0.1 * rng.normal(size=self.dim)
        near = pairs[::2, 0] + steps[::2]
        pairs[::2, 1] = near / np.maximum(1, np.linalg.norm(near, axis=-1, keepdims=True))
        return pairs

    def checks(self, data: xr.Dataset) -> tuple[pt.Check, ...]:
        attained, near = float(data.share[0]), float(self.near)
        return (
            pt.Check("largest ratio over proved", most(data.largest), 1.0, 1e-9, "an inequality", pt.Sense.at_most),
            pt.Check("attained at the smallest logits", attained, near, 0.0, "as they vanish, all", pt.Sense.at_least),
        )

    def outside(self, data: xr.Dataset) -> str:
        slope = min(self.slopes)
        least = 1 / (slope + (1 + 2 * slope) * math.exp(2 * slope))
        return "" if least > float(self.near) else f"The smallest logits, {slope:g}, do not nearly attain the constant."

    def chart(self, data: xr.Dataset) -> tuple[Panel, ...]:
        found = ("local", "pair", "random")
        return (
            Curves("slope", found, ("finite",), ("proved",), log="xy", title="stretch of $W_1$"),
            Curves("slope", ("share",), log="x", title="how near"),
        )

    def shrunk(self) -> "LipschitzTransport":
        return dataclasses.replace(self, tokens=5, dim=1, slopes=(0.01, 0.3), pairs=50, starts=4, steps=80)


@eqx.filter_jit
def _images(moved: LawMap, pairs: Float[Array, "pair 2 n d"]) -> Float[Array, "pair 2 n d"]:
    return jax.vmap(jax.vmap(moved))(pairs)


def _ratios(moved: LawMap, pairs: np.ndarray) -> list[float]:
    """By how much the distance of the clouds of every pair grows."""
    images = np.asarray(_images(moved, jnp.asarray(pairs)))
    return [wasserstein(*image) / wasserstein(*pair) for pair, image in zip(pairs, images, strict=True)]
