"""A sweep: every combination of a few values, each a member with a place in a grid.

Swept values stand at paths, `flow.law.score.beta`, as a config writes them. Members whose programs have one shape
become one batch, moved by one compiled program; others form batches of their own.
"""

import dataclasses
import json
import math
import re
from collections.abc import Iterable, Sequence
from typing import Any, NamedTuple

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, PRNGKeyArray

from ..declaration import Declared, described, family, replaced
from ..dynamics import AbstractFlow
from ..integration import Plan, State, begin
from ..observables import AbstractObservable
from .coalescence import Coalescence

# What may differ between members: anything of the flow, the seed, and what does not decide the shape of the record.
SWEPT = re.compile(
    r"seed|flow(\..+)?|start|start\.(?!path$|name$).+|plan\.(rtol|atol|dt|solver|max_steps|coalesce|stop(\..+)?)"
)
LARGEST_SWEEP = 100_000  # members: several minutes of preparation
LONGEST_NAME = 60  # of a swept value in legends: beyond, its parts are left out
OBSERVABLES = AbstractObservable.__module__.rpartition(".")[0]
RESERVED = ("time", "token", "dim", "tokens")


class Member(NamedTuple):
    """One run of a sweep: its flow, its start, its plan, and the key of its noise where there is noise."""

    flow: AbstractFlow
    x0: Float[Array, "_ _"]
    plan: Plan
    key: PRNGKeyArray | None


@dataclasses.dataclass(frozen=True)
class Dimension:
    """One swept parameter: its name in the record, the path it stands at, and its values."""

    name: str
    path: str
    values: tuple[Any, ...]

    def coordinate(self) -> np.ndarray:
        """The values as a coordinate: numbers where they are numbers, short descriptions otherwise."""
        plain = [described(value) for value in self.values]
        if all(isinstance(value, int | float) and not isinstance(value, bool) for value in plain):
            return np.asarray(plain)
        names = [_name(value) for value in self.values]
        twice = {name for name in names if names.count(name) > 1}
        return np.asarray([f"{name} ({k + 1})" if name in twice else name for k, name in enumerate(names)])


def _name(value: Any) -> str:
    """A value in a few words: a noun by its kind, what is said of it that is one number or word, and its parts."""
    if not isinstance(value, Declared):
        return str(described(value))
    kind, words, parts = type(value).__name__, [], []
    for field in dataclasses.fields(value):
        given = getattr(value, field.name)
        said = described(given)
        nouns = given if isinstance(given, tuple) else (given,)
        if nouns and all(isinstance(noun, Declared) for noun in nouns):
            parts += [_name(noun) for noun in nouns] if said != described(field.default) else []
        elif isinstance(said, bool):
            words += [field.name if said else f"not {field.name}"] if said != field.default else []
        elif isinstance(said, int | float | str) and said != field.default:
            words.append(f"{said:g}" if isinstance(said, float) else said)
    whole = " ".join([kind, *map(str, words), *([f"({', '.join(parts)})"] if parts else [])])
    return whole if len(whole) <= LONGEST_NAME else " ".join([kind, *map(str, words)])


def dimensions(sweep: dict[str, tuple[Any, ...]], watched: Iterable[str] = ()) -> tuple[Dimension, ...]:
    """The swept dimensions, named by the last word of their paths, or by the whole path where that is not unique.

    The names of observables are taken: of what is watched, and of those that are always there, so that a name does not
    depend on what has been imported.

    Raises
    ------
    ValueError
        If a parameter is swept over no value, or must be common to all members.
    """
    short = [path.rsplit(".", 1)[-1] for path in sweep]
    always = (cls.name for cls in family(AbstractObservable).values() if cls.__module__.startswith(OBSERVABLES))
    taken = {*RESERVED, *always, *watched}
    count = math.prod(len(values) for values in sweep.values())
    if count > LARGEST_SWEEP:
        raise ValueError(f"sweep: {count} members; the largest sweep has {LARGEST_SWEEP}. Make several runs of it.")
    found = []
    for name, (path, values) in zip(short, sweep.items(), strict=True):
        if not values:
            raise ValueError(f"sweep.{path}: no values")
        if not SWEPT.fullmatch(path):
            raise ValueError(f"sweep.{path}: all members of a sweep share `{path}`; make separate runs of it")
        above = [other for other in sweep if path.startswith(f"{other}.")]
        if above:
            raise ValueError(f"sweep.{path}: `{above[0]}` is swept, too, and would overwrite it")
        plain = [json.dumps(described(value)) for value in values]
        if len(set(plain)) < len(plain):
            raise ValueError(f"sweep.{path}: a value stands there twice")
        unique = short.count(name) == 1 and name not in taken
        found.append(Dimension(name if unique else path, path, tuple(values)))
    return tuple(found)


