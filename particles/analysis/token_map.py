"""Maps of tokens to tokens that can be differentiated without a matrix: a law, a field, a layer, a whole flow.

What regularity asks of a map are products of its derivative with one displacement of all tokens, and of the transpose.
On a curved space displacements are tangent to it; `along` makes any displacement so.
"""

import abc
from collections.abc import Callable

import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, PRNGKeyArray

from ..declaration import parameter
from ..dynamics import AbstractFlow, Layers
from ..integration import Plan, solve
from ..spaces import AbstractSpace, Euclidean


class AbstractTokenMap(eqx.Module):
    """A map of n tokens to as many."""

    @property
    @abc.abstractmethod
    def space(self) -> AbstractSpace:
        """Where the tokens that it takes live."""

    @abc.abstractmethod
    def __call__(self, x: Float[Array, "n d"]) -> Float[Array, "n d"]:
        """The image of all tokens."""

    def along(self, x: Float[Array, "n d"], v: Float[Array, "n d"]) -> Float[Array, "n d"]:
        """The part of a displacement that keeps tokens on the space; a linear and symmetric map of v."""
        return self.space.tangent(x, v) if self.space.smooth else v

    def jvp(self, x: Float[Array, "n d"], v: Float[Array, "n d"]) -> Float[Array, "n d"]:
        """The derivative at x times a displacement."""
        return jax.jvp(self, (x,), (self.along(x, v),))[1]

    def vjp(self, x: Float[Array, "n d"], w: Float[Array, "n d"]) -> Float[Array, "n d"]:
        """The transpose of the derivative at x times a displacement of the image."""
        return self.along(x, jax.vjp(self, x)[1](w)[0])

    def jacobian(self, x: Float[Array, "n d"]) -> Float[Array, "n d n d"]:
        """The derivative as a matrix, image by displacement. Memory O(n^2 d^2)."""
        n, d = x.shape
        basis = jnp.eye(n * d, dtype=x.dtype).reshape(n * d, n, d)
        columns = jax.vmap(lambda v: self.jvp(x, v))(basis)
        return jnp.moveaxis(columns, 0, -1).reshape(n, d, n, d)


class LawMap(AbstractTokenMap):
    """Tokens to the velocities that the law of a flow gives them, before those are made tangent to the space."""

    flow: AbstractFlow
    t: Float[Array, ""] = parameter(0.0)

    @property
    def space(self) -> AbstractSpace:
        return self.flow.space

    def __call__(self, x: Float[Array, "n d"]) -> Float[Array, "n d"]:
        return self.flow.velocity(self.t.astype(x.dtype), x)


class FieldMap(AbstractTokenMap):
    """Tokens to their velocities within the space, for a flow whose state is its tokens."""

    flow: AbstractFlow
    t: Float[Array, ""] = parameter(0.0)

    @property
    def space(self) -> AbstractSpace:
        return self.flow.space

    def __call__(self, x: Float[Array, "n d"]) -> Float[Array, "n d"]:
        return self.flow(self.t.astype(x.dtype), x)


class LayerMap(AbstractTokenMap):
    """Tokens to tokens behind one layer of a network.

    Parameters
    ----------
    layers : the network.
    step : h of the layer.
    t : the depth of the layer.
    """

    layers: Layers
    step: Float[Array, ""] = parameter(1.0, gt=0)
    t: Float[Array, ""] = parameter(0.0)

    @property
    def space(self) -> AbstractSpace:
        return self.layers.space

    def __call__(self, x: Float[Array, "n d"]) -> Float[Array, "n d"]:
        return self.layers.layer(self.t.astype(x.dtype), self.step.astype(x.dtype), x)


class FlowMap(AbstractTokenMap):
    """Tokens at depth 0 to tokens at the end of a plan.

    Its derivative is that of the steps which the solver takes, at the solver's error.

    Parameters
    ----------
    flow, plan : what moves the tokens, and how far.
    key : what noise comes from, where there is noise: the same for every start.
    """

    flow: AbstractFlow
    plan: Plan
    key: PRNGKeyArray | None = None

    @property
    def space(self) -> AbstractSpace:
        return self.flow.space

    def __call__(self, x: Float[Array, "n d"]) -> Float[Array, "n d"]:
        return solve(self.flow, x, self.plan, key=self.key).final

    def jvp(self, x: Float[Array, "n d"], v: Float[Array, "n d"]) -> Float[Array, "n d"]:
        through = lambda x: solve(self.flow, x, self.plan, key=self.key, adjoint="forward").final  # noqa: E731
        return jax.jvp(through, (x,), (self.along(x, v),))[1]


class PlainMap(AbstractTokenMap):
    """Any differentiable function of tokens in Euclidean space."""

    function: Callable[[Float[Array, "n d"]], Float[Array, "n d"]]

    @property
    def space(self) -> AbstractSpace:
        return Euclidean()

    def __call__(self, x: Float[Array, "n d"]) -> Float[Array, "n d"]:
        return self.function(x)


class LinearMap(AbstractTokenMap):
    """A derivative that has been worked out as a matrix, as a map of displacements.

    For small clouds and maps that are dear: `LinearMap(moved.jacobian(x))` has the local constants of `moved` at x.
    """

    matrix: Float[Array, "n d n d"]

    @property
    def space(self) -> AbstractSpace:
        return Euclidean()

    def __call__(self, x: Float[Array, "n d"]) -> Float[Array, "n d"]:
        return jnp.einsum("idje,je->id", self.matrix, x)
