"""Where a layer normalizes, on equiangular tokens: the common overlap of their directions, and the radius.

Everything here is worked out on the host by SciPy, from scalar equations: no tokens and no integrator of the package
take part. The directions move by F(g)/s, F the rate of the flow on the sphere and s what the placement slows it by.
"""

import numpy as np
from scipy.integrate import solve_ivp

from .equiangular import log_odds, pull, weight
from .host import Depths, solved

PLACEMENTS = ("Post", "Pre", "Peri", "Mix", "NGPT", "SqrtDepth")


def length(g: float, n: int, beta: float) -> float:
    """The length of what a token attends to on average, |A|; `equiangular.pull` is its part along the token.

    Source
    ------
    Derived by hand.
    """
    across = weight(g, n, beta) ** 2 * (n - 1) * (1 - g) * (1 + (n - 1) * g)
    return float(np.sqrt(pull(g, n, beta) ** 2 + across))


def follow(
    t: Depths, placement: str, start: float, n: int, beta: float, *, until: float = 1.0, alpha: float = 1.0
) -> tuple[np.ndarray, np.ndarray]:
    r"""One minus the common overlap, and the radius, at some depths; the radius is 1 at depth 0.

    .. math:: \dot g = F(g)/s, \qquad s = 1,\; r,\; r|A|,\; |A|/\alpha,\; \sqrt{t+1}, \qquad
       \dot r = \langle\theta, A\rangle \;\text{or}\; \langle\theta, A\rangle / |A|

    Parameters
    ----------
    t : depths, increasing, at least 0.
    placement : by the name of its class.
    start, n, beta : the overlap at depth 0, tokens, inverse temperature.
    until : the depth up to which `Mix` is Post.
    alpha : the step size of `NGPT`.

    Raises
    ------
    ValueError
        If there is no such placement, or the integrator does not come to the end.

    Source
    ------
    karagodin2025normalization, for the speeds; on equiangular tokens derived by hand.
    """
    if placement not in PLACEMENTS:
        raise ValueError(f"`placement` must be one of {', '.join(PLACEMENTS)}; got {placement!r}")

    def rate(depth: float, state: np.ndarray, early: bool) -> list[float]:
        radius, g = np.exp(state[1]), 1 - _gap(state[0], n)
        size, along = length(g, n, beta), pull(g, n, beta)
        growing = placement in ("Pre", "Peri") or (placement == "Mix" and not early)
        slowness = {"Peri": radius * size, "NGPT": size / alpha, "SqrtDepth": np.sqrt(depth + 1)}.get(placement, 1.0)
        slowness = radius if growing and placement != "Peri" else slowness
        outward = (along / size if placement == "Peri" else along) if growing else 0.0
        return [2 * n * weight(g, n, beta) / slowness, outward / radius]

    depths = np.asarray(t, float)
    first, second = depths[depths <= until], depths[depths > until]
    state, parts = np.array([log_odds(start, n), 0.0]), []
    for begin, inside, end in ((0.0, first, until), (until, second, depths[-1])):
        if end <= begin:
            continue
        asked = np.unique(np.append(inside, end))
        span, first_part = (begin, end), (begin == 0.0,)
        solution = solved(solve_ivp(rate, span, state, "DOP853", asked, args=first_part, rtol=1e-12, atol=1e-12))
        parts.append(solution.y[:, : len(inside)])
        state = solution.y[:, -1]
    u, log_radius = np.concatenate(parts, axis=1)
    return np.asarray([_gap(one, n) for one in u]), np.exp(log_radius)


def _gap(u: float, n: int) -> float:
    """One minus the overlap whose log-odds are u."""
    return float(n / (n - 1 + np.exp(u)))
