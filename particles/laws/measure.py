"""How much of each token there is, and for whom.

A measure is one mass factor (how much a column weighs, `Uniform` unless given) times any number of dimensionless
factors (who sees whom). It acts on indices, not on positions; `*` multiplies densities, so the product of two masks
is their intersection, and nothing is renormalized. Everything is a logarithm: what is not seen has density -inf.

A log density is a constant, `level`, and a few arrays, `terms`: the constant of the uniform mass is never added to an
array over pairs, where it would cost as much as everything else.
"""

import abc
import math
from typing import ClassVar

import jax.numpy as jnp
from jaxtyping import Array, Float, Int

from ..declaration import Declared, concrete, parameter


class AbstractMeasure(Declared):
    """A density over pairs of token indices."""

    @abc.abstractmethod
    def parts(self) -> tuple["AbstractMeasure", ...]:
        """The factors this measure is a product of: itself, unless it is a product."""

    @abc.abstractmethod
    def terms(self, i: Int[Array, " r"], j: Int[Array, " c"]) -> tuple[Float[Array, "_ c"], ...]:
        """What is added to the logits of rows i and columns j, each `[1 c]` or `[r c]`, beside the level."""

    @abc.abstractmethod
    def bound(self) -> Float[Array, ""] | float:
        """A number that no finite entry of `terms` exceeds in size, for any row and column; infinite if unknown."""

    @property
    def mass_factor(self) -> "AbstractMass":
        """The factor that says how much each column weighs."""
        masses = [part for part in self.parts() if isinstance(part, AbstractMass)]
        return masses[0] if masses else Uniform()

    def level(self, m: int) -> float:
        """The constant part of the log density, for m columns."""
        return self.mass_factor.mass_level(m)

    def log_density(self, i: Int[Array, " r"], j: Int[Array, " c"], m: int) -> Float[Array, "r c"]:
        """The log density of column j for row i, out of m columns."""
        return sum(self.terms(i, j), start=jnp.full((i.shape[0], j.shape[0]), self.level(m)))

    def mass(self, m: int) -> Float[Array, " m"]:
        """The mass of each of m tokens; the mass factor alone."""
        j = jnp.arange(m)
        return jnp.exp(self.mass_factor.log_density(j[:1], j, m)[0])

    def check_tokens(self, m: int) -> None:
        """Raises ValueError if the measure is not one for m tokens."""
        self.mass_factor.check_mass(m)

    def __mul__(self, other: "AbstractMeasure") -> "AbstractMeasure":
        if not isinstance(other, AbstractMeasure):
            return NotImplemented
        return Product(self.parts() + other.parts())


class AbstractMass(AbstractMeasure):
    """How much each column weighs, for every row alike."""

    @abc.abstractmethod
    def mass_level(self, m: int) -> float:
        """The constant part of the log mass of each of m columns."""

    @abc.abstractmethod
    def check_mass(self, m: int) -> None:
        """Raises ValueError if this is not a mass for m tokens."""

    def parts(self) -> tuple[AbstractMeasure, ...]:
        return (self,)


class AbstractFactor(AbstractMeasure):
    """Who sees whom, and how well: a dimensionless factor, 1 where nothing is said."""

    @abc.abstractmethod
    def log_factor(self, i: Int[Array, " r"], j: Int[Array, " c"]) -> Float[Array, "r c"]:
        """The log factor of every pair; -inf where row i must not see column j."""

    def parts(self) -> tuple[AbstractMeasure, ...]:
        return (self,)

    def terms(self, i: Int[Array, " r"], j: Int[Array, " c"]) -> tuple[Float[Array, "_ c"], ...]:
        return (self.log_factor(i, j),)


class Uniform(AbstractMass):
    """Every token weighs the same, 1/m. With `Mean` this is the unnormalized law, USA.

    Source
    ------
    geshkovski2023perspective.
    """

    sources: ClassVar[tuple[str, ...]] = ("geshkovski2023perspective",)

    def mass_level(self, m: int) -> float:
        return -math.log(m)

    def terms(self, i: Int[Array, " r"], j: Int[Array, " c"]) -> tuple[Float[Array, "_ c"], ...]:
        return ()

    def bound(self) -> Float[Array, ""] | float:
        return 0.0

    def check_mass(self, m: int) -> None:
        pass


