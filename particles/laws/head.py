"""A head at work: rows that attend to columns, as values and gates see it."""

import abc
from typing import Literal

import equinox as eqx
from jaxtyping import Array, Bool, Float

from ..declaration import Declared
from ..summation import AbstractSummation
from .pair import Tokens

Asked = Literal["entropy", "free energy", "logits", "single"]


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

    @property
    @abc.abstractmethod
    def summation(self) -> AbstractSummation:
        """How all pairs are visited."""

    @property
    @abc.abstractmethod
    def score(self) -> Declared:
        """The score of query and key."""

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
    def free_energy(self) -> Float[Array, " n"]:
        """What the weights of each row maximize, at its largest; -inf for a row that no weights are possible for.

        Raises
        ------
        ValueError
            If the normalizer's weights are not known to maximize anything.
        """

    @abc.abstractmethod
    def entropy(self) -> Float[Array, " n"]:
        """The entropy in nats of each row's weights, divided by their sum; 0 for a row that sees nobody."""

    @abc.abstractmethod
    def relative_entropy(self) -> Float[Array, " n"]:
        """KL of each row's weights against its measure, each divided by its sum; 0 for a row that sees nobody."""

    @abc.abstractmethod
    def load(self) -> Float[Array, " m"]:
        """sum_i a_i w_ij, what each column is given by all rows, i of mass a_i."""

    @abc.abstractmethod
    def row_mass(self) -> Float[Array, " n"]:
        """The mass of each row."""

    @abc.abstractmethod
    def own_weight(self) -> Float[Array, " n"]:
        """w_ii, for rows that are columns too."""

    @abc.abstractmethod
    def unsolved(self) -> Bool[Array, ""]:
        """Whether an inner iteration misses its tolerance."""

    @abc.abstractmethod
    def query_gate(self, pulled: Float[Array, "n k"]) -> Float[Array, "n k"]:
        """What was pulled, after the gate of each row."""

    @abc.abstractmethod
    def value_factors(self) -> Float[Array, "m _k"]:
        """The gate of each column: one number, or one for each coordinate."""

    @abc.abstractmethod
    def value_gate(self, offered: Float[Array, "m k"]) -> Float[Array, "m k"]:
        """What is offered, after the gate of each column."""
