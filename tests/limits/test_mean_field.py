"""Densities moved by laws: conservation, agreement with tokens, growth, noise, and what is refused."""

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy.integrate import quad
from scipy.special import eval_legendre, iv

import particles as pt
from particles import limits
from particles.limits import circle_modes

USA = pt.Attention(pt.DotProduct(2.0), normalizer=pt.Mean())
ZERO = jnp.zeros(())


def rates(flow, state):
    return eqx.filter_jit(flow)(ZERO, state)


@pytest.mark.parametrize("domain", [limits.Circle(12, 36), limits.Zonal(3, 8, 24, 8), limits.Zonal(6, 8, 24, 8)])
def test_a_basis_is_orthonormal_and_its_slopes_are_slopes(domain):
    basis, weights = domain.basis(), domain.weights()
    flat = basis.reshape(len(weights), -1)[:, [k for k in range(flat_size(domain)) if k != 1 or domain.components == 1]]
    np.testing.assert_allclose(np.einsum("a,ak,al->kl", weights, flat, flat), np.eye(flat.shape[1]), atol=1e-12)
    middle = len(weights) // 2
    s, step = domain.coordinate(), 1e-6
    if domain.components == 2:
        difference = (np.cos(3 * (s[middle] + step)) - np.cos(3 * (s[middle] - step))) / (2 * step)
        assert domain.slopes()[middle, 3, 0] == pytest.approx(np.sqrt(2) * difference, rel=1e-6)
    elif domain.dim == 3:
        difference = (eval_legendre(3, s[middle] + step) - eval_legendre(3, s[middle] - step)) / (2 * step)
        assert domain.slopes()[middle, 3, 0] == pytest.approx(np.sqrt(7) * difference, rel=1e-6)


def flat_size(domain):
    return domain.modes * domain.components


def test_coefficients_give_the_density_back():
    domain = limits.Circle(24, 64)
    bump = lambda theta: np.exp(np.cos(theta - 1))  # noqa: E731
    mass, _ = quad(lambda theta: bump(theta) / (2 * np.pi), 0, 2 * np.pi)
    state = domain.coefficients(bump)
    np.testing.assert_allclose(domain.density(state), bump(domain.coordinate()) / mass, rtol=1e-12)
    assert state[0, 0] == pytest.approx(1)


@pytest.mark.parametrize("normalizer", [pt.Mean(), pt.Softmax(), pt.Sinkhorn(), pt.normalizers.Sigmoid()])
def test_many_tokens_move_as_their_density_does(normalizer):
    """For any law: the modes of tokens at quantiles change at the rate that the mean-field flow says."""
    law = pt.Attention(pt.DotProduct(1.0), normalizer=normalizer)
    place = lambda u: u + 0.5 * np.sin(u)  # noqa: E731
    angle = place(circle_modes.quantiles(256))
    x = jnp.asarray(np.stack([np.cos(angle), np.sin(angle)], axis=1))
    velocity = np.asarray(eqx.filter_jit(pt.Flow(pt.Sphere(), law))(ZERO, x))
    speed = np.cos(angle) * velocity[:, 1] - np.sin(angle) * velocity[:, 0]
    m = circle_modes.push_forward(place, 48)
    scale = np.where(np.arange(48) == 0, 1, np.sqrt(2))
    state = jnp.asarray(np.stack([scale * m.real, -scale * m.imag], axis=1))
    change = np.asarray(rates(limits.MeanField(law, limits.Circle(48, 144)), state))
    for k in (1, 2, 5):
        expected = np.mean(-1j * k * speed * np.exp(-1j * k * angle))
        assert (change[k, 0] - 1j * change[k, 1]) / np.sqrt(2) == pytest.approx(expected, abs=1e-8)
        assert abs(expected) > 1e-6
    assert change[0, 0] == 0


