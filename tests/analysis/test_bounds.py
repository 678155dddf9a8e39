"""Proved Lipschitz constants: no cloud exceeds them, laws that no proof serves are refused, and some do exceed them."""

import math

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy.optimize import brentq, minimize

import particles as pt
from particles.analysis import FieldMap, LawMap, bounds, wasserstein
from particles.analysis.drawing import drawn, holder
from particles.analysis.worst_case import worst_case
from particles.laws.score import Constant

N, D = 6, 3
RNG = np.random.default_rng(0)
FORM, OTHER, QUERY, KEY, VALUE = (m / np.linalg.norm(m, 2) for m in RNG.normal(size=(5, D, D)))
LINEAR = pt.values.Linear
IN_FLAT, IN_ALL, ON_SPHERE = 1.3, math.inf, None


def dot(slope=2.0, value=VALUE, **slots):
    return pt.Attention(pt.DotProduct(slope, form=FORM), value=LINEAR(value), **slots)


def l2(value=VALUE @ QUERY, query=QUERY, **slots):
    return pt.Attention(pt.SquaredDistance(2.0, query=query), value=LINEAR(value), **slots)


LAWS = {
    "dot, small logits": (dot(0.05), IN_FLAT),
    "dot": (dot(), IN_FLAT),
    "dot, causal": (dot(measure=pt.Causal()), IN_FLAT),
    "dot, not itself": (dot(measure=pt.NotSelf()), IN_FLAT),
    "dot, prior": (dot(measure=pt.ALiBi(0.5, "both")), IN_FLAT),
    "dot, masses": (dot(measure=pt.Masses(np.arange(1.0, N + 1) / 21)), IN_FLAT),
    "dot, narrow": (
        pt.Attention(pt.DotProduct(1.5, query=QUERY[:2], key=KEY[:2]), value=pt.LowRank(VALUE[:, :2], OTHER[:2])),
        IN_FLAT,
    ),
    "heads and drift": (dot() + dot(1.0, OTHER) + pt.Drift(confinement=0.5), IN_FLAT),
    "consensus": (pt.Attention(pt.DotProduct(1.0, form=FORM), value=pt.Difference(VALUE)), IN_FLAT),
    "l2": (l2(), IN_ALL),
    "l2, low rank": (l2(VALUE[:, :2] @ QUERY[:2], QUERY[:2]), IN_ALL),
    "l2, causal": (l2(measure=pt.Causal()), IN_ALL),
    "l2, prior": (l2(measure=pt.ALiBi(1.0, "both")), IN_ALL),
    "mean shift": (pt.Attention(pt.SquaredDistance(2.0), value=pt.Difference()), IN_ALL),
    "l2, small ball": (l2(), 0.3),
    "l2, not tied": (pt.Attention(pt.SquaredDistance(1.0, query=QUERY, key=KEY), value=LINEAR(VALUE)), IN_FLAT),
    "sphere": (pt.Attention(pt.DotProduct(1.0)), ON_SPHERE),
    "sphere, form": (dot(), ON_SPHERE),
    "sphere, l2": (l2(), ON_SPHERE),
}


def subject(law, radius):
    """The map whose constant is bounded, and the radius of the ball in which clouds are drawn."""
    if radius is ON_SPHERE:
        return FieldMap(pt.Flow(pt.Sphere(), law)), None
    return LawMap(pt.Flow(pt.Euclidean(), law)), 6.0 if math.isinf(radius) else radius


@eqx.filter_jit
def norms(moved, clouds):
    """No less than the norms of the Jacobian: its singular value, and sums over rows and columns of norms of blocks."""

    def one(x):
        jacobian = moved.jacobian(x)
        blocks = jnp.linalg.norm(jnp.moveaxis(jacobian, 2, 1), 2, axis=(2, 3))
        whole = jnp.linalg.norm(jacobian.reshape(x.size, x.size), 2)
        return {"euclidean": whole, "max": jnp.max(jnp.sum(blocks, 1)), "W1": jnp.max(jnp.sum(blocks, 0)), "W2": whole}

    return jax.lax.map(one, clouds, batch_size=100)


