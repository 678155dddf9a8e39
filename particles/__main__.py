"""The command line: `particles COMMAND`.

Each command is a function; its signature and docstring are its help. What belongs to JAX, zarr or matplotlib is
imported inside the commands, so that help and misspelt options answer at once. The last line on standard output of
`run` and `resume` is the run directory; everything said to a person goes to standard error.
"""

import errno
import functools
import gc
import os
import pathlib
import sys
from collections.abc import Callable
from typing import TYPE_CHECKING, Annotated, Literal

import tyro

from . import machine, ranks

if TYPE_CHECKING:
    import concurrent.futures

    from .experiment import AbstractExperiment, Verdict
    from .record import Record

DONE, VERDICT, USAGE, DATA, NUMERICS, DISK, INTERRUPTED = 0, 1, 2, 65, 70, 74, 75
NO_ROOM = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EIO, errno.EROFS)

SELDOM = (20_000, 20, 100)
"""How many new objects Python waits for before it looks for cycles among them, and how often it looks among all.
Importing and tracing make objects by the million and hardly a cycle: Python's own pace costs a tenth of a command."""

Flag = tyro.conf.FlagCreatePairsOff
Given = tyro.conf.Positional
Options = Annotated[tuple[str, ...], tyro.conf.UseAppendAction]
Starter = Literal["here", "slurm", "local", "debug"]
Family = Literal[
    "spaces",
    "summations",
    "laws",
    "scores",
    "measures",
    "normalizers",
    "values",
    "gates",
    "maps",
    "schedules",
    "norms",
    "flows",
    "noises",
    "starts",
    "observables",
    "stops",
    "solvers",
    "figures",
    "experiments",
    "claims",
]


def run(
    config: Annotated[pathlib.Path, Given],
    overrides: Annotated[tuple[str, ...], Given, tyro.conf.arg(metavar="[key.path=value ...]")] = (),
    /,
    *,
    out: pathlib.Path = pathlib.Path("runs"),
    resume: Annotated[bool, Flag] = False,
    no_figures: Annotated[bool, Flag] = False,
    quiet: Annotated[bool, Flag] = False,
    processes: int = 1,
    workers: int | None = None,
    executor: Starter = "here",
    slurm: Options = (),
) -> int:
    """Run a config into a run directory, draw its figures, and write a report.

    Args:
        config: TOML file of an experiment.
        overrides: values to change in it.
        out: folder that receives the run directory, NAME-HASH.
        resume: go on with a part of this run that is found there.
        no_figures: draw nothing, and write no report.
        quiet: no progress bar.
        processes: that move one system together, on this machine; others are started by Slurm, Open MPI or by hand.
        workers: processes that share the members of a sweep; by default this one alone.
        executor: where workers are started: here, or as jobs of submitit.
        slurm: an option of those jobs, partition=gpu or timeout_min=60; may be given several times.
    """
    if _leads(processes):
        return ranks.launched(sys.argv[1:], processes)
    from .config import load

    experiment = load(config, overrides)
    return _simulated(experiment, experiment.directory(out), resume, no_figures, quiet, workers, executor, slurm)


def resume(
    run: Annotated[pathlib.Path, Given],
    /,
    *,
    no_figures: Annotated[bool, Flag] = False,
    quiet: Annotated[bool, Flag] = False,
    processes: int = 1,
    workers: int | None = None,
    executor: Starter = "here",
    slurm: Options = (),
) -> int:
    """Go on after a crash, a kill or a signal: the same bits as if nothing had happened.

    Args:
        run: run directory.
        no_figures: draw nothing, and write no report.
        quiet: no progress bar.
        processes: that move one system together, on this machine; others are started by Slurm, Open MPI or by hand.
        workers: processes that share the members of a sweep; by default as many as before.
        executor: where workers are started: here, or as jobs of submitit.
        slurm: an option of those jobs, partition=gpu or timeout_min=60; may be given several times.
    """
    if _leads(processes):
        return ranks.launched(sys.argv[1:], processes)
    from .config import load
    from .record import open_record

    open_record(run)
    return _simulated(load(run / "config.toml"), run, True, no_figures, quiet, workers, executor, slurm)


