"""An experiment that works out one dataset: what it keeps, how it is known again, how it is judged and drawn.

A study computes numbers once and keeps them in a run directory together with a description of its chart. Checks and
figures are made from what is kept alone, so a study that is found finished is judged and drawn again without being
computed again.
"""

import abc
import hashlib
import importlib
import json
import pathlib
from collections.abc import Callable
from concurrent.futures import Executor
from typing import TYPE_CHECKING, ClassVar

import jax
import tomli_w

from . import machine
from .chart import Panel, written
from .declaration import described, sources_of, summary
from .experiment import AbstractExperiment, Check, Verdict
from .integration import Failed
from .record import Record, keep, open_record
from .record.lock import writing
from .simulation.identity import foreign_code
from .simulation.journal import Journal
from .simulation.layout import phrase
from .simulation.making import check_vacant, keeper

if TYPE_CHECKING:
    import xarray


class AbstractStudy(AbstractExperiment):
    """An experiment that works out one dataset. `minutes` is its budget on two cores, compilation included."""

    minutes: ClassVar[float] = 1.0

    @property
    @abc.abstractmethod
    def label(self) -> str:
        """The name that begins the name of the run directory."""

    @abc.abstractmethod
    def data(self) -> "xarray.Dataset":
        """What was measured and what theory says, with a `long_name` and a `symbol` for each variable.

        Raises
        ------
        Failed
            If something did not converge; the verdict then says so.
        """

    @abc.abstractmethod
    def chart(self, data: "xarray.Dataset") -> tuple[Panel, ...]:
        """The panels of the figure."""

    @abc.abstractmethod
    def checks(self, data: "xarray.Dataset") -> tuple[Check, ...]:
        """The numbers on which the verdict rests; none where nothing is claimed."""

    @abc.abstractmethod
    def shrunk(self) -> "AbstractStudy":
        """The same study in a few seconds."""

    def outside(self, data: "xarray.Dataset") -> str:
        """Which assumption of the statement these parameters do not meet, in words; empty if they meet all."""
        return ""

    def directory(self, root: pathlib.Path) -> pathlib.Path:
        return root / f"{self.label}-{self.identity()[:10]}"

    def identity(self) -> str:
        """A hash of all that the numbers depend on: the parameters, the code that computes, and its libraries."""
        content = described(self, lambda file: file.digest)
        code = [machine.code_digest(), foreign_code(self), _package_digest(type(self)), machine.libraries()]
        return hashlib.sha256(json.dumps([content, *code], sort_keys=True).encode()).hexdigest()

    def measure(
        self,
        directory: pathlib.Path,
        *,
        resume: bool = False,
        progress: bool = False,
        workers: int | None = None,
        executor: Executor | None = None,
    ) -> Record:
        """Computes the dataset and keeps it; one that is found finished is not computed again.

        Raises
        ------
        Failed
            If something did not converge. The record says so, and the verdict.
        ValueError
            If JAX was told to use single precision, the directory holds something else, or workers are asked for.
        """
        if (workers or 1) > 1 or executor is not None:
            raise ValueError(f"a {type(self).__name__} is one computation, which workers cannot share: leave them out")
        if not jax.config.jax_enable_x64:  # pyright: ignore[reportAttributeAccessIssue]
            raise ValueError('a study needs jax.config.update("jax_enable_x64", True) before the first array')
        check_vacant(directory)
        directory.mkdir(parents=True, exist_ok=True)
        with writing(directory):
            facts = {"name": self.label, "identity": self.identity(), "sources": list(sources_of(self))}
            journal = Journal(directory, facts, lambda: tomli_w.dumps(described(self, keeper(directory))))
            if journal.status == "failed":
                raise Failed(journal.reason)
            if journal.status != "done":
                self._work(journal)
        record = open_record(directory)
        record.verify()
        return record

    def _work(self, journal: Journal) -> None:
        journal.open_segment(0)
        try:
            dataset = self.data()
            words = {"name": self.label, "caption": self.caption(), "sources": ", ".join(sources_of(self))}
            dataset = dataset.assign_attrs(words, chart=written(self.chart(dataset)))
            checksums = keep(journal.directory, dataset)
        except (Failed, FloatingPointError) as error:
            journal.close_segment("failed", 0, str(error), {})
            raise Failed(str(error)) from error
        except BaseException as error:
            journal.close_segment("interrupted", 0, f"{type(error).__name__}: {error}", {})
            raise
        journal.close_segment("done", 0, None, {"checksums": checksums})

    def caption(self) -> str:
        """What stands under the figure: the statement and every parameter."""
        return f"{summary(type(self))} {phrase(described(self))}."

    def estimate(self) -> tuple[list[str], Callable[[pathlib.Path], None]]:
        return [f"time        about {self.minutes:g} minutes on two cores"], lambda directory: None

    def config(self) -> str:
        return tomli_w.dumps(described(self))

    def figure_kinds(self) -> tuple[str, ...]:
        return ("chart",)

    def verdict(self, record: Record) -> Verdict | None:
        claim, sources = summary(type(self)), sources_of(self)
        if record.status == "failed":
            return Verdict(claim, sources, not_converged=record.manifest["segments"][-1]["reason"])
        data = record.dataset
        outside = self.outside(data)
        return Verdict(claim, sources, outside=outside) if outside else Verdict(claim, sources, self.checks(data))


def _package_digest(cls: type) -> str:
    """A hash of every file of the package that a study stands in: what they share counts for each of them."""
    package = importlib.import_module(cls.__module__.rpartition(".")[0]) if "." in cls.__module__ else None
    folders = [pathlib.Path(folder) for folder in getattr(package, "__path__", ())]
    files = sorted(path for folder in folders for path in folder.glob("*.py"))
    return hashlib.sha256(b"".join(path.name.encode() + path.read_bytes() for path in files)).hexdigest()
