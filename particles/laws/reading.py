"""What a slot turns out to be, read from its values: a score that is quadratic, a value or a term that is affine.

Derivatives at the origin say what a slot must be if it is of that form; values far from there say whether it is. So any
slot that turns out to be of the form is served, whatever its class.
"""

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Float

from .normalizer import AffineField, Quadratic
from .score import AbstractScore
from .value import AbstractOffered, AbstractValue

FAR = 3.0  # how far from the origin a slot is looked at, to see that it is what its derivatives there say
EXACT = 1e-9  # how far it may be off, relative to its size, in double precision
ROUGH = 1e-4  # in single precision


def quadratic(score: AbstractScore, like: Float[Array, "n d"]) -> Quadratic:
    """What a quadratic score is, from its derivatives at the origin.

    Parameters
    ----------
    score : a function of query x and key y.
    like : tokens of the dimension and precision that are meant.
    """
    origin = jnp.zeros_like(like[0])

    def logit(y: Float[Array, " d"], x: Float[Array, " d"]) -> Float[Array, ""]:
        return score(x[None, :], y[None, :])[0, 0]

    slope = jax.grad(logit)
    return Quadratic(jax.jacfwd(slope, 1)(origin, origin), jax.jacfwd(slope)(origin, origin), slope(origin, origin))


def affine(value: AbstractValue, like: Float[Array, "n d"]) -> AffineField:
    """What an affine value is, from its derivative at the origin.

    Raises
    ------
    ValueError
        If it is not offered by the keys.
    """
    origin = jnp.zeros_like(like[0])
    slope = jax.jacfwd(lambda y: offer(value, y[None, :])[0])(origin)
    return AffineField(offer(value, origin[None, :])[0], slope)


def read_quadratic(score: AbstractScore, d: int) -> Quadratic | None:
    """What a score of tokens of dimension d is, if it is quadratic, but for what depends on the query alone."""
    found, good = _read_quadratic(score, d)
    return found if good else None


def read_affine(value: AbstractValue, d: int) -> AffineField | None:
    """What a value of keys of dimension d is, if it is affine."""
    found, good = _read_affine(value, d)
    return found if good else None


@eqx.filter_jit
def _read_quadratic(score: AbstractScore, d: int) -> tuple[Quadratic, Bool[Array, ""]]:
    x, y = _far(d)
    near = quadratic(score, x)
    through_y = y @ near.form @ x.T + (0.5 * jnp.sum((y @ near.own) * y, axis=1) + y @ near.tilt)[:, None]
    return near, close(score(x, y) - score(x, jnp.zeros_like(y)), through_y.T)


@eqx.filter_jit
def _read_affine(value: AbstractValue, d: int) -> tuple[AffineField, Bool[Array, ""]]:
    x, y = _far(d)
    near = affine(value, x)
    return near, close(offer(value, y), near.offset[None, :] + y @ near.slope.T)


def offer(value: AbstractValue, y: Float[Array, "m d"]) -> Float[Array, "m d"]:
    """The velocity that each key offers, before a row takes its own away.

    Raises
    ------
    ValueError
        If the value is not offered by the keys.
    """
    if not isinstance(value, AbstractOffered):
        raise ValueError(
            f"{type(value).__name__} is not offered by keys, but is made of pairs: use Linear, LowRank, Identity or "
            "Difference"
        )
    return value.output(value.offered(y))


def close(x: Float[Array, "*any"], y: Float[Array, "*any"]) -> Bool[Array, ""]:
    """Whether two arrays agree to rounding, relative to the size of the second."""
    tolerance = EXACT if x.dtype == jnp.float64 else ROUGH
    return jnp.max(jnp.abs(x - y)) <= tolerance * (1 + jnp.max(jnp.abs(y)))


def _far(d: int) -> list[Float[Array, "8 d"]]:
    """Queries and keys far from the origin."""
    return [FAR * jnp.asarray(np.random.default_rng(k).normal(size=(8, d))) for k in (0, 1)]
