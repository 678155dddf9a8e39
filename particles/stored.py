"""Files that a noun names: read once, through one gate, and known from then on by what they held.

A config may come from anybody, so what it names is looked at with care: while one is built, `confined` holds every path
within a folder, wherever it stands, in a sweep, an override or a nested noun. A file is a regular file of a limited
size, and nothing in it is ever executed. Its bytes belong to the noun that named it: a file that is rewritten later
changes neither the numbers of that noun nor the identity of a run.
"""

import contextlib
import contextvars
import errno
import functools
import hashlib
import io
import math
import os
import pathlib
import re
import stat
import zipfile
from collections.abc import Iterator

import numpy as np

LIMIT = 4 * 2**30  # bytes a file may hold, and unpack to
READABLE = (".npy", ".npz", ".csv")
KEPT = re.compile(r"given-([0-9a-f]{10})\.[a-z]+")
PACKED = {zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED}

_folder: contextvars.ContextVar[pathlib.Path | None] = contextvars.ContextVar("folder", default=None)


class DataError(ValueError):
    """The data handed in, not the way it was asked for, is at fault."""


@contextlib.contextmanager
def confined(folder: pathlib.Path) -> Iterator[None]:
    """Paths are relative to a folder and stay within it, links followed, as long as this is entered."""
    token = _folder.set(folder.resolve())
    try:
        yield
    finally:
        _folder.reset(token)


class Stored:
    """The bytes of a file, as they were when it was read. Equal to another of the same bytes.

    Attributes
    ----------
    path : where the file was.
    content : its bytes.
    """

    def __init__(self, path: pathlib.Path, content: bytes):
        self.path, self.content = path, content
        self._arrays: dict[str | None, np.ndarray] = {}

    @classmethod
    def read(cls, path: "str | pathlib.Path | Stored") -> "Stored":
        """Read a file; one that has been read is returned.

        Raises
        ------
        ValueError
            If the path leaves the folder that a config is confined to.
        DataError
            If there is no such file, or it is not a regular one, or too large.
        """
        if isinstance(path, Stored):
            return path
        if not isinstance(path, str | pathlib.Path):
            raise ValueError(f"`path` is the path of a file; got {path!r}")
        place = _placed(path)
        content = _bytes(place)
        stored = cls(place, content)
        kept = KEPT.fullmatch(place.name)
        if kept and not stored.digest.startswith(kept.group(1)):
            raise DataError(f"{place} is damaged: its content is not what was kept under this name")
        return stored

    @classmethod
    def of(cls, array: np.ndarray) -> "Stored":
        """Numbers at hand as the file that would hold them."""
        buffer = io.BytesIO()
        np.save(buffer, np.asarray(array), allow_pickle=False)
        stored = cls(pathlib.Path("array.npy"), buffer.getvalue())
        return cls(pathlib.Path(stored.name), stored.content)

    @functools.cached_property
    def digest(self) -> str:
        """The sha256 of the bytes."""
        return hashlib.sha256(self.content).hexdigest()

    @property
    def name(self) -> str:
        """A name for the file that tells its content: under it a run directory keeps it."""
        return f"given-{self.digest[:10]}{self.path.suffix}"

    def array(self, name: str | None = None) -> np.ndarray:
        """The numbers in a `.npy`, `.npz` or `.csv` file.

        Parameters
        ----------
        name : which array of an `.npz` file; may be left out if there is one.

        Raises
        ------
        DataError
            If they cannot be read, with the reason.
        """
        if name not in self._arrays:
            self._arrays[name] = self._numbers(name)
        return self._arrays[name]

    def _numbers(self, name: str | None) -> np.ndarray:
        suffix = self.path.suffix
        if suffix not in READABLE:
            raise DataError(f"{self.path}: expected a file ending in {', '.join(READABLE)}")
        try:
            if suffix == ".csv":
                return np.loadtxt(io.StringIO(self.content.decode()), delimiter=",", ndmin=2)
            return _npy(self.content) if suffix == ".npy" else _member(self.content, name)
        except Exception as error:  # whatever a library says of bytes that anybody may have written
            raise DataError(f"{self.path}: cannot be read as an array of numbers: {_plainly(error)}") from error

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Stored) and self.path.suffix == other.path.suffix and self.content == other.content

    def __hash__(self) -> int:
        return hash(self.digest)

    def __repr__(self) -> str:
        return repr(str(self.path))


