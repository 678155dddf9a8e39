"""Flows of measures: what moves is not tokens, but numbers that describe infinitely many of them."""

from jaxtyping import Array, Float, PRNGKeyArray

from ..dynamics.base import AbstractFlow, Reading
from ..spaces import AbstractSpace, Euclidean


class AbstractMeasureFlow(AbstractFlow):
    """A flow of a few numbers in rows, `[rows columns]`, that describe a measure. Nothing constrains them."""

    @property
    def space(self) -> AbstractSpace:  # pyright: ignore[reportIncompatibleVariableOverride]
        """Of the numbers, not of the tokens."""
        return Euclidean()

    @property
    def of_tokens(self) -> bool:
        return False

    @property
    def readings(self) -> tuple[Reading, ...]:
        return (Reading.ordinary,)

    def begin(self, x0: Float[Array, "k c"], key: PRNGKeyArray | None) -> Float[Array, "k c"]:
        return x0

    def tokens(self, state: Float[Array, "k c"]) -> Float[Array, "k c"]:
        return state

    def project(self, state: Float[Array, "k c"]) -> Float[Array, "k c"]:
        return state

    def check_dim(self, d: int) -> None:
        pass  # how many numbers there are is checked with the tokens
