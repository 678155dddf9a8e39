"""A head at work: rows that attend to columns, as values and gates see it."""

import abc

import equinox as eqx
from jaxtyping import Array, Float

from .pair import Tokens


class AbstractHead(eqx.Module):
    """What a value or a gate may ask: who attends to whom, and the weighted sum of anything."""

    @property
    @abc.abstractmethod
    def rows(self) -> Tokens:
        """The queries."""

    @property
    @abc.abstractmethod
    def columns(self) -> Tokens:
        """The keys."""

    @abc.abstractmethod
    def weighted(self, values: Float[Array, "m k"]) -> Float[Array, "n k"]:
        """The sum over columns of weight times value."""

    @abc.abstractmethod
    def slope(self) -> Float[Array, "n d"]:
        """The sum over columns of weight times the gradient of the score in the query."""

    @abc.abstractmethod
    def log_partition(self) -> Float[Array, " n"]:
        """log Z_i, the log of sum_j pi_ij e^s_ij; -inf for a row that sees nobody."""

    @abc.abstractmethod
    def own_weight(self) -> Float[Array, " n"]:
        """w_ii, for rows that are columns too."""

    @abc.abstractmethod
    def query_gate(self, pulled: Float[Array, "n k"]) -> Float[Array, "n k"]:
        """What was pulled, after the gate of each row."""

    @abc.abstractmethod
    def value_factors(self) -> Float[Array, "m _k"]:
        """The gate of each column: one number, or one for each coordinate."""

    @abc.abstractmethod
    def value_gate(self, offered: Float[Array, "m k"]) -> Float[Array, "m k"]:
        """What is offered, after the gate of each column."""
