"""A law: what all tokens do to each one of them, as a velocity; and sums of laws, since laws add.

The heads of one layer are a sum, and so is attention beside something else.
"""

import abc
from typing import ClassVar

from jaxtyping import Array, Float

from ..declaration import Declared
from ..summation import AbstractSummation


class AbstractLaw(Declared):
    """A velocity for each token, given depth and all tokens. Laws add: `law + law` are two heads."""

    @abc.abstractmethod
    def __call__(
        self, t: Float[Array, ""], x: Float[Array, "n d"], summation: AbstractSummation
    ) -> Float[Array, "n d"]:
        """The velocity before it is made tangent to the space.

        Parameters
        ----------
        t : depth.
        x : tokens.
        summation : how all pairs are visited.
        """

    @abc.abstractmethod
    def check_tokens(self, n: int, d: int) -> None:
        """Raises ValueError if the law's masses or matrices are not for n tokens in dimension d."""

    def __add__(self, other: "AbstractLaw") -> "AbstractLaw":
        if not isinstance(other, AbstractLaw):
            return NotImplemented
        return Sum((self, other))


class AbstractPotentialLaw(AbstractLaw):
    """A law that knows the interaction energy of its scores."""

    @abc.abstractmethod
    def energy(self, x: Float[Array, "n d"], summation: AbstractSummation) -> Float[Array, ""]:
        """The interaction energy of the tokens; see the observable `energy`."""


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
