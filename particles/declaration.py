"""How a class of the house declares itself: its parameters, their bounds, its family, its sources.

A parameter is declared once, as a field of its class, and everything else is derived from that declaration: the check
in the constructor, the key of a config, the JSON Schema, the listing on the command line. A family is an abstract class
together with its final subclasses; a new class joins by existing. Nothing here knows what the classes are about.
"""

import dataclasses
import difflib
import inspect
import types
import typing
from collections.abc import Callable, Iterable
from typing import Any, ClassVar

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jax.core import Tracer

from .stored import Stored

LARGE = 400  # numbers of an array: more are kept in a file
BOUNDS = {"gt": "greater than", "ge": "at least", "lt": "less than", "le": "at most"}
_HOLDS = {"gt": np.greater, "ge": np.greater_equal, "lt": np.less, "le": np.less_equal}


def as_float(value: Any) -> Any:
    """A parameter as a floating array; a Python number stays weakly typed, so that it takes the tokens' dtype."""
    if isinstance(value, bool | str | complex | dict):
        raise ValueError(f"expected a real number or an array of real numbers, got {value!r}")
    if isinstance(value, int | float):
        return jnp.asarray(float(value))
    if value is None or isinstance(value, jax.Array):
        return value
    if isinstance(value, np.ndarray | np.generic | list | tuple):
        return jnp.asarray(value, float)
    return value  # something a transformation put in the place of an array


def as_floats(values: Any) -> Any:
    """Several parameters, each as a floating array."""
    return tuple(as_float(value) for value in values) if isinstance(values, list | tuple) else values


def unnested(entries: Any, cls: type, name: str) -> Any:
    """The entries of a composite whose brackets mean nothing: those of one of its own class stand in its place."""
    if not isinstance(entries, tuple):
        return entries
    return tuple(part for entry in entries for part in (getattr(entry, name) if isinstance(entry, cls) else (entry,)))


def parameter(
    default: Any = dataclasses.MISSING,
    *,
    converter: Callable[[Any], Any] = as_float,
    infinite: bool = False,
    **bounds: float | int,
) -> Any:
    """A floating parameter: a leaf of the pytree, swept and differentiated; `gt`, `ge`, `lt`, `le` bound each entry.

    Where `infinite` is said, a number that grows without bound has its limit as a value.
    """
    return _field(default, bounds, infinite=infinite, converter=converter)


def option(
    default: Any = dataclasses.MISSING, *, converter: Callable[[Any], Any] = lambda value: value, **bounds: float | int
) -> Any:
    """A parameter that shapes the program (a size, a name): static, bounded in the same way."""
    return _field(default, bounds, static=True, converter=converter)


def stored(default: Any = dataclasses.MISSING) -> Any:
    """A parameter that is a file, given by its path and read when the noun is made."""
    return _field(default, {}, static=True, converter=lambda path: None if path is None else Stored.read(path))


def _field(default: Any, bounds: dict[str, float | int], infinite: bool = False, **kind: Any) -> Any:
    unknown = set(bounds) - set(BOUNDS)
    if unknown:
        raise ValueError(f"unknown bounds {sorted(unknown)}; known are {sorted(BOUNDS)}")
    if default is not dataclasses.MISSING:
        kind["default"] = default
    return eqx.field(metadata={"bounds": bounds, "infinite": infinite}, **kind)


class Declared(eqx.Module):
    """Base of every noun: an immutable pytree whose parameters are finite and within their declared bounds.

    Raises
    ------
    ValueError
        At construction, for a number that is not finite or out of bounds. Traced values are not looked at.
    """

    sources: ClassVar[tuple[str, ...]] = ()

    def __check_init__(self):
        for field in dataclasses.fields(self):
            bounds = field.metadata.get("bounds")
            value = getattr(self, field.name)
            fault = _kind_fault(value, field.type)
            if fault:
                raise ValueError(f"`{field.name}` of {type(self).__name__} {fault}")
            if bounds is None or value is None:
                continue
            fault = bound_fault(value, bounds, field.metadata["infinite"])
            if fault:
                raise ValueError(f"`{field.name}` of {type(self).__name__} {fault}")


