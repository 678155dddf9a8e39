"""The door to diffrax: a whole flow at once (`solve`), or one chunk of depth after another (`advance`).

Both are pure functions of arrays. `solve` is for your own programs: it runs under jit, vmap and grad. `advance` is
what the run loop of a record calls: a chunk starts from a `State` and ends in one, so a run that was stopped and went
on has the same bits as one that was not. Both take the same steps, wherever chunks end and frames lie.
"""

from typing import Any

import diffrax
import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import optimistix
from jax.core import Tracer
from jaxtyping import Array, ArrayLike, Bool, Float, PRNGKeyArray, PyTree, UInt32

from ..dynamics import AbstractFlow
from ..spaces import AbstractSpace
from .fields import Within, terms
from .merged import Merged
from .methods import METHODS, reading
from .once import Once
from .plan import Plan
from .run import Effort, Run, State, Status
from .stepping import Adaptive, Constant, Remembering, Settling, Stops, Trail
from .stopped import located
from .watching import Condition, End, Ended, NotFinite, Passed, Unsolved, Upto, Watch

OFF_SPACE = 1e-4  # of its size a token may be off the space at the start: rounding, which is projected away
Frames = dict[str, Float[Array, "time ..."]]
ADJOINTS = {
    "reverse": diffrax.RecursiveCheckpointAdjoint,
    "forward": diffrax.ForwardMode,
    "both": diffrax.DirectAdjoint,
}


def solve(
    flow: AbstractFlow, x0: ArrayLike, plan: Plan, *, key: PRNGKeyArray | None = None, adjoint: str = "reverse"
) -> Run:
    """Follow a flow from a start to the end of a plan: pure, and usable under jit, vmap and grad.

    Parameters
    ----------
    flow : what moves the tokens.
    x0 : where they start, on the flow's space.
    plan : how long, how exactly, what to watch.
    key : what noise comes from, `jax.random.key(0)`; for a flow with noise, and for no other.
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
        If the start does not fit the flow, is not finite, or lies off the space; if something watched is not defined;
        if the solver cannot follow the flow; if a key is missing or has no use; if the plan has tokens coalesce.

    Cost
    ----
    One compilation for each shape (about a second), then steps times stages times the law.

    Source
    ------
    kidger2021on.
    """
    if not isinstance(flow, AbstractFlow):
        raise ValueError(f"`flow` must be a Flow; got a {type(flow).__name__}: pt.Flow(space, law)")
    if not isinstance(plan, Plan):
        raise ValueError(f"`plan` must be a Plan; got a {type(plan).__name__}: pt.Plan(until=...)")
    if adjoint not in ADJOINTS:
        raise ValueError(f"`adjoint` must be one of {sorted(ADJOINTS)}; got {adjoint!r}")
    if plan.coalesce is not None:
        raise ValueError(
            "`solve` is one program, in which the number of tokens cannot change, so tokens cannot coalesce: use "
            "simulate(flow, x0, plan, path), or leave out `coalesce`"
        )
    if not any(isinstance(leaf, Tracer) for leaf in jax.tree.leaves((flow, x0, plan, key))):
        adjoint = "forward"  # nobody can ask for a derivative: the program that is traced most quickly
    return _solve(flow.within(plan.rtol), checked(flow, x0, plan), plan, _data(flow, key), adjoint)


@eqx.filter_jit
def _solve(flow: AbstractFlow, x0: Float[Array, "n d"], plan: Plan, key: Array | None, adjoint: str) -> Run:
    times = plan.depths(0, plan.frames - 1, x0.dtype)
    watch, at, start = Watch(flow, plan), plan.snapped(times), _begin(flow, x0, plan, key)
    solution, end = _integrate(watch, start, at, None, adjoint)
    frames, status = _frames(watch, start, at, solution, end), _status(watch, solution)
    return Run(
        times=times,
        tokens=frames.pop("tokens", None),
        observed=frames,
        final=flow.tokens(end[1]),
        depth=end[0],
        status=jnp.where(status == Status.running, _code(Status.done), status),
        steps=solution.stats["num_steps"],
        rejected=solution.stats["num_rejected_steps"],
    )


