"""Sweeps that workers share: the record of one process, whatever becomes of the workers."""

import concurrent.futures
import dataclasses
import json
import os
import pathlib
import shutil
import signal
import sys
import threading
import time

import jax.numpy as jnp
import numpy as np
import pytest
import xarray
from samples import attention_flow

import particles as pt
from particles import config, machine
from particles.commands.running import Making
from particles.commands.running import run as run_command
from particles.integration import Failed
from particles.observables import AbstractObservable
from particles.record import Damaged
from particles.record.files import replace_json
from particles.simulation import Interrupted, Unfinished, assembly, loop, mesh, pieces, workforce
from particles.simulation.cluster import Cluster
from particles.simulation.loop import Loop


class _Breaks(AbstractObservable):
    """Infinite from a depth on, for a large beta."""

    name = "breaks"
    symbol = "$b$"

    def __call__(self, flow, t, x):
        return jnp.where((t > 0.35) & (flow.law.score.beta > 10), jnp.inf, 1.0)


BETAS, LARGE = (1.0, 3.0, 6.0), 40.0
SIMULATION = pt.Simulation(  # all members end before the plan does, each at its own depth
    pt.starts.VonMisesFisher(4, 3, 30.0),
    attention_flow(),
    pt.Plan(until=1.5, save=15, chunk=4, watch=("energy", _Breaks()), stop=(pt.OneCluster(0.1),)),
    name="trial",
    sweep={"start.tokens": (4, 6), "flow.law.score.beta": BETAS},
)
FEW = dataclasses.replace(  # those of four tokens, in words that a config knows
    SIMULATION,
    plan=dataclasses.replace(SIMULATION.plan, watch=("energy",)),
    sweep={"flow.law.score.beta": BETAS},
)
ROUNDING = 1e-12  # of a member moved with others or without, through some twenty steps


class Inline(concurrent.futures.Executor):
    """Starts a worker in this process, which spares its start: any executor will do, as long as workers work."""

    def __init__(self, simulation, path):
        self.simulation, self.path, self.started = simulation, path, 0

    def submit(self, fn, /, *args, **kwargs):
        future = concurrent.futures.Future()
        self.started += 1
        try:
            self.simulation.worker(self.path).work()
            future.set_result((0, ""))
        except Interrupted as interruption:
            future.set_result((75, f"particles: {interruption}"))
        except RuntimeError as error:  # such a worker would be lost
            future.set_exception(error)
        return future


def alone(simulation, path):
    return pt.simulate(simulation, path=path, progress=False)


def shared(simulation, path, **options):
    options = {"workers": 2, "executor": Inline(simulation, path)} | options
    return pt.simulate(simulation, path=path, progress=False, **options)


def same(one: xarray.Dataset, other: xarray.Dataset) -> bool:
    """Whether two records have the same dimensions, coordinates and words, and the same numbers to rounding."""
    if dict(one.sizes) != dict(other.sizes) or set(one.data_vars) != set(other.data_vars):
        return False
    if one.attrs | {"status": ""} != other.attrs | {"status": ""}:
        return False
    equal = [np.array_equal(one[name], other[name]) for name in one.coords]
    close = [np.allclose(one[n], other[n], rtol=0, atol=ROUNDING, equal_nan=True) for n in one.data_vars]
    return all(equal) and all(close) and all(one[n].attrs == other[n].attrs for n in one.variables)


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    return alone(SIMULATION, tmp_path_factory.mktemp("whole") / "run")


