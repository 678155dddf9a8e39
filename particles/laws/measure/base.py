"""How much of each token there is, and for whom.

A measure is one mass factor (how much a column weighs, `Uniform` unless given) times any number of dimensionless
factors (who sees whom, and how well). `*` multiplies densities, so the product of two masks is their intersection, and
nothing is renormalized; `|` is the union of two factors, and `**` a power. Everything is a logarithm: what is not seen
has density -inf.

A log density is a constant, `level`, and a few arrays: the constant of the uniform mass is never added to an array over
pairs, where it would cost as much as everything else. Factors act on indices, not on positions, with one exception: a
density power weighs columns by where all columns are, in a gather of its own.
"""

import abc
import functools
import math
from typing import ClassVar, Literal

import equinox as eqx
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, Int, PyTree

from ...declaration import Declared, as_float, parameter, unnested
from ...summation import AbstractPair, AbstractSummation

Terms = tuple[Float[Array, "_ c"], ...]


class AbstractMeasure(Declared):
    """A density over pairs of tokens."""

    # What others may not be able to bear: "masses"; "masked" (zeros); "one-sided" (zeros on one side of the diagonal);
    # "causal" (exactly those); "graded" (densities other than 0 and 1); "density" (weights by positions); "itself" (it
    # speaks of a token and itself, which are no pair where rows and columns are different tokens).
    traits: ClassVar[frozenset[str]] = frozenset()

    @abc.abstractmethod
    def parts(self) -> tuple["AbstractMeasure", ...]:
        """The factors this measure is a product of: itself, unless it is a product."""

    @abc.abstractmethod
    def bound(self) -> Float[Array, ""] | float:
        """A number that no finite entry of the terms exceeds in size, for any row and column; infinite if unknown."""

    @property
    def mass_factor(self) -> "AbstractMass":
        """The factor that says how much each column weighs."""
        masses = [part for part in self.parts() if isinstance(part, AbstractMass)]
        return masses[0] if masses else Uniform()

    @property
    def factors_of_pairs(self) -> tuple["AbstractFactor", ...]:
        """The factors that say who sees whom."""
        return tuple(part for part in self.parts() if isinstance(part, AbstractFactor))

    def all_traits(self) -> frozenset[str]:
        """The traits of all factors."""
        return frozenset().union(*(part.traits for part in self.parts()))

    @property
    def pattern(self) -> Literal["full", "causal", "other"]:
        """Who sees whom, where that has a name: everybody, or each token itself and those before it."""
        pairs = [part for part in self.parts() if not isinstance(part, AbstractMass)]
        if not pairs:
            return "full"
        return "causal" if len(pairs) == 1 and "causal" in pairs[0].traits else "other"

    def level(self, m: int) -> float:
        """The constant part of the log density, for m columns."""
        return self.mass_factor.mass_level(m)

    def mass_terms(self, j: Int[Array, " c"]) -> Terms:
        """The log mass of columns j beside the level, `[1 c]`, or nothing."""
        return self.mass_factor.mass_terms(j)

    def factor_terms(self, i: Int[Array, " r"], j: Int[Array, " c"], m: int) -> Terms:
        """The log factors of rows i and columns j out of m, each `[r c]`."""
        return tuple(part.log_factor(i, j, m) for part in self.factors_of_pairs)

    def column_weights(
        self, pair: AbstractPair, columns: PyTree[Array], summation: AbstractSummation
    ) -> Float[Array, " m"] | None:
        """Log weights of the columns that depend on where all of them are; None where there are none.

        Parameters
        ----------
        pair : the score with the mass factor alone.
        """
        weights = [
            part.log_weights(pair, columns, summation) for part in self.parts() if isinstance(part, AbstractCrowd)
        ]
        return sum(weights[1:], start=weights[0]) if weights else None

    def log_density(self, i: Int[Array, " r"], j: Int[Array, " c"], m: int) -> Float[Array, "r c"]:
        """The log density of column j for row i, out of m columns, as far as it does not depend on positions."""
        terms = self.mass_terms(j) + self.factor_terms(i, j, m)
        return sum(terms, start=jnp.full((i.shape[0], j.shape[0]), self.level(m)))

    def mass(self, m: int) -> Float[Array, " m"]:
        """The mass of each of m tokens; the mass factor alone."""
        j = jnp.arange(m)
        return jnp.exp(sum((term[0] for term in self.mass_terms(j)), start=jnp.full(m, self.level(m))))

    def check_pairs(self, n: int, m: int) -> None:
        """Raises ValueError if the measure is not one for n rows and m columns."""
        for part in self.parts():
            part.check_pairs(n, m)

    def __mul__(self, other: "AbstractMeasure") -> "AbstractMeasure":
        if not isinstance(other, AbstractMeasure):
            return NotImplemented
        return Product((self, other))


