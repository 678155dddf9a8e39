"""The run directory: what a crash leaves, what is refused, what a reader sees."""

import contextlib
import dataclasses
import json
import os
import re
import signal
import subprocess
import sys

import numpy as np
import pytest
import xarray

import particles as pt
from particles.record import Damaged, Layout, Locked, Record, Variable, Writer
from particles.record.commits import read_commit
from particles.record.files import LARGEST, append, replace, replace_json
from particles.record.lock import writing
from particles.record.reader import bibliography
from particles.record.writer import FORMAT

LAYOUT = Layout(
    {"beta": (np.array([1.0, 4.0]), {"symbol": r"$\beta$"})},
    {"tokens": Variable(("token", "dim"), (3, 2), {"units": "position"}), "energy": Variable((), (), {"units": "1"})},
    16,
    4,
    "float64",
    {"name": "trial"},
)


MANIFEST = {"format": FORMAT, "status": "done", "identity": "none", "sources": [], "segments": []}


def block(first, count):
    rng = np.random.default_rng(first)
    return {"tokens": rng.normal(size=(2, count, 3, 2)), "energy": rng.normal(size=(2, count))}


def written(directory, *chunks):
    writer = Writer(directory, LAYOUT)
    writer.create()
    for first, count in chunks:
        times = np.arange(first, first + count) / 10
        writer.append(times, block(first, count), {"state": np.full(3, first)}, {"note": first})
    return writer


def opened(directory):
    replace_json(directory / "manifest.json", MANIFEST)
    return pt.open(directory)


def test_what_is_written_is_read(tmp_path):
    written(tmp_path, (0, 4), (4, 4), (8, 2))
    dataset = opened(tmp_path).dataset
    assert dict(dataset.sizes) == {"beta": 2, "time": 10, "token": 3, "dim": 2}
    np.testing.assert_array_equal(
        dataset.tokens, np.concatenate([block(k, c)["tokens"] for k, c in ((0, 4), (4, 4), (8, 2))], 1)
    )
    np.testing.assert_allclose(dataset.time, np.arange(10) / 10)
    np.testing.assert_array_equal(dataset.beta, [1, 4])
    assert dataset.attrs == {"name": "trial", "status": "done"}
    assert dataset.tokens.attrs["units"] == "position"
    assert set(xarray.open_zarr(tmp_path / "data.zarr", consolidated=False, chunks=None).data_vars) == {
        "tokens",
        "energy",
    }


def test_only_what_is_committed_counts(tmp_path):
    writer = written(tmp_path, (0, 4))
    before = (tmp_path / "commit.json").read_bytes()
    writer.append(np.arange(4, 8) / 10, block(4, 4), {"state": np.zeros(3)}, {})
    (tmp_path / "commit.json").write_bytes(before)  # as if killed before the last file was put in place
    (tmp_path / "data.zarr" / "tokens" / "c" / "0.partial").write_text("half a block")
    assert opened(tmp_path).dataset.sizes["time"] == 4
    again = Writer(tmp_path, LAYOUT)
    checkpoint, notes = again.reopen()
    assert (again.frames, notes) == (4, {"note": 0})
    np.testing.assert_array_equal(checkpoint["state"], np.zeros(3))
    assert not list(tmp_path.rglob("*.partial"))
    again.append(np.arange(4, 8) / 10, block(100, 4), {"state": np.ones(3)}, {})
    np.testing.assert_array_equal(opened(tmp_path).dataset.tokens[:, 4:], block(100, 4)["tokens"])


def test_the_last_two_checkpoints_are_kept(tmp_path):
    written(tmp_path, (0, 4), (4, 4), (8, 4), (12, 1))
    assert [p.name for p in sorted((tmp_path / "checkpoints").iterdir())] == ["000000012.npz", "000000013.npz"]


