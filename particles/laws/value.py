"""What is pulled: the contribution of each column that a row attends to.

No array over pairs is ever made. A value offers something at each column, the head sums it, and the row makes a
velocity of the sum; or the value is the gradient of the score, and the head differentiates what it gathers.
"""

import abc
from typing import ClassVar

import jax.numpy as jnp
from jaxtyping import Array, Float

from ..declaration import Declared, parameter
from .head import AbstractHead
from .maps import AbstractMap, apply_map, image_dim_of


class AbstractValue(Declared):
    """A map from key (and query) to a velocity, linear in the weights."""

    slope: ClassVar[bool] = False  # whether it is the gradient of the score

    @abc.abstractmethod
    def pulled(self, head: AbstractHead) -> Float[Array, "n d"]:
        """The velocity of each row of a head."""

    @abc.abstractmethod
    def check_dim(self, d: int) -> None:
        """Raises ValueError if the value is not one for tokens of dimension d."""


class AbstractOffered(AbstractValue):
    """A value that each column offers by itself, `[k]` numbers, of which the output map makes a velocity."""

    # Whether the row's own offer is taken away from those it sees; what is offered is then linear in the position.
    relative: ClassVar[bool] = False

    @abc.abstractmethod
    def offered(self, y: Float[Array, "m d"]) -> Float[Array, "m k"]:
        """What each token offers."""

    def output(self, pulled: Float[Array, "n k"]) -> Float[Array, "n d"]:
        """The velocity, from the weighted sum of what was offered."""
        return pulled

    def pulled(self, head: AbstractHead) -> Float[Array, "n d"]:
        return self.handed(head, head.rows.position, head.columns.position)

    def handed(self, head: AbstractHead, x: Float[Array, "n d"], y: Float[Array, "m d"]) -> Float[Array, "n d"]:
        """What a head with its weights and gates hands to rows that hold x from columns that hold y."""
        if not self.relative:
            return self.output(head.query_gate(head.weighted(head.value_gate(self.offered(y)))))
        # around the center of the tokens, so that digits are kept where all are close
        center = jnp.mean(y, axis=0, keepdims=True)
        own, offered = self.offered(x - center), self.offered(y - center)
        gates = head.value_factors()  # one column, or one for each coordinate that is weighed by itself
        sums = head.weighted(jnp.concatenate([head.value_gate(offered), gates], axis=1))
        k = offered.shape[1]
        return self.output(head.query_gate(sums[:, :k] - sums[:, k:] * own))


class Identity(AbstractOffered):
    r"""The key itself: tokens are pulled towards those they attend to.

    .. math:: \nu_{ij} = y_j

    Source
    ------
    geshkovski2023perspective.
    """

    sources: ClassVar[tuple[str, ...]] = ("geshkovski2023perspective",)

    def offered(self, y: Float[Array, "m d"]) -> Float[Array, "m k"]:
        return y

    def check_dim(self, d: int) -> None:
        pass


class Linear(AbstractOffered):
    r"""A matrix times the key: the value map of the transformer. A negative one repels.

    .. math:: \nu_{ij} = V y_j

    Parameters
    ----------
    matrix : V; a number stands for that multiple of the identity.

    Source
    ------
    vaswani2017attention.
    """

    matrix: Float[Array, "d d"] | Float[Array, ""] = parameter()
    sources: ClassVar[tuple[str, ...]] = ("vaswani2017attention",)

    def offered(self, y: Float[Array, "m d"]) -> Float[Array, "m k"]:
        return apply_map(self.matrix, y)

    def check_dim(self, d: int) -> None:
        _check_square(self, d, image_dim_of("matrix", self.matrix, d, self))


