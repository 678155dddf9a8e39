"""Several workers at one sweep: they are started, replaced when they are killed, watched, and asked to stop.

The crew hands out no work: workers find it in the run directory. So all it has to do when one is lost is to start
another, and to give up a piece at which worker after worker is lost. Any `concurrent.futures.Executor` can start them:
a job is a plain call of a command of ours on the path of the run.
"""

import concurrent.futures
import errno
import pathlib
import re
import sys
import time
from collections.abc import Callable, Mapping
from typing import Any

import jax.numpy as jnp
import numpy as np

from ..integration import Failed, Plan, Status
from ..record import Damaged, Layout
from ..record.writer import COMMIT
from .assembly import assemble
from .grid import span
from .interruption import listening
from .journal import Journal
from .loop import Interrupted
from .pieces import PARTS, STOP, Piece, clear, pieces
from .progress import Progress
from .worker import session

POLL = 0.5  # seconds between two looks at the pieces, or
LOOKING = 20  # times what a look takes, where there are many
DONE, INTERRUPTED, LOST = 0, 75, 128  # exit codes of a worker; the last where there is none
NUMBERED = re.compile(r"^\[Errno \d+\] ")  # as the error of a worker begins, and again the one that tells of it
FAULTS: Mapping[int, Callable[[str], Exception]] = {  # exit codes of a worker that concern the whole run
    2: ValueError,
    65: Damaged,
    74: lambda said: OSError(errno.ENOSPC, NUMBERED.sub("", said)),
}


