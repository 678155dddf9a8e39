"""The discrete network and where it goes: placements of the normalization, splittings, radii, clocks.

Formulas of each placement: Karagodin et al., 2510.22026; splittings: Lu et al., 1906.02762; that post-normalization is
Euler's method on a slower clock, and that normalizing apart is not normalizing together, derived by hand.
"""

import dataclasses

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from samples import on_sphere
from scipy.integrate import solve_ivp

import particles as pt
from particles.declaration import family
from particles.laws.norm import direction

BETA, UNTIL = 2.0, 2.0
ZERO = jnp.zeros(())
X = on_sphere()
ATTENTION = pt.Attention(pt.DotProduct(BETA))
RNG = np.random.default_rng(1)
FEED = pt.FeedForward(pt.Perceptron((RNG.normal(size=(8, 3)), 0.3 * RNG.normal(size=(3, 8)))))
NORMS = {
    "Residual": pt.norms.Residual(),
    "Post": pt.norms.Post(),
    "Pre": pt.norms.Pre(),
    "Peri": pt.norms.Peri(),
    "Mix": pt.norms.Mix(1.0),
    "NGPT": pt.norms.NGPT(0.7),
    "SqrtDepth": pt.norms.SqrtDepth(),
}


def solved(layers, count, x=X, until=UNTIL):
    """The end of a network as `solve` has it."""
    return pt.solve(layers, x, pt.Plan(until=until, save=1, solver="Layers", dt=until / count)).final


@eqx.filter_jit
def _stacked(layers, x, h, count):
    return jax.lax.fori_loop(0, count, lambda k, x: layers.layer(k * h, h, x), x)


def network(layers, count, x=X, until=UNTIL):
    """The same as a bare loop, which is traced in no time."""
    return _stacked(layers, x, jnp.asarray(until / count), jnp.asarray(count))


@eqx.filter_jit
def _followed(flow, x, h, count):
    def step(k, x):
        t = k * h
        k1 = flow(t, x)
        k2 = flow(t + h / 2, x + h / 2 * k1)
        k3 = flow(t + h / 2, x + h / 2 * k2)
        k4 = flow(t + h, x + h * k3)
        return flow.space.project(x + h / 6 * (k1 + 2 * k2 + 2 * k3 + k4))

    return jax.lax.fori_loop(0, count, step, x)


def limit(law, norm, x=X, until=UNTIL):
    """The flow, by the classical method in steps that end where `Mix` changes: error below 1e-8."""
    space = pt.Sphere() if norm.spherical else pt.Euclidean()
    parts = [(0.0, 1.0), (1.0, until)] if norm.jumps else [(0.0, until)]
    for first, last in parts:
        here = with_norm(law, pt.norms.Pre() if first else pt.norms.Post()) if norm.jumps else law
        x = _followed(pt.Flow(space, here), x, jnp.asarray((last - first) / 512), jnp.asarray(512))
    return x


def with_norm(law, norm):
    """A normalized law, or a sum of them, with another placement."""
    if isinstance(law, pt.Sum):
        return pt.Sum(tuple(with_norm(part, norm) for part in law.laws))
    return dataclasses.replace(law, norm=norm)


def order(layers, reference):
    """The order measured between 32 and 64 layers, whose asymptotic range has begun."""
    errors = [float(jnp.max(jnp.abs(network(layers, count) - reference))) for count in (32, 64)]
    return np.log2(errors[0] / errors[1])


def test_every_placement_is_here():
    assert set(NORMS) == set(family(pt.norms.AbstractNorm))


@pytest.mark.parametrize("name", NORMS)
def test_layers_tend_to_their_flow(name):
    norm = NORMS[name]
    reference = limit(pt.Normalized(ATTENTION, norm), norm)
    assert abs(order(pt.Layers(ATTENTION, norm), reference) - 1) < 0.1


@pytest.mark.parametrize("name", ["Residual", "Post", "Pre", "Peri", "Mix", "NGPT", "SqrtDepth"])
def test_macaron_layers_are_of_order_two_if_their_halves_are(name):
    norm = NORMS[name]
    reference = limit(pt.Normalized(ATTENTION, norm) + pt.Normalized(FEED, norm), norm)
    assert abs(order(pt.Layers(ATTENTION + FEED, norm, "Strang", stages=2), reference) - 2) < 0.1


def test_splitting_alone_does_not_raise_the_order():
    reference = limit(pt.Normalized(ATTENTION + FEED, NORMS["Post"]), NORMS["Post"])
    for splitting, stages in (("Lie", 1), ("Strang", 1), ("Lie", 2)):
        assert abs(order(pt.Layers(ATTENTION + FEED, splitting=splitting, stages=stages), reference) - 1) < 0.1


def test_normalizing_branches_apart_is_another_flow():
    together = limit(pt.Normalized(ATTENTION + FEED, NORMS["Peri"]), NORMS["Peri"])
    split = network(pt.Layers(ATTENTION + FEED, NORMS["Peri"], "Lie"), 512)
    assert jnp.max(jnp.abs(split - together)) > 0.1


