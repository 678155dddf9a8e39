"""The flow of second order: a law is a force."""

from typing import Any, ClassVar

import equinox as eqx
import jax.numpy as jnp
from jaxtyping import Array, Float, PRNGKeyArray

from ..declaration import Declared, option, parameter
from ..laws import AbstractLaw
from ..spaces import AbstractSpace
from ..summation import AbstractSummation, Auto
from .base import AbstractInertialFlow, Reading


class Moving(eqx.Module):
    """Tokens on their way.

    Attributes
    ----------
    position : the tokens.
    velocity : of the coordinates that have inertia, the leading ones.
    """

    position: Float[Array, "n d"]
    velocity: Float[Array, "n k"]


class SecondOrder(AbstractInertialFlow):
    r"""Tokens with inertia, driven by a law and slowed by friction. They start at rest.

    .. math:: \ddot x_i = P_{x_i} u_i(x_1, \dots, x_n) - \lambda \dot x_i

    On a curved space the acceleration of a free particle is added: on the sphere :math:`-|v|^2 x / |x|^2`, which keeps
    :math:`\langle x, v\rangle = 0`. Where the law is `Mean` attention whose score and value are one symmetric form,
    the sum of `kinetic_energy` and -`energy` is constant without friction. Under strong friction the tokens follow the
    flow of first order on a slow clock, :math:`t = \lambda s`, to an error of order :math:`\lambda^{-2}`.

    Parameters
    ----------
    space : where the tokens live: one without a boundary.
    law : the force on them.
    friction : what part of its velocity a token loses per unit of depth.
    inertial : how many leading coordinates have inertia; the others, fields that a token carries, follow the law at
        first order. All of them if left out.
    summation : how all pairs are visited; chosen by size if left out.

    Raises
    ------
    ValueError
        If the space has a boundary, or ties coordinates that have inertia to others that have none.

    Units
    -----
    Velocities are positions per unit of depth, the mass is 1, so the law is a force.

    Cost
    ----
    One evaluation of the law. The state is twice as large as the tokens.

    Source
    ------
    tiezzi2020focus.
    """

    space: AbstractSpace
    law: AbstractLaw
    friction: Float[Array, ""] = parameter(0.0, ge=0)
    inertial: int | None = option(None, ge=1)
    summation: AbstractSummation = eqx.field(default_factory=Auto)
    sources: ClassVar[tuple[str, ...]] = ("tiezzi2020focus",)

    def __check_init__(self):
        Declared.__check_init__(self)  # what follows asks the nouns themselves
        if not self.space.smooth:
            raise ValueError(
                "SecondOrder needs a space without a boundary: Euclidean, Sphere or a Product of them; "
                f"got {type(self.space).__name__}"
            )
        if self.inertial is not None and self.space.constrained and self.inertial not in self.space.edges:
            raise ValueError(
                f"inertial={self.inertial} cuts through the coordinates of {type(self.space).__name__}: they must be "
                "leading factors of a Product, or the space Euclidean"
            )

    @property
    def readings(self) -> tuple[Reading, ...]:
        return (Reading.ordinary,)

    def begin(self, x0: Float[Array, "n d"], key: PRNGKeyArray | None) -> Moving:
        return Moving(self.space.project(x0), jnp.zeros_like(x0[:, : self.inertial]))

    def __call__(self, t: Float[Array, ""], state: Moving, args: Any = None) -> Moving:
        x, v = state.position, state.velocity
        k = v.shape[1]
        u = self.space.tangent(x, self.velocity(t, x))
        moved = jnp.concatenate([v, u[:, k:]], axis=1)
        free = self.space.acceleration(x, moved)
        return Moving(moved, u[:, :k] - self.friction.astype(x.dtype) * v + free[:, :k])

    def on_masses(self, p: Float[Array, " m"]) -> "SecondOrder":
        raise ValueError(
            "tokens with inertia that meet at different velocities part again, so they do not move as one with their "
            "masses added; those of a Flow do"
        )

    def tokens(self, state: Moving) -> Float[Array, "n d"]:
        return state.position

    def momentum(self, state: Moving) -> Float[Array, "n k"]:
        return state.velocity

    def project(self, state: Moving) -> Moving:
        x, k = self.space.project(state.position), state.velocity.shape[1]
        v = jnp.pad(state.velocity, ((0, 0), (0, x.shape[1] - k)))
        return Moving(x, self.space.tangent(x, v)[:, :k])

    def check_dim(self, d: int) -> None:
        self.space.check_dim(d)
        if self.inertial is not None and self.inertial > d:
            raise ValueError(f"inertial={self.inertial} coordinates have inertia, but tokens have dimension {d}")
