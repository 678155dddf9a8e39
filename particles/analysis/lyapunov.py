"""Lyapunov exponents: at which rates a flow stretches displacements in the long run."""

import dataclasses
from typing import ClassVar

import equinox as eqx
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Float

from ..dynamics import AbstractFlow
from ..integration import Plan, solve
from ..observables import AbstractObservable
from .carrier import check_quiet
from .variational import Carried, Variational, tangent_basis


class Exponents(eqx.Module):
    """A Lyapunov spectrum.

    Attributes
    ----------
    exponents : the mean rates after the transient, largest first.
    converged : whether the two halves of that time agree on an exponent to within the tolerance.
    spread : by how much they differ.
    times, running : depths after the transient, and the exponents as they were known there.
    divergence : the mean divergence of the field over the same time, to which the full spectrum sums up; NaN for a part
        of it, and for layers.
    final : the tokens at the end.
    """

    exponents: Float[Array, " k"]
    converged: Bool[Array, " k"]
    spread: Float[Array, " k"]
    times: Float[Array, " time"]
    running: Float[Array, "time k"]
    divergence: Float[Array, ""]
    final: Float[Array, "n d"]


class _Grown(AbstractObservable):
    """What displacements have grown by, and the volume."""

    name: ClassVar[str] = "grown"

    def __call__(self, flow: AbstractFlow, t: Float[Array, ""], x: Float[Array, "n d"]) -> Float[Array, "..."]:
        raise ValueError("growth is that of a state, not of tokens alone")

    def observe(self, flow: AbstractFlow, t: Float[Array, ""], state: Carried) -> Float[Array, "..."]:
        assert isinstance(flow, Variational)
        return jnp.append(flow.grown(state), state.expansion)


def lyapunov(
    flow: AbstractFlow,
    x0: Float[Array, "n d"],
    plan: Plan,
    *,
    count: int | None = None,
    transient: float = 0.2,
    tolerance: float = 1e-2,
) -> Exponents:
    """The Lyapunov spectrum along one trajectory, by Benettin's method on the tangent space.

    Parameters
    ----------
    flow : without noise; a network of `Layers` as well, whose depth is its steps added up.
    x0 : the start.
    plan : how far and how exactly. Its frames are where running exponents are known; an adaptive step is also held to
        the tolerances in the displacements.
    count : how many exponents, the largest; all of them if left out.
    transient : the part of the depth that is left out at the start.
    tolerance : by how much the two halves of what is left may differ in an exponent.

    Raises
    ------
    ValueError
        If the flow is random, the space has a boundary, or fewer than four frames are left after the transient.
    Failed
        If the integration failed.

    Cost
    ----
    A step costs one product of the derivative for each exponent, as many again for the divergence, and a QR
    decomposition, O(k^2 n d).

    Source
    ------
    benettin1980lyapunov.
    """
    check_quiet(flow)
    flow.check_tokens(x0)
    basis = tangent_basis(flow, flow.begin(x0, None))
    whole = basis.shape[0]
    if count is not None and not 1 <= count <= whole:
        raise ValueError(f"`count` must be between 1 and {whole}, the dimension of the space of states; got {count}")
    if not 0 <= transient < 1:
        raise ValueError(f"`transient` is a part of the depth, at least 0 and below 1; got {transient}")
    full = count is None or count == whole
    # any frame will do: almost all of them turn towards the directions looked for
    frame, expands = basis[:count], full and not flow.constant_steps
    carried = Variational(flow, frame, expands=expands)  # pyright: ignore[reportCallIssue]
    run = solve(carried, x0, dataclasses.replace(plan, watch=(_Grown(),), stop=(), tokens=False)).complete()
    times, grown = np.asarray(run.times), np.asarray(run.observed["grown"])
    kept = np.flatnonzero(times >= times[0] + transient * (times[-1] - times[0]))
    if len(kept) < 4:
        raise ValueError(f"{len(kept)} frames are left after the transient; give the plan at least four there")
    times, grown = times[kept], grown[kept]
    rates, middle = _rates(times, grown), len(times) // 2
    early, late = _rates(times[: middle + 1], grown[: middle + 1]), _rates(times[middle:], grown[middle:])
    spread = np.abs(late[-1] - early[-1])
    order = np.argsort(-rates[-1, :-1], kind="stable")
    return Exponents(
        exponents=jnp.asarray(rates[-1, order]),
        converged=jnp.asarray(spread[order] <= tolerance),
        spread=jnp.asarray(spread[order]),
        times=jnp.asarray(times[1:]),
        running=jnp.asarray(rates[:, order]),
        divergence=jnp.asarray(rates[-1, -1] if carried.expands else np.nan),
        final=run.final,
    )


def _rates(times: np.ndarray, grown: np.ndarray) -> np.ndarray:
    """Growth over depth since the first frame, at each later one."""
    return (grown[1:] - grown[0]) / (times[1:] - times[0])[:, None]
