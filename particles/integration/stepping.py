"""From step to step: staying on a space, the grid of constant steps, and ending a step where the law jumps.

A method that leaves the space is held by `Settling`, which brings every accepted step back. The first stage is
evaluated afresh after that, because the last stage of the step before belongs to a point off the space; the method
keeps its order, and step control its sight. Where the law jumps in depth, steps end, and the field within a step is
looked at on that step's side of the jump only; the step remembered is the one that was cut, not what is left of it.

Steps do not depend on how a plan is cut into chunks. A chunk ends with the first step that reaches its last depth, and
the next one begins where the last step that does not pass that depth has ended: the step between is taken twice, to the
same bits. So a controller remembers one state more than the loop of diffrax does, a `Held`.

A loop of diffrax asks for its step four times while a program is traced; steps are programs of their own here, which
are traced once.
"""

from typing import Any

import diffrax
import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, Int, PyTree

from ..dynamics import AbstractFlow
from .fields import Within
from .grid import NEAR, Grid

FIRST_STEP = 1e-6  # of the whole span, where nothing better is known
SAME = 128  # units in the last place within which two depths are one


class Settling(diffrax.AbstractWrappedSolver):
    """A solver whose steps are brought back to the space, and after which what is hidden in a state moves on.

    Where there is neither, its steps are the solver's own. With `afresh` nothing else is taken from one step to the
    next, so that a step can be taken again from its state alone.
    """

    solver: diffrax.AbstractSolver  # pyright: ignore[reportIncompatibleVariableOverride]
    flow: AbstractFlow
    afresh: bool = eqx.field(static=True, default=False)

    @property
    def term_structure(self):  # pyright: ignore[reportIncompatibleVariableOverride]
        return self.solver.term_structure

    @property
    def interpolation_cls(self):  # pyright: ignore[reportIncompatibleMethodOverride]
        return self.solver.interpolation_cls

    @property
    def term_compatible_contr_kwargs(self):  # pyright: ignore[reportIncompatibleVariableOverride]
        return self.solver.term_compatible_contr_kwargs

    @property
    def scan_kind(self):
        return self.solver.scan_kind  # pyright: ignore[reportAttributeAccessIssue]

    @property
    def root_finder(self):
        return self.solver.root_finder  # pyright: ignore[reportAttributeAccessIssue]

    @property
    def root_find_max_steps(self):
        return self.solver.root_find_max_steps  # pyright: ignore[reportAttributeAccessIssue]

    def order(self, terms: PyTree) -> int | None:
        return self.solver.order(terms)

    def strong_order(self, terms: PyTree) -> Any:
        return self.solver.strong_order(terms)

    def error_order(self, terms: PyTree) -> Any:
        return self.solver.error_order(terms)

    def init(self, terms: PyTree, t0: Any, t1: Any, y0: PyTree, args: PyTree) -> PyTree:
        return self.solver.init(terms, t0, t1, y0, args)

    @eqx.filter_jit
    def step(self, terms: PyTree, t0: Any, t1: Any, y0: PyTree, args: PyTree, solver_state: PyTree, made_jump: Any):
        if self.flow.law.jumps:
            args = Within(args.key, *_side(self.flow, t0, t1))
        afresh = True if self.afresh or self.flow.settles or self.flow.law.jumps else made_jump
        stepped, error, dense, state, result = self.solver.step(terms, t0, t1, y0, args, solver_state, afresh)
        if self.flow.settles:
            key = jax.random.wrap_key_data(args.key) if self.flow.random else None
            stepped = self.flow.stepped(stepped, t1 - t0, key)
        return stepped, error, dense, state, result

    def func(self, terms: PyTree, t0: Any, y0: PyTree, args: PyTree) -> PyTree:
        return self.solver.func(terms, t0, y0, args)


