"""Inputs from outputs: a flow run backwards, and residual layers solved for what went into them.

Both directions stretch. A contracting layer is undone by an iteration that converges at the proved rate, to as many
digits as are asked. A flow is undone by the flow of minus its law, and what its solver has rounded away comes back
stretched by as much as the flow contracts, which the same Lipschitz constant bounds in both directions.
"""

import dataclasses
import math
from typing import Any, ClassVar

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Float, Int

from ..declaration import all_known, parameter
from ..dynamics import AbstractFlow, Flow
from ..integration import Plan, solve
from ..laws import AbstractLaw
from ..laws.head import AbstractHead
from ..summation import AbstractSummation
from .bounds import known, proved
from .gronwall import affine_reach, exponents
from .token_map import AbstractTokenMap


class Backward(AbstractLaw):
    r"""Minus a law, at the depths of a flow from its end to its beginning.

    .. math:: u(s, x) = -f(T - s, x)

    `backward` makes a flow of it, and finds where the law jumps.

    Parameters
    ----------
    law : f.
    until : T.
    jumps_at : the depths below T where the law jumps, increasing.

    Raises
    ------
    ValueError
        If the law jumps where `jumps_at` does not say so first.

    Source
    ------
    chen2018neural.
    """

    law: AbstractLaw
    until: Float[Array, ""] = parameter(gt=0)
    jumps_at: Float[Array, " k"] = parameter((), gt=0)
    sources: ClassVar[tuple[str, ...]] = ("chen2018neural",)

    def __check_init__(self):
        if not (self.law.jumps and all_known(self)):
            return
        found, given = _jumps(self.law, float(self.until)), np.asarray(self.jumps_at)
        if not np.array_equal(np.asarray(found, given.dtype), given):
            raise ValueError(f"the law jumps at the depths {found}, and `jumps_at` says {given}; use backward(flow, T)")

    def __call__(
        self, t: Float[Array, ""], x: Float[Array, "n d"], summation: AbstractSummation
    ) -> Float[Array, "n d"]:
        return -self.law(self._depth(t), x, summation)

    def _depth(self, s: Float[Array, ""]) -> Float[Array, ""]:
        """T - s, on that side of every jump on which s is."""
        until, jumps = self.until.astype(s.dtype), jax.lax.stop_gradient(self.jumps_at.astype(s.dtype))
        behind = s > until - jumps
        above = jnp.max(jnp.where(behind, -jnp.inf, jumps), initial=-jnp.inf)
        below = jnp.min(jnp.where(behind, jnp.nextafter(jumps, -jnp.inf), jnp.inf), initial=jnp.inf)
        return jnp.clip(until - s, above, below)

    def check_tokens(self, n: int, d: int) -> None:
        self.law.check_tokens(n, d)

    def parts(self) -> tuple[AbstractLaw, ...]:
        return (self.law,)

    def at(self, t: Float[Array, ""]) -> AbstractLaw:
        return Backward(self.law.at(self._depth(t)), self.until)

    def next_jump(self, t: Float[Array, ""]) -> Float[Array, ""]:
        depths = self.until.astype(t.dtype) - self.jumps_at.astype(t.dtype)
        return jnp.min(jnp.where(depths > t, depths, jnp.inf), initial=jnp.inf)

    def unsolved(self, t: Float[Array, ""], x: Float[Array, "n d"], summation: AbstractSummation) -> Bool[Array, ""]:
        return self.law.unsolved(self._depth(t), x, summation)

    def head_weights(
        self, t: Float[Array, ""], x: Float[Array, "n d"], summation: AbstractSummation
    ) -> Float[Array, "h n n"]:
        return self.law.head_weights(self._depth(t), x, summation)

    def attending(
        self, t: Float[Array, ""], x: Float[Array, "n d"], summation: AbstractSummation
    ) -> tuple[AbstractHead, ...]:
        return self.law.attending(self._depth(t), x, summation)

    def tilted(self, shift: Float[Array, "h n m"]) -> AbstractLaw:
        return Backward(self.law.tilted(shift), self.until, self.jumps_at)

    def on_masses(self, p: Float[Array, " m"]) -> AbstractLaw:
        return Backward(self.law.on_masses(p), self.until, self.jumps_at)


