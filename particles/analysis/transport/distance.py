"""The doors: which algorithm finds the distance of two clouds."""

import dataclasses

from ...declaration import as_float
from ...integration import Failed
from ...spaces import AbstractSpace, Sphere
from .circle import on_circle, spread
from .clouds import Cloud, pair
from .entropic import entropic
from .line import on_line
from .pairs import on_pairs
from .result import Transport

METHODS = ("exact", "entropic")


def optimal_transport(
    x: Cloud,
    y: Cloud,
    p: float = 1.0,
    a: Cloud | None = None,
    b: Cloud | None = None,
    space: AbstractSpace | None = None,
    method: str = "exact",
    tolerance: float = 1e-2,
) -> Transport:
    r"""The Wasserstein distance of two clouds of tokens, with the plan, the prices, and a proof of how exact it is.

    .. math:: W_p = \Big(\min_{\pi \in \Pi(a, b)} \sum_{ij} \pi_{ij} d(x_i, y_j)^p\Big)^{1/p}

    "exact" finds it by quantiles on the line and on the circle, for clouds of as many tokens of equal masses by an
    assignment, for others by a linear program. "entropic" comes as near as the tolerance asks, for any number of
    tokens and any space, and proves how near.

    Parameters
    ----------
    x, y : clouds, `[n d]` and `[m d]`.
    p : at least 1; may be infinite, the largest displacement of the best plan, where the method is exact.
    a, b : masses, `[n]` and `[m]`, with sum 1; by default all equal.
    space : whose distances count, arc lengths on a sphere; by default those of the ambient space.
    method : "exact" or "entropic", the extra `ot`.
    tolerance : of the entropic distance: the relative width of its bracket.

    Returns
    -------
    Transport
        Look at `converged`.

    Raises
    ------
    ValueError
        If the clouds are not of one dimension and on the space, masses are negative or do not sum to 1, p is below 1,
        or pairs would need more than 4 GiB.

    Cost
    ----
    O(n log n) on the line and the circle, O(n^3) for an assignment, a linear program of n m unknowns otherwise; the
    entropic one some hundred sweeps of all pairs, in blocks.

    Source
    ------
    villani2009optimal; on the circle, delon2010fast; entropic, cuturi2013sinkhorn and altschuler2017near.
    """
    first, second = pair(x, y, a, b, space)
    if not p >= 1:
        raise ValueError(f"`p` must be at least 1; got {p}")
    if method not in METHODS:
        raise ValueError(f"`method` must be one of {', '.join(METHODS)}; got {method!r}")
    if method == "entropic":
        return entropic(first, second, p, space, tolerance)
    if first.x.shape[1] == 1:
        return on_line(first, second, p)
    if isinstance(space, Sphere) and first.x.shape[1] == 2:
        return on_circle(first, second, p, float(space.radius))
    return on_pairs(first, second, p, space)


def wasserstein(
    x: Cloud,
    y: Cloud,
    p: float = 1.0,
    a: Cloud | None = None,
    b: Cloud | None = None,
    space: AbstractSpace | None = None,
    method: str = "exact",
    tolerance: float = 1e-2,
) -> float:
    """The Wasserstein distance of two clouds of tokens, as a number.

    Parameters
    ----------
    x, y, p, a, b, space, method, tolerance : as `optimal_transport`.

    Raises
    ------
    ValueError
        As `optimal_transport`.
    Failed
        If the distance was not found to its tolerance.

    Cost
    ----
    As `optimal_transport`.

    Source
    ------
    villani2009optimal.
    """
    found = optimal_transport(x, y, p, a, b, space, method, tolerance)
    if not found.converged:
        raise Failed(f"the distance lies between {found.lower:.6g} and {found.upper:.6g}, and is not known better")
    return found.value


def transport_to_density(
    x: Cloud, nodes: Cloud, masses: Cloud, p: float = 1.0, a: Cloud | None = None, radius: float = 1.0
) -> Transport:
    """The Wasserstein distance of a cloud on the circle to a density that is known at quadrature nodes, in arc length.

    The density is one that has the mass of every node in the arc of points nearest to that node; between such a one and
    the atoms at the nodes lies half a gap at the most, and by so much the bounds are widened: O(1 / nodes).

    Parameters
    ----------
    x : cloud, `[n 2]`.
    nodes, masses : of the density, `[m 2]` and `[m]`: the rows of a `Circle`, and its weights times the density.
    p : at least 1; may be infinite.
    a : masses of the tokens, `[n]`; by default all equal.
    radius : of the circle.

    Returns
    -------
    Transport
        `value` is the distance to the atoms, `lower` and `upper` bound that to the density.

    Raises
    ------
    ValueError
        As `optimal_transport`.

    Cost
    ----
    As `optimal_transport` on the circle.

    Source
    ------
    villani2009optimal.
    """
    circle = Sphere(as_float(radius))
    found = optimal_transport(x, nodes, p, a, masses, circle)
    _, density = pair(x, nodes, a, masses, circle)
    off = spread(density, p, radius)
    return dataclasses.replace(found, lower=max(0.0, found.lower - off), upper=found.upper + off)
