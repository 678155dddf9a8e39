"""The number of tokens to infinity: a law acting on a density, as a flow of the density's coefficients.

What a law does to tokens with masses it does to quadrature nodes, so every law that acts on measures has its mean-field
equation here; nothing is derived for one kernel or another. The equation is taken in its weak form, in which the mass
does not change at all.
"""

from typing import Any, ClassVar

import equinox as eqx
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Float

from ..declaration import Declared, all_known, parameter
from ..dynamics.base import at_precision
from ..laws import AbstractLaw, Sum
from ..laws.attention import AbstractInteraction
from ..spaces import Sphere
from ..summation import AbstractSummation, Auto
from .domain import AbstractDomain, Circle
from .measure_flow import AbstractMeasureFlow

INVARIANT = 1e-9  # how far a law may change under a rotation about the axis, relative to its size


class MeanField(AbstractMeasureFlow):
    r"""The density of infinitely many tokens on a sphere that a law moves: continuity, or with noise Fokker-Planck.

    .. math:: \partial_t \rho + \nabla\cdot(\rho\, P u[\rho]) = \tfrac{\sigma^2}{2} \Delta \rho

    Its state are the coefficients of the density in the basis of its domain, `[modes components]`; solve it as any
    other flow. The mass is kept to the bit. A density must be resolved by its modes: look at the last coefficients.

    Parameters
    ----------
    law : what tokens do to each other, a sum of attentions on measures, and of terms in which no token sees another.
    domain : the circle, or zonal densities on a sphere.
    sigma : of the Brownian motion sigma dW on the sphere; with 2 / sigma^2 = kappa.
    summation : how all pairs of nodes are visited; chosen by size if left out.

    Raises
    ------
    ValueError
        If the law depends on an order or on masses of its own, or is not the same all around the axis of the domain.

    Units
    -----
    Density relative to the uniform law; depth is a pure number.

    Cost
    ----
    One evaluation of the law at the nodes, `nodes`^2 pairs on the circle, nodes^2 * around * 2 for zonal densities.

    Source
    ------
    geshkovski2023perspective; as a map of measures, vuckovic2020mathematical; with noise, rigollet2025meanfield.
    """

    law: AbstractLaw
    domain: AbstractDomain = eqx.field(default_factory=Circle)
    sigma: Float[Array, ""] = parameter(0.0, ge=0)
    summation: AbstractSummation = eqx.field(default_factory=Auto)
    sources: ClassVar[tuple[str, ...]] = (
        "geshkovski2023perspective",
        "vuckovic2020mathematical",
        "rigollet2025meanfield",
    )

    def __check_init__(self):
        Declared.__check_init__(self)  # what follows asks the nouns themselves
        rows = self.domain.rows()
        self.law.on_masses(jnp.full(rows.shape[0], 1 / rows.shape[0])).check_tokens(*rows.shape)
        if not self.domain.together:
            self._check_zonal()

    def _check_zonal(self) -> None:
        """Refuses a law for which a density that is zonal does not stay so."""
        if self.law.iterates:
            raise ValueError("a zonal density needs a law whose weights follow row by row; Sinkhorn runs on the Circle")
        _terms(self.law.at(jnp.zeros(())))
        if not all_known(self.law):
            return
        rng = np.random.default_rng(0)
        x = np.asarray(Sphere().project(jnp.asarray(rng.normal(size=(8, 3)))))
        turn = np.array([[1, 0, 0], [0, np.cos(1.0), -np.sin(1.0)], [0, np.sin(1.0), np.cos(1.0)]])
        law = self.law.on_masses(jnp.full(8, 1 / 8))
        straight, turned = (law(jnp.zeros(()), jnp.asarray(y), self.summation) for y in (x, x @ turn.T))
        if not np.allclose(straight @ turn.T, turned, rtol=INVARIANT, atol=INVARIANT * float(np.abs(straight).max())):
            raise ValueError(
                "a density stays zonal only under a law that is the same all around the first axis; this one is not: "
                "use matrices that commute with rotations about it"
            )

    def __call__(self, t: Float[Array, ""], state: Float[Array, "k c"], args: Any = None) -> Float[Array, "k c"]:
        slopes, eigenvalues = (jnp.asarray(a, state.dtype) for a in (self.domain.slopes(), self.domain.eigenvalues()))
        moved = jnp.einsum("akc,a->kc", slopes, self._masses(state) * self.speeds(t, state))
        return moved - (self.sigma.astype(state.dtype) ** 2 / 2 * eigenvalues)[:, None] * state

    def _masses(self, state: Float[Array, "k c"]) -> Float[Array, " a"]:
        """The mass at each row of the domain."""
        return jnp.asarray(self.domain.weights(), state.dtype) * self.domain.density(state)

    def _on(self, state: Float[Array, "k c"]) -> AbstractLaw:
        """The law on the masses of the columns; a density that is hardly resolved dips below zero, and is cut there."""
        mass = jnp.maximum(self._masses(state), 0)
        return at_precision(self.law.on_masses(self.domain.spread(mass / jnp.sum(mass))), state.dtype)

    def speeds(self, t: Float[Array, ""], state: Float[Array, "k c"]) -> Float[Array, " a"]:
        """The speed of the tokens at each row of the domain, along its coordinate."""
        domain, law = self.domain, self._on(state)
        rows, columns = (jnp.asarray(points, state.dtype) for points in (domain.rows(), domain.columns()))
        if domain.together:
            velocity = law(t, rows, self.summation)
        else:
            terms = [_between(term, t, rows, columns, self.summation) for term in _terms(law.at(t))]
            velocity = sum(terms[1:], start=terms[0])
        return domain.speed(Sphere().tangent(rows, velocity))

    def unsolved(self, t: Float[Array, ""], state: Float[Array, "k c"]) -> Bool[Array, ""]:
        return self._on(state).unsolved(t, jnp.asarray(self.domain.rows(), state.dtype), self.summation)

    def check_tokens(self, x: Any) -> None:
        expected = (self.domain.modes, self.domain.components)
        if getattr(x, "shape", None) != expected or not jnp.issubdtype(x.dtype, jnp.floating):
            raise ValueError(
                f"the state of a MeanField are coefficients of shape {expected}, from domain.coefficients(density); "
                f"got shape {getattr(x, 'shape', None)}"
            )


def _between(
    law: AbstractLaw, t: Float[Array, ""], x: Float[Array, "a d"], y: Float[Array, "b d"], summation: AbstractSummation
) -> Float[Array, "a d"]:
    """The velocity of rows under tokens at the columns, by one term of a sum."""
    return law.between(t, x, y, summation) if isinstance(law, AbstractInteraction) else law(t, x, summation)


def _terms(law: AbstractLaw) -> tuple[AbstractLaw, ...]:
    """The terms of a sum, each an attention or a law of single tokens.

    Raises
    ------
    ValueError
        If the law is made of others in another way.
    """
    terms = law.laws if isinstance(law, Sum) else (law,)
    made = [term for term in terms if term.parts()]
    if made:
        raise ValueError(
            f"on a zonal density a law is an attention, or a sum of them and of terms; {type(made[0]).__name__} runs "
            "on the Circle"
        )
    return terms
