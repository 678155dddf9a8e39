"""The arrays of a run directory as they stand on disk: their digests, and the small files that say what they are."""

import contextlib
import hashlib
import json
import pathlib
from collections.abc import Iterator, Mapping
from typing import Any, Literal

import numpy as np
import zarr

from .files import Damaged, check_regular, content, intact
from .names import ARRAYS, COMMIT

WORDS = "zarr.json"


@contextlib.contextmanager
def arrays(directory: pathlib.Path, mode: Literal["r", "r+"] = "r") -> Iterator[zarr.Group]:
    """The arrays of a run directory; what cannot be read of them is damaged."""
    path = directory / ARRAYS
    check_regular(path)
    with intact(path):
        yield zarr.open_group(path, mode=mode)


def array(group: zarr.Group, name: str) -> zarr.Array:
    """An array of a group."""
    found = group.get(name)
    if not isinstance(found, zarr.Array):
        raise Damaged(f"{group.store_path} is damaged: it has no array `{name}`")
    return found


def time_axis(one: zarr.Array) -> int | None:
    """Which axis of an array is time; None where it has none."""
    names = one.metadata.to_dict().get("dimension_names") or ()
    return names.index("time") if "time" in names else None  # pyright: ignore


def check_blocks(directory: pathlib.Path, commit: Mapping[str, Any]) -> None:
    """Compares the frames that are committed with their digests, and the small files with theirs.

    Raises
    ------
    Damaged
        Naming the file, or the first frame of a block, that has changed.
    """
    check_small_files(directory, commit)
    with arrays(directory) as group:
        for k, block in enumerate(commit["blocks"]):
            first = k * commit["chunk"]
            if block_digest(group, first, min(first + commit["chunk"], commit["frames"])) != block:
                raise Damaged(f"{directory / ARRAYS} is damaged: frames from {first} on are not what was committed")


def check_small_files(directory: pathlib.Path, commit: Mapping[str, Any]) -> None:
    """Compares what is said of the arrays, and swept coordinates, with their digests.

    Raises
    ------
    Damaged
        Naming the file that has changed, or is none of the record's.
    """
    path, expected = directory / ARRAYS, commit["files"]
    check_regular(path)
    found = small_files(path)
    for name in sorted({*expected, *found}):
        if expected.get(name) != found.get(name):
            fault = "is gone and cannot be read" if name not in found else "is not what was written"
            raise Damaged(f"{path} is damaged: {name} {fault}, by {COMMIT}")


def small_files(path: pathlib.Path) -> dict[str, str]:
    """A digest of each small file among arrays, by its place: what is said of each, and coordinates.

    How many frames there are is left out: that grows, and is what a commit says.
    """
    found = {}
    for words in sorted([*path.glob(WORDS), *path.glob(f"*/{WORDS}")]):
        text, name = content(words), words.parent.name
        said = _said(text)
        found[words.relative_to(path).as_posix()] = _hash(text if said is None else json.dumps(said, sort_keys=True))
        if said is not None and said.get("dimension_names") == [name] and name != "time":
            blocks = sorted(block for block in words.parent.rglob("*") if block.is_file() and block != words)
            found |= {block.relative_to(path).as_posix(): _hash(content(block)) for block in blocks}
    return found


def _said(text: bytes) -> dict[str, Any] | None:
    """What is said of an array, without the number of frames; None for what is no table."""
    try:
        said = json.loads(text)
    except (ValueError, RecursionError):
        return None
    if not isinstance(said, dict):
        return None
    dims, shape = said.get("dimension_names"), said.get("shape")
    if isinstance(dims, list) and isinstance(shape, list) and len(dims) == len(shape):
        said["shape"] = [None if dim == "time" else size for dim, size in zip(dims, shape, strict=True)]
    return said


def _hash(text: bytes | str) -> str:
    return hashlib.sha256(text.encode() if isinstance(text, str) else text).hexdigest()[:16]


def block_digest(group: zarr.Group, start: int, stop: int) -> str:
    """A short hash of some frames of everything, as they stand on disk."""
    total = hashlib.sha256()
    for name, one in sorted(group.arrays()):
        axis = time_axis(one)
        if axis is not None:
            part = one[(slice(None),) * axis + (slice(start, stop),)]
            total.update(f"{name} ".encode() + np.ascontiguousarray(part).tobytes())
    return total.hexdigest()[:16]


def checksum(one: zarr.Array, axis: int, chunk: int) -> str:
    """The sha256 of an array's numbers in order of time, chunk by chunk: equal if and only if the bits are."""
    total = hashlib.sha256()
    for start in range(0, one.shape[axis], chunk):
        part = np.asarray(one[(slice(None),) * axis + (slice(start, start + chunk),)])
        total.update(np.ascontiguousarray(np.moveaxis(part, axis, 0)).tobytes())
    return total.hexdigest()


def put_coordinate(group: zarr.Group, name: str, values: np.ndarray, attributes: Mapping[str, Any]) -> None:
    """Writes a swept coordinate; words become positions with their `labels` beside them, since zarr v3 has no words."""
    if values.dtype.kind == "U":
        attributes, values = {**attributes, "labels": values.tolist()}, np.arange(len(values))
    one = group.create_array(
        name, shape=values.shape, dtype=values.dtype, dimension_names=(name,), attributes=dict(attributes)
    )
    one[...] = values
