"""Normalizers as principles of maximum entropy, put to the same tokens."""

import dataclasses
from typing import Any, ClassVar

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import xarray as xr
from jaxtyping import Array, Bool, Float

from ..analysis.entropy import Gibbs, competitors, gibbs
from ..chart import Curves, Panel
from ..declaration import described, option, parameter
from ..dynamics import AbstractFlow, at_precision
from ..experiment import Check, Sense, most
from ..integration import Plan, solve
from ..laws import Attention, Entmax, Hardmax, Softmax
from ..laws.normalizer import AbstractNormalizer, Sigmoid
from ..observables import RowEntropy
from ..starts import AbstractStart
from .base import AbstractFlowStudy

NEAREST = 1e-2  # the least part of the way to a competitor that is gone
SHORT = {"symbol": "$F - J$", "units": "nat"}


class MaximumEntropy(AbstractFlowStudy):
    """Every normalizer picks the weights that are best for its penalty; others fall short by a divergence.

    At the start of the flow, for several normalizers in the place of its own: random weights that obey the same
    constraints are taken, and weights on the way to them from the best; by how much they fall short is held against the
    Bregman divergence of the penalty and what is lost where the best weights are zero. Along the flow: the entropy of
    the rows that each normalizer would have there.

    Parameters
    ----------
    start, flow, plan : tokens, and how they move; the law is one attention.
    normalizers : those compared.
    competitors : how many random weights.
    scale : the standard deviation of what is added to the scores to make them.
    steps : on the way to each.
    name, seed : of the study, and of the start and the competitors.

    Raises
    ------
    ValueError
        If the law is not a single attention, a normalizer does not serve its slots, or two are the same.

    Source
    ------
    vuckovic2020mathematical; for penalties other than the entropy, blondel2020learning.
    """

    start: AbstractStart
    flow: AbstractFlow
    plan: Plan
    normalizers: tuple[AbstractNormalizer, ...] = (Softmax(), Entmax(), Hardmax(), Sigmoid())
    competitors: int = option(50, ge=1)
    scale: Float[Array, ""] = parameter(2.0, gt=0)
    steps: int = option(9, ge=2)
    name: str = option("maximum_entropy")
    seed: int = option(0, ge=0)
    minutes: ClassVar[float] = 1.0
    sources: ClassVar[tuple[str, ...]] = ("vuckovic2020mathematical", "blondel2020learning")

    def __check_init__(self):
        if not isinstance(self.flow.law, Attention):
            raise ValueError(
                "MaximumEntropy exchanges the normalizer of one attention; the law is a "
                f"{type(self.flow.law).__name__}. Study its heads one by one."
            )
        labels = [_label(normalizer) for normalizer in self.normalizers]
        if not labels or len(set(labels)) < len(labels):
            raise ValueError(f"`normalizers` of MaximumEntropy must be different ones, at least one; got {labels}")
        for normalizer in self.normalizers:
            self._law(normalizer)

    def data(self) -> xr.Dataset:
        x0 = self.first()
        plan = dataclasses.replace(self.plan, watch=(), stop=(), tokens=True)
        run = solve(self.flow, x0, plan, key=self.key(2) if self.flow.random else None).complete()
        assert run.tokens is not None, "the plan keeps them"
        along = np.geomspace(NEAREST, 1, self.steps)
        found = [self._shortfalls(normalizer, x0, along) for normalizer in self.normalizers]
        watched = [self._watched(normalizer, run.tokens) for normalizer in self.normalizers]
        axes = ("normalizer", "along")
        return xr.Dataset(
            {
                "short": (axes, np.stack([one.gap for one in found]), {"long_name": "shortfall"} | SHORT),
                "lost": (
                    axes,
                    np.stack([one.divergence + one.boundary for one in found]),
                    {"long_name": "divergence + boundary"} | SHORT,
                ),
                "least": ("normalizer", [one.least for one in found], {"long_name": "least shortfall", "units": "nat"}),
                "error": ("normalizer", [one.error for one in found], {"long_name": "largest error of the identity"}),
                "entropy": (
                    ("normalizer", "depth"),
                    np.stack([np.asarray(one[0]) for one in watched]),
                    {"long_name": "entropy of rows", "symbol": "$H$", "units": "nat"},
                ),
                "most": (
                    "depth",
                    np.full(len(run.times), np.log(x0.shape[0])),
                    {"long_name": "log of the number of tokens", "symbol": r"$\log n$", "units": "nat"},
                ),
                "entropy_converged": (
                    ("normalizer", "depth"),
                    np.stack([np.asarray(one[1]) for one in watched]),
                    {"long_name": "whether the weights were solved for"},
                ),
            },
            coords={
                "normalizer": (
                    "normalizer",
                    [_label(normalizer) for normalizer in self.normalizers],
                    {"symbol": "normalizer"},
                ),
                "along": ("along", along, {"long_name": "way from the best to others", "symbol": r"$\lambda$"}),
                "depth": ("depth", np.asarray(run.times), {"long_name": "depth", "symbol": "$t$"}),
            },
        )

    def chart(self, data: xr.Dataset) -> tuple[Panel, ...]:
        return (
            Curves("along", ("short",), ("lost",), by="normalizer", log="xy", title="how much worse others are"),
            Curves("depth", ("entropy",), bounds=("most",), by="normalizer", joined=True, title="how widely rows look"),
        )

    def checks(self, data: xr.Dataset) -> tuple[Check, ...]:
        high = most(data.entropy - data.most)
        return (
            Check("error of the identity", most(data.error), 0, 1e-12, "rounding of sums", Sense.at_most),
            Check("least shortfall", float(np.min(data.least)), 0, 1e-12, "rounding of sums", Sense.at_least),
            Check("entropy of rows beyond log n", high, 0, 1e-12, "rounding of sums", Sense.at_most),
        )

    def shrunk(self) -> "MaximumEntropy":
        plan = self.plan.shrunk(1.0, 2)
        return self.small(plan=plan, normalizers=self.normalizers[:1], competitors=5, steps=2)

    def _law(self, normalizer: AbstractNormalizer) -> Attention:
        """The attention with another normalizer, at depth 0."""
        law = dataclasses.replace(self.flow.law, normalizer=normalizer)
        return at_precision(law, jnp.dtype("float64"))

    def _shortfalls(
        self, normalizer: AbstractNormalizer, x: Float[Array, "n d"], along: Float[np.ndarray, " step"]
    ) -> "_Shortfalls":
        law = self._law(normalizer)
        drawn = competitors(law, x, self.key(1), self.competitors, float(self.scale), self.flow.summation)
        best = competitors(law, x, self.key(1), self.competitors, 0.0, self.flow.summation)
        eta = best + along[:, None, None, None] * (drawn - best)
        return _Shortfalls.of(gibbs(law, x, eta, self.flow.summation))

    def _watched(
        self, normalizer: AbstractNormalizer, tokens: Float[Array, "time n d"]
    ) -> tuple[Float[Array, " time"], Bool[Array, " time"]]:
        """The mean entropy of rows at every frame, and whether the weights were solved for."""
        return _entropies(self._law(normalizer), tokens, self.flow.summation)


