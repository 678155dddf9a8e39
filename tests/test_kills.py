"""Runs of every kind, killed at any moment and resumed: the bits of a run that was not.

PARTICLES_KILLS=3 in the environment kills every kind at every moment, three times each, at moments drawn anew;
PARTICLES_KILLS=2:3 does so a third time only.
"""

import contextlib
import json
import os
import pathlib
import signal
import subprocess
import sys
import time

import fuzzing
import numpy as np
import pytest

from particles import config

BASE = """
name = "trial"
start = {kind = "Uniform", tokens = 12, dim = 2}
figures = ["observables", "trajectories"]
seed = 3
[flow]
space = {kind = "Sphere"}
law = {kind = "Attention", score = {kind = "DotProduct", beta = 4.0}}
[plan]
until = 6.0
save = 180
dt = 0.0005
chunk = 2
watch = ["energy"]
"""
SWEEP = '\n[sweep]\n"flow.law.score.beta" = [1.0, 6.0]\n"start.tokens" = [9, 12]\n'
NOISE = BASE.replace("[flow]", '[flow]\nkind = "NoisyFlow"\nnoise = {kind = "Brownian", sigma = 0.3}')
KINDS = {  # the config, and how it is made
    "plain": (BASE, ()),
    "sweep": (BASE + SWEEP, ()),
    "workers": (BASE + SWEEP, ("--workers", "2")),
    "noise": (NOISE.replace("dt = 0.0005", 'solver = "Heun"\ndt = 0.001'), ()),
    "coalescing": (BASE.replace("until = 6.0", "until = 30.0\ncoalesce = 1e-2").replace("0.0005", "0.002"), ()),
    "processes": (BASE.replace("dt = 0.0005", "rtol = 1e-6"), ("--processes", "2")),  # which talk at every step
}
MOMENTS = ("start", "middle", "end", "resume", "figures")
FRAMES = 181
EVERY_DAY = [("noise", "middle"), ("noise", "figures")]
ASKED = os.environ.get("PARTICLES_KILLS")
OFTEN = ("middle", "resume")  # the moments of the exhaustive tier


def begun(folder: pathlib.Path, *arguments: str) -> subprocess.Popen:
    """The command line in a process group of its own, so that all of it can be killed at once."""
    line = [sys.executable, "-m", "particles", *arguments]
    return subprocess.Popen(line, cwd=folder, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, start_new_session=True)


def frames(run: pathlib.Path) -> int:
    """How many frames are committed, of a sweep in pieces in all of these together."""
    found = []
    for path in (run / "commit.json", *sorted(run.glob("parts/0*/commit.json"))):
        try:
            found.append(json.loads(path.read_text())["frames"])
        except FileNotFoundError:  # not yet, or just now cleared away
            continue
    return sum(found)


def killed(
    process: subprocess.Popen, run: pathlib.Path, moment: str, rng: np.random.Generator, itself: bool = False
) -> bool:
    """Kills a process, or perhaps one that it has started, a little after a moment; whether it was still there."""
    before, some = frames(run), int(rng.integers(2, FRAMES))
    wanted = {"middle": some, "resume": before + 2, "end": FRAMES - 1}.get(moment, 0)
    place = run / "figures" if moment == "figures" else run
    while process.poll() is None and not (place.exists() and frames(run) >= wanted):
        time.sleep(0.005)
    time.sleep(float(rng.uniform(0, {"start": 1.0, "figures": 2.0}.get(moment, 0.05))))
    alive = process.poll() is None
    listed = subprocess.run(["ps", "-o", "pid=", "--ppid", str(process.pid)], capture_output=True, text=True)
    started = [int(pid) for pid in listed.stdout.split()]
    victim = int(rng.choice(started)) if started and not itself and rng.random() < 0.5 else process.pid
    with contextlib.suppress(ProcessLookupError):
        os.kill(victim, signal.SIGKILL)
    process.communicate(timeout=120)
    return alive


def finished(folder: pathlib.Path, run: pathlib.Path, options: tuple[str, ...]) -> None:
    """Resumes until the run is done; one of which nothing is there yet is begun again."""
    for _ in range(4):
        there = (run / "manifest.json").exists()
        again = ("resume", str(run)) if there else ("run", "trial.toml", "--resume", "--out", str(folder))
        process = begun(folder, *again, "--quiet", *options)
        try:
            said = process.communicate(timeout=300)[1].decode()
        except subprocess.TimeoutExpired:
            os.killpg(process.pid, signal.SIGKILL)
            raise
        if process.returncode == 0:
            return
        assert process.returncode in (75, 2) and ("is being written" in said or process.returncode == 75), said
        time.sleep(1)  # for workers and ranks that have not found out yet
    raise AssertionError(said)


@pytest.fixture(scope="module")
def unbroken(tmp_path_factory):
    """The bits of each kind of run, made when first asked for."""
    made: dict[str, dict[str, tuple]] = {}

    def bits(kind):
        if kind not in made:
            folder = tmp_path_factory.mktemp(kind)
            text, options = KINDS[kind]
            (folder / "trial.toml").write_text(text)
            run = config.load(folder / "trial.toml").directory(folder)
            finished(folder, run, (*options, "--no-figures"))
            made[kind] = fuzzing.arrays(run)
        return made[kind]

    return bits


def survives(folder, kind, moment, seed, bits):
    rng = np.random.default_rng(seed)
    text, options = KINDS[kind]
    (folder / "trial.toml").write_text(text)
    run = config.load(folder / "trial.toml").directory(folder)
    more = () if moment == "figures" else ("--no-figures",)
    process = begun(folder, "run", "trial.toml", "--quiet", "--out", str(folder), *options, *more)
    hit = killed(process, run, "middle" if moment == "resume" else moment, rng, moment in ("middle", "resume"))
    if moment == "resume" and (run / "manifest.json").exists():
        time.sleep(1)
        hit = killed(begun(folder, "resume", str(run), "--quiet", *options, *more), run, moment, rng)
    print(f"{kind}, {moment}, seed {seed}: {'killed' if hit else 'over before'} with {frames(run)} frames")
    finished(folder, run, (*options, *more))
    assert fuzzing.arrays(run) == bits
    assert fuzzing.dataset(run) == bits
    if moment == "figures":
        assert (run / "report.html").exists()
    hidden = [path for path in run.rglob(".*") if path.is_file()]
    assert not hidden and not list(run.rglob("*.partial")) and not (run / "parts").exists()


@pytest.mark.parametrize(("kind", "moment"), EVERY_DAY)
def test_a_run_that_was_killed_has_the_bits_of_one_that_was_not(tmp_path, unbroken, kind, moment):
    survives(tmp_path, kind, moment, 0, unbroken(kind))


@pytest.mark.parametrize("moment", MOMENTS)
@pytest.mark.parametrize("kind", KINDS)
def test_every_kind_at_every_moment(tmp_path, unbroken, kind, moment):
    if ASKED is None and moment not in OFTEN:
        pytest.skip("PARTICLES_KILLS=1 kills at every moment")
    first, _, last = (ASKED or "1").rpartition(":")
    for seed in range(int(first or 0), int(last)):
        folder = tmp_path / str(seed)
        folder.mkdir()
        survives(folder, kind, moment, 1000 + seed, unbroken(kind))
