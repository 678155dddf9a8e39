"""What happened in a run, in plain sentences: for those who do not see the picture, and for all who want it said.

The sentences are about what is stored: how far it came, how many clusters there were and when they merged, which
observables stayed the same, never fell or never rose, and what failed.
"""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import xarray as xr

from ..analysis.merge_tree import MergeTree
from ..integration import Status
from ..plots.paths import observables
from .words import follows_tokens

SAME = 1e-9
"""Relatively: what varies by less is said to be conserved, and what goes back by less to be monotone."""


def number(value: Any) -> str:
    """A number as it is read aloud."""
    return f"{float(value):.4g}".replace("-", "−")


def beginning(dataset: xr.Dataset, settings: Mapping[str, Any]) -> str:
    """What the run is about."""
    space = str(dataset.attrs.get("space", ""))
    place = {"Sphere": "on the unit sphere", "Ball": "in a ball", "Euclidean": "", "": ""}.get(space, f"in {space}")
    if space == "Sphere" and float(dataset.attrs.get("radius", 1.0)) != 1.0:
        place = f"on the sphere of radius {number(dataset.attrs['radius'])}"
    if not follows_tokens(dataset):
        return "The run kept no tokens; what it watched is below."
    n, d = dataset.sizes["token"], dataset.sizes["dim"]
    dims = "dimension" if d == 1 else "dimensions"
    law = settings.get("flow", {}).get("law", {}).get("kind", "")
    moved = f", moved by {law}" if law else ""
    return f"{n} {'token' if n == 1 else 'tokens'} {place}{' ' if place else ''}in {d} {dims}{moved}."


def ending(dataset: xr.Dataset, manifest: Mapping[str, Any]) -> list[str]:
    """How far the run came, and what failed on the way."""
    status = str(dataset.attrs.get("status", manifest.get("status", "done")))
    found = []
    times = dataset["time"].values if "time" in dataset.coords and dataset.sizes.get("time") else np.zeros(0)
    if len(times):
        frames = "one frame" if len(times) == 1 else f"{len(times)} frames"
        span = f"{frames} from depth {number(times[0])} to {number(times[-1])}"
        word = {"done": "The run is complete", "running": "The run is still under way"}.get(status, f"The run {status}")
        word = {"interrupted": "The run was interrupted before its end", "failed": "The run failed"}.get(status, word)
        found.append(f"{word}: {span}.")
    reasons = {s.get("reason") for s in manifest.get("segments", []) if s.get("reason")}
    if status != "done":
        found += [f"Reason: {reason}." for reason in sorted(reasons)]
    ends = [end.get("status", "") for end in manifest.get("members", [])]
    for name in sorted(set(ends)):
        if name in Status.__members__ and Status[name].failed:
            some = f"{ends.count(name)} of {len(ends)} members" if len(ends) > 1 else "It"
            found.append(f"{some} did not come to an end: {Status[name].message}.")
        if name == "stopped":
            some = f"{ends.count(name)} of {len(ends)} members" if len(ends) > 1 else "It"
            found.append(f"{some} ended early: a stop condition held.")
    return found


def reach(times: np.ndarray, frames: int) -> list[str]:
    """That tokens were followed less far than the record goes, if so; `times` are the depths that were reached."""
    if len(times) == frames:
        return []
    return [f"Its tokens were followed to depth {number(times[-1])}." if len(times) else "Its tokens are nowhere."]


def clusters(tree: MergeTree | None) -> list[str]:
    """How many clusters there were, when they merged, and which number of them lasted longest."""
    if tree is None:
        return []
    count, t = tree.clusters, tree.time
    first, last = _counted(count[0]), _counted(count[-1])
    ends = f"{first} at depth {number(t[0])}, {last} at depth {number(t[-1])}"
    found = [f"{ends}: chains of tokens nearer than {tree.delta:g}."]
    gone = tree.died[tree.mergers]
    if len(gone):
        half, final = gone[(len(gone) - 1) // 2], gone[-1]
        when = f"between depth {number(final[0])} and {number(final[1])}"
        word = "One merger" if len(gone) == 1 else f"{len(gone)} mergers, half of them before depth {number(half[1])}"
        found.append(f"{word}, {'the last ' if len(gone) > 1 else ''}{when}.")
    else:
        found.append("No clusters merged.")
    if (tree.origin >= 0).any():
        fell = np.count_nonzero(tree.origin >= 0)
        meanwhile = "" if (np.diff(count) > 0).any() else ", between frames in which as many merged or more"
        found.append(f"{f'{fell} times' if fell > 1 else 'Once'} a cluster fell apart{meanwhile}.")
    edges = np.flatnonzero(np.diff(count)) + 1
    starts, stops = np.append(0, edges), np.append(edges, len(count)) - 1
    k = int(np.argmax(t[stops] - t[starts]))
    if stops[k] > starts[k] and len(starts) > 1:
        span = f"from depth {number(t[starts[k]])} to {number(t[stops[k]])}"
        found.append(f"The longest wait: {_counted(count[starts[k]])} {span}.")
    return found


def behavior(dataset: xr.Dataset, names: Sequence[str] | None = None) -> list[str]:
    """Which observables of one member were conserved, never fell, or never rose."""
    found = []
    for name in observables(dataset) if names is None else names:
        values = np.asarray(dataset[name].values, float)
        reached = values[np.isfinite(values)]
        word = str(dataset[name].attrs.get("long_name", name)).replace("_", " ")
        word = word[:1].upper() + word[1:]
        if len(reached) < len(values) and len(reached):
            found.append(f"{word}: no finite number at {len(values) - len(reached)} of {len(values)} depths.")
        if len(reached) < 2:
            continue
        found.append(f"{word}: {_course(reached)}.")
    return found


def _course(values: np.ndarray) -> str:
    size = float(np.abs(values).max())
    step, span = np.diff(values), float(np.ptp(values))
    if span <= SAME * size or size == 0:
        return f"conserved at {number(values[0])}" + (f", relatively to {span / size:.1g}" if span else "")
    ends = f"from {number(values[0])} to {number(values[-1])}"
    if step.min() >= -SAME * size:
        return f"never fell, {ends}"
    if step.max() <= SAME * size:
        return f"never rose, {ends}"
    return f"{ends}, between {number(values.min())} and {number(values.max())}"


def merged(manifest: Mapping[str, Any], member: int) -> list[str]:
    """What is said of tokens that met and moved as one."""
    members = manifest.get("members", [])
    said = members[member].get("coalescence") if member < len(members) else None
    if not said:
        return []
    whole = (
        f"Tokens that met to within {number(said['tolerance'])} were moved as one: at the end {said['moving']} moved"
    )
    return [f"{whole} for {said['tokens']}, none displaced by more than {number(said['largest_displacement'])}."]


def _counted(count: Any) -> str:
    return "1 cluster" if int(count) == 1 else f"{int(count)} clusters"
