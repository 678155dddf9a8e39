"""A flow as diffrax sees it: the field for each reading, the Brownian motion, and the side of a jump a step is on."""

from typing import Any

import diffrax
import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, PyTree, UInt32

from ..dynamics import AbstractFlow, Reading
from .merged import Merged, Tied
from .once import Once
from .plan import Plan

FINER = 4  # how many times finer than a step the Brownian tree is


class Within(eqx.Module):
    """What a step knows beside the state.

    Attributes
    ----------
    key : the data of the key that noise comes from.
    low, high : the depths at which the field may be looked at: those on this step's side of a jump.
    """

    key: UInt32[Array, " word"] | None
    low: Float[Array, ""] | None
    high: Float[Array, ""] | None


class Sided(eqx.Module):
    """A field that is never looked at on the far side of a jump."""

    field: Any

    def __call__(self, t: Float[Array, ""], state: PyTree, args: Within) -> PyTree:
        return self.field(jnp.clip(t, args.low, args.high), state, args)


class Ambient(eqx.Module):
    """The law's velocity before it is made tangent to the space; for flows whose state is the tokens."""

    flow: AbstractFlow

    def __call__(self, t: Float[Array, ""], state: PyTree, args: Any) -> PyTree:
        return self.flow.velocity(t, state)


class Ito(eqx.Module):
    """The drift in Ito's sense."""

    flow: AbstractFlow

    def __call__(self, t: Float[Array, ""], state: PyTree, args: Any) -> PyTree:
        return jax.tree.map(jnp.add, self.flow(t, state, args), self.flow.correction(t, state))


class Layer(diffrax.AbstractTerm):
    """The layers of a network as a term: its product with a step is the state behind the layer."""

    flow: AbstractFlow

    def vf(self, t: Any, y: PyTree, args: Any) -> tuple[Any, PyTree]:
        return t, y

    def contr(self, t0: Any, t1: Any, **kwargs: Any) -> Any:
        return t1 - t0

    def prod(self, vf: tuple[Any, PyTree], control: Any) -> PyTree:
        return self.flow.layer(vf[0], control, vf[1])


class Diffusion(diffrax.AbstractTerm):
    """What Brownian motion does to a state. Only products are ever taken: the matrix is too large to be formed."""

    flow: AbstractFlow
    path: diffrax.VirtualBrownianTree

    def vf(self, t: Any, y: PyTree, args: Any) -> tuple[Any, PyTree]:
        return (t if args.low is None else jnp.clip(t, args.low, args.high)), y

    def contr(self, t0: Any, t1: Any, **kwargs: Any) -> Array:
        last = self.path.t1
        return self.path.evaluate(jnp.minimum(t0, last), jnp.minimum(t1, last), **kwargs)  # pyright: ignore[reportReturnType]

    def prod(self, vf: tuple[Any, PyTree], control: Array) -> PyTree:
        t, state = vf
        return self.flow.diffusion(t, state, control)

    def is_vf_expensive(self, t0: Any, t1: Any, y: PyTree, args: Any) -> bool:
        return True


def terms(
    flow: AbstractFlow, kind: Reading, plan: Plan, state: PyTree, key: Array | None, merged: Merged | None
) -> diffrax.AbstractTerm:
    """What diffrax integrates."""
    if kind == Reading.layers:
        return Layer(flow)
    field = {Reading.ambient: Ambient, Reading.ito: Ito}.get(kind, lambda flow: flow)(flow)
    field = field if merged is None else Tied(field, merged)
    drift = diffrax.ODETerm(Once(Sided(field) if flow.law.jumps else field))
    shape = flow.brownian(state)
    if shape is None:
        return drift
    return diffrax.MultiTerm(drift, Diffusion(flow, _path(plan, shape, key)))


def _path(plan: Plan, shape: jax.ShapeDtypeStruct, key: Array | None) -> diffrax.VirtualBrownianTree:
    """One path for the whole run. Halving the interval until it is finer than a step keeps it for other steps, too."""
    if plan.dt is None or key is None:
        raise ValueError("Brownian motion needs constant steps and a key")
    (start, until), dt = plan.ends(shape.dtype), plan.dt.astype(shape.dtype)
    halvings = jnp.ceil(jnp.log2(FINER * (until - start) / dt))
    finest = jax.lax.stop_gradient((until - start) * 2.0**-halvings)
    return diffrax.VirtualBrownianTree(start, until, finest, shape, jax.random.wrap_key_data(key))
