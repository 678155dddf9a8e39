"""Attention paths: a trajectory as the sum over all ways in which tokens handed content on, head after head.

Along a trajectory the weights of each head are given matrices, and what a head does to any content is linear in it. The
trajectory is then the Dyson series of these operators: the word (h_1, ..., h_k) is what was handed on by head h_1 first
and h_k last.
"""

import dataclasses
import itertools
import math
from typing import Any, ClassVar

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, PRNGKeyArray

from ..dynamics import AbstractFlow, at_precision
from ..integration import Plan, solve
from ..laws import AbstractLaw, Attention, Sum
from ..laws.head import AbstractHead
from ..laws.value import AbstractOffered, AbstractValue
from ..observables import AbstractObservable
from .carrier import AbstractCarrier, check_tokens_alone

MANY = 4096  # words beyond which a call is refused
LINEAR = 1e-9  # relative deviation from linearity that is rounding


class Walked(eqx.Module):
    """Tokens, and what each word has handed on so far."""

    tokens: Float[Array, "n d"]
    words: Float[Array, "w n d"]


class Paths(eqx.Module):
    """The words of a trajectory.

    Attributes
    ----------
    words : each as the heads that handed on, the first one first; the empty word is the start itself. With all heads
        together, a word is a number of zeros, one for each time that content was handed on.
    times : depths of the frames.
    content : what each word has contributed to each token.
    tokens : what the words add up to as their length grows without bound.
    order : the longest word.
    """

    words: tuple[tuple[int, ...], ...] = eqx.field(static=True)
    times: Float[Array, " time"]
    content: Float[Array, "time w n d"]
    tokens: Float[Array, "time n d"]

    @property
    def order(self) -> int:
        """The length of the longest word."""
        return len(self.words[-1])

    @property
    def sizes(self) -> Float[Array, "time w"]:
        """The root mean square over tokens of what each word contributed."""
        return jnp.sqrt(jnp.mean(jnp.sum(self.content**2, axis=3), axis=2))

    def remainder(self, order: int) -> Float[Array, " time"]:
        """The largest distance of a token from the sum of all words of at most that length."""
        kept = np.flatnonzero([len(word) <= order for word in self.words])
        missing = self.tokens - jnp.sum(self.content[:, kept], axis=1)
        return jnp.max(jnp.linalg.norm(missing, axis=2), axis=1)


class _Walk(AbstractCarrier):
    """A flow of tokens that also follows words."""

    flow: AbstractFlow
    words: tuple[tuple[int, ...], ...] = eqx.field(static=True)
    together: bool = eqx.field(static=True)

    def begin(self, x0: Float[Array, "n d"], key: PRNGKeyArray | None) -> Walked:
        x = self.flow.begin(x0, None)
        return Walked(x, jnp.zeros((len(self.words), *x.shape), x.dtype).at[0].set(x))

    def __call__(self, t: Float[Array, ""], state: Walked, args: Any = None) -> Walked:
        x = state.tokens
        law = at_precision(self.law, x.dtype).at(t)
        velocity = law(t, x, self.summation)
        within = self.space.tangent(x, velocity)
        # what the space takes away is along the token itself: every word is shortened at that rate
        lost = jnp.sum(x * (velocity - within), axis=1) / jnp.sum(x * x, axis=1) if self.space.constrained else None
        heads = [_Frozen(head.head(x, self.summation), head.value) for head in _heads(law)]
        rates = jnp.zeros_like(state.words)
        for letter in range(1 if self.together else len(heads)):
            handing = heads if self.together else [heads[letter]]
            grown = [k for k, word in enumerate(self.words) if word and word[-1] == letter]
            before = np.array([self.words.index(self.words[k][:-1]) for k in grown])
            handed = sum(jax.vmap(head)(state.words[before]) for head in handing)
            rates = rates.at[np.array(grown)].add(handed)
        if lost is not None:
            rates = rates - lost[None, :, None] * state.words
        return Walked(within, rates)

    def tokens(self, state: Walked) -> Float[Array, "n d"]:
        return state.tokens

    def project(self, state: Walked) -> Walked:
        return Walked(self.flow.project(state.tokens), state.words)


class _Content(AbstractObservable):
    """What the words have handed on."""

    name: ClassVar[str] = "content"

    def __call__(self, flow: AbstractFlow, t: Float[Array, ""], x: Float[Array, "n d"]) -> Float[Array, "..."]:
        raise ValueError("words are those of a state, not of tokens alone")

    def observe(self, flow: AbstractFlow, t: Float[Array, ""], state: Walked) -> Float[Array, "..."]:
        return state.words


class _Frozen(eqx.Module):
    """A head whose weights are those of some tokens, at work on other content."""

    head: AbstractHead
    value: AbstractValue

    def __call__(self, content: Float[Array, "n d"]) -> Float[Array, "n d"]:
        """What it makes of content; linear."""
        assert isinstance(self.value, AbstractOffered), "looked at before the flow was followed"
        return self.value.handed(self.head, content, content)


