"""The run loop: one chunk of depth after another, each committed before the next is begun.

The loop owns no mathematics. It moves batches of members by `advance`, hands their frames to the writer, and looks
after every chunk whether the numerics failed or somebody asked to stop. What is on disk after a commit is all that
going on needs, so a run that was killed and resumed has the same bits as one that was not.
"""

import contextlib
import dataclasses
import math
import sys
from collections.abc import Iterable, Mapping, Sequence
from types import MappingProxyType
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array

from ..dynamics import AbstractFlow
from ..integration import Effort, Failed, Plan, State, Status, advance
from ..ranks import orphaned
from ..record import Damaged, Layout
from .grid import Batch, Member, batches, place, span
from .interruption import Flag, listening
from .keeping import AbstractKeeping
from .mesh import spread
from .progress import Progress


class Interrupted(RuntimeError):
    """Somebody asked to stop; everything up to the last chunk is committed and the run can be resumed."""


class Loop:
    """One process's work on a run directory, from where it finds the run to where it must stop.

    Parameters
    ----------
    plan : whose grid of depths all members share.
    members : flow, start and plan of each.
    layout : the shape of the record.
    keeping : where frames go, and where to begin.
    progress : show a bar on standard error.
    swept : the values of each member by which it differs from others; a single one has none.
    names : of the members in messages.
    devices : over which the members of a batch are spread.
    uncut : keep depths to which none of the members came: others, elsewhere, may have.
    """

    def __init__(
        self,
        plan: Plan,
        members: list[Member],
        layout: Layout,
        keeping: AbstractKeeping,
        progress: bool,
        swept: Sequence[Mapping[str, Any]] = (),
        names: Sequence[str] = (),
        devices: int = 1,
        uncut: bool = False,
    ):
        self.plan, self.precision = plan, jnp.dtype(layout.dtype)
        self.layout, self.keeping = layout, keeping
        self.batches = batches(members)
        self.swept, self.names = swept or ({},) * len(members), names or ("",) * len(members)
        self.devices, self.uncut = devices, uncut
        self.efforts = np.zeros((len(members), 2), int)
        self.failures: list[str] = []
        name = str(layout.attributes["name"])
        self.span = span(plan)
        self.bar = Progress(name, *self.span, progress)

    def run(self, flag: Flag | None = None, facts: Mapping[str, Any] = MappingProxyType({})) -> None:
        """Goes to the end of the plan.

        Parameters
        ----------
        flag : tells whether to stop, in place of signals to this process.
        facts : what else to note of this segment.

        Raises
        ------
        Interrupted, Failed, OSError, MemoryError
            As `simulate`.
        """
        found = self.keeping.begin(facts)
        try:
            if found is not None:
                self._restore(*found)
            with contextlib.nullcontext(flag) if flag else listening(orphaned) as asking, self.bar:
                self._to_the_end(asking)
        except Interrupted as interruption:
            self._close("interrupted", str(interruption))
            raise
        except (OSError, MemoryError, KeyboardInterrupt, jax.errors.JaxRuntimeError) as error:
            self._abandon(f"{type(error).__name__}: {error}")
            raise
        checksums, merged = self.keeping.finish(), self._coalescence()
        if self.failures:
            reason = "; ".join(self.failures)
            self._close("failed", reason, merged, checksums=checksums)
            raise Failed(reason)
        self._close("done", None, merged, checksums=checksums)

    def _abandon(self, reason: str) -> None:
        """Notes why the run ended; where the disk is the reason, that note may fail, too, and says so."""
        try:
            self._close("interrupted", reason)
        except OSError as error:
            print(f"particles: warning: the manifest could not be updated: {error}", file=sys.stderr)

    def _to_the_end(self, flag: Flag) -> None:
        self._show()
        while self._unfinished():
            first = self.keeping.frames
            last = min(first + self.plan.chunk, self.plan.frames) - 1
            parts = [self._moved(k, first, last) for k in range(len(self.batches))]
            self.keeping.append(*self._frames(first, last, parts), self._checkpoint(), {"failures": self.failures})
            self._show()
            if (asked := self.keeping.agreed(flag.asked)) is not None and self._unfinished():
                raise Interrupted(f"{asked} at depth {self._depth():g}; everything up to there is committed")

    def _moved(self, k: int, first: int, last: int) -> dict[str, np.ndarray]:
        """Moves a batch one chunk further and returns its frames."""
        batch = _met(self.batches[k]) if first else self.batches[k]
        state, frames, effort = _advance(batch, first, last, self.plan.chunk, self.devices)
        depths = np.asarray(self.plan.depths(first, last, self.precision))
        self.failures += _failures(batch, state, frames, effort, self.names, depths)
        self.efforts[list(batch.members)] += np.stack([np.ravel(effort.steps), np.ravel(effort.rejected)], axis=1)
        self.batches[k] = eqx.tree_at(lambda b: b.state, batch, state)
        return frames

    def _frames(
        self, first: int, last: int, parts: list[dict[str, np.ndarray]]
    ) -> tuple[np.ndarray, dict[str, np.ndarray]]:
        """The depths and frames of a chunk in the shape of the record, as far as any member came."""
        times = np.asarray(self.plan.depths(first, last, self.precision))
        if not (self._running() or self.uncut):
            each = [
                {name: batch.each(values) for name, values in part.items()}
                for batch, part in zip(self.batches, parts, strict=True)
            ]
            times = reached(times, self._depth(), each)
        grid, frames = self.layout.grid, {}
        for name, variable in self.layout.variables.items():
            values = [(b.members, b.each(part[name])) for b, part in zip(self.batches, parts, strict=True)]
            placed = place(grid, values, (self.plan.chunk, *variable.shape))
            frames[name] = placed[(slice(None),) * len(grid) + (slice(0, len(times)),)]
        return times, frames

    def _checkpoint(self) -> dict[str, np.ndarray]:
        leaves = {name: np.asarray(leaf) for k in range(len(self.batches)) for name, leaf in self._kept(k)}
        return {**leaves, "efforts": self.efforts}

    def _restore(self, checkpoint: dict[str, np.ndarray], notes: dict[str, Any]) -> None:
        self.efforts, self.failures = checkpoint["efforts"], list(notes["failures"])
        for k, batch in enumerate(self.batches):
            parts = {"state": batch.state, "met": batch.met}
            wanted = self._kept(k)
            leaves = [checkpoint[name] for name, _ in wanted]
            for (name, leaf), found in zip(wanted, leaves, strict=True):
                rows = slice(1, None) if batch.met is not None else slice(None)  # fewer are left where tokens have met
                if (found.dtype, found.ndim, found.shape[rows]) != (leaf.dtype, leaf.ndim, leaf.shape[rows]):
                    raise Damaged(
                        f"a checkpoint is damaged: `{name}` is {found.dtype} of shape {found.shape}; this run has "
                        f"{leaf.dtype} of shape {leaf.shape}"
                    )
            found = jax.tree.unflatten(jax.tree.structure(parts), leaves)
            state = jax.tree.map(jnp.asarray, found["state"])
            self.batches[k] = dataclasses.replace(batch, state=state, met=found["met"])

    def _kept(self, k: int) -> list[tuple[str, Array | np.ndarray]]:
        """Every array that must be kept of a batch, with a name."""
        leaves = jax.tree_util.tree_leaves_with_path({"state": self.batches[k].state, "met": self.batches[k].met})
        return [(f"{k}.{jax.tree_util.keystr(path, simple=True, separator='.')}", leaf) for path, leaf in leaves]

    def _statuses(self) -> list[Status]:
        codes = np.zeros(len(self.efforts), int)
        for batch in self.batches:
            codes[list(batch.members)] = np.ravel(batch.state.status)
        return [Status(int(code)) for code in codes]

    def _running(self) -> bool:
        return Status.running in self._statuses()

    def _unfinished(self) -> bool:
        return self.keeping.frames < self.plan.frames and self._running()

    def _depth(self) -> float:
        """The largest depth that a member has reached."""
        return float(self._depths().max())

    def _depths(self) -> np.ndarray:
        """The depth of each member: of its last frame that is committed, or where it ended before."""
        frames = self.keeping.frames
        committed = float(self.plan.depths(frames - 1, frames - 1, self.precision)[0]) if frames else 0.0
        depths = np.zeros(len(self.efforts))
        for batch in self.batches:
            running = np.ravel(batch.state.status) == Status.running
            depths[list(batch.members)] = np.where(running & (frames > 0), committed, np.ravel(batch.state.depth))
        return depths

    def _coalescence(self) -> dict[int, dict[str, Any]]:
        """What there is to say of tokens that have coalesced, by member."""
        given = [(batch, batch.met) for batch in self.batches if batch.met is not None]
        if not given:
            return {}
        from .merging import report

        return {batch.members[0]: report(batch.flow, float(batch.state.depth), met) for batch, met in given}

    def _show(self) -> None:
        depth = self._depth()
        self.bar.show(depth, f"depth {depth:.4g}/{self.span[1]:.4g}, {self.efforts[:, 0].sum()} steps")

    def _close(
        self, status: str, reason: str | None, merged: Mapping[int, Any] = MappingProxyType({}), **facts: Any
    ) -> None:
        complete = self.keeping.frames == self.plan.frames
        ends = [Status.done if end == Status.running and complete else end for end in self._statuses()]
        depths = self._depths()
        members = [
            {"status": end.name, "depth": depth, "steps": steps, "rejected": rejected}
            | ({"swept": swept} if swept else {})
            for end, depth, (steps, rejected), swept in zip(
                ends, depths.tolist(), self.efforts.tolist(), self.swept, strict=True
            )
        ]
        for member, said in merged.items():
            members[member]["coalescence"] = said
        self.keeping.close(status, reason, {"members": members, **facts})


