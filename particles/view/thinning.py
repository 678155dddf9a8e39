"""How much of a run fits on a page, and what was left out.

A page has a size that it must not exceed. What does not fit is thinned: members of a sweep first to a number that
sliders can still tell apart, then depth, since neighboring frames look alike, and tokens last. Everything that is left
out is said on the page.
"""

import dataclasses
import math

import xarray as xr

from ..plots.paths import picked, sweep_dims
from .words import follows_tokens

MEMBERS = 256
"""Most members of a sweep on a page."""

FRAMES = 16
"""Depth is not thinned below so many frames; tokens are then."""


@dataclasses.dataclass(frozen=True)
class Thinning:
    """What is kept, and sentences about what is not.

    Attributes
    ----------
    frames, tokens : indices into the record.
    members : for each swept dimension the indices that are kept.
    notes : what was left out.
    """

    frames: list[int]
    tokens: list[int]
    members: dict[str, list[int]]
    notes: tuple[str, ...]

    def apply(self, dataset: xr.Dataset) -> xr.Dataset:
        """The dataset without what was left out of its members."""
        return dataset.isel(self.members) if self.members else dataset


def thinning(dataset: xr.Dataset, columns: int, room: float) -> Thinning:
    """What of a dataset is shown.

    Parameters
    ----------
    columns : numbers that are stored for each token and frame, of two bytes each.
    room : bytes of text that they may take.
    """
    members = _members(dataset)
    count = math.prod(len(kept) for kept in members.values())
    frames, tokens = dataset.sizes.get("time", 0), dataset.sizes.get("token", 0) if follows_tokens(dataset) else 0
    fit = room / (count * columns * 2 * 4 / 3)  # base64 writes three bytes as four letters
    kept_frames = frames
    if tokens and frames * tokens > fit:
        kept_frames = max(min(frames, FRAMES), int(fit / tokens))
    kept_tokens = min(tokens, max(1, int(fit / max(kept_frames, 1))))
    notes = []
    for dim, kept in members.items():
        if len(kept) < dataset.sizes[dim]:
            notes.append(f"Shown are {len(kept)} of {dataset.sizes[dim]} values of {dim}, evenly picked.")
    if kept_frames < frames:
        notes.append(f"Shown are {kept_frames} of {frames} frames, evenly picked, so that the page stays small.")
    if kept_tokens < tokens:
        notes.append(f"Shown are {kept_tokens} of {tokens} tokens, evenly picked by number.")
    return Thinning(picked(frames, kept_frames), picked(tokens, kept_tokens), members, tuple(notes))


def _members(dataset: xr.Dataset) -> dict[str, list[int]]:
    """For each swept dimension the values that are kept: the largest are thinned first."""
    sizes = {dim: dataset.sizes[dim] for dim in sweep_dims(dataset)}
    while math.prod(sizes.values()) > MEMBERS:
        largest = max(sizes, key=sizes.__getitem__)
        sizes[largest] = max(1, sizes[largest] - max(1, sizes[largest] // 8))
    return {dim: picked(dataset.sizes[dim], size) for dim, size in sizes.items()}
