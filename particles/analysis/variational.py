"""A flow that carries displacements along: the variational equation, as a flow like any other."""

from typing import Any, ClassVar

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, PRNGKeyArray, PyTree

from ..declaration import option, parameter
from ..dynamics import AbstractFlow, Reading
from .carrier import AbstractCarrier

FOLLOWED = (Reading.ordinary, Reading.layers)


class Carried(eqx.Module):
    """A state, displacements of it, and what became of them.

    Attributes
    ----------
    state : of the flow.
    frame : displacements, as rows of all coordinates of the state.
    growth : for each, the log of the factor by which it was stretched before it was made a unit vector again.
    expansion : the integral of the divergence of the field.
    """

    state: PyTree
    frame: Float[Array, "k c"]
    growth: Float[Array, " k"]
    expansion: Float[Array, ""]


class Variational(AbstractCarrier):
    r"""A flow, or a network, together with displacements that it carries along.

    .. math:: \dot v = Df(x)\, v

    With `orthonormal`, the displacements are made orthonormal after every step by a QR decomposition, and the logs of
    the diagonal of R are added up: Benettin's method. They stay tangent to the space.

    Parameters
    ----------
    flow : what carries; without noise.
    frame : the displacements at depth 0, as rows of all coordinates of the state.
    orthonormal : whether to keep them orthonormal and note their growth, or to let them grow.
    expands : whether to integrate the divergence of the field as well, which costs a product for every coordinate.

    Raises
    ------
    ValueError
        If the flow is random, or solved in some other sense.

    Source
    ------
    benettin1980lyapunov.
    """

    flow: AbstractFlow
    frame: Float[Array, "k c"] = parameter()
    orthonormal: bool = option(True)
    expands: bool = option(False)
    sources: ClassVar[tuple[str, ...]] = ("benettin1980lyapunov",)

    @property
    def readings(self) -> tuple[Reading, ...]:
        return tuple(reading for reading in self.flow.readings if reading in FOLLOWED)

    @property
    def settles(self) -> bool:
        return self.orthonormal or self.flow.settles

    def begin(self, x0: Float[Array, "n d"], key: PRNGKeyArray | None) -> Carried:
        state = self.flow.begin(x0, None)
        frame = self.frame.astype(x0.dtype)
        return Carried(state, frame, jnp.zeros(frame.shape[0], x0.dtype), jnp.zeros((), x0.dtype))

    def __call__(self, t: Float[Array, ""], state: Carried, args: Any = None) -> Carried:
        rate, moved = self._carried(lambda state: self.flow(t, state), state)
        expansion = jnp.zeros_like(state.expansion)
        if self.expands:
            expansion = divergence(self.flow, t, state.state)
        return Carried(rate, moved, jnp.zeros_like(state.growth), expansion)

    def layer(self, t: Float[Array, ""], h: Float[Array, ""], state: Carried) -> Carried:
        behind, moved = self._carried(lambda state: self.flow.layer(t, h, state), state)
        return Carried(behind, moved, state.growth, state.expansion)

    def tokens(self, state: Carried) -> Float[Array, "n d"]:
        return self.flow.tokens(state.state)

    def project(self, state: Carried) -> Carried:
        on_space, moved = self._carried(self.flow.project, state)
        return Carried(on_space, moved, state.growth, state.expansion)

    def stepped(self, state: Carried, step: Float[Array, ""], key: PRNGKeyArray | None) -> Carried:
        state = self.project(state) if self.flow.settles else state
        if not self.orthonormal:
            return state
        frame, stretched = jnp.linalg.qr(state.frame.T)
        growth = state.growth + jnp.log(jnp.abs(jnp.diagonal(stretched)))
        return Carried(state.state, frame.T, growth, state.expansion)

    def grown(self, state: Carried) -> Float[Array, " k"]:
        """The logs of the factors by which the displacements were stretched, also within a step."""
        return state.growth + jnp.log(jnp.abs(jnp.diagonal(jnp.linalg.qr(state.frame.T)[1])))

    def _carried(self, move: Any, state: Carried) -> tuple[PyTree, Float[Array, "k c"]]:
        """What a map makes of the state, and its derivative of the displacements."""
        image = move(state.state)
        moved = jax.vmap(lambda v: raveled(jax.jvp(move, (state.state,), (unraveled(v, state.state),))[1]))
        return image, moved(state.frame)


def raveled(state: PyTree) -> Float[Array, " c"]:
    """All coordinates of a state, one after another."""
    return jnp.concatenate([leaf.reshape(-1) for leaf in jax.tree.leaves(state)])


def unraveled(coordinates: Float[Array, " c"], like: PyTree) -> PyTree:
    """A state from all its coordinates."""
    leaves, tree = jax.tree.flatten(like)
    edges = np.cumsum([leaf.size for leaf in leaves])[:-1]
    parts = jnp.split(coordinates, edges)
    return jax.tree.unflatten(tree, [part.reshape(leaf.shape) for part, leaf in zip(parts, leaves, strict=True)])


def divergence(flow: AbstractFlow, t: Float[Array, ""], state: PyTree) -> Float[Array, ""]:
    """The divergence of a field within the space: the trace of its derivative on tangent displacements."""
    tangent = tangents(flow, state)
    along = jax.vmap(lambda v: raveled(jax.jvp(lambda s: flow(t, s), (state,), (unraveled(v, state),))[1]))
    return jnp.sum(tangent * along(tangent))


def tangents(flow: AbstractFlow, state: PyTree) -> Float[Array, "c c"]:
    """The orthogonal projection of displacements of a state onto those that keep it on its space, as a matrix.

    The derivative of the projection itself, which is orthogonal on a manifold.
    """
    size = raveled(state).shape[0]
    pushed = lambda v: raveled(jax.jvp(flow.project, (state,), (unraveled(v, state),))[1])  # noqa: E731
    return jax.vmap(pushed)(jnp.eye(size, dtype=flow.tokens(state).dtype))


def tangent_basis(flow: AbstractFlow, state: PyTree) -> Float[Array, "k c"]:
    """An orthonormal basis of the displacements of a state that keep it on its space, as rows.

    In no special direction, and the same on every machine: drawn displacements with a fixed seed, projected.

    Raises
    ------
    ValueError
        If the space has a boundary, where displacements are not a linear space.
    """
    if flow.space.constrained and not flow.space.smooth:
        raise ValueError(f"displacements on a {type(flow.space).__name__} are bounded on one side at its boundary")
    onto = np.asarray(tangents(flow, state))
    drawn = np.random.default_rng(0).normal(size=(len(onto), round(np.trace(onto))))
    return jnp.asarray(np.linalg.qr(onto @ drawn)[0].T)
