"""Noise on the tokens: what its laws are, against closed forms, and that a key is all there is to it.

Statistics are means over independent draws, held to 4 standard errors; what is wrong must fail at 10.
"""

import dataclasses

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from samples import OPTIMIZED, on_sphere, tokens
from test_simulation import interrupting

import particles as pt
from particles.simulation import Interrupted

KEY = jax.random.key(7)
ZERO = jnp.zeros(())


class _Still(pt.AbstractLaw):
    """No force at all."""

    def __call__(self, t, x, summation):
        return jnp.zeros_like(x)

    def parts(self):
        return ()

    def check_tokens(self, n, d):
        pass


def standard_errors(draws, expected):
    """By how many standard errors a mean over the first axis is off, at most."""
    draws = np.asarray(draws)
    error = np.maximum(draws.std(axis=0) / np.sqrt(len(draws)), 1e-15)
    return np.max(np.abs(draws.mean(axis=0) - expected) / error)


POLE, SIGMA = np.asarray([0.6, 0.0, 0.8]), 0.8
FORGOTTEN = np.exp(-(SIGMA**2)) * POLE  # at depth 1; (d - 1) / 2 = 1


def ends(solver, n=2500, dt=1 / 128):
    """Many tokens from one point of the sphere, each under a Brownian motion of its own."""
    flow = pt.NoisyFlow(pt.Sphere(), _Still(), pt.noises.Brownian(SIGMA))
    plan = pt.Plan(until=1.0, save=1, solver=solver, dt=dt)
    followed = jax.jit(lambda x: pt.solve(flow, x, plan, key=KEY).final, compiler_options=OPTIMIZED)
    final = followed(jnp.tile(POLE, (n, 1)))
    np.testing.assert_allclose(np.linalg.norm(final, axis=1), 1, rtol=1e-14)
    return final


@pytest.mark.parametrize("solver", ["Heun", "EulerHeun", "Euler"])
def test_brownian_motion_on_the_sphere_forgets_at_its_rate(solver):
    """E x(t) = exp(-sigma^2 (d-1) t / 2) x(0); the step's bias, 0.5 dt, is half a standard error."""
    draws = ends(solver)
    assert standard_errors(draws, FORGOTTEN) < 4
    assert standard_errors(draws, POLE) > 10


def test_ito_without_its_drift_leaves_the_sphere_and_forgets_nothing():
    rng, x, sigma, h = np.random.default_rng(0), np.tile(POLE, (20_000, 1)), SIGMA, 1 / 64
    for _ in range(64):
        dB = np.sqrt(h) * rng.normal(size=x.shape)
        x = x + sigma * (dB - np.sum(x * dB, axis=1, keepdims=True) * x / np.sum(x * x, axis=1, keepdims=True))
    assert standard_errors(x, FORGOTTEN) > 10
    np.testing.assert_allclose(np.mean(np.sum(x * x, axis=1)), 1 + 2 * sigma**2, rtol=0.02)


def test_the_weak_error_is_of_first_order():
    """The error of the mean, 0.080 and 0.027 with 1e5 tokens, falls with the step: by 4 in the end, by 3 here."""
    errors = []
    for dt in (1 / 4, 1 / 16):
        errors.append(np.abs(np.asarray(ends("EulerHeun", n=100_000, dt=dt)).mean(axis=0) - FORGOTTEN).max())
    assert errors[0] > 2.5 * errors[1]


def test_one_key_is_one_path():
    """In flat space the end is the path's end, whatever the steps; on the sphere the steps converge along the path."""
    flat = pt.NoisyFlow(pt.Euclidean(), _Still(), pt.noises.Brownian(0.5))
    round_ = dataclasses.replace(flat, space=pt.Sphere())

    def end(flow, dt, key=KEY):
        return pt.solve(flow, on_sphere(), pt.Plan(until=2.0, save=1, solver="Heun", dt=dt), key=key).final

    np.testing.assert_allclose(end(flat, 1 / 8), end(flat, 1 / 128), atol=1e-12)
    errors = [np.abs(end(round_, dt) - end(round_, 1 / 512)).mean() for dt in (1 / 8, 1 / 64)]
    assert errors[1] < 0.6 * errors[0] < 0.1
    assert np.abs(end(round_, 1 / 64) - end(round_, 1 / 64, jax.random.key(8))).mean() > 0.2


