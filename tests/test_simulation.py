"""Runs that are kept: sweeps, interruption, failure, identity."""

import dataclasses
import json
import os
import signal
from collections.abc import Callable

import equinox as eqx
import jax
import numpy as np
import pytest
from samples import attention_flow, on_sphere

import particles as pt
from particles import config
from particles.declaration import replaced, sources_of
from particles.integration import Failed
from particles.machine import canary
from particles.observables import AbstractObservable
from particles.record import Damaged
from particles.simulation import Interrupted, Unfinished, loop
from particles.simulation.budget import Budget
from particles.simulation.grid import Dimension, dimensions
from particles.starts import Given, Uniform

PLAN = pt.Plan(until=2.0, save=8, chunk=3, watch=("energy", "clusters"))
PLAN_ALONE = pt.Plan(until=1.0, save=1)
SIMULATION = pt.Simulation(Uniform(8, 3), attention_flow(), PLAN, name="trial")


def quiet(simulation, path, **options):
    return pt.simulate(simulation, path=path, progress=False, **options)


def test_a_run_is_what_solve_gives(tmp_path):
    record = quiet(SIMULATION, tmp_path / "run")
    dataset = record.dataset
    run = pt.solve(SIMULATION.flow, SIMULATION.first(), PLAN)
    np.testing.assert_allclose(dataset.time, run.times, rtol=1e-15)
    np.testing.assert_allclose(dataset.tokens, run.tokens, atol=1e-11)
    np.testing.assert_allclose(dataset.energy, run.observed["energy"], rtol=1e-5)
    assert record.status == "done"
    assert record.manifest["members"][0]["status"] == "done"
    assert dataset.energy.attrs["symbol"] == r"$E_\beta$"
    assert json.loads(dataset.clusters.attrs["parameters"]) == {"delta": 0.1}
    assert "DotProduct" in dataset.attrs["caption"]
    assert "vaswani2017attention" in record.sources()


def test_a_finished_run_is_found_again(tmp_path, monkeypatch):
    first = quiet(SIMULATION, tmp_path / "run")
    monkeypatch.setattr(loop, "_advance", None)  # it must not compute
    assert quiet(SIMULATION, tmp_path / "run").manifest == first.manifest
    with pytest.raises(ValueError, match="another run"):
        quiet(dataclasses.replace(SIMULATION, seed=1), tmp_path / "run")


def test_identity_is_the_numbers_and_nothing_else():
    same = dataclasses.replace(SIMULATION, name="other", figures=("cosines",))
    assert same.identity() == SIMULATION.identity()
    for change in ({"seed": 1}, {"precision": "float32"}, {"plan": dataclasses.replace(PLAN, chunk=2)}):
        assert dataclasses.replace(SIMULATION, **change).identity() != SIMULATION.identity()


def interrupting(monkeypatch, after):
    """Sends this process SIGTERM while a chunk is computed."""
    advance, calls = loop._advance, []

    def moved(*arguments):
        calls.append(1)
        if len(calls) == after:
            os.kill(os.getpid(), signal.SIGTERM)
        return advance(*arguments)

    monkeypatch.setattr(loop, "_advance", moved)


@pytest.mark.parametrize("after", [1, 2])
def test_a_signal_ends_the_chunk_and_resuming_gives_the_same_bits(tmp_path, monkeypatch, after):
    whole = quiet(SIMULATION, tmp_path / "whole")
    with monkeypatch.context() as patched:
        interrupting(patched, after)
        with pytest.raises(Interrupted, match="SIGTERM at depth"):
            quiet(SIMULATION, tmp_path / "cut")
    cut = pt.open(tmp_path / "cut")
    assert cut.status == "interrupted"
    assert cut.dataset.sizes["time"] == 3 * after
    with pytest.raises(Unfinished, match="particles resume"):
        quiet(SIMULATION, tmp_path / "cut")
    resumed = quiet(SIMULATION, tmp_path / "cut", resume=True)
    assert resumed.manifest["checksums"] == whole.manifest["checksums"]
    assert [segment["from_frame"] for segment in resumed.manifest["segments"]] == [0, 3 * after]


