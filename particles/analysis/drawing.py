"""Random clouds of tokens of all sizes, in what holds them."""

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, PRNGKeyArray

from ..spaces import AbstractSpace, Ball

FAR = 1e6  # from here a bounded space is seen from outside
FEW, TIGHT = 3, 0.1  # around how many tokens a cloud is gathered, and how closely


def holder(space: AbstractSpace, d: int, radius: int | float | None = None) -> AbstractSpace:
    """What holds the tokens: a space with bounds of its own, or else the ball of a radius.

    Raises
    ------
    ValueError
        If all of space needs a radius and there is none, or a space with bounds has one, or a space is neither.
    """
    name = type(space).__name__
    if not space.constrained and radius is None:
        raise ValueError(f"a {name} has no bounds, and the worst may lie anywhere: give `radius`, that of a ball")
    if space.constrained and radius is not None:
        raise ValueError(f"a {name} has bounds of its own: leave `radius` out")
    if space.constrained and float(extent(space, d)) >= FAR:
        raise ValueError(f"this {name} has no bounds in some directions; use Sphere, Ball or all of Euclidean space")
    return space if radius is None else Ball(jnp.asarray(radius, float))


def drawn(space: AbstractSpace, key: PRNGKeyArray, clouds: int, n: int, d: int) -> Float[Array, "s n d"]:
    """Random clouds of all sizes on a bounded space: Gaussian, every other one gathered around its first few tokens."""
    rng = random(key)
    x = rng.normal(size=(clouds, n, d))
    x[::2] = x[::2, np.arange(n) % FEW] + TIGHT * x[::2]
    return brought(space, jnp.asarray(x * rng.uniform(0.05, 1, (clouds, 1, 1))))


@eqx.filter_jit
def brought(space: AbstractSpace, clouds: Float[Array, "s n d"]) -> Float[Array, "s n d"]:
    """Clouds of the size of 1 made as large as a bounded space, and brought onto it."""
    return jax.vmap(space.project)(clouds * extent(space, clouds.shape[-1]))


def random(key: PRNGKeyArray) -> np.random.Generator:
    """What starts are drawn from: they are drawn once, and need no program."""
    return np.random.default_rng(np.asarray(jax.random.key_data(key)))


def extent(space: AbstractSpace, d: int) -> Float[Array, ""]:
    """The size of a bounded space: how far from the origin a point is that has been brought back from far away."""
    return row_lengths(space.project(jnp.full((1, d), FAR)))[0]


def row_lengths(v: Float[Array, "n d"]) -> Float[Array, " n"]:
    """The length of each row, with gradient zero where that is zero."""
    square = jnp.sum(v * v, axis=-1)
    there = square > 0
    return jnp.where(there, jnp.sqrt(jnp.where(there, square, 1)), 0)