def test_a_damaged_checkpoint_is_noticed(tmp_path):
    written(tmp_path, (0, 4))
    path = tmp_path / read_commit(tmp_path)["checkpoint"]
    path.write_bytes(path.read_bytes()[:-1] + b"x")
    with pytest.raises(Damaged, match="damaged"):
        Writer(tmp_path, LAYOUT).reopen()


def test_a_lost_checkpoint_costs_a_chunk(tmp_path, capsys):
    written(tmp_path, (0, 4), (4, 4))
    last = tmp_path / read_commit(tmp_path)["checkpoint"]
    last.write_bytes(b"")
    writer = Writer(tmp_path, LAYOUT)
    checkpoint, notes = writer.reopen()
    assert (writer.frames, notes, checkpoint["state"].tolist()) == (4, {"note": 0}, [0, 0, 0])
    assert f"{last} is damaged; going on from frame 4" in capsys.readouterr().err
    writer.append(np.arange(4, 8) / 10, block(4, 4), {"state": np.full(3, 4)}, {"note": 4})
    assert Writer(tmp_path, LAYOUT).reopen()[1] == {"note": 4}
    for path in (tmp_path / "checkpoints").iterdir():
        path.unlink()
    with pytest.raises(Damaged, match=r"no other checkpoint is left. The frames can be read"):
        Writer(tmp_path, LAYOUT).reopen()


@pytest.mark.parametrize("harm", ["cut short", "turned round", "taken away", "without its words"])
def test_harm_to_frames_is_told_of_a_run_that_has_not_ended_and_of_one_that_has(tmp_path, harm):
    for name, facts in (("running", {}), ("done", {"checksums": None})):
        directory = tmp_path / name
        directory.mkdir()
        writer = written(directory, (0, 4), (4, 4))
        if facts:
            facts = {"checksums": writer.finish()}
        record = Record(directory, MANIFEST | {"chunk": 4, **facts})
        record.verify()
        path = directory / "data.zarr" / "tokens" / "c" / "0" / "1" / "0" / "0"
        if harm == "cut short":
            path.write_bytes(path.read_bytes()[:100])
        elif harm == "turned round":
            path.write_bytes(path.read_bytes()[::-1])
        elif harm == "taken away":
            path.unlink()
        else:
            (directory / "data.zarr" / "zarr.json").unlink()
        with pytest.raises(Damaged, match="data.zarr is damaged"):
            record.verify()
        if not facts:
            with pytest.raises(Damaged, match="data.zarr is damaged"):
                Writer(directory, LAYOUT).reopen()


def test_a_finished_run_needs_no_commit_to_be_read(tmp_path):
    writer = written(tmp_path, (0, 4), (4, 2))
    record = Record(tmp_path, MANIFEST | {"chunk": 4, "checksums": writer.finish()})
    (tmp_path / "commit.json").unlink()
    record.verify()
    assert record.dataset.sizes["time"] == 6


def test_a_file_that_cannot_be_put_in_place_leaves_nothing(tmp_path):
    (tmp_path / "a").mkdir()
    (tmp_path / "a" / "b").touch()
    with pytest.raises(OSError, match="directory"):
        replace(tmp_path / "a", b"x")  # a folder stands there
    assert [path.name for path in tmp_path.iterdir()] == ["a"]


def test_nothing_follows_a_short_chunk(tmp_path):
    writer = written(tmp_path, (0, 3))
    with pytest.raises(ValueError, match="last"):
        writer.append(np.arange(3, 7) / 10, block(3, 4), {}, {})


def test_checksums_see_every_bit(tmp_path):
    one = written(tmp_path, (0, 4)).finish()
    assert one == written(tmp_path, (0, 4)).finish()
    other = Writer(tmp_path, LAYOUT)
    other.create()
    changed = block(0, 4)
    changed["energy"][1, 2] = np.nextafter(changed["energy"][1, 2], np.inf)
    other.append(np.arange(4) / 10, changed, {}, {})
    assert other.finish()["tokens"] == one["tokens"]
    assert other.finish()["energy"] != one["energy"]