def test_a_sweep_is_its_members(tmp_path):
    sweep = {"flow.law.score.beta": (1.0, 6.0), "seed": (0, 1, 2)}
    swept = quiet(dataclasses.replace(SIMULATION, sweep=sweep), tmp_path / "sweep").dataset
    assert swept.tokens.dims == ("beta", "seed", "time", "token", "dim")
    np.testing.assert_array_equal(swept.beta, [1, 6])
    for beta, seed in ((1.0, 2), (6.0, 0)):
        member = dataclasses.replace(SIMULATION, seed=seed, flow=attention_flow(beta))
        alone = quiet(member, tmp_path / f"{beta}-{seed}").dataset
        np.testing.assert_allclose(swept.sel(beta=beta, seed=seed).tokens, alone.tokens, atol=1e-10)


def test_a_sweep_over_shapes_and_kinds(tmp_path):
    sweep = {"start.tokens": (4, 8), "flow.law.normalizer": (pt.Softmax(), pt.Mean())}
    swept = quiet(dataclasses.replace(SIMULATION, sweep=sweep), tmp_path / "sweep").dataset
    assert swept["normalizer"].values.tolist() == ["Softmax", "Mean"]
    few = swept.tokens.isel({"start.tokens": 0})
    assert np.all(np.isfinite(few[..., :4, :])) and np.all(np.isnan(few[..., 4:, :]))
    assert np.all(np.isfinite(swept.energy))


def test_swept_nouns_are_called_by_what_they_are_made_of():
    star = pt.Window(0) | pt.measures.Global(1)
    bird = pt.measures.Union((pt.Window(2, periodic=True), pt.measures.Global(1), pt.measures.Random(0.05)))
    many = pt.measures.Union(tuple(pt.Window(k) for k in range(12)))
    measures = Dimension("measure", "flow.law.measure", (pt.measures.Uniform(), star, bird, many))
    words = ["Uniform", "Union (Window 0, Global)", "Union (Window 2 periodic, Global, Random 0.05)", "Union"]
    assert measures.coordinate().tolist() == words
    scores = (pt.SquaredDistance(8.0), pt.SquaredDistance(8.0, query=np.eye(2)))  # matrices are no words
    assert Dimension("s", "s", scores).coordinate().tolist() == ["SquaredDistance 8 (1)", "SquaredDistance 8 (2)"]


def test_members_end_at_their_own_depths(tmp_path):
    plan = pt.Plan(until=40.0, save=40, chunk=4, watch=("clusters",), stop=(pt.OneCluster(0.1),))
    start = pt.starts.VonMisesFisher(6, 3, 30.0)
    sweep = {"flow.law.score.beta": (0.5, 40.0)}
    swept = pt.Simulation(start, attention_flow(), plan, sweep=sweep)
    record = quiet(swept, tmp_path / "run")
    depths = [member["depth"] for member in record.manifest["members"]]
    assert {member["status"] for member in record.manifest["members"]} == {"stopped"}
    assert depths[0] < depths[1] < 40
    reached = np.isfinite(record.dataset.clusters).sum("time").values
    np.testing.assert_array_equal(reached, np.floor(depths) + 1)


class _Breaks(AbstractObservable):
    """Infinite from half way on."""

    name = "breaks"
    symbol = "$b$"

    def __call__(self, flow, t, x):
        return jax.numpy.where(t > 1.1, jax.numpy.inf, 1.0)


def test_a_failure_names_what_and_where_and_keeps_the_good(tmp_path):
    failing = dataclasses.replace(SIMULATION, plan=dataclasses.replace(PLAN, watch=("energy", _Breaks())))
    with pytest.raises(Failed, match="observable breaks is not finite, at depth"):
        quiet(failing, tmp_path / "run")
    record = pt.open(tmp_path / "run")
    assert record.status == "failed"
    assert np.all(np.isfinite(record.dataset.energy[:5]))
    with pytest.raises(Failed, match="breaks"):
        quiet(failing, tmp_path / "run", resume=True)