def largest(law, radius, trials=200):
    """The largest norms at random clouds."""
    moved, held = subject(law, radius)
    found = norms(moved, drawn(holder(moved.space, D, held), jax.random.key(1), trials, N, D))
    return {name: float(jnp.max(value)) for name, value in found.items()}


def bound(law, radius, norm, n=N):
    space = pt.Sphere() if radius is ON_SPHERE else None
    return bounds.known(law, norm, n, math.inf if radius is None else radius, space=space)


@pytest.mark.parametrize("name", LAWS)
def test_no_random_cloud_exceeds_what_is_proved(name):
    found = largest(*LAWS[name])
    proved = {norm: one for norm in found if (one := bound(*LAWS[name], norm))}
    assert {"max", "euclidean"} <= set(proved)
    for norm, one in proved.items():
        assert found[norm] <= one.value * (1 + 1e-9), (norm, one)
        assert found[norm] > 0.05 * one.value or norm in ("W1", "W2")


@pytest.mark.parametrize(
    ("law", "like", "radius"),
    [
        (dot(normalizer=pt.Mean()), dot(), 2.0),  # weights that sum to more than 1
        (l2(measure=pt.NotSelf()), l2(), IN_ALL),  # a row that does not see itself
        (l2(VALUE @ QUERY, QUERY[:1]), l2(), IN_ALL),  # values that see more than scores
        (dot() + pt.Drift(confinement=-4.0), dot(), 1.0),  # a residual connection that nobody was told of
    ],
    ids=["not normalized", "not itself", "not through W", "residual"],
)
def test_a_law_outside_of_the_proof_exceeds_what_is_proved(law, like, radius):
    moved, held = subject(law, radius)
    worst = worst_case(moved, "max", n=N, d=D, radius=held, key=jax.random.key(2), starts=6, steps=150)
    assert float(worst.value) > 1.1 * bound(like, radius, "max").value


@pytest.mark.parametrize("name", ["dot", "l2", "sphere"])
def test_the_worst_found_stays_below_and_comes_near(name):
    law, radius = LAWS[name]
    moved, held = subject(law, radius)
    for norm in ("max", "euclidean"):
        worst = worst_case(moved, norm, n=N, d=D, radius=held, key=jax.random.key(3), starts=10, steps=200)
        share = float(worst.value) / bound(law, radius, norm).value
        assert 0.1 < share <= 1 + 1e-9
        assert norm != "max" or share > 0.35


def test_formulas_agree_with_one_another_and_with_the_published_ones():
    a, v, r = 0.7, 1.3, 1.5
    s = a * r**2
    wide = v * (s + (1 + 2 * s) * np.exp(2 * s))
    assert bounds.transport_bound(a, v, r) == pytest.approx(wide, rel=1e-14)
    assert wide == pytest.approx(bounds.query_bound(a, v, r) + bounds.measure_bound(a, v, r), rel=1e-14)
    assert wide <= v * (1 + 3 * s) * np.exp(2 * s)
    assert bounds.displacement_bound(a, v, r) == pytest.approx(v * (1 + 2 * s), rel=1e-14)
    assert bounds.sphere_bound(4.0, 1.0) == pytest.approx(2 + 2 * 4.0, rel=1e-14)
    assert bounds.transport_bound(a, v, r, p=2) == pytest.approx(v * (s + (1 + s) * np.exp(s)), rel=1e-14)
    for n in (1, 2, 10, 1000, 10**9):
        labeled = bounds.euclidean_bound(a, v, r, n)
        assert labeled <= np.sqrt(3) * v * np.sqrt(s**2 * (n + 1) + n)
        assert labeled <= bounds.transport_bound(a, v, r, p=2) <= wide
        assert bounds.transport_bound(a, v, r, n=n) <= wide
    orders = [bounds.transport_bound(a, v, r, p) for p in (1, 1.3, 1.9, 2, 3, 10, math.inf)]
    assert np.all(np.diff(orders) < 0)


