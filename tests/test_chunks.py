"""A record is the solve that it keeps: the same steps, wherever frames lie and chunks end."""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from samples import MLP, on_sphere

import particles as pt
from particles.dynamics import Reading
from particles.integration import METHODS
from particles.integration.methods import reading
from particles.simulation.simulation import NOISE

PULL = pt.Attention(pt.DotProduct(3.0))
WARMED = pt.Scheduled(PULL, (pt.schedules.Piecewise("score.beta", [1.0, 4.0, 2.0], [0.31, 0.8]),))
BRANCH = pt.FeedForward(MLP)
FLOWS = {
    "sphere": pt.Flow(pt.Sphere(), PULL),
    "flat": pt.Flow(pt.Euclidean(), PULL),
    "jumps": pt.Flow(pt.Sphere(), WARMED),
    "inertia": pt.SecondOrder(pt.Sphere(), PULL, 0.3),
    "Brownian": pt.NoisyFlow(pt.Sphere(), PULL, pt.noises.Brownian(0.3)),
    "weights": pt.NoisyFlow(pt.Sphere(), PULL, pt.noises.Gaussian(0.3, 0.5)),
    "layers": pt.Layers(PULL + BRANCH, pt.norms.Pre(), "Lie"),
}
WHOLE = ("sphere", "Brownian", "layers")  # on every grid; the others on the one that cuts most
X = on_sphere(5)
UNTIL, DT = 1.2, 0.05
GRIDS = {"even": (8, 3), "irregular": ((0.1, 0.35, 0.9, 1.2), 1), "one": (1, 10)}
OFF = {"even": 7, "irregular": (0.11, 0.3701, 0.93, 1.2), "one": 1}  # frames between the ends of steps


def cases():
    for name, flow in FLOWS.items():
        for solver, method in METHODS.items():
            if reading(solver, flow) is None:
                continue
            constant = ("dt", True) if method.adaptive and not flow.constant_steps else ("dt",)
            for how in constant:
                for grid in GRIDS if name in WHOLE else ["irregular"]:
                    label = f"{name}-{solver}-{'constant' if how == 'dt' else 'adaptive'}-{grid}"
                    yield pytest.param(flow, solver, how == "dt", grid, id=label)


def plan_of(flow, solver, constant, grid):
    save, chunk = GRIDS[grid]
    if METHODS[solver].interpolates:
        save = OFF[grid]
    return pt.Plan(UNTIL, save=save, chunk=chunk, solver=solver, dt=DT if constant else None, watch=("mean_cosine",))


def both(flow, plan, path, x=X):
    key = jax.random.fold_in(jax.random.key(0), NOISE) if flow.random else None
    run = pt.solve(flow, x, plan, key=key)
    return run, pt.simulate(flow, x, plan, path, progress=False)


@pytest.mark.parametrize(("flow", "solver", "constant", "grid"), list(cases()))
def test_a_record_is_the_solve(tmp_path, flow, solver, constant, grid):
    """To the bit where steps are constant; adaptive ones are the same to rounding, since their sizes are computed."""
    run, record = both(flow, plan_of(flow, solver, constant, grid), tmp_path / "run")
    kept, member = record.dataset, record.manifest["members"][0]
    assert (member["steps"], member["rejected"]) == (run.steps, run.rejected)
    assert np.all(np.isfinite(kept.tokens))
    if constant:
        np.testing.assert_array_equal(kept.tokens, run.tokens)
    else:
        np.testing.assert_allclose(kept.tokens, run.tokens, rtol=0, atol=1e-11)
    np.testing.assert_allclose(kept.mean_cosine, run.observed["mean_cosine"], atol=1e-11)


def test_a_step_cut_at_a_chunk_is_another_network():
    """The control: twelve layers, and the same depth with layers cut at 100 frames, are apart by far more."""
    network = FLOWS["layers"]
    whole = pt.solve(network, X, pt.Plan(12.0, save=1, solver="Layers", dt=1.0)).final
    x, t = X, 0.0
    for frame in np.union1d(np.arange(1, 13), 1.2 * np.arange(1, 11)):
        x, t = network.layer(jnp.asarray(t), jnp.asarray(frame - t), x), frame
    assert np.abs(x - whole).max() > 1e-3


@pytest.mark.parametrize(("save", "dt"), [(7, 0.05), ((0.31, 1.2), 0.05), (4, 0.7)])
def test_nothing_lies_between_layers(save, dt):
    with pytest.raises(ValueError, match="choose"):
        pt.Plan(UNTIL, save=save, solver="Layers", dt=dt)


def test_constant_steps_have_the_length_that_was_asked_for():
    """Four steps of Euler, 0.3 and a last one of 0.1, on dx/dt = -x: (1 - 0.3)^3 (1 - 0.1)."""
    flow = pt.Flow(pt.Euclidean(), pt.Drift(confinement=1.0))
    run = pt.solve(flow, jnp.ones((1, 1)), pt.Plan(1.0, save=1, solver="Euler", dt=0.3))
    np.testing.assert_allclose(run.final, 0.7**3 * 0.9, rtol=1e-15)


