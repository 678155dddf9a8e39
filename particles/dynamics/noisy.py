"""The flow with noise."""

import dataclasses
from typing import Any, ClassVar

import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, PRNGKeyArray, PyTree

from ..declaration import Declared
from ..laws import AbstractLaw
from ..spaces import AbstractSpace
from ..summation import AbstractSummation, Auto
from .base import AbstractFlow, Reading, at_precision
from .noise import AbstractNoise, AbstractStateNoise, AbstractWeightNoise


class Noisy(eqx.Module):
    """Tokens under noise.

    Attributes
    ----------
    tokens : the tokens.
    hidden : what the noise remembers, None for Brownian motion.
    """

    tokens: Float[Array, "n d"]
    hidden: PyTree


class NoisyFlow(AbstractFlow):
    r"""Tokens moved by a law under noise: on the tokens, on the values, or on the weights.

    .. math:: dx_i = P_{x_i} u_i\, dt + P_{x_i} \circ d\eta_i

    A run needs a key, `solve(..., key=jax.random.key(0))`, or a `seed` in a simulation, and constant steps, `plan.dt`.
    Brownian noise is followed by the methods Heun and EulerHeun, in Stratonovich's sense, or Euler, in Ito's; noise on
    the weights stands still within a step and by any method. The same key gives the same noise: runs of Brownian noise
    to one depth whose steps are that depth divided by powers of two share one path.

    Parameters
    ----------
    space : where the tokens live: for noise on the tokens, one without a boundary.
    law : what they do to each other.
    noise : what is random.
    summation : how all pairs are visited; chosen by size if left out.

    Raises
    ------
    ValueError
        If the space has a boundary that noise would push tokens through, or the law no weights to be noisy, no
        logits that noise could be added to, or weights that are mixtures where the noise looks at those of each head.

    Cost
    ----
    One evaluation of the law, and the noise.

    Source
    ------
    kidger2021on, for the solvers; geshkovski2023perspective.
    """

    space: AbstractSpace
    law: AbstractLaw
    noise: AbstractNoise
    summation: AbstractSummation = eqx.field(default_factory=Auto)
    sources: ClassVar[tuple[str, ...]] = ("kidger2021on", "geshkovski2023perspective")

    def __check_init__(self):
        Declared.__check_init__(self)  # what follows asks the nouns themselves
        name = type(self.noise).__name__
        if isinstance(self.noise, AbstractStateNoise) and not self.space.smooth:
            raise ValueError(
                f"{name} noise needs a space without a boundary: Euclidean, Sphere or a Product of them; "
                f"got {type(self.space).__name__}"
            )
        if self.noise.attends and not self.law.heads:
            raise ValueError(f"{name} noise needs a law with attention weights; got {type(self.law).__name__}")
        if isinstance(self.noise, AbstractWeightNoise):
            self.law.tilted(jnp.zeros((self.law.heads, 1, 1)))  # which refuses where there are no logits
        if self.noise.weighs:
            self.law.check_asked("single")

    @property
    def readings(self) -> tuple[Reading, ...]:
        return self.noise.readings

    @property
    def random(self) -> bool:
        return True

    @property
    def constant_steps(self) -> bool:
        return True

    @property
    def settles(self) -> bool:
        return True

    def begin(self, x0: Float[Array, "n d"], key: PRNGKeyArray | None) -> Noisy:
        if key is None:
            raise ValueError("a NoisyFlow begins from a key")
        return Noisy(self.space.project(x0), self.noise.begin(self.law.heads, x0.shape[0], x0.dtype, key))

    def __call__(self, t: Float[Array, ""], state: Noisy, args: Any = None) -> Noisy:
        x = state.tokens
        return self._of(state, self.space.tangent(x, self.acting(t, state)(t, x, self.summation)))

    def acting(self, t: Float[Array, ""], state: Noisy) -> AbstractLaw:
        x, law = state.tokens, at_precision(self.law, state.tokens.dtype)
        if not isinstance(self.noise, AbstractWeightNoise):
            return law
        shift = self.noise.shift(state.hidden.z, lambda: law.head_weights(t, x, self.summation))
        return law.tilted(jnp.broadcast_to(shift, (law.heads, x.shape[0], x.shape[0])))

    def on_masses(self, p: Float[Array, " m"]) -> "NoisyFlow":
        if not self.noise.common:
            raise ValueError(
                f"{type(self.noise).__name__} noise is another for each token and parts those that have met, so they "
                "do not move as one with their masses added; under CommonMatrix noise they do"
            )
        return dataclasses.replace(self, law=self.law.on_masses(p))

    def tokens(self, state: Noisy) -> Float[Array, "n d"]:
        return state.tokens

    def project(self, state: Noisy) -> Noisy:
        return Noisy(self.space.project(state.tokens), state.hidden)

    def stepped(self, state: Noisy, step: Float[Array, ""], key: PRNGKeyArray | None) -> Noisy:
        if key is None:
            raise ValueError("noise moves on from a key")
        return Noisy(self.space.project(state.tokens), self.noise.moved(state.hidden, step, key))

    def brownian(self, state: Noisy) -> jax.ShapeDtypeStruct | None:
        if not isinstance(self.noise, AbstractStateNoise):
            return None
        return jax.ShapeDtypeStruct(self.noise.shape(self.law.heads, *state.tokens.shape), state.tokens.dtype)

    def diffusion(self, t: Float[Array, ""], state: Noisy, increment: Float[Array, "..."]) -> Noisy:
        x = state.tokens
        return self._of(state, self.space.tangent(x, self._pushing().pushed(increment, lambda: self._means(t, x))))

    def correction(self, t: Float[Array, ""], state: Noisy) -> Noisy:
        x = state.tokens
        variance = self._pushing().variance(x, lambda: self._means(t, x))
        return self._of(state, 0.5 * variance[:, None] * curvature(self.space, x))

    def matrices(self) -> int:
        return self.noise.matrices(self.law.heads)

    def _pushing(self) -> AbstractStateNoise:
        if not isinstance(self.noise, AbstractStateNoise):
            raise ValueError(f"no Brownian motion drives a flow with {type(self.noise).__name__} noise")
        return self.noise

    def _means(self, t: Float[Array, ""], x: Float[Array, "n d"]) -> Float[Array, "h n d"]:
        """The mean of all tokens as each attends to them, in every head."""
        return jnp.einsum("hij,jd->hid", at_precision(self.law, x.dtype).head_weights(t, x, self.summation), x)

    def _of(self, state: Noisy, rate: Float[Array, "n d"]) -> Noisy:
        """A rate of the state: the tokens move, and what is hidden stands still within a step."""
        return Noisy(rate, jax.tree.map(jnp.zeros_like, state.hidden))


def curvature(space: AbstractSpace, x: Float[Array, "n d"]) -> Float[Array, "n d"]:
    """The sum of the accelerations of free particles in all directions: what holds Brownian motion in the space.

    On a sphere it is -(d-1) x / |x|^2, in Euclidean space 0. O(n d^2) time.
    """

    def along(direction: Float[Array, " d"]) -> Float[Array, "n d"]:
        return space.acceleration(x, space.tangent(x, jnp.broadcast_to(direction, x.shape)))

    return jnp.sum(jax.vmap(along)(jnp.eye(x.shape[1], dtype=x.dtype)), axis=0)
