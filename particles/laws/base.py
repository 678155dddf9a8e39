"""A law: what all tokens do to each one of them, as a velocity; and sums of laws, since laws add.

The heads of one layer are a sum, and so is attention beside something else. Whoever follows a law through depth needs
to know three things more of it: where in depth it jumps, whether an inner iteration of its own went wrong, and how many
attention matrices it holds, so that noise can be added to their logits.
"""

import abc
from collections.abc import Sequence
from typing import ClassVar

import equinox as eqx
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float

from ..declaration import Declared, unnested
from ..summation import AbstractSummation
from .head import AbstractHead, Asked


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

    @abc.abstractmethod
    def parts(self) -> tuple["AbstractLaw", ...]:
        """The laws that this one is made of; none for one that stands alone."""

    def at(self, t: Float[Array, ""]) -> "AbstractLaw":
        """The law as it is at depth t: itself, unless it is scheduled."""
        return self

    @property
    def jumps(self) -> bool:
        """Whether the law is discontinuous in depth anywhere."""
        return any(part.jumps for part in self.parts())

    def next_jump(self, t: Float[Array, ""]) -> Float[Array, ""]:
        """The first depth after t at which the law is discontinuous; infinite if there is none."""
        return _first([part.next_jump(t) for part in self.parts()], t)

    @property
    def iterates(self) -> bool:
        """Whether an inner iteration, run to a tolerance, takes part."""
        return any(part.iterates for part in self.parts())

    def unsolved(self, t: Float[Array, ""], x: Float[Array, "n d"], summation: AbstractSummation) -> Bool[Array, ""]:
        """Whether an inner iteration misses its tolerance in this state."""
        return jnp.any(jnp.asarray([False, *(part.unsolved(t, x, summation) for part in self.parts())]))

    @property
    def heads(self) -> int:
        """The number of attention matrices in the law."""
        return sum(part.heads for part in self.parts())

    def head_weights(
        self, t: Float[Array, ""], x: Float[Array, "n d"], summation: AbstractSummation
    ) -> Float[Array, "h n n"]:
        """The attention matrices, one after another; none at all of a law without. Memory O(h n^2)."""
        parts = self.parts() if self.heads else ()
        none = jnp.zeros((0, x.shape[0], x.shape[0]), x.dtype)
        return jnp.concatenate([none, *(part.head_weights(t, x, summation) for part in parts if part.heads)])

    def attending(
        self, t: Float[Array, ""], x: Float[Array, "n d"], summation: AbstractSummation
    ) -> tuple[AbstractHead, ...]:
        """The heads at work on tokens, one for each attention matrix, in the order of `head_weights`."""
        parts = self.parts() if self.heads else ()
        return tuple(head for part in parts for head in part.attending(t, x, summation))

    def check_asked(self, asked: Asked) -> None:
        """Raises ValueError if the attention weights do not have what is asked of them.

        Parameters
        ----------
        asked : "entropy", which needs weights that are not negative; "free energy", which needs some that are known to
            maximize it; "logits", to which numbers can be added; "single", that each matrix is that of one head.
        """
        for part in self.parts() if self.heads else ():
            part.check_asked(asked)

    def tilted(self, shift: Float[Array, "h n m"]) -> "AbstractLaw":
        """The law with numbers added to the logits of its attention matrices, one matrix of them for each head.

        Raises
        ------
        ValueError
            If the law holds no attention matrix.
        """
        raise ValueError(f"{type(self).__name__} has no attention weights to which noise could be added")

    def on_masses(self, p: Float[Array, " m"]) -> "AbstractLaw":
        """The law for tokens of the masses p: what it is on a measure that is more than a cloud of equal tokens.

        Raises
        ------
        ValueError
            If the law sees more of its tokens than where they are and what they weigh.
        """
        if self.heads or self.parts():
            raise ValueError(
                f"{type(self).__name__} sees more of its tokens than where they are and what they weigh, so it does "
                "not act on tokens of other masses; Attention, sums, schedules and talking heads of it do"
            )
        return self  # no token sees another

    def __add__(self, other: "AbstractLaw") -> "AbstractLaw":
        if not isinstance(other, AbstractLaw):
            return NotImplemented
        return Sum((self, other))


class AbstractAttending(AbstractLaw):
    """A law of heads: what moves tokens are its attention matrices, whatever is added to their logits."""

    @abc.abstractmethod
    def working(
        self, x: Float[Array, "n d"], summation: AbstractSummation, shift: Float[Array, "h n m"] | None = None
    ) -> tuple[AbstractHead, ...]:
        """The heads at work on tokens.

        Parameters
        ----------
        shift : numbers added to the logits, one matrix of them for each head.
        """

    @abc.abstractmethod
    def moved(self, heads: tuple[AbstractHead, ...], x: Float[Array, "n d"]) -> Float[Array, "n d"]:
        """The velocity of tokens under heads at work on them."""

    @abc.abstractmethod
    def matrices(self, heads: tuple[AbstractHead, ...], x: Float[Array, "n d"]) -> Float[Array, "h n n"]:
        """The attention matrices of heads at work on tokens."""

    def __call__(
        self, t: Float[Array, ""], x: Float[Array, "n d"], summation: AbstractSummation
    ) -> Float[Array, "n d"]:
        return self.moved(self.working(x, summation), x)

    def head_weights(
        self, t: Float[Array, ""], x: Float[Array, "n d"], summation: AbstractSummation
    ) -> Float[Array, "h n n"]:
        return self.matrices(self.working(x, summation), x)

    def attending(
        self, t: Float[Array, ""], x: Float[Array, "n d"], summation: AbstractSummation
    ) -> tuple[AbstractHead, ...]:
        return self.working(x, summation)

    def tilted(self, shift: Float[Array, "h n m"]) -> AbstractLaw:
        self.check_asked("logits")
        return _Tilted(self, shift)

    def unsolved(self, t: Float[Array, ""], x: Float[Array, "n d"], summation: AbstractSummation) -> Bool[Array, ""]:
        if not self.iterates:
            return jnp.asarray(False)
        return jnp.any(jnp.stack([head.unsolved() for head in self.working(x, summation)]))