def test_one_writer_at_a_time_and_no_stale_locks(tmp_path):
    holder = (
        "import sys, time, pathlib\nfrom particles.record.lock import writing\n"
        "with writing(pathlib.Path(sys.argv[1])):\n    print('held', flush=True)\n    time.sleep(60)"
    )
    process = subprocess.Popen([sys.executable, "-c", holder, str(tmp_path)], stdout=subprocess.PIPE, text=True)
    try:
        assert process.stdout is not None
        assert process.stdout.readline() == "held\n"
        with pytest.raises(Locked, match=f"process {process.pid}"), writing(tmp_path):
            pass
    finally:
        process.kill()
        process.communicate()
    with writing(tmp_path):  # the holder was killed: its lock went with it
        assert json.loads((tmp_path / "lock").read_text())["pid"]


def test_what_is_no_run_is_refused(tmp_path):
    with pytest.raises(ValueError, match="not a run directory"):
        pt.open(tmp_path)
    (tmp_path / "manifest.json").write_text("{")
    with pytest.raises(ValueError, match="damaged"):
        pt.open(tmp_path)
    for content in ("[]", "{}", json.dumps(MANIFEST), json.dumps(MANIFEST | {"format": 99})):
        (tmp_path / "manifest.json").write_text(content)
        with pytest.raises(Damaged, match="damaged|format 99"):
            pt.open(tmp_path)
    replace_json(tmp_path / "manifest.json", MANIFEST | {"status": "running"})
    assert pt.open(tmp_path).status == "interrupted"  # nobody is writing
    with pytest.raises(ValueError, match="no committed frame"):
        _ = pt.open(tmp_path).dataset
    written(tmp_path, (0, 4))
    for block_file in (tmp_path / "data.zarr").rglob("zarr.json"):
        block_file.unlink()
    with pytest.raises(ValueError, match="cannot be read"):
        _ = Record(tmp_path, {"status": "running"}).dataset


def test_bibliography():
    entries = bibliography()
    assert "2007.02876" in entries["vuckovic2020mathematical"]
    assert all(entry.startswith("@") and entry.endswith("}") for entry in entries.values())


RUNNING = MANIFEST | {"status": "running", "chunk": 4}


@contextlib.contextmanager
def soon():
    """Ends a test that waits for something that never comes."""

    def late(number, frame):
        raise AssertionError("it waits")

    before = signal.signal(signal.SIGALRM, late)
    signal.alarm(20)
    try:
        yield
    finally:
        signal.alarm(0)
        signal.signal(signal.SIGALRM, before)


@pytest.mark.parametrize("frames", [92, 52, 32, 16, 88, 1000, 4, 7, 2**62])
def test_a_count_that_was_changed_is_noticed_also_under_a_digest_of_its_own(tmp_path, frames):
    written(tmp_path, (0, 4), (4, 4))
    path = tmp_path / "commit.json"
    path.write_text(path.read_text().replace('"frames": 8', f'"frames": {frames}'))
    with pytest.raises(Damaged, match=r"commit\.json is damaged: it is not what was written, by its digest"):
        Writer(tmp_path, LAYOUT).reopen()
    written(tmp_path, (0, 4), (4, 4))
    commit = read_commit(tmp_path)
    replace_json(path, {**commit, "frames": frames})
    with pytest.raises(Damaged, match=r"commit\.json is damaged"):
        Writer(tmp_path, LAYOUT).reopen()
    replace_json(tmp_path / "manifest.json", RUNNING)
    with pytest.raises(Damaged, match=r"commit\.json is damaged"):
        _ = pt.open(tmp_path).dataset


