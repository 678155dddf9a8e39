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
import pathlib
from typing import ClassVar, Literal

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Int, PyTree

from ..declaration import Declared, as_float, concrete, option, parameter
from ..summation import AbstractPair, AbstractSummation

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
        return Product(self.parts() + other.parts())


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

    @abc.abstractmethod
    def log_factor(self, i: Int[Array, " r"], j: Int[Array, " c"], m: int) -> Float[Array, "r c"]:
        """The log factor of every pair, for m columns in all; -inf where row i must not see column j."""

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


class Masses(AbstractMass):
    r"""A given mass for each token: a heavy token stands for many that coincide.

    .. math:: \pi_{ij} = p_j

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

    traits: ClassVar[frozenset[str]] = frozenset({"masses"})
    p: Float[Array, " m"] = parameter(ge=0)
    sources: ClassVar[tuple[str, ...]] = ("vuckovic2020mathematical",)

    def __check_init__(self):
        p = concrete(self.p)
        if p is not None and abs(p.sum() - 1) > 1e-5:
            raise ValueError(f"`p` of Masses must sum to 1; got {p.sum():.6g}. Divide by the sum.")

    def mass_level(self, m: int) -> float:
        return 0.0

    def mass_terms(self, j: Int[Array, " c"]) -> Terms:
        return (_log(self.p[j])[None, :],)

    def bound(self) -> Float[Array, ""] | float:
        return -jnp.log(jnp.min(jnp.where(self.p > 0, self.p, 1)))

    def check_pairs(self, n: int, m: int) -> None:
        if self.p.shape != (m,):
            raise ValueError(f"Masses needs one mass for each token; got {self.p.shape[0]} masses and {m} tokens")


class Causal(AbstractFactor):
    r"""Tokens see themselves and those before them.

    .. math:: \pi_{ij} \propto 1_{j \le i}

    Row i has mass i/n: `Softmax` does not notice, `Mean` keeps the 1/n. The first token sees itself alone, and on the
    sphere with V = I it never moves.

    Source
    ------
    vaswani2017attention; its clusters, karagodin2024causal.
    """

    traits: ClassVar[frozenset[str]] = frozenset({"masked", "one-sided", "causal"})
    sources: ClassVar[tuple[str, ...]] = ("vaswani2017attention", "karagodin2024causal")

    def log_factor(self, i: Int[Array, " r"], j: Int[Array, " c"], m: int) -> Float[Array, "r c"]:
        return _mask(j[None, :] <= i[:, None])

    def bound(self) -> Float[Array, ""] | float:
        return 0.0


class Window(AbstractFactor):
    r"""Tokens see those whose index is near.

    .. math:: \pi_{ij} \propto 1_{|i - j| \le w}

    `Causal() * Window(w)` looks back only.

    Parameters
    ----------
    width : w.
    periodic : whether the tokens stand in a ring, so that the last is a neighbor of the first.

    Source
    ------
    beltagy2020longformer.
    """

    traits: ClassVar[frozenset[str]] = frozenset({"masked"})
    width: int = option(ge=0)
    periodic: bool = option(False)
    sources: ClassVar[tuple[str, ...]] = ("beltagy2020longformer",)

    def log_factor(self, i: Int[Array, " r"], j: Int[Array, " c"], m: int) -> Float[Array, "r c"]:
        return _mask(_offset(i, j, m if self.periodic else None) <= self.width)

    def bound(self) -> Float[Array, ""] | float:
        return 0.0


class NotSelf(AbstractFactor):
    r"""No token sees itself. It is hidden by index: a second token at the same place is still seen.

    .. math:: \pi_{ij} \propto 1_{i \ne j}

    A single token, or one that nothing else leaves anybody to see, gathers nothing and does not move.

    Source
    ------
    shi2021sparsebert.
    """

    traits: ClassVar[frozenset[str]] = frozenset({"masked", "itself"})
    sources: ClassVar[tuple[str, ...]] = ("shi2021sparsebert",)

    def log_factor(self, i: Int[Array, " r"], j: Int[Array, " c"], m: int) -> Float[Array, "r c"]:
        return _mask(j[None, :] != i[:, None])

    def bound(self) -> Float[Array, ""] | float:
        return 0.0


class Global(AbstractFactor):
    r"""The first few tokens see all and are seen by all; nobody else sees anybody.

    .. math:: \pi_{ij} \propto 1_{i < g \text{ or } j < g}

    One global token is a star. Meant for unions: `Window(2) | Global(1)`.

    Parameters
    ----------
    tokens : g, how many.

    Source
    ------
    zaheer2020bigbird.
    """

    traits: ClassVar[frozenset[str]] = frozenset({"masked"})
    tokens: int = option(1, ge=1)
    sources: ClassVar[tuple[str, ...]] = ("zaheer2020bigbird",)

    def log_factor(self, i: Int[Array, " r"], j: Int[Array, " c"], m: int) -> Float[Array, "r c"]:
        return _mask((i[:, None] < self.tokens) | (j[None, :] < self.tokens))

    def bound(self) -> Float[Array, ""] | float:
        return 0.0


class Random(AbstractFactor):
    r"""Each row sees each column with a given probability, drawn once.

    .. math:: \pi_{ij} \propto B_{ij}, \qquad B_{ij} \sim \mathrm{Bernoulli}(p)

    BigBird's pattern is the union `Window(w) | Global(g) | Random(p)`.

    Parameters
    ----------
    share : p.
    seed : of the draw, a function of i and j, so that it does not depend on how pairs are visited.

    Source
    ------
    zaheer2020bigbird.
    """

    traits: ClassVar[frozenset[str]] = frozenset({"masked"})
    share: float = option(ge=0, le=1)
    seed: int = option(0, ge=0)
    sources: ClassVar[tuple[str, ...]] = ("zaheer2020bigbird",)

    def log_factor(self, i: Int[Array, " r"], j: Int[Array, " c"], m: int) -> Float[Array, "r c"]:
        rows = jax.vmap(lambda k: jax.random.fold_in(jax.random.key(self.seed), k))(i)
        drawn = jax.vmap(lambda row: jax.vmap(lambda k: jax.random.uniform(jax.random.fold_in(row, k)))(j))(rows)
        return _mask(drawn < self.share)

    def bound(self) -> Float[Array, ""] | float:
        return 0.0


class Given(AbstractFactor):
    r"""A matrix of densities, one for each pair: a graph, a prior, a mask of any shape.

    .. math:: \pi_{ij} \propto M_{ij}

    Parameters
    ----------
    matrix : M, not negative, `[n m]`.
    path : of a .npy file that holds it, in place of `matrix`. It is never unpickled.
    logarithmic : whether the numbers are logarithms of densities; -inf then hides.

    Raises
    ------
    ValueError
        If both or none of `matrix` and `path` are given, the shape is not that of the pairs, or a density is negative.

    Source
    ------
    shi2021sparsebert.
    """

    traits: ClassVar[frozenset[str]] = frozenset({"masked", "graded"})
    matrix: Float[Array, "_n _m"] | None = parameter(None, infinite=True)
    path: str | None = option(None)
    logarithmic: bool = option(False)
    sources: ClassVar[tuple[str, ...]] = ("shi2021sparsebert",)

    def __check_init__(self):
        if (self.matrix is None) == (self.path is None):
            given = "neither" if self.path is None else "both"
            raise ValueError(f"Given needs one of `matrix` and `path`; got {given}")
        numbers = None if self.matrix is None else concrete(self.matrix)
        if numbers is not None:
            self._check(numbers, "`matrix` of Given")

    def log_factor(self, i: Int[Array, " r"], j: Int[Array, " c"], m: int) -> Float[Array, "r c"]:
        entries = self._densities()[i][:, j]
        return entries if self.logarithmic else _log(entries)

    def bound(self) -> Float[Array, ""] | float:
        logs = self._densities() if self.logarithmic else _log(self._densities())
        return jnp.max(jnp.abs(jnp.where(jnp.isfinite(logs), logs, 0)))

    def check_pairs(self, n: int, m: int) -> None:
        shape = self._densities().shape
        if shape != (n, m):
            raise ValueError(f"Given has a matrix of shape {shape}, but there are {n} x {m} pairs")

    def _densities(self) -> Float[Array, "_n _m"]:
        if self.matrix is not None:
            return self.matrix
        numbers = _stored(str(self.path))
        self._check(numbers, str(self.path))
        return jnp.asarray(numbers)

    def _check(self, numbers: np.ndarray, what: str) -> None:
        if numbers.ndim != 2:
            raise ValueError(f"{what} must be a matrix; got shape {numbers.shape}")
        bad = np.isnan(numbers) | ((numbers == np.inf) if self.logarithmic else ((numbers < 0) | np.isinf(numbers)))
        if bad.any():
            i, j = np.argwhere(bad)[0]
            expected = "a number or -inf" if self.logarithmic else "a finite density, at least 0"
            raise ValueError(f"{what} must hold {expected} for each pair; got {numbers[i, j]:g} at row {i}, column {j}")


class Blocks(AbstractFactor):
    r"""One density for each pair of species: tokens in groups, one after another.

    .. math:: \pi_{ij} \propto M_{g(i) g(j)}

    One softmax over the union of the groups; a sum of `Cross` laws has a softmax for each group instead.

    Parameters
    ----------
    sizes : how many tokens each group has; their sum is the number of tokens.
    matrix : M, not negative, `[groups groups]`.

    Source
    ------
    vaswani2017attention.
    """

    traits: ClassVar[frozenset[str]] = frozenset({"masked", "graded"})
    sizes: tuple[int, ...] = option(ge=1)
    matrix: Float[Array, "s s"] = parameter(ge=0)
    sources: ClassVar[tuple[str, ...]] = ("vaswani2017attention",)

    def __check_init__(self):
        if self.matrix.shape != (len(self.sizes),) * 2:
            raise ValueError(
                f"`matrix` of Blocks must be {len(self.sizes)} x {len(self.sizes)}; got {self.matrix.shape}"
            )

    def log_factor(self, i: Int[Array, " r"], j: Int[Array, " c"], m: int) -> Float[Array, "r c"]:
        group = jnp.asarray(np.repeat(np.arange(len(self.sizes)), self.sizes))
        return _log(self.matrix[group[i]][:, group[j]])

    def bound(self) -> Float[Array, ""] | float:
        logs = _log(self.matrix)
        return jnp.max(jnp.abs(jnp.where(jnp.isfinite(logs), logs, 0)))

    def check_pairs(self, n: int, m: int) -> None:
        if (n, m) != (sum(self.sizes),) * 2:
            raise ValueError(f"Blocks has sizes {self.sizes}, {sum(self.sizes)} tokens; got {n} x {m} pairs")


class ALiBi(AbstractFactor):
    r"""Attention with linear biases: the farther back a token, the less it counts.

    .. math:: \pi_{ij} \propto e^{-\mu (i - j)} 1_{j \le i}

    A factor of the measure, so it does not scale with the score's beta.

    Parameters
    ----------
    slope : mu. Of H heads the h-th has 2^(-8h/H); see `slopes`.
    sees : "inclusive", itself and those before it; "strict", those before it alone, so that the first token sees
        nobody; "both", all, with |i - j| for the distance.

    Source
    ------
    press2022train.
    """

    slope: Float[Array, ""] = parameter(ge=0)
    sees: Literal["inclusive", "strict", "both"] = option("inclusive")
    sources: ClassVar[tuple[str, ...]] = ("press2022train",)

    def __check_init__(self):
        if self.sees not in ("inclusive", "strict", "both"):
            raise ValueError(f"`sees` of ALiBi must be 'inclusive', 'strict' or 'both'; got {self.sees!r}")

    @property
    def traits(self) -> frozenset[str]:  # pyright: ignore[reportIncompatibleVariableOverride]
        """Graded, and one-sided unless it sees both sides."""
        return frozenset({"graded"} if self.sees == "both" else {"graded", "masked", "one-sided"})

    @staticmethod
    def slopes(heads: int) -> tuple[float, ...]:
        """The slopes of the heads of a layer."""
        return tuple(2.0 ** (-8 * h / heads) for h in range(1, heads + 1))

    def log_factor(self, i: Int[Array, " r"], j: Int[Array, " c"], m: int) -> Float[Array, "r c"]:
        back = i[:, None] - j[None, :]
        graded = -self.slope * jnp.abs(back).astype(self.slope.dtype)
        seen = {"inclusive": back >= 0, "strict": back > 0, "both": jnp.ones_like(back, bool)}[self.sees]
        return jnp.where(seen, graded, -jnp.inf)

    def bound(self) -> Float[Array, ""] | float:
        return jnp.inf


class Toeplitz(AbstractFactor):
    r"""A density for each distance of indices: bands of any shape.

    .. math:: \pi_{ij} \propto m_{|i - j|}

    Parameters
    ----------
    weights : m, from distance 0 on, not negative; beyond the last nobody is seen.

    Source
    ------
    shi2021sparsebert.
    """

    traits: ClassVar[frozenset[str]] = frozenset({"masked", "graded"})
    weights: Float[Array, " w"] = parameter(ge=0)
    sources: ClassVar[tuple[str, ...]] = ("shi2021sparsebert",)

    def __check_init__(self):
        if self.weights.shape == (0,):
            raise ValueError("`weights` of Toeplitz needs one density for each distance, from 0 on; got none")

    def log_factor(self, i: Int[Array, " r"], j: Int[Array, " c"], m: int) -> Float[Array, "r c"]:
        return _banded(_log(self.weights), _offset(i, j, None), -jnp.inf)

    def bound(self) -> Float[Array, ""] | float:
        logs = _log(self.weights)
        return jnp.max(jnp.abs(jnp.where(jnp.isfinite(logs), logs, 0)))


class RelaxedMask(AbstractFactor):
    r"""A mask that can be learned: for each distance of indices a gate between 0 and 1, with the noise of training.

    .. math:: \pi_{ij} \propto \sigma\big((a_{|i-j|} + L_{|i-j|}) / \tau\big)

    L is logistic noise drawn once, or absent. As tau tends to 0 each gate is open or shut, open with probability
    sigma(a).

    Parameters
    ----------
    logits : a, from distance 0 on; beyond the last nobody is seen.
    temperature : tau, positive.
    seed : of the noise; without it there is none.

    Source
    ------
    shi2021sparsebert.
    """

    traits: ClassVar[frozenset[str]] = frozenset({"masked", "graded"})
    logits: Float[Array, " w"] = parameter()
    temperature: Float[Array, ""] = parameter(1.0, gt=0)
    seed: int | None = option(None, ge=0)
    sources: ClassVar[tuple[str, ...]] = ("shi2021sparsebert",)

    def log_factor(self, i: Int[Array, " r"], j: Int[Array, " c"], m: int) -> Float[Array, "r c"]:
        return _banded(self._log_gates(), _offset(i, j, None), -jnp.inf)

    def bound(self) -> Float[Array, ""] | float:
        return jnp.max(jnp.abs(self._log_gates()))

    def _log_gates(self) -> Float[Array, " w"]:
        logits = self.logits
        if self.seed is not None:
            logits = logits + jnp.asarray(np.random.default_rng(self.seed).logistic(size=logits.shape), logits.dtype)
        return jax.nn.log_sigmoid(logits / self.temperature)


class DensityPower(AbstractCrowd):
    r"""Columns weighed by how crowded their place is: the normalization of diffusion maps.

    .. math:: \pi_{ij} \propto q_j^{-a}, \qquad q_j = \sum_k \pi_k e^{s(y_j, y_k)}

    With a = 0 nothing, with a = 1 the density of tokens no longer matters. One sweep of Sinkhorn with column power a.

    Parameters
    ----------
    exponent : a.

    Raises
    ------
    ValueError
        If the score is not symmetric.

    Cost
    ----
    One gather of masses more.

    Source
    ------
    coifman2006diffusion.
    """

    traits: ClassVar[frozenset[str]] = frozenset({"graded", "density"})
    exponent: Float[Array, ""] = parameter(1.0)
    sources: ClassVar[tuple[str, ...]] = ("coifman2006diffusion",)

    def log_weights(
        self, pair: AbstractPair, columns: PyTree[Array], summation: AbstractSummation
    ) -> Float[Array, " m"]:
        nothing = jnp.zeros((jax.tree.leaves(columns)[0].shape[0], 0), self.exponent.dtype)
        return -self.exponent * summation.gather(pair, columns, columns, nothing).log_mass

    def bound(self) -> Float[Array, ""] | float:
        return 0.0


class Union(AbstractFactor):
    """The union of factors, usually written with `|`: the largest of their densities, so that masks are united.

    .. math:: \\pi_{ij} \\propto \\max_k \\pi^{(k)}_{ij}

    Parameters
    ----------
    factors : the factors united.

    Raises
    ------
    ValueError
        If there are none.

    Source
    ------
    zaheer2020bigbird.
    """

    factors: tuple[AbstractFactor, ...]
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

    def bound(self) -> Float[Array, ""] | float:
        return sum((part.bound() for part in self.parts()), start=0.0)


@functools.lru_cache(maxsize=8)
def _stored(path: str) -> np.ndarray:
    """The numbers of a file, as floats."""
    try:
        return np.asarray(np.load(pathlib.Path(path), allow_pickle=False), float)
    except (OSError, ValueError) as error:
        raise ValueError(f"{path}: is not a readable .npy file of numbers: {error}") from error


def _mask(seen: Array) -> Float[Array, "r c"]:
    return jnp.where(seen, 0.0, -jnp.inf)


def _log(density: Float[Array, "*any"]) -> Float[Array, "*any"]:
    """The logarithm, -inf with zero gradient where the density is zero."""
    positive = density > 0
    return jnp.where(positive, jnp.log(jnp.where(positive, density, 1)), -jnp.inf)


def _offset(i: Int[Array, " r"], j: Int[Array, " c"], period: int | None) -> Int[Array, "r c"]:
    """|i - j|, on a ring if there is a period."""
    offset = jnp.abs(i[:, None] - j[None, :])
    return offset if period is None else jnp.minimum(offset, period - offset)


def _banded(values: Float[Array, " w"], offset: Int[Array, "r c"], beyond: float) -> Float[Array, "r c"]:
    """The value for each offset, another one beyond the last."""
    width = values.shape[0]
    return jnp.where(offset < width, values[jnp.minimum(offset, width - 1)], beyond)
