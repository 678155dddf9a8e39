"""When a run has nothing more to show: conditions looked at after every accepted step."""

import abc
from typing import ClassVar

import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, PyTree

from .declaration import Declared, parameter
from .dynamics import AbstractFlow
from .observables import labels


class AbstractStop(Declared):
    """A condition that ends a run before its planned depth.

    It is `of_measure` if tokens that are at one place may be one token for it, with their masses added.
    """

    of_measure: ClassVar[bool] = False

    @abc.abstractmethod
    def __call__(self, flow: AbstractFlow, t: Float[Array, ""], state: PyTree) -> Bool[Array, ""]:
        """Whether to stop in this state, which is the tokens where the flow is of first order."""


class OneCluster(AbstractStop):
    """Stop when all tokens are in one cluster, as the observable `clusters` counts them.

    Parameters
    ----------
    delta : the distance below which two tokens are neighbors.

    Source
    ------
    geshkovski2024dynamic.
    """

    of_measure: ClassVar[bool] = True
    delta: Float[Array, ""] = parameter(0.1, gt=0)
    sources: ClassVar[tuple[str, ...]] = ("geshkovski2024dynamic",)

    def __call__(self, flow: AbstractFlow, t: Float[Array, ""], state: PyTree) -> Bool[Array, ""]:
        return jnp.all(labels(flow.space, flow.tokens(state), self.delta) == 0)


class Steady(AbstractStop):
    """Stop when no token moves faster than a given speed. A metastable state may be slower than that for a long time.

    Tokens with inertia must be slow and feel no force above that number either. Under noise the drift alone counts.

    Parameters
    ----------
    speed : the largest speed of a token at rest.

    Units
    -----
    Positions per unit of depth.

    Source
    ------
    hairer1993solving.
    """

    of_measure: ClassVar[bool] = True
    speed: Float[Array, ""] = parameter(1e-8, gt=0)
    sources: ClassVar[tuple[str, ...]] = ("hairer1993solving",)

    def __call__(self, flow: AbstractFlow, t: Float[Array, ""], state: PyTree) -> Bool[Array, ""]:
        rates = [jnp.max(jnp.linalg.norm(rate, axis=-1)) for rate in jax.tree.leaves(flow(t, state)) if rate.ndim]
        fastest = rates[0] if len(rates) == 1 else jnp.max(jnp.stack(rates))
        return fastest < self.speed.astype(fastest.dtype)
