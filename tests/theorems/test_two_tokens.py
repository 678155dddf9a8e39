"""Two tokens, or two clusters with masses: the angle between them solves a scalar equation, a quadrature.

SA: phi' = -sin phi [m2 w / (m1 + m2 w) + m1 w / (m2 + m1 w)], w = e^(beta (cos phi - 1)); at beta = 0, equal masses,
tan(phi / 2) = tan(phi_0 / 2) e^(-t). Derived by hand from the law; the equal-mass form is in 2312.10794.
"""

import jax.numpy as jnp
import numpy as np
from scipy.integrate import quad

import particles as pt

PHI = 2.0


def angle(law, until, space=None):
    x0 = jnp.asarray([[1.0, 0.0], [np.cos(PHI), np.sin(PHI)]])
    run = pt.solve(pt.Flow(pt.Sphere(), law), x0, pt.Plan(until=until, save=1, rtol=1e-11, atol=1e-13))
    return float(jnp.arccos(jnp.dot(run.final[0], run.final[1])))


def waiting_time(phi, beta, m1, m2, mean=False):
    def speed(phi):
        w = np.exp(beta * (np.cos(phi) - 1))
        if mean:
            return np.sin(phi) * w * np.exp(beta)
        return np.sin(phi) * (m2 * w / (m1 + m2 * w) + m1 * w / (m2 + m1 * w))

    return quad(lambda phi: 1 / speed(phi), phi, PHI, epsabs=1e-13, epsrel=1e-13)[0]


def test_tangent_law_at_beta_zero():
    for t in (0.5, 2.0):
        phi = angle(pt.Attention(pt.DotProduct(0.0)), t)
        np.testing.assert_allclose(np.tan(phi / 2), np.tan(PHI / 2) * np.exp(-t), rtol=1e-9)


def test_tangent_law_for_every_beta_without_the_diagonal():
    phi = angle(pt.Attention(pt.DotProduct(9.0), measure=pt.NotSelf()), 0.7)
    np.testing.assert_allclose(np.tan(phi / 2), np.tan(PHI / 2) * np.exp(-2 * 0.7), rtol=1e-9)
    phi = angle(pt.Attention(pt.DotProduct(9.0)), 0.7)  # with the diagonal it is another law
    assert abs(np.tan(phi / 2) / (np.tan(PHI / 2) * np.exp(-2 * 0.7)) - 1) > 0.1


def test_masses():
    m1, m2, beta, t = 0.3, 0.7, 3.0, 1.5
    phi = angle(pt.Attention(pt.DotProduct(beta), measure=pt.Masses([m1, m2])), t)
    np.testing.assert_allclose(waiting_time(phi, beta, m1, m2), t, rtol=1e-8)
    assert abs(waiting_time(phi, beta, 0.5, 0.5) / t - 1) > 1e-2  # the equal-mass formula is false here


def test_mean():
    beta, t = 3.0, 0.05
    phi = angle(pt.Attention(pt.DotProduct(beta), measure=pt.Masses([0.3, 0.7]), normalizer=pt.Mean()), t)
    np.testing.assert_allclose(waiting_time(phi, beta, 0.3, 0.7, mean=True), t, rtol=1e-8)
