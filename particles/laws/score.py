"""The logit of a pair of tokens: how much a query x and a key y have to do with each other.

A score is a function of two points and knows no others. Temperature lives here and nowhere else: `beta` is the inverse
temperature, and a score with beta = 0 holds all tokens for alike. Scores add: `score + score` is a score.
"""

import abc
import math
from typing import ClassVar

import jax.numpy as jnp
from jaxtyping import Array, Float

from ..declaration import Declared, concrete, option, parameter
from .maps import ACTIVATIONS, AbstractMap, check_activation, image_dim_of, symmetric_matrix


class AbstractScore(Declared):
    """A function of a query and a key."""

    smooth: ClassVar[bool] = True  # whether the gradient in the query says anything

    @abc.abstractmethod
    def __call__(self, x: Float[Array, "n d"], y: Float[Array, "m d"]) -> Float[Array, "n m"]:
        """The logit of every pair, temperature included; -inf where the pair does not see each other."""

    @abc.abstractmethod
    def bound(self, x: Float[Array, "n d"], y: Float[Array, "m d"]) -> Float[Array, ""]:
        """A number that no finite logit exceeds in size; infinite where none is known."""

    @abc.abstractmethod
    def check_dim(self, d: int) -> None:
        """Raises ValueError if the score is not one for tokens of dimension d."""

    @property
    @abc.abstractmethod
    def symmetric(self) -> bool:
        """Whether s(x, y) = s(y, x) for all pairs."""

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

    @property
    @abc.abstractmethod
    def positive(self) -> bool:
        """Whether all products of features are positive, so that they can be weights."""


class DotProduct(AbstractScore):
    r"""The score of the transformer, a bilinear form of query and key.

    .. math:: s(x, y) = \beta \langle Q x, K y\rangle \quad\text{or}\quad \beta\, x^T B y

    Any sign of `beta` is allowed: a negative one makes tokens attend to their opposites. Not Lipschitz on all of R^d.

    Parameters
    ----------
    beta : inverse temperature.
    query, key : Q and K, given together; without them the identity.
    form : B, in place of Q and K.

    Raises
    ------
    ValueError
        If one of Q and K is missing, if B stands beside them, or if their shapes do not meet.

    Cost
    ----
    O(n m k) for queries and keys of width k.

    Source
    ------
    vaswani2017attention.
    """

    beta: Float[Array, ""] = parameter(1.0)
    query: Float[Array, "k d"] | None = parameter(None)
    key: Float[Array, "_k d"] | None = parameter(None)
    form: Float[Array, "d d"] | None = parameter(None)
    sources: ClassVar[tuple[str, ...]] = ("vaswani2017attention",)

    def __check_init__(self):
        _check_maps(self.query, self.key)
        if (self.query is None) != (self.key is None):
            raise ValueError(
                "DotProduct needs `query` and `key` together; got one of them. One matrix alone is `form`."
            )
        if self.form is not None:
            if self.query is not None:
                raise ValueError("DotProduct takes `query` and `key`, or `form` = Q^T K; got all of them")
            if self.form.shape[0] != self.form.shape[1]:
                raise ValueError(f"`form` of DotProduct must be square; got shape {self.form.shape}")

    def __call__(self, x: Float[Array, "n d"], y: Float[Array, "m d"]) -> Float[Array, "n m"]:
        x, y = self._images(x, y)
        return (self.beta * x) @ y.T

    def bound(self, x: Float[Array, "n d"], y: Float[Array, "m d"]) -> Float[Array, ""]:
        x, y = self._images(x, y)
        return jnp.abs(self.beta) * _longest(x) * _longest(y)

    def check_dim(self, d: int) -> None:
        _check_widths(self, d, query=self.query, key=self.key, form=self.form)

    @property
    def symmetric(self) -> bool:
        if self.form is not None:
            return symmetric_matrix(self.form)
        return self.query is None or self.key is None or symmetric_matrix(self.query.T @ self.key)

    @property
    def symmetric_by_form(self) -> bool:
        return self.query is None and self.form is None

    def _images(
        self, x: Float[Array, "n d"], y: Float[Array, "m d"]
    ) -> tuple[Float[Array, "n k"], Float[Array, "m k"]]:
        if self.form is not None:
            return x @ self.form, y
        if self.query is not None and self.key is not None:
            return x @ self.query.T, y @ self.key.T
        return x, y