def test_one_failing_member_does_not_stop_the_others(tmp_path):
    flow = pt.Flow(pt.Euclidean(), pt.Attention(pt.DotProduct(1.0), normalizer=pt.Mean()))
    start = pt.starts.Blobs(5, 3, blobs=1, spread=1.0)
    plan = pt.Plan(until=0.5, save=4, chunk=2)
    swept = pt.Simulation(start, flow, plan, sweep={"flow.law.score.beta": (0.1, 40.0)})
    with pytest.raises(Failed, match="member 1: "):
        quiet(swept, tmp_path / "run")
    record = pt.open(tmp_path / "run")
    assert [member["status"] for member in record.manifest["members"]] == ["done", "dt_min"]
    assert np.all(np.isfinite(record.dataset.tokens[0]))


def test_from_tokens_at_hand(tmp_path):
    x0 = on_sphere(6)
    record = pt.simulate(attention_flow(), x0, PLAN, tmp_path / "run", progress=False)
    np.testing.assert_allclose(record.dataset.tokens[0], x0, atol=1e-15)
    assert pt.simulate(attention_flow(), x0, PLAN, tmp_path / "run", progress=False).status == "done"
    with pytest.raises(ValueError, match="another run"):
        pt.simulate(attention_flow(), x0[::-1], PLAN, tmp_path / "run", progress=False)
    with pytest.raises(ValueError, match="all four"):
        pt.simulate(attention_flow(), x0)
    with pytest.raises(ValueError, match="leave out"):
        pt.simulate(SIMULATION, x0)


def test_a_start_file_is_kept_and_part_of_the_identity(tmp_path):
    file = tmp_path / "x.npy"
    np.save(file, on_sphere(6))
    simulation = pt.Simulation(Given(str(file)), attention_flow(), PLAN)
    record = quiet(simulation, tmp_path / "run")
    assert 'path = "given-' in record.config
    assert (
        pt.simulate(config.load(tmp_path / "run" / "config.toml"), path=tmp_path / "run", progress=False).status
        == "done"
    )
    before = simulation.identity()
    np.save(file, on_sphere(6, seed=1))
    assert simulation.identity() == before  # the file was read when the start was made
    assert dataclasses.replace(simulation, start=Given(str(file))).identity() != before


def test_too_large_a_run_is_refused_with_what_would_fit(tmp_path, monkeypatch):
    members = SIMULATION.prepared()
    budget = SIMULATION.budget(members, SIMULATION.layout(members))
    huge = dataclasses.replace(budget, tokens=200_000, gather=10**12)
    monkeypatch.setattr("particles.machine.free_memory", lambda: 2**32)
    with pytest.raises(MemoryError, match=r"932 GiB .*Blocked\(rows=512"):
        huge.check(tmp_path)
    with pytest.raises(OSError, match="plan.tokens = false") as refused:
        dataclasses.replace(budget, disk=2**60).check(tmp_path)
    assert refused.value.errno == 28
    budget.check(tmp_path)
    assert isinstance(budget, Budget)
    monkeypatch.setattr("particles.machine.free_disk", lambda path: int(budget.disk))  # a tenth more is asked for
    with pytest.raises(OSError, match="save fewer frames"):
        budget.check(tmp_path)
    (tmp_path / "held").write_bytes(bytes(int(0.2 * budget.disk)))  # by a part of this run
    budget.check(tmp_path)


@pytest.mark.parametrize(
    ("path", "words"),
    [
        ("flow.law.score.bata", "Did you mean `beta`"),
        ("flow.laws.score", "Did you mean `law`"),
        ("plan.watch.7.delta", "not a position"),
        ("seed.beta", "not a parameter"),
    ],
)
def test_paths_that_lead_nowhere(path, words):
    with pytest.raises(ValueError, match=words):
        replaced(SIMULATION, {path: 1.0})


