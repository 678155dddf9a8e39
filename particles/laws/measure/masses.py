"""How much each column weighs: given, or by how crowded its place is."""

from typing import ClassVar

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Int, PyTree

from ...declaration import concrete, parameter
from ...summation import AbstractPair, AbstractSummation
from .base import AbstractCrowd, AbstractMass, Terms, log


class Masses(AbstractMass):
    r"""A given mass for each token: a heavy token stands for many that coincide.

    .. math:: \pi_{ij} = p_j

    Parameters
    ----------
    p : the masses, not negative, with sum 1. A token of mass 0 moves but is seen by nobody.

    Raises
    ------
    ValueError
        If a mass is negative, or they do not sum to 1 within 1e-5, or their number is not that of the tokens.

    Source
    ------
    vuckovic2020mathematical.
    """

    traits: ClassVar[frozenset[str]] = frozenset({"masses"})
    p: Float[Array, " m"] = parameter(ge=0)
    sources: ClassVar[tuple[str, ...]] = ("vuckovic2020mathematical",)

    def __check_init__(self):
        p = concrete(self.p)
        if p is not None and abs(p.sum() - 1) > 1e-5:
            raise ValueError(f"`p` of Masses must sum to 1; got {p.sum():.6g}. Divide by the sum.")

    def mass_level(self, m: int) -> float:
        return 0.0

    def mass_terms(self, j: Int[Array, " c"]) -> Terms:
        return (log(self.p[j])[None, :],)

    def bound(self) -> Float[Array, ""] | float:
        return -jnp.log(jnp.min(jnp.where(self.p > 0, self.p, 1)))

    def check_pairs(self, n: int, m: int) -> None:
        if self.p.shape != (m,):
            raise ValueError(f"Masses needs one mass for each token; got {self.p.shape[0]} masses and {m} tokens")


class DensityPower(AbstractCrowd):
    r"""Columns weighed by how crowded their place is: the normalization of diffusion maps.

    .. math:: \pi_{ij} \propto q_j^{-a}, \qquad q_j = \sum_k \pi_k e^{s(y_j, y_k)}

    With a = 0 nothing, with a = 1 the density of tokens no longer matters. One sweep of Sinkhorn with column power a.

    Parameters
    ----------
    exponent : a.

    Raises
    ------
    ValueError
        If the score is not symmetric.

    Cost
    ----
    One gather of masses more.

    Source
    ------
    coifman2006diffusion.
    """

    traits: ClassVar[frozenset[str]] = frozenset({"graded", "density"})
    exponent: Float[Array, ""] = parameter(1.0)
    sources: ClassVar[tuple[str, ...]] = ("coifman2006diffusion",)

    def log_weights(
        self, pair: AbstractPair, columns: PyTree[Array], summation: AbstractSummation
    ) -> Float[Array, " m"]:
        nothing = jnp.zeros((jax.tree.leaves(columns)[0].shape[0], 0), self.exponent.dtype)
        return -self.exponent * summation.gather(pair, columns, columns, nothing).log_mass

    def bound(self) -> Float[Array, ""] | float:
        return 0.0
