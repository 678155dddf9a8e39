"""The depth within a step at which a stop condition began to hold."""

from collections.abc import Sequence
from typing import Any

import diffrax
import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, PyTree

from .stepping import Settling
from .watching import Condition

RESOLVED = 8  # units in the last place to which the depth is located

Point = tuple[Float[Array, ""], PyTree]


def located(
    solver: Settling,
    moved: diffrax.AbstractTerm,
    args: Any,
    stops: Sequence[Condition],
    stopped: Bool[Array, ""],
    before: Point,
    end: Point,
) -> Point:
    """The depth at which one of some conditions began to hold, and the state there; the end, if none does.

    The last step is taken again and halved, along the interpolation of the method, between where no condition held and
    where one does. Derivatives are those at that depth, which counts as given.

    Parameters
    ----------
    solver, moved, args : as of the solve.
    stopped : whether a condition holds at the end.
    before : depth and state before the last accepted step.
    end : depth and state after it.
    """
    t0, y0 = before

    def within() -> Point:
        state = solver.init(moved, t0, end[0], y0, args)
        _, _, dense, _, _ = solver.step(moved, t0, end[0], y0, args, state, True)
        path = solver.interpolation_cls(t0=t0, t1=end[0], **dense)
        depth = _halved(_fixed(path), _fixed(tuple(stops)), solver.flow, args, stopped, t0, end[0])
        return depth, solver.flow.project(path.evaluate(depth))

    return jax.lax.cond(stopped, within, lambda: end)


def _halved(
    path: Any, stops: tuple[Condition, ...], flow: Any, args: Any, stopped: Array, t0: Array, t1: Array
) -> Float[Array, ""]:
    """A depth at which a condition holds, and not RESOLVED units before it."""
    flow, t0, t1 = _fixed((flow, t0, t1))
    close = RESOLVED * jnp.finfo(t0.dtype).eps * jnp.maximum(jnp.abs(t0), jnp.abs(t1))

    def halved(bracket: tuple[Array, Array]) -> tuple[Array, Array]:
        low, high = bracket
        middle = low + (high - low) / 2
        state = flow.project(path.evaluate(middle))
        holds = jnp.any(jnp.stack([stop(middle, state, args) for stop in stops]))
        return jnp.where(holds, low, middle), jnp.where(holds, middle, high)

    return jax.lax.while_loop(lambda b: stopped & (b[1] - b[0] > close), halved, (t0, t1))[1]


def _fixed(tree: PyTree) -> PyTree:
    """The same numbers, through which no derivative goes."""
    return jax.tree.map(lambda leaf: jax.lax.stop_gradient(leaf) if eqx.is_inexact_array(leaf) else leaf, tree)
