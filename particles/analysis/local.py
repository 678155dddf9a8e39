"""By how much a map of tokens stretches small displacements: the norm of its derivative, without a matrix.

A norm of displacements makes a norm of the derivative. The Euclidean one is a singular value, found by Lanczos'
method and proved by its residual. The others, the largest displacement of a token and the sum of all displacements,
lead to a maximum of a convex function, which has local maxima: what is found is attained by a displacement, so it is
never more than the norm, and it may be less.
"""

import functools
from collections.abc import Callable
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, Int

from .token_map import AbstractTokenMap

Linear = Callable[[Float[Array, "n d"]], Float[Array, "n d"]]

STREAM = 0x10CA1
"""Of a seed's randomness: tokens drawn from the same seed are another one, and no displacement is normal to them."""

PATIENCE = 100.0
"""A search that would come no higher than another in so many steps like its last one is given up."""


class Local(eqx.Module):
    """A local Lipschitz constant, and the displacement that is stretched by it.

    Attributes
    ----------
    value : by how much `direction` is stretched.
    direction : a displacement of all tokens of norm 1, tangent to the space.
    image : the derivative of the map along it.
    residual : how far from stationary the value is, in its units.
    converged : whether the residual is within the tolerance.
    products : how many products of the derivative, or of its transpose, with a displacement it took.
    """

    value: Float[Array, ""]
    direction: Float[Array, "n d"]
    image: Float[Array, "n d"]
    residual: Float[Array, ""]
    converged: Bool[Array, ""]
    products: Int[Array, ""]


def local_lipschitz(
    moved: AbstractTokenMap,
    x: Float[Array, "n d"],
    norm: str = "euclidean",
    *,
    tolerance: float = 1e-8,
    products: int = 2000,
    sweep: int = 30,
    starts: int = 16,
    seed: int = 0,
) -> Local:
    r"""By how much a map stretches a small displacement of the tokens at most, to first order.

    .. math:: \max_\xi \frac{\|D F(x) \xi\|}{\|\xi\|}

    over displacements that keep the tokens on their space. A path of clouds becomes longer by at most the largest
    constant on its way; on a convex set of clouds that is the map's Lipschitz constant. On a curved space the
    derivative of a field is taken in the ambient space, where it is at least as large as the covariant one.

    Parameters
    ----------
    moved : the map, a `LawMap`, `FieldMap`, `LayerMap`, `FlowMap` or any other.
    x : the tokens; where clouds are compared, no two of them at one place.
    norm : of displacements, and so the distance for which the constant holds:

        - "euclidean": the root of the sum of squares of all coordinates. The value is the largest singular value.
        - "W2": the distance W_2 of clouds whose tokens have one mass. Clouds that are close to one of distinct tokens
          are best matched token by token, so the distance is the Euclidean one over the root of n, before the map and,
          if the images are distinct, behind it: the constant is the Euclidean one.
        - "conditional": the root mean square displacement of tokens that keep their positions, by which clouds are
          compared where a mask knows the order of the tokens. Again the Euclidean constant.
        - "max": the largest displacement of a token, or the distance W_inf of clouds.
        - "W1": the mean displacement, or the distance W_1 of clouds. The constant is attained by moving one token.

        Where the map knows tokens by their index, all are constants of labeled tokens; else of clouds of as many tokens
        of one mass.
    tolerance : the residual allowed, relative to the value. For "euclidean" it is the size of J^T u - s v, with s the
        value, v the direction and u the direction of the image, and some singular value is that close to s. For "max"
        and "W1" it is what one more step of the power method gains.
    products : the largest number of products, give or take a sweep.
    sweep : the steps of Lanczos' method from one restart to the next; as many pairs of displacements are kept.
    starts : from how many tokens "max" and "W1" are sought: those that random displacements show as the best.
    seed : of the random displacements that a search begins with.

    Returns
    -------
    Local
        Always, also where the tolerance was not met: look at `converged`. For "max" and "W1" that it is true means that
        a stationary value has been reached: a lower bound of the norm, and in small cases most often the norm.

    Raises
    ------
    ValueError
        For an unknown norm, tokens that are no floating array of shape (tokens, dim), or a tolerance that products in
        the precision of the tokens cannot meet.
    ModuleNotFoundError
        For "euclidean", "W2" and "conditional" without matfree.

    Units
    -----
    Images over tokens: those of a law or a field are per unit of depth.

    Cost
    ----
    A product costs three to six evaluations of the map, and their memory: no matrix is formed. Sixty to a few hundred
    are usual; more where the largest singular values are close to each other.

    Source
    ------
    golub1965calculating, in the implementation of kraemer2024gradients; boyd1974power, for "max" and "W1";
    castin2024smooth, for the constants of attention.
    """
    if norm not in NORMS:
        raise ValueError(f"`norm` must be one of {', '.join(NORMS)}; got {norm!r}")
    if x.ndim != 2 or not jnp.issubdtype(x.dtype, jnp.floating):
        raise ValueError(f"tokens are a floating array of shape (tokens, dim); got shape {x.shape} of {x.dtype}")
    smallest = 10 * float(jnp.finfo(x.dtype).eps)
    if not tolerance >= smallest:
        raise ValueError(
            f"`tolerance` must be at least {smallest:.1e} for tokens of {x.dtype}; got {tolerance}. "
            "Give tokens of float64, or a larger tolerance."
        )
    key = jax.random.fold_in(jax.random.key(seed), STREAM)
    drawn = jax.random.normal(key, (min(starts, len(x)) if norm in MIXED else 1, *x.shape), x.dtype)
    return _searched(moved, x, norm, drawn, jnp.asarray(tolerance, x.dtype), jnp.asarray(products), min(sweep, x.size))


