"""Blocks applied for ever: fixed points, their derivatives, spectra, and what is told when there is none."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy.optimize import root

import particles as pt
from particles import limits
from particles.limits.fixed_point import Block, asymptotic_rate, fixed_point, spectrum

RNG = np.random.default_rng(0)
C = jnp.asarray(RNG.normal(size=(5, 2)))
FORM, VALUE = 0.3 * RNG.normal(size=(2, 2)), 0.3 * RNG.normal(size=(2, 2))


def block(c=C, value=VALUE):
    law = pt.Attention(pt.DotProduct(1.0, form=FORM), value=pt.values.Linear(value))
    return Block(law + pt.Drift(stimulus=c))


def written_out(x):
    """The same block, by NumPy."""
    weights = np.exp(x @ FORM @ x.T)
    return weights / weights.sum(axis=1, keepdims=True) @ x @ VALUE.T + np.asarray(C)


@pytest.mark.parametrize("method", ["iteration", "Newton"])
def test_the_fixed_point_is_that_of_scipy(method):
    found = fixed_point(block(), C, method)
    expected = root(
        lambda x: (written_out(x.reshape(5, 2)) - x.reshape(5, 2)).ravel(), np.asarray(C).ravel(), tol=1e-13
    )
    assert found.converged
    np.testing.assert_allclose(found.x.ravel(), expected.x, atol=1e-10)
    seen = found.residuals[jnp.isfinite(found.residuals)]
    assert seen.shape[0] == found.passes + 1 and seen[-1] < 1e-12 < seen[-2]


def test_newton_takes_few_steps():
    assert fixed_point(block(), C, "Newton").passes < 8 < fixed_point(block(), C).passes


def test_its_derivative_is_that_of_finite_differences():
    def first(c):
        return fixed_point(block(c), C, tolerance=1e-14).x[0, 0]

    slope = jax.grad(first)(C)[1, 1]
    step = jnp.zeros_like(C).at[1, 1].set(1e-5)
    assert float(slope) == pytest.approx(float(first(C + step) - first(C - step)) / 2e-5, rel=1e-6)
    three = jax.grad(lambda c: block(c)(block(c)(block(c)(C)))[0, 0])(C)[1, 1]  # through passes: not yet there
    assert abs(three - slope) > 1e-6


def test_an_expanding_block_is_told_and_its_best_iterate_kept():
    found = fixed_point(block(value=3 * np.eye(2)), C, passes=30)
    assert not found.converged
    assert np.all(np.isfinite(found.x))
    least = float(jnp.nanmin(found.residuals))
    assert float(limits.fixed_point.residual_of(block(value=3 * np.eye(2)), found.x)) == pytest.approx(least, rel=1e-12)


def test_an_overflowing_block_is_told():
    found = fixed_point(block(value=1e200 * np.eye(2)), C, passes=5)
    assert not found.converged and np.all(np.isfinite(found.x))


def test_the_spectrum_is_the_rate():
    found = fixed_point(block(), C)
    values = spectrum(block(), found.x)
    assert values.shape == (10,)
    assert asymptotic_rate(found.residuals) == pytest.approx(abs(values[0]), rel=0.05)


def test_large_spectra_are_those_of_the_dense_jacobian(monkeypatch):
    found = fixed_point(block(), C)
    every = np.abs(spectrum(block(), found.x))
    monkeypatch.setattr(limits.fixed_point, "DENSE", 1)
    np.testing.assert_allclose(np.abs(spectrum(block(), found.x, largest=3)), every[:3], rtol=1e-8)


def test_an_unknown_method_is_refused():
    with pytest.raises((ValueError, TypeError), match="iteration"):
        fixed_point(block(), C, "Broyden")


def test_two_injected_tokens():
    c, v, a = 0.7, 0.6, 1.3
    assert limits.injected.unique(0.62) and not limits.injected.unique(0.63)
    y = limits.injected.place(c, v, a)
    assert y == pytest.approx(c + v * y * np.tanh(a * y * y), rel=1e-13)
    step = 1e-6
    slope = (limits.injected.place(c + step, v, a) - limits.injected.place(c - step, v, a)) / (2 * step)
    assert limits.injected.sensitivity(c, v, a) == pytest.approx(slope, rel=1e-6)
    pair = Block(
        pt.Attention(pt.DotProduct(a), value=pt.values.Linear(v)) + pt.Drift(stimulus=jnp.asarray([[c], [-c]]))
    )
    values = np.sort(np.abs(spectrum(pair, jnp.asarray([[y], [-y]]))))
    np.testing.assert_allclose(values, np.sort(np.abs(limits.injected.rates(c, v, a))), rtol=1e-10)
    with pytest.raises(ValueError, match=r"below 0\.624"):
        limits.injected.place(c, 0.9, a)
