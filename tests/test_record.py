"""The run directory: what a crash leaves, what is refused, what a reader sees."""

import json
import subprocess
import sys

import numpy as np
import pytest
import xarray

import particles as pt
from particles.record import Damaged, Layout, Locked, Record, Variable, Writer
from particles.record.commits import read_commit
from particles.record.files import replace, replace_json
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
