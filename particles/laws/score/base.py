"""The logit of a pair of tokens: how much a query x and a key y have to do with each other.

A score is a function of two points and knows no others. Temperature lives here and nowhere else: `beta` is the inverse
temperature, and a score with beta = 0 holds all tokens for alike. Scores add: `score + score` is a score.
"""

import abc
from typing import ClassVar

import equinox as eqx
import jax.numpy as jnp
from jaxtyping import Array, Float

from ...declaration import Declared, unnested
from ...summation import Bilinear, Unserved
from ...summation.bilinear import added
from ..maps import image_dim_of


class AbstractScore(Declared):
    """A function of a query and a key."""

    smooth: ClassVar[bool] = True  # whether the gradient in the query says anything
    real: ClassVar[bool] = True  # whether all logits are real numbers or -inf, and not logarithms of anything negative

    @abc.abstractmethod
    def __call__(self, x: Float[Array, "n d"], y: Float[Array, "m d"]) -> Float[Array, "n m"]:
        """The logit of every pair, temperature included; -inf where the pair does not see each other."""

    @abc.abstractmethod
    def bound(self, x: Float[Array, "n d"], y: Float[Array, "m d"]) -> Float[Array, ""]:
        """A number that no finite logit exceeds in size; infinite where none is known."""

    def bilinear(self, x: Float[Array, "n d"], y: Float[Array, "m d"]) -> Bilinear:
        """The scores as products of an image of the query and one of the key.

        Raises
        ------
        Unserved
            If they are none.
        """
        raise Unserved(f"the score {type(self).__name__} is no product of query and key")

    def check_dim(self, d: int) -> None:
        """Raises ValueError if the score is not one for tokens of dimension d; by default any will do."""

    @property
    def symmetric(self) -> bool:
        """Whether s(x, y) = s(y, x) for all pairs."""
        return self.symmetric_by_form

    @property
    def symmetric_by_form(self) -> bool:
        """Whether it is symmetric whatever the values of its parameters, so that a program can rely on it."""
        return False

    def __add__(self, other: "AbstractScore") -> "AbstractScore":
        if not isinstance(other, AbstractScore):
            return NotImplemented
        return Sum((self, other))


class AbstractFeatureScore(AbstractScore):
    """A score whose weights are products of features, e^s = <phi(x), psi(y)>, which makes linear attention linear."""

    @abc.abstractmethod
    def query_features(self, x: Float[Array, "n d"]) -> Float[Array, "n f"]:
        """phi of every query."""

    @abc.abstractmethod
    def key_features(self, y: Float[Array, "m d"]) -> Float[Array, "m f"]:
        """psi of every key."""


class Constant(AbstractScore):
    """Every pair scores alike: the weights are the measure itself. On the circle, Kuramoto's model.

    .. math:: s(x, y) = 0

    Source
    ------
    kuramoto1975self.
    """

    smooth: ClassVar[bool] = False
    sources: ClassVar[tuple[str, ...]] = ("kuramoto1975self",)

    def __call__(self, x: Float[Array, "n d"], y: Float[Array, "m d"]) -> Float[Array, "n m"]:
        return jnp.zeros((x.shape[0], y.shape[0]), x.dtype)

    def bound(self, x: Float[Array, "n d"], y: Float[Array, "m d"]) -> Float[Array, ""]:
        return jnp.zeros((), x.dtype)

    def bilinear(self, x: Float[Array, "n d"], y: Float[Array, "m d"]) -> Bilinear:
        return Bilinear.product(jnp.zeros_like(x[:, :1]), jnp.zeros_like(y[:, :1]))

    @property
    def symmetric_by_form(self) -> bool:
        return True


class Sum(AbstractScore):
    """Several scores added, usually written with `+`: their weights are multiplied.

    .. math:: s(x, y) = s_1(x, y) + s_2(x, y)

    Parameters
    ----------
    scores : the scores added, those of a sum among them one by one.

    Raises
    ------
    ValueError
        If there are none.

    Source
    ------
    shaw2018self.
    """

    scores: tuple[AbstractScore, ...] = eqx.field(converter=lambda scores: unnested(scores, Sum, "scores"))
    sources: ClassVar[tuple[str, ...]] = ("shaw2018self",)

    def __check_init__(self):
        if not self.scores:
            raise ValueError("Sum of no scores; use Constant()")

    @property
    def smooth(self) -> bool:  # pyright: ignore[reportIncompatibleVariableOverride]
        """Whether all of them are."""
        return all(score.smooth for score in self.scores)

    @property
    def real(self) -> bool:  # pyright: ignore[reportIncompatibleVariableOverride]
        """Whether all of them are."""
        return all(score.real for score in self.scores)

    def __call__(self, x: Float[Array, "n d"], y: Float[Array, "m d"]) -> Float[Array, "n m"]:
        return sum((score(x, y) for score in self.scores[1:]), start=self.scores[0](x, y))

    def bound(self, x: Float[Array, "n d"], y: Float[Array, "m d"]) -> Float[Array, ""]:
        return sum((score.bound(x, y) for score in self.scores[1:]), start=self.scores[0].bound(x, y))

    def bilinear(self, x: Float[Array, "n d"], y: Float[Array, "m d"]) -> Bilinear:
        return added([score.bilinear(x, y) for score in self.scores])

    def check_dim(self, d: int) -> None:
        for score in self.scores:
            score.check_dim(d)

    @property
    def symmetric(self) -> bool:
        return all(score.symmetric for score in self.scores)

    @property
    def symmetric_by_form(self) -> bool:
        return all(score.symmetric_by_form for score in self.scores)


def longest(rows: Float[Array, "n k"]) -> Float[Array, ""]:
    """The length of the longest row."""
    return jnp.sqrt(jnp.max(jnp.sum(rows * rows, axis=-1)))


def check_maps(query: Float[Array, "k d"] | None, key: Float[Array, "_k d"] | None) -> None:
    """Raises ValueError if the images of queries and keys do not meet."""
    if query is not None and key is not None and query.shape != key.shape:
        raise ValueError(
            f"`query` and `key` must have the same shape (width, dim), so that their images meet; "
            f"got {query.shape} and {key.shape}"
        )


def check_widths(owner: AbstractScore, d: int, **matrices: Float[Array, "_ _"] | None) -> None:
    """Raises ValueError for a matrix that is not one for tokens of dimension d."""
    for name, matrix in matrices.items():
        if matrix is not None:
            image_dim_of(name, matrix, d, owner)
