"""What logits become: the weights with which a row pulls at the values of the columns.

A normalizer is handed a way to gather and asks for as much as it needs. One gather is enough for those that only close
the result, `AbstractOnePass`; those that solve for a threshold or a scaling gather several times with logits of their
own, and so run on every summation without knowing which.

All but one give positive weights w_ij = pi_ij e^r, with a log ratio r of the score and of numbers that the row or the
column was given; that is all a value needs that is a gradient of the score.
"""

import abc
from collections.abc import Callable
from typing import Any, ClassVar, Literal

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Float

from ..declaration import Declared, concrete, option, parameter
from ..summation import AbstractSummation, Gathered
from ..summation.base import finite
from .pair import AbstractWeighed, Held, Moved, Pattern, Ratio, Slope, Tokens, Transposed

EPSILONS = 4  # rounding errors that a solved threshold may be off


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
        seen = (gathered.mass > 0)[:, None]
        mass = jnp.where(seen, gathered.mass[:, None], 1)
        return jnp.where(seen, gathered.total / mass, 0)

    def log_divisor(self, log_mass: Float[Array, " n"]) -> Float[Array, " n"]:
        return log_mass


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

    @property
    def _level(self) -> Float[Array, ""]:
        return self.score + jnp.log(self.mass)


class Sigmoid(AbstractRatio):
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

    def __check_init__(self):
        _check_reference(self, self.reference)

    @property
    def counting(self) -> bool:
        return self.reference == "counting"

    def check_slots(self, *, traits: frozenset[str], pattern: Pattern, positive: bool) -> None:
        _check_counting(self, self.counting, traits)

    def ratio(self, scores: Float[Array, "n m"], row: Any, column: Any) -> Float[Array, "n m"]:
        return jax.nn.log_sigmoid(scores + self.bias)

    def held(
        self, pair: AbstractWeighed, rows: Tokens, columns: Tokens, summation: AbstractSummation
    ) -> tuple[Held, Held]:
        return Held(rows, None), Held(columns, None)


class Entmax(AbstractRatio):
    r"""Sparse attention: tokens far below the best get the weight zero, exactly.

    .. math:: w_{ij} = \pi_{ij} [(\alpha - 1) s_{ij} - t_i]_+^{1/(\alpha - 1)}, \qquad \sum_j w_{ij} = 1

    alpha = 2 is sparsemax, alpha -> 1 softmax. The rows of the measure are scaled to total 1 first. Below alpha = 2 the
    weights are once differentiable in the scores; at 2 they have kinks where a token enters or leaves; above 2 their
    derivative is unbounded there, and adaptive steps become small.

    Parameters
    ----------
    alpha : in (1, 4].
    reference : "measure"; or "counting", the form of the literature, which counts tokens: at a fixed score it tends to
        `Hardmax` as n grows. The two are the same up to a temperature n^(1 - alpha).

    Raises
    ------
    ValueError
        If the counting form meets masses or densities other than 0 and 1.

    Cost
    ----
    Four gathers for peak, total, top and the exact sum, about six for the threshold, each with its derivative, and one
    for the values.
    Gradients come from the implicit function theorem, not from the iteration.

    Source
    ------
    peters2019sparse; sparsemax, martins2016softmax.
    """

    alpha: Float[Array, ""] = parameter(1.5, gt=1, le=4)
    reference: Literal["measure", "counting"] = option("measure")
    sources: ClassVar[tuple[str, ...]] = ("peters2019sparse", "martins2016softmax")

    def __check_init__(self):
        _check_reference(self, self.reference)

    @property
    def counting(self) -> bool:
        return self.reference == "counting"

    def check_slots(self, *, traits: frozenset[str], pattern: Pattern, positive: bool) -> None:
        _check_counting(self, self.counting, traits)

    def ratio(self, scores: Float[Array, "n m"], row: Any, column: Any) -> Float[Array, "n m"]:
        peak, depth, total = row
        above = (self.alpha - 1) * (scores - peak) + jnp.exp(depth)
        inside = above > 0
        return jnp.where(inside, jnp.log(jnp.where(inside, above, 1)) / (self.alpha - 1) - total, -jnp.inf)

    def held(
        self, pair: AbstractWeighed, rows: Tokens, columns: Tokens, summation: AbstractSummation
    ) -> tuple[Held, Held]:
        peak = _peak(pair, rows, columns, summation)
        total = _log_mass(_flat, self.counting, None, pair, rows, columns, summation)
        top = _log_mass(_at_peak, self.counting, peak, pair, rows, columns, summation)
        seen = top > -jnp.inf
        unit = jnp.zeros_like(total) if self.counting else finite(total)

        def log_norm(depth: Float[Array, " n"]) -> Float[Array, " n"]:
            """The log of (sum of weights)^(alpha - 1), nearly linear in the log of the threshold's depth."""
            numbers = (peak, depth, unit)
            log_mass = _log_mass(self.ratio, self.counting, numbers, pair, rows, columns, summation)
            return jnp.where(seen, (self.alpha - 1) * finite(log_mass), depth)

        slow = 1 - jax.lax.stop_gradient(self.alpha)
        shallow = jnp.where(seen, slow * finite(total - unit), 0)
        deep = jnp.where(seen, slow * finite(top - unit), 0)
        depth = _root(log_norm, shallow, deep)
        exact = _log_mass(self.ratio, self.counting, (peak, depth, unit), pair, rows, columns, summation)
        return Held(rows, (peak, depth, unit + finite(exact))), Held(columns, None)


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
        peak = _peak(pair, rows, columns, summation)
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


