"""What logits become: the weights with which a row pulls at the values of the columns.

A normalizer is handed a way to gather and asks for as much as it needs. One gather is enough for those that only close
the result, `AbstractOnePass`; those that solve for a threshold or a scaling gather several times with logits of their
own, and so run on every summation without knowing which.

All but one give positive weights w_ij = pi_ij e^r, with a log ratio r of the score and of numbers that the row or the
column was given; that is all a value needs that is a gradient of the score.
"""

import abc
from collections.abc import Callable
from typing import Any, ClassVar

import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float

from ...declaration import Declared
from ...summation import AbstractSummation, Gathered
from ...summation.base import finite
from ..pair import AbstractWeighed, Held, Moved, Pattern, Ratio, Slope, Tokens


class AbstractNormalizer(Declared):
    """A map from the logits of all pairs to their weights, applied to values without holding either."""

    iterates: ClassVar[bool] = False  # whether it runs an iteration to a tolerance that it may miss
    adds_density: ClassVar[bool] = False  # whether the measure counts as part of the score
    needs_features: ClassVar[bool] = False  # whether it serves scores made of features alone

    @abc.abstractmethod
    def weighted(
        self,
        pair: AbstractWeighed,
        rows: Tokens,
        columns: Tokens,
        values: Float[Array, "m k"],
        summation: AbstractSummation,
    ) -> Float[Array, "n k"]:
        """The sum over columns of weight times value, for each row; 0 for a row that sees nobody."""

    def check_slots(self, *, traits: frozenset[str], pattern: Pattern, positive: bool) -> None:
        """Raises ValueError for a measure or a score that this normalizer cannot serve.

        Parameters
        ----------
        traits, pattern : of the measure.
        positive : whether the features of the score are, if it has any.
        """

    def unsolved(
        self, pair: AbstractWeighed, rows: Tokens, columns: Tokens, summation: AbstractSummation
    ) -> Bool[Array, ""]:
        """Whether the iteration misses its tolerance for these tokens."""
        return jnp.asarray(False)

    def gaussian(
        self,
        mean: Float[Array, " d"],
        covariance: Float[Array, "d d"],
        form: Float[Array, "d d"],
        own: Float[Array, "d d"],
        tilt: Float[Array, " d"],
    ) -> tuple[Float[Array, " d"], Float[Array, "d d"]]:
        """What a row at x sees on average of Gaussian columns under a quadratic score, b + M x: the pair (b, M).

        Parameters
        ----------
        mean, covariance : of the columns, infinitely many.
        form, own, tilt : A, H and g of the score y^T A x + y^T H y / 2 + g^T y; what depends on x alone is left out.

        Raises
        ------
        ValueError
            If no closed form is known.
        """
        raise ValueError(
            f"what {type(self).__name__} makes of Gaussian tokens is not known in closed form; that of Softmax is, and "
            "of Sinkhorn with `rho` infinite"
        )


class AbstractRatio(AbstractNormalizer):
    """A normalizer whose weights are the measure times the exponential of a log ratio."""

    @property
    def counting(self) -> bool:
        """Whether the measure is replaced by 1 wherever it is not 0."""
        return False

    @abc.abstractmethod
    def ratio(self, scores: Float[Array, "n m"], row: Any, column: Any) -> Float[Array, "n m"]:
        """log(w / pi), from the scores and what `held` has found for each row and column."""

    @abc.abstractmethod
    def held(
        self, pair: AbstractWeighed, rows: Tokens, columns: Tokens, summation: AbstractSummation
    ) -> tuple[Held, Held]:
        """Rows and columns with the numbers that make the ratio a weight."""

    def weighted(
        self,
        pair: AbstractWeighed,
        rows: Tokens,
        columns: Tokens,
        values: Float[Array, "m k"],
        summation: AbstractSummation,
    ) -> Float[Array, "n k"]:
        held = self.held(pair, rows, columns, summation)
        return _out(summation.gather(Ratio(pair, self.ratio, self.counting), *held, values))

    def slope(
        self, pair: AbstractWeighed, rows: Tokens, columns: Tokens, summation: AbstractSummation
    ) -> Float[Array, "n d"]:
        """sum_j w_ij grad_1 s(x_i, y_j), the gradient of the score in the query, for each row."""
        held_rows, held_columns = self.held(pair, rows, columns, summation)
        slope = Slope(Ratio(pair, self.ratio, self.counting))

        def mass(position: Float[Array, "n d"]) -> Float[Array, ""]:
            gathered = summation.gather(slope, Moved(held_rows, position), held_columns, columns.nothing)
            return jnp.sum(jnp.exp(finite(gathered.peak)) * gathered.mass)

        return jax.grad(mass)(rows.position)


