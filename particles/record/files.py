"""Files that are there whole or not at all, and are what was written.

A file of a run directory is put in place at once. A small one, JSON, carries a digest of itself, so that a bit that
turned over, or a hand that edited, is noticed when it is read. What is read is a regular file of a bounded size: of a
pipe nobody would see the end.
"""

import contextlib
import errno
import hashlib
import json
import os
import pathlib
import shutil
import stat
from collections.abc import Iterator, Mapping
from typing import Any, BinaryIO

from .schema import Form

LARGEST = 2**29  # bytes of a small file: the manifest of the largest sweep has half as many
NO_FILE = (errno.EINVAL, errno.ENXIO, errno.EISDIR, errno.ELOOP)  # errors where a pipe, a folder or a loop stands
SEAL = "digest"  # the key under which a JSON file has its own


class Damaged(ValueError):
    """A run directory whose files are not what was committed."""


def replace(path: pathlib.Path, content: bytes) -> None:
    """Puts a file in place at once: a reader, or a crash, sees the old content or the new, never a part."""
    scratch = path.with_name(f".{path.name}.partial")
    scratch.unlink(missing_ok=True)  # of a process that was killed, or no file
    try:
        with open(scratch, "xb") as file:
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
        with opened(path) as file:
            os.fsync(file.fileno())
    except FileNotFoundError:
        return  # zarr writes no block that holds fill values only


def sync_directory(path: pathlib.Path) -> None:
    """Makes sure the names in a directory are on the disk."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


@contextlib.contextmanager
def opened(path: pathlib.Path) -> Iterator[BinaryIO]:
    """A file to be read.

    Raises
    ------
    OSError
        If it cannot be, or is no regular file; nobody waits for what may come out of a pipe.
    """
    with os.fdopen(regular(path, os.O_RDONLY), "rb") as file:
        yield file


def regular(path: pathlib.Path, flags: int) -> int:
    """The descriptor of a regular file, which is opened without waiting; anything else is an OSError."""
    descriptor = os.open(path, flags | os.O_NONBLOCK | os.O_CLOEXEC, 0o644)
    if stat.S_ISREG(os.fstat(descriptor).st_mode):
        return descriptor
    os.close(descriptor)
    raise OSError(errno.EINVAL, "it is no regular file", str(path))


def content(path: pathlib.Path, most: int = LARGEST) -> bytes:
    """The content of a small file.

    Raises
    ------
    Damaged
        If it cannot be read, is no regular file, or is larger than a file of its kind may be.
    """
    with intact(path), opened(path) as file:
        if os.fstat(file.fileno()).st_size > most:
            raise Damaged(f"{path} is damaged: it is larger than {most} bytes, which no such file is")
        return file.read(most)


def append(path: pathlib.Path, text: str) -> None:
    """Adds text at the end of a file, which is made if there is none.

    Raises
    ------
    Damaged
        If something else than a file stands there.
    """
    with os.fdopen(own(path, os.O_WRONLY | os.O_APPEND), "a") as file:
        file.write(text)


def own(path: pathlib.Path, flags: int) -> int:
    """The descriptor of a file that is to be written, and is made if there is none.

    Raises
    ------
    Damaged
        If something else than a file stands there.
    """
    try:
        return regular(path, flags | os.O_CREAT)
    except OSError as error:
        if error.errno in NO_FILE:
            raise Damaged(f"{path} is damaged: it is no regular file; remove it") from error
        raise


def folder(path: pathlib.Path) -> None:
    """Makes a folder, if there is none.

    Raises
    ------
    Damaged
        If something else stands there.
    """
    try:
        path.mkdir(exist_ok=True)
    except FileExistsError as error:
        raise Damaged(f"{path} is damaged: it is no folder; remove it") from error


def remove(path: pathlib.Path) -> None:
    """Removes whatever stands at a path, a folder with all that is in it."""
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path)
    else:
        path.unlink(missing_ok=True)


def check_regular(root: pathlib.Path) -> None:
    """Raises Damaged if below a folder there is anything but folders and regular files."""
    waiting = [root]
    with intact(root):
        while waiting:
            with os.scandir(waiting.pop()) as entries:
                for entry in entries:
                    if entry.is_dir():
                        waiting.append(pathlib.Path(entry.path))
                    elif not entry.is_file():
                        raise Damaged(f"{entry.path} is damaged: it is no regular file")


@contextlib.contextmanager
def intact(path: pathlib.Path) -> Iterator[None]:
    """Where files of a record are read: what cannot be read is damaged, however a library puts it."""
    try:
        yield
    except (Damaged, MemoryError):
        raise
    except OSError as error:
        raise Damaged(f"{path} is damaged and cannot be read: {error.strerror or error}") from error
    except Exception as error:  # of a library that was handed anything at all, and may stumble anywhere
        raise Damaged(f"{path} is damaged and cannot be read: {error or type(error).__name__}") from error


def replace_json(path: pathlib.Path, content: Mapping[str, Any]) -> None:
    """Puts a table into a JSON file, at once and with its digest."""
    sealed = {**content, SEAL: seal(content)}
    replace(path, (json.dumps(sealed, indent=2, allow_nan=False) + "\n").encode())


def load_json(path: pathlib.Path, form: Form) -> dict[str, Any]:
    """The table of a JSON file.

    Parameters
    ----------
    form : what readers rely on.

    Raises
    ------
    Damaged
        If it is not what was written, or does not have that form.
    """
    return unsealed(path, table(path), form)


def table(path: pathlib.Path) -> dict[str, Any]:
    """The table of a JSON file as it stands there, its digest not yet looked at; raises Damaged if it is none."""
    text = content(path)
    try:
        found = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise Damaged(f"{path} is damaged: it is not JSON: {error}") from error
    if not isinstance(found, dict):
        raise Damaged(f"{path} is damaged: it holds no table")
    return found


def unsealed(path: pathlib.Path, found: dict[str, Any], form: Form) -> dict[str, Any]:
    """A table without its digest, if that is its own and the table has a form; raises Damaged if not."""
    plain = {key: value for key, value in found.items() if key != SEAL}
    try:
        own = seal(plain)
    except (ValueError, RecursionError):  # what JSON writes no number for, or nothing that was ever written
        own = None
    if found.get(SEAL) != own or own is None:
        raise Damaged(f"{path} is damaged: it is not what was written, by its digest")
    for fault in form(plain, ""):
        raise Damaged(f"{path} is damaged: {fault}")
    return plain


def seal(content: Mapping[str, Any]) -> str:
    """The digest of plain data, however it is laid out."""
    text = json.dumps(content, sort_keys=True, separators=(",", ":"), allow_nan=False)
    return hashlib.sha256(text.encode()).hexdigest()


def digest(path: pathlib.Path) -> str:
    """The sha256 of a file."""
    with opened(path) as file:
        return hashlib.file_digest(file, "sha256").hexdigest()  # pyright: ignore[reportArgumentType]
