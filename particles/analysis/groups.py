"""Tokens that have met to within a tolerance: groups of them, and the place at which a group can be one token.

Single linkage will not do, since a chain of near tokens is one cluster, however long. A group is gathered around its
leader, the heaviest token that is left: all that lie within the tolerance of it or, where their mean is farther than
the tolerance from one of them, those within half of it.
"""

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Int
from scipy.spatial import cKDTree  # pyright: ignore[reportAttributeAccessIssue]

from ..spaces import AbstractSpace

_ROUNDING = 1e-9
"""A ball that is searched is larger by this part; what it holds too much is found when distances are measured."""


_LEAF = 32
"""Tokens in a leaf of the tree: a few more than SciPy's 10 are faster in high dimension, and no slower in low."""


def leaders(
    space: AbstractSpace, x: Float[np.ndarray, "n d"], mass: Float[np.ndarray, " n"], tolerance: float
) -> Int[np.ndarray, " n"]:
    """For each token the one that leads its group; itself, where it is alone.

    No token is farther than the tolerance from its leader, or from the place of its group: both are measured in the
    space, and a group that fails is left apart. Two tokens near each other and no other are a group if and only if they
    are within the tolerance. In a ball, a flat space or on a sphere no group fails whose tokens are all within the
    tolerance of one another: their mean lies in their convex hull, and so in every ball around one of them that holds
    the others; on a sphere in every cone over such a cap, if the tolerance is below a quarter of a great circle.

    Parameters
    ----------
    space : whose distance is meant; no smaller than that of the ambient space.
    x : tokens on it.
    mass : of each, positive.
    tolerance : positive.

    Cost
    ----
    A k-d tree and a ball for each group and each token alone, O(n log n) in a fixed dimension: about a second for 10^5
    tokens in dimension 3, apart or together. In dimension 64 a cluster that is a few tolerances wide costs the square
    of its size.

    Source
    ------
    Derived by hand; the tree is SciPy's.
    """
    own = np.arange(len(x))
    leader = _gathered(np.asarray(x, float), mass, tolerance)
    leader = np.where(distances(space, x, x[leader]) <= tolerance, leader, own)
    return parted(leader, ~(places(space, x, mass, leader)[1] <= tolerance))


def parted(leader: Int[np.ndarray, " n"], apart: np.ndarray) -> Int[np.ndarray, " n"]:
    """The leaders where every group is dissolved that holds one of some tokens, given as a mask."""
    return np.where(np.isin(leader, leader[apart]), np.arange(len(leader)), leader)


def places(
    space: AbstractSpace, x: Float[np.ndarray, "n d"], mass: Float[np.ndarray, " n"], leader: Int[np.ndarray, " n"]
) -> tuple[Float[np.ndarray, "n d"], Float[np.ndarray, " n"]]:
    """For each token the place of its group, the mean of its tokens brought back to the space, and how far it is.

    A token that is alone stays where it is, to the bit.
    """
    alone = (np.bincount(leader, minlength=len(x))[leader] == 1)[:, None]
    weight = np.bincount(leader, mass, len(x))[leader]
    off = (mass / weight)[:, None] * (x - x[leader]).astype(float)  # from the leader: exact for tokens that coincide
    mean = x[leader] + _summed(off, leader).astype(x.dtype)
    place = np.where(alone, x, _padded(_project, space, mean))
    return place, distances(space, x, place)


def distances(
    space: AbstractSpace, x: Float[np.ndarray, "n d"], y: Float[np.ndarray, "n d"]
) -> Float[np.ndarray, " n"]:
    """How far apart tokens are, row by row."""
    return _padded(_distance, space, x, y)


def _gathered(x: Float[np.ndarray, "n d"], mass: Float[np.ndarray, " n"], tolerance: float) -> Int[np.ndarray, " n"]:
    """For each token its leader, by distances in the ambient space."""
    tree, leader = cKDTree(x, leafsize=_LEAF), np.full(len(x), -1)
    for k in np.argsort(-mass, kind="stable"):
        if leader[k] >= 0:
            continue
        ball = tree.query_ball_point(x[k], tolerance * (1 + _ROUNDING))
        near = np.sort(np.asarray(ball))
        near = near[leader[near] < 0]
        if len(near) > 2 and _reach(x[near], mass[near]) > tolerance:
            near = near[np.linalg.norm(x[near] - x[k], axis=1) <= tolerance / 2]
        leader[near] = k
    return leader


def _summed(values: Float[np.ndarray, "n d"], leader: Int[np.ndarray, " n"]) -> Float[np.ndarray, "n d"]:
    """For each token the sum over its group."""
    return np.stack([np.bincount(leader, column, len(values)) for column in values.T], axis=1)[leader]


def _reach(x: Float[np.ndarray, "n d"], mass: Float[np.ndarray, " n"]) -> float:
    """The largest distance of a token from the mean."""
    return float(np.linalg.norm(x - np.average(x, axis=0, weights=mass), axis=1).max())


def _padded(function, space: AbstractSpace, *rows: Float[np.ndarray, "n d"]) -> np.ndarray:
    """A function of rows, called on a number of them that is a power of two, so that few programs are compiled."""
    n = len(rows[0])
    index = np.arange(1 << (n - 1).bit_length()) % n
    return np.asarray(function(space, *(jnp.asarray(x[index]) for x in rows)))[:n]


@eqx.filter_jit
def _project(space: AbstractSpace, x: Float[Array, "n d"]) -> Float[Array, "n d"]:
    return space.project(x)


@eqx.filter_jit
def _distance(space: AbstractSpace, x: Float[Array, "n d"], y: Float[Array, "n d"]) -> Float[Array, " n"]:
    return jax.vmap(lambda a, b: space.distance(a[None], b[None])[0, 0])(x, y)
