"""How a merge tree lies on paper.

Every branch is a line from where it is born to where it merges, with a step from its origin and one to its parent. What
its height means is a choice: where the tokens of the branch are, if they live on a line or a circle, else a row in an
order in which no line crosses another. Such an order exists for every tree in which clusters only merge: a branch has
beside it those that merge into it, the first to do so nearest. Knows nothing of colors and of axes.
"""

import equinox as eqx
import numpy as np
from jaxtyping import Float, Int

from ..analysis.merge_tree import MergeTree

_FAN = 0.15
"""The height of a row of those that are too many, in rows of the others."""


class Stroke(eqx.Module):
    """A line of one width: the points that it joins, and the mass of its branch there.

    A `step` is upright and leads to another branch; a `birth`, a step or not, comes from one.
    """

    branch: int = eqx.field(static=True)
    points: Float[np.ndarray, "m 2"]
    mass: float = eqx.field(static=True)
    step: bool = eqx.field(static=True, default=False)
    birth: bool = eqx.field(static=True, default=False)


def rows(tree: MergeTree, chief: Int[np.ndarray, " c"]) -> Float[np.ndarray, " branch"]:
    """The heights of all branches, from 0 upward; those that are not `chief` lie close.

    A branch that ends in a merger lies beside its parent, one that fell off and is there at the end beside its origin.
    """
    host = np.where(tree.parent >= 0, tree.parent, tree.origin)
    guests: dict[int, list[int]] = {}
    for branch in np.argsort(-tree.last, kind="stable").tolist():
        guests.setdefault(int(host[branch]), []).append(branch)
    height = np.full(len(host), _FAN)
    height[chief] = 1.0
    ranks = _Line(guests.pop(-1))
    waiting = list(ranks.numbers())
    for one in waiting:
        room = {False: 0.0, True: 0.0}
        placed: dict[bool, list[int]] = {False: [], True: []}
        for guest in guests.get(one, ()):
            above = min((False, True), key=lambda side: (_cuts(tree, guest, placed[side]), room[side]))
            ranks.insert(guest, one, above)
            room[above] += height[guest]
            placed[above].append(guest)
            waiting.append(guest)
    order = np.asarray(list(ranks.numbers()))
    found = np.empty(len(host))
    found[order] = np.cumsum(height[order]) - height[order] / 2
    return found


def _cuts(tree: MergeTree, guest: int, beyond: list[int]) -> int:
    """How many of the branches beyond a guest fall off during its life, and so across it."""
    born = [tree.first[one] for one in beyond if tree.origin[one] >= 0]
    return sum(bool(tree.first[guest] <= frame <= tree.last[guest]) for frame in born)


class _Line:
    """Numbers in a row into which others are put beside one that is there."""

    def __init__(self, first: list[int]):
        self.after: dict[int, int] = {}
        self.before: dict[int, int] = {}
        for left, right in zip([-1, *sorted(first)], [*sorted(first), -1], strict=True):
            self.after[left], self.before[right] = right, left

    def insert(self, new: int, beside: int, above: bool) -> None:
        left = beside if above else self.before[beside]
        right = self.after[left]
        self.after[left] = self.before[right] = new
        self.before[new], self.after[new] = left, right

    def numbers(self) -> list[int]:
        found, at = [], self.after[-1]
        while at >= 0:
            found.append(at)
            at = self.after[at]
        return found


def in_rows(tree: MergeTree, height: Float[np.ndarray, " branch"]) -> list[Stroke]:
    """Level lines, with upright steps half way between the frames that a birth or a merger lies between."""
    middle = np.concatenate([tree.time[:1], (tree.time[1:] + tree.time[:-1]) / 2, tree.time[-1:]])
    found = []
    for branch, runs in enumerate(_runs(tree)):
        y = height[branch]
        for start, stop, mass in runs:
            found.append(Stroke(branch, np.array([[middle[start], y], [middle[stop + 1], y]]), mass))
        birth = tree.first[branch], tree.origin[branch], runs[0][2], True
        merger = tree.last[branch] + 1, tree.parent[branch], runs[-1][2], False
        for frame, other, mass, comes in (birth, merger):
            if other >= 0:
                upright = np.array([[middle[frame], y], [middle[frame], height[other]]])
                found.append(Stroke(branch, upright, mass, True, comes))
    return found


def in_place(tree: MergeTree, place: Float[np.ndarray, "time branch"], period: float) -> list[Stroke]:
    """Lines through the places of the branches, slanted between the frames that a birth or a merger lies between.

    Parameters
    ----------
    place : of each branch at each frame; NaN where it has none, which its line passes over.
    period : after how much a place comes back to itself, twice the largest place; infinite where it does not. A line
        that leaves on one side comes in on the other.
    """
    found = []
    for branch, runs in enumerate(_runs(tree)):
        first, last = int(tree.first[branch]), int(tree.last[branch])
        lines = [(start, min(stop + 1, last), branch, branch, mass) for start, stop, mass in runs]
        if tree.origin[branch] >= 0:
            lines.append((first - 1, first, int(tree.origin[branch]), branch, runs[0][2]))
        if tree.parent[branch] >= 0:
            lines.append((last, last + 1, branch, int(tree.parent[branch]), runs[-1][2]))
        for start, stop, here, there, mass in lines:
            y = np.append(place[start:stop, here], place[stop, there])
            points = np.stack([tree.time[start : stop + 1], y], axis=1)
            found += [Stroke(branch, one, mass, birth=here != branch) for one in _wrapped(points, period)]
    return found


def _wrapped(points: Float[np.ndarray, "m 2"], period: float) -> list[np.ndarray]:
    """A line on a cylinder, unrolled: as often as it takes for all of it to be seen once."""
    t, y = points[np.isfinite(points[:, 1])].T
    if not len(t) or not np.isfinite(period):
        return [np.stack([t, y], axis=1)] if len(t) else []
    step = np.diff(y)
    y = y[0] + np.concatenate([[0.0], np.cumsum(step - period * np.round(step / period))])
    low, high = (int(np.round(edge / period)) for edge in (y.min(), y.max()))
    return [np.stack([t, y - period * turn], axis=1) for turn in range(low, high + 1)]


def _runs(tree: MergeTree) -> list[list[tuple[int, int, float]]]:
    """For each branch the stretches of frames, first and last, over which its mass is the same, with that mass."""
    found = []
    for first, last, mass in zip(tree.first, tree.last, tree.masses().T, strict=True):
        starts = [first, *(first + 1 + np.flatnonzero(np.diff(mass[first : last + 1])))]
        stops = [*(start - 1 for start in starts[1:]), last]
        found.append([(int(a), int(b), float(mass[a])) for a, b in zip(starts, stops, strict=True)])
    return found