@pytest.mark.parametrize("n", [2, 3, 10, 1000])
def test_what_a_row_of_l2_attention_can_see_is_a_root_and_a_supremum(n):
    phi = bounds.mean_distance(n - 1)
    assert phi == pytest.approx(brentq(lambda one: one * np.exp(one + 1) - (n - 1), 0, 20, xtol=1e-14), rel=1e-10)
    mean = lambda far: np.sum(far * np.exp(-far)) / (1 + np.sum(np.exp(-far)))  # noqa: E731
    assert mean(np.full(n - 1, 1 + phi)) == pytest.approx(phi, rel=1e-12)
    if n <= 10:
        tried = [-minimize(lambda far: -mean(far**2), RNG.normal(size=n - 1)).fun for _ in range(5)]
        assert max(tried) == pytest.approx(phi, rel=1e-6)
        assert max(tried) <= phi * (1 + 1e-9)


def test_a_law_is_known_by_what_its_slots_do():
    narrow = pt.Attention(pt.DotProduct(2.0, query=QUERY[:2], key=KEY[:2]), value=pt.LowRank(VALUE[:, :2], OTHER[:2]))
    same = [
        (dot(1.4), pt.Attention(pt.DotProduct(form=FORM) + pt.DotProduct(0.4, form=FORM), value=LINEAR(VALUE))),
        (narrow, pt.Attention(pt.DotProduct(2.0, form=QUERY[:2].T @ KEY[:2]), value=LINEAR(VALUE[:, :2] @ OTHER[:2]))),
        (l2(), pt.Attention(pt.Metric(pt.maps.Affine(QUERY), 2.0), value=LINEAR(VALUE @ QUERY))),
        (l2(), pt.Attention(pt.SquaredDistance(0.5, query=2 * QUERY), value=LINEAR(VALUE @ QUERY))),
    ]
    for one, other in same:
        for norm in bounds.POWERS:
            values = [bounds.proved(law, norm, N, 1.2).value for law in (one, other)]
            assert values[0] == pytest.approx(values[1], rel=1e-12)


def test_a_law_has_the_constants_of_the_formulas():
    size = np.linalg.norm(VALUE, 2)
    for norm, p in bounds.POWERS.items():
        assert bounds.proved(dot(0.7), norm, N, 1.5).value == pytest.approx(
            bounds.transport_bound(0.7, size, 1.5, p, N), rel=1e-12
        )
    assert bounds.proved(dot(0.7), "W1", math.inf, 1.5).value == pytest.approx(
        bounds.transport_bound(0.7, size, 1.5), rel=1e-12
    )
    sphere = bounds.proved(pt.Attention(pt.DotProduct(4.0)), "max", N, space=pt.Sphere())
    assert sphere.value == pytest.approx(bounds.sphere_bound(4.0, 1.0), rel=1e-12)
    plain = bounds.proved(pt.Attention(pt.SquaredDistance(3.0)), "max", N)
    assert plain.value == pytest.approx(bounds.distance_bound(1.0, 1.0, N), rel=1e-12)
    labeled = bounds.proved(pt.Attention(pt.SquaredDistance(3.0)), "euclidean", N)
    assert labeled.value == pytest.approx(bounds.distance_euclidean_bound(1.0, 1.0, N), rel=1e-12)
    through = np.linalg.norm(VALUE @ QUERY @ np.linalg.inv(QUERY), 2) * np.linalg.norm(QUERY, 2)
    own = np.linalg.norm(VALUE @ QUERY, 2)
    assert bounds.proved(l2(), "max", N).value == pytest.approx(bounds.distance_bound(own, through, N), rel=1e-9)
    uniform = bounds.proved(pt.Attention(Constant()), "euclidean", N)
    assert uniform.value == pytest.approx(1.0, rel=1e-12)  # a projection
    assert "all of space" in plain.statement and "kim2021lipschitz" in plain.source


