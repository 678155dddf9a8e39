"""The worst clouds: maps whose worst is known, laws that are Lipschitz on all of space and one that is not."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy.optimize import minimize_scalar

import particles as pt
from particles import studies
from particles.analysis import FieldMap, LawMap, PlainMap, bounds, wasserstein
from particles.analysis.local import local_lipschitz
from particles.analysis.objectives import Number, Stretch, TransportRatio
from particles.analysis.worst_case import worst_case
from particles.experiment import Sense

N, D = 5, 2
RNG = np.random.default_rng(0)
MIXED, MATRIX = RNG.normal(size=(N, N)), RNG.normal(size=(D, D))
KEY = jax.random.key(0)


def law_map(law):
    return LawMap(pt.Flow(pt.Euclidean(), law))


def search(moved, objective, **changes):
    return worst_case(moved, objective, **{"n": N, "d": D, "key": KEY, "starts": 8, "steps": 200} | changes)


@pytest.mark.parametrize("norm", ["euclidean", "max", "W1"])
def test_of_a_linear_map_the_norm_is_found(norm):
    rows, columns = np.abs(MIXED).sum(axis=1).max(), np.abs(MIXED).sum(axis=0).max()
    mixing = {"euclidean": np.linalg.norm(MIXED, 2), "max": rows, "W1": columns}[norm]
    worst = search(PlainMap(lambda x: jnp.asarray(MIXED) @ x @ jnp.asarray(MATRIX).T), norm, radius=1.0)
    assert float(worst.value) == pytest.approx(mixing * np.linalg.norm(MATRIX, 2), rel=1e-6)
    assert bool(jnp.all(worst.converged))  # nothing to climb: the same at every cloud
    assert worst.history.shape == (8, 200)


def test_the_worst_of_a_map_of_single_tokens_lies_on_the_boundary():
    cube = PlainMap(lambda x: x * jnp.sum(x * x, axis=1, keepdims=True) / 3)  # along x its derivative is |x|^2
    for radius in (1.0, 3):
        worst = search(cube, "euclidean", radius=radius)
        assert float(worst.value) == pytest.approx(radius**2, rel=1e-6)
        assert bool(jnp.all(worst.converged))
        assert float(jnp.max(jnp.linalg.norm(worst.tokens, axis=1))) == pytest.approx(radius, rel=1e-9)


def test_any_number_of_a_cloud_can_be_made_large():
    """The largest row sum of D(|x|^2 x / 3) is (|x|^2 + 2 |x_1| (|x_1| + |x_2|)) / 3, at most (2 + sqrt 2) R^2 / 3."""
    cube = PlainMap(lambda x: x * jnp.sum(x * x, axis=1, keepdims=True) / 3)
    entries = lambda moved, x: jnp.max(jnp.sum(jnp.abs(moved.jacobian(x)), axis=(2, 3)))  # noqa: E731
    best = minimize_scalar(lambda a: -1 - 2 * np.cos(a) * (np.cos(a) + np.sin(a)), bounds=(0, 1.5), method="bounded")
    worst = search(cube, Number(entries), radius=1.5)
    assert -best.fun * 1.5**2 / 3 * (1 - 1e-4) < float(worst.value) <= -best.fun * 1.5**2 / 3 * (1 + 1e-9)
    assert float(entries(cube, worst.tokens)) == pytest.approx(float(worst.value), rel=1e-12)
    assert -best.fun == pytest.approx(2 + np.sqrt(2), rel=1e-9)  # at an angle of pi / 8
    assert not jnp.any(worst.direction)


def test_two_tokens_of_l2_attention_have_a_worst_distance():
    def stretch(r):  # of the first: |1 - g'| + |g'|, with g(r) = r times the weight of the other
        p = 1 / (1 + np.exp(r**2))
        slope = p - 2 * r**2 * p * (1 - p)
        return abs(1 - slope) + abs(slope)

    best = minimize_scalar(lambda r: -stretch(r), bounds=(0.1, 3), method="bounded", options={"xatol": 1e-10})
    worst = search(law_map(pt.Attention(pt.SquaredDistance(2.0))), "max", n=2, d=1, radius=5.0)
    assert float(worst.value) == pytest.approx(-best.fun, rel=1e-6)
    assert float(jnp.abs(worst.tokens[0, 0] - worst.tokens[1, 0])) == pytest.approx(best.x, rel=1e-2)
    assert float(worst.value) < bounds.distance_bound(1.0, 1.0, 2)


@pytest.mark.parametrize("norm", ["euclidean", "max", "W1"])
def test_what_is_found_is_attained(norm):
    moved = law_map(pt.Attention(pt.DotProduct(2.0), value=pt.values.Linear(MATRIX)))
    worst = search(moved, norm, radius=1.5)
    size = {
        "euclidean": jnp.linalg.norm,
        "max": lambda v: jnp.max(jnp.linalg.norm(v, axis=1)),
        "W1": lambda v: jnp.sum(jnp.linalg.norm(v, axis=1)),
    }[norm]
    assert float(size(worst.direction)) == pytest.approx(1.0, rel=1e-9)
    assert float(size(moved.jvp(worst.tokens, worst.direction))) == pytest.approx(float(worst.value), rel=1e-9)
    assert float(jnp.max(jnp.linalg.norm(worst.tokens, axis=1))) <= 1.5 * (1 + 1e-12)
    assert float(worst.value) == float(jnp.max(worst.values)) == pytest.approx(float(jnp.max(worst.history)), rel=1e-12)
    exact = float(local_lipschitz(moved, worst.tokens, norm).value)
    assert float(worst.value) == pytest.approx(exact, rel=1e-4)
    assert float(worst.value) > 1.2 * float(jnp.min(worst.history[:, 0]))


def test_dot_products_grow_with_the_ball_and_l2_attention_does_not():
    """|A| R^2 for the one, a constant for the other: no dot product is Lipschitz on all of space."""
    growth = {}
    for name, score in (("dot", pt.DotProduct(1.0)), ("l2", pt.SquaredDistance(2.0))):
        near, far = (float(search(law_map(pt.Attention(score)), "max", radius=r).value) for r in (2.0, 8.0))
        growth[name] = np.log(far / near) / np.log(4)
    assert growth["dot"] > 1.5
    assert growth["l2"] < 0.1


@pytest.mark.parametrize("d", [1, 2])
def test_the_ratio_of_two_clouds_is_that_of_their_distances(d):
    moved = law_map(pt.Attention(pt.DotProduct(0.5)))
    worst = search(moved, TransportRatio(), d=d, radius=1.0)
    x, y = worst.tokens, worst.tokens + worst.direction
    ratio = wasserstein(np.asarray(moved(x)), np.asarray(moved(y))) / wasserstein(np.asarray(x), np.asarray(y))
    assert ratio == pytest.approx(float(worst.value), rel=1e-9)
    assert 1 < ratio <= bounds.transport_bound(0.5, 1.0, 1.0, n=N)


def test_on_a_sphere_tokens_stay_and_displacements_are_tangent():
    moved = FieldMap(pt.Flow(pt.Sphere(), pt.Attention(pt.DotProduct(2.0))))
    worst = search(moved, "max", d=3)
    x, v = worst.tokens, worst.direction
    np.testing.assert_allclose(jnp.linalg.norm(x, axis=1), 1, atol=1e-12)
    np.testing.assert_allclose(jnp.sum(x * v, axis=1), 0, atol=1e-12)
    assert 1 < float(worst.value) <= bounds.sphere_bound(2.0, 1.0)


def test_what_cannot_be_searched_is_refused():
    flat = law_map(pt.Attention())
    with pytest.raises(ValueError, match="give `radius`"):
        search(flat, "max")
    with pytest.raises(ValueError, match="leave `radius` out"):
        search(LawMap(pt.Flow(pt.Sphere(), pt.Attention())), "max", radius=1.0)
    with pytest.raises(ValueError, match="no bounds in some directions"):
        search(LawMap(pt.Flow(pt.spaces.Product((pt.Sphere(), pt.Euclidean()), (2, 1)), pt.Attention())), "max", d=3)
    with pytest.raises(ValueError, match="`norm` of Stretch"):
        Stretch("largest")
    with pytest.raises(ValueError, match="`p` of TransportRatio"):
        TransportRatio(0.5)


def study(law, space=None, **parameters):
    start = pt.starts.Blobs(N, 3)
    return studies.WorstCase(start, pt.Flow(space or pt.Euclidean(), law), starts=4, steps=60, random=16, **parameters)


def test_the_study_holds_what_is_found_against_what_is_proved():
    one = study(pt.Attention(pt.DotProduct(1.0)), radii=(0.5, 2.0), tokens=(3, 6))
    data = one.data()
    assert data.best.dims == ("tokens", "radius")
    assert all(check.holds and check.sense is Sense.at_most for check in one.checks(data)) and one.checks(data)
    assert np.all(data.typical <= data.largest) and np.all(data.best > data.typical)
    np.testing.assert_allclose(data.bound[0], [bounds.displacement_bound(1.0, 1.0, r) for r in (0.5, 2.0)])
    assert [panel.x for panel in one.chart(data)] == ["radius", "radius"]
    broken = data.assign(share=data.share + 1)
    assert not all(check.holds for check in one.checks(broken))


def test_the_study_of_a_law_without_a_bound_claims_nothing():
    one = study(pt.Attention(pt.DotProduct(1.0), normalizer=pt.Mean()), pt.Sphere())
    data = one.data()
    assert one.checks(data) == () and np.all(np.isnan(data.bound)) and len(one.chart(data)) == 1
    assert data.best.dims == ("tokens",)
    with pytest.raises(ValueError, match="leave them out"):
        study(pt.Attention(), pt.Sphere(), radii=(1.0,))
    with pytest.raises(ValueError, match="give some"):
        study(pt.Attention())
    with pytest.raises(ValueError, match="`norm` of WorstCase"):
        study(pt.Attention(), radii=(1.0,), norm="L2")
