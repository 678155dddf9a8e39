"""One layer applied for ever at a fixed step: where the iteration ends, how fast, and how the end depends on the layer.

A block takes each token to what a law makes of it, then through a feed-forward map. With shared weights the pass is one
nonlinear Markov map of measures, iterated. What is injected at every pass is a term of the law, Drift(stimulus=c).
"""

from typing import Any, ClassVar, Literal

import equinox as eqx
import jax
import jax.numpy as jnp
import lineax
import numpy as np
import optimistix
from jaxtyping import Array, Bool, Float, Int
from scipy.sparse.linalg import LinearOperator, eigs

from ..declaration import Declared
from ..laws import AbstractLaw, AbstractMap
from ..summation import AbstractSummation, Auto

DENSE = 1500  # coordinates up to which a Jacobian is formed

UNSOLVED = 1e-4  # relative residual from which on a derivative is told to be none

METHODS = ("iteration", "Newton")


class Block(Declared):
    r"""A layer without residual, as a map of all tokens to all tokens.

    .. math:: T(X)_i = F(u_i(X))

    Parameters
    ----------
    law : u, what each token attends to, and what is injected into it.
    forward : F, a map of the feed-forward kind; absent, nothing.
    summation : how all pairs are visited; chosen by size if left out.

    Source
    ------
    vuckovic2020mathematical, for mu -> F_#(mu A_mu); bai2019deep, for the injection.
    """

    law: AbstractLaw
    forward: AbstractMap | None = None
    summation: AbstractSummation = eqx.field(default_factory=Auto)
    sources: ClassVar[tuple[str, ...]] = ("vuckovic2020mathematical", "bai2019deep")

    def __call__(self, x: Float[Array, "n d"]) -> Float[Array, "n d"]:
        """The tokens behind the block."""
        moved = self.law(jnp.zeros((), x.dtype), x, self.summation)
        return moved if self.forward is None else self.forward(moved)


class FixedPoint(eqx.Module):
    """Where the iteration of a block ended.

    Attributes
    ----------
    x : the iterate with the smallest residual, differentiable with respect to the block if it is a fixed point.
    residuals : |T(x) - x| / |x| at the start and after each pass, in the largest coordinate; NaN once done.
    converged : whether the smallest residual is below the tolerance.
    passes : how many were made.
    """

    x: Float[Array, "n d"]
    residuals: Float[Array, " pass"]
    converged: Bool[Array, ""]
    passes: Int[Array, ""]


@eqx.filter_jit
def fixed_point(
    block: Block,
    x0: Float[Array, "n d"],
    method: Literal["iteration", "Newton"] = "iteration",
    tolerance: float = 1e-12,
    passes: int = 200,
) -> FixedPoint:
    """Iterates a block, or solves T(x) = x by Newton's method with GMRES, and never loses the best iterate.

    Parameters
    ----------
    block : the map.
    x0 : where to start.
    method : "iteration" applies the block; "Newton" forms no Jacobian.
    tolerance : of the residual, relative to the size of the tokens.
    passes : the largest number of applications, or of Newton steps.

    Returns
    -------
    FixedPoint
        Always; look at `converged`. Its derivative is that of the fixed point, by the implicit function theorem, not
        that of the passes.

    Raises
    ------
    ValueError
        For an unknown method.

    Source
    ------
    bai2019deep.
    """
    if method not in METHODS:
        raise ValueError(f"`method` must be one of {', '.join(METHODS)}; got {method!r}")
    held = jax.lax.stop_gradient(block)
    best, residuals = _passes(held, jax.lax.stop_gradient(x0), method, tolerance, passes)
    least = jnp.nanmin(residuals)
    found = jax.lax.custom_root(lambda x: block(x) - x, best, lambda _, x: x, _tangent)
    return FixedPoint(found, residuals, least < tolerance, jnp.sum(jnp.isfinite(residuals)) - 1)


def _passes(
    block: Block, x0: Float[Array, "n d"], method: str, tolerance: float, passes: int
) -> tuple[Float[Array, "n d"], Float[Array, " pass"]]:
    """The best iterate, and the residual of every one."""

    def one(carry: tuple[Any, Any, Any], _: None) -> tuple[tuple[Any, Any, Any], Any]:
        x, best, least = carry
        done = least < tolerance
        moved = jax.lax.cond(done, lambda x: x, lambda x: _pass(block, x, method), x)
        residual = jnp.where(done, jnp.nan, residual_of(block, moved))
        better = residual < least
        return (moved, jnp.where(better, moved, best), jnp.where(better, residual, least)), residual

    first = residual_of(block, x0)
    (_, best, _), residuals = jax.lax.scan(one, (x0, x0, jnp.where(jnp.isnan(first), jnp.inf, first)), length=passes)
    return best, jnp.concatenate([first[None], residuals])


