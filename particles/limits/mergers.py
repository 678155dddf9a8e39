"""When clusters merge: the depths at which tokens that were apart come together, one after another.

Waiting times grow exponentially in beta, while tokens that are all but merged contract at a rate of order one, which
would hold an explicit method to steps of order one for ever. So tokens that have come together are handed over to one
of them, which carries their mass: what is left moves slowly, and steps are as long as the wait.
"""

import dataclasses

import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Float, Int, PyTree
from scipy.sparse.csgraph import connected_components

from ..dynamics import AbstractFlow, Flow
from ..integration import Plan, solve
from ..laws import AbstractLaw
from ..observables import labels
from ..stopping import AbstractStop
from ..summation import AbstractSummation

LOOKS = 32  # frames of each piece of depth, at which clusters are counted
PIECE = 0.5  # the first piece, in units of the depth in which the fastest token moves by `delta`


@dataclasses.dataclass(frozen=True)
class Merger:
    """What came together, and when.

    Attributes
    ----------
    depth : where it happened.
    clusters : how many are left.
    labels : for each token the smallest index in its cluster, after the merger.
    """

    depth: float
    clusters: int
    labels: tuple[int, ...]


def mergers(
    flow: Flow,
    x0: Float[Array, "n d"],
    until: float,
    delta: float = 0.1,
    *,
    precision: float = 1e-7,
    fused: float = 1e-9,
    solver: str = "Dopri8",
    tolerance: float = 1e-11,
) -> tuple[Merger, ...]:
    """Follows a flow and says at which depths clusters, the connected components of "closer than delta", merge.

    For flows in which tokens that are together stay together. The flow is followed in pieces of depth, each twice as
    long as the one before, and clusters are counted at 32 frames of each; the frames around a merger are then followed
    again, from where the solver itself has arrived, until they are close enough.

    Parameters
    ----------
    flow : of first order, with a law that can act on tokens of other masses: Attention without a mask, sums of it.
    x0 : where the tokens start.
    until : the last depth.
    delta : the distance, within the space, below which two tokens are neighbors.
    precision : how closely a merger is located, relative to the depth since the one before or, if that is more, the
        depth in which the fastest token moves by `delta`.
    fused : the distance below which tokens are handed over to one of them.
    solver, tolerance : of the steps.

    Raises
    ------
    ValueError
        If the law sees more of its tokens than where they are and what they weigh.
    Failed
        If the numerics failed in some piece.

    Notes
    -----
    A token's pull on itself is taken away to rounding, 1e-16, so a wait of depth T is located no better than 1e-16 T,
    relative, and takes 1e-16 T / tolerance steps.

    Cost
    ----
    One compilation. For each merger about as many pieces as the wait has binary digits.

    Source
    ------
    bruno2025multiscale, for mergers one after another; the method derived by hand.
    """
    walk = _Walk(flow, jnp.asarray(x0), delta, solver, tolerance)
    walk.settle(np.asarray(x0), walk.clusters(np.asarray(x0)), fused)
    found: list[Merger] = []
    depth = since = 0.0
    piece = PIECE * walk.scale(delta)
    while depth < until and walk.count > 1:
        times, frames = walk.follow(min(piece, until - depth))
        clusters = [walk.clusters(x) for x in frames]
        first = next((k for k, label in enumerate(clusters) if len(set(label)) < walk.count), None)
        if first is None:
            walk.settle(frames[-1], clusters[-1], fused)
            depth, piece = depth + times[-1], 2 * piece
            continue
        walk.arrive(times[first - 1])
        depth, piece = depth + times[first - 1], times[first] - times[first - 1]
        if piece <= precision * max(depth - since, walk.scale(delta)):
            depth = since = depth + piece
            found.append(Merger(depth - piece / 2, len(set(clusters[first])), tuple(map(int, clusters[first]))))
            walk.settle(frames[first], clusters[first], fused)
            piece = PIECE * walk.scale(delta)
    return tuple(found)


