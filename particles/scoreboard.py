"""The scoreboard: claims run one after another, each verdict a few lines of one table.

Claims are independent, so several run at once, each in a process of its own that keeps its record and figure in a run
directory. A claim found finished is judged again from its record and not computed again; what the code depends on is
part of its name, so nothing stale is ever judged.
"""

import concurrent.futures
import dataclasses
import multiprocessing
import pathlib
import sys
import time
import traceback
from collections.abc import Iterable, Sequence
from typing import Any

from . import machine
from .claim import AbstractClaim, claims
from .declaration import nearest, replaced, summary
from .experiment import Check, Outcome, Verdict
from .integration import Failed
from .plots import figures, save
from .record import Record, open_record
from .record.files import replace, replace_json
from .record.reader import bibliography

HEADINGS = ("claim", "source", "quantity", "measured", "", "expected", "tolerance", "verdict")
RESULTS = "verify.json"


@dataclasses.dataclass(frozen=True)
class Row:
    """One claim on the scoreboard: its verdict, where its record is, and how long it took."""

    claim: str
    verdict: Verdict
    directory: str
    seconds: float

    @property
    def outcome(self) -> Outcome:
        """What came of it."""
        return self.verdict.outcome


def chosen(names: Iterable[str], fast: bool, control: bool) -> list[AbstractClaim]:
    """The claims of some names, all of them if there are none; shrunk, and as negative controls, where that is asked.

    Raises
    ------
    ValueError
        For a name that no claim has.
    """
    known: dict[str, Any] = dict(claims())
    names = list(dict.fromkeys(names)) or list(known)
    strange = [name for name in names if name not in known]
    if strange:
        raise ValueError(f"no claim is called {strange[0]!r}.{nearest(strange[0], known)} `particles list claims`")
    found = []
    for name in names:
        claim = known[name]()
        claim = claim.shrunk() if fast else claim
        found.append(replaced(claim, {"control": True}) if control else claim)
    return found


def verify(
    names: Sequence[str], out: pathlib.Path, *, fast: bool = False, control: bool = False, jobs: int | None = None
) -> list[Row]:
    """Runs claims and judges them, longest first, several at once; says on standard error as each one ends.

    Parameters
    ----------
    names : of the claims; all of them if there are none.
    out : the folder that receives their run directories, and the results as `verify.json`.
    fast : whether to run the shrunk forms.
    control : whether to run the negative controls instead, which must fail.
    jobs : processes at once; by default one for each core.

    Raises
    ------
    ValueError
        For a name that no claim has, or fewer jobs than one.
    """
    if jobs is not None and jobs < 1:
        raise ValueError(f"`jobs` must be at least 1; got {jobs}")
    wanted = chosen(names, fast, control)
    order = sorted(range(len(wanted)), key=lambda k: -wanted[k].minutes)
    out.mkdir(parents=True, exist_ok=True)
    count = min(jobs or machine.cores(), len(wanted))
    rows: dict[int, Row] = {}
    context = multiprocessing.get_context("spawn")
    others = multiprocessing.active_children()
    pool = concurrent.futures.ProcessPoolExecutor(count, context, initializer=machine.prepare)
    try:
        waiting = {pool.submit(_judged, wanted[k].label, fast, control, out): k for k in order}
        for done in concurrent.futures.as_completed(waiting):
            row = rows[waiting[done]] = done.result()
            told = _told(row.outcome, control)
            print(f"[{len(rows)}/{len(wanted)}] {row.claim}: {told} ({row.seconds:.0f} s)", file=sys.stderr)
    except BaseException:
        for process in set(multiprocessing.active_children()) - set(others):  # their work is not needed any more
            process.terminate()
        raise
    finally:
        pool.shutdown(cancel_futures=True)
        ordered = [rows[k] for k in sorted(rows)]
        replace_json(out / RESULTS, results(ordered, fast, control))
    return ordered


def _judged(name: str, fast: bool, control: bool, out: pathlib.Path) -> Row:
    """One claim, run and judged in a process of its own."""
    [claim] = chosen([name], fast, control)
    directory, begun = claim.directory(out), time.monotonic()
    try:
        verdict = claim.verdict(_measured(claim, directory))
    except (OSError, MemoryError):
        raise  # the machine's fault, and the end of all
    except Exception as error:  # a fault of this experiment's code must not take the others with it
        traceback.print_exc()
        words = f"{type(error).__name__}: {error}".partition("\n")[0]
        verdict = Verdict(summary(type(claim)), claim.sources, broken=words)
    return Row(name, verdict, str(directory), time.monotonic() - begun)


def _measured(claim: AbstractClaim, directory: pathlib.Path) -> Record:
    """The record of a claim, with its figure beside it; one that failed to converge has none."""
    try:
        record = claim.measure(directory)
    except Failed:
        return open_record(directory)
    (directory / "figures").mkdir(exist_ok=True)
    for kind, figure in figures(record.dataset, claim.figure_kinds()):
        save(figure, directory / "figures" / f"{kind}.png")
    return record


