"""Several attentions at once: heads whose weights are mixed, and attention between species of tokens.

Plain heads need nothing of their own: they are a sum of laws.
"""

from collections.abc import Callable
from typing import ClassVar

import equinox as eqx
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, ArrayLike, Bool, Float

from ..declaration import Declared, as_float, concrete, option, parameter
from ..summation import AbstractSummation
from .attention import AbstractInteraction, Attention
from .base import AbstractAttending, AbstractLaw, Sum
from .composed import Head
from .head import AbstractHead, Asked
from .meeting import Weighing, flat
from .normalizer import Softmax
from .pair import Tokens
from .score import DotProduct
from .value import AbstractOffered, LowRank


def multihead(
    query: ArrayLike,
    key: ArrayLike,
    value: ArrayLike,
    output: ArrayLike,
    heads: int,
    beta: float | None = None,
) -> Sum:
    """The heads of a transformer layer as a sum of laws, from its four matrices.

    Parameters
    ----------
    query, key : the projections of all heads, one below the other, `[heads * k, d]`.
    value : of all heads in the same way, with a width of their own, `[heads * v, d]`.
    output : of all heads, side by side, `[d, heads * v]`.
    heads : how many there are.
    beta : inverse temperature; by default 1/sqrt(k).

    Raises
    ------
    ValueError
        If the matrices do not meet, or a width is not a multiple of the number of heads.

    Source
    ------
    vaswani2017attention.
    """
    query, key, value, output = (jnp.asarray(matrix, float) for matrix in (query, key, value, output))
    given = {"query": query.shape, "key": key.shape, "value": value.shape, "output": output.shape}
    d = query.shape[-1] if query.ndim else 0
    fits = {"query": query.ndim == 2, "key": key.shape == query.shape, "value": value.shape[1:] == (d,)}
    fits["output"] = output.shape == (d, *value.shape[:1])
    if not all(fits.values()):
        raise ValueError(
            "multihead needs `query` and `key` of one shape [heads * k, d], `value` [heads * v, d] and `output` "
            f"[d, heads * v]; got {', '.join(f'{name} {shape}' for name, shape in given.items())}"
        )
    for name, width in (("queries", query.shape[0]), ("values", value.shape[0])):
        if heads < 1 or width == 0 or width % heads:
            raise ValueError(f"{heads} heads do not divide a width of {width}, that of the {name}")
    k, v = query.shape[0] // heads, value.shape[0] // heads
    scale = as_float(k**-0.5 if beta is None else beta)
    laws = []
    for h in range(heads):
        compared, handed = slice(h * k, (h + 1) * k), slice(h * v, (h + 1) * v)
        score = DotProduct(scale, query=query[compared], key=key[compared])
        laws.append(Attention(score, normalizer=Softmax(), value=LowRank(output[:, handed], value[handed])))
    return Sum(tuple(laws))


class MixedHead(AbstractHead):
    """A head whose weights are a mixture of those of several, each with a score and a measure of its own.

    Parameters
    ----------
    heads : all that are mixed.
    mixing : with how much of each.
    own : which of them has the query and key, the masses of rows, and the value of this one.
    """

    heads: tuple[Head, ...]
    mixing: Float[Array, " h"]
    own: int = eqx.field(static=True)

    @property
    def rows(self) -> Tokens:
        return self._own.rows

    @property
    def columns(self) -> Tokens:
        return self._own.columns

    @property
    def summation(self) -> AbstractSummation:
        return self._own.summation

    @property
    def score(self) -> Declared:
        return self._own.score

    def weighted(self, values: Float[Array, "m k"]) -> Float[Array, "n k"]:
        return self._mixed(lambda head: head.weighted(values))

    def slope(self) -> Float[Array, "n d"]:
        raise ValueError("weights that are mixed belong to no score, so they have no mean slope of it")

    def log_partition(self) -> Float[Array, " n"]:
        raise ValueError("weights that are mixed have no partition function; ask the heads that are mixed")

    def free_energy(self) -> Float[Array, " n"]:
        raise ValueError(_NOTHING)

    def entropy(self) -> Float[Array, " n"]:
        share = _shares(self.weighted(self._each))
        return -_mean_log(share, share)

    def relative_entropy(self) -> Float[Array, " n"]:
        """Against what the weights are without scores: the measures, divided by their sums and mixed in that way."""
        share = _shares(self.weighted(self._each))
        prior = _shares(self._mixed(lambda head: _shares(jnp.exp(head.meeting.log_weights(Weighing(flat))))))
        return _mean_log(share, share) - _mean_log(share, prior)

    def load(self) -> Float[Array, " m"]:
        return self._own.meeting.load(self.weighted)

    def row_mass(self) -> Float[Array, " n"]:
        return self._own.row_mass()

    def own_weight(self) -> Float[Array, " n"]:
        return self._mixed(lambda head: head.own_weight())

    def unsolved(self) -> Bool[Array, ""]:
        return self._own.unsolved()

    def query_gate(self, pulled: Float[Array, "n k"]) -> Float[Array, "n k"]:
        return pulled

    def value_factors(self) -> Float[Array, "m _k"]:
        return self._own.value_factors()

    def value_gate(self, offered: Float[Array, "m k"]) -> Float[Array, "m k"]:
        return offered

    @property
    def _own(self) -> Head:
        return self.heads[self.own]

    @property
    def _each(self) -> Float[Array, "m m"]:
        """A value for each column that is there in that column alone."""
        return jnp.eye(self.columns.position.shape[0], dtype=self.columns.position.dtype)

    def _mixed(self, of_head: Callable[[Head], Array]) -> Array:
        return mixture(self.mixing, [of_head(head) for head in self.heads])


