"""How fast a flow can part two clouds: the Lipschitz constant of its field, summed up over depth."""

import math

import numpy as np

from ..dynamics import AbstractFlow, Flow
from ..laws import AbstractLaw
from ..spaces import AbstractSpace, Ball, Euclidean, Sphere
from .bounds import proved
from .slots import read

NORMS = ("W1", "max")


def exponents(flow: AbstractFlow, norm: str, n: int, times: np.ndarray, radii: np.ndarray) -> np.ndarray:
    r"""The logarithm of the most by which a distance of two clouds grows from depth 0 on, `[time]`.

    .. math:: d(\mu_t, \nu_t) \le e^{\Lambda(t)} d(\mu_0, \nu_0), \qquad
              \Lambda(t) = \int_0^t \mathrm{Lip}(\text{field on the ball that holds both clouds})

    On a sphere the constant is that of the law and the largest velocity over the radius, for the tangent plane that
    turns; in a ball, the law's, since what the boundary takes away brings tokens nearer. In Euclidean space the clouds
    are held by a ball that grows, between two times, no faster than the largest velocity in it.

    Parameters
    ----------
    flow : of first order, its law softmax attention, a sum of heads, or drifts beside them.
    norm : of distances: "W1" between measures, or "max", the largest displacement of a token with its label. Lengths
        are those of the ambient space.
    n : the number of tokens.
    times : depths, increasing from 0.
    radii : of a ball around the origin that holds both clouds at each time; used in Euclidean space alone.

    Raises
    ------
    ValueError
        If no bound is proved for the flow, with the assumption that it does not meet.

    Source
    ------
    vuckovic2021regularity, for stability; constants derived by hand.
    """
    if norm not in NORMS:
        raise ValueError(f"`norm` must be one of {', '.join(NORMS)}; got {norm!r}")
    if not isinstance(flow, Flow):
        raise ValueError(f"growth is proved for a Flow of first order; got {type(flow).__name__}")
    lengths, bounded = np.diff(times), _radius(flow.space)
    if bounded is not None:
        return _rate(flow, norm, n, bounded) * np.concatenate([[0.0], np.cumsum(lengths)])
    rates = [_rate(flow, norm, n, held) for held in _held(flow.law, n, radii, lengths)]
    return np.concatenate([[0.0], np.cumsum(lengths * np.asarray(rates))])


def _held(law: AbstractLaw, n: int, radii: np.ndarray, lengths: np.ndarray) -> list[float]:
    """The radius of a ball that holds both clouds from each time to the next."""
    start, slope = affine_reach(law, n)
    return [_grown(float(radius), start, slope, float(h)) for radius, h in zip(radii, lengths, strict=False)]


def _grown(radius: float, start: float, slope: float, depth: float) -> float:
    """The solution of R' = start + slope R."""
    return radius * math.exp(slope * depth) + start * (math.expm1(slope * depth) / slope if slope else depth)


def _radius(space: AbstractSpace) -> float | None:
    """Of the ball that a space is held by; None for all of space."""
    if isinstance(space, Euclidean):
        return None
    if not isinstance(space, Sphere | Ball):
        raise ValueError(f"growth is proved in Euclidean space, a Ball and on a Sphere; got {type(space).__name__}")
    return float(space.radius)


def _rate(flow: Flow, norm: str, n: int, radius: float) -> float:
    """A Lipschitz constant of the field on the tokens that a ball holds."""
    if isinstance(flow.space, Sphere) and norm == "max":
        return proved(flow.law, norm, float(n), space=flow.space).value
    own = proved(flow.law, norm, math.inf if norm == "W1" else float(n), radius).value
    if not isinstance(flow.space, Sphere):
        return own
    start, slope = affine_reach(flow.law, n)
    return own + start / radius + slope


def affine_reach(law: AbstractLaw, n: int) -> tuple[float, float]:
    """Two numbers, c and v: the largest velocity of one of n tokens in a ball of radius R is at most c + v R.

    Raises
    ------
    ValueError
        For a law of which nothing is known.
    """
    parts = read(law, float(n))
    start, far = (sum(part.reach(radius) for part in parts) for radius in (0.0, 1.0))
    return start, far - start
