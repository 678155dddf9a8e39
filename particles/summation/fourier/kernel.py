r"""The sum over columns of a Gaussian kernel times values, through modes, with its derivatives.

    S(v)_i = sum_j e^{-|a_i - b_j|^2 / 2} v_j

Its derivative in a and b is again such a sum, of other values, with the error of the sum itself. Derivatives are taken
with modes of the box alone, since those of a circle know nothing of the radius.
"""

from collections.abc import Callable

import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import Array, Complex, Float, Int

from .basis import AbstractBasis
from .engine import AbstractEngine


class Rung(eqx.Module):
    """One program for the sum: a basis by its position, the largest mode, and the engine."""

    basis: int = eqx.field(static=True)
    largest: int = eqx.field(static=True)
    engine: AbstractEngine


class Modes(eqx.Module):
    """How the sum is made: programs of several sizes, and the one that is to be run.

    Attributes
    ----------
    bases : for the span of the images at hand.
    rungs : the programs.
    chosen : the position of the one to run.
    smooth : the position of the one that derivatives are taken of.
    lost : NaN where that one is not exact enough, else 0.
    axis : of a mesh, over whose devices columns are spread; None where all are here.
    """

    bases: tuple[AbstractBasis, ...]
    rungs: tuple[Rung, ...]
    chosen: Int[Array, ""]
    smooth: Int[Array, ""]
    lost: Float[Array, ""]
    axis: str | None = eqx.field(static=True, default=None)

    @property
    def differentiable(self) -> "Modes":
        """The same with the program that derivatives are taken of."""
        return Modes(self.bases, self.rungs, self.smooth, self.smooth, self.lost, self.axis)


@eqx.filter_custom_jvp
def gaussian_sum(a: Float[Array, "n k"], b: Float[Array, "m k"], v: Float[Array, "m c"], modes: Modes) -> Array:
    """sum_j e^{-|a_i - b_j|^2 / 2} v_j for each row; differentiable in a, b and v."""
    programs = [_program(modes, rung) for rung in modes.rungs]
    found = jax.checkpoint(lambda *given: jax.lax.switch(modes.chosen, programs, *given))(a, b, _packed(v))
    return jnp.concatenate([found.real, found.imag]).T[:, : v.shape[1]]


@gaussian_sum.def_jvp
def _(primals, tangents):
    a, b, v, modes = primals
    da, db, dv, _ = tangents
    out, modes = gaussian_sum(a, b, v, modes), modes.differentiable
    c = v.shape[1]
    spread = lambda w, u: (w[:, :, None] * u[:, None, :]).reshape(u.shape[0], -1)  # noqa: E731
    contracted = lambda w, sums: jnp.einsum("nk,nkc->nc", w, sums.reshape(w.shape[0], -1, c))  # noqa: E731
    change = jnp.zeros_like(out)
    if da is not None:
        known = gaussian_sum(a, b, jnp.concatenate([v, spread(b, v)], axis=1), modes)
        change = change + contracted(da, known[:, c:]) - jnp.sum(a * da, axis=1)[:, None] * known[:, :c]
    given = dv if db is None else _plus(dv, -jnp.sum(b * db, axis=1)[:, None] * v)
    if db is not None:
        sums = gaussian_sum(a, b, jnp.concatenate([given, spread(db, v)], axis=1), modes)
        change = change + sums[:, :c] + contracted(a, sums[:, c:])
    elif given is not None:
        change = change + gaussian_sum(a, b, given, modes)
    return out, (1 + modes.lost) * change


def _plus(one: Array | None, other: Array) -> Array:
    return other if one is None else one + other


def _packed(v: Float[Array, "m c"]) -> Complex[Array, "half m"]:
    """Two columns in one complex row; a column of zeros beside the last of an odd number."""
    half = -(-v.shape[1] // 2)
    v = jnp.pad(v, ((0, 0), (0, 2 * half - v.shape[1]))).T
    return jax.lax.complex(v[:half], v[half:])


def _program(modes: Modes, rung: Rung) -> Callable[[Array, Array, Array], Array]:
    basis = modes.bases[rung.basis]

    def run(a: Float[Array, "n k"], b: Float[Array, "m k"], packed: Complex[Array, "half m"]) -> Array:
        sums = rung.engine.modes(basis.angle(b), packed, rung.largest)
        if modes.axis is not None:
            sums = jax.lax.psum(sums, modes.axis)
        for axis, weight in enumerate(basis.weights(rung.largest)):
            along = tuple(k for k in range(sums.ndim) if k != axis + 1)
            sums = sums * jnp.expand_dims(weight.astype(sums.dtype), along)
        return rung.engine.tokens(basis.angle(a), sums)

    return run
