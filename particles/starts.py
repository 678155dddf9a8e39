"""Where the tokens start.

A start is a recipe that a config can hold: it is called with a space and a key and gives an array of tokens on that
space. Random starts differ by the key alone.
"""

import abc
import functools
from typing import ClassVar

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, PRNGKeyArray

from .declaration import Declared, all_known, concrete, option, parameter, stored, unnested
from .spaces import AbstractSpace, Euclidean
from .stored import DataError, Stored

ROUNDING = 8  # units in the last place by which a token on a space may be off it; projecting it would change its bits


class AbstractStart(Declared):
    """A recipe for the first state."""

    @abc.abstractmethod
    def __call__(self, space: AbstractSpace, key: PRNGKeyArray) -> Float[Array, "n d"]:
        """The tokens at depth 0, on the space.

        Raises
        ------
        ValueError
            If the space has no such start.
        """


class Uniform(AbstractStart):
    """Independent tokens from the uniform law of the space.

    Parameters
    ----------
    tokens, dim : how many, in what ambient dimension.

    Source
    ------
    geshkovski2023perspective.
    """

    tokens: int = option(ge=1)
    dim: int = option(ge=1)
    sources: ClassVar[tuple[str, ...]] = ("geshkovski2023perspective",)

    def __call__(self, space: AbstractSpace, key: PRNGKeyArray) -> Float[Array, "n d"]:
        return space.uniform(key, self.tokens, self.dim)


class Equiangular(AbstractStart):
    r"""Tokens whose pairwise overlaps are all equal: the flow on them is a scalar equation with a known solution.

    Built in closed form from the Gram matrix :math:`(1-g) I + g 11^T`, whose eigenvectors are the common direction
    and any basis of its complement.

    Parameters
    ----------
    tokens : how many, n.
    dim : ambient dimension: at least n, or n - 1 for the smallest overlap, or 1 for overlap 1.
    overlap : the common cosine g, from -1/(n-1) to 1.

    Raises
    ------
    ValueError
        If no such tokens exist in that dimension.

    Source
    ------
    geshkovski2023perspective, Theorem 6.8.
    """

    tokens: int = option(ge=1)
    dim: int = option(ge=1)
    overlap: Float[Array, ""] = parameter(0.0, le=1)
    sources: ClassVar[tuple[str, ...]] = ("geshkovski2023perspective",)

    def __check_init__(self):
        g = concrete(self.overlap)
        if g is None or self.tokens == 1:
            return
        least = -1 / (self.tokens - 1)
        close = 1e-6 if g.dtype == np.float32 else 1e-12
        if g < least - close:
            raise ValueError(f"{self.tokens} tokens have a common overlap of at least {least:.6g}; got {float(g):.6g}")
        needed = 1 if g >= 1 else self.tokens - 1 if g <= least + close else self.tokens
        if self.dim < needed:
            raise ValueError(
                f"{self.tokens} tokens of common overlap {float(g):.6g} need dimension {needed} or more; got {self.dim}"
            )

    def __call__(self, space: AbstractSpace, key: PRNGKeyArray) -> Float[Array, "n d"]:
        n = self.tokens
        apart = jnp.sqrt(jnp.maximum(1 - self.overlap, 0)) * _complement_of_ones(n)
        common = jnp.full((n, 1), jnp.sqrt(jnp.maximum(1 + (n - 1) * self.overlap, 0) / n))
        if self.dim < n:  # one of the two parts is zero
            x = apart[:, : self.dim].at[:, :1].add(common)
        else:
            x = jnp.concatenate([apart, common], axis=1)
        return space.project(jnp.pad(x, ((0, 0), (0, self.dim - x.shape[1]))))