def _told(outcome: Outcome, control: bool) -> str:
    """An outcome in words; that of a negative control the other way round."""
    if not control:
        return outcome.value
    return "fails, as it must" if outcome is Outcome.fails else f"{outcome.value}, BUT IT IS A NEGATIVE CONTROL"


def good(rows: Sequence[Row], control: bool = False) -> bool:
    """Whether no claim failed; of negative controls, whether all did."""
    if control:
        return all(row.outcome is Outcome.fails for row in rows)
    return all(row.outcome in (Outcome.holds, Outcome.outside) for row in rows)


def table(rows: Sequence[Row], control: bool = False) -> str:
    """The scoreboard as text, a line for each number, columns aligned."""
    lines = [HEADINGS, *(line for row in rows for line in _lines(row, control))]
    widths = [max(len(line[k]) for line in lines) for k in range(len(HEADINGS))]
    text = ["  ".join(word.ljust(width) for word, width in zip(line, widths, strict=True)).rstrip() for line in lines]
    counts = {outcome: sum(row.outcome is outcome for row in rows) for outcome in Outcome}
    summary = ", ".join(f"{count} {_told(outcome, control)}" for outcome, count in counts.items() if count)
    return "\n".join([text[0], "-" * max(map(len, text)), *text[1:], "", f"{len(rows)} claims: {summary}"])


def _lines(row: Row, control: bool) -> list[tuple[str, ...]]:
    verdict, cited = row.verdict, " ".join(identifier(key) for key in row.verdict.sources)
    told = _told(row.outcome, control)
    if not verdict.checks:
        return [(row.claim, cited, verdict.undecided, "", "", "", "", told)]
    heads = [(row.claim, cited, told), *[("", "", "")] * (len(verdict.checks) - 1)]
    return [(a, b, *_numbers(check), c) for (a, b, c), check in zip(heads, verdict.checks, strict=True)]


def _numbers(check: Check) -> tuple[str, ...]:
    mark = "" if check.holds else " !"
    tolerance = f"{check.tolerance:.1g}" if check.tolerance else "0"
    return check.quantity, f"{check.measured:.7g}", f"{check.sense.value}", f"{check.expected:.7g}", tolerance + mark


def identifier(key: str) -> str:
    """How a source is told in a table: its number in the archive where it has one, its key otherwise."""
    entry = bibliography().get(key, "")
    return entry.split("eprint = {", 1)[1].split("}", 1)[0] if "eprint = {" in entry else key


def results(rows: Sequence[Row], fast: bool, control: bool) -> dict[str, Any]:
    """The scoreboard as plain data."""
    return {"fast": fast, "control": control, "provenance": machine.provenance(), "claims": [_plain(r) for r in rows]}


def _plain(row: Row) -> dict[str, Any]:
    verdict = row.verdict
    return {
        "claim": row.claim,
        "statement": verdict.claim,
        "sources": list(verdict.sources),
        "outcome": row.outcome.name,
        "undecided": verdict.undecided,
        "checks": [_check(check) for check in verdict.checks],
        "directory": row.directory,
        "seconds": round(row.seconds, 2),
    }


def _check(check: Check) -> dict[str, Any]:
    numbers = {name: _finite(getattr(check, name)) for name in ("measured", "expected", "tolerance")}
    words = {"quantity": check.quantity, "sense": check.sense.value, "reason": check.reason}
    return words | numbers | {"holds": check.holds}


def _finite(number: float | int) -> float | int | str:
    """A number as JSON has them; what is none, in words."""
    return number if abs(number) < float("inf") else str(number)


def page(rows: Sequence[Row], path: pathlib.Path, *, fast: bool = False, control: bool = False) -> None:
    """Writes the scoreboard as a page of Markdown, a section for each claim; `fast` and `control` as for `verify`."""
    counts = f"{sum(row.outcome is Outcome.holds for row in rows)} of {len(rows)}"
    sections = "\n".join(_section(row, control) for row in rows)
    form = " --fast" * fast + " --controls" * control
    replace(path, f"{HEADER.format(counts=counts, form=form)}\n{sections}".encode())


HEADER = """# Claims

What `particles verify{form}` found: {counts} claims hold. This page is made by that command, with `--page FILE`.
What is expected is a number of the theory, or worked out from a formula or by another method when the claim is run, and
never an earlier output. A check that fails is shown failing.
"""


def _section(row: Row, control: bool) -> str:
    cited = ", ".join(identifier(key) for key in row.verdict.sources)
    lines = [
        f"## {row.claim}",
        "",
        row.verdict.claim,
        "",
        f"Source: {cited}. {row.seconds:.0f} s. **{_told(row.outcome, control)}**",
    ]
    if row.verdict.undecided:
        return "\n".join([*lines, "", row.verdict.undecided, ""])
    lines += ["", "| quantity | measured | | expected | tolerance | because |", "|---|---|---|---|---|---|"]
    for check in row.verdict.checks:
        lines.append(f"| {' | '.join((*_numbers(check), check.reason))} |")
    return "\n".join([*lines, ""])