class SquaredDistance(AbstractScore):
    r"""A Gaussian kernel in the distance of query and key: L2 attention, mean shift, a Mahalanobis metric.

    .. math:: s(x, y) = -\frac{\beta}{2} |Q x - K y|^2

    With tied maps (K left out) and a value matrix of bounded norm the law is Lipschitz on all of R^d, and Q^T Q is the
    metric. On the sphere, with no maps, it is `DotProduct` of the same beta up to a constant. The kernel's width is
    1/sqrt(beta).

    Parameters
    ----------
    beta : inverse temperature, positive.
    query : Q; without it the identity.
    key : K; without it the same as Q.

    Raises
    ------
    ValueError
        If K stands without Q or their shapes do not meet.

    Cost
    ----
    O(n m k): a product of matrices and two norms, never an array `[n m d]`. A common center is taken away first, since
    the expanded square loses digits far from the origin.

    Source
    ------
    kim2021lipschitz.
    """

    beta: Float[Array, ""] = parameter(1.0, gt=0)
    query: Float[Array, "k d"] | None = parameter(None)
    key: Float[Array, "_k d"] | None = parameter(None)
    sources: ClassVar[tuple[str, ...]] = ("kim2021lipschitz",)

    def __check_init__(self):
        _check_maps(self.query, self.key)
        if self.query is None and self.key is not None:
            raise ValueError("SquaredDistance takes `key` only beside `query`; give `query` alone to tie the two")

    def __call__(self, x: Float[Array, "n d"], y: Float[Array, "m d"]) -> Float[Array, "n m"]:
        return self.beta * _minus_half_square(*self._images(x, y))

    def bound(self, x: Float[Array, "n d"], y: Float[Array, "m d"]) -> Float[Array, ""]:
        x, y = self._images(x, y)
        return 0.5 * self.beta * (_longest(x) + _longest(y)) ** 2

    def check_dim(self, d: int) -> None:
        _check_widths(self, d, query=self.query, key=self.key)

    @property
    def symmetric(self) -> bool:
        tied = concrete(self.query), concrete(self.key)
        return self.key is None or tied[0] is None or bool((tied[0] == tied[1]).all())

    @property
    def symmetric_by_form(self) -> bool:
        return self.key is None

    def _images(
        self, x: Float[Array, "n d"], y: Float[Array, "m d"]
    ) -> tuple[Float[Array, "n k"], Float[Array, "m k"]]:
        if self.query is None:
            return x, y
        return x @ self.query.T, y @ (self.query if self.key is None else self.key).T


class Metric(AbstractScore):
    r"""A Gaussian kernel in learned coordinates: metric attention.

    .. math:: s(x, y) = -\frac{\beta}{2} |\phi(x) - \phi(y)|^2

    A residual map phi(x) = x + f(x) bends the space; a linear one is a Mahalanobis metric, as is `SquaredDistance`.

    Parameters
    ----------
    map : phi.
    beta : inverse temperature, 1/eps, positive.

    Cost
    ----
    As `SquaredDistance`, and the map once for each token and block.

    Source
    ------
    ruan2024towards.
    """

    map: AbstractMap
    beta: Float[Array, ""] = parameter(1.0, gt=0)
    sources: ClassVar[tuple[str, ...]] = ("ruan2024towards",)

    def __call__(self, x: Float[Array, "n d"], y: Float[Array, "m d"]) -> Float[Array, "n m"]:
        return self.beta * _minus_half_square(self.map(x), self.map(y))

    def bound(self, x: Float[Array, "n d"], y: Float[Array, "m d"]) -> Float[Array, ""]:
        return 0.5 * self.beta * (_longest(self.map(x)) + _longest(self.map(y))) ** 2

    def check_dim(self, d: int) -> None:
        self.map.image_dim(d)

    @property
    def symmetric(self) -> bool:
        return True

    @property
    def symmetric_by_form(self) -> bool:
        return True


