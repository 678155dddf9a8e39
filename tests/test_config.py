"""Configs: what they become, and every way to be wrong."""

import json
import os
import pathlib
import string
import subprocess
import sys

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import particles as pt
from particles import config
from particles.config import ConfigError
from particles.declaration import described
from particles.plots import figures

HERE = pathlib.Path(__file__).parent.parent
CONFIGS = sorted((HERE / "configs").glob("*.toml"))
MINIMAL = """
start = {kind = "Uniform", tokens = 8, dim = 3}
[flow]
space = {kind = "Sphere"}
law = {kind = "Attention", score = {kind = "DotProduct", beta = 4}}
[plan]
until = 1
watch = ["energy", {kind = "Clusters", delta = 0.2}]
"""


def load(text, tmp_path, *overrides):
    (tmp_path / "trial.toml").write_text(text)
    return config.load(tmp_path / "trial.toml", overrides)


def faults(text, tmp_path, *overrides):
    with pytest.raises(ConfigError) as caught:
        load(text, tmp_path, *overrides)
    return caught.value.faults


def test_a_config_is_the_constructor_call_it_writes_down(tmp_path):
    expected = pt.Simulation(
        pt.starts.Uniform(8, 3),
        pt.Flow(pt.Sphere(), pt.Attention(pt.DotProduct(4.0))),
        pt.Plan(until=1.0, watch=("energy", pt.observables.Clusters(0.2))),
    )
    assert described(load(MINIMAL, tmp_path)) == described(expected)


def test_the_resolved_config_is_the_same_run(tmp_path):
    swept = load(MINIMAL, tmp_path, "sweep.seed={count=3}", "sweep.flow.law.score.beta=[1, 2.5]", "seed=5")
    assert swept.sweep == {"seed": (5, 6, 7), "flow.law.score.beta": (1.0, 2.5)}
    again = load(swept.config(), tmp_path)
    assert again.identity() == swept.identity()
    assert again.config() == swept.config()


@pytest.mark.usefixtures("unchecked", "few_programs")
@pytest.mark.parametrize("path", CONFIGS, ids=lambda path: path.stem)
def test_every_config_runs_small(path, tmp_path):
    experiment = config.load(path)
    assert experiment.name == path.stem
    record = experiment.shrunk().measure(tmp_path / "run")
    assert record.status == "done"
    assert all(plate.figure.axes for _, plate in figures(record.dataset, experiment.figure_kinds() or None))
    verdict = experiment.shrunk().verdict(record)
    assert verdict is None or verdict.outcome in (pt.Outcome.holds, pt.Outcome.not_converged)
    text = path.read_text()
    assert text.startswith("#:schema ../schema/experiment.schema.json\n")


@pytest.mark.parametrize(
    ("overrides", "fault"),
    [
        (["flow.law.score.bata=4"], "flow.law.score.bata: unknown key `bata`; DotProduct has"),
        (["flow.law.score.bata=4"], "Did you mean `beta`?"),
        (["flow.law.score.beta=true"], "flow.law.score.beta: input should be a valid number; got true"),
        (['flow.law.score.beta="4"'], "flow.law.score.beta: input should be a valid number"),
        (["flow.law.score.beta=nan"], "flow.law.score.beta: input should be a finite number"),
        (["flow.law.score.beta=1979-05-27"], "flow.law.score.beta: input should be a valid number"),
        (
            ["flow.law.score={kind='SquaredDistance', beta=-1}"],
            "flow.law.score.beta: input should be greater than 0; got -1",
        ),
        (["start.tokens=0"], "start.tokens: input should be greater than or equal to 1; got 0"),
        (["start.tokens=8.5"], "start.tokens: "),
        (["start.kind=Unifrm"], "start: got 'Unifrm', expected one of"),
        (["start.kind=Unifrm"], "Did you mean `Uniform`?"),
        (["start.dim=1"], "dimension 2 or more"),
        (["flow.space=3"], "flow.space: expected a table with a `kind`"),
        (["flow.space={}"], "flow.space: expected a table with a `kind`"),
        (["plan.until=0"], "plan.until: input should be greater than 0"),
        (["plan.solver=Tsit"], "plan: `solver` must be one of"),
        (["plan.watch=['energi']"], "Did you mean `energy`?"),
        (["plan.watch=['energy', 'energy']"], "more than once"),
        (["figures=['trajectorys']"], "Did you mean `trajectories`?"),
        (["name='a b'"], "`name` must be"),
        (["flow.law.value={kind='Linear', matrix=[[1, 2], [3, 4]]}"], "dimension 3"),
        (["flow.law.measure={kind='Masses', p=[0.5, 0.6]}"], "flow.law.measure: `p` of Masses must sum to 1; got 1.1"),
        (["flow.law.score.query=[[1, 2, 3], [1, 2]]"], "flow.law.score"),
        (["sweep.flow.law.score.bta=[1]"], "sweep.flow.law.score.bta: there is no parameter"),
        (["sweep.flow.law.score.beta=[]"], "sweep.flow.law.score.beta: expected a list"),
        (["sweep.flow.law.score.beta=[1, true]"], "sweep.flow.law.score.beta[1]: input should be a valid number"),
        (
            ["sweep.flow.law.score=[{kind='SquaredDistance', beta=-1}]"],
            "sweep.flow.law.score[0].beta: input should be greater than 0; got -1",
        ),
        (["plan.save=0"], "plan.save: input should be greater than 0 or a valid array; got 0"),
        (["sweep.flow.law.score.beta={count = 3}"], "for `seed` only"),
        (["sweep.plan.until=[1, 2]"], "share `plan.until`"),
        (["sweep=3"], "sweep: expected a table"),
        (["name=a/b"], "'a/b' is not a value of TOML. Text needs quotes: 'name="),
        (["sweep.'flow.law.score.bta'=[1]"], "sweep.flow.law.score.bta: there is no parameter"),
        (["kind=Simulatio"], "Did you mean `Simulation`?"),
        (["flow.law.score.beta"], "expected key.path=value"),
        (["a=1\nb=2"], "exactly one value"),
        (["seed=3", "seed.x=1"], "`seed` is a value and has no `x`"),
        (["plan.watch.9=1"], "not a position"),
        (["start={kind='Given', path='../secret.npy'}"], "outside the config's folder"),
        (["start={kind='Given', path='/etc/passwd'}"], "outside the config's folder"),
    ],
)
def test_faults_name_place_and_remedy(tmp_path, overrides, fault):
    found = faults(MINIMAL, tmp_path, *overrides)
    assert any(fault in line for line in found), found


