"""What there is to choose from: every family, every final class in it, with its parameters and its source."""

import dataclasses
import inspect

from . import dynamics, laws, observables, spaces, starts, stopping, summation
from . import limits as limits  # its flows and observables can be named, too
from . import studies as studies
from .claim import AbstractClaim, claims
from .declaration import Declared, family, given_name, summary
from .experiment import AbstractExperiment
from .integration import METHODS
from .plots import AbstractFigure

FAMILIES: dict[str, type] = {
    "spaces": spaces.AbstractSpace,
    "summations": summation.AbstractSummation,
    "laws": laws.AbstractLaw,
    "scores": laws.AbstractScore,
    "measures": laws.AbstractMeasure,
    "normalizers": laws.AbstractNormalizer,
    "values": laws.AbstractValue,
    "gates": laws.AbstractGate,
    "maps": laws.AbstractMap,
    "schedules": laws.AbstractSchedule,
    "norms": laws.AbstractNorm,
    "flows": dynamics.AbstractFlow,
    "noises": dynamics.AbstractNoise,
    "starts": starts.AbstractStart,
    "observables": observables.AbstractObservable,
    "stops": stopping.AbstractStop,
    "figures": AbstractFigure,
    "experiments": AbstractExperiment,
    "claims": AbstractClaim,
    "solvers": object,
}


def lines(name: str) -> list[str]:
    """One paragraph for each member of a family; of laws, for each member of their slots too."""
    if name == "solvers":
        return [_method(solver) for solver in METHODS]
    if name == "claims":
        return [f"{known}: {summary(cls)} [{', '.join(cls.sources)}]" for known, cls in claims().items()]
    listed = [_member(cls) for cls in family(FAMILIES[name]).values()]
    if name == "laws":
        for slot in ("scores", "measures", "normalizers", "values", "gates", "maps", "schedules", "norms"):
            listed += [f"[{slot}]", *lines(slot)]
    return listed


def _member(cls: type[Declared]) -> str:
    parameters = ", ".join(_parameter(field) for field in dataclasses.fields(cls))
    name = f"{given_name(cls)} = {cls.__name__}" if given_name(cls) else cls.__name__
    source = f" [{', '.join(cls.sources)}]" if cls.sources else ""
    formula = f"  {_formula(cls)}" if _formula(cls) else ""
    return f"{name}({parameters}): {summary(cls)}{formula}{source}"


def _formula(cls: type) -> str:
    """The first formula of a class's docstring, on one line."""
    lines = (inspect.getdoc(cls) or "").split("\n")
    start = next((k for k, line in enumerate(lines) if line.startswith(".. math::")), None)
    if start is None:
        return ""
    end = next((k for k in range(start, len(lines)) if not lines[k].strip()), len(lines))
    return " ".join(line.strip() for line in lines[start:end]).removeprefix(".. math::").strip()


def _parameter(field: dataclasses.Field) -> str:
    if field.default is not dataclasses.MISSING:
        return f"{field.name}={field.default!r}" if field.default is not None else f"[{field.name}]"
    if field.default_factory is not dataclasses.MISSING:
        return f"[{field.name}]"
    return field.name


def _method(name: str) -> str:
    method = METHODS[name]
    steps = "adaptive steps, or constant ones with `dt`" if method.adaptive else "constant steps: give `dt`"
    note = f"; {method.note}" if method.note else ""
    return f"{name}: order {method.order}, {'implicit, matrix-free, ' if method.implicit else ''}{steps}{note}"
