"""A worker: takes one piece of a sweep after another, until none is left that nobody else is making."""

import contextlib
import os
import pathlib
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from ..integration import Failed
from ..record import Layout, Locked
from ..record.files import folder
from ..record.lock import writing
from .grid import Member
from .interruption import Flag, listening
from .journal import Journal
from .keeping import AbstractKeeping, Keeping
from .loop import Interrupted, Loop
from .pieces import PARTS, STOP, Piece, laid_out, pieces

CONFIG = "# a piece of the sweep two folders up, whose config is there\n"


class Worker:
    """One process's part in a sweep that is made in pieces.

    Parameters
    ----------
    run : the run directory of the whole sweep.
    facts : what is true of the run, `identity` among it.
    prepared : the members at some positions, and the layout of their record.
    loop : the run loop of such members in such a layout, kept as is given, at their positions.

    Raises
    ------
    ValueError
        If the run directory holds another run, or this process has other code than the one that began it.
    """

    def __init__(
        self,
        run: pathlib.Path,
        facts: Mapping[str, Any],
        prepared: Callable[[tuple[int, ...]], tuple[list[Member], Layout]],
        loop: Callable[[list[Member], Layout, AbstractKeeping, Sequence[int]], Loop],
    ):
        self.pieces = pieces(run)
        self.run, self.facts = run, facts
        self.prepared, self.loop = prepared, loop
        self.session = session(Journal(run, facts, str).manifest)  # refuses a run of another identity

    def work(self, parent: int | None = None) -> None:
        """Makes pieces until there is none left to take.

        A member that fails does not stop the others, nor does a piece for which memory is too small; both are
        noted in the manifests of their pieces.

        Parameters
        ----------
        parent : the process that started this one: without it there is nobody to work for.

        Raises
        ------
        Interrupted
            If a signal, or whoever began the sweep, asked to stop. What was begun is committed up to its last chunk.
        Damaged, OSError
            If the files of a piece are not what was committed, or the disk is full.
        """
        with listening(lambda: self._asked(parent)) as flag:
            while sum(self._took(piece, flag) for piece in self.pieces):
                pass  # another may have let go of one meanwhile

    def _asked(self, parent: int | None) -> str | None:
        """Why to stop, if there is a reason beside signals."""
        if (self.run / PARTS / STOP).exists():
            return "a request to stop"
        return "the end of the process that began it" if parent not in (None, os.getppid()) else None

    def _took(self, piece: Piece, flag: Flag) -> bool:
        """Whether this worker was the one to make a piece."""
        if piece.finished or not laid_out(self.run):
            return False
        if flag.asked is not None:
            raise Interrupted(f"{flag.asked} before {piece.directory}; everything up to there is committed")
        folder(piece.directory)
        try:
            with writing(piece.directory):
                return self._made(piece, flag)
        except Locked:
            return False

    def _made(self, piece: Piece, flag: Flag) -> bool:
        if piece.finished or piece.given_up(self.session):
            return False
        journal = Journal(piece.directory, {**self.facts, "positions": list(piece.members)}, lambda: CONFIG)
        members, layout = self.prepared(piece.members)
        loop = self.loop(members, layout, Keeping(journal, layout), piece.members)
        with contextlib.suppress(Failed, MemoryError):  # the loop has noted them in the manifest of the piece
            loop.run(flag, {"session": self.session})
        return True


def session(manifest: Mapping[str, Any]) -> int:
    """The number of the segment of a run that is under way, or was the last."""
    return len(manifest["segments"]) - 1