class Sinkhorn(AbstractRatio):
    r"""Attention whose columns are normalized, too: from softmax to doubly stochastic weights.

    .. math:: w_{ij} = \pi_{ij} e^{s_{ij} + f_i + h_j}, \quad \sum_j w_{ij} = 1, \quad
       h_j = -\frac{\rho}{1 + \rho} \log \sum_i a_i \pi_{ij} e^{s_{ij} + f_i} / b_j

    Rows sum to 1 at every rho. With rho = 0 this is `Softmax`, with rho infinite every column receives its own mass,
    and the flow with a symmetric score is a gradient flow. Columns are scaled by alternating steps in log space; h is
    found up to a constant, on which no weight depends.

    Parameters
    ----------
    rho : strength of the column constraint, at least 0, may be infinite. A row that sees nobody, or a column that
        nobody sees, has weights zero; with rho infinite no weights are doubly stochastic then, and a run says so.
    tolerance : largest change of any h in the last sweep: for rho infinite, the relative error of a column's sum. Well
        below the solver's tolerance, since the field is only as smooth as that.
    sweeps : the most that are made. Where that is not enough a run ends and says so.
    half_steps : in place of a tolerance, a fixed number of half sweeps, rows first, as layers of the literature do; 1
        is `Softmax`, and with an even number it is the columns that are exact.

    Raises
    ------
    ValueError
        If the measure is causal and rho infinite: the only doubly stochastic weights are then the identity.

    Cost
    ----
    Two gathers of masses for each sweep, one where f = h, which takes about 30 sweeps at any beta. Alternating sweeps
    grow with beta: 18, 66, 877 at beta = 1, 4, 16 for 30 tokens on a sphere. Gradients come from the implicit function
    theorem, and cost as many sweeps again.

    Source
    ------
    sander2022sinkformers; sinkhorn1967diagonal; with unequal marginals, chizat2018scaling.
    """

    rho: Float[Array, ""] = parameter(jnp.inf, ge=0, infinite=True)
    tolerance: Float[Array, ""] = parameter(1e-10, gt=0)
    sweeps: int = option(10_000, ge=1)
    half_steps: int | None = option(None, ge=1)
    sources: ClassVar[tuple[str, ...]] = ("sander2022sinkformers", "sinkhorn1967diagonal", "chizat2018scaling")

    @property
    def iterates(self) -> bool:  # pyright: ignore[reportIncompatibleVariableOverride]
        """Unless the number of half steps is fixed."""
        return self.half_steps is None

    def check_slots(self, *, traits: frozenset[str], pattern: Pattern, positive: bool) -> None:
        if "one-sided" in traits and self.half_steps is None and not _finite_number(self.rho):
            raise ValueError(
                "Sinkhorn with rho infinite cannot serve a causal measure: the only doubly stochastic weights on one "
                "side of the diagonal are the identity. Give a finite `rho`, a fixed number of `half_steps`, or use "
                "Softmax."
            )

    def ratio(self, scores: Float[Array, "n m"], row: Any, column: Any) -> Float[Array, "n m"]:
        return scores + row + column

    def held(
        self, pair: AbstractWeighed, rows: Tokens, columns: Tokens, summation: AbstractSummation
    ) -> tuple[Held, Held]:
        start = jnp.zeros_like(columns.position[:, 0])
        if self.half_steps is not None:
            f, h = self._rows(start, pair, rows, columns, summation), start
            for half in range(1, self.half_steps):
                if half % 2:
                    h = self._columns(f, pair, rows, columns, summation)
                else:
                    f = self._rows(h, pair, rows, columns, summation)
            return Held(rows, f), Held(columns, h)

        def sweep(h: Float[Array, " m"]) -> Float[Array, " m"]:
            return self._swept(h, pair, rows, columns, summation)

        def half_way(h: Float[Array, " m"]) -> Float[Array, " m"]:
            h = 0.5 * (h + self._rows(h, pair, rows, columns, summation))
            return h - jnp.mean(h)

        if pair.symmetric:
            sweep = _either(~jnp.isfinite(self.rho), half_way, sweep)
        h = _fixed_point(sweep, start, self.tolerance, self.sweeps)
        return Held(rows, self._rows(h, pair, rows, columns, summation)), Held(columns, h)

    def unsolved(
        self, pair: AbstractWeighed, rows: Tokens, columns: Tokens, summation: AbstractSummation
    ) -> Bool[Array, ""]:
        if not self.iterates:
            return jnp.asarray(False)
        h = self.held(pair, rows, columns, summation)[1].numbers
        change = jnp.max(jnp.abs(self._swept(h, pair, rows, columns, summation) - h))
        zero_rows, zero_columns = jnp.zeros_like(rows.position[:, 0]), jnp.zeros_like(h)
        weights = Ratio(pair, _plus_column, False)
        row = summation.gather(weights, Held(rows, None), Held(columns, zero_columns), columns.nothing).log_mass
        column = summation.gather(Transposed(pair), columns, Held(rows, zero_rows), rows.nothing).log_mass
        lonely = jnp.any(row == -jnp.inf) | jnp.any(column == -jnp.inf)
        return ~(change <= _reachable(self.tolerance)) | (lonely & ~jnp.isfinite(self.rho))

    def _rows(
        self, h: Float[Array, " m"], pair: AbstractWeighed, rows: Tokens, columns: Tokens, summation: AbstractSummation
    ) -> Float[Array, " n"]:
        """f, from the sums of the rows."""
        weights = Ratio(pair, _plus_column, False)
        return -finite(summation.gather(weights, Held(rows, None), Held(columns, h), columns.nothing).log_mass)

    def _columns(
        self, f: Float[Array, " n"], pair: AbstractWeighed, rows: Tokens, columns: Tokens, summation: AbstractSummation
    ) -> Float[Array, " m"]:
        """h, from the sums of the columns."""
        infinite = ~jnp.isfinite(self.rho)
        rho = jnp.where(infinite, 1, self.rho)
        kappa = jnp.where(infinite, 1, rho / (1 + rho))
        return -kappa * finite(summation.gather(Transposed(pair), columns, Held(rows, f), rows.nothing).log_mass)

    def _swept(
        self, h: Float[Array, " m"], pair: AbstractWeighed, rows: Tokens, columns: Tokens, summation: AbstractSummation
    ) -> Float[Array, " m"]:
        """h one sweep further, its mean taken away."""
        h = self._columns(self._rows(h, pair, rows, columns, summation), pair, rows, columns, summation)
        return h - jnp.mean(h)


