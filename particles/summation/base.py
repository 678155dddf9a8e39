"""How a row of tokens gathers from all the others. Knows nothing of attention.

What a row has gathered, (peak, mass, total), is a commutative monoid: parts of the columns may be visited in any order,
in blocks or on other devices, and merged. A summation is a way to visit; whoever asked for it only closes the result.
Hence laws and summations add, not multiply.

With logits l_ij and values v_j, a row has gathered

    peak = max_j l_ij        mass = sum_j e^(l_ij - peak)        total = sum_j e^(l_ij - peak) v_j

A masked pair has the logit -inf. A row that sees nobody has gathered the unit (-inf, 0, 0): no case of it is NaN.
"""

import abc
from collections.abc import Callable
from typing import ClassVar

import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, PyTree

from ..declaration import Declared
from .bilinear import Bilinear, Unserved


class Gathered(eqx.Module):
    """What each row has gathered from the columns visited so far.

    Attributes
    ----------
    peak : the largest logit, or another number of its size where the pair has a bound; whatever it is, it cancels on
        closing, and is a constant to differentiation.
    mass : the sum of e^(logit - peak).
    total : the sum of e^(logit - peak) times the column's value.
    """

    peak: Float[Array, " n"]
    mass: Float[Array, " n"]
    total: Float[Array, "n k"]

    def merge(self, other: "Gathered") -> "Gathered":
        """What the rows have gathered from both sets of columns; commutative and associative to rounding."""
        peak = jnp.maximum(self.peak, other.peak)
        left = jnp.exp(self.peak - finite(peak))
        right = jnp.exp(other.peak - finite(peak))
        mass = self.mass * left + other.mass * right
        total = self.total * left[:, None] + other.total * right[:, None]
        return Gathered(peak, mass, total)

    @property
    def log_mass(self) -> Float[Array, " n"]:
        """log sum_j e^(l_ij), the row's free energy; -inf, with zero gradient, for a row that saw nobody."""
        seen = self.mass > 0
        return jnp.where(seen, jnp.log(jnp.where(seen, self.mass, 1)) + finite(self.peak), -jnp.inf)


def nothing(n: int, k: int, dtype: jnp.dtype) -> Gathered:
    """The unit of the monoid: n rows that have seen nobody."""
    return Gathered(jnp.full(n, -jnp.inf, dtype), jnp.zeros(n, dtype), jnp.zeros((n, k), dtype))


def finite(peak: Float[Array, "*any"]) -> Float[Array, "*any"]:
    """The peak, with 0 for a row that saw nobody, so that -inf - (-inf) never happens; +inf and NaN stay loud."""
    return jnp.where(peak == -jnp.inf, jnp.zeros_like(peak), peak)


class AbstractPair(Declared):
    """What a summation must know of a pair of tokens: its logit."""

    @abc.abstractmethod
    def logits(self, rows: PyTree[Array], columns: PyTree[Array]) -> Float[Array, "n m"]:
        """The logit of every pair, less the level; -inf where a row must not see a column.

        Parameters
        ----------
        rows, columns : trees of arrays whose first axis runs over tokens. A summation slices them and looks no closer.
        """

    @abc.abstractmethod
    def level(self) -> float:
        """A constant that belongs to every logit; it is added to the peaks, not to each pair."""

    @abc.abstractmethod
    def bound(self, rows: PyTree[Array], columns: PyTree[Array]) -> Float[Array, ""] | None:
        """A number that no finite value of `logits` exceeds in size; infinite or None where none is known.

        Where it is small, no exponential can overflow and a summation need not look for peaks. With None what is
        gathered has the largest logit of each row as its peak.
        """

    def meets(self, rows: PyTree[Array], columns: PyTree[Array]) -> Bool[Array, ""] | None:
        """Whether any of the rows may see any of the columns, from a look at the ends of both; None for always."""
        return None

    def mirrored(self, rows: PyTree[Array], columns: PyTree[Array]) -> bool:
        """Whether rows and columns are known to be the same tokens, and the logits a symmetric matrix."""
        return False

    def bilinear(self, rows: PyTree[Array], columns: PyTree[Array]) -> Bilinear:
        """The logits as products of row and column, less the level.

        Raises
        ------
        Unserved
            If they are none, with the reason.
        """
        raise Unserved(f"the logits of {type(self).__name__} are no product of row and column")


Gather = Callable[[AbstractPair, PyTree[Array], PyTree[Array], Array], Gathered]


