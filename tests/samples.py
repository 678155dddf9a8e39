"""One instance of every final class, for the contracts. A class without one fails; write it here."""

import contextlib
import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import particles as pt
from particles import analysis, dynamics, laws, limits, observables, spaces, starts, stopping, summation
from particles.analysis import variational
from particles.declaration import family
from particles.dynamics import noise
from particles.laws import gate, maps, measure, norm, normalizer, schedule, score, value

N, D = 7, 3

MATRIX = np.array([[0.8, 0.3, -0.1], [-0.2, 1.1, 0.4], [0.5, -0.3, 0.9]])
WIDE = np.array([[0.8, 0.3, -0.1], [-0.2, 1.1, 0.4]])
MASSES = np.array([0.05, 0.2, 0.1, 0.25, 0.15, 0.05, 0.2])

DENSITIES = np.random.default_rng(4).uniform(0.2, 1.5, (N, N)) * (np.random.default_rng(5).random((N, N)) < 0.8)
MLP = maps.Perceptron((WIDE, MATRIX[:, :2]), (MATRIX[0, :2], MATRIX[1]), "tanh")

# How a user's programs are compiled, for the few that have much to compute. Tests compile without optimizations, as
# conftest.py says.
OPTIMIZED = {"xla_backend_optimization_level": 3, "xla_cpu_parallel_codegen_split_count": 32}
if jax.__version__.startswith("0.10."):
    OPTIMIZED["xla_cpu_use_fusion_emitters"] = True

