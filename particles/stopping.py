"""When a run has nothing more to show: conditions looked at after every accepted step."""

import abc
from typing import ClassVar

import jax.numpy as jnp
from jaxtyping import Array, Bool, Float

from .declaration import Declared, parameter
from .dynamics import Flow
from .observables import labels


class AbstractStop(Declared):
    """A condition that ends a run before its planned depth."""

    @abc.abstractmethod
    def __call__(self, flow: Flow, t: Float[Array, ""], x: Float[Array, "n d"]) -> Bool[Array, ""]:
        """Whether to stop in this state."""


class OneCluster(AbstractStop):
    """Stop when all tokens are in one cluster, as the observable `clusters` counts them.

    Parameters
    ----------
    delta : the distance below which two tokens are neighbors.

    Source
    ------
    geshkovski2024dynamic.
    """

    delta: Float[Array, ""] = parameter(0.1, gt=0)
    sources: ClassVar[tuple[str, ...]] = ("geshkovski2024dynamic",)

    def __call__(self, flow: Flow, t: Float[Array, ""], x: Float[Array, "n d"]) -> Bool[Array, ""]:
        return jnp.all(labels(flow.space, x, self.delta) == 0)


class Steady(AbstractStop):
    """Stop when no token moves faster than a given speed. A metastable state may be slower than that for a long time.

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

    speed: Float[Array, ""] = parameter(1e-8, gt=0)
    sources: ClassVar[tuple[str, ...]] = ("hairer1993solving",)

    def __call__(self, flow: Flow, t: Float[Array, ""], x: Float[Array, "n d"]) -> Bool[Array, ""]:
        return jnp.max(jnp.linalg.norm(flow(t, x), axis=1)) < self.speed.astype(x.dtype)