def _placed(path: str | pathlib.Path) -> pathlib.Path:
    """Where a path leads: within the folder that a config is confined to, if one is being built."""
    folder = _folder.get()
    if folder is None:
        return pathlib.Path(path)
    try:
        place = (folder / path).resolve()
        inside = place.is_relative_to(folder)
    except (OSError, RuntimeError, ValueError) as error:  # links in a circle, a zero byte
        raise ValueError(f"path: {str(path)!r} leads nowhere: {error}") from error
    if not inside:
        raise ValueError(f"path: {str(path)!r} lies outside the config's folder; put the file beside the config")
    return place


def _bytes(path: pathlib.Path) -> bytes:
    """The content of a regular file of a size that can be read."""
    try:
        descriptor = os.open(path, os.O_RDONLY | getattr(os, "O_NONBLOCK", 0))  # a pipe without a writer would wait
        with open(descriptor, "rb") as file:
            about = os.fstat(descriptor)
            if not stat.S_ISREG(about.st_mode):
                raise DataError(f"{path}: is not a regular file")
            if about.st_size > LIMIT:
                raise DataError(f"{path}: larger than {LIMIT / 2**30:.0f} GiB")
            return file.read()
    except OSError as error:
        raise DataError(f"{path}: cannot be read: {error.strerror or errno.errorcode.get(error.errno or 0)}") from error
    except ValueError as error:
        if isinstance(error, DataError):
            raise
        raise DataError(f"{path!r}: cannot be read: {error}") from error


def _npy(content: bytes) -> np.ndarray:
    """The array of a `.npy` file, its header held against the bytes there are before anything is made of it."""
    file = io.BytesIO(content)
    version = np.lib.format.read_magic(file)
    headers = {(1, 0): np.lib.format.read_array_header_1_0, (2, 0): np.lib.format.read_array_header_2_0}
    if version not in headers:
        raise ValueError(f"format {version[0]}.{version[1]} is not known; save it with numpy.save")
    shape, fortran, dtype = headers[version](file)
    if dtype.hasobject:
        raise ValueError("it holds objects, or no array")
    if not all(type(size) is int and size >= 0 for size in shape):
        raise ValueError(f"its header says shape {shape}")
    wanted, there = math.prod(shape) * dtype.itemsize, len(content) - file.tell()
    if wanted != there:
        raise ValueError(f"its header says shape {shape} of {dtype}, {wanted} bytes, and {there} bytes follow")
    flat = np.frombuffer(content, dtype, count=math.prod(shape), offset=file.tell())
    return flat.reshape(shape, order="F" if fortran else "C")


def _member(content: bytes, name: str | None) -> np.ndarray:
    """One array of an `.npz` file."""
    with zipfile.ZipFile(io.BytesIO(content)) as archive:
        members = {member.filename.removesuffix(".npy"): member for member in archive.infolist()}
        chosen = name if name is not None else next(iter(members)) if len(members) == 1 else None
        if chosen not in members:
            raise ValueError(f"it holds the arrays {list(members)}; say which with `name` (got {name!r})")
        member = members[chosen]
        if member.file_size > LIMIT:
            raise ValueError(f"{chosen!r} unpacks to {member.file_size / 2**30:.1f} GiB, more than {LIMIT / 2**30:.0f}")
        if member.flag_bits & 1 or member.compress_type not in PACKED:
            raise ValueError(f"{chosen!r} is encrypted or packed in a way that numpy.savez does not know")
        return _npy(archive.read(member))


def _plainly(error: Exception) -> str:
    """The words of a reader of files, without its advice to trust the file."""
    words = str(error) or type(error).__name__
    return "it holds objects, or no array" if "pickle" in words else words.partition("\n")[0]
