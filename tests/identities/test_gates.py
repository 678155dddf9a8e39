"""Gates and what they are the same as: null tokens, priors, hidden diagonals, mobilities, clocks.

A scalar gate adds no weights that were not there. Derived by hand from the law; the gates are those of 2505.06708.
"""

import equinox as eqx
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from reference import ALGEBRAIC, CONTROL, DENSE, ZERO, field, moved, off, softmax, tangent, weights
from samples import MASSES, MATRIX, WIDE, N, attention_flow, on_sphere, tokens

import particles as pt

BETA, VECTOR = 3.0, np.array([0.7, -1.2, 0.4])
SCORE, MEASURE, VALUE = pt.DotProduct(BETA, form=MATRIX), pt.Masses(MASSES), pt.values.Linear(MATRIX)
X = tokens()
SCORES = BETA * np.asarray(X) @ MATRIX @ np.asarray(X).T
FREE = np.log(np.exp(SCORES) @ MASSES)


@eqx.filter_jit
def rows_with_null_tokens(law, levels):
    """Row i with a null token of score levels[i]."""
    one = lambda level: eqx.tree_at(lambda law: law.normalizer.score, law, level)(ZERO, X, DENSE)  # noqa: E731
    return jnp.diagonal(eqx.filter_vmap(one)(levels)).T


@settings(max_examples=10, deadline=None, derandomize=True)
@given(st.floats(-3, 3))
def test_a_scalar_query_gate_is_a_null_token(bias):
    gated = field(pt.Attention(SCORE, MEASURE, value=VALUE, gate=pt.gates.Activation(VECTOR, bias)), X)
    logit = np.asarray(X) @ VECTOR + bias
    null = pt.Attention(SCORE, MEASURE, pt.normalizers.Null(0.0, 1.0), VALUE)
    assert off(gated, rows_with_null_tokens(null, jnp.asarray(FREE - logit))) < ALGEBRAIC
    assert off(gated, rows_with_null_tokens(null, jnp.asarray(-logit))) > CONTROL * ALGEBRAIC


@settings(max_examples=10, deadline=None, derandomize=True)
@given(st.floats(-3, 3))
def test_a_scalar_value_gate_is_a_prior_and_a_query_gate(bias):
    gated = field(pt.Attention(SCORE, MEASURE, value=VALUE, value_gate=pt.gates.Activation(VECTOR, bias)), X)
    gamma = 1 / (1 + np.exp(-(np.asarray(X) @ VECTOR + bias)))
    prior = MEASURE * pt.measures.Given(np.tile(gamma, (N, 1)))
    passed = softmax(SCORES, MASSES) @ gamma
    mixed = lambda factors: field(pt.Attention(SCORE, prior, value=VALUE, gate=pt.gates.PerToken(factors)), X)  # noqa: E731
    assert off(gated, mixed(passed)) < ALGEBRAIC
    assert off(gated, mixed(np.ones(N))) > CONTROL * ALGEBRAIC


@pytest.mark.parametrize("measure", [pt.measures.Uniform(), MEASURE, pt.Window(2)])
def test_hiding_the_diagonal_is_a_mobility_where_a_token_pulls_not_at_itself(measure):
    x = on_sphere()
    without, gate = measure * pt.NotSelf(), pt.gates.WithoutSelf()

    def agree(value, project):
        hidden = field(pt.Attention(SCORE, without, value=value), x)
        gated = field(pt.Attention(SCORE, measure, value=value, gate=gate), x)
        return off(*(tangent(x, u) if project else u for u in (gated, hidden)))

    assert agree(pt.Difference(MATRIX), False) < ALGEBRAIC
    assert agree(pt.values.Identity(), True) < ALGEBRAIC
    assert agree(pt.values.Identity(), False) > CONTROL * ALGEBRAIC
    assert agree(VALUE, True) > CONTROL * ALGEBRAIC


