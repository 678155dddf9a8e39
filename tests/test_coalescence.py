"""Tokens that have met move as one: against the same run without, against the bound, and who is refused."""

import dataclasses
import os
import signal

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from samples import MATRIX, SAMPLES, D, N, attention_flow, on_sphere, tokens
from test_contracts import SLOTS, law_with

import particles as pt
from particles import laws, observables
from particles.dynamics import noise
from particles.integration import Merged, State
from particles.integration.merged import Tied
from particles.integration.watching import Condition, Watch
from particles.laws import gate, measure, normalizer, value
from particles.observables import AbstractObservable
from particles.simulation import Interrupted, loop
from particles.simulation.coalescence import Coalescence
from particles.simulation.merging import coalesced, report
from particles.stopping import AbstractStop

ZERO = jnp.zeros(())
TOLERANCE = 1e-6


def pulling(beta, scale=1.0):
    """Attention that pulls at some speed, all of one structure, so that few programs are compiled."""
    return pt.Flow(pt.Sphere(), pt.Attention(pt.DotProduct(beta), value=pt.values.Linear(scale)), pt.Dense())


FLOW = pulling(8.0)
DEPTHS = (0.5, 1.0, 2.0, 4.0, 8.0, 16.0, 32.0, 64.0, 128.0, 256.0, 512.0, 1024.0, 4000.0)
WATCH = ("energy", "clusters", "distinct", "mean_cosine")
PLAN = pt.Plan(until=4000.0, save=DEPTHS, chunk=1, watch=WATCH, coalesce=TOLERANCE, rtol=1e-9, atol=1e-11)
SIMULATION = pt.Simulation(pt.starts.Uniform(40, D), FLOW, PLAN, name="met", seed=3)


def quiet(simulation, path, **options):
    return pt.simulate(simulation, path=path, progress=False, **options)


def planned(simulation, **changes):
    return dataclasses.replace(simulation, plan=dataclasses.replace(simulation.plan, **changes))


@pytest.fixture(scope="module")
def runs(tmp_path_factory):
    """A long metastable run with and without."""
    folder = tmp_path_factory.mktemp("runs")
    return quiet(SIMULATION, folder / "with"), quiet(planned(SIMULATION, coalesce=None), folder / "without")


# against the same run without


def test_the_tokens_are_those_of_a_run_without(runs):
    """No merger of clusters lies close to a frame, where the flow would stretch a difference by its speed."""
    one, other = (run.dataset for run in runs)
    assert one.tokens.dims == other.tokens.dims and one.tokens.shape == other.tokens.shape
    assert np.abs(one.tokens - other.tokens).max() < 100 * TOLERANCE
    np.testing.assert_array_equal(one.tokens[:3], other.tokens[:3])  # to the bit before anything has merged


def test_observables_have_the_values_they_have_without(runs):
    one, other = (run.dataset for run in runs)
    np.testing.assert_array_equal(one.clusters, other.clusters)
    for name in set(WATCH) - {"clusters", "distinct"}:
        np.testing.assert_allclose(one[name], other[name], rtol=100 * TOLERANCE, atol=100 * TOLERANCE, err_msg=name)


def test_it_costs_what_its_clusters_cost(runs):
    one, other = runs
    clusters, distinct = (one.dataset[name].values for name in ("clusters", "distinct"))
    assert distinct[0] == 40
    assert np.all(np.diff(distinct) <= 0)
    np.testing.assert_array_equal(distinct[-3:], clusters[-3:])
    assert clusters[-1] > 1, "it is metastable"
    steps = [run.manifest["members"][0]["steps"] for run in runs]
    assert steps[0] < steps[1] / 2, "what is left is not stiff"
    assert other.dataset.distinct[7] == 40 > distinct[7], "without, none are one as long as rounding allows"