def backward(flow: AbstractFlow, until: Float[Array, ""] | float) -> Flow:
    """The flow that takes tokens from where a flow has them at some depth to where it began with them.

    Parameters
    ----------
    flow : of first order, on a space without a boundary.
    until : the depth.

    Raises
    ------
    ValueError
        If the flow cannot be run backwards.

    Source
    ------
    chen2018neural.
    """
    if not isinstance(flow, Flow):
        raise ValueError(
            f"a {type(flow).__name__} cannot be run backwards from its tokens alone; a Flow can, and a residual layer "
            "is undone by `inverted`"
        )
    if flow.space.constrained and not flow.space.smooth:
        raise ValueError(
            f"a {type(flow.space).__name__} holds tokens back at its boundary, and from there on nobody knows where "
            "they came from; use Euclidean() or Sphere()"
        )
    jumps = _jumps(flow.law, float(until)) if flow.law.jumps else ()
    return eqx.tree_at(lambda flow: flow.law, flow, Backward(flow.law, until, jumps))  # pyright: ignore


def _jumps(law: AbstractLaw, until: float) -> tuple[float, ...]:
    """The depths below some depth where a law jumps."""
    found, depth = [], float(law.next_jump(jnp.zeros(())))
    while depth < until:
        found.append(depth)
        depth = float(law.next_jump(jnp.asarray(depth)))
    return tuple(found)


@dataclasses.dataclass(frozen=True)
class Reconstruction:
    """Tokens at the start of a flow, found again from its end.

    Attributes
    ----------
    tokens : the tokens that the way back ends with.
    error : the largest distance of one from where it was, in the ambient space.
    steps : how many were accepted, there and back.
    bound : what the error is at most if every step keeps its tolerance; NaN where no bound is proved for the flow.
    converged : whether both ways came to their end.
    """

    tokens: np.ndarray
    error: float
    steps: int
    bound: float
    converged: bool


def reconstruction(flow: AbstractFlow, x0: Float[Array, "n d"], plan: Plan) -> Reconstruction:
    r"""Follows a flow to the end of a plan and back.

    An error that is made at depth t, on either way, comes back at most e^(Lambda t) times as large, so that

    .. math:: \max_i |\hat x_i - x_i| \le N \tau e^{\Lambda T}

    for N steps with an error of at most tau each, whatever the flow contracts.

    Parameters
    ----------
    flow : of first order, on a space without a boundary.
    x0 : tokens, on the space.
    plan : how far, and how exactly; its frames are where the size of the cloud is looked at.

    Raises
    ------
    ValueError
        If the flow cannot be run backwards.

    Source
    ------
    chen2018neural; the bound derived by hand.
    """
    there = dataclasses.replace(plan, watch=(), stop=(), tokens=True)
    forth = solve(flow, x0, there)
    again = dataclasses.replace(there, start=0.0, until=plan.length, save=1, tokens=False)
    back = solve(backward(flow, plan.until), forth.final, again)
    path, found = np.asarray(forth.tokens), np.asarray(back.final)
    steps = int(forth.steps - forth.rejected + back.steps - back.rejected)
    radii, size = np.linalg.norm(path, axis=2).max(axis=1), float(np.abs(path).max())
    wrong = math.sqrt(x0.shape[1]) * (float(plan.atol) + float(plan.rtol) * size)
    try:
        bound = steps * wrong * math.exp(exponents(flow, "max", len(x0), np.asarray(forth.times), radii)[-1])
    except ValueError:  # no bound is proved for this flow
        bound = math.nan
    error = float(np.linalg.norm(found - np.asarray(x0), axis=1).max())
    return Reconstruction(found, error, steps, bound, bool(int(forth.status) == 1 and int(back.status) == 1))


