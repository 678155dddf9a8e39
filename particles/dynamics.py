"""dx/dt: a space, a law and a summation put together.

The field of a flow is the law's velocity with the part that would leave the space taken away. Depth is time: one layer
of a transformer whose weights are shared is one step along this field, and infinitely many thin layers are the flow.
"""

from typing import Any, ClassVar

import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, PyTree

from .declaration import Declared
from .laws import AbstractLaw
from .spaces import AbstractSpace
from .summation import AbstractSummation, Auto


class Flow(Declared):
    r"""Tokens moved by a law on a space: an autonomous differential equation in depth.

    .. math:: \dot x_i = P_{x_i} u_i(x_1, \dots, x_n)

    Parameters
    ----------
    space : where the tokens live.
    law : what they do to each other.
    summation : how all pairs are visited; chosen by size if left out.

    Units
    -----
    Positions per unit of depth. T units of depth with T/h layers of step h is the same network.

    Cost
    ----
    One evaluation of the law.

    Source
    ------
    geshkovski2023perspective.
    """

    space: AbstractSpace
    law: AbstractLaw
    summation: AbstractSummation = eqx.field(default_factory=Auto)
    sources: ClassVar[tuple[str, ...]] = ("geshkovski2023perspective",)

    def __call__(self, t: Float[Array, ""], x: Float[Array, "n d"], args: Any = None) -> Float[Array, "n d"]:
        """The field at depth t; `args` is there for diffrax and not used."""
        return self.space.tangent(x, self.velocity(t, x))

    def velocity(self, t: Float[Array, ""], x: Float[Array, "n d"]) -> Float[Array, "n d"]:
        """The law's velocity in ambient space, before it is made tangent; parameters take the tokens' precision."""
        return at_precision(self.law, x.dtype)(t, x, self.summation)

    def check_tokens(self, x: Any) -> None:
        """Raises ValueError if x is not an array of tokens that this flow can move, with what would do instead."""
        if getattr(x, "ndim", None) != 2 or not jnp.issubdtype(x.dtype, jnp.floating):
            shape, dtype = getattr(x, "shape", None), getattr(x, "dtype", type(x).__name__)
            raise ValueError(f"tokens are a floating array of shape (tokens, dim); got shape {shape} of {dtype}")
        n, d = x.shape
        if n < 1:
            raise ValueError("there must be at least one token; got none")
        self.space.check_dim(d)
        self.law.check_tokens(n, d)


def at_precision(tree: PyTree, dtype: jnp.dtype) -> PyTree:
    """A tree whose floating leaves have all been brought to one precision."""
    return jax.tree.map(lambda leaf: leaf.astype(dtype) if eqx.is_inexact_array(leaf) else leaf, tree)
