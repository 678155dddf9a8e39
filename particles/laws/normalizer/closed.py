"""Normalizers that only close what was gathered: softmax and those beside it."""

from typing import Any, ClassVar, Literal

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from ...declaration import option, parameter
from ...summation import Gathered
from ...summation.base import finite
from ..meeting import Meeting, Weighing
from .base import AbstractOnePass, AbstractReferred
from .gaussian import AffineField, Moments, Quadratic
from .principle import Entropy, Rows, TwoSided, entropy

SMALL = 18.0  # e^-18 squared is below rounding


class Softmax(AbstractOnePass):
    r"""Attention as a convex mean: the weights of a row are positive and sum to one.

    .. math:: w_{ij} = \frac{\pi_{ij} e^{s_{ij}}}{\sum_k \pi_{ik} e^{s_{ik}}}

    On the sphere with `DotProduct` this is the flow SA in which clusters form; `beta` sets how long tokens stay
    apart. A row that sees nobody has no mean: its weights, its field and all their gradients are defined as zero.

    Units
    -----
    Weights are pure numbers; the field is in units of the values per unit of depth.

    Cost
    ----
    One gather: O(n m d) time; memory is the summation's.

    Source
    ------
    vaswani2017attention; as a flow, geshkovski2023perspective.
    """

    sources: ClassVar[tuple[str, ...]] = ("vaswani2017attention", "geshkovski2023perspective")

    def close(self, gathered: Gathered) -> Float[Array, "n k"]:
        seen = (gathered.mass != 0)[:, None]  # NaN is no mass, and must be seen
        mass = jnp.where(seen, gathered.mass[:, None], 1)
        return jnp.where(seen, gathered.total / mass, 0)

    def log_divisor(self, log_mass: Float[Array, " n"]) -> Float[Array, " n"]:
        return log_mass

    def free_energy(self, meeting: Meeting) -> Float[Array, " n"]:
        """log Z_i."""
        return meeting.log_partition()

    def principle(self, meeting: Meeting) -> Rows:
        """With phi(r) = r log r."""
        best = self.free_energy(meeting)
        return Rows.of(meeting, self.of_pairs(meeting), best, entropy(best))

    def gaussian(self, columns: Moments, score: Quadratic) -> AffineField:
        """Gaussian columns weighed by e^s are Gaussian again; NaN where the weights grow too fast to be summed."""
        mean, dtype = columns.mean, columns.mean.dtype
        narrowed = jnp.eye(mean.shape[0], dtype=dtype) - columns.covariance @ score.own
        seen = jnp.linalg.solve(narrowed, columns.covariance)  # the covariance of the columns as they are seen
        spectrum = jnp.linalg.eigvalsh(0.5 * (seen + seen.T))
        summable = spectrum[0] >= -jnp.sqrt(jnp.finfo(dtype).eps) * spectrum[-1]
        seen = jnp.where(summable, seen, jnp.nan)
        return AffineField(jnp.linalg.solve(narrowed, mean) + seen @ score.tilt, seen @ score.form)


class Mean(AbstractOnePass):
    r"""Attention without the denominator, USA: a mean over tokens of e^s times the value.

    .. math:: w_{ij} = \pi_{ij} e^{s_{ij} - c}

    With a symmetric form as score and value it is the gradient flow of the energy, and the easier one to prove
    things about. Its clock is exponential in the score: the field is of size e^beta where tokens have met, and
    overflows at scores above 88 in float32, 709 in float64. With c = beta on the sphere the orbits are the same and the
    clock is e^beta times slower, of the size of `Softmax`.

    Parameters
    ----------
    offset : c.

    Cost
    ----
    One gather.

    Source
    ------
    geshkovski2023perspective.
    """

    offset: Float[Array, ""] = parameter(0.0)
    sources: ClassVar[tuple[str, ...]] = ("geshkovski2023perspective",)

    def close(self, gathered: Gathered) -> Float[Array, "n k"]:
        return jnp.exp(finite(gathered.peak) - self.offset)[:, None] * gathered.total

    def log_divisor(self, log_mass: Float[Array, " n"]) -> Float[Array, " n"]:
        return jnp.broadcast_to(self.offset, log_mass.shape)

    def free_energy(self, meeting: Meeting) -> Float[Array, " n"]:
        """The sum of the row's weights, Z_i e^-c."""
        return jnp.exp(meeting.log_partition() - self.offset)

    def principle(self, meeting: Meeting) -> Rows:
        """With phi(r) = r log r - r + c r, and rows of any sum."""
        best = self.free_energy(meeting)
        penalty = Entropy(jnp.ones((), best.dtype), self.offset.astype(best.dtype) - 1)
        return Rows.of(meeting, self.of_pairs(meeting), best, penalty, conserved=False)