def test_the_manifest_says_what_was_done(runs):
    one, other = runs
    said = one.manifest["members"][0]["coalescence"]
    assert "coalescence" not in other.manifest["members"][0]
    assert said["tolerance"] == TOLERANCE
    assert said["moving"] == one.dataset.distinct[-1]
    assert said["merged"] == said["tokens"] - said["moving"] == 40 - said["moving"]
    assert 0 < said["largest_displacement"] <= TOLERANCE
    assert said["largest_displacement"] <= said["sum_of_largest_displacements"] <= said["mergers"] * TOLERANCE
    assert abs(said["mass"] - 1) < 1e-15
    assert said["error_bound"] is None
    assert "vacuous" in said["error_bound_is"]


def test_the_error_is_below_the_bound_that_is_proved(tmp_path):
    """On a short run the bound says something, or a long one of a slow law; tokens start in three clumps."""
    centers = np.eye(3)[np.arange(40) % 3]
    x0 = pt.Sphere().project(jnp.asarray(centers + 3e-5 * np.random.default_rng(1).normal(size=(40, 3))))
    flow = pulling(0.5, 2.5e-4)
    one, other = (
        pt.simulate(flow, x0, dataclasses.replace(PLAN, coalesce=c), tmp_path / str(c), progress=False)
        for c in (1e-4, None)
    )
    said = one.manifest["members"][0]["coalescence"]
    error = np.linalg.norm(one.dataset.tokens - other.dataset.tokens, axis=-1)[-1].max()
    assert 1e-6 < error < said["error_bound"] < 0.1
    assert "proved" in said["error_bound_is"]
    met = Coalescence(1e-4, np.zeros(40, int), np.array([[1000.0, 39.0, 1e-4, 1.0]]))
    assert report(flow, 1000.0, met)["error_bound"] == pytest.approx(1e-4)  # nothing has grown yet
    assert report(flow, 1e5, met)["error_bound"] is None
    assert "none is proved" in report(attention_flow(gate=pt.gates.Constant(2.0)), 1.0, met)["error_bound_is"]


# what merges


def met_in(flow, x, tolerance=TOLERANCE):
    """Which tokens have merged in a state, and where they are."""
    state = State(x, None, ZERO, ZERO, jnp.asarray(0))
    state, met = coalesced(flow, state, Coalescence.none(tolerance, len(x)))
    return np.asarray(state.state)[met.member], met


def test_tokens_just_farther_apart_than_the_tolerance_are_left(tmp_path):
    for factor, moving in ((0.999, 1), (1.001, 2)):
        turn = factor * TOLERANCE
        x = jnp.asarray([[1.0, 0.0], [np.cos(turn), np.sin(turn)]])
        assert met_in(FLOW, x)[1].moving == moving


def test_tokens_that_part_are_left():
    """A law that repels takes near tokens apart, one that attracts brings them together; coinciding ones stay so."""
    x = jnp.asarray(np.array([[1.0, 0.0, 0.0]]) + 1e-7 * np.random.default_rng(0).normal(size=(5, 3)))
    x = pt.Sphere().project(jnp.concatenate([x, on_sphere(6)]))
    repelled = pulling(8.0, -1.0)
    assert met_in(FLOW, x)[1].moving == 7
    assert met_in(repelled, x)[1].moving == 11
    twice = jnp.concatenate([on_sphere(6), on_sphere(6)])
    assert met_in(repelled, twice)[1].moving == 6
    np.testing.assert_allclose(met_in(repelled, twice)[0], twice, rtol=0, atol=4e-16)  # the mean of two equals


def test_a_merger_keeps_masses_and_their_mean():
    x = jnp.asarray(np.repeat(np.eye(3), [5, 3, 1], axis=0) + 1e-7 * np.random.default_rng(0).normal(size=(9, 3)))
    flow = pt.Flow(pt.Euclidean(), pt.Attention(pt.SquaredDistance(1.0), value=pt.Difference()))
    moved, met = met_in(flow, x)
    assert met.counts.tolist() == [5, 3, 1]
    np.testing.assert_allclose(met.masses()[:3], np.array([5, 3, 1]) / 9, rtol=1e-15)
    np.testing.assert_allclose(moved.mean(axis=0), x.mean(axis=0), atol=1e-15)
    assert np.linalg.norm(moved - x, axis=1).max() == pytest.approx(met.mergers[0, 2])


