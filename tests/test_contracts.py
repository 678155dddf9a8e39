"""What must hold for every final class, present and future."""

import copy
import dataclasses
import inspect

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from samples import (
    OF_LAWS,
    OPTIMIZED,
    SAMPLES,
    SLOTS,
    STATES,
    WRAPPED,
    D,
    N,
    law_with,
    members,
    on_sphere,
    tokens,
    watchable,
)

import particles as pt
from particles import config, dynamics, laws, observables, spaces, starts, stopping, summation
from particles.analysis import divergence
from particles.declaration import Declared, described, family, replaced
from particles.dynamics import noise
from particles.laws import gate, measure, normalizer, score, value
from particles.record.reader import bibliography

FAMILIES = (
    spaces.AbstractSpace,
    summation.AbstractSummation,
    *OF_LAWS,
    starts.AbstractStart,
    observables.AbstractObservable,
    stopping.AbstractStop,
    dynamics.AbstractFlow,
    noise.AbstractNoise,
)
FINAL = [cls for abstract in FAMILIES for cls in family(abstract).values()]
FROM_FILES = (starts.Given,)  # its samples are files, in test_starts


@pytest.mark.parametrize("cls", FINAL, ids=lambda cls: cls.__name__)
def test_every_class_is_final_documented_and_sourced(cls):
    assert not family(cls), "a final class has subclasses"
    assert not inspect.isabstract(cls), "a class with open ends is named Abstract..."
    documentation = inspect.getdoc(cls)
    assert "Source\n------" in documentation
    assert cls.sources
    assert set(cls.sources) <= set(bibliography())
    for key in cls.sources:
        assert key in documentation


@pytest.mark.parametrize("cls", [c for c in FINAL if c not in FROM_FILES], ids=lambda cls: cls.__name__)
def test_every_class_is_a_pytree_and_plain_data(cls):
    sample = SAMPLES[cls]
    leaves, tree = jax.tree.flatten(sample)
    assert eqx.tree_equal(jax.tree.unflatten(tree, leaves), sample)
    assert eqx.tree_equal(copy.deepcopy(sample), sample)
    assert described(sample)["kind"] == cls.__name__


def rebuilt(noun: Declared) -> Declared:
    """The noun after a trip through a config."""
    plan = {"until": 1.0}
    content = {"start": {"kind": "Uniform", "tokens": N, "dim": D}, "plan": plan}
    content["flow"] = {"space": {"kind": "Euclidean"}, "law": {"kind": "Attention"}}
    holders = {
        spaces.AbstractSpace: (content["flow"], "space", lambda s: s.flow.space),
        summation.AbstractSummation: (content["flow"], "summation", lambda s: s.flow.summation),
        laws.AbstractLaw: (content["flow"], "law", lambda s: s.flow.law),
        score.AbstractScore: (content["flow"]["law"], "score", lambda s: s.flow.law.score),
        measure.AbstractMeasure: (content["flow"]["law"], "measure", lambda s: s.flow.law.measure),
        normalizer.AbstractNormalizer: (content["flow"]["law"], "normalizer", lambda s: s.flow.law.normalizer),
        value.AbstractValue: (content["flow"]["law"], "value", lambda s: s.flow.law.value),
        gate.AbstractGate: (content["flow"]["law"], "gate", lambda s: s.flow.law.gate),
        starts.AbstractStart: (content, "start", lambda s: s.start),
    }
    if isinstance(noun, normalizer.AbstractNormalizer) and noun.needs_features:
        content["flow"]["law"]["score"] = described(SAMPLES[score.LogFeatures])
    for abstract, law in WRAPPED.items():
        if isinstance(noun, abstract):
            content["flow"]["law"] = described(law(noun))
            made = config.build(content).flow.law
            return next(
                v for v in jax.tree.leaves(made, is_leaf=lambda v: type(v) is type(noun)) if type(v) is type(noun)
            )
    for abstract, (holder, key, found) in holders.items():
        if isinstance(noun, abstract):
            holder[key] = described(noun)
            if abstract is starts.AbstractStart or not isinstance(
                noun, measure.AbstractMeasure | spaces.AbstractSpace | laws.AbstractLaw
            ):
                content["flow"]["space"] = {"kind": "Sphere"}
            return found(config.build(content))
    if isinstance(noun, dynamics.AbstractFlow | noise.AbstractNoise):
        plan |= {"dt": 0.1, "solver": "Layers" if isinstance(noun, dynamics.Layers) else "Euler", "save": 10}
        noisy = {**content["flow"], "kind": "NoisyFlow", "noise": described(noun)}
        content["flow"] = described(noun) if isinstance(noun, dynamics.AbstractFlow) else noisy
        flow = config.build(content).flow
        return flow if isinstance(noun, dynamics.AbstractFlow) else flow.noise
    if isinstance(noun, observables.AbstractObservable):
        content["flow"] = described(watchable(noun))
    key = "watch" if isinstance(noun, observables.AbstractObservable) else "stop"
    plan[key] = [described(noun)]
    return getattr(config.build(content).plan, key)[0]


