"""No proved Lipschitz bound is exceeded."""

import dataclasses
import math
from collections.abc import Callable
from typing import ClassVar

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import xarray as xr
from jaxtyping import Array, Float

import particles as pt
from particles.analysis import AbstractObjective, AbstractTokenMap, FieldMap, LawMap, Number, Stretch, bounds
from particles.analysis.drawing import drawn, holder
from particles.analysis.worst_case import worst_case
from particles.chart import Curves, Panel
from particles.declaration import option, parameter
from particles.experiment import most
from particles.spaces import AbstractSpace

NORMS = ("max", "euclidean", "conditional", "W1", "query", "measure", "entries")
GROUPS = {"products": "dot products", "laws": "other laws", "formulas": "formulas"}
HEADS, NARROW = 2, 2  # of the published constants of L2 attention with several heads: how many, how wide
STEEP = 4 / (3 * math.sqrt(3))  # the largest second derivative of tanh
WORDS = {"symbol": r"$\mathrm{Lip}$ over proved"}
Size = Callable[[AbstractTokenMap, Float[Array, "n d"]], Float[Array, ""]]


@dataclasses.dataclass(frozen=True)
class Case:
    """A map of tokens, a number of it at every cloud, what an ascent makes large, and the constant that is proved.

    Attributes
    ----------
    name, group : in words, and the panel.
    norm : in which displacements are measured; "query", "measure": where one token goes, in where it is and in W_1 of
        what it sees; "entries": in the largest entry.
    moved : the map.
    size : its local constant at a cloud, or a number that is no less.
    objective : of the ascent.
    tokens, dim, radius : of the clouds, and of the ball that holds them.
    bound : what is proved.
    """

    name: str
    group: str
    norm: str
    moved: AbstractTokenMap
    size: Size
    objective: AbstractObjective
    tokens: int
    dim: int
    radius: float | None
    bound: float


