"""From a file and a few overrides to plain data: what TOML is refused."""

import json
import pathlib
import tomllib
from typing import Any

from ..record.files import opened
from .faults import ConfigError

SIZE_LIMIT = 2**20  # bytes of a config
SHOWN = 60  # characters of a path that are shown
DEEPEST = 64  # tables and lists within one another: what reads them goes down by calling itself
TOO_DEEP = f"nested too deeply: at most {DEEPEST} tables and lists may stand within one another"


def read(path: pathlib.Path) -> dict[str, Any]:
    """The content of a TOML file, as plain data."""
    try:
        with opened(path) as file:
            text = file.read(SIZE_LIMIT + 1)
    except OSError as error:
        raise ConfigError(str(path), [f"cannot be read: {error.strerror}"]) from None
    if len(text) > SIZE_LIMIT:
        raise ConfigError(path.name, [f"larger than {SIZE_LIMIT} bytes; data belongs into a file of its own"])
    return _parsed(text, path.name)


def _parsed(text: bytes, where: str) -> dict[str, Any]:
    try:
        content = tomllib.loads(text.decode())
    except RecursionError:
        raise ConfigError(where, [TOO_DEEP]) from None
    except ValueError as error:  # a syntax error, a number beyond all bounds, or no text at all
        raise ConfigError(where, [f"is not TOML: {error}"]) from None
    if not _shallow(content, DEEPEST):
        raise ConfigError(where, [TOO_DEEP])
    return content


def _shallow(node: Any, levels: int) -> bool:
    """Whether tables and lists go no deeper than so many levels."""
    layer = [node]
    for _ in range(levels + 1):
        layer = [
            inner
            for outer in layer
            if isinstance(outer, dict | list)
            for inner in (outer.values() if isinstance(outer, dict) else outer)
        ]
    return not layer


def as_json(content: dict[str, Any]) -> str:
    """As JSON, because strict validation of JSON takes lists for tuples and integers for floats, and nothing else."""
    return json.dumps(content, default=str)


def overridden(content: dict[str, Any], override: str) -> list[str]:
    """Sets one value in place; returns the faults."""
    path, equals, text = override.partition("=")
    path = path.strip()
    if not equals or not path:
        return [f"override {override!r}: expected key.path=value"]
    try:
        parsed = tomllib.loads(f"value = {text}")
    except RecursionError:
        return [f"override {shorten(path)!r}: {TOO_DEEP}"]
    except ValueError:
        if not text.strip().replace("_", "").replace("-", "").replace(".", "").isalnum():
            return [f"override {override!r}: {text!r} is not a value of TOML. Text needs quotes: '{path}=\"...\"'"]
        parsed = {"value": text.strip()}
    if set(parsed) != {"value"}:
        return [f"override {override!r}: expected exactly one value"]
    swept = path.removeprefix("sweep.")  # a path of its own, in quotes as in a file or without
    keys: list[Any] = path.split(".") if swept == path else ["sweep", swept.strip("\"'")]
    if not _shallow(parsed["value"], DEEPEST - len(keys)):
        return [f"override {shorten(path)!r}: {TOO_DEEP}"]
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


def shorten(text: str) -> str:
    """The beginning of a text that may be as long as it likes."""
    return text if len(text) <= SHOWN else f"{text[:SHOWN]}..."
