"""Following a flow: orders, tolerances, derivatives, and every way to end."""

import dataclasses
import functools

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from samples import MATRIX, attention_flow, on_sphere, tokens
from scipy.integrate import solve_ivp

import particles as pt
from particles.integration import METHODS, advance, begin
from particles.integration.methods import reading
from particles.observables import AbstractObservable

X0 = on_sphere(6)
FLOW = attention_flow(2.0, value=pt.values.Linear(-2 * MATRIX))  # a field without special symmetry
TURNING = attention_flow(
    1.0, value=pt.values.Linear([[0, 6, 1.2], [-6, 0, 1.8], [0.6, -1.8, 0]]), measure=pt.NotSelf(), normalizer=pt.Mean()
)
EXACT = {"rtol": 1e-13, "atol": 1e-13, "solver": "Dopri8"}
# Where a method is in its asymptotic range and far above rounding. Methods of order 5 come into it late, because their
# leading error constants were made small, and tokens that turn keep the errors that tokens in a cluster forget.
RANGES = {
    1: (FLOW, 1 / 64, 1 / 128),
    2: (FLOW, 1 / 32, 1 / 64),
    3: (FLOW, 1 / 16, 1 / 32),
    4: (FLOW, 1 / 16, 1 / 32),
    5: (TURNING, 1 / 48, 1 / 72),
    8: (FLOW, 1 / 4, 1 / 6),
}


def end(solver, flow=FLOW, **plan):
    until = 3.0 if flow is TURNING else 2.0
    run = pt.solve(flow, X0, pt.Plan(until=until, save=1, solver=solver, **plan))
    assert run.status == pt.Status.done
    np.testing.assert_allclose(jnp.linalg.norm(run.final, axis=1), 1, rtol=1e-14)
    return np.asarray(run.final)


@functools.cache
def exact_end(order):
    """Where the tokens end by which methods of an order are judged."""
    return end(flow=RANGES[order][0], **EXACT)


@pytest.fixture(scope="module")
def reference():
    return exact_end(1)


@pytest.mark.parametrize("name", [name for name in METHODS if reading(name, FLOW) is not None])
def test_every_solver_has_its_order_on_the_sphere(name):
    order = METHODS[name].order
    flow, *steps = RANGES[order]
    exact = exact_end(5 if flow is TURNING else 1)
    tight = {"rtol": 1e-12, "atol": 1e-12}  # of the implicit stages
    errors = [np.abs(end(name, flow, dt=dt, **tight) - exact).max() for dt in steps]
    assert errors[1] > 1e-12, "no order is seen in rounding errors"
    assert abs(np.log(errors[0] / errors[1]) / np.log(steps[0] / steps[1]) - order) < 0.2


def test_the_order_check_can_fail(reference):
    """A field frozen within the step, a well-known mistake, makes every method Euler's."""

    @jax.jit
    def step(x, dt):
        slope = FLOW(jnp.zeros(()), x)
        return FLOW.space.project(x + dt * (slope + slope) / 2)

    errors = []
    for dt in (1 / 32, 1 / 64):
        x = X0
        for _ in range(round(2 / dt)):
            x = step(x, dt)
        errors.append(np.abs(x - reference).max())
    assert abs(np.log2(errors[0] / errors[1]) - 2) > 0.5


@pytest.mark.parametrize("name", ["Tsit5", "Dopri5", "Dopri8", "Bosh3", "Kvaerno3", "Kvaerno5"])
def test_adaptive_steps_hold_the_tolerance(name, reference):
    errors = [np.abs(end(name, rtol=tol, atol=tol) - reference).max() for tol in (1e-5, 1e-7)]
    assert errors[0] < 1e-4  # ten times the tolerance of a step
    assert errors[1] < 1e-6
    assert errors[1] < errors[0]


def test_agrees_with_scipy_dop853():
    flow = attention_flow(9.0)
    x0, depths = on_sphere(16), (0.5, 3.0, 10.0)

    def field(t, y):
        x = y.reshape(16, 3)
        w = np.exp(9.0 * (x @ x.T))
        u = w @ x / w.sum(axis=1, keepdims=True)
        return (u - np.sum(u * x, axis=1, keepdims=True) * x).ravel()

    theirs = solve_ivp(field, (0, 10), np.ravel(x0), "DOP853", t_eval=depths, rtol=1e-12, atol=1e-12)
    run = pt.solve(flow, x0, pt.Plan(until=10.0, save=depths, rtol=1e-9, atol=1e-11))
    np.testing.assert_allclose(run.tokens[1:], theirs.y.T.reshape(3, 16, 3), atol=1e-7)