def work(
    run: Annotated[pathlib.Path, Given],
    /,
    *,
    imports: Options = (),
    parent: int | None = None,
) -> int:
    """Help with a sweep that is being made by workers, from any machine that sees its run directory.

    Args:
        run: run directory of a sweep that was begun with `particles run CONFIG --workers`.
        imports: a module with classes that the sweep needs; may be given several times.
        parent: the process to work for; the worker ends with it.
    """
    import importlib

    from .config import load
    from .record import open_record
    from .simulation import Simulation

    machine.trust()
    for module in imports:
        importlib.import_module(module)
    open_record(run)
    sweep = load(run / "config.toml", ["figures=[]"])  # matplotlib takes a second to import
    if not isinstance(sweep, Simulation):
        raise ValueError(f"{run} holds a {type(sweep).__name__}, which workers cannot share")
    sweep.worker(run).work(parent)
    return DONE


def plot(
    run: Annotated[pathlib.Path, Given],
    kinds: Annotated[tuple[str, ...], Given, tyro.conf.arg(metavar="[KIND ...]")] = (),
    /,
    *,
    out: pathlib.Path | None = None,
    format: Literal["png", "pdf", "svg"] = "png",
) -> int:
    """Draw figures of a run from its record.

    Args:
        run: run directory.
        kinds: kinds of figures; by default those that suit the run. `particles list figures` names them.
        out: folder for the files; by default RUN/figures.
        format: of the files.
    """
    from .record import open_record

    record = open_record(run)
    record.verify()
    drawn = _draw(record, kinds, out or run / "figures", format)
    if not drawn:
        print("particles: nothing to draw: the run keeps neither tokens nor observables", file=sys.stderr)
        return DATA
    print(*drawn, sep="\n")
    return DONE


def view(
    run: Annotated[pathlib.Path, Given], /, *, out: pathlib.Path | None = None, open: Annotated[bool, Flag] = False
) -> int:
    """Make a page to explore a run: one HTML file that needs nothing else.

    Args:
        run: run directory.
        out: the file; by default RUN/view.html.
        open: show it in the browser.
    """
    from .record import open_record
    from .view import write

    record, path = open_record(run), out or run / "view.html"
    path.parent.mkdir(parents=True, exist_ok=True)
    write(record, path)
    if open:
        import webbrowser

        webbrowser.open(path.resolve().as_uri())
    print(path)
    return DONE


def animate(
    run: Annotated[pathlib.Path, Given],
    /,
    *,
    out: pathlib.Path | None = None,
    format: Literal["mp4", "gif"] | None = None,
    frames: int | None = None,
    depth: Literal["auto", "linear", "log"] = "auto",
    seconds: float | None = None,
    fps: float | None = None,
    watch: Annotated[tuple[str, ...], tyro.conf.UseAppendAction] = (),
    turn: float = 60.0,
    trail: int = 16,
    width: int = 1280,
    quiet: Annotated[bool, Flag] = False,
) -> int:
    """Make a film of a run from its record.

    Args:
        run: run directory.
        out: the file; by default RUN/figures/film.mp4, or film.gif where there is no ffmpeg.
        format: of the file; by default what its name says.
        frames: pictures of the film, by default 300; those between stored frames are interpolated.
        depth: the film's clock: depth, its logarithm, or whichever lets waits not bore.
        seconds: how long the film is; two of `frames`, `seconds` and `fps` say the third.
        fps: pictures a second, by default 30.
        watch: an observable beside the tokens, by default the first three; may be given several times.
        turn: degrees by which a sphere turns meanwhile.
        trail: length of trails in pictures.
        width: of the picture in pixels.
        quiet: no progress bar.
    """
    from .plots.film import Film, length, target
    from .plots.film import animate as filmed
    from .record import open_record

    pictures, pace = length(frames, seconds, fps)
    film = Film(pictures, pace, depth, watch, turn, trail, width)
    record = open_record(run)
    record.verify()
    place, note = target(out, format, run / "figures")
    if note:
        print(f"particles: {note}", file=sys.stderr)
    print(filmed(record.dataset, place, film, progress=not quiet))
    return DONE


