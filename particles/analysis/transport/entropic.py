"""Transport between many tokens: Sinkhorn's iteration of ott-jax, and what it proves about the distance.

Entropy blurs a plan, so what the iteration ends with is neither a plan of the right masses nor a distance. But from its
potentials both bounds follow at once. Prices raised until none can be raised alone earn what no plan can undercut; and
the blurred plan, scaled down where it has too much mass and filled up where it has too little, is a plan, whose cost no
distance exceeds. The blur is halved until the two are as close as was asked, or nothing is gained any more.
"""

import functools
import math
import warnings
from collections.abc import Callable
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from ...spaces import AbstractSpace, Euclidean
from .clouds import Weighted
from .result import Transport, between

KEPT = 2**25  # pairs whose costs are kept from sweep to sweep
BLOCK = 2**22  # numbers of a block of rows of costs, where they are not
COARSE = 0.25  # the first blur, in units of the mean cost
HALVINGS = 24  # of the blur
SWEEPS = 2000  # for each blur
WRONG = 0.3  # of the blur, what mass in a wrong place may cost when the blur is halved
FAST = 30  # sweeps before the iteration is sped up by overrelaxation
LOOK = 10  # sweeps between looks at how wrong the masses are


class Pairs(eqx.Module):
    """The cost of every pair, worked out for some rows at a time.

    Attributes
    ----------
    x, y : rows and columns.
    space : whose distances count.
    p : their power.
    """

    x: Float[Array, "n d"]
    y: Float[Array, "m d"]
    space: AbstractSpace
    p: float = eqx.field(static=True)

    @property
    def transposed(self) -> "Pairs":
        """Columns in the place of rows."""
        return Pairs(self.y, self.x, self.space, self.p)

    def by_rows(self, function: Callable[..., Any], *own: Float[Array, " n"]) -> Any:
        """What a function makes of rows of costs `[r m]` and of numbers `[r]` of these rows; joined, `[n ...]`."""
        (n, d), m = self.x.shape, self.y.shape[0]
        rows = max(1, min(n, BLOCK // m))
        pad = -n % rows
        places = jnp.pad(self.x, ((0, pad), (0, 0)), mode="edge").reshape(-1, rows, d)
        numbers = [jnp.pad(one, (0, pad), mode="edge").reshape(-1, rows) for one in own]
        power = int(self.p) if self.p.is_integer() else self.p  # a product is faster than a power
        block = lambda given: function(self.space.distance(given[0], self.y) ** power, *given[1:])  # noqa: E731
        found = jax.lax.map(block, (places, *numbers))
        return jax.tree.map(lambda leaf: leaf.reshape(-1, *leaf.shape[2:])[:n], found)


class Bounds(eqx.Module):
    """What potentials prove of the least cost.

    Attributes
    ----------
    lower, upper : of the least cost.
    f, g : prices that nowhere exceed the cost; they earn the lower bound.
    """

    lower: Float[Array, ""]
    upper: Float[Array, ""]
    f: Float[Array, " n"]
    g: Float[Array, " m"]


def entropic(first: Weighted, second: Weighted, p: float, space: AbstractSpace | None, tolerance: float) -> Transport:
    """The distance of two clouds, within a relative tolerance if that can be had.

    Raises
    ------
    ValueError
        If p is infinite, or the tolerance not positive.
    ModuleNotFoundError
        Without ott-jax.

    Cost
    ----
    Some five hundred sweeps over all pairs for a hundredth, more with every digit; memory O(n + m) beyond 1 GiB.

    Source
    ------
    cuturi2013sinkhorn; for the plan of the right masses, altschuler2017near.
    """
    if np.isinf(p):
        raise ValueError('the entropic distance needs a finite `p`; for p = inf use method="exact"')
    if not tolerance > 0:
        raise ValueError(f"`tolerance` must be positive; got {tolerance}")
    load()
    with jax.enable_x64(True), jax.numpy_dtype_promotion("standard"), jax.numpy_rank_promotion("allow"):
        pairs = Pairs(jnp.asarray(first.x), jnp.asarray(second.x), space or Euclidean(), float(p))
        return _annealed(pairs, jnp.asarray(first.masses), jnp.asarray(second.masses), tolerance)


def load() -> None:
    """Imports ott-jax, or raises ModuleNotFoundError with what to install."""
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", DeprecationWarning)  # of a library that it imports
            import ott  # noqa: F401
    except ModuleNotFoundError as error:
        raise ModuleNotFoundError(
            "the entropic distance needs ott-jax: pip install 'attention-particles[ot]'"
        ) from error


def _annealed(pairs: Pairs, a: Array, b: Array, tolerance: float) -> Transport:
    """Sinkhorn's iteration at one blur after the other, each from the potentials of the one before."""
    mean, largest = (float(one) for one in _sizes(pairs, a, b))
    f, g = jnp.zeros_like(a), jnp.zeros_like(b)
    lower, upper, prices, power = 0.0, math.inf if largest else 0.0, (f, g), 1 / pairs.p
    blur = jnp.asarray(COARSE * mean)
    for _ in range(HALVINGS if largest else 0):
        f, g = _swept(pairs, a, b, f, g, blur, WRONG * blur / largest)
        proved = _proved(pairs, a, b, f, g, blur)
        upper = min(upper, float(proved.upper))
        if float(proved.lower) > lower:
            lower, prices = float(proved.lower), (proved.f, proved.g)
        if upper**power - lower**power <= tolerance * upper**power:
            break
        blur = blur / 2
    potentials = (np.asarray(prices[0]), np.asarray(prices[1]))
    return between(lower**power, upper**power, tolerance * upper**power, "entropic", potentials=potentials)


@eqx.filter_jit
def _swept(
    pairs: Pairs, a: Array, b: Array, f: Array, g: Array, blur: Array, wrong: Array
) -> tuple[Float[Array, " n"], Float[Array, " m"]]:
    """The potentials after enough sweeps that no more than some mass is wrong, or all sweeps that are allowed."""
    from ott.geometry import geometry
    from ott.problems.linear import linear_problem
    from ott.solvers.linear import acceleration, sinkhorn

    if a.size * b.size <= KEPT:
        costs: Any = geometry.Geometry(cost_matrix=pairs.by_rows(lambda cost: cost), epsilon=blur)  # pyright: ignore
    else:
        costs = _blocked()(pairs, epsilon=blur)
    solver = sinkhorn.Sinkhorn(
        threshold=wrong,  # pyright: ignore[reportArgumentType]
        inner_iterations=LOOK,
        max_iterations=SWEEPS,
        momentum=acceleration.Momentum(start=FAST),
    )
    found = solver(linear_problem.LinearProblem(costs, a, b), init=(f, g))
    return found.f, found.g


@functools.cache
def _blocked() -> Any:
    """Costs as ott sees them that are never all there at once."""
    from ott.geometry import geometry

    @jax.tree_util.register_pytree_node_class
    class Blocked(geometry.Geometry):
        def __init__(self, pairs: Pairs, **kwargs: Any):
            super().__init__(**kwargs)
            self.pairs = pairs

        @property
        def shape(self) -> tuple[int, int]:
            return self.pairs.x.shape[0], self.pairs.y.shape[0]

        @property
        def dtype(self) -> Any:
            return self.pairs.x.dtype

        def apply_lse_kernel(self, f: Any, g: Any, eps: Any, vec: Any = None, axis: int = 0) -> Any:
            pairs, own, other = (self.pairs, f, g) if axis == 1 else (self.pairs.transposed, g, f)
            shifted = lambda cost: eps * jax.nn.logsumexp((other[None, :] - cost) / eps, axis=1)  # noqa: E731
            return pairs.by_rows(shifted), jnp.ones_like(own)

        def tree_flatten(self) -> Any:
            return (self.pairs, self._epsilon_init), {}

        @classmethod
        def tree_unflatten(cls, aux_data: Any, children: Any) -> Any:
            return cls(children[0], epsilon=children[1])

    return Blocked


@eqx.filter_jit
def _proved(pairs: Pairs, a: Array, b: Array, f: Array, g: Array, blur: Array) -> Bounds:
    """What potentials prove, in passes over blocks of rows and of columns."""
    across, hard_of = pairs.transposed, lambda cost, prices: jnp.min(cost - prices[None, :], axis=1)
    blurred = lambda cost, own, others: jnp.exp((own[:, None] + others[None, :] - cost) / blur)  # noqa: E731
    hard, sums = pairs.by_rows(lambda cost, own: (hard_of(cost, g), jnp.sum(blurred(cost, own, g), axis=1)), f)
    less_a = _lessened(a, sums)
    raised, sums = across.by_rows(lambda cost, own: (hard_of(cost, hard), blurred(cost, own, f) @ less_a), g)
    less_b = _lessened(b, sums)

    def spent(cost: Array, own: Array, less: Array) -> tuple[Array, Array]:
        plan = less[:, None] * blurred(cost, own, g) * less_b[None, :]
        return jnp.sum(plan, axis=1), jnp.sum(plan * cost, axis=1)

    kept, paid = pairs.by_rows(spent, f, less_a)
    filled = across.by_rows(lambda cost, own, less: less * (blurred(cost, own, f) @ less_a), g, less_b)
    short_a, short_b = jnp.maximum(a - kept, 0), jnp.maximum(b - filled, 0)
    rest = short_a @ pairs.by_rows(lambda cost: cost @ short_b)
    missing = jnp.sum(short_a)
    upper = jnp.sum(paid) + rest / jnp.where(missing > 0, missing, 1)
    return Bounds(a @ hard + b @ raised, upper, hard, raised)


@eqx.filter_jit
def _sizes(pairs: Pairs, a: Array, b: Array) -> tuple[Float[Array, ""], Float[Array, ""]]:
    """The mean cost of independent pairs, and the largest cost."""
    mean, largest = pairs.by_rows(lambda cost: (cost @ b, jnp.max(cost, axis=1)))
    return a @ mean, jnp.max(largest)


def _lessened(mass: Array, there: Array) -> Array:
    """The factor that takes away what is too much."""
    return jnp.where(there > mass, mass / jnp.where(there > 0, there, 1), 1)