def test_euler_normalize_is_the_published_step():
    flow, x, dt = attention_flow(9.0), on_sphere(16), 0.1
    run = pt.solve(flow, x, pt.Plan(until=2.0, save=20, solver="EulerNormalize", dt=dt))
    for frame in run.tokens:
        np.testing.assert_allclose(frame, x, atol=1e-12)
        w = np.exp(9.0 * (x @ x.T))
        x = x + dt * (w @ x / w.sum(axis=1, keepdims=True))
        x = x / np.linalg.norm(x, axis=1, keepdims=True)


def test_euler_normalize_is_euler_on_a_clock_of_each_token():
    """normalize(x + h v) = normalize(x + h' P v), h' = h / (1 + h <x, v>); at h' = h it is false."""
    flow, h, x = FLOW, 0.3, X0
    plan = pt.Plan(until=h, save=1, solver="EulerNormalize", dt=h)
    v = flow.velocity(jnp.zeros(()), x)
    slowed = h / (1 + h * jnp.sum(x * v, axis=1, keepdims=True))
    stepped = lambda h: flow.space.project(x + h * flow.space.tangent(x, v))  # noqa: E731
    published = pt.solve(flow, x, plan).final
    np.testing.assert_allclose(published, stepped(slowed), atol=1e-14)
    assert np.abs(published - stepped(h)).max() > 1e-2


def test_the_published_rk4_is_euler():
    """One velocity for all stages makes all stages one."""
    plan = pt.Plan(until=2.0, save=4, solver="RK4Frozen", dt=1 / 8)
    frozen, euler, classical = (
        pt.solve(FLOW, X0, dataclasses.replace(plan, solver=name)).tokens for name in ("RK4Frozen", "Euler", "RK4")
    )
    np.testing.assert_allclose(frozen, euler, atol=1e-14)
    assert np.abs(classical - euler).max() > 1e-3


def test_the_clock_of_euler_normalize_is_slow():
    """Near consensus normalize(x + dt v) is a projected step of length dt / (1 + dt)."""
    x = pt.starts.VonMisesFisher(8, 3, 1e4)(pt.Sphere(), jax.random.key(0))
    spread = {}
    for solver in ("Euler", "EulerNormalize"):
        run = pt.solve(attention_flow(1.0), x, pt.Plan(until=1.0, save=1, solver=solver, dt=0.1))
        spread[solver] = np.log(np.std(run.final, axis=0).max() / np.std(x, axis=0).max())
    np.testing.assert_allclose(spread["EulerNormalize"] / spread["Euler"], np.log(1 / 1.1) / np.log(0.9), rtol=1e-2)


def test_repulsion_stays_on_the_sphere():
    flow = attention_flow(1.0, value=pt.values.Linear(-1.0))
    run = pt.solve(flow, on_sphere(8, 4), pt.Plan(until=300.0, save=10))
    assert np.abs(np.linalg.norm(run.tokens, axis=-1) - 1).max() < 1e-14
    assert run.status == pt.Status.done


def loss(beta, x, adjoint):
    plan = pt.Plan(until=1.0, save=3, watch=("mean_cosine", "clusters"), rtol=1e-9, atol=1e-11, max_steps=256)
    observed = pt.solve(attention_flow(beta), x, plan, adjoint=adjoint).observed
    return observed["mean_cosine"][-1] + observed["clusters"][-1]


def test_derivatives_agree_in_both_modes_and_with_differences():
    beta, h = jnp.asarray(4.0), 1e-4
    backwards = jax.jit(jax.value_and_grad(lambda b, x: loss(b, x, "reverse"), argnums=(0, 1)))
    reverse, by_token = backwards(beta, X0)[1]
    forward = jax.jit(jax.jacfwd(lambda b: loss(b, X0, "forward")))(beta)
    both = jax.jit(jax.grad(lambda b: loss(b, X0, "both")))(beta)
    difference = (backwards(beta + h, X0)[0] - backwards(beta - h, X0)[0]) / (2 * h)
    np.testing.assert_allclose([forward, both], [reverse, reverse], rtol=1e-10)
    np.testing.assert_allclose(difference, reverse, rtol=1e-5)  # h^2, and the tolerance 1e-9 divided by h
    assert by_token.shape == X0.shape
    assert np.all(np.isfinite(by_token))


