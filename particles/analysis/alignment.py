"""Queries and keys as two clouds, and how far they are from being one.

A head scores tokens by Q x_i and K x_j. Where Q = K the two clouds are one, and scores are symmetric. How different
they are is a divergence of the clouds, which changes with depth, or the asymmetry of the form B = Q^T K, which does
not. Both are the same for R Q and R K with R orthogonal, as attention is.
"""

import dataclasses
from typing import Any, ClassVar

import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from ..declaration import Declared
from ..dynamics import AbstractFlow
from ..laws.head import AbstractHead
from ..laws.score import AbstractScore
from ..observables.attention import AbstractAttentionObservable
from .divergence import AbstractDivergence, Cloud, Found, SinkhornDivergence


class Alignment(AbstractAttentionObservable):
    r"""How different queries and keys are as clouds, Q x_i and K x_j: a divergence of the two, averaged over heads.

    .. math:: D\Big(\sum_i a_i \delta_{Q x_i}, \; \sum_j a_j \delta_{K x_j}\Big)

    Zero at every depth where Q = K, for every divergence that is one. Small values say that the clouds agree, not that
    each token asks for itself. NaN where the divergence did not converge.

    Parameters
    ----------
    divergence : D.

    Raises
    ------
    ValueError
        For a score without the matrices `query` and `key`.

    Cost
    ----
    That of the divergence, for each head.

    Source
    ------
    zhang2021alignment.
    """

    divergence: AbstractDivergence = eqx.field(default_factory=SinkhornDivergence)
    name: ClassVar[str] = "alignment"
    symbol: ClassVar[str] = "$D(Q x, K x)$"
    positive: ClassVar[bool] = True
    sources: ClassVar[tuple[str, ...]] = ("zhang2021alignment",)

    def of_head(self, head: AbstractHead) -> Float[Array, ""]:
        found = self.found(head)
        return jnp.where(found.converged, found.value, jnp.nan)

    def found(self, head: AbstractHead) -> Found:
        """The divergence of one head's queries and keys, with whether it converged."""
        return self.divergence.between(*clouds(head), head.summation)

    def check_flow(self, flow: AbstractFlow) -> None:
        super().check_flow(flow)
        for score in _scores(flow):
            maps(score)


class Asymmetry(AbstractAttentionObservable):
    r"""How far the form of the score is from a symmetric one, averaged over heads.

    .. math:: |B - B^T|_F / |B|_F, \qquad B = Q^T K

    Between 0, symmetric, and 2, antisymmetric. Depends on depth where a matrix is scheduled, and not otherwise.

    Raises
    ------
    ValueError
        For a score without the matrices `query` and `key`, or their product `form`.

    Source
    ------
    zhang2021alignment.
    """

    name: ClassVar[str] = "asymmetry"
    symbol: ClassVar[str] = r"$|B - B^T| / |B|$"
    sources: ClassVar[tuple[str, ...]] = ("zhang2021alignment",)

    def of_head(self, head: AbstractHead) -> Float[Array, ""]:
        form = bilinear(head.score).astype(head.rows.position.dtype)
        size = jnp.linalg.norm(form)
        return jnp.linalg.norm(form - form.T) / jnp.where(size > 0, size, 1)

    def check_flow(self, flow: AbstractFlow) -> None:
        super().check_flow(flow)
        for score in _scores(flow):
            bilinear(score)


def maps(score: Declared) -> tuple[Float[Array, "k d"], Float[Array, "k d"]]:
    """The matrices Q and K of a score.

    Raises
    ------
    ValueError
        If it has no two such matrices.
    """
    query, key = _given(score, "query"), _given(score, "key")
    if query is None or key is None:
        raise ValueError(
            f"{type(score).__name__} gives queries and keys no matrices of their own; alignment needs both, as in "
            "DotProduct(query=..., key=...)"
        )
    return query, key


def bilinear(score: Declared) -> Float[Array, "d d"]:
    """B, the form of a score: given as such, or as Q^T K.

    Raises
    ------
    ValueError
        If it has none.
    """
    form = _given(score, "form")
    if form is not None:
        return form
    query, key = maps(score)
    return query.T @ key


def clouds(head: AbstractHead) -> tuple[Cloud, Cloud]:
    """Queries and keys of a head at work, each token with its mass.

    Raises
    ------
    ValueError
        If its score has no two matrices.
    """
    query, key = maps(head.score)
    x, y = head.rows.position, head.columns.position
    mass = head.row_mass()
    return Cloud.of(x @ query.astype(x.dtype).T, mass), Cloud.of(y @ key.astype(y.dtype).T, mass)


def _given(score: Declared, name: str) -> Any:
    """A parameter of a score, None where there is no such."""
    return getattr(score, name) if name in {field.name for field in dataclasses.fields(score)} else None


def _scores(flow: AbstractFlow) -> list[AbstractScore]:
    """The scores of a flow's law at depth 0."""
    of_score = lambda node: isinstance(node, AbstractScore)  # noqa: E731
    nodes = jax.tree.leaves(flow.law.at(jnp.zeros(())), is_leaf=of_score)
    return [node for node in nodes if of_score(node)]
