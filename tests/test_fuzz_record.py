"""Run directories with one thing wrong in them: what is damaged is told, and nothing wrong is ever taken for the run.

PARTICLES_FUZZ=2000 in the environment tries so many cases; PARTICLES_FUZZ=17:18 tries case 17 again.
"""

import collections
import os
import signal

import fuzzing
import pytest

from particles import config
from particles.simulation import loop, workforce

CASES = (100, 1000)  # every day, and in the exhaustive tier
CONFIG = """
name = "trial"
start = {kind = "Uniform", tokens = 5, dim = 3}
figures = ["observables"]
[flow]
space = {kind = "Sphere"}
law = {kind = "Attention", score = {kind = "DotProduct", beta = 4.0}}
[plan]
until = 1.0
save = 10
chunk = 2
watch = ["energy"]
"""
SWEEP = """
[sweep]
"flow.law.score.beta" = [1.0, 6.0]
"flow.law.value" = [{kind = "Identity"}, {kind = "Linear", matrix = [[-1.0, 0, 0], [0, -1.0, 0], [0, 0, -1.0]]}]
"""


def made(folder, name, text, interrupted_after=None, workers=()):
    """A run directory by the command line, and what is known of it; perhaps it is stopped after so many chunks."""
    folder.mkdir(parents=True)
    (folder / f"{name}.toml").write_text(text)
    run = config.load(folder / f"{name}.toml").directory(folder)
    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(workforce, "command", fuzzing.worker(run))
        if interrupted_after is not None:
            advance, calls = loop._advance, []

            def stopping(*arguments):
                calls.append(1)
                if len(calls) == interrupted_after:
                    os.kill(os.getpid(), signal.SIGTERM)
                return advance(*arguments)

            patched.setattr(loop, "_advance", stopping)
        options = ["--quiet", "--no-figures", "--out", folder, *workers]
        code, said = fuzzing.command("run", folder / f"{name}.toml", *options)
    assert code == (0 if interrupted_after is None else 75), said
    return run


@pytest.fixture(scope="module")
def specimens(tmp_path_factory):
    root = tmp_path_factory.mktemp("specimens")
    found = []
    for name, text, workers, after in (
        ("plain", CONFIG, (), 3),
        ("sweep", CONFIG + SWEEP, (), 4),
        ("shared", CONFIG + SWEEP, ("--workers", "2"), 4),
    ):
        whole = made(root / name / "whole", "trial", text, workers=workers)
        cut = made(root / name / "cut", "trial", text, after, workers)
        bits = fuzzing.arrays(whole)
        known = fuzzing.dataset(cut) if (cut / "commit.json").exists() else None
        found += [fuzzing.Specimen(cut, bits, known), fuzzing.Specimen(whole, bits, fuzzing.dataset(whole))]
    return found


@pytest.mark.parametrize("cases", CASES)
def test_harm_is_told_and_nothing_wrong_is_taken_for_the_run(specimens, tmp_path, monkeypatch, cases):
    monkeypatch.setattr(workforce, "command", fuzzing.worker(tmp_path / "run"))
    first, _, last = os.environ.get("PARTICLES_FUZZ", str(cases)).rpartition(":")
    faults, counts = [], collections.Counter()
    for number in range(int(first or 0), int(last)):
        done, fault = fuzzing.case(number, specimens, tmp_path)
        counts[done.partition("; ")[2].partition(":")[0]] += 1
        print(done) if "PARTICLES_FUZZ" in os.environ else None
        if fault:
            faults.append(f"{done}\n    {fault}")
    print(dict(counts))
    assert not faults, f"{len(faults)} of {sum(counts.values())}\n" + "\n".join(faults)