SIZES = [(9, 3, 9), (300, 3, 16), (300, 17, 64), (300, 257, 300), (10**5, 3000, 4096)]


@pytest.mark.parametrize(("n", "moving", "rows"), SIZES)
def test_states_have_few_sizes(n, moving, rows):
    met = Coalescence(1e-6, np.minimum(np.arange(n), moving - 1), np.zeros((0, 4)))
    assert (met.moving, met.rows) == (moving, rows)
    assert met.masses().shape == (rows,)
    assert met.masses().sum() == pytest.approx(1, abs=1e-14)
    assert np.all(met.masses()[moving:] == 0)


# the bits


def interrupting(monkeypatch, after):
    """Sends this process SIGTERM while a chunk is computed."""
    advance, calls = loop._advance, []

    def moved(*arguments):
        calls.append(1)
        if len(calls) == after:
            os.kill(os.getpid(), signal.SIGTERM)
        return advance(*arguments)

    monkeypatch.setattr(loop, "_advance", moved)


@pytest.mark.parametrize("after", [2, 9])
def test_stopping_and_going_on_gives_the_same_bits(runs, tmp_path, monkeypatch, after):
    with monkeypatch.context() as patched:
        interrupting(patched, after)
        with pytest.raises(Interrupted):
            quiet(SIMULATION, tmp_path / "cut")
    assert (after == 9) == (pt.open(tmp_path / "cut").dataset.distinct[-1] < 40)
    resumed = quiet(SIMULATION, tmp_path / "cut", resume=True)
    for said in ("checksums", "members"):
        assert resumed.manifest[said] == runs[0].manifest[said]


def test_members_of_a_sweep_coalesce_each_by_itself(runs, tmp_path):
    sweep = {"seed": (3, 9), "plan.coalesce": (TOLERANCE, 1e-9)}
    swept = quiet(dataclasses.replace(SIMULATION, sweep=sweep), tmp_path / "sweep")
    np.testing.assert_array_equal(swept.dataset.tokens[0, 0], runs[0].dataset.tokens)
    alone = runs[0].manifest["members"][0]
    assert swept.manifest["members"][0] == alone | {"swept": {"coalesce": TOLERANCE, "seed": 3}}
    assert [end["coalescence"]["tolerance"] for end in swept.manifest["members"]] == [TOLERANCE, 1e-9] * 2
    distinct = swept.dataset.distinct
    assert np.all(distinct[:, 0] <= distinct[:, 1]) and np.any(distinct[:, 0] < distinct[:, 1])


# what is looked at, and flows other than that


def test_stop_conditions_look_at_what_moves():
    """Rows that fill up are not looked at, wherever they are."""
    x = on_sphere(4)
    rows = jnp.concatenate([x[:1], x[:1], jnp.asarray([[0.0, 0.0, 1.0]])])
    member, row = jnp.asarray([0, 1, 0, 1]), jnp.asarray([0, 1, 0])
    merged = Merged(FLOW, member, row)
    acting = FLOW.on_masses(jnp.asarray([0.5, 0.5, 0.0]))
    assert Condition(acting, pt.OneCluster(1e-3), merged)(ZERO, rows, None)
    assert not Condition(acting, pt.OneCluster(1e-3))(ZERO, rows, None)
    plan = pt.Plan(until=1.0, watch=("clusters", "token_entropy"))
    kept = Watch(acting, plan, merged)(ZERO, rows, None)
    assert kept["clusters"] == 1
    np.testing.assert_allclose(kept["tokens"], jnp.repeat(x[:1], 4, axis=0), rtol=1e-14)
    np.testing.assert_allclose(kept["token_entropy"], np.log(4), rtol=1e-12)


