"""Attention without skip connections collapses double-exponentially."""

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
from particles.experiment import most

RESOLVED = 1e-11  # a cloud that is smaller than this relative to its distance from the origin is rounding


NODES = 48  # of the Gauss-Hermite rule that stands for Gaussian tokens


class RankCollapse(pt.AbstractClaim):
    """Without skips a layer of attention cubes the spread of its tokens: log |log w| grows by log 3 in every layer.

    Held against three exact facts: two tokens at y and -y obey y -> v y tanh(a y^2); the variance s of Gaussian tokens
    on the line, in the variable w = v a s, obeys w -> w^3; and the diameter D of any cloud obeys D -> at most
    |V| |A| D^3 / 4.

    Parameters
    ----------
    form, value : a and v, of the pair and of the Gaussian. A large v makes the cube of the pair exact early.
    pair : w = v a y^2 of the pair at depth 0, below 1.
    tokens, dim : of the cloud.
    layers : how many.
    seed : of the cloud and its matrices.
    control : the negative control: skip connections left on, x + A(x).

    Source
    ------
    dong2021attention, for the cubic rate; the three facts derived by hand.
    """

    minutes: ClassVar[float] = 0.5
    form: Float[Array, ""] = parameter(1.3, gt=0)
    value: Float[Array, ""] = parameter(10.0, gt=0)
    pair: Float[Array, ""] = parameter(0.97, gt=0, lt=1)
    tokens: int = option(32, ge=2)
    dim: int = option(4, ge=1)
    layers: int = option(6, ge=3)
    seed: int = option(0, ge=0)
    control: bool = option(False)
    sources: ClassVar[tuple[str, ...]] = ("dong2021attention",)

    def data(self) -> xr.Dataset:
        a, v, count = float(self.form), float(self.value), self.layers + 1
        law = pt.Attention(pt.DotProduct(a), value=pt.values.Linear(v))
        y = np.sqrt(float(self.pair) / (v * a))
        both = self._layers(law, np.array([[y], [-y]]))[:, :, 0]
        pair = (both[:, 0] - both[:, 1]) / 2
        followed = pair[:-1] * v * np.tanh(a * pair[:-1] ** 2)
        diameter, bound = self._cloud()
        layer = np.arange(count)
        w, words = v * a * pair**2, {"symbol": r"$|\log w|$"}
        gaussian = self._gaussian(a, v, float(self.pair))
        cubed = abs(np.log(float(self.pair))) * 3.0**layer
        return xr.Dataset(
            {
                "pair": ("layer", np.abs(np.log(w)), words | {"long_name": "two tokens"}),
                "gaussian": ("layer", np.abs(np.log(gaussian)), words | {"long_name": "Gaussian tokens"}),
                "cube": ("layer", cubed, words | {"long_name": r"cube of $w$ in every layer"}),
                "error": (
                    "layer",
                    np.append(0, np.abs(pair[1:] - followed) / (v * pair[:-1])),
                    {"long_name": "error of the recursion over v y"},
                ),
                "diameter": ("layer", diameter, {"long_name": "a cloud", "symbol": "$D$"}),
                "bound": ("layer", bound, {"long_name": r"bound by the layer before", "symbol": "$D$"}),
            },
            coords={"layer": ("layer", layer, {"long_name": "layer", "symbol": "$k$"})},
        )

    def _layers(self, law: pt.AbstractLaw, x: np.ndarray) -> np.ndarray:
        """Tokens before the first layer and after each."""

        def layer(x: Float[Array, "n d"], _: None) -> tuple[Float[Array, "n d"], Float[Array, "n d"]]:
            moved = law(jnp.zeros(()), x, pt.Dense())
            x = x + moved if self.control else moved
            return x, x

        _, after = eqx.filter_jit(lambda x: jax.lax.scan(layer, x, length=self.layers))(jnp.asarray(x))
        return np.concatenate([x[None], np.asarray(after)])

    def _gaussian(self, a: float, v: float, w: float) -> np.ndarray:
        """w = v a s of Gaussian tokens of variance s, as nodes with masses, before the first layer and after each."""
        node, mass = np.polynomial.hermite_e.hermegauss(NODES)
        mass = mass / mass.sum()
        law = pt.Attention(pt.DotProduct(a), pt.Masses(mass), value=pt.values.Linear(v))
        x = self._layers(law, np.sqrt(w / (v * a)) * node[:, None])[:, :, 0]
        return v * a * np.sum(mass * x**2, axis=1)

    def _cloud(self) -> tuple[np.ndarray, np.ndarray]:
        """The diameter of a cloud before the first layer and after each, and the bound from the layer before."""
        rng = np.random.default_rng(self.seed)
        form, value = (one / np.linalg.norm(one, 2) for one in rng.normal(size=(2, self.dim, self.dim)))
        law = pt.Attention(pt.DotProduct(form=form), value=pt.values.Linear(value))
        x = self._layers(law, rng.normal(size=(self.tokens, self.dim)) * 0.7)
        diameter = np.linalg.norm(x[:, :, None] - x[:, None, :], axis=-1).max(axis=(1, 2))
        size = np.linalg.norm(x, axis=2).max(axis=1)
        bound = np.append(diameter[0], diameter[:-1] ** 3 / 4)
        blurred = bound < RESOLVED * size
        return np.where(blurred, np.nan, diameter), np.where(blurred, np.nan, bound)

    def checks(self, data: xr.Dataset) -> tuple[pt.Check, ...]:
        slopes = {name: np.diff(np.log(data[name].values)) for name in ("pair", "gaussian")}
        seen = data.isel(layer=slice(1, None))
        return (
            pt.Check("two tokens: error over v y", most(data.error), 0, 1e-12, "rounding, which v amplifies"),
            pt.Check("two tokens: growth of log|log w|", slopes["pair"][-1], np.log(3), 0.01, "the cube is of small y"),
            pt.Check(
                "Gaussian tokens: growth of log|log w|",
                float(np.abs(slopes["gaussian"] - np.log(3)).max() + np.log(3)),
                np.log(3),
                1e-12,
                "rounding",
            ),
            pt.Check(
                "cloud: diameter over its bound, at most",
                float((seen.diameter / seen.bound).max()),
                1.0,
                0.0,
                "a strict bound",
                pt.Sense.at_most,
            ),
        )

    def chart(self, data: xr.Dataset) -> tuple[Panel, ...]:
        return (
            Curves("layer", ("pair", "gaussian"), ("cube",), log="y", title="double exponential"),
            Curves("layer", ("diameter",), bounds=("bound",), log="y", title="diameter of a cloud"),
        )

    def shrunk(self) -> "RankCollapse":
        return dataclasses.replace(self, tokens=8, dim=2, layers=5)
