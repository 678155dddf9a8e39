"""What must hold for every final class, present and future."""

import copy
import dataclasses
import inspect

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from samples import SAMPLES, D, N, attention_flow, on_sphere, tokens

import particles as pt
from particles import config, laws, observables, spaces, starts, stopping, summation
from particles.declaration import Declared, described, family
from particles.laws import measure, normalizer, score, value
from particles.record.reader import bibliography

FAMILIES = (
    spaces.AbstractSpace,
    summation.AbstractSummation,
    laws.AbstractLaw,
    score.AbstractScore,
    measure.AbstractMeasure,
    normalizer.AbstractNormalizer,
    value.AbstractValue,
    starts.AbstractStart,
    observables.AbstractObservable,
    stopping.AbstractStop,
)
FINAL = [cls for abstract in FAMILIES for cls in family(abstract).values()]
FROM_FILES = (starts.Given,)  # its samples are files, in test_starts


def members(abstract):
    return pytest.mark.parametrize("cls", family(abstract).values(), ids=lambda cls: cls.__name__)


@pytest.mark.parametrize("cls", FINAL, ids=lambda cls: cls.__name__)
def test_every_class_is_final_documented_and_sourced(cls):
    assert not family(cls), "a final class has subclasses"
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
        starts.AbstractStart: (content, "start", lambda s: s.start),
    }
    for abstract, (holder, key, found) in holders.items():
        if isinstance(noun, abstract):
            holder[key] = described(noun)
            if abstract is starts.AbstractStart or not isinstance(
                noun, measure.AbstractMeasure | spaces.AbstractSpace | laws.AbstractLaw
            ):
                content["flow"]["space"] = {"kind": "Sphere"}
            return found(config.build(content))
    key = "watch" if isinstance(noun, observables.AbstractObservable) else "stop"
    plan[key] = [described(noun)]
    return getattr(config.build(content).plan, key)[0]


@pytest.mark.parametrize("cls", [c for c in FINAL if c not in FROM_FILES], ids=lambda cls: cls.__name__)
def test_every_class_round_trips_through_a_config(cls):
    sample = SAMPLES[cls]
    again = rebuilt(sample)
    assert described(again) == described(sample)
    assert eqx.tree_equal(again, sample)


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
    gradient = jax.grad(lambda x: jnp.sum(space.distance(x, x)) + jnp.sum(space.project(x)))(x)
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


def law_with(cls) -> pt.Flow:
    """A flow that has a member of some family of laws or slots at its place."""
    slot = {
        "AbstractScore": "score",
        "AbstractMeasure": "measure",
        "AbstractNormalizer": "normalizer",
        "AbstractValue": "value",
    }
    sample = SAMPLES[cls]
    if isinstance(sample, laws.AbstractLaw):
        return pt.Flow(pt.Euclidean(), sample)
    name = next(slot[base.__name__] for base in cls.__mro__ if base.__name__ in slot)
    return pt.Flow(pt.Euclidean(), dataclasses.replace(pt.Attention(pt.DotProduct(2.0)), **{name: sample}))


SLOTS = [cls for abstract in FAMILIES[2:7] for cls in family(abstract).values()]


@pytest.mark.parametrize("cls", SLOTS, ids=lambda cls: cls.__name__)
@pytest.mark.parametrize(
    "way", [summation.Blocked(rows=3, columns=2), summation.Blocked(rows=100, columns=3), summation.Auto(0)]
)
def test_every_summation_equals_dense(cls, way):
    flow, x = law_with(cls), tokens()
    dense = dataclasses.replace(flow, summation=summation.Dense())
    other = dataclasses.replace(flow, summation=way)
    zero = jnp.zeros(())
    np.testing.assert_allclose(other(zero, x), dense(zero, x), rtol=1e-12, atol=1e-14)
    loss = lambda flow, x: jnp.sum(jnp.sin(flow(zero, x)))  # noqa: E731
    for ours, theirs in zip(
        jax.tree.leaves(eqx.filter_grad(lambda a: loss(*a))((other, x))),
        jax.tree.leaves(eqx.filter_grad(lambda a: loss(*a))((dense, x))),
        strict=True,
    ):
        np.testing.assert_allclose(ours, theirs, rtol=1e-11, atol=1e-13)


@pytest.mark.parametrize("cls", SLOTS, ids=lambda cls: cls.__name__)
def test_every_law_has_a_right_gradient_and_both_precisions(cls):
    flow, x, zero = law_with(cls), tokens(), jnp.zeros(())
    field = eqx.filter_jit(flow)(zero, x)
    np.testing.assert_allclose(field, flow(zero, x), rtol=1e-12, atol=1e-14)  # jit changes nothing
    single = flow(zero.astype(jnp.float32), x.astype(jnp.float32))
    assert single.dtype == jnp.float32
    np.testing.assert_allclose(single, field, rtol=2e-5, atol=2e-6)
    direction = tokens(seed=3)
    h = 1e-6  # central differences: error h^2 plus rounding 1e-16 / h, together below 1e-8
    numeric = (flow(zero, x + h * direction) - flow(zero, x - h * direction)) / (2 * h)
    _, exact = jax.jvp(lambda x: flow(zero, x), (x,), (direction,))
    np.testing.assert_allclose(exact, numeric, rtol=1e-6, atol=1e-8)
    gradients = eqx.filter_grad(lambda flow: jnp.sum(flow(zero, x) ** 2))(flow)
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
        field(one, x)
    assert len(traces) == 1


@pytest.mark.parametrize("cls", [c for c in family(starts.AbstractStart).values() if c not in FROM_FILES])
def test_start_lies_on_the_space_and_depends_on_the_key(cls):
    start, space = SAMPLES[cls], pt.Sphere(2.0)
    x = start(space, jax.random.key(0))
    np.testing.assert_allclose(jnp.linalg.norm(x, axis=1), 2.0, rtol=1e-14)
    np.testing.assert_array_equal(x, start(space, jax.random.key(0)))
    if cls is not starts.Equiangular:  # which is a closed form
        assert jnp.any(x != start(space, jax.random.key(1)))


@members(observables.AbstractObservable)
def test_observable(cls):
    watched, x = SAMPLES[cls], on_sphere()
    flow, zero = attention_flow(), jnp.zeros(())
    seen = watched(flow, zero, x)
    assert seen.shape == tuple({"token": N, "dim": D}[dim] for dim in watched.dims)
    assert jnp.all(jnp.isfinite(seen))
    order = jnp.asarray([3, 1, 6, 0, 2, 5, 4])
    if not watched.dims:
        np.testing.assert_allclose(watched(flow, zero, x[order]), seen, rtol=1e-12)
    single = watched(flow, zero.astype(jnp.float32), x.astype(jnp.float32))
    assert single.dtype == jnp.float32
    np.testing.assert_allclose(single, seen, rtol=1e-5)
    gradient = jax.grad(lambda x: jnp.sum(watched(flow, zero, x)))(x)
    assert jnp.all(jnp.isfinite(gradient))


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