class Crew:
    """Some workers, and the sweep that they make.

    Parameters
    ----------
    hire : starts a worker, and returns the future of its exit code and of what it said last.
    count : how many there may be at once.
    plan : whose grid of depths all members share.
    layout : the shape of the record.
    journal : of the run directory, which this process holds.
    called : a member in words, by its position.
    progress : show a bar on standard error.
    """

    def __init__(
        self,
        hire: Callable[[], concurrent.futures.Future],
        count: int,
        plan: Plan,
        layout: Layout,
        journal: Journal,
        called: Callable[[int], str],
        progress: bool,
    ):
        self.hire, self.count = hire, count
        self.plan, self.layout, self.journal, self.called = plan, layout, journal, called
        self.directory = journal.directory
        self.pieces = pieces(self.directory)
        self.open: list[Piece] = list(self.pieces)  # those not known to be finished
        self.ends: dict[int, dict[str, Any]] = {}  # of the members of all others
        self.depths = np.asarray(plan.depths(0, plan.frames - 1, jnp.dtype(layout.dtype)))
        self.hosts: dict[str, Any] = {}
        self.pause, self.shown = POLL, ""
        self.hired, self.words = 0, ""  # how many workers were started, and what the last one that was lost said
        self.bar = Progress(str(layout.attributes["name"]), 0.0, 1.0, progress)

    def run(self) -> None:
        """Goes on until every member has come to its end, then makes one record of all.

        Raises
        ------
        Interrupted
            If a signal asked to stop, or members were lost in spite of a second try. The run can be resumed.
        Failed
            If the numerics of a member failed; the record holds all others.
        Damaged, OSError, ValueError
            If a worker met with a fault that concerns the whole run.
        """
        self._stop_file.unlink(missing_ok=True)
        self._look()
        self.journal.open_segment(0, {"workers": self.count})
        try:
            with self.bar:
                self._to_the_end()
            ends = list(self.ends.values())
            identity = self.journal.manifest["identity"]
            frames, checksums = assemble(self.directory, identity, self.pieces, ends, self.plan, self.layout)
        except BaseException as error:
            self._abandon(str(error) if isinstance(error, Interrupted) else f"{type(error).__name__}: {error}")
            raise
        manifests = [piece.manifest() for piece in sorted(self.pieces, key=lambda piece: piece.members)]
        reasons = [segment.get("reason") for manifest in manifests for segment in manifest["segments"][-1:]]
        reason = "; ".join(failures for failures in reasons if failures)
        self._close("failed" if reason else "done", frames, reason or None, checksums=checksums)
        clear(self.directory)
        if reason:
            raise Failed(reason)

    @property
    def _stop_file(self) -> pathlib.Path:
        return self.directory / PARTS / STOP

    @property
    def _session(self) -> int:
        return session(self.journal.manifest)

    def _abandon(self, reason: str) -> None:
        """Notes why the run ended; where the disk is the reason, that note may fail, too, and says so."""
        try:
            self._stop_file.touch()  # nobody waits for the workers any more
            self._close("interrupted", 0, reason)
        except OSError as error:
            print(f"particles: warning: the manifest could not be updated: {error}", file=sys.stderr)

    def _to_the_end(self) -> None:
        jobs: set[concurrent.futures.Future] = set()
        with listening() as flag:
            asked = None
            while self.open:
                if asked is None:
                    jobs |= self._hired(len(jobs))
                if not jobs and (asked is not None or not any(piece.held for piece in self.open)):
                    break
                jobs = self._waited(jobs)
                self._look()
                if asked is None and (asked := flag.asked) is not None:
                    jobs = self._dismissed(jobs)
            concurrent.futures.wait(self._dismissed(jobs))
        if self.open and asked is not None:
            raise Interrupted(f"{asked} with {self._progress()}; what was committed is kept")
        if self.open:
            missing = ", ".join(self.called(k) for piece in self.open for k in piece.members)
            raise Interrupted(
                f"workers were lost, a second time over: with {self._progress()}, {missing} remain. "
                f"{self.words or 'They said nothing: they were killed, perhaps for want of memory.'}"
            )

    def _dismissed(self, jobs: set[concurrent.futures.Future]) -> set[concurrent.futures.Future]:
        """Asks all workers to stop; those that will do so when they have committed what they are at."""
        self._stop_file.touch()
        return {job for job in jobs if not job.cancel()}

    def _hired(self, working: int) -> set[concurrent.futures.Future]:
        """New workers beside those at work: as many as may be, while there are pieces that nobody makes.

        At first that is the whole crew; later, one for each that was lost. Beyond the first ones there are no more of
        them than pieces were taken up, so that workers which are lost before they begin are not replaced for ever.
        """
        if working >= self.count:
            return set()
        session = self._session
        free = [piece for piece in self.open if not piece.held and not piece.given_up(session)]
        begun = sum(piece.begun(session) for piece in self.pieces)
        wanted = min(self.count - working, len(free), self.count + begun - self.hired)
        jobs = set()
        for _ in range(max(0, wanted)):
            try:
                jobs.add(self.hire())
            except concurrent.futures.BrokenExecutor as error:
                self.words = f"The executor cannot start any more: {error}"
                break
            self.hired += 1
        return jobs

    def _waited(self, jobs: set[concurrent.futures.Future]) -> set[concurrent.futures.Future]:
        """The workers that are still at it after a while; those that ended are accounted for."""
        if not jobs:  # somebody else is making what is left
            time.sleep(self.pause)
            return jobs
        ended, left = concurrent.futures.wait(jobs, self.pause, concurrent.futures.FIRST_COMPLETED)
        for job in ended:
            error = job.exception()
            code, said = (LOST, f"{type(error).__name__}: {error}") if error else job.result()
            said = said.strip().rpartition("\n")[2].removeprefix("particles: ")
            if code in FAULTS:
                raise FAULTS[code](said)
            if code not in (DONE, INTERRUPTED):
                self.words = said
                self.journal.log(f"a worker was lost ({'no exit code' if code == LOST else code}): {said}")
        return left

    def _look(self) -> None:
        """Takes note of what the workers have committed by now."""
        begun = time.monotonic()
        for piece in [piece for piece in self.open if piece.finished]:
            self.open.remove(piece)
            ends = self._ends(piece, piece.manifest())
            self.ends |= ends
            for member, end in ends.items():
                what = f"{end['status']} at depth {end['depth']:.6g}, {end['steps']} steps"
                self.journal.log(f"{self.called(member)}: {what}, on {end['host']}, attempt {end['attempts']}")
        count = len(self.ends) + sum(len(piece.members) for piece in self.open)
        under_way = sum(len(piece.members) * self._depth(piece) for piece in self.open)
        start, until = span(self.plan)
        depth = (under_way + len(self.ends) * until) / count
        shown = f"members {len(self.ends)}/{count}, depth {depth:.4g}/{until:.4g}"
        if shown != self.shown:
            self.shown = shown
            self.bar.show((depth - start) / (until - start), shown)
        self.pause = max(POLL, LOOKING * (time.monotonic() - begun))

    def _ends(self, piece: Piece, manifest: Mapping[str, Any]) -> dict[int, dict[str, Any]]:
        """What is known of each member of a piece, and where it was made."""
        segments = manifest["segments"]
        made = {"attempts": len(segments)}
        if segments:
            provenance = segments[-1]["provenance"]
            self.hosts[provenance["host"]] = provenance
            made |= {"host": provenance["host"], "segment": segments[-1].get("session", self._session)}
        unknown = [{"status": Status.running.name, "depth": self._depth(piece)}] * len(piece.members)
        ends = zip(piece.members, manifest.get("members", unknown), strict=True)
        return {member: {**end, **made} for member, end in ends}

    def _depth(self, piece: Piece) -> float:
        """The depth up to which a piece is committed.

        Raises
        ------
        Damaged
            If that is beyond the plan.
        """
        frames = piece.frames()
        if frames > len(self.depths):
            path = piece.directory / COMMIT
            raise Damaged(f"{path} is damaged: {frames} frames of a run of {len(self.depths)}")
        return float(self.depths[max(frames - 1, 0)])

    def _progress(self) -> str:
        count = len(self.ends) + sum(len(piece.members) for piece in self.open)
        return f"{len(self.ends)} of {count} members done"

    def _close(self, status: str, frame: int, reason: str | None, **facts: Any) -> None:
        ends = dict(self.ends)
        for piece in self.open:
            ends |= self._ends(piece, piece.manifest())
        members = [ends[member] for member in sorted(ends)]
        self.journal.close_segment(status, frame, reason, {"members": members, "hosts": self.hosts, **facts})
