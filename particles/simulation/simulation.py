"""A simulation: everything that a run depends on, in one immutable object that a config can hold."""

import dataclasses
import hashlib
import json
import math
import pathlib
import re
from collections.abc import Callable, Sequence
from concurrent.futures import Executor
from typing import Any, ClassVar, Literal

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import tomli_w
import tqdm
from jaxtyping import Array, ArrayLike, Float, PRNGKeyArray

from .. import machine
from ..declaration import described, option, sources_of
from ..dynamics import AbstractFlow
from ..experiment import AbstractExperiment, Verdict
from ..integration import Plan, checked
from ..laws import AbstractLaw
from ..record import Layout, Record
from ..starts import AbstractStart, Given
from ..stored import Stored
from ..summation import AbstractSummation
from .budget import STAGES, Budget, budget
from .grid import Dimension, Member, combinations, dimensions, swept
from .identity import foreign_code
from .keeping import AbstractKeeping
from .layout import caption, jumps, layout
from .loop import Loop
from .making import made
from .mesh import Mesh
from .worker import Worker

NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,79}")
MANY, PATIENCE = 500, 3.0  # members, and seconds, from which on their preparation is shown
NOISE = 0x6E6F6973  # folded into the key of a seed, so that noise and start are independent
SHRUNK_TOKENS, SHRUNK_DEPTH, SHRUNK_FRAMES, SHRUNK_VALUES = 12, 0.5, 6, 2


