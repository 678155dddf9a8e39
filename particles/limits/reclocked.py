"""A flow of first order on a clock of its own: the length of its path, which does not know how long tokens wait.

Between two mergers of clusters nothing is seen to happen for a depth that grows exponentially in beta, and then all
happens at once. Measured along the path, every merger takes about as long as its clusters were far apart.
"""

import dataclasses
from collections.abc import Callable
from typing import Any, ClassVar

import equinox as eqx
import jax.numpy as jnp
from jaxtyping import Array, Float, PRNGKeyArray

from ..declaration import parameter
from ..dynamics import AbstractFlow, Flow
from ..dynamics.base import Reading
from ..laws import AbstractLaw, Scheduled
from ..observables import AbstractObservable
from ..spaces import AbstractSpace
from ..summation import AbstractSummation


class Timed(eqx.Module):
    """Tokens, and the depth at which the flow has them.

    Attributes
    ----------
    position : the tokens.
    depth : the depth of the flow; of a rate, how fast it passes.
    """

    position: Float[Array, "n d"]
    depth: Float[Array, ""]


class Reclocked(AbstractFlow):
    r"""A flow followed along its path: a unit of time is a unit of the tokens' root mean square displacement.

    .. math:: \frac{dx}{ds} = \frac{\dot x}{r}, \quad \frac{dt}{ds} = \frac1r, \qquad
        r^2 = \frac1n \sum_i |\dot x_i|^2 + \epsilon^2

    The depth t of the flow is part of the state; watch it as `TrueDepth`. The floor keeps the clock going after all
    has come to rest; waiting times beyond 1/floor are cut short by it no more than the floor is above the speed.

    Parameters
    ----------
    flow : what moves the tokens: a flow of first order whose law does not change with depth.
    floor : epsilon, a speed.

    Raises
    ------
    ValueError
        If the law is scheduled: whatever else is watched would take the length of the path for the depth.

    Units
    -----
    Time is a length; `TrueDepth` is the depth of the flow.

    Cost
    ----
    One evaluation of the law. The equation is as stiff as the flow's: tokens that are all but merged contract as fast
    as before, so that steps are as many as in depth.

    Source
    ------
    bruno2025multiscale, for time on the scale of one merger after another; the clock derived by hand.
    """

    flow: Flow
    floor: Float[Array, ""] = parameter(1e-12, gt=0)
    sources: ClassVar[tuple[str, ...]] = ("bruno2025multiscale",)

    def __check_init__(self):
        if isinstance(self.flow.law, Scheduled):
            raise ValueError("Reclocked needs a law that does not change with depth; got Scheduled")

    @property
    def space(self) -> AbstractSpace:  # pyright: ignore[reportIncompatibleVariableOverride]
        """That of the flow."""
        return self.flow.space

    @property
    def law(self) -> AbstractLaw:  # pyright: ignore[reportIncompatibleVariableOverride]
        """That of the flow."""
        return self.flow.law

    @property
    def summation(self) -> AbstractSummation:  # pyright: ignore[reportIncompatibleVariableOverride]
        """That of the flow."""
        return self.flow.summation

    def summed(self, change: Callable[[AbstractSummation], AbstractSummation]) -> AbstractFlow:
        return dataclasses.replace(self, flow=self.flow.summed(change))

    @property
    def readings(self) -> tuple[Reading, ...]:
        return (Reading.ordinary,)

    def begin(self, x0: Float[Array, "n d"], key: PRNGKeyArray | None) -> Timed:
        return Timed(self.flow.begin(x0, key), jnp.zeros((), x0.dtype))

    def __call__(self, t: Float[Array, ""], state: Timed, args: Any = None) -> Timed:
        velocity = self.flow(state.depth, state.position)
        floor = self.floor.astype(velocity.dtype)
        rate = jnp.sqrt(jnp.mean(jnp.sum(velocity**2, axis=1)) + floor**2)
        return Timed(velocity / rate, 1 / rate)

    def tokens(self, state: Timed) -> Float[Array, "n d"]:
        return state.position

    def project(self, state: Timed) -> Timed:
        return Timed(self.flow.project(state.position), state.depth)


class TrueDepth(AbstractObservable):
    """The depth that a flow on a clock of its own has reached.

    Source
    ------
    bruno2025multiscale.
    """

    name: ClassVar[str] = "true_depth"
    symbol: ClassVar[str] = "$t$"
    sources: ClassVar[tuple[str, ...]] = ("bruno2025multiscale",)

    def __call__(self, flow: AbstractFlow, t: Float[Array, ""], x: Float[Array, "n d"]) -> Float[Array, ""]:
        raise ValueError("the depth is that of a state, not of tokens alone: observe(flow, t, state)")

    def observe(self, flow: AbstractFlow, t: Float[Array, ""], state: Any) -> Float[Array, ""]:
        return state.depth

    def check_flow(self, flow: AbstractFlow) -> None:
        if not isinstance(flow, Reclocked):
            raise ValueError(f"the time of a {type(flow).__name__} is its depth; `true_depth` is for Reclocked")