class VonMisesFisher(AbstractStart):
    r"""Tokens gathered around one direction, with density proportional to :math:`e^{\kappa\langle m, x\rangle}`.

    Drawn by exact rejection. The directions are brought onto the space by its projection.

    Parameters
    ----------
    tokens, dim : how many, in what ambient dimension (at least 2).
    kappa : concentration; 0 is uniform.
    mean : the direction m; by default the last axis.

    Source
    ------
    wood1994simulation.
    """

    tokens: int = option(ge=1)
    dim: int = option(ge=2)
    kappa: Float[Array, ""] = parameter(1.0, ge=0)
    mean: Float[Array, " d"] | None = parameter(None)
    sources: ClassVar[tuple[str, ...]] = ("wood1994simulation",)

    def __check_init__(self):
        if self.mean is not None and self.mean.shape != (self.dim,):
            raise ValueError(f"`mean` of VonMisesFisher needs {self.dim} coordinates; got shape {self.mean.shape}")
        if self.mean is not None and all_known(self.mean) and not np.any(np.asarray(self.mean)):
            raise ValueError("`mean` of VonMisesFisher is a direction; got the zero vector")

    def __call__(self, space: AbstractSpace, key: PRNGKeyArray) -> Float[Array, "n d"]:
        along_key, around_key = jax.random.split(key)
        gap = _vmf_gaps(along_key, self.kappa, self.tokens, self.dim)
        around = jax.random.normal(around_key, (self.tokens, self.dim - 1))
        around = around / jnp.linalg.norm(around, axis=1, keepdims=True)
        sine = jnp.sqrt(gap * (2 - gap))
        x = jnp.concatenate([sine[:, None] * around, 1 - gap[:, None]], axis=1)
        return space.project(x if self.mean is None else _turned(x, self.mean / jnp.linalg.norm(self.mean)))


class Blobs(AbstractStart):
    """Gaussian clouds around a few centers, brought onto the space.

    Parameters
    ----------
    tokens, dim : how many, in what ambient dimension. Tokens are dealt to the blobs in turn.
    blobs : how many centers, at most one for each token.
    spread : the standard deviation around a center, in each coordinate.
    centers : the centers, `[blobs d]`; by default drawn from the uniform law of the space, or from the standard
        normal law where it has none. A single blob in Euclidean space is centered at the origin.

    Source
    ------
    geshkovski2024dynamic.
    """

    tokens: int = option(ge=1)
    dim: int = option(ge=1)
    blobs: int = option(3, ge=1)
    spread: Float[Array, ""] = parameter(0.1, ge=0)
    centers: Float[Array, "k d"] | None = parameter(None)
    sources: ClassVar[tuple[str, ...]] = ("geshkovski2024dynamic",)

    def __check_init__(self):
        if self.blobs > self.tokens:
            raise ValueError(f"{self.tokens} tokens do not fill {self.blobs} blobs: give as many, or fewer `blobs`")
        if self.centers is not None and self.centers.shape != (self.blobs, self.dim):
            raise ValueError(
                f"`centers` of Blobs needs shape (blobs, dim) = {(self.blobs, self.dim)}; got {self.centers.shape}"
            )

    def __call__(self, space: AbstractSpace, key: PRNGKeyArray) -> Float[Array, "n d"]:
        center_key, cloud_key = jax.random.split(key)
        if self.centers is not None:
            centers = self.centers
        elif isinstance(space, Euclidean):
            centers = jax.random.normal(center_key, (self.blobs, self.dim)) * min(self.blobs - 1, 1)
        else:
            centers = space.uniform(center_key, self.blobs, self.dim)
        cloud = jax.random.normal(cloud_key, (self.tokens, self.dim))
        return space.project(centers[jnp.arange(self.tokens) % self.blobs] + self.spread * cloud)


class Together(AbstractStart):
    """Several starts, one after another in the list of tokens: species, each with its own.

    Parameters
    ----------
    parts : the starts, those of a `Together` among them one by one.

    Raises
    ------
    ValueError
        If there are none, or their dimensions differ.

    Source
    ------
    geshkovski2023perspective, for the single starts.
    """

    parts: tuple[AbstractStart, ...] = eqx.field(converter=lambda parts: unnested(parts, Together, "parts"))
    sources: ClassVar[tuple[str, ...]] = ("geshkovski2023perspective",)

    def __check_init__(self):
        dims = [dim for part in self.parts if (dim := getattr(part, "dim", None)) is not None]
        if not self.parts or len(set(dims)) > 1:
            raise ValueError(f"Together needs parts of one dimension, at least one; got dimensions {dims}")

    @property
    def tokens(self) -> int:
        """How many there are in all; unknown where a part comes from a file."""
        return sum(part.tokens for part in self.parts)  # pyright: ignore[reportAttributeAccessIssue]

    @property
    def dim(self) -> int:
        """Their dimension; unknown where the first part comes from a file."""
        return self.parts[0].dim  # pyright: ignore[reportAttributeAccessIssue]

    def __call__(self, space: AbstractSpace, key: PRNGKeyArray) -> Float[Array, "n d"]:
        keys = jax.random.split(key, len(self.parts))
        starts = [part(space, one) for part, one in zip(self.parts, keys, strict=True)]
        dims = {x.shape[1] for x in starts}
        if len(dims) > 1:
            raise ValueError(f"Together needs parts of one dimension; got {sorted(dims)}")
        return jnp.concatenate(starts)


