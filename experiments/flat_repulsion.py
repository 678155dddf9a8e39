"""Tokens of R^d that repel: they fall to the origin, slowly, and attention becomes uniform."""

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
from particles.experiment import worst
from particles.limits import two_clusters

FRAMES = 60


class FlatRepulsion(pt.AbstractClaim):
    """With V = -I and QK = a I all tokens of R^d fall to 0 like (2 a t)^(-1/2), and attention becomes uniform.

    A pair +-y on a line is followed to its exact place; the root mean square of a cloud tends to (d / (2 a t))^(1/2),
    since its covariance is, to leading order, (Sigma^-1 + 2 a t I)^-1.

    Parameters
    ----------
    tokens, dim : of a Gaussian cloud; the pair is as many tokens in two groups.
    a : the score is a <x, y>.
    start : y at depth 0.
    until : the last depth.
    seed : of the cloud.
    control : the negative control: the tokens have a score twice as large.

    Source
    ------
    geshkovski2023emergence; rates derived by hand.
    """

    minutes: ClassVar[float] = 0.5
    tokens: int = option(16, ge=4)
    dim: int = option(3, ge=1)
    a: Float[Array, ""] = parameter(1.0, gt=0)
    start: Float[Array, ""] = parameter(0.9, gt=0)
    until: Float[Array, ""] = parameter(1e4, gt=1)
    seed: int = option(0)
    control: bool = option(False)
    sources: ClassVar[tuple[str, ...]] = ("geshkovski2023emergence",)

    def outside(self, data: xr.Dataset) -> str:
        return "" if self.tokens % 2 == 0 else "the pair needs an even number of tokens"

    def data(self) -> xr.Dataset:
        n, d, a, start = self.tokens, self.dim, float(self.a), float(self.start)
        cloud = np.random.default_rng(self.seed).normal(size=(n, d))
        pair = np.zeros((n, d))
        pair[:, 0] = start * np.where(np.arange(n) < n // 2, 1, -1)
        law = pt.Attention(pt.DotProduct(2 * a if self.control else a), value=pt.values.Linear(-1.0))
        depths = tuple(np.geomspace(0.1, float(self.until), FRAMES))
        plan = pt.Plan(self.until, save=depths, solver="Dopri8", rtol=1e-11, atol=1e-14)
        both = jnp.asarray(np.stack([pair, cloud]))
        run = eqx.filter_vmap(lambda x0: pt.solve(pt.Flow(pt.Euclidean(), law), x0, plan))(both).complete()
        x = np.asarray(run.tokens)[:, 1:]
        size = np.sqrt(np.mean(np.sum(x[1] ** 2, axis=-1), axis=-1))
        weights = np.asarray(law.weights(jnp.asarray(x[1, -1]), pt.Dense()))
        t, exact = np.asarray(depths), np.asarray([two_clusters.repelled(t, start, a) for t in depths])
        place, ratio = {"symbol": "$|x|$"}, {"symbol": r"$|x|\,\sqrt{2at}$"}
        return xr.Dataset(
            {
                "pair": ("depth", x[0, :, 0, 0], place | {"long_name": "pair"}),
                "exact": ("depth", exact, place | {"long_name": "pair, exact"}),
                "cloud": ("depth", size, place | {"long_name": "cloud, root mean square"}),
                "law": ("depth", np.sqrt(d / (2 * a * t)), place | {"long_name": r"$(d/2at)^{1/2}$"}),
                "pair_ratio": ("depth", x[0, :, 0, 0] * np.sqrt(2 * a * t), ratio | {"long_name": "pair"}),
                "cloud_ratio": (
                    "depth",
                    size * np.sqrt(2 * a * t / d),
                    ratio | {"long_name": r"cloud, over $\sqrt{d}$"},
                ),
                "one": ("depth", np.ones(FRAMES), ratio | {"long_name": "limit"}),
                "uniform": ((), np.abs(weights * n - 1).max() / n, {"long_name": "distance of attention from 1/n"}),
            },
            coords={"depth": ("depth", t, {"long_name": "depth", "symbol": "$t$"})},
        )

    def checks(self, data: xr.Dataset) -> tuple[pt.Check, ...]:
        largest = worst(data.pair / data.exact - 1)
        return (
            pt.Check("largest relative error of the pair", largest, 0.0, 1e-8, "error of the solver at rtol 1e-11"),
            pt.Check(
                "y sqrt(2 a t) of the pair at the end", float(data.pair_ratio[-1]), 1.0, 1e-3, "correction O(1/t)"
            ),
            pt.Check(
                "the same of the cloud, over sqrt(d)", float(data.cloud_ratio[-1]), 1.0, 1e-2, "correction O(1/t)"
            ),
            pt.Check("largest distance of attention from 1/n", float(data.uniform), 0.0, 1e-2, "logits are O(1/t)"),
        )

    def chart(self, data: xr.Dataset) -> tuple[Panel, ...]:
        return (
            Curves("depth", ("pair", "cloud"), ("exact", "law"), log="xy", title="tokens fall to the origin"),
            Curves("depth", ("pair_ratio", "cloud_ratio"), ("one",), log="x", title="approach to the limit"),
        )

    def shrunk(self) -> "FlatRepulsion":
        return dataclasses.replace(self, tokens=8)
