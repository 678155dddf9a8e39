"""What is looked at while a flow is followed: what is kept of a state, and what ends a run."""

from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, PyTree

from ..dynamics import AbstractFlow
from ..stopping import AbstractStop
from .merged import Merged
from .once import Once
from .plan import Plan


class Watch(eqx.Module):
    """What is kept of a state: the tokens brought back to the space, or some, and the observables of all of them.

    Where tokens have merged, those are all tokens; what sees no more than the measure looks at the rows alone.
    """

    flow: AbstractFlow
    plan: Plan
    merged: Merged | None = None

    def __call__(self, t: Float[Array, ""], y: PyTree, args: Any) -> dict[str, Float[Array, "..."]]:
        rows = self.flow.project(y)
        few = everybody = (self.flow, rows)
        if self.merged is not None:
            few, everybody = (self.flow, self.merged.moving(rows)), (self.merged.flow, self.merged.everybody(rows))
        tokens = self.flow.tokens(everybody[1])
        some = self.plan.kept(tokens.shape[0])
        kept = {}
        for watched in self.plan.watch:
            flow, state = few if watched.of_measure else everybody
            seen = watched.observe(flow, t, state)
            kept[watched.name] = seen[tuple(some if dim in ("token", "key") else slice(None) for dim in watched.dims)]
        return {"tokens": tokens[some], **kept} if self.plan.tokens else kept


class End(eqx.Module):
    """The state at the end of a solve, on the space."""

    flow: AbstractFlow

    def __call__(self, t: Float[Array, ""], y: PyTree, args: Any) -> PyTree:
        return self.flow.project(y)


class Condition(eqx.Module):
    """A stop condition as an event of diffrax."""

    flow: AbstractFlow
    stop: AbstractStop
    merged: Merged | None = None

    def __call__(self, t: Float[Array, ""], y: PyTree, args: Any, **kwargs: Any) -> Bool[Array, ""]:
        return Once(self.stop)(self.flow, t, y if self.merged is None else self.merged.moving(y))


class Ended(eqx.Module):
    """The event of a member that had ended before: it takes one step, which is thrown away."""

    ended: Bool[Array, ""]

    def __call__(self, t: Any, y: Any, args: Any, **kwargs: Any) -> Bool[Array, ""]:
        return self.ended


class Passed(eqx.Module):
    """The event that ends a chunk: a step has come to its last depth."""

    last: Float[Array, ""]

    def __call__(self, t: Any, y: Any, args: Any, **kwargs: Any) -> Bool[Array, ""]:
        return t >= self.last


class Upto(eqx.Module):
    """Another event, where a step does not pass a depth."""

    event: Any
    last: Float[Array, ""]

    def __call__(self, t: Any, y: Any, args: Any, **kwargs: Any) -> Bool[Array, ""]:
        return self.event(t, y, args, **kwargs) & (t <= self.last)


class NotFinite(eqx.Module):
    """The event that ends a solve whose state is no longer a number."""

    def __call__(self, t: Any, y: PyTree, args: Any, **kwargs: Any) -> Bool[Array, ""]:
        finite = [jnp.all(jnp.isfinite(leaf)) for leaf in jax.tree.leaves(y)]
        return ~jnp.all(jnp.stack(finite)) if len(finite) > 1 else ~finite[0]


class Unsolved(eqx.Module):
    """The event that ends a solve in whose state an inner iteration of the law misses its tolerance."""

    flow: AbstractFlow

    def __call__(self, t: Float[Array, ""], y: PyTree, args: Any, **kwargs: Any) -> Bool[Array, ""]:
        return Once(_unsolved)(self.flow, t, y)


def _unsolved(flow: AbstractFlow, t: Float[Array, ""], y: PyTree) -> Bool[Array, ""]:
    return flow.unsolved(t, y)