class Null(AbstractOnePass):
    r"""Softmax that may also look at nothing: a null token of value zero takes a part of each row.

    .. math:: w_{ij} = \frac{\pi_{ij} e^{s_{ij}}}{m_0 e^c + \sum_k \pi_{ik} e^{s_{ik}}}

    "Softmax off by one" counted over n tokens is mass 1/n, which fades as n grows; a fixed mass does not.

    Parameters
    ----------
    score : c, the score of the null token for every row.
    mass : m_0, positive, in units of the measure, whose total is 1.

    Cost
    ----
    One gather.

    Source
    ------
    xiao2024efficient.
    """

    score: Float[Array, ""] = parameter(0.0)
    mass: Float[Array, ""] = parameter(1.0, gt=0)
    sources: ClassVar[tuple[str, ...]] = ("xiao2024efficient",)

    def close(self, gathered: Gathered) -> Float[Array, "n k"]:
        peak = jnp.maximum(gathered.peak, self._level)
        mine = jnp.exp(gathered.peak - peak)
        return gathered.total * (mine / (gathered.mass * mine + jnp.exp(self._level - peak)))[:, None]

    def log_divisor(self, log_mass: Float[Array, " n"]) -> Float[Array, " n"]:
        peak = jnp.maximum(log_mass, self._level)
        return peak + jnp.log(jnp.exp(log_mass - peak) + jnp.exp(self._level - peak))

    def free_energy(self, meeting: Meeting) -> Float[Array, " n"]:
        """log(m_0 e^c + Z_i)."""
        return self.log_divisor(meeting.log_partition())

    def principle(self, meeting: Meeting) -> Rows:
        """With phi(r) = r log r, and the null token as one column more."""
        best = self.free_energy(meeting)
        rows = Rows.of(meeting, self.of_pairs(meeting), best, entropy(best))
        return rows.with_null(self.score, self.mass, self.score - best)

    @property
    def _level(self) -> Float[Array, ""]:
        return self.score + jnp.log(self.mass)


class Sigmoid(AbstractReferred):
    r"""Each pair for itself: no row sums to anything.

    .. math:: w_{ij} = \frac{\pi_{ij}}{1 + e^{-s_{ij} - b}}

    Parameters
    ----------
    bias : b.
    reference : "measure"; or "counting", the form of the literature, without the measure, where b = -log n imitates it
        in the tail. Splitting a token in two then changes the law.

    Cost
    ----
    One gather.

    Source
    ------
    ramapuram2025theory.
    """

    bias: Float[Array, ""] = parameter(0.0)
    reference: Literal["measure", "counting"] = option("measure")
    sources: ClassVar[tuple[str, ...]] = ("ramapuram2025theory",)

    def weighing(self, meeting: Meeting) -> Weighing:
        return Weighing(self._ratio, counting=self.counting)

    def free_energy(self, meeting: Meeting) -> Float[Array, " n"]:
        """sum_j pi_ij log(1 + e^(s_ij + b)), a sum of what each pair reaches by itself."""
        return jnp.exp(meeting.log_weight(Weighing(self._reached, counting=self.counting)))

    def principle(self, meeting: Meeting) -> Rows:
        """With phi(r) = r log r + (1 - r) log(1 - r) - b r for r in [0, 1], and rows of any sum."""
        best, reference = self.free_energy(meeting), "counting" if self.counting else "measure"
        penalty = TwoSided(self.bias.astype(best.dtype))
        return Rows.of(meeting, self.of_pairs(meeting), best, penalty, reference, conserved=False)

    def _ratio(self, scores: Float[Array, "n m"], row: Any, column: Any) -> Float[Array, "n m"]:
        return jax.nn.log_sigmoid(scores + self.bias)

    def _reached(self, scores: Float[Array, "n m"], row: Any, column: Any) -> Float[Array, "n m"]:
        """log log(1 + e^z), from two terms of its series where e^z is too small to be seen beside 1."""
        z = scores + self.bias
        small = z < -SMALL
        return jnp.where(small, z - 0.5 * jnp.exp(z), jnp.log(jax.nn.softplus(jnp.where(small, 0, z))))
