"""A sweep in pieces, each made by one worker in a directory of its own.

The folder `parts` of a run directory is a queue that survives everything: it says which members form which piece, and
every piece is a small run directory, with a lock, a log and commits of its own. Whoever holds the lock of a piece makes
it; a worker that is killed lets go of its lock, and what it had committed stays. Nobody hands out work, so workers may
come and go, on any machine that sees the folder.
"""

import dataclasses
import pathlib
from collections.abc import Iterable, Sequence
from typing import Any

from ..record import Damaged, schema
from ..record.commits import read_commit
from ..record.files import folder, load_json, remove, replace_json
from ..record.lock import held
from ..record.manifest import read_manifest
from ..record.writer import MANIFEST

PARTS, CLEARED, LIST, STOP = "parts", "parts.done", "pieces.json", "stop"
MOST_PAIRS = 2**20  # of tokens in one piece: one member of n = 1024, or 16 of n = 256, keep a core busy
LEAST_PAIRS = 2**12  # below, starting the program costs more than its work: 64 members of n = 8, one of n = 64
SHARES = 4  # pieces for each worker, so that all end at about the same time
TRIES = 2  # tries at a piece that commit nothing before it is given up
FORM = schema.table({"pieces": schema.several(schema.several(schema.count))})


@dataclasses.dataclass(frozen=True)
class Piece:
    """Members of one shape, moved by one program and kept in one directory.

    Attributes
    ----------
    directory : of the piece, a run directory.
    members : their positions in the sweep.
    """

    directory: pathlib.Path
    members: tuple[int, ...]

    def manifest(self) -> dict[str, Any]:
        """What is written about the piece so far.

        Raises
        ------
        Damaged
            If it is not what was written, or is that of other members.
        """
        path = self.directory / MANIFEST
        if not path.exists():
            return {"status": "new", "segments": []}
        manifest = read_manifest(self.directory)
        if manifest.get("positions") != list(self.members):
            raise Damaged(
                f"{path} is damaged: positions: expected {list(self.members)}, got {manifest.get('positions')}"
            )
        ends = manifest.get("members", self.members)
        if len(ends) != len(self.members):
            raise Damaged(f"{path} is damaged: members: expected {len(self.members)}, got {len(ends)}")
        return manifest

    @property
    def finished(self) -> bool:
        """Whether all its members have come to an end, good or bad."""
        return self.manifest()["status"] in ("done", "failed")

    @property
    def held(self) -> bool:
        """Whether a worker is at it."""
        return held(self.directory)

    def frames(self) -> int:
        """How many frames are committed."""
        return read_commit(self.directory)["frames"] or 0

    def begun(self, session: int) -> int:
        """How many times it was taken up in a session of the run."""
        return len(self._segments(session))

    def given_up(self, session: int) -> bool:
        """Whether it was tried again in a session, and the last tries committed nothing."""
        frames = self.frames()
        return len([s for s in self._segments(session) if s["from_frame"] == frames]) >= TRIES

    def _segments(self, session: int) -> list[dict[str, Any]]:
        return [segment for segment in self.manifest()["segments"] if segment.get("session") == session]


def cut(groups: Iterable[tuple[Sequence[int], int]], workers: int) -> list[tuple[int, ...]]:
    """Groups of members of one shape in pieces, those with the most work first.

    Parameters
    ----------
    groups : for each its members' positions, and how many tokens each has.
    workers : that will share them.
    """
    groups, found = list(groups), []
    for members, tokens in groups:
        size = _size(len(members), tokens, -(-workers // len(groups)))
        found += [(tuple(members[k : k + size]), tokens) for k in range(0, len(members), size)]
    return [members for members, tokens in sorted(found, key=lambda one: -len(one[0]) * one[1] ** 2)]


def _size(count: int, tokens: int, workers: int) -> int:
    """How many of `count` members go into a piece, where some workers share them."""
    most, least = max(1, MOST_PAIRS // tokens**2), max(1, LEAST_PAIRS // tokens**2)
    fair = max(least, -(-count // (SHARES * workers)))
    return max(1, min(most, fair, -(-count // workers)))


def lay_out(run: pathlib.Path, members: Iterable[Sequence[int]]) -> None:
    """Writes down which members form which piece; from then on the run is made in pieces."""
    folder(run / PARTS)
    replace_json(run / PARTS / LIST, {"pieces": [list(piece) for piece in members]})


def laid_out(run: pathlib.Path) -> bool:
    """Whether a run is made in pieces."""
    return (run / PARTS / LIST).exists()


def pieces(run: pathlib.Path) -> list[Piece]:
    """The pieces of a run, in the order in which they are to be taken up.

    Raises
    ------
    ValueError
        If the run is not made in pieces.
    """
    if not laid_out(run):
        raise ValueError(
            f"{run} is not a sweep that is made in pieces: begin one with particles run CONFIG --workers 2"
        )
    listed = load_json(run / PARTS / LIST, FORM)["pieces"]
    named = sorted(member for piece in listed for member in piece)
    if not all(listed) or named != list(range(len(named))):
        raise Damaged(f"{run / PARTS / LIST} is damaged: its pieces are not all members, each of them once")
    return [Piece(run / PARTS / f"{k:06d}", tuple(members)) for k, members in enumerate(listed)]


def clear(run: pathlib.Path) -> None:
    """Removes the pieces of a run whose record is complete, all at once for whoever still looks for one."""
    if (run / PARTS).exists():
        remove(run / CLEARED)
        (run / PARTS).rename(run / CLEARED)
    remove(run / CLEARED)
