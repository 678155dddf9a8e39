"""How a law attends: how widely rows look, at whom all of them look, how far from the measure, to what free energy.

All are averages over the pairs of an attention matrix that are summed as the law itself is, without the matrix: the
entropy of a row is the derivative of log sum_j w_ij^theta at theta = 1. Weights that do not sum to 1, those of `Mean`,
`Sigmoid` and `Null`, are divided by their sum before they have an entropy. Rows count with their masses, and heads
alike. Noise on the logits is part of what is looked at.
"""

import abc
from typing import ClassVar

import jax.numpy as jnp
from jaxtyping import Array, Float, PyTree

from ..declaration import option
from ..dynamics import AbstractFlow, at_precision
from ..laws import AbstractLaw
from ..laws.head import AbstractHead, Asked
from ..summation import AbstractSummation
from .base import AbstractObservable


class AbstractAttentionObservable(AbstractObservable):
    """A number of every attention matrix of a law, averaged over them.

    `asks`: what it needs the weights to have beside being there.
    """

    asks: ClassVar[Asked | None] = None

    @abc.abstractmethod
    def of_head(self, head: AbstractHead) -> Float[Array, "..."]:
        """The value for one attention at work."""

    def __call__(self, flow: AbstractFlow, t: Float[Array, ""], x: Float[Array, "n d"]) -> Float[Array, "..."]:
        return self._over_heads(at_precision(flow.placed, x.dtype), t, x, flow.summation)

    def observe(self, flow: AbstractFlow, t: Float[Array, ""], state: PyTree) -> Float[Array, "..."]:
        return self._over_heads(flow.acting(t, state), t, flow.tokens(state), flow.summation)

    def check_flow(self, flow: AbstractFlow) -> None:
        _check_heads(self, flow)
        if self.asks is not None:
            flow.law.check_asked(self.asks)

    def _over_heads(
        self, law: AbstractLaw, t: Float[Array, ""], x: Float[Array, "n d"], summation: AbstractSummation
    ) -> Float[Array, "..."]:
        each = [self.of_head(head) for head in law.attending(t, x, summation)]
        if not each:
            raise ValueError(f"{type(law).__name__} does not show its attention at work: it needs `attending`")
        return sum(each[1:], start=each[0]) / len(each)


class RowEntropy(AbstractAttentionObservable):
    r"""The entropy of a row of attention, on average: the logarithm of how many tokens a token looks at.

    .. math:: H = \sum_i a_i H_i, \qquad H_i = -\sum_j p_{ij} \log p_{ij}, \quad p_{ij} = w_{ij} / \sum_k w_{ik}

    At most log n, which rows that look at all alike reach; 0 where each looks at one. Counts tokens: one that is split
    in two raises it, where `PriorDivergence` does not move.

    Units
    -----
    Nats.

    Cost
    ----
    What the normalizer solves for, and one gather with its derivative: the memory of two gathers.

    Source
    ------
    zhai2023stabilizing.
    """

    asks: ClassVar[Asked | None] = "entropy"
    name: ClassVar[str] = "row_entropy"
    symbol: ClassVar[str] = "$H$"
    unit: ClassVar[str] = "nat"
    sources: ClassVar[tuple[str, ...]] = ("zhai2023stabilizing",)

    def of_head(self, head: AbstractHead) -> Float[Array, ""]:
        return _mean(head, head.entropy())


class TokenEntropy(AbstractAttentionObservable):
    r"""The entropy of each token's row of attention: see `RowEntropy`, its mean.

    .. math:: H_i = -\sum_j p_{ij} \log p_{ij}

    Units
    -----
    Nats.

    Cost
    ----
    As `RowEntropy`.

    Source
    ------
    zhai2023stabilizing.
    """

    asks: ClassVar[Asked | None] = "entropy"
    name: ClassVar[str] = "token_entropy"
    symbol: ClassVar[str] = "$H_i$"
    unit: ClassVar[str] = "nat"
    dims: ClassVar[tuple[str, ...]] = ("token",)
    sources: ClassVar[tuple[str, ...]] = ("zhai2023stabilizing",)

    def of_head(self, head: AbstractHead) -> Float[Array, " n"]:
        return head.entropy()


class PriorDivergence(AbstractAttentionObservable):
    r"""How far a row of attention is from its measure, on average: what the scores have to say beside the prior.

    .. math:: \sum_i a_i \, \mathrm{KL}\Big(\frac{w_i}{\sum_k w_{ik}} \Big| \frac{\pi_i}{\sum_k \pi_{ik}}\Big)

    Without a prior log n less `RowEntropy`. Does not change when a token is split in two.

    Units
    -----
    Nats.

    Cost
    ----
    As `RowEntropy`, and one gather of masses.

    Source
    ------
    le2022attention; kullback1951information.
    """

    asks: ClassVar[Asked | None] = "entropy"
    name: ClassVar[str] = "prior_divergence"
    of_measure: ClassVar[bool] = True
    symbol: ClassVar[str] = r"$\mathrm{KL}(w|\pi)$"
    unit: ClassVar[str] = "nat"
    positive: ClassVar[bool] = True
    sources: ClassVar[tuple[str, ...]] = ("le2022attention", "kullback1951information")

    def of_head(self, head: AbstractHead) -> Float[Array, ""]:
        return _mean(head, head.relative_entropy())


