"""The best alone."""

from typing import Any, ClassVar, Literal

import jax.numpy as jnp
from jaxtyping import Array, Float

from ...declaration import option, parameter
from ...summation import AbstractSummation
from ...summation.base import finite
from ..pair import AbstractWeighed, Held, Ratio, Tokens
from .base import AbstractRatio, peak_of


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

    def ratio(self, scores: Float[Array, "n m"], row: Any, column: Any) -> Float[Array, "n m"]:
        peak, first, divisor = row
        zero, hidden = jnp.zeros_like(scores), jnp.full_like(scores, -jnp.inf)
        hard = jnp.where(scores >= peak - self.tolerance, zero, hidden)
        if self.ties == "first":
            hard = jnp.where(column == first, hard, hidden)
        soft = (scores - peak) / jnp.where(self.softness > 0, self.softness, 1)
        return jnp.where(self.softness > 0, soft, hard) - divisor

    def held(
        self, pair: AbstractWeighed, rows: Tokens, columns: Tokens, summation: AbstractSummation
    ) -> tuple[Held, Held]:
        peak = peak_of(pair, rows, columns, summation)
        zero, index = jnp.zeros_like(peak), columns.index.astype(peak.dtype)
        held = Held(columns, index)
        first = zero
        if self.ties == "first":
            best = Ratio(pair, self._least_index, True)
            first = -finite(summation.gather(best, Held(rows, peak), held, columns.nothing).peak)
        weights = Ratio(pair, self.ratio, False)
        divisor = summation.gather(weights, Held(rows, (peak, first, zero)), held, columns.nothing).log_mass
        return Held(rows, (peak, first, finite(divisor))), held

    def _least_index(self, scores: Float[Array, "n m"], row: Any, column: Any) -> Float[Array, "n m"]:
        return jnp.where(scores >= row - self.tolerance, -jnp.broadcast_to(column, scores.shape), -jnp.inf)
