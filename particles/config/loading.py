"""From plain data to an experiment, its sweep resolved against the experiment that it varies."""

import dataclasses
import json
import pathlib
from collections.abc import Iterable
from typing import Any

import pydantic

from ..claim import discover
from ..declaration import Declared, family, nearest, replaced
from ..experiment import AbstractExperiment
from ..simulation import Simulation
from ..simulation.grid import LARGEST_SWEEP, dimensions
from ..stored import DataError, confined
from .faults import ConfigError, in_words
from .models import experiments, fields_of, known, rebuild
from .reading import as_json, overridden, read


def load(path: str | pathlib.Path, overrides: Iterable[str] = ()) -> AbstractExperiment:
    """The experiment that a config file describes.

    Parameters
    ----------
    path : a TOML file. Files it names are relative to its folder, and stay within it.
    overrides : `key.path=value`, each value a TOML value or a bare word.

    Raises
    ------
    ConfigError
        With every fault that was found.
    """
    path = pathlib.Path(path)
    where = path.name
    content = read(path)
    faults = [fault for override in overrides for fault in overridden(content, override)]
    if faults:
        raise ConfigError(where, faults)
    with confined(path.parent):
        return build(content, where)


def build(content: dict[str, Any], where: str = "config") -> AbstractExperiment:
    """The experiment that plain data describes.

    Raises
    ------
    ConfigError
        With every fault that was found.
    """
    content = {"kind": Simulation.__name__} | content
    there = known()
    try:
        if _meant(content["kind"]) is not AbstractExperiment:
            return _built(content, where)
    except ConfigError:  # it may name something of the rest of the house; and what could be meant is told of all of it
        rest_of_the_house()
        if known() == there:
            raise
    rest_of_the_house()
    if _meant(content["kind"]) is AbstractExperiment:
        discover()
    return _built(content, where)


def rest_of_the_house() -> None:
    """Imports what most configs name nothing of: seconds that they are spared."""
    from .. import analysis, limits, studies  # noqa: F401


def _meant(kind: Any) -> type[AbstractExperiment]:
    """The experiment of that name; where none that is imported has it, all of them."""
    found = family(AbstractExperiment).get(kind) if isinstance(kind, str) else None
    return found or AbstractExperiment


def _built(content: dict[str, Any], where: str) -> AbstractExperiment:
    kind = content["kind"]
    plain = {key: value for key, value in content.items() if not (kind == Simulation.__name__ and key == "sweep")}
    try:
        experiment = experiments(_meant(kind)).validate_json(as_json(plain), strict=True)
    except pydantic.ValidationError as error:
        raise _refusal(where, [error], in_words(error, plain)) from None
    if not isinstance(experiment, Simulation):
        return experiment
    faults = _figure_faults(experiment.figures)
    experiment, sweep_faults = _with_sweep(experiment, content.get("sweep", {}))
    if faults or sweep_faults:
        raise ConfigError(where, [*faults, *sweep_faults])
    return experiment


def _refusal(where: str, errors: Iterable[ValueError], faults: list[str]) -> ValueError:
    """The error for some faults: of the data, where all that is wrong is in the files that a config names."""
    causes: list[Any] = []
    for error in errors:
        details = error.errors() if isinstance(error, pydantic.ValidationError) else [{"ctx": {"error": error}}]
        causes += [detail.get("ctx", {}).get("error") for detail in details]
    if causes and all(isinstance(cause, DataError) for cause in causes):
        return DataError("\n".join(f"{where}: {fault}" for fault in faults))
    return ConfigError(where, faults)


def schema() -> dict[str, Any]:
    """The JSON Schema of a config: what an editor completes and checks."""
    rest_of_the_house()
    discover()
    derived = experiments(AbstractExperiment).json_schema()
    title = "Experiment of particles"
    return {"$schema": "https://json-schema.org/draft/2020-12/schema", "title": title, **derived}


def _figure_faults(names: tuple[str, ...]) -> list[str]:
    if not names:
        return []
    from ..plots import kinds  # matplotlib takes half a second to import

    known = sorted(kinds())
    return [
        f"figures: no kind of figure is called {name!r}; there are {known}.{nearest(name, known)}"
        for name in names
        if name not in known
    ]


def _with_sweep(simulation: Simulation, sweep: Any) -> tuple[Simulation, list[str]]:
    if not isinstance(sweep, dict):
        return simulation, [f'sweep: expected a table of lists, "flow.law.score.beta" = [1.0, 4.0]; got {sweep!r}']
    faults, values, data = [], {}, []
    for path, given in _flat(sweep).items():
        try:
            values[path] = _swept(simulation, path, given)
        except DataError as error:
            data.append(str(error))
        except ConfigError as error:
            faults += error.faults
        except ValueError as error:
            faults.append(f"sweep.{path}: {error}")
    if data and not faults:
        raise DataError("\n".join(data))
    if not faults:
        try:
            dimensions(values, [seen.name for seen in simulation.plan.watch])
            return dataclasses.replace(simulation, sweep=values), []
        except ValueError as error:
            faults = [str(error)]
    return simulation, faults


def _flat(sweep: dict[str, Any], prefix: str = "") -> dict[str, Any]:
    """Swept values by path, whether the path was written as one quoted key or as nested tables."""
    flat = {}
    for key, value in sweep.items():
        nested = isinstance(value, dict) and value and set(value) != {"count"}
        flat |= _flat(value, f"{prefix}{key}.") if nested else {prefix + key: value}
    return flat


def _swept(simulation: Simulation, path: str, given: Any) -> tuple[Any, ...]:
    if isinstance(given, dict):
        count = given.get("count")
        if path != "seed" or not isinstance(count, int) or isinstance(count, bool) or count < 1:
            raise ValueError(f"{{count = n}}, n at least 1, is for `seed` only; got {given!r}. Give a list of values.")
        if count > LARGEST_SWEEP:
            raise ValueError(f"{count} members; the largest sweep has {LARGEST_SWEEP}. Make several runs of it.")
        return tuple(range(simulation.seed, simulation.seed + count))
    if not isinstance(given, list) or not given:
        raise ValueError(f"expected a list of values; got {given!r}")
    annotation = _annotation(simulation, path.split("."))
    adapter = pydantic.TypeAdapter(annotation)
    rebuild(adapter)
    values, faults, errors = [], [], []
    for k, value in enumerate(given):
        try:
            values.append(adapter.validate_json(json.dumps(value, default=str), strict=True))
            replaced(simulation, {path: values[-1]})
        except pydantic.ValidationError as error:
            errors.append(error)
            faults += in_words(error, value, f"sweep.{path}[{k}]")
        except ValueError as error:
            errors.append(error)
            faults.append(f"sweep.{path}[{k}]: {error}")
    if faults:
        raise _refusal("sweep", errors, faults)
    return tuple(values)


def _annotation(noun: Any, path: list[str]) -> Any:
    """What a config may hold at a path below a noun."""
    for key in path[:-1]:
        if isinstance(noun, tuple):
            noun = noun[int(key)] if key.isdigit() and int(key) < len(noun) else None
        else:
            noun = getattr(noun, key, None) if isinstance(noun, Declared) else None
    fields = fields_of(type(noun)) if isinstance(noun, Declared) else {}
    if path[-1] not in fields:
        raise ValueError(f"there is no parameter at this path; `{path[-1]}` is unknown.{nearest(path[-1], fields)}")
    return fields[path[-1]][0]
