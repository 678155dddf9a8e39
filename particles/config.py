"""A config is a constructor call written down.

Every table is a constructor call: `kind` names a final class of the family that the place asks for, the other keys
are its parameters. The models that check a config are derived from the classes themselves, fields, defaults and
bounds, so a new class can be configured the moment it exists, and a fault in a config reads like a fault in a call.
All faults are reported at once, each with its place and the nearest name that would have been right. No class outside
the families can be named, and nothing in a config is ever executed.
"""

import dataclasses
import functools
import inspect
import json
import pathlib
import re
import tomllib
import types
import typing
from collections.abc import Iterable
from typing import Annotated, Any, ClassVar, Literal

import pydantic

from .declaration import Declared, family, given_name, nearest, summary
from .experiment import AbstractExperiment
from .simulation import Simulation
from .simulation.grid import dimensions, with_value

SIZE_LIMIT = 2**20  # bytes of a config


class ConfigError(ValueError):
    """A config with faults; `faults` lists them all."""

    def __init__(self, where: str, faults: Iterable[str]):
        self.faults = tuple(faults)
        super().__init__("\n".join(f"{where}: {fault}" for fault in self.faults))


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
    content = _read(path)
    faults = [fault for override in overrides for fault in _override(content, override)]
    faults += _anchored(content, path.parent.resolve(), "")
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
        experiment = _adapter().validate_json(_as_json(content), strict=True)
    except pydantic.ValidationError as error:
        raise ConfigError(where, [_fault(detail, content) for detail in error.errors()]) from None
    if not isinstance(experiment, Simulation):
        return experiment
    faults = _figure_faults(experiment.figures)
    experiment, sweep_faults = _with_sweep(experiment, sweep)
    if faults or sweep_faults:
        raise ConfigError(where, [*faults, *sweep_faults])
    return experiment


def schema() -> dict[str, Any]:
    """The JSON Schema of a config: what an editor completes and checks."""
    derived = _adapter().json_schema()
    title = "Experiment of particles"
    return {"$schema": "https://json-schema.org/draft/2020-12/schema", "title": title, **derived}


def _figure_faults(names: tuple[str, ...]) -> list[str]:
    if not names:
        return []
    from .plots import kinds  # matplotlib takes half a second to import

    known = sorted(kinds())
    return [
        f"figures: no kind of figure is called {name!r}; there are {known}.{nearest(name, known)}"
        for name in names
        if name not in known
    ]


# --- reading -------------------------------------------------------------------------------------------------------


def _read(path: pathlib.Path) -> dict[str, Any]:
    try:
        with open(path, "rb") as file:
            text = file.read(SIZE_LIMIT + 1)
    except OSError as error:
        raise ConfigError(str(path), [f"cannot be read: {error.strerror}"]) from None
    if len(text) > SIZE_LIMIT:
        raise ConfigError(path.name, [f"larger than {SIZE_LIMIT} bytes; data belongs into a file of its own"])
    return _parsed(text, path.name)


def _parsed(text: bytes, where: str) -> dict[str, Any]:
    try:
        return tomllib.loads(text.decode())
    except RecursionError:
        raise ConfigError(where, ["nested too deeply"]) from None
    except ValueError as error:  # a syntax error, a number beyond all bounds, or no text at all
        raise ConfigError(where, [f"is not TOML: {error}"]) from None


def _as_json(content: dict[str, Any]) -> str:
    """As JSON, because strict validation of JSON takes lists for tuples and integers for floats, and nothing else."""
    return json.dumps(content, default=str)


def _override(content: dict[str, Any], override: str) -> list[str]:
    """Sets one value in place; returns the faults."""
    path, equals, text = override.partition("=")
    path = path.strip()
    if not equals or not path:
        return [f"override {override!r}: expected key.path=value"]
    try:
        parsed = _parsed(f"value = {text}".encode(), "override")
    except ConfigError as error:
        if not text.strip().replace("_", "").replace("-", "").replace(".", "").isalnum():
            return [f"override {override!r}: {error}"]
        parsed = {"value": text.strip()}
    if set(parsed) != {"value"}:
        return [f"override {override!r}: expected exactly one value"]
    keys: list[Any] = ["sweep", path.removeprefix("sweep.")] if path.startswith("sweep.") else path.split(".")
    node: Any = content
    for k, key in enumerate(keys):
        if isinstance(node, list):
            if not key.isdigit() or int(key) >= len(node):
                return [f"override {override!r}: `{key}` is not a position among {len(node)} entries"]
            key = int(key)
        elif not isinstance(node, dict):
            return [f"override {override!r}: `{'.'.join(keys[:k])}` is a value and has no `{key}`"]
        if k == len(keys) - 1:
            node[key] = parsed["value"]
        else:
            node = node[key] if isinstance(node, list) else node.setdefault(key, {})
    return []