def begin(flow: AbstractFlow, x0: ArrayLike, plan: Plan, key: PRNGKeyArray | None = None) -> State:
    """The state before the first chunk.

    Raises
    ------
    ValueError
        As `solve`.
    """
    return _begin(flow, checked(flow, x0, plan), plan, _data(flow, key))


@eqx.filter_jit
def _begin(flow: AbstractFlow, x0: Float[Array, "n d"], plan: Plan, key: Array | None) -> State:
    state = flow.begin(x0, _key(key))
    start, until = plan.ends(x0.dtype)
    if plan.dt is not None:
        return State(state, key, plan.dt.astype(x0.dtype), start, _code(Status.running))
    moved, solver, controller, _ = _method(flow, plan, state, key, None, None, None)
    order = solver.error_order(moved)
    args = _knowing(flow, key, x0.dtype)
    first, _ = controller.wrap(1).init(moved, start, until, state, None, args, solver.func, order)
    return State(state, key, jnp.asarray(first) - start, start, _code(Status.running))


@eqx.filter_jit
def advance(
    flow: AbstractFlow, plan: Plan, state: State, times: Float[Array, " time"], merged: Merged | None = None
) -> tuple[State, Frames, Effort]:
    """One chunk: from where the state is to `times[-1]`, with a frame at each of `times`.

    The state at its end is that of the last step that does not pass `times[-1]`. One that has ended stays as it is and
    its frames are NaN, so that members of a batch may end at their own depths. Where the numerics fail, the state stays
    that of the chunk's start, a good one, and only its status changes.

    Parameters
    ----------
    flow, plan : as for `solve`.
    state : where to go on from.
    times : depths of frames, not decreasing, none before the chunk before has ended; the last may be repeated.
    merged : where tokens move as one, which with which; `flow` is then the one on their masses.

    Returns
    -------
    State, Frames, Effort
        The state at the end of the chunk, the frames by name `[time ...]`, and what it took.
    """
    ended = state.status != Status.running
    watch, at = Watch(flow, plan, merged), plan.snapped(times)
    solution, end = _integrate(watch, state, at, ended, "forward")
    frames = _frames(watch, state, at, solution, end)
    frames = jax.tree.map(lambda leaf: jnp.where(ended, jnp.nan, leaf), frames)
    status, held = _status(watch, solution), _trail(solution).held
    assert held is not None, "a chunk remembers where to go on"
    later = (status == Status.stopped) & (end[0] > at[-1])  # it will be found again in the chunk in which it lies
    status = jnp.where(later, _code(Status.running), status)
    goes_on = status == Status.running
    depth, at_end = jax.tree.map(lambda on, last: jnp.where(goes_on, on, last), (held.depth, held.state), end)
    proposed = state.dt if plan.dt is not None else jnp.where(goes_on, held.step, state.dt)
    reached = State(at_end, state.key, proposed, depth, status)
    good = ~ended & (status < Status.not_finite)
    kept = jax.tree.map(lambda old, new: jnp.where(good, new, old), state, reached)
    kept = eqx.tree_at(lambda s: s.status, kept, jnp.where(ended, state.status, status))
    tried = jnp.where(goes_on, held.tried, solution.stats["num_steps"])
    rejected = jnp.where(goes_on, held.rejected, solution.stats["num_rejected_steps"])
    none = jnp.zeros_like(tried)
    effort = Effort(
        jnp.where(ended, none, tried), jnp.where(ended, none, rejected), jnp.where(ended, state.depth, depth)
    )
    return kept, frames, effort


def _method(
    flow: AbstractFlow,
    plan: Plan,
    state: PyTree,
    key: Array | None,
    frames: Array | None,
    merged: Merged | None,
    end: Array | None,
):
    """The term that diffrax integrates, solver and step controller of a plan, and whether steps can be looked into."""
    method, dtype = METHODS[plan.solver], flow.tokens(state).dtype
    kind = reading(plan.solver, flow)
    if kind is None:
        raise ValueError(f"{plan.solver} cannot follow a {type(flow).__name__}")
    rtol, atol = plan.rtol.astype(dtype), plan.atol.astype(dtype)
    moved = terms(flow, kind, plan, state, key, merged)
    solver = Settling(method.make(rtol, atol), flow, afresh=plan.dt is not None)
    smooth = flow.brownian(state) is None
    stops, inside = Stops(flow, None if smooth else frames), smooth and method.interpolates
    remembering = Remembering(end, looks=inside and bool(plan.stop))
    if plan.dt is not None:
        return moved, solver, Constant(plan.grid(dtype), stops, remembering), inside
    start, until = plan.ends(dtype)
    dtmin = jnp.maximum(jnp.abs(start), jnp.abs(until)) * jnp.finfo(dtype).eps
    pid = diffrax.PIDController(rtol, atol, norm=optimistix.max_norm, dtmin=dtmin, force_dtmin=False)
    return moved, solver, Adaptive(pid, stops, remembering), inside  # pyright: ignore[reportCallIssue]