def _pass(block: Block, x: Float[Array, "n d"], method: str) -> Float[Array, "n d"]:
    if method == "iteration":
        solver: Any = optimistix.FixedPointIteration(rtol=0.0, atol=0.0)
        return optimistix.fixed_point(lambda x, _: block(x), solver, x, max_steps=1, throw=False).value
    inner = lineax.GMRES(rtol=1e-10, atol=1e-14, restart=40, stagnation_iters=40)
    solver = optimistix.Newton(rtol=0.0, atol=0.0, linear_solver=inner, cauchy_termination=False)
    return optimistix.root_find(lambda x, _: block(x) - x, solver, x, max_steps=1, throw=False).value


@eqx.filter_jit
def passed(block: Block, x: Float[Array, "n d"], passes: int) -> Float[Array, "pass n d"]:
    """The tokens before the first pass and after each."""
    return jnp.concatenate([x[None], jax.lax.scan(lambda x, _: (block(x), block(x)), x, length=passes)[1]])


def residual_of(block: Block, x: Float[Array, "n d"]) -> Float[Array, ""]:
    """|T(x) - x| / |x|, each the largest coordinate; |T(x) - x| where x is zero."""
    size = jnp.max(jnp.abs(x))
    return jnp.max(jnp.abs(block(x) - x)) / jnp.where(size > 0, size, 1)


def _tangent(linear: Any, y: Float[Array, "n d"]) -> Float[Array, "n d"]:
    """Solves a linear equation of which only products are known, or its transpose; NaN where that did not converge."""

    def inverse(apply: Any, y: Float[Array, "n d"]) -> Float[Array, "n d"]:
        x = jax.scipy.sparse.linalg.gmres(apply, y, tol=1e-12, restart=40, maxiter=100)[0]
        wrong = jnp.max(jnp.abs(apply(x) - y))
        return jnp.where(wrong <= UNSOLVED * jnp.max(jnp.abs(y)), x, jnp.nan)

    return jax.lax.custom_linear_solve(linear, y, inverse, inverse)


def spectrum(block: Block, x: Float[Array, "n d"], largest: int = 6) -> np.ndarray:
    """Eigenvalues of the derivative of a block at some tokens, largest first: all of them, or of large systems some.

    Parameters
    ----------
    block, x : the map, and where to linearize it; a fixed point.
    largest : how many, where there are more than 1500 coordinates.

    Source
    ------
    bai2019deep.
    """
    flat = x.reshape(-1)
    step = eqx.filter_jit(lambda y, v: jax.jvp(lambda z: block(z.reshape(x.shape)).reshape(-1), (y,), (v,))[1])
    if flat.shape[0] <= DENSE:
        jacobian = jax.vmap(lambda v: step(flat, v), in_axes=1, out_axes=1)(jnp.eye(flat.shape[0], dtype=x.dtype))
        values = np.linalg.eigvals(np.asarray(jacobian))
    else:
        shape = (flat.shape[0], flat.shape[0])
        products: Any = lambda v: np.asarray(step(flat, jnp.asarray(v.reshape(-1), x.dtype)))  # noqa: E731
        operator: Any = LinearOperator(shape, matvec=products)  # pyright: ignore[reportCallIssue]
        values = eigs(operator, k=largest, return_eigenvectors=False)
    return values[np.argsort(-np.abs(values))]


def asymptotic_rate(residuals: Float[Array, " pass"] | Float[np.ndarray, " pass"], floor: float = 1e-11) -> float:
    """The factor by which a residual falls with each pass in the end: the geometric mean over its last third.

    Parameters
    ----------
    residuals : of a fixed point, or any numbers that fall geometrically.
    floor : smaller ones are rounding and left out.

    Returns
    -------
    float
        NaN where fewer than two are left.

    Source
    ------
    bai2019deep.
    """
    seen = np.asarray(residuals)
    seen = seen[np.isfinite(seen) & (seen > floor)]
    if len(seen) < 2:
        return float("nan")
    tail = seen[-max(2, len(seen) // 3) :]
    return float((tail[-1] / tail[0]) ** (1 / (len(tail) - 1)))
