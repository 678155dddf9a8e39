"""What a search for the worst clouds makes as large as possible: a stretch, a ratio of distances, any number."""

import abc
from collections.abc import Callable
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import optax
from jaxtyping import Array, Float, Int, PRNGKeyArray

from ..spaces import AbstractSpace
from .drawing import brought, drawn, extent, random, row_lengths
from .token_map import AbstractTokenMap

NORMS = ("euclidean", "W2", "conditional", "max", "W1")
CLOSE = 1e-4  # clouds nearer than this, relative to the size of what holds them, are not told apart


class AbstractObjective(eqx.Module):
    """A number of one cloud of tokens, or of several, that is to be as large as possible."""

    def begin(self, space: AbstractSpace, key: PRNGKeyArray, starts: int, n: int, d: int) -> Float[Array, "s k n d"]:
        """The clouds to begin with, on a bounded space; a random one, unless a number needs more."""
        return drawn(space, key, starts, n, d)[:, None]

    def refined(
        self, moved: AbstractTokenMap, clouds: Float[Array, "k n d"], direction: Float[Array, "n d"]
    ) -> Float[Array, "n d"]:
        """A displacement that does better with the clouds held still, or as well."""
        return direction

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
        lengths = row_lengths(v)
        if self.norm == "max":
            return jnp.max(lengths)
        return jnp.sum(lengths) if self.norm == "W1" else row_lengths(v.reshape(1, -1))[0]

    def _longest(self, g: Float[Array, "n d"]) -> Float[Array, "n d"]:
        """The displacement of norm 1 with the largest product with g."""
        return {"max": _each, "W1": _longest_alone}.get(self.norm, _whole)(g)

    def _functional(self, image: Float[Array, "n d"]) -> Float[Array, "n d"]:
        """What has the product |image| with the image, and none larger with any other of the same norm."""
        return {"max": _longest_alone, "W1": _each}.get(self.norm, _whole)(image)


class Number(AbstractObjective):
    """Any number of a cloud that can be worked out at once, as the norm of a matrix that is small enough to be formed.

    Parameters
    ----------
    of : the map and a cloud of tokens to the number, which is not negative; differentiable in the tokens.
    """

    of: Callable[[AbstractTokenMap, Float[Array, "n d"]], Float[Array, ""]] = eqx.field(static=True)

    def __call__(
        self, moved: AbstractTokenMap, clouds: Float[Array, "k n d"], direction: Float[Array, "n d"]
    ) -> Float[Array, ""]:
        return self.of(moved, clouds[0])

    def displacement(self, clouds: Float[Array, "k n d"], direction: Float[Array, "n d"]) -> Float[Array, "n d"]:
        return jnp.zeros_like(direction)


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

    def __call__(
        self, moved: AbstractTokenMap, clouds: Float[Array, "k n d"], direction: Float[Array, "n d"]
    ) -> Float[Array, ""]:
        x, y = clouds
        least = CLOSE * jnp.max(jax.lax.stop_gradient(row_lengths(clouds.reshape(-1, clouds.shape[-1]))))
        return self._distance(moved(x), moved(y)) / jnp.maximum(self._distance(x, y), least)

    def displacement(self, clouds: Float[Array, "k n d"], direction: Float[Array, "n d"]) -> Float[Array, "n d"]:
        return clouds[1] - clouds[0]

    def _distance(self, x: Float[Array, "n d"], y: Float[Array, "n d"]) -> Float[Array, ""]:
        rows, columns = _matching(*jax.lax.stop_gradient((x, y)), self.p)
        lengths = row_lengths(x[rows] - y[columns])
        return jnp.mean(lengths) if self.p == 1 else jnp.mean(lengths**self.p) ** (1 / self.p)


def _matching(x: Float[Array, "n d"], y: Float[Array, "n d"], p: float) -> tuple[Int[Array, " n"], Int[Array, " n"]]:
    """The tokens of two clouds that belong together where as little as possible is moved."""
    if x.shape[1] == 1:  # mass keeps its order
        return jnp.argsort(x[:, 0]), jnp.argsort(y[:, 0])
    with jax.numpy_dtype_promotion("standard"), jax.numpy_rank_promotion("allow"):
        return optax.assignment.hungarian_algorithm(jnp.linalg.norm(x[:, None] - y[None, :], axis=-1) ** p)


def _each(v: Float[Array, "n d"]) -> Float[Array, "n d"]:
    """Every row of length 1 in its own direction."""
    lengths = row_lengths(v)[:, None]
    return v / jnp.where(lengths > 0, lengths, 1)


def _whole(v: Float[Array, "n d"]) -> Float[Array, "n d"]:
    size = row_lengths(v.reshape(1, -1))[0]
    return v / jnp.where(size > 0, size, 1)


def _longest_alone(v: Float[Array, "n d"]) -> Float[Array, "n d"]:
    """The longest row alone, of length 1."""
    longest = jnp.argmax(row_lengths(v))
    return jnp.zeros_like(v).at[longest].set(_each(v)[longest])