@pytest.mark.parametrize("solver", ["Heun", "Euler"])
def test_frames_are_on_the_path(solver):
    """Steps end at frames: between them a path cannot be interpolated. Var x(t) = sigma^2 t at every one of them."""
    flow = pt.NoisyFlow(pt.Euclidean(), _Still(), pt.noises.Brownian(1.0))
    plan = pt.Plan(until=1.0, save=(0.11, 0.37, 1.0), solver=solver, dt=0.25)
    frames = pt.solve(flow, jnp.zeros((10_000, 1)), plan, key=KEY).tokens[1:, :, 0]
    assert standard_errors(np.asarray(frames).T ** 2, [0.11, 0.37, 1.0]) < 4
    assert standard_errors(np.asarray(frames).T ** 2, [0.25, 0.5, 1.0]) > 10  # the depths of the steps


def matrix_flow():
    law = pt.Attention(pt.DotProduct(1.0), value=pt.values.Linear(0.0))  # the noise sees the weights alone
    return pt.NoisyFlow(pt.Sphere(), law, pt.noises.CommonMatrix(1.0))


def drifts(flow, x, h, stratonovich=False):
    """The change of <x_1, x_2> in one small step per depth, for many matrices, each with its negative."""

    def change(dW):
        state = flow.begin(x, KEY)
        add = lambda *parts: jax.tree.map(lambda *leaves: sum(leaves), *parts)  # noqa: E731
        push = lambda state: flow.diffusion(ZERO, state, dW)  # noqa: E731
        if stratonovich:
            half = jax.tree.map(lambda a, b: (a + b) / 2, push(state), push(add(state, push(state))))
            moved = add(state, half)
        else:
            drift = jax.tree.map(lambda leaf: h * leaf, add(flow(ZERO, state), flow.correction(ZERO, state)))
            moved = add(state, push(state), drift)
        y = flow.tokens(flow.project(moved))
        return (y[0] @ y[1] - x[0] @ x[1]) / h

    normal = np.sqrt(h) * jax.random.normal(KEY, (100_000, 1, 3, 3))
    return jax.jit(jax.vmap(lambda dW: (change(dW) + change(-dW)) / 2))(normal)


def test_the_drift_of_an_overlap_under_random_values():
    """<m1,m2>(d - 2 + c^2) - ((d-1)/2) c (|m1|^2 + |m2|^2) at u = 0, sigma = 1."""
    flow, x = matrix_flow(), on_sphere(3)
    m, c = np.asarray(flow.law.weights(x, flow.summation)) @ x, float(x[0] @ x[1])
    expected = (m[0] @ m[1]) * (1 + c**2) - c * (m[0] @ m[0] + m[1] @ m[1])
    assert standard_errors(drifts(flow, x, 1e-4), expected) < 4
    assert standard_errors(drifts(flow, x, 1e-4, stratonovich=True), expected) > 10


def test_random_values_move_all_tokens_at_once():
    """Without the space, in one step, x + sigma dW m: the displacements are one matrix times the means."""
    flow = dataclasses.replace(matrix_flow(), space=pt.Euclidean())
    x = tokens(5)
    end = pt.solve(flow, x, pt.Plan(until=0.5, save=1, solver="Euler", dt=0.5), key=KEY).final
    means = flow.law.weights(x, flow.summation) @ x
    matrix = np.linalg.lstsq(means, end - x, rcond=None)[0]
    np.testing.assert_allclose(means @ matrix, end - x, atol=1e-13)
    assert np.abs(end - x).max() > 0.01


def simulation(noise, solver="Heun", **changes):
    flow = pt.NoisyFlow(pt.Sphere(), pt.Attention(pt.DotProduct(2.0)), noise)
    plan = pt.Plan(until=1.0, save=8, chunk=3, dt=0.03, solver=solver, watch=("mean_cosine",))
    return dataclasses.replace(pt.Simulation(pt.starts.Equiangular(4, 4, 0.1), flow, plan, name="noisy"), **changes)


NOISES = [
    (pt.noises.Brownian(0.3), "Heun"),
    (pt.noises.CommonMatrix(0.3), "Euler"),
    (pt.noises.Gaussian(0.5, 0.2), "RK4"),
]


@pytest.mark.parametrize(("noise", "solver"), NOISES, ids=lambda v: type(v).__name__)
def test_a_run_that_was_stopped_has_the_same_bits(tmp_path, monkeypatch, noise, solver):
    trial = simulation(noise, solver)
    whole = pt.simulate(trial, path=tmp_path / "whole", progress=False)
    with monkeypatch.context() as patched:
        interrupting(patched, 1)
        with pytest.raises(Interrupted):
            pt.simulate(trial, path=tmp_path / "cut", progress=False)
    resumed = pt.simulate(trial, path=tmp_path / "cut", progress=False, resume=True)
    assert resumed.manifest["checksums"] == whole.manifest["checksums"]


