"""Files that a config names: read once, known by what they hold, and never outside the config's folder."""

import dataclasses
import io
import os
import pathlib
import zipfile

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from samples import on_sphere

import particles as pt
from particles.config import ConfigError, load
from particles.laws import measure
from particles.starts import Given
from particles.stored import DataError, Stored

N = 6
X = np.asarray(on_sphere(N))
FULL, CAUSAL = np.ones((N, N)), np.tril(np.ones((N, N)))
PLAN = pt.Plan(until=1.0, save=2)

CONFIG = """
name = "trial"
start = {kind = "Together", parts = [{kind = "Given", path = "x.npy"}, {kind = "Uniform", tokens = 2, dim = 3}]}
[flow]
space = {kind = "Sphere"}
[flow.law]
kind = "Attention"
score = {kind = "DotProduct", query = {path = "q.npy"}, key = {path = "all.npz", name = "k"}}
measure = {kind = "Uniform"}
[plan]
until = 1.0
save = 2
"""


@pytest.fixture
def folder(tmp_path):
    """A folder with a config and the files that it names, and a file beside the folder."""
    np.save(tmp_path / "secret.npy", X)
    inside = tmp_path / "inside"
    inside.mkdir()
    np.save(inside / "x.npy", X)
    np.save(inside / "mask.npy", np.ones((N + 2, N + 2)))
    np.save(inside / "q.npy", np.eye(3) * 2)
    np.savez(inside / "all.npz", k=np.eye(3) * 3, other=np.zeros(3))
    (inside / "trial.toml").write_text(CONFIG)
    return inside


def test_arrays_may_stand_in_files(folder):
    simulation = load(folder / "trial.toml")
    np.testing.assert_array_equal(simulation.flow.law.score.query, np.eye(3) * 2)
    np.testing.assert_array_equal(simulation.flow.law.score.key, np.eye(3) * 3)
    np.testing.assert_allclose(simulation.first()[:N], X, rtol=1e-15)


def masked(path):
    return pt.Flow(pt.Sphere(), pt.Attention(pt.DotProduct(4.0), measure.Given(path=str(path))))


def test_a_file_is_what_it_was_when_the_noun_was_made(tmp_path):
    """Rewritten between two runs, it changes neither the numbers nor the identity of what was made before."""
    path = tmp_path / "mask.npy"
    np.save(path, FULL)
    before = masked(path)
    first = pt.simulate(before, X, PLAN, tmp_path / "first", progress=False)
    np.save(path, CAUSAL)
    after = masked(path)
    again = pt.simulate(before, X, PLAN, tmp_path / "again", progress=False)
    second = pt.simulate(after, X, PLAN, tmp_path / "second", progress=False)
    np.testing.assert_array_equal(first.dataset.tokens, again.dataset.tokens)
    assert first.manifest["identity"] == again.manifest["identity"] != second.manifest["identity"]
    matrix = pt.Flow(pt.Sphere(), pt.Attention(pt.DotProduct(4.0), measure.Given(CAUSAL)))
    np.testing.assert_allclose(second.dataset.tokens, pt.solve(matrix, X, PLAN).tokens, atol=1e-12)
    assert np.abs(second.dataset.tokens - first.dataset.tokens).max() > 0.01


def test_a_start_file_is_what_it_was_when_the_noun_was_made(tmp_path):
    path = tmp_path / "x.npy"
    np.save(path, X)
    start = Given(str(path))
    identity = pt.Simulation(start, masked_by_nothing(), PLAN).identity()
    np.save(path, -X)
    np.testing.assert_allclose(start(pt.Sphere(), jax.random.key(0)), X, rtol=1e-15)
    assert pt.Simulation(start, masked_by_nothing(), PLAN).identity() == identity
    assert pt.Simulation(Given(str(path)), masked_by_nothing(), PLAN).identity() != identity
    path.unlink()
    assert pt.Simulation(start, masked_by_nothing(), PLAN).identity() == identity


def masked_by_nothing():
    return pt.Flow(pt.Sphere(), pt.Attention())


