"""Configs and overrides with something wrong in them: exit codes that are documented, words, and an end.

PARTICLES_FUZZ=2000 in the environment tries so many cases; PARTICLES_FUZZ=17:18 tries case 17 again.
"""

import collections
import copy
import dataclasses
import json
import os
import pathlib
import tomllib

import fuzzing
import numpy as np
import pytest
import tomli_w

from particles import config
from particles.declaration import Declared, family

HERE = pathlib.Path(__file__).parent.parent
CASES = (100, 1000)  # every day, and in the exhaustive tier
LIMIT = 60  # seconds of one case
FAMILIAR = ["circle", "clusters", "entmax", "sinkhorn", "masked", "focus", "cross", "prior", "gated", "metric", "noisy"]
FAMILIAR += ["weibull", "norms", "multihead", "coalescence", "lipschitz", "paths", "hardmax"]
PATHS = ["../x.npy", "/etc/passwd", "/dev/zero", "pipe.npy", "loop.npy", "x.npy", "", "\0", "a" * 5000, "bad.npz"]
VALUES = [
    True,
    False,
    -1,
    0,
    1,
    3,
    10**6,
    10**12,
    2**70,
    -(2**70),
    0.5,
    -0.0,
    1e-300,
    1e308,
    float("nan"),
    float("inf"),
]
VALUES += ["", "x", "Softmax", "Tsit5", "∑", "1e-4", *PATHS, [], [[]], [1], [1.0, 2.0], [[1.0, 0.0], [0.0, 1.0]], ["x"]]
VALUES += [{}, {"kind": "Softmax"}, {"kind": "Nothing"}, {"kind": 3}, {"path": "x.npy"}, {"path": "../x.npy"}]
VALUES += [{"kind": "Given", "path": "x.npy"}, {"count": 3}, {"count": 10**9}]


def kinds():
    """The names of all nouns that a config can hold."""
    return sorted(family(Declared))


def nested(rng):
    value = 1
    for _ in range(int(rng.integers(1, 400))):
        value = [value] if rng.random() < 0.5 else {"a": value}
    return value


def mutated(rng, content):
    """One thing changed in plain data, in words."""
    places = list(fuzzing.places(content))
    place = places[rng.integers(len(places))]
    node = content
    for key in place[:-1]:
        node = node[key]
    key = place[-1]
    acts = ["like"] * 6 + ["value", "value", "delete", "kind", "rename", "double", "nest", "move", "sweep", "path"]
    act = rng.choice(acts)
    said = f"{act} at {'.'.join(map(str, place))}"
    if act in ("like", "value"):
        given = node[key]
        same = [value for value in VALUES if isinstance(value, type(given))]
        if isinstance(given, int | float) and not isinstance(given, bool):
            same = [*same, *[given * 2, given + 1, given * 3] * 5]
        same = same if same and act == "like" else VALUES
        node[key] = copy.deepcopy(same[rng.integers(len(same))])
        said += f": {node[key]!r:.60}"
    elif act == "delete":
        del node[key]
    elif act == "kind":
        target = node[key] if isinstance(node[key], dict) else content
        target["kind"] = str(rng.choice(kinds()))
        said += f": {target['kind']}"
    elif act == "rename" and isinstance(node, dict):
        node[f"{key}x" if rng.random() < 0.5 else str(key)[:-1]] = node.pop(key)
    elif act == "double" and isinstance(node, list):
        node.append(copy.deepcopy(node[key]))
    elif act == "nest":
        node[key] = nested(rng)
    elif act == "move":
        other = places[rng.integers(len(places))]
        source = content
        for step in other:
            source = source[step]
        node[key] = copy.deepcopy(source)
        said += f" from {'.'.join(map(str, other))}"
    elif act == "path":
        node[key] = {"kind": "Given", "path": str(rng.choice(PATHS))}
        said += f": {node[key]['path']!r:.60}"
    else:
        path = ".".join(map(str, place))
        some = [copy.deepcopy(VALUES[k]) for k in rng.integers(len(VALUES), size=rng.integers(1, 4))]
        sweep = content.setdefault("sweep", {})
        if isinstance(sweep, dict):
            sweep[path] = some if rng.random() < 0.9 else some[0]
        said += f" over {some!r:.80}"
    return said


def garbled(rng, text):
    """The text of a config with some characters changed, left out or put in."""
    letters = list(text)
    for _ in range(int(rng.integers(1, 6))):
        at = int(rng.integers(len(letters)))
        how = rng.integers(4)
        if how == 0:
            letters[at] = str(rng.choice(list("\"'[]{}=.,-#\n\0é0eE")))
        elif how == 1:
            del letters[at : at + int(rng.integers(1, 30))]
        elif how == 2:
            letters.insert(at, str(rng.choice(["[", "{", "\n", '"', "=", "1e999", "nan", "2020-01-01", "[[x]]"])))
        else:
            letters[at:at] = letters[: int(rng.integers(1, 60))]
    return "".join(letters)