def _anchored(node: Any, root: pathlib.Path, place: str) -> list[str]:
    """Makes the paths of start files absolute, in place; returns faults for those that leave the config's folder."""
    if isinstance(node, list):
        return [fault for k, entry in enumerate(node) for fault in _anchored(entry, root, f"{place}[{k}]")]
    if not isinstance(node, dict):
        return []
    faults = []
    if node.get("kind") == "Given" and isinstance(node.get("path"), str):
        path = (root / node["path"]).resolve()
        if path.is_relative_to(root):
            node["path"] = str(path)
        else:
            faults = [
                f"{place}.path: {node['path']!r} lies outside the config's folder; put the file beside the config"
            ]
    inner = [fault for key, entry in node.items() for fault in _anchored(entry, root, f"{place}.{key}".lstrip("."))]
    return faults + inner


# --- sweeps --------------------------------------------------------------------------------------------------------


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
    _rebuild(adapter)
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
    fields = _fields(type(noun)) if isinstance(noun, Declared) else {}
    if path[-1] not in fields:
        raise ValueError(f"there is no parameter at this path; `{path[-1]}` is unknown.{nearest(path[-1], fields)}")
    return fields[path[-1]][0]


def _lines(error: Exception) -> list[str]:
    if isinstance(error, pydantic.ValidationError):
        return [_fault(detail, {}) for detail in error.errors()]
    return [str(error)]


# --- models derived from classes -----------------------------------------------------------------------------------


@functools.cache
def _adapter() -> pydantic.TypeAdapter:
    adapter = pydantic.TypeAdapter(_slot(AbstractExperiment))
    _rebuild(adapter)
    return adapter


def _rebuild(adapter: pydantic.TypeAdapter) -> None:
    adapter.rebuild(force=True, _types_namespace=_namespace())


@functools.cache
def _namespace() -> dict[str, Any]:
    """A type for each family and a model for each class that a config can reach, by name."""
    namespace: dict[str, Any] = {}
    models: dict[type, type[pydantic.BaseModel]] = {}
    waiting: list[type] = [AbstractExperiment]
    while waiting:
        cls = waiting.pop()
        if _key(cls) in namespace:
            continue
        abstract = inspect.isabstract(cls)
        members = tuple(family(cls).values()) if abstract else (cls,)
        for member in members:
            if member not in models:
                models[member] = _model(member)
                waiting += _mentioned(member)
        called = Annotated[models.get(cls, object), pydantic.AfterValidator(_constructed)]
        namespace[_key(cls)] = _union(cls, {member: models[member] for member in members}) if abstract else called
    for model in models.values():
        model.model_rebuild(_types_namespace=namespace)
    return namespace


def _key(cls: type) -> str:
    return f"{cls.__module__}.{cls.__name__}".replace(".", "_")


def _slot(cls: type) -> Any:
    return typing.ForwardRef(_key(cls))


def _union(cls: type, models: dict[type, type[pydantic.BaseModel]]) -> Any:
    """One of a family: a table with a `kind`, or a bare name where members carry names."""
    tables: Any = tuple(models.values())
    chosen = Annotated[typing.Union[tables], pydantic.Field(discriminator="kind")] if len(tables) > 1 else tables[0]  # noqa: UP007
    table = Annotated[chosen, pydantic.AfterValidator(_constructed)]
    names = {given_name(member): member for member in models}
    if None in names:
        return table
    by_name: Any = Annotated[Literal[tuple(names)], pydantic.AfterValidator(lambda name: names[name]())]
    tagged: Any = typing.Union[Annotated[table, pydantic.Tag("table")], Annotated[by_name, pydantic.Tag("name")]]  # noqa: UP007
    return Annotated[tagged, pydantic.Discriminator(lambda value: "name" if isinstance(value, str) else "table")]


class _Node(pydantic.BaseModel):
    """A checked table, and the class it calls."""

    model_config = pydantic.ConfigDict(
        extra="forbid", strict=True, allow_inf_nan=False, arbitrary_types_allowed=True, protected_namespaces=()
    )
    called: ClassVar[type]


def _model(cls: type) -> type[pydantic.BaseModel]:
    fields: Any = _fields(cls)
    kind: Any = (Literal[cls.__name__], ... if inspect.isabstract(cls.__mro__[1]) else cls.__name__)
    model = pydantic.create_model(_key(cls), __base__=_Node, __doc__=summary(cls), kind=kind, **fields)
    model.called = cls
    return model


def _constructed(node: _Node) -> Any:
    """Calls the constructor, so that its own checks report in their place."""
    given = [name for name in node.model_fields_set if name != "kind"]
    return node.called(**{name: getattr(node, name) for name in given})


