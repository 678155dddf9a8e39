"""One record of a sweep from its pieces: the same dimensions and numbers as if one process had moved all members."""

import pathlib
from collections.abc import Mapping, Sequence
from typing import Any

import jax.numpy as jnp
import numpy as np

from ..integration import Plan, Status
from ..record import Damaged, Layout, Record, Writer, open_record
from ..record.writer import COMMIT
from .grid import place
from .loop import reached
from .pieces import Piece


def assemble(
    run: pathlib.Path,
    identity: str,
    pieces: Sequence[Piece],
    ends: Sequence[Mapping[str, Any]],
    plan: Plan,
    layout: Layout,
) -> tuple[int, dict[str, str]]:
    """Writes the record of a run whose pieces are finished; how many frames it has, and a checksum for each array.

    Pieces must be of the run of that identity. The depths are those to which some member came, by what is known of
    their `ends`. What an earlier assembly left is written over.

    Raises
    ------
    Damaged
        If a piece is not what its worker left.
    OSError
        If the disk is full; the pieces are still there.
    """
    records = [open_record(piece.directory) for piece in pieces]
    for record in records:
        if record.manifest["identity"] != identity:
            raise Damaged(f"{record.path} is damaged: it is a piece of another run")
        record.verify()
    frames = max(record.dataset.sizes["time"] for record in records)
    (run / COMMIT).unlink(missing_ok=True)
    writer = Writer(run, layout)
    writer.create()
    for first in range(0, frames, layout.chunk):
        stop = min(first + layout.chunk, frames)
        times = np.asarray(plan.depths(first, stop - 1, jnp.dtype(layout.dtype)))
        if stop == frames and all(end["status"] != Status.done.name for end in ends):
            parts = [{name: _part(record, name, first, stop) for name in layout.variables} for record in records]
            times = reached(times, max(end["depth"] for end in ends), parts)
        writer.append(times, _chunk(pieces, records, layout, first, first + len(times)), {}, {})
    return writer.frames, writer.finish()


def _chunk(pieces: Sequence[Piece], records: Sequence[Record], layout: Layout, first: int, stop: int) -> dict[str, Any]:
    """Some frames of all members, in the shape of the record."""
    frames = {}
    for name, variable in layout.variables.items():
        values = [
            (piece.members, _part(record, name, first, stop)) for piece, record in zip(pieces, records, strict=True)
        ]
        frames[name] = place(layout.grid, values, (stop - first, *variable.shape))
    return frames


def _part(record: Record, name: str, first: int, stop: int) -> np.ndarray:
    return record.dataset[name].isel(time=slice(first, stop)).values
