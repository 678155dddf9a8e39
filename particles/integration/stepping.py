"""From step to step: staying on a space, remembering a step, and ending one where the law jumps.

A method that leaves the space is held by `Settling`, which brings every accepted step back. The first stage is
evaluated afresh after that, because the last stage of the step before belongs to a point off the space; the method
keeps its order, and step control its sight. Where the law jumps in depth, steps end, and the field within a step is
looked at on that step's side of the jump only; the step remembered is the one that was cut, not what is left of it.

A loop of diffrax asks for its step four times while a program is traced; steps are programs of their own here, which
are traced once.
"""

from typing import Any

import diffrax
import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, PyTree

from ..dynamics import AbstractFlow
from .fields import Within

FIRST_STEP = 1e-6  # of the whole span, where nothing better is known
NEAR = 1e-6  # of a step: what its end may be off a stop and still be moved there
SAME = 128  # units in the last place within which two depths are one


class Settling(diffrax.AbstractWrappedSolver):
    """A solver whose steps are brought back to the space, and after which what is hidden in a state moves on.

    Where there is neither, its steps are the solver's own.
    """

    solver: diffrax.AbstractSolver  # pyright: ignore[reportIncompatibleVariableOverride]
    flow: AbstractFlow

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
        afresh = True if self.flow.settles or self.flow.law.jumps else made_jump
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


class Remembering(diffrax.AbstractAdaptiveStepSizeController):
    """A controller that keeps the step it would have taken next, so that the next chunk can begin with it.

    The last step of a chunk is cut short at its end, and one before a jump there; what is remembered then is the larger
    of the step proposed before the cut and the one proposed after it.
    """

    controller: diffrax.PIDController
    stops: Stops

    @property
    def rtol(self):  # pyright: ignore[reportIncompatibleVariableOverride]
        return self.controller.rtol

    @property
    def atol(self):  # pyright: ignore[reportIncompatibleVariableOverride]
        return self.controller.atol

    @property
    def norm(self):  # pyright: ignore[reportIncompatibleMethodOverride]
        return self.controller.norm

    def wrap(self, direction: Any) -> "Remembering":
        return Remembering(self.controller.wrap(direction), self.stops)  # pyright: ignore[reportCallIssue]

    def init(self, terms, t0, t1, y0, dt0, args, func, error_order):
        first, inner = self.controller.init(terms, t0, t1, y0, dt0, args, func, error_order)
        # a field that overflows close to the start leaves no estimate of the first step
        first = jnp.where(jnp.isfinite(first), first, t0 + FIRST_STEP * (t1 - t0))
        return self.stops.cut(t0, first), (inner, first - t0, t1)

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
        inner, proposed, end = controller_state
        # NaN would leave the next step NaN too
        lost = jax.tree.map(lambda y, error: ~(jnp.isfinite(y) & jnp.isfinite(error)), y1_candidate, y_error)
        y_error = jax.tree.map(lambda bad, error: jnp.where(bad, jnp.inf, error), lost, y_error)
        y1_candidate = jax.tree.map(jnp.where, lost, y0, y1_candidate)
        keep, t0_next, t1_next, jump, inner, result = self.controller.adapt_step_size(
            t0, t1, y0, y1_candidate, args, y_error, error_order, inner
        )
        step = t1_next - t0_next
        if not self.stops.any:
            step = jnp.where(keep & (t1 >= end), jnp.maximum(step, proposed), step)
            return keep, t0_next, t1_next, jump, (inner, step, end), result
        short = keep & ((t1 >= end) | (t1 >= self.stops.next(_after(t0))))
        step = jnp.where(short, jnp.maximum(step, proposed), step)
        result = diffrax.RESULTS.where(short, diffrax.RESULTS.successful, result)  # what is left of a step may be tiny
        return keep, t0_next, self.stops.cut(t0_next, t0_next + step), jump, (inner, step, end), result


class Stopping(diffrax.AbstractStepSizeController):
    """Constant steps, cut in two where a stop lies within one."""

    controller: diffrax.ConstantStepSize
    stops: Stops

    def wrap(self, direction: Any) -> "Stopping":
        return Stopping(self.controller.wrap(direction), self.stops)

    def init(self, terms, t0, t1, y0, dt0, args, func, error_order):
        target, inner = self.controller.init(terms, t0, t1, y0, dt0, args, func, error_order)
        return self.stops.cut(t0, target), (inner, target, jnp.asarray(dt0))

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
        inner, target, dt = controller_state
        keep, _, t1_next, jump, moved, result = self.controller.adapt_step_size(
            t0, t1, y0, y1_candidate, args, y_error, error_order, inner
        )
        whole = t1 >= target - NEAR * dt  # the step, or what was left of it, is done; in float32 the two may be one
        inner = jax.tree.map(lambda old, new: jnp.where(whole, new, old), inner, moved)
        target = jnp.where(whole, t1_next, target)
        return keep, t1, self.stops.cut(t1, target), jump, (inner, target, dt), result
