"""How long tokens in well separated caps of the sphere stay there, and how close they come to one another meanwhile.

The bounds are inequalities, loose by design; here they are numbers.
"""

import dataclasses

import numpy as np


@dataclasses.dataclass(frozen=True)
class Caps:
    r"""Caps :math:`\{\langle x, w_q\rangle \ge 1 - \epsilon\}` that hold all of n tokens, and attention between them.

    Attributes
    ----------
    tokens : n.
    beta : inverse temperature, above 1.
    size : epsilon, of the caps in which the tokens start; twice that, of those which they do not leave.
    overlap : alpha, the largest overlap of two points of different caps of twice the size.

    Source
    ------
    geshkovski2024dynamic, with the constants as corrected by hand.
    """

    tokens: int
    beta: float
    size: float
    overlap: float

    @property
    def margin(self) -> float:
        """The number that must be positive for the caps to be well separated."""
        return 1 - self.overlap - 8 * self.size - np.log(2 * self.tokens**2 / self.size) / self.beta

    @property
    def largest_tightness(self) -> float:
        """The supremum of the rates lam for which the bounds are shown."""
        prefactor = (self.beta - 1) * self.size / (self.beta**2 * self.tokens**2 * np.e)
        room = prefactor * np.exp((1 - self.overlap) * self.beta) * -np.expm1(-self.margin * self.beta)
        below = np.log(2 * self.tokens**2 / (1 - 8 * self.size)) / self.beta
        return float(min(room, 1 - self.overlap - 8 * self.size - below))

    @property
    def least_tightness(self) -> float:
        """The rate lam above which the bound on distances says more than that tokens are in one cap."""
        return float(np.log(1 / (8 * self.size)) / self.beta)

    def gathered(self, tightness: float) -> float:
        """T_1, the depth from which tokens of a cap are close to one another."""
        late = np.e * self.tokens * tightness * self.beta**2 / (self.beta - 1)
        return float(2 * self.tokens * np.exp(8 * self.size * self.beta) + late)

    @property
    def kept(self) -> float:
        """T_2, the depth up to which no token leaves its cap of twice the size."""
        return float(self.size / self.tokens * np.exp((1 - self.overlap) * self.beta))

    def spread(self, tightness: float) -> float:
        """The largest squared distance of two tokens of a cap between T_1 and T_2."""
        return float(2 * np.exp(-tightness * self.beta))


def overlap(centers: np.ndarray, size: float) -> float:
    """The largest overlap of two points of different caps.

    Parameters
    ----------
    centers : unit vectors, `[caps d]`, at least two.
    size : of the caps {<x, w> >= 1 - size}.

    Source
    ------
    Derived by hand.
    """
    angles = np.arccos(np.clip(centers @ centers.T, -1, 1))
    apart = np.min(angles[~np.eye(len(centers), dtype=bool)])
    return float(np.cos(max(apart - 2 * np.arccos(1 - size), 0)))
