"""Appending to a run directory so that a crash at any moment leaves a valid prefix.

A chunk is written block by block, then its checkpoint, then one small file, `commit.json`, that says how many frames
count. Nothing exists before it is counted: arrays have their full length from the start, fill values where nothing was
written, and readers slice to the count. Time blocks of the arrays are the chunks of the run, so no commit ever rewrites
a block that an earlier one had counted.
"""

import dataclasses
import hashlib
import io
import pathlib
import shutil
from collections.abc import Mapping
from typing import Any

import numpy as np
import zarr

from .files import Damaged, digest, load_json, replace, replace_json, sync, sync_directory

ARRAYS, CHECKPOINTS, COMMIT = "data.zarr", "checkpoints", "commit.json"
CONFIG, MANIFEST, LOG = "config.toml", "manifest.json", "log.txt"
KEPT_CHECKPOINTS = 2
FORMAT = 1  # of a run directory


@dataclasses.dataclass(frozen=True)
class Variable:
    """One array of a record: its axes after the swept ones and time, and what a reader should know of it."""

    dims: tuple[str, ...]
    shape: tuple[int, ...]
    attributes: Mapping[str, Any]


@dataclasses.dataclass(frozen=True)
class Layout:
    """The shape of a record.

    Attributes
    ----------
    coordinates : for each swept dimension its name, values and attributes, outermost first.
    variables : the arrays by name.
    frames : how many there will be, the start included.
    chunk : frames to a commit.
    dtype : of every variable.
    attributes : of the whole record.
    """

    coordinates: Mapping[str, tuple[np.ndarray, Mapping[str, Any]]]
    variables: Mapping[str, Variable]
    frames: int
    chunk: int
    dtype: str
    attributes: Mapping[str, Any]

    @property
    def grid(self) -> tuple[int, ...]:
        """The number of values along each swept dimension."""
        return tuple(len(values) for values, _ in self.coordinates.values())

    def frame_bytes(self) -> int:
        """Bytes of one frame of everything."""
        entries = sum(int(np.prod(variable.shape)) for variable in self.variables.values())
        return int(np.prod(self.grid)) * entries * np.dtype(self.dtype).itemsize