class Geodesic(AbstractScore):
    r"""A Gaussian kernel in the arc length on a sphere, for tokens that live there.

    .. math:: s(x, y) = -\frac{\beta}{2} R^2 \arccos^2 \frac{\langle x, y\rangle}{R^2}

    Computed from the chord, by its series where tokens are close, so that the gradient is right where they meet. Where
    two tokens are antipodes the distance has no gradient; it is given as zero there.

    Parameters
    ----------
    beta : inverse temperature, 1/eps, positive.
    radius : R.

    Source
    ------
    ruan2024towards, with the distance of the sphere.
    """

    beta: Float[Array, ""] = parameter(1.0, gt=0)
    radius: Float[Array, ""] = parameter(1.0, gt=0)
    sources: ClassVar[tuple[str, ...]] = ("ruan2024towards",)

    def __call__(self, x: Float[Array, "n d"], y: Float[Array, "m d"]) -> Float[Array, "n m"]:
        square = -2 * _minus_half_square(x, y)  # of the chord
        return -2 * self.beta * self.radius**2 * _squared_arcsine(square / (4 * self.radius**2))

    def bound(self, x: Float[Array, "n d"], y: Float[Array, "m d"]) -> Float[Array, ""]:
        return 0.5 * self.beta * (math.pi * self.radius) ** 2

    def check_dim(self, d: int) -> None:
        if d < 2:
            raise ValueError(f"Geodesic is a score on a sphere, which needs dimension 2 or more; got {d}")

    @property
    def symmetric(self) -> bool:
        return True

    @property
    def symmetric_by_form(self) -> bool:
        return True


class Cosine(AbstractScore):
    r"""The cosine of query and key: only directions count.

    .. math:: s(x, y) = \beta \frac{\langle Q x, K y\rangle}{|Q x|\,|K y|}

    The zero vector has no direction: its score and the gradient there are defined as zero.

    Parameters
    ----------
    beta : inverse temperature, any sign.
    query, key : Q and K, given together; without them the identity.

    Raises
    ------
    ValueError
        If one of Q and K is missing, or their shapes do not meet.

    Source
    ------
    henry2020query.
    """

    beta: Float[Array, ""] = parameter(1.0)
    query: Float[Array, "k d"] | None = parameter(None)
    key: Float[Array, "_k d"] | None = parameter(None)
    sources: ClassVar[tuple[str, ...]] = ("henry2020query",)

    def __check_init__(self):
        _check_maps(self.query, self.key)
        if (self.query is None) != (self.key is None):
            raise ValueError("Cosine needs `query` and `key` together; got one of them")

    def __call__(self, x: Float[Array, "n d"], y: Float[Array, "m d"]) -> Float[Array, "n m"]:
        if self.query is not None and self.key is not None:
            x, y = x @ self.query.T, y @ self.key.T
        return (self.beta * _direction(x)) @ _direction(y).T

    def bound(self, x: Float[Array, "n d"], y: Float[Array, "m d"]) -> Float[Array, ""]:
        return jnp.abs(self.beta)

    def check_dim(self, d: int) -> None:
        _check_widths(self, d, query=self.query, key=self.key)

    @property
    def symmetric(self) -> bool:
        tied = concrete(self.query), concrete(self.key)
        return self.query is None or tied[0] is None or bool((tied[0] == tied[1]).all())

    @property
    def symmetric_by_form(self) -> bool:
        return self.query is None


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
        _check_maps(self.query, self.key)
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
        return size * (1 + _longest(x @ self.query.T) + _longest(y @ self.key.T))  # no activation grows faster

    def check_dim(self, d: int) -> None:
        _check_widths(self, d, query=self.query, key=self.key)

    @property
    def symmetric(self) -> bool:
        tied = concrete(self.query), concrete(self.key)
        return tied[0] is None or bool((tied[0] == tied[1]).all())


