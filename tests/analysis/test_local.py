"""Local Lipschitz constants, found without a matrix, against derivatives worked out as matrices.

The largest singular value is SciPy's. The norm from the largest displacement to the largest displacement is
max_i max_{|w|=1} sum_j |J_ij^T w|, that of sums of displacements is the same of the transpose: here by the power method
from every row and many directions, and exact on the line, where w is a sign.
"""

import sys

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from samples import MATRIX, on_sphere, tokens

import particles as pt
from particles.analysis import FieldMap, FlowMap, LawMap, LayerMap, LinearMap, local_lipschitz
from particles.laws import normalizer, value
from particles.studies import Lipschitz

ABSOLUTE = {"euclidean": 2, "max": np.inf, "W1": 1}  # the norms as those of a vector of sizes of tokens


def law_map(law):
    return LawMap(pt.Flow(pt.Euclidean(), law))


SOFTMAX = pt.Attention(pt.DotProduct(3.0, form=MATRIX), value=value.Linear(MATRIX.T))
MAPS = {
    "softmax": (law_map(SOFTMAX), 2 * tokens()),
    "L2": (law_map(pt.Attention(pt.SquaredDistance(4.0))), 2 * tokens()),
    "Sinkhorn": (
        law_map(pt.Attention(pt.DotProduct(2.0), normalizer=normalizer.Sinkhorn(1.0, tolerance=1e-13))),
        tokens(),
    ),
    "causal": (law_map(pt.Attention(pt.DotProduct(4.0), measure=pt.Causal())), 2 * tokens()),
    "heads": (law_map(SOFTMAX + pt.Attention(pt.DotProduct(1.0))), tokens()),
    "field": (FieldMap(pt.Flow(pt.Sphere(), pt.Attention(pt.DotProduct(4.0)))), on_sphere()),
    "layer": (LayerMap(pt.Layers(pt.Attention(pt.DotProduct(4.0))), 0.5), on_sphere()),
}


def row_norm(matrix, directions=60, steps=150):
    """max_i max_w sum_j |J_ij^T w| for J `[n d n d]`."""
    best, d = 0.0, matrix.shape[1]
    drawn = np.random.default_rng(3).normal(size=(directions, d))
    for row in matrix:
        w = drawn / np.linalg.norm(drawn, axis=1, keepdims=True)
        for _ in range(steps):
            pulled = np.einsum("djb,sd->sjb", row, w)
            units = pulled / np.maximum(np.linalg.norm(pulled, axis=2, keepdims=True), 1e-300)
            w = np.einsum("djb,sjb->sd", row, units)
            w /= np.maximum(np.linalg.norm(w, axis=1, keepdims=True), 1e-300)
        best = max(best, np.linalg.norm(np.einsum("djb,sd->sjb", row, w), axis=2).sum(axis=1).max())
    return best


def dense_norm(matrix, norm):
    n, d = matrix.shape[:2]
    if norm == "euclidean":
        return np.linalg.norm(matrix.reshape(n * d, n * d), 2)
    return row_norm(matrix if norm == "max" else matrix.transpose(2, 3, 0, 1))


def size(v, norm):
    return np.linalg.norm(np.linalg.norm(np.asarray(v), axis=1), ABSOLUTE[norm])


@eqx.filter_jit
def matrix(moved, x):
    return moved.jacobian(x)


def check(found, moved, x, dense, norm):
    assert bool(found.converged)
    assert float(found.value) == pytest.approx(dense_norm(dense, norm), rel=1e-6)
    assert size(found.direction, norm) == pytest.approx(1, rel=1e-9)
    assert size(found.image, norm) == pytest.approx(float(found.value), rel=1e-9)
    np.testing.assert_allclose(np.einsum("idje,je->id", dense, found.direction), found.image, atol=1e-8)
    np.testing.assert_allclose(moved.along(x, found.direction), found.direction, atol=1e-12)


@pytest.mark.parametrize("name", MAPS)
def test_the_largest_singular_value_is_that_of_the_matrix(name):
    moved, x = MAPS[name]
    check(local_lipschitz(moved, x), moved, x, np.asarray(matrix(moved, x)), "euclidean")


