"""The scoreboard: verdicts in a table, in JSON, on a page; and the commands that make it."""

import concurrent.futures
import json
import os
import pathlib
import subprocess
import sys

import numpy as np
import pytest

import particles as pt
from particles import scoreboard
from particles.chart import Curves, Map, read, written
from particles.scoreboard import Row

GOOD = pt.Check("slope", 1.01, 1.0, 0.05, "noise")
BAD = pt.Check("bound", 2.0, 1.0, 0.0, "an inequality", pt.Sense.at_most)
LOST = pt.Check("slope", float("nan"), 1.0, 0.1, "")


def row(name, *checks, **words):
    return Row(name, pt.Verdict(f"The claim {name}.", ("vuckovic2020mathematical",), checks, **words), "runs/x", 1.5)


def test_a_table_has_a_line_for_every_number():
    rows = [
        row("first", GOOD, GOOD),
        row("second", BAD),
        row("third", outside="n is too small."),
        row("fourth", broken="Boom"),
    ]
    lines = scoreboard.table(rows).splitlines()
    assert lines[0].split() == ["claim", "source", "quantity", "measured", "expected", "tolerance", "verdict"]
    assert lines[2].split() == ["first", "2007.02876", "slope", "1.01", "=", "1", "0.05", "holds"]
    assert "0 !" in lines[4] and lines[4].endswith("FAILS")
    assert "n is too small." in lines[5] and lines[5].endswith("outside the assumptions")
    assert "Boom" in lines[6] and lines[6].endswith("BROKEN")
    assert lines[-1] == "4 claims: 1 holds, 1 FAILS, 1 outside the assumptions, 1 BROKEN"


def test_what_counts_as_good():
    assert scoreboard.good([row("a", GOOD), row("b", outside="x")])
    assert not scoreboard.good([row("a", GOOD, BAD)])
    assert not scoreboard.good([row("a", GOOD, LOST)]) and not scoreboard.good([row("a", LOST)], control=True)
    assert not scoreboard.good([row("a", not_converged="x")]) and not scoreboard.good([row("a", broken="x")])
    assert scoreboard.good([row("a", BAD)], control=True) and not scoreboard.good([row("a", GOOD)], control=True)
    assert "fails, as it must" in scoreboard.table([row("a", BAD)], control=True)
    assert "BUT IT IS A NEGATIVE CONTROL" in scoreboard.table([row("a", GOOD)], control=True)


def test_results_are_json_also_where_numbers_are_none():
    content = json.loads(json.dumps(scoreboard.results([row("a", LOST)], True, False), allow_nan=False))
    [claim] = content["claims"]
    assert claim["outcome"] == "undefined" and claim["checks"][0]["measured"] == "nan" and content["fast"]


def test_a_page_has_a_section_for_every_claim(tmp_path):
    scoreboard.page(
        [row("first", GOOD), row("second", BAD), row("third", outside="Too small.")], tmp_path / "claims.md"
    )
    text = (tmp_path / "claims.md").read_text()
    assert "1 of 3 claims hold" in text and "## second" in text and "| bound | 2 | <= | 1 | 0 ! |" in text
    assert "Too small." in text


def test_a_page_says_which_form_it_is_of(tmp_path):
    scoreboard.page([row("first", BAD)], tmp_path / "claims.md", fast=True, control=True)
    text = (tmp_path / "claims.md").read_text()
    assert "particles verify --fast --controls" in text and "**fails, as it must**" in text


def test_fewer_jobs_than_one_are_refused(tmp_path):
    with pytest.raises(ValueError, match="`jobs` must be at least 1; got 0"):
        scoreboard.verify((), tmp_path, jobs=0)


def test_an_unknown_claim_is_named_with_the_nearest():
    with pytest.raises(ValueError, match="no claim is called 'equiangular_softmx'. Did you mean `equiangular_softmax`"):
        scoreboard.chosen(["equiangular_softmx"], False, False)


def test_charts_come_back_from_text():
    panels = (Curves("x", ("y",), slopes=(-1.0,), by="k"), Map("x", "y", "z", ("curve",)))
    assert read(written(panels)) == panels
    for nonsense in ("no json", '[{"kind": "Pie"}]', '[{"kind": "Curves"}]'):
        with pytest.raises(ValueError, match="no chart that can be drawn"):
            read(nonsense)


def test_verify_on_the_command_line(tmp_path, inside):
    command = [sys.executable, "-m", "particles", "verify", "gibbs_identity", "wendel", "--fast", "--page", "claims.md"]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stderr
    assert "2 claims: 2 holds" in done.stdout and "gibbs_identity: holds" in done.stderr
    results = json.loads((tmp_path / "runs" / "claims" / "verify.json").read_text())
    assert [claim["outcome"] for claim in results["claims"]] == ["holds", "holds"]
    for claim in results["claims"]:
        directory = tmp_path / claim["directory"]
        assert (directory / "figures" / "chart.png").stat().st_size > 1000
        assert pt.open(directory).dataset.attrs["name"] == claim["claim"]
    assert (tmp_path / "claims.md").exists()
    controls = inside("verify", "gibbs_identity", "--fast", "--controls", "--jobs", "1")
    assert controls.returncode == 0 and "fails, as it must" in controls.stdout
    unknown = inside("verify", "gibs_identity")
    assert unknown.returncode == 2 and "Did you mean `gibbs_identity`?" in unknown.stderr


def test_as_many_processes_as_cores_where_no_system_says_which(tmp_path, monkeypatch):
    class None_:
        def __init__(self, count, *more, **options):
            raise OSError(f"{count} processes")

    monkeypatch.delattr(os, "sched_getaffinity", raising=False)
    monkeypatch.setattr(os, "cpu_count", lambda: 2)
    monkeypatch.setattr(concurrent.futures, "ProcessPoolExecutor", None_)
    with pytest.raises(OSError, match="2 processes"):
        scoreboard.verify(("gibbs_identity", "wendel", "proved_bounds"), tmp_path, fast=True)


def test_a_claims_config_is_run_like_any_other(tmp_path, inside):
    (tmp_path / "claim.toml").write_text('kind = "GibbsIdentity"\n')
    done = inside("run", "claim.toml")
    assert done.returncode == 0, done.stderr
    directory = tmp_path / done.stdout.strip()
    assert "holds." in done.stderr and (directory / "figures" / "chart.png").exists()
    assert np.isfinite(next(iter(pt.open(directory).dataset.data_vars.values())).values).any()
    broken = inside("run", "claim.toml", "control=true", "--no-figures")
    assert broken.returncode == 1 and "FAILS" in broken.stderr
    assert pathlib.Path(tmp_path / broken.stdout.strip()).is_dir()
    again = inside("plot", directory, "--format", "svg")
    assert again.returncode == 0 and (directory / "figures" / "chart.svg").exists()