def _side(flow: AbstractFlow, t0: Float[Array, ""], t1: Float[Array, ""]) -> tuple[Array, Array]:
    """The depths within a step that lie on its side of every jump."""
    t0, t1 = jax.lax.stop_gradient((t0, t1))
    jump = flow.next_jump(t0)
    left = jnp.where(jump <= _after(t0), jump, t0)
    low = jnp.maximum(jnp.nextafter(left, jnp.inf), left + jnp.finfo(left.dtype).tiny)
    high = jnp.nextafter(jnp.minimum(t1, flow.next_jump(low)), -jnp.inf)
    return low, jnp.maximum(low, high)


def _after(t: Float[Array, ""]) -> Float[Array, ""]:
    """The last depth that cannot be told from t."""
    return t + SAME * jnp.finfo(t.dtype).eps * jnp.abs(t)


class Stops(eqx.Module):
    """The depths that no step may straddle: jumps of the law, and the frames of a path that cannot be interpolated."""

    flow: AbstractFlow
    frames: Float[Array, " time"] | None

    @property
    def any(self) -> bool:
        """Whether there can be any."""
        return self.flow.law.jumps or self.frames is not None

    def cut(self, t0: Any, t1: Any) -> Any:
        """Where a step from t0 that would go to t1 ends: at the first stop, if it lies before t1 or just after."""
        if not self.any:
            return t1
        stop = self.next(_after(t0))
        return jnp.where(t1 > stop - NEAR * (t1 - t0), stop, t1)

    def next(self, t: Float[Array, ""]) -> Float[Array, ""]:
        """The first stop after t; infinite if there is none."""
        jump = self.flow.next_jump(t) if self.flow.law.jumps else jnp.full_like(t, jnp.inf)
        if self.frames is None:
            return jump
        return jnp.minimum(jump, jnp.min(jnp.where(self.frames > t, self.frames, jnp.inf)))


class Held(eqx.Module):
    """Where a chunk can be taken up again: the last accepted state that is not beyond the chunk's last depth.

    Attributes
    ----------
    depth, state : of it.
    step : the step to try from there.
    tried, rejected : how many steps were tried up to there, and how many of them were not accepted.
    """

    depth: Float[Array, ""]
    state: PyTree
    step: Float[Array, ""]
    tried: Int[Array, ""]
    rejected: Int[Array, ""]


class Trail(eqx.Module):
    """A record of accepted steps: where to go on from, and the last of them.

    Attributes
    ----------
    held : None where nobody goes on.
    last : depth and state before the last accepted step; None where nobody looks into it.
    tried, rejected : how many steps there were by now.
    """

    held: Held | None
    last: tuple[Float[Array, ""], PyTree] | None
    tried: Int[Array, ""]
    rejected: Int[Array, ""]

    def after(
        self,
        keep: Bool[Array, ""] | bool,
        before: tuple[Float[Array, ""], PyTree],
        now: tuple[Float[Array, ""], PyTree],
        step: Float[Array, ""],
        end: Float[Array, ""] | None,
    ) -> "Trail":
        """The record after one more step, kept or not, from depth and state `before` to those `now`."""
        tried, rejected = self.tried + 1, self.rejected + jnp.where(keep, 0, 1)
        held, last = self.held, self.last
        if held is not None and end is not None:
            there = Held(*now, step, tried, rejected)
            held = _chosen(keep & (now[0] <= end), there, held)
        if last is not None:
            last = _chosen(jnp.asarray(keep), before, last)
        return Trail(held, last, tried, rejected)


def _chosen(condition: Bool[Array, ""], one: PyTree, other: PyTree) -> PyTree:
    return jax.tree.map(lambda a, b: jnp.where(condition, a, b), one, other)


class Remembering(eqx.Module):
    """What a controller keeps a record of.

    Attributes
    ----------
    end : the last depth of the chunk; None where there are no chunks.
    looks : whether anybody looks into the last step.
    """

    end: Float[Array, ""] | None
    looks: bool = eqx.field(static=True)

    def begin(self, t0: Any, y0: PyTree, step: Any) -> Trail:
        """The record before the first step."""
        zero = jnp.zeros((), jnp.int32)
        held = None if self.end is None else Held(t0, y0, step, zero, zero)
        return Trail(held, (t0, y0) if self.looks else None, zero, zero)


