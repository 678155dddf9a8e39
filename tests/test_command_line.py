"""The command line as a person or a scheduler meets it: output, exit codes, signals, a full disk."""

import errno
import importlib
import json
import os
import pathlib
import shutil
import signal
import subprocess
import sys
import time

import numpy as np
import pytest

import particles as pt
from particles import machine
from particles.listing import FAMILIES
from particles.record import Writer
from particles.record.files import replace_json

CONFIG = """
name = "trial"
start = {kind = "Uniform", tokens = 16, dim = 3}
figures = ["observables"]
[flow]
space = {kind = "Sphere"}
law = {kind = "Attention", score = {kind = "DotProduct", beta = 4.0}}
[plan]
until = 4.0
save = 400
chunk = 2
watch = ["energy", "clusters"]
"""


@pytest.fixture
def folder(tmp_path):
    (tmp_path / "trial.toml").write_text(CONFIG)
    return tmp_path


def command(*arguments):
    return [sys.executable, "-m", "particles", *map(str, arguments)]


def particles(folder, *arguments, **options):
    return subprocess.run(command(*arguments), cwd=folder, capture_output=True, text=True, timeout=300, **options)


def the_run(done) -> pathlib.Path:
    return pathlib.Path(done.stdout.splitlines()[-1])


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    folder = tmp_path_factory.mktemp("whole")
    (folder / "trial.toml").write_text(CONFIG)
    done = particles(folder, "run", "trial.toml")
    assert done.returncode == 0, done.stderr
    return folder / the_run(done), done


def test_run_ends_with_its_directory_and_says_the_rest_to_a_person(whole):
    run, done = whole
    assert done.stdout.splitlines() == [str(run.relative_to(run.parent.parent))]
    assert "depth 4/4" in done.stderr and "steps" in done.stderr
    assert (run / "figures" / "observables.png").read_bytes().startswith(b"\x89PNG")
    record = pt.open(run)
    assert record.status == "done"
    assert record.dataset.sizes["time"] == 401
    assert (run / "log.txt").read_text().count("\n") == 2


def test_help_is_quick_and_does_not_import_jax(folder):
    probe = """
import sys
from particles.__main__ import main
sys.argv = ["particles", "run", "--help"]
try:
    main()
except SystemExit as end:
    print(end.code, [name for name in ("jax", "zarr", "matplotlib", "xarray") if name in sys.modules])
"""
    done = subprocess.run([sys.executable, "-c", probe], capture_output=True, text=True, cwd=folder)
    assert done.stdout.splitlines()[-1] == "0 []"
    assert "key.path=value" in done.stdout


def test_a_misspelt_key_is_named_with_its_neighbor(folder, inside):
    done = inside("run", "trial.toml", "flow.law.score.bata=4")
    assert done.returncode == 2
    assert "flow.law.score.bata: unknown key `bata`" in done.stderr and "Did you mean `beta`?" in done.stderr
    assert "Traceback" not in done.stderr
    assert not (folder / "runs").exists()


@pytest.mark.parametrize(
    ("arguments", "code", "words"),
    [
        (["run", "none.toml"], 2, "cannot be read"),
        (["run"], 2, "required"),
        (["fly"], 2, "fly"),
        (["run", "trial.toml", "start={kind='Given', path='x.csv'}"], 65, "token 1, coordinate 0"),
        (["run", "trial.toml", "start={kind='Given', path='y.csv'}"], 65, "No such file"),
        (["resume", "nowhere"], 2, "not a run directory"),
        (["plot", "nowhere"], 2, "not a run directory"),
        (["animate", "nowhere"], 2, "not a run directory"),
        (["check", "trial.toml", "start.tokens=400000", "flow.summation={kind='Dense'}"], 2, "would fit"),
        (["list", "everything"], 2, "everything"),
    ],
)
def test_mistakes_have_their_exit_codes(folder, inside, arguments, code, words):
    (folder / "x.csv").write_text("1,0,0\nnan,1,0\n")
    done = inside(*arguments)
    assert (done.returncode, words in done.stderr) == (code, True), done.stderr
    assert "Traceback" not in done.stderr


