"""How fast tokens with inertia are."""

from typing import ClassVar

import jax.numpy as jnp
from jaxtyping import Array, Float, PyTree

from ..dynamics import AbstractFlow, AbstractInertialFlow
from .base import AbstractObservable


class KineticEnergy(AbstractObservable):
    r"""The kinetic energy of tokens with inertia, as a mean over tokens of mass 1.

    .. math:: K = \frac{1}{2n} \sum_i |v_i|^2

    The mean, because the law of `Mean` attention is then minus the gradient of a potential -`energy` for K: where score
    and value are one symmetric form, K - `energy` is constant without friction and falls by 2 `friction` K with it.

    Units
    -----
    The square of a velocity.

    Source
    ------
    tiezzi2020focus.
    """

    name: ClassVar[str] = "kinetic_energy"
    symbol: ClassVar[str] = "$K$"
    unit: ClassVar[str] = "position²/depth²"
    positive: ClassVar[bool] = True
    sources: ClassVar[tuple[str, ...]] = ("tiezzi2020focus",)

    def __call__(self, flow: AbstractFlow, t: Float[Array, ""], x: Float[Array, "n d"]) -> Float[Array, ""]:
        raise ValueError("the kinetic energy is that of a state, not of tokens alone: observe(flow, t, state)")

    def observe(self, flow: AbstractFlow, t: Float[Array, ""], state: PyTree) -> Float[Array, ""]:
        return jnp.mean(jnp.sum(_inertial(flow).momentum(state) ** 2, axis=1)) / 2

    def check_flow(self, flow: AbstractFlow) -> None:
        _inertial(flow)


def _inertial(flow: AbstractFlow) -> AbstractInertialFlow:
    if not isinstance(flow, AbstractInertialFlow):
        raise ValueError(f"tokens of a {type(flow).__name__} have no inertia, so no kinetic energy; use SecondOrder")
    return flow
