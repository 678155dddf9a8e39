"""Reading a run directory: finished, interrupted, or still being written."""

import functools
import pathlib
from typing import TYPE_CHECKING, Any

import numpy as np

from .. import display
from . import whole
from .files import Damaged, intact, load_json
from .lock import held
from .writer import ARRAYS, FORMAT, MANIFEST, check_blocks, checksum, read_commit

if TYPE_CHECKING:
    import xarray


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
        try:
            stored = xarray.open_zarr(self.path / ARRAYS, chunks=None, consolidated=False)
        except (OSError, ValueError, KeyError) as error:
            raise Damaged(f"{self.path / ARRAYS} cannot be read: {error}") from error
        labels = {name: (name, c.attrs["labels"], c.attrs) for name, c in stored.coords.items() if "labels" in c.attrs}
        if frames is not None:
            if stored.sizes["time"] < frames:
                raise Damaged(f"{self.path} has {stored.sizes['time']} of {frames} committed frames: it is damaged")
            stored = stored.isel(time=slice(0, frames))
        ended = [m["depth"] if m["status"] == "stopped" else None for m in self.manifest.get("members", ())]
        stops = {"stops": ended} if any(depth is not None for depth in ended) else {}
        return stored.assign_coords(labels).assign_attrs(status=self.status, **stops)

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
            with intact(self.path / ARRAYS):
                self._compare()
        elif (commit := read_commit(self.path))["blocks"]:
            check_blocks(self.path, commit, self.manifest["chunk"])

    def _compare(self) -> None:
        import zarr

        group = zarr.open_group(self.path / ARRAYS, mode="r")
        for name, expected in self.manifest["checksums"].items():
            array = group.get(name)
            if not isinstance(array, zarr.Array):
                raise Damaged(f"{self.path / ARRAYS} is damaged: it has no array `{name}`")
            if "chunk" in self.manifest:
                axis = array.metadata.to_dict()["dimension_names"].index("time")  # pyright: ignore
                found = checksum(array, axis, self.manifest["chunk"])
            else:
                found = whole.digest(np.asarray(array[...]))
            if found != expected:
                raise Damaged(f"{self.path / ARRAYS} is damaged: `{name}` is not what the run left")

    @property
    def config(self) -> str:
        """The resolved config, as TOML."""
        return (self.path / "config.toml").read_text()

    def sources(self) -> str:
        """The BibTeX entries of everything that took part in the run."""
        wanted = self.manifest["sources"]
        entries = bibliography()
        return "\n\n".join(entries[key] for key in wanted if key in entries)

    def view(self, height: int = 860) -> Any:
        """The page of the run, as the last thing of a notebook's cell; its height is in pixels."""
        return display.view(self, height)

    def _repr_html_(self) -> str:
        return display.still(self)

    def __repr__(self) -> str:
        frames = self._frames()
        return f"Record({str(self.path)!r}, {self.status}, {'whole' if frames is None else f'{frames} frames'})"


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
    manifest = load_json(path / MANIFEST, ("format", "status", "identity", "segments"))
    if manifest["format"] != FORMAT:
        raise Damaged(f"{path / MANIFEST} has format {manifest['format']}; this version reads {FORMAT}")
    return Record(path, manifest)


@functools.cache
def bibliography() -> dict[str, str]:
    """The entries of the package's bibliography by key."""
    text = (pathlib.Path(__file__).parent.parent / "references.bib").read_text()
    entries = ["@" + entry.strip() for entry in f"\n{text}".split("\n@")[1:]]
    return {entry.split("{", 1)[1].split(",", 1)[0]: entry for entry in entries}