class Adaptive(diffrax.AbstractAdaptiveStepSizeController):
    """Steps by their error, which end where the law jumps.

    A step before a jump is cut short there; what is remembered then is the larger of the step proposed before the cut
    and the one proposed after it.
    """

    controller: diffrax.PIDController
    stops: Stops
    remembering: Remembering

    @property
    def rtol(self):  # pyright: ignore[reportIncompatibleVariableOverride]
        return self.controller.rtol

    @property
    def atol(self):  # pyright: ignore[reportIncompatibleVariableOverride]
        return self.controller.atol

    @property
    def norm(self):  # pyright: ignore[reportIncompatibleMethodOverride]
        return self.controller.norm

    def wrap(self, direction: Any) -> "Adaptive":
        return Adaptive(self.controller.wrap(direction), self.stops, self.remembering)  # pyright: ignore[reportCallIssue]

    def init(self, terms, t0, t1, y0, dt0, args, func, error_order):
        first, inner = self.controller.init(terms, t0, t1, y0, dt0, args, func, error_order)
        # a field that overflows close to the start leaves no estimate of the first step
        first = jnp.where(jnp.isfinite(first), first, t0 + FIRST_STEP * (t1 - t0))
        step = first - t0 if dt0 is None else dt0
        return self.stops.cut(t0, t0 + step), (inner, step, self.remembering.begin(t0, y0, step))

    @eqx.filter_jit
    def adapt_step_size(
        self,
        t0: Any,
        t1: Any,
        y0: Any,
        y1_candidate: Any,
        args: Any,
        y_error: Any,
        error_order: Any,
        controller_state: Any,
    ):
        inner, proposed, trail = controller_state
        # NaN would leave the next step NaN too
        lost = jax.tree.map(lambda y, error: ~(jnp.isfinite(y) & jnp.isfinite(error)), y1_candidate, y_error)
        y_error = jax.tree.map(lambda bad, error: jnp.where(bad, jnp.inf, error), lost, y_error)
        candidate = jax.tree.map(jnp.where, lost, y0, y1_candidate)
        keep, t0_next, t1_next, jump, inner, result = self.controller.adapt_step_size(
            t0, t1, y0, candidate, args, y_error, error_order, inner
        )
        step = t1_next - t0_next
        if self.stops.any:
            short = keep & (t1 >= self.stops.next(_after(t0)))
            step = jnp.where(short, jnp.maximum(step, proposed), step)
            # what is left of a step may be tiny
            result = diffrax.RESULTS.where(short, diffrax.RESULTS.successful, result)
        trail = trail.after(keep, (t0, y0), (t1, y1_candidate), step, self.remembering.end)
        return keep, t0_next, self.stops.cut(t0_next, t0_next + step), jump, (inner, step, trail), result


class Constant(diffrax.AbstractStepSizeController):
    """Constant steps on a grid, cut in two where a stop lies within one."""

    grid: Grid
    stops: Stops
    remembering: Remembering

    def wrap(self, direction: Any) -> "Constant":
        return self

    def init(self, terms, t0, t1, y0, dt0, args, func, error_order):
        count = self.grid.passed(t0)
        trail = self.remembering.begin(t0, y0, self.grid.dt)
        return self.stops.cut(t0, self.grid.depth(count + 1)), (count, trail)

    @eqx.filter_jit
    def adapt_step_size(
        self,
        t0: Any,
        t1: Any,
        y0: Any,
        y1_candidate: Any,
        args: Any,
        y_error: Any,
        error_order: Any,
        controller_state: Any,
    ):
        count, trail = controller_state
        count = count + jnp.where(t1 >= self.grid.depth(count + 1), 1, 0)  # else what is left of a step comes next
        trail = trail.after(True, (t0, y0), (t1, y1_candidate), self.grid.dt, self.remembering.end)
        following = self.stops.cut(t1, self.grid.depth(count + 1))
        return True, t1, following, False, (count, trail), diffrax.RESULTS.successful