class LogDistance(AbstractScore):
    r"""A power law in the distance: gravity, and the focus of attention.

    .. math:: s(x, y) = -\frac{\beta}{2} \log(|Q x - Q y|^2 + \epsilon)

    With `Mean` and `Difference` at beta = 2 a token is drawn as by softened masses in the plane; the energy with beta =
    1 is Plummer's. `Softmax` in place of `Mean` is mean shift with Cauchy's kernel.

    Parameters
    ----------
    beta : the power, positive.
    softening : epsilon, positive; zero would be singular where a token meets itself.
    query : Q; without it the identity.

    Source
    ------
    zanca2020gravitational.
    """

    beta: Float[Array, ""] = parameter(2.0, gt=0)
    softening: Float[Array, ""] = parameter(1e-2, gt=0)
    query: Float[Array, "k d"] | None = parameter(None)
    sources: ClassVar[tuple[str, ...]] = ("zanca2020gravitational",)

    def __call__(self, x: Float[Array, "n d"], y: Float[Array, "m d"]) -> Float[Array, "n m"]:
        square = -2 * _minus_half_square(*self._images(x, y))
        return -0.5 * self.beta * jnp.log(square + self.softening)

    def bound(self, x: Float[Array, "n d"], y: Float[Array, "m d"]) -> Float[Array, ""]:
        x, y = self._images(x, y)
        farthest = (_longest(x) + _longest(y)) ** 2 + self.softening
        return 0.5 * self.beta * jnp.maximum(jnp.abs(jnp.log(farthest)), jnp.abs(jnp.log(self.softening)))

    def check_dim(self, d: int) -> None:
        _check_widths(self, d, query=self.query)

    @property
    def symmetric(self) -> bool:
        return True

    @property
    def symmetric_by_form(self) -> bool:
        return True

    def _images(
        self, x: Float[Array, "n d"], y: Float[Array, "m d"]
    ) -> tuple[Float[Array, "n k"], Float[Array, "m k"]]:
        return (x, y) if self.query is None else (x @ self.query.T, y @ self.query.T)


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

    def check_dim(self, d: int) -> None:
        pass

    @property
    def symmetric(self) -> bool:
        return True

    @property
    def symmetric_by_form(self) -> bool:
        return True


class Within(AbstractScore):
    r"""Tokens see those within a radius, all alike: bounded confidence.

    .. math:: s(x, y) = 0 \text{ if } |x - y| < r, \text{ else } -\infty

    The field jumps when a token enters or leaves, so a solver loses its order there; `Entmax(2)` with `SquaredDistance`
    is the continuous relative. The gradient is zero wherever there is one.

    Parameters
    ----------
    radius : r, positive.

    Source
    ------
    hegselmann2002opinion.
    """

    smooth: ClassVar[bool] = False
    radius: Float[Array, ""] = parameter(1.0, gt=0)
    sources: ClassVar[tuple[str, ...]] = ("hegselmann2002opinion",)

    def __call__(self, x: Float[Array, "n d"], y: Float[Array, "m d"]) -> Float[Array, "n m"]:
        near = -2 * _minus_half_square(x, y) < self.radius**2
        return jnp.where(near, jnp.zeros((), x.dtype), jnp.full((), -jnp.inf, x.dtype))

    def bound(self, x: Float[Array, "n d"], y: Float[Array, "m d"]) -> Float[Array, ""]:
        return jnp.zeros((), x.dtype)

    def check_dim(self, d: int) -> None:
        pass

    @property
    def symmetric(self) -> bool:
        return True

    @property
    def symmetric_by_form(self) -> bool:
        return True