def test_a_batch_is_its_members():
    xs, plan = jnp.stack([X0, X0[::-1], on_sphere(6, seed=9)]), pt.Plan(until=2.0, save=2, watch=("clusters",))
    batch = eqx.filter_vmap(lambda x: pt.solve(FLOW, x, plan))(xs)
    for k in range(3):
        alone = pt.solve(FLOW, xs[k], plan)
        np.testing.assert_allclose(batch.tokens[k], alone.tokens, atol=1e-9)
        assert batch.steps[k] == alone.steps


def test_solve_under_jit_compiles_once_for_all_numbers():
    traces = []

    @eqx.filter_jit
    def final(beta, until, x):
        traces.append(1)
        return pt.solve(attention_flow(beta), x, pt.Plan(until=until, save=2)).final

    for beta in (1.0, 2.0):
        final(jnp.asarray(beta), jnp.asarray(beta), X0)
    assert len(traces) == 1


def test_a_known_start_within_transformations():
    plan = pt.Plan(until=0.5, save=1)
    ends = jax.jit(jax.vmap(lambda beta: pt.solve(attention_flow(beta), X0, plan).final))(jnp.asarray([1.0, 2.0]))
    np.testing.assert_allclose(ends[1], pt.solve(attention_flow(2.0), X0, plan).final, atol=1e-9)


def test_stop_conditions():
    x0 = pt.starts.VonMisesFisher(8, 3, 20.0)(pt.Sphere(), jax.random.key(1))
    one = pt.solve(attention_flow(), x0, pt.Plan(until=50.0, save=50, watch=("clusters",), stop=(pt.OneCluster(0.05),)))
    assert one.status == pt.Status.stopped
    assert 0 < one.depth < 10
    reached = np.asarray(one.times) <= one.depth
    assert np.all(np.isfinite(one.tokens[reached])) and np.all(np.isnan(one.tokens[~reached]))
    assert pt.observables.Clusters(0.05)(attention_flow(), one.depth, one.final) == 1
    still = pt.solve(attention_flow(), x0, pt.Plan(until=50.0, save=5, stop=(pt.Steady(1e-4),)))
    assert still.status == pt.Status.stopped
    assert np.abs(attention_flow()(still.depth, still.final)).max() < 1e-4


class _Blows(AbstractObservable):
    """An observable that leaves the numbers half way."""

    name = "blows"
    symbol = "$b$"

    def __call__(self, flow, t, x):
        return jnp.where(t > 0.5, jnp.inf, 1.0)


def test_what_goes_wrong_has_a_code():
    growing = pt.Flow(pt.Euclidean(), pt.Attention(pt.DotProduct(4.0), normalizer=pt.Mean()))
    runs = {
        pt.Status.dt_min: pt.solve(growing, 2 * X0, pt.Plan(until=5.0, save=5)),  # its first stages overflow
        pt.Status.not_finite: pt.solve(growing, 2 * X0, pt.Plan(until=5.0, save=5, solver="Euler", dt=0.1)),
        pt.Status.max_steps: pt.solve(FLOW, X0, pt.Plan(until=50.0, save=5, max_steps=4)),
    }
    for status, run in runs.items():
        assert run.status == status
        assert run.message == status.message
        assert run.depth < 5
        assert status.failed
        assert np.all(np.isfinite(run.tokens[0])) and np.all(np.isnan(run.tokens[-1]))
    watched = pt.solve(FLOW, X0, pt.Plan(until=1.0, save=4, watch=(_Blows(),)))
    assert watched.status == pt.Status.not_finite
    assert runs[pt.Status.dt_min].steps < 2000  # it gives up instead of using up its steps


def test_observables_need_no_history():
    run = pt.solve(FLOW, X0, pt.Plan(until=1.0, save=4, watch=("radius",), tokens=False))
    assert run.tokens is None
    assert run.observed["radius"].shape == (5,)


def test_float32_runs_in_float32():
    run = pt.solve(FLOW, X0.astype(jnp.float32), pt.Plan(until=1.0, save=2, rtol=1e-4, atol=1e-6, watch=("energy",)))
    assert {leaf.dtype for leaf in (run.tokens, run.times, run.final, run.observed["energy"])} == {jnp.dtype("float32")}
    np.testing.assert_allclose(run.final, pt.solve(FLOW, X0, pt.Plan(until=1.0, save=2)).final, atol=1e-3)