def test_a_shared_sweep_is_the_record_of_one_process(tmp_path, whole):
    record = shared(SIMULATION, tmp_path / "run")
    assert same(record.dataset, whole.dataset)
    assert not (tmp_path / "run" / "parts").exists()
    ours, theirs = record.manifest["members"], whole.manifest["members"]
    assert [{key: member[key] for key in theirs[0]} for member in ours] == theirs
    assert {(member["attempts"], member["segment"]) for member in ours} == {(1, 0)}
    assert set(record.manifest["hosts"]) == {member["host"] for member in ours}
    assert record.manifest["segments"][0]["workers"] == 2
    record.verify()
    log = (tmp_path / "run" / "log.txt").read_text()
    assert "member 5 (start.tokens 6, beta 6.0): stopped at depth 0." in log
    finished = shared(SIMULATION, tmp_path / "run")
    assert finished.manifest == record.manifest


def test_members_in_the_wrong_places_would_be_noticed(tmp_path, whole, monkeypatch):
    """The negative control of every comparison here: pieces put together in another order."""
    place = assembly.place
    monkeypatch.setattr(
        assembly, "place", lambda grid, parts, shape: place(grid, [(m[::-1], v) for m, v in parts], shape)
    )
    record = shared(SIMULATION, tmp_path / "run")
    assert np.abs(record.dataset.energy - whole.dataset.energy).max() > 1e-3
    assert not same(record.dataset, whole.dataset)


def test_members_end_and_fail_each_by_itself(tmp_path):
    sweep = SIMULATION.sweep | {"flow.law.score.beta": (1.0, 3.0, LARGE)}
    simulation = dataclasses.replace(SIMULATION, sweep=sweep)
    paths = [tmp_path / name for name in ("alone", "shared")]
    for make, path in zip((alone, shared), paths, strict=True):
        with pytest.raises(Failed, match="member 2: observable breaks is not finite, at depth"):
            make(simulation, path)
    one, other = (pt.open(path) for path in paths)
    assert [member["status"] for member in other.manifest["members"]] == ["stopped", "stopped", "not_finite"] * 2
    assert one.dataset.sizes["time"] == 10  # nobody came to the end of the plan
    assert same(one.dataset, other.dataset)
    reasons = [record.manifest["segments"][0]["reason"].split("; ") for record in (one, other)]
    assert reasons[1] == sorted(reasons[0])


def test_what_is_said_of_tokens_that_met_is_said_for_each_member(tmp_path):
    plan = dataclasses.replace(FEW.plan, stop=(), coalesce=0.05)
    simulation = dataclasses.replace(FEW, plan=plan, sweep={"flow.law.score.beta": (6.0, 1.0)})
    one, other = alone(simulation, tmp_path / "alone"), shared(simulation, tmp_path / "shared")
    said = [[member["coalescence"] for member in record.manifest["members"]] for record in (one, other)]
    assert said[0][0] != said[0][1] and said[1] == said[0]
    assert same(one.dataset, other.dataset)


def test_how_a_sweep_is_cut():
    small, large = range(1000), range(1000, 1006)
    parts = pieces.cut([(small, 8), (large, 2048)], workers=2)
    assert sorted(member for part in parts for member in part) == [*small, *large]
    assert parts[:6] == [(member,) for member in large]  # the most work first, one by one
    assert [len(part) for part in parts[6:]] == [250] * 4
    assert [len(part) for part in pieces.cut([(small, 256)], 2)] == [16] * 62 + [8]
    assert pieces.cut([(range(5), 4)], 1) == [(0, 1, 2, 3, 4)]  # not worth a program each
    assert pieces.cut([(range(2), 4), (range(2, 4), 6)], 2) == [(2, 3), (0, 1)]  # a shape for each worker


