"""A law: what all tokens do to each one of them, as a velocity."""

import abc

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
        from .heads import Sum  # a sum is a law: the two define each other

        return Sum((self, other))


class AbstractPotentialLaw(AbstractLaw):
    """A law that knows the interaction energy of its scores."""

    @abc.abstractmethod
    def energy(self, x: Float[Array, "n d"], summation: AbstractSummation) -> Float[Array, ""]:
        """The interaction energy of the tokens; see the observable `energy`."""
