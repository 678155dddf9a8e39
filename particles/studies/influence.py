"""Who caused whom, beside what attention weights say of it."""

import dataclasses
from typing import ClassVar

import jax.numpy as jnp
import numpy as np
import xarray as xr

from ..analysis.influence import influence, rank_correlation, total_variation
from ..chart import Curves, Map, Panel
from ..declaration import option
from ..dynamics import AbstractFlow
from ..integration import Plan
from ..starts import AbstractStart
from .base import AbstractFlowStudy

EXPLANATIONS = ("weights there", "mean weights", "rollout")


class Influence(AbstractFlowStudy):
    """What a token came from is told ever worse by attention weights as depth grows.

    Influence is the norm of the derivative of a token at depth t by one at depth 0. It is held against the attention
    weights at that depth, against their mean up to there, and against their rollout, in total variation of the shares
    and in the order of the other tokens.

    Parameters
    ----------
    start, flow, plan : what is followed, how far and how exactly; influence is looked at at the plan's frames.
    name, seed : of the study, and of the start.

    Source
    ------
    meister2021is.
    """

    start: AbstractStart
    flow: AbstractFlow
    plan: Plan
    name: str = option("influence")
    seed: int = option(0, ge=0)
    minutes: ClassVar[float] = 1.0
    sources: ClassVar[tuple[str, ...]] = ("meister2021is",)

    def data(self) -> xr.Dataset:
        found = influence(self.flow, self.first(), self.plan)
        weights = np.asarray(found.weights)
        means = np.cumsum(weights, axis=0) / np.arange(1, len(weights) + 1)[:, None, None]
        told = (weights, means, np.asarray(found.rollout))
        apart = np.stack([np.asarray(total_variation(found.shares, jnp.asarray(w))) for w in told], axis=1)
        blocks = np.asarray(found.blocks)
        ranks = np.array([[rank_correlation(b, w[k]) for w in told] for k, b in enumerate(blocks)])
        tokens = np.arange(1, blocks.shape[1] + 1)
        return xr.Dataset(
            {
                "influence": (
                    ("token", "source"),
                    np.asarray(found.shares[-1]),
                    {"symbol": r"$|\partial x_i(T) / \partial x_j(0)|$", "long_name": "share of influence"},
                ),
                "weight": (
                    ("token", "source"),
                    weights[-1],
                    {"symbol": "$w_{ij}(T)$", "long_name": "attention weight"},
                ),
                "apart": (
                    ("depth", "explanation"),
                    apart,
                    {"symbol": r"$\mathrm{TV}$", "long_name": "total variation to the shares of influence"},
                ),
                "order": (
                    ("depth", "explanation"),
                    ranks,
                    {"symbol": r"$\tau$", "long_name": "Kendall's correlation with influence"},
                ),
            },
            coords={
                "depth": ("depth", np.asarray(found.times), {"symbol": "$t$", "long_name": "depth"}),
                "explanation": ("explanation", list(EXPLANATIONS), {"symbol": "explanation"}),
                "token": ("token", tokens, {"symbol": "$i$", "long_name": "token"}),
                "source": ("source", tokens, {"symbol": "$j$", "long_name": "start"}),
            },
        )

    def chart(self, data: xr.Dataset) -> tuple[Panel, ...]:
        return (
            Map("source", "token", "influence", title="influence at the end"),
            Map("source", "token", "weight", title="attention at the end"),
            Curves("depth", ("apart",), by="explanation", joined=True, title="distance"),
            Curves("depth", ("order",), by="explanation", joined=True, title="order"),
        )

    def shrunk(self) -> "Influence":
        return self.small(plan=dataclasses.replace(self.plan, save=6))