@dataclasses.dataclass(frozen=True)
class Contraction:
    """What is proved of the iteration that undoes a residual layer.

    Attributes
    ----------
    factor : q, by which every sweep brings two iterates nearer, in the largest displacement of a token; infinite where
        nothing keeps the iterates together.
    radius : of the ball around the origin that they do not leave, and in which every token was that could have been
        there before the layer.
    """

    factor: float
    radius: float

    @property
    def proved(self) -> bool:
        """Whether the layer has an inverse, which the iteration finds."""
        return self.factor < 1


def contraction(law: AbstractLaw, y: Float[Array, "n d"], step: float) -> Contraction:
    r"""By how much a sweep of the iteration that undoes a residual layer contracts.

    .. math:: q = s \operatorname{Lip}(\Gamma \text{ on } B_{R'}), \qquad R' = \frac{R_Y}{1 - s v}

    with v the largest velocity over the radius, and R_Y that of the tokens behind the layer. A ball of radius R' is
    taken into itself, since R_Y + s v R' = R'. Velocities with a part that does not vanish at the origin widen it.

    Parameters
    ----------
    law : Gamma.
    y : tokens behind the layer y = x + s Gamma(x).
    step : s.

    Raises
    ------
    ValueError
        If no bound is proved for the law, with the assumption that it does not meet.

    Source
    ------
    behrmann2019invertible; constants derived by hand.
    """
    n, size, step = float(len(y)), float(jnp.max(jnp.linalg.norm(y, axis=1))), abs(float(step))
    proved(law, "max", n, 1.0)
    start, slope = affine_reach(law, len(y))
    radius = (size + step * start) / (1 - step * slope) if step * slope < 1 else math.inf
    bounds = [known(law, "max", n, one) for one in {radius or 1.0, math.inf}]
    return Contraction(step * min((bound.value for bound in bounds if bound is not None), default=math.inf), radius)


class Inverse(eqx.Module):
    """Tokens before a residual layer, found from those behind it.

    Attributes
    ----------
    tokens : the last iterate.
    residuals : of every iterate, the first one the output itself: by how much the layer misses the output, the largest
        distance over tokens over the largest size of one; NaN once done.
    sweeps : how many were made.
    converged : whether the last residual is below the tolerance.
    """

    tokens: Float[Array, "n d"]
    residuals: Float[Array, " sweep"]
    sweeps: Int[Array, ""]
    converged: Bool[Array, ""]


@eqx.filter_jit
def inverted(
    branch: AbstractTokenMap,
    y: Float[Array, "n d"],
    step: Float[Array, ""] | float,
    tolerance: float = 1e-13,
    sweeps: int = 200,
) -> Inverse:
    r"""Undoes a residual layer y = x + s Gamma(x), by iteration.

    .. math:: X \leftarrow Y - s \Gamma_X(X)

    It converges at the rate q of `contraction` where that is below 1, and may elsewhere.

    Parameters
    ----------
    branch : Gamma, the map of tokens beside the residual: `LawMap(flow)`.
    y : tokens behind the layer.
    step : s.
    tolerance : of the residual, relative to the size of the tokens.
    sweeps : the largest number of them.

    Returns
    -------
    Inverse
        Always; look at `converged`.

    Cost
    ----
    One evaluation of the branch a sweep.

    Source
    ------
    behrmann2019invertible.
    """
    h, size = jnp.asarray(step, y.dtype), jnp.max(jnp.linalg.norm(y, axis=1))
    before = lambda x: y - h * branch(x)  # noqa: E731
    missed = lambda x, moved: jnp.max(jnp.linalg.norm(moved - x, axis=1)) / jnp.where(size > 0, size, 1)  # noqa: E731

    def sweep(carry: tuple[Any, Any], _: None) -> tuple[tuple[Any, Any], Any]:
        x, moved = carry
        done = missed(x, moved) <= tolerance
        x = jnp.where(done, x, moved)
        moved = jax.lax.cond(done, lambda _: moved, before, x)
        return (x, moved), jnp.where(done, jnp.nan, missed(x, moved))

    (x, moved), rest = jax.lax.scan(sweep, (y, before(y)), length=sweeps)
    residuals = jnp.concatenate([missed(y, before(y))[None], rest])
    return Inverse(x, residuals, jnp.sum(~jnp.isnan(rest)), missed(x, moved) <= tolerance)
