"""A question asked of runs, and the answer to it.

An experiment measures, draws figures from what was kept, and compares with a number that nobody on the project made
up. One that claims nothing, a plain simulation, has figures and no verdict.
"""

import abc
import dataclasses
import enum
import math
import pathlib
from collections.abc import Callable
from concurrent.futures import Executor
from typing import Any

import numpy as np

from .declaration import Declared
from .record import Record


class Sense(enum.Enum):
    """How a measured number must stand to the one expected; the values are how it is written."""

    equal = "="
    at_most = "<="
    at_least = ">="


class Outcome(enum.Enum):
    """What came of a claim; the values are how it is told."""

    holds = "holds"
    fails = "FAILS"
    outside = "outside the assumptions"
    not_converged = "not converged"
    undefined = "no verdict"
    broken = "BROKEN"


@dataclasses.dataclass(frozen=True)
class Check:
    """One number that was measured, against one that was expected.

    Attributes
    ----------
    quantity : what the number is.
    measured, expected, tolerance : in one unit.
    reason : why the tolerance is what it is.
    sense : whether the two must be equal, or one is a bound of the other.
    """

    quantity: str
    measured: float | int
    expected: float | int
    tolerance: float | int
    reason: str
    sense: Sense = Sense.equal

    @property
    def undefined(self) -> bool:
        """Whether there is nothing to compare: a number that is none, here or there."""
        return math.isnan(self.measured) or math.isnan(self.expected)

    @property
    def holds(self) -> bool:
        """Whether the number is as expected; one that is not a number is not."""
        excess = self.measured - self.expected
        signed = {Sense.equal: abs(excess), Sense.at_most: excess, Sense.at_least: -excess}[self.sense]
        return bool(signed <= self.tolerance)

    def __str__(self) -> str:
        mark = "" if self.holds else "   <- not defined" if self.undefined else "   <- FAILS"
        line = f"{self.quantity}: {self.measured:.8g} {self.sense.value} {self.expected:.8g}"
        return f"{line} within {self.tolerance:.2g} ({self.reason}){mark}"


@dataclasses.dataclass(frozen=True)
class Verdict:
    """What was measured against what was expected.

    Attributes
    ----------
    claim : the statement.
    sources : the bibliography keys of where it stands.
    checks : the numbers on which the verdict rests.
    outside : which assumption of the statement does not hold, in words; then nothing was decided.
    not_converged : what did not converge, in words; then nothing was decided either.
    broken : the error that ended the experiment, in words: a fault of its code.
    """

    claim: str
    sources: tuple[str, ...]
    checks: tuple[Check, ...] = ()
    outside: str = ""
    not_converged: str = ""
    broken: str = ""

    @property
    def undecided(self) -> str:
        """The reason why nothing was decided, in words; empty if something was."""
        lost = [check.quantity for check in self.checks if check.undefined]
        undefined = f"not defined here: {', '.join(lost)}" if lost else ""
        return self.broken or self.outside or self.not_converged or undefined

    @property
    def told(self) -> str:
        """The claim and what came of it, in a sentence."""
        return f"{self.claim} {self.outcome.value}. {self.undecided}".strip()

    @property
    def outcome(self) -> Outcome:
        """What came of the claim. One without a single number is not found true."""
        if self.broken:
            return Outcome.broken
        if self.outside:
            return Outcome.outside
        if self.not_converged:
            return Outcome.not_converged
        if not all(check.holds or check.undefined for check in self.checks) or not self.checks:
            return Outcome.fails
        return Outcome.undefined if any(check.undefined for check in self.checks) else Outcome.holds


def most(values: Any) -> float:
    """The largest of some numbers; no number if one of them is none, where `max` of xarray would skip it."""
    return float(np.max(np.asarray(values)))


def worst(values: Any) -> float:
    """The largest size among some numbers; no number if one of them is none."""
    return most(np.abs(np.asarray(values)))


class AbstractExperiment(Declared):
    """A question asked of runs."""

    @abc.abstractmethod
    def directory(self, root: pathlib.Path) -> pathlib.Path:
        """Where the run belongs below a root: the same run is found again, another never overwrites it."""

    @abc.abstractmethod
    def measure(
        self,
        directory: pathlib.Path,
        *,
        resume: bool = False,
        progress: bool = False,
        workers: int | None = None,
        executor: Executor | None = None,
    ) -> Record:
        """Runs what is needed, or goes on with it, and keeps it in a run directory.

        What consists of parts may be shared by several workers, which an executor starts; the numbers are the same.
        """

    @abc.abstractmethod
    def estimate(self) -> tuple[list[str], Callable[[pathlib.Path], None]]:
        """What the run would need, in words, and a check that raises if the machine does not have it."""

    @abc.abstractmethod
    def config(self) -> str:
        """The resolved config as TOML; run again, it gives the same run."""

    @abc.abstractmethod
    def figure_kinds(self) -> tuple[str, ...]:
        """The kinds of figures that answer the question, drawn from the record alone; empty for those that suit it."""

    @abc.abstractmethod
    def verdict(self, record: Record) -> Verdict | None:
        """The answer, or None where nothing is claimed."""

    @abc.abstractmethod
    def shrunk(self) -> "AbstractExperiment":
        """The same experiment, small enough for a test."""