class Masses(AbstractMass):
    """A given mass for each token: a heavy token stands for many that coincide.

    Parameters
    ----------
    p : the masses, not negative, with sum 1. A token of mass 0 moves but is seen by nobody.

    Raises
    ------
    ValueError
        If a mass is negative, or they do not sum to 1 within 1e-5, or their number is not that of the tokens.

    Source
    ------
    vuckovic2020mathematical.
    """

    p: Float[Array, " m"] = parameter(ge=0)
    sources: ClassVar[tuple[str, ...]] = ("vuckovic2020mathematical",)

    def __check_init__(self):
        p = concrete(self.p)
        if p is not None and abs(p.sum() - 1) > 1e-5:
            raise ValueError(f"`p` of Masses must sum to 1; got {p.sum():.6g}. Divide by the sum.")

    def mass_level(self, m: int) -> float:
        return 0.0

    def terms(self, i: Int[Array, " r"], j: Int[Array, " c"]) -> tuple[Float[Array, "_ c"], ...]:
        p = self.p[j]
        return (jnp.where(p > 0, jnp.log(jnp.where(p > 0, p, 1)), -jnp.inf)[None, :],)

    def bound(self) -> Float[Array, ""] | float:
        return -jnp.log(jnp.min(jnp.where(self.p > 0, self.p, 1)))

    def check_mass(self, m: int) -> None:
        if self.p.shape != (m,):
            raise ValueError(f"Masses needs one mass for each token; got {self.p.shape[0]} masses and {m} tokens")


class Causal(AbstractFactor):
    """Token i sees itself and those before it, as in a decoder. Row i keeps only i/n of the mass.

    Softmax does not notice the missing mass, Mean does. The first token sees only itself.

    Source
    ------
    vaswani2017attention; as a flow, karagodin2024causal.
    """

    sources: ClassVar[tuple[str, ...]] = ("vaswani2017attention", "karagodin2024causal")

    def log_factor(self, i: Int[Array, " r"], j: Int[Array, " c"]) -> Float[Array, "r c"]:
        return jnp.where(j[None, :] <= i[:, None], 0.0, -jnp.inf)

    def bound(self) -> Float[Array, ""] | float:
        return 0.0


class NotSelf(AbstractFactor):
    """No token sees itself. It is hidden by index: a second token at the same place is still seen.

    A single token, or one that nothing else leaves anybody to see, gathers nothing and does not move.

    Source
    ------
    shi2021sparsebert.
    """

    sources: ClassVar[tuple[str, ...]] = ("shi2021sparsebert",)

    def log_factor(self, i: Int[Array, " r"], j: Int[Array, " c"]) -> Float[Array, "r c"]:
        return jnp.where(j[None, :] != i[:, None], 0.0, -jnp.inf)

    def bound(self) -> Float[Array, ""] | float:
        return 0.0


class Product(AbstractMeasure):
    """Several factors at once, usually written with `*`: masks intersect, one mass factor at the most.

    Parameters
    ----------
    factors : the measures multiplied.

    Raises
    ------
    ValueError
        If two of them are masses, since densities are multiplied and not renormalized.

    Source
    ------
    vaswani2017attention.
    """

    factors: tuple[AbstractMeasure, ...]
    sources: ClassVar[tuple[str, ...]] = ("vaswani2017attention",)

    def __check_init__(self):
        masses = [type(part).__name__ for part in self.parts() if isinstance(part, AbstractMass)]
        if len(masses) > 1:
            raise ValueError(f"a measure has one mass factor at the most; got {' * '.join(masses)}")
        if not self.factors:
            raise ValueError("Product of no measures; use Uniform()")

    def parts(self) -> tuple[AbstractMeasure, ...]:
        return tuple(part for factor in self.factors for part in factor.parts())

    def terms(self, i: Int[Array, " r"], j: Int[Array, " c"]) -> tuple[Float[Array, "_ c"], ...]:
        return tuple(term for part in self.parts() for term in part.terms(i, j))

    def bound(self) -> Float[Array, ""] | float:
        return sum((part.bound() for part in self.parts()), start=0.0)
