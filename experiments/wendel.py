"""Random tokens in an open hemisphere."""

import dataclasses
from math import comb
from typing import ClassVar

import jax
import numpy as np
import xarray as xr
from scipy.optimize import linprog

import particles as pt
from particles.chart import Curves, Panel
from particles.declaration import option


class Wendel(pt.AbstractClaim):
    """Uniform tokens lie in an open hemisphere with a probability that is a sum of binomials.

    Tokens in a hemisphere all meet. Whether n tokens lie in one is asked of linear programming: whether some w has
    <x_i, w> >= 1 for all of them.

    Parameters
    ----------
    tokens : the numbers n.
    dims : the numbers d.
    draws : of each.
    seed : of the draws.
    control : the negative control: tokens from a law that prefers one side of the sphere.

    Source
    ------
    geshkovski2023perspective, Theorem 6.7, for tokens that meet; wendel1962problem for the probability.
    """

    minutes: ClassVar[float] = 1.0
    tokens: tuple[int, ...] = option((2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 14, 16), ge=1)
    dims: tuple[int, ...] = option((2, 3, 5), ge=2)
    draws: int = option(400, ge=2)
    seed: int = option(0, ge=0)
    control: bool = option(False)
    sources: ClassVar[tuple[str, ...]] = ("geshkovski2023perspective", "wendel1962problem")

    def data(self) -> xr.Dataset:
        shares, expected = np.zeros((2, len(self.tokens), len(self.dims)))
        for k, d in enumerate(self.dims):
            start = pt.starts.VonMisesFisher(max(self.tokens) * self.draws, d, kappa=1.5 if self.control else 0.0)
            x = np.asarray(start(pt.Sphere(), jax.random.key(self.seed + d))).reshape(self.draws, -1, d)
            for j, n in enumerate(self.tokens):
                shares[j, k] = np.mean([_in_hemisphere(one[:n]) for one in x])
                expected[j, k] = sum(comb(n - 1, i) for i in range(d)) / 2 ** (n - 1)
        words = {"symbol": "$P$"}
        cells = ("tokens", "dim")
        return xr.Dataset(
            {
                "share": (cells, shares, words | {"long_name": "share of draws"}),
                "probability": (cells, expected, words | {"long_name": "Wendel's formula"}),
                "error": (
                    cells,
                    3 * np.sqrt(expected * (1 - expected) / self.draws),
                    {"long_name": "three binomial standard errors"},
                ),
            },
            coords={
                "tokens": ("tokens", list(self.tokens), {"long_name": "tokens", "symbol": "$n$"}),
                "dim": ("dim", list(self.dims), {"long_name": "dimension", "symbol": "$d$"}),
            },
        )

    def checks(self, data: xr.Dataset) -> tuple[pt.Check, ...]:
        spread = np.sqrt(data.probability * (1 - data.probability) / self.draws)
        chance = np.abs(data.share - data.probability) / spread.where(spread > 0, 1.0)
        counted = self.draws * np.minimum(data.probability, 1 - data.probability) >= 5
        certain = data.share.where(data.probability == 1, 1.0)
        return (
            pt.Check(
                "largest deviation in binomial standard errors",
                float(chance.where(counted, 0.0).max()),
                0,
                4,
                "chance, for the largest of many; where five draws are expected either way",
            ),
            pt.Check("smallest share where it is certain, n <= d", float(certain.min()), 1.0, 0, "a count"),
        )

    def chart(self, data: xr.Dataset) -> tuple[Panel, ...]:
        return (Curves("tokens", ("share",), ("probability",), error="error", by="dim", title="in a hemisphere"),)

    def shrunk(self) -> "Wendel":
        return dataclasses.replace(self, tokens=(3, 6, 10), dims=(2, 4), draws=150)


def _in_hemisphere(x: np.ndarray) -> bool:
    """Whether some direction has a positive product with every row."""
    n, d = x.shape
    found = linprog(np.zeros(d), A_ub=-x, b_ub=-np.ones(n), bounds=(None, None), method="highs")
    return found.status == 0
