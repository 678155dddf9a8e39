"""The commit of a run directory: how many frames count, and what vouches for them.

A commit is a small file beside the arrays, and a checkpoint. Both say how many frames there are, by which blocks, and
what was noted; where the two do not agree, one of them is damaged.
"""

import hashlib
import json
import pathlib
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from ..ranks import packed, unpacked
from . import schema
from .files import Damaged, content, digest, intact, load_json, replace, replace_json
from .names import CHECKPOINTS, COMMIT
from .schema import count, or_none, several, text

NOTES = schema.table({}, {"failures": several(text)})
ONE = {"frames": or_none(count), "checkpoint": or_none(text), "sha256": or_none(text), "notes": NOTES}
FORM = schema.table(
    {
        **ONE,
        "chunk": or_none(count),
        "blocks": several(text),
        "before": or_none(schema.table(ONE)),
        "files": schema.table({}, others=text),
    }
)
NOTHING: Mapping[str, Any] = {
    "frames": 0,
    "checkpoint": None,
    "sha256": None,
    "notes": {},
    "chunk": None,
    "blocks": [],
    "before": None,
    "files": {},
}


def read_commit(directory: pathlib.Path) -> dict[str, Any]:
    """What counts in a run directory; nothing, if it was never committed to.

    Raises
    ------
    Damaged
        If it is not what was written, or does not agree with itself.
    """
    path = directory / COMMIT
    if not path.exists():
        return dict(NOTHING)
    commit = load_json(path, FORM)
    for fault in _disagreement(commit):
        raise Damaged(f"{path} is damaged: {fault}")
    return commit


def _disagreement(commit: Mapping[str, Any]) -> list[str]:
    frames, chunk, before = commit["frames"], commit["chunk"], commit["before"]
    if frames is None:  # a dataset that came into being at once
        return []
    if not chunk or len(commit["blocks"]) != -(-frames // chunk):
        return [f"{frames} frames in chunks of {chunk} are not {len(commit['blocks'])} blocks"]
    if before is not None and (before["frames"] is None or before["frames"] >= frames or before["frames"] % chunk):
        return [f"before: frames: a commit of {frames} frames does not follow one of {before['frames']}"]
    for one in filter(None, (commit, before)):
        if one["checkpoint"] != place(one["frames"]):
            return [f"the checkpoint of {one['frames']} frames is not {one['checkpoint']}"]
    return []


def place(frames: int) -> str:
    """Where the checkpoint of a commit lies."""
    return f"{CHECKPOINTS}/{frames:09d}.npz"


def write_checkpoint(
    directory: pathlib.Path,
    frames: int,
    blocks: Sequence[str],
    arrays: Mapping[str, np.ndarray],
    notes: Mapping[str, Any],
) -> dict[str, Any]:
    """Puts a checkpoint in place; what a commit says of it."""
    path = directory / place(frames)
    replace(path, packed(arrays, _identity(frames, blocks, notes)))
    return {"frames": frames, "checkpoint": place(frames), "sha256": digest(path), "notes": dict(notes)}


def write_commit(
    directory: pathlib.Path,
    one: Mapping[str, Any],
    chunk: int | None,
    blocks: Sequence[str],
    before: Mapping[str, Any] | None,
    files: Mapping[str, str],
) -> None:
    """Makes frames count; `files` are digests of the small files among the arrays."""
    rest = {"chunk": chunk, "blocks": list(blocks), "before": before, "files": dict(files)}
    replace_json(directory / COMMIT, {**one, **rest})


class Checkpoint(dict[str, np.ndarray]):
    """The arrays of a checkpoint by name; one that is not there is damage.

    Parameters
    ----------
    path : of the file.
    arrays : that it holds.
    """

    def __init__(self, path: pathlib.Path, arrays: Mapping[str, np.ndarray]):
        super().__init__(arrays)
        self.path = path

    def __missing__(self, name: str) -> np.ndarray:
        raise Damaged(f"{self.path} is damaged: it has no array `{name}`")


def read_checkpoint(directory: pathlib.Path, one: Mapping[str, Any], blocks: Sequence[str]) -> Checkpoint | None:
    """The checkpoint of a commit whose blocks are known; None if it is lost: not there, or not what was committed.

    Raises
    ------
    Damaged
        If the two do not agree.
    """
    path = directory / one["checkpoint"]
    try:
        if not path.exists() or digest(path) != one["sha256"]:
            return None
    except OSError:
        return None
    with intact(path):
        arrays, said = unpacked(content(path, path.stat().st_size))
    expected = _identity(one["frames"], blocks, one["notes"])
    for name in expected:
        if said.get(name) != expected[name]:
            shown = [json.dumps(there.get(name)) for there in (expected, said)]
            raise Damaged(
                f"{directory / COMMIT} and {one['checkpoint']} do not agree: {name} {shown[0]} and {shown[1]}. "
                "One of them is damaged"
            )
    return Checkpoint(path, arrays or {})


def _identity(frames: int, blocks: Sequence[str], notes: Mapping[str, Any]) -> dict[str, Any]:
    """What a commit and its checkpoint both say."""
    whole = hashlib.sha256(" ".join(blocks).encode()).hexdigest()
    return {"frames": frames, "blocks": whole, "notes": dict(notes)}
