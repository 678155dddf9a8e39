"""Damage to files of a run directory, one at a time and by lot, and what a command may then do.

A case is a number: it says which directory, which file, what harm, and which command. A command may refuse, with one of
the documented exit codes; it may go on where the harm does not matter; it must not show a traceback, wait for ever, or
end well with numbers that are not those of the run.
"""

import contextlib
import dataclasses
import io
import json
import os
import pathlib
import shutil
import signal
import sys
import warnings
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import xarray

import particles as pt
from particles import machine
from particles.__main__ import main
from particles.commands.ending import _exit_code
from particles.record.files import LARGEST, replace_json

CODES = {0, 1, 2, 65, 70, 74, 75}
LIMIT = 60  # seconds of one case
VALUES = [None, True, -1, 0, 1, 7, 1000, 2**70, 0.5, 1e308, "", "x", "done", [], [1], ["x"], [[]], {}, {"a": 1}]
IGNORED = {"log.txt", "lock", "stop"}  # read by nobody, or held and not read


class Hanging(BaseException):
    """A case that does not end."""


@contextlib.contextmanager
def limited(seconds: int) -> Iterator[None]:
    """Ends what takes longer."""

    def ended(number: int, frame: object) -> None:
        raise Hanging

    before = signal.signal(signal.SIGALRM, ended)
    signal.alarm(seconds)
    try:
        yield
    finally:
        signal.alarm(0)
        signal.signal(signal.SIGALRM, before)


def command(*arguments: Any) -> tuple[int, str]:
    """The command line in this process: its exit code, and what it says on standard error."""
    said, before, prepare = io.StringIO(), sys.argv, machine.prepare
    sys.argv, machine.prepare = ["particles", *map(str, arguments)], list
    try:
        with contextlib.redirect_stdout(io.StringIO()), contextlib.redirect_stderr(said), warnings.catch_warnings():
            warnings.simplefilter("ignore")  # which are errors in tests, and none for a user
            main()
    except SystemExit as end:
        return int(end.code or 0), said.getvalue()
    finally:
        sys.argv, machine.prepare = before, prepare
    raise AssertionError("a command ends with its exit code")


def worker(run: pathlib.Path) -> Callable[[list[str], dict[str, str]], tuple[int, str]]:
    """A worker in a thread of this process, in place of one that takes seconds to start."""

    def work(line: list[str], environment: dict[str, str]) -> tuple[int, str]:
        try:
            pt_config().load(run / "config.toml").worker(run).work()
        except Exception as error:
            code = _exit_code(error)
            if code is None:
                raise
            return code, f"particles: {error}"
        return 0, ""

    return work


def pt_config() -> Any:
    from particles import config

    return config


def arrays(run: pathlib.Path) -> dict[str, tuple[Any, ...]]:
    """Dims, bits and words of everything in a record, by name, as zarr has them."""
    stored = xarray.open_zarr(run / "data.zarr", chunks=None, consolidated=False).load()
    return plain(stored)


def plain(stored: xarray.Dataset) -> dict[str, tuple[Any, ...]]:
    found = {str(n): (v.dims, v.shape, v.values.tobytes(), str(v.attrs)) for n, v in stored.variables.items()}
    return found | {"": (str({k: v for k, v in stored.attrs.items() if k not in ("status", "stops")}),)}


@dataclasses.dataclass(frozen=True)
class Specimen:
    """A run directory that is to be harmed, and the bits of the unbroken run.

    Attributes
    ----------
    path : of the directory, which stays as it is.
    whole : what `arrays` finds in the unbroken run.
    known : what the dataset of this one holds, as far as it is committed; None where nothing is.
    """

    path: pathlib.Path
    whole: dict[str, tuple[Any, ...]]
    known: dict[str, tuple[Any, ...]] | None


