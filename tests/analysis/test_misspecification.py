"""Wrong clouds are as wrong as they say, and what attention and flows make of them is off by no more than is proved."""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy.linalg import expm

import particles as pt
from particles import studies
from particles.analysis import (
    AbstractFault,
    Dropped,
    Duplicated,
    FlowMap,
    LawMap,
    Moved,
    Replaced,
    Resampled,
    WrongCloud,
    bounds,
    misspecified,
    response,
    wasserstein,
)
from particles.analysis.gronwall import exponents
from particles.declaration import described, family
from particles.record.reader import bibliography

N, D = 12, 3
X = pt.Sphere().uniform(jax.random.key(0), N, D)
FAULTS = (
    Moved(0.2),
    Moved(0.3, together=True),
    Dropped(),
    Duplicated(),
    Replaced(pt.starts.Uniform(N, D)),
    Resampled(),
)
LAW = pt.Attention(pt.DotProduct(0.4), value=pt.values.Linear(0.8))


@pytest.mark.parametrize("fault", FAULTS, ids=lambda fault: type(fault).__name__)
@pytest.mark.parametrize("k", [0, 1, 5, 11])
def test_a_wrong_cloud_is_no_farther_than_it_says(fault, k):
    wrong = fault(pt.Sphere(), X, jax.random.key(k), k)
    assert float(jnp.sum(wrong.masses)) == pytest.approx(1, rel=1e-14)
    np.testing.assert_allclose(jnp.linalg.norm(wrong.tokens, axis=1), 1, rtol=1e-14)
    there = np.asarray(wrong.masses) > 0
    distance = wasserstein(X, wrong.tokens[there], b=wrong.masses[there])
    assert distance <= float(wrong.bound) * (1 + 1e-9) + 1e-12
    moved = jnp.linalg.norm(wrong.tokens - X, axis=1)
    if wrong.labeled:
        np.testing.assert_allclose(wrong.masses, 1 / N)
        assert int(jnp.sum(moved > 0)) <= k and float(jnp.max(moved)) <= float(wrong.distance) + 1e-15
    else:
        assert float(jnp.max(moved)) == 0
    assert (distance > 0) == (k > 0)


def test_counts_and_masses():
    dropped, doubled = (fault(pt.Sphere(), X, jax.random.key(3), 4) for fault in (Dropped(), Duplicated()))
    assert sorted(np.asarray(dropped.masses) * (N - 4)) == pytest.approx([0] * 4 + [1] * (N - 4))
    assert sorted(np.asarray(doubled.masses) * (N + 4)) == pytest.approx([1] * (N - 4) + [2] * 4)
    assert float(dropped.share) == pytest.approx(4 / N)
    assert float(doubled.share) == pytest.approx(4 * (N - 4) / (N * (N + 4)))
    again = Resampled()(pt.Sphere(), X, jax.random.key(3), N)
    counts = np.asarray(again.masses) * N
    np.testing.assert_allclose(counts, np.round(counts), atol=1e-12)
    keys = jax.random.split(jax.random.key(1), 400)
    drawn = np.asarray(jax.jit(jax.vmap(lambda key: Resampled()(pt.Sphere(), X, key, N).share))(keys))
    absent = (1 - 1 / N) ** N  # the share of tokens that no draw hits, in the mean; as many draws are doubled up
    assert np.mean(drawn) == pytest.approx(absent, abs=4 * np.std(drawn) / 20)


def test_moved_in_other_spaces():
    for space in (pt.Euclidean(), pt.Ball(1.0), pt.Sphere(2.0)):
        x = space.project(X)
        wrong = Moved(0.2)(space, x, jax.random.key(1), N)
        moved = jnp.linalg.norm(wrong.tokens - x, axis=1)
        assert float(jnp.max(moved)) <= 0.2 + 1e-15 and float(jnp.max(moved)) > 0.18
        np.testing.assert_allclose(space.project(wrong.tokens), wrong.tokens, atol=1e-15)
    line = jnp.ones((2, 1))
    outward = Moved(0.2)(pt.Ball(1.0), line, jax.random.key(0), 2)
    assert bool(jnp.all(jnp.isfinite(outward.tokens)))  # some cannot move at all


