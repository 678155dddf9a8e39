"""A trajectory as the sum of its attention paths."""

import string
from typing import ClassVar

import jax.numpy as jnp
import numpy as np
import xarray as xr

from ..analysis.paths import Paths as Found
from ..analysis.paths import paths, remainder_bound
from ..chart import Curves, Panel
from ..declaration import option
from ..dynamics import AbstractFlow
from ..experiment import Check, Sense
from ..integration import Plan
from ..starts import AbstractStart
from .base import AbstractFlowStudy

SHOWN = 12  # words whose share of the end is drawn


class Paths(AbstractFlowStudy):
    """A trajectory is the sum of its attention paths, and those longer than a length add no more than is proved.

    Parameters
    ----------
    start, flow, plan : what is followed, how far and how exactly; flows of heads with values linear in the key.
    order : the length of the longest paths.
    name, seed : of the study, and of the start.

    Source
    ------
    tiberi2024dissecting; the bound derived by hand.
    """

    start: AbstractStart
    flow: AbstractFlow
    plan: Plan
    order: int = option(6, ge=1)
    name: str = option("paths")
    seed: int = option(0, ge=0)
    minutes: ClassVar[float] = 1.0
    sources: ClassVar[tuple[str, ...]] = ("tiberi2024dissecting",)

    def data(self) -> xr.Dataset:
        x0 = self.first()
        found = paths(self.flow, x0, self.plan, order=self.order, by_head=True)
        orders, depth = np.arange(self.order + 1), float(self.plan.length)
        lengths = np.array([len(word) for word in found.words])
        remainders = [float(found.remainder(int(k))[-1]) for k in orders]
        size = float(jnp.max(jnp.linalg.norm(found.tokens, axis=2)))
        bounds = [remainder_bound(self.flow, x0.shape[1], depth, size, int(k)) for k in orders]
        last = np.asarray(found.sizes[-1])
        largest = np.argsort(-last, kind="stable")[:SHOWN]
        return xr.Dataset(
            {
                "size": (("depth", "order"), _sizes(found, lengths), {"symbol": "$|Z_k|$", "long_name": "paths"}),
                "remainder": ("order", remainders, {"symbol": "$|R_k|$", "long_name": "what longer paths add"}),
                "bound": ("order", bounds, {"symbol": "$|R_k|$", "long_name": "what they can add"}),
                "share": ("word", last[largest], {"symbol": "$|Z_w|$", "long_name": "path at the end"}),
                "row_sum": ((), self._row_sum(found), {"long_name": "largest sum of a row of weights"}),
            },
            coords={
                "depth": ("depth", np.asarray(found.times), {"symbol": "$t$", "long_name": "depth"}),
                "order": ("order", orders, {"symbol": "$k$", "long_name": "length of paths"}),
                "word": (
                    "word",
                    [_named(found.words[k]) for k in largest],
                    {"long_name": "heads, the first one first"},
                ),
            },
        )

    def _row_sum(self, found: Found) -> float:
        """The largest sum of a row of weights at any frame, of any head."""
        sums = [
            jnp.max(jnp.sum(jnp.abs(self.flow.law.at(t).head_weights(t, x, self.flow.summation)), axis=2))
            for t, x in zip(found.times, found.tokens, strict=True)
        ]
        return float(max(sums))

    def outside(self, data: xr.Dataset) -> str:
        largest = float(data.row_sum)
        return "" if largest <= 1 + 1e-9 else f"The bound is for weights of sum at most 1; a row sums to {largest:.4g}."

    def checks(self, data: xr.Dataset) -> tuple[Check, ...]:
        closest = float(np.max(data.remainder / data.bound))
        return (Check("what longer paths add, over its bound", closest, 1.0, 1e-9, "an inequality", Sense.at_most),)

    def chart(self, data: xr.Dataset) -> tuple[Panel, ...]:
        return (
            Curves("depth", ("size",), by="order", log="y", joined=True, title="by length"),
            Curves("order", ("remainder",), bounds=("bound",), log="y", title="what is left out"),
            Curves("word", ("share",), log="y", title="the largest paths"),
        )

    def shrunk(self) -> "Paths":
        plan = self.plan.shrunk(1.0, 5)
        return self.small(plan=plan, order=min(self.order, 3))


def _sizes(found: Found, lengths: np.ndarray) -> np.ndarray:
    """The root mean square over tokens of what all paths of a length contribute, `[depth order]`."""
    content = [np.asarray(found.content)[:, lengths == k].sum(axis=1) for k in range(found.order + 1)]
    return np.sqrt(np.mean(np.sum(np.stack(content, axis=1) ** 2, axis=3), axis=2))


def _named(word: tuple[int, ...]) -> str:
    """A word as letters, one for each head."""
    return "".join(string.ascii_lowercase[head % 26] for head in word) or "start"