@eqx.filter_jit
def _searched(
    moved: AbstractTokenMap, x: Array, norm: str, drawn: Array, tolerance: Array, products: Array, sweep: int
) -> Local:
    forward, backward = functools.partial(moved.jvp, x), functools.partial(moved.vjp, x)
    drawn = jax.vmap(lambda v: moved.along(x, v))(drawn)
    if norm in MIXED:
        return MIXED[norm](forward, backward, drawn, tolerance, products)
    return _largest_singular(forward, backward, drawn[0], tolerance, products, sweep)


def _largest_singular(
    forward: Linear, backward: Linear, start: Array, tolerance: Array, products: Array, sweep: int
) -> Local:
    """Sweeps of Lanczos' method, each from the best singular vector of the one before."""
    dtype, given = jnp.zeros(()).dtype, start.dtype  # matfree works in JAX's own precision
    search = _bidiagonal(sweep)

    @jax.custom_vjp
    def product(v: Array) -> Array:
        return forward(v.astype(given)).astype(dtype)

    def transposed(_: None, w: Array) -> tuple[Array]:
        return (backward(w.astype(given)).astype(dtype),)

    product.defvjp(lambda v: (product(v), None), transposed)

    def better(found: Local) -> Local:
        parts = search(product, found.direction.astype(dtype))
        best = _best(parts, 10 * float(jnp.finfo(given).eps))
        value, v, image, residual = (number.astype(given) for number in best)
        return Local(value, v, image, residual, residual <= tolerance * value, found.products + 2 * sweep)

    def unfinished(found: Local) -> Array:
        return ~found.converged & (found.products < products) & ~jnp.isnan(found.residual)

    zero = jnp.zeros((), given)
    first = Local(zero, _unit(start), start, zero + jnp.inf, jnp.asarray(False), jnp.zeros_like(products))
    return jax.lax.while_loop(unfinished, better, first)


def _bidiagonal(sweep: int) -> Callable[..., Any]:
    try:
        from matfree import decomp
    except ModuleNotFoundError as error:
        raise ModuleNotFoundError(
            "the norms euclidean, W2 and conditional need matfree: pip install 'attention-particles[analysis]'"
        ) from error
    return decomp.bidiag(sweep, materialize=False)


def _best(parts: Any, rounding: float) -> tuple[Array, Array, Array, Array]:
    """The largest singular value of a Krylov space, its direction and image, and the size of J^T u - s v.

    A space that the derivative maps to itself, to rounding, ends before the sweep does. What follows is noise, or no
    number, and is left out.
    """
    (images, directions), (diagonal, above), beyond, _ = parts
    leaving = jnp.append(above, jnp.linalg.norm(beyond))
    floor = rounding * jnp.nanmax(diagonal)
    rows = jnp.cumprod((diagonal > floor) & jnp.append(True, above > floor)) > 0
    columns = rows | jnp.append(True, rows[:-1] & (above > floor))
    small = jnp.where(rows[:, None] & columns[None, :], jnp.diag(diagonal) + jnp.diag(above, 1), 0)
    left, values, right = jnp.linalg.svd(small, full_matrices=False)
    last = jnp.sum(rows) - 1
    left_out = (last >= 0) & ~jnp.append(columns, False)[last + 1]
    residual = jnp.where(left_out, jnp.abs(left[last, 0]) * leaving[last], 0) + rounding / 10 * diagonal[0]
    v = jnp.tensordot(right[0], jnp.where(columns[:, None, None], directions, 0), axes=1)
    u = jnp.tensordot(left[:, 0], jnp.where(rows[:, None, None], images, 0), axes=1)
    return values[0], v, values[0] * u, residual


def _unit(v: Array) -> Array:
    size = jnp.linalg.norm(v)
    return v / jnp.where(size > 0, size, 1)


