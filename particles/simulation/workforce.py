"""Who makes a run: this process alone, or workers, how many and started by what."""

import concurrent.futures
import contextlib
import dataclasses
import os
import pathlib
import sys
from collections.abc import Callable, Sequence

import jax

from .. import machine
from ..integration import Plan
from ..process import command
from ..record import Damaged, Layout, open_record
from ..record.writer import COMMIT, MANIFEST
from .budget import Budget
from .crew import Crew
from .grid import Member, alike
from .journal import Journal
from .pieces import LIST, PARTS, cut, laid_out, lay_out, pieces


@dataclasses.dataclass(frozen=True)
class Workforce:
    """Who makes a run.

    Attributes
    ----------
    count : workers at once.
    executor : what starts them; None for this process itself, which then waits for them.
    """

    count: int
    executor: concurrent.futures.Executor | None

    @property
    def here(self) -> bool:
        """Whether the workers are on this machine."""
        return self.executor is None

    def parts(self, directory: pathlib.Path, members: Sequence[Member]) -> list[tuple[int, ...]]:
        """Which members form a piece where workers make the run; none where this process moves all of them in step.

        A run goes on as it was begun.

        Raises
        ------
        Damaged
            If it was begun in pieces, and they are gone or are not those of its members.
        """
        if laid_out(directory):
            found = [piece.members for piece in pieces(directory)]
            if (count := sum(map(len, found))) != len(members):
                raise Damaged(f"{directory / PARTS / LIST} is damaged: it has {count} members of {len(members)}")
            return found
        _check_not_lost(directory)
        if (self.count == 1 and self.here) or len(members) == 1:
            return []
        if (directory / COMMIT).exists():
            print(f"particles: warning: {directory} was begun by one process and goes on in one", file=sys.stderr)
            return []
        return cut([(group, members[group[0]].x0.shape[0]) for group in alike(list(members))], self.count)

    def needs(self, whole: Budget, largest: Budget) -> Budget:
        """What the run needs on this machine, whose record and largest piece need as much."""
        return whole.in_pieces(largest, self.count if self.here else 0)

    def make(
        self,
        journal: Journal,
        parts: Sequence[tuple[int, ...]],
        imports: Sequence[str],
        plan: Plan,
        layout: Layout,
        called: Callable[[int], str],
        progress: bool,
    ) -> None:
        """Has the run made, in pieces; `imports` are modules that a worker needs, the rest is as for a `Crew`."""
        run = pathlib.Path(os.path.realpath(journal.directory))
        if not laid_out(run):
            lay_out(run, parts)
        line = ["work", str(run), *(word for module in imports for word in ("--imports", module))]
        doubles = bool(jax.config.jax_enable_x64)  # pyright: ignore[reportAttributeAccessIssue]
        environment = machine.for_workers(doubles, self.here and self.count > 1)
        with contextlib.ExitStack() as stack:
            executor = self.executor or stack.enter_context(concurrent.futures.ThreadPoolExecutor(self.count))
            Crew(
                lambda: executor.submit(command, line, environment), self.count, plan, layout, journal, called, progress
            ).run()


def workforce(directory: pathlib.Path, workers: int | None, executor: concurrent.futures.Executor | None) -> Workforce:
    """As many workers as are asked for, or as the run had before; one for each core if only an executor is given.

    Raises
    ------
    ValueError
        If fewer than none are asked for.
    """
    if workers is not None:
        if workers < 0:
            raise ValueError(f"`workers` must be at least 0; got {workers}")
        return Workforce(max(1, workers), executor)
    if executor is not None:
        return Workforce(machine.cores(), executor)
    segments = open_record(directory).manifest["segments"] if laid_out(directory) else []
    before = [segment["workers"] for segment in segments if "workers" in segment]
    return Workforce(max(1, before[-1]) if before else 1, None)


def _check_not_lost(directory: pathlib.Path) -> None:
    """Raises Damaged for a run that was begun in pieces and has neither come to its end nor any pieces."""
    manifest = open_record(directory).manifest if (directory / MANIFEST).exists() else {"segments": []}
    if any("workers" in one for one in manifest["segments"]) and manifest["status"] not in ("done", "failed"):
        raise Damaged(
            f"{directory} is damaged: the run was begun in pieces, and {PARTS}/{LIST} is gone. Remove the folder, and "
            "run the config again"
        )
