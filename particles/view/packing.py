"""Numbers in text: arrays as base64, positions as integers of two bytes.

A position is `offset + scale * q` with q from -32767 to 32767, so the error is at most half a `scale` in each
coordinate; -32768 stands for "nowhere". JSON with numbers written out would be five times as long and slower to read.
"""

import base64
import dataclasses
from typing import Any

import numpy as np
from jaxtyping import Float

NOWHERE = -32768
_STEPS = 65534


@dataclasses.dataclass(frozen=True)
class Grid:
    """The grid that numbers are rounded to: one offset and one scale for each of the last axis' entries."""

    offset: Float[np.ndarray, " d"]
    scale: Float[np.ndarray, " d"]

    def pack(self, x: Float[np.ndarray, "... d"]) -> str:
        """The numbers as base64 of integers."""
        with np.errstate(invalid="ignore"):
            steps = np.rint((x - self.offset) / self.scale)
        return packed(np.where(np.isfinite(steps), np.clip(steps, -32767, 32767), NOWHERE), "<i2")

    def plain(self) -> dict[str, list[float]]:
        """Offset and scale as plain data."""
        return {"offset": self.offset.tolist(), "scale": self.scale.tolist()}


def grid(parts: list[Float[np.ndarray, "... d"]]) -> Grid:
    """The finest grid that holds all finite numbers of some arrays."""
    d = parts[0].shape[-1]
    low, high = np.full(d, np.inf), np.full(d, -np.inf)
    for x in parts:
        rows = x.reshape(-1, d)
        finite = np.isfinite(rows)
        low = np.minimum(low, np.where(finite, rows, np.inf).min(axis=0, initial=np.inf))
        high = np.maximum(high, np.where(finite, rows, -np.inf).max(axis=0, initial=-np.inf))
    low, high = np.where(low > high, 0.0, low), np.where(low > high, 0.0, high)
    scale = (high - low) / _STEPS
    return Grid(low + (high - low) / 2, np.where(scale > 0, scale, 1.0))


def packed(values: Any, dtype: str) -> str:
    """An array as base64 of its numbers, little end first."""
    with np.errstate(over="ignore"):  # beyond float32 is infinite, which no chart shows
        return base64.b64encode(np.ascontiguousarray(values, dtype).tobytes()).decode()