class AbstractOnePass(AbstractRatio):
    """A normalizer that needs one gather and only closes it."""

    @abc.abstractmethod
    def close(self, gathered: Gathered) -> Float[Array, "n k"]:
        """The weighted sum of each row from what it has gathered."""

    @abc.abstractmethod
    def log_divisor(self, log_mass: Float[Array, " n"]) -> Float[Array, " n"]:
        """The logarithm of what e^s is divided by in a row, from the log of the row's partition function."""

    def ratio(self, scores: Float[Array, "n m"], row: Any, column: Any) -> Float[Array, "n m"]:
        return scores - row

    def held(
        self, pair: AbstractWeighed, rows: Tokens, columns: Tokens, summation: AbstractSummation
    ) -> tuple[Held, Held]:
        log_mass = summation.gather(pair, rows, columns, columns.nothing).log_mass
        return Held(rows, finite(self.log_divisor(log_mass))), Held(columns, None)

    def weighted(
        self,
        pair: AbstractWeighed,
        rows: Tokens,
        columns: Tokens,
        values: Float[Array, "m k"],
        summation: AbstractSummation,
    ) -> Float[Array, "n k"]:
        return self.close(summation.gather(pair, rows, columns, values))


def flat(scores: Float[Array, "n m"], row: Any, column: Any) -> Float[Array, "n m"]:
    """The ratio of weights that are the measure itself."""
    return jnp.zeros_like(scores)


def at_peak(scores: Float[Array, "n m"], row: Any, column: Any) -> Float[Array, "n m"]:
    """The ratio that leaves those with the largest score of their row."""
    return jnp.where(scores >= row, jnp.zeros_like(scores), -jnp.inf)


def plus_column(scores: Float[Array, "n m"], row: Any, column: Any) -> Float[Array, "n m"]:
    """The ratio of exponentials, with what the column was given."""
    return scores + column


def _itself(scores: Float[Array, "n m"], row: Any, column: Any) -> Float[Array, "n m"]:
    return scores


def peak_of(pair: AbstractWeighed, rows: Tokens, columns: Tokens, summation: AbstractSummation) -> Float[Array, " n"]:
    """The largest score that each row sees, a constant to differentiation; 0 for a row that sees nobody.

    A pair without a bound makes every summation look for the true peak.
    """
    best = summation.gather(Ratio(pair, _itself, True), Held(rows, None), Held(columns, None), columns.nothing)
    return finite(best.peak)


def log_mass_of(
    ratio: Callable,
    counting: bool,
    numbers: Any,
    pair: AbstractWeighed,
    rows: Tokens,
    columns: Tokens,
    summation: AbstractSummation,
) -> Float[Array, " n"]:
    """The log of the mass that each row gathers with a ratio and numbers of its own."""
    held = Held(rows, numbers), Held(columns, None)
    return summation.gather(Ratio(pair, ratio, counting), *held, columns.nothing).log_mass


def _out(gathered: Gathered) -> Float[Array, "n k"]:
    """What was gathered, out of the logarithm."""
    return jnp.exp(finite(gathered.peak))[:, None] * gathered.total


def check_reference(owner: AbstractNormalizer, reference: str) -> None:
    """Raises ValueError if there is no such reference."""
    if reference not in ("measure", "counting"):
        raise ValueError(f"`reference` of {type(owner).__name__} must be 'measure' or 'counting'; got {reference!r}")


def check_counting(owner: AbstractNormalizer, counting: bool, traits: frozenset[str]) -> None:
    """Raises ValueError if tokens are to be counted that have masses or densities."""
    if counting and traits & {"masses", "graded"}:
        raise ValueError(
            f"{type(owner).__name__} in counting form counts every token it sees as one, so it cannot serve masses or "
            "densities other than 0 and 1; use reference='measure'"
        )