def test_numerics_that_fail_exit_70_and_keep_what_was_good(folder):
    blow_up = ["flow.space.kind=Euclidean", "flow.law.normalizer={kind='Mean'}", "flow.law.score.beta=40"]
    start = "start={kind='Blobs', tokens=5, dim=3, blobs=1, spread=1.0}"
    done = particles(folder, "run", "trial.toml", *blow_up, start, "plan.watch=['radius']", "--quiet")
    assert done.returncode == 70
    assert "at depth" in done.stderr
    record = pt.open(folder / the_run(done))
    assert record.status == "failed"
    assert np.all(np.isfinite(record.dataset.tokens[0]))


def started(folder, *arguments):
    """A run that has begun and committed something."""
    process = subprocess.Popen(
        command("run", "trial.toml", "--no-figures", *arguments),
        cwd=folder,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    for _ in range(2400):
        commits = list(folder.glob("runs/*/commit.json"))
        if commits and json.loads(commits[0].read_text())["frames"] >= 10:
            return process, commits[0].parent
        time.sleep(0.05)
    process.kill()
    raise AssertionError(f"no commit: {process.communicate()}")


def test_a_killed_run_resumes_to_the_same_bits(folder, whole):
    process, run = started(folder)
    process.kill()
    process.communicate()
    before = json.loads((run / "commit.json").read_text())["frames"]
    assert before < 401, "the run was over before it could be killed"
    done = particles(folder, "resume", run, "--quiet", "--no-figures")
    assert done.returncode == 0, done.stderr
    assert the_run(done) == run
    resumed = pt.open(run)
    assert resumed.manifest["checksums"] == pt.open(whole[0]).manifest["checksums"]
    np.testing.assert_array_equal(resumed.dataset.tokens, pt.open(whole[0]).dataset.tokens)
    assert resumed.manifest["segments"][-1]["from_frame"] == before


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_exits_75_and_a_second_writer_is_refused(folder, inside, number):
    process, run = started(folder, "plan.dt=0.001", "plan.save=4000")
    second = inside("resume", run)
    assert second.returncode == 2
    assert f"process {process.pid}" in second.stderr
    process.send_signal(number)
    out, err = process.communicate(timeout=60)
    assert process.returncode == 75, err
    assert out.splitlines()[-1] == str(run.relative_to(folder))
    record = pt.open(run)
    assert record.status == "interrupted"
    assert np.all(np.isfinite(record.dataset.tokens))


def test_a_full_disk_exits_74_and_what_was_committed_opens(folder, inside):
    """Stands in for a full disk: no file may grow beyond a size that the block of tokens has."""
    limited = """
import resource, signal, sys
signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
sys.argv = ["particles", "run", "trial.toml", "--quiet", "--no-figures", "plan.chunk=100", "start.tokens=9"]
import particles.machine
particles.machine.prepare()
from particles.record import Writer
write = Writer.append
def limited(writer, *what):
    if writer.frames == 200:
        resource.setrlimit(resource.RLIMIT_FSIZE, (20_000, 20_000))
    write(writer, *what)
Writer.append = limited
import particles.__main__
particles.__main__.main()
"""
    done = subprocess.run([sys.executable, "-c", limited], cwd=folder, capture_output=True, text=True)
    assert done.returncode == 74, done.stderr
    assert "File too large" in done.stderr and "give the same command again, a `run` with --resume" in done.stderr
    run = folder / the_run(done)
    assert pt.open(run).dataset.sizes["time"] == 200
    assert np.all(np.isfinite(pt.open(run).dataset.tokens))
    again = inside("resume", run, "--quiet", "--no-figures")
    assert again.returncode == 0, again.stderr
    assert pt.open(run).dataset.sizes["time"] == 401


def test_check_runs_nothing_and_says_what_it_would_need(folder, inside):
    done = inside("check", "trial.toml", "start.tokens=5000")
    assert done.returncode == 0, done.stderr
    assert "Blocked(" in done.stdout and "memory" in done.stdout and "disk" in done.stdout
    assert 'kind = "Softmax"' in done.stdout
    assert not (folder / "runs").exists()


def test_plot_draws_again(whole, inside):
    run, _ = whole
    done = inside("plot", run, "cosines", "--format", "pdf", "--out", run.parent / "paper")
    assert done.returncode == 0, done.stderr
    assert pathlib.Path(done.stdout.strip()).read_bytes().startswith(b"%PDF")


def test_what_is_damaged_is_not_drawn(whole, inside, tmp_path):
    run = tmp_path / "copy"
    shutil.copytree(whole[0], run)
    (run / "data.zarr" / "tokens" / "c" / "3" / "0" / "0").unlink()
    for command in ("plot", "view", "animate", "resume"):
        done = inside(command, run)
        assert (done.returncode, "`tokens` is not what the run left" in done.stderr) == (65, True), done.stderr


COMMANDS = ("resume", "view", "plot", "animate")


def test_a_manifest_that_was_edited_is_told_with_its_place(whole, inside, tmp_path):
    """As it stands there, and under a digest that was worked out again."""
    run = tmp_path / "copy"
    shutil.copytree(whole[0], run)
    manifest = pt.open(run).manifest
    for key, value in (("segments", "x"), ("sources", 3), ("members", [{}]), ("checksums", [])):
        (run / "manifest.json").write_text(json.dumps({**manifest, key: value}))
        done = inside("view", run)
        assert (done.returncode, "it is not what was written" in done.stderr) == (65, True), done.stderr
        replace_json(run / "manifest.json", {**manifest, key: value})
        for command in COMMANDS if key == "segments" else ("view",):
            done = inside(command, run)
            assert (done.returncode, f"manifest.json is damaged: {key}" in done.stderr) == (65, True), done.stderr


def test_a_config_that_was_changed_in_the_run_directory_is_told(whole, inside, tmp_path):
    run = tmp_path / "copy"
    shutil.copytree(whole[0], run)
    text = (run / "config.toml").read_text()
    (run / "config.toml").write_text(text.replace("seed = 0", "seed = 1"))
    for command in ("resume", "view"):
        done = inside(command, run)
        assert (done.returncode, "config.toml was changed after the run began" in done.stderr) == (65, True)
    (run / "config.toml").write_text(text)
    done = inside("resume", run, "--no-figures")
    assert done.returncode == 0, done.stderr


def test_what_is_no_file_is_not_waited_for(whole, inside, tmp_path):
    run = tmp_path / "copy"
    shutil.copytree(whole[0], run)
    for name in ("lock", "commit.json", "data.zarr/energy/c/1", "config.toml", "manifest.json"):
        (run / name).unlink()
        os.mkfifo(run / name)
        done = inside("resume", run)
        assert (done.returncode, f"{name} is damaged" in done.stderr) == (65, True), done.stderr
        (run / name).unlink()
        shutil.copy(whole[0] / name, run / name)
    (tmp_path / "loop").symlink_to("loop")
    assert inside("resume", tmp_path / "loop").returncode == 2
    assert inside("check", run / "config.toml", "--out", tmp_path / "loop").returncode == 0
    assert "symbolic links" in inside("run", run / "config.toml", "--out", tmp_path / "loop").stderr


@pytest.mark.parametrize(
    ("number", "words"),
    [
        (errno.ENOSPC, "Nothing was committed: when there is room, give the same command again\n"),
        (errno.EROFS, "Nothing was committed: when files can be written there, give the same command again\n"),
    ],
)
def test_nothing_is_resumed_where_nothing_was_committed(folder, inside, monkeypatch, number, words):
    def full(directory, layout):
        raise OSError(number, os.strerror(number))

    with monkeypatch.context() as patched:
        patched.setattr(Writer, "create", lambda writer: full(writer, None))
        done = inside("run", "trial.toml", "--quiet", "--no-figures")
    assert (done.returncode, words in done.stderr) == (74, True), done.stderr
    monkeypatch.setattr(machine, "free_disk", lambda path: 1000)
    done = inside("run", "trial.toml", "--quiet", "--no-figures", "--out", "elsewhere")
    assert (done.returncode, "Nothing was committed: when there is room" in done.stderr) == (74, True), done.stderr
    assert "resume" not in done.stderr


def test_a_disk_that_is_full_of_figures_asks_for_the_same_command(whole, inside, monkeypatch):
    def full(*what):
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(importlib.import_module("particles.view.page"), "replace", full)
    done = inside("view", whole[0])
    assert (done.returncode, done.stderr) == (
        74,
        "particles: [Errno 28] No space left on device. When there is room, give the same command again\n",
    )


def test_a_failed_observable_is_told_at_its_depth_and_the_frames_before_are_kept(inside, tmp_path):
    """Under a constant score the mean grows like e^t, and so does its square beyond all numbers at depth 355."""
    (tmp_path / "grown.toml").write_text(
        CONFIG.replace('kind = "Sphere"', 'kind = "Euclidean"')
        .replace('score = {kind = "DotProduct", beta = 4.0}', 'score = {kind = "Constant"}')
        .replace('kind = "Uniform", tokens = 16, dim = 3', 'kind = "Equiangular", tokens = 4, dim = 4')
    )
    plan = ["plan.until=2000", "plan.save=100", "plan.chunk=10", "plan.watch=['radius']"]
    done = inside("run", "grown.toml", *plan, "--quiet", "--no-figures")
    assert done.returncode == 70
    limit = np.log(np.finfo(float).max) / 2
    depth = 20 * np.ceil(limit / 20)  # of the first frame beyond
    assert f"observable radius is not finite, at depth {depth:g} (without it in `watch`" in done.stderr
    kept = pt.open(tmp_path / the_run(done)).dataset
    assert kept.time[-1] == depth - 20 and np.all(np.isfinite(kept.radius))


def test_a_page_may_stand_in_a_folder_that_is_new(whole, inside, tmp_path):
    done = inside("view", whole[0], "--out", tmp_path / "new" / "page.html")
    assert done.returncode == 0, done.stderr
    assert (tmp_path / "new" / "page.html").read_text().startswith("<!doctype html>")


def test_animate_makes_a_film_where_it_is_asked_for(whole, inside):
    run, _ = whole
    small = ("--frames", "3", "--fps", "10", "--width", "320", "--out", run.parent / "film.gif")
    done = inside("animate", run, *small)
    assert done.returncode == 0, done.stderr
    assert "3/3" in done.stderr  # the bar
    assert pathlib.Path(done.stdout.strip()).read_bytes().startswith(b"GIF89a")
    done = inside("animate", run, *small, "--watch", "clustres")
    assert (done.returncode, "Did you mean `clusters`" in done.stderr) == (2, True), done.stderr


def test_list_names_every_member(inside):
    done = inside("list", "laws")
    for name in ("Attention", "DotProduct", "Causal", "Softmax", "Difference"):
        assert f"{name}(" in done.stdout
    assert "vaswani2017attention" in done.stdout
    everything = inside("list").stdout
    assert "Tsit5: order 5" in everything
    for name in FAMILIES:
        assert inside("list", name).stdout.startswith(f"{name}\n") and f"{name}\n" in everything


def test_doctor_trusts_this_machine(folder):
    """Compiled as a user's programs are, not as tests are."""
    done = particles(folder, "doctor", env={name: word for name, word in os.environ.items() if name != "XLA_FLAGS"})
    assert done.returncode == 0
    assert "right numbers: yes" in done.stdout


def test_run_refuses_a_jaxlib_that_fails_the_canary(folder, inside, monkeypatch):
    monkeypatch.setenv("XDG_CACHE_HOME", str(folder / "cache"))
    monkeypatch.setattr(machine, "canary", lambda: 3)
    done = inside("run", "trial.toml")
    assert done.returncode == 70
    assert "computes wrong numbers" in done.stderr
    assert not (folder / "runs").exists()
