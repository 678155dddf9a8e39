"""What is drawn, taken out of a dataset: the members of a sweep, their titles, and the paths of their tokens.

A dataset holds one run or a sweep of many; a sweep is any number of leading dims, each with a coordinate. A `Path` is
the tokens of one member over the depths it reached: frames that were not reached and tokens that only pad are left
out here, once, so that nothing that draws has to know of them. Nothing here knows what a picture looks like.
"""

import itertools
from collections.abc import Sequence
from typing import Any

import equinox as eqx
import numpy as np
import xarray as xr
from jaxtyping import Bool, Float

LARGEST = 1e100
"""Beyond this a position cannot be drawn (its square would overflow); it counts as not finite."""

STILL = 1e-9
"""Relatively to where the tokens are: what moves by less does not move."""

_ARC = 0.1
"""Longer arcs, in radians, are not drawn as one straight line."""

_SHORT = 1e-6
"""Arcs so short are straight to rounding; between points so nearly opposite there is no one arc."""

_OWN = ("time", "token", "dim")

Index = dict[str, int]


class Path(eqx.Module):
    """The tokens of one member at the depths it reached; a token that is not finite at a depth is NaN there."""

    title: str = eqx.field(static=True)
    time: Float[np.ndarray, " t"]
    x: Float[np.ndarray, "t n d"]

    def finite(self) -> Bool[np.ndarray, "t n"]:
        """Which tokens are anywhere, at each depth."""
        return np.all(np.isfinite(self.x), axis=-1)

    def motion(self) -> Float[np.ndarray, " t"]:
        """How far the tokens have moved until each frame: the length of their paths, on average over the tokens."""
        step = np.nan_to_num(np.linalg.norm(np.diff(self.x, axis=0), axis=-1))
        return np.concatenate([[0.0], np.cumsum(step.sum(axis=1) / max(self.x.shape[1], 1))])

    def still(self) -> Bool[np.ndarray, " n"]:
        """Which tokens never move while others do; one that is nowhere at some depth is not among them."""
        size = np.nanmax(np.abs(self.x), initial=0.0)
        moved = np.ptp(self.x, axis=0).max(axis=-1) > STILL * size
        return self.finite().all(axis=0) & ~moved & moved.any()

    def at(self, frames: Any) -> "Path":
        """The same tokens at fewer depths."""
        return Path(title=self.title, time=self.time[frames], x=self.x[frames])


def sweep_dims(dataset: xr.Dataset) -> tuple[str, ...]:
    """The dims along which runs differ: those of the tokens, or those that all observables share."""
    if "tokens" in dataset:
        return tuple(str(d) for d in dataset["tokens"].dims if d not in _OWN)
    timed = [set(v.dims) for v in dataset.data_vars.values() if "time" in v.dims]
    shared = set.intersection(*timed) if timed else set()
    return tuple(str(d) for d in dataset.dims if d in shared and d not in _OWN)


def observables(dataset: xr.Dataset) -> tuple[str, ...]:
    """The variables that are one number per depth and member."""
    wanted = {*sweep_dims(dataset), "time"}
    return tuple(str(name) for name, v in dataset.data_vars.items() if set(v.dims) == wanted and v.dtype.kind in "fiub")


def members(dataset: xr.Dataset) -> tuple[Index, ...]:
    """Where each member of the sweep is; a run that is no sweep has one member, at no index."""
    dims = sweep_dims(dataset)
    return tuple(dict(zip(dims, at, strict=True)) for at in itertools.product(*(range(dataset.sizes[d]) for d in dims)))


def picked(count: int, most: int) -> list[int]:
    """At most `most` of `count` places, evenly spread, the first and the last among them."""
    if count <= most:
        return list(range(count))
    if most == 1:
        return [count - 1]
    return sorted({round(float(k)) for k in np.linspace(0, count - 1, most)})


def symbol(dataset: xr.Dataset, dim: str) -> str:
    """How a coordinate is written."""
    return str(dataset[dim].attrs.get("symbol", dim))


def written(value: Any) -> str:
    """A coordinate's value as it stands in a title."""
    value = getattr(value, "item", lambda: value)()
    if not isinstance(value, float):
        return str(value)
    if np.isinf(value):
        return r"$\infty$"
    mantissa, _, exponent = f"{value:.4g}".partition("e")
    return rf"${mantissa} \times 10^{{{int(exponent)}}}$" if exponent else mantissa


def title(dataset: xr.Dataset, at: Index) -> str:
    """What sets a member apart from the others, such as `$\\beta$ = 4`."""
    return ", ".join(named(dataset, d, i) for d, i in at.items())