class Linear(AbstractNormalizer):
    r"""Linear attention: the score's features are multiplied out, and no pair is ever looked at.

    .. math:: u_i = \frac{\phi(x_i)^T \sum_j \pi_{ij} \phi(y_j) v_j^T}{\phi(x_i)^T \sum_j \pi_{ij} \phi(y_j)}

    The same weights as `Softmax` with the score `LogFeatures`, which it needs. For all tokens or those before it; any
    other mask would destroy the saving and is refused.

    Parameters
    ----------
    normalized : whether to divide. Without, features may have any sign, and nothing is a convex mean any more.

    Raises
    ------
    ValueError
        For another score, another measure, or features that can be negative where it must divide.

    Cost
    ----
    O((n + m) f k) for f features: linear in the number of tokens.

    Source
    ------
    katharopoulos2020transformers.
    """

    needs_features: ClassVar[bool] = True
    normalized: bool = option(True)
    sources: ClassVar[tuple[str, ...]] = ("katharopoulos2020transformers",)

    def check_slots(self, *, traits: frozenset[str], pattern: Pattern, positive: bool) -> None:
        if pattern == "other":
            raise ValueError(
                "Linear serves Uniform, Masses and Causal measures, whose sums need no pairs; with another one use "
                "Softmax and the same score"
            )
        if self.normalized and not positive:
            raise ValueError(
                "Linear needs positive features to divide by their products: EluPlusOne or RandomFeatures; or give "
                "normalized=False"
            )

    def weighted(
        self,
        pair: AbstractWeighed,
        rows: Tokens,
        columns: Tokens,
        values: Float[Array, "m k"],
        summation: AbstractSummation,
    ) -> Float[Array, "n k"]:
        queries, keys = pair.query_features(rows), pair.key_features(columns)
        mass = pair.column_mass(columns)
        keys = keys * jnp.exp(pair.level() + (0 if mass is None else mass[:, None]))
        offered = jnp.concatenate([values, jnp.ones_like(values[:, :1])], axis=1)
        sums = _prefixes(queries, keys, offered) if pair.pattern == "causal" else queries @ (keys.T @ offered)
        return sums[:, :-1] / sums[:, -1:] if self.normalized else sums[:, :-1]