@pytest.mark.parametrize("cls", [c for c in FINAL if c not in FROM_FILES], ids=lambda cls: cls.__name__)
def test_every_class_round_trips_through_a_config(cls):
    sample = SAMPLES[cls]
    again = rebuilt(sample)
    assert described(again) == described(sample)
    assert eqx.tree_equal(again, sample)


def parameters(noun, path=""):
    """Every floating parameter of a noun and of all that it is made of, by its path."""
    if eqx.is_inexact_array(noun):
        yield path, noun
    entries = enumerate(noun) if isinstance(noun, tuple) else ()
    if isinstance(noun, Declared):
        entries = ((field.name, getattr(noun, field.name)) for field in dataclasses.fields(noun))
    for name, entry in entries:
        yield from parameters(entry, f"{path}.{name}" if path else str(name))


TRANSFORMED = {
    "jit": lambda made, leaves: jax.make_jaxpr(made)(leaves),
    "grad": lambda made, leaves: jax.jvp(made, (leaves,), (leaves,)),
    "vmap": lambda made, leaves: jax.vmap(made)(jax.tree.map(lambda leaf: jnp.stack([leaf, leaf]), leaves)),
}


NOUNS = SAMPLES | {cls: cls() for cls in family(divergence.AbstractDivergence).values()}
NOUNS[pt.Plan] = pt.Plan(
    until=1.0, save=(0.5, 1.0), dt=0.1, coalesce=1e-3, watch=("clusters",), stop=(pt.OneCluster(0.1),)
)


@pytest.mark.parametrize("way", TRANSFORMED)
@pytest.mark.parametrize("cls", NOUNS, ids=lambda cls: f"{cls.__module__.split('.')[-1]}.{cls.__name__}")
def test_every_parameter_can_be_traced(cls, way):
    """Each by itself and all at once: constructors run again, and what they hold is what was traced."""
    sample = NOUNS[cls]
    leaves = dict(parameters(sample))
    assert len(leaves) == len([leaf for leaf in jax.tree.leaves(sample) if eqx.is_inexact_array(leaf)])

    def made(values):
        noun = dict(parameters(replaced(sample, values)))
        assert noun.keys() == leaves.keys()
        for path in values:
            assert isinstance(noun[path], jax.core.Tracer), path
        return values

    for some in ({}, *({path: leaf} for path, leaf in leaves.items()), leaves):
        if some:
            TRANSFORMED[way](made, some)


@members(spaces.AbstractSpace)
def test_space(cls):
    space = SAMPLES[cls]
    x, v = space.project(2 * tokens()), tokens(seed=1)
    np.testing.assert_allclose(space.project(x), x, atol=1e-15)
    tangent = space.tangent(x, v)
    np.testing.assert_allclose(space.tangent(x, tangent), tangent, atol=1e-15)
    step = 1e-4  # a tangent step leaves the space by its square at most
    assert jnp.max(jnp.abs(space.project(x + step * tangent) - (x + step * tangent))) < 10 * step**2
    distance = space.distance(x, x)
    np.testing.assert_allclose(distance, distance.T, atol=1e-14)
    assert jnp.all(jnp.diag(distance) == 0)
    assert jnp.all(distance[:, None, :] <= distance[:, :, None] + distance[None, :, :] + 1e-12)
    gradient = jax.jit(jax.grad(lambda x: jnp.sum(space.distance(x, x)) + jnp.sum(space.project(x))))(x)
    assert jnp.all(jnp.isfinite(gradient))


