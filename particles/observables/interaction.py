"""What the law itself measures: the energy of which attention is a gradient."""

from typing import ClassVar

import jax.numpy as jnp
from jaxtyping import Array, Float

from ..dynamics import AbstractFlow, at_precision
from ..laws import AbstractPotentialLaw
from .base import AbstractObservable


class Energy(AbstractObservable):
    r"""The interaction energy; attention whose score and value are one symmetric form, without a mask, only raises it.

    .. math:: E_\beta = \frac{1}{2\beta} \sum_{ij} \pi_i \pi_{ij}\, e^{s(x_i, x_j)}

    For `DotProduct` this is the energy of the literature; V = I and V = B symmetric raise it, V = -I makes it fall.
    At beta = 0, where only the additive constant 1/(2 beta) diverges, that constant is left out. Heads add. Positive
    where all beta are, negative where they are negative.
    Overflows at scores above 88 in float32.

    Cost
    ----
    One gather of masses alone.

    Source
    ------
    geshkovski2023perspective.
    """

    name: ClassVar[str] = "energy"
    of_measure: ClassVar[bool] = True
    symbol: ClassVar[str] = r"$E_\beta$"
    sources: ClassVar[tuple[str, ...]] = ("geshkovski2023perspective",)

    def __call__(self, flow: AbstractFlow, t: Float[Array, ""], x: Float[Array, "n d"]) -> Float[Array, ""]:
        law = at_precision(flow.law, x.dtype).at(t)
        if not isinstance(law, AbstractPotentialLaw):
            raise ValueError(f"the energy of {type(law).__name__} is not defined; watch something else")
        return law.energy(x, flow.summation)

    def positive_in(self, flow: AbstractFlow) -> bool:
        return isinstance(flow.law, AbstractPotentialLaw) and flow.law.positive_energy

    def check_flow(self, flow: AbstractFlow) -> None:
        law = flow.law.at(jnp.zeros(()))
        if not isinstance(law, AbstractPotentialLaw):
            raise ValueError(f"the energy of {type(law).__name__} is not defined; watch something else")
        law.check_energy()