def _knowing(flow: AbstractFlow, key: Array | None, dtype: jnp.dtype) -> Within | None:
    """What steps know beside the state: nothing, where there is neither noise nor a jump."""
    if not flow.law.jumps:
        return Within(key, None, None) if flow.random else None
    return Within(key, jnp.asarray(-jnp.inf, dtype), jnp.asarray(jnp.inf, dtype))


def _integrate(
    watch: Watch, begun: State, times: Float[Array, " time"], ended: Array | None, adjoint: str
) -> tuple[Any, tuple[Float[Array, ""], PyTree]]:
    """The call of diffrax, and the depth and state where it ended.

    Parameters
    ----------
    times : of the frames, where rounding is taken off.
    ended : of a chunk, which ends with `times`: whether the run had ended before.
    """
    flow, plan, merged, state, key = watch.flow, watch.plan, watch.merged, begun.state, begun.key
    last = None if ended is None else times[-1]
    moved, solver, controller, inside = _method(flow, plan, state, key, times, merged, last)
    args = _knowing(flow, key, times.dtype)
    stops = [Condition(flow, stop, merged) for stop in plan.stop]
    before = Ended(jnp.asarray(False) if ended is None else ended)
    events: list[Any] = [NotFinite(), before, *([Unsolved(flow)] if flow.law.iterates else [])]
    if last is None:
        events = [*events, *stops]
    else:  # what lies beyond the chunk is the next one's to find, but for a stop in the step that passes its end
        upto = [Upto(one, last) for one in events]
        events = [*upto, *(stops if inside else [Upto(one, last) for one in stops]), Passed(last)]
    solution = diffrax.diffeqsolve(
        moved,
        solver,
        begun.depth,
        plan.ends(times.dtype)[1],
        jax.lax.stop_gradient(begun.dt),
        state,
        args,
        saveat=diffrax.SaveAt(
            subs={
                "frames": diffrax.SubSaveAt(ts=times, fn=Once(watch)),
                "end": diffrax.SubSaveAt(t1=True, fn=End(flow)),
            },
            controller_state=ended is not None or (inside and bool(stops)),
        ),
        stepsize_controller=controller,
        adjoint=ADJOINTS[adjoint](),
        event=diffrax.Event(events),
        max_steps=plan.max_steps,
        throw=False,
    )
    depths, states = solution.ts, solution.ys
    assert depths is not None
    assert states is not None
    end = (depths["end"][0], jax.tree.map(lambda leaf: leaf[0], states["end"]))
    if not (inside and stops):
        return solution, end
    last_step = _trail(solution).last
    assert last_step is not None, "a step that is looked into is remembered"
    stopped = _status(watch, solution) == Status.stopped
    return solution, located(solver, moved, args, stops, stopped, last_step, end)


def _trail(solution: Any) -> Trail:
    """The record that the controller kept of its steps."""
    return solution.controller_state[-1]


def _frames(
    watch: Watch, begun: State, times: Float[Array, " time"], solution: Any, end: tuple[Float[Array, ""], PyTree]
) -> Frames:
    """The frames, NaN where the solve ended before them; one at the start is there even if no step was accepted."""
    frames, reached = solution.ys["frames"], jnp.isfinite(solution.ts["frames"])
    reached = reached & ((times <= end[0]) | (_status(watch, solution) != Status.stopped))
    unseen = ~reached[0] & (times[0] == begun.depth)
    first = jax.lax.cond(
        unseen,
        lambda: Once(watch)(begun.depth, begun.state, None),
        lambda: jax.tree.map(lambda leaf: leaf[0], frames),
    )
    frames = jax.tree.map(lambda leaf, one: leaf.at[0].set(one), frames, first)
    return jax.tree.map(
        lambda leaf: jnp.where(_rows(reached.at[0].set(reached[0] | unseen), leaf), leaf, jnp.nan), frames
    )


