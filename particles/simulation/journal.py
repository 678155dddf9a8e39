"""What happened to a run, in words: its manifest and its log.

A run may be made in several segments, on several machines. Each notes when and where it began, with which versions,
and why it ended; nothing is ever overwritten by a later one.
"""

import datetime
import pathlib
import sys
import time
from collections.abc import Callable, Mapping
from types import MappingProxyType
from typing import Any

from .. import machine
from ..record import Damaged, open_record
from ..record.files import append, digest, replace, replace_json
from ..record.writer import COMMIT, CONFIG, FORMAT, LOG, MANIFEST


class Journal:
    """The manifest and log of one run directory.

    Parameters
    ----------
    directory : of the run.
    facts : what is true of the run from its beginning on, `identity` among it: the hash by which it is known.
    config : writes the resolved config; called once, for a new run.

    Raises
    ------
    ValueError
        If the directory holds a run of another identity.
    Damaged
        If it holds other members of a sweep than it should, or says that a run is done of which nothing is left.
    """

    def __init__(self, directory: pathlib.Path, facts: Mapping[str, Any], config: Callable[[], str]):
        self.directory = directory
        if (directory / MANIFEST).exists():
            self.manifest = open_record(directory).manifest
            self._check(facts)
        else:
            replace(directory / CONFIG, config().encode())
            hashed = digest(directory / CONFIG)
            self.manifest = {"format": FORMAT, "status": "new", **facts, "config": hashed, "segments": []}
            replace_json(directory / MANIFEST, self.manifest)

    @property
    def status(self) -> str:
        """In one word: new, running, done, interrupted, or failed."""
        return self.manifest["status"]

    @property
    def reason(self) -> str:
        """Why the last segment ended."""
        return self.manifest["segments"][-1]["reason"]

    @property
    def begun(self) -> bool:
        """Whether anything is committed.

        Raises
        ------
        Damaged
            If something was, and the file that says so is gone.
        """
        begun = (self.directory / COMMIT).exists()
        if not begun and any(segment.get("to_frame", 0) > 0 for segment in self.manifest["segments"]):
            raise Damaged(f"{self.directory} is damaged: frames were committed, but {COMMIT} is gone")
        return begun

    def open_segment(self, frame: int, facts: Mapping[str, Any] = MappingProxyType({})) -> None:
        """Notes that work begins at a frame; `facts` join what is noted of the segment."""
        self._clock = time.monotonic()
        segment = {"started": _now(), "from_frame": frame, **facts, "provenance": machine.provenance()}
        self.manifest["segments"].append(segment)
        self._compare(self.manifest["segments"][0]["provenance"], segment["provenance"])
        self.manifest["status"] = "running"
        replace_json(self.directory / MANIFEST, self.manifest)
        self.log(f"started at frame {frame}")

    def close_segment(self, status: str, frame: int, reason: str | None, facts: Mapping[str, Any]) -> None:
        """Notes that work ended before a frame, and why; `facts` join the manifest."""
        segment = self.manifest["segments"][-1]
        segment |= {"ended": _now(), "to_frame": frame, "seconds": round(time.monotonic() - self._clock, 3)}
        segment["reason"] = reason
        self.manifest |= {"status": status, **facts}
        replace_json(self.directory / MANIFEST, self.manifest)
        self.log(f"{status} before frame {frame}" + (f": {reason}" if reason else ""))

    def _compare(self, first: Mapping[str, Any], now: Mapping[str, Any]) -> None:
        """Says so if the run goes on under other conditions than it began: its last digits may then differ."""
        other = [key for key in ("versions", "machine", "device", "devices", "environment") if first[key] != now[key]]
        if other:
            line = f"the run was begun with other {', '.join(other)}: what follows may differ in its last digits"
            self.log(line)
            print(f"particles: warning: {line}", file=sys.stderr)

    def log(self, line: str) -> None:
        """Adds a line to the log."""
        append(self.directory / LOG, f"{_now()} {line}\n")

    def _check(self, facts: Mapping[str, Any]) -> None:
        if self.manifest["identity"] != facts["identity"]:
            begun_with = [segment["provenance"]["code"] for segment in self.manifest["segments"][:1]]
            code = begun_with[0] if begun_with else machine.code_digest()
            other = "another run" if code == machine.code_digest() else f"a run of other code ({code})"
            raise ValueError(
                f"{self.directory} holds {other}, which this one ({machine.code_digest()}) must not overwrite; "
                "choose another path, or go on with the code it was begun with"
            )
        path = self.directory / MANIFEST
        if (found := self.manifest.get("positions")) != (expected := facts.get("positions")):
            raise Damaged(f"{path} is damaged: positions: expected {expected}, got {found}")
        if self.status == "done" and "checksums" not in self.manifest:
            raise Damaged(f"{path} is damaged: it says that the run is done, and has no checksums")


def _now() -> str:
    return datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds")
