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
import sys
from collections.abc import Mapping
from typing import Any

import numpy as np
import zarr

from .files import Damaged, digest, intact, load_json, replace, replace_json, sync, sync_directory

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
        self._last: dict[str, Any] | None = None  # the commit before the next one

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
        self.frames, self._blocks, self._last = 0, [], None

    def reopen(self) -> tuple[dict[str, np.ndarray], dict[str, Any]]:
        """Goes back to the last commit; what was written after it will be written again. Returns checkpoint and notes.

        Where its checkpoint is lost, to the commit before that.

        Raises
        ------
        Damaged
            If both checkpoints, or a block of the arrays, do not have the content that was committed.
        """
        for stray in self.directory.rglob("*.partial"):
            stray.unlink()
        commit = read_commit(self.directory)
        check_blocks(self.directory, commit, self.layout.chunk)
        last = self._restorable(commit)
        self.frames, self._last = last["frames"], last
        self._blocks = commit["blocks"][: -(-self.frames // self.layout.chunk)]
        with np.load(self.directory / last["checkpoint"], allow_pickle=False) as archive:
            return {name: archive[name] for name in archive.files}, last["notes"]

    def _restorable(self, commit: dict[str, Any]) -> dict[str, Any]:
        """The last commit with a checkpoint that is whole."""
        before = commit.get("before")
        for one in filter(None, (commit, before)):
            path = self.directory / one["checkpoint"]
            if path.exists() and digest(path) == one["sha256"]:
                if one is before:
                    lost = f"{self.directory / commit['checkpoint']} is damaged"
                    print(f"particles: warning: {lost}; going on from frame {one['frames']}", file=sys.stderr)
                return {name: one[name] for name in ("frames", "checkpoint", "sha256", "notes")}
        raise Damaged(
            f"{self.directory / commit['checkpoint']} is damaged: its content is not what was committed, and no other "
            "checkpoint is left. The frames can be read; to compute further, run the config into another folder (--out)"
        )

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
        self._blocks = [*self._blocks, block_digest(group, self.frames, stop)]
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
        commit["notes"] = dict(notes)
        replace_json(self.directory / COMMIT, {**commit, "blocks": self._blocks, "before": self._last})
        self._last = commit
        for old in sorted((self.directory / CHECKPOINTS).glob("*.npz"))[:-KEPT_CHECKPOINTS]:
            old.unlink()

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


def check_blocks(directory: pathlib.Path, commit: Mapping[str, Any], chunk: int) -> None:
    """Compares the frames that are committed with their digests.

    Raises
    ------
    Damaged
        Naming the first frame of a block that has changed.
    """
    path = directory / ARRAYS
    with intact(path):
        group = zarr.open_group(path, mode="r")
        for k, block in enumerate(commit["blocks"]):
            first = k * chunk
            if block_digest(group, first, min(first + chunk, commit["frames"])) != block:
                raise Damaged(f"{path} is damaged: frames from {first} on are not what was committed")


def block_digest(group: zarr.Group, start: int, stop: int) -> str:
    """A short hash of some frames of everything, as they stand on disk."""
    total = hashlib.sha256()
    for name, array in sorted(group.arrays()):
        names = array.metadata.to_dict()["dimension_names"]
        if "time" in names:  # pyright: ignore
            axis = names.index("time")  # pyright: ignore
            part = array[(slice(None),) * axis + (slice(start, stop),)]
            total.update(f"{name} ".encode() + np.ascontiguousarray(part).tobytes())
    return total.hexdigest()[:16]


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
