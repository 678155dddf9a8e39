"""Appending to a run directory so that a crash at any moment leaves a valid prefix.

A chunk is written block by block, then its checkpoint, then one small file, `commit.json`, that says how many frames
count. Nothing exists before it is counted: arrays have their full length from the start, fill values where nothing was
written, and readers slice to the count. Time blocks of the arrays are the chunks of the run, so no commit ever rewrites
a block that an earlier one had counted.
"""

import dataclasses
import pathlib
import sys
from collections.abc import Mapping
from typing import Any

import numpy as np
import zarr
import zarr.storage

from .arrays import array, arrays, block_digest, check_blocks, checksum, put_coordinate, small_files
from .commits import read_checkpoint, read_commit, write_checkpoint, write_commit
from .files import Damaged, folder, remove, sync, sync_directory
from .names import ARRAYS, CHECKPOINTS, COMMIT
from .names import CONFIG as CONFIG
from .names import FORMAT as FORMAT
from .names import LOG as LOG
from .names import MANIFEST as MANIFEST

KEPT_CHECKPOINTS = 2
SAID = ("shape", "chunk_grid", "data_type", "fill_value", "dimension_names", "attributes")  # of an array, by zarr


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
        self._files: dict[str, str] = {}  # a digest of each small file among the arrays

    @property
    def _arrays(self) -> pathlib.Path:
        return self.directory / ARRAYS

    def create(self) -> None:
        """Makes empty arrays; what was there and not committed is removed."""
        remove(self._arrays)
        folder(self.directory / CHECKPOINTS)
        self._laid_out(self._arrays)
        self.frames, self._blocks, self._last, self._files = 0, [], None, small_files(self._arrays)

    def _laid_out(self, store: pathlib.Path | zarr.storage.MemoryStore) -> zarr.Group:
        """Empty arrays of this layout."""
        group = zarr.create_group(store, zarr_format=3, attributes=dict(self.layout.attributes))
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
        return group

    def reopen(self) -> tuple[dict[str, np.ndarray], dict[str, Any]]:
        """Goes back to the last commit; what was written after it will be written again. Returns checkpoint and notes.

        Where its checkpoint is lost, to the commit before that.

        Raises
        ------
        Damaged
            If both checkpoints, or a block of the arrays, do not have the content that was committed, or the arrays
            are not those of this layout.
        """
        for stray in self.directory.rglob("*.partial"):
            remove(stray)
        commit = read_commit(self.directory)
        if commit["chunk"] != self.layout.chunk or commit["frames"] > self.layout.frames:
            raise Damaged(
                f"{self.directory / COMMIT} is damaged: {commit['frames']} frames in chunks of {commit['chunk']}, of "
                f"a run of {self.layout.frames} in chunks of {self.layout.chunk}"
            )
        check_blocks(self.directory, commit)
        self._files = commit["files"]
        with arrays(self.directory, "r+") as group:
            self._check(group, commit["frames"])
        return self._restored(commit)

    def _restored(self, commit: dict[str, Any]) -> tuple[dict[str, np.ndarray], dict[str, Any]]:
        """The last checkpoint that is whole, and notes."""
        for one in filter(None, (commit, commit["before"])):
            blocks = commit["blocks"][: -(-one["frames"] // self.layout.chunk)]
            checkpoint = read_checkpoint(self.directory, one, blocks)
            if checkpoint is None:
                continue
            if one is not commit:
                lost = f"{self.directory / commit['checkpoint']} is damaged"
                print(f"particles: warning: {lost}; going on from frame {one['frames']}", file=sys.stderr)
            self._last = {name: one[name] for name in ("frames", "checkpoint", "sha256", "notes")}
            self.frames, self._blocks = one["frames"], blocks
            return checkpoint, one["notes"]
        raise Damaged(
            f"{self.directory / commit['checkpoint']} is damaged: its content is not what was committed, and no other "
            "checkpoint is left. The frames can be read; to compute further, run the config into another folder (--out)"
        )

    def _check(self, group: zarr.Group, frames: int) -> None:
        """Compares arrays with the layout; those that were cut off already, at `frames`, get back their length.

        Raises
        ------
        Damaged
            Naming the first array that is another one.
        """
        wanted = self._laid_out(zarr.storage.MemoryStore())
        for name, one in wanted.arrays():
            found = array(group, name)
            said, expected = found.metadata.to_dict(), one.metadata.to_dict()
            short = name in self._timed() and found.shape[self._axis(name) : self._axis(name) + 1] == (frames,)
            if short and found.shape != one.shape:
                said["shape"] = expected["shape"]
            for key in SAID:
                if repr(said.get(key)) != repr(expected[key]):  # nan, a fill value, does not equal itself
                    raise Damaged(
                        f"{self._arrays / name} is damaged: {key}: expected {expected[key]}, got {said.get(key)}"
                    )
            if name in self.layout.coordinates and not np.array_equal(np.asarray(found[...]), np.asarray(one[...])):
                raise Damaged(f"{self._arrays / name} is damaged: its values are not those of the sweep")
            if short and found.shape != one.shape:
                found.resize(one.shape)

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
            one, axis = array(group, name), self._axis(name)
            one[(slice(None),) * axis + (slice(self.frames, stop),)] = np.asarray(values, self.layout.dtype)
            self._sync(name, axis, one.ndim)
        self._blocks = [*self._blocks, block_digest(group, self.frames, stop)]
        self._commit(stop, checkpoint, notes)
        self.frames = stop

    def finish(self) -> dict[str, str]:
        """Cuts off the frames that never came, and returns a checksum for each array's content."""
        group = zarr.open_group(self._arrays, mode="r+")
        for name in self._timed():
            one, axis = array(group, name), self._axis(name)
            if one.shape[axis] != self.frames:
                one.resize((*one.shape[:axis], self.frames, *one.shape[axis + 1 :]))
        files = small_files(self._arrays)
        if files != self._files:  # another version of zarr than began the run writes them in its own way
            commit = read_commit(self.directory)
            write_commit(self.directory, self._last or {}, self.layout.chunk, self._blocks, commit["before"], files)
        return {name: checksum(array(group, name), self._axis(name), self.layout.chunk) for name in self._timed()}

    def _commit(self, frames: int, checkpoint: Mapping[str, np.ndarray], notes: Mapping[str, Any]) -> None:
        one = write_checkpoint(self.directory, frames, self._blocks, checkpoint, notes)
        write_commit(self.directory, one, self.layout.chunk, self._blocks, self._last, self._files)
        self._last = one
        for old in sorted((self.directory / CHECKPOINTS).glob("*.npz"))[:-KEPT_CHECKPOINTS]:
            remove(old)

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
