"""The clouds of tokens that a map stretches most, looked for by gradient ascent.

What is found is attained, so it is a lower bound of the Lipschitz constant, to be held against the proved upper one.
The ascent is one of tokens and displacements at once: tokens climb by their gradient with the displacement held still,
and the displacement is made better by the power method with the tokens held still, which never lowers the stretch. So
no derivative of a singular vector is ever needed.
"""

import abc
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import optax
from jaxtyping import Array, Bool, Float, Int, PRNGKeyArray

from ..spaces import AbstractSpace, Ball
from .token_map import AbstractTokenMap

NORMS = ("euclidean", "W2", "conditional", "max", "W1")
FAR = 1e6  # from here a bounded space is seen from outside
FEW, TIGHT = 3, 0.1  # around how many tokens a cloud is gathered, and how closely
SLOW = 0.002  # of the first step size, at the end of an ascent
CLOSE = 1e-4  # clouds nearer than this, relative to the size of what holds them, are not told apart


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


class AbstractObjective(eqx.Module):
    """A number of one cloud of tokens, or of several, that is to be as large as possible."""

    @abc.abstractmethod
    def begin(self, space: AbstractSpace, key: PRNGKeyArray, starts: int, n: int, d: int) -> Float[Array, "s k n d"]:
        """The clouds to begin with, on a bounded space."""

    @abc.abstractmethod
    def refined(
        self, moved: AbstractTokenMap, clouds: Float[Array, "k n d"], direction: Float[Array, "n d"]
    ) -> Float[Array, "n d"]:
        """A displacement that does better with the clouds held still, or as well."""

    @abc.abstractmethod
    def __call__(
        self, moved: AbstractTokenMap, clouds: Float[Array, "k n d"], direction: Float[Array, "n d"]
    ) -> Float[Array, ""]:
        """The number, differentiable in the clouds."""

    @abc.abstractmethod
    def displacement(self, clouds: Float[Array, "k n d"], direction: Float[Array, "n d"]) -> Float[Array, "n d"]:
        """What is stretched."""


class Stretch(AbstractObjective):
    r"""The local Lipschitz constant: how much a map stretches a small displacement.

    .. math:: \max_\xi \frac{\|DF(x) \xi\|}{\|\xi\|}

    Parameters
    ----------
    norm : of displacements, as in `local_lipschitz`: "euclidean", "W2", "conditional", "max" or "W1".
    sweeps : steps of the power method for each step of the tokens.

    Raises
    ------
    ValueError
        For a norm that does not exist.

    Source
    ------
    boyd1974power, for the power method in other norms.
    """

    norm: str = eqx.field(static=True, default="euclidean")
    sweeps: int = eqx.field(static=True, default=2)

    def __check_init__(self):
        if self.norm not in NORMS:
            raise ValueError(f"`norm` of Stretch must be one of {', '.join(NORMS)}; got {self.norm!r}")

    def begin(self, space: AbstractSpace, key: PRNGKeyArray, starts: int, n: int, d: int) -> Float[Array, "s k n d"]:
        return drawn(space, key, starts, n, d)[:, None]

    def refined(
        self, moved: AbstractTokenMap, clouds: Float[Array, "k n d"], direction: Float[Array, "n d"]
    ) -> Float[Array, "n d"]:
        _, forward = jax.linearize(moved, clouds[0])
        backward = jax.linear_transpose(forward, clouds[0])
        along = lambda v: moved.along(clouds[0], v)  # noqa: E731

        def sweep(_: Any, v: Float[Array, "n d"]) -> Float[Array, "n d"]:
            image = forward(along(self._longest(v)))
            return along(backward(self._functional(image))[0])

        return self._longest(jax.lax.fori_loop(0, self.sweeps, sweep, along(direction)))

    def __call__(
        self, moved: AbstractTokenMap, clouds: Float[Array, "k n d"], direction: Float[Array, "n d"]
    ) -> Float[Array, ""]:
        direction = moved.along(clouds[0], direction)
        return self._size(moved.jvp(clouds[0], direction)) / self._size(direction)

    def displacement(self, clouds: Float[Array, "k n d"], direction: Float[Array, "n d"]) -> Float[Array, "n d"]:
        return direction

    def _size(self, v: Float[Array, "n d"]) -> Float[Array, ""]:
        lengths = _lengths(v)
        if self.norm == "max":
            return jnp.max(lengths)
        return jnp.sum(lengths) if self.norm == "W1" else _lengths(v.reshape(1, -1))[0]

    def _longest(self, g: Float[Array, "n d"]) -> Float[Array, "n d"]:
        """The displacement of norm 1 with the largest product with g."""
        return {"max": _each, "W1": _longest_alone}.get(self.norm, _whole)(g)

    def _functional(self, image: Float[Array, "n d"]) -> Float[Array, "n d"]:
        """What has the product |image| with the image, and none larger with any other of the same norm."""
        return {"max": _longest_alone, "W1": _each}.get(self.norm, _whole)(image)


