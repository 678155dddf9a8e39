"""Gaussian clouds of keys, by quadrature: where softmax is an affine map, and how fast each normalizer moves N(0, 1).

Softmax over N(a, S) tilts the Gaussian: derived by completing squares, as are the velocities at a finite bandwidth.
Their limits are those of diffusion maps (coifman2006diffusion) and of the Sinkhorn flow (2110.11773).
"""

import jax.numpy as jnp
import numpy as np
import pytest
from reference import between, field, off
from samples import tokens

import particles as pt

A = np.array([0.4, -0.7])
ROOT = np.array([[0.8, 0.0], [0.3, 0.5]])
S = ROOT @ ROOT.T
B = np.array([[0.9, 0.6], [-0.4, 0.7]])
V = np.array([[1.0, 0.5], [-0.2, 0.8]])
K = np.array([[0.5, 0.2], [-0.3, 0.9]])


def gaussian_keys(nodes=30):
    """Nodes and masses of a Gauss-Hermite rule for N(A, S)."""
    points, w = np.polynomial.hermite_e.hermegauss(nodes)
    w = w / w.sum()
    grid = np.stack(np.meshgrid(points, points, indexing="ij"), axis=-1).reshape(-1, 2)
    return jnp.asarray(A + grid @ ROOT.T), np.outer(w, w).ravel()


def test_softmax_over_gaussian_keys_is_affine():
    y, masses = gaussian_keys()
    x = tokens(7, 2)
    law = pt.Attention(pt.DotProduct(1.0, form=B), pt.Masses(masses), value=pt.values.Linear(V))
    found, points = between(law, x, y), np.asarray(x)
    assert off(found, (A + points @ B @ S) @ V.T) < 1e-10  # V (a + S B^T x)
    assert off(found, (A + points @ B.T @ S) @ V.T) > 1e-2  # B for its transpose


def test_softmax_with_distances_over_gaussian_keys_is_affine():
    """Score -|Q x - K y|^2, so beta = 2."""
    y, masses = gaussian_keys(60)
    x = tokens(7, 2)
    score = pt.SquaredDistance(2.0, query=B, key=K)
    found = between(pt.Attention(score, pt.Masses(masses), value=pt.values.Linear(V)), x, y)
    precision = np.linalg.inv(S) + 2 * K.T @ K
    right = np.linalg.solve(S, A)[:, None] + 2 * K.T @ B @ np.asarray(x).T
    assert off(found, (V @ np.linalg.solve(precision, right)).T) < 1e-10
    wrong = np.linalg.solve(S, A)[:, None] + K.T @ B @ np.asarray(x).T
    assert off(found, (V @ np.linalg.solve(precision, wrong)).T) > 1e-2


GRID = np.arange(-90, 91) * 0.1  # the trapezoidal rule converges like e^(-2 pi^2 eps / h^2), the tails like e^-40
DENSITY = np.exp(-(GRID**2) / 2)
MIDDLE = np.abs(GRID) < 2.5


def velocity(eps, normalizer, *factors):
    """Over eps, of N(0, 1) under mean shift of the bandwidth sqrt(eps)."""
    measure = np.prod([pt.Masses(DENSITY / DENSITY.sum()), *factors])
    law = pt.Attention(pt.SquaredDistance(1 / eps), measure, normalizer, pt.Difference())
    return np.asarray(field(law, jnp.asarray(GRID)[:, None]))[MIDDLE, 0] / eps


@pytest.mark.parametrize("eps", [0.04, 0.3, 1.0])
def test_velocities_of_a_gaussian(eps):
    x = GRID[MIDDLE]
    assert off(velocity(eps, pt.Softmax()), -x / (1 + eps)) < 1e-10
    sinkhorn = velocity(eps, pt.Sinkhorn(tolerance=1e-14))
    formula = x * (np.sqrt(4 + eps**2) - eps - 2) / (2 * eps)
    assert off(sinkhorn, formula) < 1e-10
    assert off(sinkhorn, 2 * formula) > 1e-2
    mean = velocity(eps, pt.Mean()) / np.sqrt(2 * np.pi * eps)  # kernel of mass 1
    heat = np.exp(-(x**2) / (2 * (1 + eps))) / np.sqrt(2 * np.pi * (1 + eps))
    assert off(mean, -x / (1 + eps) * heat) < 1e-10
    for a in (0.5, 1.0):
        tau = 1 - a / (1 + eps)
        assert off(velocity(eps, pt.Softmax(), pt.DensityPower(a)), -x * tau / (1 + eps * tau)) < 1e-10


def test_the_limits_of_small_bandwidth():
    """grad log rho, its half, (1 - a) of it: ratios at eps = 0.04."""
    x = GRID[MIDDLE]
    ratio = lambda found, limit: np.median(found[np.abs(x) > 0.1] / (limit * -x[np.abs(x) > 0.1]))  # noqa: E731
    shares = [velocity(0.04, pt.Softmax(), pt.DensityPower(a)) for a in (0.0, 0.5, 1.0)]
    np.testing.assert_allclose([ratio(share, 1) for share in shares], [0.962, 0.509, 0.038], atol=5e-4)
    assert abs(ratio(velocity(0.04, pt.Sinkhorn(tolerance=1e-14)), 0.5) - 0.990) < 5e-4
