"""The clouds of tokens that a map stretches most, looked for by gradient ascent.

What is found is attained, so it is a lower bound of the Lipschitz constant, to be held against the proved upper one.
The ascent is one of tokens and displacements at once: tokens climb by their gradient with the displacement held still,
and the displacement is made better by the power method with the tokens held still, which never lowers the stretch. So
no derivative of a singular vector is ever needed.
"""

from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import optax
from jaxtyping import Array, Bool, Float, PRNGKeyArray

from ..spaces import AbstractSpace
from .drawing import extent, holder, random, row_lengths
from .objectives import AbstractObjective, Stretch
from .token_map import AbstractTokenMap

SLOW = 0.002  # of the first step size, at the end of an ascent


class Worst(eqx.Module):
    """The most stretched clouds that an ascent has found.

    Attributes
    ----------
    value : the largest number of all starts.
    tokens : where it is attained.
    direction : the displacement that is stretched: of norm 1 for a local constant, to the second cloud for a ratio.
    values : the largest number of each start.
    residuals : the relative rate at which it could still grow, per step of the size of what holds the tokens.
    converged : of each start, whether that is within the tolerance.
    history : the number at every step of each start.
    """

    value: Float[Array, ""]
    tokens: Float[Array, "n d"]
    direction: Float[Array, "n d"]
    values: Float[Array, " start"]
    residuals: Float[Array, " start"]
    converged: Bool[Array, " start"]
    history: Float[Array, "start step"]


def worst_case(
    moved: AbstractTokenMap,
    objective: AbstractObjective | str = "euclidean",
    *,
    n: int,
    d: int,
    radius: int | float | None = None,
    key: PRNGKeyArray,
    starts: int = 32,
    steps: int = 600,
    rate: float = 0.1,
    tolerance: float = 1e-2,
) -> Worst:
    """The clouds that a map of tokens stretches most, by gradient ascent from many random ones.

    Parameters
    ----------
    moved : the map, differentiated twice: a `LawMap`, `FieldMap`, `LayerMap` or any other; for a whole flow
        `PlainMap(lambda x: solve(flow, x, plan, adjoint="both").final)`.
    objective : what is to be large: `Stretch` or `TransportRatio`, or the norm of a `Stretch`.
    n, d : how many tokens, in what ambient dimension.
    radius : of the ball that holds the tokens, where the space of the map has no bounds of its own.
    key : of the starts.
    starts : from how many clouds, all at once.
    steps : of each ascent.
    rate : the first step size, relative to the size of what holds the tokens; it falls to 1/500.
    tolerance : the relative rate of growth below which an ascent has converged. One that ends in an edge, where two
        tokens or matchings are as bad as one another, climbs in a zigzag and does not.

    Returns
    -------
    Worst
        Always, converged or not: every value is attained, and so a lower bound of the Lipschitz constant.

    Raises
    ------
    ValueError
        If the space has no bounds and there is no radius, or it has and there is one.

    Cost
    ----
    About eight evaluations of the map for each start and step, all starts at once.

    Source
    ------
    kingma2015adam; kim2021lipschitz, for the search itself.
    """
    objective = Stretch(objective) if isinstance(objective, str) else objective
    space = holder(moved.space, d, radius)
    clouds = objective.begin(space, key, starts, n, d)
    directions = jnp.asarray(random(jax.random.fold_in(key, 2)).normal(size=(starts, n, d)))
    return _ascended(moved, objective, space, clouds, directions, steps, rate, tolerance)


@eqx.filter_jit
def _ascended(
    moved: AbstractTokenMap,
    objective: AbstractObjective,
    space: AbstractSpace,
    clouds: Float[Array, "s k n d"],
    directions: Float[Array, "s n d"],
    steps: int,
    rate: float,
    tolerance: float,
) -> Worst:
    climb = lambda clouds, direction: _climbed(moved, objective, space, clouds, direction, steps, rate)  # noqa: E731
    clouds, directions, values, residuals, history = jax.vmap(climb)(clouds, directions)
    best = jnp.argmax(values)
    direction = objective.displacement(clouds[best], directions[best])
    return Worst(values[best], clouds[best][0], direction, values, residuals, residuals <= tolerance, history)


def _climbed(
    moved: AbstractTokenMap,
    objective: AbstractObjective,
    space: AbstractSpace,
    clouds: Float[Array, "k n d"],
    direction: Float[Array, "n d"],
    steps: int,
    rate: float,
) -> tuple[Any, Any, Any, Any, Any]:
    """One ascent: the best clouds on its way, their displacement, number and residual, and the numbers on the way."""
    project, size = jax.vmap(space.project), extent(space, clouds.shape[-1])
    pace = optax.cosine_decay_schedule(1.0, steps, SLOW)
    climber = optax.chain(optax.scale_by_adam(), optax.scale_by_schedule(lambda k: rate * size * pace(k)))

    def slope(clouds: Any, direction: Any) -> tuple[Any, Any]:
        logarithm = lambda clouds: jnp.log(objective(moved, clouds, direction))  # noqa: E731
        value, gradient = jax.value_and_grad(logarithm)(clouds)
        return jnp.exp(value), jnp.where(jnp.isfinite(gradient), gradient, 0)

    def growth(clouds: Any, gradient: Any) -> Any:
        """The relative growth per step of the size of the space, along the gradient as far as the space allows it."""
        short = 1e-3 * size / jnp.maximum(jnp.max(row_lengths(gradient.reshape(-1, clouds.shape[-1]))), 1e-30)
        gained = jnp.sum(gradient * (project(clouds + short * gradient) - clouds))
        return size * jnp.sqrt(jnp.maximum(gained, 0) / short)

    def step(state: Any, _: None) -> tuple[Any, Any]:
        clouds, direction, memory, best = state
        direction = objective.refined(moved, clouds, direction)
        value, gradient = slope(clouds, direction)
        found = clouds, direction, value, growth(clouds, gradient)
        best = jax.tree.map(lambda new, old: jnp.where(value > best[2], new, old), found, best)
        with jax.numpy_dtype_promotion("standard"):  # optax counts in whole numbers
            change, memory = climber.update(gradient, memory)
        climbed: Any = optax.apply_updates(clouds, change)
        return (project(climbed), direction, memory, best), value

    zero = jnp.zeros((), clouds.dtype)
    begun = clouds, direction, climber.init(clouds), (clouds, direction, zero, zero)
    (*_, best), history = jax.lax.scan(step, begun, None, steps)
    return *best, history
