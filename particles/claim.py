"""A published claim as an experiment: what it measures, what theory says, and whether the two agree.

A claim is a final class of its own file. It computes a dataset that holds what was measured beside what was expected;
checks and figures are then made from that dataset alone, so a kept claim can be judged and drawn again without being
computed again. It can also be run as its own negative control: the law, or what is expected of it, is broken on
purpose, and the same checks must fail.
"""

import abc
import functools
import importlib
import importlib.metadata
import importlib.util
import pathlib
import pkgutil
import re
from typing import Any

import equinox as eqx

from .declaration import family
from .experiment import Verdict
from .record import Record
from .study import AbstractStudy

GROUP = "particles.experiments"  # the entry points through which claims are found


class AbstractClaim(AbstractStudy):
    """A statement of the literature, held against a computation.

    A new one is a final class with the parameters of the experiment as fields and, as its docstring, the claim. Its
    `control` says whether law or expectation is broken on purpose: then the same checks must fail.
    """

    control: eqx.AbstractVar[bool]

    @abc.abstractmethod
    def shrunk(self) -> "AbstractClaim":
        """The same claim in a few seconds."""

    @property
    def label(self) -> str:
        return label(type(self))

    def verdict(self, record: Record) -> Verdict:
        found = super().verdict(record)
        assert found is not None, "a claim claims something"
        return found


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
