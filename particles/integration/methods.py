"""The numerical methods, by name: what is true of each, and the two that diffrax does not have."""

import abc
import dataclasses
import operator
from collections.abc import Callable
from typing import Any, ClassVar

import diffrax
import jax
import jax.numpy as jnp
import lineax
import numpy as np
import optimistix
from jaxtyping import PyTree

from ..dynamics import AbstractFlow, Reading


@dataclasses.dataclass(frozen=True)
class Method:
    """What is true of a method: how to make it, its order, whether it can adapt, and which equations it follows.

    `make` takes the tolerances, which only implicit methods use. `order` is that for smooth flows. One that
    `interpolates` has a state at every depth within a step. `note` says what should be known before it is used.
    """

    make: Callable[[Any, Any], diffrax.AbstractSolver]
    order: int
    adaptive: bool = True
    implicit: bool = False
    interpolates: bool = True
    readings: tuple[Reading, ...] = (Reading.ordinary,)
    note: str = ""


class ClassicalRungeKutta(diffrax.AbstractERK):
    """The method of order 4 that everybody knows; it has no error estimate, so its error is given as zero."""

    tableau: ClassVar = diffrax.ButcherTableau(
        a_lower=(np.array([0.5]), np.array([0.0, 0.5]), np.array([0.0, 0.0, 1.0])),
        b_sol=np.array([1 / 6, 1 / 3, 1 / 3, 1 / 6]),
        b_error=np.zeros(4),
        c=np.array([0.5, 0.5, 1.0]),
    )
    interpolation_cls: ClassVar[Callable[..., diffrax.ThirdOrderHermitePolynomialInterpolation]] = (
        diffrax.ThirdOrderHermitePolynomialInterpolation.from_k
    )

    def order(self, terms: PyTree) -> int:
        return 4


class AbstractOneStep(diffrax.AbstractSolver):
    """A method of order 1 that keeps nothing from step to step, with straight lines between its steps."""

    term_structure: ClassVar = diffrax.AbstractTerm
    interpolation_cls: ClassVar[Callable[..., diffrax.AbstractLocalInterpolation]] = diffrax.LocalLinearInterpolation

    @abc.abstractmethod
    def stepped(self, y0: PyTree, product: PyTree) -> PyTree:
        """The state after a step, from the one before it and the product of field and step there."""

    def order(self, terms: PyTree) -> int:
        return 1

    def init(self, terms: PyTree, t0: Any, t1: Any, y0: PyTree, args: PyTree) -> None:
        return None

    def step(self, terms: PyTree, t0: Any, t1: Any, y0: PyTree, args: PyTree, solver_state: None, made_jump: Any):
        y1 = self.stepped(y0, terms.vf_prod(t0, y0, args, terms.contr(t0, t1)))
        return y1, None, {"y0": y0, "y1": y1}, None, diffrax.RESULTS.successful

    def func(self, terms: PyTree, t0: Any, y0: PyTree, args: PyTree) -> PyTree:
        return terms.vf(t0, y0, args)


class Frozen(AbstractOneStep):
    """Four stages of Runge and Kutta with the velocity at the start of the step: all are one, and it is Euler's."""

    def stepped(self, y0: PyTree, product: PyTree) -> PyTree:
        return jax.tree.map(lambda y, k: y + (k + 2 * k + 2 * k + k) / 6, y0, product)


class Between(diffrax.AbstractLocalInterpolation):
    """The two ends of a layer, and no number between them."""

    t0: Any
    t1: Any
    y0: PyTree
    y1: PyTree

    def evaluate(self, t0: Any, t1: Any = None, left: bool = True) -> PyTree:
        if t1 is not None:
            return jax.tree.map(operator.sub, self.evaluate(t1), self.evaluate(t0))
        inside = (t0 > self.t0) & (t0 < self.t1)
        ends = jax.tree.map(lambda y0, y1: jnp.where(t0 >= self.t1, y1, y0), self.y0, self.y1)
        return jax.tree.map(lambda y: jnp.where(inside, jnp.nan, y), ends)


class Layered(AbstractOneStep):
    """Every step is a layer of a network."""

    interpolation_cls: ClassVar[Callable[..., diffrax.AbstractLocalInterpolation]] = Between

    def stepped(self, y0: PyTree, product: PyTree) -> PyTree:
        return product


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
    "Heun": Method(
        _explicit(diffrax.Heun),
        2,
        readings=(Reading.ordinary, Reading.stratonovich),
        note="Stratonovich's under Brownian noise",
    ),
    "Kvaerno3": Method(_matrix_free(diffrax.Kvaerno3), 3, implicit=True),
    "Kvaerno5": Method(_matrix_free(diffrax.Kvaerno5), 5, implicit=True),
    "RK4": Method(_explicit(ClassicalRungeKutta), 4, adaptive=False, note="the classical method"),
    "Euler": Method(
        _explicit(diffrax.Euler),
        1,
        adaptive=False,
        readings=(Reading.ordinary, Reading.ito),
        note="Ito's under Brownian noise",
    ),
    "EulerHeun": Method(
        _explicit(diffrax.EulerHeun),
        1,
        adaptive=False,
        readings=(Reading.stratonovich,),
        note="for Brownian noise alone, Stratonovich's",
    ),
    "EulerNormalize": Method(
        _explicit(diffrax.Euler),
        1,
        adaptive=False,
        readings=(Reading.ambient,),
        note="for parity: normalize(x + dt v) of published scripts, whose clock is slow by 1 + dt <x, v>",
    ),
    "Layers": Method(
        _explicit(Layered),
        1,
        adaptive=False,
        interpolates=False,
        readings=(Reading.layers,),
        note="one step is one layer of a network, as it stands",
    ),
    "RK4Frozen": Method(
        _explicit(Frozen),
        1,
        adaptive=False,
        note="for parity: RK4 of published scripts with one velocity for all stages, which is Euler",
    ),
}


def reading(name: str, flow: AbstractFlow) -> Reading | None:
    """The equation as which a method follows a flow, the flow's best; None if it cannot."""
    return next((kind for kind in flow.readings if kind in METHODS[name].readings), None)