def reached(times: np.ndarray, depth: float, parts: Iterable[Mapping[str, np.ndarray]]) -> np.ndarray:
    """The depths of a chunk to which some member came, the first of them in any case.

    Parameters
    ----------
    times : of the chunk.
    depth : the largest to which a state came; that of a member that failed is the one before the chunk.
    parts : frames of members by name, `[member time ...]`: what is finite counts, too.
    """
    came = int(np.searchsorted(times, depth, side="right"))
    finite = [np.min([[_good(one) for one in values] for values in part.values()], axis=0) for part in parts if part]
    return times[: max([1, came, *map(int, map(np.max, finite))])]


def _advance(
    batch: Batch, first: int, last: int, chunk: int, devices: int
) -> tuple[State, dict[str, np.ndarray], Effort]:
    """A batch one chunk further; the last chunk is filled up by repeating its last depth, so that shapes agree."""
    dtype = batch.state.depth.dtype
    plan = jax.tree.map(lambda leaf: leaf[0], batch.plan) if batch.several else batch.plan
    times = plan.depths(first, last, dtype)
    times = jnp.concatenate([times, jnp.full(chunk - len(times), times[-1], dtype)])
    if batch.several:
        state, frames, effort = spread(_several, (batch.flow, batch.plan, batch.state), (times,), devices)
    else:
        flow, merged = (batch.flow, None) if batch.met is None else batch.met.acting(batch.flow)
        state, frames, effort = advance(flow, batch.plan, batch.state, times, merged)
    return state, {name: np.asarray(values) for name, values in frames.items()}, effort


