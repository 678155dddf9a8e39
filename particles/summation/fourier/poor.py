"""Rows that see too little for the error of modes: what they gather, pair by pair."""

import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, Int

from ..base import Gathered, closed, finite
from .span import Centered, Reduced


def repaired(
    gathered: Gathered,
    poor: Bool[Array, " n"],
    most: int,
    level: float,
    centered: Centered,
    itself: bool,
    values: Float[Array, "m k"],
    over: Reduced,
) -> Gathered:
    """What was gathered, with the poor rows, at most so many of them on each device, summed pair by pair.

    Parameters
    ----------
    itself : whether a row sees the column of its own index.
    over : the mesh axis that rows and columns are spread over.
    """
    n, m = poor.shape[0], values.shape[0]
    at = jnp.nonzero(poor, size=min(most, n), fill_value=n)[0]
    kept = jnp.minimum(at, n - 1)
    first = jnp.asarray(over.position, kept.dtype) * m  # of the columns here, among those of all devices
    named = kept if itself else kept + first
    rows = over.joined((centered.a[kept], centered.rho[kept], named))

    def one(row: tuple[Float[Array, " k"], Float[Array, ""], Int[Array, ""]]) -> Gathered:
        a, rho, index = row
        logits = rho + centered.kappa - 0.5 * jnp.sum((a[None, :] - centered.b) ** 2, axis=1)
        if not itself:
            logits = jnp.where(jnp.arange(m, dtype=first.dtype) + first == index, -jnp.inf, logits)
        return jax.tree.map(lambda leaf: leaf[0], closed(logits[None, :], values))

    parts = jax.lax.map(one, rows)
    peak = over(jax.lax.stop_gradient(parts.peak))
    shrink = jnp.exp(parts.peak - finite(peak))
    whole = Gathered(peak + level, over.sum(parts.mass * shrink), over.sum(parts.total * shrink[:, None]))
    own = jax.tree.map(lambda leaf: over.own(leaf, at.shape[0]), whole)
    return jax.tree.map(lambda leaf, one: leaf.at[at].set(one, mode="drop"), gathered, own)
