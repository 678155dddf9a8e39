"""A record that comes into being at once: not a run through depth, but a dataset that was worked out as a whole."""

import hashlib
import pathlib
from typing import TYPE_CHECKING, Any

import numpy as np
import zarr

from .arrays import put_coordinate, small_files
from .commits import NOTHING, write_commit
from .files import remove, sync_directory
from .names import ARRAYS

if TYPE_CHECKING:
    import xarray


def keep(directory: pathlib.Path, dataset: "xarray.Dataset") -> dict[str, str]:
    """Puts a dataset into a run directory; it is there whole or not at all. Returns a checksum for each variable."""
    scratch = directory / f"{ARRAYS}.partial"
    for path in (scratch, directory / ARRAYS):
        remove(path)
    group = zarr.create_group(scratch, zarr_format=3, attributes=_plain(dataset.attrs))
    for name in dataset.indexes:
        put_coordinate(group, str(name), np.asarray(dataset[name].values), _plain(dataset[name].attrs))
    for name, variable in dataset.drop_vars(list(dataset.indexes)).variables.items():
        values = np.asarray(variable.values)
        array = group.create_array(
            str(name),
            shape=values.shape,
            dtype=values.dtype,
            compressors=None,
            dimension_names=[str(dim) for dim in variable.dims],
            attributes=_plain(variable.attrs),
        )
        array[...] = values
    scratch.rename(directory / ARRAYS)
    sync_directory(directory)
    write_commit(directory, {**NOTHING, "frames": None}, None, [], None, small_files(directory / ARRAYS))
    return {str(name): digest(np.asarray(variable.values)) for name, variable in dataset.data_vars.items()}


def digest(values: np.ndarray) -> str:
    """The sha256 of an array's numbers."""
    return hashlib.sha256(np.ascontiguousarray(values).tobytes()).hexdigest()


def _plain(attributes: dict[Any, Any]) -> dict[str, Any]:
    return {str(key): value.item() if isinstance(value, np.generic) else value for key, value in attributes.items()}
