"""Every program is one that XLA takes for GPUs and TPUs: it is lowered for them here, where there is neither.

Nothing runs; what would fail is a step that only processors know.
"""

import dataclasses

import equinox as eqx
import jax
import jax.numpy as jnp
import pytest
from samples import SAMPLES, SLOTS, STATES, attention_flow, law_with, members, on_sphere, tokens, watchable

import particles as pt
from particles import dynamics, observables

PLATFORMS = ("cuda", "tpu")
WAYS = {
    "dense": pt.Dense(),
    "blocked": pt.Blocked(rows=3, columns=2),
    "half precision": pt.Blocked(rows=3, columns=2, scores="bfloat16"),
    "modes": pt.Fourier(1e-6, fast=False),
    "ring": pt.Sharded(1, pt.Blocked(rows=3, columns=2)),
}
SOLVERS = {
    "Tsit5": {},
    "Kvaerno5": {"solver": "Kvaerno5"},
    "EulerNormalize": {"solver": "EulerNormalize", "dt": 0.1},
    "stopped": {"stop": (pt.OneCluster(0.2), pt.Steady(1e-3))},
}


def lowered(function, *arrays):
    """The platforms that a function of arrays was lowered for, one after the other.

    What was traced before, by whatever test, may stand for this machine's platform alone, and is forgotten.
    """
    jax.clear_caches()
    traced = jax.jit(function).trace(*arrays)
    return tuple(name for name in PLATFORMS if traced.lower(lowering_platforms=(name,)).as_text())


def gradient(flow, x):
    """The gradient of a number made of the field, in tokens and parameters."""
    return eqx.filter_grad(lambda both: jnp.sum(jnp.sin(both[0](jnp.zeros((), x.dtype), both[1]))))((flow, x))


def test_a_step_that_only_processors_know_is_noticed():
    with pytest.raises(NotImplementedError, match="cuda|tpu"):
        lowered(lambda x: jnp.linalg.eig(x)[0], jnp.eye(3))


@pytest.mark.parametrize("way", WAYS.values(), ids=WAYS)
def test_every_summation(way):
    flow = dataclasses.replace(attention_flow(), summation=way)
    assert lowered(lambda x: gradient(flow, x), on_sphere()) == PLATFORMS


@pytest.mark.parametrize("cls", SLOTS, ids=lambda cls: cls.__name__)
def test_every_law(cls):
    assert lowered(lambda x: gradient(law_with(cls), x), tokens()) == PLATFORMS


@members(observables.AbstractObservable)
def test_every_observable(cls):
    watched = SAMPLES[cls]
    flow = watchable(watched)
    state = flow.begin(on_sphere(), None)
    assert lowered(lambda state: watched.observe(flow, jnp.zeros(()), state), state) == PLATFORMS


@members(dynamics.AbstractFlow)
def test_every_flow(cls):
    flow = SAMPLES[cls]
    x = flow.space.project(tokens()) if flow.of_tokens else STATES[cls]
    key = jax.random.key(0) if flow.random else None
    state = flow.begin(x, key)
    assert lowered(lambda state: flow.stepped(flow(jnp.zeros(()), state), jnp.ones(()), key), state) == PLATFORMS


@pytest.fixture
def silent(monkeypatch):
    """No errors raised while a program runs: that is a call back into Python, which is lowered where it runs only."""
    monkeypatch.setattr("equinox._errors.EQX_ON_ERROR", "nan")
    return {"max_steps": 12_345}  # of no other program, which would be known with its errors


@pytest.mark.parametrize("how", SOLVERS.values(), ids=SOLVERS)
def test_every_kind_of_solver(how, silent):
    plan = pt.Plan(until=1.0, save=3, watch=("energy",), **how, **silent)
    assert lowered(lambda x: pt.solve(attention_flow(), x, plan).tokens, on_sphere()) == PLATFORMS


def test_noise(silent):
    flow = pt.NoisyFlow(pt.Sphere(), pt.Attention(), pt.noises.Gamma(5.0, 1.0))
    plan, key = pt.Plan(until=1.0, save=3, dt=0.1, solver="Heun", **silent), jax.random.key(0)
    assert lowered(lambda x: pt.solve(flow, x, plan, key=key).tokens, on_sphere()) == PLATFORMS