@pytest.mark.parametrize("norm", ["max", "W1"])
def test_mixed_norms_are_those_of_the_matrix(norm):
    free, x = MAPS["causal"]
    check(local_lipschitz(free, x, norm), free, x, np.asarray(matrix(free, x)), norm)
    for moved, x in MAPS.values():
        dense = np.asarray(matrix(moved, x))
        check(local_lipschitz(LinearMap(jnp.asarray(dense)), x, norm), moved, x, dense, norm)


START = pt.starts.Uniform(6, 3)
GROWING = pt.Flow(pt.Sphere(), pt.Attention(pt.DotProduct(3.0)))


@pytest.fixture(scope="module")
def way():
    """A flow from its start to depth 1, and its derivative as a matrix."""
    moved = FlowMap(GROWING, pt.Plan(until=1.0, save=1, rtol=1e-8))
    x = START(pt.Sphere(), jax.random.key(0))
    return moved, x, np.asarray(matrix(moved, x))


@pytest.mark.slow
def test_the_constant_of_a_flow_on_the_sphere_is_that_of_the_matrix(way):
    moved, x, dense = way
    check(local_lipschitz(moved, x), moved, x, dense, "euclidean")


def test_a_stretched_displacement_is_what_the_map_does_to_near_tokens():
    moved, x = MAPS["causal"]
    for norm in ABSOLUTE:
        found, step = local_lipschitz(moved, x, norm), 1e-6
        apart = moved(x + step * found.direction) - moved(x - step * found.direction)
        assert size(apart, norm) / (2 * step) == pytest.approx(float(found.value), rel=1e-7)


def test_one_moved_token_attains_the_constant_of_sums():
    moved, x = MAPS["causal"]
    direction = np.linalg.norm(local_lipschitz(moved, x, "W1").direction, axis=1)
    assert np.sum(direction > 0) == 1
    assert direction.max() == pytest.approx(1)


def test_on_the_line_the_norms_are_sums_of_sizes():
    x = jnp.asarray(np.random.default_rng(2).normal(size=(20, 1)))
    moved = law_map(pt.Attention(pt.DotProduct(3.0)))
    dense = np.abs(np.asarray(matrix(moved, x)).reshape(20, 20))
    assert float(local_lipschitz(moved, x, "max").value) == pytest.approx(dense.sum(axis=1).max(), rel=1e-9)
    assert float(local_lipschitz(moved, x, "W1").value) == pytest.approx(dense.sum(axis=0).max(), rel=1e-9)


def test_distances_of_clouds_and_of_labeled_tokens_are_euclidean():
    moved, x = MAPS["causal"]
    values = {float(local_lipschitz(moved, x, norm).value) for norm in ("euclidean", "W2", "conditional")}
    assert len(values) == 1


def clustered(n, apart, seed=0):
    """The matrix of a linear map with many singular values within a small distance of the largest."""
    rng = np.random.default_rng(seed)
    left, right = (np.linalg.qr(rng.normal(size=(2 * n, 2 * n)))[0] for _ in range(2))
    values = np.concatenate([1 - apart * np.arange(n) / n, rng.uniform(0, 0.5, n)])
    return LinearMap(jnp.asarray((left * values @ right).reshape(n, 2, n, 2)))


def test_many_sweeps_resolve_singular_values_that_are_close():
    moved, x = clustered(60, 0.05), jnp.zeros((60, 2))
    found = local_lipschitz(moved, x, sweep=20)
    assert bool(found.converged) and int(found.products) > 40
    assert float(found.value) == pytest.approx(1, abs=1e-12)
    residual = moved.vjp(x, found.image / found.value) - found.value * found.direction
    assert float(jnp.linalg.norm(residual)) <= 2e-8


def test_a_tolerance_that_is_not_met_is_reported():
    moved, x = clustered(60, 1e-3), jnp.zeros((60, 2))
    found = local_lipschitz(moved, x, sweep=20, products=80)
    assert not bool(found.converged)
    assert float(found.residual) > 1e-8
    assert float(found.value) <= 1 + 1e-12
    assert not bool(local_lipschitz(*MAPS["causal"], "max", products=10).converged)