def test_rows_that_fill_up_follow_the_first():
    """By themselves they are drawn to it at a rate that would hold all to short steps."""
    x, merged = on_sphere(3), Merged(FLOW, jnp.asarray([0, 1]), jnp.asarray([0, 1, 0]))
    acting = FLOW.on_masses(jnp.asarray([0.5, 0.5, 0.0]))
    free, tied = acting(ZERO, x), Tied(acting, merged)(ZERO, x, None)
    np.testing.assert_array_equal(tied[:2], free[:2])
    np.testing.assert_array_equal(tied[2], free[0])
    assert jnp.any(free[2] != free[0])


def test_a_network_of_layers(tmp_path):
    """Clumps are one token each after a chunk, and from then on the same numbers come from fewer rows."""
    flow = pt.Layers(pt.Attention(pt.DotProduct(1.0)), pt.norms.Post())
    x0 = jnp.asarray(np.repeat(np.asarray(on_sphere(4)), [1, 2, 3, 4], axis=0))
    plan = pt.Plan(until=2.0, save=4, chunk=1, dt=0.125, coalesce=1e-5, solver="Layers")
    found, expected = (
        pt.simulate(flow, x0, dataclasses.replace(plan, coalesce=c), tmp_path / str(c), progress=False)
        for c in (1e-5, None)
    )
    assert found.manifest["members"][0]["coalescence"]["moving"] == 4
    np.testing.assert_allclose(found.dataset.tokens, expected.dataset.tokens, atol=1e-12)


def test_common_noise_pushes_tokens_that_have_met_alike():
    flow = pt.NoisyFlow(pt.Sphere(), pt.Attention(pt.DotProduct(1.0)), noise.CommonMatrix(0.2))
    rows, everybody = (flow.begin(x, jax.random.key(0)) for x in few(on_sphere(4)))
    assert flow.brownian(rows).shape == flow.brownian(everybody).shape

    @eqx.filter_jit
    def moved(flow, state):
        pushed = flow.diffusion(ZERO, state, jnp.asarray(MATRIX[None]))
        return [part.tokens for part in (flow(ZERO, state), flow.correction(ZERO, state), pushed)]

    for found, expected in zip(moved(flow.on_masses(FILLED), rows), moved(flow, everybody), strict=True):
        np.testing.assert_allclose(found[MEMBER], expected, rtol=1e-12, atol=1e-14)


# who is refused


class _Crowded(AbstractStop):
    """Looks at every token."""

    def __call__(self, flow, t, state):
        return jnp.asarray(False)


@pytest.mark.parametrize(
    ("flow", "words"),
    [
        (attention_flow(measure=pt.Causal()), "Uniform, DensityPower; got Causal"),
        (attention_flow(measure=pt.Window(2)), "Uniform, DensityPower; got Window"),
        (attention_flow(measure=pt.NotSelf()), "Uniform, DensityPower; got NotSelf"),
        (attention_flow(measure=pt.Masses([0.5, 0.5])), "no masses of its own"),
        (attention_flow(gate=pt.gates.PerToken([1.0, 2.0])), "PerToken knows which it is: use Activation"),
        (attention_flow(gate=pt.gates.WithoutSelf()), "WithoutSelf knows which it is"),
        (attention_flow(normalizer=pt.Entmax(1.5, reference="counting")), "reference='measure'"),
        (pt.Flow(pt.Sphere(), pt.Attention() + pt.Drift(np.eye(3), [1.0, 2.0])), "Drift whose `frequencies`"),
        (pt.Flow(pt.Sphere(), pt.Cross(pt.Attention(), (0, 2), (2, 4))), "Cross sees more"),
        (pt.SecondOrder(pt.Sphere(), pt.Attention()), "different velocities part again"),
        (pt.NoisyFlow(pt.Sphere(), pt.Attention(), noise.Brownian(0.1)), "under CommonMatrix noise they do"),
        (pt.NoisyFlow(pt.Sphere(), pt.Attention(), noise.Gumbel(0.1)), "Gumbel noise is another for each token"),
        (SAMPLES[pt.limits.Reclocked], "those of a Flow and of Layers do"),
    ],
)
def test_flows_that_know_their_tokens_are_refused(flow, words):
    plan = pt.Plan(until=1.0, coalesce=1e-6, solver="Euler", dt=0.1)
    with pytest.raises(ValueError, match="`coalesce` cannot serve this flow") as refused:
        plan.check_flow(flow)
    assert words in str(refused.value)
    dataclasses.replace(plan, coalesce=None).check_flow(flow)


