"""Who caused whom: how far each token's end depends on each token's start, and what attention weights say of it."""

import dataclasses
from typing import Any, ClassVar

import equinox as eqx
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, PRNGKeyArray

from ..dynamics import AbstractFlow, at_precision
from ..integration import Plan, solve
from ..observables import AbstractObservable
from .carrier import AbstractCarrier, check_tokens_alone
from .variational import Carried, Variational, tangents


class Influence(eqx.Module):
    """How the tokens at each frame depend on those at depth 0.

    Attributes
    ----------
    times : depths of the frames.
    blocks : the largest stretch |d x_i(t) / d x_j(0)|, of displacements within the space.
    weights : attention weights at each frame, the mean over heads, each row summing to 1.
    rollout : what the weights alone would hand on: the solution R of dR/dt = (w(t) - 1) R from the identity.
    """

    times: Float[Array, " time"]
    blocks: Float[Array, "time n n"]
    weights: Float[Array, "time n n"]
    rollout: Float[Array, "time n n"]

    @property
    def shares(self) -> Float[Array, "time n n"]:
        """The part of each token's dependence that is on each start; rows sum to 1."""
        return self.blocks / jnp.sum(self.blocks, axis=2, keepdims=True)


class _Handing(eqx.Module):
    """Tokens with the derivative that they carry along, and what the weights alone hand on."""

    carried: Carried
    rollout: Float[Array, "n n"]


class _Handed(AbstractCarrier):
    """A flow that carries derivative and rollout along."""

    flow: AbstractFlow

    def begin(self, x0: Float[Array, "n d"], key: PRNGKeyArray | None) -> _Handing:
        return _Handing(self.flow.begin(x0, None), jnp.eye(x0.shape[0], dtype=x0.dtype))

    def __call__(self, t: Float[Array, ""], state: _Handing, args: Any = None) -> _Handing:
        x = self.tokens(state)
        rate = (self.weights(t, x) - jnp.eye(x.shape[0], dtype=x.dtype)) @ state.rollout
        return _Handing(self.flow(t, state.carried), rate)

    def tokens(self, state: _Handing) -> Float[Array, "n d"]:
        return self.flow.tokens(state.carried)

    def project(self, state: _Handing) -> _Handing:
        return _Handing(self.flow.project(state.carried), state.rollout)

    def weights(self, t: Float[Array, ""], x: Float[Array, "n d"]) -> Float[Array, "n n"]:
        """Attention weights, the mean over heads, with rows that sum to 1."""
        law = at_precision(self.law, x.dtype).at(t)
        weights = jnp.mean(law.head_weights(t, x, self.summation), axis=0)
        return weights / jnp.sum(weights, axis=1, keepdims=True)


class _Seen(AbstractObservable):
    """The block norms of the derivative, the attention weights, and the rollout."""

    name: ClassVar[str] = "seen"

    def __call__(self, flow: AbstractFlow, t: Float[Array, ""], x: Float[Array, "n d"]) -> Float[Array, "..."]:
        raise ValueError("influence is that of a state, not of tokens alone")

    def observe(self, flow: AbstractFlow, t: Float[Array, ""], state: _Handing) -> Float[Array, "..."]:
        assert isinstance(flow, _Handed)
        n, d = flow.tokens(state).shape
        derivative = state.carried.frame.reshape(n, d, n, d).transpose(2, 0, 3, 1)  # token, start, their coordinates
        largest = jnp.linalg.eigvalsh(jnp.einsum("ijab,ijac->ijbc", derivative, derivative))[:, :, -1]
        stretch = jnp.sqrt(jnp.maximum(largest, 0))
        return jnp.stack([stretch, flow.weights(t, flow.tokens(state)), state.rollout])


def influence(flow: AbstractFlow, x0: Float[Array, "n d"], plan: Plan) -> Influence:
    """The influence of every start on every token, through depth.

    Parameters
    ----------
    flow : whose state is its tokens, without noise, with attention in its law.
    x0 : the start.
    plan : how far and how exactly; its frames are where influence is looked at.

    Raises
    ------
    ValueError
        If the flow is random, has more in its state than tokens, or no attention.
    Failed
        If the integration failed.

    Cost
    ----
    A step costs n d products of the derivative; memory O(n^2 d^2).

    Source
    ------
    meister2021is.
    """
    check_tokens_alone(flow, x0, "influence is that of tokens on tokens,")
    if not flow.law.heads:
        raise ValueError(f"{type(flow.law).__name__} has no attention weights with which influence could be compared")
    frame = tangents(flow, flow.begin(x0, None))
    carried = Variational(flow, frame, orthonormal=False)  # pyright: ignore[reportCallIssue]
    watching = dataclasses.replace(plan, watch=(_Seen(),), stop=(), tokens=False)
    run = solve(_Handed(carried), x0, watching).complete()  # pyright: ignore[reportCallIssue]
    return Influence(run.times, *jnp.moveaxis(run.observed["seen"], 1, 0))


def total_variation(p: Float[Array, "*any n n"], q: Float[Array, "*any n n"]) -> Float[Array, "*any"]:
    """Half the sum of differences between rows that sum to 1, the mean over rows: 0 for the same, at most 1."""
    return jnp.mean(0.5 * jnp.sum(jnp.abs(p - q), axis=-1), axis=-1)


def rank_correlation(p: Float[Array | np.ndarray, "n n"], q: Float[Array | np.ndarray, "n n"]) -> float:
    """Kendall's tau of the entries off the diagonal, row by row, the mean over rows: 1 for the same order.

    NaN where every row of one is constant, so that there is no order.

    Source
    ------
    kendall1938new.
    """
    off = ~np.eye(p.shape[0], dtype=bool)
    rows = [(np.asarray(p)[k, off[k]], np.asarray(q)[k, off[k]]) for k in range(p.shape[0])]
    from scipy.stats import kendalltau  # all of scipy.stats, most of a second

    ranked = [float(kendalltau(a, b)[0]) for a, b in rows if np.ptp(a) > 0 and np.ptp(b) > 0]  # pyright: ignore
    return float(np.mean(ranked)) if ranked else float("nan")