class AbstractDevices(eqx.Module):
    """Devices that share rows and columns, as a summation sees them.

    Attributes
    ----------
    axis : the name of the mesh axis that they form, for sums over it.
    """

    axis: ClassVar[str] = "token"

    @abc.abstractmethod
    def ring(
        self,
        gather: Gather,
        pair: AbstractPair,
        rows: PyTree[Array],
        columns: PyTree[Array],
        values: Float[Array, "m k"],
    ) -> Gathered:
        """What each row gathers from all columns, while the columns go round; `gather` is for what a device holds."""

    @abc.abstractmethod
    def added(
        self, program: Callable[[PyTree[Array], Bool[Array, " m"]], PyTree], rows: PyTree[Array], columns: PyTree[Array]
    ) -> PyTree:
        """What a program makes of rows and columns, every device of its part, with sums over all devices inside.

        Parameters
        ----------
        program : takes rows and columns together, and which columns are real; it gives what was gathered for each row,
            and a report that is the same everywhere.
        """

    @abc.abstractmethod
    def part(self, n: int) -> int:
        """The largest part that a device holds of n tokens."""


class AbstractSummation(Declared):
    """A way to visit all pairs of rows and columns. Every one gives the same answer; they differ in cost."""

    @abc.abstractmethod
    def gather(
        self, pair: AbstractPair, rows: PyTree[Array], columns: PyTree[Array], values: Float[Array, "m k"]
    ) -> Gathered:
        """What each row gathers from all columns."""

    def around(
        self,
        devices: AbstractDevices,
        pair: AbstractPair,
        rows: PyTree[Array],
        columns: PyTree[Array],
        values: Float[Array, "m k"],
    ) -> Gathered:
        """What each row gathers from all columns, by several devices together."""
        return devices.ring(self.gather, pair, rows, columns, values)

    @abc.abstractmethod
    def chosen(self, n: int, m: int, itemsize: int) -> "AbstractSummation":
        """The summation that will do the work for n rows and m columns of numbers of `itemsize` bytes.

        Where a pair allows for a faster one, it is `serving` that says so.
        """

    def serving(
        self, pair: AbstractPair, rows: PyTree[Array], columns: PyTree[Array], values: Float[Array, "m k"]
    ) -> "AbstractSummation":
        """The summation that will gather these."""
        return self.chosen(length(rows), length(columns), values.dtype.itemsize)

    def within(self, tolerance: float) -> "AbstractSummation":
        """The summation with errors within a relative tolerance, where it has not been told one."""
        return self

    def work(self, n: int, m: int) -> int:
        """The work of a gather, as a number of pairs that would take as long: an order of magnitude."""
        return n * m

    def report(
        self, pair: AbstractPair, rows: PyTree[Array], columns: PyTree[Array], values: Float[Array, "m k"]
    ) -> PyTree[Array] | None:
        """How exact a gather would be; None where it is so to rounding."""
        return None

    @abc.abstractmethod
    def memory(self, n: int, m: int, k: int, itemsize: int) -> int:
        """An estimate of the bytes one gather needs beside its arguments."""


def tile(pair: AbstractPair, rows: PyTree[Array], columns: PyTree[Array], values: Float[Array, "m k"]) -> Gathered:
    """All rows against all columns at once, without the level."""
    return closed(pair.logits(rows, columns), values)


def closed(logits: Float[Array, "n m"], values: Float[Array, "m k"]) -> Gathered:
    """What rows gather from columns whose logits are known."""
    peak = jax.lax.stop_gradient(jnp.max(logits, axis=1, initial=-jnp.inf))
    return weighed(peak, jnp.exp(logits - finite(peak)[:, None]), values)


def weighed(peak: Float[Array, " n"], weights: Float[Array, "n m"], values: Float[Array, "m k"]) -> Gathered:
    """Mass and total from one product of matrices: a column of ones stands beside the values."""
    sums = weights @ jnp.concatenate([values, jnp.ones_like(weights[0])[:, None]], axis=1)
    return Gathered(peak, sums[:, -1], sums[:, :-1])


def raised(gathered: Gathered, level: float) -> Gathered:
    """What was gathered, had every logit been larger by a constant."""
    return Gathered(gathered.peak + level, gathered.mass, gathered.total)


def length(tree: PyTree[Array]) -> int:
    """The number of tokens in a tree of arrays.

    Raises
    ------
    ValueError
        If the leaves disagree, or there are none.
    """
    lengths = {leaf.shape[0] for leaf in jax.tree.leaves(tree)}
    if len(lengths) != 1:
        raise ValueError(f"every leaf of rows or columns needs the same first axis; got lengths {sorted(lengths)}")
    return lengths.pop()