def verify(
    claims: Annotated[tuple[str, ...], Given, tyro.conf.arg(metavar="[CLAIM ...]")] = (),
    /,
    *,
    fast: Annotated[bool, Flag] = False,
    controls: Annotated[bool, Flag] = False,
    out: pathlib.Path = pathlib.Path("runs") / "claims",
    jobs: int | None = None,
    page: pathlib.Path | None = None,
) -> int:
    """Hold published claims against computations: the scoreboard. Exit code 1 if one fails.

    Args:
        claims: names of claims; by default all. `particles list claims` names them.
        fast: small forms of all of them, a few seconds each.
        controls: run the negative controls instead: law or expectation broken on purpose, so that each must fail.
        out: folder for the run directories and verify.json.
        jobs: how many to run at once; by default one for each core.
        page: also write the scoreboard as a page of Markdown.
    """
    from . import scoreboard

    machine.trust()
    rows = scoreboard.verify(claims, out, fast=fast, control=controls, jobs=jobs)
    print(scoreboard.table(rows, controls))
    if page is not None:
        scoreboard.page(rows, page, fast=fast, control=controls)
    return DONE if scoreboard.good(rows, controls) else VERDICT


def check(
    config: Annotated[pathlib.Path, Given],
    overrides: Annotated[tuple[str, ...], Given, tyro.conf.arg(metavar="[key.path=value ...]")] = (),
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
    from .config import load

    experiment = load(config, overrides)
    needs, check_room = experiment.estimate()
    print(experiment.config())
    print("\n".join(f"# {line}" for line in (f"directory   {experiment.directory(out)}", *needs)))
    check_room(out)
    return DONE


def list_(family: Annotated[Family | None, Given] = None, /) -> int:
    """List what a config can name: every class with its parameters, one line, and its source.

    Args:
        family: of which family; without it, of all.
    """
    from .listing import FAMILIES, lines

    for name in [family] if family else FAMILIES:
        print(name)
        print("\n".join(f"  {line}" for line in lines(name)))
    return DONE


def schema() -> int:
    """Print the JSON Schema of configs, for editors."""
    import json

    from .config import schema as derived

    print(json.dumps(derived(), indent=2))
    return DONE


def doctor() -> int:
    """Look the installation over: versions, devices, room, and whether jaxlib computes right numbers."""
    import json

    facts = machine.provenance()
    print(json.dumps(facts, indent=2))
    free = machine.free_memory()
    print(f"memory free: {'unknown' if free is None else f'{free / 2**30:.1f} GiB'}")
    print(f"disk free here: {machine.free_disk(pathlib.Path.cwd()) / 2**30:.1f} GiB")
    print(f"compile cache: {machine.cache_directory() / 'compiled'}")
    wrong = machine.canary()
    if wrong:
        print(machine.UNTRUSTED.format(facts["versions"]["jaxlib"], wrong, machine.CANARY_ROWS))  # pyright: ignore
        return NUMERICS
    print("jaxlib computes right numbers: yes")
    return DONE


def _simulated(
    experiment: "AbstractExperiment",
    directory: pathlib.Path,
    resume: bool,
    no_figures: bool,
    quiet: bool,
    workers: int | None,
    executor: str,
    slurm: tuple[str, ...],
) -> int:
    machine.trust()
    together, starter = ranks.ranks(), _starter(directory, executor, slurm)
    if not together.alone:
        _check_together(experiment)
    if together.first:
        print(f"running in {directory}", file=sys.stderr)
    try:
        record = experiment.measure(directory, resume=resume, progress=not quiet, workers=workers, executor=starter)
        ranks.part()
        if not together.first:
            return DONE
        verdict = experiment.verdict(record)
        if not no_figures:
            from .report import illustrated

            illustrated(record, experiment.figure_kinds(), verdict, lambda line: print(line, file=sys.stderr))
        return _answered(verdict)
    finally:
        if starter is not None:
            starter.shutdown(wait=False)
        if together.first and (directory / "manifest.json").exists():
            print(directory, flush=True)


def _check_together(experiment: "AbstractExperiment") -> None:
    from .simulation import Simulation

    if not isinstance(experiment, Simulation):
        raise ValueError(f"several processes move the tokens of a Simulation; got a {type(experiment).__name__}")


def _leads(processes: int) -> bool:
    """Whether this process is to start the ranks of a run; if it is one of them, it joins the others.

    Raises
    ------
    ValueError
        If there are to be fewer processes than one.
    """
    if processes < 1:
        raise ValueError(f"`processes` must be at least 1; got {processes}")
    if processes > 1 and ranks.foretold(os.environ) is None:
        return True
    ranks.join()
    return False


def _starter(directory: pathlib.Path, executor: str, options: tuple[str, ...]) -> "concurrent.futures.Executor | None":
    """What starts workers elsewhere than here."""
    if executor == "here":
        if options:
            raise ValueError(f"--slurm {options[0]} is an option of jobs: say --executor slurm, too")
        return None
    from .simulation.cluster import Cluster

    pairs = [option.partition("=") for option in options]
    wrong = [name for name, equals, _ in pairs if not equals]
    if wrong:
        raise ValueError(f"--slurm takes key=value; got {wrong[0]!r}")
    values = {name: int(value) if value.isdecimal() else value for name, _, value in pairs}
    return Cluster(directory.resolve() / "parts" / "jobs", executor, values)


def _answered(verdict: "Verdict | None") -> int:
    """Tells the verdict of an experiment that claims something; the exit code that follows from it."""
    if verdict is None:
        return DONE
    from .experiment import Outcome

    print(*verdict.checks, verdict.told, sep="\n", file=sys.stderr)
    return VERDICT if verdict.outcome is Outcome.fails else DONE


def _draw(record: "Record", kinds: tuple[str, ...], folder: pathlib.Path, suffix: str) -> list[pathlib.Path]:
    from .plots import figures, save

    folder.mkdir(parents=True, exist_ok=True)
    drawn = []
    for name, figure in figures(record.dataset, kinds or None):
        save(figure, folder / f"{name}.{suffix}")
        drawn.append(folder / f"{name}.{suffix}")
    return drawn


def _guarded(command: Callable[..., int]) -> Callable[..., int]:
    """The command with every error that a person can do something about turned into a message and an exit code."""

    @functools.wraps(command)
    def guarded(*args: object, **kwargs: object) -> int:
        try:
            for warning in machine.prepare():
                print(f"particles: warning: {warning}", file=sys.stderr)
            return command(*args, **kwargs)
        except KeyboardInterrupt:
            _leave("interrupted; what was committed is kept", INTERRUPTED)
            raise
        except Exception as error:
            code = _exit_code(error)
            if code is None or "PARTICLES_TRACEBACK" in os.environ:
                raise
            message = _told(error)
            if ranks.joined():  # an orderly end would wait for the others, who may be gone
                _leave(message, code)
            print(f"particles: {message}", file=sys.stderr)
            return code

    return guarded


def _told(error: BaseException) -> str:
    """What is said of an error; of a full disk also what has become of a run, and what to do."""
    message = str(error) or type(error).__name__
    if isinstance(error, OSError) and error.errno in NO_ROOM:
        again = "when there is room, give the same command again, a `run` with --resume"
        return f"{message}. Nothing that was committed is lost: {again}"
    return message


def _leave(message: str, code: int) -> None:
    """Ends the process without taking the interpreter down in order: XLA may be compiling in other threads."""
    print(f"particles: {message}", file=sys.stderr)
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(code)


def _exit_code(error: BaseException) -> int | None:
    """The exit code of an error; None for one that is a fault of ours and deserves its traceback."""
    from .integration import Failed
    from .record import Damaged, Locked
    from .simulation import Interrupted, Unfinished
    from .starts import DataError

    if isinstance(error, OSError):
        return DISK if error.errno in NO_ROOM else USAGE
    codes = {
        (Interrupted,): INTERRUPTED,
        (Failed, machine.Untrusted): NUMERICS,
        (DataError, Damaged): DATA,
        (Unfinished, Locked, ValueError, MemoryError, ModuleNotFoundError): USAGE,
    }
    return next((code for classes, code in codes.items() if isinstance(error, classes)), None)


def main() -> None:
    """Entry point of the command `particles`."""
    gc.set_threshold(*SELDOM)
    commands = (run, resume, work, verify, plot, animate, view, check, list_, schema, doctor)
    guarded = {command.__name__.rstrip("_"): _guarded(command) for command in commands}
    sys.exit(tyro.extras.subcommand_cli_from_dict(guarded, prog="particles", description=DESCRIPTION))


DESCRIPTION = """The laboratory for transformers seen as interacting particles.

Exit codes: 0 done, 1 a claim failed, 2 bad config or usage, 65 bad data, 70 numerics failed, 74 disk, 75 interrupted
and resumable.
With PARTICLES_TRACEBACK set in the environment every error shows where it came from."""

if __name__ == "__main__":
    main()