def test_solve_and_stops_that_look_at_tokens_are_refused():
    with pytest.raises(ValueError, match=r"use simulate\(flow, x0, plan, path\)"):
        pt.solve(FLOW, on_sphere(), PLAN)
    with pytest.raises(ValueError, match="_Crowded looks at each token"):
        dataclasses.replace(PLAN, stop=(_Crowded(),)).check_flow(FLOW)
    with pytest.raises(ValueError, match="greater than 0"):
        pt.Plan(until=1.0, coalesce=0.0)


# what it rests on: laws, and what is said to be of the measure, cannot tell tokens that coincide from one of their mass

COUNTS = np.array([1, 1, 2, 3])
MEMBER = np.repeat(np.arange(4), COUNTS)
FILLED = jnp.asarray(np.append(COUNTS, [0, 0]) / N)


def few(x):
    """Four tokens, filled up by two copies of the first; and all seven that they stand for."""
    return x[jnp.asarray([0, 1, 2, 3, 0, 0])], x[jnp.asarray(MEMBER)]


WHOLE = (
    laws.AbstractLaw,
    measure.AbstractMeasure,
    normalizer.AbstractNormalizer,
    value.AbstractValue,
    gate.AbstractGate,
)


@pytest.mark.parametrize("cls", [cls for cls in SLOTS if issubclass(cls, WHOLE)], ids=lambda cls: cls.__name__)
def test_every_law_acts_on_its_measure_or_says_that_it_does_not(cls):
    """Scores and maps are left out: they see pairs, and single tokens."""
    flow, (rows, everybody) = dataclasses.replace(law_with(cls), summation=pt.Dense()), few(tokens(4))
    try:
        acting = flow.on_masses(FILLED)
    except ValueError as refusal:
        assert any(word in str(refusal) for word in ("masses", "counts every token"))
        return
    np.testing.assert_allclose(acting(ZERO, rows)[MEMBER], flow(ZERO, everybody), rtol=1e-10, atol=1e-12)


@pytest.mark.parametrize(
    "watched", [w for w in SAMPLES.values() if isinstance(w, AbstractObservable) and w.of_measure], ids=lambda w: w.name
)
def test_what_is_of_the_measure_is(watched):
    rows, everybody = few(on_sphere(4))
    seen = watched.observe(FLOW.on_masses(FILLED), ZERO, rows)
    np.testing.assert_allclose(seen, watched.observe(FLOW, ZERO, everybody), rtol=1e-12)


def test_the_check_of_measures_can_fail():
    flow, (rows, everybody) = FLOW, few(on_sphere(4))
    watched = observables.RowEntropy()
    assert not watched.of_measure
    assert abs(watched(flow.on_masses(FILLED), ZERO, rows) - watched(flow, ZERO, everybody)) > 0.1


def test_distinct_tokens_are_counted():
    x = np.random.default_rng(2).integers(0, 3, (50, 3)).astype(float)
    assert observables.Distinct()(FLOW, ZERO, jnp.asarray(x)) == len(np.unique(x, axis=0))
    assert observables.Distinct()(FLOW, ZERO, jnp.asarray(x[:1])) == 1