class Simulation(AbstractExperiment):
    """Tokens followed from a start through a plan, for one flow or for every combination of swept values.

    Parameters
    ----------
    name : of the run; letters, digits, `.`, `_` and `-`. It begins the name of the run directory.
    start : where the tokens start.
    flow : what moves them.
    plan : how long, how exactly, what to keep.
    seed : of the start and of the noise, each a stream of its own.
    mesh : how many devices share the work.
    precision : of the numbers, float64 or float32.
    sweep : values by path, for example `{"flow.law.score.beta": (1.0, 4.0), "seed": (0, 1, 2)}`.
    figures : the kinds of figures to draw; by default those that suit the record.

    Raises
    ------
    ValueError
        If the name cannot name a directory, or a swept parameter does not exist or does not accept a value.

    Source
    ------
    geshkovski2023perspective.
    """

    start: AbstractStart
    flow: AbstractFlow
    plan: Plan
    name: str = option("run")
    seed: int = option(0, ge=0, lt=2**63)
    precision: Literal["float64", "float32"] = option("float64")
    sweep: dict[str, tuple[Any, ...]] = eqx.field(default_factory=dict)
    figures: tuple[str, ...] = option(())
    mesh: Mesh = Mesh()
    sources: ClassVar[tuple[str, ...]] = ("geshkovski2023perspective",)

    def __check_init__(self):
        check_name(self.name)
        if self.precision not in ("float64", "float32"):
            raise ValueError(f"`precision` must be 'float64' or 'float32'; got {self.precision!r}")
        self.plan.check_flow(self.flow)
        check_start(self.start, self.flow)
        for path, values in self.sweep.items():
            _check_files(self, path, values)

    @property
    def dimensions(self) -> tuple[Dimension, ...]:
        """The swept dimensions, outermost first."""
        return dimensions(self.sweep, [watched.name for watched in self.plan.watch])

    def members(self, positions: Sequence[int] | None = None) -> list["Simulation"]:
        """A simulation without a sweep for every combination, or for those at some positions; the last dimension runs
        fastest.
        """
        return combinations(dataclasses.replace(self, sweep={}), self.dimensions, positions)

    def cited(self) -> tuple[str, ...]:
        """The bibliography keys of all members: those of every swept value, and none of what no member has."""
        return sources_of((*self.members([0]), self.sweep))

    def first(self) -> Float[Array, "n d"]:
        """The tokens at depth 0.

        Raises
        ------
        ValueError
            If the start does not exist on the space, the plan asks for more than the precision can tell, or float64 is
            asked for and JAX was told otherwise.
        """
        if self.precision == "float64" and not jax.config.jax_enable_x64:  # pyright: ignore[reportAttributeAccessIssue]
            raise ValueError(
                'precision "float64" needs jax.config.update("jax_enable_x64", True) before the first array, '
                'or use precision "float32"'
            )
        x0 = self.start(self.flow.space, jax.random.key(self.seed)).astype(jnp.dtype(self.precision))
        self.flow.check_tokens(x0)
        self.plan.check_precision(x0.dtype)
        return x0

    def noise_key(self) -> PRNGKeyArray | None:
        """The key that noise comes from; None where there is none."""
        return jax.random.fold_in(jax.random.key(self.seed), NOISE) if self.flow.random else None

    def identity(self) -> str:
        """A hash of all that the numbers depend on: the config, start files' content, the code that computes."""
        content: dict[str, Any] = described(self, lambda file: file.digest)
        content |= {"figures": None, "name": None, "mesh": None}
        content["sweep"] = list(content["sweep"].items())  # the order of a sweep is that of the record's dimensions
        doubles = self.precision == "float64" or jax.config.jax_enable_x64  # pyright: ignore[reportAttributeAccessIssue]
        text = json.dumps([content, doubles, machine.code_digest(), foreign_code(self)], sort_keys=True)
        return hashlib.sha256(text.encode()).hexdigest()

    def directory(self, root: pathlib.Path) -> pathlib.Path:
        return root / f"{self.name}-{self.identity()[:10]}"

    def measure(
        self,
        directory: pathlib.Path,
        *,
        resume: bool = False,
        progress: bool = False,
        workers: int | None = None,
        executor: Executor | None = None,
    ) -> Record:
        return simulate(self, path=directory, resume=resume, progress=progress, workers=workers, executor=executor)

    def estimate(self) -> tuple[list[str], Callable[[pathlib.Path], None]]:
        members = self.prepared()
        needed = self.budget(members, self.layout(members))
        return needed.lines(), needed.check

    def prepared(self, positions: Sequence[int] | None = None) -> list[Member]:
        """Flow, start, plan and key of every member, or of those at some positions.

        Raises
        ------
        ValueError
            If a member cannot start.
        """
        count = math.prod(len(one.values) for one in self.dimensions) if positions is None else len(positions)
        _check_room(count, count * _coordinates(self))
        members = self.members(positions)
        _check_room(count, sum(_coordinates(member) for member in members))
        waiting = tqdm.tqdm(
            members, desc=f"preparing {count} members", delay=PATIENCE, leave=False, disable=count < MANY
        )
        return [
            Member(
                self.mesh.spread(m.flow.within(m.plan.rtol)), checked(m.flow, m.first(), m.plan), m.plan, m.noise_key()
            )
            for m in waiting
        ]

    def layout(self, members: list[Member], swept: tuple[Dimension, ...] | None = None) -> Layout:
        """The shape of the record, or of one of some members along other dimensions than the swept ones."""
        space = described(self.flow.space)
        attributes = {
            "name": self.name,
            "space": space["kind"],
            "caption": caption(described(self, lambda file: file.path.name)),
            "sources": ", ".join(self.cited()),
        }
        attributes |= {"radius": space["radius"]} if "radius" in space else {}
        attributes |= {"jumps": jumps(self.flow, self.plan)} if self.flow.law.jumps else {}
        return layout(self.plan, members, self.dimensions if swept is None else swept, self.precision, attributes)

    def budget(self, members: list[Member], shape: Layout) -> Budget:
        """What the run will need."""
        sizes = [(m.flow, (m.x0.shape[0], m.x0.shape[1]), m.plan) for m in members]
        return budget(sizes, np.dtype(self.precision).itemsize, shape.frame_bytes())

    def loop(
        self,
        members: list[Member],
        layout: Layout,
        keeping: AbstractKeeping,
        positions: Sequence[int],
        progress: bool = False,
        uncut: bool = True,
    ) -> Loop:
        """The loop that makes a record of members at some positions; `uncut` where they are not all there are."""
        sweep = self.dimensions
        values = swept(sweep, positions) if sweep else []
        names = [f"member {k}" for k in positions] if len(sweep) else []
        return Loop(self.plan, members, layout, keeping, progress, values, names, self.mesh.members, uncut)

    def worker(self, run: pathlib.Path) -> Worker:
        """A worker at the run directory of this sweep, for this process.

        Raises
        ------
        ValueError
            If the directory holds no sweep that is made in pieces, or another one than this.
        """
        return Worker(run, self.facts((self.flow.summation,)), self._piece, self.loop)

    def _piece(self, positions: tuple[int, ...]) -> tuple[list[Member], Layout]:
        members = self.prepared(positions)
        return members, self.layout(members, (Dimension("member", "", positions),))

    def facts(self, summations: tuple[AbstractSummation, ...]) -> dict[str, Any]:
        """What a manifest says of the run from its beginning on."""
        return {
            "name": self.name,
            "identity": self.identity(),
            "seed": self.seed,
            "precision": self.precision,
            "summations": [described(summation) for summation in summations],
            "chunk": self.plan.chunk,
            "sources": list(self.cited()),
        }

    def config(self) -> str:
        return self.config_text()

    def config_text(self, file: Callable[[Stored], str] | None = None) -> str:
        """The resolved config; `file` keeps files that it names, and large arrays, and returns their names."""
        return tomli_w.dumps(described(self, file))

    def figure_kinds(self) -> tuple[str, ...]:
        return self.figures

    def verdict(self, record: Record) -> Verdict | None:
        return None

    def shrunk(self) -> "Simulation":
        plan = dataclasses.replace(self.plan.shrunk(SHRUNK_DEPTH, SHRUNK_FRAMES), chunk=3)
        start = shrunk_start(self.start, self.flow.law)
        sweep = {path: values[:SHRUNK_VALUES] for path, values in self.sweep.items()}
        return dataclasses.replace(self, plan=plan, start=start, sweep=sweep)