def test_derivatives_without_full_rank():
    n, d = 5, 3
    flat = jnp.zeros((n, d, n, d))
    for norm in ABSOLUTE:
        nothing = local_lipschitz(LinearMap(flat), jnp.zeros((n, d)), norm)
        assert float(nothing.value) == 0 and bool(nothing.converged)
        single = local_lipschitz(LinearMap(flat.at[1, 0, 2, 1].set(-3.0)), jnp.zeros((n, d)), norm)
        assert float(single.value) == pytest.approx(3) and bool(single.converged)
    identity = jnp.eye(n * d).reshape(n, d, n, d)
    assert float(local_lipschitz(LinearMap(identity), jnp.zeros((n, d))).value) == pytest.approx(1)


@pytest.mark.parametrize("norm", ["euclidean", "max"])
def test_a_derivative_that_is_no_number_never_converges(norm):
    found = local_lipschitz(LinearMap(jnp.full((4, 2, 4, 2), jnp.nan)), jnp.zeros((4, 2)), norm)
    assert not bool(found.converged) and int(found.products) < 100


def test_tokens_of_single_precision():
    moved, x = MAPS["field"]
    found = local_lipschitz(moved, x.astype(jnp.float32), tolerance=1e-5)
    assert found.value.dtype == jnp.float32 and bool(found.converged)
    assert float(found.value) == pytest.approx(dense_norm(np.asarray(matrix(moved, x)), "euclidean"), rel=1e-5)


def test_it_runs_within_other_programs():
    moved, x = MAPS["field"]
    one = jax.jit(lambda x: local_lipschitz(moved, x).value)(x)
    assert float(one) == pytest.approx(float(local_lipschitz(moved, x).value), rel=1e-12)


def test_what_is_refused(monkeypatch):
    moved, x = MAPS["softmax"]
    with pytest.raises(ValueError, match="`norm` must be one of euclidean, W2, conditional, max, W1; got 'l1'"):
        local_lipschitz(moved, x, "l1")
    with pytest.raises(ValueError, match="at least 1.2e-06 for tokens of float32; got 1e-08"):
        local_lipschitz(moved, x.astype(jnp.float32))
    monkeypatch.setitem(sys.modules, "matfree", None)
    with pytest.raises(ModuleNotFoundError, match="attention-particles.analysis"):
        local_lipschitz(moved, tokens(4))


def test_a_study_refuses_what_has_no_constants():
    plan = pt.Plan(until=1.0, save=4)
    with pytest.raises(ValueError, match="boundary"):
        Lipschitz(START, pt.Flow(pt.Ball(), pt.Attention()), plan)
    with pytest.raises(ValueError, match="must be their number, 5"):
        Lipschitz(START, pt.Layers(pt.Attention()), pt.Plan(until=1.0, save=1, dt=0.2, solver="Layers"))
    with pytest.raises(ValueError, match="`norm` must be one of"):
        Lipschitz(START, GROWING, plan, norm="W3")
    with pytest.raises(ValueError, match="whose state is its tokens"):
        Lipschitz(START, pt.SecondOrder(pt.Sphere(), pt.Attention()), plan).data()


def test_growth_obeys_the_constants_on_the_way_and_no_smaller_ones(way):
    study = Lipschitz(START, GROWING, pt.Plan(until=1.0, save=8, rtol=1e-8), norm="max")
    data = study.data()
    assert all(found.holds for found in study.checks(data))
    assert {"step_bound", "law_bound"} <= set(data)
    assert float(data.grown[-1]) == pytest.approx(row_norm(way[2]), rel=1e-5)
    more = data.assign(grown=data.grown**2, step=10 * data.step)
    assert sum(not found.holds for found in study.checks(more)) == 2


def test_layers_multiply():
    plan = pt.Plan(until=1.0, save=4, dt=0.25, solver="Layers")
    study = Lipschitz(START, pt.Layers(pt.Attention(pt.DotProduct(3.0))), plan)
    data = study.data()
    assert all(found.holds for found in study.checks(data))
    assert float(data.grown[1]) == pytest.approx(float(data.step[0]), rel=1e-9)
    assert float(data.gronwall[-1]) == pytest.approx(float(np.prod(data.step[:-1])), rel=1e-12)
