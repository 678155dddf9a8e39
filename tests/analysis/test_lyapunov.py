"""Lyapunov exponents, fixed points and symmetries, against linear algebra and closed forms."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy.linalg import expm

import particles as pt
from particles.analysis import FieldMap, FlowMap
from particles.analysis.lyapunov import lyapunov
from particles.analysis.stability import stability
from particles.analysis.symmetry import symmetries

N, D = 4, 3
ATTENTION = pt.Attention(pt.DotProduct(2.0))
FLOW = pt.Flow(pt.Sphere(), ATTENTION)
X0 = pt.Sphere().uniform(jax.random.key(0), N, D)
TURN = np.array([[0.0, -1.0, 0.0], [1.0, 0.0, 0.0], [0.0, 0.0, 0.0]])


def plan(until, save, **more):
    return pt.Plan(until=until, save=save, rtol=1e-8, atol=1e-10, **more)


def linear(matrix):
    """dx_i/dt = matrix x_i, for each token by itself."""
    return pt.Flow(pt.Euclidean(), pt.Drift(matrix))


def test_a_linear_field_has_the_real_parts_of_its_eigenvalues():
    matrix = np.diag([0.3, -0.2, -0.9]) + 0.7 * TURN
    found = lyapunov(linear(matrix), X0, plan(40.0, 40), tolerance=0.05)
    expected = np.sort(np.repeat(np.linalg.eigvals(matrix).real, N))[::-1]
    np.testing.assert_allclose(found.exponents, expected, atol=0.03)
    assert bool(found.converged.all())
    np.testing.assert_allclose(float(found.divergence), N * np.trace(matrix), rtol=1e-9)
    np.testing.assert_allclose(float(found.exponents.sum()), N * np.trace(matrix), rtol=1e-6)
    broken = np.sort(np.repeat(np.diag(matrix), N))[::-1]  # without the turning
    assert np.abs(np.asarray(found.exponents) - broken).max() > 0.2


@pytest.fixture(scope="module")
def consensus():
    """Softmax attention from its start to where all tokens have met, by depth 16; the frame turns towards it by 24."""
    return lyapunov(FLOW, X0, plan(40.0, 40), transient=0.6)


def test_exponents_add_up_to_the_mean_divergence_of_the_field(consensus):
    run = pt.solve(FLOW, X0, plan(40.0, 640))
    kept = np.asarray(run.times) >= 24.0 - 1e-9
    clouds = run.tokens[kept][::8]
    jacobians = np.asarray(jax.lax.map(FieldMap(FLOW).jacobian, clouds)).reshape(len(clouds), N * D, N * D)
    traces = np.trace(jacobians, axis1=1, axis2=2)  # displacements off the sphere count for nothing
    expected = np.trapezoid(traces, dx=0.5) / 16.0
    np.testing.assert_allclose(float(consensus.divergence), expected, rtol=1e-4)
    np.testing.assert_allclose(float(consensus.exponents.sum()), float(consensus.divergence), rtol=1e-6)


def test_consensus_is_the_linearization_at_a_cluster(consensus):
    # where all tokens are one, displacements are averaged: 0 for the mean, -1 for differences
    expected = np.repeat([0.0, -1.0], [D - 1, (N - 1) * (D - 1)])
    np.testing.assert_allclose(consensus.exponents, expected, atol=5e-3)
    at = stability(FLOW, consensus.final, tolerance=1e-5)
    np.testing.assert_allclose(at.eigenvalues.real, expected, atol=1e-5)
    assert at.stable and at.zeros == at.expected_zeros == D - 1
    repelled = pt.Flow(pt.Sphere(), pt.Attention(pt.DotProduct(2.0), value=pt.values.Linear(-1.0)))
    away = stability(repelled, consensus.final, tolerance=1e-5)
    assert not away.stable and away.unstable == (N - 1) * (D - 1)


def test_what_is_no_fixed_point_is_told():
    assert not bool(stability(FLOW, X0).converged)
    assert not stability(FLOW, X0).stable


def test_a_part_of_the_spectrum_is_its_beginning(consensus):
    few = lyapunov(FLOW, X0, plan(40.0, 40), count=3, transient=0.6)
    np.testing.assert_allclose(few.exponents, consensus.exponents[:3], atol=5e-3)
    assert np.isnan(float(few.divergence))


def test_layers_have_the_spectrum_of_their_derivatives():
    network = pt.Layers(pt.Drift(np.diag([0.5, -0.2, -0.4])), pt.norms.Residual())
    found = lyapunov(network, X0, pt.Plan(until=30.0, save=15, solver="Layers", dt=0.5))
    expected = np.sort(np.repeat(np.log1p(0.5 * np.array([0.5, -0.2, -0.4])) / 0.5, N))[::-1]
    np.testing.assert_allclose(found.exponents, expected, atol=0.05)


def test_inertia_doubles_the_spectrum():
    # x'' = -x - friction x': both eigenvalues of a pair have the real part -friction / 2
    flow = pt.SecondOrder(pt.Euclidean(), pt.Drift(-np.eye(D)), 0.4)
    found = lyapunov(flow, X0, plan(60.0, 30), tolerance=0.1)
    assert found.exponents.shape == (2 * N * D,)
    np.testing.assert_allclose(found.exponents, -0.2, atol=0.05)


@pytest.mark.parametrize(
    ("flow", "generators"),
    [
        (FLOW, 3),
        (pt.Flow(pt.Sphere(), pt.Attention(pt.DotProduct(2.0), value=pt.values.Linear(np.diag([1.0, 1.0, 2.0])))), 1),
        (pt.Flow(pt.Sphere(), pt.Attention(pt.DotProduct(2.0), value=pt.values.Linear(np.diag([1.0, 3.0, 2.0])))), 0),
        (pt.Flow(pt.Euclidean(), pt.Attention(pt.SquaredDistance(1.0), value=pt.values.Difference(1.0))), 6),
        (pt.Flow(pt.Euclidean(), pt.Attention(pt.SquaredDistance(1.0))), 3),
    ],
    ids=["sphere", "one axis", "no axis", "flat", "flat, with an origin"],
)
def test_symmetries_are_found_from_the_field(flow, generators):
    found = symmetries(flow, X0)
    assert len(found.generators) == found.moved == generators
    zero = jnp.zeros(())
    for generator in np.asarray(found.generators):
        turn = expm(generator[:, :D])
        shift = expm(np.vstack([generator, np.zeros(D + 1)]))[:D, D]  # of the motion x -> turn x + shift
        moved = X0 @ turn.T + shift[None, :]
        np.testing.assert_allclose(flow(zero, moved), flow(zero, X0) @ turn.T, atol=1e-10)


def test_bad_input_is_told():
    noisy = pt.NoisyFlow(pt.Sphere(), ATTENTION, pt.noises.Brownian(0.1))
    with pytest.raises(ValueError, match="without noise"):
        lyapunov(noisy, X0, pt.Plan(until=1.0, save=4, solver="Heun", dt=0.1))
    with pytest.raises(ValueError, match="`count` must be between 1 and 8"):
        lyapunov(FLOW, X0, plan(1.0, 8), count=9)
    with pytest.raises(ValueError, match="frames are left"):
        lyapunov(FLOW, X0, plan(1.0, 3), transient=0.5)
    with pytest.raises(ValueError, match="bounded on one side"):
        lyapunov(pt.Flow(pt.Ball(), ATTENTION), 0.5 * X0, plan(1.0, 8))
    with pytest.raises(ValueError, match="SecondOrder"):
        symmetries(pt.SecondOrder(pt.Sphere(), ATTENTION, 0.5), X0)


def test_a_flow_map_is_differentiated_both_ways():
    through = FlowMap(FLOW, pt.Plan(until=1.0, save=1, rtol=1e-9))
    w = jax.random.normal(jax.random.key(1), X0.shape)
    forward = jnp.einsum("id,idje->je", w, through.jacobian(X0))
    np.testing.assert_allclose(forward, through.vjp(X0, w), atol=1e-12)
