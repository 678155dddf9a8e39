"""An attention at work: its slots put together for given rows and columns."""

import dataclasses
import functools

import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float

from ..declaration import Declared
from ..summation import AbstractSummation, Bilinear, Unserved
from .gate import AbstractGate
from .head import AbstractHead
from .measure import AbstractMeasure, Uniform
from .meeting import Meeting, Weighing
from .normalizer import AbstractNormalizer, AbstractRatio
from .pair import AbstractWeighed, Pattern, Tokens
from .score import AbstractFeatureScore, AbstractScore


class Weighed(AbstractWeighed):
    """The logit of a pair of tokens with the log density of the measure added.

    Parameters
    ----------
    size : the number of columns.
    shift : a number added to the score of each pair.
    adds_density : whether the density counts as part of the score, beside being the measure.
    height : the number of rows where they are other tokens than the columns; they then weigh alike.
    """

    score: AbstractScore  # pyright: ignore[reportIncompatibleVariableOverride]
    measure: AbstractMeasure
    size: int = eqx.field(static=True)
    shift: Float[Array, "n m"] | None = None
    adds_density: bool = eqx.field(static=True, default=False)
    height: int | None = eqx.field(static=True, default=None)

    def scores(self, rows: Tokens, columns: Tokens) -> Float[Array, "n m"]:
        scores = self.score(rows.position, columns.position)
        if self.shift is not None:
            scores = scores + self.shift[rows.index][:, columns.index].astype(scores.dtype)
        density = self.density(rows, columns) if self.adds_density else None
        return scores if density is None else scores + density

    def factor(self, rows: Tokens, columns: Tokens) -> Float[Array, "n m"] | None:
        dtype = rows.position.dtype
        terms = [term.astype(dtype) for term in self.measure.factor_terms(rows.index, columns.index, self.size)]
        if columns.weight is not None:
            terms.append(jnp.broadcast_to(columns.weight[None, :], (rows.index.shape[0], columns.index.shape[0])))
        return sum(terms[1:], start=terms[0]) if terms else None

    def column_mass(self, columns: Tokens) -> Float[Array, " m"] | None:
        terms = self.measure.mass_terms(columns.index)
        return terms[0][0].astype(columns.position.dtype) if terms else None

    def row_mass(self, rows: Tokens) -> Float[Array, " n"]:
        measure = self.measure if self.height is None else Uniform()
        terms = measure.mass_terms(rows.index)
        level = jnp.full_like(rows.position[:, 0], measure.level(self.height or self.size))
        return sum((term[0].astype(level.dtype) for term in terms), start=level)

    def query_features(self, rows: Tokens) -> Float[Array, "n f"]:
        assert isinstance(self.score, AbstractFeatureScore), "checked when the attention was made"
        return self.score.query_features(rows.position)

    def key_features(self, columns: Tokens) -> Float[Array, "m f"]:
        assert isinstance(self.score, AbstractFeatureScore), "checked when the attention was made"
        return self.score.key_features(columns.position)

    @property
    def pattern(self) -> Pattern:
        return self.measure.pattern

    @property
    def plain(self) -> "Weighed":
        return dataclasses.replace(self, adds_density=False)

    @property
    def symmetric(self) -> bool:
        alone = self.height is None and self.shift is None
        return alone and self.measure.pattern == "full" and self.score.symmetric_by_form

    def level(self) -> float:
        return self.measure.level(self.size)

    def bound(self, rows: Tokens, columns: Tokens) -> Float[Array, ""]:
        bound = self.score.bound(rows.position, columns.position) + jnp.asarray(
            self.measure.bound(), rows.position.dtype
        )
        for extra in (self.shift, columns.weight):
            if extra is not None:
                bound = bound + jnp.max(jnp.abs(extra)).astype(bound.dtype)
        return jax.lax.stop_gradient(2 * bound if self.adds_density else bound)

    def meets(self, rows: Tokens, columns: Tokens) -> Bool[Array, ""] | None:
        parts = [part.reaches(rows.index, columns.index, self.size) for part in self.measure.factors_of_pairs]
        known = [part for part in parts if part is not None]
        return functools.reduce(jnp.logical_and, known) if known else None

    def mirrored(self, rows: Tokens, columns: Tokens) -> bool:
        return self.symmetric and rows.position is columns.position and self.density(rows, columns) is None

    def products(self, rows: Tokens, columns: Tokens) -> Bilinear:
        if self.shift is not None:
            raise Unserved("each pair has a number of its own added to its logit")
        seen = self.measure.factors_of_pairs
        others = [type(factor).__name__ for factor in seen if not factor.only_itself]
        if others:
            raise Unserved(f"the measure {' * '.join(others)} is one of pairs, not of columns")
        if self.adds_density and seen:
            raise Unserved("the measure counts as part of the score")
        form = self.score.bilinear(rows.position, columns.position)
        form = Bilinear(form.a, form.b, form.r, form.c, not seen).plus(None, columns.weight)
        return form.plus(None, self.column_mass(columns)) if self.adds_density else form