PREFIX_BLOCK = 64


def _prefixes(
    queries: Float[Array, "n f"], keys: Float[Array, "n f"], values: Float[Array, "n k"]
) -> Float[Array, "n k"]:
    """sum_{j <= i} <query_i, key_j> value_j, block by block with a running sum of key times value."""
    n = queries.shape[0]
    size = min(PREFIX_BLOCK, n)
    cut = lambda a: jnp.pad(a, [(0, -n % size), (0, 0)]).reshape(-1, size, a.shape[1])  # noqa: E731
    before = jnp.tril(jnp.ones((size, size), queries.dtype))

    def one(state: Float[Array, "f k"], block: tuple[Array, Array, Array]) -> tuple[Array, Array]:
        query, key, value = block
        return state + key.T @ value, query @ state + (query @ key.T * before) @ value

    start = jnp.zeros((keys.shape[1], values.shape[1]), values.dtype)
    return jax.lax.scan(one, start, (cut(queries), cut(keys), cut(values)))[1].reshape(-1, values.shape[1])[:n]


def _flat(scores: Float[Array, "n m"], row: Any, column: Any) -> Float[Array, "n m"]:
    """The ratio of weights that are the measure itself."""
    return jnp.zeros_like(scores)


def _itself(scores: Float[Array, "n m"], row: Any, column: Any) -> Float[Array, "n m"]:
    return scores


def _at_peak(scores: Float[Array, "n m"], row: Any, column: Any) -> Float[Array, "n m"]:
    return jnp.where(scores >= row, jnp.zeros_like(scores), -jnp.inf)


def _plus_column(scores: Float[Array, "n m"], row: Any, column: Any) -> Float[Array, "n m"]:
    return scores + column


def _peak(pair: AbstractWeighed, rows: Tokens, columns: Tokens, summation: AbstractSummation) -> Float[Array, " n"]:
    """The largest score that each row sees, a constant to differentiation; 0 for a row that sees nobody.

    A pair without a bound makes every summation look for the true peak.
    """
    best = summation.gather(Ratio(pair, _itself, True), Held(rows, None), Held(columns, None), columns.nothing)
    return finite(best.peak)


def _log_mass(
    ratio: Callable,
    counting: bool,
    numbers: Any,
    pair: AbstractWeighed,
    rows: Tokens,
    columns: Tokens,
    summation: AbstractSummation,
) -> Float[Array, " n"]:
    held = Held(rows, numbers), Held(columns, None)
    return summation.gather(Ratio(pair, ratio, counting), *held, columns.nothing).log_mass


def _out(gathered: Gathered) -> Float[Array, "n k"]:
    """What was gathered, out of the logarithm."""
    return jnp.exp(finite(gathered.peak))[:, None] * gathered.total


