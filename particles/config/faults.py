"""What is wrong with a config, in words: the place as a path of keys, what was got, the nearest name."""

import json
import re
import typing
from collections.abc import Iterable
from typing import Any

import pydantic

from ..declaration import family, is_abstract, nearest
from ..experiment import AbstractExperiment
from .models import fields_of, nouns_in, usual_kind


class ConfigError(ValueError):
    """A config with faults; `faults` lists them all."""

    def __init__(self, where: str, faults: Iterable[str]):
        self.faults = tuple(faults)
        super().__init__("\n".join(f"{where}: {fault}" for fault in self.faults))


def in_words(error: pydantic.ValidationError, content: Any, above: str = "") -> list[str]:
    """The faults, one for each place: its path of keys below another, what was expected, what was got."""
    found: dict[str, list[tuple[str, str]]] = {}
    for detail in error.errors():
        path, expected, got = _fault(detail, content)
        found.setdefault(f"{above}{path}".lstrip("."), []).append((expected, got))
    return [f"{path or 'top level'}: {_either(one)}" for path, one in found.items()]


def _either(reasons: list[tuple[str, str]]) -> str:
    """What a place that takes several kinds of values expected, in one sentence."""
    first, *others = dict.fromkeys(expected for expected, _ in reasons)
    return " or ".join([first, *(other.removeprefix("input should be ") for other in others)]) + reasons[0][1]


def _fault(detail: Any, content: Any) -> tuple[str, str, str]:
    """Its place, what was expected there, and what was got."""
    place: list[Any] = []
    node: Any = content
    for k, step in enumerate(detail["loc"]):  # branches of unions stand among the keys, and are no part of the place
        last = k == len(detail["loc"]) - 1 and detail["type"] in ("missing", "extra_forbidden")
        if last or (isinstance(node, dict) and step in node) or (isinstance(node, list) and isinstance(step, int)):
            place.append(step)
            node = node[step] if not last else None
    path = "".join(f"[{step}]" if isinstance(step, int) else f".{step}" for step in place)
    return path, *_reason(detail, content, place)


def _reason(detail: Any, content: Any, place: list[str | int]) -> tuple[str, str]:
    """What was expected at a place, and what was got."""
    kind, given, context = detail["type"], detail.get("input"), detail.get("ctx", {})
    shown = json.dumps(given, default=str)[:80]
    if kind == "extra_forbidden":
        cls = _class_at(content, place[:-1])
        known = list(fields_of(cls)) if cls else []
        owner = f"{cls.__name__} has {known}" if cls else "it"
        return f"unknown key `{place[-1]}`", f"; {owner}.{nearest(str(place[-1]), known)}"
    if kind == "missing":
        return "is missing", ""
    if kind in ("union_tag_invalid", "literal_error"):
        word = str(context.get("tag", given))
        known = re.findall("'([^']+)'", str(context.get("expected_tags", context.get("expected"))))
        return f"got {word!r}, expected one of {known}.{nearest(word, known)}", ""
    if kind in ("union_tag_not_found", "model_type", "model_attributes_type", "dict_type"):
        return 'expected a table with a `kind`, like {kind = "..."}', f"; got {shown}"
    if kind == "value_error":
        return str(context["error"]), ""
    return f"{detail['msg'][0].lower()}{detail['msg'][1:]}", f"; got {shown}"


def _class_at(content: Any, place: list[str | int]) -> type | None:
    """The class that a table of a config calls."""
    slots: list[type] = [AbstractExperiment]
    for step in place:
        if isinstance(step, str):
            cls = _called(slots, content)
            slots = nouns_in(typing.get_type_hints(cls).get(step)) if cls else []
        known = (isinstance(content, dict) and step in content) or (isinstance(content, list) and isinstance(step, int))
        inner: Any = content
        content = inner[step] if known else None
    return _called(slots, content)


def _called(slots: list[type], table: Any) -> type | None:
    named = table.get("kind") if isinstance(table, dict) else None
    for slot in slots:
        if not is_abstract(slot):
            return slot
        kind = usual_kind(slot) if named is None else named
        if isinstance(kind, str) and kind in family(slot):
            return family(slot)[kind]
    return None
