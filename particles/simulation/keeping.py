"""Who keeps what a loop makes: the process that holds the run directory, or another one, for which somebody else does.

A loop begins where its keeping tells it to, hands over every chunk, and says how it ended. Where several ranks move one
system, the first keeps and the others follow: they learn from it where to begin, and count what it has committed.
"""

import abc
from collections.abc import Mapping
from typing import Any

import numpy as np

from ..ranks import Ranks, packed, unpacked
from ..record import Damaged, Layout, Writer
from ..record.writer import COMMIT
from .journal import Journal

Checkpoint = dict[str, np.ndarray]


class AbstractKeeping(abc.ABC):
    """Where the frames of a loop go.

    Attributes
    ----------
    frames : how many are committed.
    """

    frames: int

    @abc.abstractmethod
    def begin(self, facts: Mapping[str, Any]) -> tuple[Checkpoint, dict[str, Any]] | None:
        """Opens the record: what is needed to go on, and notes; None at the beginning. `facts` are of this segment."""

    @abc.abstractmethod
    def append(
        self, times: np.ndarray, frames: Mapping[str, np.ndarray], checkpoint: Checkpoint, notes: Mapping[str, Any]
    ) -> None:
        """Commits a chunk."""

    @abc.abstractmethod
    def agreed(self, asked: str | None) -> str | None:
        """Why to stop, if anybody who takes part was asked to."""

    @abc.abstractmethod
    def finish(self) -> dict[str, str]:
        """Ends the record: a checksum for each array."""

    @abc.abstractmethod
    def close(self, status: str, reason: str | None, facts: Mapping[str, Any]) -> None:
        """Notes how the loop ended, and why."""


class Keeping(AbstractKeeping):
    """Keeps in a run directory that this process holds.

    Parameters
    ----------
    journal : of the run directory.
    layout : the shape of the record.
    """

    def __init__(self, journal: Journal, layout: Layout):
        self.journal, self.writer = journal, Writer(journal.directory, layout)

    @property
    def frames(self) -> int:  # pyright: ignore[reportIncompatibleVariableOverride]
        return self.writer.frames

    def begin(self, facts: Mapping[str, Any]) -> tuple[Checkpoint, dict[str, Any]] | None:
        found = self.writer.reopen() if self.journal.begun else self.writer.create()
        if found is not None and "failures" not in found[1]:
            raise Damaged(f"{self.journal.directory / COMMIT} is damaged: notes: it has no `failures`")
        self.journal.open_segment(self.writer.frames, facts)
        return found

    def append(
        self, times: np.ndarray, frames: Mapping[str, np.ndarray], checkpoint: Checkpoint, notes: Mapping[str, Any]
    ) -> None:
        self.writer.append(times, frames, checkpoint, notes)

    def agreed(self, asked: str | None) -> str | None:
        return asked

    def finish(self) -> dict[str, str]:
        return self.writer.finish()

    def close(self, status: str, reason: str | None, facts: Mapping[str, Any]) -> None:
        self.journal.close_segment(status, self.writer.frames, reason, facts)


class Together(AbstractKeeping):
    """Keeps for several ranks: by the first of them.

    Parameters
    ----------
    ranks : who take part.
    own : what the first one keeps by; None on all others.
    """

    def __init__(self, ranks: Ranks, own: Keeping | None):
        self.ranks, self.own, self.frames = ranks, own, 0

    def begin(self, facts: Mapping[str, Any]) -> tuple[Checkpoint, dict[str, Any]] | None:
        content = b""
        if self.own is not None:
            found = self.own.begin({**facts, "processes": self.ranks.count})
            checkpoint, notes = (None, {}) if found is None else found
            content = packed(checkpoint, {"notes": notes, "frames": self.own.frames})
        checkpoint, told = unpacked(self.ranks.shared(content))
        self.frames = told["frames"]
        return None if checkpoint is None else (checkpoint, told["notes"])

    def append(
        self, times: np.ndarray, frames: Mapping[str, np.ndarray], checkpoint: Checkpoint, notes: Mapping[str, Any]
    ) -> None:
        if self.own is not None:
            self.own.append(times, frames, checkpoint, notes)
        self.frames += len(times)

    def agreed(self, asked: str | None) -> str | None:
        return self.ranks.agreed(asked or "") or None

    def finish(self) -> dict[str, str]:
        return {} if self.own is None else self.own.finish()

    def close(self, status: str, reason: str | None, facts: Mapping[str, Any]) -> None:
        if self.own is not None:
            self.own.close(status, reason, facts)