@pytest.mark.parametrize("value", [VALUE, pt.Difference(MATRIX)])
def test_softmax_is_the_mean_with_the_mobility_one_over_the_partition(value):
    expected = field(pt.Attention(SCORE, MEASURE, value=value), X)
    mean = pt.Attention(SCORE, MEASURE, pt.Mean(), value)
    gated = pt.Attention(SCORE, MEASURE, pt.Mean(), value, pt.gates.InversePartition())
    assert off(field(gated, X), expected) < ALGEBRAIC
    assert off(np.asarray(field(mean, X)) / np.exp(FREE)[:, None], expected) < ALGEBRAIC
    assert off(np.asarray(field(mean, X)) / np.exp(FREE).mean(), expected) > CONTROL * ALGEBRAIC


def test_the_offset_of_the_mean_is_a_clock():
    plain, slow = (field(pt.Attention(SCORE, MEASURE, pt.Mean(offset)), X) for offset in (0.0, 2.5))
    assert off(np.exp(2.5) * np.asarray(slow), plain) < ALGEBRAIC
    assert off(slow, plain) > CONTROL * ALGEBRAIC


def test_a_constant_gate_is_a_clock():
    def end(gate, until):
        return moved(attention_flow(gate=gate), on_sphere(), until)

    expected = end(pt.gates.Constant(1.0), 2.0 * 0.6)
    assert off(end(pt.gates.Constant(0.6), 2.0), expected) < 1e-8
    assert off(end(pt.gates.PerToken(np.linspace(0.5, 0.7, N)), 2.0), expected) > 1e-6


def test_a_gate_of_one_changes_no_bit_and_a_gate_of_zero_freezes():
    plain = field(pt.Attention(SCORE, MEASURE, value=VALUE), X)
    np.testing.assert_array_equal(
        field(pt.Attention(SCORE, MEASURE, value=VALUE, gate=pt.gates.Constant(1.0)), X), plain
    )
    some = field(pt.Attention(SCORE, MEASURE, value=VALUE, gate=pt.gates.PerToken([0.0, *np.ones(N - 1)])), X)
    np.testing.assert_array_equal(some, plain.at[0].set(0))


@pytest.mark.parametrize("activation", ["sigmoid", "softplus", "hard_sigmoid"])
def test_elementwise_gates_stand_between_value_and_output_maps(activation):
    x, w = np.asarray(X), softmax(SCORES, MASSES)
    sigma = {
        "sigmoid": lambda z: 1 / (1 + np.exp(-z)),
        "softplus": lambda z: np.log1p(np.exp(z)),
        "hard_sigmoid": lambda z: np.clip((z + 3) / 6, 0, 1),
    }[activation]
    g = sigma(x @ WIDE.T + 0.3)
    gate = pt.gates.Activation(WIDE, 0.3, activation)
    low = pt.LowRank(WIDE.T, WIDE[::-1])
    on_query = field(pt.Attention(SCORE, MEASURE, value=low, gate=gate), X)
    on_value = field(pt.Attention(SCORE, MEASURE, value=low, value_gate=gate), X)
    offered = x @ WIDE[::-1].T
    assert off(on_query, (g * (w @ offered)) @ WIDE) < ALGEBRAIC
    assert off(on_value, (w @ (g * offered)) @ WIDE) < ALGEBRAIC
    assert off(on_query, (w @ (g * offered)) @ WIDE) > CONTROL * ALGEBRAIC


def test_an_elementwise_value_gate_weighs_differences():
    x, w = np.asarray(X), softmax(SCORES, MASSES)
    gate = pt.gates.Activation(MATRIX, VECTOR)
    g = 1 / (1 + np.exp(-(x @ MATRIX.T + VECTOR)))
    difference = (x[None] - x[:, None]) @ MATRIX.T
    found = field(pt.Attention(SCORE, MEASURE, value=pt.Difference(MATRIX), value_gate=gate), X)
    assert off(found, np.einsum("ij,jk,ijk->ik", w, g, difference)) < ALGEBRAIC
    assert off(found, np.einsum("ij,ik,ijk->ik", w, g, difference)) > CONTROL * ALGEBRAIC


def test_gates_leave_the_weights_alone():
    law = pt.Attention(SCORE, MEASURE, value=VALUE, gate=pt.gates.Activation(VECTOR), value_gate=pt.gates.Constant(2.0))
    assert off(weights(law, X), softmax(SCORES, MASSES)) < ALGEBRAIC
