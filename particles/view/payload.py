"""What a page is about, as plain data: `payload(record)`.

A payload holds all that the scripts of a page need and nothing that they could work out: positions as integers of two
bytes, observables, clusters through depth, words. It is bounded in size; what was left out stands in its notes.
"""

from typing import Any

import numpy as np
import xarray as xr

from ..plots.paths import LARGEST, Index, members, observables, picked, sweep_dims
from . import setting, summary, trees
from .packing import grid, packed
from .shape import Shape, shape, toward
from .source import Source
from .thinning import thinning
from .words import plain

MOST_BYTES = 20_000_000
"""Most bytes of a page."""

CURVE = 2000
"""Most points of a curve of an observable."""

SIMILAR = 512
"""Most tokens of which a matrix of all pairs is shown."""

FAR = 1e4
"""Positions so many times as far out as any at the first depth are not in the picture."""

_SHARE = 0.85
"""Of a page's bytes for positions; of the rest, half for what a matrix needs in more than three dimensions."""


def payload(shown: Source, most_bytes: int = MOST_BYTES) -> dict[str, Any]:
    """Everything that a page shows.

    Parameters
    ----------
    most_bytes : about what the page may take; depth and then tokens are thinned until it does.
    """
    dataset = shown.dataset
    fields = _fields(dataset)
    columns = (min(dataset.sizes.get("dim", 1), 3) if "tokens" in dataset else 1) + len(fields)
    thin = thinning(dataset, columns, _SHARE * most_bytes)
    dataset = thin.apply(dataset)
    every = members(dataset)
    picture = _Picture(dataset, every, thin.frames, thin.tokens) if _has_tokens(dataset) else None
    curves = shown.order(observables(dataset))
    ranges = {name: grid([_thinned(dataset[name], thin.frames, thin.tokens)[..., None]]) for name in fields}
    parts = [_member(shown, dataset, at, picture, curves, ranges, thin) for at in every]
    notes = [*shown.notes, *thin.notes, *(picture.notes if picture else [])]
    if picture:
        notes += _remarks(dataset, picture, parts)
        vectors = picture.vectors((1 - _SHARE) / 2 * most_bytes)
        for part, vector in zip(parts, vectors, strict=True):
            part["vectors"] = vector
    times = np.asarray(dataset["time"].values, float) if "time" in dataset.coords else np.zeros(0)
    return {
        "format": 1,
        "name": shown.name,
        "status": shown.status,
        "caption": str(dataset.attrs.get("caption", "")),
        "time": {"values": times[thin.frames].tolist(), "frames": thin.frames, "label": _label(dataset)},
        "tokens": _tokens(dataset, shown, picture, thin.tokens),
        "sweep": [_dimension(dataset, dim) for dim in sweep_dims(dataset)],
        "observables": [_words(dataset, name) for name in curves],
        "fields": [{**_words(dataset, name), **ranges[name].plain()} for name in fields],
        "curve": times[picked(len(times), CURVE)].tolist(),
        "members": parts,
        "notes": notes,
        "summary": [summary.beginning(dataset, shown.settings), *summary.ending(dataset, shown.manifest)],
    }


class _Picture:
    """The positions of all members in the coordinates of the picture, and the grid they are rounded to."""

    def __init__(self, dataset: xr.Dataset, every: tuple[Index, ...], frames: list[int], tokens: list[int]):
        whole = [_positions(dataset.isel(at), frames, tokens) for at in every]
        self.x, self.note = near(whole)
        pooled = np.concatenate([x[np.isfinite(x).all(axis=-1)] for x in self.x])
        self.shape: Shape = shape(dataset, pooled if len(pooled) else np.zeros((1, dataset.sizes["dim"])))
        self.notes = [note for note in (self.shape.note, self.note) if note]
        self.places = [self.shape.coordinates(x) for x in self.x]
        self.grid = grid(self.places)

    def vectors(self, room: float) -> list[dict[str, Any] | None]:
        """Whole positions where the picture is a shadow, at as many frames as there is room for: for a matrix."""
        frames, n, d = self.x[0].shape
        if self.shape.directions is None or n > SIMILAR:
            return [None] * len(self.x)
        kept = int(room / (len(self.x) * n * d * 2 * 4 / 3))
        if kept < 1:
            return [None] * len(self.x)
        some = picked(frames, min(kept, frames))
        fine = grid(self.x)
        return [{"frames": some, "dim": d, **fine.plain(), "data": fine.pack(x[some])} for x in self.x]


def _has_tokens(dataset: xr.Dataset) -> bool:
    return "tokens" in dataset and 0 not in dataset["tokens"].shape and "time" in dataset["tokens"].dims


def _positions(part: xr.Dataset, frames: list[int], tokens: list[int]) -> np.ndarray:
    x = _thinned(part["tokens"], frames, tokens)
    return np.where(np.all(np.abs(x) <= LARGEST, axis=-1, keepdims=True), x, np.nan)


