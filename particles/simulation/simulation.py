"""A simulation: everything that a run depends on, in one immutable object that a config can hold."""

import dataclasses
import hashlib
import json
import pathlib
import re
from collections.abc import Callable
from typing import Any, ClassVar, Literal

import equinox as eqx
import jax
import jax.numpy as jnp
import tomli_w
from jaxtyping import Array, Float

from .. import machine
from ..declaration import described, option
from ..dynamics import Flow
from ..experiment import AbstractExperiment, Verdict
from ..integration import Plan
from ..record import Record
from ..record.files import digest
from ..starts import AbstractStart, DataError, Given
from .grid import Dimension, combinations, dimensions

NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,79}")
SHRUNK_TOKENS, SHRUNK_DEPTH, SHRUNK_FRAMES, SHRUNK_VALUES = 12, 0.5, 6, 2


class Simulation(AbstractExperiment):
    """Tokens followed from a start through a plan, for one flow or for every combination of swept values.

    Parameters
    ----------
    name : of the run; letters, digits, `.`, `_` and `-`. It begins the name of the run directory.
    start : where the tokens start.
    flow : what moves them.
    plan : how long, how exactly, what to keep.
    seed : of the start, the only randomness there is.
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
    flow: Flow
    plan: Plan
    name: str = option("run")
    seed: int = option(0, ge=0)
    precision: Literal["float64", "float32"] = option("float64")
    sweep: dict[str, tuple[Any, ...]] = eqx.field(default_factory=dict)
    figures: tuple[str, ...] = option(())
    sources: ClassVar[tuple[str, ...]] = ("geshkovski2023perspective",)

    def __check_init__(self):
        if not NAME.fullmatch(self.name):
            raise ValueError(f"`name` must be letters, digits, `.`, `_` or `-`, at most 80; got {self.name!r}")
        if self.precision not in ("float64", "float32"):
            raise ValueError(f"`precision` must be 'float64' or 'float32'; got {self.precision!r}")
        self.plan.check_flow(self.flow)
        tokens, dim = getattr(self.start, "tokens", None), getattr(self.start, "dim", None)
        if dim is not None:
            self.flow.space.check_dim(dim)
        if tokens is not None and dim is not None:
            self.flow.law.check_tokens(tokens, dim)

    @property
    def dimensions(self) -> tuple[Dimension, ...]:
        """The swept dimensions, outermost first."""
        return dimensions(self.sweep)

    def members(self) -> list["Simulation"]:
        """A simulation without a sweep for every combination, the last dimension running fastest."""
        return combinations(dataclasses.replace(self, sweep={}), self.dimensions)

    def first(self) -> Float[Array, "n d"]:
        """The tokens at depth 0.

        Raises
        ------
        ValueError
            If the start does not exist on the space, or float64 is asked for and JAX was told otherwise.
        """
        if self.precision == "float64" and not jax.config.jax_enable_x64:  # pyright: ignore[reportAttributeAccessIssue]
            raise ValueError(
                'precision "float64" needs jax.config.update("jax_enable_x64", True) before the first array, '
                'or use precision "float32"'
            )
        x0 = self.start(self.flow.space, jax.random.key(self.seed)).astype(jnp.dtype(self.precision))
        self.flow.check_tokens(x0)
        return x0

    def identity(self) -> str:
        """A hash of all that the numbers depend on: the config, start files' content, the code that computes."""
        content = self.content(start_digest) | {"figures": None, "name": None}
        text = json.dumps([content, machine.code_digest()], sort_keys=True)
        return hashlib.sha256(text.encode()).hexdigest()

    def content(self, file: Callable[[pathlib.Path], str] = str) -> dict[str, Any]:
        """The resolved config as plain data, every path of a start file replaced by `file(path)`."""
        return _with_files(described(self), file)

    def directory(self, root: pathlib.Path) -> pathlib.Path:
        return root / f"{self.name}-{self.identity()[:10]}"

    def measure(self, directory: pathlib.Path, *, resume: bool = False, progress: bool = False) -> Record:
        from .loop import simulate  # the loop runs simulations; this is the door to it that all experiments have

        return simulate(self, path=directory, resume=resume, progress=progress)

    def estimate(self) -> tuple[list[str], Callable[[pathlib.Path], None]]:
        from .layout import prepare

        budget = prepare(self).budget
        return budget.lines(), budget.check

    def config(self) -> str:
        return self.config_text()

    def config_text(self, file: Callable[[pathlib.Path], str] = str) -> str:
        """The resolved config with every path of a start file replaced by `file(path)`."""
        return tomli_w.dumps(self.content(file))

    def figure_kinds(self) -> tuple[str, ...]:
        return self.figures

    def verdict(self, record: Record) -> Verdict | None:
        return None

    def shrunk(self) -> "Simulation":
        until = jnp.minimum(self.plan.until, SHRUNK_DEPTH)
        plan = dataclasses.replace(self.plan, until=until, save=SHRUNK_FRAMES, chunk=3)
        tokens = getattr(self.start, "tokens", 0)
        start = dataclasses.replace(self.start, tokens=min(tokens, SHRUNK_TOKENS)) if tokens else self.start
        sweep = {path: values[:SHRUNK_VALUES] for path, values in self.sweep.items()}
        return dataclasses.replace(self, plan=plan, start=start, sweep=sweep)


def start_digest(path: pathlib.Path) -> str:
    """The hash of a start file.

    Raises
    ------
    DataError
        If it cannot be read.
    """
    try:
        return digest(path)
    except OSError as error:
        raise DataError(f"{path}: cannot be read: {error.strerror}") from error


def _with_files(content: Any, file: Callable[[pathlib.Path], str]) -> Any:
    if isinstance(content, dict):
        content = {key: _with_files(value, file) for key, value in content.items()}
        if content.get("kind") == Given.__name__:
            content["path"] = file(pathlib.Path(content["path"]))
        return content
    return [_with_files(value, file) for value in content] if isinstance(content, list) else content