def _kind_fault(value: Any, hint: Any) -> str | None:
    """What is wrong with the kind of a value, in words, or None: ranks of arrays, whole numbers, nouns."""
    hints = typing.get_args(hint) if typing.get_origin(hint) in (typing.Union, types.UnionType) else (hint,)
    ranks = {len(one.dim_str.split()) for one in hints if hasattr(one, "dim_str") and "..." not in one.dim_str}
    if ranks and not (value is None and type(None) in hints):
        rank = getattr(value, "ndim", None)
        words = {0: "a number", 1: "a list of numbers", 2: "a matrix"}
        if rank not in ranks and type(value) is not object:  # a bare object stands for an array while a tree is rebuilt
            return f"must be {' or '.join(words[r] for r in sorted(ranks))}; got {_described_shape(value)}"
    if hint is int and (isinstance(value, bool) or not isinstance(value, int | np.integer)):
        return f"must be a whole number; got {value!r}"
    if isinstance(hint, type) and issubclass(hint, Declared) and not isinstance(value, hint):
        return f"must be a {hint.__name__.removeprefix('Abstract')}; got {_described_kind(value)}"
    if typing.get_origin(hint) is tuple and type(value) is not object:
        return _entries_fault(value, typing.get_args(hint)[0])
    return None


def _entries_fault(value: Any, hint: Any) -> str | None:
    """What is wrong with a tuple or one of its nouns, in words, or None."""
    if not isinstance(value, tuple):
        return f"must be a tuple, (..., ); got {_described_kind(value)}"
    nouns = isinstance(hint, type) and issubclass(hint, Declared)
    wrong = [entry for entry in value if nouns and type(entry) is not object and not isinstance(entry, hint)]
    if wrong:
        return f"must hold nothing but {hint.__name__.removeprefix('Abstract')}s; got {_described_kind(wrong[0])}"
    return None


def _described_kind(value: Any) -> str:
    return (
        f"the class {value.__name__}; write {value.__name__}(...)" if isinstance(value, type) else type(value).__name__
    )


def _described_shape(value: Any) -> str:
    return f"an array of shape {value.shape}" if hasattr(value, "shape") else repr(value)


def concrete(value: Any) -> np.ndarray | None:
    """The numbers behind a parameter, or None where a transformation holds them back."""
    return None if isinstance(value, Tracer) else np.asarray(value)


def all_known(tree: Any) -> bool:
    """Whether the numbers behind all parameters of a noun can be looked at: no transformation holds any back."""
    return not any(isinstance(leaf, Tracer) for leaf in jax.tree.leaves(tree))


def bound_fault(value: Any, bounds: dict[str, float | int], infinite: bool = False) -> str | None:
    """What is wrong with a value, in words, or None; what a transformation holds back is not looked at."""
    if isinstance(value, Tracer):
        return None
    if isinstance(value, tuple) and any(hasattr(entry, "shape") for entry in value):
        faults = (bound_fault(entry, bounds, infinite) for entry in value)
        return next((fault for fault in faults if fault), None)
    entries = value if isinstance(value, tuple) else (value,)
    if not entries or not all(isinstance(e, int | float | np.ndarray | np.generic | jax.Array) for e in entries):
        return None
    numbers = np.asarray(value)
    if numbers.dtype == object:  # a whole number beyond all machine numbers
        return f"must be less than {2**63}; got {value}"
    if not np.all(np.isfinite(numbers) | (infinite & ~np.isnan(numbers))):
        return f"must be finite; got {_shown(numbers)}"
    for name, limit in bounds.items():
        if not np.all(_HOLDS[name](numbers, limit)):
            return f"must be {BOUNDS[name]} {limit:g}; got {_shown(numbers)}"
    return None


def _shown(numbers: np.ndarray) -> str:
    return f"{numbers.item():g}" if numbers.ndim == 0 else np.array2string(numbers, threshold=8, precision=6)


