"""The numerical methods, by name, and the two things diffrax does not have: staying on a space, remembering a step.

A method that leaves the space is held by `Retracted`, which brings every accepted step back. The first stage is
evaluated afresh after that, because the last stage of the step before belongs to a point off the space; the method
keeps its order, and step control its sight.
"""

import dataclasses
from collections.abc import Callable
from typing import Any

import diffrax
import equinox as eqx
import jax.numpy as jnp
import lineax
import optimistix
from jaxtyping import Array, Bool, Float, PyTree

from ..spaces import AbstractSpace

FIRST_STEP = 1e-6  # of the whole span, where nothing better is known


@dataclasses.dataclass(frozen=True)
class Method:
    """What is true of a method: how to make it, its order, whether it can adapt, and which field it wants.

    `make` takes the tolerances, which only implicit methods use. `ambient` methods step along the law's velocity before
    it is made tangent to the space.
    """

    make: Callable[[Any, Any], diffrax.AbstractSolver]
    order: int
    adaptive: bool = True
    implicit: bool = False
    ambient: bool = False


def _explicit(cls: Callable[[], diffrax.AbstractSolver]) -> Callable[[Any, Any], diffrax.AbstractSolver]:
    return lambda rtol, atol: cls()


def _matrix_free(cls: Callable[..., diffrax.AbstractSolver]) -> Callable[[Any, Any], diffrax.AbstractSolver]:
    """An implicit method whose stages are solved by Newton's iteration with GMRES: no Jacobian is ever formed."""

    def make(rtol: Any, atol: Any) -> diffrax.AbstractSolver:
        inner = lineax.GMRES(rtol=1e-3 * rtol, atol=1e-3 * atol, stagnation_iters=40, restart=40)
        return cls(root_finder=optimistix.Newton(rtol=rtol, atol=atol, linear_solver=inner))

    return make


METHODS: dict[str, Method] = {
    "Tsit5": Method(_explicit(diffrax.Tsit5), 5),
    "Dopri5": Method(_explicit(diffrax.Dopri5), 5),
    "Dopri8": Method(_explicit(diffrax.Dopri8), 8),
    "Bosh3": Method(_explicit(diffrax.Bosh3), 3),
    "Heun": Method(_explicit(diffrax.Heun), 2),
    "Kvaerno3": Method(_matrix_free(diffrax.Kvaerno3), 3, implicit=True),
    "Kvaerno5": Method(_matrix_free(diffrax.Kvaerno5), 5, implicit=True),
    "Euler": Method(_explicit(diffrax.Euler), 1, adaptive=False),
    "EulerNormalize": Method(_explicit(diffrax.Euler), 1, adaptive=False, ambient=True),
}


class Retracted(diffrax.AbstractWrappedSolver):
    """A solver whose steps are brought back to a space."""

    solver: diffrax.AbstractSolver  # pyright: ignore[reportIncompatibleVariableOverride]
    space: AbstractSpace

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

    def step(self, terms: PyTree, t0: Any, t1: Any, y0: PyTree, args: PyTree, solver_state: PyTree, made_jump: Any):
        stepped, error, dense, state, result = self.solver.step(terms, t0, t1, y0, args, solver_state, True)
        return self.space.project(stepped), error, dense, state, result

    def func(self, terms: PyTree, t0: Any, y0: PyTree, args: PyTree) -> PyTree:
        return self.solver.func(terms, t0, y0, args)


class Remembering(diffrax.AbstractAdaptiveStepSizeController):
    """A controller that keeps the step it would have taken next, so that the next chunk can begin with it.

    The last step of a chunk is cut short at its end; what is remembered then is the larger of the step proposed before
    the cut and the one proposed after it.
    """

    controller: diffrax.PIDController

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
        return Remembering(self.controller.wrap(direction))  # pyright: ignore[reportCallIssue]

    def init(self, terms, t0, t1, y0, dt0, args, func, error_order):
        first, inner = self.controller.init(terms, t0, t1, y0, dt0, args, func, error_order)
        # a field that overflows close to the start leaves no estimate of the first step
        first = jnp.where(jnp.isfinite(first), first, t0 + FIRST_STEP * (t1 - t0))
        return first, (inner, first - t0, t1)

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
        lost = ~(jnp.isfinite(y1_candidate) & jnp.isfinite(y_error))  # NaN would leave the next step NaN too
        y_error, y1_candidate = jnp.where(lost, jnp.inf, y_error), jnp.where(lost, y0, y1_candidate)
        keep, t0_next, t1_next, jump, inner, result = self.controller.adapt_step_size(
            t0, t1, y0, y1_candidate, args, y_error, error_order, inner
        )
        step = t1_next - t0_next
        step = jnp.where(keep & (t1 >= end), jnp.maximum(step, proposed), step)
        return keep, t0_next, t1_next, jump, (inner, step, end), result


class Ambient(eqx.Module):
    """The field of a flow before it is made tangent to the space."""

    flow: Any

    def __call__(self, t: Float[Array, ""], x: Float[Array, "n d"], args: Any) -> Float[Array, "n d"]:
        return self.flow.velocity(t, x)


class NotFinite(eqx.Module):
    """The event that ends a solve whose state is no longer a number."""

    def __call__(self, t: Any, y: Float[Array, "n d"], args: Any, **kwargs: Any) -> Bool[Array, ""]:
        return ~jnp.all(jnp.isfinite(y))