@members(score.AbstractScore)
def test_score_sees_pairs_only(cls):
    logits = SAMPLES[cls](tokens(), tokens(5, seed=1))
    pair = SAMPLES[cls](tokens()[2:3], tokens(5, seed=1)[3:4])
    assert logits.shape == (N, 5)
    np.testing.assert_allclose(logits[2, 3], pair[0, 0], rtol=1e-13)


@members(measure.AbstractMeasure)
def test_measure_of_a_tile_is_the_tile_of_the_measure(cls):
    i, j = jnp.arange(N), jnp.arange(N)
    whole = SAMPLES[cls].log_density(i, j, N)
    part = SAMPLES[cls].log_density(i[2:5], j[1:3], N)
    np.testing.assert_array_equal(part, whole[2:5, 1:3])
    assert not jnp.any(jnp.isnan(whole))


@eqx.filter_jit
def field_and_gradient(flow, x):
    """The field, and the gradient of a number made of it in tokens and parameters."""
    zero = jnp.zeros((), x.dtype)

    def number(arguments):
        field = arguments[0](zero, arguments[1])
        return jnp.sum(jnp.sin(field)), field

    (_, field), gradient = eqx.filter_value_and_grad(number, has_aux=True)((flow, x))
    return field, gradient


def with_summation(cls, way):
    """The field of a member at its place, and its gradient, by some summation."""
    return field_and_gradient(dataclasses.replace(law_with(cls), summation=way), tokens())


@pytest.mark.parametrize("cls", SLOTS, ids=lambda cls: cls.__name__)
def test_every_summation_equals_dense(cls):
    field, gradient = with_summation(cls, summation.Blocked(rows=3, columns=2))
    expected, expected_gradient = with_summation(cls, summation.Dense())
    np.testing.assert_allclose(field, expected, rtol=1e-12, atol=1e-14)
    for one, other in zip(jax.tree.leaves(gradient), jax.tree.leaves(expected_gradient), strict=True):
        np.testing.assert_allclose(one, other, rtol=1e-11, atol=1e-13)


@members(normalizer.AbstractNormalizer)
def test_blocks_of_any_size_equal_dense(cls):
    field, gradient = with_summation(cls, summation.Blocked(rows=100, columns=3))
    expected, expected_gradient = with_summation(cls, summation.Dense())
    np.testing.assert_allclose(field, expected, rtol=1e-12, atol=1e-14)
    for one, other in zip(jax.tree.leaves(gradient), jax.tree.leaves(expected_gradient), strict=True):
        np.testing.assert_allclose(one, other, rtol=1e-11, atol=1e-13)


@pytest.mark.parametrize("cls", SLOTS, ids=lambda cls: cls.__name__)
def test_every_law_has_a_right_gradient_and_both_precisions(cls):
    flow, x, zero = law_with(cls), tokens(), jnp.zeros(())
    jitted = eqx.filter_jit(flow, compiler_options=OPTIMIZED)
    field, gradients = with_summation(cls, summation.Dense())
    np.testing.assert_allclose(field, flow(zero, x), rtol=1e-12, atol=1e-14)  # jit changes nothing
    np.testing.assert_allclose(field, jitted(zero, x), atol=1e-7)  # nor do optimizations, but single bits of draws
    single = jitted(zero.astype(jnp.float32), x.astype(jnp.float32))
    assert single.dtype == jnp.float32
    np.testing.assert_allclose(single, field, rtol=2e-5, atol=2e-6)
    direction = tokens(seed=3)
    h = 1e-6  # central differences: error h^2 plus rounding 1e-16 / h, together below 1e-8
    numeric = (jitted(zero, x + h * direction) - jitted(zero, x - h * direction)) / (2 * h)
    _, exact = jax.jit(lambda x: jax.jvp(lambda x: flow(zero, x), (x,), (direction,)))(x)
    np.testing.assert_allclose(exact, numeric, rtol=1e-6, atol=1e-8)
    assert all(jnp.all(jnp.isfinite(leaf)) for leaf in jax.tree.leaves(gradients))


@pytest.mark.parametrize("cls", SLOTS, ids=lambda cls: cls.__name__)
def test_every_law_compiles_once(cls):
    traces = []

    @eqx.filter_jit
    def field(flow, x):
        traces.append(1)
        return flow(jnp.zeros(()), x)

    flow = law_with(cls)
    moved = jax.tree.map(lambda leaf: leaf * 1.01 if eqx.is_inexact_array(leaf) else leaf, flow)
    for one, x in ((flow, tokens()), (flow, tokens(seed=2)), (jax.tree.map(jnp.asarray, moved), tokens(seed=2))):
        field.lower(one, x)
    assert len(traces) == 1


