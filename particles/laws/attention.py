"""Attention: slots composed into one law.

    score       the logit of a pair                       s(x_i, y_j)
    measure     how much of each token there is for whom  pi_ij
    normalizer  what logits become                        w = N[s ; pi]
    value       what is pulled                            nu_ij
    gates       how strongly                              g(x_i), gamma(y_j)

The law of one head is u_i = O (g(x_i) sum_j w_ij gamma(y_j) nu_ij). Everything that is true of all attentions is
written here; everything that distinguishes them is in the slots.
"""

import abc
import dataclasses
import math
from typing import ClassVar

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Float

from ..declaration import Declared, concrete
from ..summation import AbstractSummation
from .base import AbstractAttending, AbstractLaw, AbstractPotentialLaw
from .composed import Head, Weighed
from .gate import AbstractGate, Open
from .head import AbstractHead, Asked
from .measure import AbstractMeasure, Masses, Uniform
from .meeting import Meeting
from .normalizer import AbstractNormalizer, AbstractRatio, Softmax
from .pair import Tokens
from .score import AbstractFeatureScore, AbstractScore, DotProduct
from .value import AbstractValue, Identity


class AbstractInteraction(AbstractPotentialLaw):
    """A law by which some tokens, the rows, are moved by others, the columns, which may be the same."""

    @property
    @abc.abstractmethod
    def of_itself(self) -> bool:
        """Whether it means something only where rows and columns are the same tokens."""

    @abc.abstractmethod
    def between(
        self, t: Float[Array, ""], x: Float[Array, "n d"], y: Float[Array, "m d"], summation: AbstractSummation
    ) -> Float[Array, "n d"]:
        """The velocity of rows x that look at columns y, which are other tokens."""

    @abc.abstractmethod
    def unsolved_between(
        self, t: Float[Array, ""], x: Float[Array, "n d"], y: Float[Array, "m d"], summation: AbstractSummation
    ) -> Bool[Array, ""]:
        """Whether an inner iteration misses its tolerance for rows x and columns y."""

    @abc.abstractmethod
    def check_pairs(self, n: int, m: int, d: int) -> None:
        """Raises ValueError if the law is not one for n rows and m columns of dimension d."""