def test_a_commit_agrees_with_its_checkpoint_and_with_the_layout(tmp_path):
    """A commit that agrees with itself throughout, down to the place of a checkpoint that says something else."""
    written(tmp_path, (0, 4), (4, 4))
    commit, checkpoints = read_commit(tmp_path), tmp_path / "checkpoints"
    (checkpoints / "000000008.npz").write_bytes((checkpoints / "000000004.npz").read_bytes())
    replace_json(tmp_path / "commit.json", {**commit, "sha256": commit["before"]["sha256"]})
    with pytest.raises(Damaged, match=r"do not agree: frames 8 and 4\. One of them is damaged"):
        Writer(tmp_path, LAYOUT).reopen()
    written(tmp_path, (0, 4))
    replace_json(tmp_path / "commit.json", {**read_commit(tmp_path), "notes": {"note": 1}})
    with pytest.raises(Damaged, match=r'do not agree: notes {"note": 1} and {"note": 0}'):
        Writer(tmp_path, LAYOUT).reopen()
    written(tmp_path, (0, 4), (4, 4), (8, 4), (12, 4))
    for layout in (dataclasses.replace(LAYOUT, frames=12), dataclasses.replace(LAYOUT, chunk=8)):
        with pytest.raises(Damaged, match="16 frames in chunks of 4, of a run of"):
            Writer(tmp_path, layout).reopen()


def test_what_is_said_of_the_arrays_is_vouched_for(tmp_path):
    """Of a run that has ended and of one that has not: units, values of a sweep, an array that is none of the run's."""
    for name, facts in (("running", {}), ("done", {"checksums": None})):
        (tmp_path / name).mkdir()
        writer = written(tmp_path / name, (0, 4), (4, 4))
        facts = {"checksums": writer.finish()} if facts else facts
        record, arrays = Record(tmp_path / name, MANIFEST | {"chunk": 4, **facts}), tmp_path / name / "data.zarr"
        record.verify()
        for path, harm in (
            ("tokens/zarr.json", lambda text: text.replace(b'"position"', b'"meters"')),
            ("zarr.json", lambda text: text.replace(b"trial", b"trjal")),
            ("beta/c/0", lambda block: block[:-1] + bytes([block[-1] ^ 1])),
            ("energy/zarr.json", lambda text: text.replace(b'"NaN"', b"0.0")),
            ("time/zarr.json", lambda text: b"{"),
        ):
            content = (arrays / path).read_bytes()
            assert harm(content) != content
            (arrays / path).write_bytes(harm(content))
            for look in (record.verify, lambda record=record: Record(record.path, record.manifest).dataset):
                with pytest.raises(Damaged, match=rf"data\.zarr is damaged: {path} is not what was written"):
                    look()
            (arrays / path).write_bytes(content)
        (arrays / "stray").mkdir()
        (arrays / "stray" / "zarr.json").write_bytes((arrays / "energy" / "zarr.json").read_bytes())
        with pytest.raises(Damaged, match=r"stray/zarr\.json is not"):
            record.verify()


def test_arrays_of_another_shape_are_not_gone_on_with(tmp_path):
    """Also where every digest is right: of a directory that was made for another layout."""
    layouts = {
        "shape": dataclasses.replace(LAYOUT, frames=20),
        "data_type": dataclasses.replace(LAYOUT, dtype="float32"),
        "attributes": dataclasses.replace(LAYOUT, coordinates={"beta": (np.array([1.0, 4.0]), {"symbol": "b"})}),
        "its values are not those of the sweep": dataclasses.replace(
            LAYOUT, coordinates={"beta": (np.array([1.0, 5.0]), {"symbol": r"$\beta$"})}
        ),
        "it has no array `mass`": dataclasses.replace(
            LAYOUT, variables={**LAYOUT.variables, "mass": Variable((), (), {})}
        ),
    }
    written(tmp_path, (0, 4))
    for fault, layout in layouts.items():
        with pytest.raises(Damaged, match=fault):
            Writer(tmp_path, layout).reopen()
    assert Writer(tmp_path, LAYOUT).reopen()[1] == {"note": 0}


