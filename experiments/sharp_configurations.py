"""Repelled tokens on spheres find the configurations that minimize every reasonable energy at once."""

import dataclasses
from typing import ClassVar

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import xarray as xr
from jaxtyping import Array, Float

import particles as pt
from particles.chart import Curves, Panel
from particles.declaration import option, parameter

NAMES = {4: "tetrahedron", 6: "octahedron", 12: "icosahedron"}


class SharpConfigurations(pt.AbstractClaim):
    """Under V = -I tokens on spheres come to rest at sharp configurations: polygons and Platonic solids.

    Of several random starts the one of least energy counts; its inner products are those of the configuration, and so
    is its energy.

    Parameters
    ----------
    polygons : numbers of tokens on the circle.
    solids : tokens on the sphere, of 4, 6, 12. Fewer than the most are tokens of which some have no mass.
    beta : inverse temperature of the unnormalized law.
    starts : how many of each.
    until : the last depth.
    seed : of the starts.
    control : the negative control: V = I.

    Source
    ------
    cohn2007universally, for the configurations; geshkovski2023perspective, for attention.
    """

    minutes: ClassVar[float] = 1.0
    polygons: tuple[int, ...] = option((7,), ge=3)
    solids: tuple[int, ...] = option((4, 6, 12))
    beta: Float[Array, ""] = parameter(2.0, gt=0)
    starts: int = option(8, ge=1)
    until: Float[Array, ""] = parameter(600.0, gt=0)
    seed: int = option(0)
    control: bool = option(False)
    sources: ClassVar[tuple[str, ...]] = ("cohn2007universally", "geshkovski2023perspective")

    def outside(self, data: xr.Dataset) -> str:
        return (
            "" if set(self.solids) <= set(NAMES) else f"no sharp configuration on the sphere has {self.solids} tokens"
        )

    def data(self) -> xr.Dataset:
        depths = np.geomspace(0.1, float(self.until), 40)
        runs = [*self._relaxed(self.polygons, 2, depths), *self._relaxed(self.solids, 3, depths)]
        counts = (*self.polygons, *self.solids)
        expected = [*map(_polygon, self.polygons), *map(_solid, self.solids)]
        beta, pairs = float(self.beta), max(n * (n - 1) // 2 for n in counts)
        least = [_energy(each, n, beta) for each, n in zip(expected, counts, strict=True)]
        found, energies = [], []
        for run, n in zip(runs, counts, strict=True):
            x = run[:, :, :n]
            products = np.sort(np.einsum("rtid,rtjd->rtij", x, x)[..., *np.triu_indices(n, 1)], axis=-1)
            energy = _energy(products, n, beta)
            best = np.argmin(energy[:, -1])
            found.append(products[best, -1])
            energies.append(energy[best])
        names = [*(f"polygon of {n}" for n in self.polygons), *(NAMES[n] for n in self.solids)]
        product = {"symbol": r"$\langle x_i,x_j\rangle$"}
        above = np.asarray(energies) / np.asarray(least)[:, None] - 1
        wrong = [np.abs(a - b).max() for a, b in zip(found, expected, strict=True)]
        return xr.Dataset(
            {
                "products": (("name", "rank"), _padded(found, pairs), product | {"long_name": "tokens"}),
                "expected": (
                    ("name", "rank"),
                    _padded(expected, pairs),
                    product | {"long_name": "sharp configuration"},
                ),
                "above": (
                    ("name", "depth"),
                    np.where(above > 1e-15, above, np.nan),
                    {"long_name": "energy above the least", "symbol": r"$E/E_{\min}-1$"},
                ),
                "error": ("name", wrong, {"long_name": "largest error of an inner product"}),
                "excess": ("name", above[:, -1], {"long_name": "relative error of the energy"}),
            },
            coords={
                "name": ("name", names, {"long_name": "configuration"}),
                "rank": ("rank", np.arange(1, pairs + 1), {"long_name": "pair, in order"}),
                "depth": ("depth", depths, {"long_name": "depth", "symbol": "$t$"}),
            },
        )

    def _relaxed(self, counts: tuple[int, ...], d: int, depths: np.ndarray) -> np.ndarray | tuple[()]:
        """Runs from random starts, `[count start time token d]`; tokens beyond a count have no mass."""
        if not counts:
            return ()
        most, beta = max(counts), self.beta
        masses = jnp.asarray([[1 / n] * n + [0.0] * (most - n) for n in counts])
        keys = jax.random.split(jax.random.key(self.seed), self.starts)
        x0 = jnp.stack([pt.Sphere().uniform(key, most, d) for key in keys])
        plan = pt.Plan(self.until, save=tuple(depths), rtol=1e-8, atol=1e-10)
        value = pt.values.Linear(1.0 if self.control else -1.0)

        def along(mass: Float[Array, " n"], start: Float[Array, "n d"]) -> pt.Run:
            law = pt.Attention(pt.DotProduct(beta), pt.Masses(mass), pt.Mean(), value)
            return pt.solve(pt.Flow(pt.Sphere(), law), start, plan)

        over_starts = eqx.filter_vmap(along, in_axes=(None, 0))
        run = eqx.filter_vmap(over_starts, in_axes=(0, None))(masses, x0).complete()
        return np.asarray(run.tokens)[:, :, 1:]

    def checks(self, data: xr.Dataset) -> tuple[pt.Check, ...]:
        reason = "what is left of the approach, which is exponential"
        return tuple(
            check
            for k, name in enumerate(data.name.values)
            for check in (
                pt.Check(f"largest error of an inner product, {name}", float(data.error[k]), 0.0, 1e-6, reason),
                pt.Check(f"relative error of the energy, {name}", float(data.excess[k]), 0.0, 1e-10, "quadratic in it"),
            )
        )

    def chart(self, data: xr.Dataset) -> tuple[Panel, ...]:
        return (
            Curves("rank", ("products",), ("expected",), by="name", title="inner products at rest"),
            Curves("depth", ("above",), by="name", log="xy", title="energy"),
        )

    def shrunk(self) -> "SharpConfigurations":
        return dataclasses.replace(self, polygons=(), solids=(4, 6), starts=3, until=jnp.asarray(200.0))


def _polygon(n: int) -> np.ndarray:
    """The inner products of a regular polygon, in order."""
    i, j = np.triu_indices(n, 1)
    return np.sort(np.cos(2 * np.pi * (i - j) / n))


def _solid(n: int) -> np.ndarray:
    """The inner products of the Platonic solid of n corners with triangular faces, in order."""
    values, counts = {
        4: ((-1 / 3,), (6,)),
        6: ((-1.0, 0.0), (3, 12)),
        12: ((-1.0, -1 / np.sqrt(5), 1 / np.sqrt(5)), (6, 30, 30)),
    }[n]
    return np.repeat(values, counts)


def _energy(products: np.ndarray, n: int, beta: float) -> np.ndarray:
    """The interaction energy of n tokens with these inner products, along the last axis."""
    return (n * np.exp(beta) + 2 * np.sum(np.exp(beta * products), axis=-1)) / (2 * beta * n**2)


def _padded(rows: list[np.ndarray], length: int) -> np.ndarray:
    """Rows of one length, filled up with what is no number."""
    return np.stack([np.concatenate([row, np.full(length - len(row), np.nan)]) for row in rows])