class Attention(AbstractInteraction, AbstractAttending):
    r"""One head of attention, composed of its slots.

    .. math:: u_i = O\Big(g(x_i) \sum_j w_{ij} \gamma(y_j) \nu_{ij}\Big), \qquad w = N[s(x_i, y_j); \pi_{ij}]

    Parameters
    ----------
    score, measure, normalizer, value : the slots. By default the plain softmax attention of weight-shared layers.
    gate : g, on what each row has pulled.
    value_gate : gamma, on what each column offers.

    Raises
    ------
    ValueError
        If two slots cannot work together, with what would.

    Cost
    ----
    As many gathers as the normalizer needs, one for Softmax and Mean.

    Source
    ------
    vaswani2017attention; as an operator on measures, vuckovic2020mathematical.
    """

    score: AbstractScore = eqx.field(default_factory=DotProduct)
    measure: AbstractMeasure = eqx.field(default_factory=Uniform)
    normalizer: AbstractNormalizer = eqx.field(default_factory=Softmax)
    value: AbstractValue = eqx.field(default_factory=Identity)
    gate: AbstractGate = eqx.field(default_factory=Open)
    value_gate: AbstractGate = eqx.field(default_factory=Open)
    sources: ClassVar[tuple[str, ...]] = ("vaswani2017attention", "vuckovic2020mathematical")

    def __check_init__(self):
        Declared.__check_init__(self)  # what follows asks the nouns themselves
        name, features = type(self.normalizer).__name__, isinstance(self.score, AbstractFeatureScore)
        if self.normalizer.needs_features and not features:
            raise ValueError(
                f"{name} multiplies out the features of a score, and {type(self.score).__name__} has none: give "
                "LogFeatures(map), or use Softmax"
            )
        if not self.score.real and not self.normalizer.signed:
            raise ValueError(
                f"{name} needs positive features, whose products can be weights: give LogFeatures the map EluPlusOne "
                "or RandomFeatures, or use Linear(normalized=False)"
            )
        self.normalizer.check_slots(traits=self.measure.all_traits(), pattern=self.measure.pattern)
        if "density" in self.measure.all_traits() and not self.score.symmetric:
            raise ValueError(
                "DensityPower needs a symmetric score, whose sums over tokens are a density; tie `query` and `key`, or "
                "make `form` symmetric"
            )
        if self.value.slope:
            self._check_slope()
        if self.gate.of_rows and not isinstance(self.normalizer, AbstractRatio):
            raise ValueError(
                f"{type(self.gate).__name__} needs the weights of pairs, which {name} never forms; use Softmax"
            )
        if self.value_gate.of_rows:
            raise ValueError(f"{type(self.value_gate).__name__} depends on a row's weights; use it as `gate`")

    def _check_slope(self) -> None:
        if not self.score.smooth:
            raise ValueError(
                f"GradScore needs a score with a gradient, and that of {type(self.score).__name__} is zero wherever it "
                "exists; use SquaredDistance, or the value Difference"
            )
        if not isinstance(self.normalizer, AbstractRatio):
            raise ValueError(
                f"GradScore needs the weights of pairs, which {type(self.normalizer).__name__} never forms; use Softmax"
            )
        if not self.value_gate.absent:
            raise ValueError("GradScore is the gradient of the score and offers nothing that a value gate could weigh")

    def working(
        self, x: Float[Array, "n d"], summation: AbstractSummation, shift: Float[Array, "h n m"] | None = None
    ) -> tuple[AbstractHead, ...]:
        return (self.head(x, summation, shift=None if shift is None else shift[0]),)

    def moved(self, heads: tuple[AbstractHead, ...], x: Float[Array, "n d"]) -> Float[Array, "n d"]:
        return self.value.pulled(heads[0])

    def matrices(self, heads: tuple[AbstractHead, ...], x: Float[Array, "n d"]) -> Float[Array, "h n n"]:
        return heads[0].weighted(jnp.eye(x.shape[0], dtype=x.dtype))[None]

    def between(
        self, t: Float[Array, ""], x: Float[Array, "n d"], y: Float[Array, "m d"], summation: AbstractSummation
    ) -> Float[Array, "n d"]:
        return self.value.pulled(self.head(x, summation, y))

    def head(
        self,
        x: Float[Array, "n d"],
        summation: AbstractSummation,
        y: Float[Array, "m d"] | None = None,
        shift: Float[Array, "n m"] | None = None,
    ) -> Head:
        """The head at work on rows x.

        Parameters
        ----------
        y : the columns, where they are other tokens than the rows.
        shift : numbers added to the logits.
        """
        rows, columns = Tokens.of(x), Tokens.of(x if y is None else y)
        m, height = columns.index.shape[0], None if y is None else x.shape[0]
        mass_only = Weighed(self.score, self.measure.mass_factor, m)
        weight = self.measure.column_weights(mass_only, columns, summation)
        columns = Tokens(columns.index, columns.position, weight)
        pair = Weighed(self.score, self.measure, m, shift, self.normalizer.adds_density, height)
        return Head(self.normalizer, self.gate, self.value_gate, Meeting(pair, rows, columns, summation))

    def weights(self, x: Float[Array, "n d"], summation: AbstractSummation) -> Float[Array, "n n"]:
        """The attention matrix: how much of token j is in the velocity of token i, gates aside. Memory O(n^2)."""
        return self.matrices(self.working(x, summation), x)[0]

    def log_partition(self, x: Float[Array, "n d"], summation: AbstractSummation) -> Float[Array, " n"]:
        """log Z_i, the log of sum_j pi_ij e^s_ij, of each row; -inf for a row that sees nobody."""
        return self.head(x, summation).log_partition()

    def free_energy(self, x: Float[Array, "n d"], summation: AbstractSummation) -> Float[Array, " n"]:
        """The largest value of what the normalizer's weights of each row maximize: log Z_i for Softmax.

        Raises
        ------
        ValueError
            If the weights are not known to maximize anything.
        """
        return self.head(x, summation).free_energy()

    def check_energy(self) -> None:
        if not self.score.real:
            raise ValueError(
                f"the energy is a sum of exponentials of scores, and {type(self.score).__name__} of features of any "
                "sign is none; give positive features, EluPlusOne or RandomFeatures"
            )

    @property
    def positive_energy(self) -> bool:
        beta = self._beta
        numbers = None if beta is None else concrete(beta)
        return beta is None or (numbers is not None and bool(np.all(numbers > 0)))

    @property
    def _beta(self) -> Float[Array, ""] | None:
        """The inverse temperature of the score, if it has one of its own."""
        given = {field.name for field in dataclasses.fields(self.score)}
        return self.score.beta if "beta" in given else None  # pyright: ignore[reportAttributeAccessIssue]

    def energy(self, x: Float[Array, "n d"], summation: AbstractSummation) -> Float[Array, ""]:
        if self._beta is None:
            return self._partition(x, summation) / 2
        beta = self._beta.astype(x.dtype)

        def partition(beta: Float[Array, ""]) -> Float[Array, ""]:
            law = eqx.tree_at(lambda law: law.score.beta, self, beta)
            return law._partition(x, summation)

        def finite_temperature() -> Float[Array, ""]:
            return partition(beta) / (2 * beta)

        def infinite_temperature() -> Float[Array, ""]:
            """The first two terms of (Z(beta) - 1) / (2 beta) at 0: the second has no value there, but a derivative."""
            at, one = jax.lax.stop_gradient(beta), jnp.ones_like(beta)
            slope = lambda beta: jax.jvp(partition, (beta,), (one,))[1]  # noqa: E731
            first, second = jax.jvp(slope, (at,), (one,))
            return first / 2 + (beta - at) * second / 4

        return jax.lax.cond(beta == 0, infinite_temperature, finite_temperature)

    def _partition(self, x: Float[Array, "n d"], summation: AbstractSummation) -> Float[Array, ""]:
        """The sum over all pairs of pi_i pi_ij e^(s_ij)."""
        mass = self.measure.mass(x.shape[0]).astype(x.dtype)
        return jnp.sum(mass * jnp.exp(self.log_partition(x, summation)))

    def check_tokens(self, n: int, d: int) -> None:
        self.check_pairs(n, n, d)

    def check_pairs(self, n: int, m: int, d: int) -> None:
        self.measure.check_pairs(n, m)
        if self.normalizer.needs_features and self.measure.pattern == "causal" and n != m:
            raise ValueError(f"a causal Linear needs as many queries as keys, to sum as it goes; got {n} and {m}")
        self.score.check_dim(d)
        self.value.check_dim(d)
        self.gate.check_tokens(n, d)
        self.value_gate.check_tokens(m, d)

    def parts(self) -> tuple[AbstractLaw, ...]:
        return ()

    @property
    def of_itself(self) -> bool:
        return "itself" in self.measure.all_traits() or self.gate.of_itself

    @property
    def iterates(self) -> bool:
        return self.normalizer.iterates

    def unsolved_between(
        self, t: Float[Array, ""], x: Float[Array, "n d"], y: Float[Array, "m d"], summation: AbstractSummation
    ) -> Bool[Array, ""]:
        return self.head(x, summation, y).unsolved()

    @property
    def heads(self) -> int:
        return 1

    def check_asked(self, asked: Asked) -> None:
        self.normalizer.check_asked(asked)

    def on_masses(self, p: Float[Array, " m"]) -> "Attention":
        for gate in (self.gate, self.value_gate):
            if gate.of_itself or gate.of_index:
                raise ValueError(
                    f"tokens of other masses need gates that know a token by its place alone; {type(gate).__name__} "
                    "knows which it is: use Activation, InversePartition or Constant"
                )
        given = self.measure.mass_factor
        if self.measure.factors_of_pairs or not isinstance(given, Uniform):
            raise ValueError(
                "tokens of other masses need a measure that knows no order and has no masses of its own: Uniform, "
                f"DensityPower; got {' * '.join(type(part).__name__ for part in self.measure.parts())}"
            )
        crowds = (part for part in self.measure.parts() if part is not given)
        return dataclasses.replace(self, measure=math.prod(crowds, start=Masses(p)))
