"""Sums over modes against sums over pairs: the kernel, the laws, their derivatives, and what is refused."""

import dataclasses

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import pytest

import particles as pt
from particles import dynamics
from particles.summation.fourier import fourier, kernel
from particles.summation.fourier.basis import Box, Ring
from particles.summation.fourier.engine import DirectSum, FastTransform

ZERO, DENSE = jnp.zeros(()), pt.Dense()


def sphere(n, d, seed=0):
    return pt.Sphere().uniform(jax.random.key(seed), n, d)


# The kernel: sum_j e^(-|a_i - b_j|^2 / 2) v_j, written out.


def spans(k, radius, tolerance):
    a, b = (np.random.default_rng(seed).normal(size=(n, k)) for seed, n in ((1, 60), (2, 50)))
    a, b = (radius * image / np.linalg.norm(image, axis=1, keepdims=True) for image in (a, b))
    box = Box.around(jnp.full(k, -radius), jnp.full(k, radius), tolerance)
    return a, b, [box] if k != 2 else [box, Ring(jnp.asarray(radius**2))]


@pytest.mark.parametrize("tolerance", [1e-6, 1e-11])
@pytest.mark.parametrize("k", [1, 2, 3])
def test_the_error_of_the_kernel_is_below_its_bound(k, tolerance):
    a, b, bases = spans(k, 3.0, tolerance)
    v = np.abs(np.random.default_rng(0).normal(size=(50, 3)))
    expected = np.exp(-0.5 * np.sum((a[:, None] - b[None]) ** 2, axis=2)) @ v
    for place, basis in enumerate(bases):
        bounds = np.asarray(basis.error(jnp.arange(1.0, 65.0)))
        largest = 1 + int(np.argmax(bounds < tolerance))
        assert bounds[largest - 1] < tolerance
        for engine in (FastTransform(tolerance), DirectSum(2.3e-16)):
            found = sums(a, b, v, bases, place, largest, engine)
            allowed = (bounds[largest - 1] + engine.error) * v.sum(axis=0)
            assert np.all(np.abs(found - expected) <= allowed[None])
        coarse = sums(a, b, v, bases, place, largest // 2, DirectSum(2.3e-16))
        assert np.abs(coarse - expected).max() > tolerance * v.sum()  # half of the modes are too few
        assert np.all(np.abs(coarse - expected) <= bounds[largest // 2 - 1] * v.sum(axis=0)[None])  # and it is known


def sums(a, b, v, bases, place, largest, engine):
    first = jnp.asarray(0)
    modes = kernel.Modes(tuple(bases), (kernel.Rung(place, largest, engine),), first, first, ZERO)
    return np.asarray(eqx.filter_jit(kernel.gaussian_sum)(jnp.asarray(a), jnp.asarray(b), jnp.asarray(v), modes))


# Laws: as every other summation, equal to Dense; here to the tolerance.

N = 40
MASSES = np.random.default_rng(3).dirichlet(np.ones(N))
WIDE, NARROW = np.array([[0.8, 0.3, -0.1], [-0.2, 1.1, 0.4]]), np.array([[1.0, 0.5, 0.0], [0.1, -0.7, 0.2]])
LAWS = {
    "circle": (2, pt.Attention(pt.DotProduct(4.0))),
    "sphere": (3, pt.Attention(pt.DotProduct(-4.0), pt.Masses(MASSES), pt.Mean())),
    "not itself": (3, pt.Attention(pt.DotProduct(9.0), pt.NotSelf())),
    "heads": (3, pt.Attention(pt.DotProduct(3.0, query=WIDE, key=NARROW)) + pt.Attention(pt.Cosine(2.0))),
    "gradient": (2, pt.Attention(pt.SquaredDistance(5.0, query=WIDE[:, :2], key=NARROW[:, :2]), value=pt.GradScore())),
    "sinkhorn": (2, pt.Attention(pt.DotProduct(2.0), normalizer=pt.Sinkhorn())),
}


@eqx.filter_jit
def field_and_gradient(law, x, summation):
    def number(arguments):
        field = arguments[0](ZERO, arguments[1], summation)
        return jnp.sum(jnp.sin(3 * field)), field

    (_, field), gradient = eqx.filter_value_and_grad(number, has_aux=True)((law, x))
    return field, jax.tree.leaves(gradient)


@pytest.mark.parametrize("name", LAWS)
def test_modes_equal_pairs(name, few_programs):
    d, law = LAWS[name]
    x = sphere(N, d)
    field, gradient = field_and_gradient(law, x, pt.Fourier(1e-9))
    expected, expected_gradient = field_and_gradient(law, x, DENSE)
    np.testing.assert_allclose(field, expected, rtol=0, atol=2e-9 * np.abs(expected).max())
    for one, other in zip(gradient, expected_gradient, strict=True):
        np.testing.assert_allclose(one, other, rtol=0, atol=1e-7 * max(1, np.abs(other).max()))


def test_the_direct_sum_serves_where_there_is_no_transform(few_programs, monkeypatch):
    d, law = LAWS["not itself"]
    found, expected = (
        jax.tree.leaves(field_and_gradient(law, sphere(N, d), way)) for way in (pt.Fourier(1e-9, fast=False), DENSE)
    )
    for one, other in zip(found, expected, strict=True):
        np.testing.assert_allclose(one, other, rtol=0, atol=1e-8 * max(1, np.abs(other).max()))
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    assert isinstance(fourier.engine(1e-9, np.dtype(float), None), DirectSum)
    with pytest.raises(ValueError, match=r"attention-particles\[fast\]"):
        fourier.engine(1e-9, np.dtype(float), True)


def test_derivatives_off_the_circle_and_of_second_order(few_programs):
    x, law = sphere(6, 2), pt.Attention(pt.DotProduct(1.5))
    with jax.numpy_dtype_promotion("standard"), jax.numpy_rank_promotion("allow"):  # the derivatives of jax-finufft
        hessians = [
            np.asarray(jax.jit(jax.hessian(lambda x, s=summation: jnp.sum(jnp.sin(law(ZERO, x, s)))))(x))
            for summation in (pt.Fourier(1e-10), DENSE)
        ]
    assert np.abs(hessians[1]).max() > 0.1
    np.testing.assert_allclose(*hessians, rtol=0, atol=1e-7)


# Accuracy row by row.


def isolated(distance):
    """A crowd of 300 at one place of the line and two tokens far from it and from each other."""
    crowd = 0.2 * np.random.default_rng(1).normal(size=(300, 1))
    return jnp.asarray(np.concatenate([crowd, [[distance], [-distance]]]))


@pytest.mark.parametrize("measure", [pt.measures.Uniform(), pt.NotSelf()], ids=["itself", "not itself"])
def test_an_isolated_token_is_as_exact_as_the_others(measure):
    law = pt.Attention(pt.SquaredDistance(1.0), measure)
    flow = pt.Flow(pt.spaces.Euclidean(), law, pt.Fourier(1e-7))
    x = isolated(7.0)  # sees the crowd with weights 300 e^-24.5 of a neighbor's
    np.testing.assert_allclose(flow(ZERO, x), law(ZERO, x, DENSE), rtol=1e-6, atol=1e-7)
    (report,) = pt.summation_report(flow, x)
    assert report["met"] and report["error"] <= 1e-7
    assert report["poor"] == 2  # their own mass is a 300th of all, or less


def test_a_tolerance_that_is_missed_is_told_and_auto_visits_pairs(monkeypatch):
    monkeypatch.setattr(fourier, "POOR", 1)
    monkeypatch.setattr(fourier, "FAST_WORTH", {1: 1, 2: 1, 3: 1})
    law, x = pt.Attention(pt.SquaredDistance(1.0), pt.NotSelf()), isolated(7.0)
    flow = pt.Flow(pt.spaces.Euclidean(), law, pt.Fourier(1e-7))
    assert jnp.all(jnp.isnan(flow(ZERO, x)))
    (report,) = pt.summation_report(flow, x)
    assert not report["met"] and report["error"] == np.inf
    auto = dataclasses.replace(flow, summation=pt.Auto(dense_bytes=0, tolerance=1e-7))
    assert pt.summation_report(auto, x)[0]["summation"] == pt.Fourier(1e-7)
    np.testing.assert_allclose(auto(ZERO, x), law(ZERO, x, DENSE), rtol=1e-12, atol=1e-14)
    near = isolated(0.5)
    assert pt.summation_report(auto, near)[0]["met"]
    np.testing.assert_allclose(auto(ZERO, near), law(ZERO, near, DENSE), rtol=1e-6, atol=1e-7)


def test_images_that_are_too_far_apart_are_told(few_programs):
    x = sphere(50, 3)
    flow = pt.Flow(pt.Sphere(), pt.Attention(pt.DotProduct(1e5)), pt.Fourier(1e-9))
    assert jnp.all(jnp.isnan(flow(ZERO, x))) or pt.summation_report(flow, x)[0]["poor"] == 50  # all of them, by pairs
    law = pt.Attention(pt.DotProduct(1e5))
    np.testing.assert_allclose(flow.velocity(ZERO, x), law(ZERO, x, DENSE), rtol=1e-9)


# The choice.


def test_auto_chooses_by_size_and_by_what_the_pair_can_do():
    def serving(law, n, d=3, **options):
        return dynamics.summations(pt.Flow(pt.Sphere(), law, pt.Auto(**options)), n, d, "float64")

    softmax = pt.Attention(pt.DotProduct(4.0))
    assert serving(softmax, 500) == (pt.Dense(),)
    assert serving(softmax, 5_000) == (pt.Blocked(),)
    assert serving(softmax, 1_000_000) == (pt.Fourier(),)
    assert serving(softmax, 5_000, 2) == (pt.Fourier(),)
    assert serving(softmax, 1_000_000, tolerance=0.0) == (pt.Blocked(),)
    assert serving(softmax, 1_000_000, tolerance=1e-14) == (pt.Blocked(),)
    assert serving(softmax, 1_000_000, 4) == (pt.Blocked(),)
    assert serving(pt.Attention(pt.DotProduct(4.0), pt.Causal()), 100_000) == (pt.Blocked(),)
    assert set(serving(softmax + pt.Attention(normalizer=pt.normalizers.Sigmoid()), 100_000)) == {
        pt.Fourier(),
        pt.Blocked(),
    }
    assert serving(pt.Attention(normalizer=pt.Sinkhorn()), 100_000) == (pt.Fourier(),)


def test_a_plan_sets_the_tolerance_of_its_summation():
    flow = pt.Flow(pt.Sphere(), pt.Attention())
    assert flow.within(1e-5).summation.tolerance == pytest.approx(1e-6)
    assert flow.within(jnp.asarray([1e-5, 1e-3])) == flow
    told = dataclasses.replace(flow, summation=pt.Auto(tolerance=1e-4))
    assert told.within(1e-8) == told
    named = dataclasses.replace(flow, summation=pt.Fourier(1e-3))
    assert named.within(1e-8) == named


def test_a_run_by_modes_is_the_run_by_pairs(few_programs):
    x, plan = sphere(N, 2), pt.Plan(until=2.0, save=2, rtol=1e-7)
    flow = pt.Flow(pt.Sphere(), pt.Attention(pt.DotProduct(4.0)), pt.Fourier(1e-8))
    found = pt.solve(flow, x, plan).tokens
    expected = pt.solve(dataclasses.replace(flow, summation=DENSE), x, plan).tokens
    np.testing.assert_allclose(found, expected, rtol=0, atol=1e-6)
    slower = dataclasses.replace(flow, law=pt.Attention(pt.DotProduct(3.9)))
    assert np.abs(pt.solve(slower, x, plan).tokens - expected).max() > 1e-3


@pytest.mark.parametrize(
    ("law", "d", "options", "words"),
    [
        (pt.Attention(), 4, {}, "4 dimensions, and modes are for 1 to 3"),
        (pt.Attention(), 3, {"tolerance": 1e-14}, "below what float64 can give"),
        (pt.Attention(measure=pt.Causal()), 3, {}, "the measure Causal is one of pairs"),
        (pt.Attention(normalizer=pt.normalizers.Sigmoid()), 3, {}, "the normalizer makes of a logit more"),
        (pt.Attention(pt.Geodesic()), 3, {}, "the score Geodesic is no product"),
        (pt.Attention(normalizer=pt.Hardmax()), 3, {}, "the normalizer makes of a logit more"),
    ],
)
def test_what_modes_cannot_do_is_refused_with_what_would_work(law, d, options, words):
    with pytest.raises(ValueError, match=f"Fourier cannot serve: .*{words}.*Blocked"):
        law(ZERO, sphere(8, d), pt.Fourier(**options))