def _met(batch: Batch) -> Batch:
    """A batch in which tokens that have met since the last chunk are one, where the plan wants that."""
    if batch.met is None or int(batch.state.status) != Status.running:
        return batch
    from .merging import coalesced  # it brings SciPy's trees and all of analysis, a second

    state, met = coalesced(batch.flow, batch.state, batch.met)
    return dataclasses.replace(batch, state=state, met=met)


@eqx.filter_jit
def _several(flow: AbstractFlow, plan: Plan, state: State, times: Array):
    """`advance` for a batch of members, as one program."""
    axis = eqx.if_array(0)
    return eqx.filter_vmap(advance, in_axes=(axis, axis, axis, None))(flow, plan, state, times)


def _failures(
    batch: Batch,
    state: State,
    frames: dict[str, np.ndarray],
    effort: Effort,
    names: Sequence[str],
    times: np.ndarray,
) -> list[str]:
    """The failures of a batch in a chunk, in words: what, at which depth, and which member where there are several."""
    before, after, depths = np.ravel(batch.state.status), np.ravel(state.status), np.ravel(effort.depth)
    found = []
    for k, member in enumerate(batch.members):
        end = Status(int(after[k]))
        if before[k] != Status.running or not end.failed:
            continue
        lengths = {name: _good(array[k] if batch.several else array) for name, array in frames.items()}
        who = f"{names[member]}: " if names[member] else ""
        found.append(f"{who}{_told(end, lengths, times, float(depths[k]))}")
    return found


def _told(end: Status, lengths: dict[str, int], times: np.ndarray, depth: float) -> str:
    """What failed, and where: an observable that left the numbers while the tokens had not, the tokens, or a step.

    Parameters
    ----------
    lengths : how many frames are finite, of each variable.
    times : the depths of the frames.
    depth : where the solve ended.
    """
    if end != Status.not_finite:
        return f"{end.message}, at depth {depth:.6g}"
    tokens = lengths.get("tokens", max(lengths.values(), default=0))
    lost = [name for name, length in lengths.items() if length < tokens]
    if not lost:
        return f"the state (tokens) is not finite, at depth {depth:.6g}"
    at = f"{times[lengths[lost[0]]]:.6g}"
    return f"observable {lost[0]} is not finite, at depth {at} (without it in `watch` the run goes on)"


def _good(values: np.ndarray) -> int:
    """How many frames are finite before the first that is not."""
    bad = ~np.all(np.isfinite(values.reshape(len(values), math.prod(values.shape[1:]))), axis=1)
    return int(np.argmax(bad)) if bad.any() else len(values)
