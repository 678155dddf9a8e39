"""Which picture tokens make: a sphere, a circle, a plane, a line, space, or the shadow of a larger space."""

import dataclasses
import math

import numpy as np
import xarray as xr
from jaxtyping import Float

from ..plots.paths import Path, picked
from ..plots.sight import facing
from ..plots.views import principal

_MODES = {("Sphere", 2): "circle", ("Sphere", 3): "sphere", ("", 1): "line", ("", 2): "plane", ("", 3): "space"}
_LETTERS = ("x₁", "x₂", "x₃")


@dataclasses.dataclass(frozen=True)
class Shape:
    """How positions become coordinates of the picture.

    Attributes
    ----------
    mode : sphere, circle, plane, line, space, or principal.
    directions : rows of the picture's coordinates; absent where they are the tokens' own.
    labels : of the axes.
    radius : of the boundary that is drawn; 0 for none.
    note : what is said of it.
    """

    mode: str
    labels: tuple[str, ...]
    radius: float
    directions: Float[np.ndarray, "k d"] | None = None
    note: str = ""

    def coordinates(self, x: Float[np.ndarray, "*m d"]) -> Float[np.ndarray, "*m k"]:
        """Positions in the picture."""
        return x if self.directions is None else x @ self.directions.T


def shape(dataset: xr.Dataset, pooled: Float[np.ndarray, "m d"]) -> Shape:
    """The picture for a dataset.

    Parameters
    ----------
    pooled : positions of all members and depths, finite ones only.
    """
    d, space = dataset.sizes["dim"], str(dataset.attrs.get("space", ""))
    bounded = space in ("Sphere", "Ball")
    radius = float(dataset.attrs.get("radius", 1.0)) if bounded else 0.0
    if d <= 3:
        return Shape(_MODES.get((space, d)) or _MODES["", d], _LETTERS[:d], radius)
    directions, shares = principal(pooled)
    labels = tuple(f"direction {k + 1} ({100 * share:.0f} %)" for k, share in enumerate(shares))
    parts = ", ".join(f"{100 * share:.1f} %" for share in shares)
    note = (
        f"Tokens live in {d} dimensions. The picture is their shadow along the three principal directions of all depths"
        f"{' and members' if len(dataset['tokens'].dims) > 3 else ''}, which carry {parts} of the variance, "
        f"{100 * shares.sum():.1f} % together."
    )
    return Shape("principal", labels, radius, directions, note)


def toward(places: Float[np.ndarray, "t n 3"], most: int = 300) -> list[float]:
    """Azimuth and height, in radians, from which the ends of paths are seen best; of at most so many tokens."""
    some = places[:, picked(places.shape[1], most)]
    x, y, z = facing([Path(title="", time=np.arange(len(some), dtype=float), x=some)])
    return [math.atan2(y, x), math.asin(z)]