@pytest.mark.parametrize("way", ["{outside}/secret.npy", "../secret.npy", "sub/../../secret.npy", "link.npy"])
@pytest.mark.parametrize(
    "override",
    [
        "start={{kind='Given', path='{path}'}}",
        "start.parts.0.path='{path}'",
        "flow.law.measure={{kind='Given', path='{path}'}}",
        "flow.law.measure={{kind='Product', factors=[{{kind='Uniform'}}, {{kind='Given', path='{path}'}}]}}",
        "flow.law.score.query={{path='{path}'}}",
        "sweep.start.parts.0.path=['{path}']",
        "sweep.flow.law.measure=[{{kind='Given', path='{path}'}}]",
        "sweep.flow.law.score.query=[{{path='{path}'}}]",
        "sweep.start=[{{kind='Together', parts=[{{kind='Given', path='{path}'}}]}}]",
    ],
)
def test_no_path_leaves_the_folder_of_a_config(folder, override, way):
    """The control is the second half: with a path inside, the same override is read."""
    (folder / "link.npy").symlink_to(folder.parent / "secret.npy")
    with pytest.raises(ConfigError, match="outside the config's folder"):
        load(folder / "trial.toml", [override.format(path=way.format(outside=folder.parent))])
    good = "q.npy" if "query" in override else "mask.npy" if "measure" in override else "x.npy"
    load(folder / "trial.toml", [override.format(path=good)])


def test_a_swept_file_is_relative_to_the_config_and_kept(folder, tmp_path, monkeypatch):
    np.save(folder / "y.npy", -X)
    monkeypatch.chdir(tmp_path)
    simulation = load(folder / "trial.toml", ["sweep.start.parts.0.path=['x.npy', 'y.npy']"])
    record = pt.simulate(simulation, path=tmp_path / "run", progress=False)
    np.testing.assert_allclose(record.dataset.tokens[1, 0, :N], -X, atol=1e-14)
    for name in ("x.npy", "y.npy"):
        (folder / name).unlink()
    again = load(tmp_path / "run" / "config.toml")
    assert again.identity() == simulation.identity()


def test_python_sweeps_files_that_are_read():
    start = pt.starts.Together((Given(Stored.of(X)), pt.starts.Uniform(2, 3)))
    with pytest.raises(ValueError, match=r"sweep over `start.parts.0`, with Given\('y.npy'\)"):
        pt.Simulation(start, masked_by_nothing(), PLAN, sweep={"start.parts.0.path": ("y.npy",)})


def test_a_run_with_large_matrices_is_read_back(tmp_path):
    """300 x 300 numbers are more than a config may hold; they stand in files of the run directory."""
    n = 300
    x, matrix = on_sphere(n), np.random.default_rng(0).uniform(0.5, 1.5, (n, n))
    flow = pt.Flow(pt.Sphere(), pt.Attention(pt.DotProduct(4.0), measure.Given(matrix)))
    record = pt.simulate(flow, x, pt.Plan(until=0.1, save=1), tmp_path / "run", progress=False)
    assert len(record.config) < 2000
    again = load(tmp_path / "run" / "config.toml")
    np.testing.assert_array_equal(again.flow.law.measure.matrix, matrix)
    assert again.identity() == record.manifest["identity"]
    resumed = pt.simulate(again, path=tmp_path / "run", resume=True, progress=False)
    assert resumed.manifest == record.manifest


def test_a_kept_file_that_has_changed_is_damaged(tmp_path):
    pt.simulate(masked_by_nothing(), X, PLAN, tmp_path / "run", progress=False)
    (kept,) = (tmp_path / "run").glob("given-*.npy")
    content = bytearray(kept.read_bytes())
    content[-1] ^= 1
    kept.write_bytes(content)
    with pytest.raises(DataError, match="is damaged"):
        load(tmp_path / "run" / "config.toml")


def npy(array=X, **header):
    """The bytes of a file whose header says something else than its content."""
    buffer = io.BytesIO()
    told = {"descr": "<f8", "fortran_order": False, "shape": array.shape} | header
    np.lib.format.write_array_header_1_0(buffer, told)
    return buffer.getvalue() + array.tobytes()


def zipped(content, method=zipfile.ZIP_DEFLATED, name="x.npy"):
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", method) as archive:
        archive.writestr(name, content)
    return bytearray(buffer.getvalue())


def broken(content, first=60):
    """A zip file whose packed bytes are nonsense."""
    content[first : first + 20] = b"\xff" * 20
    return content


def encrypted():
    content = zipped(npy())
    for sign, offset in ((b"PK\x03\x04", 6), (b"PK\x01\x02", 8)):
        at = content.find(sign) + offset
        content[at] |= 1
    return content


def method(number):
    content = zipped(npy())
    for sign, offset in ((b"PK\x03\x04", 8), (b"PK\x01\x02", 10)):
        at = content.find(sign) + offset
        content[at : at + 2] = number.to_bytes(2, "little")
    return content


objects = io.BytesIO()
np.save(objects, np.array([{}, []], dtype=object), allow_pickle=True)

