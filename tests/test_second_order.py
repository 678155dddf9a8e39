"""Tokens with inertia: energy, friction, the sphere, slow fields, and the overdamped limit."""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from samples import MATRIX, on_sphere, tokens
from scipy.integrate import simpson, solve_ivp

import particles as pt
from particles import config
from particles.dynamics import Moving
from particles.integration import begin

PULL = pt.Attention(pt.DotProduct(1.0), normalizer=pt.Mean())  # minus the gradient of -n E
HELD = pt.Attention(pt.SquaredDistance(1.0), normalizer=pt.Mean(), value=pt.Difference())  # and so is this one's
FLOWS = {"flat": (pt.Euclidean(), HELD, 2 * tokens()), "sphere": (pt.Sphere(), PULL, on_sphere())}
TIGHT = {"solver": "Dopri8", "rtol": 1e-12, "atol": 1e-13}
ENERGIES = ("kinetic_energy", "energy")


def balance(flow, x, until=3.0):
    """Kinetic energy minus interaction energy plus what friction has taken, over depth."""
    plan = pt.Plan(until=until, save=512, watch=ENERGIES, solver="Dopri8", dt=until / 512)
    run = pt.solve(flow, x, plan)
    assert run.status == pt.Status.done
    kinetic, energy = (np.asarray(run.observed[name]) for name in ENERGIES)
    assert kinetic[0] == 0 and kinetic.max() > 0.01
    power = 2 * float(flow.friction) * kinetic
    taken = [simpson(power[: k + 1], x=np.asarray(run.times[: k + 1])) for k in range(0, 513, 32)]
    return (kinetic - energy)[::32] + np.asarray(taken)


@pytest.mark.parametrize("where", FLOWS)
@pytest.mark.parametrize("friction", [0.0, 0.7])
def test_energy_is_conserved_or_taken_by_friction(where, friction):
    """K - E + 2 friction int K is constant to 1e-9, the solver's tolerance and the quadrature's error times 100."""
    space, law, x = FLOWS[where]
    total = balance(pt.SecondOrder(space, law, friction), x)
    np.testing.assert_allclose(total, total[0], atol=1e-9)


def test_the_balance_check_can_fail():
    """Softmax weights have another mobility, so their force has no such potential."""
    total = balance(pt.SecondOrder(pt.Sphere(), pt.Attention(pt.DotProduct(1.0))), on_sphere())
    assert np.abs(total - total[0]).max() > 1e-3


def test_a_free_particle_moves_along_a_great_circle():
    flow = pt.SecondOrder(pt.Sphere(2.0), pt.Attention(value=pt.values.Linear(0.0)))
    plan = pt.Plan(until=3.0, save=3, **TIGHT)
    x, v = jnp.asarray([[2.0, 0.0, 0.0]]), jnp.asarray([[0.0, 1.0, 0.0]])
    start = dataclasses.replace(begin(flow, x, plan), state=Moving(x, v))
    end, _, _ = pt.integration.advance(flow, plan, start, plan.depths(0, 3, x.dtype))
    np.testing.assert_allclose(end.state.position, [[2 * np.cos(1.5), 2 * np.sin(1.5), 0]], atol=1e-10)
    np.testing.assert_allclose(end.state.velocity, [[-np.sin(1.5), np.cos(1.5), 0]], atol=1e-10)


@pytest.mark.parametrize(("solver", "order"), [("Heun", 2), ("Bosh3", 3), ("RK4", 4), ("Dopri8", 8)])
def test_order_on_the_sphere(solver, order):
    law = pt.Attention(pt.DotProduct(2.0), value=pt.values.Linear(-2 * MATRIX))
    flow, x = pt.SecondOrder(pt.Sphere(), law, 0.3), on_sphere(6)
    end = lambda **plan: np.asarray(pt.solve(flow, x, pt.Plan(until=2.0, save=1, **plan)).final)  # noqa: E731
    exact = end(**{**TIGHT, "rtol": 1e-13})
    steps = (1 / 4, 1 / 6) if order == 8 else (1 / 16, 1 / 32)
    errors = [np.abs(end(solver=solver, dt=dt) - exact).max() for dt in steps]
    assert errors[1] > 1e-12
    assert abs(np.log(errors[0] / errors[1]) / np.log(steps[0] / steps[1]) - order) < 0.2


def slope(rescaled):
    """How fast tokens under friction come closer to the flow of first order as friction grows."""
    law, x = pt.Attention(pt.DotProduct(2.0)), on_sphere(6)
    first = pt.solve(pt.Flow(pt.Sphere(), law), x, pt.Plan(until=1.0, save=1, **TIGHT)).final
    errors = []
    for friction in (20.0, 40.0):
        plan = pt.Plan(until=friction if rescaled else 1.0, save=1, rtol=1e-10, atol=1e-12)
        run = pt.solve(pt.SecondOrder(pt.Sphere(), law, friction), x, plan)
        errors.append(np.abs(run.final - first).max())
    return np.log2(errors[0] / errors[1])


def test_overdamped_tokens_follow_the_first_order_on_a_slow_clock():
    """At t = friction s the distance is O(friction^-2): slope 2 +- 0.1."""
    assert abs(slope(rescaled=True) - 2) < 0.1
    assert abs(slope(rescaled=False) - 2) > 1  # on the wrong clock


