"""Maps of one token: what scores compare, what values offer, what a feed-forward layer does.

A map acts on each row of an array alone. The same map can be a residual coordinate in a metric, a positive feature in
linear attention, a nonlinear value, or the feed-forward half of a layer.
"""

import abc
import itertools
from typing import ClassVar

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from ..declaration import Declared, as_floats, concrete, nearest, option, parameter

ACTIVATIONS = {
    "identity": lambda x: x,
    "tanh": jnp.tanh,
    "relu": jax.nn.relu,
    "leaky_relu": lambda x: jax.nn.leaky_relu(x, 0.2),
    "gelu": jax.nn.gelu,
    "silu": jax.nn.silu,
    "elu": jax.nn.elu,
    "sigmoid": jax.nn.sigmoid,
    "hard_sigmoid": jax.nn.hard_sigmoid,
    "softplus": jax.nn.softplus,
}


def check_activation(owner: object, name: str) -> None:
    """Raises ValueError if there is no activation of that name."""
    if name not in ACTIVATIONS:
        known = ", ".join(ACTIVATIONS)
        raise ValueError(
            f"`activation` of {type(owner).__name__} must be one of {known}; got {name!r}.{nearest(name, ACTIVATIONS)}"
        )


class AbstractMap(Declared):
    """A map of single tokens."""

    positive: ClassVar[bool] = False  # whether every number it gives is positive, so that it can be a density

    @abc.abstractmethod
    def __call__(self, x: Float[Array, "n d"]) -> Float[Array, "n k"]:
        """The image of each row."""

    @abc.abstractmethod
    def image_dim(self, d: int) -> int:
        """The dimension of the image of tokens of dimension d; raises ValueError if they cannot be mapped."""


class Affine(AbstractMap):
    r"""A matrix and a shift.

    .. math:: \phi(x) = W x + b

    Parameters
    ----------
    matrix : W, `[k d]`; a number stands for that multiple of the identity.
    bias : b, `[k]`; without it zero.

    Source
    ------
    vaswani2017attention.
    """

    matrix: Float[Array, "k d"] | Float[Array, ""] = parameter(1.0)
    bias: Float[Array, " k"] | None = parameter(None)
    sources: ClassVar[tuple[str, ...]] = ("vaswani2017attention",)

    def __call__(self, x: Float[Array, "n d"]) -> Float[Array, "n k"]:
        return _affine(self.matrix, self.bias, x)

    def image_dim(self, d: int) -> int:
        k = image_dim_of("matrix", self.matrix, d, self)
        if self.bias is not None and self.bias.shape != (k,):
            raise ValueError(f"`bias` of Affine has shape {self.bias.shape}, but the image has dimension {k}")
        return k


class Perceptron(AbstractMap):
    r"""Matrices with an activation between them: the feed-forward half of a transformer layer.

    .. math:: \phi(x) = W_2\, \sigma(W_1 x + b_1) + b_2

    Any number of layers; the activation stands between them, not behind the last.

    Parameters
    ----------
    weights : the matrices, `[width_in width_out]` transposed as in the formula, first to last.
    biases : a vector for each matrix; without them zero.
    activation : the name of sigma.

    Raises
    ------
    ValueError
        If shapes do not meet or there is no activation of that name.

    Source
    ------
    vaswani2017attention.
    """

    weights: tuple[Float[Array, "_ _"], ...] = parameter(converter=as_floats)
    biases: tuple[Float[Array, " _"], ...] = parameter((), converter=as_floats)
    activation: str = option("gelu")
    sources: ClassVar[tuple[str, ...]] = ("vaswani2017attention",)

    def __check_init__(self):
        check_activation(self, self.activation)
        shapes = [w.shape for w in self.weights]
        if not shapes or any(len(s) != 2 for s in shapes):
            raise ValueError(f"`weights` of Perceptron must be a list of matrices, at least one; got shapes {shapes}")
        if any(before[0] != after[1] for before, after in itertools.pairwise(shapes)):
            raise ValueError(f"`weights` of Perceptron do not meet: each must take what the one before gives; {shapes}")
        given = [b.shape for b in self.biases]
        if given and given != [(s[0],) for s in shapes]:
            raise ValueError(f"`biases` of Perceptron must have one entry for each row of `weights`; got {given}")

    @classmethod
    def of(cls, network: eqx.nn.MLP, activation: str) -> "Perceptron":
        """The map of an equinox MLP, whose activation is named since a function has no name in a config."""
        weights = tuple(layer.weight for layer in network.layers)
        biases = tuple(layer.bias for layer in network.layers if layer.bias is not None)
        return cls(weights, biases, activation)

    def __call__(self, x: Float[Array, "n d"]) -> Float[Array, "n k"]:
        biases = self.biases or (None,) * len(self.weights)
        x = _affine(self.weights[0], biases[0], x)
        for weight, bias in zip(self.weights[1:], biases[1:], strict=True):
            x = _affine(weight, bias, ACTIVATIONS[self.activation](x))
        return x

    def image_dim(self, d: int) -> int:
        image_dim_of("weights", self.weights[0], d, self)
        return self.weights[-1].shape[0]


