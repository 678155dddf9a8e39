"""Attention on tokens is attention on their measure."""

import dataclasses
from typing import ClassVar

import jax.numpy as jnp
import numpy as np
import xarray as xr

import particles as pt
from particles.chart import Curves, Panel
from particles.declaration import option

IDENTITIES = {
    "explicit": "explicit matrices",
    "masses": "tokens that coincide",
    "permutation": "permutation",
    "repetition": "repetition",
}


class MeasureEquivalence(pt.AbstractClaim):
    """Multi-head attention is a map of the measure of its tokens, which moves each of them as it moves the measure.

    Four identities: the heads, added as laws, are the product of explicit matrices; tokens that coincide are one token
    with their mass; a permutation of the tokens permutes the output; and repeating all tokens changes nothing.

    Parameters
    ----------
    tokens : numbers of different tokens.
    dim, heads : of the layer.
    seed : of tokens, matrices and multiplicities.
    control : the negative control: causal attention, which sees an order.

    Source
    ------
    vuckovic2020mathematical.
    """

    minutes: ClassVar[float] = 0.5
    tokens: tuple[int, ...] = option((4, 8, 16, 32, 64, 128), ge=2)
    dim: int = option(8, ge=1)
    heads: int = option(2, ge=1)
    seed: int = option(0, ge=0)
    control: bool = option(False)
    sources: ClassVar[tuple[str, ...]] = ("vuckovic2020mathematical",)

    def data(self) -> xr.Dataset:
        errors = np.asarray([self._errors(n) for n in self.tokens])
        symbol = {"symbol": "relative error"}
        variables = {
            name: ("tokens", errors[:, k], symbol | {"long_name": words})
            for k, (name, words) in enumerate(IDENTITIES.items())
        }
        variables["tolerance"] = ("tokens", np.full(len(errors), 1e-12), symbol | {"long_name": "tolerance"})
        tokens = {"long_name": "tokens", "symbol": "$n$"}
        return xr.Dataset(variables, coords={"tokens": ("tokens", list(self.tokens), tokens)})

    def _errors(self, n: int) -> tuple[float, ...]:
        """By how much each identity fails, relative to the size of the output."""
        rng, d = np.random.default_rng(self.seed + n), self.dim
        query, key, value, output = rng.normal(size=(4, d, d)) / np.sqrt(d)
        law, x, times = (
            pt.multihead(query, key, value, output, self.heads),
            rng.normal(size=(n, d)),
            1 + np.arange(n) % 3,
        )
        order, plain = rng.permutation(n), self._moved(law, x)
        pairs = (
            (plain, _explicit(x, query, key, value, output, self.heads)),
            (
                self._moved(law, np.repeat(x, times, axis=0)),
                np.repeat(self._moved(law, x, times / times.sum()), times, 0),
            ),
            (self._moved(law, x[order]), plain[order]),
            (self._moved(law, np.concatenate([x, x])), np.concatenate([plain, plain])),
        )
        return tuple(float(np.abs(found - expected).max() / np.abs(expected).max()) for found, expected in pairs)

    def _moved(self, law: pt.AbstractLaw, x: np.ndarray, masses: np.ndarray | None = None) -> np.ndarray:
        """What a sum of heads gives tokens x, of the same mass or of given ones."""
        measure = pt.measures.Uniform() if masses is None else pt.Masses(masses)
        if self.control:
            measure = measure * pt.Causal()
        heads = pt.Sum(tuple(dataclasses.replace(head, measure=measure) for head in law.parts()))  # pyright: ignore
        return np.asarray(heads(jnp.zeros(()), jnp.asarray(x), pt.Dense()))

    def checks(self, data: xr.Dataset) -> tuple[pt.Check, ...]:
        return tuple(
            pt.Check(f"{words}: relative error", float(data[name].max()), 0, 1e-12, "rounding of sums")
            for name, words in IDENTITIES.items()
        )

    def chart(self, data: xr.Dataset) -> tuple[Panel, ...]:
        return (Curves("tokens", tuple(IDENTITIES), bounds=("tolerance",), log="xy", title="four identities"),)

    def shrunk(self) -> "MeasureEquivalence":
        return dataclasses.replace(self, tokens=(4, 16))


def _explicit(
    x: np.ndarray, query: np.ndarray, key: np.ndarray, value: np.ndarray, output: np.ndarray, heads: int
) -> np.ndarray:
    """A layer's multi-head attention as it is written in matrices, heads side by side."""
    width, columns = x.shape[1] // heads, []
    for h in range(heads):
        one = slice(h * width, (h + 1) * width)
        logits = (x @ query[one].T) @ (x @ key[one].T).T / np.sqrt(width)
        weights = np.exp(logits - logits.max(axis=1, keepdims=True))
        columns.append(weights / weights.sum(axis=1, keepdims=True) @ (x @ value[one].T))
    return np.concatenate(columns, axis=1) @ output.T
