"""The grid of constant steps: depths that belong to a plan, however it is followed."""

from typing import Any

import equinox as eqx
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, Int

NEAR = 1e-6  # of a step: what a depth may be off the end of one and still be that end
ROUNDING = 8  # units in the last place of a count of steps


class Grid(eqx.Module):
    """Steps of one length from a first depth to a last one; the last step may be shorter.

    Attributes
    ----------
    start, until, dt : the first depth, the last one, and the step.
    """

    start: Float[Array, ""]
    until: Float[Array, ""]
    dt: Float[Array, ""]

    def depth(self, count: Int[Array, "..."]) -> Float[Array, "..."]:
        """The depths after some numbers of steps."""
        whole = self.start + count.astype(self.dt.dtype) * self.dt
        return jnp.where(count >= self.count, self.until, whole)

    @property
    def count(self) -> Int[Array, ""]:
        """The number of steps."""
        steps, close = self._steps(self.until)
        return jnp.where(close, jnp.round(steps), jnp.ceil(steps)).astype(jnp.int32)

    def passed(self, t: Any) -> Int[Array, ""]:
        """The number of steps that end at t or before."""
        steps, close = self._steps(t)
        return jnp.where(close, jnp.round(steps), jnp.floor(steps)).astype(jnp.int32)

    def nearest(self, t: Float[Array, "..."]) -> Float[Array, "..."]:
        """Depths, those that rounding alone tells from the end of a step moved there."""
        steps, close = self._steps(t)
        return jnp.where(close, self.depth(jnp.round(steps).astype(jnp.int32)), t)

    def _steps(self, t: Float[Array, "..."]) -> tuple[Float[Array, "..."], Bool[Array, "..."]]:
        """Depths in steps, and which of them are the ends of steps."""
        steps = (t - self.start) / self.dt
        off = jnp.abs(steps - jnp.round(steps))
        return steps, off <= NEAR + ROUNDING * jnp.finfo(steps.dtype).eps * jnp.abs(steps)