@pytest.mark.parametrize("how", [{}, {"solver": "RK4", "dt": 0.05}, {"solver": "EulerNormalize", "dt": 0.05}])
def test_a_stop_lies_where_the_condition_begins_to_hold(tmp_path, how):
    """Two tokens on the sphere meet as tan(a / 2) = tan(a_0 / 2) e^{-t ...}; here the frames decide: all before it have
    two clusters, all after it are not there, and the distance at it is the threshold."""
    x = jnp.asarray([[1.0, 0.0, 0.0], [0.0, 1.0, 0.0]])
    delta = 0.4
    plan = pt.Plan(20.0, save=400, chunk=7, stop=(pt.stopping.OneCluster(delta),), **how)
    run, record = both(FLOWS["sphere"], plan, tmp_path / "run", x)
    assert run.status == pt.Status.stopped
    angle = np.arccos(np.sum(run.final[0] * run.final[1]))
    np.testing.assert_allclose(angle, delta, atol=1e-10)
    reached = np.isfinite(run.tokens[:, 0, 0])
    np.testing.assert_array_equal(reached, run.times <= run.depth)
    assert record.manifest["members"][0]["depth"] == run.depth
    assert record.dataset.attrs["stops"] == [run.depth]
    np.testing.assert_array_equal(record.dataset.tokens, run.tokens[reached])
    late = pt.solve(FLOWS["sphere"], x, dataclasses.replace(plan, until=run.depth, save=1, stop=())).final
    np.testing.assert_allclose(run.final, late, atol=1e-6)


def test_several_stops_of_a_kind(tmp_path):
    """The first that holds counts: of two distances, the larger."""
    stops = (pt.stopping.OneCluster(0.2), pt.stopping.OneCluster(0.4))
    x = jnp.asarray([[1.0, 0.0, 0.0], [0.0, 1.0, 0.0]])
    run, record = both(FLOWS["sphere"], pt.Plan(20.0, save=40, chunk=7, stop=stops), tmp_path / "run", x)
    np.testing.assert_allclose(np.arccos(np.sum(run.final[0] * run.final[1])), 0.4, atol=1e-10)
    assert record.manifest["members"][0]["depth"] == run.depth


def test_a_stop_of_layers_is_the_end_of_a_layer():
    plan = pt.Plan(200.0, save=1, solver="Layers", dt=0.25, stop=(pt.stopping.OneCluster(0.5),))
    run = pt.solve(pt.Layers(PULL), X, plan)
    assert run.status == pt.Status.stopped
    assert run.depth % 0.25 == 0


def test_a_derivative_goes_through_a_stop():
    """Along the flow at the depth of the stop, which counts as given."""
    plan = pt.Plan(20.0, save=1, solver="RK4", dt=0.05, stop=(pt.stopping.OneCluster(0.4),), max_steps=512)

    def end(x, plan=plan):
        return jnp.sum(pt.solve(FLOWS["sphere"], x, plan).final[:, 0])

    depth = pt.solve(FLOWS["sphere"], X, plan).depth
    there = dataclasses.replace(plan, until=depth, stop=())
    np.testing.assert_allclose(jax.grad(end)(X), jax.grad(end)(X, there), atol=1e-6)


@pytest.mark.parametrize("name", ["jumps", "sphere", "Brownian"])
def test_a_run_goes_on_at_the_depth_where_another_ended(tmp_path, name):
    """With noise the path after the start is another draw, so there the depths alone are compared."""
    flow, how = FLOWS[name], {"solver": "Heun", "dt": DT}
    whole, _ = both(flow, pt.Plan(UNTIL, save=6, **how), tmp_path / "whole")
    first, _ = both(flow, pt.Plan(UNTIL / 2, save=3, **how), tmp_path / "first")
    plan = pt.Plan(UNTIL, save=3, start=UNTIL / 2, **how)
    second, record = both(flow, plan, tmp_path / "second", first.final)
    np.testing.assert_allclose(second.times, whole.times[3:], rtol=1e-15)
    np.testing.assert_array_equal(record.dataset.tokens, second.tokens)
    if not flow.random:
        np.testing.assert_allclose(second.tokens, whole.tokens[3:], atol=1e-13)
    if name == "jumps":  # the control: a schedule that begins again is another law
        again = pt.solve(flow, first.final, pt.Plan(UNTIL / 2, save=3, **how))
        assert np.abs(again.final - whole.final).max() > 1e-3


def test_starts_that_cannot_be():
    for bad in ({"start": 2.0}, {"start": 1.0, "until": 1.0}, {"save": (0.5, 1.0), "start": 0.6}):
        with pytest.raises(ValueError, match="`start`"):
            pt.Plan(**{"until": 1.0, **bad})


def test_readings_are_all_tried():
    tried = {reading(solver, flow) for flow in FLOWS.values() for solver in METHODS} - {None}
    assert tried == set(Reading)
