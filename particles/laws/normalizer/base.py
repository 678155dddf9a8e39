"""What logits become: the weights with which a row pulls at the values of the columns.

A normalizer is handed a meeting of rows and columns and has it gather as often as it needs. One gather is enough for
those that only close the result, `AbstractOnePass`; those that solve for a threshold or a scaling gather several times
with logits of their own, and so run on every summation without knowing which.

All but one give positive weights w_ij = pi_ij e^r, with a log ratio r of the score and of numbers that the row or the
column was given; that is all a value needs that is a gradient of the score.

Nearly all are principles of maximum entropy, too: the weights of a row make its mean score, less a convex penalty on
their ratio to the measure, as large as it can be. That maximum is the row's free energy, and its gradient in the query
is the mean gradient of the score under the weights.
"""

import abc
from typing import ClassVar, Literal

import equinox as eqx
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float

from ...declaration import Declared
from ...summation import Gathered
from ...summation.base import finite
from ..head import Asked
from ..meeting import Meeting, Weighing
from ..pair import Pattern, Shift
from .gaussian import AffineField, Moments, Quadratic
from .principle import AbstractPrinciple


class AbstractNormalizer(Declared):
    """A map from the logits of all pairs to their weights, applied to values without holding either."""

    iterates: ClassVar[bool] = False  # whether it runs an iteration to a tolerance that it may miss
    adds_density: ClassVar[bool] = False  # whether the measure counts as part of the score
    needs_features: ClassVar[bool] = False  # whether it serves scores made of features alone
    signed: ClassVar[bool] = False  # whether it serves features of any sign, whose products have no logarithm

    @abc.abstractmethod
    def weighted(self, meeting: Meeting, values: Float[Array, "m k"]) -> Float[Array, "n k"]:
        """The sum over columns of weight times value, for each row; 0 for a row that sees nobody."""

    @abc.abstractmethod
    def of_pairs(self, meeting: Meeting) -> Weighing:
        """The weights as those of single pairs, whether or not `weighted` looks at any.

        Raises
        ------
        ValueError
            If weights may be negative.
        """

    def free_energy(self, meeting: Meeting) -> Float[Array, " n"]:
        """The largest value of what the weights of each row maximize; -inf for a row that no weights are possible for.

        Its gradient in the row, the columns held still, is the mean of grad_1 s under the weights.

        Raises
        ------
        ValueError
            If the weights are not known to maximize anything.
        """
        raise ValueError(self._no_principle)

    def principle(self, meeting: Meeting) -> AbstractPrinciple:
        """What the weights maximize, written out over all pairs. Memory O(n m).

        Raises
        ------
        ValueError
            If the weights are not known to maximize anything.
        """
        raise ValueError(self._no_principle)

    @property
    def _no_principle(self) -> str:
        return f"the weights of {type(self).__name__} are not known to maximize anything, so they have no free energy"

    def check_slots(self, *, traits: frozenset[str], pattern: Pattern) -> None:
        """Raises ValueError for a measure that this normalizer cannot serve.

        Parameters
        ----------
        traits, pattern : of the measure.
        """

    def check_asked(self, asked: Asked) -> None:
        """Raises ValueError if the weights do not have what is asked of them; see `AbstractLaw.check_asked`."""

    def unsolved(self, meeting: Meeting) -> Bool[Array, ""]:
        """Whether the iteration misses its tolerance for these tokens."""
        return jnp.asarray(False)

    def gaussian(self, columns: Moments, score: Quadratic) -> AffineField:
        """What a row sees on average of Gaussian columns under a quadratic score.

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

    @abc.abstractmethod
    def weighing(self, meeting: Meeting) -> Weighing:
        """The log ratio, with the numbers of rows and columns that make it a weight."""

    def weighted(self, meeting: Meeting, values: Float[Array, "m k"]) -> Float[Array, "n k"]:
        return meeting.weighed(self.weighing(meeting), values)

    def of_pairs(self, meeting: Meeting) -> Weighing:
        return self.weighing(meeting)


class AbstractOnePass(AbstractRatio):
    """A normalizer that needs one gather and only closes it."""

    @abc.abstractmethod
    def close(self, gathered: Gathered) -> Float[Array, "n k"]:
        """The weighted sum of each row from what it has gathered."""

    @abc.abstractmethod
    def log_divisor(self, log_mass: Float[Array, " n"]) -> Float[Array, " n"]:
        """The logarithm of what e^s is divided by in a row, from the log of the row's partition function."""

    def weighing(self, meeting: Meeting) -> Weighing:
        return divided(self.log_divisor(meeting.log_partition()))

    def weighted(self, meeting: Meeting, values: Float[Array, "m k"]) -> Float[Array, "n k"]:
        return self.close(meeting.gather(values))


class AbstractReferred(AbstractRatio):
    """A normalizer that refers to the measure, or counts tokens."""

    reference: eqx.AbstractVar[Literal["measure", "counting"]]

    def __check_init__(self):
        if self.reference not in ("measure", "counting"):
            raise ValueError(
                f"`reference` of {type(self).__name__} must be 'measure' or 'counting'; got {self.reference!r}"
            )

    @property
    def counting(self) -> bool:
        """Whether the measure is replaced by 1 wherever it is not 0."""
        return self.reference == "counting"

    def check_slots(self, *, traits: frozenset[str], pattern: Pattern) -> None:
        if self.counting and traits & {"masses", "graded"}:
            raise ValueError(
                f"{type(self).__name__} in counting form counts every token it sees as one, so it cannot serve masses "
                "or densities other than 0 and 1; use reference='measure'"
            )


def divided(log_divisor: Float[Array, " n"]) -> Weighing:
    """The weighing by e^s over a divisor for each row."""
    return Weighing(Shift(row=-1), row=finite(log_divisor))
