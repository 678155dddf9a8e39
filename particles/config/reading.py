"""From a file and a few overrides to plain data: what TOML is refused."""

import json
import pathlib
import tomllib
from typing import Any

from .faults import ConfigError

SIZE_LIMIT = 2**20  # bytes of a config


def read(path: pathlib.Path) -> dict[str, Any]:
    """The content of a TOML file, as plain data."""
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
    except (ValueError, RecursionError):
        if not text.strip().replace("_", "").replace("-", "").replace(".", "").isalnum():
            return [f"override {override!r}: {text!r} is not a value of TOML. Text needs quotes: '{path}=\"...\"'"]
        parsed = {"value": text.strip()}
    if set(parsed) != {"value"}:
        return [f"override {override!r}: expected exactly one value"]
    swept = path.removeprefix("sweep.")  # a path of its own, in quotes as in a file or without
    keys: list[Any] = path.split(".") if swept == path else ["sweep", swept.strip("\"'")]
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
