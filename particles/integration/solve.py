"""The door to diffrax: a whole flow at once (`solve`), or one chunk of depth after another (`advance`).

Both are pure functions of arrays. `solve` is for your own programs: it runs under jit, vmap and grad. `advance` is
what the run loop of a record calls: a chunk starts from a `State` and ends in one, at depths that belong to the plan,
so a run that was stopped and went on has the same bits as one that was not. The two agree to the tolerance, not to
the bit, since a chunk cuts the step that crosses its end.
"""

from typing import Any

import diffrax
import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import optimistix
from jax.core import Tracer
from jaxtyping import Array, ArrayLike, Bool, Float, PyTree

from ..dynamics import Flow
from ..observables import AbstractObservable
from ..spaces import AbstractSpace
from ..stopping import AbstractStop
from .methods import METHODS, Ambient, NotFinite, Remembering, Retracted
from .plan import Plan
from .run import Effort, Run, State, Status

OFF_SPACE = 1e-4  # of its size a token may be off the space at the start: rounding, which is projected away
Frames = dict[str, Float[Array, "time ..."]]
ADJOINTS = {
    "reverse": diffrax.RecursiveCheckpointAdjoint,
    "forward": diffrax.ForwardMode,
    "both": diffrax.DirectAdjoint,
}


def solve(flow: Flow, x0: ArrayLike, plan: Plan, *, adjoint: str = "reverse") -> Run:
    """Follow a flow from a start to the end of a plan: pure, and usable under jit, vmap and grad.

    Parameters
    ----------
    flow : what moves the tokens.
    x0 : where they start, on the flow's space.
    plan : how long, how exactly, what to watch.
    adjoint : which derivatives may be taken: "reverse" (`jax.grad`, checkpointed, the default), "forward" (`jax.jvp`,
        `jax.jacfwd`), or "both", which is slower and takes memory with every step. Without derivatives it does not
        matter.

    Returns
    -------
    Run
        Always, also when the numerics fail: look at `run.status`.

    Raises
    ------
    ValueError
        If the start does not fit the flow, is not finite, or lies off the space; if something watched is not defined.

    Cost
    ----
    One compilation for each shape (about a second), then steps times stages times the law.

    Source
    ------
    kidger2021on.
    """
    if adjoint not in ADJOINTS:
        raise ValueError(f"`adjoint` must be one of {sorted(ADJOINTS)}; got {adjoint!r}")
    return _solve(flow, checked(flow, x0, plan), plan, adjoint)


@eqx.filter_jit
def _solve(flow: Flow, x0: Float[Array, "n d"], plan: Plan, adjoint: str) -> Run:
    times = plan.depths(0, plan.frames - 1, x0.dtype)
    x0 = flow.space.project(x0)
    solution = _integrate(flow, plan, x0, times[0], times, None, adjoint)
    frames, status = _frames(flow, plan, x0, times[0], times, solution), _status(solution)
    return Run(
        times=times,
        tokens=frames.pop("tokens", None),
        observed=frames,
        final=solution.ys["end"][0],
        depth=solution.ts["end"][0],
        status=jnp.where(status == Status.running, _code(Status.done), status),
        steps=solution.stats["num_steps"],
        rejected=solution.stats["num_rejected_steps"],
    )


def begin(flow: Flow, x0: ArrayLike, plan: Plan) -> State:
    """The state before the first chunk.

    Raises
    ------
    ValueError
        As `solve`.
    """
    return _begin(flow, checked(flow, x0, plan), plan)


@eqx.filter_jit
def _begin(flow: Flow, x0: Float[Array, "n d"], plan: Plan) -> State:
    x0 = flow.space.project(x0)
    zero, until = jnp.zeros((), x0.dtype), plan.until.astype(x0.dtype)
    if plan.dt is not None:
        return State(x0, plan.dt.astype(x0.dtype), zero, _code(Status.running))
    field, solver, controller = _method(flow, plan, x0.dtype)
    term = diffrax.ODETerm(field)  # pyright: ignore[reportArgumentType]
    order = solver.error_order(term)
    first, _ = controller.wrap(1).init(term, zero, until, x0, None, None, solver.func, order)
    return State(x0, jnp.asarray(first), zero, _code(Status.running))