class Writer:
    """The one hand that writes the arrays of a run directory; hold the lock while you have one."""

    def __init__(self, directory: pathlib.Path, layout: Layout):
        self.directory = directory
        self.layout = layout
        self.frames = 0
        self._blocks: list[str] = []  # a digest of each committed chunk

    @property
    def _arrays(self) -> pathlib.Path:
        return self.directory / ARRAYS

    def create(self) -> None:
        """Makes empty arrays; what was there and not committed is removed."""
        if self._arrays.exists():
            shutil.rmtree(self._arrays)
        (self.directory / CHECKPOINTS).mkdir(exist_ok=True)
        group = zarr.create_group(self._arrays, zarr_format=3, attributes=dict(self.layout.attributes))
        for name, (values, attributes) in self.layout.coordinates.items():
            put_coordinate(group, name, values, attributes)
        for name, variable in self._timed().items():
            grid = () if name == "time" else self.layout.grid
            names = () if name == "time" else tuple(self.layout.coordinates)
            group.create_array(
                name,
                shape=(*grid, self.layout.frames, *variable.shape),
                chunks=(*(grid or ()), self.layout.chunk, *(max(size, 1) for size in variable.shape)),
                dtype=self.layout.dtype,
                fill_value=float("nan"),
                compressors=None,
                dimension_names=(*names, "time", *variable.dims),
                attributes=dict(variable.attributes),
            )
        self.frames, self._blocks = 0, []

    def reopen(self) -> tuple[dict[str, np.ndarray], dict[str, Any]]:
        """Goes back to the last commit; what was written after it will be written again. Returns checkpoint and notes.

        Raises
        ------
        Damaged
            If the checkpoint, or a block of the arrays, does not have the content that was committed.
        """
        for stray in self.directory.rglob("*.partial"):
            stray.unlink()
        commit = read_commit(self.directory)
        self.frames, self._blocks = commit["frames"], commit["blocks"]
        path = self.directory / commit["checkpoint"]
        if not path.exists() or digest(path) != commit["sha256"]:
            raise Damaged(f"{path} is damaged: its content is not what was committed")
        for k, block in enumerate(self._blocks):
            first = k * self.layout.chunk
            if self._digest(first, min(first + self.layout.chunk, self.frames)) != block:
                raise Damaged(f"{self._arrays} is damaged: frames from {first} on are not what was committed")
        with np.load(path, allow_pickle=False) as archive:
            return {name: archive[name] for name in archive.files}, commit["notes"]

    def append(
        self,
        times: np.ndarray,
        frames: Mapping[str, np.ndarray],
        checkpoint: Mapping[str, np.ndarray],
        notes: Mapping[str, Any],
    ) -> None:
        """Writes a chunk of frames and commits it.

        Parameters
        ----------
        times : depths of the frames, `chunk` of them, or fewer in the last append of all.
        frames : every variable, `[*grid time ...]`.
        checkpoint : what the run needs to go on from here.
        notes : what else must be known then, as JSON.
        """
        if self.frames % self.layout.chunk:
            raise ValueError(f"a chunk shorter than {self.layout.chunk} frames was the last that could be appended")
        group = zarr.open_group(self._arrays, mode="r+")
        stop = self.frames + len(times)
        for name, values in {"time": times, **frames}.items():
            array, axis = _array(group, name), self._axis(name)
            array[(slice(None),) * axis + (slice(self.frames, stop),)] = np.asarray(values, self.layout.dtype)
            self._sync(name, axis, array.ndim)
        self._blocks = [*self._blocks, self._digest(self.frames, stop)]
        self._commit(stop, checkpoint, notes)
        self.frames = stop

    def finish(self) -> dict[str, str]:
        """Cuts off the frames that never came, and returns a checksum for each array's content."""
        group = zarr.open_group(self._arrays, mode="r+")
        for name in self._timed():
            array, axis = _array(group, name), self._axis(name)
            if array.shape[axis] != self.frames:
                array.resize((*array.shape[:axis], self.frames, *array.shape[axis + 1 :]))
        return {name: checksum(_array(group, name), self._axis(name), self.layout.chunk) for name in self._timed()}

    def _commit(self, frames: int, checkpoint: Mapping[str, np.ndarray], notes: Mapping[str, Any]) -> None:
        buffer = io.BytesIO()
        np.savez(buffer, **checkpoint)  # pyright: ignore[reportArgumentType]
        relative = pathlib.Path(CHECKPOINTS) / f"{frames:09d}.npz"
        replace(self.directory / relative, buffer.getvalue())
        commit = {"frames": frames, "checkpoint": relative.as_posix(), "sha256": digest(self.directory / relative)}
        replace_json(self.directory / COMMIT, {**commit, "blocks": self._blocks, "notes": dict(notes)})
        for old in sorted((self.directory / CHECKPOINTS).glob("*.npz"))[:-KEPT_CHECKPOINTS]:
            old.unlink()

    def _digest(self, start: int, stop: int) -> str:
        """A short hash of some frames of everything, as they stand on disk."""
        group, total = zarr.open_group(self._arrays, mode="r"), hashlib.sha256()
        for name in self._timed():
            part = _array(group, name)[(slice(None),) * self._axis(name) + (slice(start, stop),)]
            total.update(np.ascontiguousarray(part).tobytes())
        return total.hexdigest()[:16]

    def _timed(self) -> dict[str, Variable]:
        depth = Variable((), (), {"long_name": "depth", "symbol": "$t$", "units": "1"})
        return {"time": depth, **self.layout.variables}

    def _axis(self, name: str) -> int:
        return 0 if name == "time" else len(self.layout.coordinates)

    def _sync(self, name: str, axis: int, ndim: int) -> None:
        block = [0] * ndim
        block[axis] = self.frames // self.layout.chunk
        path = self._arrays / name / "c" / "/".join(map(str, block))
        sync(path)
        if path.parent.exists():
            sync_directory(path.parent)


def read_commit(directory: pathlib.Path) -> dict[str, Any]:
    """What counts in a run directory; nothing, if it was never committed to."""
    path = directory / COMMIT
    if not path.exists():
        return {"frames": 0, "checkpoint": None, "sha256": None, "blocks": [], "notes": {}}
    return load_json(path, ("frames", "checkpoint", "sha256", "blocks", "notes"))


def checksum(array: zarr.Array, axis: int, chunk: int) -> str:
    """The sha256 of an array's numbers in order of time, chunk by chunk: equal if and only if the bits are."""
    total = hashlib.sha256()
    for start in range(0, array.shape[axis], chunk):
        part = np.asarray(array[(slice(None),) * axis + (slice(start, start + chunk),)])
        total.update(np.ascontiguousarray(np.moveaxis(part, axis, 0)).tobytes())
    return total.hexdigest()


def put_coordinate(group: zarr.Group, name: str, values: np.ndarray, attributes: Mapping[str, Any]) -> None:
    """Writes a swept coordinate; words become positions with their `labels` beside them, since zarr v3 has no words."""
    if values.dtype.kind == "U":
        attributes, values = {**attributes, "labels": values.tolist()}, np.arange(len(values))
    array = group.create_array(
        name, shape=values.shape, dtype=values.dtype, dimension_names=(name,), attributes=dict(attributes)
    )
    array[...] = values


def _array(group: zarr.Group, name: str) -> zarr.Array:
    array = group.get(name)
    if not isinstance(array, zarr.Array):
        raise Damaged(f"{group.store_path} is damaged: it has no array `{name}`")
    return array