def replaced(noun: Any, values: dict[str, Any]) -> Any:
    """The noun with other values at some paths, `score.beta`; every constructor on the way checks again, once.

    Raises
    ------
    ValueError
        If there is no such parameter.
    """
    below: dict[str, dict[str, Any]] = {}
    for path, value in values.items():
        head, _, rest = path.partition(".")
        below.setdefault(head, {})[rest] = value
    if isinstance(noun, tuple):
        for head in below:
            if not head.isdigit() or int(head) >= len(noun):
                raise ValueError(f"`{head}` is not a position among {len(noun)} entries")
        return tuple(_inner(entry, below[str(k)]) if str(k) in below else entry for k, entry in enumerate(noun))
    names = [field.name for field in dataclasses.fields(noun)] if isinstance(noun, Declared) else []
    for head in below:
        if head not in names:
            raise ValueError(
                f"`{head}` is not a parameter of {type(noun).__name__}, which has {names}.{nearest(head, names)}"
            )
    return dataclasses.replace(noun, **{head: _inner(getattr(noun, head), inner) for head, inner in below.items()})


def _inner(noun: Any, values: dict[str, Any]) -> Any:
    return values[""] if "" in values else replaced(noun, values)


def described(value: Any, file: Callable[[Stored], str] | None = None) -> Any:
    """A noun as plain data, `kind` and every parameter, defaults included: what a config or a manifest can hold.

    Absent parameters are left out. Numbers are kept to the last digit.

    Parameters
    ----------
    value : the noun.
    file : what stands for a file that the noun names, or for an array of more than `LARGE` numbers; by default a file's
        path, and all the numbers.
    """
    if isinstance(value, Declared):
        fields = {field.name: getattr(value, field.name) for field in dataclasses.fields(value)}
        strange = [name for name, part in fields.items() if callable(part) and not isinstance(part, Declared)]
        if strange:
            raise ValueError(
                f"`{strange[0]}` of {type(value).__name__} is a function, {fields[strange[0]]!r}, which no record can "
                "keep: solve takes it; for a record write a class of your own, docs/extending.md"
            )
        return {"kind": type(value).__name__} | {k: described(v, file) for k, v in fields.items() if v is not None}
    if isinstance(value, Stored):
        return str(value.path) if file is None else file(value)
    if isinstance(value, jax.Array | np.ndarray | np.generic):
        numbers = np.asarray(value)
        return numbers.tolist() if file is None or numbers.size <= LARGE else {"path": file(Stored.of(numbers))}
    if isinstance(value, tuple | list):
        return [described(entry, file) for entry in value]
    if isinstance(value, dict):
        return {key: described(entry, file) for key, entry in value.items()}
    return value


def sources_of(value: Any) -> tuple[str, ...]:
    """The bibliography keys of a noun and of all it is made of, each once, in order of appearance."""
    if isinstance(value, Declared):
        parts = [getattr(value, field.name) for field in dataclasses.fields(value)]
        found = list(value.sources)
    else:
        parts = list(value.values()) if isinstance(value, dict) else value if isinstance(value, tuple | list) else []
        found = []
    for part in parts:
        found += sources_of(part)
    return tuple(dict.fromkeys(found))


def is_abstract(cls: type) -> bool:
    """Whether a class stands for a family and is no member: by the rule of the house its name says so."""
    return cls.__name__.startswith("Abstract")


def family(abstract: type) -> dict[str, type]:
    """The final members of a family by name, in order of definition; only modules already imported are seen."""
    found: dict[str, type] = {}
    for child in abstract.__subclasses__():
        if not is_abstract(child) and not child.__name__.startswith("_"):
            found[child.__name__] = child
        found.update(family(child))
    return found


def given_name(cls: type) -> str | None:
    """The name by which a class can be asked for, beside its own: a class attribute `name`, or None."""
    fields = {field.name for field in dataclasses.fields(cls)} if dataclasses.is_dataclass(cls) else set()
    return None if "name" in fields else getattr(cls, "name", None)


def summary(cls: type) -> str:
    """The first line of a class's docstring."""
    return (inspect.getdoc(cls) or "").split("\n", 1)[0]


def nearest(word: str, known: Iterable[str]) -> str:
    """` Did you mean ...?` with the nearest known name, or nothing."""
    match = difflib.get_close_matches(str(word), list(known), n=1, cutoff=0.5)
    return f" Did you mean `{match[0]}`?" if match else ""