def test_mode_equations_are_those_of_the_kernel():
    m = circle_modes.push_forward(lambda u: u + 0.4 * np.sin(u) + 0.1 * np.cos(2 * u), 40)
    change = circle_modes.mode_rates(m, 2.0, kappa=3.0)
    theta = circle_modes.quantiles(2048)
    density = np.real(m[0] + 2 * np.exp(1j * np.outer(theta, np.arange(1, 40))) @ m[1:])
    pull = [np.mean(np.exp(2.0 * np.cos(theta - t)) * np.sin(theta - t) * density) for t in theta[:: 2048 // 64]]
    assert len(pull) == 64
    sampled = density[:: 2048 // 64] * np.asarray(pull) * np.exp(-1j * theta[:: 2048 // 64])
    expected = -1j * sampled.mean() - m[1] / 3
    assert change[1] == pytest.approx(expected, abs=1e-10)
    assert circle_modes.mode_rates(m, 2.0)[1] != pytest.approx(expected, abs=1e-3)


def test_without_heat_mode_equations_are_kuramotos():
    m = circle_modes.push_forward(lambda u: u + 0.4 * np.sin(u), 30)
    np.testing.assert_allclose(circle_modes.mode_rates(m, 0.0), circle_modes.mode_rates(m, 1e-9), atol=1e-8)


@pytest.mark.parametrize("dim", [3, 5])
@pytest.mark.parametrize("kind", ["mean", "softmax"])
def test_waves_on_the_sphere_grow_at_the_rate_of_an_integral(dim, kind):
    """The rate by Funk and Hecke: an integral of the kernel against a Gegenbauer polynomial, here of degree 1."""
    beta, k = 3.0, 1
    weight = lambda z: (1 - z * z) ** ((dim - 3) / 2)  # noqa: E731
    total = quad(weight, -1, 1)[0]
    moment = quad(lambda z: np.exp(beta * z) * z * weight(z), -1, 1)[0] / total
    mass = quad(lambda z: np.exp(beta * z) * weight(z), -1, 1)[0] / total
    expected = (dim - 1) * moment / beta / (mass if kind == "softmax" else 1)
    assert limits.growth.growth_rate(k, dim, beta, kind) == pytest.approx(expected, rel=1e-10)
    law = pt.Attention(pt.DotProduct(beta), normalizer=pt.Softmax() if kind == "softmax" else pt.Mean())
    state = jnp.zeros((10, 1)).at[0, 0].set(1.0).at[k, 0].set(1e-6)
    change = rates(limits.MeanField(law, limits.Zonal(dim, 10, 32, 24)), state)
    assert change[k, 0] / 1e-6 == pytest.approx(expected, rel=1e-5)


@pytest.mark.parametrize("domain", [limits.Circle(12, 36), limits.Zonal(3, 8, 24, 8)])
def test_laws_made_of_laws_act_on_densities(domain):
    state = domain.coefficients(lambda angle: np.exp(np.cos(angle)))
    plain = rates(limits.MeanField(USA, domain), state)
    scheduled = pt.Scheduled(USA, (pt.schedules.Piecewise("score.beta", [2.0, 5.0], [1.0]),))
    np.testing.assert_allclose(rates(limits.MeanField(scheduled, domain), state), plain, rtol=1e-12, atol=1e-14)
    if domain.together:
        heads = pt.TalkingHeads((USA,), [[2.0]])
        np.testing.assert_allclose(rates(limits.MeanField(heads, domain), state), 2 * plain, rtol=1e-12, atol=1e-14)


def test_noise_spreads_a_density():
    flow = limits.MeanField(USA, limits.Circle(16, 48), sigma=1.2)
    still = limits.MeanField(USA, limits.Circle(16, 48))
    state = flow.domain.coefficients(lambda theta: np.exp(np.cos(theta)))
    difference = rates(flow, state) - rates(still, state)
    k = np.arange(16.0)
    np.testing.assert_allclose(difference, -(1.2**2 / 2 * k**2)[:, None] * np.asarray(state), atol=1e-12)


def test_thresholds_and_branches():
    assert limits.growth.threshold(2, 2.0) == pytest.approx(2.0 / iv(1, 2.0), rel=1e-12)
    assert limits.growth.threshold(2, 0.0) == pytest.approx(limits.growth.threshold(2, 1e-6), rel=1e-5)
    r = circle_modes.order_parameter(4.0)
    assert r == pytest.approx(iv(1, 4 * r) / iv(0, 4 * r), rel=1e-12)
    assert circle_modes.order_parameter(1.9) == 0
    assert circle_modes.stationary(4.0, 0.0)[1] == pytest.approx(r, rel=1e-8)
    critical = circle_modes.tricritical(2)
    assert iv(2, critical) / iv(1, critical) == pytest.approx(0.5, rel=1e-12)


@pytest.mark.parametrize(
    ("make", "words"),
    [
        (lambda: limits.Circle(20, 30), "20 modes need at least 50 nodes; got 30"),
        (lambda: limits.MeanField(pt.Attention(measure=pt.Causal())), "knows no order"),
        (lambda: limits.MeanField(USA + pt.Attention(measure=pt.Masses([0.5, 0.5]))), "no masses of its own"),
        (
            lambda: limits.MeanField(pt.Cross(pt.Attention(), (0, 2), (2, 4))),
            "does not act on tokens of other masses",
        ),
        (
            lambda: limits.MeanField(pt.TalkingHeads((pt.Attention(),), [[2.0]]), limits.Zonal()),
            "TalkingHeads runs on the Circle",
        ),
        (
            lambda: limits.MeanField(pt.Attention(normalizer=pt.Sinkhorn()), limits.Zonal()),
            "Sinkhorn runs on the Circle",
        ),
        (
            lambda: limits.MeanField(pt.Attention(pt.DotProduct(form=np.diag([1.0, 2.0, 3.0]))), limits.Zonal()),
            "the same all around the first axis",
        ),
        (lambda: limits.Circle().coefficients(lambda theta: -1.0 + 0 * theta), "a density has a positive mass"),
    ],
)
def test_what_cannot_work_is_refused(make, words):
    with pytest.raises(ValueError, match=words):
        make()


def test_a_wrong_state_and_what_is_of_tokens_are_refused():
    flow = limits.MeanField(USA, limits.Circle(8, 24))
    with pytest.raises(ValueError, match=r"coefficients of shape \(8, 2\)"):
        pt.solve(flow, jnp.zeros((5, 2)), pt.Plan(1.0))
    with pytest.raises(ValueError, match="numbers of tokens"):
        pt.solve(flow, jnp.zeros((8, 2)), pt.Plan(1.0, watch=("energy",)))


def test_a_density_is_differentiated_and_kept_like_tokens(tmp_path):
    domain = limits.Circle(8, 24)
    start = domain.coefficients(lambda theta: 1 + 0.5 * np.cos(theta))
    plan = pt.Plan(0.5, save=2)

    def end(beta):
        law = pt.Attention(pt.DotProduct(beta), normalizer=pt.Mean())
        return pt.solve(limits.MeanField(law, domain), start, plan).final[1, 0]

    slope = jax.grad(end)(1.0)
    assert float(slope) == pytest.approx(float(end(1.0 + 1e-4) - end(1.0 - 1e-4)) / 2e-4, rel=1e-4)
    record = pt.simulate(limits.MeanField(USA, domain), start, plan, tmp_path / "run", progress=False)
    np.testing.assert_allclose(record.dataset.tokens[-1, 0], [1.0, 0.0], atol=0)


def test_an_inner_iteration_is_looked_at_on_the_density():
    domain = limits.Circle(8, 24)
    state = domain.coefficients(lambda theta: np.exp(np.cos(theta)))
    for sweeps, missed in ((200, False), (1, True)):
        law = pt.Attention(pt.DotProduct(4.0), normalizer=pt.Sinkhorn(sweeps=sweeps))
        assert bool(eqx.filter_jit(limits.MeanField(law, domain).unsolved)(ZERO, state)) is missed
