"""Tokens between the frames that a record keeps.

Between two stored frames a token follows a cubic that is monotone in every coordinate, so that it goes through both,
turns no corner there and swings past neither; the space then takes it back. It is a picture of the motion and no
result: what is measured is measured at stored frames.
"""

import jax.numpy as jnp
import numpy as np
from jaxtyping import Float

from ...spaces import AbstractSpace


def between(
    at: Float[np.ndarray, " t"], x: Float[np.ndarray, "t n d"], wanted: Float[np.ndarray, " f"]
) -> Float[np.ndarray, "f n d"]:
    """Tokens at wanted places of a clock.

    A token that is not finite at one of two frames stays until half way at the other; before the first frame and after
    the last one all stay where they are.

    Parameters
    ----------
    at : where the stored frames are on the clock, increasing.
    x : the tokens there.
    wanted : places between them.

    Source
    ------
    fritsch1984method, for the slopes.
    """
    if len(at) < 2:
        return np.repeat(x[:1], len(wanted), axis=0)
    wanted = np.clip(wanted, at[0], at[-1])
    k = np.clip(np.searchsorted(at, wanted, side="right") - 1, 0, len(at) - 2)
    step = np.diff(at)[:, None, None]
    rate = np.diff(x, axis=0) / step
    slope = np.concatenate([rate[:1], _middle(rate, step), rate[-1:]])
    h, u = step[k], ((wanted - at[k]) / (at[k + 1] - at[k]))[:, None, None]
    low, high = x[k], x[k + 1]
    bent = (u * (1 - u)) * ((1 - u) * h * slope[k] - u * h * slope[k + 1] + (2 * u - 1) * (high - low))
    found = low + u * (high - low) + bent
    near = np.where(u < 0.5, low, high)
    found = np.where(np.isfinite(found), found, np.where(np.isfinite(near), near, np.where(u < 0.5, high, low)))
    return np.where(u == 1, high, np.where(u == 0, low, found))


def _middle(rate: Float[np.ndarray, "s n d"], step: Float[np.ndarray, "s 1 1"]) -> Float[np.ndarray, "m n d"]:
    """The slopes at inner frames: weighted harmonic means of the rates beside them, zero where it turns or ends."""
    before, after, left, right = rate[:-1], rate[1:], step[:-1], step[1:]
    with np.errstate(divide="ignore", invalid="ignore", over="ignore"):
        mean = 3 * (left + right) / ((2 * right + left) / before + (right + 2 * left) / after)
    return np.where(before * after > 0, mean, 0.0)


def on_space(space: AbstractSpace | None, x: Float[np.ndarray, "f n d"]) -> Float[np.ndarray, "f n d"]:
    """Tokens brought back to a space, or left alone where the record does not say which it is."""
    if space is None:
        return x
    seen = np.asarray(np.isfinite(x).all(axis=-1))
    rows = np.where(seen[..., None], x, 1.0).reshape(-1, x.shape[-1])
    back = np.asarray(space.project(jnp.asarray(rows))).reshape(x.shape)
    return np.where(seen[..., None] & np.isfinite(back), back, x)
