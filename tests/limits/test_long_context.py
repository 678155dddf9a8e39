"""The outputs of one layer on a long context, against the attention matrix written out."""

import numpy as np

from particles.limits import long_context


def explicit(gamma, rho, n):
    gram = (1 - rho) * np.eye(n) + rho
    weights = np.exp(gamma * np.log(n) * gram)
    weights /= weights.sum(axis=1, keepdims=True)
    outputs = weights @ gram @ weights.T
    return outputs[0, 1] / outputs[0, 0]


def test_output_cosine():
    for gamma in (0.0, 1.3, 2.0, 5.0):
        assert np.isclose(long_context.output_cosine(gamma, 0.4, 30), explicit(gamma, 0.4, 30), rtol=1e-12)
    assert not np.isclose(long_context.output_cosine(1.3, 0.4, 30), explicit(1.3, 0.4, 60), rtol=1e-3)


def test_limits():
    rho = 0.4
    for gamma in (1.0, long_context.threshold(rho), 3.0):
        found = long_context.output_cosine(gamma, rho, 10**14)
        assert np.isclose(found, long_context.limit(gamma, rho), atol=1e-4)
        assert not np.isclose(found, long_context.limit(gamma + 1, rho), atol=1e-4) or gamma > 2
