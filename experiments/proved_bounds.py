"""No proved Lipschitz bound is exceeded."""

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
from particles.analysis import AbstractTokenMap, FieldMap, LawMap, bounds
from particles.analysis.worst_case import drawn, holder, worst_case
from particles.chart import Curves, Panel
from particles.declaration import option, parameter
from particles.experiment import most
from particles.spaces import AbstractSpace

L2 = "L2"
LABELED = ("max", "euclidean")
Laws = dict[str, tuple[pt.AbstractLaw, AbstractSpace, float | None, tuple[str, ...]]]


@dataclasses.dataclass(frozen=True)
class Case:
    """A map of tokens, a norm, the radius of the ball that holds the tokens, and the constant that is proved."""

    name: str
    moved: AbstractTokenMap
    norm: str
    radius: float | None
    bound: float


class ProvedBounds(pt.AbstractClaim):
    """No cloud, drawn at random or made worse by ascent, is stretched by more than is proved, in any norm.

    The constants that `bounds.proved` reads from a law: attention by dot products in a ball, alone, with two heads and
    under a causal mask; its field on the sphere; L2 attention on all of space. At random clouds the Jacobian is formed,
    and its norm in the sum of squares is its largest singular value; in the largest, or the mean, displacement of a
    token it is held against sums of its blocks' norms over rows, or columns, which are no less. Every ascent ends in a
    stretch that is attained.

    Parameters
    ----------
    tokens, dim : how many tokens in what dimension.
    slopes : s, the norm of the logits' matrix of dot products; of L2 attention the square of that of W.
    norms : of displacements, those in which there is a bound for a law.
    value : the norm of the value matrix.
    far : the radius of the ball in which clouds for L2 attention are looked for, over the width of its kernel.
    random : how many random clouds, for every law, norm and slope.
    starts, steps : of the ascents, for each of these.
    near : how much of the nearest bound must be attained.
    seed : of matrices and clouds.
    control : the negative control: the value matrix is three times what the bounds are told.

    Source
    ------
    vuckovic2021regularity, kim2021lipschitz, castin2024smooth, for the properties; the constants derived by hand.
    """

    minutes: ClassVar[float] = 1.5
    tokens: int = option(6, ge=2)
    dim: int = option(3, ge=2)
    slopes: tuple[float, ...] = option((0.03, 0.1, 0.3, 1.0, 3.0), gt=0)
    norms: tuple[str, ...] = option(("max", "euclidean", "conditional", "W1"))
    value: Float[Array, ""] = parameter(0.9, gt=0)
    far: Float[Array, ""] = parameter(3.0, gt=0)
    random: int = option(2000, ge=1)
    starts: int = option(24, ge=1)
    steps: int = option(200, ge=1)
    near: Float[Array, ""] = parameter(0.8, gt=0, lt=1)
    seed: int = option(0, ge=0)
    control: bool = option(False)
    sources: ClassVar[tuple[str, ...]] = ("vuckovic2021regularity", "kim2021lipschitz", "castin2024smooth")

    def data(self) -> xr.Dataset:
        rows = [self._cases(slope) for slope in self.slopes]
        keys = jax.random.split(jax.random.key(self.seed), (2, len(rows), len(rows[0])))
        random, ascent = (
            np.array([[find(case, key) for case, key in zip(row, of_row, strict=True)] for row, of_row in pairs])
            for find, pairs in (
                (self._random, zip(rows, keys[0], strict=True)),
                (self._ascent, zip(rows, keys[1], strict=True)),
            )
        )
        proved, both = np.array([[case.bound for case in row] for row in rows]), ("slope", "case")
        words = {"symbol": r"$\mathrm{Lip}$ over proved"}
        return xr.Dataset(
            {
                "random": (both, random / proved, words | {"long_name": f"worst of {self.random} random clouds"}),
                "ascent": (both, ascent / proved, words | {"long_name": f"worst of {self.starts} ascents"}),
                "share": (both, np.maximum(random, ascent) / proved, words | {"long_name": "worst found over proved"}),
                "proved": (both, proved, {"symbol": r"$\mathrm{Lip}$", "long_name": "proved"}),
                "all": ("slope", np.ones(len(rows)), words | {"long_name": "all that is proved"}),
            },
            coords={
                "slope": ("slope", list(self.slopes), {"symbol": "$aR^2$", "long_name": "logits"}),
                "case": ("case", [case.name for case in rows[0]], {"long_name": "law and norm"}),
            },
        )

    def _cases(self, slope: float) -> list[Case]:
        size, cases = float(self.value), []
        told, given = self._laws(slope, size), self._laws(slope, size * (3 if self.control else 1))
        for name, (law, space, radius, norms) in given.items():
            moved = (FieldMap if isinstance(space, pt.Sphere) else LawMap)(pt.Flow(space, law))
            everywhere = math.inf if radius is None or name == L2 else radius
            for norm in (norm for norm in norms if norm in self.norms):
                bound = bounds.proved(told[name][0], norm, self.tokens, everywhere, space=space).value
                cases.append(Case(f"{name}, {norm}", moved, norm, radius, bound))
        return cases

    def _laws(self, slope: float, size: float) -> Laws:
        """Every law with its space, the ball in which clouds are looked for, and the norms."""
        rng, flat = np.random.default_rng(self.seed), pt.Euclidean()
        turns = [np.linalg.qr(rng.normal(size=(self.dim, self.dim)))[0] for _ in range(4)]
        scores = [pt.DotProduct(1.0, form=slope * turn) for turn in turns[:2]]
        values = [pt.values.Linear(size * turn) for turn in turns[2:]]
        first, second = (pt.Attention(score, value=value) for score, value in zip(scores, values, strict=True))
        apart = pt.SquaredDistance(2 * slope, query=turns[0])
        return {
            "dot product": (first, flat, 1.0, (*LABELED, "W1")),
            "causal": (pt.Attention(scores[0], pt.Causal(), value=values[0]), flat, 1.0, ("conditional",)),
            "two heads": (first + second, flat, 1.0, LABELED),
            "sphere": (first, pt.Sphere(), None, LABELED),
            L2: (pt.Attention(apart, value=values[0]), flat, float(self.far) / math.sqrt(slope), LABELED),
        }

    def _random(self, case: Case, key: Array) -> float:
        clouds = drawn(holder(case.moved.space, self.dim, case.radius), key, self.random, self.tokens, self.dim)
        return most(_sizes(case.moved, case.norm, clouds))

    def _ascent(self, case: Case, key: Array) -> float:
        search = {"n": self.tokens, "d": self.dim, "radius": case.radius, "starts": self.starts, "steps": self.steps}
        return float(worst_case(case.moved, case.norm, key=key, **search).value)

    def checks(self, data: xr.Dataset) -> tuple[pt.Check, ...]:
        slack = "an inequality; rounding"
        random, ascent = most(data.random), most(data.ascent)
        return (
            pt.Check("random clouds, largest share", random, 1.0, 1e-9, slack, pt.Sense.at_most),
            pt.Check("ascents, largest share", ascent, 1.0, 1e-9, slack, pt.Sense.at_most),
            pt.Check("nearest", max(random, ascent), float(self.near), 0.0, "small logits", pt.Sense.at_least),
        )

    def chart(self, data: xr.Dataset) -> tuple[Panel, ...]:
        return (Curves("slope", ("share",), bounds=("all",), by="case", log="x", title="how near"),)

    def shrunk(self) -> "ProvedBounds":
        return dataclasses.replace(self, tokens=3, dim=2, slopes=(0.1,), norms=("max",), random=100, starts=4, steps=60)


@eqx.filter_jit
def _sizes(moved: AbstractTokenMap, norm: str, clouds: Float[Array, "s n d"]) -> Float[Array, " s"]:
    """The norm of the Jacobian at every cloud, or a number that is no less."""

    def one(x: Float[Array, "n d"]) -> Float[Array, ""]:
        jacobian = moved.jacobian(x)
        n, d = x.shape
        if norm not in ("max", "W1"):
            return jnp.linalg.norm(jacobian.reshape(n * d, n * d), 2)
        blocks = jnp.linalg.norm(jnp.moveaxis(jacobian, 2, 1), 2, axis=(2, 3))
        return jnp.max(jnp.sum(blocks, axis=1 if norm == "max" else 0))

    return jax.lax.map(one, clouds, batch_size=100)
