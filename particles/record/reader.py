"""Reading a run directory: finished, interrupted, or still being written."""

import functools
import json
import pathlib
from typing import TYPE_CHECKING, Any

from .writer import ARRAYS, MANIFEST, read_commit

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
        ValueError
            If nothing is committed yet, or the arrays are damaged.
        """
        import xarray  # it brings pandas, half a second

        frames = read_commit(self.path)["frames"]
        if frames == 0:
            raise ValueError(f"{self.path} holds no committed frame yet")
        try:
            stored = xarray.open_zarr(self.path / ARRAYS, chunks=None, consolidated=False)
        except (OSError, ValueError, KeyError) as error:
            raise ValueError(f"{self.path / ARRAYS} cannot be read: {error}") from error
        if stored.sizes["time"] < frames:
            raise ValueError(f"{self.path} has {stored.sizes['time']} of {frames} committed frames: it is damaged")
        labels = {name: (name, c.attrs["labels"], c.attrs) for name, c in stored.coords.items() if "labels" in c.attrs}
        return stored.isel(time=slice(0, frames)).assign_coords(labels).assign_attrs(status=self.status)

    @property
    def status(self) -> str:
        """In one word: running, done, interrupted, or failed."""
        return self.manifest["status"]

    @property
    def config(self) -> str:
        """The resolved config, as TOML."""
        return (self.path / "config.toml").read_text()

    def sources(self) -> str:
        """The BibTeX entries of everything that took part in the run."""
        wanted = self.manifest["sources"]
        entries = bibliography()
        return "\n\n".join(entries[key] for key in wanted if key in entries)

    def __repr__(self) -> str:
        return f"Record({str(self.path)!r}, {self.status}, {read_commit(self.path)['frames']} frames)"


def open_record(path: str | pathlib.Path) -> Record:
    """Opens a run directory.

    Raises
    ------
    ValueError
        If it is not one, or its manifest is damaged.
    """
    path = pathlib.Path(path)
    manifest = path / MANIFEST
    if not manifest.exists():
        raise ValueError(f"{path} is not a run directory: it has no {MANIFEST}")
    try:
        return Record(path, json.loads(manifest.read_text()))
    except ValueError as error:
        raise ValueError(f"{manifest} is damaged: {error}") from error


@functools.cache
def bibliography() -> dict[str, str]:
    """The entries of the package's bibliography by key."""
    text = (pathlib.Path(__file__).parent.parent / "references.bib").read_text()
    entries = ["@" + entry.strip() for entry in f"\n{text}".split("\n@")[1:]]
    return {entry.split("{", 1)[1].split(",", 1)[0]: entry for entry in entries}
