r"""Modes in which a Gaussian kernel is written, and how far from it their sum can be.

    e^{-|a - b|^2 / 2}  =  sum_k h_k e^{i k . (theta(a) - theta(b))}  +  an error that is bounded here

In a box the kernel is made periodic: modes are equispaced, their weights Gaussian, and the error is what was cut off
and what comes over from the neighboring boxes. On a circle nothing comes over: by Jacobi and Anger the weights are
Bessel functions, which are the probabilities of a Skellam variable, whose tails are bounded by Chernoff.
"""

import abc
from typing import ClassVar

import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import Array, Complex, Float


class AbstractBasis(eqx.Module):
    """Angles of rows and columns and the weights of modes, for a span of images that is known only at run time."""

    @property
    @abc.abstractmethod
    def angles(self) -> int:
        """How many angles an image has: the dimension of the grid of modes."""

    @abc.abstractmethod
    def angle(self, image: Float[Array, "n k"]) -> Float[Array, "n _d"]:
        """The angles of images, in [-pi, pi]."""

    @abc.abstractmethod
    def weights(self, largest: int) -> tuple[Float[Array, " _modes"], ...]:
        """h_k for k = -largest .. largest, for each angle; the weight of a mode is their product."""

    @abc.abstractmethod
    def error(self, largest: Float[Array, " j"]) -> Float[Array, " j"]:
        """A bound of the error of the kernel, whose largest value is 1, with modes up to `largest`."""


class Box(AbstractBasis):
    """Images in a box: the Gaussian made periodic.

    Attributes
    ----------
    center : of the box.
    period : the length of the box and of the gap to its neighbors, for each coordinate.
    gap : the distance to the images in the neighboring boxes.

    Source
    ------
    greengard2022equispaced.
    """

    center: Float[Array, " k"]
    period: Float[Array, " k"]
    gap: Float[Array, ""]

    @classmethod
    def around(cls, low: Float[Array, " k"], high: Float[Array, " k"], kernel: float) -> "Box":
        """The box of all images between two corners, with a gap that leaves a given error."""
        gap = jnp.sqrt(2 * jnp.log(jnp.asarray(8 * low.shape[0] / kernel, low.dtype)))
        return cls(0.5 * (low + high), high - low + gap, gap)

    @property
    def angles(self) -> int:
        return self.center.shape[0]

    def angle(self, image: Float[Array, "n k"]) -> Float[Array, "n _d"]:
        return 2 * jnp.pi * (image - self.center[None, :]) / self.period[None, :]

    def weights(self, largest: int) -> tuple[Float[Array, " _modes"], ...]:
        k = jnp.arange(-largest, largest + 1, dtype=self.period.dtype)

        def one(period: Float[Array, ""]) -> Float[Array, " _modes"]:
            return jnp.sqrt(2 * jnp.pi) / period * jnp.exp(-0.5 * (2 * jnp.pi * k / period) ** 2)

        return tuple(one(period) for period in self.period)

    def error(self, largest: Float[Array, " j"]) -> Float[Array, " j"]:
        """For one coordinate, twice the Gaussian beyond the last mode and twice the neighbor's value."""
        beyond = 2 * jnp.pi * largest[:, None] / self.period[None, :]
        each = jax.scipy.special.erfc(beyond / jnp.sqrt(jnp.asarray(2, beyond.dtype)))
        each = each + 2.01 * jnp.exp(-0.5 * self.gap**2)
        return jnp.expm1(jnp.sum(jnp.log1p(each), axis=1))


class Ring(AbstractBasis):
    """Images on one circle around the origin.

    Attributes
    ----------
    concentration : the squared radius.

    Source
    ------
    abramowitz1964handbook, for the series; its weights sum to 1.
    """

    concentration: Float[Array, ""]
    oversampling: ClassVar[int] = 4

    @property
    def angles(self) -> int:
        return 1

    def angle(self, image: Float[Array, "n k"]) -> Float[Array, "n _d"]:
        return jnp.arctan2(image[:, 1], image[:, 0])[:, None]

    def weights(self, largest: int) -> tuple[Float[Array, " _modes"], ...]:
        """From samples of the kernel around the circle."""
        dtype, size = self.concentration.dtype, self.oversampling * largest
        theta = 2 * jnp.pi * jnp.arange(size, dtype=dtype) / size
        samples = jnp.exp(-2 * self.concentration * jnp.sin(0.5 * theta) ** 2)
        upper: Complex[Array, " modes"] = jnp.fft.rfft(samples)[: largest + 1] / size
        return (jnp.concatenate([upper[:0:-1].real, upper.real]),)

    def error(self, largest: Float[Array, " j"]) -> Float[Array, " j"]:
        """Four times Chernoff's bound of the tail: what is cut off, and what sampling folds back."""
        k, z = largest + 1, jnp.maximum(self.concentration, jnp.finfo(self.concentration.dtype).tiny)
        rate = k * jnp.arcsinh(k / z) - k * k / (jnp.sqrt(z * z + k * k) + z)
        return 4 * jnp.exp(-rate)