class AbstractMass(AbstractMeasure):
    """How much each column weighs, for every row alike."""

    @abc.abstractmethod
    def mass_level(self, m: int) -> float:
        """The constant part of the log mass of each of m columns."""

    @abc.abstractmethod
    def mass_terms(self, j: Int[Array, " c"]) -> Terms:
        """The rest of the log mass of columns j, `[1 c]`, or nothing."""

    @abc.abstractmethod
    def check_pairs(self, n: int, m: int) -> None:
        """Raises ValueError if this is not a mass for m columns."""

    def parts(self) -> tuple[AbstractMeasure, ...]:
        return (self,)


class AbstractFactor(AbstractMeasure):
    """Who sees whom, and how well: a dimensionless factor, 1 where nothing is said."""

    only_itself: ClassVar[bool] = False  # whether all it does is to hide a token from itself

    @abc.abstractmethod
    def log_factor(self, i: Int[Array, " r"], j: Int[Array, " c"], m: int) -> Float[Array, "r c"]:
        """The log factor of every pair, for m columns in all; -inf where row i must not see column j."""

    def reaches(self, i: Int[Array, " r"], j: Int[Array, " c"], m: int) -> Bool[Array, ""] | None:
        """Whether any of rows i may see any of columns j, from the least and the largest of both; None for always."""
        return None

    def parts(self) -> tuple[AbstractMeasure, ...]:
        return (self,)

    def check_pairs(self, n: int, m: int) -> None:
        pass

    def __or__(self, other: "AbstractFactor") -> "AbstractFactor":
        if not isinstance(other, AbstractFactor):
            return NotImplemented
        return Union((self, other))

    def __pow__(self, exponent: float) -> "AbstractFactor":
        return Power(self, as_float(exponent))


class AbstractCrowd(AbstractMeasure):
    """A weight of columns that depends on where all columns are."""

    @abc.abstractmethod
    def log_weights(
        self, pair: AbstractPair, columns: PyTree[Array], summation: AbstractSummation
    ) -> Float[Array, " m"]:
        """The log weight of every column."""

    def parts(self) -> tuple[AbstractMeasure, ...]:
        return (self,)

    def check_pairs(self, n: int, m: int) -> None:
        pass


class Uniform(AbstractMass):
    r"""Every token weighs the same, 1/m. With `Mean` this is the unnormalized law, USA.

    .. math:: \pi_{ij} = 1/m

    Source
    ------
    geshkovski2023perspective.
    """

    sources: ClassVar[tuple[str, ...]] = ("geshkovski2023perspective",)

    def mass_level(self, m: int) -> float:
        return -math.log(m)

    def mass_terms(self, j: Int[Array, " c"]) -> Terms:
        return ()

    def bound(self) -> Float[Array, ""] | float:
        return 0.0

    def check_pairs(self, n: int, m: int) -> None:
        pass


class Union(AbstractFactor):
    """The union of factors, usually written with `|`: the largest of their densities, so that masks are united.

    .. math:: \\pi_{ij} \\propto \\max_k \\pi^{(k)}_{ij}

    Parameters
    ----------
    factors : the factors united, those of a union among them one by one.

    Raises
    ------
    ValueError
        If there are none.

    Source
    ------
    zaheer2020bigbird.
    """

    factors: tuple[AbstractFactor, ...] = eqx.field(converter=lambda factors: unnested(factors, Union, "factors"))
    sources: ClassVar[tuple[str, ...]] = ("zaheer2020bigbird",)

    def __check_init__(self):
        if not self.factors:
            raise ValueError("Union of no factors; use Uniform()")

    @property
    def traits(self) -> frozenset[str]:  # pyright: ignore[reportIncompatibleVariableOverride]
        """Those of all factors; one-sided only if all of them are."""
        traits = [factor.traits for factor in self.factors]
        return frozenset().union(*traits) - (
            {"one-sided", "causal"} if "one-sided" not in frozenset.intersection(*traits) else {"causal"}
        )

    def log_factor(self, i: Int[Array, " r"], j: Int[Array, " c"], m: int) -> Float[Array, "r c"]:
        return functools.reduce(jnp.maximum, (factor.log_factor(i, j, m) for factor in self.factors))

    def reaches(self, i: Int[Array, " r"], j: Int[Array, " c"], m: int) -> Bool[Array, ""] | None:
        parts = [factor.reaches(i, j, m) for factor in self.factors]
        known = [part for part in parts if part is not None]
        return functools.reduce(jnp.logical_or, known) if len(known) == len(parts) else None

    def bound(self) -> Float[Array, ""] | float:
        return functools.reduce(jnp.maximum, (jnp.asarray(factor.bound()) for factor in self.factors))

    def check_pairs(self, n: int, m: int) -> None:
        for factor in self.factors:
            factor.check_pairs(n, m)