@eqx.filter_jit
def advance(
    flow: Flow, plan: Plan, state: State, start: Float[Array, ""], times: Float[Array, " time"]
) -> tuple[State, Frames, Effort]:
    """One chunk: from depth `start`, where the state is, to `times[-1]`, with a frame at each of `times`.

    A state that has ended stays as it is and its frames are NaN, so that members of a batch may end at their own
    depths. Where the numerics fail, the state stays that of the chunk's start, the last good one, and only its status
    changes.

    Parameters
    ----------
    flow, plan : as for `solve`.
    state : where to go on from.
    start : the depth of the state, a number that belongs to the plan's grid.
    times : depths of frames, not decreasing; the first may be `start` itself, the last may be repeated.

    Returns
    -------
    State, Frames, Effort
        The state at the end of the chunk, the frames by name `[time ...]`, and what it took.
    """
    ended = state.status != Status.running
    solution = _integrate(flow, plan, state.tokens, start, times, (state.dt, ended), "forward")
    frames = _frames(flow, plan, state.tokens, start, times, solution)
    frames = jax.tree.map(lambda leaf: jnp.where(ended, jnp.nan, leaf), frames)
    status = _status(solution)
    proposed = state.dt if plan.dt is not None else solution.controller_state[1]
    reached = State(solution.ys["end"][0], proposed, solution.ts["end"][0], status)
    good = ~ended & (status < Status.not_finite)
    kept = jax.tree.map(lambda old, new: jnp.where(good, new, old), state, reached)
    kept = eqx.tree_at(lambda s: s.status, kept, jnp.where(ended, state.status, status))
    tried = jnp.where(ended, 0, solution.stats["num_steps"])
    rejected = jnp.where(ended, 0, solution.stats["num_rejected_steps"])
    return kept, frames, Effort(tried, rejected, jnp.where(ended, state.depth, solution.ts["end"][0]))


class Watch(eqx.Module):
    """What is kept of a state: the tokens brought back to the space, and the observables of those."""

    flow: Flow
    observables: tuple[AbstractObservable, ...]
    tokens: bool = eqx.field(static=True)

    def __call__(self, t: Float[Array, ""], y: Float[Array, "n d"], args: Any) -> dict[str, Float[Array, "..."]]:
        x = self.flow.space.project(y)
        kept = {watched.name: watched(self.flow, t, x) for watched in self.observables}
        return {"tokens": x, **kept} if self.tokens else kept


class End(eqx.Module):
    """The state at the end of a solve, on the space."""

    flow: Flow

    def __call__(self, t: Float[Array, ""], y: Float[Array, "n d"], args: Any) -> Float[Array, "n d"]:
        return self.flow.space.project(y)


class Condition(eqx.Module):
    """A stop condition as an event of diffrax."""

    flow: Flow
    stop: AbstractStop

    def __call__(self, t: Float[Array, ""], y: Float[Array, "n d"], args: Any, **kwargs: Any) -> Bool[Array, ""]:
        return self.stop(self.flow, t, y)


class Ended(eqx.Module):
    """The event of a member that had ended before: it takes one step, which is thrown away."""

    ended: Bool[Array, ""]

    def __call__(self, t: Any, y: Any, args: Any, **kwargs: Any) -> Bool[Array, ""]:
        return self.ended


def _method(flow: Flow, plan: Plan, dtype: jnp.dtype):
    """The field, the solver and the step controller of a plan."""
    method = METHODS[plan.solver]
    rtol, atol = plan.rtol.astype(dtype), plan.atol.astype(dtype)
    solver = method.make(rtol, atol)
    if flow.space.constrained:
        solver = Retracted(solver, flow.space)
    field = Ambient(flow) if method.ambient else flow
    if plan.dt is not None:
        return field, solver, diffrax.ConstantStepSize()
    dtmin = plan.until.astype(dtype) * jnp.finfo(dtype).eps
    pid = diffrax.PIDController(rtol, atol, norm=optimistix.max_norm, dtmin=dtmin, force_dtmin=False)
    return field, solver, Remembering(pid)  # pyright: ignore[reportCallIssue]


def _integrate(
    flow: Flow,
    plan: Plan,
    x: Float[Array, "n d"],
    start: Float[Array, ""],
    times: Float[Array, " time"],
    resumed: tuple[Array, Array] | None,
    adjoint: str,
) -> Any:
    """The call of diffrax. `resumed` holds the first step to try and whether the run had ended before."""
    field, solver, controller = _method(flow, plan, x.dtype)
    dt, ended = (None, jnp.asarray(False)) if resumed is None else resumed
    if plan.dt is not None:
        dt = plan.dt.astype(x.dtype)
    return diffrax.diffeqsolve(
        diffrax.ODETerm(field),  # pyright: ignore[reportArgumentType]
        solver,
        start,
        times[-1],
        dt,
        x,
        saveat=diffrax.SaveAt(
            subs={
                "frames": diffrax.SubSaveAt(ts=times, fn=Watch(flow, plan.watch, plan.tokens)),
                "end": diffrax.SubSaveAt(t1=True, fn=End(flow)),
            },
            controller_state=plan.dt is None,
        ),
        stepsize_controller=controller,
        adjoint=ADJOINTS[adjoint](),
        event=diffrax.Event([NotFinite(), Ended(ended), *(Condition(flow, stop) for stop in plan.stop)]),
        max_steps=plan.max_steps,
        throw=False,
    )


