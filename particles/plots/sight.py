"""From where a sphere is looked at.

The reader should see where the tokens end, all gatherings if possible, and not have the largest of them hide the rest.
A direction is scored by how well each final position is turned toward it, and the best of a fixed set of directions is
taken: no iteration, no chance, the same dataset is always seen from the same side.
"""

from collections.abc import Sequence

import numpy as np
from jaxtyping import Float

from .paths import Path

_ENOUGH = 0.5
"""Cosine to the line of sight from which on a point counts as well seen: many a little aside, not one in the middle."""

_NEAR = 0.95
"""Cosine above which two final positions count as one gathering; only the line of sight depends on it."""


def facing(paths: Sequence[Path], candidates: int = 400) -> Float[np.ndarray, "3"]:
    """The unit vector toward the reader from which the ends of these paths are seen best.

    A gathering counts by the square root of its size: small ones are not given up for large ones. Among equals the view
    that also sees more of the way there is taken. Directions near the third axis are left out, so that it can point up.
    """
    directions = _spread(candidates)
    score = np.zeros(len(directions))
    for p in paths:
        ends = _units(p.x[-1:])
        if not len(ends):
            continue
        size = (ends @ ends.T > _NEAR).sum(axis=1)
        weight = 1 / np.sqrt(size)
        way = _units(p.x[:: max(len(p.x) // 20, 1)])
        score += (_seen(directions @ ends.T) * weight).sum(axis=1) / weight.sum()
        score += 0.1 * _seen(directions @ way.T).mean(axis=1)
    return directions[int(np.argmax(np.round(score, 9)))]


def _seen(cosine: Float[np.ndarray, "c m"]) -> Float[np.ndarray, "c m"]:
    return np.clip(cosine, 0, _ENOUGH)


def _units(x: Float[np.ndarray, "t n 3"]) -> Float[np.ndarray, "m 3"]:
    rows = x[np.isfinite(x).all(axis=-1)]
    return rows / np.maximum(np.linalg.norm(rows, axis=-1, keepdims=True), 1e-300)


def _spread(count: int) -> Float[np.ndarray, "c 3"]:
    """Directions spread evenly over the belts between 12 and 50 degrees north and south: a golden spiral.

    From the equator parallels are straight lines and the sphere looks flat; from a pole nothing points up.
    """
    heights = np.linspace(np.sin(np.radians(12)), np.sin(np.radians(50)), count)
    z = heights * np.where(np.arange(count) % 2, -1, 1)
    turn = np.pi * (3 - np.sqrt(5)) * np.arange(count)
    across = np.sqrt(1 - z**2)
    return np.stack([across * np.cos(turn), across * np.sin(turn), z], axis=-1)