def override(rng, content):
    """An override of some place, in words as on the command line."""
    places = list(fuzzing.places(content))
    place = ".".join(map(str, places[rng.integers(len(places))]))
    place = place if rng.random() < 0.8 else f"sweep.{place}"
    value = VALUES[rng.integers(len(VALUES))]
    text = value if isinstance(value, str) and rng.random() < 0.5 else toml(value)
    return f"{place}={text}" if rng.random() < 0.9 else place + str(text)


def toml(value):
    if isinstance(value, float) and not np.isfinite(value):
        return str(value)
    return tomli_w.dumps({"v": value}).partition("=")[2].strip() if not isinstance(value, dict) else json.dumps(value)


def case(number, folder, contents):
    """One case: what was done in words, the exit code, and the fault of it, if there is one."""
    rng = np.random.default_rng(number)
    content = copy.deepcopy(contents[rng.integers(len(contents))])
    said, given = [str(content.get("name"))], []
    for _ in range(int(rng.integers(0, 3))):
        said.append(mutated(rng, content))
    try:
        text = tomli_w.dumps(content)
    except (TypeError, ValueError, RecursionError):  # such as cannot be written, like a null
        text = "x = " + "[" * 2000
    if rng.random() < 0.2 or len(said) == 1:
        how = rng.random()
        if how < 0.5:
            text = garbled(rng, text)
            said.append("garbled")
        else:
            given = [override(rng, content) for _ in range(int(rng.integers(1, 3)))]
            said += [repr(one)[:80] for one in given]
    given = [one.replace("\0", "") for one in given]  # no system hands over such an argument
    (folder / "trial.toml").write_text(text)
    words = f"case {number}: {', '.join(said)}"
    try:
        with fuzzing.limited(LIMIT):
            code, told = fuzzing.command("check", folder / "trial.toml", *given)
    except fuzzing.Hanging:
        return words, None, f"took more than {LIMIT} s"
    except Exception as error:  # what a user would see as a traceback
        return words, None, f"{type(error).__name__}: {error}"
    if code not in (0, 2, 65, 70, 74):
        return words, code, f"exit code {code}: {told}"
    if code and len(told.strip()) < 20:
        return words, code, f"says no more than {told!r}"
    return words, code, _again(folder, given) if code == 0 else None


def _again(folder, given):
    """What is taken says what it is: its resolved config is the same run."""
    experiment = config.load(folder / "trial.toml", given)
    (folder / "again.toml").write_text(experiment.config())
    again = config.load(folder / "again.toml")
    if again.directory(folder) != experiment.directory(folder):
        return "the resolved config is another run"
    return None


@pytest.fixture
def folder(tmp_path):
    np.save(tmp_path / "x.npy", np.eye(3))
    (tmp_path / "bad.npz").write_bytes(b"PK\x03\x04 nothing")
    (tmp_path / "loop.npy").symlink_to(tmp_path / "pool.npy")
    (tmp_path / "pool.npy").symlink_to(tmp_path / "loop.npy")
    os.mkfifo(tmp_path / "pipe.npy")
    return tmp_path


@pytest.mark.parametrize("cases", CASES)
def test_nothing_but_faults_in_words(folder, monkeypatch, cases):
    monkeypatch.chdir(folder)
    contents = [tomllib.loads((HERE / "configs" / f"{name}.toml").read_text()) for name in FAMILIAR]
    first, _, last = os.environ.get("PARTICLES_FUZZ", str(cases)).rpartition(":")
    faults, counts = [], collections.Counter()
    for number in range(int(first or 0), int(last)):
        words, code, fault = case(number, folder, contents)
        counts[code] += 1
        print(words, code) if "PARTICLES_FUZZ" in os.environ else None
        if fault:
            faults.append(f"{words}\n    {fault}")
    print(dict(counts))
    assert not faults, f"{len(faults)} of {sum(counts.values())}\n" + "\n".join(faults)
    assert counts[2] > counts[0] > 0  # most changes are faults, and some are not


def test_a_fault_of_a_kind_is_found(folder, monkeypatch):
    """The control: a class whose constructor raises what no command expects."""

    def broken(self):
        raise KeyError("unexpected")

    from particles.starts import Uniform

    monkeypatch.setattr(Uniform, "__check_init__", broken, raising=False)
    (folder / "trial.toml").write_text((HERE / "configs" / "circle.toml").read_text())
    with pytest.raises(KeyError):
        fuzzing.command("check", folder / "trial.toml")
    assert dataclasses.is_dataclass(Uniform)