def paths(flow: AbstractFlow, x0: Float[Array, "n d"], plan: Plan, *, order: int = 4, by_head: bool = False) -> Paths:
    r"""The attention paths of a trajectory, exact along it.

    .. math:: \dot Z_{wh} = A_h(X(t))\, Z_w V_h^\top, \qquad X(t) = \sum_w Z_w(t)

    On the sphere every word is also shortened at the rate at which the projection takes from its token.

    Parameters
    ----------
    flow : of tokens, whose law is attention, or a sum of heads, with values linear in the key.
    x0 : the start.
    plan : how far and how exactly; its frames are where the words are known.
    order : the length of the longest words.
    by_head : whether to tell the heads of a word apart; their number then grows like heads to the power of the order.

    Raises
    ------
    ValueError
        If a value is not linear, the law holds something else than heads, or there would be more than 4096 words.
    Failed
        If the integration failed.

    Cost
    ----
    A step costs one product with the weights for each word; memory O(words n d).

    Source
    ------
    tiberi2024dissecting.
    """
    check_tokens_alone(flow, x0, "paths are followed")
    if order < 0:
        raise ValueError(f"`order` must be at least 0; got {order}")
    heads = _heads(flow.law.at(jnp.zeros((), x0.dtype)))
    for head in heads:
        _linear(head, x0.shape[1])
    letters = len(heads) if by_head else 1
    count = sum(letters**k for k in range(order + 1))
    if count > MANY:
        raise ValueError(
            f"{letters} heads have {count} words of up to {order} letters, more than {MANY}: lower `order`"
        )
    words = tuple(word for k in range(order + 1) for word in itertools.product(range(letters), repeat=k))
    walk = _Walk(flow, words, not by_head)  # pyright: ignore[reportCallIssue]
    run = solve(walk, x0, dataclasses.replace(plan, watch=(_Content(),), stop=(), tokens=True)).complete()
    assert run.tokens is not None, "the plan keeps them"
    return Paths(words, run.times, run.observed["content"], run.tokens)


def strength(flow: AbstractFlow, d: int) -> float:
    """The largest factor by which handing content on, by all heads, can make it larger; for weights of sum at most 1.

    The sum over heads of the operator norms of the value matrices, twice that of `Difference`.
    """
    unit = jnp.eye(d)
    total = 0.0
    for head in _heads(flow.law.at(jnp.zeros(()))):
        value = _linear(head, d)
        total += float(jnp.linalg.norm(value.output(value.offered(unit)), 2)) * (2 if value.relative else 1)
    return total


def remainder_bound(flow: AbstractFlow, d: int, depth: float, size: float, order: int) -> float:
    r"""How far the words of up to a length can be from the trajectory, where no row of weights sums to more than 1.

    .. math:: \max_{t,i} |x_i(t)| \frac{c^{K+1}}{(K+1)!}, \qquad c = T \sum_h \|V_h\|

    On a sphere it is larger by the factor e^c, because the projection can also lengthen a word.

    Parameters
    ----------
    flow, d : of tokens in that dimension.
    depth : T.
    size : the largest norm of a token on the way.
    order : K.

    Source
    ------
    Derived by hand: the remainder is a K+1-fold integral of tokens handed on K+1 times.
    """
    c = depth * strength(flow, d)
    lengthened = math.exp(c) if flow.space.constrained else 1.0
    return float(size * lengthened * c ** (order + 1) / math.factorial(order + 1))


def _heads(law: AbstractLaw) -> tuple[Attention, ...]:
    """The attentions that a law is the sum of."""
    terms = law.laws if isinstance(law, Sum) else (law,)
    others = [type(term).__name__ for term in terms if not isinstance(term, Attention)]
    if others:
        raise ValueError(f"paths lead through Attention and sums of it; got {others[0]}")
    return tuple(term for term in terms if isinstance(term, Attention))


def _linear(head: Attention, d: int) -> AbstractOffered:
    """The value of a head.

    Raises
    ------
    ValueError
        If it is not linear in what keys hold.
    """
    value = head.value
    if not isinstance(value, AbstractOffered):
        raise ValueError(f"paths need a value that keys offer; {type(value).__name__} is a gradient of the score")
    y, z = (jnp.asarray(np.random.default_rng(k).normal(size=(8, d))) for k in (0, 1))
    twice = value.offered(y + 2 * z)
    if jnp.max(jnp.abs(twice - value.offered(y) - 2 * value.offered(z))) > LINEAR * (1 + jnp.max(jnp.abs(twice))):
        raise ValueError(f"paths need a value that is linear in the key; {type(value).__name__} is not")
    return value