def _rows(mask: Bool[Array, " time"], leaf: Float[Array, "time ..."]) -> Bool[Array, "time ..."]:
    """A mask over frames, shaped to broadcast against a leaf of them."""
    return mask.reshape(-1, *[1] * (leaf.ndim - 1))


def _status(watch: Watch, solution: Any) -> Array:
    """The reason why a solve ended, `running` if it reached the end of its times."""
    flow, count = watch.flow, len(watch.plan.stop)
    result, results = solution.result, diffrax.RESULTS
    not_finite, _, *others = solution.event_mask
    unsolved, stops = (others[0], others[1:]) if flow.law.iterates else (jnp.asarray(False), others)
    stops = stops[:count]
    frames, reached = solution.ys["frames"], jnp.isfinite(solution.ts["frames"])
    seen = _finite(jax.tree.map(lambda leaf: jnp.where(_rows(reached, leaf), leaf, 0), frames))
    outcomes = [
        (result == results.dt_min_reached, Status.dt_min),
        (result == results.max_steps_reached, Status.max_steps),
        ((result != results.successful) & (result != results.event_occurred), Status.nonlinear),
        (not_finite | ~seen, Status.not_finite),
        (unsolved, Status.unsolved),
        (jnp.any(jnp.stack([jnp.asarray(False), *stops])), Status.stopped),
    ]
    conditions, codes = zip(*outcomes, strict=True)
    return jnp.select(conditions, [_code(status) for status in codes], _code(Status.running))


def _code(status: Status) -> Array:
    return jnp.asarray(int(status), jnp.int32)


def _finite(frames: PyTree) -> Bool[Array, ""]:
    return jnp.all(jnp.stack([jnp.asarray(True), *(jnp.all(jnp.isfinite(leaf)) for leaf in jax.tree.leaves(frames))]))


def _data(flow: AbstractFlow, key: PRNGKeyArray | None) -> UInt32[Array, " word"] | None:
    """The data of a key, refused where it is missing or of no use."""
    if flow.random and key is None:
        raise ValueError(f"a {type(flow).__name__} is random: it needs a key, solve(..., key=jax.random.key(0))")
    if key is not None and not flow.random:
        raise ValueError(f"this {type(flow).__name__} has no noise; leave out `key`")
    if key is None or jnp.issubdtype(key.dtype, jnp.uint32):
        return key
    return jax.random.key_data(key)


def _key(data: UInt32[Array, " word"] | None) -> PRNGKeyArray | None:
    return None if data is None else jax.random.wrap_key_data(data)


def checked(flow: AbstractFlow, x0: ArrayLike, plan: Plan) -> Float[Array, "n d"]:
    """The start as an array, refused if it is not one for this flow; numbers are looked at where they are known."""
    if not isinstance(x0, jax.Array):
        given = np.asarray(x0)
        if given.dtype.kind not in "fiub":
            raise ValueError(f"tokens are real numbers; got an array of {given.dtype}")
        x0 = jnp.asarray(given.astype(np.result_type(float, given.dtype)))
    flow.check_tokens(x0)
    if x0.dtype not in (jnp.float32, jnp.float64):
        raise ValueError(f"tokens are numbers of float32 or float64; got {x0.dtype.name}: use x0.astype(float)")
    plan.check_flow(flow)
    plan.check_precision(x0.dtype)
    if any(isinstance(leaf, Tracer) for leaf in jax.tree.leaves((flow.space, x0))):
        return x0
    with jax.ensure_compile_time_eval():  # the start may be known though a transformation is under way
        finite, off = (np.asarray(answer) for answer in _fitness(flow.space, x0))
    if not finite.all():
        token, coordinate = np.argwhere(~finite)[0]
        raise ValueError(f"the start is not finite at token {token}, coordinate {coordinate}")
    if not np.all(off <= OFF_SPACE):
        worst = int(np.argmax(np.where(np.isnan(off), np.inf, off)))
        if np.isnan(off[worst]):
            raise ValueError(
                f"token {worst} has no place on the {type(flow.space).__name__}: it is {np.asarray(x0)[worst]}"
            )
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
