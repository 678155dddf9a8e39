"""Repelled tokens come to rest in the sharp configurations, which minimize the energy for every beta.

Source: 2312.10794, section 3, with Cohn and Kumar, J. Amer. Math. Soc. 20 (2007): 4, 6 and 12 points on the sphere form
the tetrahedron, the octahedron and the icosahedron, whose cosines are -1/3; 0 and -1; 1/sqrt 5, -1/sqrt 5 and -1.
"""

import jax
import numpy as np
import pytest
from samples import attention_flow

import particles as pt

COSINES = {4: (-1 / 3,), 6: (0.0, -1.0), 12: (5**-0.5, -(5**-0.5), -1.0)}


def at_rest(n, value):
    x0 = pt.starts.Blobs(n, 3, blobs=1, spread=0.5)(pt.Sphere(), jax.random.key(5))
    flow = attention_flow(4.0, value=pt.values.Linear(value))
    run = pt.solve(flow, x0, pt.Plan(until=2000.0, save=1, rtol=1e-8, atol=1e-10, stop=(pt.Steady(1e-8),)))
    assert run.status == pt.Status.stopped
    return np.asarray(run.final @ run.final.T)[np.triu_indices(n, 1)]


def is_sharp(cosines, n):
    """Whether every cosine is one of the configuration's; at rest to 1e-8 they are to about 1e-7."""
    return bool(np.all(np.min(np.abs(cosines[:, None] - np.array(COSINES[n])), axis=1) < 1e-6))


@pytest.mark.parametrize("n", [4, 6, 12])
def test_repulsion_finds_the_sharp_configuration(n):
    assert is_sharp(at_rest(n, -1.0), n)


def test_attraction_does_not():
    assert not is_sharp(at_rest(6, 1.0), 6)
