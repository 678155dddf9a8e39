"""Tokens drawn from a Gaussian against the equations of its moments."""

import dataclasses
from typing import ClassVar

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import xarray as xr
from jaxtyping import Array, Float

import particles as pt
from particles import limits
from particles.chart import Curves, Panel
from particles.declaration import option, parameter

Moments = list[tuple[np.ndarray, limits.gaussian_exact.Seen]]

STEPS = 10  # of order 4; their error is far below that of sampling


class GaussianParticles(pt.AbstractClaim):
    """Many tokens drawn from a Gaussian have the moments that the Gaussian has, up to n^(-1/2).

    For softmax, two heads and L2 attention, to a third of the depth at which the covariance blows up; later, the tails
    would need more tokens than there are. The error is that of the covariance of n tokens, in root mean square.

    Parameters
    ----------
    laws : of "softmax", "heads" and "L2".
    tokens : the numbers n.
    draws : of each, for the largest n; more for fewer tokens, with the same number of tokens in all.
    share : how much of the way to the blow-up under softmax alone is followed.
    seed : of the matrices and of the draws.
    control : the negative control: values of the opposite sign, which the equations do not know of.

    Source
    ------
    castin2025unified.
    """

    minutes: ClassVar[float] = 3.0
    laws: tuple[str, ...] = option(("softmax", "heads", "L2"))
    tokens: tuple[int, ...] = option((64, 128, 256, 512))
    draws: int = option(128, ge=2)
    share: Float[Array, ""] = parameter(0.3, gt=0, lt=1)
    seed: int = option(0, ge=0)
    control: bool = option(False)
    sources: ClassVar[tuple[str, ...]] = ("castin2025unified",)

    def data(self) -> xr.Dataset:
        rng = np.random.default_rng(self.seed)
        form, other, root = rng.normal(size=(2, 2)) / 2 + np.eye(2) / 2, rng.normal(size=(2, 2)) / 2, np.eye(2)
        root[1, 0] = 0.5
        covariance, mean = root @ root.T / 2, np.array([0.3, -0.2])
        until = float(self.share) * limits.gaussian_exact.blow_up_time(covariance, form)
        errors, bias = np.zeros((len(self.tokens), len(self.laws))), np.zeros(len(self.laws))
        expected = np.zeros((len(self.laws), 2))
        found, error = np.zeros_like(expected), np.zeros_like(expected)
        for k, name in enumerate(self.laws):
            law, heads = self._law(name, form, other)
            _, (sigma,) = limits.gaussian_exact.follow([until], mean, covariance, heads)
            covariances = np.zeros(0)
            for j, n in enumerate(self.tokens):
                draws = self.draws * max(self.tokens) // n
                key = jax.random.fold_in(jax.random.key(self.seed), n)
                x = jnp.asarray(mean)[None, None, :] + jax.random.normal(key, (draws, n, 2)) @ (root.T / np.sqrt(2))
                covariances = np.asarray(_covariances(law, x, until))
                errors[j, k] = np.sqrt(np.mean(np.sum((covariances - sigma) ** 2, axis=(1, 2))))
            spread = covariances.std(axis=0, ddof=1) / np.sqrt(len(covariances))
            bias[k] = np.abs((covariances.mean(axis=0) - sigma) / spread).max()
            expected[k], found[k] = np.diag(sigma), np.diag(covariances.mean(axis=0))
            error[k] = np.diag(spread)
        words, diagonal = {"symbol": r"$\|\hat\Sigma_n - \Sigma\|$"}, {"symbol": r"$\Sigma_{ii}$"}
        fitted = errors[-1] * np.sqrt(self.tokens[-1] / np.asarray(self.tokens))[:, None]
        return xr.Dataset(
            {
                "error": (("tokens", "law"), errors, words | {"long_name": "tokens"}),
                "root": (("tokens", "law"), fitted, words | {"long_name": "slope -1/2"}),
                "bias": ("law", bias, {"long_name": "deviation in standard errors"}),
                "variance": (("axis", "law"), found.T, diagonal | {"long_name": "tokens"}),
                "standard_error": (("axis", "law"), error.T, {"long_name": "standard error"}),
                "moments": (("axis", "law"), expected.T, diagonal | {"long_name": "equations of the moments"}),
            },
            coords={
                "tokens": ("tokens", list(self.tokens), {"long_name": "tokens", "symbol": "$n$"}),
                "law": ("law", list(self.laws), {"long_name": "law", "symbol": "law"}),
                "axis": ("axis", [1, 2], {"long_name": "coordinate", "symbol": "$i$"}),
            },
        )

    def _law(self, name: str, form: np.ndarray, other: np.ndarray) -> tuple[pt.AbstractLaw, Moments]:
        """A law, and its heads in the equations of the moments, which in the control differ in their values."""
        scale = -1.0 if self.control else 1.0
        one, half = np.eye(2), np.array([[0.5, 0.3], [0.0, 0.4]])

        def head(score: pt.scores.AbstractScore, value: np.ndarray) -> pt.Attention:
            return pt.Attention(score, value=pt.values.Linear(scale * value))

        plain = limits.gaussian_exact.softmax_seen(form)
        if name == "softmax":
            return head(pt.DotProduct(form=form.T), one), [(one, plain)]
        l2 = limits.gaussian_exact.l2_seen(form, other)
        if name == "L2":
            return head(pt.SquaredDistance(2.0, query=form, key=other), one), [(one, l2)]
        if name == "heads":
            second = head(pt.SquaredDistance(2.0, query=form, key=other), -half)
            return head(pt.DotProduct(form=form.T), half) + second, [(half, plain), (-half, l2)]
        raise ValueError(f'`laws` of GaussianParticles are "softmax", "heads" and "L2"; got {name!r}')

    def checks(self, data: xr.Dataset) -> tuple[pt.Check, ...]:
        names = zip(self.laws, data.error.values.T, data.bias.values, strict=True)
        return tuple(
            check
            for name, errors, bias in names
            for check in (
                pt.Check(
                    f"{name}: slope in n",
                    limits.depth.slope(data.tokens.values, errors),
                    -0.5,
                    0.05 if len(self.tokens) > 2 else 0.2,
                    "sampling, and the next term of order 1/n",
                ),
                pt.Check(f"{name}: mean over draws, in standard errors", bias, 0, 4, "chance"),
            )
        )

    def chart(self, data: xr.Dataset) -> tuple[Panel, ...]:
        return (
            Curves("tokens", ("error",), ("root",), by="law", log="xy", title="error of the covariance"),
            Curves(
                "axis",
                ("variance",),
                ("moments",),
                by="law",
                error="standard_error",
                title="variances at the largest n",
            ),
        )

    def shrunk(self) -> "GaussianParticles":
        return dataclasses.replace(self, laws=("softmax",), tokens=(32, 128), draws=64)


@eqx.filter_jit
def _covariances(law: pt.AbstractLaw, x: Float[Array, "r n d"], until: float) -> Float[Array, "r d d"]:
    """The covariance of each cloud where a law has moved it."""
    plan = pt.Plan(until, save=1, tokens=False, solver="RK4", dt=until / STEPS)

    def one(x: Float[Array, "n d"]) -> Float[Array, "d d"]:
        run = pt.solve(pt.Flow(pt.Euclidean(), law), x, plan)
        off = run.final - jnp.mean(run.final, axis=0, keepdims=True)
        return jnp.where(run.status == pt.Status.done, off.T @ off / (x.shape[0] - 1), jnp.nan)

    return jax.lax.map(one, x, batch_size=max(1, 4096 // x.shape[1]))