class LogFeatures(AbstractFeatureScore):
    r"""The logarithm of a product of positive features: the score behind linear attention.

    .. math:: s(x, y) = \log \langle\phi(x), \phi(y)\rangle

    With the normalizer `Linear` the features are multiplied out and the cost is linear in the tokens; with `Softmax`
    the same weights come from all pairs. Features of any sign are possible with `Linear(normalized=False)` alone.

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
    def positive(self) -> bool:
        return self.map.positive

    def bound(self, x: Float[Array, "n d"], y: Float[Array, "m d"]) -> Float[Array, ""]:
        return jnp.full((), jnp.inf, x.dtype)

    def check_dim(self, d: int) -> None:
        self.map.image_dim(d)

    @property
    def symmetric(self) -> bool:
        return True

    @property
    def symmetric_by_form(self) -> bool:
        return True


class Sum(AbstractScore):
    """Several scores added, usually written with `+`: their weights are multiplied.

    .. math:: s(x, y) = s_1(x, y) + s_2(x, y)

    Parameters
    ----------
    scores : the scores added.

    Raises
    ------
    ValueError
        If there are none.

    Source
    ------
    shaw2018self.
    """

    scores: tuple[AbstractScore, ...]
    sources: ClassVar[tuple[str, ...]] = ("shaw2018self",)

    def __check_init__(self):
        if not self.scores:
            raise ValueError("Sum of no scores; use Constant()")

    @property
    def smooth(self) -> bool:  # pyright: ignore[reportIncompatibleVariableOverride]
        """Whether all of them are."""
        return all(score.smooth for score in self.scores)

    def __call__(self, x: Float[Array, "n d"], y: Float[Array, "m d"]) -> Float[Array, "n m"]:
        return sum((score(x, y) for score in self.scores[1:]), start=self.scores[0](x, y))

    def bound(self, x: Float[Array, "n d"], y: Float[Array, "m d"]) -> Float[Array, ""]:
        return sum((score.bound(x, y) for score in self.scores[1:]), start=self.scores[0].bound(x, y))

    def check_dim(self, d: int) -> None:
        for score in self.scores:
            score.check_dim(d)

    @property
    def symmetric(self) -> bool:
        return all(score.symmetric for score in self.scores)

    @property
    def symmetric_by_form(self) -> bool:
        return all(score.symmetric_by_form for score in self.scores)


def _minus_half_square(x: Float[Array, "n k"], y: Float[Array, "m k"]) -> Float[Array, "n m"]:
    """-|x - y|^2 / 2 of every pair, around a common center, never positive."""
    center = jnp.mean(y, axis=0, keepdims=True)
    x, y = x - center, y - center
    half_x, half_y = 0.5 * jnp.sum(x * x, axis=-1), 0.5 * jnp.sum(y * y, axis=-1)
    return x @ y.T - half_x[:, None] - half_y[None, :]


def _squared_arcsine(q: Float[Array, "n m"]) -> Float[Array, "n m"]:
    """arcsin(sqrt(q))^2, smooth at 0: by its series there. At 1 and beyond it is constant."""
    near = q < 0.01
    small, term = jnp.zeros_like(q), jnp.where(near, q, 0)
    for k in range(1, 9):  # the next term is below 1e-18
        small = small + 4**k / (2 * k**2 * math.comb(2 * k, k)) * term**k
    inside = jnp.where(near, 0.5, jnp.where(q < 1, q, 0.5))
    large = jnp.where(q < 1, jnp.arcsin(jnp.sqrt(inside)) ** 2, (math.pi / 2) ** 2)
    return jnp.where(near, small, large)


def _direction(rows: Float[Array, "n k"]) -> Float[Array, "n k"]:
    square = jnp.sum(rows * rows, axis=-1, keepdims=True)
    there = square > 0
    return jnp.where(there, rows / jnp.sqrt(jnp.where(there, square, 1)), 0)


def _longest(rows: Float[Array, "n k"]) -> Float[Array, ""]:
    return jnp.sqrt(jnp.max(jnp.sum(rows * rows, axis=-1)))


def _check_maps(query: Float[Array, "k d"] | None, key: Float[Array, "_k d"] | None) -> None:
    if query is not None and key is not None and query.shape != key.shape:
        raise ValueError(
            f"`query` and `key` must have the same shape (width, dim), so that their images meet; "
            f"got {query.shape} and {key.shape}"
        )


def _check_widths(owner: AbstractScore, d: int, **matrices: Float[Array, "_ _"] | None) -> None:
    for name, matrix in matrices.items():
        if matrix is not None:
            image_dim_of(name, matrix, d, owner)