def test_rooms_that_a_config_does_not_name_are_not_imported(tmp_path):
    """A simulation as most are needs neither limits nor studies; one that names a class of theirs finds it."""
    path = tmp_path / "plain.toml"
    path.write_text(MINIMAL)
    script = """if True:
        import sys
        from particles import config
        config.load(sys.argv[1])
        assert not {"particles.limits", "particles.studies"} & set(sys.modules)
        assert config.load(sys.argv[1], ["plan.watch=['true_depth']", "flow={kind='Reclocked'}"] + sys.argv[2:])
        assert "particles.limits" in sys.modules
        """
    inner = (
        "flow.flow={kind='Flow', space={kind='Sphere'}, law={kind='Attention', score={kind='DotProduct', beta=4.0}}}"
    )
    subprocess.run([sys.executable, "-c", script, str(path), inner], check=True, timeout=120)


def test_all_faults_are_told_at_once(tmp_path):
    text = MINIMAL.replace("tokens = 8", "tokens = 0").replace("beta = 4", "bata = 4").replace("until = 1", "untl = 1")
    found = faults(text, tmp_path, "sede=1")
    assert len(found) == 5  # until is missing, too
    for part in ("start.tokens", "flow.law.score.bata", "plan.untl", "plan.until: is missing", "sede"):
        assert any(part in line for line in found), part


@pytest.mark.parametrize(
    "text",
    [
        "a = ",
        "a = 1\na = 2",
        "\x00",
        "a = " + "[" * 20000,
        "a = " + "9" * 100_000,
        "a = 1e400",
        "[flow]\nspace = 1e99999",
    ],
)
def test_what_is_no_config_is_refused(tmp_path, text):
    assert faults(text, tmp_path)


def test_a_file_too_large_or_missing_is_refused(tmp_path):
    assert "larger" in faults("a = '" + "x" * 2**20 + "'", tmp_path)[0]
    with pytest.raises(ConfigError, match="cannot be read"):
        config.load(tmp_path / "none.toml")
    with pytest.raises(ConfigError, match="cannot be read"):
        config.load(tmp_path)
    (tmp_path / "latin.toml").write_bytes(b"name = '\xff'")
    with pytest.raises(ConfigError, match="is not TOML"):
        config.load(tmp_path / "latin.toml")


def test_what_is_no_file_is_not_waited_for(tmp_path):
    os.mkfifo(tmp_path / "pipe.toml")
    (tmp_path / "loop.toml").symlink_to("loop.toml")
    for name, words in (("pipe.toml", "it is no regular file"), ("loop.toml", "symbolic links")):
        with pytest.raises(ConfigError, match=rf"cannot be read: .*{words}"):
            config.load(tmp_path / name)


@pytest.mark.parametrize("levels", [40, 65, 300, 900, 5000])
def test_depth_is_bounded(tmp_path, levels):
    """As deep as may be it is a fault like any other; deeper, nothing goes down into it."""
    value, tables = "[" * levels + "]" * levels, ".".join("a" * levels)
    words = "nested too deeply: at most 64" if levels > 62 else "unknown key"
    assert words in faults(f"{MINIMAL}\n[deep]\nx = {value}", tmp_path)[0]
    assert words in faults(f"{MINIMAL}\n[{tables}]\nx = 1", tmp_path)[0]
    assert words in faults(MINIMAL, tmp_path, f"x={value}")[0]
    assert words in faults(MINIMAL, tmp_path, f"{tables}=1")[0]
    assert len(faults(MINIMAL, tmp_path, f"{tables}=1")[0]) < 300


values = st.recursive(
    st.none() | st.booleans() | st.integers(-5, 5) | st.floats(-2, 2) | st.text(string.ascii_letters, max_size=8),
    lambda inner: (
        st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from(["kind", "beta", "tokens", "space", "x"]), inner)
    ),
    max_leaves=6,
)
places = st.sampled_from(["start", "flow", "plan", "seed", "name", "sweep", "figures", "precision", "kind", "other"])


@settings(deadline=None, max_examples=150)
@given(st.dictionaries(places, values, max_size=4))
def test_no_content_escapes_as_anything_but_faults(content):
    try:
        config.build({"start": {"kind": "Uniform", "tokens": 3, "dim": 2}} | content)
    except ConfigError as error:
        assert error.faults and all(": " in fault for fault in error.faults)


def test_schema_is_current_and_knows_the_classes():
    kept = json.loads((HERE / "schema" / "experiment.schema.json").read_text())
    command = [sys.executable, "-m", "particles", "schema"]  # a process that knows of no claim made up by a test
    derived = subprocess.run(command, cwd=HERE, capture_output=True, text=True, timeout=120, check=True).stdout
    assert kept == json.loads(derived), "run: particles schema > schema/experiment.schema.json"
    definitions = json.dumps(kept)
    for name in ("DotProduct", "Clusters", "Equiangular", "Blocked"):
        assert f'"const": "{name}"' in definitions
