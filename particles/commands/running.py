"""Commands that make runs, and one that says what a run would need."""

import dataclasses
import os
import pathlib
import sys
from collections.abc import Iterable
from typing import TYPE_CHECKING, Annotated, Literal

import tyro

from .. import machine, ranks
from .arguments import Flag, Overrides, Place, Repeated
from .ending import DONE, VERDICT, advising

if TYPE_CHECKING:
    import concurrent.futures

    from ..experiment import AbstractExperiment, Verdict


@dataclasses.dataclass(frozen=True)
class Making:
    """How a run is made.

    Attributes:
        no_figures: draw nothing, and write no report.
        quiet: no progress bar.
        processes: that move one system together, on this machine; others are started by Slurm, Open MPI or by hand.
        workers: processes that share the members of a sweep; by default this one alone, or as many as before.
        executor: where workers are started: here, or as jobs of submitit.
        slurm: an option of those jobs, partition=gpu or timeout_min=60; may be given several times.
    """

    no_figures: Flag = False
    quiet: Flag = False
    processes: int = 1
    workers: int | None = None
    executor: Literal["here", "slurm", "local", "debug"] = "here"
    slurm: Repeated = ()

    def leads(self) -> bool:
        """Whether this process is to start the ranks of a run; if it is one of them, it joins the others.

        Raises
        ------
        ValueError
            If there are to be fewer processes than one.
        """
        if self.processes < 1:
            raise ValueError(f"`processes` must be at least 1; got {self.processes}")
        if self.processes > 1 and ranks.foretold(os.environ) is None:
            return True
        ranks.join()
        return False

    def starter(self, directory: pathlib.Path) -> "concurrent.futures.Executor | None":
        """What starts workers elsewhere than here.

        Raises
        ------
        ValueError
            For options of jobs where there are none, or that are no key=value.
        """
        if self.executor == "here":
            if self.slurm:
                raise ValueError(f"--slurm {self.slurm[0]} is an option of jobs: say --executor slurm, too")
            return None
        from ..simulation.cluster import Cluster

        pairs = [option.partition("=") for option in self.slurm]
        wrong = [name for name, equals, _ in pairs if not equals]
        if wrong:
            raise ValueError(f"--slurm takes key=value; got {wrong[0]!r}")
        values = {name: int(value) if value.isdecimal() else value for name, _, value in pairs}
        return Cluster(pathlib.Path(os.path.realpath(directory)) / "parts" / "jobs", self.executor, values)


How = Annotated[Making, tyro.conf.OmitArgPrefixes]


def run(
    config: Place,
    overrides: Overrides = (),
    /,
    *,
    out: pathlib.Path = pathlib.Path("runs"),
    resume: Flag = False,
    making: How = Making(),
) -> int:
    """Run a config into a run directory, draw its figures, and write a report.

    Args:
        config: TOML file of an experiment.
        overrides: values to change in it.
        out: folder that receives the run directory, NAME-HASH.
        resume: go on with a part of this run that is found there.
        making: how it is made and shown.
    """
    if making.leads():
        return ranks.launched(sys.argv[1:], making.processes)
    from ..config import load

    experiment = load(config, overrides)
    return _made(experiment, experiment.directory(out), resume, making)


def resume(run: Place, /, *, making: How = Making()) -> int:
    """Go on after a crash, a kill or a signal: the same bits as if nothing had happened.

    Args:
        run: run directory.
        making: how it is made and shown.
    """
    if making.leads():
        return ranks.launched(sys.argv[1:], making.processes)
    return _made(_begun(run), run, True, making)


def work(
    run: Place,
    /,
    *,
    imports: Repeated = (),
    parent: int | None = None,
) -> int:
    """Help with a sweep that is being made by workers, from any machine that sees its run directory.

    Args:
        run: run directory of a sweep that was begun with `particles run CONFIG --workers`.
        imports: a module with classes that the sweep needs; may be given several times.
        parent: the process to work for; the worker ends with it.
    """
    import importlib

    from ..simulation import Simulation

    machine.trust()
    for module in imports:
        importlib.import_module(module)
    sweep = _begun(run, ["figures=[]"])  # matplotlib takes a second to import
    if not isinstance(sweep, Simulation):
        raise ValueError(f"{run} holds a {type(sweep).__name__}, which workers cannot share")
    with advising(lambda again: again.capitalize() if parent is None else ""):  # else whoever began it advises
        sweep.worker(run).work(parent)
    return DONE


def check(
    config: Place,
    overrides: Overrides = (),
    /,
    *,
    out: pathlib.Path = pathlib.Path("runs"),
) -> int:
    """Show what a config resolves to and what the run would need; run nothing.

    Args:
        config: TOML file of an experiment.
        overrides: values to change in it.
        out: folder that would receive the run directory.
    """
    from ..config import load

    experiment = load(config, overrides)
    needs, check_room = experiment.estimate()
    print(experiment.config())
    print("\n".join(f"# {line}" for line in (f"directory   {experiment.directory(out)}", *needs)))
    check_room(out)
    return DONE


def _begun(run: pathlib.Path, overrides: Iterable[str] = ()) -> "AbstractExperiment":
    """The experiment of a run directory, by the config that it was begun with."""
    from ..config import load
    from ..record import open_record
    from ..record.writer import CONFIG

    _ = open_record(run).config  # which is not read where it is not what was written
    return load(run / CONFIG, overrides)


def _made(experiment: "AbstractExperiment", directory: pathlib.Path, resume: bool, making: Making) -> int:
    machine.trust()
    together, starter = ranks.ranks(), making.starter(directory)
    if not together.alone:
        _check_together(experiment)
    if together.first:
        print(f"running in {directory}", file=sys.stderr)
    try:
        with advising(lambda again: _advice(directory, again)):
            record = experiment.measure(
                directory, resume=resume, progress=not making.quiet, workers=making.workers, executor=starter
            )
            ranks.part()
            if not together.first:
                return DONE
            verdict = experiment.verdict(record)
            if not making.no_figures:
                from ..report import illustrated

                illustrated(record, experiment.figure_kinds(), verdict, lambda line: print(line, file=sys.stderr))
        return _answered(verdict)
    finally:
        if starter is not None:
            starter.shutdown(wait=False)
        if together.first and (directory / "manifest.json").exists():
            print(directory, flush=True)


def _advice(directory: pathlib.Path, again: str) -> str:
    """What to do when a disk is full: that depends on whether there is anything to go on with."""
    from ..record.writer import COMMIT
    from ..simulation.pieces import laid_out

    if (directory / COMMIT).exists() or laid_out(directory):
        return f"Nothing that was committed is lost: {again}, a `run` with --resume"
    return f"Nothing was committed: {again}"


def _check_together(experiment: "AbstractExperiment") -> None:
    from ..simulation import Simulation

    if not isinstance(experiment, Simulation):
        raise ValueError(f"several processes move the tokens of a Simulation; got a {type(experiment).__name__}")


def _answered(verdict: "Verdict | None") -> int:
    """Tells the verdict of an experiment that claims something; the exit code that follows from it."""
    if verdict is None:
        return DONE
    from ..experiment import Outcome

    print(*verdict.checks, verdict.told, sep="\n", file=sys.stderr)
    return VERDICT if verdict.outcome is Outcome.fails else DONE