def formula(name, t, h, x):
    """One layer as the table of placements has it."""
    n = lambda v: v / np.linalg.norm(v, axis=1, keepdims=True)  # noqa: E731

    def a(x):
        w = np.exp(BETA * x @ x.T)
        return (w / w.sum(1, keepdims=True)) @ x

    return {
        "Residual": lambda: x + h * a(x),
        "Post": lambda: n(x + h * a(x)),
        "Pre": lambda: x + h * a(n(x)),
        "Peri": lambda: x + h * n(a(n(x))),
        "Mix": lambda: n(x + h * a(x)) if t < 1 else x + h * a(n(x)),
        "NGPT": lambda: n(x + h * 0.7 * n(a(x))),
        "SqrtDepth": lambda: n(x + h * a(x) / np.sqrt(t + 1)),
    }[name]()


@pytest.mark.parametrize("name", NORMS)
def test_a_network_is_its_loop(name):
    x, h = np.asarray(X), 0.25
    for k in range(8):
        x = formula(name, k * h, h, x)
    np.testing.assert_allclose(network(pt.Layers(ATTENTION, NORMS[name]), 8), x, rtol=1e-12)
    if name in ("Mix", "NGPT"):
        np.testing.assert_allclose(solved(pt.Layers(ATTENTION, NORMS[name]), 8), x, rtol=1e-12)
    if name != "Residual":
        assert np.max(np.abs(network(pt.Layers(ATTENTION), 8) - x)) > 1e-3 or name == "Post"


def test_post_normalization_is_euler_on_a_clock_of_each_token():
    h, x, v = 0.3, np.asarray(X), np.asarray(on_sphere(seed=4))
    along = np.sum(x * v, axis=1, keepdims=True)
    slower = h / (1 + h * along)
    layer, euler = direction(X + h * v), lambda step: direction(X + step * (v - along * x))
    np.testing.assert_allclose(layer, euler(slower), atol=1e-14)
    assert np.max(np.abs(layer - euler(h))) > 1e-2


def test_the_radius_before_the_branch_grows_as_the_scalar_product_says():
    """Equiangular tokens under pre-normalization solve two scalar equations for radius and overlap."""
    n, until = 8, 3.0

    def rates(t, state, radius):
        r, g = state
        e, eg = np.exp(BETA), np.exp(BETA * g)
        d = e + (n - 1) * eg
        return [radius(e, eg, g, d), 2 * eg * (1 - g) * ((n - 1) * g + 1) / (d * r)]

    def solved(radius):
        return solve_ivp(rates, (0, until), [1.0, 0.2], args=(radius,), rtol=1e-11, atol=1e-13).y[:, -1]

    start = pt.starts.Equiangular(n, n, 0.2)(pt.Sphere(), jax.random.key(0))
    x = limit(pt.Normalized(ATTENTION, pt.norms.Pre()), pt.norms.Pre(), start, until)
    radius = float(jnp.linalg.norm(x[0]))
    measured = np.array([radius, float(x[0] @ x[1]) / radius**2])
    np.testing.assert_allclose(measured, solved(lambda e, eg, g, d: (e + (n - 1) * g * eg) / d), rtol=1e-8)
    published = solved(lambda e, eg, g, d: 1.0)  # the radius as a script has it that adds up all weights
    assert np.max(np.abs(measured - published)) > 1e-2


def test_layers_with_weights_of_their_own():
    betas, h = [1.0, 4.0, 0.5, 2.0], 0.5
    law = pt.Scheduled(ATTENTION, (pt.schedules.Piecewise("score.beta", betas, [0.5, 1.0, 1.5]),))
    x = X
    for beta in betas:
        x = network(pt.Layers(pt.Attention(pt.DotProduct(beta))), 1, x, h)
    np.testing.assert_allclose(network(pt.Layers(law), 4), x, atol=1e-13)
    assert jnp.max(jnp.abs(network(pt.Layers(ATTENTION), 4) - x)) > 1e-2


def test_gradients_go_through_the_layers():
    def loss(scale):
        layers = pt.Layers(pt.Attention(pt.DotProduct(scale)), pt.norms.Peri())
        return jnp.sum(solved(layers, 8)[0])

    both, h = jax.jit(jax.value_and_grad(loss)), 1e-5
    numeric = (both(BETA + h)[0] - both(BETA - h)[0]) / (2 * h)
    np.testing.assert_allclose(both(BETA)[1], numeric, rtol=1e-6)


def test_what_a_network_refuses():
    with pytest.raises(ValueError, match="Lie splitting takes the terms of a sum of laws"):
        pt.Layers(ATTENTION, splitting="Lie")
    with pytest.raises(ValueError, match="takes constant steps: give `dt`"):
        pt.solve(pt.Layers(ATTENTION), X, pt.Plan(until=1.0, solver="Layers", dt=None))
    with pytest.raises(ValueError, match="this Layers is a network of layers. Use Layers"):
        pt.solve(pt.Layers(ATTENTION), X, pt.Plan(until=1.0))