def _frames(flow: Flow, plan: Plan, x: Float[Array, "n d"], start: Array, times: Array, solution: Any) -> Frames:
    """The frames, NaN where the solve ended before them; one at the start is there even if no step was accepted."""
    frames, reached = solution.ys["frames"], jnp.isfinite(solution.ts["frames"])
    unseen = ~reached[0] & (times[0] == start)
    first = jax.lax.cond(
        unseen,
        lambda: Watch(flow, plan.watch, plan.tokens)(start, x, None),
        lambda: jax.tree.map(lambda leaf: leaf[0], frames),
    )
    frames = jax.tree.map(lambda leaf, one: leaf.at[0].set(one), frames, first)
    return jax.tree.map(
        lambda leaf: jnp.where(_rows(reached.at[0].set(reached[0] | unseen), leaf), leaf, jnp.nan), frames
    )


def _rows(mask: Bool[Array, " time"], leaf: Float[Array, "time ..."]) -> Bool[Array, "time ..."]:
    """A mask over frames, shaped to broadcast against a leaf of them."""
    return mask.reshape(-1, *[1] * (leaf.ndim - 1))


def _status(solution: Any) -> Array:
    """Why a solve ended, `running` if it reached the end of its times."""
    result, results = solution.result, diffrax.RESULTS
    not_finite, _, *stops = solution.event_mask
    frames, reached = solution.ys["frames"], jnp.isfinite(solution.ts["frames"])
    seen = _finite(jax.tree.map(lambda leaf: jnp.where(_rows(reached, leaf), leaf, 0), frames))
    outcomes = [
        (result == results.dt_min_reached, Status.dt_min),
        (result == results.max_steps_reached, Status.max_steps),
        ((result != results.successful) & (result != results.event_occurred), Status.nonlinear),
        (not_finite | ~seen, Status.not_finite),
        (jnp.any(jnp.stack([jnp.asarray(False), *stops])), Status.stopped),
    ]
    conditions, codes = zip(*outcomes, strict=True)
    return jnp.select(conditions, [_code(status) for status in codes], _code(Status.running))


def _code(status: Status) -> Array:
    return jnp.asarray(int(status), jnp.int32)


def _finite(frames: PyTree) -> Bool[Array, ""]:
    return jnp.all(jnp.stack([jnp.asarray(True), *(jnp.all(jnp.isfinite(leaf)) for leaf in jax.tree.leaves(frames))]))


def checked(flow: Flow, x0: ArrayLike, plan: Plan) -> Float[Array, "n d"]:
    """The start as an array, refused if it is not one for this flow; numbers are looked at where they are known."""
    if not isinstance(x0, jax.Array):
        x0 = jnp.asarray(np.asarray(x0, dtype=np.result_type(float, np.asarray(x0).dtype)))
    flow.check_tokens(x0)
    plan.check_flow(flow)
    if isinstance(x0, Tracer):
        return x0
    finite, off = (np.asarray(answer) for answer in _fitness(flow.space, x0))
    if not finite.all():
        token, coordinate = np.argwhere(~finite)[0]
        raise ValueError(f"the start is not finite at token {token}, coordinate {coordinate}")
    if not np.all(off <= OFF_SPACE):
        worst = int(np.argmax(np.where(np.isnan(off), np.inf, off)))
        raise ValueError(
            f"the start lies off the {type(flow.space).__name__}: token {worst} by {off[worst]:.3g} of its size. "
            "Project it first: x0 = flow.space.project(x0)."
        )
    return x0


@eqx.filter_jit
def _fitness(space: AbstractSpace, x: Float[Array, "n d"]) -> tuple[Bool[Array, "n d"], Float[Array, " n"]]:
    """Which coordinates are finite, and how far each token is from the space, relative to its size."""
    on_space = space.project(x)
    size = jnp.maximum(jnp.max(jnp.abs(on_space), axis=1), jnp.finfo(x.dtype).tiny)
    return jnp.isfinite(x), jnp.max(jnp.abs(on_space - x), axis=1) / size