def near(parts: list[np.ndarray]) -> tuple[list[np.ndarray], str]:
    """Positions without those that are so far out that nothing else could be seen beside them, and what is said then.

    Parameters
    ----------
    parts : of each member, `[time token dim]`.
    """
    size = [np.linalg.norm(x, axis=-1) for x in parts]
    first = [float(np.nanmax(s[:1], initial=0.0)) for s in size if np.isfinite(s[:1]).any()]
    limit = FAR * (max(first, default=0.0) or 1.0)
    out = sum(int(np.count_nonzero(s > limit)) for s in size)
    if not out:
        return parts, ""
    note = f"{out} positions are farther than {limit:.3g} from the origin, and are left out of the picture."
    return [np.where((s <= limit)[..., None], x, np.nan) for x, s in zip(parts, size, strict=True)], note


def _thinned(variable: xr.DataArray, frames: list[int], tokens: list[int]) -> np.ndarray:
    """The numbers of a variable with time, token and perhaps dim last."""
    dims = [dim for dim in ("time", "token", "dim") if dim in variable.dims]
    return np.asarray(variable.isel(time=frames, token=tokens).transpose(..., *dims).values, float)


def _fields(dataset: xr.Dataset) -> tuple[str, ...]:
    """The observables with one number for each token."""
    wanted = {*sweep_dims(dataset), "time", "token"}
    names = (str(name) for name, v in dataset.data_vars.items() if set(v.dims) == wanted and v.dtype.kind in "fiub")
    return tuple(names) if _has_tokens(dataset) else ()


def _member(shown, dataset, at, picture, curves, ranges, thin) -> dict[str, Any]:
    """One member of a sweep, or the run."""
    part = dataset.isel(at)
    k = members(dataset).index(at)
    found: dict[str, Any] = {"at": list(at.values()), "positions": None, "tree": None, "reached": 0, "attention": None}
    tree = None
    if picture:
        x = picture.x[k]
        found["reached"] = int(np.isfinite(x).all(axis=-1).any(axis=1).sum())
        found["positions"] = picture.grid.pack(picture.places[k])
        tree = trees.grown(part.isel(time=thin.frames, token=thin.tokens), len(picture.x))
        found["tree"] = None if tree is None else trees.plain(tree, len(thin.tokens))
        values = {name: dataset[name].values[index] for name, index in at.items()}
        found["attention"] = setting.attention(shown.settings, dataset, values)
    some = picked(dataset.sizes.get("time", 0), CURVE)
    found["curves"] = {name: packed(part[name].isel(time=some).values, "<f4") for name in curves}
    found["fields"] = {
        name: fine.pack(_thinned(part[name], thin.frames, thin.tokens)[..., None]) for name, fine in ranges.items()
    }
    where = _index(shown, at, thin.members)
    said = summary.clusters(tree and tree.tree) + summary.behavior(part, curves) + summary.merged(shown.manifest, where)
    found["summary"] = said
    return found


def _index(shown: Source, at: Index, kept: dict[str, list[int]]) -> int:
    """The place of a member among all of the run, of which some may have been left out."""
    place = 0
    for dim, index in at.items():
        place = place * shown.dataset.sizes[dim] + kept[dim][index]
    return place


def _tokens(dataset: xr.Dataset, shown: Source, picture: _Picture | None, kept: list[int]) -> dict[str, Any] | None:
    if picture is None:
        return None
    known = setting.numbers(shown.dataset, shown.settings)
    numbers = [known[k] for k in kept]
    edges = [edge for edge in setting.species(shown.settings) if edge <= numbers[-1]]
    return {
        "count": len(kept),
        "numbers": numbers if numbers != list(range(len(kept))) else None,
        "species": edges,
        "mode": picture.shape.mode,
        "labels": list(picture.shape.labels),
        "radius": picture.shape.radius,
        "dim": dataset.sizes["dim"],
        "space": str(dataset.attrs.get("space", "")),
        "toward": toward(picture.places[0]) if len(picture.shape.labels) == 3 else None,
        **picture.grid.plain(),
    }


def _remarks(dataset: xr.Dataset, picture: _Picture, parts: list[dict[str, Any]]) -> list[str]:
    error = picture.grid.scale.max() / 2
    found = [f"Positions are stored to ±{error:.2g}."]
    n = len(picture.x[0][0])
    if all(part["tree"] is None for part in parts):
        if n > trees.MOST:
            found.append(f"Clusters are told apart among at most {trees.MOST} tokens, and are not shown here.")
        elif n > 1 and dataset.sizes["time"] > 1:
            found.append("Clusters are not shown: the record does not say enough of its space to measure distances.")
    return found


def _dimension(dataset: xr.Dataset, dim: str) -> dict[str, Any]:
    values = dataset[dim].values
    words = [f"{value:.4g}" if values.dtype.kind == "f" else str(value) for value in values]
    return {"name": dim, "label": plain(str(dataset[dim].attrs.get("symbol", dim))), "values": words}


def _words(dataset: xr.Dataset, name: str) -> dict[str, Any]:
    attrs = dataset[name].attrs
    unit = str(attrs.get("units", "1"))
    return {"name": name, "label": str(attrs.get("long_name", name)), "unit": "" if unit == "1" else unit}


def _label(dataset: xr.Dataset) -> str:
    return str(dataset["time"].attrs.get("long_name", "depth")) if "time" in dataset.coords else "depth"
