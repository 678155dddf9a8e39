"""Scores that are small networks: of query and key together, or of each by itself."""

from typing import ClassVar

import jax.numpy as jnp
from jaxtyping import Array, Float

from ...declaration import option, parameter
from ..maps import ACTIVATIONS, AbstractMap, check_activation, same_matrix
from .base import AbstractFeatureScore, AbstractScore, check_maps, check_widths, longest


class Additive(AbstractScore):
    r"""A small network of query and key, as in the first attention and in graph attention.

    .. math:: s(x, y) = \beta\, v^T \sigma(Q x + K y)

    Graph attention is width 1 with `leaky_relu`. Without a nonlinearity the query would be invisible to `Softmax`.

    Parameters
    ----------
    vector : v, `[k]`.
    query, key : Q and K, `[k d]`.
    beta : inverse temperature, any sign.
    activation : the name of sigma.

    Raises
    ------
    ValueError
        If the widths do not meet, or there is no activation of that name.

    Cost
    ----
    O(n m k) memory and time: a tile holds k numbers for each pair.

    Source
    ------
    bahdanau2015neural; velickovic2018graph.
    """

    vector: Float[Array, " k"] = parameter()
    query: Float[Array, "_k d"] = parameter()
    key: Float[Array, "_k d"] = parameter()
    beta: Float[Array, ""] = parameter(1.0)
    activation: str = option("tanh")
    sources: ClassVar[tuple[str, ...]] = ("bahdanau2015neural", "velickovic2018graph")

    def __check_init__(self):
        check_activation(self, self.activation)
        check_maps(self.query, self.key)
        if self.vector.shape != self.query.shape[:1]:
            raise ValueError(
                f"`vector` of Additive has shape {self.vector.shape}; it needs one number for each row of `query`, "
                f"{self.query.shape[0]}"
            )

    def __call__(self, x: Float[Array, "n d"], y: Float[Array, "m d"]) -> Float[Array, "n m"]:
        inside = (x @ self.query.T)[:, None, :] + (y @ self.key.T)[None, :, :]
        return ACTIVATIONS[self.activation](inside) @ (self.beta * self.vector)

    def bound(self, x: Float[Array, "n d"], y: Float[Array, "m d"]) -> Float[Array, ""]:
        size = jnp.sum(jnp.abs(self.beta * self.vector))
        if self.activation == "tanh":
            return size
        return size * (1 + longest(x @ self.query.T) + longest(y @ self.key.T))  # no activation grows faster

    def check_dim(self, d: int) -> None:
        check_widths(self, d, query=self.query, key=self.key)

    @property
    def symmetric(self) -> bool:
        return same_matrix(self.query, self.key)


class LogFeatures(AbstractFeatureScore):
    r"""The logarithm of a product of positive features: the score behind linear attention.

    .. math:: s(x, y) = \log \langle\phi(x), \phi(y)\rangle

    With the normalizer `Linear` the features are multiplied out and the cost is linear in the tokens; with `Softmax`
    the same weights come from all pairs. Features of any sign have no logarithm, and serve `Linear(normalized=False)`
    alone.

    Parameters
    ----------
    map : phi.

    Source
    ------
    katharopoulos2020transformers.
    """

    map: AbstractMap
    sources: ClassVar[tuple[str, ...]] = ("katharopoulos2020transformers",)

    def __call__(self, x: Float[Array, "n d"], y: Float[Array, "m d"]) -> Float[Array, "n m"]:
        return jnp.log(self.map(x) @ self.map(y).T)

    def query_features(self, x: Float[Array, "n d"]) -> Float[Array, "n f"]:
        return self.map(x)

    def key_features(self, y: Float[Array, "m d"]) -> Float[Array, "m f"]:
        return self.map(y)

    @property
    def real(self) -> bool:  # pyright: ignore[reportIncompatibleVariableOverride]
        """Whether all products of features are positive."""
        return self.map.positive

    def bound(self, x: Float[Array, "n d"], y: Float[Array, "m d"]) -> Float[Array, ""]:
        return jnp.full((), jnp.inf, x.dtype)

    def check_dim(self, d: int) -> None:
        self.map.image_dim(d)

    @property
    def symmetric_by_form(self) -> bool:
        return True