SAMPLES = {
    spaces.Euclidean: spaces.Euclidean(),
    spaces.Sphere: spaces.Sphere(radius=1.5),
    spaces.Ball: spaces.Ball(radius=0.9),
    spaces.Product: spaces.Product((spaces.Sphere(), spaces.Euclidean()), (2, 1)),
    summation.Dense: summation.Dense(),
    summation.Blocked: summation.Blocked(rows=3, columns=2),
    summation.Auto: summation.Auto(dense_bytes=0),
    summation.Fourier: summation.Fourier(tolerance=1e-8),
    summation.Sharded: summation.Sharded(devices=2, summation=summation.Blocked(rows=3, columns=2)),
    score.DotProduct: score.DotProduct(2.0, query=WIDE, key=WIDE[::-1]),
    score.SquaredDistance: score.SquaredDistance(2.0, query=WIDE),
    score.Metric: score.Metric(maps.Residual(MLP), 2.0),
    score.Geodesic: score.Geodesic(2.0, radius=1.5),
    score.Cosine: score.Cosine(2.0, query=WIDE, key=WIDE[::-1]),
    score.Additive: score.Additive(MATRIX[0, :2], WIDE, WIDE[::-1], 3.0),
    score.LogDistance: score.LogDistance(2.0, 0.05, WIDE),
    score.Constant: score.Constant(),
    score.Within: score.Within(0.6),
    score.LogFeatures: score.LogFeatures(maps.EluPlusOne(WIDE)),
    score.Sum: score.DotProduct(2.0) + score.Cosine(-1.0),
    measure.Uniform: measure.Uniform(),
    measure.Masses: measure.Masses(MASSES),
    measure.Causal: measure.Causal(),
    measure.NotSelf: measure.NotSelf(),
    measure.Window: measure.Window(2, periodic=True),
    measure.Global: measure.Global(2),
    measure.Random: measure.Random(0.6, seed=1),
    measure.Given: measure.Given(DENSITIES),
    measure.Blocks: measure.Blocks((4, 3), [[1.0, 0.2], [0.0, 1.5]]),
    measure.ALiBi: measure.ALiBi(0.5, "both"),
    measure.Toeplitz: measure.Toeplitz([0.0, 1.0, 0.5]),
    measure.RelaxedMask: measure.RelaxedMask([2.0, -1.0, 0.5], 0.7, seed=2),
    measure.DensityPower: measure.DensityPower(0.5),
    measure.Union: measure.Window(1) | measure.Global(1) | measure.Random(0.3),
    measure.Power: measure.Given(DENSITIES) ** 0.4,
    measure.Product: measure.Masses(MASSES) * measure.NotSelf() * measure.Causal(),
    normalizer.Softmax: normalizer.Softmax(),
    normalizer.Mean: normalizer.Mean(),
    normalizer.Null: normalizer.Null(0.3, 0.5),
    normalizer.Sigmoid: normalizer.Sigmoid(0.2),
    normalizer.Entmax: normalizer.Entmax(1.7),
    normalizer.Hardmax: normalizer.Hardmax(tolerance=1e-9),
    normalizer.Sinkhorn: normalizer.Sinkhorn(2.0, tolerance=1e-13),
    normalizer.Linear: normalizer.Linear(),
    value.Identity: value.Identity(),
    value.LowRank: value.LowRank(WIDE.T, WIDE[::-1]),
    value.Nonlinear: value.Nonlinear(MLP),
    value.GradScore: value.GradScore(),
    gate.Open: gate.Open(),
    gate.Constant: gate.Constant(0.5),
    gate.PerToken: gate.PerToken(MASSES),
    gate.Activation: gate.Activation(MATRIX, MATRIX[0]),
    gate.InversePartition: gate.InversePartition(),
    gate.WithoutSelf: gate.WithoutSelf(),
    maps.Affine: maps.Affine(MATRIX, MATRIX[0]),
    maps.Perceptron: MLP,
    maps.Residual: maps.Residual(MLP),
    maps.EluPlusOne: maps.EluPlusOne(MATRIX),
    maps.RandomFeatures: maps.RandomFeatures(3, D, 0.5, seed=1),
    schedule.Piecewise: schedule.Piecewise("score.beta", [1.0, 4.0, 2.0], [0.5, 1.5]),
    schedule.Interpolated: schedule.Interpolated("score.beta", [1.0, 4.0], [0.0, 2.0]),
    schedule.Redrawn: schedule.Redrawn("value.matrix", (D, D), 0.25, 0.5, seed=3),
    norm.Residual: norm.Residual(),
    norm.Post: norm.Post(),
    norm.Pre: norm.Pre(),
    norm.Peri: norm.Peri(),
    norm.Mix: norm.Mix(0.5),
    norm.NGPT: norm.NGPT(0.7),
    norm.SqrtDepth: norm.SqrtDepth(),
    value.Linear: value.Linear(MATRIX),
    value.Difference: value.Difference(MATRIX),
    laws.Attention: laws.Attention(score.DotProduct(3.0)),
    laws.Sum: laws.Attention(score.DotProduct(3.0))
    + laws.Attention(score.SquaredDistance(1.0), value=value.Linear(MATRIX)),
    laws.TalkingHeads: laws.TalkingHeads(
        (
            laws.Attention(score.DotProduct(3.0), value=value.Linear(MATRIX)),
            laws.Attention(score.DotProduct(1.0), normalizer=normalizer.Mean()),
        ),
        [[1.0, 0.5], [-0.3, 0.8]],
    ),
    laws.Cross: laws.Cross(laws.Attention(score.DotProduct(3.0), normalizer=normalizer.Sinkhorn(1.0)), (0, 4), (4, 7)),
    laws.FeedForward: laws.FeedForward(MLP),
    laws.Drift: laws.Drift(MATRIX - MATRIX.T, MASSES, MATRIX[0], 0.3),
    laws.Scheduled: laws.Scheduled(
        laws.Attention(score.DotProduct(3.0)), (schedule.Piecewise("score.beta", [1.0, 4.0], [0.5]),)
    ),
    laws.Normalized: laws.Normalized(laws.Attention(score.DotProduct(3.0)), norm.Pre()),
    dynamics.Flow: pt.Flow(pt.Sphere(), laws.Attention(score.DotProduct(3.0))),
    dynamics.Layers: pt.Layers(
        laws.Attention(score.DotProduct(3.0)) + laws.FeedForward(MLP), norm.Mix(0.5), "Strang", stages=2
    ),
    dynamics.SecondOrder: pt.SecondOrder(pt.Euclidean(), laws.Attention(score.DotProduct(3.0)), 0.5, inertial=2),
    limits.MeanField: limits.MeanField(
        laws.Attention(score.DotProduct(1.0), normalizer=normalizer.Mean()), limits.Circle(6, 18), 0.4
    ),
    limits.GaussianFlow: limits.GaussianFlow(laws.Attention(score.DotProduct(0.5), value=value.Linear(-1.0))),
    analysis.Backward: analysis.Backward(
        laws.Scheduled(laws.Attention(score.DotProduct(3.0)), (schedule.Piecewise("score.beta", [1.0, 4.0], [0.5]),)),
        until=0.8,
        jumps_at=[0.5],
    ),
    variational.Variational: variational.Variational(
        pt.Flow(pt.Euclidean(), laws.Attention(score.DotProduct(3.0))), np.eye(2, N * D)
    ),
    limits.Reclocked: limits.Reclocked(pt.Flow(pt.Sphere(), laws.Attention(score.DotProduct(3.0)))),
    dynamics.NoisyFlow: pt.NoisyFlow(
        pt.Sphere(), laws.Attention(score.DotProduct(3.0)), pt.noises.Gaussian(0.3, 2.0, "key")
    ),
    noise.Brownian: noise.Brownian(0.2),
    noise.CommonMatrix: noise.CommonMatrix(0.2),
    noise.Gumbel: noise.Gumbel(0.5),
    noise.Gaussian: noise.Gaussian(0.3, np.inf, "key"),
    noise.Weibull: noise.Weibull(20.0, 0.0, "row"),
    noise.Gamma: noise.Gamma(5.0, 1.0),
    starts.Uniform: starts.Uniform(N, D),
    starts.Equiangular: starts.Equiangular(N, N, 0.2),
    starts.VonMisesFisher: starts.VonMisesFisher(N, D, 5.0, mean=[0.0, 1.0, 0.0]),
    starts.Together: starts.Together((starts.Uniform(4, D), starts.Blobs(3, D, blobs=1))),
    starts.Blobs: starts.Blobs(N, D, blobs=2),
    limits.TrueDepth: limits.TrueDepth(),
    limits.phase.Met: limits.phase.Met(0.3),
    limits.phase.AllMet: limits.phase.AllMet(0.3),
    observables.Energy: observables.Energy(),
    observables.KineticEnergy: observables.KineticEnergy(),
    observables.MeanCosine: observables.MeanCosine(),
    observables.OrderParameter: observables.OrderParameter(),
    observables.Radius: observables.Radius(),
    observables.Diameter: observables.Diameter(),
    observables.EffectiveRank: observables.EffectiveRank(),
    observables.Clusters: observables.Clusters(0.3),
    observables.Distinct: observables.Distinct(),
    analysis.Alignment: analysis.Alignment(analysis.EnergyDistance()),
    analysis.Asymmetry: analysis.Asymmetry(),
    observables.AttentionWeights: observables.AttentionWeights(),
    observables.RowEntropy: observables.RowEntropy(),
    observables.TokenEntropy: observables.TokenEntropy(),
    observables.PriorDivergence: observables.PriorDivergence(),
    observables.SinkMass: observables.SinkMass(),
    observables.FreeEnergy: observables.FreeEnergy(),
    observables.MutualInformation: observables.MutualInformation(WIDE, 0.5),
    observables.QuadraticInformation: observables.QuadraticInformation(MATRIX, 0.3),
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


STATES = {  # of the flows whose state holds no tokens
    limits.MeanField: limits.Circle(6, 18).coefficients(lambda theta: 1 + 0.5 * np.cos(theta - 1)),
    limits.GaussianFlow: limits.stacked(np.array([0.1, -0.2]), np.array([[0.5, 0.1], [0.1, 0.4]])),
}


# A law around members of families that are no slots of an attention.
WRAPPED = {
    maps.AbstractMap: lambda noun: pt.Attention(value=pt.values.Nonlinear(noun)),
    schedule.AbstractSchedule: lambda noun: pt.Scheduled(pt.Attention(value=pt.values.Linear(1.0)), (noun,)),
    norm.AbstractNorm: lambda noun: pt.Normalized(pt.Attention(), noun),
}
SLOT = {
    "AbstractScore": "score",
    "AbstractMeasure": "measure",
    "AbstractNormalizer": "normalizer",
    "AbstractValue": "value",
    "AbstractGate": "gate",
}
OF_LAWS = (
    laws.AbstractLaw,
    score.AbstractScore,
    measure.AbstractMeasure,
    normalizer.AbstractNormalizer,
    value.AbstractValue,
    gate.AbstractGate,
    maps.AbstractMap,
    schedule.AbstractSchedule,
    norm.AbstractNorm,
)
SLOTS = [cls for abstract in OF_LAWS for cls in family(abstract).values()]


def members(abstract):
    """A test for each member of a family."""
    return pytest.mark.parametrize("cls", family(abstract).values(), ids=lambda cls: cls.__name__)


def law_with(cls) -> pt.Flow:
    """A flow that has a member of some family of laws or slots at its place."""
    sample = SAMPLES[cls]
    if isinstance(sample, laws.AbstractLaw):
        return pt.Flow(pt.Euclidean(), sample)
    for abstract, law in WRAPPED.items():
        if isinstance(sample, abstract):
            return pt.Flow(pt.Euclidean(), law(sample))
    name = next(SLOT[base.__name__] for base in cls.__mro__ if base.__name__ in SLOT)
    slots = {name: sample}
    if isinstance(sample, normalizer.AbstractNormalizer) and sample.needs_features:
        slots["score"] = SAMPLES[score.LogFeatures]
    return pt.Flow(pt.Euclidean(), dataclasses.replace(pt.Attention(pt.DotProduct(2.0)), **slots))


def watchable(watched) -> pt.AbstractFlow:
    """A flow for which an observable is defined."""
    flow = attention_flow()
    of_maps = pt.Flow(flow.space, pt.Attention(pt.DotProduct(2.0, np.eye(D), np.roll(np.eye(D), 1, axis=0))))
    for candidate in (flow, pt.SecondOrder(flow.space, flow.law), limits.Reclocked(flow), of_maps):
        with contextlib.suppress(ValueError):
            watched.check_flow(candidate)
            return candidate
    raise AssertionError(f"no flow for {type(watched).__name__}")
