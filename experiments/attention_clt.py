"""One attention output on random keys: how it varies."""

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


class AttentionClt(pt.AbstractClaim):
    """On n Gaussian keys the covariance of one attention output is a known matrix over n that grows fast in the query.

    The query's length is varied along one direction: the variance contains exp(x^T A^T S A x), S the covariance of the
    keys, so long queries need many keys. The trace of n times the covariance is compared for each length.

    Parameters
    ----------
    tokens : n.
    draws : of the keys.
    dim : of the tokens.
    lengths : of the query, in standard deviations of the logit.
    seed : of the matrices and the draws.
    control : the negative control: a law with A transposed.

    Source
    ------
    bohbot2025token, for the rate; the covariance derived by hand.
    """

    minutes: ClassVar[float] = 1.0
    tokens: int = option(4096, ge=2)
    draws: int = option(16_000, ge=16)
    dim: int = option(3, ge=2)
    lengths: Float[Array, " x"] = parameter((0.0, 0.3, 0.6, 0.9, 1.2), ge=0)
    seed: int = option(0, ge=0)
    control: bool = option(False)
    sources: ClassVar[tuple[str, ...]] = ("bohbot2025token",)

    def data(self) -> xr.Dataset:
        rng, d = np.random.default_rng(self.seed), self.dim
        a, value, root, direction = rng.normal(size=(d, d)), rng.normal(size=(d, d)), np.tri(d) / 2, rng.normal(size=d)
        sigma = root @ root.T
        direction /= np.sqrt(direction @ a.T @ sigma @ a @ direction)
        x = np.asarray(self.lengths)[:, None] * direction[None, :]
        law = pt.Attention(pt.DotProduct(form=a if self.control else a.T), value=pt.values.Linear(value))
        key = jax.random.key(self.seed)
        outputs = np.asarray(_outputs(law, jnp.asarray(x), jnp.asarray(root), key, self.tokens, self.draws))
        seen = x @ a.T @ sigma
        tilted = sigma + seen[:, :, None] * seen[:, None, :]
        expected = np.exp(np.sum((x @ a.T @ sigma) * (x @ a.T), axis=1))[:, None, None] * (value @ tilted @ value.T)
        off = outputs - outputs.mean(axis=0)
        found = self.tokens * np.einsum("rxi,rxj->xij", off, off) / (self.draws - 1)
        squares = self.tokens * np.sum(off**2, axis=2)
        error = squares.std(axis=0, ddof=1) / np.sqrt(self.draws)
        trace, words = np.trace(found, axis1=1, axis2=2), {"symbol": r"$n\,\mathrm{tr}\,\mathrm{Cov}\,\Gamma(x)$"}
        share = {"symbol": "ratio of variances"}
        scale = np.trace(expected, axis1=1, axis2=2)
        entries = np.abs(found - expected).max(axis=(1, 2)) / scale
        return xr.Dataset(
            {
                "trace": ("length", trace, words | {"long_name": "drawn keys"}),
                "law": ("length", scale, words | {"long_name": "limit theorem"}),
                "standard_error": ("length", error, {"long_name": "standard error"}),
                "ratio": ("length", trace / scale, share | {"long_name": "drawn keys"}),
                "ratio_error": ("length", error / scale, {"long_name": "standard error"}),
                "one": ("length", np.ones(len(x)), share | {"long_name": "limit theorem"}),
                "entries": ("length", entries, {"long_name": "largest error of an entry over the trace"}),
                "mean": (
                    "length",
                    np.linalg.norm(outputs.mean(axis=0) - seen @ value.T, axis=1)
                    / np.sqrt(scale / (self.tokens * self.draws)),
                    {"long_name": "error of the mean in standard errors"},
                ),
            },
            coords={
                "length": ("length", np.asarray(self.lengths), {"long_name": "spread of logits", "symbol": "$|x|$"})
            },
        )

    def checks(self, data: xr.Dataset) -> tuple[pt.Check, ...]:
        entries = pt.Check(
            "largest error of an entry, over the trace", most(data.entries), 0, 10 / self.draws**0.5, "sampling"
        )
        return entries, *(
            pt.Check(
                f"n times the variance, logits of spread {float(one.length):g}",
                float(one.trace),
                float(one.law),
                4 * float(one.standard_error) + np.exp(4 * float(one.length) ** 2) / self.tokens * float(one.law),
                "four standard errors, and a term of order 1/n",
            )
            for one in (data.isel(length=k) for k in range(data.sizes["length"]))
        )

    def chart(self, data: xr.Dataset) -> tuple[Panel, ...]:
        return (
            Curves("length", ("trace",), ("law",), error="standard_error", log="y", title="variance of an output"),
            Curves("length", ("ratio",), ("one",), error="ratio_error", title="over the limit theorem"),
        )

    def shrunk(self) -> "AttentionClt":
        return dataclasses.replace(self, tokens=1024, draws=1000, lengths=self.lengths[:4])


@eqx.filter_jit
def _outputs(
    law: pt.Attention, x: Float[Array, "x d"], root: Float[Array, "d d"], key: Array, tokens: int, draws: int
) -> Float[Array, "r x d"]:
    """What the queries x gather from keys that are drawn afresh each time."""

    def one(key: Array) -> Float[Array, "x d"]:
        keys = jax.random.normal(key, (tokens, root.shape[0])) @ root.T
        return law.between(jnp.zeros(()), x, keys, pt.Dense())

    return jax.lax.map(one, jax.random.split(key, draws), batch_size=8)