def dataset(run: pathlib.Path) -> dict[str, tuple[Any, ...]]:
    """What a reader finds who makes sure of it."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        record = pt.open(run)
        record.verify()
        return plain(record.dataset.load())


def files(run: pathlib.Path) -> list[pathlib.Path]:
    return sorted(path for path in run.rglob("*") if path.is_file() and not path.is_symlink())


def chosen(rng: np.random.Generator, run: pathlib.Path) -> pathlib.Path:
    """A file of a run directory; each kind of them is as likely as any other."""
    kinds: dict[str, list[pathlib.Path]] = {}
    for path in files(run):
        kind = path.suffix if path.suffix in (".npz", ".png", ".html") else path.name
        inner = "piece " if "parts" in path.relative_to(run).parts[:-1] else ""
        kinds.setdefault(inner + ("block" if kind.isdigit() else kind), []).append(path)
    group = kinds[sorted(kinds)[rng.integers(len(kinds))]]
    return group[rng.integers(len(group))]


def places(node: Any, path: tuple[Any, ...] = ()) -> Iterator[tuple[Any, ...]]:
    """Every place in plain data."""
    entries = node.items() if isinstance(node, dict) else enumerate(node) if isinstance(node, list) else ()
    for key, inner in entries:
        yield (*path, key)
        yield from places(inner, (*path, key))


def retyped(rng: np.random.Generator, path: pathlib.Path, sealed: bool) -> str:
    """Another value, or none, in the place of one of a JSON file; its digest is left, or worked out again."""
    content = json.loads(path.read_text())
    content.pop("digest", None) if sealed else None
    every = list(places(content))
    place = every[rng.integers(len(every))]
    node = content
    for key in place[:-1]:
        node = node[key]
    if rng.random() < 0.15:
        del node[place[-1]]
        what = "gone"
    else:
        node[place[-1]] = VALUES[rng.integers(len(VALUES))]
        what = repr(node[place[-1]])
    if sealed:
        replace_json(path, content)
    else:
        path.write_text(json.dumps(content, indent=2))
    return f"{place} {what}"


def harmed(rng: np.random.Generator, run: pathlib.Path, others: list[pathlib.Path]) -> str:
    """Harm to one file of a run directory, in words."""
    path = chosen(rng, run)
    content = path.read_bytes()
    kinds = ["flip"] * 4 + ["cut", "gone", "swap", "pipe", "folder", "loop", "empty", "longer", "noise"]
    if path.suffix == ".json":
        kinds += ["retyped", "sealed", "sealed", "deep"] + ["huge"] * (path.name != "zarr.json")
    kind = kinds[rng.integers(len(kinds))]
    what = ""
    if kind == "flip" and content:
        bit = int(rng.integers(8 * len(content)))
        changed = bytearray(content)
        changed[bit // 8] ^= 1 << bit % 8
        path.write_bytes(changed)
        what = f"bit {bit}"
    elif kind == "cut":
        path.write_bytes(content[: rng.integers(len(content) + 1)])
    elif kind in ("gone", "pipe", "folder", "loop"):
        path.unlink()
        if kind == "pipe":
            os.mkfifo(path)
        elif kind == "folder":
            path.mkdir()
        elif kind == "loop":
            path.symlink_to(path.name)
    elif kind == "swap":
        source = files(others[rng.integers(len(others))] if rng.random() < 0.6 else run)
        alike = [one for one in source if one.suffix == path.suffix] or source
        other = alike[rng.integers(len(alike))]
        what = f"with {other}"
        shutil.copy(other, path) if other != path else None
    elif kind == "empty":
        path.write_bytes(b"")
    elif kind == "longer":
        path.write_bytes(content + content[: rng.integers(1, 100)])
    elif kind == "noise":
        path.write_bytes(rng.bytes(len(content)))
    elif kind == "huge":
        os.truncate(path, LARGEST + 1)
    elif kind == "deep":
        depth = int(rng.choice([100, 900, 100_000]))
        path.write_text("[" * depth + "]" * depth)
    elif kind in ("retyped", "sealed"):
        what = retyped(rng, path, kind == "sealed" and path.name != "zarr.json")
    return f"{path.relative_to(run)}: {kind} {what}"


def outcome(rng: np.random.Generator, run: pathlib.Path, specimen: Specimen) -> tuple[str, str]:
    """What a command makes of a run directory: what was done, and the fault of it, if there is one."""
    acts = ["resume"] * 10 + ["open"] * 6 + ["check", "view", "plot"]
    act = acts[rng.integers(len(acts))]
    try:
        with limited(LIMIT):
            if act == "open":
                try:
                    found = dataset(run)
                except (ValueError, OSError) as refusal:
                    return f"open: {refusal}", ""
                return "open", "" if found == specimen.known else "another dataset"
            more = {"resume": ["--quiet", "--no-figures"], "plot": ["observables"]}.get(act, [])
            target = run / "config.toml" if act == "check" else run
            code, said = command(act, target, *more)
            done = f"{act} {code}: {said.strip()[-300:]}"
            if code not in CODES:
                return done, f"exit code {code}"
            if "Traceback" in said:
                return done, "a traceback"
            if code == 0 and act == "resume":
                return done, "" if arrays(run) == specimen.whole else "other arrays"
            if code == 0 and act in ("view", "plot"):
                return done, "" if dataset(run) == specimen.known else "another dataset"
            return done, ""
    except Hanging:
        return act, "it hangs"
    except Exception as error:
        import traceback

        return act, f"{type(error).__name__}: {error}\n{traceback.format_exc()[-1500:]}"


def case(number: int, specimens: list[Specimen], folder: pathlib.Path) -> tuple[str, str]:
    """One case: what was done in words, and its fault, if there is one."""
    rng = np.random.default_rng(number)
    which = int(rng.integers(len(specimens)))
    run = folder / "run"
    shutil.copytree(specimens[which].path, run)
    try:
        harm = harmed(rng, run, [one.path for one in specimens])
        done, fault = outcome(rng, run, specimens[which])
        return f"case {number}, {specimens[which].path.name}: {harm}; {done}", fault
    finally:
        shutil.rmtree(run)
