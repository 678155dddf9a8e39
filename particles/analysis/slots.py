"""The numbers of a law on which bounds rest, read from its slots; and which law no bound is proved for, and why.

The proofs want softmax weights of a fixed measure, a score that is quadratic in query and key, and a value that is
affine in the key. That a slot is so is seen from its values and not from its class.
"""

import dataclasses
import math

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Float

from ..declaration import all_known
from ..laws import AbstractLaw, Attention, Softmax, Sum
from ..laws.reading import FAR, close, read_affine, read_quadratic
from ..laws.terms import AbstractTerm
from ..laws.value import AbstractOffered
from ..summation import Dense
from .constants import Number, largest_share, operator_norm

ROUNDING = 1e-9  # relative: an eigenvalue below is zero, and so is what a value does outside of what a score sees


@dataclasses.dataclass(frozen=True)
class HeadSlots:
    r"""One softmax attention: the score y^T A x + y^T H y / 2 + g^T y, the value V y + b, the density of its measure.

    Attributes
    ----------
    form, own, tilt : A, H and g.
    value, offset : V and b.
    relative : whether the row takes its own V x away.
    density : of every pair, row by column, up to a factor of each row; None where all tokens weigh alike.
    """

    form: np.ndarray
    own: np.ndarray
    tilt: np.ndarray
    value: np.ndarray
    offset: np.ndarray
    relative: bool
    density: np.ndarray | None

    @property
    def alike(self) -> bool:
        """Whether it knows no token by its index."""
        return self.density is None

    def on_sphere(self) -> tuple["HeadSlots", ...]:
        """What moves tokens alike on a sphere, where multiples of |y|^2 are constant and multiples of x are normal."""
        bare = dataclasses.replace(self, relative=self.relative and bool(np.any(_traceless(self.value))))
        return bare, dataclasses.replace(bare, own=_traceless(self.own))

    def reach(self, radius: Number) -> float:
        """The largest velocity in a ball."""
        return operator_norm(self.value) * radius * (1 + self.relative) + float(np.linalg.norm(self.offset))

    def constant(self) -> bool:
        """Whether all keys score alike."""
        return not (np.any(self.form) or np.any(self.own) or np.any(self.tilt))

    def mixed(self) -> float:
        """By how much the slope of the score in the key changes with the query."""
        return operator_norm(self.form)

    def steepest(self, radius: Number) -> float:
        """The largest slope of the score in the key, in a ball."""
        return (operator_norm(self.form) + operator_norm(self.own)) * radius + float(np.linalg.norm(self.tilt))

    def spread(self, radius: Number) -> float:
        """By how much the scores of one row can differ, in a ball."""
        curvature = np.linalg.eigvalsh(self.own)
        bent = (max(curvature[-1], 0) - min(curvature[0], 0)) * radius**2 / 2
        apart = 2 * radius * (operator_norm(self.form) * radius + float(np.linalg.norm(self.tilt))) + bent
        return min(apart, 2 * operator_norm(self.form) * radius**2) if self.tied() else apart

    def tied(self) -> bool:
        """Whether the score is -(x - y)^T A (x - y) / 2 with A >= 0, but for what depends on the query alone."""
        size = max(operator_norm(self.form), operator_norm(self.own))
        off = operator_norm(self.form + self.own), float(np.linalg.norm(self.tilt)), np.linalg.eigvalsh(self.own)[-1]
        return bool(max(off) <= ROUNDING * size)

    def through(self) -> float | None:
        """|U| |W| for a tied score -|W (x - y)|^2 and the value V = U W; None where the value sees more than W does."""
        sizes, basis = np.linalg.eigh(-self.own)
        seen = sizes > ROUNDING * max(sizes[-1], 0)
        turned = self.value @ basis
        if operator_norm(turned[:, ~seen]) > ROUNDING * operator_norm(self.value):
            return None
        roots = np.sqrt(sizes[seen])
        return operator_norm(turned[:, seen] / roots) * float(roots.max()) if seen.any() else 0.0

    def share(self, spread: Number, n: Number) -> float:
        """The most attention that one token can draw from all rows together, if scores of a row differ by `spread`."""
        if self.density is None:
            return largest_share(spread, n)
        least = math.exp(-spread)
        others = self.density.sum(axis=1, keepdims=True) - self.density
        return float(np.max(np.sum(_share(self.density, least * others), axis=0)))

    def odds(self, n: Number) -> np.ndarray | None:
        """The density of each pair over that of the row with itself; None where a row sees others and not itself."""
        if self.density is None:
            return np.ones((int(n), int(n)))
        own = np.diagonal(self.density)[:, None]
        unseen = self.density.sum(axis=1, keepdims=True) == 0
        if np.any((own == 0) & ~unseen):
            return None
        return np.divide(self.density, own, out=np.zeros_like(self.density), where=own > 0)


@dataclasses.dataclass(frozen=True)
class TermSlots:
    """A law that moves token i by M_i x_i + c_i, whatever the others do.

    Attributes
    ----------
    slopes, offsets : M and c of every token.
    """

    slopes: np.ndarray
    offsets: np.ndarray

    @property
    def alike(self) -> bool:
        """Whether it moves all tokens by one rule."""
        return bool(np.all(self.slopes == self.slopes[:1]) and np.all(self.offsets == self.offsets[:1]))

    def size(self) -> float:
        """The Lipschitz constant."""
        return max(operator_norm(slope) for slope in self.slopes)

    def reach(self, radius: Number) -> float:
        """The largest velocity in a ball."""
        pairs = zip(self.slopes, self.offsets, strict=True)
        return max(operator_norm(slope) * radius + float(np.linalg.norm(offset)) for slope, offset in pairs)