def named(dataset: xr.Dataset, dim: str, k: int) -> str:
    """A value of a swept coordinate with its symbol; words stand for themselves."""
    values = dataset[dim].values
    word = written(values[k])
    return word if values.dtype.kind == "U" else f"{symbol(dataset, dim)} = {word}"


def depth_label(dataset: xr.Dataset) -> str:
    """The label of a depth axis."""
    return f"{dataset['time'].attrs.get('long_name', 'depth')} {depth_symbol(dataset)}"


def depth_symbol(dataset: xr.Dataset) -> str:
    """How depth is written."""
    return str(dataset["time"].attrs.get("symbol", "$t$"))


def path(dataset: xr.Dataset, at: Index, frames: int) -> Path:
    """The path of one member, at most `frames` of the frames it reached."""
    x = np.asarray(dataset["tokens"].isel(at).transpose("time", "token", "dim").values, float)
    seen = np.asarray(np.all(np.abs(x) <= LARGEST, axis=-1))
    x = np.where(seen[..., None], x, np.nan)[:, seen.any(axis=0)]
    reached = np.flatnonzero(seen.any(axis=1))
    kept = reached[picked(len(reached), frames)]
    return Path(title=title(dataset, at), time=np.asarray(dataset["time"].values, float)[kept], x=x[kept])


def curved(dataset: xr.Dataset, path: Path) -> Path:
    """The path with places between frames that are far apart on a sphere, along the arcs between them."""
    if dataset.attrs.get("space") != "Sphere" or len(path.time) < 2:
        return path
    radius = np.linalg.norm(path.x, axis=-1, keepdims=True)
    u = path.x / np.where(radius > 0, radius, 1)
    angle = 2 * np.arcsin(np.minimum(1, np.linalg.norm(np.diff(u, axis=0), axis=-1) / 2))
    furthest = np.max(np.nan_to_num(angle), axis=1)
    pieces = np.clip(np.ceil(furthest / _ARC), 1, np.ceil(np.pi / _ARC)).astype(int)
    frame = np.repeat(np.arange(len(pieces)), pieces)
    part = np.concatenate([np.arange(count) / count for count in pieces])
    turn = angle[frame, :, None]
    near, share = np.minimum(turn, np.pi - turn) < _SHORT, part[:, None, None]
    whole = np.where(near, 1, np.sin(turn))
    begun = np.where(near, 1 - share, np.sin((1 - share) * turn) / whole)
    ended = np.where(near, share, np.sin(share * turn) / whole)
    x = radius[frame] * (begun * u[frame] + ended * u[frame + 1])
    time = path.time[frame] + part * (path.time[frame + 1] - path.time[frame])
    return Path(title=path.title, time=np.append(time, path.time[-1]), x=np.concatenate([x, path.x[-1:]]))


def begun(dataset: xr.Dataset) -> list[Index]:
    """The members that have tokens somewhere at their first depth; the others have nothing to draw."""
    dims = sweep_dims(dataset)
    start = dataset["tokens"].isel(time=0).transpose(*dims, "token", "dim").values
    alive = np.any(np.all(np.abs(start) <= LARGEST, axis=-1), axis=-1)
    return [at for at in members(dataset) if alive[tuple(at.values())]]


def paths(dataset: xr.Dataset, most: int, frames: int) -> list[Path]:
    """The paths of at most `most` of the members that began, evenly picked."""
    every = begun(dataset)
    return [path(dataset, every[k], frames) for k in picked(len(every), most)]


def pick_note(dataset: xr.Dataset, most: int) -> str:
    """Says that not all members are shown, if so."""
    count = len(members(dataset))
    shown = len(picked(len(begun(dataset)), most))
    return f" Shown are {shown} of the {count} members of the sweep, evenly picked." if shown < count else ""


def still_note(shown: Sequence[Path]) -> str:
    """Says what the tokens are that never move, if there are any."""
    return " Diamonds are tokens that never move." if any(path.still().any() for path in shown) else ""


def token_fault(dataset: xr.Dataset, what: str) -> str | None:
    """Why a figure that needs tokens cannot serve, or None."""
    if "tokens" not in dataset:
        return f"{what} needs stored tokens; set `plan.tokens = true`"
    x = dataset["tokens"]
    if 0 in x.shape:
        return f"{what} needs at least one token and one frame; the dataset has the sizes {dict(x.sizes)}"
    if not begun(dataset):
        return (
            f"{what} needs a frame that was reached; the tokens of this dataset are nowhere finite at its first depth"
        )
    return None