class Given(AbstractStart):
    """Tokens from a file: `.npy`, `.npz` or `.csv`, one row for each token. Nothing in the file is ever executed.

    Parameters
    ----------
    path : the file, read once, when the start is made. In a config it is relative to the config and stays within its
        folder.
    name : which array of an `.npz` file; may be left out if there is one.

    Raises
    ------
    DataError
        If the file is missing, is no such array, holds a number that is not finite, or lies off the space by more than
        one part in 10^4 (less is rounding, and is projected).

    Source
    ------
    harris2020array.
    """

    path: Stored = stored()
    name: str | None = option(None)
    sources: ClassVar[tuple[str, ...]] = ("harris2020array",)

    def __check_init__(self):
        rows, place = self.path.array(self.name), self.path.path
        if rows.ndim != 2 or rows.size == 0 or rows.dtype.kind not in "fiub":
            raise DataError(
                f"{place}: expected real numbers of shape (tokens, dim); got {rows.dtype} of shape {rows.shape}"
            )
        bad = np.argwhere(~np.isfinite(rows))
        if len(bad):
            token, coordinate = bad[0]
            raise DataError(
                f"{place}: {len(bad)} numbers are not finite, the first at token {token}, coordinate {coordinate}"
            )

    def __call__(self, space: AbstractSpace, key: PRNGKeyArray) -> Float[Array, "n d"]:
        rows = self.path.array(self.name)
        x = jnp.asarray(rows, float)
        space.check_dim(x.shape[1])
        on_space = space.project(x)
        scale = jnp.maximum(jnp.max(jnp.abs(on_space), axis=1), 1e-30)
        off = np.asarray(jnp.max(jnp.abs(on_space - x), axis=1) / scale)
        if not np.all(off < 1e-4):
            worst = int(np.argmax(np.where(np.isnan(off), np.inf, off)))
            raise DataError(
                f"{self.path.path}: token {worst} does not lie on the {type(space).__name__} "
                f"(off by {off[worst]:.3g} of its size). Project the rows before saving them."
            )
        return jnp.where(off[:, None] > ROUNDING * jnp.finfo(x.dtype).eps, on_space, x)


def _complement_of_ones(n: int) -> Float[Array, "n n-1"]:
    """Columns that with 1/sqrt(n) form an orthonormal basis of R^n (Helmert's)."""
    k = np.arange(1, n)[None, :]
    row = np.arange(n)[:, None]
    return jnp.asarray(((row < k) - k * (row == k)) / np.sqrt(k * (k + 1.0)), float)


@functools.partial(jax.jit, static_argnums=(2, 3))
def _vmf_gaps(key: PRNGKeyArray, kappa: Float[Array, ""], n: int, d: int) -> Float[Array, " n"]:
    """Some gaps. Compiled once: unlike arithmetic, rejection would be compiled anew at every call."""
    return jax.vmap(lambda one: _vmf_gap(one, kappa, d))(jax.random.split(key, n))


def _vmf_gap(key: PRNGKeyArray, kappa: Float[Array, ""], d: int) -> Float[Array, ""]:
    """One minus the cosine to the mean direction, by Wood's rejection, in a form that keeps its digits at any kappa."""
    b = (d - 1) / (2 * kappa + jnp.sqrt(4 * kappa**2 + (d - 1.0) ** 2))
    gap0 = 2 * b / (1 + b)  # of the proposal's center

    def draw(carry):
        key, _, _ = carry
        key, beta_key, uniform_key = jax.random.split(key, 3)
        z = jax.random.beta(beta_key, (d - 1) / 2, (d - 1) / 2)
        gap = 2 * b * z / (1 - (1 - b) * z)
        ratio = (gap0 + (1 - gap0) * gap) / (gap0 * (2 - gap0))
        bound = kappa * (gap0 - gap) + (d - 1) * jnp.log(ratio)
        return key, gap, bound >= jnp.log(jax.random.uniform(uniform_key))

    start = (key, jnp.zeros_like(b), jnp.asarray(False))
    return jax.lax.while_loop(lambda carry: ~carry[2], draw, start)[1]


def _turned(x: Float[Array, "n d"], mean: Float[Array, " d"]) -> Float[Array, "n d"]:
    """The tokens reflected so that the last axis comes to lie on `mean`."""
    axis = jnp.zeros_like(mean).at[-1].set(1)
    normal = axis - mean
    square = jnp.sum(normal**2)
    normal = normal / jnp.sqrt(jnp.where(square > 0, square, 1))
    return x - 2 * (x @ normal)[:, None] * normal[None, :]
