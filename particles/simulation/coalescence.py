"""Tokens that have met and move as one: which of them, and what it took.

A law acts on the measure of its tokens, so tokens at one place are one token of their mass, exactly; to bring those
that are within a tolerance to one place is the only error. What must be kept to go on is little: which row of the state
moves each token, and the list of mergers. Masses follow from that, as shares of the tokens.
"""

import equinox as eqx
import jax.numpy as jnp
import numpy as np
from jaxtyping import Float, Int

from ..dynamics import AbstractFlow
from ..integration import Merged

SMALL = (16, 64, 256)  # rows of a state that cost little more than half as many; beyond, powers of two


class Coalescence(eqx.Module):
    """Which tokens of a run move as one, and how that came about.

    Attributes
    ----------
    tolerance : the distance to which tokens must have come.
    member : for each token the row of the state that moves it; rows that fill up come after those that move anything.
    mergers : for each time that tokens were merged the depth, how many rows there were fewer, the largest distance by
        which a token was moved, and the radius of a ball around the origin that held all.
    """

    tolerance: float = eqx.field(static=True)
    member: Int[np.ndarray, " n"]
    mergers: Float[np.ndarray, "merger 4"]

    @classmethod
    def none(cls, tolerance: float, n: int) -> "Coalescence":
        """That of n tokens that move each by itself."""
        return cls(tolerance, np.arange(n), np.zeros((0, 4)))

    @property
    def moving(self) -> int:
        """The number of tokens that move."""
        return int(self.member.max()) + 1

    @property
    def counts(self) -> Int[np.ndarray, " m"]:
        """How many tokens each of them stands for."""
        return np.bincount(self.member)

    @property
    def rows(self) -> int:
        """The rows of the state: one of few numbers, so that few programs are compiled."""
        enough = [rows for rows in SMALL if rows >= self.moving]
        return min(len(self.member), enough[0] if enough else 1 << (self.moving - 1).bit_length())

    def masses(self) -> Float[np.ndarray, " row"]:
        """The mass of each row, 0 where it fills up."""
        return np.pad(self.counts / len(self.member), (0, self.rows - self.moving))

    def acting(self, flow: AbstractFlow) -> tuple[AbstractFlow, Merged | None]:
        """The flow that moves the rows, and what they stand for; the flow itself as long as nothing has merged."""
        if self.moving == len(self.member):
            return flow, None
        row = np.where(np.arange(self.rows) < self.moving, np.arange(self.rows), 0)
        return flow.on_masses(jnp.asarray(self.masses())), Merged(flow, jnp.asarray(self.member), jnp.asarray(row))