class TransportRatio(AbstractObjective):
    r"""By how much a map of clouds stretches their Wasserstein distance.

    .. math:: \frac{W_p(F(x), F(y))}{W_p(x, y)}

    Clouds are matched anew at every step, exactly.

    Parameters
    ----------
    p : of the distance, at least 1.

    Raises
    ------
    ValueError
        If p is below 1.

    Cost
    ----
    O(n^3) at every step, for the matchings.

    Source
    ------
    villani2009optimal.
    """

    p: float = eqx.field(static=True, default=1.0)

    def __check_init__(self):
        if not 1 <= self.p < float("inf"):
            raise ValueError(f"`p` of TransportRatio must be at least 1 and finite; got {self.p}")

    def begin(self, space: AbstractSpace, key: PRNGKeyArray, starts: int, n: int, d: int) -> Float[Array, "s k n d"]:
        x, rng = drawn(space, key, starts, n, d), random(jax.random.fold_in(key, 1))
        step = 10 ** rng.uniform(-2, 0, (starts, 1, 1)) * rng.normal(size=x.shape)
        return jnp.stack([x, brought(space, x / extent(space, d) + jnp.asarray(step))], axis=1)

    def refined(
        self, moved: AbstractTokenMap, clouds: Float[Array, "k n d"], direction: Float[Array, "n d"]
    ) -> Float[Array, "n d"]:
        return direction

    def __call__(
        self, moved: AbstractTokenMap, clouds: Float[Array, "k n d"], direction: Float[Array, "n d"]
    ) -> Float[Array, ""]:
        x, y = clouds
        least = CLOSE * jnp.max(jax.lax.stop_gradient(_lengths(clouds.reshape(-1, clouds.shape[-1]))))
        return self._distance(moved(x), moved(y)) / jnp.maximum(self._distance(x, y), least)

    def displacement(self, clouds: Float[Array, "k n d"], direction: Float[Array, "n d"]) -> Float[Array, "n d"]:
        return clouds[1] - clouds[0]

    def _distance(self, x: Float[Array, "n d"], y: Float[Array, "n d"]) -> Float[Array, ""]:
        rows, columns = _matching(*jax.lax.stop_gradient((x, y)), self.p)
        lengths = _lengths(x[rows] - y[columns])
        return jnp.mean(lengths) if self.p == 1 else jnp.mean(lengths**self.p) ** (1 / self.p)


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
    return _lengths(space.project(jnp.full((1, d), FAR)))[0]


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
        short = 1e-3 * size / jnp.maximum(jnp.max(_lengths(gradient.reshape(-1, clouds.shape[-1]))), 1e-30)
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


def _matching(x: Float[Array, "n d"], y: Float[Array, "n d"], p: float) -> tuple[Int[Array, " n"], Int[Array, " n"]]:
    """The tokens of two clouds that belong together where as little as possible is moved."""
    if x.shape[1] == 1:  # mass keeps its order
        return jnp.argsort(x[:, 0]), jnp.argsort(y[:, 0])
    with jax.numpy_dtype_promotion("standard"), jax.numpy_rank_promotion("allow"):
        return optax.assignment.hungarian_algorithm(jnp.linalg.norm(x[:, None] - y[None, :], axis=-1) ** p)


def _lengths(v: Float[Array, "n d"]) -> Float[Array, " n"]:
    """The length of each row, with gradient zero where that is zero."""
    square = jnp.sum(v * v, axis=-1)
    there = square > 0
    return jnp.where(there, jnp.sqrt(jnp.where(there, square, 1)), 0)


def _each(v: Float[Array, "n d"]) -> Float[Array, "n d"]:
    """Every row of length 1 in its own direction."""
    lengths = _lengths(v)[:, None]
    return v / jnp.where(lengths > 0, lengths, 1)


def _whole(v: Float[Array, "n d"]) -> Float[Array, "n d"]:
    size = _lengths(v.reshape(1, -1))[0]
    return v / jnp.where(size > 0, size, 1)


def _longest_alone(v: Float[Array, "n d"]) -> Float[Array, "n d"]:
    """The longest row alone, of length 1."""
    longest = jnp.argmax(_lengths(v))
    return jnp.zeros_like(v).at[longest].set(_each(v)[longest])
