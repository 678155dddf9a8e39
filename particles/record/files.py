"""Files that are there whole or not at all."""

import contextlib
import hashlib
import json
import os
import pathlib
from collections.abc import Iterator
from typing import Any


def replace(path: pathlib.Path, content: bytes) -> None:
    """Puts a file in place at once: a reader, or a crash, sees the old content or the new, never a part."""
    scratch = path.with_name(f".{path.name}.partial")
    try:
        with open(scratch, "wb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        os.replace(scratch, path)
    except BaseException:
        scratch.unlink(missing_ok=True)
        raise
    sync_directory(path.parent)


def sync(path: pathlib.Path) -> None:
    """Makes sure a file's content is on the disk, if there is such a file."""
    try:
        descriptor = os.open(path, os.O_RDONLY)
    except FileNotFoundError:
        return  # zarr writes no block that holds fill values only
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def sync_directory(path: pathlib.Path) -> None:
    """Makes sure the names in a directory are on the disk."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def replace_json(path: pathlib.Path, content: Any) -> None:
    """Puts a JSON file in place at once."""
    replace(path, (json.dumps(content, indent=2, allow_nan=False) + "\n").encode())


class Damaged(ValueError):
    """A run directory whose files are not what was committed."""


@contextlib.contextmanager
def intact(path: pathlib.Path) -> Iterator[None]:
    """Where files of a record are read: what cannot be read is damaged, however a library puts it."""
    try:
        yield
    except Damaged:
        raise
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise Damaged(f"{path} is damaged and cannot be read: {error}") from error


def load_json(path: pathlib.Path, keys: tuple[str, ...]) -> dict[str, Any]:
    """A JSON file with a table that has at least these keys.

    Raises
    ------
    Damaged
        If it is anything else.
    """
    try:
        content = json.loads(path.read_text())
    except (OSError, ValueError) as error:
        raise Damaged(f"{path} is damaged: {error}") from error
    missing = [key for key in keys if not isinstance(content, dict) or key not in content]
    if missing:
        raise Damaged(f"{path} is damaged: it has no {', '.join(missing)}")
    return content


def digest(path: pathlib.Path) -> str:
    """The sha256 of a file."""
    with open(path, "rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