def chunks(plan, state, first, x=X0):
    """All chunks from a frame on, as the run loop makes them."""
    frames = []
    while first < plan.frames:
        state, kept, _ = advance(FLOW, plan, state, plan.depths(first, first + plan.chunk - 1, x.dtype))
        frames.append(kept["tokens"])
        first += plan.chunk
    return state, jnp.concatenate(frames)


@pytest.mark.parametrize("how", [{}, {"dt": 0.05}, {"solver": "Kvaerno3"}])
def test_going_on_from_a_state_gives_the_same_bits(how):
    plan = pt.Plan(until=2.0, save=8, chunk=3, **how)
    _, whole = chunks(plan, begin(FLOW, X0, plan), 0)
    halfway = dataclasses.replace(plan)
    state, first, _ = advance(FLOW, halfway, begin(FLOW, X0, plan), plan.depths(0, 2, X0.dtype))
    kept = jax.tree.map(lambda leaf: jnp.asarray(np.asarray(leaf)), state)  # through the host, as a checkpoint goes
    _, rest = chunks(plan, kept, 3)
    np.testing.assert_array_equal(jnp.concatenate([first["tokens"], rest]), whole)
    np.testing.assert_array_equal(whole, pt.solve(FLOW, X0, plan).tokens)


def test_chunks_take_the_steps_of_the_whole():
    plan = pt.Plan(until=20.0, save=39, chunk=2)
    state, times, efforts = begin(FLOW, X0, plan), plan.depths(0, 39, X0.dtype), []
    for first in range(0, 40, 2):
        state, _, effort = advance(FLOW, plan, state, times[first : first + 2])
        efforts.append((int(effort.steps), int(effort.rejected)))
    whole = pt.solve(FLOW, X0, plan)
    assert tuple(np.sum(efforts, axis=0)) == (whole.steps, whole.rejected)


def test_a_state_that_has_ended_stays():
    plan = pt.Plan(until=2.0, save=3, chunk=2, stop=(pt.Steady(1e9),))
    times = plan.depths(0, 3, X0.dtype)
    stopped, _, _ = advance(FLOW, plan, begin(FLOW, X0, plan), times[:2])
    assert stopped.status == pt.Status.stopped
    again, frames, effort = advance(FLOW, plan, stopped, times[2:])
    assert eqx.tree_equal(again, stopped)
    assert np.all(np.isnan(frames["tokens"])) and effort.steps == 0


@pytest.mark.parametrize(
    ("make", "words"),
    [
        (lambda: pt.Plan(until=1.0, solver="Tsit"), "Did you mean `Tsit5`"),
        (lambda: pt.Plan(until=1.0, solver="Euler"), "give `dt`"),
        (lambda: pt.Plan(until=-1.0), "`until` must be greater than `start` = 0; got -1"),
        (lambda: pt.Plan(until=1.0, save=0), "greater than 0; got 0"),
        (lambda: pt.Plan(until=1.0, save=(0.5, 0.2)), "must increase"),
        (lambda: pt.Plan(until=1.0, save=(0.5, 2.0)), "must increase"),
        (lambda: pt.solve(FLOW, X0.at[1, 2].set(jnp.nan), pt.Plan(until=1.0)), "token 1, coordinate 2"),
        (lambda: pt.solve(FLOW, 2 * X0, pt.Plan(until=1.0)), "lies off the Sphere"),
        (lambda: pt.solve(FLOW, X0[:0], pt.Plan(until=1.0)), "at least one token"),
        (lambda: pt.solve(FLOW, X0[0], pt.Plan(until=1.0)), r"\(tokens, dim\)"),
        (lambda: pt.solve(FLOW, X0, pt.Plan(until=1.0), adjoint="backward"), "must be one of"),
        (lambda: pt.solve(FLOW, X0, pt.Plan(until=1.0), key=jax.random.key(0)), "has no noise; leave out `key`"),
        (lambda: pt.solve(FLOW, X0, pt.Plan(until=1.0, solver="EulerHeun", dt=0.1)), "Stratonovich.*Use Tsit5, "),
        (lambda: pt.Plan(until=1.0, solver="RK4"), "give `dt`"),
        (lambda: pt.Plan(until=1.0, watch=("asymmetri",)), "Those of `particles.analysis` and `particles.limits`"),
        (lambda: pt.solve(FLOW, X0.at[1].set(0.0), pt.Plan(until=1.0)), "token 1 has no place on the Sphere"),
        (lambda: pt.solve(FLOW, X0.astype(jnp.float16), pt.Plan(until=1.0)), "float32 or float64; got float16"),
        (lambda: pt.solve(FLOW, X0.astype(jnp.bfloat16), pt.Plan(until=1.0)), "float32 or float64; got bfloat16"),
        (
            lambda: pt.solve(FLOW, X0, pt.Plan(until=1.0, rtol=1e-16)),
            "finer than float64 can tell: use 1.8e-15 or more$",
        ),
        (
            lambda: pt.solve(FLOW, X0.astype(jnp.float32), pt.Plan(until=1.0, rtol=1e-7)),
            "finer than float32 can tell: use 9.5e-07 or more, or compute in float64",
        ),
        (lambda: pt.Sphere().uniform(jax.random.key(0), n=-1, d=3), "at least one token; got n = -1"),
    ],
)
def test_what_cannot_be_is_refused(make, words):
    with pytest.raises(ValueError, match=words):
        make()


