"""Sums over modes in place of pairs: as many tokens as fit into memory, in the dimensions the theory lives in."""

from typing import ClassVar

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Float, Int, PyTree

from ...declaration import option
from ..base import AbstractDevices, AbstractPair, AbstractSummation, Gathered
from ..bilinear import Bilinear, Unserved
from .basis import Box, Ring
from .engine import FastTransform, engine
from .kernel import Modes, Rung, gaussian_sum
from .poor import repaired
from .span import Centered, Reduced, corners, guessed

# The largest modes there are programs for, by the number of angles; the last sets how wide the images may be.
LADDER = {
    1: (64, 2048, 65536),
    2: (32, 160, 800),
    3: (14, 22, 36, 60),
}
SHARE = 64  # of a row's mass to that of all columns, that the first set of programs is made for
FINEST = {8: 5e-14, 4: 5e-7}  # the precision that transforms can be asked for, by the bytes of a number
FAST_WORTH = {1: 4096, 2: 4096, 3: 8192}  # tokens from which the fast transform pays, by the dimension of images
PAIRS_OF_A_MODE = 2  # how many pairs cost as much as a mode of the direct sum
POOR = 256  # rows with too little mass for the modes that are summed pair by pair


class Report(eqx.Module):
    """How exact a gather by modes is.

    Attributes
    ----------
    error : the largest error of a row's mass, relative to it; infinite where modes cannot serve.
    modes : the largest mode of the program that was chosen.
    poor : how many rows have too little mass for the modes and are summed pair by pair.
    met : whether every row is within the tolerance.
    """

    error: Float[Array, ""]
    modes: Array
    poor: Array
    met: Bool[Array, ""]