class ProvedBounds(pt.AbstractClaim):
    """No cloud, drawn at random or made worse by ascent, is stretched by more than is proved, in any norm.

    Every function of `bounds` that the other claims do not try by themselves. What `bounds.proved` reads from a law:
    attention by dot products in a ball, alone, with two heads and under a causal mask; its field on the sphere; L2
    attention on all of space. And constants that are told their numbers: where a token goes in where it is, and in the
    measure that it sees; any interaction potential in W_1 (an additive score, a Gaussian); the published constants of
    L2 attention with several heads.

    At random clouds the Jacobian is formed, and its norm in the sum of squares is its largest singular value; in the
    largest, or the mean, displacement of a token it is held against sums of its blocks' norms over rows, or columns,
    which are no less. Every ascent ends in a stretch that is attained.

    Parameters
    ----------
    tokens, dim : how many tokens in what dimension.
    slopes : s, the norm of the logits' matrix of dot products; of L2 attention the square of that of W; of an additive
        score its size.
    norms : in which bounds are tried; "query" and "measure" are of one token, in where it is and in what it sees.
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

    minutes: ClassVar[float] = 2.5
    tokens: int = option(6, ge=2)
    dim: int = option(3, ge=2)
    slopes: tuple[float, ...] = option((0.03, 0.1, 0.3, 1.0, 3.0), gt=0)
    norms: tuple[str, ...] = option(NORMS)
    value: Float[Array, ""] = parameter(0.9, gt=0)
    far: Float[Array, ""] = parameter(3.0, gt=0)
    random: int = option(2000, ge=1)
    starts: int = option(24, ge=1)
    steps: int = option(200, ge=1)
    near: Float[Array, ""] = parameter(0.9, gt=0, lt=1)
    seed: int = option(0, ge=0)
    control: bool = option(False)
    sources: ClassVar[tuple[str, ...]] = ("vuckovic2021regularity", "kim2021lipschitz", "castin2024smooth")

    def __check_init__(self):
        if not self.norms or not set(self.norms) <= set(NORMS):
            raise ValueError(f"`norms` of ProvedBounds must be some of {', '.join(NORMS)}; got {self.norms}")

    def data(self) -> xr.Dataset:
        rows = [[case for case in self._cases(slope) if case.norm in self.norms] for slope in self.slopes]
        keys = jax.random.split(jax.random.key(self.seed), (2, len(rows), len(rows[0])))

        def tried(find: Callable[[Case, Array], float], keys: Array) -> np.ndarray:
            pairs = [zip(row, of_row, strict=True) for row, of_row in zip(rows, keys, strict=True)]
            return np.array([[find(case, key) for case, key in row] for row in pairs])

        random, ascent = tried(self._random, keys[0]), tried(self._ascent, keys[1])
        proved = np.array([[case.bound for case in row] for row in rows])
        slope = ("slope", list(self.slopes), {"symbol": "$aR^2$", "long_name": "logits"})
        found = xr.Dataset(
            {"all": ("slope", np.ones(len(rows)), WORDS | {"long_name": "all that is proved"})}, {"slope": slope}
        )
        for group, words in GROUPS.items():
            mine = [k for k, case in enumerate(rows[0]) if case.group == group]
            if mine:
                columns = self._shares(group, random[:, mine], ascent[:, mine], proved[:, mine])
                names = [rows[0][k].name for k in mine]
                found = found.assign(columns).assign_coords({group: (group, names, {"long_name": words})})
        return found

    def _shares(self, group: str, random: np.ndarray, ascent: np.ndarray, proved: np.ndarray) -> dict[str, tuple]:
        both, worst = ("slope", group), np.maximum(random, ascent)
        lip = {"symbol": r"$\mathrm{Lip}$", "long_name": "proved"}
        return {
            f"random_{group}": (both, random / proved, WORDS | {"long_name": f"worst of {self.random} random clouds"}),
            f"ascent_{group}": (both, ascent / proved, WORDS | {"long_name": f"worst of {self.starts} ascents"}),
            f"share_{group}": (both, worst / proved, WORDS | {"long_name": "worst found over proved"}),
            f"proved_{group}": (both, proved, lip),
        }

    def _cases(self, slope: float) -> list[Case]:
        return [*self._read(slope), *self._seen_by_one(slope), *self._potentials(slope), *self._heads(slope)]

    def _read(self, slope: float) -> list[Case]:
        """Bounds that are read from a law."""
        told, given = self._laws(slope, float(self.value)), self._laws(slope, self._size)
        cases = []
        for name, (group, law, space, radius, norms) in given.items():
            moved = (FieldMap if isinstance(space, pt.Sphere) else LawMap)(pt.Flow(space, law))
            everywhere = math.inf if radius is None or name == "L2" else radius
            for norm in norms:
                bound = bounds.proved(told[name][1], norm, self.tokens, everywhere, space=space).value
                cases.append(self._case(f"{name}, {norm}", group, norm, moved, bound, radius))
        return cases

    def _laws(
        self, slope: float, size: float
    ) -> dict[str, tuple[str, pt.AbstractLaw, AbstractSpace, float | None, tuple[str, ...]]]:
        """Every law with its panel, its space, the ball in which clouds are looked for, and the norms."""
        flat, turns, labeled = pt.Euclidean(), self._turns(), ("max", "euclidean")
        scores = [pt.DotProduct(1.0, form=slope * turn) for turn in turns[:2]]
        values = [pt.values.Linear(size * turn) for turn in turns[2:]]
        first, second = (pt.Attention(score, value=value) for score, value in zip(scores, values, strict=True))
        causal = pt.Attention(scores[0], pt.Causal(), value=values[0])
        apart = pt.Attention(pt.SquaredDistance(2 * slope, query=turns[0]), value=values[0])
        return {
            "one head": ("products", first, flat, 1.0, (*labeled, "W1")),
            "two heads": ("products", first + second, flat, 1.0, labeled),
            "causal": ("laws", causal, flat, 1.0, ("conditional",)),
            "sphere": ("laws", first, pt.Sphere(), None, labeled),
            "L2": ("laws", apart, flat, float(self.far) / math.sqrt(slope), labeled),
        }

    def _seen_by_one(self, slope: float) -> list[Case]:
        """Where one token goes, the first of the cloud, in where it is and in what the others are."""
        turns, told = self._turns(), float(self.value)
        law = pt.Attention(pt.DotProduct(1.0, form=slope * turns[0]), value=pt.values.Linear(self._size * turns[2]))
        moved = LawMap(pt.Flow(pt.Euclidean(), law))
        return [
            self._number("query", "query", moved, _query, bounds.query_bound(slope, told, 1.0), self.tokens + 1),
            self._number(
                "measure", "measure", moved, _measure, bounds.measure_bound(slope, told, 1.0), self.tokens + 1
            ),
        ]

    def _potentials(self, slope: float) -> list[Case]:
        """Interaction potentials exp(score) in the unit ball: of u . tanh(W x + W' y), and a Gaussian."""
        turns, told = self._turns(), float(self.value)
        u = slope * np.random.default_rng(self.seed).dirichlet(np.ones(self.dim))
        value = pt.values.Linear(self._size * turns[2])
        high = math.exp(u.sum())
        additive = 1 / high, high, high * float(np.linalg.norm(u)), STEEP * u.max()
        gaussian = math.exp(-2 * slope), 1.0, 2 * slope, slope
        scores = {
            "additive": (pt.Additive(u, turns[0], turns[1]), additive),
            "Gaussian": (pt.SquaredDistance(slope), gaussian),
        }
        return [
            self._case(
                f"{name}, W1",
                "formulas",
                "W1",
                LawMap(pt.Flow(pt.Euclidean(), pt.Attention(score, value=value))),
                bounds.potential_bound(told, 2.0, *numbers),
                1.0,
            )
            for name, (score, numbers) in scores.items()
        ]

    def _heads(self, slope: float) -> list[Case]:
        """L2 attention with several heads, and its published constants."""
        rng, told, d = np.random.default_rng(self.seed), float(self.value), self.dim
        query, value = (
            np.stack([np.linalg.qr(rng.normal(size=(d, NARROW)))[0] for _ in range(HEADS)]) for _ in range(2)
        )
        output, query = rng.normal(size=(HEADS * NARROW, d)), math.sqrt(slope) * query
        output /= np.linalg.norm(output, 2)
        laws = [
            pt.Attention(
                pt.SquaredDistance(2 / math.sqrt(NARROW), query=w.T),
                value=pt.values.Linear(self._size * (w @ w.T / math.sqrt(NARROW) @ v @ o).T),
            )
            for w, v, o in zip(query, value, np.split(output, HEADS), strict=True)
        ]
        moved = LawMap(pt.Flow(pt.Euclidean(), laws[0] + laws[1]))
        numbers, radius = (query, told * value, output, self.tokens), float(self.far) / math.sqrt(slope)
        entries, whole = bounds.multihead_entry_bound(*numbers), bounds.multihead_euclidean_bound(*numbers)
        return [
            self._number("heads, entries", "entries", moved, _entries, entries, self.tokens, radius),
            self._case("heads, euclidean", "formulas", "euclidean", moved, whole, radius),
        ]

    @property
    def _size(self) -> float:
        """The norm of the value matrix that laws are given."""
        return float(self.value) * (3 if self.control else 1)

    def _turns(self) -> list[np.ndarray]:
        rng = np.random.default_rng(self.seed)
        return [np.linalg.qr(rng.normal(size=(self.dim, self.dim)))[0] for _ in range(4)]

    def _case(
        self, name: str, group: str, norm: str, moved: AbstractTokenMap, bound: float, radius: float | None
    ) -> Case:
        size = {"max": _rows, "W1": _columns}.get(norm, _whole)
        return Case(name, group, norm, moved, size, Stretch(norm), self.tokens, self.dim, radius, bound)

    def _number(
        self, name: str, norm: str, moved: AbstractTokenMap, size: Size, bound: float, tokens: int, radius: float = 1.0
    ) -> Case:
        return Case(name, "formulas", norm, moved, size, Number(size), tokens, self.dim, radius, bound)

    def _random(self, case: Case, key: Array) -> float:
        held = holder(case.moved.space, case.dim, case.radius)
        return most(_sizes(case.moved, case.size, drawn(held, key, self.random, case.tokens, case.dim)))

    def _ascent(self, case: Case, key: Array) -> float:
        search = {"n": case.tokens, "d": case.dim, "radius": case.radius, "starts": self.starts, "steps": self.steps}
        return float(worst_case(case.moved, case.objective, key=key, **search).value)

    def checks(self, data: xr.Dataset) -> tuple[pt.Check, ...]:
        slack = "an inequality; rounding"
        random, ascent = (
            most([most(data[f"{one}_{group}"]) for group in self._groups(data)]) for one in ("random", "ascent")
        )
        return (
            pt.Check("random clouds, largest share", random, 1.0, 1e-9, slack, pt.Sense.at_most),
            pt.Check("ascents, largest share", ascent, 1.0, 1e-9, slack, pt.Sense.at_most),
            pt.Check("nearest", max(random, ascent), float(self.near), 0.0, "small logits", pt.Sense.at_least),
        )

    def _groups(self, data: xr.Dataset) -> list[str]:
        return [group for group in GROUPS if group in data.dims]

    def chart(self, data: xr.Dataset) -> tuple[Panel, ...]:
        return tuple(
            Curves("slope", (f"share_{group}",), bounds=("all",), by=group, log="x", title=GROUPS[group])
            for group in self._groups(data)
        )

    def shrunk(self) -> "ProvedBounds":
        small = {
            "tokens": 3,
            "dim": 2,
            "slopes": (0.1,),
            "norms": ("max", "query"),
            "random": 100,
            "starts": 4,
            "steps": 60,
        }
        return dataclasses.replace(self, **small)


@eqx.filter_jit
def _sizes(moved: AbstractTokenMap, size: Size, clouds: Float[Array, "s n d"]) -> Float[Array, " s"]:
    return jax.lax.map(lambda x: size(moved, x), clouds, batch_size=100)


def _whole(moved: AbstractTokenMap, x: Float[Array, "n d"]) -> Float[Array, ""]:
    return jnp.linalg.norm(moved.jacobian(x).reshape(x.size, x.size), 2)


def _rows(moved: AbstractTokenMap, x: Float[Array, "n d"]) -> Float[Array, ""]:
    return jnp.max(jnp.sum(_blocks(moved, x), axis=1))


def _columns(moved: AbstractTokenMap, x: Float[Array, "n d"]) -> Float[Array, ""]:
    return jnp.max(jnp.sum(_blocks(moved, x), axis=0))


def _entries(moved: AbstractTokenMap, x: Float[Array, "n d"]) -> Float[Array, ""]:
    return jnp.max(jnp.sum(jnp.abs(moved.jacobian(x)), axis=(2, 3)))


def _blocks(moved: AbstractTokenMap, x: Float[Array, "n d"]) -> Float[Array, "n n"]:
    """The norms of the Jacobian's blocks, image by displacement."""
    return jnp.linalg.norm(jnp.moveaxis(moved.jacobian(x), 2, 1), 2, axis=(2, 3))


def _query(moved: LawMap, x: Float[Array, "n d"]) -> Float[Array, ""]:
    """The derivative of where the first token goes among the others in where it is."""
    return jnp.linalg.norm(jax.jacfwd(lambda one: _goes(moved, one, x[1:]))(x[0]), 2)


def _measure(moved: LawMap, x: Float[Array, "n d"]) -> Float[Array, ""]:
    """The derivative of where the first token goes in W_1 of the others: by the mean displacement, at worst of one."""
    jacobian = jax.jacfwd(lambda others: _goes(moved, x[0], others))(x[1:])
    blocks = jnp.moveaxis(jacobian, 1, 0)
    return len(blocks) * jnp.max(jnp.linalg.norm(blocks, 2, axis=(1, 2)))


def _goes(moved: LawMap, one: Float[Array, " d"], others: Float[Array, "n d"]) -> Float[Array, " d"]:
    law = moved.flow.law
    assert isinstance(law, pt.Attention)
    return law.between(jnp.zeros(()), one[None], others, pt.Dense())[0]