@pytest.mark.usefixtures("unchecked")
def test_nouns_that_are_none_are_refused():
    with pytest.raises(ValueError, match="`plan` must be a Plan; got a float"):
        pt.solve(FLOW, X0, 1.0)
    with pytest.raises(ValueError, match="`flow` must be a Flow; got a Attention"):
        pt.solve(pt.Attention(), X0, pt.Plan(until=1.0))
    with pytest.raises(ValueError, match="`save` is a whole number of frames, or their depths; got 2.5"):
        pt.Plan(until=1.0, save=2.5)
    with pytest.raises(ValueError, match="tokens are real numbers; got an array of <U1"):
        pt.solve(FLOW, [["a", "b", "c"]], pt.Plan(until=1.0))


def test_below_what_numbers_can_tell_smaller_steps_make_a_larger_error():
    """So a tolerance that is finer than the numbers is refused."""
    plan = pt.Plan(until=4.0, save=1, rtol=1e-6, atol=1e-9)
    flow, x0 = pt.Flow(pt.Sphere(), pt.Attention(pt.DotProduct(4.0))), X0.astype(jnp.float32)
    exact = pt.solve(flow, x0.astype(float), dataclasses.replace(plan, rtol=1e-11, atol=1e-12)).final

    def error(dt):
        run = pt.solve(flow, x0, dataclasses.replace(plan, dt=dt, max_steps=2**18))
        return float(jnp.max(jnp.abs(run.final.astype(float) - exact)))

    assert error(2.0**-15) > 4 * error(2.0**-6)


def test_tokens_in_a_ball_stay_in_it():
    flow = pt.Flow(pt.Ball(1.0), pt.Attention(pt.DotProduct(2.0)))
    run = pt.solve(flow, tokens(), pt.Plan(until=5.0, save=10, rtol=1e-4, atol=1e-6))
    assert run.status == pt.Status.done
    norms = np.linalg.norm(run.tokens, axis=-1)
    assert norms.max() < 1 + 1e-12 and norms[-1].min() > 0.99


def test_a_score_that_is_no_number_is_no_row_that_sees_nobody():
    law = pt.Attention(pt.DotProduct(query=jnp.eye(3), key=jnp.eye(3)))
    lost = eqx.tree_at(lambda law: law.score.query, law, jnp.full((3, 3), jnp.nan))
    assert jnp.all(jnp.isnan(lost(jnp.zeros(()), X0, pt.Dense())))


def test_some_tokens_are_kept_and_all_are_followed():
    plan = pt.Plan(until=1.0, save=2, tokens=3, watch=("energy", "token_entropy"))
    some = pt.solve(pt.Flow(pt.Sphere(), pt.Attention()), X0, plan)
    whole = pt.solve(pt.Flow(pt.Sphere(), pt.Attention()), X0, dataclasses.replace(plan, tokens=True))
    step = -(-len(X0) // 3)
    np.testing.assert_array_equal(some.tokens, whole.tokens[:, ::step])
    np.testing.assert_array_equal(some.observed["token_entropy"], whole.observed["token_entropy"][:, ::step])
    np.testing.assert_array_equal(some.observed["energy"], whole.observed["energy"])
    np.testing.assert_array_equal(some.final, whole.final)
    with pytest.raises(ValueError, match=r"how many tokens to keep, at least 1; got 0"):
        pt.Plan(until=1.0, tokens=0)
