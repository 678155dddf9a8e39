"""The discrete network: layer after layer of the same law, with the normalization where a transformer has it."""

import dataclasses
from typing import Any, ClassVar, Literal

import equinox as eqx
import jax.numpy as jnp
from jaxtyping import Array, Float, PRNGKeyArray

from ..declaration import Declared, option
from ..laws import AbstractLaw, AbstractNorm, Normalized, Sum
from ..laws.norm import Post
from ..spaces import AbstractSpace, Euclidean, Sphere
from ..summation import AbstractSummation, Auto
from .base import AbstractFlow, Reading, at_precision
from .flow import Flow

SPLITTINGS = ("none", "Lie", "Strang")


class Layers(AbstractFlow):
    r"""The layers of a transformer: steps of a law as the network takes them, not as a solver would.

    .. math:: x \leftarrow N\big(x + h A(x)\big) \quad\text{or another placement of } N

    A plan's `dt` is the step h of a layer and its solver `Layers`; depth T has T/h of them. As h tends to 0 this is the
    flow of the law `Normalized(law, norm)`, at order 1; of the sum of such laws where branches are split and normalized
    one by one. Layers share their weights unless the law is `Scheduled`: at depth t a layer has the weights of that
    depth.

    Parameters
    ----------
    law : what stands in the residual branch; a sum of laws, attention and feed-forward, can be split.
    norm : where the layer normalizes.
    splitting : "none" adds the terms of a sum in one branch; "Lie" takes them one after another, each with its own
        residual and normalization, as transformers do; "Strang" takes half a step of every term but the first, then the
        first, then the other halves in reverse, the Macaron layer. Sums are flat, so several heads that act together
        beside other terms are made one term, `Normalized(multihead(...), norms.Residual())`.
    stages : of each branch: 1, the residual step of networks; 2, the midpoint rule, with which "Strang" is of order 2.
    summation : how all pairs are visited; chosen by size if left out.

    Raises
    ------
    ValueError
        For an unknown splitting, or one of a law that has no terms.

    Source
    ------
    vaswani2017attention; splitting, lu2020understanding; placements, karagodin2025normalization.
    """

    law: AbstractLaw
    norm: AbstractNorm = eqx.field(default_factory=Post)
    splitting: Literal["none", "Lie", "Strang"] = option("none")
    stages: int = option(1, ge=1, le=2)
    summation: AbstractSummation = eqx.field(default_factory=Auto)
    sources: ClassVar[tuple[str, ...]] = ("vaswani2017attention", "lu2020understanding", "karagodin2025normalization")

    def __check_init__(self):
        Declared.__check_init__(self)  # what follows asks the nouns themselves
        if self.splitting not in SPLITTINGS:
            raise ValueError(f"`splitting` must be one of {', '.join(SPLITTINGS)}; got {self.splitting!r}")
        if self.splitting != "none" and not isinstance(self.law.at(jnp.zeros(())), Sum):
            raise ValueError(
                f"{self.splitting} splitting takes the terms of a sum of laws one after another; "
                f"{type(self.law).__name__} has none. Write attention + FeedForward(...)."
            )

    @property
    def space(self) -> AbstractSpace:  # pyright: ignore[reportIncompatibleVariableOverride]
        """Where the placement keeps the tokens: on the unit sphere, or anywhere."""
        return Sphere() if self.norm.spherical else Euclidean()

    @property
    def readings(self) -> tuple[Reading, ...]:
        return (Reading.layers,)

    @property
    def constant_steps(self) -> bool:
        return True

    def limit(self) -> Flow:
        """The flow that the network tends to as its layers become thin.

        Raises
        ------
        ValueError
            For a split schedule over a sum: the sum of scheduled laws has a limit.
        """
        if self.splitting == "none":
            return Flow(self.space, Normalized(self.law, self.norm), self.summation)
        if not isinstance(self.law, Sum) or len(self.law.at(jnp.zeros(())).parts()) > len(self.law.laws):
            raise ValueError("the limit of a split Scheduled sum has no law; schedule the terms of the sum instead")
        return Flow(self.space, Sum(tuple(Normalized(term, self.norm) for term in self.law.laws)), self.summation)

    def begin(self, x0: Float[Array, "n d"], key: PRNGKeyArray | None) -> Float[Array, "n d"]:
        return self.space.project(x0)

    def __call__(self, t: Float[Array, ""], x: Float[Array, "n d"], args: Any = None) -> Float[Array, "n d"]:
        """The velocity in the limit of small steps."""
        law, norm = at_precision((self.law, self.norm), x.dtype)
        terms = [law] if self.splitting == "none" else law.at(t).parts()  # what is normalized apart stays apart
        fields = [norm.field(t, x, lambda y, term=term: term(t, y, self.summation)) for term in terms]
        return self.space.tangent(x, sum(fields[1:], start=fields[0]))

    @property
    def placed(self) -> AbstractLaw:
        """The law behind its normalization; a sum's terms together, whatever the splitting."""
        return Normalized(self.law, self.norm)

    def layer(self, t: Float[Array, ""], h: Float[Array, ""], state: Float[Array, "n d"]) -> Float[Array, "n d"]:
        """The tokens behind the layer at depth t, of step h."""
        x = state
        norm, law = at_precision((self.norm, self.law), x.dtype)
        step = norm.layer if self.stages == 1 else norm.midpoint_layer
        for begin, part, term in self._sublayers(law.at(t)):
            x = step(t + begin * h, part * h, x, lambda y, term=term: term(t, y, self.summation))
        return x

    def _sublayers(self, law: AbstractLaw) -> list[tuple[float, float, AbstractLaw]]:
        """The terms in the order of the splitting; of each step, where its own part begins and how long it is."""
        if self.splitting == "none":
            return [(0.0, 1.0, law)]
        first, *rest = law.parts()
        if self.splitting == "Lie":
            return [(0.0, 1.0, first), *((0.0, 1.0, term) for term in rest)]
        early, late = [(0.0, 0.5, term) for term in rest], [(0.5, 0.5, term) for term in reversed(rest)]
        return [*early, (0.0, 1.0, first), *late]

    def on_masses(self, p: Float[Array, " m"]) -> "Layers":
        return dataclasses.replace(self, law=self.law.on_masses(p))

    def tokens(self, state: Float[Array, "n d"]) -> Float[Array, "n d"]:
        return state

    def project(self, state: Float[Array, "n d"]) -> Float[Array, "n d"]:
        return self.space.project(state)
