"""Lipschitz constants that are proved for a law, with the assumptions of the proof checked on the law itself."""

import dataclasses
import math

import numpy as np

from ..laws import AbstractLaw
from ..spaces import AbstractSpace, Euclidean, Sphere
from .constants import Number, operator_norm
from .constants import ball_bound as ball_bound
from .constants import displacement_bound as displacement_bound
from .constants import distance_bound as distance_bound
from .constants import distance_euclidean_bound as distance_euclidean_bound
from .constants import distances_bound as distances_bound
from .constants import euclidean_bound as euclidean_bound
from .constants import largest_share as largest_share
from .constants import mean_distance as mean_distance
from .constants import measure_bound as measure_bound
from .constants import multihead_entry_bound as multihead_entry_bound
from .constants import multihead_euclidean_bound as multihead_euclidean_bound
from .constants import potential_bound as potential_bound
from .constants import query_bound as query_bound
from .constants import sphere_bound as sphere_bound
from .constants import transport_bound as transport_bound
from .slots import HeadSlots, TermSlots, read

POWERS = {"euclidean": 2.0, "conditional": 2.0, "W2": 2.0, "W1": 1.0, "max": math.inf}
"""The p of the sum over tokens in which displacements are measured, for every norm of `local_lipschitz`."""

WORDS = {
    "euclidean": "in the Euclidean norm of all tokens",
    "conditional": "in the root mean square displacement of tokens with labels",
    "W2": "in W_2",
    "W1": "in W_1",
    "max": "in the largest displacement of a token",
}

OF_MEASURES = ("W1", "W2")
OF_NUMBERS = ("euclidean", "conditional")

Way = tuple[float, str]


@dataclasses.dataclass(frozen=True)
class Bound:
    """A proved Lipschitz constant.

    Attributes
    ----------
    value : the constant; of a law or a field, per unit of depth.
    statement : for what it holds, and the formula with its numbers, head by head.
    source : bibliography keys.
    """

    value: float
    statement: str
    source: str


def proved(
    law: AbstractLaw, norm: str, n: Number, radius: Number = math.inf, *, space: AbstractSpace | None = None
) -> Bound:
    """A Lipschitz constant of a law, as a map of n tokens in a ball, that is proved for it.

    It rests on numbers that are read from the law: the matrices that score and value turn out to be, and the density
    of the measure, so any class of slot will do. Of several proofs the one with the smallest constant is taken, and the
    constants of heads add. Masks, priors and masses keep every proof for tokens with labels, since a row's weights are
    still a probability; on all of space the token must also see itself.

    Parameters
    ----------
    law : softmax attention with a score that is quadratic in query and key and a value that is affine in the key,
        without gates; a sum of such heads, and of drifts.
    norm : of displacements: "euclidean", "conditional", "max", "W1" or "W2", as in `local_lipschitz`. The last two need
        a measure that knows no order.
    n : how many tokens there are; infinite for measures, in "W1", "W2" and "max".
    radius : of the ball that holds the tokens. Infinite is all of space, where L2 attention with tied queries and keys
        and values that see no more than they do is Lipschitz, in "max", "euclidean" and "conditional"; attention by dot
        products is not.
    space : of the flow. On a `Sphere` the constant is that of the field, of which the law is the part before the
        projection, for tangent displacements, and the radius is the sphere's.

    Returns
    -------
    Bound
        The constant, with the formula of every head.

    Raises
    ------
    ValueError
        For a law with no proved bound, with the assumption that it does not meet.

    Source
    ------
    vuckovic2021regularity, kim2021lipschitz, castin2024smooth, for the properties; constants derived by hand, as in
    `transport_bound`, `displacement_bound`, `euclidean_bound`, `distance_bound` and `sphere_bound`.
    """
    _check_norm(norm)
    if not radius > 0:
        raise ValueError(f"`radius` must be positive, infinite for all of space; got {radius}")
    if not (n >= 1 and (math.isinf(n) or n == int(n))):
        raise ValueError(f"`n` is a number of tokens; got {n}")
    if math.isinf(n) and norm in OF_NUMBERS:
        raise ValueError(f"the norm {norm} is one of a number of tokens; use W2 for measures")
    sphere = _sphere(space, norm)
    radius = radius if sphere is None else float(sphere.radius)
    ways = [_way(part, norm, n, radius, sphere is not None) for part in read(law, n)]
    where = "on all of space" if math.isinf(radius) else f"in a ball of radius {radius:g}"
    where = where if sphere is None else f"on a sphere of radius {radius:g}"
    statement = f"{WORDS[norm]}, {where}: at most {' + '.join(words for _, words in ways)}"
    return Bound(float(sum(value for value, _ in ways)), statement, ", ".join(SOURCES))


