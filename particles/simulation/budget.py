"""What a run will need, estimated before it starts, and refused if the machine does not have it."""

import dataclasses
import math
import pathlib

import equinox as eqx
import jax
import jax.numpy as jnp

from .. import machine
from ..dynamics import AbstractFlow, summations
from ..integration import Plan
from ..observables import ROWS
from ..summation import AbstractSummation, Blocked, Dense

STAGES = 16  # states a solver holds at once: stages, error, dense output, with room for the copies XLA makes
BASE = 300 * 2**20  # the program itself
PAIRS_PER_SECOND = 4e8  # of one gather on two processor cores, float32, dimension 3: an order of magnitude


@dataclasses.dataclass(frozen=True)
class Budget:
    """An estimate of what a run needs.

    Attributes
    ----------
    summations : what visits the pairs of one member.
    state : bytes of the states of all members.
    memory : bytes at the peak; `gather` of them for pairs, `matrices` for what noise holds of pairs, `watching` for
        observables and stop conditions that look at pairs, `frames` for a chunk of frames.
    disk : bytes of the finished record.
    evaluation : seconds of one evaluation of the field for all members, an order of magnitude.
    """

    summations: tuple[AbstractSummation, ...]
    members: int
    tokens: int
    dim: int
    state: int
    gather: int
    matrices: int
    watching: int
    frames: int
    disk: int
    evaluation: float

    @property
    def memory(self) -> int:
        """Bytes at the peak."""
        return BASE + self.gather + self.matrices + self.watching + self.frames + STAGES * self.state

    def lines(self) -> list[str]:
        """The estimate in words."""
        return [
            f"members     {self.members}",
            f"summation   {', '.join(map(str, self.summations))}",
            f"memory      {_size(self.memory)}, {_size(self.gather + self.matrices + self.watching)} of it for pairs, "
            f"{_size(self.frames)} for frames",
            f"disk        {_size(self.disk)}",
            f"time        about {self.evaluation:.2g} s for one evaluation of the field (of order); "
            "how many it takes is for the solver to find out",
        ]

    def in_pieces(self, largest: "Budget", processes: int) -> "Budget":
        """What the run needs where some processes make a piece each at a time, and then one record of all pieces."""
        sizes = ("state", "gather", "matrices", "watching", "frames")
        at_once = {name: processes * getattr(largest, name) for name in sizes}
        return dataclasses.replace(self, disk=2 * self.disk, **at_once)

    def check(self, directory: pathlib.Path) -> None:
        """Refuses a run that cannot fit.

        Raises
        ------
        MemoryError
            With the numbers and what would fit.
        OSError
            If the disk has less than the record and a tenth.
        """
        free = machine.free_memory()
        if free is not None and self.memory > free:
            raise MemoryError(
                f"the run needs about {_size(self.memory)} of memory and {_size(free)} are free: {_size(self.gather)} "
                f"for the pairs of {self.tokens} tokens x {self.members} members, {_size(self.frames)} for the frames "
                f"of a chunk. {self._advice(free)}"
            )
        held = sum(file.stat().st_size for file in directory.rglob("*") if file.is_file())  # of a part of this run
        room = machine.free_disk(directory) + held
        if self.disk * 1.1 > room:
            raise OSError(
                28,
                f"the record needs about {_size(self.disk)} and {directory} has {_size(room)} free: save fewer frames, "
                "or set plan.tokens = false",
            )

    def _advice(self, free: int) -> str:
        rest = self.memory - self.gather
        for rows in (512, 128, 32):
            blocked = Blocked(rows=rows, columns=4 * rows)
            gather = self.members * blocked.memory(self.tokens, self.tokens, self.dim + 1, 8)
            if rest + gather <= free:
                needed = _size(rest + gather)
                return f"flow.summation = Blocked(rows={rows}, columns={4 * rows}) would fit, with {needed}."
        if self.memory - self.frames <= free:
            return "A smaller plan.chunk would fit."
        return "Fewer tokens or fewer members at a time would fit."


def budget(members: list[tuple[AbstractFlow, tuple[int, int], Plan]], itemsize: int, frame_bytes: int) -> Budget:
    """The estimate for members given by flow, numbers of tokens and dimensions, and plan."""
    flow, (n, d), plan = max(members, key=lambda member: math.prod(member[1]))
    chosen = flow.summation.chosen(n, n, itemsize)
    serving = (chosen,) if chosen == Dense() else summations(flow, n, d, f"float{8 * itemsize}") or (chosen,)
    pairwise = bool(plan.stop) or any(watched.pairwise for watched in plan.watch)
    pairs = sum(max(one.work(tokens, tokens) for one in serving) for _, (tokens, _), _ in members)
    state = len(members) * _numbers(flow, n, d) * 8
    return Budget(
        summations=serving,
        members=len(members),
        tokens=n,
        dim=d,
        state=state,
        gather=len(members) * max(one.memory(n, n, d + 1, itemsize) for one in serving),
        matrices=len(members) * flow.matrices() * n * n * itemsize,
        watching=2 * len(members) * ROWS * n * itemsize if pairwise else 0,
        frames=4 * plan.chunk * frame_bytes,
        disk=plan.frames * frame_bytes + 2 * state * itemsize // 8,
        evaluation=pairs / PAIRS_PER_SECOND,
    )


def _numbers(flow: AbstractFlow, n: int, d: int) -> int:
    """How many numbers there are in a state."""
    key = jax.eval_shape(lambda: jax.random.key(0)) if flow.random else None
    state = eqx.filter_eval_shape(flow.begin, jax.ShapeDtypeStruct((n, d), jnp.float32), key)
    return sum(math.prod(leaf.shape) for leaf in jax.tree.leaves(state))


def _size(count: float | int) -> str:
    for unit in ("bytes", "KiB", "MiB", "GiB", "TiB"):
        if count < 1024 or unit == "TiB":
            return f"{count:.3g} {unit}"
        count /= 1024
    raise AssertionError("unreachable")
