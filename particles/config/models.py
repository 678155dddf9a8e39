"""The models that check a config, derived from the classes it can call: fields, defaults, bounds and families."""

import dataclasses
import functools
import types
import typing
from typing import Annotated, Any, ClassVar, Literal

import numpy as np
import pydantic

from ..declaration import Declared, family, given_name, is_abstract, summary
from ..experiment import AbstractExperiment
from ..simulation import Simulation
from ..stored import DataError, Stored


def experiments(among: type[AbstractExperiment]) -> pydantic.TypeAdapter:
    """What checks a whole config: one experiment, or one of a family of them."""
    return _experiments(among, known())


def known() -> tuple[type, ...]:
    """Every class that a config could name by now."""
    return tuple(family(Declared).values())


@functools.cache
def _experiments(among: type[AbstractExperiment], among_all: tuple[type, ...]) -> pydantic.TypeAdapter:
    adapter = pydantic.TypeAdapter(_slot(among))
    adapter.rebuild(force=True, _types_namespace=_namespace(among_all))
    return adapter


def rebuild(adapter: pydantic.TypeAdapter) -> None:
    """Makes the references between models known to something that checks."""
    adapter.rebuild(force=True, _types_namespace=_namespace(known()))


@functools.cache
def _namespace(among_all: tuple[type, ...]) -> dict[str, Any]:
    """A type for each family and a model for each class that a config of one of the experiments can reach, by name."""
    namespace: dict[str, Any] = {}
    models: dict[type, type[pydantic.BaseModel]] = {}
    waiting: list[type] = [AbstractExperiment, *(cls for cls in among_all if issubclass(cls, AbstractExperiment))]
    while waiting:
        cls = waiting.pop()
        if _key(cls) in namespace:
            continue
        abstract = is_abstract(cls)
        found = family(cls)  # in the order of their names, not of their imports
        members = tuple(found[name] for name in sorted(found)) if abstract else (cls,)
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
    usual = usual_kind(cls)
    if len(tables) == 1:
        chosen = tables[0]
    elif usual is None:
        chosen = Annotated[typing.Union[tables], pydantic.Field(discriminator="kind")]  # noqa: UP007
    else:  # a table that names no kind is one of the usual kind
        branches: Any = tuple(Annotated[model, pydantic.Tag(member.__name__)] for member, model in models.items())
        tag = pydantic.Discriminator(lambda table: table.get("kind", usual) if isinstance(table, dict) else None)
        chosen = Annotated[typing.Union[branches], tag]  # noqa: UP007
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
    fields: Any = fields_of(cls)
    alone = not is_abstract(cls.__mro__[1]) or usual_kind(cls) == cls.__name__
    kind: Any = (Literal[cls.__name__], cls.__name__ if alone else ...)
    model = pydantic.create_model(_key(cls), __base__=_Node, __doc__=summary(cls), kind=kind, **fields)
    model.called = cls
    return model


def usual_kind(cls: type) -> str | None:
    """The kind that a table means where it names none, if the family has one."""
    return getattr(cls, "usual", None)


def _constructed(node: _Node) -> Any:
    """Calls the constructor, so that its own checks report in their place."""
    given = [name for name in node.model_fields_set if name != "kind"]
    return node.called(**{name: getattr(node, name) for name in given})


def fields_of(cls: type) -> dict[str, tuple[Any, Any]]:
    """The fields of a model: what a config may hold at each, and its default."""
    hints = typing.get_type_hints(cls, include_extras=True)
    found = {}
    for field in dataclasses.fields(cls):  # pyright: ignore[reportArgumentType]
        if cls is Simulation and field.name == "sweep":
            continue
        optional = field.default is not dataclasses.MISSING or field.default_factory is not dataclasses.MISSING
        default = None if optional else ...
        bounds, infinite = dict(field.metadata.get("bounds", {})), field.metadata.get("infinite", False)
        plain = _plain(hints[field.name], bounds, infinite)
        found[field.name] = (plain, pydantic.Field(default) if optional else pydantic.Field(...))
    return found


def _plain(hint: Any, bounds: dict[str, Any], infinite: bool) -> Any:
    """What a config may hold where a class has a given annotation."""
    alternatives = typing.get_args(hint) if typing.get_origin(hint) in (typing.Union, types.UnionType) else (hint,)
    if any(hasattr(one, "dim_str") and one.dim_str.split() for one in alternatives):  # more than a number: or in a file
        numbers: Any = typing.Union[tuple(_written(one, bounds, infinite) for one in alternatives)]  # noqa: UP007
        either: Any = typing.Union[Annotated[_File, pydantic.Tag("file")], Annotated[numbers, pydantic.Tag("numbers")]]  # noqa: UP007
        return Annotated[either, pydantic.Discriminator(_place_of_numbers)]
    return _written(hint, bounds, infinite)


class _ArrayFile(pydantic.BaseModel):
    """A file that holds an array, and which of its arrays."""

    model_config = pydantic.ConfigDict(extra="forbid", strict=True)
    path: str
    name: str | None = None


def _read(file: _ArrayFile) -> np.ndarray:
    numbers = Stored.read(file.path).array(file.name)
    if numbers.dtype.kind not in "fiub":
        raise DataError(f"{file.path}: expected real numbers; got {numbers.dtype}")
    return np.asarray(numbers, float)


_File = Annotated[_ArrayFile, pydantic.AfterValidator(_read)]


def _place_of_numbers(value: Any) -> str:
    """Where an array stands: in a file, or in the config."""
    return "file" if isinstance(value, dict) and "path" in value and "kind" not in value else "numbers"


def _written(hint: Any, bounds: dict[str, Any], infinite: bool) -> Any:
    """A value that a config writes out where a class has a given annotation."""
    number = Annotated[float, pydantic.Field(allow_inf_nan=infinite, **bounds)]
    if hasattr(hint, "dim_str"):  # an array: a number, or lists of lists of numbers
        return functools.reduce(lambda inner, _: list[inner], hint.dim_str.split(), number)
    if hint is Stored:
        return Annotated[str, pydantic.AfterValidator(Stored.read)]
    if hint is float:
        return number
    if hint is int:
        return Annotated[int, pydantic.Field(**bounds)]
    origin, arguments = typing.get_origin(hint), typing.get_args(hint)
    if origin in (typing.Union, types.UnionType):
        return typing.Union[tuple(_written(argument, bounds, infinite) for argument in arguments)]  # noqa: UP007
    if origin is tuple:
        return tuple[_plain(arguments[0], bounds, infinite), ...]
    if isinstance(hint, type) and issubclass(hint, Declared):
        return _slot(hint)
    return hint


def _mentioned(cls: type) -> list[type]:
    """The nouns that appear in the annotations of a class."""
    return [noun for hint in typing.get_type_hints(cls).values() for noun in nouns_in(hint)]


def nouns_in(hint: Any) -> list[type]:
    """The nouns that an annotation mentions."""
    if isinstance(hint, type) and issubclass(hint, Declared):
        return [hint]
    return [noun for argument in typing.get_args(hint) for noun in nouns_in(argument)]