def test_what_a_sweep_cannot_be():
    with pytest.raises(ValueError, match="share `plan.until`"):
        dimensions({"plan.until": (1.0, 2.0)})
    with pytest.raises(ValueError, match="no values"):
        dimensions({"seed": ()})
    names = [
        d.name
        for d in dimensions(
            {"start.tokens": (1,), "flow.law.laws.0.score.beta": (1,), "flow.law.laws.1.score.beta": (1,)}
        )
    ]
    assert names == ["start.tokens", "flow.law.laws.0.score.beta", "flow.law.laws.1.score.beta"]
    sweep = {"flow.space.radius": (1.0, 2.0), "flow.floor": (1e-9, 1e-6)}  # one is called like an observable
    assert [d.name for d in dimensions(sweep)] == ["flow.space.radius", "floor"]
    assert [d.name for d in dimensions(sweep, ["floor"])] == ["flow.space.radius", "flow.floor"]


@pytest.mark.parametrize("bad", [{"name": "a/b"}, {"name": ""}, {"precision": "float16"}, {"seed": -1}])
def test_simulations_that_are_refused(bad):
    with pytest.raises(ValueError, match=next(iter(bad))):
        dataclasses.replace(SIMULATION, **bad)


def test_this_jaxlib_computes_right_numbers():
    assert canary() == 0


@pytest.mark.parametrize(
    "sweep",
    [
        {"plan": (PLAN, dataclasses.replace(PLAN, save=4))},
        {"precision": ("float32", "float64")},
        {"name": ("a", "b")},
        {"start.path": ("a.npy", "b.npy")},
        {"flow.law.score": (pt.DotProduct(1.0), pt.SquaredDistance(1.0)), "flow.law.score.beta": (1.0, 2.0)},
        {"seed": (1, 1)},
        {"seed": tuple(range(2000)), "flow.law.score.beta": tuple(float(k) for k in range(2000))},
    ],
)
def test_sweeps_that_would_mislead_are_refused(sweep):
    with pytest.raises(ValueError, match="sweep"):
        dimensions(sweep)


def test_the_order_of_a_sweep_is_part_of_the_identity():
    one = {"seed": (1, 2), "flow.law.score.beta": (1.0, 2.0)}
    other = dict(reversed(one.items()))
    identities = [dataclasses.replace(SIMULATION, sweep=sweep).identity() for sweep in (one, other)]
    assert identities[0] != identities[1]


def test_code_of_others_is_part_of_the_identity(tmp_path):
    source = """
class _Mine(AbstractObservable):
    name = symbol = "mine"
    def __call__(self, flow, t, x):
        return x.sum() * {}
"""
    identities = []
    for factor in (1, 5):
        space = {"AbstractObservable": AbstractObservable, "__name__": "elsewhere"}
        exec(source.format(factor), space)  # what a user's module would define
        plan = dataclasses.replace(PLAN, watch=(space["_Mine"](),))
        identities.append(dataclasses.replace(SIMULATION, plan=plan).identity())
    assert identities[0] != identities[1]


def test_a_lost_or_changed_block_is_noticed(tmp_path, monkeypatch):
    quiet(SIMULATION, tmp_path / "done")
    block = next((tmp_path / "done" / "data.zarr" / "tokens" / "c").rglob("0"))
    while block.is_dir():
        block = next(block.iterdir())
    content = block.read_bytes()
    block.write_bytes(content[:-1] + bytes([content[-1] ^ 1]))
    with pytest.raises(Damaged, match="`tokens` is not what the run left"):
        quiet(SIMULATION, tmp_path / "done")
    with monkeypatch.context() as patched:
        interrupting(patched, 1)
        with pytest.raises(Interrupted):
            quiet(SIMULATION, tmp_path / "cut")
    for lost in (tmp_path / "cut" / "data.zarr" / "energy" / "c").rglob("0"):
        lost.unlink()
    with pytest.raises(Damaged, match="frames from 0 on"):
        quiet(SIMULATION, tmp_path / "cut", resume=True)
    (tmp_path / "cut" / "commit.json").unlink()
    with pytest.raises(Damaged, match=r"commit\.json is gone"):
        quiet(SIMULATION, tmp_path / "cut", resume=True)


def test_a_directory_of_somebody_else_is_left_alone(tmp_path):
    (tmp_path / "data.zarr").mkdir()
    (tmp_path / "data.zarr" / "x").write_text("mine")
    for run in (
        lambda: quiet(SIMULATION, tmp_path),
        lambda: pt.simulate(attention_flow(), on_sphere(6), PLAN, tmp_path),
    ):
        with pytest.raises(ValueError, match="not empty"):
            run()
    assert [p.name for p in tmp_path.iterdir()] == ["data.zarr"]
    assert (tmp_path / "data.zarr" / "x").read_text() == "mine"


