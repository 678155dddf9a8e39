"""What the flow commutes with, and what it keeps: permutations, rotations, masks, copies, hemispheres."""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from samples import MASSES, MATRIX, N, attention_flow, on_sphere
from scipy.stats import special_ortho_group

import particles as pt
from particles.summation import Blocked

ORDER = np.array([3, 1, 6, 0, 2, 5, 4])
ROTATION = jnp.asarray(special_ortho_group(3, seed=1).rvs())
ZERO = jnp.zeros(())


def commutes_with_permutations(flow):
    x = on_sphere()
    return np.allclose(flow(ZERO, x[ORDER]), flow(ZERO, x)[ORDER], atol=1e-13)


def commutes_with_rotations(flow):
    x = on_sphere()
    return np.allclose(flow(ZERO, x @ ROTATION.T), flow(ZERO, x) @ ROTATION.T, atol=1e-13)


def test_permutations():
    assert commutes_with_permutations(attention_flow())
    assert commutes_with_permutations(attention_flow(value=pt.values.Linear(MATRIX), measure=pt.NotSelf()))
    assert not commutes_with_permutations(attention_flow(measure=pt.Causal()))
    assert not commutes_with_permutations(attention_flow(measure=pt.Masses(MASSES)))


def test_rotations():
    assert commutes_with_rotations(attention_flow())
    assert commutes_with_rotations(attention_flow(measure=pt.Causal(), normalizer=pt.Mean()))
    assert not commutes_with_rotations(attention_flow(value=pt.values.Linear(MATRIX)))


def test_rotations_commute_with_the_whole_run():
    plan = pt.Plan(until=3.0, save=2, rtol=1e-10, atol=1e-12)
    x = on_sphere(20)
    turned = pt.solve(attention_flow(), x @ ROTATION.T, plan).final
    np.testing.assert_allclose(turned, pt.solve(attention_flow(), x, plan).final @ ROTATION.T, atol=1e-8)


def sees_only_the_past(flow):
    """Whether the influence of later tokens on earlier ones is zero to the last bit, along a whole run."""
    plan = pt.Plan(until=1.0, save=1, dt=0.125)

    def end(x):
        final = pt.solve(flow, x, plan, adjoint="forward").final
        return final, final

    followed = jax.jit(jax.jacfwd(end, has_aux=True))
    (influence, kept), (_, other) = followed(on_sphere()), followed(on_sphere().at[4].set(on_sphere(seed=5)[4]))
    jacobian = np.abs(np.asarray(influence)).max(axis=(1, 3))
    same = np.array_equal(other[:4], kept[:4])
    return same and bool(np.all(jacobian[np.triu_indices(N, 1)] == 0)) and bool(np.all(jacobian[1:, 0] > 0))


@pytest.mark.parametrize("summation", [pt.Dense(), Blocked(rows=3, columns=2)])
def test_causal_influence_is_triangular(summation):
    assert sees_only_the_past(dataclasses.replace(attention_flow(measure=pt.Causal()), summation=summation))


def test_causal_control():
    assert not sees_only_the_past(attention_flow())


def test_the_first_causal_token_never_moves():
    run = pt.solve(attention_flow(measure=pt.Causal()), on_sphere(), pt.Plan(until=5.0, save=2))
    np.testing.assert_allclose(run.tokens[:, 0], run.tokens[:1, 0].repeat(3, axis=0), atol=1e-14)


def copies_do_not_matter(flow):
    x = on_sphere()
    twice = flow(ZERO, jnp.repeat(x, 2, axis=0))
    return np.allclose(twice, np.repeat(flow(ZERO, x), 2, axis=0), atol=1e-13)


@pytest.mark.parametrize("normalizer", [pt.Softmax(), pt.Mean()])
def test_copies_of_all_tokens_change_nothing(normalizer):
    slots = {"normalizer": normalizer, "value": pt.values.Linear(MATRIX)}
    assert copies_do_not_matter(attention_flow(**slots))
    assert not copies_do_not_matter(attention_flow(**slots, measure=pt.NotSelf()))  # the twin becomes visible


@pytest.mark.parametrize("normalizer", [pt.Softmax(), pt.Mean()])
def test_splitting_a_token_with_its_mass_changes_nothing(normalizer):
    x = on_sphere()
    whole = attention_flow(normalizer=normalizer, measure=pt.Masses(MASSES))(ZERO, x)
    split_x = jnp.concatenate([x, x[3:4]])
    split = np.append(MASSES, 0.4 * MASSES[3])
    split[3] *= 0.6
    parted = attention_flow(normalizer=normalizer, measure=pt.Masses(split))(ZERO, split_x)
    np.testing.assert_allclose(parted[:N], whole, atol=1e-13)
    np.testing.assert_allclose(parted[N], whole[3], atol=1e-13)
    uniform = attention_flow(normalizer=normalizer)(ZERO, split_x)
    assert np.abs(uniform[:N] - attention_flow(normalizer=normalizer)(ZERO, x)).max() > 1e-3  # without masses it does


def stays_in_the_hemisphere(flow):
    """Whether min_i <x_i, w> never falls along the run: 2312.10794, the cone argument."""
    x = on_sphere(20)
    x = x.at[:, 2].set(jnp.abs(x[:, 2]))
    run = pt.solve(flow, x, pt.Plan(until=3.0, save=60, rtol=1e-9, atol=1e-11))
    assert run.status == pt.Status.done
    return bool(np.all(np.diff(run.tokens[..., 2].min(axis=1)) > -1e-8))


def test_hemisphere():
    assert stays_in_the_hemisphere(attention_flow())
    assert stays_in_the_hemisphere(attention_flow(measure=pt.Causal()))
    assert not stays_in_the_hemisphere(attention_flow(value=pt.values.Linear(-1.0)))


def test_hull_shrinks_with_differences_in_euclidean_space():
    x = 3 * on_sphere(20, 2)
    directions = jnp.asarray([[np.cos(a), np.sin(a)] for a in np.linspace(0, 2 * np.pi, 12, endpoint=False)])

    def support_never_grows(value):
        flow = pt.Flow(pt.Euclidean(), pt.Attention(pt.DotProduct(1.0), value=value))
        run = pt.solve(flow, x, pt.Plan(until=1.0, save=20, rtol=1e-9, atol=1e-11))
        support = jnp.max(run.tokens @ directions.T, axis=1)
        return bool(jnp.all(jnp.diff(support, axis=0) < 1e-8))

    assert support_never_grows(pt.Difference())
    assert not support_never_grows(pt.Difference(-1.0))
