"""Where a layer normalizes: discrete, as a step of the network, and continuous, as a field.

With N(x) = x/|x|, x = r theta, A the law and h the step of a layer:

    post        N(x + h A(x))          theta' = P A             r' = 0
    pre         x + h A(N(x))          theta' = P A / r         r' = <theta, A>
    peri        x + h N(A(N(x)))       theta' = P A / (r |A|)   r' = <theta, A> / |A|
    mix         post up to a depth, then pre
    nGPT        N(x + h alpha N(A))    theta' = alpha P A / |A| r' = 0
    sqrt-depth  N(x + h A / sqrt(t+1)) theta' = P A / sqrt(t+1) r' = 0

Layer normalization proper also takes the mean away and has radius sqrt(d), which multiplies beta by d.
"""

from collections.abc import Callable
from typing import ClassVar

import jax.numpy as jnp
from jaxtyping import Array, Bool, Float

from ..declaration import Declared, parameter
from ..summation import AbstractSummation
from .base import AbstractLaw
from .head import AbstractHead

Branch = Callable[[Float[Array, "n d"]], Float[Array, "n d"]]


class AbstractNorm(Declared):
    """A placement of the normalization in a layer.

    Every placement is made of three choices: whether the branch looks at N(x) or at x, what is made of what the branch
    gives, and whether the sum is normalized.
    """

    spherical: ClassVar[bool] = True  # whether tokens stay on the unit sphere
    before: ClassVar[bool] = False  # whether the branch looks at N(x)

    def seen(self, x: Float[Array, "n d"]) -> Float[Array, "n d"]:
        """The tokens as the branch looks at them."""
        return direction(x) if self.before else x

    def behind(self, t: Float[Array, ""], pulled: Float[Array, "n d"]) -> Float[Array, "n d"]:
        """What is made of what the branch gives."""
        return pulled

    def closes(self, t: Float[Array, ""]) -> Bool[Array, ""]:
        """Whether the sum is normalized at depth t."""
        return jnp.asarray(self.spherical)

    def next_jump(self, t: Float[Array, ""]) -> Float[Array, ""]:
        """The first depth after t where the placement changes; infinite if it does not."""
        return jnp.full_like(t, jnp.inf)

    @property
    def jumps(self) -> bool:
        """Whether the placement changes anywhere."""
        return False

    def layer(
        self, t: Float[Array, ""], h: Float[Array, ""], x: Float[Array, "n d"], branch: Branch
    ) -> Float[Array, "n d"]:
        """The tokens after one layer of step h at depth t; `branch` is what stands beside the residual."""
        return self._closed(t + 0.5 * h, x + h * self._pulled(t, x, branch))

    def midpoint_layer(
        self, t: Float[Array, ""], h: Float[Array, ""], x: Float[Array, "n d"], branch: Branch
    ) -> Float[Array, "n d"]:
        """A step of order 2 in its place: the midpoint rule for the field."""
        middle = t + 0.5 * h
        half_way = self._closed(middle, x + 0.5 * h * self.field(t, x, branch))
        return self._closed(middle, x + h * self.field(middle, half_way, branch))

    def field(self, t: Float[Array, ""], x: Float[Array, "n d"], branch: Branch) -> Float[Array, "n d"]:
        """The velocity of tokens x = r theta in the limit of small steps."""
        velocity, theta = self._pulled(t, x, branch), direction(x)
        along = jnp.sum(theta * velocity, axis=1, keepdims=True)
        return jnp.where(self.closes(t), velocity - along * theta, velocity)

    def _pulled(self, t: Float[Array, ""], x: Float[Array, "n d"], branch: Branch) -> Float[Array, "n d"]:
        return self.behind(t, branch(self.seen(x)))

    def _closed(self, t: Float[Array, ""], x: Float[Array, "n d"]) -> Float[Array, "n d"]:
        return jnp.where(self.closes(t), direction(x), x)


class Residual(AbstractNorm):
    r"""No normalization at all.

    .. math:: x \leftarrow x + h A(x)

    Source
    ------
    he2016deep.
    """

    spherical: ClassVar[bool] = False
    sources: ClassVar[tuple[str, ...]] = ("he2016deep",)


class Post(AbstractNorm):
    r"""After the sum: the flow on the sphere.

    .. math:: x \leftarrow N(x + h A(x)), \qquad \dot\theta = P A

    One step is Euler's on the projected law with step h/(1 + h<x, A>), token by token.

    Source
    ------
    karagodin2025normalization.
    """

    sources: ClassVar[tuple[str, ...]] = ("karagodin2025normalization",)


class Pre(AbstractNorm):
    r"""Before the branch: the radius grows, and slows the direction down.

    .. math:: x \leftarrow x + h A(N(x)), \qquad \dot\theta = P A / r, \quad \dot r = \langle\theta, A\rangle

    Source
    ------
    karagodin2025normalization.
    """

    spherical: ClassVar[bool] = False
    before: ClassVar[bool] = True
    sources: ClassVar[tuple[str, ...]] = ("karagodin2025normalization",)