class Head(AbstractHead):
    """An attention at work on rows and columns.

    Parameters
    ----------
    gate : on what each row has pulled.
    column_gate : on what each column offers.
    """

    normalizer: AbstractNormalizer
    gate: AbstractGate
    column_gate: AbstractGate
    meeting: Meeting

    @property
    def rows(self) -> Tokens:
        return self.meeting.rows

    @property
    def columns(self) -> Tokens:
        return self.meeting.columns

    @property
    def summation(self) -> AbstractSummation:
        return self.meeting.summation

    @property
    def score(self) -> Declared:
        return self.meeting.pair.score

    def weighted(self, values: Float[Array, "m k"]) -> Float[Array, "n k"]:
        return self.normalizer.weighted(self.meeting, values)

    def slope(self) -> Float[Array, "n d"]:
        return self.meeting.slope(self._weighing)

    def log_partition(self) -> Float[Array, " n"]:
        return self.meeting.log_partition()

    def free_energy(self) -> Float[Array, " n"]:
        return self.normalizer.free_energy(self.meeting)

    def entropy(self) -> Float[Array, " n"]:
        return self.meeting.entropy(self.normalizer.of_pairs(self.meeting))

    def relative_entropy(self) -> Float[Array, " n"]:
        return self.meeting.relative_entropy(self.normalizer.of_pairs(self.meeting))

    def load(self) -> Float[Array, " m"]:
        return self.meeting.load(self.weighted)

    def row_mass(self) -> Float[Array, " n"]:
        return self.meeting.row_mass

    def own_weight(self) -> Float[Array, " n"]:
        return jnp.exp(self.meeting.diagonal(self._weighing))

    def unsolved(self) -> Bool[Array, ""]:
        return self.normalizer.unsolved(self.meeting)

    def query_gate(self, pulled: Float[Array, "n k"]) -> Float[Array, "n k"]:
        return pulled if self.gate.absent else _gated(self.gate(self.rows, self), pulled)

    def value_factors(self) -> Float[Array, "m _k"]:
        return self.column_gate(self.columns, self)

    def value_gate(self, offered: Float[Array, "m k"]) -> Float[Array, "m k"]:
        return offered if self.column_gate.absent else _gated(self.value_factors(), offered)

    @property
    def _weighing(self) -> Weighing:
        assert isinstance(self.normalizer, AbstractRatio), "checked when the attention was made"
        return self.normalizer.weighing(self.meeting)


def _gated(factors: Float[Array, "n _k"], rows: Float[Array, "n k"]) -> Float[Array, "n k"]:
    if factors.shape[1] not in (1, rows.shape[1]):
        raise ValueError(
            f"an elementwise gate needs one factor for each of {rows.shape[1]} coordinates of the head; it has "
            f"{factors.shape[1]}"
        )
    return factors * rows