def known(
    law: AbstractLaw, norm: str, n: Number, radius: Number = math.inf, *, space: AbstractSpace | None = None
) -> Bound | None:
    """As `proved`, or None for a law with no proved bound.

    Raises
    ------
    ValueError
        For a norm that does not exist.
    """
    _check_norm(norm)
    try:
        return proved(law, norm, n, radius, space=space)
    except ValueError:
        return None


SOURCES = ("vuckovic2021regularity", "kim2021lipschitz", "castin2024smooth")


def _check_norm(norm: str) -> None:
    if norm not in POWERS:
        raise ValueError(f"`norm` must be one of {', '.join(POWERS)}; got {norm!r}")


def _sphere(space: AbstractSpace | None, norm: str) -> Sphere | None:
    """The sphere that tokens live on, or None where they live in a flat space."""
    if space is None or isinstance(space, Euclidean):
        return None
    if not isinstance(space, Sphere):
        raise ValueError(f"bounds are proved in Euclidean space and on a Sphere; got {type(space).__name__}")
    if norm in OF_MEASURES:
        raise ValueError("the field on a sphere is no map of measures: use max, euclidean or conditional")
    return space


def _way(part: HeadSlots | TermSlots, norm: str, n: Number, radius: Number, sphere: bool) -> Way:
    """The bound of one part of a law, with its formula."""
    if norm in OF_MEASURES and not part.alike:
        raise ValueError(
            f"{norm} compares measures, and this law knows its tokens by their index: use the norm conditional, max or "
            "euclidean"
        )
    if isinstance(part, TermSlots):
        value, words = part.size(), f"|M| [|M| = {part.size():.4g}]"
    else:
        value, words = min(
            _of_head(form, POWERS[norm], n, radius) for form in (part.on_sphere() if sphere else (part,))
        )
    if not sphere:
        return value, words
    turned = part.reach(radius) / radius  # the tangent plane turns, and with it what is left of the velocity
    return value + turned, f"{words} + |u|/R [|u|/R = {turned:.4g}]"


def _of_head(head: HeadSlots, p: Number, n: Number, radius: Number) -> Way:
    ways = [way for way in (_in_ball(head, p, n, radius), _anywhere(head, p, n)) if way is not None]
    if not ways:
        raise ValueError(
            "this law has no bound on all of R^d in this norm: give a finite `radius`. In max, euclidean and "
            "conditional there is one for a score -|W (x - y)|^2, queries and keys tied, where every token sees itself "
            "and values are U W x; for dot products there is none"
        )
    value, words = min(ways)
    own = operator_norm(head.value) if head.relative else 0.0
    return value + own, f"{words} + |V|" if own else words


def _in_ball(head: HeadSlots, p: Number, n: Number, radius: Number) -> Way | None:
    """For a quadratic score, in a ball; None in all of space, unless the score is constant."""
    if math.isinf(radius) and not head.constant():
        return None
    radius = 0.0 if head.constant() else radius
    size, curved, steep = operator_norm(head.value), head.mixed() * radius**2, head.steepest(radius) * radius
    share = 1.0 if math.isinf(p) else head.share(head.spread(radius), n)
    drawn, factor = "" if math.isinf(p) else f" c^(1/{p:g})", "2 " if p == 1 else ""
    values = f"|V| = {size:.4g}, l R^2 = {curved:.4g}, g R = {steep:.4g}" + (f", c = {share:.4g}" if drawn else "")
    return ball_bound(size, curved, steep, share, p), f"|V| (l R^2 + (1 + {factor}g R){drawn}) [{values}]"


def _anywhere(head: HeadSlots, p: Number, n: Number) -> Way | None:
    """For L2 attention, in all of space; None where the head is not that, or the proof does not go through."""
    if p < 2 or math.isinf(n) or not head.tied():
        return None
    through, odds = head.through(), head.odds(n)
    if through is None or odds is None:
        return None
    size = operator_norm(head.value)
    values = f"|V| = {size:.4g}, |U||W| = {through:.4g}, phi = {mean_distance(np.max(odds.sum(axis=1)) - 1):.4g}"
    formula = "|V| + 4 phi |U||W|" if math.isinf(p) else "|V| sqrt(c) + 2 |U||W| (phi + sqrt(phi q))"
    return distances_bound(size, through, odds, p), f"{formula} [{values}]"