def test_a_run_that_was_cut_off_goes_back_to_full_length(tmp_path):
    """Killed when the last frames were cut off and that was not noted, and then its last checkpoint was lost."""
    written(tmp_path, (0, 4), (4, 4)).finish()
    (tmp_path / "checkpoints" / "000000008.npz").unlink()
    writer = Writer(tmp_path, LAYOUT)
    writer.reopen()
    for first in (4, 8, 12):
        writer.append(np.arange(first, first + 4) / 10, block(first, 4), {}, {})
    assert opened(tmp_path).dataset.sizes["time"] == 16


def test_another_zarr_may_end_a_run(tmp_path):
    writer = written(tmp_path, (0, 4))
    path = tmp_path / "data.zarr" / "energy" / "zarr.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), "attributes": {"units": "J"}}))
    record = Record(tmp_path, MANIFEST | {"chunk": 4, "checksums": writer.finish()})
    record.verify()
    assert record.dataset.sizes["time"] == 4


EDITS = [
    ("segments", "x", 'segments: expected a list, got "x"'),
    ("segments", [{"from_frame": "x"}], "segments[0]: it has no `started`"),
    ("sources", {}, "sources: expected a list, got {}"),
    ("sources", [1], "sources[0]: expected text, got 1"),
    ("members", [{"status": "done"}], "members[0]: it has no `depth`"),
    ("members", [{"status": "done", "depth": True}], "members[0].depth: expected a number, got true"),
    ("members", [], "members: expected 2, got 0"),
    ("chunk", 2**70, "chunk: expected a whole number, at least 0, got 11805"),
    ("status", "gone", 'status: expected one of new, running, done, interrupted, failed, got "gone"'),
    ("status", "failed", "it says that the run failed, and not why"),
    ("checksums", {"time": None}, "checksums.time: expected text, got null"),
    ("hosts", {"a": {}}, "hosts.a: it has no `versions`"),
    ("identity", ["x" * 100], f'identity: expected text, got ["{"x" * 38}...'),
]


@pytest.mark.parametrize(("key", "value", "words"), EDITS)
def test_a_manifest_that_was_edited_is_told_with_the_place(tmp_path, key, value, words):
    written(tmp_path, (0, 4), (4, 4))
    path = tmp_path / "manifest.json"
    path.write_text(json.dumps(RUNNING | {"digest": "0" * 64, key: value}))
    with pytest.raises(Damaged, match=r"manifest\.json is damaged: it is not what was written, by its digest"):
        pt.open(tmp_path)
    replace_json(path, RUNNING | {key: value})
    with pytest.raises(Damaged, match=rf"manifest\.json is damaged: {re.escape(words)}"):
        _ = pt.open(tmp_path).dataset


@pytest.mark.parametrize(
    ("key", "value", "words"),
    [
        ("notes", [], "notes: expected a table, got []"),
        ("notes", {"failures": "x"}, 'notes.failures: expected a list, got "x"'),
        ("blocks", {"a": 1}, 'blocks: expected a list, got {"a": 1}'),
        ("blocks", ["x"], "8 frames in chunks of 4 are not 1 blocks"),
        ("frames", -1, "frames: expected a whole number, at least 0, got -1"),
        ("chunk", 0, "8 frames in chunks of 0 are not 2 blocks"),
        ("before", {"frames": 4}, "before: it has no `checkpoint`"),
        ("checkpoint", "../../etc/passwd", "the checkpoint of 8 frames is not ../../etc/passwd"),
        ("files", {}, None),
    ],
)
def test_a_commit_that_was_edited_is_told_with_the_place(tmp_path, key, value, words):
    written(tmp_path, (0, 4), (4, 4))
    replace_json(tmp_path / "commit.json", read_commit(tmp_path) | {key: value})
    match = re.escape(f"commit.json is damaged: {words}") if words else "data.zarr is damaged"
    with pytest.raises(Damaged, match=match):
        Writer(tmp_path, LAYOUT).reopen()
    replace_json(tmp_path / "manifest.json", RUNNING)
    with pytest.raises(Damaged, match=match):
        _ = pt.open(tmp_path).dataset