class _Tilted(AbstractAttending):
    """A law of heads with numbers added to their logits."""

    law: AbstractAttending
    shift: Float[Array, "h n m"]

    def working(
        self, x: Float[Array, "n d"], summation: AbstractSummation, shift: Float[Array, "h n m"] | None = None
    ) -> tuple[AbstractHead, ...]:
        return self.law.working(x, summation, self.shift if shift is None else self.shift + shift)

    def moved(self, heads: tuple[AbstractHead, ...], x: Float[Array, "n d"]) -> Float[Array, "n d"]:
        return self.law.moved(heads, x)

    def matrices(self, heads: tuple[AbstractHead, ...], x: Float[Array, "n d"]) -> Float[Array, "h n n"]:
        return self.law.matrices(heads, x)

    def check_tokens(self, n: int, d: int) -> None:
        self.law.check_tokens(n, d)

    def parts(self) -> tuple[AbstractLaw, ...]:
        return (self.law,)


class AbstractPotentialLaw(AbstractLaw):
    """A law that knows the interaction energy of its scores."""

    @abc.abstractmethod
    def energy(self, x: Float[Array, "n d"], summation: AbstractSummation) -> Float[Array, ""]:
        """The interaction energy of the tokens; see the observable `energy`."""

    @property
    @abc.abstractmethod
    def positive_energy(self) -> bool:
        """Whether the energy is positive wherever the tokens are, as far as numbers are known."""

    def check_energy(self) -> None:
        """Raises ValueError if there is no such energy after all."""


class Sum(AbstractPotentialLaw):
    """Several laws acting at once, usually written with `+`. Heads add as velocities, not as mixtures of weights.

    .. math:: u_i = \\sum_h u_i^{(h)}

    Brackets mean nothing: the terms of a sum within a sum are terms of the whole, however it is made.

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

    laws: tuple[AbstractLaw, ...] = eqx.field(converter=lambda laws: unnested(laws, Sum, "laws"))
    sources: ClassVar[tuple[str, ...]] = ("vaswani2017attention",)

    def __check_init__(self):
        if not self.laws:
            raise ValueError("Sum of no laws; give at least one")

    def __call__(
        self, t: Float[Array, ""], x: Float[Array, "n d"], summation: AbstractSummation
    ) -> Float[Array, "n d"]:
        return sum((law(t, x, summation) for law in self.laws[1:]), start=self.laws[0](t, x, summation))

    def parts(self) -> tuple[AbstractLaw, ...]:
        return self.laws

    def at(self, t: Float[Array, ""]) -> AbstractLaw:
        return Sum(tuple(law.at(t) for law in self.laws))

    def tilted(self, shift: Float[Array, "h n m"]) -> AbstractLaw:
        if not self.heads:
            return super().tilted(shift)
        return Sum(tuple(law.tilted(part) if law.heads else law for law, part in _shared(self.laws, shift)))

    def on_masses(self, p: Float[Array, " m"]) -> AbstractLaw:
        return Sum(tuple(law.on_masses(p) for law in self.laws))

    def check_energy(self) -> None:
        for law in self.laws:
            if not isinstance(law, AbstractPotentialLaw):
                raise ValueError(f"the energy of this Sum is not defined: {type(law).__name__} has none")
            law.check_energy()

    @property
    def positive_energy(self) -> bool:
        return all(isinstance(law, AbstractPotentialLaw) and law.positive_energy for law in self.laws)

    def energy(self, x: Float[Array, "n d"], summation: AbstractSummation) -> Float[Array, ""]:
        self.check_energy()
        energies = [law.energy(x, summation) for law in self.laws if isinstance(law, AbstractPotentialLaw)]
        return sum(energies[1:], start=energies[0])

    def check_tokens(self, n: int, d: int) -> None:
        for law in self.laws:
            law.check_tokens(n, d)


def _shared(
    laws: Sequence[AbstractLaw], shift: Float[Array, "h n m"]
) -> list[tuple[AbstractLaw, Float[Array, "_ n m"]]]:
    """Each law with the matrices that are for its heads."""
    edges = [sum(law.heads for law in laws[:k]) for k in range(len(laws) + 1)]
    return [(law, shift[edges[k] : edges[k + 1]]) for k, law in enumerate(laws)]


def _first(depths: list[Float[Array, ""]], t: Float[Array, ""]) -> Float[Array, ""]:
    return jnp.min(jnp.stack([jnp.full_like(t, jnp.inf), *depths]))