class Residual(AbstractMap):
    r"""A map beside the identity.

    .. math:: \phi(x) = x + f(x)

    Invertible if the Lipschitz constant of f is below 1.

    Parameters
    ----------
    map : f.

    Source
    ------
    he2016deep.
    """

    map: AbstractMap
    sources: ClassVar[tuple[str, ...]] = ("he2016deep",)

    def __call__(self, x: Float[Array, "n d"]) -> Float[Array, "n k"]:
        return x + self.map(x)

    def image_dim(self, d: int) -> int:
        k = self.map.image_dim(d)
        if k != d:
            raise ValueError(f"`map` of Residual must keep the dimension; it takes {d} to {k}")
        return d


class EluPlusOne(AbstractMap):
    r"""The positive features of linear attention.

    .. math:: \phi(x) = \operatorname{elu}(W x) + 1

    Parameters
    ----------
    matrix : W; without it the identity.

    Source
    ------
    katharopoulos2020transformers.
    """

    positive: ClassVar[bool] = True
    matrix: Float[Array, "k d"] | Float[Array, ""] = parameter(1.0)
    sources: ClassVar[tuple[str, ...]] = ("katharopoulos2020transformers",)

    def __call__(self, x: Float[Array, "n d"]) -> Float[Array, "n k"]:
        image = _affine(self.matrix, None, x)
        negative = jnp.where(image < 0, image, 0)
        return jnp.where(image < 0, jnp.exp(negative), image + 1)  # expm1 + 1 would round to zero far below

    def image_dim(self, d: int) -> int:
        return image_dim_of("matrix", self.matrix, d, self)


class RandomFeatures(AbstractMap):
    r"""Positive random features, whose products have the exponential of a dot product as their mean.

    .. math:: \phi_r(x) = m^{-1/2} e^{\sqrt\beta \langle\omega_r, x\rangle - \beta |x|^2 / 2}, \qquad
       E \langle\phi(x), \phi(y)\rangle = e^{\beta \langle x, y\rangle}

    Parameters
    ----------
    count : m, how many.
    dim : of the tokens.
    beta : inverse temperature.
    seed : of the frequencies omega, standard normal.

    Source
    ------
    choromanski2021rethinking.
    """

    positive: ClassVar[bool] = True
    count: int = option(ge=1)
    dim: int = option(ge=1)
    beta: Float[Array, ""] = parameter(1.0, ge=0)
    seed: int = option(0, ge=0)
    sources: ClassVar[tuple[str, ...]] = ("choromanski2021rethinking",)

    def __call__(self, x: Float[Array, "n d"]) -> Float[Array, "n k"]:
        frequencies = np.random.default_rng(self.seed).normal(size=(self.count, self.dim))
        root = jnp.where(
            self.beta > 0, jnp.sqrt(jnp.where(self.beta > 0, self.beta, 1)), 0
        )  # its slope at 0 is infinite
        exponent = root * (x @ jnp.asarray(frequencies, x.dtype).T)
        square = 0.5 * self.beta * jnp.sum(x * x, axis=1, keepdims=True)
        return jnp.exp(exponent - square) / np.sqrt(self.count).astype(x.dtype)

    def image_dim(self, d: int) -> int:
        if d != self.dim:
            raise ValueError(f"RandomFeatures has dim={self.dim}, but tokens have dimension {d}")
        return self.count


def image_dim_of(name: str, matrix: Float[Array, "..."], d: int, owner: object) -> int:
    """The dimension of a matrix's image; a number is a multiple of the identity.

    Raises
    ------
    ValueError
        If the matrix does not take tokens of dimension d.
    """
    if matrix.ndim == 0:
        return d
    if matrix.shape[1] != d:
        raise ValueError(
            f"`{name}` of {type(owner).__name__} has shape {matrix.shape}, but tokens have dimension {d}: it must be "
            f"k x {d}"
        )
    return matrix.shape[0]


def apply_map(matrix: Float[Array, "..."], rows: Float[Array, "n d"]) -> Float[Array, "n k"]:
    """A matrix applied to each row, or a multiple of the identity."""
    return matrix * rows if matrix.ndim == 0 else rows @ matrix.T


def symmetric_matrix(matrix: Float[Array, "d d"]) -> bool:
    """Whether a matrix is symmetric to rounding; one that a transformation holds back is taken to be."""
    numbers = concrete(matrix)
    return numbers is None or bool(np.allclose(numbers, numbers.T, rtol=1e-6, atol=1e-12))


def same_matrix(one: Float[Array, "k d"], other: Float[Array, "k d"]) -> bool:
    """Whether two matrices are equal; if a transformation holds one of them back they are taken to be."""
    numbers = concrete(one), concrete(other)
    return numbers[0] is None or numbers[1] is None or bool((numbers[0] == numbers[1]).all())


def _affine(matrix: Float[Array, "..."], bias: Float[Array, " k"] | None, x: Float[Array, "n d"]) -> Array:
    image = apply_map(matrix, x)
    return image if bias is None else image + bias[None, :]
