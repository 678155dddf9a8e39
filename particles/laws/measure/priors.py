"""How well a row sees a column: densities for pairs, given, by species or by distance of indices."""

from typing import ClassVar, Literal

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Int

from ...declaration import concrete, option, parameter, stored
from ...stored import DataError, Stored
from .base import AbstractFactor, log, offset_of


class Given(AbstractFactor):
    r"""A matrix of densities, one for each pair: a graph, a prior, a mask of any shape.

    .. math:: \pi_{ij} \propto M_{ij}

    Parameters
    ----------
    matrix : M, not negative, `[n m]`.
    path : of a file that holds it, in place of `matrix`: `.npy`, `.npz` of one array or `.csv`. It is read once, when
        the measure is made; nothing in it is executed.
    logarithmic : whether the numbers are logarithms of densities; -inf then hides.

    Raises
    ------
    ValueError
        If both or none of `matrix` and `path` are given, the shape is not that of the pairs, or a density is negative.
    DataError
        If the file cannot be read.

    Source
    ------
    shi2021sparsebert.
    """

    traits: ClassVar[frozenset[str]] = frozenset({"masked", "graded"})
    matrix: Float[Array, "_n _m"] | None = parameter(None, infinite=True)
    path: Stored | None = stored(None)
    logarithmic: bool = option(False)
    sources: ClassVar[tuple[str, ...]] = ("shi2021sparsebert",)

    def __check_init__(self):
        if (self.matrix is None) == (self.path is None):
            given = "neither" if self.path is None else "both"
            raise ValueError(f"Given needs one of `matrix` and `path`; got {given}")
        if self.path is not None:
            self._check(_numbers(self.path), str(self.path.path))
        elif (numbers := concrete(self.matrix)) is not None:
            self._check(numbers, "`matrix` of Given")

    def log_factor(self, i: Int[Array, " r"], j: Int[Array, " c"], m: int) -> Float[Array, "r c"]:
        entries = self._densities()[i][:, j]
        return entries if self.logarithmic else log(entries)

    def bound(self) -> Float[Array, ""] | float:
        logs = self._densities() if self.logarithmic else log(self._densities())
        return jnp.max(jnp.abs(jnp.where(jnp.isfinite(logs), logs, 0)))

    def check_pairs(self, n: int, m: int) -> None:
        shape = self._densities().shape
        if shape != (n, m):
            raise ValueError(f"Given has a matrix of shape {shape}, but there are {n} x {m} pairs")

    def _densities(self) -> Float[Array, "_n _m"]:
        if self.path is not None:
            return jnp.asarray(_numbers(self.path))
        assert self.matrix is not None, "one of the two is given"
        return self.matrix

    def _check(self, numbers: np.ndarray, what: str) -> None:
        if numbers.ndim != 2:
            raise ValueError(f"{what} must be a matrix; got shape {numbers.shape}")
        bad = np.isnan(numbers) | ((numbers == np.inf) if self.logarithmic else ((numbers < 0) | np.isinf(numbers)))
        if bad.any():
            i, j = np.argwhere(bad)[0]
            expected = "a number or -inf" if self.logarithmic else "a finite density, at least 0"
            raise ValueError(f"{what} must hold {expected} for each pair; got {numbers[i, j]:g} at row {i}, column {j}")


class Blocks(AbstractFactor):
    r"""One density for each pair of species: tokens in groups, one after another.

    .. math:: \pi_{ij} \propto M_{g(i) g(j)}

    One softmax over the union of the groups; a sum of `Cross` laws has a softmax for each group instead.

    Parameters
    ----------
    sizes : how many tokens each group has; their sum is the number of tokens.
    matrix : M, not negative, `[groups groups]`.

    Source
    ------
    vaswani2017attention.
    """

    traits: ClassVar[frozenset[str]] = frozenset({"masked", "graded"})
    sizes: tuple[int, ...] = option(ge=1)
    matrix: Float[Array, "s s"] = parameter(ge=0)
    sources: ClassVar[tuple[str, ...]] = ("vaswani2017attention",)

    def __check_init__(self):
        if self.matrix.shape != (len(self.sizes),) * 2:
            raise ValueError(
                f"`matrix` of Blocks must be {len(self.sizes)} x {len(self.sizes)}; got {self.matrix.shape}"
            )

    def log_factor(self, i: Int[Array, " r"], j: Int[Array, " c"], m: int) -> Float[Array, "r c"]:
        group = jnp.asarray(np.repeat(np.arange(len(self.sizes)), self.sizes))
        return log(self.matrix[group[i]][:, group[j]])

    def bound(self) -> Float[Array, ""] | float:
        logs = log(self.matrix)
        return jnp.max(jnp.abs(jnp.where(jnp.isfinite(logs), logs, 0)))

    def check_pairs(self, n: int, m: int) -> None:
        if (n, m) != (sum(self.sizes),) * 2:
            raise ValueError(f"Blocks has sizes {self.sizes}, {sum(self.sizes)} tokens; got {n} x {m} pairs")