def test_any_path_will_do_for_tokens_at_hand(tmp_path):
    record = pt.simulate(attention_flow(), on_sphere(6), PLAN, tmp_path / "läuf run", progress=False)
    assert (record.status, record.manifest["name"]) == ("done", "l-uf-run")


def test_every_member_of_a_sweep_is_cited(tmp_path):
    """All that some member is made of, and nothing that none of them is."""
    law = pt.Attention(normalizer=pt.Entmax(2.0))  # which every member overwrites
    plan = pt.Plan(until=0.1, save=1)
    sweep = {
        "flow.law.normalizer": (pt.Sinkhorn(), pt.normalizers.Null()),
        "flow.law.score": (pt.DotProduct(), pt.scores.Cosine(2.0)),
        "seed": (0, 1),
    }
    simulation = pt.Simulation(Uniform(4, 3), pt.Flow(pt.Sphere(), law), plan, sweep=sweep)
    members = {key for member in simulation.members() for key in sources_of(member)}
    assert {"sander2022sinkformers", "xiao2024efficient", "henry2020query"} <= members
    record = quiet(simulation, tmp_path / "run")
    assert set(record.manifest["sources"]) == members
    assert set(record.dataset.attrs["sources"].split(", ")) == members
    assert all(f"{{{key}," in record.sources() for key in members)
    assert not {"peters2019sparse", "martins2016softmax"} & set(record.manifest["sources"])


def test_sources_are_found_wherever_a_noun_stands():
    noun, plain = pt.scores.Cosine(2.0), set(sources_of(pt.scores.Cosine(2.0)))
    for place in ((noun,), [noun], {"a": noun}, {"a": (1, [{"b": noun}])}, ({"a": 1.0}, noun)):
        assert set(sources_of(place)) == plain
    assert sources_of({"a": 1.0, "b": ("word", None)}) == ()


def test_members_of_a_manifest_carry_their_swept_values(tmp_path):
    """A stop depth means something with the parameters beside it, as one process or as pieces of workers keep it."""
    plan = dataclasses.replace(PLAN, until=40.0, stop=(pt.stopping.OneCluster(1.2),))
    sweep = {"flow.law.value": (pt.values.Identity(), pt.values.Linear(2.0)), "seed": (3, 5)}
    members = quiet(dataclasses.replace(SIMULATION, plan=plan, sweep=sweep), tmp_path / "run").manifest["members"]
    expected = [{"value": name, "seed": seed} for name in ("Identity", "Linear 2") for seed in (3, 5)]
    assert [member["swept"] for member in members] == expected
    assert {member["status"] for member in members} == {"stopped"}
    for member, seed in zip(members[:2], (3, 5), strict=True):
        run = pt.solve(SIMULATION.flow, dataclasses.replace(SIMULATION, seed=seed).first(), plan)
        np.testing.assert_allclose(member["depth"], run.depth, rtol=1e-9)
    assert "swept" not in quiet(SIMULATION, tmp_path / "one").manifest["members"][0]


class _Pulled(pt.AbstractLaw):
    """A law with a function for a parameter, which solve takes and no record can keep."""

    pull: Callable = eqx.field(static=True)

    def __call__(self, t, x, summation):
        return self.pull(x)

    def check_tokens(self, n, d):
        pass

    def parts(self):
        return ()


def test_a_function_is_refused_before_anything_is_written(tmp_path):
    flow = pt.Flow(pt.Euclidean(), _Pulled(lambda x: -x))
    np.testing.assert_allclose(pt.solve(flow, on_sphere(4), PLAN_ALONE).final, np.exp(-1.0) * on_sphere(4), rtol=1e-5)
    with pytest.raises(ValueError, match="`pull` of _Pulled is a function"):
        pt.simulate(flow, on_sphere(4), PLAN_ALONE, tmp_path / "run", progress=False)
    assert not (tmp_path / "run").exists()