class LowRank(AbstractOffered):
    r"""Two matrices with the head's width between them: the value and output maps of one head of many.

    .. math:: \nu_{ij} = O V y_j

    Elementwise gates act between the two.

    Parameters
    ----------
    output_map : O, `[d k]`.
    value_map : V, `[k d]`.

    Raises
    ------
    ValueError
        If their widths do not meet.

    Source
    ------
    vaswani2017attention.
    """

    output_map: Float[Array, "d k"] = parameter()
    value_map: Float[Array, "_k _d"] = parameter()
    sources: ClassVar[tuple[str, ...]] = ("vaswani2017attention",)

    def __check_init__(self):
        if self.output_map.shape != self.value_map.shape[::-1]:
            raise ValueError(
                f"`output_map` [d k] and `value_map` [k d] of LowRank do not meet; got {self.output_map.shape} and "
                f"{self.value_map.shape}"
            )

    def offered(self, y: Float[Array, "m d"]) -> Float[Array, "m k"]:
        return y @ self.value_map.T

    def output(self, pulled: Float[Array, "n k"]) -> Float[Array, "n d"]:
        return pulled @ self.output_map.T

    def check_dim(self, d: int) -> None:
        image_dim_of("value_map", self.value_map, d, self)


class Difference(AbstractOffered):
    r"""A matrix times key minus query: the consensus form, invariant under translations.

    .. math:: \nu_{ij} = V (y_j - x_i)

    Where the weights are positive and V is the identity, the convex hull of the tokens never grows. With
    `SquaredDistance` it is mean shift. Formed around the tokens' center, so that it keeps its digits when a cloud is
    tight.

    Parameters
    ----------
    matrix : V; a number stands for that multiple of the identity, the default for the identity.

    Source
    ------
    geshkovski2023emergence.
    """

    relative: ClassVar[bool] = True
    matrix: Float[Array, "d d"] | Float[Array, ""] = parameter(1.0)
    sources: ClassVar[tuple[str, ...]] = ("geshkovski2023emergence",)

    def offered(self, y: Float[Array, "m d"]) -> Float[Array, "m k"]:
        return apply_map(self.matrix, y)

    def check_dim(self, d: int) -> None:
        _check_square(self, d, image_dim_of("matrix", self.matrix, d, self))


class Nonlinear(AbstractOffered):
    r"""Any map of the key. No energy is known.

    .. math:: \nu_{ij} = \phi(y_j)

    Parameters
    ----------
    map : phi, into the space of the tokens.

    Source
    ------
    qiu2025gated.
    """

    map: AbstractMap
    sources: ClassVar[tuple[str, ...]] = ("qiu2025gated",)

    def offered(self, y: Float[Array, "m d"]) -> Float[Array, "m k"]:
        return self.map(y)

    def check_dim(self, d: int) -> None:
        _check_square(self, d, self.map.image_dim(d))


class GradScore(AbstractValue):
    r"""The gradient of the score in the query: no value matrix, and the law has a potential.

    .. math:: \nu_{ij} = \nabla_x s(x_i, y_j), \qquad u_i = \nabla_{x_i} F_i

    F_i is the row's free energy, log Z_i for `Softmax`, Z_i for `Mean`, with the keys held still. A dot product gives
    beta B y_j, a squared distance mean shift, a logarithm of distance gravity.

    Raises
    ------
    ValueError
        In an attention whose score has no gradient worth the name, whose normalizer has no positive weights of pairs,
        or with a value gate.

    Cost
    ----
    About three gathers more than the normalizer's own.

    Source
    ------
    vuckovic2020mathematical.
    """

    slope: ClassVar[bool] = True
    sources: ClassVar[tuple[str, ...]] = ("vuckovic2020mathematical",)

    def pulled(self, head: AbstractHead) -> Float[Array, "n d"]:
        return head.query_gate(head.slope())

    def check_dim(self, d: int) -> None:
        pass


def _check_square(owner: AbstractValue, d: int, image: int) -> None:
    if image != d:
        raise ValueError(f"{type(owner).__name__} must give velocities of dimension {d}; its map gives {image}")