class _Climb(eqx.Module):
    """Searches for the unit vector w of a row i for which sum_j |J_ij^T w| is largest, each from its own start.

    Attributes
    ----------
    displacement : of the tokens, each by at most 1.
    image : of it.
    one : the displacement of token i alone by w, for the row i that the image shows.
    pulled : the transpose of the derivative times that: J_ij^T w for every j.
    gain : by how much the sum of its lengths exceeds the length of the image at i.
    products : how many it took.
    """

    displacement: Float[Array, "s n d"]
    image: Float[Array, "s n d"]
    one: Float[Array, "s n d"]
    pulled: Float[Array, "s n d"]
    gain: Float[Array, " s"]
    products: Int[Array, ""]

    @property
    def reached(self) -> Float[Array, " s"]:
        """How far each has come."""
        return jnp.sum(_lengths(self.pulled), axis=1)

    def stationary(self, tolerance: Array) -> Bool[Array, " s"]:
        """Which gain no more by a step."""
        return self.gain <= tolerance * self.reached

    def promising(self, tolerance: Array) -> Bool[Array, " s"]:
        """Which of the others could still come highest."""
        return ~self.stationary(tolerance) & (self.reached + PATIENCE * self.gain >= jnp.max(self.reached))


def _climbed(
    forward: Linear, backward: Linear, drawn: Array, tolerance: Array, products: Array
) -> tuple[_Climb, Array]:
    """The power method from several rows, and which of them came highest.

    The displacement that a row likes best along w stretches some row more, along another w. The first rows are those
    that random displacements stretch most.
    """
    starts = len(drawn)

    def applied(product: Linear, old: Array, given: Array, active: Array) -> Array:
        one = lambda args: jax.lax.cond(args[2], product, lambda _: args[0], args[1])  # noqa: E731
        return jax.lax.map(one, (old, given, active))

    def step(climb: _Climb) -> _Climb:
        active = climb.promising(tolerance)
        given = jnp.where(active[:, None, None], _units(climb.pulled), climb.displacement)
        image = applied(forward, climb.image, given, active)
        own = jax.vmap(lambda y: _row(y, jnp.argmax(_lengths(y))))(image)
        one = jnp.where(climb.products == 0, _rows(image), own)
        pulled = applied(backward, climb.pulled, one, active)
        gain = jnp.sum(_lengths(pulled), axis=1) - jnp.sum(image * one, axis=(1, 2))
        return _Climb(given, image, one, pulled, gain, climb.products + 2 * jnp.sum(active))

    def unfinished(climb: _Climb) -> Array:
        return jnp.any(climb.promising(tolerance)) & (climb.products < products)

    nothing = jnp.zeros_like(drawn)
    first = _Climb(nothing, nothing, nothing, drawn, jnp.full(starts, jnp.inf, drawn.dtype), jnp.zeros_like(products))
    found = jax.lax.while_loop(unfinished, step, first)
    return found, jnp.argmax(found.reached)


def _largest_displacement(forward: Linear, backward: Linear, drawn: Array, tolerance: Array, products: Array) -> Local:
    """The norm from the largest displacement to the largest displacement: a row of the derivative."""
    found, k = _climbed(forward, backward, drawn, tolerance, products)
    value, done = jnp.max(_lengths(found.image[k])), found.stationary(tolerance)[k]
    return Local(value, found.displacement[k], found.image[k], found.gain[k], done, found.products)


def _largest_sum(forward: Linear, backward: Linear, drawn: Array, tolerance: Array, products: Array) -> Local:
    """The norm from sums of displacements to sums: a column of the derivative, a row of its transpose."""
    found, k = _climbed(backward, forward, drawn, tolerance, products)
    value, done = found.reached[k], found.stationary(tolerance)[k]
    return Local(value, found.one[k], found.pulled[k], found.gain[k], done, found.products)


def _rows(images: Float[Array, "s n d"]) -> Float[Array, "s n d"]:
    """For the rows that some images show as the longest, one each, the unit displacement in its longest direction."""
    lengths = _lengths(images)
    rows = jax.lax.top_k(jnp.max(lengths, axis=0), len(images))[1]
    return jax.vmap(lambda i: _row(images[jnp.argmax(lengths[:, i])], i))(rows)


def _row(image: Float[Array, "n d"], i: Int[Array, ""]) -> Float[Array, "n d"]:
    """The unit displacement of token i alone in the direction in which it is displaced."""
    return jnp.zeros_like(image).at[i].set(_unit(image[i]))


def _lengths(v: Float[Array, "*s n d"]) -> Float[Array, "*s n"]:
    return jnp.linalg.norm(v, axis=-1)


def _units(v: Float[Array, "*s n d"]) -> Float[Array, "*s n d"]:
    """Every token displaced by 1 in its own direction."""
    size = _lengths(v)[..., None]
    return v / jnp.where(size > 0, size, 1)


MIXED: dict[str, Callable[..., Local]] = {"max": _largest_displacement, "W1": _largest_sum}
NORMS = ("euclidean", "W2", "conditional", *MIXED)