def _root(
    log_norm: Callable[[Float[Array, " n"]], Float[Array, " n"]], low: Float[Array, " n"], high: Float[Array, " n"]
) -> Float[Array, " n"]:
    """Where an increasing function is 0, for each row between two ends: Newton's method, bisection where that leaves.

    Differentiated by the implicit function theorem.
    """
    accuracy = EPSILONS * jnp.finfo(low.dtype).eps

    def solve(function: Callable, start: Float[Array, " n"]) -> Float[Array, " n"]:
        def going(state: Any) -> Bool[Array, ""]:
            step, at, _, _, change = state
            return (step < 100) & jnp.any(change > accuracy * (1 + jnp.abs(at)))

        def better(state: Any) -> Any:
            step, at, below, above, change = state
            value, slope = jax.jvp(function, (at,), (jnp.ones_like(at),))
            below, above = jnp.where(value <= 0, at, below), jnp.where(value >= 0, at, above)
            newton = at - value / jnp.where(slope > 0, slope, 1)
            move = jnp.abs(newton - at)
            settled = (slope > 0) & (move <= accuracy * (1 + jnp.abs(at)))
            inside = (slope > 0) & (newton >= below) & (newton <= above) & (move <= 0.5 * change)  # never to and fro
            following = jnp.where(settled | inside, newton, 0.5 * (below + above))
            return step + 1, following, below, above, jnp.abs(following - at)

        return jax.lax.while_loop(going, better, (0, start, low, start, jnp.full_like(start, jnp.inf)))[1]

    def tangent(linear: Callable, y: Float[Array, " n"]) -> Float[Array, " n"]:
        return y / linear(jnp.ones_like(y))  # rows do not know of each other

    return jax.lax.custom_root(log_norm, high, solve, tangent)


def _either(condition: Bool[Array, ""], one: Callable, other: Callable) -> Callable:
    return lambda h: jax.lax.cond(condition, one, other, h)


def _fixed_point(
    sweep: Callable[[Float[Array, " m"]], Float[Array, " m"]],
    start: Float[Array, " m"],
    tolerance: Float[Array, ""],
    most: int,
) -> Float[Array, " m"]:
    """h = sweep(h), by repetition. Differentiated by the implicit function theorem, solved by repetition again."""
    tolerance = jax.lax.stop_gradient(_reachable(tolerance))

    def solve(excess: Callable, h: Float[Array, " m"]) -> Float[Array, " m"]:
        return _repeated(lambda h: -excess(h), h, tolerance, most)

    def tangent(linear: Callable, y: Float[Array, " m"]) -> Float[Array, " m"]:
        def inverse(apply: Callable, y: Float[Array, " m"]) -> Float[Array, " m"]:
            return _repeated(lambda h: y - apply(h), y, tolerance * jnp.max(jnp.abs(y)), most)

        return jax.lax.custom_linear_solve(linear, y, inverse, inverse)

    return jax.lax.custom_root(lambda h: h - sweep(h), start, solve, tangent)


def _repeated(
    change: Callable[[Float[Array, " m"]], Float[Array, " m"]],
    start: Float[Array, " m"],
    tolerance: Float[Array, ""],
    most: int,
) -> Float[Array, " m"]:
    """h <- h + change(h) until the largest change is within the tolerance."""

    def going(state: Any) -> Bool[Array, ""]:
        step, _, size = state
        return (step < most) & (size > tolerance)

    def better(state: Any) -> Any:
        step, h, _ = state
        moved = change(h)
        return step + 1, h + moved, jnp.max(jnp.abs(moved))

    return jax.lax.while_loop(going, better, (0, start, jnp.full((), jnp.inf, start.dtype)))[1]


def _reachable(tolerance: Float[Array, ""]) -> Float[Array, ""]:
    """A tolerance that numbers of this precision can meet."""
    return jnp.maximum(tolerance, 50 * jnp.finfo(tolerance.dtype).eps)


def _finite_number(value: Float[Array, ""]) -> bool:
    """Whether a parameter is finite, as far as a transformation lets it be seen."""
    numbers = concrete(value)
    return numbers is None or bool(np.isfinite(numbers))


def _check_reference(owner: AbstractNormalizer, reference: str) -> None:
    if reference not in ("measure", "counting"):
        raise ValueError(f"`reference` of {type(owner).__name__} must be 'measure' or 'counting'; got {reference!r}")


def _check_counting(owner: AbstractNormalizer, counting: bool, traits: frozenset[str]) -> None:
    if counting and traits & {"masses", "graded"}:
        raise ValueError(
            f"{type(owner).__name__} in counting form counts every token it sees as one, so it cannot serve masses or "
            "densities other than 0 and 1; use reference='measure'"
        )