def test_a_sweep_that_is_stopped_goes_on_to_the_same_bits(tmp_path, whole, monkeypatch):
    """The executor has threads, in which no signal arrives: the crew, which hears it, asks through the file system."""
    path, advance, moved = tmp_path / "cut", loop._advance, []

    def work(line, environment):
        return Inline(SIMULATION, path).submit(None).result()

    def stopping(*arguments):
        moved.append(1)
        if len(moved) == 1:
            os.kill(os.getpid(), signal.SIGTERM)
            while not (path / "parts" / "stop").exists():
                time.sleep(0.01)
        return advance(*arguments)

    monkeypatch.setattr(workforce, "command", work)
    with concurrent.futures.ThreadPoolExecutor(1) as executor:
        with monkeypatch.context() as patched:
            patched.setattr(loop, "_advance", stopping)
            with pytest.raises(Interrupted, match="SIGTERM with 0 of 6 members done"):
                shared(SIMULATION, path, executor=executor)
        record = pt.open(path)
        assert record.status == "interrupted"
        assert sorted(member["depth"] for member in record.manifest["members"]) == pytest.approx([0] * 3 + [0.3] * 3)
        with pytest.raises(Unfinished, match="particles resume"):
            shared(SIMULATION, path, executor=executor)
        record = shared(SIMULATION, path, executor=executor, resume=True)
    assert record.manifest["checksums"] == shared(SIMULATION, tmp_path / "unbroken").manifest["checksums"]
    assert sorted(member["attempts"] for member in record.manifest["members"]) == [1] * 3 + [2] * 3
    assert {member["segment"] for member in record.manifest["members"]} == {1}
    assert same(record.dataset, whole.dataset)


def test_a_piece_at_which_workers_are_lost_is_tried_again_and_then_named(tmp_path, whole, monkeypatch):
    """Every worker is lost that takes up the members of six tokens; it is known that they began, for they noted it."""
    run = Loop.run

    def losing(loop, flag, facts):
        if loop.layout.variables["tokens"].shape == (6, 3):
            loop.keeping.journal.open_segment(0, facts)
            raise RuntimeError("no memory")
        run(loop, flag, facts)

    with monkeypatch.context() as patched:
        patched.setattr(Loop, "run", losing)
        with pytest.raises(Interrupted, match="with 3 of 6 members done") as ended:
            shared(SIMULATION, tmp_path / "run")
    assert "member 4 (start.tokens 6, beta 3.0), member 5 (start.tokens 6, beta 6.0) remain" in str(ended.value)
    assert "no memory" in str(ended.value)
    statuses = [member["status"] for member in pt.open(tmp_path / "run").manifest["members"]]
    assert statuses == ["stopped"] * 3 + ["running"] * 3
    record = shared(SIMULATION, tmp_path / "run", resume=True)
    assert [member["attempts"] for member in record.manifest["members"]] == [1] * 3 + [3] * 3
    assert same(record.dataset, whole.dataset)


def test_workers_that_are_lost_before_they_begin_are_not_replaced_for_ever(tmp_path):
    class Broken(Inline):
        def submit(self, fn, /, *args, **kwargs):
            self.started += 1
            future = concurrent.futures.Future()
            future.set_result((-9, ""))
            return future

    executor = Broken(SIMULATION, tmp_path / "run")
    with pytest.raises(Interrupted, match="0 of 6 members done.*killed, perhaps for want of memory"):
        shared(SIMULATION, tmp_path / "run", executor=executor, workers=3)
    assert executor.started == 3


def test_a_fault_of_the_whole_run_ends_it_with_its_own_error(tmp_path):
    class Full(Inline):
        def submit(self, fn, /, *args, **kwargs):
            future = concurrent.futures.Future()
            future.set_result((74, "a traceback\nparticles: [Errno 28] No space left on device"))
            return future

    with pytest.raises(OSError, match=r"No space left") as ended:
        shared(SIMULATION, tmp_path / "run", executor=Full(SIMULATION, tmp_path / "run"))
    assert ended.value.errno == 28
    assert pt.open(tmp_path / "run").status == "interrupted"


