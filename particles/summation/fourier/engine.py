"""Sums over modes: from tokens to modes and back, by a nonuniform fast Fourier transform or mode by mode.

Two real columns of values travel as one complex one, since a kernel that is real keeps them apart.
"""

import abc
import importlib.util
from typing import ClassVar

import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import Array, Complex, Float

Weights = tuple[Float[Array, " _modes"], ...]
BLOCK_BYTES = 2**25  # of the waves of a block of tokens, in the sum mode by mode


class AbstractEngine(eqx.Module):
    """A way to sum over modes."""

    @property
    @abc.abstractmethod
    def error(self) -> float:
        """What it adds to the error of the kernel, for values whose sizes sum to 1."""

    @abc.abstractmethod
    def modes(self, angle: Float[Array, "m d"], values: Complex[Array, "c m"], largest: int) -> Complex[Array, "c ..."]:
        """sum_j e^{-i k . angle_j} v_j for all modes with entries up to `largest`."""

    @abc.abstractmethod
    def tokens(self, angle: Float[Array, "n d"], modes: Complex[Array, "c ..."]) -> Complex[Array, "c n"]:
        """sum_k e^{i k . angle_i} F_k for all tokens."""


class FastTransform(AbstractEngine):
    """The nonuniform fast Fourier transform of FINUFFT, in the extra `fast`.

    Parameters
    ----------
    precision : the relative error that is asked for.

    Source
    ------
    barnett2019parallel.
    """

    precision: float = eqx.field(static=True)
    safety: ClassVar[float] = 2.0  # of two transforms, in units of the precision; the largest seen is 0.7

    @property
    def error(self) -> float:
        return self.safety * self.precision

    def modes(self, angle: Float[Array, "m d"], values: Complex[Array, "c m"], largest: int) -> Complex[Array, "c ..."]:
        from jax_finufft import nufft1

        shape = (2 * largest + 1,) * angle.shape[1]
        return nufft1(shape, values, *angle.T, iflag=-1, eps=self.precision)

    def tokens(self, angle: Float[Array, "n d"], modes: Complex[Array, "c ..."]) -> Complex[Array, "c n"]:
        from jax_finufft import nufft2

        return nufft2(modes, *angle.T, iflag=1, eps=self.precision)


class DirectSum(AbstractEngine):
    """Every mode for every token, as products of matrices: on any device, without anything to install.

    Parameters
    ----------
    rounding : of the numbers.
    """

    rounding: float = eqx.field(static=True)

    @property
    def error(self) -> float:
        return 16 * self.rounding

    def modes(self, angle: Float[Array, "m d"], values: Complex[Array, "c m"], largest: int) -> Complex[Array, "c ..."]:
        c, side = values.shape[0], 2 * largest + 1
        rest = side ** (angle.shape[1] - 1)
        blocks = _blocks((angle, values.T), _size(max(rest, c * side), angle.dtype))

        @jax.checkpoint
        def more(sums: Array, block: tuple[Array, Array]) -> Array:
            angles, some = block
            waves = [jnp.conj(wave) for wave in _waves(angles, largest)]
            first = (some[:, :, None] * waves[0][:, None, :]).reshape(some.shape[0], c * side)
            return sums + first.T @ _product(waves[1:], some)

        start = jnp.zeros((c * side, rest), values.dtype)
        sums = jax.lax.scan(lambda sums, block: (more(sums, block), None), start, blocks)[0]
        return sums.reshape(c, *(side,) * angle.shape[1])

    def tokens(self, angle: Float[Array, "n d"], modes: Complex[Array, "c ..."]) -> Complex[Array, "c n"]:
        c, side, n = modes.shape[0], modes.shape[1], angle.shape[0]
        table = modes.reshape(c * side, -1).T

        @jax.checkpoint
        def seen(angles: Float[Array, "b d"]) -> Complex[Array, "b c"]:
            waves = _waves(angles, side // 2)
            inner = _product(waves[1:], waves[0]) @ table
            return jnp.einsum("bck,bk->bc", inner.reshape(-1, c, side), waves[0])

        (angles,) = _blocks((angle,), _size(max(table.shape), angle.dtype))
        return jax.lax.map(seen, angles).reshape(-1, c)[:n].T


def engine(precision: float, dtype: jnp.dtype, fast: bool | None) -> AbstractEngine:
    """FINUFFT on processors where it is installed, and the direct sum elsewhere.

    Parameters
    ----------
    precision : what the fast transform is asked for.
    fast : insist on the fast transform (True) or the direct sum (False).

    Raises
    ------
    ValueError
        If the fast transform is insisted on and not installed.
    """
    installed = importlib.util.find_spec("jax_finufft") is not None
    if fast and not installed:
        raise ValueError("the fast transform needs jax-finufft: pip install 'attention-particles[fast]'")
    if fast or (fast is None and installed and jax.default_backend() == "cpu"):
        return FastTransform(precision)
    return DirectSum(float(jnp.finfo(dtype).eps))


def _waves(angle: Float[Array, "b d"], largest: int) -> list[Complex[Array, "b modes"]]:
    """e^{i k angle} of each angle, for k = -largest .. largest."""
    k = jnp.arange(-largest, largest + 1, dtype=angle.dtype)
    turns = angle[:, :, None] * k[None, None, :]
    waves = jax.lax.complex(jnp.cos(turns), jnp.sin(turns))
    return [waves[:, axis] for axis in range(angle.shape[1])]


def _product(waves: list[Complex[Array, "b _modes"]], like: Complex[Array, "b ..."]) -> Complex[Array, "b rest"]:
    """The waves of several angles multiplied out; a column of ones for none."""
    out = jnp.ones((like.shape[0], 1), like.dtype)
    for wave in waves:
        out = (out[:, :, None] * wave[:, None, :]).reshape(out.shape[0], -1)
    return out


def _size(rest: int, dtype: jnp.dtype) -> int:
    return max(16, BLOCK_BYTES // (2 * dtype.itemsize * max(rest, 64)))


def _blocks(tree: tuple[Array, ...], size: int) -> tuple[Array, ...]:
    """Every array cut along its first axis, the last block padded with zeros."""
    count = -(-tree[0].shape[0] // size)

    def cut(leaf: Array) -> Array:
        padding = [(0, count * size - leaf.shape[0])] + [(0, 0)] * (leaf.ndim - 1)
        return jnp.pad(leaf, padding).reshape(count, size, *leaf.shape[1:])

    return tuple(cut(leaf) for leaf in tree)
