"""How the run of a simulation is made: by this process alone, by workers, or by several ranks together."""

import contextlib
import functools
import pathlib
from collections.abc import Callable, Iterator
from concurrent.futures import Executor
from typing import TYPE_CHECKING

import jax

from ..integration import Failed
from ..ranks import Ranks, ranks
from ..record import Record, open_record
from ..record.files import replace
from ..record.lock import writing
from ..record.writer import CONFIG, MANIFEST
from ..stored import Stored
from ..summation.devices import devices
from . import grid
from .identity import foreign_modules
from .journal import Journal
from .keeping import Keeping, Together
from .loop import Interrupted
from .pieces import clear, laid_out
from .workforce import Workforce, workforce

if TYPE_CHECKING:
    from .simulation import Simulation

GO, DONE = "go", "done"  # what the first of several ranks tells the others
LOST = "another process of this run was lost; what was committed is kept: particles resume {0} ({1})"


class Unfinished(RuntimeError):
    """The run directory holds a part of this run, and nobody said to resume it."""


def made(
    subject: "Simulation",
    directory: pathlib.Path,
    workers: int | None,
    executor: Executor | None,
    resume: bool,
    progress: bool,
) -> Record:
    """Makes the run of a simulation in its directory, or goes on with it; parameters and errors as for `simulate`."""
    together = ranks()
    if not together.first:
        return _followed(subject, directory, together)
    try:
        return _led(subject, directory, together, resume, progress, workforce(directory, workers, executor))
    except jax.errors.JaxRuntimeError as error:
        if together.alone:
            raise
        raise Interrupted(LOST.format(directory, error)) from error


def _led(
    subject: "Simulation", directory: pathlib.Path, together: Ranks, resume: bool, progress: bool, force: Workforce
) -> Record:
    """Makes a run, by this process alone, by workers, or as the first of several ranks."""
    with _telling(together) as tell:
        check_vacant(directory)
        members = subject.prepared()
        shape = subject.layout(members)
        needed = subject.budget(members, shape)
        parts = force.parts(directory, members)
        if parts and not together.alone:
            raise ValueError("workers share the members of a sweep, and processes one system: use one or the other")
        if parts:
            needed = force.needs(needed, subject.budget([members[k] for k in parts[0]], shape))
        else:
            devices(subject.mesh.members, "mesh.members")  # of a worker that is its own matter
        needed.check(directory)
        directory.mkdir(parents=True, exist_ok=True)
        with writing(directory):
            journal = Journal(
                directory, subject.facts(needed.summations), lambda: subject.config_text(keeper(directory))
            )
            if journal.status in ("done", "failed"):
                clear(directory)
            if journal.status == "failed":
                raise Failed(journal.reason)
            if journal.status == "done":
                open_record(directory).verify()
                tell(DONE)
                return open_record(directory)
            if (journal.begun or laid_out(directory)) and not resume:
                raise Unfinished(f"{directory} holds a part of this run; go on with it: particles resume {directory}")
            tell(GO)
            if parts:
                called = functools.partial(grid.called, subject.dimensions)
                force.make(journal, parts, foreign_modules(subject), subject.plan, shape, called, progress)
            else:
                keeping = Keeping(journal, shape)
                kept = keeping if together.alone else Together(together, keeping)
                subject.loop(members, shape, kept, range(len(members)), progress, uncut=False).run()
    together.agreed("")  # nobody looks before all is written
    return open_record(directory)


def _followed(subject: "Simulation", directory: pathlib.Path, together: Ranks) -> Record:
    """Takes part in a run that the first rank makes."""
    try:
        told = together.shared(b"").decode()
        if told == GO:
            members = subject.prepared()
            keeping = Together(together, None)
            subject.loop(members, subject.layout(members), keeping, range(len(members)), False, uncut=False).run()
            together.agreed("")
        elif told != DONE:
            raise Interrupted(f"the first process ended: {told}")
    except jax.errors.JaxRuntimeError as error:
        raise Interrupted(LOST.format(directory, error)) from error
    return open_record(directory)


@contextlib.contextmanager
def _telling(together: Ranks) -> Iterator[Callable[[str], None]]:
    """Tells the other ranks what to do, once; where this one fails before that, why."""
    told: list[str] = []

    def tell(word: str) -> None:
        told.append(word)
        together.shared(word.encode())

    try:
        yield tell
    except Exception as error:
        if not told:
            tell(f"{type(error).__name__}: {error}")
        raise


def check_vacant(directory: pathlib.Path) -> None:
    """Refuses a directory with somebody else's files in it."""
    if not directory.exists() or (directory / MANIFEST).exists():
        return
    strange = [
        e.name for e in directory.iterdir() if e.name not in (CONFIG, "lock") and not e.name.startswith("given-")
    ]
    if strange:
        raise ValueError(f"{directory} is not a run directory and not empty ({strange[0]}, ...); choose another path")


def keeper(directory: pathlib.Path) -> Callable[[Stored], str]:
    """A function that keeps files in a run directory and returns their names there, which tell their content."""

    def kept(file: Stored) -> str:
        replace(directory / file.name, file.content)
        return file.name

    return kept