class SinkMass(AbstractAttentionObservable):
    r"""How much of all attention each token is given: a sink is a token that is given much.

    .. math:: S_j = \sum_i a_i w_{ij}

    With n tokens alike a_i = 1/n, and 1/n is what each is given on average where rows sum to 1. `Sinkhorn` with rho
    infinite gives each token its own mass.

    Cost
    ----
    One gather for each row and its transpose: the memory of three gathers.

    Source
    ------
    xiao2024efficient.
    """

    name: ClassVar[str] = "sink_mass"
    symbol: ClassVar[str] = "$S_j$"
    dims: ClassVar[tuple[str, ...]] = ("token",)
    sources: ClassVar[tuple[str, ...]] = ("xiao2024efficient",)

    def of_head(self, head: AbstractHead) -> Float[Array, " n"]:
        return head.load()


class FreeEnergy(AbstractAttentionObservable):
    r"""What the weights of a row maximize, at its largest, on average: for `Softmax` the mean of log Z.

    .. math:: F = \sum_i a_i F_i, \qquad
       F_i = \max_w \sum_j w_j s_{ij} - \sum_j \pi_{ij} \phi(w_j / \pi_{ij})

    The gradient of F_i in its row is the mean gradient of the score under the weights, which the value `GradScore`
    pulls with. -inf where a row sees nobody and its weights must sum to 1.

    Cost
    ----
    One gather of masses beside what the normalizer solves for.

    Raises
    ------
    ValueError
        If the normalizer's weights are not known to maximize anything.

    Source
    ------
    vuckovic2020mathematical; for penalties other than the entropy, blondel2020learning.
    """

    asks: ClassVar[Asked | None] = "free energy"
    name: ClassVar[str] = "free_energy"
    of_measure: ClassVar[bool] = True
    symbol: ClassVar[str] = "$F$"
    sources: ClassVar[tuple[str, ...]] = ("vuckovic2020mathematical", "blondel2020learning")

    def of_head(self, head: AbstractHead) -> Float[Array, ""]:
        return _mean(head, head.free_energy())


class AttentionWeights(AbstractObservable):
    r"""The attention matrices themselves: how much weight w_ij a token i gives to each token j, head by head.

    All pairs of all frames are kept, so this is for hundreds of tokens. Noise on the logits is part of it.

    Parameters
    ----------
    most : tokens up to which matrices are formed; more are refused.

    Cost
    ----
    One gather of n values: O(n^2) memory for each head, and on disk for each frame.

    Source
    ------
    vaswani2017attention.
    """

    most: int = option(512, ge=1)
    name: ClassVar[str] = "attention"
    symbol: ClassVar[str] = "$w_{ij}$"
    dims: ClassVar[tuple[str, ...]] = ("head", "token", "key")
    sources: ClassVar[tuple[str, ...]] = ("vaswani2017attention",)

    def __call__(self, flow: AbstractFlow, t: Float[Array, ""], x: Float[Array, "n d"]) -> Float[Array, "h n n"]:
        return self._weights(at_precision(flow.placed, x.dtype), t, x, flow.summation)

    def observe(self, flow: AbstractFlow, t: Float[Array, ""], state: PyTree) -> Float[Array, "h n n"]:
        return self._weights(flow.acting(t, state), t, flow.tokens(state), flow.summation)

    def check_flow(self, flow: AbstractFlow) -> None:
        _check_heads(self, flow)

    def _weights(
        self, law: AbstractLaw, t: Float[Array, ""], x: Float[Array, "n d"], summation: AbstractSummation
    ) -> Float[Array, "h n n"]:
        if x.shape[0] > self.most:
            raise ValueError(
                f"`attention` keeps all pairs of at most {self.most} tokens; got {x.shape[0]}: watch `sink_mass` and "
                "`token_entropy`, or raise `most`"
            )
        return law.head_weights(t, x, summation)


def _check_heads(watched: AbstractObservable, flow: AbstractFlow) -> None:
    if not flow.law.heads:
        raise ValueError(
            f"`{watched.name}` is a number of attention weights, and {type(flow.law).__name__} has none; watch it "
            "for Attention and sums of it"
        )


def _mean(head: AbstractHead, rows: Float[Array, " n"]) -> Float[Array, ""]:
    """The mean over rows with their masses; a row without mass does not count, whatever its value."""
    mass = head.row_mass()
    there = mass > 0
    return jnp.sum(jnp.where(there, mass * jnp.where(there, rows, 0), 0))
