"""Who sees whom: masks by index."""

from typing import ClassVar

import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, Int

from ...declaration import option
from .base import AbstractFactor, mask, offset_of


class Causal(AbstractFactor):
    r"""Tokens see themselves and those before them.

    .. math:: \pi_{ij} \propto 1_{j \le i}

    Row i has mass i/n: `Softmax` does not notice, `Mean` keeps the 1/n. The first token sees itself alone, and on the
    sphere with V = I it never moves.

    Source
    ------
    vaswani2017attention; its clusters, karagodin2024causal.
    """

    traits: ClassVar[frozenset[str]] = frozenset({"masked", "one-sided", "causal"})
    sources: ClassVar[tuple[str, ...]] = ("vaswani2017attention", "karagodin2024causal")

    def log_factor(self, i: Int[Array, " r"], j: Int[Array, " c"], m: int) -> Float[Array, "r c"]:
        return mask(j[None, :] <= i[:, None])

    def reaches(self, i: Int[Array, " r"], j: Int[Array, " c"], m: int) -> Bool[Array, ""]:
        return jnp.min(j) <= jnp.max(i)

    def bound(self) -> Float[Array, ""] | float:
        return 0.0


class Window(AbstractFactor):
    r"""Tokens see those whose index is near.

    .. math:: \pi_{ij} \propto 1_{|i - j| \le w}

    `Causal() * Window(w)` looks back only.

    Parameters
    ----------
    width : w.
    periodic : whether the tokens stand in a ring, so that the last is a neighbor of the first.

    Source
    ------
    beltagy2020longformer.
    """

    traits: ClassVar[frozenset[str]] = frozenset({"masked"})
    width: int = option(ge=0)
    periodic: bool = option(False)
    sources: ClassVar[tuple[str, ...]] = ("beltagy2020longformer",)

    def log_factor(self, i: Int[Array, " r"], j: Int[Array, " c"], m: int) -> Float[Array, "r c"]:
        return mask(offset_of(i, j, m if self.periodic else None) <= self.width)

    def reaches(self, i: Int[Array, " r"], j: Int[Array, " c"], m: int) -> Bool[Array, ""]:
        after, before = jnp.min(j) - jnp.max(i), jnp.min(i) - jnp.max(j)
        near = jnp.maximum(after, before) <= self.width
        around = jnp.minimum(jnp.min(i) + m - jnp.max(j), jnp.min(j) + m - jnp.max(i)) <= self.width
        return near | around if self.periodic else near

    def bound(self) -> Float[Array, ""] | float:
        return 0.0


class NotSelf(AbstractFactor):
    r"""No token sees itself. It is hidden by index: a second token at the same place is still seen.

    .. math:: \pi_{ij} \propto 1_{i \ne j}

    A single token, or one that nothing else leaves anybody to see, gathers nothing and does not move.

    Source
    ------
    shi2021sparsebert.
    """

    traits: ClassVar[frozenset[str]] = frozenset({"masked", "itself"})
    only_itself: ClassVar[bool] = True
    sources: ClassVar[tuple[str, ...]] = ("shi2021sparsebert",)

    def log_factor(self, i: Int[Array, " r"], j: Int[Array, " c"], m: int) -> Float[Array, "r c"]:
        return mask(j[None, :] != i[:, None])

    def bound(self) -> Float[Array, ""] | float:
        return 0.0


class Global(AbstractFactor):
    r"""The first few tokens see all and are seen by all; nobody else sees anybody.

    .. math:: \pi_{ij} \propto 1_{i < g \text{ or } j < g}

    One global token is a star. Meant for unions: `Window(2) | Global(1)`.

    Parameters
    ----------
    tokens : g, how many.

    Source
    ------
    zaheer2020bigbird.
    """

    traits: ClassVar[frozenset[str]] = frozenset({"masked"})
    tokens: int = option(1, ge=1)
    sources: ClassVar[tuple[str, ...]] = ("zaheer2020bigbird",)

    def log_factor(self, i: Int[Array, " r"], j: Int[Array, " c"], m: int) -> Float[Array, "r c"]:
        return mask((i[:, None] < self.tokens) | (j[None, :] < self.tokens))

    def bound(self) -> Float[Array, ""] | float:
        return 0.0


class Random(AbstractFactor):
    r"""Each row sees each column with a given probability, drawn once.

    .. math:: \pi_{ij} \propto B_{ij}, \qquad B_{ij} \sim \mathrm{Bernoulli}(p)

    BigBird's pattern is the union `Window(w) | Global(g) | Random(p)`.

    Parameters
    ----------
    share : p.
    seed : of the draw, a function of i and j, so that it does not depend on how pairs are visited.

    Source
    ------
    zaheer2020bigbird.
    """

    traits: ClassVar[frozenset[str]] = frozenset({"masked"})
    share: float = option(ge=0, le=1)
    seed: int = option(0, ge=0)
    sources: ClassVar[tuple[str, ...]] = ("zaheer2020bigbird",)

    def log_factor(self, i: Int[Array, " r"], j: Int[Array, " c"], m: int) -> Float[Array, "r c"]:
        rows = jax.vmap(lambda k: jax.random.fold_in(jax.random.key(self.seed), k))(i)
        drawn = jax.vmap(lambda row: jax.vmap(lambda k: jax.random.uniform(jax.random.fold_in(row, k)))(j))(rows)
        return mask(drawn < self.share)

    def bound(self) -> Float[Array, ""] | float:
        return 0.0
