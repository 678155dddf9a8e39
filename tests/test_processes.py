"""Several processes that move one system: the answer of one, and what becomes of it when one of them is killed."""

import os
import pathlib
import signal
import subprocess
import sys
import time

import numpy as np
import pytest

import particles as pt
from particles import config, ranks
from particles.ranks import Ranks, foretold, packed, unpacked
from particles.simulation import Interrupted

CONFIG = """
kind = "Simulation"
name = "pair"
seed = 1
start = {kind = "Uniform", tokens = 12, dim = 3}
[flow]
space = {kind = "Sphere"}
[flow.law]
kind = "Attention"
[plan]
until = 4.0
save = 200
chunk = 2
watch = ["energy"]
"""


def started(tmp_path: pathlib.Path, *arguments: str) -> subprocess.Popen:
    line = [sys.executable, "-m", "particles", *arguments, "--processes", "2", "--no-figures", "--quiet"]
    return subprocess.Popen(line, cwd=tmp_path, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)


def children(process: subprocess.Popen) -> list[int]:
    found = subprocess.run(["ps", "-o", "pid=", "--ppid", str(process.pid)], capture_output=True, text=True)
    return sorted(map(int, found.stdout.split()))


def test_two_processes_one_of_them_killed_have_the_answer_of_one(tmp_path):
    (tmp_path / "pair.toml").write_text(CONFIG)
    simulation = config.load(tmp_path / "pair.toml")
    run = simulation.directory(tmp_path / "runs")
    first = started(tmp_path, "run", "pair.toml")
    while not (run / "commit.json").exists():
        assert first.poll() is None, first.communicate()[1]
        time.sleep(0.05)
    os.kill(children(first)[1], signal.SIGKILL)
    output, said = first.communicate(timeout=120)
    assert first.returncode == 75, said
    assert "another process of this run was lost" in said and output.strip().endswith(run.name)
    assert pt.open(run).status == "interrupted" and 2 <= pt.open(run).dataset.sizes["time"] < 201

    second = started(tmp_path, "resume", str(run))
    while pt.open(run).dataset.sizes["time"] < 60:
        assert second.poll() is None, second.communicate()[1]
        time.sleep(0.05)
    second.send_signal(signal.SIGTERM)  # whoever started them passes it on, and they agree on where to stop
    _, said = second.communicate(timeout=120)
    assert second.returncode == 75 and "SIGTERM at depth" in said

    record = pt.simulate(simulation, path=run, resume=True, progress=False)  # on another number of processes
    alone = pt.simulate(simulation, path=tmp_path / "alone", progress=False)
    assert [segment.get("processes") for segment in record.manifest["segments"]] == [2, 2, None]
    assert record.dataset.sizes == alone.dataset.sizes
    np.testing.assert_allclose(record.dataset.tokens, alone.dataset.tokens, rtol=0, atol=1e-10)


def test_who_says_how_many_there_are():
    by_hand = {ranks.ADDRESS: "127.0.0.1:4000", ranks.COUNT: "2", ranks.OWN: "1"}
    assert foretold(by_hand) == Ranks(2, 1)
    assert foretold({}) is None
    step = {"SLURM_NTASKS": "4", "SLURM_PROCID": "3", "SLURM_STEP_NODELIST": "node[1-4]"}
    assert foretold(step) == Ranks(4, 3)
    assert foretold({**step, "SLURM_NTASKS": "1", "SLURM_PROCID": "0"}) is None
    assert foretold({"SLURM_NTASKS": "4", "SLURM_PROCID": "0"}) is None  # a batch script, not a step of it
    mpi = {"OMPI_COMM_WORLD_SIZE": "2", "OMPI_COMM_WORLD_RANK": "0"}
    assert foretold({**mpi, "OMPI_MCA_orte_hnp_uri": "1.0;tcp://127.0.0.1:1"}) == Ranks(2, 0)
    assert foretold({**mpi, ranks.ADDRESS: "127.0.0.1:4000"}) == Ranks(2, 0)
    with pytest.raises(ValueError, match="JAX_PROCESS_ID are set and JAX_COORDINATOR_ADDRESS is missing"):
        foretold({ranks.COUNT: "2", ranks.OWN: "1"})
    with pytest.raises(ValueError, match="JAX_PROCESS_ID = 2: expected"):
        foretold({**by_hand, ranks.OWN: "2"})


def test_what_the_first_has_reaches_the_others_whole():
    arrays = {"0.state": np.arange(6.0).reshape(2, 3), "efforts": np.zeros((1, 2), int)}
    found, facts = unpacked(packed(arrays, {"frames": 4}))
    assert found.keys() == arrays.keys() and facts == {"frames": 4}
    assert all(np.array_equal(found[name], arrays[name]) and found[name].dtype == arrays[name].dtype for name in arrays)
    assert unpacked(packed(None, {}))[0] is None and unpacked(packed({}, {}))[0] == {}


def test_one_that_is_alone_asks_nobody():
    alone = Ranks(1, 0)
    assert alone.shared(b"x") == b"x" and alone.agreed("") == "" and alone.agreed("SIGINT") == "SIGINT"


def test_a_rank_stops_with_whoever_started_it(tmp_path, monkeypatch):
    monkeypatch.setenv(ranks.LAUNCHER, str(os.getppid()))
    assert ranks.orphaned() is None
    (tmp_path / "pair.toml").write_text(CONFIG)
    simulation = config.load(tmp_path / "pair.toml")
    monkeypatch.setenv(ranks.LAUNCHER, "1" if os.getppid() != 1 else "2")  # somebody else
    with pytest.raises(Interrupted, match="the end of the process that began it at depth"):
        pt.simulate(simulation, path=tmp_path / "run", progress=False)
