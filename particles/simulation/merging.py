"""Merging tokens that have met, between two chunks, and what can be said of the error. Looks at clouds and at laws."""

import math
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Int, PyTree

from ..analysis.gronwall import exponents
from ..analysis.groups import leaders, parted, places
from ..dynamics import AbstractFlow
from ..integration import State
from .coalescence import Coalescence

MANY = 4096  # tokens for which a bound is still looked for: of some laws it looks at all pairs
STILL = 64  # units in the last place of the speed, below which tokens are not seen to part


def coalesced(flow: AbstractFlow, state: State, met: Coalescence) -> tuple[State, Coalescence]:
    """A state in which tokens that have met to within the tolerance are one, at their mean.

    Those are left alone that are on their way apart: whose mean square distance from their mean grows.
    """
    x, mass = np.asarray(flow.tokens(state.state))[: met.moving], met.counts / len(met.member)
    leader = leaders(flow.space, x, mass, met.tolerance)
    if len(np.unique(leader)) < met.moving:
        acting, _ = met.acting(flow)
        velocity = np.asarray(flow.tokens(_rate(acting, state.depth, state.state)))[: met.moving]
        leader = parted(leader, _parting(x - places(flow.space, x, mass, leader)[0], velocity, mass, leader))
    first, label = np.unique(leader, return_inverse=True)
    if len(first) == met.moving:
        return state, met
    place, moved = places(flow.space, x, mass, leader)
    merger = [float(state.depth), met.moving - len(first), moved.max(), np.linalg.norm(x, axis=1).max()]
    found = Coalescence(met.tolerance, label[met.member], np.concatenate([met.mergers, [merger]]))
    rows = place[np.pad(first, (0, found.rows - len(first)), constant_values=first[0])]
    return eqx.tree_at(lambda s: s.state, state, jax.tree.map(lambda _: jnp.asarray(rows), state.state)), found


def report(flow: AbstractFlow, depth: float, met: Coalescence) -> dict[str, Any]:
    """What a manifest says of tokens that have coalesced: how many, by how much they were moved, and what it may cost.

    The error at a depth is that of all tokens against a run without `coalesce`, beside the errors of the solver.
    """
    moved = met.mergers[:, 2]
    bound, words = _bound(flow, depth, met)
    return {
        "tolerance": met.tolerance,
        "tokens": len(met.member),
        "moving": met.moving,
        "merged": int(met.mergers[:, 1].sum()),
        "mergers": len(moved),
        "largest_displacement": float(moved.max(initial=0)),
        "sum_of_largest_displacements": float(moved.sum()),
        "mass": float(met.masses().sum()),
        "error_bound": bound,
        "error_bound_is": words,
    }


def _parting(
    off: Float[np.ndarray, "n d"],
    velocity: Float[np.ndarray, "n d"],
    mass: Float[np.ndarray, " n"],
    leader: Int[np.ndarray, " n"],
) -> np.ndarray:
    """Which tokens belong to a group that widens, faster than rounding alone could make it seem.

    Parameters
    ----------
    off : where each token is, seen from the place of its group.
    """

    def summed(values: Float[np.ndarray, " n"]) -> Float[np.ndarray, " n"]:
        return np.bincount(leader, values, len(leader))

    widening = summed(mass * np.sum(off * (velocity - velocity[leader]), axis=1))
    width = np.sqrt(summed(mass) * summed(mass * np.sum(off**2, axis=1)))
    rounding = STILL * np.finfo(off.dtype).eps * np.linalg.norm(velocity, axis=1).max()
    return (widening > rounding * width)[leader]


def _bound(flow: AbstractFlow, depth: float, met: Coalescence) -> tuple[float | None, str]:
    """A proved bound of the error at a depth, in the largest distance of a token, and in words what it is.

    Every merger makes of one cloud another whose tokens are as far from theirs as they were moved; from then on the two
    part no faster than the Lipschitz constant of the field says, and distances add.
    """
    if not len(met.mergers):
        return 0.0, "nothing has merged"
    if len(met.member) > MANY:
        return None, f"no bound is looked for beyond {MANY} tokens"
    try:
        grown = [_exponent(flow, len(met.member), depth - at, radius) for at, _, _, radius in met.mergers]
    except ValueError as refusal:
        return None, f"none is proved: {refusal}"
    bound = sum(moved * math.exp(min(one, 700.0)) for one, moved in zip(grown, met.mergers[:, 2], strict=True))
    size = 2 * float(met.mergers[:, 3].max())
    if not bound < size:
        return None, f"vacuous: with the constant that is proved, the first merger alone may grow by e^{grown[0]:.4g}"
    return float(bound), "proved: the sum over mergers of the largest displacement, grown by the Lipschitz constant"


def _exponent(flow: AbstractFlow, n: int, length: float, radius: float) -> float:
    """The logarithm of the most by which a distance of two clouds in a ball grows over some depth."""
    return float(exponents(flow, "max", n, np.asarray([0.0, length]), np.asarray([radius, radius]))[-1])


@eqx.filter_jit
def _rate(flow: AbstractFlow, t: Float[Array, ""], state: PyTree) -> PyTree:
    return flow(t, state)