def _coordinates(simulation: Simulation) -> int:
    """The numbers in the start of one member, where they are known."""
    return getattr(simulation.start, "tokens", 0) * getattr(simulation.start, "dim", 0)


def _check_room(members: int, coordinates: int) -> None:
    """Raises MemoryError for starts that do not fit, before any of them is made."""
    free, needed = machine.free_memory(), STAGES * 8 * coordinates
    if free is not None and needed > free:
        raise MemoryError(
            f"{members} members with {coordinates} coordinates in all need {needed / 2**30:.3g} GiB before any pair is "
            f"looked at, and {free / 2**30:.3g} GiB are free: fewer tokens or members would fit"
        )


def check_name(name: str) -> None:
    """Raises ValueError for a name that cannot begin that of a directory."""
    if not NAME.fullmatch(name):
        raise ValueError(f"`name` must be letters, digits, `.`, `_` or `-`, at most 80; got {name!r}")


def _check_files(simulation: Simulation, path: str, values: Sequence[Any]) -> None:
    """Raises ValueError for swept files that are given by their paths, and would be read again for every member."""
    parent, _, name = path.rpartition(".")
    owner: Any = simulation
    for step in parent.split("."):
        known = isinstance(owner, tuple) and step.isdigit() and int(step) < len(owner)
        owner = owner[int(step)] if known else getattr(owner, step, None)
    named = [value for value in values if isinstance(value, str | pathlib.Path)]
    if isinstance(getattr(owner, name, None), Stored) and named:
        kind = type(owner).__name__
        raise ValueError(f"sweep.{path}: sweep over `{parent}`, with {kind}({str(named[0])!r}) for each file")


