"""Attention by dot products is not Lipschitz on all of space."""

import dataclasses
from typing import Any, ClassVar

import equinox as eqx
import jax.numpy as jnp
import numpy as np
import xarray as xr

import particles as pt
from particles.analysis import AbstractTokenMap, LawMap, bounds
from particles.analysis.local import local_lipschitz
from particles.chart import Curves, Panel
from particles.declaration import option
from particles.experiment import most


class NotLipschitz(pt.AbstractClaim):
    """The derivative of attention by dot products grows like the square of one token, that of L2 attention does not.

    All tokens are zero but one, which has the logit C with a small displacement of another one along a unit vector u:
    x_i = C w / |w|^2, w = B^T u, with B the matrix of the logits. The displacement changes the weights, and through
    them the output of the displaced token, by exactly C^2 (1/n - 1/n^2) |V w| / |w|^2.

    Parameters
    ----------
    tokens, dim : how many tokens, in what dimension.
    pulls : values of C.
    seed : of the matrices, and of u.
    control : the negative control: L2 attention where dot products are claimed.

    Source
    ------
    kim2021lipschitz.
    """

    minutes: ClassVar[float] = 0.5
    tokens: int = option(12, ge=2)
    dim: int = option(3, ge=1)
    pulls: tuple[float, ...] = option((3.0, 10.0, 30.0, 100.0, 300.0, 1000.0), converter=tuple, gt=0)
    seed: int = option(0, ge=0)
    control: bool = option(False)
    sources: ClassVar[tuple[str, ...]] = ("kim2021lipschitz",)

    def data(self) -> xr.Dataset:
        rng, n, d = np.random.default_rng(self.seed), self.tokens, self.dim
        form, value = rng.normal(size=(2, d, d)) / np.sqrt(d)
        u = rng.normal(size=d)
        u /= np.linalg.norm(u)
        w = form.T @ u
        flat = pt.Euclidean()
        distances = LawMap(pt.Flow(flat, pt.Attention(pt.SquaredDistance(1.0))))
        products = LawMap(pt.Flow(flat, pt.Attention(pt.DotProduct(1.0, form=form), value=pt.values.Linear(value))))
        claimed = distances if self.control else products
        clouds = [np.outer(np.eye(n)[0], pull * w / (w @ w)) for pull in self.pulls]
        at_rest = _displaced(claimed, np.zeros((n, d)), u)
        changes = [np.linalg.norm(_displaced(claimed, x, u) - at_rest) for x in clouds]
        factor = (1 / n - 1 / n**2) * np.linalg.norm(value @ w) / (w @ w)
        exact = factor * np.square(self.pulls)
        words = {"symbol": r"$|\partial \Gamma_j|$"}
        largest = {"symbol": r"$\max |d\Gamma_i| / \max |\xi_j|$"}
        bound = np.full(len(self.pulls), bounds.distance_bound(1.0, 1.0, n))
        return xr.Dataset(
            {
                "change": ("pull", changes, words | {"long_name": "change by the weights, measured"}),
                "exact": ("pull", exact, words | {"long_name": "closed form"}),
                "dot": ("pull", _constants(claimed, clouds), largest | {"long_name": "dot products"}),
                "below": ("pull", exact - np.linalg.norm(at_rest), largest | {"long_name": "closed form, less values"}),
                "distance": ("pull", _constants(distances, clouds), largest | {"long_name": "L2 attention"}),
                "bound": ("pull", bound, largest | {"long_name": "bound of L2 attention"}),
            },
            coords={"pull": ("pull", list(self.pulls), {"symbol": "$C$", "long_name": "logit of the far token"})},
        )

    def checks(self, data: xr.Dataset) -> tuple[pt.Check, ...]:
        off = most(np.abs(data.change / data.exact - 1))
        grown = float((data.dot - data.below).min())
        kept = most(data.distance / data.bound)
        return (
            pt.Check("relative error of the derivative", off, 0, 1e-10, "rounding; both are exact"),
            pt.Check("excess of the local constant", grown, 0, 1e-9, "one displacement of many", pt.Sense.at_least),
            pt.Check("L2 attention over its bound", kept, 1, 1e-9, "an inequality; rounding", pt.Sense.at_most),
        )

    def chart(self, data: xr.Dataset) -> tuple[Panel, ...]:
        return (
            Curves("pull", ("change",), ("exact",), log="xy", title="one displacement"),
            Curves("pull", ("dot", "distance"), ("below",), ("bound",), log="xy", title="local Lipschitz constants"),
        )

    def shrunk(self) -> "NotLipschitz":
        return dataclasses.replace(self, tokens=5, pulls=(3.0, 30.0, 300.0))


@eqx.filter_jit
def _along(moved: AbstractTokenMap, x: Any, u: Any) -> Any:
    return moved.jvp(x, jnp.zeros_like(x).at[1].set(u))[1]


def _displaced(moved: AbstractTokenMap, x: np.ndarray, u: np.ndarray) -> np.ndarray:
    """How the output of the second token changes where that token is displaced along u, to first order."""
    return np.asarray(_along(moved, jnp.asarray(x), jnp.asarray(u)))


def _constants(moved: AbstractTokenMap, clouds: list[np.ndarray]) -> list[float]:
    """The largest displacement of an output for displacements of at most 1, at every cloud."""
    found = [local_lipschitz(moved, jnp.asarray(x), "max", tolerance=1e-6) for x in clouds]
    if not all(one.converged for one in found):
        raise pt.Failed("the power method for a local Lipschitz constant did not converge")
    return [float(one.value) for one in found]
