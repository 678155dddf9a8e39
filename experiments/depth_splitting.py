"""Attention and feed-forward one after another: the order of a split layer."""

import dataclasses
from typing import ClassVar

import jax
import jax.numpy as jnp
import numpy as np
import xarray as xr
from jaxtyping import Array, Float

import particles as pt
from particles import limits
from particles.chart import Curves, Panel
from particles.declaration import option, parameter

SPLITTINGS = {"Lie": ("Lie", 2), "Strang": ("Strang", 2), "Strang of Euler steps": ("Strang", 1)}
ORDERS = (1.0, 2.0, 1.0)
ORDERS_DOWN = tuple(-order for order in ORDERS)


class DepthSplitting(pt.AbstractClaim):
    """Attention then feed-forward is of order 1 in depth, the Macaron layer of order 2 if its parts are of order 2.

    Gaussian tokens, V = I and a linear feed-forward layer: the covariance of the flow is one matrix exponential. The
    tokens of the network are the nodes of a Gauss-Hermite rule with its masses, which stay Gaussian under every layer.
    Beside it any cloud on the sphere, with softmax attention and a perceptron, in the largest displacement and in W_1.

    Parameters
    ----------
    layers : the numbers L of layers.
    nodes : of the rule, in each of two dimensions.
    until : the depth T.
    tokens : of the cloud on the sphere; with 0 there is none.
    seed : of matrices and cloud.
    control : the negative control: whatever the splitting, the parts are taken one after another, by Euler steps.

    Source
    ------
    lu2020understanding, for the Macaron layer; the covariance derived by hand.
    """

    minutes: ClassVar[float] = 1.0
    layers: tuple[int, ...] = option((16, 32, 64, 128, 256))
    nodes: int = option(16, ge=4)
    until: Float[Array, ""] = parameter(1.0, gt=0)
    tokens: int = option(24, ge=0)
    seed: int = option(0, ge=0)
    control: bool = option(False)
    sources: ClassVar[tuple[str, ...]] = ("lu2020understanding",)

    def data(self) -> xr.Dataset:
        splittings = [("Lie", 1)] * len(SPLITTINGS) if self.control else list(SPLITTINGS.values())
        errors = [self._covariance_errors(*splitting) for splitting in splittings]
        found = {"covariance": (("layers", "splitting"), np.array(errors).T, {"symbol": r"$|\Sigma_L - \Sigma(T)|$"})}
        if self.tokens:
            clouds = [self._cloud(*splitting) for splitting in splittings]
            words = {"displacement": {"symbol": r"$\max_i |x_i^L - x_i(T)|$"}, "transport": {"symbol": "$W_1$"}}
            for name, symbol in words.items():
                found[name] = (("layers", "splitting"), np.array([getattr(c, name) for c in clouds]).T, symbol)
        coordinates = {
            "layers": ("layers", list(self.layers), {"symbol": "$L$"}),
            "splitting": ("splitting", list(SPLITTINGS), {"symbol": "splitting"}),
        }
        return xr.Dataset(found, coords=coordinates)

    def _matrices(self) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """A of the logits <y, A x>, W of the feed-forward layer, and the covariance at the start."""
        rng = np.random.default_rng(self.seed)
        factor = 0.4 * np.eye(2) + 0.15 * rng.normal(size=(2, 2))
        return 0.4 * rng.normal(size=(2, 2)), 0.5 * rng.normal(size=(2, 2)), factor @ factor.T

    def _covariance_errors(self, splitting: str, stages: int) -> list[float]:
        form, forward, first = self._matrices()
        expected = limits.split.covariance(first, form, forward, float(self.until))
        node, mass = np.polynomial.hermite_e.hermegauss(self.nodes)
        grid = np.stack(np.meshgrid(node, node, indexing="ij"), axis=-1).reshape(-1, 2)
        masses = np.outer(mass, mass).reshape(-1) / mass.sum() ** 2
        x0 = jnp.asarray(grid @ np.linalg.cholesky(first).T)
        law = pt.Attention(pt.DotProduct(1.0, form=form.T), pt.Masses(masses)) + pt.FeedForward(pt.maps.Affine(forward))
        network = pt.Layers(law, pt.norms.Residual(), splitting, stages)
        errors = []
        for count in self.layers:
            x = np.asarray(self._end(network, x0, count))
            errors.append(float(np.abs((masses[:, None] * x).T @ x - expected).max()))
        return errors

    def _end(self, network: pt.Layers, x0: jax.Array, count: int) -> jax.Array:
        plan = pt.Plan(self.until, save=1, solver="Layers", dt=float(self.until) / count)
        return pt.solve(network, x0, plan).complete().final

    def _cloud(self, splitting: str, stages: int) -> limits.depth.Convergence:
        rng = np.random.default_rng(self.seed + 1)
        perceptron = pt.Perceptron((rng.normal(size=(8, 3)), 0.3 * rng.normal(size=(3, 8))))
        law = pt.Attention(pt.DotProduct(2.0)) + pt.FeedForward(perceptron)
        x0 = pt.Sphere().uniform(jax.random.key(self.seed), self.tokens, 3)
        network = pt.Layers(law, pt.norms.Post(), splitting, stages)
        return limits.depth.converge(network, x0, float(self.until), self.layers)

    def checks(self, data: xr.Dataset) -> tuple[pt.Check, ...]:
        checks = []
        for name, words in {"covariance": "Gaussian tokens", "displacement": "a cloud", "transport": "W_1"}.items():
            for k, splitting in enumerate(SPLITTINGS if name in data else ()):
                order = -limits.depth.slope(data.layers.values[-3:], data[name][-3:, k].values)
                reason = "the next order is 1/L off"
                checks.append(pt.Check(f"order, {words}, {splitting}", order, ORDERS[k], 0.06, reason))
        return tuple(checks)

    def chart(self, data: xr.Dataset) -> tuple[Panel, ...]:
        titles = {"covariance": "Gaussian tokens", "displacement": "a cloud on the sphere"}
        return tuple(
            Curves("layers", (name,), by="splitting", log="xy", slopes=ORDERS_DOWN, title=title)
            for name, title in titles.items()
            if name in data
        )

    def shrunk(self) -> "DepthSplitting":
        return dataclasses.replace(self, layers=(32, 64, 128), nodes=12, tokens=0)