class Power(AbstractFactor):
    r"""A factor raised to a power, usually written with `**`: a prior that counts more or less.

    .. math:: \pi_{ij} \propto (\pi^{(0)}_{ij})^a

    With a score multiplied by lambda and a prior to the power 1 - lambda this is their geometric fusion. What is hidden
    stays hidden for every positive power; with power 0 the factor is gone.

    Parameters
    ----------
    factor : the prior.
    exponent : a, at least 0.

    Source
    ------
    le2022attention.
    """

    factor: AbstractFactor
    exponent: Float[Array, ""] = parameter(1.0, ge=0)
    sources: ClassVar[tuple[str, ...]] = ("le2022attention",)

    @property
    def traits(self) -> frozenset[str]:  # pyright: ignore[reportIncompatibleVariableOverride]
        """Those of the factor, which keeps its zeros alone."""
        return self.factor.traits - {"causal"}

    def log_factor(self, i: Int[Array, " r"], j: Int[Array, " c"], m: int) -> Float[Array, "r c"]:
        log = self.factor.log_factor(i, j, m)
        seen = log > -jnp.inf
        exponent = self.exponent.astype(log.dtype)
        hidden = jnp.where(exponent > 0, jnp.full((), -jnp.inf, log.dtype), jnp.zeros((), log.dtype))
        return jnp.where(seen, exponent * jnp.where(seen, log, 0), hidden)

    def bound(self) -> Float[Array, ""] | float:
        return jnp.where(self.exponent > 0, self.exponent * self.factor.bound(), 0)

    def check_pairs(self, n: int, m: int) -> None:
        self.factor.check_pairs(n, m)


class Product(AbstractMeasure):
    """Several factors at once, usually written with `*`: masks intersect, one mass factor at the most.

    .. math:: \\pi_{ij} = \\prod_k \\pi^{(k)}_{ij}

    Parameters
    ----------
    factors : the measures multiplied, those of a product among them one by one.

    Raises
    ------
    ValueError
        If two of them are masses, since densities are multiplied and not renormalized.

    Source
    ------
    vaswani2017attention.
    """

    factors: tuple[AbstractMeasure, ...] = eqx.field(converter=lambda factors: unnested(factors, Product, "factors"))
    sources: ClassVar[tuple[str, ...]] = ("vaswani2017attention",)

    def __check_init__(self):
        masses = [type(part).__name__ for part in self.parts() if isinstance(part, AbstractMass)]
        if len(masses) > 1:
            raise ValueError(f"a measure has one mass factor at the most; got {' * '.join(masses)}")
        if not self.factors:
            raise ValueError("Product of no measures; use Uniform()")

    def parts(self) -> tuple[AbstractMeasure, ...]:
        return self.factors

    def bound(self) -> Float[Array, ""] | float:
        return sum((part.bound() for part in self.parts()), start=0.0)


def mask(seen: Array) -> Float[Array, "r c"]:
    """The log factor of a mask: 0 where it is seen, -inf where not."""
    return jnp.where(seen, 0.0, -jnp.inf)


def log(density: Float[Array, "*any"]) -> Float[Array, "*any"]:
    """The logarithm, -inf with zero gradient where the density is zero."""
    positive = density > 0
    return jnp.where(positive, jnp.log(jnp.where(positive, density, 1)), -jnp.inf)


def offset_of(i: Int[Array, " r"], j: Int[Array, " c"], period: int | None) -> Int[Array, "r c"]:
    """|i - j|, on a ring if there is a period."""
    offset = jnp.abs(i[:, None] - j[None, :])
    return offset if period is None else jnp.minimum(offset, period - offset)
