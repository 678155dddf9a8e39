"""Laws that jump in depth, and laws whose inner iteration fails: what steps and runs make of them."""

import itertools

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jaxtyping import Array, Float
from samples import MATRIX, tokens
from scipy.linalg import expm

import particles as pt
from particles.integration import Failed, advance, begin

OTHER = np.array([[-0.5, 2.0, 0.3], [-1.5, -0.4, 0.2], [0.1, 0.6, -0.7]])
IRRATIONAL = (np.sqrt(0.1), np.e / 3, np.pi / 2)
X0 = tokens()


class _Switching(pt.AbstractLaw):
    """x' = A x and x' = B x in turn."""

    depths: Float[Array, " k"] = eqx.field(converter=jnp.asarray)
    told: bool = eqx.field(static=True, default=True)

    def __call__(self, t, x, summation):
        second = jnp.sum(self.depths <= t) % 2 == 1
        return x @ jnp.where(second, jnp.asarray(OTHER), jnp.asarray(MATRIX)).T.astype(x.dtype)

    @property
    def jumps(self):
        return self.told

    def next_jump(self, t):
        return jnp.min(jnp.where(self.depths > t, self.depths, jnp.inf))

    def parts(self):
        return ()

    def check_tokens(self, n, d):
        pass


def exact(depths, until=2.0):
    edges = [0.0, *(d for d in depths if d < until), until]
    flow = np.eye(3)
    for k, (a, b) in enumerate(itertools.pairwise(edges)):
        flow = expm((b - a) * (OTHER if k % 2 else MATRIX)) @ flow
    return np.asarray(X0) @ flow.T


def run(depths, told=True, save=1, **plan):
    done = pt.solve(pt.Flow(pt.Euclidean(), _Switching(depths, told)), X0, pt.Plan(until=2.0, save=save, **plan))
    assert done.status == pt.Status.done
    return done


def order(solver, depths, steps, **options):
    errors = [np.abs(run(depths, solver=solver, dt=dt, **options).final - exact(depths)).max() for dt in steps]
    assert errors[1] > 1e-12
    return np.log(errors[0] / errors[1]) / np.log(steps[0] / steps[1])


@pytest.mark.parametrize(("solver", "expected"), [("Heun", 2), ("Bosh3", 3), ("RK4", 4), ("Tsit5", 5)])
def test_a_method_keeps_its_order_through_jumps(solver, expected):
    assert order(solver, IRRATIONAL, (1 / 16, 1 / 32)) > expected - 0.2


def test_without_knowing_of_the_jumps_the_order_falls():
    assert order("RK4", IRRATIONAL, (1 / 16, 1 / 64), told=False) < 2


@pytest.mark.parametrize("shift", [-1e-7, -1e-15, 0.0, 1e-15, 1e-7])
def test_jumps_at_frames_and_at_the_ends_of_steps(shift):
    """Rounding decides on which side of a frame a jump lies; neither side may cost accuracy."""
    depths = (0.4 + shift, 0.8, 1.2 - shift, 2.0)
    for plan in ({"dt": 0.02, "solver": "RK4"}, {"rtol": 1e-8, "atol": 1e-10}):
        done = run(depths, save=5, **plan)
        np.testing.assert_allclose(done.final, exact(depths), atol=1e-7)
        assert done.steps <= 106


def test_adaptive_steps_end_at_jumps_and_grow_again():
    told, untold = (run(IRRATIONAL, told, rtol=1e-9, atol=1e-11) for told in (True, False))
    np.testing.assert_allclose(told.final, exact(IRRATIONAL), atol=1e-8)
    assert told.steps < 0.8 * untold.steps
    assert told.rejected < untold.rejected


def chunks(flow, plan, state, first, last):
    frames = []
    while first < last:
        state, kept, _ = advance(flow, plan, state, plan.depths(first, first + plan.chunk - 1, X0.dtype))
        frames.append(kept["tokens"])
        first += plan.chunk
    return state, frames


@pytest.mark.parametrize("how", [{}, {"dt": 0.07}])
def test_going_on_among_jumps_gives_the_same_bits(how):
    depths = (*IRRATIONAL, 0.5, 1.75)  # the last two at the ends of chunks
    flow, plan = pt.Flow(pt.Euclidean(), _Switching(np.sort(depths))), pt.Plan(until=2.0, save=7, chunk=2, **how)
    state = begin(flow, X0, plan)
    _, whole = chunks(flow, plan, state, 0, 8)
    halfway, first = chunks(flow, plan, state, 0, 4)
    kept = jax.tree.map(lambda leaf: jnp.asarray(np.asarray(leaf)), halfway)
    _, rest = chunks(flow, plan, kept, 4, 8)
    np.testing.assert_array_equal(jnp.concatenate(first + rest), jnp.concatenate(whole))
    np.testing.assert_allclose(whole[-1][-1], exact(np.sort(depths)), atol=1e-4)


def test_derivatives_go_through_jumps():
    plan = pt.Plan(until=2.0, save=1, dt=1 / 8, solver="RK4", max_steps=64)
    loss = lambda x: jnp.sum(pt.solve(pt.Flow(pt.Euclidean(), _Switching(IRRATIONAL)), x, plan).final ** 2)  # noqa: E731
    both, h = jax.jit(jax.value_and_grad(loss)), 1e-5
    difference = (both(X0 + h)[0] - both(X0 - h)[0]) / (2 * h)
    np.testing.assert_allclose(jnp.sum(both(X0)[1]), difference, rtol=1e-7)


class _Fails(pt.AbstractLaw):
    """A law whose inner iteration is lost from some depth on."""

    depth: float = eqx.field(static=True)

    def __call__(self, t, x, summation):
        return -x

    @property
    def iterates(self):
        return True

    def unsolved(self, t, x, summation):
        return t >= self.depth

    def parts(self):
        return ()

    def check_tokens(self, n, d):
        pass


@pytest.mark.parametrize("depth", [0.0, 1.0, 9.0])
def test_an_unsolved_inner_iteration_ends_a_run(depth):
    done = pt.solve(pt.Flow(pt.Euclidean(), _Fails(depth)), X0, pt.Plan(until=2.0, save=4, dt=0.125))
    assert done.status == (pt.Status.done if depth > 2 else pt.Status.unsolved)
    assert done.depth == min(depth, 2.0)
    assert done.status == pt.Status.done or "raise its `sweeps`" in done.message


def test_an_unsolved_inner_iteration_keeps_what_was_good(tmp_path):
    plan = pt.Plan(until=2.0, save=4, chunk=1)
    with pytest.raises(Failed, match="missed its tolerance.*at depth 1"):
        pt.simulate(pt.Flow(pt.Euclidean(), _Fails(1.0)), X0, plan, tmp_path / "run", progress=False)
    record = pt.open(tmp_path / "run")
    assert record.status == "failed"
    assert np.all(np.isfinite(record.dataset.tokens[:2]))
