"""What a noise is to the flow that carries it.

There are two kinds. Noise on the *state* is Brownian motion that pushes the tokens; it has no memory. Noise on the
*weights* is a process of its own, hidden beside the tokens, that is added to the logits of attention; within a step it
stands still, and at the end of one it moves on. A noise knows nothing of laws and spaces: it is handed the attention
matrices, or the means they form, where it asks for them.
"""

import abc
from collections.abc import Callable
from typing import Any, ClassVar

from jaxtyping import Array, Float, PRNGKeyArray, PyTree

from ...declaration import Declared
from ..base import Reading


class AbstractNoise(Declared):
    """What is random in a flow.

    `attends`: whether it needs a law with attention matrices. `weighs`: whether what it adds to the logits of a head
    depends on the weights of that head. `common`: whether tokens at one place are pushed alike,
    and nothing is hidden beside them.
    """

    attends: ClassVar[bool] = False
    weighs: ClassVar[bool] = False
    common: ClassVar[bool] = False

    @property
    @abc.abstractmethod
    def readings(self) -> tuple[Reading, ...]:
        """The kinds of equation that a flow with this noise is, the best one first."""

    @abc.abstractmethod
    def begin(self, heads: int, n: int, dtype: Any, key: PRNGKeyArray) -> PyTree:
        """What is hidden beside the tokens at depth 0."""

    @abc.abstractmethod
    def moved(self, hidden: PyTree, step: Float[Array, ""], key: PRNGKeyArray) -> PyTree:
        """What is hidden after a step of that length."""

    @abc.abstractmethod
    def matrices(self, heads: int) -> int:
        """How many numbers for each pair of tokens it takes to hold what is hidden and to evaluate it."""


class AbstractStateNoise(AbstractNoise):
    """Brownian motion that pushes tokens. Nothing is hidden."""

    @abc.abstractmethod
    def shape(self, heads: int, n: int, d: int) -> tuple[int, ...]:
        """The shape of the Brownian motion."""

    @abc.abstractmethod
    def pushed(self, increment: Float[Array, "..."], means: Callable[[], Float[Array, "h n d"]]) -> Float[Array, "n d"]:
        """What an increment does to each token in ambient space; linear in it.

        Parameters
        ----------
        increment : of the Brownian motion.
        means : the mean of all tokens as each token attends to them, in every head.
        """

    @abc.abstractmethod
    def variance(self, x: Float[Array, "n d"], means: Callable[[], Float[Array, "h n d"]]) -> Float[Array, " n"]:
        """The variance of `pushed` in each direction per unit of depth, for each token."""

    def begin(self, heads: int, n: int, dtype: Any, key: PRNGKeyArray) -> None:
        return None

    def moved(self, hidden: None, step: Float[Array, ""], key: PRNGKeyArray) -> None:
        return None
