"""How far a law can stretch displacements: the worst that is found, and what is proved."""

import math
from typing import ClassVar

import equinox as eqx
import jax
import numpy as np
import xarray as xr
from jaxtyping import Array, Float

from ..analysis.bounds import known
from ..analysis.drawing import drawn, holder
from ..analysis.objectives import NORMS, Stretch
from ..analysis.token_map import AbstractTokenMap, FieldMap, LawMap
from ..analysis.worst_case import worst_case
from ..chart import Curves, Panel
from ..declaration import option
from ..dynamics import AbstractFlow
from ..experiment import Check, Sense, most
from ..starts import AbstractStart
from .base import AbstractFlowStudy

SWEEPS = 20  # of the power method, for the stretch at a random cloud


class WorstCase(AbstractFlowStudy):
    """No cloud of tokens is stretched by more than is proved for the law; the worst are far from random ones.

    The local Lipschitz constant of the law, on a curved space of the field, is made as large as possible by gradient
    ascent over the tokens, beside random clouds and, where there is one, the proved bound; for several sizes of the
    ball that holds the tokens, or numbers of tokens. What is found is attained and so a lower bound, converged or not.

    Parameters
    ----------
    start, flow : the law, and how many tokens there are in what dimension; where they start does not matter.
    norm : of displacements: "euclidean", "conditional", "max", "W1" or "W2".
    radii : of the ball; none where the space of the flow has bounds of its own.
    tokens : numbers of tokens; by default that of the start.
    starts, steps : of the ascent.
    random : how many random clouds.
    name, seed : of the study.

    Source
    ------
    kim2021lipschitz, castin2024smooth.
    """

    start: AbstractStart
    flow: AbstractFlow
    norm: str = option("max")
    radii: tuple[float, ...] = option((), gt=0)
    tokens: tuple[int, ...] = option((), ge=1)
    starts: int = option(24, ge=1)
    steps: int = option(600, ge=1)
    random: int = option(400, ge=1)
    name: str = option("worst_case")
    seed: int = option(0, ge=0)
    minutes: ClassVar[float] = 1.0
    sources: ClassVar[tuple[str, ...]] = ("kim2021lipschitz", "castin2024smooth")

    def __check_init__(self):
        if self.norm not in NORMS:
            raise ValueError(f"`norm` of WorstCase must be one of {', '.join(NORMS)}; got {self.norm!r}")
        if self.flow.space.constrained == bool(self.radii):
            raise ValueError(
                f"`radii` of WorstCase are those of balls in Euclidean space, at least one; a "
                f"{type(self.flow.space).__name__} "
                + ("has bounds of its own: leave them out" if self.radii else "has no bounds: give some")
            )

    def data(self) -> xr.Dataset:
        n, d = self.first().shape
        numbers, radii = self.tokens or (n,), self.radii or (None,)
        for number in numbers:
            self.flow.law.check_tokens(number, d)
        found = [[self._found(number, d, radius) for radius in radii] for number in numbers]
        dims = ("tokens", "radius") if self.radii else ("tokens",)
        shape = tuple(len(some) for some in (numbers, radii)[: len(dims)])
        columns = {
            name: (dims, np.reshape([one[name] for row in found for one in row], shape), words)
            for name, words in _WORDS.items()
        }
        share = columns["best"][1] / columns["bound"][1]
        columns["share"] = (dims, share, {"long_name": "worst found over proved"})
        of_tokens = ("tokens", np.asarray(numbers), {"symbol": "$n$", "long_name": "tokens"})
        of_balls = ("radius", np.asarray(self.radii), {"symbol": "$R$", "long_name": "radius"})
        return xr.Dataset(
            columns, coords=dict(zip(("tokens", "radius"), (of_tokens, of_balls)[: len(dims)], strict=False))
        )

    def _found(self, n: int, d: int, radius: float | None) -> dict[str, float]:
        """What is found and proved for n tokens in a ball."""
        space, moved = holder(self.flow.space, d, radius), self._moved()
        worst = worst_case(
            moved, self.norm, n=n, d=d, radius=radius, key=self.key(1), starts=self.starts, steps=self.steps
        )
        stretches = np.asarray(_stretches(moved, self.norm, drawn(space, self.key(2), self.random, n, d)))
        bound = known(self.flow.law, self.norm, n, radius or math.inf, space=None if radius else space)
        return {
            "best": float(worst.value),
            "stationary": float(np.mean(worst.converged)),
            "typical": float(np.median(stretches)),
            "largest": float(np.max(stretches)),
            "bound": math.nan if bound is None else bound.value,
        }

    def _moved(self) -> AbstractTokenMap:
        """The field where a space is curved, and the law elsewhere."""
        curved = self.flow.space.constrained and self.flow.space.smooth
        return FieldMap(self.flow) if curved else LawMap(self.flow)

    def checks(self, data: xr.Dataset) -> tuple[Check, ...]:
        if not np.all(np.isfinite(data.bound)):
            return ()
        reason = "an inequality; rounding"
        return (
            Check("worst found over proved", most(data.share), 1.0, 1e-9, reason, Sense.at_most),
            Check("worst random over proved", most(data.largest / data.bound), 1.0, 1e-9, reason, Sense.at_most),
        )

    def chart(self, data: xr.Dataset) -> tuple[Panel, ...]:
        x, by = ("radius", "tokens") if len(self.radii) > 1 else ("tokens", "radius" if self.radii else "")
        by = by if by and data.sizes[by] > 1 else ""
        proved = ("bound",) if np.any(np.isfinite(data.bound)) else ()
        slopes = (2.0,) if x == "radius" else (0.5,)
        panels = [Curves(x, ("best", "largest", "typical"), bounds=proved, by=by, log="xy", slopes=slopes)]
        if proved:
            panels.append(Curves(x, ("share",), by=by, log="x"))
        return tuple(panels)

    def shrunk(self) -> "WorstCase":
        radii, tokens = self.radii[:1] + self.radii[1:][-1:], self.tokens[:1]
        return self.small(radii=radii, tokens=tokens, starts=4, steps=60, random=16)


_LIP = {"symbol": r"$\mathrm{Lip}$"}
_WORDS = {
    "best": _LIP | {"long_name": "worst found"},
    "largest": _LIP | {"long_name": "largest of random clouds"},
    "typical": _LIP | {"long_name": "median of random clouds"},
    "bound": _LIP | {"long_name": "proved"},
    "stationary": {"long_name": "share of the ascents that became stationary"},
}


@eqx.filter_jit
def _stretches(moved: AbstractTokenMap, norm: str, clouds: Float[Array, "s n d"]) -> Float[Array, " s"]:
    """The stretch at each cloud, by the power method."""
    stretch = Stretch(norm, SWEEPS)
    first = jax.random.normal(jax.random.key(0), clouds.shape[1:], clouds.dtype)

    def one(x: Float[Array, "n d"]) -> Float[Array, ""]:
        return stretch(moved, x[None], stretch.refined(moved, x[None], first))

    return jax.lax.map(one, clouds, batch_size=32)