def read(law: AbstractLaw, n: Number) -> tuple[HeadSlots | TermSlots, ...]:
    """What a law is the sum of, for n tokens.

    Parameters
    ----------
    law : attention, a sum of heads, drifts beside them.
    n : the number of tokens; infinite for measures.

    Raises
    ------
    ValueError
        For a law or a slot that no bound is proved for, with one for which it is.
    """
    if not all_known(law):
        raise ValueError("a bound is proved for a law whose numbers are known; call `proved` outside of jit and grad")
    few = 2 if math.isinf(n) else int(n)
    d = _dimension(law, few)
    return tuple(_read(part, n, few, d) for part in (law.laws if isinstance(law, Sum) else (law,)))


def _dimension(law: AbstractLaw, n: int) -> int:
    """A dimension of tokens that the law is made for: any one will do where it is made for several."""
    sizes = {size for leaf in jax.tree.leaves(law) for size in getattr(leaf, "shape", ())}
    fault: ValueError | None = None
    for d in sorted(sizes | {2}):
        try:
            law.check_tokens(n, d)
            return d
        except ValueError as error:
            fault = error
    raise ValueError(f"the law is not one for {n} tokens: {fault}")


def _read(law: AbstractLaw, n: Number, few: int, d: int) -> HeadSlots | TermSlots:
    if isinstance(law, AbstractTerm):
        return _term(law, few, d)
    if not isinstance(law, Attention):
        raise ValueError(
            f"bounds are proved for Attention, sums of it, and Drift; got {type(law).__name__}. Of a law that changes "
            "with depth take the law at one, `law.at(t)`."
        )
    return _head(law, n, d)


def _head(head: Attention, n: Number, d: int) -> HeadSlots:
    if not isinstance(head.normalizer, Softmax):
        raise ValueError(f"bounds are proved for the normalizer Softmax; got {type(head.normalizer).__name__}")
    if not (head.gate.absent and head.value_gate.absent):
        raise ValueError("bounds are proved for attention without gates: leave them out, or scale the value")
    if "density" in head.measure.all_traits():
        raise ValueError("bounds are proved for a measure that does not move with the tokens; DensityPower does")
    score = read_quadratic(head.score, d)
    if score is None:
        raise ValueError(
            f"bounds are proved for a score that is quadratic in query and key; {type(head.score).__name__} is not, as "
            "it is given: use DotProduct, SquaredDistance, or Metric with an affine map"
        )
    value = read_affine(head.value, d) if isinstance(head.value, AbstractOffered) else None
    if value is None or not isinstance(head.value, AbstractOffered):
        raise ValueError(
            f"bounds are proved for a value that is affine in the key; {type(head.value).__name__} is not, as it is "
            "given: use Linear, LowRank, Identity or Difference"
        )
    form, own, tilt, slope, offset = (
        np.asarray(one, float) for one in (score.form, score.own, score.tilt, value.slope, value.offset)
    )
    return HeadSlots(form, own, tilt, slope, offset, head.value.relative, _density(head, n))


def _density(head: Attention, n: Number) -> np.ndarray | None:
    traits = head.measure.all_traits()
    if not traits:
        return None
    if math.isinf(n):
        raise ValueError("a measure that knows tokens by their index has a bound for a number of tokens, not for all")
    index = jnp.arange(int(n))
    logs = np.asarray(head.measure.log_density(index, index, int(n)), float)
    peak = logs.max(axis=1, keepdims=True)
    return np.exp(logs - np.where(np.isfinite(peak), peak, 0))


def _term(term: AbstractTerm, n: int, d: int) -> TermSlots:
    slopes, offsets, good = _moved_alone(term, n, d)
    if not good:
        raise ValueError(
            f"the only law of single tokens with a bound is one that is affine, as Drift; {type(term).__name__} is not"
        )
    return TermSlots(np.asarray(slopes, float), np.asarray(offsets, float))


def _traceless(matrix: np.ndarray) -> np.ndarray:
    """What a matrix is beside a multiple of the identity."""
    return matrix - np.trace(matrix) / len(matrix) * np.eye(len(matrix))


@eqx.filter_jit
def _moved_alone(
    term: AbstractTerm, n: int, d: int
) -> tuple[Float[Array, "n d d"], Float[Array, "n d"], Bool[Array, ""]]:
    """What an affine term is, and whether it is one: found by moving all tokens at once, since none sees another."""
    at = lambda x: term(jnp.zeros((), x.dtype), x, Dense())  # noqa: E731
    x = FAR * jnp.asarray(np.random.default_rng(0).normal(size=(n, d)))
    origin = jnp.zeros_like(x)
    column = lambda e: jax.jvp(at, (origin,), (jnp.broadcast_to(e[None, :], x.shape),))[1]  # noqa: E731
    slopes, offsets = jax.vmap(column, out_axes=-1)(jnp.eye(d, dtype=x.dtype)), at(origin)
    return slopes, offsets, close(at(x), offsets + jnp.einsum("nij,nj->ni", slopes, x))


def _share(some: np.ndarray, others: np.ndarray) -> np.ndarray:
    """a / (a + b), and 0 where both are."""
    total = some + others
    return np.divide(some, total, out=np.zeros_like(total), where=total > 0)
