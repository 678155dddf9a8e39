"""What a page is about, as plain data: `payload(record)`.

A payload holds all that the scripts of a page need and nothing that they could work out: positions as integers of two
bytes, observables, clusters through depth, words. It is bounded in size; what was left out stands in its notes.
"""

import dataclasses
from typing import Any

import numpy as np
import xarray as xr

from ..plots.paths import Index, members, observables, picked, sweep_dims
from . import setting, summary, trees
from .packing import Grid, grid, packed
from .picture import Picture, has_tokens, thinned
from .shape import toward
from .source import Source
from .thinning import Thinning, thinning
from .words import follows_tokens, plain

MOST_BYTES = 20_000_000
"""Most bytes of a page."""

CURVE = 2000
"""Most points of a curve of an observable."""

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
    columns = (min(dataset.sizes.get("dim", 1), 3) if follows_tokens(dataset) else 1) + len(fields)
    thin = thinning(dataset, columns, _SHARE * most_bytes)
    dataset = thin.apply(dataset)
    every = members(dataset)
    picture = Picture(dataset, every, thin.frames, thin.tokens) if has_tokens(dataset) else None
    curves = shown.order(observables(dataset))
    ranges = {name: grid([thinned(dataset[name], thin.frames, thin.tokens)[..., None]]) for name in fields}
    whole = _Whole(shown, dataset, thin, picture, curves, ranges)
    parts = [whole.member(k, at) for k, at in enumerate(every)]
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


@dataclasses.dataclass(frozen=True)
class _Whole:
    """What all members of a sweep have in common."""

    shown: Source
    dataset: xr.Dataset
    thin: Thinning
    picture: Picture | None
    curves: tuple[str, ...]
    ranges: dict[str, Grid]

    def member(self, k: int, at: Index) -> dict[str, Any]:
        """The k-th member, or the run."""
        part, thin = self.dataset.isel(at), self.thin
        found: dict[str, Any] = {"at": list(at.values()), "positions": None, "tree": None, "attention": None}
        tree, said = None, []
        if self.picture:
            found["positions"] = self.picture.grid.pack(self.picture.places[k])
            tree = trees.grown(part.isel(time=thin.frames, token=thin.tokens), len(self.picture.x))
            found["tree"] = None if tree is None else trees.plain(tree, len(thin.tokens))
            values = {name: self.dataset[name].values[index] for name, index in at.items()}
            found["attention"] = setting.attention(self.shown.settings, self.dataset, values)
            reached = np.asarray(part["time"].values)[thin.frames][: self.picture.reached(k)]
            said = summary.reach(reached, len(thin.frames))
        some = picked(self.dataset.sizes.get("time", 0), CURVE)
        found["curves"] = {name: packed(part[name].isel(time=some).values, "<f4") for name in self.curves}
        found["fields"] = {
            name: fine.pack(thinned(part[name], thin.frames, thin.tokens)[..., None])
            for name, fine in self.ranges.items()
        }
        said += summary.clusters(tree and tree.tree) + summary.behavior(part, self.curves)
        return found | {"summary": said + summary.merged(self.shown.manifest, self._place(at))}

    def _place(self, at: Index) -> int:
        """The place of a member among all of the run, of which some may have been left out."""
        place = 0
        for dim, index in at.items():
            place = place * self.shown.dataset.sizes[dim] + self.thin.members[dim][index]
        return place


def _fields(dataset: xr.Dataset) -> tuple[str, ...]:
    """The observables with one number for each token."""
    wanted = {*sweep_dims(dataset), "time", "token"}
    names = (str(name) for name, v in dataset.data_vars.items() if set(v.dims) == wanted and v.dtype.kind in "fiub")
    return tuple(names) if has_tokens(dataset) else ()


def _tokens(dataset: xr.Dataset, shown: Source, picture: Picture | None, kept: list[int]) -> dict[str, Any] | None:
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


def _remarks(dataset: xr.Dataset, picture: Picture, parts: list[dict[str, Any]]) -> list[str]:
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