def check_start(start: AbstractStart, flow: AbstractFlow) -> None:
    """Raises ValueError if the flow cannot move as many tokens, or not in that dimension; starts from files may be."""
    tokens, dim = getattr(start, "tokens", None), getattr(start, "dim", None)
    if dim is not None:
        flow.check_dim(dim)
    if tokens is not None and dim is not None:
        flow.law.check_tokens(tokens, dim)


def shrunk_start(start: Any, law: AbstractLaw) -> Any:
    """A start of fewer tokens, where it and the law can do with fewer."""
    fields = {field.name for field in dataclasses.fields(start)}
    if not {"tokens", "dim"} <= fields:
        return start
    try:
        law.check_tokens(min(start.tokens, SHRUNK_TOKENS), start.dim)
        return dataclasses.replace(start, tokens=min(start.tokens, SHRUNK_TOKENS))
    except ValueError:  # a law, or a start, that is made for this number of tokens
        return start


def simulate(
    subject: Simulation | AbstractFlow,
    x0: ArrayLike | None = None,
    plan: Plan | None = None,
    path: str | pathlib.Path | None = None,
    *,
    resume: bool = False,
    progress: bool = True,
    workers: int | None = None,
    executor: Executor | None = None,
) -> Record:
    """Runs a simulation, or a flow from a start through a plan, into a run directory.

    Every chunk is committed as it ends. A run that is found finished is not computed again. The members of a sweep are
    moved in step by this process, or made in pieces by workers, each a process of its own; the record is the same.

    Parameters
    ----------
    subject : a simulation, or a flow, which takes `x0` and `plan` beside it; its noise is that of seed 0.
    x0 : the tokens at depth 0; they are kept in the run directory.
    plan : how long, how exactly, what to keep.
    path : the run directory; for a simulation by default `runs/<name>-<hash>`.
    resume : go on with a part of this run that is found there.
    progress : show a bar on standard error.
    workers : how many processes make the members of a sweep; 0 and 1 stand for this process. By default as many as
        the run was begun with, or one. Each imports the package anew, which takes some seconds.
    executor : what starts the workers: any `concurrent.futures.Executor`, by default one that starts them here. It is
        asked for `workers` of them, by default one for each core of this machine.

    Returns
    -------
    Record
        The finished run.

    Raises
    ------
    ValueError
        If the arguments do not fit each other, or the directory holds another run.
    Unfinished
        If the directory holds a part of this run and `resume` is False.
    Locked
        If another process is writing there.
    Interrupted
        If a signal asked to stop, or workers were lost time and again. The run can be resumed.
    Failed
        If the numerics failed, naming depth and observable. What was good is kept.
    MemoryError, OSError
        If the machine has too little memory or disk. What was committed is kept.

    Source
    ------
    geshkovski2023perspective.
    """
    if isinstance(subject, AbstractFlow):
        if x0 is None or plan is None or path is None:
            raise ValueError("simulate(flow, x0, plan, path) needs all four; a Simulation needs no more than a path")
        subject = _from_tokens(subject, x0, plan, pathlib.Path(path))
    elif not isinstance(subject, Simulation):
        raise ValueError(
            f"simulate takes a Simulation, or a flow with its start and plan; got {type(subject).__name__}"
        )
    elif x0 is not None or plan is not None:
        raise ValueError("a Simulation holds its own start and plan; leave out `x0` and `plan`")
    directory = pathlib.Path(path) if path is not None else subject.directory(pathlib.Path("runs"))
    return made(subject, directory, workers, executor, resume, progress)


def _from_tokens(flow: AbstractFlow, x0: ArrayLike, plan: Plan, directory: pathlib.Path) -> Simulation:
    """A simulation that starts from tokens at hand: they are kept as a file of the run directory."""
    tokens = np.asarray(checked(flow, x0, plan))
    name = re.sub(r"[^A-Za-z0-9._-]", "-", directory.resolve().name).lstrip("._-")[:80] or "run"
    precision = "float64" if tokens.dtype == np.float64 else "float32"
    return Simulation(Given(Stored.of(tokens)), flow, plan, name=name, precision=precision)
