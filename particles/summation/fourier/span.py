"""Where the images of rows and columns lie, and what weighs how much there: the numbers modes are chosen by.

Everything here is a constant to differentiation: it decides how a sum is made, not what it is.
"""

from collections.abc import Callable

import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, Int, PyTree, Shaped

from ..bilinear import Bilinear

ROUND = 64  # roundings by which images on one circle may miss it
ROWS, COLUMNS = 64, 2048  # of the sample by which the masses of rows are guessed


class Centered(eqx.Module):
    """Logits as a Gaussian of images around a common center, l_ij = rho_i + kappa_j - |a_i - b_j|^2 / 2.

    Attributes
    ----------
    a, b : the images, balanced in size.
    rho, kappa : what is left of the logit for each row and each column.
    round : whether all images lie on one circle around the center.
    """

    a: Float[Array, "n k"]
    b: Float[Array, "m k"]
    rho: Float[Array, " n"]
    kappa: Float[Array, " m"]
    round: Bool[Array, ""]

    @classmethod
    def of(cls, pair: Bilinear, axis: str | None) -> "Centered":
        """The Gaussian form of bilinear logits; `axis` of a mesh that the tokens are spread over."""
        largest = Reduced(axis)
        a, b = pair.a, pair.b
        sizes = [largest(jnp.max(jnp.sum(image * image, axis=1))) for image in jax.lax.stop_gradient((a, b))]
        usable = (sizes[0] > 0) & (sizes[1] > 0)
        scale = jnp.where(usable, sizes[1] / jnp.where(usable, sizes[0], 1), 1) ** 0.25
        a, b = a * scale, b / scale
        circle = _circle(a, b, largest)
        low, high = corners(a, b, largest)
        center = jnp.where(circle, 0, 0.5 * (low + high))[None, :]
        a, b = a - center, b - center
        rho = pair.r + jnp.sum(a * center, axis=1) + 0.5 * jnp.sum(center * center) + 0.5 * jnp.sum(a * a, axis=1)
        kappa = pair.c + jnp.sum(b * center, axis=1) + 0.5 * jnp.sum(center * center) + 0.5 * jnp.sum(b * b, axis=1)
        return cls(a, b, rho, kappa, circle)


class Reduced(eqx.Module):
    """What devices on a mesh axis hold together; where there is no axis, what is here.

    Calling it gives the largest, which is a constant to differentiation.
    """

    axis: str | None = eqx.field(static=True)

    def __call__(self, number: Shaped[Array, "*any"]) -> Shaped[Array, "*any"]:
        return number if self.axis is None else jax.lax.pmax(jax.lax.stop_gradient(number), self.axis)

    def sum(self, number: Shaped[Array, "*any"]) -> Shaped[Array, "*any"]:
        """The sum over all devices."""
        return number if self.axis is None else jax.lax.psum(number, self.axis)

    @property
    def position(self) -> Int[Array, ""] | int:
        """Of this device on the axis."""
        return 0 if self.axis is None else jax.lax.axis_index(self.axis)

    def joined(self, tree: PyTree[Array]) -> PyTree[Array]:
        """What all devices hold, one after another along the first axis."""
        return tree if self.axis is None else jax.lax.all_gather(tree, self.axis, tiled=True)

    def own(self, leaf: Shaped[Array, "n ..."], size: int) -> Shaped[Array, "_n ..."]:
        """This device's part of what was joined, for parts of a size."""
        return leaf if self.axis is None else jax.lax.dynamic_slice_in_dim(leaf, self.position * size, size)


def corners(
    a: Float[Array, "n k"], b: Float[Array, "m k"], largest: Callable[[Array], Array]
) -> tuple[Float[Array, " k"], Float[Array, " k"]]:
    """The lower and the upper corner of the box of all images."""
    images = jax.lax.stop_gradient((a, b))
    high = jnp.maximum(*(jnp.max(image, axis=0) for image in images))
    low = jnp.maximum(*(jnp.max(-image, axis=0) for image in images))
    return -largest(low), largest(high)


def _circle(a: Float[Array, "n k"], b: Float[Array, "m k"], largest: Callable[[Array], Array]) -> Bool[Array, ""]:
    if a.shape[1] != 2:
        return jnp.asarray(False)
    squares = [jnp.sum(image * image, axis=1) for image in jax.lax.stop_gradient((a, b))]
    high = largest(jnp.maximum(*(jnp.max(square) for square in squares)))
    low = -largest(jnp.maximum(*(jnp.max(-square) for square in squares)))
    return high - low <= ROUND * jnp.finfo(high.dtype).eps * high


def guessed(
    centered: Centered, weights: Float[Array, " m"], whole: Float[Array, ""], over: Reduced
) -> Float[Array, ""]:
    """The least mass of a row, from a sample of rows and columns; `whole` is the sum of all weights.

    Every device samples of what it holds, and all samples of columns are put together, so that all guess alike.
    """
    some = lambda leaf, most: leaf[:: max(1, leaf.shape[0] // most)][:most]  # noqa: E731
    a, b, w = jax.lax.stop_gradient((some(centered.a, ROWS), some(centered.b, COLUMNS), some(weights, COLUMNS)))
    b, w = over.joined((b, w))
    square = jnp.sum((a[:, None, :] - b[None, :, :]) ** 2, axis=2)
    seen, total = jnp.exp(-0.5 * square) @ w, jnp.sum(w)
    return -over(-jnp.min(seen)) * jnp.where(total > 0, whole / jnp.where(total > 0, total, 1), 0)
