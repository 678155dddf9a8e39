"""Reading a run directory: finished, interrupted, or still being written."""

import functools
import math
import pathlib
from typing import TYPE_CHECKING, Any

import numpy as np

from .. import display
from . import whole
from .arrays import array, arrays, check_blocks, check_small_files, checksum, time_axis
from .commits import read_commit
from .files import Damaged, check_regular, content, digest, intact
from .lock import held
from .manifest import read_manifest
from .names import ARRAYS, CONFIG, MANIFEST

if TYPE_CHECKING:
    import xarray

LABELS = "labels"  # of a coordinate whose values are words


class Record:
    """A run on disk, as far as it is committed.

    Attributes
    ----------
    path : the run directory.
    manifest : status, versions, device, seed, segments, checksums.
    """

    def __init__(self, path: pathlib.Path, manifest: dict[str, Any]):
        self.path = path
        self.manifest = manifest

    @functools.cached_property
    def dataset(self) -> "xarray.Dataset":
        """Everything that was kept, with named dimensions; arrays are read from disk when they are used.

        Raises
        ------
        Damaged
            If nothing is committed yet, or the arrays are damaged.
        """
        import xarray  # it brings pandas, half a second

        frames = self._frames()
        if frames == 0:
            raise Damaged(f"{self.path} holds no committed frame yet")
        self._check_small_files()
        check_regular(self.path / ARRAYS)
        with intact(self.path / ARRAYS):
            stored = xarray.open_zarr(self.path / ARRAYS, chunks=None, consolidated=False)
            labels = {name: (name, c.attrs[LABELS], c.attrs) for name, c in stored.coords.items() if LABELS in c.attrs}
            if frames is not None:
                if stored.sizes["time"] < frames:
                    raise Damaged(f"{self.path} has {stored.sizes['time']} of {frames} committed frames: it is damaged")
                stored = stored.isel(time=slice(0, frames))
            stored = stored.assign_coords(labels)
        return stored.assign_attrs(status=self.status, **self._stops(stored))

    def _stops(self, stored: "xarray.Dataset") -> dict[str, Any]:
        """Where a stop condition ended members, if it did so with any; one of them for each place of the sweep."""
        members = self.manifest.get("members")
        if members is None:
            return {}
        count = math.prod(stored.sizes[dim] for dim in stored.coords if dim != "time")
        if len(members) != count:
            raise Damaged(f"{self.path / MANIFEST} is damaged: members: expected {count}, got {len(members)}")
        ended = [member["depth"] if member["status"] == "stopped" else None for member in members]
        return {"stops": ended} if any(depth is not None for depth in ended) else {}

    def _check_small_files(self) -> None:
        """Compares what is said of the arrays with what was written; a finished run may have lost what vouches for it.

        Raises
        ------
        Damaged
            Naming the file that has changed.
        """
        commit = read_commit(self.path)
        if commit["files"] or "checksums" not in self.manifest:
            check_small_files(self.path, commit)

    @property
    def status(self) -> str:
        """In one word: new, running, done, interrupted (by a signal or a kill), or failed."""
        status = self.manifest["status"]
        return "interrupted" if status == "running" and not held(self.path) else status

    def _frames(self) -> int | None:
        """How many frames count; None for all that there are, as in a finished run, which vouches for its arrays."""
        return None if "checksums" in self.manifest else read_commit(self.path)["frames"]

    def verify(self) -> None:
        """Compares the arrays with what was noted when they were written: at the end of a run, or at every commit.

        Raises
        ------
        Damaged
            Naming the first array that has changed, or the first frame.
        """
        if "checksums" in self.manifest:
            self._check_small_files()
            self._compare()
        elif (commit := read_commit(self.path))["blocks"]:
            check_blocks(self.path, commit)

    def _compare(self) -> None:
        with arrays(self.path) as group:
            for name, expected in self.manifest["checksums"].items():
                one = array(group, name)
                if "chunk" in self.manifest:
                    axis = time_axis(one)
                    found = None if axis is None else checksum(one, axis, self.manifest["chunk"])
                else:
                    found = whole.digest(np.asarray(one[...]))
                if found != expected:
                    raise Damaged(f"{self.path / ARRAYS} is damaged: `{name}` is not what the run left")

    @property
    def config(self) -> str:
        """The resolved config, as TOML.

        Raises
        ------
        Damaged
            If it was changed after the run began.
        """
        path = self.path / CONFIG
        text = content(path)
        if self.manifest.get("config", hashed := digest(path)) != hashed:
            raise Damaged(
                f"{path} was changed after the run began: it is not the config of this run. Put back what was there; "
                f"what stands there now is a run of its own: particles run {path} --out ANOTHER_FOLDER"
            )
        with intact(path):
            return text.decode()

    def sources(self) -> str:
        """The BibTeX entries of everything that took part in the run."""
        wanted = self.manifest.get("sources", ())
        entries = bibliography()
        return "\n\n".join(entries[key] for key in wanted if key in entries)

    def view(self, height: int = 860) -> Any:
        """The page of the run, as the last thing of a notebook's cell; its height is in pixels."""
        return display.view(self, height)

    def _repr_html_(self) -> str:
        return display.still(self)

    def __repr__(self) -> str:
        try:
            frames = self._frames()
            words = "whole" if frames is None else f"{frames} frames"
        except Damaged:
            words = "damaged"
        return f"Record({str(self.path)!r}, {self.status}, {words})"


def open_record(path: str | pathlib.Path) -> Record:
    """Opens a run directory.

    Raises
    ------
    ValueError
        If it is not one.
    Damaged
        If its manifest is damaged, or of another format.
    """
    path = pathlib.Path(path)
    if not (path / MANIFEST).exists():
        raise ValueError(f"{path} is not a run directory: it has no {MANIFEST}")
    return Record(path, read_manifest(path))


@functools.cache
def bibliography() -> dict[str, str]:
    """The entries of the package's bibliography by key."""
    text = (pathlib.Path(__file__).parent.parent / "references.bib").read_text()
    entries = ["@" + entry.strip() for entry in f"\n{text}".split("\n@")[1:]]
    return {entry.split("{", 1)[1].split(",", 1)[0]: entry for entry in entries}