def test_who_may_work(tmp_path):
    with pytest.raises(ValueError, match="at least 0"):
        shared(SIMULATION, tmp_path / "run", workers=-1)
    with pytest.raises(ValueError, match="not a sweep that is made in pieces"):
        SIMULATION.worker(tmp_path)
    members = FEW.prepared()
    assert workforce.Workforce(2, None).parts(tmp_path, members) == [(0, 1), (2,)]
    assert workforce.Workforce(2, None).parts(tmp_path, members[:1]) == []  # one member needs nobody else
    assert workforce.Workforce(1, None).parts(tmp_path, members) == []
    assert workforce.workforce(tmp_path, 0, None) == workforce.workforce(tmp_path, None, None)
    study = pt.studies.Lyapunov(pt.starts.Uniform(4, 3), attention_flow(), SIMULATION.plan)
    with pytest.raises(ValueError, match="one computation, which workers cannot share"):
        study.measure(tmp_path / "study", workers=2)


def test_a_worker_ends_with_whoever_it_works_for_and_refuses_another_run(tmp_path):
    with pytest.raises(Interrupted):
        shared(SIMULATION, tmp_path / "run", executor=_Nobody())
    worker = SIMULATION.worker(tmp_path / "run")
    (tmp_path / "run" / "parts" / "stop").unlink()
    with pytest.raises(Interrupted, match="the end of the process that began it"):
        worker.work(parent=1 if os.getppid() != 1 else 2)
    with pytest.raises(ValueError, match="another run"):
        dataclasses.replace(SIMULATION, seed=1).worker(tmp_path / "run")


def test_pieces_that_are_not_those_of_the_run_are_told(tmp_path):
    """Gone, of other members, in one another's places, of another run, with frames beyond the plan."""
    path, other = tmp_path / "run", dataclasses.replace(SIMULATION, seed=1)
    for simulation, run in ((SIMULATION, path), (other, tmp_path / "other")):
        with pytest.raises(Interrupted):
            shared(simulation, run, executor=_FirstPiece(simulation, run))
    listed, parts = path / "parts" / "pieces.json", path / "parts"
    members = [list(piece.members) for piece in pieces.pieces(path)]

    def told(words, work=lambda: shared(SIMULATION, path, resume=True)):
        with pytest.raises(Damaged, match=words):
            work()

    content = listed.read_bytes()
    listed.unlink()
    told(r"the run was begun in pieces, and parts/pieces\.json is gone", lambda: alone(SIMULATION, path))
    told(r"pieces\.json is gone")
    for edited, words in (
        (members[:1], "it has 3 members of 6|not all members"),
        ([*members, []], "not all members, each of them once"),
        ([members[0], members[0]], "not all members, each of them once"),
        (["x"], r'pieces\[0\]: expected a list, got "x"'),
        (members[::-1], "positions: expected"),
    ):
        replace_json(listed, {"pieces": edited})
        told(words)
    listed.write_bytes(content)
    done = next(piece for piece in pieces.pieces(path) if piece.finished)
    commit = (done.directory / "commit.json").read_bytes()
    (done.directory / "commit.json").write_bytes(commit[:-20])
    told(r"commit\.json is damaged")
    (done.directory / "commit.json").write_bytes(commit)
    kept = done.directory.rename(tmp_path / "kept")
    shutil.copytree(tmp_path / "other" / "parts" / done.directory.name, done.directory)
    told("a piece of another run")
    shutil.rmtree(done.directory)
    kept.rename(done.directory)
    (parts / "stop").unlink(missing_ok=True)
    assert shared(SIMULATION, path, resume=True).status == "done"


class _FirstPiece(Inline):
    """Makes one piece, and then asks to stop."""

    def submit(self, fn, /, *args, **kwargs):
        future, worker = concurrent.futures.Future(), self.simulation.worker(self.path)
        worker.pieces = worker.pieces[:1]
        worker.work()
        os.kill(os.getpid(), signal.SIGTERM)
        future.set_result((0, ""))
        return future


class _Nobody(concurrent.futures.Executor):
    def submit(self, fn, /, *args, **kwargs):
        raise concurrent.futures.BrokenExecutor("it is broken")


