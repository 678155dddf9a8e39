"""At beta = 0 on the circle the flow is Kuramoto's for identical oscillators: cross ratios are constants of motion.

Source: 2312.10794, section 7 (the model); Watanabe and Strogatz, Physica D 74 (1994) for the constants of motion, since
the flow acts by Moebius maps. The closed form for two tokens is in `test_two_tokens`, that for equal overlaps in
`test_equiangular`.
"""

import jax.numpy as jnp
import numpy as np

import particles as pt

ANGLES = np.array([0.1, 0.9, 2.2, 4.0, 5.5])


def run(beta):
    x0 = jnp.asarray(np.stack([np.cos(ANGLES), np.sin(ANGLES)], axis=1))
    plan = pt.Plan(until=3.0, save=30, rtol=1e-11, atol=1e-13, watch=("order_parameter",))
    return pt.solve(pt.Flow(pt.Sphere(), pt.Attention(pt.DotProduct(beta))), x0, plan)


def cross_ratios_are_constant(tokens):
    tokens = np.asarray(tokens)
    z = tokens[..., 0] + 1j * tokens[..., 1]
    ratio = lambda a, b, c, d: (z[:, a] - z[:, c]) * (z[:, b] - z[:, d]) / ((z[:, a] - z[:, d]) * (z[:, b] - z[:, c]))  # noqa: E731
    ratios = np.stack([ratio(0, 1, 2, 3), ratio(0, 1, 2, 4)])
    return np.allclose(ratios, ratios[:, :1], rtol=1e-8)


def test_cross_ratios():
    assert cross_ratios_are_constant(run(0.0).tokens)


def test_the_check_can_fail():
    assert not cross_ratios_are_constant(run(1.0).tokens)


def test_order_parameter_obeys_its_equation():
    """r' = r (1 - mean cos^2 of the angle to the mean direction), from differentiating the mean; by quadrature."""
    found = run(0.0)
    x, r = np.asarray(found.tokens), np.asarray(found.observed["order_parameter"])
    mean = x.mean(axis=1)
    cosine = np.einsum("tid,td->ti", x, mean) / r[:, None]
    slope = r * (1 - np.mean(cosine**2, axis=1))
    gained = np.concatenate([[0], np.cumsum((slope[1:] + slope[:-1]) / 2 * np.diff(found.times))])
    np.testing.assert_allclose(r, r[0] + gained, atol=2e-3)  # trapezoids at steps of 0.1
    np.testing.assert_allclose(r, np.linalg.norm(mean, axis=1), rtol=1e-13)