@pytest.mark.parametrize("fault", [Dropped(), Duplicated()], ids=["dropped", "duplicated"])
def test_masses_are_fewer_and_repeated_tokens(fault):
    """A wrong cloud of masses passes through attention and through a flow as the plain cloud that it stands for."""
    wrong = fault(pt.Sphere(), X, jax.random.key(5), 3)
    count = N - 3 if isinstance(fault, Dropped) else N + 3
    times = np.round(np.asarray(wrong.masses) * count).astype(int)
    plain = jnp.asarray(np.repeat(np.asarray(X), times, axis=0))
    flow, plan = pt.Flow(pt.Sphere(), LAW), pt.Plan(1.0, save=1, rtol=1e-10, atol=1e-12)
    maps = (LawMap, lambda flow: FlowMap(flow, plan))
    for one in maps if isinstance(fault, Dropped) else maps[:1]:
        expected = np.asarray(one(flow)(plain))
        found = np.repeat(np.asarray(one(misspecified(flow, wrong))(wrong.tokens)), times, axis=0)
        np.testing.assert_allclose(found, expected, atol=1e-9)


def stretched(law, told, fault, k, seed):
    """W_1 and the largest displacement behind attention, over what is proved."""
    flow = pt.Flow(pt.Sphere(), law)
    wrong = fault(pt.Sphere(), X, jax.random.key(seed), k)
    found = response(X, wrong, LawMap(flow)(X), LawMap(misspecified(flow, wrong))(wrong.tokens))
    slope, value = told
    transport = bounds.transport_bound(slope, value, 1.0) * float(wrong.bound)
    moved = bounds.displacement_bound(slope, value, 1.0) * float(wrong.distance)
    assert found.before <= float(wrong.bound) * (1 + 1e-9)
    return found.after / transport, found.moved_after / moved


def test_attention_is_off_by_no_more_than_is_proved():
    worst = [stretched(LAW, (0.4, 0.8), fault, k, k) for fault in FAULTS for k in (1, 6, 11)]
    assert np.nanmax(worst) <= 1
    small = pt.Attention(pt.DotProduct(0.01), value=pt.values.Linear(0.8))
    nearest = stretched(small, (0.01, 0.8), Moved(0.05, together=True), N, 1)[1]
    assert 0.6 < nearest <= 1  # the part of the common way that is tangent to the sphere


def test_the_bound_can_be_exceeded():
    steep = pt.Attention(pt.DotProduct(0.01), value=pt.values.Linear(2.0))  # told 0.8
    assert stretched(steep, (0.01, 0.8), Moved(0.05, together=True), N, 1)[1] > 1


def test_growth_on_the_sphere_and_in_space():
    times = np.linspace(0, 1, 5)
    flow = pt.Flow(pt.Sphere(), pt.Attention(pt.DotProduct(1.5)))
    np.testing.assert_allclose(exponents(flow, "max", N, times, np.ones(5)), (2 + 2 * 1.5) * times, rtol=1e-12)
    transport = bounds.transport_bound(1.5, 1.0, 1.0) + 1
    np.testing.assert_allclose(exponents(flow, "W1", N, times, np.ones(5)), transport * times, rtol=1e-12)
    flat = pt.Flow(pt.Euclidean(), LAW)
    grown = exponents(flat, "max", N, times, np.full(5, 0.7))
    held = 0.7 * np.exp(0.8 * 0.25)  # of the ball that grows from one time to the next
    np.testing.assert_allclose(np.diff(grown), 0.25 * bounds.displacement_bound(0.4, 0.8, held), rtol=1e-12)
    kept = exponents(pt.Flow(pt.Ball(0.7), LAW), "max", N, times, np.full(5, 0.1))
    np.testing.assert_allclose(kept, bounds.displacement_bound(0.4, 0.8, 0.7) * times, rtol=1e-12)


