"""Sums of laws: the heads of one layer, or attention beside something else."""

from typing import ClassVar

from jaxtyping import Array, Float

from ..summation import AbstractSummation
from .base import AbstractLaw, AbstractPotentialLaw


class Sum(AbstractPotentialLaw):
    """Several laws acting at once, usually written with `+`. Heads add as velocities, not as mixtures of weights.

    Parameters
    ----------
    laws : the laws added.

    Raises
    ------
    ValueError
        If there are none.

    Source
    ------
    vaswani2017attention.
    """

    laws: tuple[AbstractLaw, ...]
    sources: ClassVar[tuple[str, ...]] = ("vaswani2017attention",)

    def __check_init__(self):
        if not self.laws:
            raise ValueError("Sum of no laws; give at least one")

    def __call__(
        self, t: Float[Array, ""], x: Float[Array, "n d"], summation: AbstractSummation
    ) -> Float[Array, "n d"]:
        return sum((law(t, x, summation) for law in self.laws[1:]), start=self.laws[0](t, x, summation))

    def energy(self, x: Float[Array, "n d"], summation: AbstractSummation) -> Float[Array, ""]:
        for law in self.laws:
            if not isinstance(law, AbstractPotentialLaw):
                raise ValueError(f"the energy of this Sum is not defined: {type(law).__name__} has none")
        energies = [law.energy(x, summation) for law in self.laws if isinstance(law, AbstractPotentialLaw)]
        return sum(energies[1:], start=energies[0])

    def check_tokens(self, n: int, d: int) -> None:
        for law in self.laws:
            law.check_tokens(n, d)
