r"""Attention as maximum entropy: the weights of a row are the best there are, and others fall short by a divergence.

A row's weights make its mean score, less a penalty on how far they are from the measure, as large as it can be; that
maximum is the row's free energy F_i. For any other weights eta

    sum_j eta_j s_ij - sum_j rho_ij phi(eta_j / rho_ij)  =  F_i - divergence(eta | w_i) - boundary(eta)

holds as an equality: the divergence is the Bregman divergence of the penalty, KL where that is the entropy, and the
boundary term is what is lost on tokens whose best weight is exactly zero, which `Entmax` and `Hardmax` have. Both are
positive, so each of them alone is a bound. `Sinkhorn` makes one sum over all rows as large as it can be and has one
such equality for all of them.
"""

import dataclasses
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, PRNGKeyArray

from ..laws import Attention
from ..laws.normalizer.principle import AbstractPrinciple
from ..summation import AbstractSummation, Dense


@dataclasses.dataclass(frozen=True)
class Gibbs:
    """Both sides of the Gibbs identity for some weights: one number for each row, or r = 1 where rows are coupled.

    Attributes
    ----------
    left : what the weights reach.
    free_energy : F, the most that can be reached.
    divergence : of the weights from the best ones, never negative.
    boundary : what is lost beside it where the best weights are zero, never negative.
    """

    left: Float[np.ndarray, "*k r"]
    free_energy: Float[np.ndarray, " r"]
    divergence: Float[np.ndarray, "*k r"]
    boundary: Float[np.ndarray, "*k r"]

    @property
    def right(self) -> Float[np.ndarray, "*k r"]:
        """What the identity says that they reach."""
        return self.free_energy - self.divergence - self.boundary

    @property
    def gap(self) -> Float[np.ndarray, "*k r"]:
        """By how much they fall short, never negative."""
        return _difference(np.broadcast_to(self.free_energy, self.left.shape), self.left)

    @property
    def error(self) -> Float[np.ndarray, "*k r"]:
        """The two sides' difference, relative to the largest of the terms and of 1."""
        terms = (self.left, np.broadcast_to(self.free_energy, self.left.shape), self.divergence, self.boundary)
        sizes = [np.where(np.isfinite(term), np.abs(term), 0) for term in terms]
        return _difference(self.left, self.right) / np.maximum(np.max(sizes, axis=0), 1)


def gibbs(law: Attention, x: Float[Array, "n d"], eta: Any, summation: AbstractSummation | None = None) -> Gibbs:
    """The Gibbs identity of an attention, put to other weights.

    Parameters
    ----------
    law : any normalizer that maximizes something: all but `Linear` without division, `Sinkhorn` after a fixed number of
        half steps, and `Hardmax` with a tolerance.
    x : tokens.
    eta : weights in place of the law's, `[n n]` or any number of such matrices: not negative, 0 where the measure is,
        and of the sums that the normalizer demands. `competitors` draws some.
    summation : how all pairs are visited in solving for the law's weights; at once by default.

    Raises
    ------
    ValueError
        If the law's weights maximize nothing known, or some of `eta` are not among those that compete.

    Cost
    ----
    What the normalizer solves for, and O(n^2) time and memory for each of the weights.

    Source
    ------
    vuckovic2020mathematical; for penalties other than the entropy, blondel2020learning.
    """
    given = np.asarray(eta, float)
    n = x.shape[0]
    if given.ndim < 2 or given.shape[-2:] != (n, n):
        raise ValueError(f"`eta` holds weights [{n} {n}] of {n} tokens for one another; got shape {given.shape}")
    principle = _principle(law, x, summation or Dense())
    each = given.reshape(-1, n, n)
    for weights in each:
        fault = principle.fault(weights)
        if fault is not None:
            raise ValueError(
                f"`eta` is not among the weights that {type(law.normalizer).__name__} chooses from: {fault}"
            )
    terms = (np.asarray(term).reshape(*given.shape[:-2], -1) for term in _terms(principle, jnp.asarray(each, x.dtype)))
    left, divergence, boundary = terms
    return Gibbs(left, np.asarray(principle.best), divergence, boundary)


def competitors(
    law: Attention,
    x: Float[Array, "n d"],
    key: PRNGKeyArray,
    count: int,
    scale: float = 1.0,
    summation: AbstractSummation | None = None,
) -> Float[np.ndarray, "k n n"]:
    """Random weights that the law could have had: its own for scores with Gaussian numbers added.

    Parameters
    ----------
    scale : the standard deviation of what is added to every score.

    Returns
    -------
    Weights, which obey whatever the normalizer demands, sums of rows and of columns and bounds.
    """
    drawn = jax.random.normal(key, (count, x.shape[0], x.shape[0]), x.dtype) * scale
    return np.asarray(_shifted(law, x, drawn, summation or Dense()))


@eqx.filter_jit
def _principle(law: Attention, x: Float[Array, "n d"], summation: AbstractSummation) -> AbstractPrinciple:
    return law.normalizer.principle(law.head(x, summation).meeting)


@eqx.filter_jit
def _terms(
    principle: AbstractPrinciple, eta: Float[Array, "k n n"]
) -> tuple[Float[Array, "k r"], Float[Array, "k r"], Float[Array, "k r"]]:
    return jax.lax.map(lambda one: (principle.objective(one), principle.divergence(one), principle.boundary(one)), eta)


@eqx.filter_jit
def _shifted(
    law: Attention, x: Float[Array, "n d"], shifts: Float[Array, "k n n"], summation: AbstractSummation
) -> Float[Array, "k n n"]:
    def weights(shift: Float[Array, "n n"]) -> Float[Array, "n n"]:
        meeting = law.head(x, summation, shift=shift).meeting
        return jnp.exp(meeting.log_weights(law.normalizer.of_pairs(meeting)))

    return jax.lax.map(weights, shifts)


def _difference(one: np.ndarray, other: np.ndarray) -> np.ndarray:
    """one - other, 0 where both are the same infinity."""
    same = one == other
    return np.where(same, 0, np.where(same, 0, one) - np.where(same, 0, other))
