"""Transport between few tokens anywhere, from the cost of every pair: by an assignment or a linear program."""

from collections.abc import Callable

import equinox as eqx
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float
from scipy.optimize import linear_sum_assignment, linprog
from scipy.sparse import coo_array, csr_array
from scipy.sparse.csgraph import maximum_bipartite_matching
from scipy.spatial.distance import cdist

from ...spaces import AbstractSpace
from .clouds import Weighted
from .result import Transport, between, exactly, mean_power

MEMORY = 4 * 2**30  # bytes that costs of pairs may take
ASSIGNED, PROGRAMMED = 32, 1300  # bytes for each pair: the costs and a copy of them; a linear program in HiGHS
ROWS = 2**22  # numbers of a block of rows of costs
EXACT = 1e-9  # of the largest distance: the width of the bracket at which a linear program is solved
RANGE = 1e6  # the largest cost in units of those that matter
FAR = 1e-9  # mass that a plan of p = inf may move too far: the tolerance of the linear program


def distances(x: np.ndarray, y: np.ndarray, space: AbstractSpace | None) -> np.ndarray:
    """The distance of every pair, `[n m]`."""
    if space is None:
        return cdist(x, y)
    block = max(1, ROWS // (len(y) * x.shape[1]))
    blocks = [jnp.asarray(x[i : i + block]) for i in range(0, len(x), block)]
    return np.concatenate([np.asarray(_within(space, one, jnp.asarray(y)), float) for one in blocks])


@eqx.filter_jit
def _within(space: AbstractSpace, x: Float[Array, "n d"], y: Float[Array, "m d"]) -> Float[Array, "n m"]:
    return space.distance(x, y)


def check_memory(n: int, m: int, each: int) -> None:
    """Raises ValueError if all pairs take more memory than they may."""
    if n * m * each > MEMORY:
        raise ValueError(
            f"{n} x {m} pairs need about {n * m * each / 2**30:.1f} GiB here, more than {MEMORY / 2**30:.0f}: take "
            'fewer tokens, or method="entropic", which visits pairs in blocks'
        )


def on_pairs(first: Weighted, second: Weighted, p: float, space: AbstractSpace | None) -> Transport:
    """The distance of two clouds, exactly, on any space.

    Cost
    ----
    Equal masses of as many tokens: an assignment, O(n^3), a second at n = 2000. Others: a linear program of n m
    unknowns, half a second at n = m = 256.

    Source
    ------
    villani2009optimal.
    """
    n, m = len(first.x), len(second.x)
    matching = n == m and first.equal and second.equal
    check_memory(n, m, ASSIGNED if matching else PROGRAMMED)
    apart = distances(first.x, second.x, space)
    if np.isinf(p):
        return _bottleneck(apart, _matched if matching else lambda far: _programmed(far, first.masses, second.masses))
    if matching:
        rows, columns = linear_sum_assignment(apart**p)
        plan = coo_array((first.masses, (rows, columns)), shape=(n, m))
        return exactly(mean_power(apart[rows, columns], plan.data, p), "assignment", plan)
    size = _size(apart, p)
    costs = (apart / size) ** p
    plan, prices = _solved(costs, first.masses, second.masses)
    f, g = raised(costs, prices)
    lower = max(0.0, float(first.masses @ f + second.masses @ g))
    upper = float(np.sum(plan.data * costs[plan.row, plan.col])) + _unplanned(plan, first, second) * float(costs.max())
    lower, upper = (size * bound ** (1 / p) for bound in (lower, upper))
    return between(lower, upper, EXACT * float(apart.max()), "linear program", plan, (f * size**p, g * size**p))


def _size(apart: np.ndarray, p: float) -> float:
    """A length in whose units costs are neither far below 1, where solvers do not look, nor beyond all digits."""
    nearest = max(float(apart.min(axis=axis).mean()) for axis in (0, 1))
    return max(nearest, float(apart.max()) * RANGE ** (-1 / p)) or 1.0


def raised(costs: np.ndarray, g: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """The best prices f for given g, and the best g for these f: their sums nowhere exceed the cost."""
    f = np.min(costs - g[None, :], axis=1)
    return f, np.min(costs - f[:, None], axis=0)


def _solved(costs: np.ndarray, a: np.ndarray, b: np.ndarray) -> tuple[coo_array, np.ndarray]:
    """The cheapest plan between masses, and prices of the columns."""
    n, m = costs.shape
    pairs = np.arange(n * m)
    sums = (np.ones(2 * n * m), (np.concatenate([pairs // m, n + pairs % m]), np.concatenate([pairs, pairs])))
    conditions = csr_array(coo_array(sums, shape=(n + m, n * m)))[:-1]  # the last one follows from the others
    options = {"primal_feasibility_tolerance": 1e-10, "dual_feasibility_tolerance": 1e-10}
    found = linprog(
        costs.reshape(-1),
        A_eq=conditions,
        b_eq=np.concatenate([a, b])[:-1],
        method="highs-ds",
        options=options,
    )
    if found.x is None:
        return coo_array((n, m)), np.zeros(m)
    plan = coo_array(np.maximum(found.x, 0).reshape(n, m))
    return plan, np.append(found.eqlin.marginals[n:], 0.0)


def _unplanned(plan: coo_array, first: Weighted, second: Weighted) -> float:
    """The mass that a plan puts elsewhere than it should, or does not move."""
    wrong = (plan.sum(axis=1) - first.masses, plan.sum(axis=0) - second.masses)
    return float(sum(np.abs(one).sum() for one in wrong))


def _bottleneck(apart: np.ndarray, carried: Callable[[np.ndarray], coo_array | None]) -> Transport:
    """The smallest distance such that some plan moves nothing farther, by bisection over the distances there are."""
    levels = np.unique(apart)
    low, high = 0, len(levels) - 1
    while low < high:
        middle = (low + high) // 2
        low, high = (low, middle) if carried(apart > levels[middle]) is not None else (middle + 1, high)
    return exactly(float(levels[low]), "bottleneck", carried(apart > levels[low]))


def _matched(far: np.ndarray) -> coo_array | None:
    """A matching of no pair that is far; None if there is none."""
    columns = maximum_bipartite_matching(csr_array(~far), perm_type="column")
    if np.any(columns < 0):
        return None
    n = len(far)
    return coo_array((np.full(n, 1 / n), (np.arange(n), columns)), shape=far.shape)


def _programmed(far: np.ndarray, a: np.ndarray, b: np.ndarray) -> coo_array | None:
    """A plan that leaves no mass to pairs that are far; None if there is none."""
    plan, _ = _solved(far.astype(float), a, b)
    lost = 1 - float(np.sum(plan.data[~far[plan.row, plan.col]]))
    return plan if lost <= FAR else None