def test_heads_add_and_masks_keep_what_is_proved_of_displacements():
    at = lambda law, norm="max": bounds.proved(law, norm, N, 1.0).value  # noqa: E731
    assert at(dot() + l2() + pt.Drift(confinement=0.5)) == pytest.approx(at(dot()) + at(l2()) + 0.5, rel=1e-12)
    for measure in (pt.Causal(), pt.NotSelf(), pt.Window(1), pt.ALiBi(0.5, "both")):
        assert at(dot(measure=measure)) == pytest.approx(at(dot()), rel=1e-12)
    assert at(l2(measure=pt.Causal())) == pytest.approx(at(l2()), rel=1e-12)
    assert at(l2(measure=pt.Window(1))) < at(l2())  # a row that sees fewer others
    assert at(dot(), "conditional") == at(dot(), "euclidean")


@pytest.mark.parametrize(
    ("law", "norm", "n", "words"),
    [
        (pt.Attention(pt.Cosine()), "max", N, "quadratic in query and key; Cosine is not"),
        (dot(normalizer=pt.Mean()), "max", N, "normalizer Softmax; got Mean"),
        (pt.Attention(value=pt.GradScore()), "max", N, "affine in the key; GradScore is not"),
        (dot(gate=pt.gates.Constant(2.0)), "max", N, "without gates"),
        (pt.Attention(measure=pt.DensityPower(0.5)), "max", N, "does not move with the tokens; DensityPower does"),
        (dot(), "max", N, "give a finite `radius`"),
        (l2(), "W1", N, "give a finite `radius`"),
        (l2(measure=pt.NotSelf()), "max", N, "every token sees itself"),
        (l2(VALUE, QUERY[:1]), "max", N, "values are U W x"),
        (dot(measure=pt.Causal()), "W1", N, "knows its tokens by their index"),
        (pt.Drift(stimulus=RNG.normal(size=(N, D))), "W2", N, "knows its tokens by their index"),
        (dot(), "euclidean", math.inf, "use W2 for measures"),
        (dot(), "largest", N, "`norm` must be one of euclidean"),
        (dot(), "max", 2.5, "`n` is a number of tokens"),
        (pt.FeedForward(pt.Perceptron((VALUE, QUERY))), "max", N, "affine, as Drift; FeedForward is not"),
        (pt.Cross(dot(), (0, 2), (2, 4)), "max", N, "Attention, sums of it, and Drift; got Cross"),
        (dot(measure=pt.Masses(np.ones(4) / 4)), "max", N, "not one for 6 tokens"),
    ],
)
def test_what_no_proof_serves_is_refused_with_the_assumption(law, norm, n, words):
    with pytest.raises(ValueError, match=words):
        bounds.proved(law, norm, n)
    if norm in bounds.POWERS and n != math.inf:
        assert bounds.known(law, norm, n) is None


def test_other_spaces_and_numbers_held_back_are_refused():
    with pytest.raises(ValueError, match="in Euclidean space and on a Sphere; got Ball"):
        bounds.proved(dot(), "max", N, 1.0, space=pt.Ball())
    with pytest.raises(ValueError, match="no map of measures"):
        bounds.proved(dot(), "W1", N, space=pt.Sphere())
    with pytest.raises(ValueError, match="`radius` must be positive"):
        bounds.proved(dot(), "max", N, -1.0)
    with pytest.raises(ValueError, match="outside of jit and grad"):
        jax.jit(lambda slope: bounds.proved(dot(slope), "max", N, 1.0).value)(1.0)


def pairs(trials, n=N):
    """Clouds near one another and far apart, in the unit ball."""
    clouds = np.array(drawn(pt.Ball(1.0), jax.random.key(7), 2 * trials, n, D)).reshape(trials, 2, n, D)
    near = clouds[::2, 0] + 0.05 * RNG.normal(size=(len(clouds[::2]), n, D))
    clouds[::2, 1] = near / np.maximum(1, np.linalg.norm(near, axis=-1, keepdims=True))
    return clouds


