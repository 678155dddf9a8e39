"""Tokens that are not what they should be, and how far that carries.

Whatever goes wrong with some of n tokens, the wrong cloud has n places with masses: a token that was dropped has none,
one that stands there twice has more, and one that was moved is elsewhere. So right and wrong tokens pass through the
same law on measures, and what comes out is compared as measures, in W_1; where no token was lost or doubled, also token
by token.
"""

import abc
import dataclasses
from typing import ClassVar

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Int, PRNGKeyArray

from ..declaration import Declared, option, parameter
from ..dynamics import AbstractFlow
from ..spaces import AbstractSpace
from ..starts import AbstractStart
from .transport import wasserstein
from .transport.clouds import Cloud


class WrongCloud(eqx.Module):
    """A cloud with something wrong in it.

    Attributes
    ----------
    tokens : the places.
    masses : of the tokens, with sum 1; some may be zero.
    share : the mass that is not where it should be, at most.
    distance : by how far it was moved, at most; so share times distance bounds W_1 to the right cloud.
    labeled : whether token i of both clouds is the same token.
    """

    tokens: Float[Array, "n d"]
    masses: Float[Array, " n"]
    share: Float[Array, ""]
    distance: Float[Array, ""]
    labeled: bool = eqx.field(static=True)

    @classmethod
    def right(cls, x: Float[Array, "n d"]) -> "WrongCloud":
        """The cloud with nothing wrong."""
        nothing = jnp.zeros((), x.dtype)
        return cls(x, _alike(x), nothing, nothing, labeled=True)

    @property
    def bound(self) -> Float[Array, ""]:
        """What W_1 to the right cloud is at most."""
        return self.share * self.distance


class AbstractFault(Declared):
    """Something that goes wrong with k of n tokens."""

    labeled: ClassVar[bool] = True

    @abc.abstractmethod
    def __call__(self, space: AbstractSpace, x: Float[Array, "n d"], key: PRNGKeyArray, k: int) -> WrongCloud:
        """The wrong cloud; which tokens, and how, depends on the key.

        Raises
        ------
        ValueError
            If there are not so many tokens.
        """


class Moved(AbstractFault):
    r"""k tokens are moved by at most delta, each in a random direction, or all in one.

    .. math:: W_1 \le k \delta / n, \qquad W_\infty \le \delta

    Parameters
    ----------
    delta : the length of the step within the space, before it is brought back there, which makes it no longer.
    together : whether all go in one direction of the ambient space, as far as that lies in the space.

    Source
    ------
    vuckovic2020mathematical.
    """

    delta: Float[Array, ""] = parameter(0.1, gt=0)
    together: bool = option(False)
    sources: ClassVar[tuple[str, ...]] = ("vuckovic2020mathematical",)

    def __call__(self, space: AbstractSpace, x: Float[Array, "n d"], key: PRNGKeyArray, k: int) -> WrongCloud:
        chosen, step = jax.random.split(key)
        some, delta = _chosen(chosen, len(x), k), self.delta.astype(x.dtype)
        ways = jax.random.normal(step, x[:1].shape if self.together else x.shape, x.dtype)
        way = space.tangent(x, jnp.broadcast_to(ways, x.shape))
        length = jnp.linalg.norm(way, axis=1, keepdims=True)  # zero where the space has no way on
        way = way * (delta / jnp.where(length > 0, length, 1))
        moved = jnp.where(some[:, None], space.project(x + way), x)
        return WrongCloud(moved, _alike(x), jnp.mean(some, dtype=x.dtype), delta, labeled=True)


class Dropped(AbstractFault):
    r"""k tokens are missing, and the others share their mass.

    .. math:: W_1 \le \frac kn \operatorname{diam}

    Source
    ------
    vuckovic2020mathematical.
    """

    labeled: ClassVar[bool] = False
    sources: ClassVar[tuple[str, ...]] = ("vuckovic2020mathematical",)

    def __call__(self, space: AbstractSpace, x: Float[Array, "n d"], key: PRNGKeyArray, k: int) -> WrongCloud:
        if k >= len(x):
            raise ValueError(f"of {len(x)} tokens {len(x) - 1} can be dropped; got {k}")
        return _counted(x, (~_chosen(key, len(x), k)).astype(int))


class Duplicated(AbstractFault):
    r"""k tokens stand there twice.

    .. math:: W_1 \le \frac{k (n - k)}{n (n + k)} \operatorname{diam}

    Source
    ------
    vuckovic2020mathematical.
    """

    labeled: ClassVar[bool] = False
    sources: ClassVar[tuple[str, ...]] = ("vuckovic2020mathematical",)

    def __call__(self, space: AbstractSpace, x: Float[Array, "n d"], key: PRNGKeyArray, k: int) -> WrongCloud:
        return _counted(x, 1 + _chosen(key, len(x), k).astype(int))


