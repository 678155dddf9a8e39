"""What plain data from a file must look like: a form for each value, tables and lists of them.

A form is a function of a value and its place, and yields a sentence for each fault. It says what readers rely on, and
nothing of what else may be there.
"""

import json
from collections.abc import Callable, Iterator, Mapping
from typing import Any

Form = Callable[[Any, str], Iterator[str]]
MOST = 2**63  # numbers below fit into those of arrays
SHOWN = 40  # characters of a value that are shown


def _value(expected: str, holds: Callable[[Any], bool]) -> Form:
    def form(value: Any, place: str) -> Iterator[str]:
        if not holds(value):
            shown = json.dumps(value)
            shown = shown if len(shown) <= SHOWN else f"{shown[:SHOWN]}..."
            yield f"{place or 'it'}: expected {expected}, got {shown}"

    return form


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)


anything: Form = _value("anything", lambda value: True)
text = _value("text", lambda value: isinstance(value, str))
number = _value("a number", lambda value: _is_number(value) and (isinstance(value, float) or abs(value) < MOST))
count = _value(
    "a whole number, at least 0", lambda value: _is_number(value) and isinstance(value, int) and 0 <= value < MOST
)


def one_of(*words: str) -> Form:
    """One of some words."""
    return _value(f"one of {', '.join(words)}", lambda value: isinstance(value, str) and value in words)


def or_none(form: Form) -> Form:
    """A value of a form, or null."""
    return lambda value, place: iter(()) if value is None else form(value, place)


def several(form: Form) -> Form:
    """A list of values of one form."""
    whole = _value("a list", lambda value: isinstance(value, list))

    def every(value: Any, place: str) -> Iterator[str]:
        yield from whole(value, place)
        for k, entry in enumerate(value if isinstance(value, list) else ()):
            yield from form(entry, f"{place}[{k}]")

    return every


def table(required: Mapping[str, Form], optional: Mapping[str, Form] | None = None, others: Form = anything) -> Form:
    """A table with some keys, perhaps some more, and others of one form."""
    whole = _value("a table", lambda value: isinstance(value, dict))
    known = {**required, **(optional or {})}

    def every(value: Any, place: str) -> Iterator[str]:
        yield from whole(value, place)
        if not isinstance(value, dict):
            return
        for key in required:
            if key not in value:
                yield f"{place or 'it'}: it has no `{key}`"
        for key, entry in value.items():
            yield from known.get(key, others)(entry, f"{place}.{key}".lstrip("."))

    return every