@pytest.mark.parametrize("slope", [0.02, 1.0])
def test_distances_of_measures_and_what_one_token_sees_keep_their_bounds(slope):
    law, clouds = dot(slope), pairs(100)
    images = np.asarray(jax.vmap(jax.vmap(LawMap(pt.Flow(pt.Euclidean(), law))))(jnp.asarray(clouds)))
    apart = np.array([[wasserstein(*one, p=p) for p in (1.0, 2.0)] for one in clouds])
    moved = np.array([[wasserstein(*one, p=p) for p in (1.0, 2.0)] for one in images])
    for k, p in enumerate((1, 2)):
        assert np.max(moved[:, k] / apart[:, k]) <= bounds.transport_bound(slope, 1.0, 1.0, p, N)
    seen = lambda y: law.between(jnp.zeros(()), jnp.asarray(clouds[0, 0]), y, pt.Dense())  # noqa: E731
    gamma = np.asarray(jax.vmap(jax.vmap(seen))(jnp.asarray(clouds)))
    change = np.linalg.norm(gamma[:, 0] - gamma[:, 1], axis=-1).max(axis=1)
    assert np.max(change / apart[:, 0]) <= bounds.measure_bound(slope, 1.0, 1.0)
    query = jax.jacobian(lambda x: law.between(jnp.zeros(()), x[None], jnp.asarray(clouds[0, 0]), pt.Dense())[0])
    slopes = np.linalg.norm(np.asarray(jax.vmap(query)(jnp.asarray(clouds[:, 1, 0]))), 2, axis=(1, 2))
    assert np.max(slopes) <= bounds.query_bound(slope, 1.0, 1.0)


@pytest.mark.parametrize("kind", ["additive", "l2"])
def test_a_general_potential_keeps_its_bound(kind):
    if (
        kind == "additive"
    ):  # u tanh(W x + W' y): slopes at most |u| |W'|, the mixed derivative at most 0.77 |u| |W| |W'|
        u, w, other = np.array([0.4, -0.3]), QUERY[:2], KEY[:2]
        score, size = pt.Additive(u, w, other), np.abs(u).sum()
        low, high = np.exp(-size), np.exp(size)
        steepest, mixed = high * np.linalg.norm(u), 4 / (3 * np.sqrt(3)) * np.abs(u).max()
    else:
        score = pt.SquaredDistance(0.5)
        low, high, steepest, mixed = np.exp(-0.25 * 4), 1.0, 0.5 * 2, 0.5
    law = pt.Attention(score, value=LINEAR(VALUE))
    found = largest(law, 1.0)["W1"]
    assert 0.1 < found <= bounds.potential_bound(1.0, 2.0, low, high, steepest, mixed)


def test_the_published_constants_of_several_heads():
    k, d, heads = 2, 4, 2
    query, value = RNG.normal(size=(2, heads, d, k))
    output = RNG.normal(size=(heads * k, d))
    laws = []
    for h in range(heads):
        seen = (query[h] @ query[h].T / np.sqrt(k) @ value[h] @ output[h * k : (h + 1) * k]).T
        laws.append(pt.Attention(pt.SquaredDistance(2 / np.sqrt(k), query=query[h].T), value=LINEAR(seen)))
    moved = LawMap(pt.Flow(pt.Euclidean(), laws[0] + laws[1]))
    clouds = drawn(pt.Ball(4.0), jax.random.key(0), 200, N, d)
    jacobians = np.asarray(jax.jit(jax.vmap(moved.jacobian))(clouds)).reshape(-1, N * d, N * d)
    entries, whole = np.abs(jacobians).sum(axis=2).max(), np.linalg.norm(jacobians, 2, axis=(1, 2)).max()
    assert entries <= bounds.multihead_entry_bound(query, value, output, N)
    assert whole <= bounds.multihead_euclidean_bound(query, value, output, N)
    proved = bounds.proved(laws[0] + laws[1], "euclidean", N).value
    assert whole <= proved
    # with the square in place of the fourth power, a large W is not bounded: all tokens at one place
    large = 50.0
    wide = np.linalg.norm(large**2 * sum(np.asarray(law.value.matrix) for law in laws), 2)
    heads_of = [np.linalg.norm(large * w, 2) * np.linalg.norm(v, 2) for w, v in zip(query, value, strict=True)]
    phi = bounds.mean_distance(N - 1)
    squared = np.sqrt(N / k) * (4 * phi + 1) * np.linalg.norm(heads_of) * np.linalg.norm(output, 2)
    assert wide > squared
    assert wide <= bounds.multihead_euclidean_bound(large * query, value, output, N)
