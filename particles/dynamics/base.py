"""dx/dt: what a flow is to those who follow it.

Depth is time: one layer of a transformer whose weights are shared is one step along a field, and infinitely many thin
layers are the flow. What moves is a *state*: the tokens alone where a law moves them at first order, the tokens with
their velocities where they have inertia, the tokens with what noise remembers. A state is a pytree of floating arrays;
whoever follows a flow begins one from tokens, moves it along the flow, projects it after every step, and looks at the
tokens in it. What a flow wants of a numerical method it says by its `readings`: the equations it can be written as.
"""

import abc
import dataclasses
import enum
from collections.abc import Callable
from typing import Any, ClassVar

import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import Array, ArrayLike, Bool, Float, PRNGKeyArray, PyTree

from ..declaration import Declared, concrete
from ..laws import AbstractLaw
from ..spaces import AbstractSpace
from ..summation import AbstractSummation

FINER = 0.1  # the tolerance of a summation beside that of a step


class Reading(enum.Enum):
    """A kind of equation: a flow can be read as some kinds, and a method follows some kinds. The values say which."""

    ordinary = "an ordinary differential equation"
    ambient = "the law's velocity, projected after the step"
    stratonovich = "a stochastic equation in Stratonovich's sense"
    ito = "a stochastic equation in Ito's sense"
    layers = "a network of layers"