class Fourier(AbstractSummation):
    r"""Sums over modes of a Gaussian kernel, exact to a tolerance: millions of tokens on circle, sphere or in R^3.

    .. math:: \sum_j e^{-|a_i - b_j|^2 / 2} v_j = \sum_k h_k e^{i k \cdot \theta_i} \sum_j e^{-i k \cdot \theta_j} v_j

    It serves logits that are a product of row and column, `DotProduct`, `SquaredDistance`, `Cosine`, `Metric`, whose
    images have at most three dimensions, under Softmax, Mean, Null, Sinkhorn, with masses and without a token itself.
    On a circle modes are weighed by Bessel functions, elsewhere by a Gaussian made periodic. The error of every row is
    bounded relative to the row's own mass; rows that see too little for that are summed pair by pair, up to 256 of
    them. Where the tolerance is missed all the same, what is gathered is NaN: `pt.summation_report` says why.

    Parameters
    ----------
    tolerance : the largest relative error of a row's mass.
    fast : whether modes are summed by the fast transform of the extra `fast` (true) or one by one (false); by default
        the fast one on processors where it is installed.

    Raises
    ------
    ValueError
        If logits are no product, images have more than three dimensions, or numbers are too short for the tolerance.

    Cost
    ----
    O(n + M log M) time for M modes, of which there are about (beta^(1/2) R log(1/tolerance))^d in a box of size R.

    Source
    ------
    greengard2022equispaced; barnett2019parallel.
    """

    tolerance: float = option(1e-9, gt=0, lt=1)
    fast: bool | None = option(None)
    sources: ClassVar[tuple[str, ...]] = ("greengard2022equispaced", "barnett2019parallel")

    def gather(
        self, pair: AbstractPair, rows: PyTree[Array], columns: PyTree[Array], values: Float[Array, "m k"]
    ) -> Gathered:
        form = self._form(pair, rows, columns, values.dtype)
        return _kept(*self.attempt(form, pair.level(), values))

    def around(
        self,
        devices: AbstractDevices,
        pair: AbstractPair,
        rows: PyTree[Array],
        columns: PyTree[Array],
        values: Float[Array, "m k"],
    ) -> Gathered:
        form = self._form(pair, rows, columns, values.dtype)
        return _kept(*self.attempt_around(devices, form, pair.level(), values))

    def _form(self, pair: AbstractPair, rows: PyTree[Array], columns: PyTree[Array], dtype: jnp.dtype) -> Bilinear:
        try:
            return self.form(pair, rows, columns, dtype)
        except Unserved as error:
            raise ValueError(f"Fourier cannot serve: {error}; use Blocked(), or Auto() to have it chosen") from None

    def form(self, pair: AbstractPair, rows: PyTree[Array], columns: PyTree[Array], dtype: jnp.dtype) -> Bilinear:
        """The logits as this summation needs them.

        Raises
        ------
        Unserved
            If it cannot serve the pair, or not in numbers of that precision.
        """
        form, wide = pair.bilinear(rows, columns), _wide(dtype)
        if form.a.shape[1] not in LADDER:
            raise Unserved(
                f"the images of queries and keys have {form.a.shape[1]} dimensions, and modes are for 1 to 3"
            )
        least = SHARE * FINEST[wide.itemsize]
        if self.tolerance < least:
            raise Unserved(
                f"the tolerance {self.tolerance:g} is below what {wide.name} can give, about {least:.0e}: use a larger "
                'one, or precision = "float64"'
            )
        return form

    def attempt(
        self, form: Bilinear, level: float, values: Float[Array, "m k"], axis: str | None = None
    ) -> tuple[Gathered, Report]:
        """What each row gathers, and how exactly.

        Parameters
        ----------
        form : from `form`.
        level : of the pair.
        axis : of a mesh over whose devices rows and columns are spread.
        """
        dtype, wide = values.dtype, _wide(values.dtype)
        form, inner = jax.tree.map(lambda leaf: leaf.astype(wide), (form, values))
        centered, over = Centered.of(form, axis), Reduced(axis)
        kappa = jax.lax.stop_gradient(centered.kappa)
        most = over(jnp.max(kappa, initial=-jnp.inf))
        most = jnp.where(most == -jnp.inf, 0, most)
        weights = jnp.exp(centered.kappa - most)
        whole = over.sum(jnp.sum(jax.lax.stop_gradient(weights)))
        modes, error = self._modes(centered, guessed(centered, weights, whole, over), whole, axis)
        sums = gaussian_sum(centered.a, centered.b, weights[:, None] * with_one(inner), modes)
        if not form.itself:
            own = jnp.exp(-0.5 * jnp.sum((centered.a - centered.b) ** 2, axis=1)) * weights
            sums = sums - own[:, None] * with_one(inner)
        still = jax.lax.stop_gradient(centered.rho)
        sums = jnp.exp(centered.rho - still)[:, None] * sums
        gathered = Gathered(still + most + level, sums[:, -1], sums[:, :-1])
        errors = error * whole / jnp.maximum(jax.lax.stop_gradient(gathered.mass), 0)
        poor = ~(errors <= self.tolerance) & (whole > 0)
        count = over.sum(jnp.sum(poor))
        worst = over(jnp.max(jnp.where(poor, 0, errors), initial=0))
        few = count <= POOR
        gathered = jax.lax.cond(
            few & (count > 0),
            lambda: repaired(gathered, poor, POOR, level, centered, form.itself, inner, over),
            lambda: gathered,
        )
        largest = jnp.asarray([rung.largest for rung in modes.rungs])[modes.chosen]
        gathered = jax.tree.map(lambda leaf: leaf.astype(dtype), gathered)
        return gathered, Report(jnp.where(few, worst, jnp.inf), largest, count, few)

    def attempt_around(
        self, devices: AbstractDevices, form: Bilinear, level: float, values: Float[Array, "m k"]
    ) -> tuple[Gathered, Report]:
        """`attempt`, with rows and columns shared out over devices, whose modes are added up."""

        def one(parts: tuple[PyTree[Array], PyTree[Array]], real: Bool[Array, " m"]) -> tuple[Gathered, Report]:
            (a, r), (b, c, values) = parts
            part = Bilinear(a, b, r, jnp.where(real, c, -jnp.inf), form.itself)
            return self.attempt(part, level, values, devices.axis)

        return devices.added(one, (form.a, form.r), (form.b, form.c, values))

    def _modes(
        self, centered: Centered, mass: Float[Array, ""], whole: Float[Array, ""], axis: str | None
    ) -> tuple[Modes, Float[Array, ""]]:
        """The cheapest program whose error is small beside the mass of a row, with that error."""
        bases, rungs, errors, boxes = [], [], [], []
        dtype, d = centered.a.dtype, centered.a.shape[1]
        low, high = corners(centered.a, centered.b, Reduced(axis))
        finest = FINEST[dtype.itemsize]
        for precision in sorted({max(self.tolerance / SHARE, finest), finest}, reverse=True):
            by = engine(precision, dtype, self.fast)
            box = Box.around(low, high, precision)
            radius = Reduced(axis)(jnp.max(jnp.sum(jax.lax.stop_gradient(centered.b) ** 2, axis=1)))
            kinds = [(Ring(radius), centered.round, 1)] if d == 2 else []
            for basis, usable, angles in [*kinds, (box, True, d)]:
                ladder = LADDER[angles]
                kernel = basis.error(jnp.asarray(ladder, dtype))
                errors.append(jnp.where(usable, kernel + by.error, jnp.inf))
                boxes += [basis is box] * len(ladder)
                rungs += [Rung(len(bases), largest, by) for largest in ladder]
                bases.append(basis)
        found = jnp.concatenate(errors)
        allowed = 0.5 * self.tolerance * mass
        chosen = _first(found, whole, allowed)
        smooth = _first(jnp.where(jnp.asarray(boxes), found, jnp.inf), whole, allowed)
        lost = jnp.where(found[smooth] <= jnp.maximum(found[chosen], self.tolerance), 0, jnp.nan).astype(dtype)
        return Modes(tuple(bases), tuple(rungs), chosen, smooth, lost, axis), found[chosen]

    def worth(self, form: Bilinear) -> bool:
        """Whether modes are likely to be cheaper than pairs."""
        width = form.a.shape[1]
        if isinstance(engine(FINEST[8], form.a.dtype, self.fast), FastTransform):
            least = FAST_WORTH[width]
        else:
            least = PAIRS_OF_A_MODE * (2 * LADDER[width][0] + 1) ** width
        return min(form.a.shape[0], form.b.shape[0]) >= least

    def report(
        self, pair: AbstractPair, rows: PyTree[Array], columns: PyTree[Array], values: Float[Array, "m k"]
    ) -> Report:
        return self.attempt(self.form(pair, rows, columns, values.dtype), pair.level(), values)[1]

    def chosen(self, n: int, m: int, itemsize: int) -> AbstractSummation:
        return self

    def work(self, n: int, m: int) -> int:
        return min(n * m, FAST_WORTH[3] * max(n, m))

    def memory(self, n: int, m: int, k: int, itemsize: int) -> int:
        values = 16 * (n + m) * (k + 2)
        grid = 16 * 8 * (2 * LADDER[3][:2][-1]) ** 3
        return 3 * values + grid


def _kept(gathered: Gathered, report: Report) -> Gathered:
    """What was gathered, NaN where the tolerance was missed."""
    lost = jnp.where(report.met, 0, jnp.nan).astype(gathered.mass.dtype)
    return Gathered(gathered.peak, gathered.mass + lost, gathered.total + lost)


def _first(errors: Float[Array, " j"], whole: Float[Array, ""], allowed: Float[Array, ""]) -> Int[Array, ""]:
    """The first program whose error is allowed, or the most exact one."""
    enough = errors * whole <= allowed
    return jnp.where(jnp.any(enough), jnp.argmax(enough), jnp.argmin(errors))


def _wide(dtype: jnp.dtype) -> np.dtype:
    """The precision that modes are summed in: double wherever JAX has it."""
    return np.dtype("float64" if jax.config.jax_enable_x64 else dtype)  # pyright: ignore[reportAttributeAccessIssue]


def with_one(values: Float[Array, "m k"]) -> Float[Array, "m _k"]:
    """The values with a column of ones behind them."""
    return jnp.concatenate([values, jnp.ones((values.shape[0], 1), values.dtype)], axis=1)
