"""A question asked of runs, and the answer to it.

An experiment measures, draws figures from what was kept, and compares with a number that nobody on the project made
up. One that claims nothing, a plain simulation, has figures and no verdict.
"""

import abc
import dataclasses
import pathlib
from collections.abc import Callable

from .declaration import Declared
from .record import Record


@dataclasses.dataclass(frozen=True)
class Verdict:
    """What was measured against what was expected.

    Attributes
    ----------
    claim, source : the statement, and the bibliography key of where it stands.
    measured, expected, tolerance : numbers in one unit; `reason` says why the tolerance is what it is.
    """

    claim: str
    source: str
    measured: float
    expected: float
    tolerance: float
    reason: str

    @property
    def holds(self) -> bool:
        """Whether the claim was found true; a measurement that is not a number is not."""
        return bool(abs(self.measured - self.expected) <= self.tolerance)


class AbstractExperiment(Declared):
    """A question asked of runs."""

    @abc.abstractmethod
    def directory(self, root: pathlib.Path) -> pathlib.Path:
        """Where the run belongs below a root: the same run is found again, another never overwrites it."""

    @abc.abstractmethod
    def measure(self, directory: pathlib.Path, *, resume: bool = False, progress: bool = False) -> Record:
        """Runs what is needed, or goes on with it, and keeps it in a run directory."""

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
