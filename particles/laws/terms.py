"""What moves a token without looking at others: drift and feed-forward layers."""

from typing import ClassVar

import jax.numpy as jnp
from jaxtyping import Array, Float

from ..declaration import option, parameter
from ..summation import AbstractSummation
from .base import AbstractLaw
from .maps import AbstractMap, image_dim_of


class AbstractTerm(AbstractLaw):
    """A law of single tokens."""

    def parts(self) -> tuple[AbstractLaw, ...]:
        return ()


class FeedForward(AbstractTerm):
    r"""The feed-forward half of a layer, for each token alone.

    .. math:: u_i = \phi(x_i)

    Parameters
    ----------
    map : phi, from the tokens' space into itself, usually a `Perceptron`.

    Source
    ------
    vaswani2017attention.
    """

    map: AbstractMap
    sources: ClassVar[tuple[str, ...]] = ("vaswani2017attention",)

    def __call__(
        self, t: Float[Array, ""], x: Float[Array, "n d"], summation: AbstractSummation
    ) -> Float[Array, "n d"]:
        return self.map(x)

    def check_tokens(self, n: int, d: int) -> None:
        image = self.map.image_dim(d)
        if image != d:
            raise ValueError(f"`map` of FeedForward must keep the dimension; it takes {d} to {image}")


class Drift(AbstractTerm):
    r"""Rotation, stimulus and confinement: what a token does by itself.

    .. math:: u_i = \omega_i \Omega x_i + c_i - \kappa x_i

    Parameters
    ----------
    rotation : Omega, antisymmetric for a rotation, any matrix for a linear drift; without it none.
    frequencies : omega, one for each token; without them 1.
    stimulus : c, one vector for all, or one for each token.
    confinement : kappa.
    tokens : the range of tokens that drift, first and one past the last; all by default.

    Raises
    ------
    ValueError
        If there are frequencies and nothing that they turn.

    Source
    ------
    miyato2025artificial; on the circle with frequencies, kuramoto1975self.
    """

    rotation: Float[Array, "d d"] | None = parameter(None)
    frequencies: Float[Array, " n"] | None = parameter(None)
    stimulus: Float[Array, " _"] | Float[Array, "_ _"] | None = parameter(None)
    confinement: Float[Array, ""] = parameter(0.0)
    tokens: tuple[int, ...] = option((), ge=0)
    sources: ClassVar[tuple[str, ...]] = ("miyato2025artificial", "kuramoto1975self")

    def __check_init__(self):
        if self.frequencies is not None and self.rotation is None:
            raise ValueError("`frequencies` of Drift turn by `rotation`; give it, too: [[0, -1], [1, 0]] on the circle")
        if self.tokens and (len(self.tokens) != 2 or self.tokens[0] >= self.tokens[1]):
            raise ValueError(f"`tokens` of Drift is a range, (first, one past the last); got {self.tokens}")

    def __call__(
        self, t: Float[Array, ""], x: Float[Array, "n d"], summation: AbstractSummation
    ) -> Float[Array, "n d"]:
        first, last = self.tokens or (0, x.shape[0])
        some = x[first:last]
        drift = -self.confinement * some
        if self.rotation is not None:
            turned = some @ self.rotation.T
            drift = drift + (turned if self.frequencies is None else self.frequencies[:, None] * turned)
        if self.stimulus is not None:
            drift = drift + (self.stimulus[None, :] if self.stimulus.ndim == 1 else self.stimulus)
        return jnp.zeros_like(x).at[first:last].set(drift)

    def on_masses(self, p: Float[Array, " m"]) -> AbstractLaw:
        own = {"frequencies": self.frequencies, "tokens": self.tokens or None}
        own |= {"stimulus": self.stimulus if self.stimulus is not None and self.stimulus.ndim == 2 else None}
        named = [name for name, value in own.items() if value is not None]
        if named:
            raise ValueError(
                f"a Drift whose {' and '.join(f'`{name}`' for name in named)} know tokens by their index does not act "
                "on tokens of other masses; one that is the same for all does"
            )
        return self

    def check_tokens(self, n: int, d: int) -> None:
        first, last = self.tokens or (0, n)
        if last > n:
            raise ValueError(f"`tokens` of Drift ends at {last}, but there are {n} tokens")
        if self.rotation is not None and image_dim_of("rotation", self.rotation, d, self) != d:
            raise ValueError(f"`rotation` of Drift must be {d} x {d}; got {self.rotation.shape}")
        if self.frequencies is not None and self.frequencies.shape != (last - first,):
            raise ValueError(f"Drift has {self.frequencies.shape[0]} `frequencies` for {last - first} tokens")
        if self.stimulus is not None and self.stimulus.shape not in ((d,), (last - first, d)):
            raise ValueError(
                f"`stimulus` of Drift must have shape ({d},) or ({last - first}, {d}); got {self.stimulus.shape}"
            )