class Replaced(AbstractFault):
    r"""k tokens are others.

    .. math:: W_1 \le \frac kn \max_i |x_i - x_i'|

    Parameters
    ----------
    start : what the others are drawn from; at least k tokens.

    Source
    ------
    vuckovic2020mathematical.
    """

    start: AbstractStart
    sources: ClassVar[tuple[str, ...]] = ("vuckovic2020mathematical",)

    def __call__(self, space: AbstractSpace, x: Float[Array, "n d"], key: PRNGKeyArray, k: int) -> WrongCloud:
        chosen, drawn = jax.random.split(key)
        others = self.start(space, drawn).astype(x.dtype)
        if others.shape[1] != x.shape[1] or len(others) < k:
            raise ValueError(f"{k} tokens of dimension {x.shape[1]} cannot be replaced by {others.shape} others")
        some = _chosen(chosen, len(x), k)
        rank = jnp.clip(jnp.cumsum(some) - 1, 0, len(others) - 1)
        wrong = jnp.where(some[:, None], others[rank], x)
        distance = jnp.max(jnp.linalg.norm(wrong - x, axis=1))
        return WrongCloud(wrong, _alike(x), jnp.mean(some, dtype=x.dtype), distance, labeled=True)


class Resampled(AbstractFault):
    r"""k tokens are drawn again from the cloud itself, each anew; with k = n the whole cloud, as the bootstrap does.

    .. math:: W_1 \le \frac1{2n} \sum_i |c_i - 1| \operatorname{diam}

    with c_i tokens in the place of token i.

    Source
    ------
    efron1979bootstrap.
    """

    labeled: ClassVar[bool] = False
    sources: ClassVar[tuple[str, ...]] = ("efron1979bootstrap",)

    def __call__(self, space: AbstractSpace, x: Float[Array, "n d"], key: PRNGKeyArray, k: int) -> WrongCloud:
        chosen, drawn = jax.random.split(key)
        some, n = _chosen(chosen, len(x), k), len(x)
        again = jnp.where(some, jax.random.randint(drawn, (n,), 0, n), jnp.arange(n))
        return _counted(x, jnp.zeros(n, again.dtype).at[again].add(1))


@dataclasses.dataclass(frozen=True)
class Response:
    """What a wrong input does to the output; lengths are those of the ambient space.

    Attributes
    ----------
    before, after : W_1 of right and wrong cloud at the input and at the output.
    moved_before, moved_after : the largest displacement of a token; NaN where tokens have lost their labels.
    """

    before: float
    after: float
    moved_before: float
    moved_after: float


def misspecified(flow: AbstractFlow, wrong: WrongCloud) -> AbstractFlow:
    """The flow that the tokens of a wrong cloud follow, with masses of theirs.

    Raises
    ------
    ValueError
        If tokens were lost or doubled, and the law sees more of them than where they are and what they weigh.
    """
    if wrong.labeled:
        return flow
    return eqx.tree_at(lambda flow: flow.law, flow, flow.law.on_masses(wrong.masses))


def response(right: Cloud, wrong: WrongCloud, right_end: Cloud, wrong_end: Cloud) -> Response:
    """The distances of a right and a wrong cloud before and behind a map.

    Parameters
    ----------
    right, wrong : the two clouds, `[n d]`.
    right_end, wrong_end : the images of their tokens; where the wrong ones go, `misspecified` says.
    """
    masses = np.asarray(wrong.masses)
    there = masses > 0
    sides = ((right, wrong.tokens), (right_end, wrong_end))
    before, after = (wasserstein(x, np.asarray(y)[there], b=masses[there]) for x, y in sides)
    moved = [_moved(x, y) if wrong.labeled else float("nan") for x, y in sides]
    return Response(before, after, *moved)


def _moved(x: Cloud, y: Cloud) -> float:
    return float(np.linalg.norm(np.asarray(x) - np.asarray(y), axis=1).max())


def _chosen(key: PRNGKeyArray, n: int, k: int) -> Array:
    """Which k of n tokens, as a mask."""
    if not 0 <= k <= n:
        raise ValueError(f"k is a number of {n} tokens; got {k}")
    return jnp.zeros(n, bool).at[jax.random.permutation(key, n)[:k]].set(True)


def _alike(x: Float[Array, "n d"]) -> Float[Array, " n"]:
    return jnp.full(len(x), 1 / len(x), x.dtype)


def _counted(x: Float[Array, "n d"], counts: Int[Array, " n"]) -> WrongCloud:
    """The cloud with so many tokens in each place."""
    masses = counts.astype(x.dtype) / jnp.sum(counts).astype(x.dtype)
    share = jnp.sum(jnp.abs(masses - _alike(x))) / 2
    return WrongCloud(x, masses, share, _diameter(x), labeled=False)


def _diameter(x: Float[Array, "n d"]) -> Float[Array, ""]:
    return jnp.sqrt(jnp.max(jax.lax.map(lambda one: jnp.max(jnp.sum((x - one[None, :]) ** 2, axis=1)), x)))
