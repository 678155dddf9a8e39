"""Infinitely many Gaussian tokens: under attention with a quadratic score they stay Gaussian, told by two moments.

What a row sees of Gaussian columns is affine in the row; how, is the normalizer's to say. The score is known by its
derivatives at the origin and the value by its Jacobian, so any slot that turns out to be of that form is served.
"""

from typing import Any, ClassVar

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, ArrayLike, Float, PRNGKeyArray

from ..declaration import Declared, all_known, concrete
from ..dynamics.base import at_precision
from ..laws import AbstractLaw, Attention, Sum
from ..laws.measure import Uniform
from ..laws.normalizer import AffineField, Moments, Quadratic
from ..laws.reading import EXACT, ROUGH, affine, quadratic, read_affine, read_quadratic
from ..laws.value import AbstractOffered
from ..summation import AbstractSummation, Auto
from .measure_flow import AbstractMeasureFlow


class GaussianFlow(AbstractMeasureFlow):
    r"""The mean and the covariance of infinitely many Gaussian tokens that attention moves.

    .. math:: \dot m = u(m), \qquad \dot \Sigma = M \Sigma + \Sigma M^T, \qquad M = D u

    Its state is the mean above the covariance, `[1+d d]`, as `stacked` makes it; solve it as any other flow. Where
    the covariance blows up the run ends at that depth with a status that says so.

    Parameters
    ----------
    law : attention with a quadratic score, an affine value and a normalizer that knows what it makes of Gaussian
        tokens; or a sum of such heads.

    Raises
    ------
    ValueError
        If a slot of the law is not of that form, with what would be.

    Units
    -----
    Depth is a pure number; the covariance is in squared units of the tokens.

    Cost
    ----
    A few solves and eigenvalues of matrices d x d for each head.

    Source
    ------
    castin2025unified.
    """

    law: AbstractLaw
    sources: ClassVar[tuple[str, ...]] = ("castin2025unified",)

    def __check_init__(self):
        Declared.__check_init__(self)  # what follows asks the nouns themselves
        for head in _heads(self.law):
            _check_slots(head)

    @property
    def summation(self) -> AbstractSummation:  # pyright: ignore[reportIncompatibleVariableOverride]
        """Of no use here: there are no pairs."""
        return Auto()

    def begin(self, x0: Float[Array, "k d"], key: PRNGKeyArray | None) -> Float[Array, "k d"]:
        return jnp.concatenate([x0[:1], (x0[1:] + x0[1:].T) / 2])

    def __call__(self, t: Float[Array, ""], state: Float[Array, "k d"], args: Any = None) -> Float[Array, "k d"]:
        moments = Moments(state[0], state[1:])
        velocity = self.velocity_of(t, moments)
        spread = velocity.slope @ moments.covariance
        return jnp.concatenate([(velocity.offset + velocity.slope @ moments.mean)[None, :], spread + spread.T])

    def velocity_of(self, t: Float[Array, ""], moments: Moments) -> AffineField:
        """The velocity of a token among Gaussian ones, affine in where it is."""
        heads = [_moved(head, moments) for head in _heads(at_precision(self.law, moments.mean.dtype))]
        return jax.tree.map(lambda *parts: sum(parts[1:], start=parts[0]), *heads)

    def unsolved(self, t: Float[Array, ""], state: Float[Array, "k d"]) -> Any:
        return jnp.asarray(False)  # a closed form leaves nothing to iterate

    def check_tokens(self, x: Any) -> None:
        shape = getattr(x, "shape", ())
        if len(shape) != 2 or shape[0] != shape[1] + 1 or not jnp.issubdtype(x.dtype, jnp.floating):
            raise ValueError(
                f"the state of a GaussianFlow is stacked(mean, covariance), a floating array [1+d d]; got shape {shape}"
            )
        numbers = concrete(x)
        if numbers is not None and np.all(np.isfinite(numbers)):
            _check_covariance(numbers[1:])
        self.law.check_tokens(*shape)
        for head in _heads(self.law):
            _check_forms(head, shape[1])


def stacked(mean: ArrayLike, covariance: ArrayLike) -> Float[Array, "k d"]:
    """The state of Gaussian tokens: the mean as a row above the covariance, which is made symmetric."""
    mean, covariance = jnp.asarray(mean, float), jnp.asarray(covariance, float)
    return jnp.concatenate([mean[None, :], 0.5 * (covariance + covariance.T)])


def _heads(law: AbstractLaw) -> tuple[Attention, ...]:
    """The attentions that a law is the sum of."""
    terms = law.laws if isinstance(law, Sum) else (law,)
    others = [type(term).__name__ for term in terms if not isinstance(term, Attention)]
    if others:
        raise ValueError(f"a GaussianFlow follows Attention and sums of it; got {others[0]}")
    return tuple(term for term in terms if isinstance(term, Attention))


def _check_slots(head: Attention) -> None:
    """Raises ValueError for a slot that does not keep Gaussian tokens Gaussian, whatever its numbers are."""
    if any(not isinstance(part, Uniform) for part in head.measure.parts()):
        raise ValueError("among infinitely many Gaussian tokens none has an index or a mass: use the measure Uniform")
    if not (head.gate.absent and head.value_gate.absent):
        raise ValueError("gates do not keep Gaussian tokens Gaussian: leave them out, or scale the value")
    if not isinstance(head.value, AbstractOffered):
        raise ValueError(
            f"the value of a GaussianFlow is affine in the key; {type(head.value).__name__} is not offered by keys: "
            "use Linear, LowRank, Identity or Difference"
        )
    one = jnp.ones((1, 1))
    head.normalizer.gaussian(Moments(one[0], one), Quadratic(one, -one, one[0]))  # which refuses if it does not know


def _check_forms(head: Attention, d: int) -> None:
    """Raises ValueError if the score is not quadratic, or the value not affine, in dimension d; traced ones may be."""
    if not all_known(head):
        return
    if read_quadratic(head.score, d) is None:
        raise ValueError(
            f"a GaussianFlow needs a score that is quadratic in query and key; {type(head.score).__name__} is not, as "
            "it is given: use DotProduct, SquaredDistance, or Metric with an affine map"
        )
    if read_affine(head.value, d) is None:
        raise ValueError(
            f"a GaussianFlow needs a value that is affine in the key; {type(head.value).__name__} is not, as it is "
            "given: use Linear, LowRank, Identity or Difference"
        )


def _check_covariance(covariance: np.ndarray) -> None:
    """Raises ValueError for a matrix that is no covariance."""
    size = np.abs(covariance).max()
    slack = (EXACT if covariance.dtype == np.float64 else ROUGH) * size
    if np.abs(covariance - covariance.T).max() > slack or np.linalg.eigvalsh(covariance)[0] < -slack:
        raise ValueError("the covariance of a GaussianFlow must be symmetric, without negative eigenvalues")


def _moved(head: Attention, moments: Moments) -> AffineField:
    """The velocity that one head gives a token among Gaussian ones."""
    like = moments.covariance
    seen, value = head.normalizer.gaussian(moments, quadratic(head.score, like)), affine(head.value, like)
    offset, slope = value.slope @ seen.offset, value.slope @ seen.slope
    if isinstance(head.value, AbstractOffered) and head.value.relative:
        return AffineField(offset, slope - value.slope)
    return AffineField(value.offset + offset, slope)