BAD = {
    "bad deflate.npz": broken(zipped(npy())),
    "bad lzma.npz": broken(zipped(npy(), zipfile.ZIP_LZMA)),
    "encrypted.npz": encrypted(),
    "unknown method.npz": method(77),
    "text.npz": zipped(b"hello", name="x.txt"),
    "no zip.npz": b"PK\x03\x04 and then nothing",
    "empty.npz": b"",
    "two arrays.npz": zipped(npy())[:-30],
    "boolean.npy": npy(shape=(True, 3)),
    "negative.npy": npy(shape=(-6, 3)),
    "huge.npy": npy(shape=(2_000_000_000_000, 1)),
    "overflow.npy": npy(shape=(2**63, 2**63)),
    "short.npy": npy()[:-8],
    "long.npy": npy() + b"\0" * 8,
    "objects.npy": objects.getvalue(),
    "structured.npy": npy(np.zeros(4), descr=[("a", "<f8")], shape=(4,)),
    "complex.npy": npy(X.astype(complex), descr="<c16"),
    "words.npy": npy(np.array(["a", "b"]), descr="<U1", shape=(2,)),
    "header.npy": b"\x93NUMPY\x01\x00\x10\x00{'descr': __import",
    "version.npy": b"\x93NUMPY\x09\x00" + npy()[8:],
    "empty.npy": b"",
    "nan.npy": npy(np.full((N, 3), np.nan)),
    "no rows.npy": npy(np.zeros((0, 3))),
    "flat.npy": npy(np.zeros(3)),
    "words.csv": b"a,b\nc,d\n",
    "ragged.csv": b"1,2\n3\n",
    "bytes.csv": b"\xff\xfe\x00",
    "numbers.txt": b"1,2,3\n",
}


@pytest.mark.parametrize("name", BAD)
def test_bad_files_are_bad_data(tmp_path, name):
    (tmp_path / name).write_bytes(BAD[name])
    with pytest.raises(DataError, match=name.split()[0]):
        Given(str(tmp_path / name))
    (tmp_path / "trial.toml").write_text(CONFIG.split("start = ")[0] + f'start = {{kind = "Given", path = "{name}"}}\n')
    flow = "flow={space={kind='Sphere'}, law={kind='Attention'}}"
    with pytest.raises(DataError, match=name.split()[0]):
        load(tmp_path / "trial.toml", [flow, "plan={until=1.0}"])


def test_the_files_that_are_changed_are_good_before(tmp_path):
    for name, content in {"x.npy": npy(), "x.npz": zipped(npy()), "y.npz": zipped(npy(), zipfile.ZIP_STORED)}.items():
        (tmp_path / name).write_bytes(content)
        np.testing.assert_array_equal(Stored.read(tmp_path / name).array(), X)
    fortran = npy(np.asfortranarray(X).T.copy(), fortran_order=True, shape=X.shape)
    (tmp_path / "f.npy").write_bytes(fortran)
    np.testing.assert_array_equal(Stored.read(tmp_path / "f.npy").array(), X)


def test_only_regular_files_are_read(tmp_path):
    os.mkfifo(tmp_path / "pipe.npy")
    (tmp_path / "folder.npy").mkdir()
    (tmp_path / "one.npy").symlink_to(tmp_path / "two.npy")
    (tmp_path / "two.npy").symlink_to(tmp_path / "one.npy")
    for name in ("pipe.npy", "folder.npy", "one.npy", "missing.npy", "a\0b.npy", "/dev/zero"):
        with pytest.raises(DataError):
            Given(str(tmp_path / name))


def test_faults_of_a_config_come_before_those_of_its_files(folder):
    (folder / "bad.npy").write_bytes(b"")
    bad = "start={kind='Given', path='bad.npy'}"
    with pytest.raises(DataError, match="bad.npy"):
        load(folder / "trial.toml", [bad])
    with pytest.raises(ConfigError, match="bata"):
        load(folder / "trial.toml", [bad, "flow.law.score.bata=4"])


def test_equal_bytes_are_equal_files(tmp_path):
    for name in ("a.npy", "b.npy"):
        np.save(tmp_path / name, X)
    a, b = Stored.read(tmp_path / "a.npy"), Stored.read(tmp_path / "b.npy")
    assert a == b and hash(a) == hash(b) and a != Stored.of(-X)
    assert Given(a) == dataclasses.replace(Given(b), name=None)
    assert pathlib.Path(a.name).suffix == ".npy" and a.digest.startswith(a.name[6:16])
    assert jnp.isfinite(jnp.asarray(a.array())).all()
