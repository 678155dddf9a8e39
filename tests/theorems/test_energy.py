"""Attention climbs its energy: dE/dt = sum_i pi_i Z_i |x_i'|^2 for softmax, without Z_i for the mean; V = -I descends.

Source: 2312.10794, section 3; masses and the general symmetric form derived by hand.
"""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from samples import MASSES, N, on_sphere

import particles as pt
from particles.observables import Energy

SYMMETRIC = np.array([[1.0, 0.3, 0.0], [0.3, 0.5, -0.2], [0.0, -0.2, 0.8]])
SKEWED = SYMMETRIC + np.array([[0.0, 0.9, 0.0], [-0.9, 0.0, 0.0], [0.0, 0.0, 0.0]])
BETA = 3.0


def identity_holds(form, value, normalizer=None, masses=None):
    """Whether the derivative of the energy along the field is the dissipation of the formula."""
    measure = pt.Masses(masses) if masses is not None else pt.measures.Uniform()
    normalizer = normalizer or pt.Softmax()
    law = pt.Attention(pt.DotProduct(BETA, form=form), measure, normalizer, pt.values.Linear(value))
    flow, x, zero = pt.Flow(pt.Sphere(), law), on_sphere(), jnp.zeros(())
    field = flow(zero, x)
    _, climbed = jax.jvp(lambda x: Energy()(flow, zero, x), (x,), (field,))
    p = np.full(N, 1 / N) if masses is None else masses
    z = np.exp(BETA * np.asarray(x) @ form @ np.asarray(x).T) @ p if isinstance(normalizer, pt.Softmax) else np.ones(N)
    dissipated = np.sum(p * z * np.sum(np.asarray(field) ** 2, axis=1))
    return np.isclose(climbed, dissipated, rtol=1e-12)


@pytest.mark.parametrize("normalizer", [pt.Softmax(), pt.Mean()])
@pytest.mark.parametrize("masses", [None, MASSES])
def test_energy_identity(normalizer, masses):
    assert identity_holds(np.eye(3), np.eye(3), normalizer, masses)
    assert identity_holds(SYMMETRIC, SYMMETRIC, normalizer, masses)


def test_the_identity_can_fail():
    assert not identity_holds(SKEWED, SKEWED)
    assert not identity_holds(SYMMETRIC, np.eye(3))


def energies(flow, until=2.0):
    run = pt.solve(flow, on_sphere(20), pt.Plan(until=until, save=50, watch=("energy",), rtol=1e-9, atol=1e-11))
    assert run.status == pt.Status.done  # NaN compares False: a control must fail for the right reason
    return np.asarray(run.observed["energy"])


def never_falls(energy):
    return bool(np.all(np.diff(energy) > -1e-9 * abs(energy[-1])))


def test_energy_never_falls_and_repulsion_makes_it_fall():
    flow = pt.Flow(pt.Sphere(), pt.Attention(pt.DotProduct(BETA)))
    repelled = dataclasses.replace(flow, law=dataclasses.replace(flow.law, value=pt.values.Linear(-1.0)))
    assert never_falls(energies(flow))
    assert never_falls(-energies(repelled))
    assert not never_falls(energies(repelled))


def test_energy_is_that_of_the_literature():
    x = np.asarray(on_sphere())
    flow = pt.Flow(pt.Sphere(), pt.Attention(pt.DotProduct(BETA)))
    expected = np.exp(BETA * x @ x.T).sum() / (2 * BETA * N**2)
    np.testing.assert_allclose(Energy()(flow, jnp.zeros(()), jnp.asarray(x)), expected, rtol=1e-13)


def test_energy_without_its_constant_at_beta_zero_is_the_limit():
    x = on_sphere()
    energy = lambda beta: float(Energy()(pt.Flow(pt.Sphere(), pt.Attention(pt.DotProduct(beta))), jnp.zeros(()), x))  # noqa: E731
    assert np.isclose(energy(0.0), 0.5 * float(jnp.sum(jnp.mean(x, axis=0) ** 2)), rtol=1e-12)
    assert np.isclose(energy(1e-5) - 1 / 2e-5, energy(0.0), atol=1e-5)


def test_the_derivative_of_the_energy_at_beta_zero_is_the_limit():
    """d/d beta of E(beta) - 1 / (2 beta) at 0, by central differences: rounding 1e-16 / h^2, error h^2."""
    x, h = on_sphere(), 1e-3

    def energy(beta):
        return Energy()(pt.Flow(pt.Sphere(), pt.Attention(pt.DotProduct(beta))), jnp.zeros(()), x)

    numeric = (energy(h) - 1 / (2 * h) - energy(-h) + 1 / (-2 * h)) / (2 * h)
    np.testing.assert_allclose(jax.jit(jax.grad(energy))(0.0), numeric, rtol=1e-5)
