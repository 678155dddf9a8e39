"""What came of a transport: a distance, and how surely it is known."""

import dataclasses

import numpy as np
from scipy.sparse import coo_array


@dataclasses.dataclass(frozen=True)
class Transport:
    """A Wasserstein distance between two clouds, between a proved lower and a proved upper bound.

    An upper bound is what some plan costs, a lower one what potentials earn that nowhere exceed the cost. Both are
    meant up to the rounding of sums.

    Attributes
    ----------
    value : the distance, in the middle of the bounds.
    lower, upper : what it is at least and at most; equal where the algorithm ends with the solution itself.
    converged : whether the two are as close as was asked.
    method : the algorithm: quantiles, circle, assignment, linear program, bottleneck or entropic.
    plan : how much mass goes from token i to token j, `[n m]`, sparse; None where there are too many pairs to keep it.
    potentials : prices f, `[n]`, and g, `[m]`, with f_i + g_j at most the distance to the power p; None where the
        algorithm finds none.
    """

    value: float
    lower: float
    upper: float
    converged: bool
    method: str
    plan: coo_array | None = None
    potentials: tuple[np.ndarray, np.ndarray] | None = None

    @property
    def error(self) -> float:
        """By how much `value` can be wrong."""
        return (self.upper - self.lower) / 2


def between(
    lower: float,
    upper: float,
    apart: float,
    method: str,
    plan: coo_array | None = None,
    potentials: tuple[np.ndarray, np.ndarray] | None = None,
) -> Transport:
    """A distance that lies between two numbers; it converged if they are no farther apart than that."""
    lower, upper = min(lower, upper), max(lower, upper)  # rounding alone can have changed them round
    met = bool(upper - lower <= apart)
    return Transport((lower + upper) / 2, lower, upper, met, method, plan, potentials)


def exactly(value: float, method: str, plan: coo_array | None = None) -> Transport:
    """A distance that was found, up to rounding."""
    return Transport(value, value, value, bool(np.isfinite(value)), method, plan)


def mean_power(distances: np.ndarray, mass: np.ndarray, p: float) -> float:
    """The mean of distances in the sense of p; the largest of them, that rounding has not made, where p is infinite."""
    far = float(distances.max(initial=0.0))
    if far == 0 or np.isinf(p):
        return far
    return far * float(np.sum(mass * (distances / far) ** p)) ** (1 / p)
