"""From plain data to an experiment, its sweep resolved against the experiment that it varies."""

import dataclasses
import json
import pathlib
from collections.abc import Iterable
from typing import Any

import pydantic

from .. import studies
from ..claim import discover
from ..declaration import Declared, family, nearest
from ..experiment import AbstractExperiment
from ..simulation import Simulation
from ..simulation.grid import dimensions, with_value
from .faults import ConfigError, in_words
from .models import experiments, fields_of, rebuild
from .reading import anchored, as_json, overridden, read

STUDIES = family(studies.AbstractFlowStudy)


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
    faults += anchored(content, path.parent.resolve(), "")
    if faults:
        raise ConfigError(where, faults)
    return build(content, where)


def build(content: dict[str, Any], where: str = "config") -> AbstractExperiment:
    """The experiment that plain data describes.

    Raises
    ------
    ConfigError
        With every fault that was found.
    """
    content = {"kind": Simulation.__name__} | content
    sweep = content.pop("sweep", {}) if content["kind"] == Simulation.__name__ else {}
    try:
        experiment = experiments(_asked_for(content["kind"])).validate_json(as_json(content), strict=True)
    except pydantic.ValidationError as error:
        raise ConfigError(where, [in_words(detail, content) for detail in error.errors()]) from None
    if not isinstance(experiment, Simulation):
        return experiment
    faults = _figure_faults(experiment.figures)
    experiment, sweep_faults = _with_sweep(experiment, sweep)
    if faults or sweep_faults:
        raise ConfigError(where, [*faults, *sweep_faults])
    return experiment


def _asked_for(kind: Any) -> type[AbstractExperiment]:
    """Whose config it is. Claims are looked for only where one may be meant: importing them all takes a second."""
    if not isinstance(kind, str):
        return AbstractExperiment
    if kind != Simulation.__name__ and kind not in STUDIES:
        discover()
    return family(AbstractExperiment).get(kind, AbstractExperiment)


def schema() -> dict[str, Any]:
    """The JSON Schema of a config: what an editor completes and checks."""
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
    faults, values = [], {}
    for path, given in _flat(sweep).items():
        try:
            values[path] = _swept(simulation, path, given)
        except (ValueError, pydantic.ValidationError) as error:
            faults += [f"sweep.{path}: {line}" for line in _lines(error)]
    if not faults:
        try:
            dimensions(values)
            return dataclasses.replace(simulation, sweep=values), []
        except ValueError as error:
            faults = [str(error)]
    return simulation, faults


def _flat(sweep: dict[str, Any], prefix: str = "") -> dict[str, Any]:
    """Swept values by path, whether the path was written as one quoted key or as nested tables."""
    flat = {}
    for key, value in sweep.items():
        nested = isinstance(value, dict) and set(value) != {"count"}
        flat |= _flat(value, f"{prefix}{key}.") if nested else {prefix + key: value}
    return flat


def _swept(simulation: Simulation, path: str, given: Any) -> tuple[Any, ...]:
    if isinstance(given, dict):
        count = given["count"]
        if path != "seed" or not isinstance(count, int) or count < 1:
            raise ValueError(f"{{count = n}}, n at least 1, is for `seed` only; got {given!r}. Give a list of values.")
        return tuple(range(simulation.seed, simulation.seed + count))
    if not isinstance(given, list) or not given:
        raise ValueError(f"expected a list of values; got {given!r}")
    annotation = _annotation(simulation, path.split("."))
    adapter = pydantic.TypeAdapter(annotation)
    rebuild(adapter)
    values = tuple(adapter.validate_json(json.dumps(value, default=str), strict=True) for value in given)
    for value in values:
        with_value(simulation, path, value)
    return values


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


def _lines(error: Exception) -> list[str]:
    if isinstance(error, pydantic.ValidationError):
        return [in_words(detail, {}) for detail in error.errors()]
    return [str(error)]