def test_growth_of_a_linear_flow_is_attained():
    """Tokens that do not see one another, x' = M x: the exponential of M stretches by at most that of its norm."""
    matrix = np.array([[0.3, 0.0], [0.0, -0.4]])
    flow, times = pt.Flow(pt.Euclidean(), pt.Drift(matrix)), np.array([0.0, 2.0])
    grown = exponents(flow, "max", 3, times, np.ones(2))[-1]
    assert grown == pytest.approx(0.8, rel=1e-12)
    assert grown >= np.log(np.linalg.norm(expm(2.0 * matrix), 2))


@pytest.mark.parametrize(
    ("call", "words"),
    [
        (
            lambda: exponents(pt.Flow(pt.Sphere(), LAW), "L2", N, np.zeros(1), np.ones(1)),
            "`norm` must be one of W1, max",
        ),
        (lambda: exponents(pt.SecondOrder(pt.Sphere(), LAW), "max", N, np.zeros(1), np.ones(1)), "Flow of first order"),
        (lambda: Dropped()(pt.Sphere(), X, jax.random.key(0), N), "of 12 tokens 11 can be dropped; got 12"),
        (lambda: Moved(0.1)(pt.Sphere(), X, jax.random.key(0), 13), "k is a number of 12 tokens; got 13"),
        (lambda: Replaced(pt.starts.Uniform(2, D))(pt.Sphere(), X, jax.random.key(0), 3), "cannot be replaced by"),
        (
            lambda: misspecified(
                pt.Flow(pt.Sphere(), pt.Attention(measure=pt.Causal())), Dropped()(pt.Sphere(), X, jax.random.key(0), 1)
            ),
            "knows no order",
        ),
        (lambda: Moved(0.0), "must be greater than 0"),
        (lambda: study(faults=()), "`faults` names nothing"),
    ],
)
def test_faults_are_told(call, words):
    with pytest.raises(ValueError, match=words):
        call()


def test_every_fault_is_told_in_full_and_has_a_test():
    kinds = set(family(AbstractFault).values())
    assert kinds == {type(fault) for fault in FAULTS}
    for cls in kinds:
        assert set(cls.sources) <= set(bibliography()) and all(key in cls.__doc__ for key in cls.sources)


def study(**changes):
    parts = {
        "start": pt.starts.Uniform(8, D),
        "flow": pt.Flow(pt.Sphere(), LAW),
        "plan": pt.Plan(0.5, save=3, rtol=1e-8, atol=1e-10),
        "faults": FAULTS[:3],
        "counts": (1, 4),
        "draws": 2,
    }
    return studies.Misspecified(**(parts | changes))


def test_the_study_holds_and_knows_what_is_not_proved():
    data = study().data()
    checks = study().checks(data)
    assert len(checks) == 5 and all(check.holds for check in checks)
    assert list(data.kind.values) == ["moved 1", "moved 2", "dropped"]
    told_less = data.assign(step_ratio=data.step_ratio * 100)
    assert not all(check.holds for check in study().checks(told_less))
    unknown = data.assign({name: data[name] * np.nan for name in data if name.endswith("_bound")})
    assert study().checks(unknown.assign(before_bound=data.before_bound)) == checks[:1]


def test_what_is_proved_depends_on_the_law():
    mean, ordered = (dataclasses.replace(LAW, **slot) for slot in ({"normalizer": pt.Mean()}, {"measure": pt.Causal()}))
    factors = lambda law: study(flow=pt.Flow(pt.Sphere(), law))._factors(8, np.ones(4))  # noqa: E731
    assert all(np.isnan(one) for one in factors(mean).values())
    of_ordered, of_all = factors(ordered), factors(LAW)
    assert {name for name, one in of_ordered.items() if np.isfinite(one)} == {"shift_step", "shift_end"}
    assert of_all["step"] == pytest.approx(bounds.transport_bound(0.4, 0.8, 1.0))
    assert of_all["shift_end"] == pytest.approx(np.exp(0.5 * bounds.sphere_bound(0.4, 0.8)))
    assert of_all["shift_end"] == pytest.approx(of_ordered["shift_end"])


def test_a_right_cloud_has_nothing_wrong():
    right = WrongCloud.right(X)
    assert float(right.bound) == 0 and described(Moved(0.2)) == {"kind": "Moved", "delta": 0.2, "together": False}