CONFIG = """
name = "trial"
start = {kind = "Uniform", tokens = 6, dim = 3}
[flow]
space = {kind = "Sphere"}
law = {kind = "Attention", score = {kind = "DotProduct", beta = 4.0}}
[plan]
until = 2.0
save = 60
chunk = 2
dt = 0.0005
watch = ["energy"]
[sweep]
"flow.law.score.beta" = [1.0, 6.0]
"""


def killed(run: pathlib.Path, when: float) -> threading.Thread:
    """Kills the first worker that has committed something, a little later; the thread that does so."""

    def watch():
        while True:
            for piece in pieces.pieces(run) if pieces.laid_out(run) else []:
                if piece.frames() and piece.held:
                    time.sleep(when)
                    if not piece.finished:
                        os.kill(json.loads((piece.directory / "lock").read_text())["pid"], signal.SIGKILL)
                        return
            time.sleep(0.02)

    thread = threading.Thread(target=watch, daemon=True)
    thread.start()
    return thread


def test_a_worker_is_killed_and_nothing_is_lost(tmp_path):
    """At a random moment, between two commits or within one."""
    (tmp_path / "trial.toml").write_text(CONFIG)
    simulation = config.load(tmp_path / "trial.toml")
    when = float(np.random.default_rng().uniform(0, 0.3))
    print(f"killed {when:.3f} s after its first commit")
    thread = killed(tmp_path / "run", when)
    record = pt.simulate(simulation, path=tmp_path / "run", workers=2, progress=False)
    thread.join()
    assert "a worker was lost (-9)" in (tmp_path / "run" / "log.txt").read_text()
    assert sorted(member["attempts"] for member in record.manifest["members"]) == [1, 2]
    assert record.manifest["hosts"].popitem()[1]["environment"]["XLA_FLAGS"].endswith(machine.ONE_THREAD)
    assert same(record.dataset, alone(simulation, tmp_path / "alone").dataset)


def test_jobs_of_a_cluster_with_two_devices(tmp_path, capsys, monkeypatch, whole):
    """One worker spreads three members over two devices: two on each, one of them for nothing."""
    monkeypatch.setenv("XLA_FLAGS", "--xla_force_host_platform_device_count=2")  # too late for this process
    config_file = tmp_path / "trial.toml"
    config_file.write_text(FEW.config())

    def called(*overrides, **options):
        return run_command(config_file, overrides, out=tmp_path, making=Making(no_figures=True, quiet=True, **options))

    slurm = ("timeout_min=5", "partition=small")
    assert called("mesh.members=2", executor="local", workers=1, slurm=slurm) == 0
    record = pt.open(capsys.readouterr().out.strip())
    assert [host["devices"] for host in record.manifest["hosts"].values()] == [2]
    assert record.manifest["identity"] == FEW.identity()  # as far as numbers go it is the same run
    one = whole.dataset.tokens.isel({"start.tokens": 0, "token": slice(4)})
    np.testing.assert_allclose(record.dataset.tokens, one, atol=ROUNDING)
    for bad, words in {"partitoin=small": "partitoin", "timeout_min=soon": "timeout_min", "x": "key=value"}.items():
        with pytest.raises(ValueError, match=words):
            called(executor="local", slurm=(bad,))
    with pytest.raises(ValueError, match="say --executor slurm, too"):
        called(slurm=("partition=small",))
    with pytest.raises(ValueError, match="no Slurm on this machine"):
        called(executor="slurm")


def test_without_submitit_it_is_said_what_to_install(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "submitit", None)
    with pytest.raises(ModuleNotFoundError, match=r"pip install 'attention-particles\[slurm\]'"):
        Cluster(tmp_path, "local", {})


def test_more_devices_than_there_are(tmp_path):
    with pytest.raises(ValueError, match=r"mesh\.members = 99 and this process has .*device_count=99"):
        alone(dataclasses.replace(FEW, mesh=mesh.Mesh(99)), tmp_path / "run")
