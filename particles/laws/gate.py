"""How strongly: a factor on what a row has pulled, or on what a column offers.

A scalar gate adds no new weights: on the query it is a clock of each token's own, on the value a prior. An elementwise
gate does, and no energy is known for it.
"""

import abc
from typing import ClassVar

import jax.numpy as jnp
from jaxtyping import Array, Float

from ..declaration import Declared, option, parameter
from .head import AbstractHead
from .maps import ACTIVATIONS, check_activation, image_dim_of
from .pair import Tokens


class AbstractGate(Declared):
    """A factor for each token, `[n 1]`, or for each coordinate of its head, `[n k]`."""

    of_rows: ClassVar[bool] = False  # whether it looks at the row's weights, and so is no gate for values
    of_itself: ClassVar[bool] = False  # whether it looks at the weight of a token in its own row
    of_index: ClassVar[bool] = False  # whether it knows tokens by their index
    absent: ClassVar[bool] = False  # whether it is 1 for all tokens

    @abc.abstractmethod
    def __call__(self, tokens: Tokens, head: AbstractHead) -> Float[Array, "n _k"]:
        """The factors of some tokens."""

    @abc.abstractmethod
    def check_tokens(self, n: int, d: int) -> None:
        """Raises ValueError if this is not a gate for n tokens of dimension d."""


class Open(AbstractGate):
    r"""No gate.

    .. math:: g(x) = 1

    Source
    ------
    vaswani2017attention.
    """

    absent: ClassVar[bool] = True
    sources: ClassVar[tuple[str, ...]] = ("vaswani2017attention",)

    def __call__(self, tokens: Tokens, head: AbstractHead) -> Float[Array, "n _k"]:
        return jnp.ones_like(tokens.position[:, :1])

    def check_tokens(self, n: int, d: int) -> None:
        pass


class Constant(AbstractGate):
    r"""The same factor for all: a clock.

    .. math:: g(x) = c

    Parameters
    ----------
    factor : c.

    Source
    ------
    qiu2025gated.
    """

    factor: Float[Array, ""] = parameter()
    sources: ClassVar[tuple[str, ...]] = ("qiu2025gated",)

    def __call__(self, tokens: Tokens, head: AbstractHead) -> Float[Array, "n _k"]:
        return jnp.full_like(tokens.position[:, :1], self.factor)

    def check_tokens(self, n: int, d: int) -> None:
        pass


class PerToken(AbstractGate):
    r"""A factor of its own for each token: 0 freezes it.

    .. math:: g_i = c_i

    Parameters
    ----------
    factors : c, one for each token.

    Source
    ------
    qiu2025gated.
    """

    of_index: ClassVar[bool] = True
    factors: Float[Array, " n"] = parameter()
    sources: ClassVar[tuple[str, ...]] = ("qiu2025gated",)

    def __call__(self, tokens: Tokens, head: AbstractHead) -> Float[Array, "n _k"]:
        return self.factors[tokens.index][:, None]

    def check_tokens(self, n: int, d: int) -> None:
        if self.factors.shape != (n,):
            raise ValueError(f"PerToken needs one factor for each of {n} tokens; got {self.factors.shape[0]}")


class Activation(AbstractGate):
    r"""A gate that the token sets by itself, scalar or elementwise.

    .. math:: g(x) = \sigma(G x + b)

    Parameters
    ----------
    weight : G; a vector `[d]` for a scalar gate, a matrix `[k d]` for one factor of each coordinate of the head.
    bias : b, a number or `[k]`.
    activation : the name of sigma.

    Raises
    ------
    ValueError
        If the shapes do not meet, or there is no activation of that name.

    Source
    ------
    qiu2025gated.
    """

    weight: Float[Array, " d"] | Float[Array, "k d"] = parameter()
    bias: Float[Array, ""] | Float[Array, " k"] = parameter(0.0)
    activation: str = option("sigmoid")
    sources: ClassVar[tuple[str, ...]] = ("qiu2025gated",)

    def __check_init__(self):
        check_activation(self, self.activation)
        if self.bias.ndim == 1 and (self.weight.ndim == 1 or self.bias.shape != self.weight.shape[:1]):
            raise ValueError(
                f"`bias` of Activation has shape {self.bias.shape}: it must be one number, or one for each row of a "
                f"matrix `weight`, which has shape {self.weight.shape}"
            )

    def __call__(self, tokens: Tokens, head: AbstractHead) -> Float[Array, "n _k"]:
        weight = self.weight[None, :] if self.weight.ndim == 1 else self.weight
        bias = self.bias if self.bias.ndim == 0 else self.bias[None, :]
        return ACTIVATIONS[self.activation](tokens.position @ weight.T + bias)

    def check_tokens(self, n: int, d: int) -> None:
        image_dim_of("weight", self.weight[None, :] if self.weight.ndim == 1 else self.weight, d, self)


class InversePartition(AbstractGate):
    r"""The mobility that turns `Mean` into `Softmax`.

    .. math:: g_i = 1/Z_i, \qquad Z_i = \sum_j \pi_{ij} e^{s_{ij}}

    A row that sees nobody has the gate 0.

    Cost
    ----
    One gather of masses more.

    Source
    ------
    geshkovski2023perspective.
    """

    of_rows: ClassVar[bool] = True
    sources: ClassVar[tuple[str, ...]] = ("geshkovski2023perspective",)

    def __call__(self, tokens: Tokens, head: AbstractHead) -> Float[Array, "n _k"]:
        log_partition = head.log_partition()
        seen = log_partition > -jnp.inf
        return jnp.where(seen, jnp.exp(-jnp.where(seen, log_partition, 0)), 0)[:, None]

    def check_tokens(self, n: int, d: int) -> None:
        pass


class WithoutSelf(AbstractGate):
    r"""The mobility that takes a token's view of itself away, for values that pull nowhere by themselves.

    .. math:: g_i = \frac{1}{1 - w_{ii}}

    With `Difference`, or on the sphere with V = I, the same velocity as the measure `NotSelf`, which keeps more digits
    where w_ii is close to 1. At w_ii = 1 it is infinite.

    Source
    ------
    shi2021sparsebert.
    """

    of_rows: ClassVar[bool] = True
    of_itself: ClassVar[bool] = True
    sources: ClassVar[tuple[str, ...]] = ("shi2021sparsebert",)

    def __call__(self, tokens: Tokens, head: AbstractHead) -> Float[Array, "n _k"]:
        return (1 / (1 - head.own_weight()))[:, None]

    def check_tokens(self, n: int, d: int) -> None:
        pass
