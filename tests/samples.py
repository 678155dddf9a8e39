"""One instance of every final class, for the contracts. A class without one fails; write it here."""

import jax.numpy as jnp
import numpy as np

import particles as pt
from particles import laws, observables, spaces, starts, stopping, summation
from particles.laws import measure, normalizer, score, value

N, D = 7, 3

MATRIX = np.array([[0.8, 0.3, -0.1], [-0.2, 1.1, 0.4], [0.5, -0.3, 0.9]])
WIDE = np.array([[0.8, 0.3, -0.1], [-0.2, 1.1, 0.4]])
MASSES = np.array([0.05, 0.2, 0.1, 0.25, 0.15, 0.05, 0.2])

SAMPLES = {
    spaces.Euclidean: spaces.Euclidean(),
    spaces.Sphere: spaces.Sphere(radius=1.5),
    spaces.Ball: spaces.Ball(radius=0.9),
    spaces.Product: spaces.Product((spaces.Sphere(), spaces.Euclidean()), (2, 1)),
    summation.Dense: summation.Dense(),
    summation.Blocked: summation.Blocked(rows=3, columns=2),
    summation.Auto: summation.Auto(dense_bytes=0),
    score.DotProduct: score.DotProduct(2.0, query=WIDE, key=WIDE[::-1]),
    score.SquaredDistance: score.SquaredDistance(2.0, query=WIDE),
    measure.Uniform: measure.Uniform(),
    measure.Masses: measure.Masses(MASSES),
    measure.Causal: measure.Causal(),
    measure.NotSelf: measure.NotSelf(),
    measure.Product: measure.Masses(MASSES) * measure.NotSelf() * measure.Causal(),
    normalizer.Softmax: normalizer.Softmax(),
    normalizer.Mean: normalizer.Mean(),
    value.Identity: value.Identity(),
    value.Linear: value.Linear(MATRIX),
    value.Difference: value.Difference(MATRIX),
    laws.Attention: laws.Attention(score.DotProduct(3.0)),
    laws.Sum: laws.Attention(score.DotProduct(3.0))
    + laws.Attention(score.SquaredDistance(1.0), value=value.Linear(MATRIX)),
    starts.Uniform: starts.Uniform(N, D),
    starts.Equiangular: starts.Equiangular(N, N, 0.2),
    starts.VonMisesFisher: starts.VonMisesFisher(N, D, 5.0, mean=[0.0, 1.0, 0.0]),
    starts.Blobs: starts.Blobs(N, D, blobs=2),
    observables.Energy: observables.Energy(),
    observables.MeanCosine: observables.MeanCosine(),
    observables.OrderParameter: observables.OrderParameter(),
    observables.Radius: observables.Radius(),
    observables.Diameter: observables.Diameter(),
    observables.EffectiveRank: observables.EffectiveRank(),
    observables.Clusters: observables.Clusters(0.3),
    stopping.OneCluster: stopping.OneCluster(0.2),
    stopping.Steady: stopping.Steady(1e-3),
}


def tokens(n: int = N, d: int = D, seed: int = 0) -> jnp.ndarray:
    """Tokens in general position, inside the unit ball."""
    return jnp.asarray(np.random.default_rng(seed).uniform(-0.5, 0.5, (n, d)))


def on_sphere(n: int = N, d: int = D, seed: int = 0) -> jnp.ndarray:
    """Tokens in general position on the unit sphere."""
    x = np.random.default_rng(seed).normal(size=(n, d))
    return jnp.asarray(x / np.linalg.norm(x, axis=1, keepdims=True))


def attention_flow(beta: float = 4.0, **slots: object) -> pt.Flow:
    """Softmax attention on the unit sphere."""
    return pt.Flow(pt.Sphere(), pt.Attention(pt.DotProduct(beta), **slots))