class TalkingHeads(AbstractAttending):
    r"""Heads that share their weights: each pulls with a mixture of all.

    .. math:: u_i = \sum_h O_h \sum_j \Big(\sum_g M_{hg} w^{(g)}_{ij}\Big) V_h y_j

    With M the identity the plain sum of heads. The attention matrices are the mixtures, sum_g M_hg w^(g), and noise on
    the logits comes before.

    Parameters
    ----------
    laws : the heads, whose values are offered by the columns.
    mixing : M, `[heads heads]`.

    Raises
    ------
    ValueError
        If M does not fit, a value is not offered by columns alone, or a head has gates.

    Cost
    ----
    As many gathers as heads, each with the values of all.

    Source
    ------
    shazeer2020talking.
    """

    laws: tuple[Attention, ...]
    mixing: Float[Array, "h h"] = parameter()
    sources: ClassVar[tuple[str, ...]] = ("shazeer2020talking",)

    def __check_init__(self):
        Declared.__check_init__(self)  # what follows asks the nouns themselves
        h = len(self.laws)
        if not h:
            raise ValueError("TalkingHeads of no heads; give at least one")
        if self.mixing.shape != (h, h):
            raise ValueError(
                f"`mixing` of TalkingHeads must be {h} x {h}, one row for each head; got {self.mixing.shape}"
            )
        for law in self.laws:
            if not isinstance(law.value, AbstractOffered) or law.value.relative:
                raise ValueError(
                    "TalkingHeads mixes weights, so values must be offered by columns alone; "
                    f"{type(law.value).__name__} is not: use Identity, Linear, LowRank or Nonlinear"
                )
            if not (law.gate.absent and law.value_gate.absent):
                raise ValueError("the heads of TalkingHeads have no gates of their own")

    def working(
        self, x: Float[Array, "n d"], summation: AbstractSummation, shift: Float[Array, "h n m"] | None = None
    ) -> tuple[MixedHead, ...]:
        shifts = [None] * len(self.laws) if shift is None else list(shift)
        heads = tuple(law.head(x, summation, shift=one) for law, one in zip(self.laws, shifts, strict=True))
        return tuple(MixedHead(heads, row, h) for h, row in enumerate(self.mixing))

    def moved(self, heads: tuple[AbstractHead, ...], x: Float[Array, "n d"]) -> Float[Array, "n d"]:
        values = [law.value for law in self.laws if isinstance(law.value, AbstractOffered)]
        offers = [value.offered(x) for value in values]
        edges = [sum(offer.shape[1] for offer in offers[:k]) for k in range(1, len(offers))]
        everything = jnp.concatenate(offers, axis=1)
        pulled = [jnp.split(head.weighted(everything), edges, axis=1) for head in _plain(heads)]
        mixed = [mixture(row, [one[h] for one in pulled]) for h, row in enumerate(self.mixing)]
        outputs = [value.output(one) for value, one in zip(values, mixed, strict=True)]
        return sum(outputs[1:], start=outputs[0])

    def matrices(self, heads: tuple[AbstractHead, ...], x: Float[Array, "n d"]) -> Float[Array, "h n n"]:
        plain = jnp.stack([head.weighted(jnp.eye(x.shape[0], dtype=x.dtype)) for head in _plain(heads)])
        return jnp.einsum("hg,gij->hij", self.mixing, plain)

    def check_asked(self, asked: Asked) -> None:
        super().check_asked(asked)
        mixing = concrete(self.mixing)
        if asked == "free energy":
            raise ValueError(_NOTHING)
        if asked == "single":
            raise ValueError(
                "the weights of TalkingHeads are mixtures of those of several heads, and what is drawn for one head's "
                "weights cannot be drawn for them; take a noise that does not look at weights, Gaussian or Gumbel"
            )
        if asked == "entropy" and mixing is not None and np.any(mixing < 0):
            raise ValueError(
                f"weights of TalkingHeads that are mixed with negative numbers, here {mixing.min():g}, may be negative "
                "and then have no entropy; watch `sink_mass` or `attention`, or mix with numbers that are at least 0"
            )

    def check_tokens(self, n: int, d: int) -> None:
        for law in self.laws:
            law.check_tokens(n, d)

    def parts(self) -> tuple[AbstractLaw, ...]:
        return self.laws

    def on_masses(self, p: Float[Array, " m"]) -> AbstractLaw:
        return TalkingHeads(tuple(law.on_masses(p) for law in self.laws), self.mixing)