def test_seeds_are_noises(tmp_path):
    """The start is the same for all seeds, the noise is not, and a member of a sweep is the run of its seed."""
    swept = pt.simulate(
        simulation(pt.noises.Brownian(0.3), sweep={"seed": (0, 1, 2)}), path=tmp_path / "sweep", progress=False
    ).dataset
    np.testing.assert_array_equal(swept.tokens[0, 0], swept.tokens[2, 0])
    assert np.abs(swept.tokens[:, -1] - swept.tokens[0, -1]).max(("token", "dim")).values[1:].min() > 0.1
    alone = pt.simulate(simulation(pt.noises.Brownian(0.3), seed=2), path=tmp_path / "alone", progress=False).dataset
    np.testing.assert_allclose(swept.tokens[2], alone.tokens, atol=1e-12)


def test_noise_is_differentiated_along_its_path():
    def loss(sigma):
        flow = pt.NoisyFlow(pt.Sphere(), pt.Attention(pt.DotProduct(2.0)), pt.noises.Brownian(sigma))
        plan = pt.Plan(until=1.0, save=1, solver="Heun", dt=1 / 16, max_steps=64)
        return jnp.sum(pt.solve(flow, on_sphere(4), plan, key=KEY).final[0])

    at, h = jnp.asarray(0.4), 1e-5
    both = jax.jit(jax.value_and_grad(loss))
    np.testing.assert_allclose(both(at)[1], (both(at + h)[0] - both(at - h)[0]) / (2 * h), rtol=1e-7)


def test_a_batch_of_keys_and_float32():
    flow = pt.NoisyFlow(pt.Sphere(), pt.Attention(pt.DotProduct(2.0)), pt.noises.Brownian(0.3))
    plan, x = pt.Plan(until=1.0, save=2, solver="Heun", dt=0.1), on_sphere(4).astype(jnp.float32)
    finals = eqx.filter_vmap(lambda key: pt.solve(flow, x, plan, key=key).final)(jax.random.split(KEY, 3))
    assert finals.dtype == jnp.float32
    np.testing.assert_allclose(finals[1], pt.solve(flow, x, plan, key=jax.random.split(KEY, 3)[1]).final, atol=1e-5)
    assert np.abs(finals[0] - finals[1]).max() > 0.1


def test_constant_steps_come_to_the_end_in_float32():
    """Beyond depth 1 a step of 0.05 and what may be off its end are closer than two neighboring numbers."""
    x, plan = on_sphere(4).astype(jnp.float32), pt.Plan(until=2.0, save=2, solver="Heun", dt=0.05, max_steps=60)
    flow = pt.NoisyFlow(pt.Sphere(), pt.Attention(), pt.noises.Brownian(0.3))
    run = pt.solve(flow, x, plan, key=jax.random.key(0))
    assert run.tokens.dtype == jnp.float32 and run.complete().status == 1
    assert int(run.steps) == 40 and float(run.depth) == 2.0


FLOW = simulation(pt.noises.Brownian(0.3)).flow


@pytest.mark.parametrize(
    ("make", "words"),
    [
        (lambda: pt.solve(FLOW, on_sphere(), pt.Plan(until=1.0, solver="Heun", dt=0.1)), "is random: it needs a key"),
        (lambda: pt.solve(FLOW, on_sphere(), pt.Plan(until=1.0, solver="Heun"), key=KEY), "give `dt`"),
        (
            lambda: pt.solve(FLOW, on_sphere(), pt.Plan(until=1.0, dt=0.1), key=KEY),
            "this NoisyFlow is .*Stratonovich's sense or .*Ito's sense. Use Heun, Euler, EulerHeun",
        ),
        (
            lambda: pt.solve(matrix_flow(), on_sphere(), pt.Plan(until=1.0, solver="Heun", dt=0.1), key=KEY),
            "Ito's sense. Use Euler.",
        ),
        (
            lambda: pt.NoisyFlow(pt.Ball(), pt.Attention(), pt.noises.Brownian(0.1)),
            "Brownian noise needs a space without",
        ),
        (
            lambda: pt.NoisyFlow(pt.Sphere(), _Still(), pt.noises.CommonMatrix(0.1)),
            "needs a law with attention weights",
        ),
        (lambda: pt.noises.Brownian(-1.0), "at least 0; got -1"),
    ],
)
def test_what_cannot_be_is_refused(make, words):
    with pytest.raises(ValueError, match=words):
        make()