class Peri(AbstractNorm):
    r"""Before and behind the branch: every step has the same length.

    .. math:: x \leftarrow x + h N(A(N(x))), \qquad
       \dot\theta = P A / (r |A|), \quad \dot r = \langle\theta, A\rangle / |A|

    Source
    ------
    karagodin2025normalization.
    """

    spherical: ClassVar[bool] = False
    before: ClassVar[bool] = True
    sources: ClassVar[tuple[str, ...]] = ("karagodin2025normalization",)

    def behind(self, t: Float[Array, ""], pulled: Float[Array, "n d"]) -> Float[Array, "n d"]:
        return direction(pulled)


class Mix(AbstractNorm):
    r"""After the sum in early layers, before the branch in later ones.

    .. math:: \text{post for } t < \tau, \text{ then pre}

    Parameters
    ----------
    until : tau.

    Source
    ------
    karagodin2025normalization.
    """

    spherical: ClassVar[bool] = False
    before: ClassVar[bool] = True
    until: Float[Array, ""] = parameter(1.0, ge=0)
    sources: ClassVar[tuple[str, ...]] = ("karagodin2025normalization",)

    def closes(self, t: Float[Array, ""]) -> Bool[Array, ""]:
        return t < self.until

    def next_jump(self, t: Float[Array, ""]) -> Float[Array, ""]:
        until = self.until.astype(t.dtype)
        return jnp.where(until > t, until, jnp.inf)

    @property
    def jumps(self) -> bool:
        return True


class NGPT(AbstractNorm):
    r"""After the sum and behind the branch, with a step size that is learned.

    .. math:: x \leftarrow N(x + h \alpha N(A(x))), \qquad \dot\theta = \alpha P A / |A|

    Parameters
    ----------
    alpha : the step size; in a `Scheduled` law the path `norm.alpha` makes it depend on depth.

    Source
    ------
    loshchilov2025ngpt; karagodin2025normalization.
    """

    alpha: Float[Array, ""] = parameter(1.0, ge=0)
    sources: ClassVar[tuple[str, ...]] = ("loshchilov2025ngpt", "karagodin2025normalization")

    def behind(self, t: Float[Array, ""], pulled: Float[Array, "n d"]) -> Float[Array, "n d"]:
        return self.alpha * direction(pulled)


class SqrtDepth(AbstractNorm):
    r"""After the sum, with steps that shrink with depth.

    .. math:: x \leftarrow N\big(x + h A(x) / \sqrt{t + 1}\big), \qquad \dot\theta = P A / \sqrt{t + 1}

    On the sphere: the radius takes no part.

    Source
    ------
    karagodin2025normalization.
    """

    sources: ClassVar[tuple[str, ...]] = ("karagodin2025normalization",)

    def behind(self, t: Float[Array, ""], pulled: Float[Array, "n d"]) -> Float[Array, "n d"]:
        return pulled / jnp.sqrt(t + 1)


class Normalized(AbstractLaw):
    r"""A law inside a layer that normalizes, in the limit of small steps: where post, pre, peri and the others go.

    .. math:: \dot x_i = F(x_i, A(N(x)))

    On the sphere for the placements that stay there, in Euclidean space, where the radius grows, for the others.

    Parameters
    ----------
    law : A.
    norm : the placement.

    Source
    ------
    karagodin2025normalization.
    """

    law: AbstractLaw
    norm: AbstractNorm
    sources: ClassVar[tuple[str, ...]] = ("karagodin2025normalization",)

    def __call__(
        self, t: Float[Array, ""], x: Float[Array, "n d"], summation: AbstractSummation
    ) -> Float[Array, "n d"]:
        return self.norm.field(t, x, lambda theta: self.law(t, theta, summation))

    def check_tokens(self, n: int, d: int) -> None:
        self.law.check_tokens(n, d)

    def parts(self) -> tuple[AbstractLaw, ...]:
        return (self.law,)

    def at(self, t: Float[Array, ""]) -> AbstractLaw:
        return Normalized(self.law.at(t), self.norm)

    @property
    def jumps(self) -> bool:
        return self.norm.jumps or super().jumps

    def next_jump(self, t: Float[Array, ""]) -> Float[Array, ""]:
        return jnp.minimum(self.norm.next_jump(t), super().next_jump(t))

    def unsolved(self, t: Float[Array, ""], x: Float[Array, "n d"], summation: AbstractSummation) -> Bool[Array, ""]:
        return self.law.unsolved(t, self.norm.seen(x), summation)

    def head_weights(
        self, t: Float[Array, ""], x: Float[Array, "n d"], summation: AbstractSummation
    ) -> Float[Array, "h n n"]:
        return self.law.head_weights(t, self.norm.seen(x), summation)

    def attending(
        self, t: Float[Array, ""], x: Float[Array, "n d"], summation: AbstractSummation
    ) -> tuple[AbstractHead, ...]:
        return self.law.attending(t, self.norm.seen(x), summation)

    def tilted(self, shift: Float[Array, "h n m"]) -> AbstractLaw:
        return Normalized(self.law.tilted(shift), self.norm)

    def on_masses(self, p: Float[Array, " m"]) -> AbstractLaw:
        return Normalized(self.law.on_masses(p), self.norm)


def direction(x: Float[Array, "n d"]) -> Float[Array, "n d"]:
    """N(x) = x/|x|; the zero vector has no direction and stays zero, with zero gradient."""
    square = jnp.sum(x * x, axis=1, keepdims=True)
    there = square > 0
    return jnp.where(there, x / jnp.sqrt(jnp.where(there, square, 1)), 0)