@dataclasses.dataclass(frozen=True)
class _Shortfalls:
    """How much worse weights are than the best, on the way to competitors: means over all of them and over rows.

    Attributes
    ----------
    gap, divergence, boundary : at each step of the way.
    least : the smallest of all gaps.
    error : the largest error of the identity.
    """

    gap: Float[np.ndarray, " step"]
    divergence: Float[np.ndarray, " step"]
    boundary: Float[np.ndarray, " step"]
    least: float
    error: float

    @classmethod
    def of(cls, found: Gibbs) -> "_Shortfalls":
        mean = lambda term: np.mean(term, axis=(1, 2))  # noqa: E731
        means = mean(found.gap), mean(found.divergence), mean(found.boundary)
        return cls(*means, float(np.min(found.gap)), float(np.max(np.abs(found.error))))


@eqx.filter_jit
def _entropies(
    law: Attention, tokens: Float[Array, "time n d"], summation: Any
) -> tuple[Float[Array, " time"], Bool[Array, " time"]]:
    def at(x: Float[Array, "n d"]) -> tuple[Float[Array, ""], Bool[Array, ""]]:
        head = law.head(x, summation)
        return RowEntropy().of_head(head), ~law.normalizer.unsolved(head.meeting)

    return jax.lax.map(at, tokens)


def _label(normalizer: AbstractNormalizer) -> str:
    """What a normalizer is called beside others: its name and those numbers that set it apart."""
    own, usual = described(normalizer), described(type(normalizer)())
    shown = [value for key, value in own.items() if value != usual.get(key) and key not in ("tolerance", "sweeps")]
    return " ".join([type(normalizer).__name__, *(f"{v:g}" if isinstance(v, float) else str(v) for v in shown)])
