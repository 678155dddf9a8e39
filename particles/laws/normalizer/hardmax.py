"""The best alone."""

import dataclasses
from typing import Any, ClassVar, Literal

import jax.numpy as jnp
from jaxtyping import Array, Float

from ...declaration import option, parameter
from ...summation.base import finite
from ..meeting import Meeting, Weighing, flat, score
from .base import AbstractRatio
from .principle import Entropy, Rows


class Hardmax(AbstractRatio):
    r"""Only the best count: the limit of infinite beta.

    .. math:: w_{ij} \propto \pi_{ij}\, 1\{s_{ij} = \max_k s_{ik}\}

    Constant in the scores between ties, so its derivative in them is zero, and the field jumps where two scores cross:
    an adaptive solver takes small steps there, and its result depends on where they fall. A softened form has no jumps.

    Parameters
    ----------
    ties : "mass", in proportion to the measure, as the limit is; or "first", the token of smallest index, as scripts
        do, which depends on the order of tokens.
    tolerance : scores this close to the best count as ties.
    softness : a temperature; 0 for none. Positive, it is `Softmax` at beta / softness.
    prior : whether the measure counts in the maximum, s + log pi, and not at ties alone. With Gumbel noise of scale 1
        the mean weights are then those of `Softmax`.

    Cost
    ----
    Three gathers.

    Source
    ------
    alcalde2025clustering.
    """

    ties: Literal["mass", "first"] = option("mass")
    tolerance: Float[Array, ""] = parameter(0.0, ge=0)
    softness: Float[Array, ""] = parameter(0.0, ge=0)
    prior: bool = option(False)
    sources: ClassVar[tuple[str, ...]] = ("alcalde2025clustering",)

    def __check_init__(self):
        if self.ties not in ("mass", "first"):
            raise ValueError(f"`ties` of Hardmax must be 'mass' or 'first'; got {self.ties!r}")

    @property
    def adds_density(self) -> bool:  # pyright: ignore[reportIncompatibleVariableOverride]
        """As `prior` says."""
        return self.prior

    def weighing(self, meeting: Meeting) -> Weighing:
        peak = meeting.peak()
        zero, index = jnp.zeros_like(peak), meeting.columns.index.astype(peak.dtype)
        first = -meeting.best(Weighing(self._least_index, peak, index, True)) if self.ties == "first" else zero
        divisor = meeting.log_weight(Weighing(self._ratio, (peak, first, zero), index))
        return Weighing(self._ratio, (peak, first, finite(divisor)), index)

    def free_energy(self, meeting: Meeting) -> Float[Array, " n"]:
        """The best score of the row; T log sum_j pi_ij e^(s_ij / T) if there is a softness T."""
        peak, warm = meeting.peak(), self.softness > 0
        seen = meeting.log_weight(Weighing(flat)) > -jnp.inf
        ties = meeting.average(Weighing(self._best, peak), score)[1]  # the peak again, with its derivative
        log_sum = meeting.log_weight(Weighing(self._soft, peak))
        softened = peak + jnp.where(warm, self.softness, 0) * finite(log_sum)
        return jnp.where(seen, jnp.where(warm, softened, ties), -jnp.inf)

    def principle(self, meeting: Meeting) -> Rows:
        """With phi(r) = T r log r at the softness T, nothing but the score at 0; that of exact ties."""
        best = self.free_energy(meeting)
        penalty = Entropy(self.softness.astype(best.dtype), jnp.zeros((), best.dtype))
        exact = dataclasses.replace(self, tolerance=jnp.zeros_like(self.tolerance), ties="mass")
        return Rows.of(meeting, exact.of_pairs(meeting), best, penalty)

    def _ratio(self, scores: Float[Array, "n m"], row: Any, column: Any) -> Float[Array, "n m"]:
        peak, first, divisor = row
        zero, hidden = jnp.zeros_like(scores), jnp.full_like(scores, -jnp.inf)
        hard = jnp.where(scores >= peak - self.tolerance, zero, hidden)
        if self.ties == "first":
            hard = jnp.where(column == first, hard, hidden)
        return jnp.where(self.softness > 0, self._soft(scores, peak, column), hard) - divisor

    def _soft(self, scores: Float[Array, "n m"], row: Any, column: Any) -> Float[Array, "n m"]:
        return (scores - row) / jnp.where(self.softness > 0, self.softness, 1)

    def _best(self, scores: Float[Array, "n m"], row: Any, column: Any) -> Float[Array, "n m"]:
        """Those with the best score and no others, whatever the tolerance."""
        return jnp.where(scores >= row, jnp.zeros_like(scores), -jnp.inf)

    def _least_index(self, scores: Float[Array, "n m"], row: Any, column: Any) -> Float[Array, "n m"]:
        return jnp.where(scores >= row - self.tolerance, -jnp.broadcast_to(column, scores.shape), -jnp.inf)
