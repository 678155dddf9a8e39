"""Clouds of tokens as measures: where the tokens are, and what each of them weighs."""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np

from ...spaces import AbstractSpace

Cloud = np.ndarray | jax.Array

MASS = 1e-6  # by how much masses may fail to sum to 1: rounding in single precision; they are then divided by the sum
OFF_SPACE = 1e-4  # of its size a token may be off the space: rounding


@dataclasses.dataclass(frozen=True)
class Weighted:
    """A cloud with masses.

    Attributes
    ----------
    x : tokens, `[n d]`.
    masses : of the tokens, `[n]`, with sum 1.
    """

    x: np.ndarray
    masses: np.ndarray

    @property
    def equal(self) -> bool:
        """Whether every token weighs the same."""
        return bool(np.all(self.masses == self.masses[0]))


def pair(
    x: Cloud, y: Cloud, a: Cloud | None, b: Cloud | None, space: AbstractSpace | None
) -> tuple[Weighted, Weighted]:
    """Two clouds between which there is a distance.

    Raises
    ------
    ValueError
        If they are not clouds of one dimension on the space, or masses are not those of a measure of mass 1.
    """
    x, y = np.asarray(x, float), np.asarray(y, float)
    if x.ndim != 2 or y.ndim != 2 or x.shape[1] != y.shape[1] or 0 in (*x.shape, *y.shape):
        raise ValueError(f"expected two clouds of one dimension, (tokens, dim) each; got {x.shape} and {y.shape}")
    for name, one in (("first", x), ("second", y)):
        _check_place(name, one, space)
    return Weighted(x, _masses("a", a, len(x))), Weighted(y, _masses("b", b, len(y)))


def _check_place(name: str, x: np.ndarray, space: AbstractSpace | None) -> None:
    lost = int(np.sum(~np.isfinite(x).all(axis=1)))
    if lost:
        raise ValueError(f"{lost} of {len(x)} tokens of the {name} cloud are not finite")
    if space is None or not space.constrained:
        return
    space.check_dim(x.shape[1])
    off = float(np.max(np.abs(np.asarray(space.project(jnp.asarray(x))) - x)))
    if not off <= OFF_SPACE * max(1.0, float(np.max(np.abs(x)))):
        raise ValueError(
            f"tokens of the {name} cloud lie off the {type(space).__name__} by up to {off:.3g}; project them first"
        )


def _masses(name: str, given: Cloud | None, n: int) -> np.ndarray:
    if given is None:
        return np.full(n, 1 / n)
    masses = np.asarray(given, float)
    if masses.shape != (n,):
        raise ValueError(f"`{name}` needs one mass for each of {n} tokens; got shape {masses.shape}")
    if not np.all(masses >= 0):
        raise ValueError(f"masses are not negative; the smallest of `{name}` is {masses.min():.6g}")
    total = float(masses.sum())
    if not abs(total - 1) <= MASS:
        raise ValueError(f"masses sum to 1; those of `{name}` sum to {total:.6g}. Divide by the sum.")
    return masses / total