def test_slow_fields_follow_at_first_order():
    """Two coordinates with inertia and one without: against SciPy's integration of the equations written out."""
    law, x = pt.Attention(pt.DotProduct(1.0), value=pt.Difference(MATRIX)), tokens(5)
    flow = pt.SecondOrder(pt.Euclidean(), law, 0.4, inertial=2)

    def field(t, y):
        at, v = y[:15].reshape(5, 3), y[15:].reshape(5, 2)
        w = np.exp(at @ at.T)
        u = (w @ at / w.sum(axis=1, keepdims=True) - at) @ MATRIX.T
        return np.concatenate([np.c_[v, u[:, 2]].ravel(), (u[:, :2] - 0.4 * v).ravel()])

    theirs = solve_ivp(field, (0, 2), np.r_[np.ravel(x), np.zeros(10)], "DOP853", rtol=1e-12, atol=1e-12).y[:15, -1]
    np.testing.assert_allclose(pt.solve(flow, x, pt.Plan(until=2.0, **TIGHT)).final.ravel(), theirs, atol=1e-9)


def test_fields_beside_a_sphere():
    """A coordinate of first order beside a sphere: it relaxes, while the sphere's part swings."""
    space = pt.spaces.Product((pt.Sphere(), pt.Euclidean()), (3, 1))
    flow = pt.SecondOrder(space, HELD, 0.1, inertial=3)
    x = jnp.concatenate([on_sphere(), jnp.linspace(-1, 1, 7)[:, None]], axis=1)
    run = pt.solve(flow, x, pt.Plan(until=8.0, save=16, watch=("kinetic_energy",)))
    assert run.status == pt.Status.done
    np.testing.assert_allclose(np.linalg.norm(run.tokens[..., :3], axis=-1), 1, atol=1e-14)
    assert np.all(np.diff(np.ptp(np.asarray(run.tokens[:, :, 3]), axis=1)) < 0)
    assert np.any(np.diff(run.observed["kinetic_energy"]) < 0)


def test_steady_waits_for_rest():
    """Tokens start at rest, but not without force."""
    flow = pt.SecondOrder(pt.Sphere(), pt.Attention(pt.DotProduct(2.0)), 4.0)
    x = pt.starts.VonMisesFisher(6, 3, 20.0)(pt.Sphere(), jax.random.key(0))
    run = pt.solve(flow, x, pt.Plan(until=100.0, save=10, stop=(pt.Steady(1e-5),)))
    assert run.status == pt.Status.stopped and run.depth > 5
    assert np.ptp(np.asarray(run.final), axis=0).max() < 1e-4


def test_derivatives_go_through():
    def loss(friction, adjoint="reverse"):
        flow = pt.SecondOrder(pt.Sphere(), PULL, friction)
        plan = pt.Plan(until=1.0, save=2, watch=("kinetic_energy",), rtol=1e-9, atol=1e-11, max_steps=256)
        return pt.solve(flow, on_sphere(), plan, adjoint=adjoint).observed["kinetic_energy"][-1]

    at, h = jnp.asarray(0.5), 1e-4
    forward = jax.jit(jax.jacfwd(lambda f: loss(f, "forward")))(at)
    backwards = jax.jit(jax.value_and_grad(loss))
    np.testing.assert_allclose(backwards(at)[1], forward, rtol=1e-8)  # sizes of steps are rounded anew on the way back
    np.testing.assert_allclose((backwards(at + h)[0] - backwards(at - h)[0]) / (2 * h), forward, rtol=1e-5)


SWEPT = {
    "start": {"kind": "Uniform", "tokens": 6, "dim": 3},
    "flow": {"kind": "SecondOrder", "space": {"kind": "Sphere"}, "law": {"kind": "Attention"}, "friction": 0.5},
    "plan": {"until": 1.0, "save": 6, "chunk": 2, "watch": ["kinetic_energy", "mean_cosine"]},
    "sweep": {"flow.friction": [0.0, 2.0]},
}


def test_a_record_of_a_swept_friction(tmp_path):
    dataset = pt.simulate(config.build(SWEPT), path=tmp_path / "run", progress=False).dataset
    assert dataset.kinetic_energy.dims == ("friction", "time")
    assert dataset.kinetic_energy[0, -1] > dataset.kinetic_energy[1, -1] > 0
    assert "flow: SecondOrder(" in dataset.attrs["caption"]


@pytest.mark.parametrize(
    ("make", "words"),
    [
        (lambda: pt.SecondOrder(pt.Ball(1.0), PULL), "without a boundary: Euclidean, Sphere"),
        (lambda: pt.SecondOrder(pt.Sphere(), PULL, inertial=2), "leading factors of a Product"),
        (lambda: pt.SecondOrder(pt.Sphere(), PULL, -1.0), "at least 0; got -1"),
        (
            lambda: pt.solve(pt.SecondOrder(pt.Euclidean(), PULL, inertial=4), tokens(), pt.Plan(until=1.0)),
            "inertial=4",
        ),
        (
            lambda: pt.solve(
                pt.SecondOrder(pt.Sphere(), PULL), on_sphere(), pt.Plan(until=1.0, solver="EulerNormalize", dt=0.1)
            ),
            "projected after the step; this SecondOrder is an ordinary differential equation. Use Tsit5",
        ),
        (
            lambda: pt.solve(pt.Flow(pt.Sphere(), PULL), on_sphere(), pt.Plan(until=1.0, watch=("kinetic_energy",))),
            "no inertia, so no kinetic energy; use SecondOrder",
        ),
    ],
)
def test_what_cannot_be_is_refused(make, words):
    with pytest.raises(ValueError, match=words):
        make()