class ALiBi(AbstractFactor):
    r"""Attention with linear biases: the farther back a token, the less it counts.

    .. math:: \pi_{ij} \propto e^{-\mu (i - j)} 1_{j \le i}

    A factor of the measure, so it does not scale with the score's beta.

    Parameters
    ----------
    slope : mu. Of H heads the h-th has 2^(-8h/H); see `slopes`.
    sees : "inclusive", itself and those before it; "strict", those before it alone, so that the first token sees
        nobody; "both", all, with |i - j| for the distance.

    Source
    ------
    press2022train.
    """

    slope: Float[Array, ""] = parameter(ge=0)
    sees: Literal["inclusive", "strict", "both"] = option("inclusive")
    sources: ClassVar[tuple[str, ...]] = ("press2022train",)

    def __check_init__(self):
        if self.sees not in ("inclusive", "strict", "both"):
            raise ValueError(f"`sees` of ALiBi must be 'inclusive', 'strict' or 'both'; got {self.sees!r}")

    @property
    def traits(self) -> frozenset[str]:  # pyright: ignore[reportIncompatibleVariableOverride]
        """Graded, and one-sided unless it sees both sides."""
        return frozenset({"graded"} if self.sees == "both" else {"graded", "masked", "one-sided"})

    @staticmethod
    def slopes(heads: int) -> tuple[float, ...]:
        """The slopes of the heads of a layer."""
        return tuple(2.0 ** (-8 * h / heads) for h in range(1, heads + 1))

    def log_factor(self, i: Int[Array, " r"], j: Int[Array, " c"], m: int) -> Float[Array, "r c"]:
        back = i[:, None] - j[None, :]
        graded = -self.slope * jnp.abs(back).astype(self.slope.dtype)
        seen = {"inclusive": back >= 0, "strict": back > 0, "both": jnp.ones_like(back, bool)}[self.sees]
        return jnp.where(seen, graded, -jnp.inf)

    def bound(self) -> Float[Array, ""] | float:
        return jnp.inf


class Toeplitz(AbstractFactor):
    r"""A density for each distance of indices: bands of any shape.

    .. math:: \pi_{ij} \propto m_{|i - j|}

    Parameters
    ----------
    weights : m, from distance 0 on, not negative; beyond the last nobody is seen.

    Source
    ------
    shi2021sparsebert.
    """

    traits: ClassVar[frozenset[str]] = frozenset({"masked", "graded"})
    weights: Float[Array, " w"] = parameter(ge=0)
    sources: ClassVar[tuple[str, ...]] = ("shi2021sparsebert",)

    def __check_init__(self):
        if self.weights.shape == (0,):
            raise ValueError("`weights` of Toeplitz needs one density for each distance, from 0 on; got none")

    def log_factor(self, i: Int[Array, " r"], j: Int[Array, " c"], m: int) -> Float[Array, "r c"]:
        return _banded(log(self.weights), offset_of(i, j, None), -jnp.inf)

    def bound(self) -> Float[Array, ""] | float:
        logs = log(self.weights)
        return jnp.max(jnp.abs(jnp.where(jnp.isfinite(logs), logs, 0)))


class RelaxedMask(AbstractFactor):
    r"""A mask that can be learned: for each distance of indices a gate between 0 and 1, with the noise of training.

    .. math:: \pi_{ij} \propto \sigma\big((a_{|i-j|} + L_{|i-j|}) / \tau\big)

    L is logistic noise drawn once, or absent. As tau tends to 0 each gate is open or shut, open with probability
    sigma(a).

    Parameters
    ----------
    logits : a, from distance 0 on; beyond the last nobody is seen.
    temperature : tau, positive.
    seed : of the noise; without it there is none.

    Source
    ------
    shi2021sparsebert.
    """

    traits: ClassVar[frozenset[str]] = frozenset({"masked", "graded"})
    logits: Float[Array, " w"] = parameter()
    temperature: Float[Array, ""] = parameter(1.0, gt=0)
    seed: int | None = option(None, ge=0)
    sources: ClassVar[tuple[str, ...]] = ("shi2021sparsebert",)

    def log_factor(self, i: Int[Array, " r"], j: Int[Array, " c"], m: int) -> Float[Array, "r c"]:
        return _banded(self._log_gates(), offset_of(i, j, None), -jnp.inf)

    def bound(self) -> Float[Array, ""] | float:
        return jnp.max(jnp.abs(self._log_gates()))

    def _log_gates(self) -> Float[Array, " w"]:
        logits = self.logits
        if self.seed is not None:
            logits = logits + jnp.asarray(np.random.default_rng(self.seed).logistic(size=logits.shape), logits.dtype)
        return jax.nn.log_sigmoid(logits / self.temperature)


def _numbers(file: Stored) -> np.ndarray:
    """The numbers of a file, as floats."""
    numbers = file.array()
    if numbers.dtype.kind not in "fiub":
        raise DataError(f"{file.path}: expected real numbers; got {numbers.dtype}")
    return np.asarray(numbers, float)


def _banded(values: Float[Array, " w"], offset: Int[Array, "r c"], beyond: float) -> Float[Array, "r c"]:
    """The value for each offset, another one beyond the last."""
    width = values.shape[0]
    return jnp.where(offset < width, values[jnp.minimum(offset, width - 1)], beyond)
