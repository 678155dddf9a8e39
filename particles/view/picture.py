"""Where tokens are on a page: positions of all members in the coordinates of one picture, on one grid.

Members are seen from one side and at one scale, so that they may be compared. A position that is not finite is nowhere.
"""

from typing import Any

import numpy as np
import xarray as xr

from ..plots.paths import LARGEST, Index, picked
from .packing import grid
from .shape import Shape, shape
from .words import follows_tokens

SIMILAR = 512
"""Most tokens of which a matrix of all pairs is shown."""

FAR = 1e4
"""Positions so many times as far out as any at the first depth are not in the picture."""


class Picture:
    """The positions of all members in the coordinates of the picture, and the grid they are rounded to."""

    def __init__(self, dataset: xr.Dataset, every: tuple[Index, ...], frames: list[int], tokens: list[int]):
        whole = [_positions(dataset.isel(at), frames, tokens) for at in every]
        self.x, self.note = near(whole)
        pooled = np.concatenate([x[np.isfinite(x).all(axis=-1)] for x in self.x])
        self.shape: Shape = shape(dataset, pooled if len(pooled) else np.zeros((1, dataset.sizes["dim"])))
        self.notes = [note for note in (self.shape.note, self.note) if note]
        self.places = [self.shape.coordinates(x) for x in self.x]
        self.grid = grid(self.places)

    def reached(self, member: int) -> int:
        """At how many frames a member has tokens anywhere."""
        return int(np.count_nonzero(np.isfinite(self.x[member]).all(axis=-1).any(axis=-1)))

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


def has_tokens(dataset: xr.Dataset) -> bool:
    """Whether there is a token at a depth."""
    return follows_tokens(dataset) and 0 not in dataset["tokens"].shape


def _positions(part: xr.Dataset, frames: list[int], tokens: list[int]) -> np.ndarray:
    x = thinned(part["tokens"], frames, tokens)
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


def thinned(variable: xr.DataArray, frames: list[int], tokens: list[int]) -> np.ndarray:
    """The numbers of a variable with time, token and perhaps dim last."""
    dims = [dim for dim in ("time", "token", "dim") if dim in variable.dims]
    return np.asarray(variable.isel(time=frames, token=tokens).transpose(..., *dims).values, float)