DEEP = ["[" * 900 + "]" * 900, "[" * 100_000, '{"a": ' * 900 + "1" + "}" * 900]


@pytest.mark.parametrize("text", [*DEEP, "9" * 9999, "\x00", ""], ids=range(6))
def test_what_is_no_table_of_ours_is_damaged(tmp_path, text):
    (tmp_path / "manifest.json").write_text(text)
    with pytest.raises(Damaged, match=r"manifest\.json is damaged"):
        pt.open(tmp_path)


def test_a_digest_is_that_of_what_is_said_and_not_of_how_it_is_laid_out(tmp_path):
    path = tmp_path / "manifest.json"
    replace_json(path, MANIFEST | {"seed": 3, "name": "ö"})
    path.write_text(json.dumps(json.loads(path.read_text()), sort_keys=True))
    assert pt.open(tmp_path).manifest == MANIFEST | {"seed": 3, "name": "ö"}
    for bit in range(8 * len(content := path.read_bytes())):
        changed = bytearray(content)
        changed[bit // 8] ^= 1 << bit % 8
        path.write_bytes(changed)
        with contextlib.suppress(Damaged):
            assert pt.open(tmp_path).manifest == MANIFEST | {"seed": 3, "name": "ö"}


HARM = {
    "pipe": os.mkfifo,
    "folder": os.mkdir,
    "loop": lambda path: path.symlink_to(path.name),
    "device": lambda path: path.symlink_to("/dev/zero"),
}


@pytest.mark.parametrize("harm", HARM)
def test_nobody_waits_for_what_is_no_file(tmp_path, harm):
    written(tmp_path, (0, 4), (4, 4))
    replace_json(tmp_path / "manifest.json", RUNNING)
    looks = {
        "manifest.json": lambda: pt.open(tmp_path),
        "config.toml": lambda: pt.open(tmp_path).config,
        "commit.json": lambda: Writer(tmp_path, LAYOUT).reopen(),
        "data.zarr/tokens/c/0/0/0/0": lambda: pt.open(tmp_path).verify(),
        "data.zarr/zarr.json": lambda: pt.open(tmp_path).dataset,
        "log.txt": lambda: append(tmp_path / "log.txt", "line"),
        "lock": lambda: writing(tmp_path).__enter__(),
    }
    for name, look in looks.items():
        path = tmp_path / name
        if harm == "loop" and path.suffix == ".json" and path.parent == tmp_path:
            continue  # such a link is as good as no file
        content = path.read_bytes() if path.exists() else None
        path.unlink(missing_ok=True)
        HARM[harm](path)
        with soon(), pytest.raises(Damaged, match=name.partition("/")[0]):
            look()
        path.rmdir() if harm == "folder" else path.unlink()
        if content is not None:
            path.write_bytes(content)
    assert pt.open(tmp_path).status == "interrupted"
    for checkpoint in (tmp_path / "checkpoints").iterdir():
        checkpoint.unlink()
        HARM[harm](checkpoint)
    with soon(), pytest.raises(Damaged, match="no other checkpoint is left"):
        Writer(tmp_path, LAYOUT).reopen()


def test_a_small_file_has_a_largest_size(tmp_path):
    replace_json(tmp_path / "manifest.json", MANIFEST)
    os.truncate(tmp_path / "manifest.json", LARGEST + 1)
    with soon(), pytest.raises(Damaged, match=f"it is larger than {LARGEST} bytes"):
        pt.open(tmp_path)


def test_what_stands_where_a_file_is_prepared_is_no_hindrance(tmp_path):
    os.mkfifo(tmp_path / ".a.partial")
    with soon():
        replace(tmp_path / "a", b"x")
    assert [path.name for path in tmp_path.iterdir()] == ["a"]
