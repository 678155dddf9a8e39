"""A published claim as an experiment: what it measures, what theory says, and whether the two agree.

A claim is a final class of its own file. It computes a dataset that holds what was measured beside what was expected;
checks and figures are then made from that dataset alone, so a kept claim can be judged and drawn again without being
computed again. It can also be run as its own negative control: the law, or what is expected of it, is broken on
purpose, and the same checks must fail.
"""

import abc
import functools
import hashlib
import importlib
import importlib.metadata
import importlib.util
import json
import pathlib
import pkgutil
import re
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, ClassVar

import equinox as eqx
import jax
import numpy as np
import tomli_w

from . import machine
from .chart import Panel, written
from .declaration import described, family, sources_of, summary
from .experiment import AbstractExperiment, Check, Verdict
from .integration import Failed
from .record import Record, keep, open_record
from .record.lock import writing
from .simulation.identity import foreign_code
from .simulation.journal import Journal
from .simulation.layout import phrase
from .simulation.simulation import check_vacant

if TYPE_CHECKING:
    import xarray

GROUP = "particles.experiments"  # the entry points through which claims are found


class AbstractClaim(AbstractExperiment):
    """A statement of the literature, held against a computation.

    A new one is a final class with the parameters of the experiment as fields and, as its docstring, the claim. Its
    `control` says whether law or expectation is broken on purpose: then the same checks must fail. `minutes` is its
    budget on two cores, compilation included.
    """

    minutes: ClassVar[float] = 1.0

    control: eqx.AbstractVar[bool]

    @abc.abstractmethod
    def data(self) -> "xarray.Dataset":
        """What was measured and what theory says, with a `long_name` and a `symbol` for each variable.

        Raises
        ------
        Failed
            If something did not converge; the verdict then says so.
        """

    @abc.abstractmethod
    def checks(self, data: "xarray.Dataset") -> tuple[Check, ...]:
        """The numbers on which the verdict rests."""

    @abc.abstractmethod
    def chart(self, data: "xarray.Dataset") -> tuple[Panel, ...]:
        """The panels of the figure."""

    @abc.abstractmethod
    def shrunk(self) -> "AbstractClaim":
        """The same experiment in a few seconds."""

    def outside(self, data: "xarray.Dataset") -> str:
        """Which assumption of the statement these parameters do not meet, in words; empty if they meet all."""
        return ""

    @property
    def label(self) -> str:
        """The name by which the claim is asked for."""
        return label(type(self))

    def directory(self, root: pathlib.Path) -> pathlib.Path:
        return root / f"{self.label}-{self.identity()[:10]}"

    def identity(self) -> str:
        """A hash of all that the numbers depend on: the parameters, the code that computes, and its libraries."""
        code = [machine.code_digest(), foreign_code(self), _package_digest(type(self)), machine.libraries()]
        text = json.dumps([described(self), *code], sort_keys=True)
        return hashlib.sha256(text.encode()).hexdigest()

    def measure(self, directory: pathlib.Path, *, resume: bool = False, progress: bool = False) -> Record:
        """Computes the dataset and keeps it; one that is found finished is not computed again.

        Raises
        ------
        Failed
            If something did not converge. The record says so, and the verdict.
        ValueError
            If JAX was told to use single precision, or the directory holds something else.
        """
        if not jax.config.jax_enable_x64:  # pyright: ignore[reportAttributeAccessIssue]
            raise ValueError('a claim needs jax.config.update("jax_enable_x64", True) before the first array')
        check_vacant(directory)
        directory.mkdir(parents=True, exist_ok=True)
        with writing(directory):
            facts = {"name": self.label, "identity": self.identity(), "sources": list(sources_of(self))}
            journal = Journal(directory, facts, self.config)
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
            words = {"name": self.label, "caption": self._caption(), "sources": ", ".join(sources_of(self))}
            dataset = dataset.assign_attrs(words, chart=written(self.chart(dataset)))
            checksums = keep(journal.directory, dataset)
        except (Failed, FloatingPointError) as error:
            journal.close_segment("failed", 0, str(error), {})
            raise Failed(str(error)) from error
        except BaseException as error:
            journal.close_segment("interrupted", 0, f"{type(error).__name__}: {error}", {})
            raise
        journal.close_segment("done", 0, None, {"checksums": checksums})

    def _caption(self) -> str:
        return f"{summary(type(self))} {phrase(described(self))}."

    def estimate(self) -> tuple[list[str], Callable[[pathlib.Path], None]]:
        return [f"time        about {self.minutes:g} minutes on two cores"], lambda directory: None

    def config(self) -> str:
        return tomli_w.dumps(described(self))

    def figure_kinds(self) -> tuple[str, ...]:
        return ("chart",)

    def verdict(self, record: Record) -> Verdict:
        claim, sources = summary(type(self)), sources_of(self)
        if record.status == "failed":
            return Verdict(claim, sources, not_converged=record.manifest["segments"][-1]["reason"])
        data = record.dataset
        outside = self.outside(data)
        return Verdict(claim, sources, outside=outside) if outside else Verdict(claim, sources, self.checks(data))


def _package_digest(cls: type) -> str:
    """A hash of every file of the package that a claim stands in: what they share counts for each of them."""
    package = importlib.import_module(cls.__module__.rpartition(".")[0]) if "." in cls.__module__ else None
    folders = [pathlib.Path(folder) for folder in getattr(package, "__path__", ())]
    files = sorted(path for folder in folders for path in folder.glob("*.py"))
    return hashlib.sha256(b"".join(path.name.encode() + path.read_bytes() for path in files)).hexdigest()


def most(values: Any) -> float:
    """The largest of some numbers; no number if one of them is none, where `max` of xarray would skip it."""
    return float(np.max(np.asarray(values)))


def worst(values: Any) -> float:
    """The largest size among some numbers; no number if one of them is none."""
    return most(np.abs(np.asarray(values)))


def label(cls: type) -> str:
    """The name of a claim: that of its class in lower case with underscores."""
    return re.sub(r"(?<=[a-z0-9])(?=[A-Z])", "_", cls.__name__).lower()


@functools.cache
def discover() -> None:
    """Imports every installed package of claims, so that they join their family.

    Raises
    ------
    ValueError
        If another package stands in the place of our own.
    """
    home = pathlib.Path(__file__).parent.parent
    for entry in importlib.metadata.entry_points(group=GROUP):
        spec = importlib.util.find_spec(entry.module)
        found = pathlib.Path((spec and spec.origin) or "").parent
        if entry.name == __name__.partition(".")[0] and found != home / entry.module:
            raise ValueError(
                f"the package `{entry.module}` that Python finds is {found}, not the one installed beside particles; "
                "run `particles`, not `python -m particles`, or from another folder"
            )
        package: Any = entry.load()
        for module in pkgutil.iter_modules(package.__path__):
            importlib.import_module(f"{package.__name__}.{module.name}")


def claims() -> dict[str, type[AbstractClaim]]:
    """Every claim that is installed, by name, in alphabetical order."""
    discover()
    return {label(cls): cls for _, cls in sorted(family(AbstractClaim).items(), key=lambda item: label(item[1]))}
