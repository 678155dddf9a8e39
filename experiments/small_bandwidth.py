"""Attention through a narrow kernel moves tokens along the gradient of their log density."""

import dataclasses
from typing import Any, ClassVar

import equinox as eqx
import jax.numpy as jnp
import numpy as np
import xarray as xr
from jaxtyping import Array, Float
from scipy.stats import norm

import particles as pt
from particles import limits
from particles.chart import Curves, Panel
from particles.declaration import option, parameter
from particles.experiment import most

PLACES = 40  # one of as many tokens is shown


class SmallBandwidth(pt.AbstractClaim):
    """Through a kernel of width sqrt(eps) attention moves Gaussian tokens by what is known at every eps.

    For a kernel of mass 1 without normalizer, for softmax, for Sinkhorn, and for softmax over keys weighed by a power
    of their density. The displacement over eps tends to the gradient of the density, to that of its logarithm, to half
    of it, and to a share 1 - a, but the comparison is with the exact number at the eps at hand, on tokens that are
    quantiles of a Gaussian, away from the tails that these cut off.

    Parameters
    ----------
    tokens : the quantiles.
    widths : eps.
    exponent : a, of the density.
    inner : tokens farther out than this are left out.
    control : the negative control: softmax in place of all three.

    Source
    ------
    sander2022sinkformers, for the limits; the numbers at every eps derived by hand.
    """

    minutes: ClassVar[float] = 1.0
    tokens: int = option(2048, ge=16)
    widths: Float[Array, " w"] = parameter((0.01, 0.02, 0.03, 0.05, 0.07, 0.1), gt=0)
    exponent: Float[Array, ""] = parameter(0.5, ge=0, lt=1)
    inner: Float[Array, ""] = parameter(1.5, gt=0)
    control: bool = option(False)
    sources: ClassVar[tuple[str, ...]] = ("sander2022sinkformers",)

    def data(self) -> xr.Dataset:
        x = norm.ppf((np.arange(self.tokens) + 0.5) / self.tokens)[:, None]
        inner, a = np.abs(x[:, 0]) < float(self.inner), float(self.exponent)
        kinds = ("softmax", "sinkhorn", "density")
        found, expected = np.zeros((2, len(kinds), self.widths.shape[0]))
        errors = np.zeros_like(found)
        for k, kind in enumerate(kinds):
            velocity = np.asarray(_velocities(self._law(kind), jnp.asarray(x), self.widths))[:, inner, 0]
            along = x[inner, 0]
            for w, eps in enumerate(np.asarray(self.widths)):
                share = (limits.small_bandwidth.kept(1.0, eps, kind, a) - 1) / eps
                errors[k, w] = np.abs(velocity[w] / eps - share * along).max()
                found[k, w], expected[k, w] = velocity[w] @ along / (along @ along) / eps, share
        words, error = {"symbol": r"$-(m-1)/\epsilon$"}, {"symbol": "error"}
        variables = {}
        for k, kind in enumerate(kinds):
            name = {"density": "density power", "sinkhorn": "Sinkhorn"}.get(kind, kind)
            variables |= {
                kind: ("width", -found[k], words | {"long_name": name}),
                f"{kind}_law": ("width", -expected[k], words | {"long_name": f"{name}, formula"}),
                f"{kind}_error": ("width", errors[k], error | {"long_name": name}),
            }
        variables |= self._unnormalized(jnp.asarray(x), x[inner, 0], inner)
        variables["tolerance"] = ("width", np.full(len(errors[0]), 1e-5), error | {"long_name": "tolerance"})
        width = {"long_name": "squared width", "symbol": r"$\epsilon$"}
        place = {"long_name": "place", "symbol": "$x$"}
        coordinates = {
            "width": ("width", np.asarray(self.widths), width),
            "place": ("place", x[inner, 0][::PLACES], place),
        }
        return xr.Dataset(variables, coords=coordinates)

    def _unnormalized(self, x: Float[Array, "n d"], along: np.ndarray, inner: np.ndarray) -> dict[str, Any]:
        """The displacement through a kernel of mass 1, at the largest width over places, and its error at every one."""
        normalizer = pt.Softmax() if self.control else pt.Mean()
        law = pt.Attention(pt.SquaredDistance(1.0), normalizer=normalizer, value=pt.Difference())
        widths = np.asarray(self.widths)
        scale = widths * np.sqrt(2 * np.pi * widths)
        found = np.asarray(_velocities(law, x, self.widths))[:, inner, 0] / scale[:, None]
        exact = np.stack([limits.small_bandwidth.unnormalized(along, 1.0, eps) for eps in widths])
        words = {"symbol": r"$\dot x / \epsilon$"}
        error = {"symbol": "error", "long_name": "no normalizer"}
        return {
            "mean": ("place", found[-1, ::PLACES], words | {"long_name": "no normalizer"}),
            "mean_law": ("place", exact[-1, ::PLACES], words | {"long_name": "formula"}),
            "mean_error": ("width", np.abs(found - exact).max(axis=1), error),
        }

    def _law(self, kind: str) -> pt.Attention:
        plain = pt.Attention(pt.SquaredDistance(1.0), value=pt.Difference())
        if kind == "sinkhorn" and not self.control:
            return dataclasses.replace(plain, normalizer=pt.Sinkhorn())
        if kind == "density" and not self.control:
            return dataclasses.replace(plain, measure=pt.DensityPower(self.exponent))
        return plain

    def checks(self, data: xr.Dataset) -> tuple[pt.Check, ...]:
        reason = "the tails that quantiles cut off"
        return tuple(
            pt.Check(f"{kind}: displacement over eps, error", most(data[f"{kind}_error"]), 0, 1e-5, reason)
            for kind in ("mean", "softmax", "sinkhorn", "density")
        )

    def chart(self, data: xr.Dataset) -> tuple[Panel, ...]:
        kinds = ("softmax", "sinkhorn", "density")
        laws, errors = (tuple(f"{kind}_{end}" for kind in kinds) for end in ("law", "error"))
        return (
            Curves("width", kinds, laws, title="displacement"),
            Curves("place", ("mean",), ("mean_law",), title="without normalizer"),
            Curves("width", ("mean_error", *errors), bounds=("tolerance",), log="xy", title="error, inner tokens"),
        )

    def shrunk(self) -> "SmallBandwidth":
        return dataclasses.replace(self, tokens=1024, widths=self.widths[:2])


@eqx.filter_jit
def _velocities(law: pt.Attention, x: Float[Array, "n d"], widths: Float[Array, " w"]) -> Float[Array, "w n d"]:
    """The displacement of each token, for each width of the kernel."""

    def one(eps: Float[Array, ""]) -> Float[Array, "n d"]:
        score = pt.SquaredDistance(1 / eps)
        return dataclasses.replace(law, score=score)(jnp.zeros(()), x, pt.Dense())

    return jnp.stack([one(eps) for eps in widths])
