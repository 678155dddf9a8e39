"""Softmax attention maximizes score plus entropy."""

import dataclasses
from typing import ClassVar

import jax.numpy as jnp
import numpy as np
import xarray as xr
from jaxtyping import Array, Float
from scipy.special import rel_entr

import particles as pt
from particles.chart import Curves, Panel
from particles.declaration import option, parameter
from particles.experiment import most


class GibbsIdentity(pt.AbstractClaim):
    """Softmax weights are the best compromise of score and entropy: any others fall short by their divergence.

    For every weights eta of a row: the mean score less KL(eta | uniform) is the free energy of the row less
    KL(eta | softmax). The competitors are random, and lie on straight lines from softmax to them.

    Parameters
    ----------
    tokens, dim, beta : of the tokens, and of the score.
    competitors : how many random weights.
    steps : on the line from softmax to each.
    seed : of tokens and competitors.
    control : the negative control: the weights of attention at twice the temperature.

    Source
    ------
    vuckovic2020mathematical.
    """

    minutes: ClassVar[float] = 0.5
    tokens: int = option(32, ge=2)
    dim: int = option(3, ge=1)
    beta: Float[Array, ""] = parameter(2.0)
    competitors: int = option(200, ge=1)
    steps: int = option(21, ge=2)
    seed: int = option(0, ge=0)
    control: bool = option(False)
    sources: ClassVar[tuple[str, ...]] = ("vuckovic2020mathematical",)

    def data(self) -> xr.Dataset:
        rng, n = np.random.default_rng(self.seed), self.tokens
        x = jnp.asarray(rng.normal(size=(n, self.dim)))
        law = pt.Attention(pt.DotProduct(self.beta))
        hot = pt.Attention(pt.DotProduct(self.beta / 2)) if self.control else law
        weights, free = np.asarray(hot.weights(x, pt.Dense())), np.asarray(law.free_energy(x, pt.Dense()))
        scores = np.asarray(law.score(x, x))
        drawn = rng.dirichlet(np.full(n, 0.5), size=(self.competitors, n))
        along = np.linspace(0, 1, self.steps)
        eta = (1 - along)[:, None, None, None] * weights + along[:, None, None, None] * drawn
        reached = np.sum(eta * scores - rel_entr(eta, 1 / n), axis=-1)
        short = np.sum(rel_entr(eta, weights), axis=-1)
        row = {"symbol": r"$\langle s, \eta\rangle - \mathrm{KL}(\eta|\mathrm{uniform})$"}
        return xr.Dataset(
            {
                "reached": ("along", reached[:, 0, 0], row | {"long_name": "weights of a row"}),
                "law": ("along", (free - short)[:, 0, 0], row | {"long_name": "free energy less divergence"}),
                "best": ("along", np.full(self.steps, free[0]), row | {"long_name": "free energy"}),
                "error": (
                    "along",
                    np.abs(reached - free + short).max(axis=(1, 2)),
                    {"long_name": "error of the identity, largest over rows"},
                ),
                "excess": (
                    "along",
                    (free - reached).min(axis=(1, 2)),
                    {"long_name": "shortfall of the best competitor"},
                ),
                "lost": (
                    "along",
                    short.min(axis=(1, 2)),
                    {"long_name": "smallest divergence"},
                ),
            },
            coords={
                "along": ("along", along, {"long_name": "way from softmax to a competitor", "symbol": r"$\lambda$"})
            },
        )

    def checks(self, data: xr.Dataset) -> tuple[pt.Check, ...]:
        return (
            pt.Check("error of the identity", most(data.error), 0, 1e-12, "rounding of sums"),
            pt.Check(
                "shortfall of the best competitor", float(data.excess.min()), 0, 1e-12, "rounding", pt.Sense.at_least
            ),
            pt.Check("shortfall of the weights themselves", float(data.excess[0]), 0, 1e-12, "rounding of sums"),
        )

    def chart(self, data: xr.Dataset) -> tuple[Panel, ...]:
        return (
            Curves("along", ("reached",), ("law",), ("best",), title="one row, one competitor"),
            Curves("along", ("excess",), ("lost",), title="the best of all rows and competitors"),
        )

    def shrunk(self) -> "GibbsIdentity":
        return dataclasses.replace(self, tokens=8, competitors=20, steps=5)