_NOTHING = (
    "the weights of TalkingHeads are mixtures, which are not known to maximize anything, so they have no free energy; "
    "that of a sum of heads is known"
)


def mixture(mixing: Float[Array, " h"], parts: list[Float[Array, "..."]]) -> Float[Array, "..."]:
    """The sum of some arrays, with so much of each."""
    return sum((share * part for share, part in zip(mixing[1:], parts[1:], strict=True)), start=mixing[0] * parts[0])


def _plain(heads: tuple[AbstractHead, ...]) -> tuple[Head, ...]:
    """The heads that talk, as they are before."""
    assert isinstance(heads[0], MixedHead), "as TalkingHeads has made them"
    return heads[0].heads


def _mean_log(share: Float[Array, "n m"], other: Float[Array, "n m"]) -> Float[Array, " n"]:
    """The mean of the log of some shares under others, 0 where there are none; NaN where a share is negative."""
    there = share != 0
    return jnp.sum(jnp.where(there, share * jnp.log(jnp.where(there, other, 1)), 0), axis=1)


def _shares(weights: Float[Array, "n m"]) -> Float[Array, "n m"]:
    """Rows divided by their sums; a row without weights stays one."""
    total = jnp.sum(weights, axis=1, keepdims=True)
    return weights / jnp.where(total == 0, 1, total)


class Cross(AbstractLaw):
    r"""Attention of one species of tokens to another: queries of one range, keys of the other.

    .. math:: u_i = \sum_{j \in K} w_{ij} \nu_{ij} \;\text{for}\; i \in Q, \qquad u_i = 0 \;\text{otherwise}

    Tokens that are in no law's queries stay where they are. A sum of such laws has a law for each pair of species and a
    normalization for each; one normalization over the union of species is the measure `Blocks`. With one range for both
    it is the law of those tokens alone.

    Parameters
    ----------
    law : the attention. Indices in its measure count within the ranges: `Causal` lets the third query see three keys.
    queries, keys : ranges of tokens, first and one past the last.

    Raises
    ------
    ValueError
        For an empty range, or a law that speaks of a token and itself where the ranges differ.

    Source
    ------
    vaswani2017attention.
    """

    law: AbstractInteraction
    queries: tuple[int, ...] = option(ge=0)
    keys: tuple[int, ...] = option(ge=0)
    sources: ClassVar[tuple[str, ...]] = ("vaswani2017attention",)

    def __check_init__(self):
        Declared.__check_init__(self)  # what follows asks the nouns themselves
        for name, ends in (("queries", self.queries), ("keys", self.keys)):
            if len(ends) != 2 or ends[0] >= ends[1]:
                raise ValueError(f"`{name}` of Cross is a range, (first, one past the last); got {ends}")
        if self.law.of_itself and self.queries != self.keys:
            raise ValueError(
                f"NotSelf and WithoutSelf speak of a token and itself, but queries {self.queries} and keys {self.keys} "
                "are different tokens; leave it out, or use one range"
            )

    def __call__(
        self, t: Float[Array, ""], x: Float[Array, "n d"], summation: AbstractSummation
    ) -> Float[Array, "n d"]:
        rows, columns = self._ends(x)
        if columns is None:
            pulled = self.law(t, rows, summation)
        else:
            pulled = self.law.between(t, rows, columns, summation)
        return jnp.zeros_like(x).at[slice(*self.queries)].set(pulled)

    def check_tokens(self, n: int, d: int) -> None:
        for name, (first, last) in (("queries", self.queries), ("keys", self.keys)):
            if last > n:
                raise ValueError(f"`{name}` of Cross is the range {first} to {last}, but there are {n} tokens")
        self.law.check_pairs(self.queries[1] - self.queries[0], self.keys[1] - self.keys[0], d)

    def parts(self) -> tuple[AbstractLaw, ...]:
        return (self.law,)

    def unsolved(self, t: Float[Array, ""], x: Float[Array, "n d"], summation: AbstractSummation) -> Bool[Array, ""]:
        rows, columns = self._ends(x)
        if columns is None:
            return self.law.unsolved(t, rows, summation)
        return self.law.unsolved_between(t, rows, columns, summation)

    @property
    def heads(self) -> int:
        return 0

    def _ends(self, x: Float[Array, "n d"]) -> tuple[Float[Array, "q d"], Float[Array, "k d"] | None]:
        """The queries, and the keys where they are other tokens."""
        return x[slice(*self.queries)], None if self.queries == self.keys else x[slice(*self.keys)]