def combinations(noun: Declared, sweep: tuple[Dimension, ...], positions: Iterable[int] | None = None) -> list[Any]:
    """The noun with all combinations of the swept values, or those at some positions; the last one runs fastest."""
    shape = [len(dimension.values) for dimension in sweep]
    members = []
    for position in range(math.prod(shape)) if positions is None else positions:
        places = zip(sweep, np.unravel_index(position, shape), strict=True)
        members.append(replaced(noun, {one.path: one.values[int(place)] for one, place in places}))
    return members


def swept(sweep: tuple[Dimension, ...], positions: Sequence[int]) -> list[dict[str, Any]]:
    """The swept values of members at some positions, each by the name of its dimension, as plain data."""
    grid = [len(dimension.values) for dimension in sweep]
    coordinates = {dimension.name: dimension.coordinate().tolist() for dimension in sweep}
    places = [np.unravel_index(position, grid) for position in positions]
    return [
        {name: values[int(k)] for (name, values), k in zip(coordinates.items(), place, strict=True)} for place in places
    ]


def called(sweep: tuple[Dimension, ...], position: int) -> str:
    """A member in words: its position, and its swept values."""
    [values] = swept(sweep, [position])
    return f"member {position} ({', '.join(f'{name} {value}' for name, value in values.items())})"


class Batch(eqx.Module):
    """Members that one program moves.

    Attributes
    ----------
    members : their positions in the list of all members.
    flow, plan, state : as of one member, or with a leading axis where there are several.
    met : of a member whose tokens coalesce, which is always alone: which of them move as one.
    """

    members: tuple[int, ...] = eqx.field(static=True)
    flow: AbstractFlow
    plan: Plan
    state: State
    met: Coalescence | None = None

    @property
    def several(self) -> bool:
        """Whether the leaves carry a leading axis over members."""
        return len(self.members) > 1

    def each(self, values: np.ndarray) -> np.ndarray:
        """Values of the batch with a leading axis over members, also where there is one only."""
        return values if self.several else values[None]


def batches(members: list[Member]) -> list[Batch]:
    """Members grouped by the program that can move them, each at its start; those that change size are alone."""
    return [_batch(group, [members[k] for k in group]) for group in alike(members)]


def alike(members: list[Member]) -> list[tuple[int, ...]]:
    """The positions of members, grouped by the program that can move them; those that change size are alone."""
    groups: dict[Any, list[int]] = {}
    for k, member in enumerate(members):
        arrays, static = eqx.partition(member, eqx.is_array)
        leaves, tree = jax.tree.flatten(arrays)
        shapes = tuple((leaf.shape, str(leaf.dtype)) for leaf in leaves)
        alone = None if member.plan.coalesce is None else k
        groups.setdefault((tree, shapes, repr(jax.tree.leaves(static)), alone), []).append(k)
    return [tuple(group) for group in groups.values()]


def _batch(positions: tuple[int, ...], members: list[Member]) -> Batch:
    if len(members) == 1:
        flow, x0, plan, key = members[0]
        if plan.coalesce is None:
            return Batch(positions, flow, plan, begin(flow, x0, plan, key))
        met = Coalescence.none(float(plan.coalesce), x0.shape[0])
        plan = dataclasses.replace(plan, coalesce=None)  # the program is that of a plan without
        return Batch(positions, flow, plan, begin(flow, x0, plan, key), met)

    def stacked(*leaves: Any) -> Any:
        return jnp.stack(leaves) if eqx.is_array(leaves[0]) else leaves[0]

    flow, x0, plan, key = jax.tree.map(stacked, *members)
    return Batch(positions, flow, plan, _begun(flow, x0, plan, key))


@eqx.filter_jit
def _begun(flow: AbstractFlow, x0: Array, plan: Plan, key: Array | None) -> State:
    """`begin` for a batch of members, as one program, which batches of one shape share."""
    return eqx.filter_vmap(begin)(flow, x0, plan, key)


def place(grid: tuple[int, ...], parts: list[tuple[tuple[int, ...], np.ndarray]], shape: tuple[int, ...]) -> np.ndarray:
    """The values of all members in their places in the grid, smaller members filled up with NaN.

    Parameters
    ----------
    parts : positions of some members, and their values, `[member time ...]`.
    shape : of one member's values.
    """
    filled = np.full((math.prod(grid), *shape), np.nan, parts[0][1].dtype)
    for members, several in parts:
        for k, value in zip(members, several, strict=True):
            filled[(k, *(slice(0, size) for size in value.shape))] = value
    return filled.reshape(*grid, *shape)


def span(plan: Plan) -> tuple[float, float]:
    """The first depth of a plan and the last, or of a batch of plans, which share them."""
    start, until = (float(np.ravel(np.asarray(depth))[0]) for depth in (plan.start, plan.until))
    return start, until