def _fields(cls: type) -> dict[str, tuple[Any, Any]]:
    """The fields of a model: what a config may hold at each, and its default."""
    hints = typing.get_type_hints(cls, include_extras=True)
    found = {}
    for field in dataclasses.fields(cls):  # pyright: ignore[reportArgumentType]
        if cls is Simulation and field.name == "sweep":
            continue
        optional = field.default is not dataclasses.MISSING or field.default_factory is not dataclasses.MISSING
        default = None if optional else ...
        plain = _plain(hints[field.name], dict(field.metadata.get("bounds", {})))
        found[field.name] = (plain, pydantic.Field(default) if optional else pydantic.Field(...))
    return found


def _plain(hint: Any, bounds: dict[str, Any]) -> Any:
    """What a config may hold where a class has a given annotation."""
    number = Annotated[float, pydantic.Field(allow_inf_nan=False, **bounds)]
    if hasattr(hint, "dim_str"):  # an array: a number, or lists of lists of numbers
        return functools.reduce(lambda inner, _: list[inner], hint.dim_str.split(), number)
    if hint is float:
        return number
    if hint is int:
        return Annotated[int, pydantic.Field(**bounds)]
    origin, arguments = typing.get_origin(hint), typing.get_args(hint)
    if origin in (typing.Union, types.UnionType):
        return typing.Union[tuple(_plain(argument, bounds) for argument in arguments)]  # noqa: UP007
    if origin is tuple:
        return tuple[_plain(arguments[0], bounds), ...]
    if isinstance(hint, type) and issubclass(hint, Declared):
        return _slot(hint)
    return hint


def _mentioned(cls: type) -> list[type]:
    """The nouns that appear in the annotations of a class."""
    return [noun for hint in typing.get_type_hints(cls).values() for noun in _nouns(hint)]


def _nouns(hint: Any) -> list[type]:
    if isinstance(hint, type) and issubclass(hint, Declared):
        return [hint]
    return [noun for argument in typing.get_args(hint) for noun in _nouns(argument)]


# --- faults in words -----------------------------------------------------------------------------------------------


def _fault(detail: Any, content: Any) -> str:
    """One fault: its place as a path of keys, what was got, what was expected."""
    place: list[Any] = []
    node: Any = content
    for k, step in enumerate(detail["loc"]):  # branches of unions stand among the keys, and are no part of the place
        last = k == len(detail["loc"]) - 1 and detail["type"] in ("missing", "extra_forbidden")
        if last or (isinstance(node, dict) and step in node) or (isinstance(node, list) and isinstance(step, int)):
            place.append(step)
            node = node[step] if not last else None
    path = "".join(f"[{step}]" if isinstance(step, int) else f".{step}" for step in place).lstrip(".")
    return f"{path or 'top level'}: {_reason(detail, content, place)}"


def _reason(detail: Any, content: Any, place: list[str | int]) -> str:
    kind, given, context = detail["type"], detail.get("input"), detail.get("ctx", {})
    shown = json.dumps(given, default=str)[:80]
    if kind == "extra_forbidden":
        cls = _class_at(content, place[:-1])
        known = list(_fields(cls)) if cls else []
        owner = f"{cls.__name__} has {known}" if cls else "it"
        return f"unknown key `{place[-1]}`; {owner}.{nearest(str(place[-1]), known)}"
    if kind == "missing":
        return "is missing"
    if kind in ("union_tag_invalid", "literal_error"):
        word = str(context.get("tag", given))
        known = re.findall("'([^']+)'", str(context.get("expected_tags", context.get("expected"))))
        return f"got {word!r}, expected one of {known}.{nearest(word, known)}"
    if kind in ("union_tag_not_found", "model_type", "model_attributes_type", "dict_type"):
        return f'expected a table with a `kind`, like {{kind = "..."}}; got {shown}'
    if kind == "value_error":
        return str(context["error"])
    return f"{detail['msg'][0].lower()}{detail['msg'][1:]}; got {shown}"


def _class_at(content: Any, place: list[str | int]) -> type | None:
    """The class that a table of a config calls."""
    slots: list[type] = [AbstractExperiment]
    for step in place:
        if isinstance(step, str):
            cls = _called(slots, content)
            slots = _nouns(typing.get_type_hints(cls).get(step)) if cls else []
        known = (isinstance(content, dict) and step in content) or (isinstance(content, list) and isinstance(step, int))
        inner: Any = content
        content = inner[step] if known else None
    return _called(slots, content)


def _called(slots: list[type], table: Any) -> type | None:
    named = table.get("kind") if isinstance(table, dict) else None
    for slot in slots:
        if not inspect.isabstract(slot):
            return slot
        if isinstance(named, str) and named in family(slot):
            return family(slot)[named]
    return None