@pytest.mark.parametrize("cls", [c for c in family(starts.AbstractStart).values() if c not in FROM_FILES])
def test_start_lies_on_the_space_and_depends_on_the_key(cls):
    start, space = SAMPLES[cls], pt.Sphere(2.0)
    x = start(space, jax.random.key(0))
    np.testing.assert_allclose(jnp.linalg.norm(x, axis=1), 2.0, rtol=1e-14)
    np.testing.assert_array_equal(x, start(space, jax.random.key(0)))
    if cls is not starts.Equiangular:  # which is a closed form
        assert jnp.any(x != start(space, jax.random.key(1)))


@members(dynamics.AbstractFlow)
def test_flow(cls):
    flow, zero = SAMPLES[cls], jnp.zeros(())
    key = jax.random.key(0) if flow.random else None
    x = flow.space.project(tokens()) if flow.of_tokens else STATES[cls]
    state = flow.begin(x, key)
    np.testing.assert_allclose(flow.tokens(state), x, atol=1e-15)
    rate = eqx.filter_jit(flow)(zero, state)
    assert jax.tree.structure(rate) == jax.tree.structure(state)
    pushed = flow.project(jax.tree.map(lambda leaf, change: leaf + 0.1 * change, state, rate))
    for once, twice in zip(jax.tree.leaves(pushed), jax.tree.leaves(flow.project(pushed)), strict=True):
        np.testing.assert_allclose(twice, once, atol=1e-15)
    single = flow(zero.astype(jnp.float32), flow.begin(x.astype(jnp.float32), key))
    assert {leaf.dtype for leaf in jax.tree.leaves(single)} == {jnp.dtype("float32")}
    gradients = eqx.filter_jit(eqx.filter_grad(lambda flow: jnp.sum(flow.tokens(flow(zero, pushed)) ** 2)))(flow)
    assert all(jnp.all(jnp.isfinite(leaf)) for leaf in jax.tree.leaves(gradients))


@members(observables.AbstractObservable)
def test_observable(cls):
    watched, zero = SAMPLES[cls], jnp.zeros(())
    flow = watchable(watched)
    start = flow.begin(on_sphere(), None)
    state = flow.project(jax.tree.map(lambda leaf, rate: leaf + 0.1 * rate, start, flow(zero, start)))
    observe = eqx.filter_jit(watched.observe)
    seen = observe(flow, zero, state)
    assert seen.shape == tuple({"token": N, "dim": D, "key": N, "head": flow.law.heads}[dim] for dim in watched.dims)
    assert jnp.all(jnp.isfinite(seen))
    order = jnp.asarray([3, 1, 6, 0, 2, 5, 4])
    if not watched.dims:
        shuffled = jax.tree.map(lambda leaf: leaf[order] if leaf.ndim else leaf, state)
        np.testing.assert_allclose(observe(flow, zero, shuffled), seen, rtol=1e-12)
    single = jax.tree.map(lambda leaf: leaf.astype(jnp.float32), (zero, state))
    single = observe(flow, *single)
    assert single.dtype == jnp.float32
    np.testing.assert_allclose(single, seen, rtol=1e-5)
    gradients = jax.jit(jax.grad(lambda state: jnp.sum(watched.observe(flow, zero, state))))(state)
    assert all(jnp.all(jnp.isfinite(leaf)) for leaf in jax.tree.leaves(gradients))


def test_the_contracts_can_fail():
    class _Broken(spaces.AbstractSpace):
        constrained = True

        def project(self, x):
            return 0.5 * x

        def tangent(self, x, v):
            return v

        def distance(self, x, y):
            return spaces.chord(x, y)

        def uniform(self, key, n, d):
            return jnp.zeros((n, d))

        def check_dim(self, d):
            pass

    SAMPLES[_Broken] = _Broken()
    try:
        with pytest.raises(AssertionError):
            test_space(_Broken)
        with pytest.raises(AssertionError):
            test_every_class_is_final_documented_and_sourced(_Broken)
    finally:
        del SAMPLES[_Broken]