class _Walk:
    """Tokens on their way, some of them represented by others."""

    def __init__(self, flow: Flow, x: Float[Array, "n d"], delta: float, solver: str, tolerance: float):
        self.flow, self.x, self.delta, self.solver, self.tolerance = flow, x, delta, solver, tolerance
        self.alone = np.arange(x.shape[0])  # for each token the one that stands for it
        self.count = x.shape[0]

    def acting(self) -> Flow:
        """The flow in which those that stand for others carry their mass, and the others rest."""
        n = self.x.shape[0]
        mass = jnp.asarray(np.bincount(self.alone, minlength=n) / n)
        alive = jnp.asarray(self.alone == np.arange(n))
        return dataclasses.replace(self.flow, law=_Represented(self.flow.law.on_masses(mass), alive))

    def follow(self, piece: float) -> tuple[list[float], list[np.ndarray]]:
        """The tokens at frames of a piece of depth, from its start to where clusters are fewer, or to its end."""
        fewer = _Fewer(jnp.asarray(self.delta), jnp.asarray(self.count), jnp.asarray(self.alone))
        until, tolerance = jnp.asarray(piece), jnp.asarray(self.tolerance)
        plan = Plan(until, save=LOOKS, solver=self.solver, rtol=tolerance, atol=tolerance, stop=(fewer,))
        run = solve(self.acting(), self.x, plan).complete()
        assert run.tokens is not None
        reached = np.asarray(run.times) < run.depth
        times, frames = np.asarray(run.times)[reached], np.asarray(run.tokens)[reached]
        return [*times.tolist(), float(run.depth)], [x[self.alone] for x in (*frames, np.asarray(run.final))]

    def arrive(self, piece: float) -> None:
        """Moves on by a piece of depth, to where the solver arrives and not its interpolant."""
        if piece > 0:
            self.x = jnp.asarray(self.follow(piece)[1][-1])

    def settle(self, x: np.ndarray, clusters: np.ndarray, fused: float) -> None:
        """Moves to x, counts clusters anew, and hands over tokens that have come together."""
        self.x, self.count = jnp.asarray(x), len(set(clusters))
        self.alone = self.clusters(x, fused)[self.alone]

    def scale(self, delta: float) -> float:
        """The depth in which the fastest token moves by delta."""
        speed = float(jnp.max(jnp.linalg.norm(self.acting()(jnp.zeros(()), self.x), axis=1)))
        return delta / max(speed, 1e-300)

    def clusters(self, x: np.ndarray, delta: float | None = None) -> np.ndarray:
        """For each token the smallest index in its cluster."""
        apart = np.asarray(self.flow.space.distance(jnp.asarray(x), jnp.asarray(x)))
        _, component = connected_components(apart < (self.delta if delta is None else delta), directed=False)
        _, first = np.unique(component, return_index=True)
        return first[component]


class _Fewer(AbstractStop):
    """Stop when there are fewer clusters than some number, each token taken where its own stands."""

    delta: Float[Array, ""]
    count: Int[Array, ""]
    alone: Int[Array, " n"]

    def __call__(self, flow: AbstractFlow, t: Float[Array, ""], state: PyTree) -> Bool[Array, ""]:
        found = labels(flow.space, flow.tokens(state)[self.alone], self.delta)
        return jnp.sum(found == jnp.arange(found.shape[0], dtype=found.dtype)) < self.count


class _Represented(AbstractLaw):
    """A law that moves those tokens alone that stand for others or for themselves."""

    law: AbstractLaw
    alive: Bool[Array, " n"]

    def __call__(
        self, t: Float[Array, ""], x: Float[Array, "n d"], summation: AbstractSummation
    ) -> Float[Array, "n d"]:
        return jnp.where(self.alive[:, None], self.law(t, x, summation), jnp.zeros_like(x))

    def check_tokens(self, n: int, d: int) -> None:
        self.law.check_tokens(n, d)

    def parts(self) -> tuple[AbstractLaw, ...]:
        return (self.law,)