class AbstractFlow(Declared):
    """A differential equation for a state that holds tokens.

    A new flow gives the parts it is made of, `begin`, `tokens`, `project` and the field itself. One with hidden parts
    that change at the ends of steps gives `stepped`; one driven by Brownian motion `brownian`, `diffusion` and
    `correction`.
    """

    usual: ClassVar[str] = "Flow"  # the kind that a config means where it names none

    space: eqx.AbstractVar[AbstractSpace]
    law: eqx.AbstractVar[AbstractLaw]
    summation: eqx.AbstractVar[AbstractSummation]

    @property
    @abc.abstractmethod
    def readings(self) -> tuple[Reading, ...]:
        """The kinds of equation that this flow can be read as, the best one first."""

    @abc.abstractmethod
    def begin(self, x0: Float[Array, "n d"], key: PRNGKeyArray | None) -> PyTree:
        """The state at depth 0, on the space; `key` is None exactly where the flow is not `random`."""

    @abc.abstractmethod
    def __call__(self, t: Float[Array, ""], state: PyTree, args: Any = None) -> PyTree:
        """The rate of change of a state at depth t; `args` is there for diffrax and not used."""

    @abc.abstractmethod
    def tokens(self, state: PyTree) -> Float[Array, "n d"]:
        """The tokens of a state; of a rate, their velocity."""

    @abc.abstractmethod
    def project(self, state: PyTree) -> PyTree:
        """The state brought back to the space."""

    @property
    def of_tokens(self) -> bool:
        """Whether the rows of the state are tokens, so that what is observed of tokens means something."""
        return True

    @property
    def random(self) -> bool:
        """Whether there is randomness, and so a key that it comes from."""
        return False

    @property
    def constant_steps(self) -> bool:
        """Whether only constant steps can follow the flow."""
        return False

    @property
    def settles(self) -> bool:
        """Whether there is anything for `stepped` to do."""
        return self.space.constrained

    def stepped(self, state: PyTree, step: Float[Array, ""], key: PRNGKeyArray | None) -> PyTree:
        """What a state becomes at the end of an accepted step of that length."""
        return self.project(state)

    def brownian(self, state: PyTree) -> jax.ShapeDtypeStruct | None:
        """The shape of the Brownian motion that drives the flow; None where there is none."""
        return None

    def diffusion(self, t: Float[Array, ""], state: PyTree, increment: Float[Array, "..."]) -> PyTree:
        """What an increment of the Brownian motion does to a state; linear in it."""
        raise ValueError(f"no Brownian motion drives this {type(self).__name__}")

    def correction(self, t: Float[Array, ""], state: PyTree) -> PyTree:
        """What the drift has more in Ito's sense than `__call__`."""
        raise ValueError(f"no Brownian motion drives this {type(self).__name__}")

    def layer(self, t: Float[Array, ""], h: Float[Array, ""], state: PyTree) -> PyTree:
        """The state behind a layer of step h at depth t, for a flow that is a network."""
        raise ValueError(f"a {type(self).__name__} has no layers; Layers has")

    def velocity(self, t: Float[Array, ""], x: Float[Array, "n d"]) -> Float[Array, "n d"]:
        """The law's velocity in ambient space, before it is made tangent; parameters take the tokens' precision."""
        return at_precision(self.law, x.dtype)(t, x, self.summation)

    def summed(self, change: Callable[[AbstractSummation], AbstractSummation]) -> "AbstractFlow":
        """The flow with another summation, made from its own; one that visits no pairs as it is."""
        given = any(field.name == "summation" for field in dataclasses.fields(self))
        return dataclasses.replace(self, summation=change(self.summation)) if given else self

    def within(self, rtol: ArrayLike) -> "AbstractFlow":
        """The flow with a summation as exact as steps of that relative tolerance need it, where numbers are known."""
        known = concrete(rtol)
        if known is None or known.ndim:
            return self
        return self.summed(lambda summation: summation.within(FINER * float(known)))

    def next_jump(self, t: Float[Array, ""]) -> Float[Array, ""]:
        """The first depth after t at which the law is discontinuous; infinite if there is none."""
        return at_precision(self.law, t.dtype).next_jump(t)

    @property
    def placed(self) -> AbstractLaw:
        """The law as it looks at tokens: behind a normalization, where the flow places it so."""
        return self.law

    def acting(self, t: Float[Array, ""], state: PyTree) -> AbstractLaw:
        """The law as it acts in a state, at the precision of its tokens."""
        return at_precision(self.placed, self.tokens(state).dtype)

    def unsolved(self, t: Float[Array, ""], state: PyTree) -> Bool[Array, ""]:
        """Whether an inner iteration of the law misses its tolerance in this state."""
        return self.acting(t, state).unsolved(t, self.tokens(state), self.summation)

    def on_masses(self, p: Float[Array, " m"]) -> "AbstractFlow":
        """The flow of tokens of the masses p, each of which stands for all that have met there and move as one.

        For a flow whose state is its tokens and nothing beside, and in which tokens at one place stay together.

        Raises
        ------
        ValueError
            If the flow is none, or its law sees more of its tokens than where they are and what they weigh.
        """
        raise ValueError(
            f"tokens of a {type(self).__name__} that have met do not move as one with their masses added; those of a "
            "Flow and of Layers do"
        )

    def matrices(self) -> int:
        """How many numbers for each pair of tokens an evaluation holds beside those of the summation."""
        return 0

    def check_tokens(self, x: Any) -> None:
        """Raises ValueError if x is not an array of tokens that this flow can move, with what would do instead."""
        if getattr(x, "ndim", None) != 2 or not jnp.issubdtype(x.dtype, jnp.floating):
            shape, dtype = getattr(x, "shape", None), getattr(x, "dtype", type(x).__name__)
            raise ValueError(f"tokens are a floating array of shape (tokens, dim); got shape {shape} of {dtype}")
        n, d = x.shape
        if n < 1:
            raise ValueError("there must be at least one token; got none")
        self.check_dim(d)
        self.law.check_tokens(n, d)

    def check_dim(self, d: int) -> None:
        """Raises ValueError if there are no such tokens in ambient dimension d."""
        self.space.check_dim(d)


class AbstractInertialFlow(AbstractFlow):
    """A flow whose state knows how fast its tokens are."""

    @abc.abstractmethod
    def momentum(self, state: PyTree) -> Float[Array, "n k"]:
        """The velocity of each token, in the coordinates that have inertia; the mass is 1."""


def at_precision(tree: PyTree, dtype: jnp.dtype) -> PyTree:
    """A tree whose floating leaves have all been brought to one precision."""
    return jax.tree.map(lambda leaf: leaf.astype(dtype) if eqx.is_inexact_array(leaf) else leaf, tree)
