"""A row of the table: what is measured, what must come out, and what did."""

import dataclasses
import importlib.util
import operator
from collections.abc import Callable
from typing import Any


@dataclasses.dataclass(frozen=True)
class Measured:
    """What a measurement gave.

    Attributes
    ----------
    value : the number that is held against the bound.
    ours, theirs : the two sides in words, with their spread.
    note : anything a reader of the table should know.
    """

    value: float
    ours: str
    theirs: str = "-"
    note: str = ""


@dataclasses.dataclass(frozen=True)
class Bound:
    """What a value must be, or nothing, where a row is there for information."""

    sign: str
    limit: float
    unit: str = "x"

    def holds(self, value: float) -> bool:
        return {">=": operator.ge, "<=": operator.le}[self.sign](value, self.limit)

    def __str__(self) -> str:
        return f"{self.sign} {self.limit:g}{self.unit}"


@dataclasses.dataclass(frozen=True)
class Row:
    """One line of the table.

    Attributes
    ----------
    name : what `--only` selects, with all rows whose name begins so.
    work : the work in words.
    measure : takes the number of rounds and gives what came out.
    bound : what the value must be; None for information only.
    peer : a module without which there is nothing to compare with.
    """

    name: str
    work: str
    measure: Callable[[int], Measured]
    bound: Bound | None = None
    peer: str | None = None

    def result(self, rounds: int) -> dict[str, Any]:
        """The row as plain data, measured now; `verdict` is pass, FAIL, info or not installed."""
        facts = {"name": self.name, "work": self.work, "bound": str(self.bound or "-")}
        if self.peer is not None and importlib.util.find_spec(self.peer) is None:
            return facts | _unmeasured("not installed", f"no {self.peer}")
        try:
            measured = self.measure(rounds)
        except RuntimeError as error:  # of a program in a process of its own; the other rows are still worth having
            return facts | _unmeasured("FAIL", str(error))
        unit = self.bound.unit if self.bound else "x"
        verdict = "info" if self.bound is None else "pass" if self.bound.holds(measured.value) else "FAIL"
        return facts | dataclasses.asdict(measured) | {"shown": f"{measured.value:.3g}{unit}", "verdict": verdict}


def _unmeasured(verdict: str, why: str) -> dict[str, Any]:
    return {"value": None, "ours": "-", "theirs": "-", "note": why, "shown": "-", "verdict": verdict}
