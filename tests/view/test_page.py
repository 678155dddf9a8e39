"""The page as text: nothing of a run is markup, nothing but its own script runs, its modules fit together."""

import base64
import hashlib
import json
import pathlib
import re
import shutil
import subprocess

import numpy as np
import pytest
import shown
import xarray as xr

from particles.analysis.merge_tree import branches
from particles.commands import view as view_command
from particles.commands.ending import guarded
from particles.record import Damaged, Record
from particles.record.files import replace_json
from particles.record.writer import FORMAT
from particles.spaces import Euclidean
from particles.view import page, source, still, view, write
from particles.view.bundle import ASSETS, MODULES, bundle, script
from particles.view.page import json_text, provenance
from particles.view.summary import behavior, clusters

EVIL = '</script><script>document.title="stolen"</script><img src=x onerror=alert(1)>'
CASES = {
    "no tokens": lambda: shown.run().drop_vars(["tokens", "height"]).drop_dims(["token", "dim"], errors="ignore"),
    "one frame": lambda: shown.run(frames=1),
    "one token": lambda: shown.run(n=1),
    "one dimension": lambda: shown.run(space="Euclidean", d=1),
    "an unknown space": lambda: shown.run(space="Torus"),
    "nothing at all": xr.Dataset,
    "nowhere": lambda: shown.stored(np.arange(3.0), np.full((3, 4, 2), np.nan)),
    "a table": lambda: xr.Dataset({"slope": ("size", [1.0, 2.0])}, coords={"size": [8, 16]}),
}


def data_of(text):
    return json.loads(re.search(r'<script type="application/json" id="data">(.*?)</script>', text, re.DOTALL)[1])


@pytest.mark.parametrize("case", CASES)
def test_every_dataset_has_a_page(case):
    data = data_of(page(CASES[case]()))
    assert data["format"] == 1 and data["summary"]


def test_what_has_no_page_is_told():
    with pytest.raises(ValueError, match="a page shows a Record, a Run, or an xarray Dataset; got list"):
        page([1, 2])


def test_names_with_markup_are_text():
    dataset = shown.run(frames=3)
    dataset = dataset.assign_attrs(name=EVIL, caption=EVIL).rename(spread=EVIL)
    dataset[EVIL].attrs["long_name"] = EVIL
    text = page(dataset, verdict=EVIL, summary=[EVIL], figures=[(EVIL, b"\x89PNG", EVIL)])
    assert EVIL not in text and "<img src=x" not in text
    assert len(re.findall(r"<script\b", text)) == 2
    assert data_of(text)["name"] == EVIL  # and arrive as they are


def test_the_check_of_markup_can_fail():
    dataset = shown.run(frames=3).assign_attrs(name=EVIL)
    text = page(dataset).replace("\\u003c", "<").replace("\\u003e", ">")
    assert EVIL.replace('"', '\\"') in text


def test_numbers_that_json_does_not_know_are_null():
    assert json_text({"a": [float("nan"), float("inf"), 1.0], "b": "</"}) == '{"a":[null,null,1.0],"b":"\\u003c/"}'


def test_the_policy_allows_this_script_and_this_style_and_no_more():
    text = page(shown.run(frames=2))
    policy = re.search(r'Content-Security-Policy" content="(.*?)"', text)[1]
    style = re.search(r"<style>(.*?)</style>", text, re.DOTALL)[1]
    code = re.search(r'<script type="module">(.*?)</script>', text, re.DOTALL)[1]
    hashed = [base64.b64encode(hashlib.sha256(part.encode()).digest()).decode() for part in (code, style)]
    assert policy.startswith("default-src 'none'; ")
    assert f"script-src 'sha256-{hashed[0]}';" in policy and f"style-src 'sha256-{hashed[1]}';" in policy
    assert "img-src data:" in policy and "unsafe" not in policy and "http" not in policy
    assert not re.search(
        r"<[^>]+\sstyle=|<[^>]+\son\w+=|https?://(?!www\.w3\.org/2000/svg)", text.split("<main>")[0] + code
    )


def test_a_report_is_a_page_with_more_sections():
    text = page(shown.run(frames=2), figures=[("tree", b"\x89PNG", "A tree.")], verdict="It holds.", summary=["First."])
    assert "It holds." in text and "<figcaption>A tree.</figcaption>" in text
    assert f"data:image/png;base64,{base64.b64encode(bytes([137]) + b'PNG').decode()}" in text
    assert data_of(text)["summary"][0] == "First."


def test_modules_that_do_not_fit_together_are_refused():
    with pytest.raises(ValueError, match=r"`a` is declared in one\.js and in two\.js"):
        bundle({"one": "export const a = 1;\n", "two": "function a() {}\n"})
    with pytest.raises(ValueError, match=r"one\.js imports two\.js, which must come before"):
        bundle({"one": 'import { b } from "./two.js";\n', "two": "export const b = 1;\n"})
    with pytest.raises(ValueError, match="several names at once"):
        bundle({"one": "const [a, b] = [1, 2];\n"})
    assert bundle({"one": "export const a = 1;\n", "two": 'import { a } from "./one.js";\na;\n'}) == (
        "// one\nconst a = 1;\n// two\na;\n"
    )


def test_all_modules_are_in_the_script_and_small():
    assert {path.stem for path in ASSETS.glob("*.js")} == set(MODULES)
    assert not re.search(r"^(import|export) ", script(), re.MULTILINE)
    for name in MODULES:
        assert (ASSETS / f"{name}.js").read_text().count("\n") < 350, name


@pytest.mark.skipif(
    shutil.which("node") is None, reason="node is not installed: the modules of the page are not tested"
)
def test_modules_in_node(tmp_path):
    """Each is loaded by itself there; the page's script, which is all of them, is checked as one."""
    (tmp_path / "script.mjs").write_text(script())
    tests = sorted(pathlib.Path(__file__).parent.glob("*.test.mjs"))
    for command in (["--check", tmp_path / "script.mjs"], ["--check", ASSETS / "main.js"], ["--test", *tests]):
        done = subprocess.run(["node", *command], capture_output=True, text=True)
        assert done.returncode == 0, done.stdout + done.stderr
    (tmp_path / "broken.mjs").write_text(script() + "const page = 1;\n")
    assert subprocess.run(["node", "--check", tmp_path / "broken.mjs"], capture_output=True).returncode != 0


def test_sentences_about_observables():
    dataset = xr.Dataset(
        {
            "rising": ("time", [1.0, 2.0, 4.0]),
            "falling": ("time", [4.0, 2.0, 1.0]),
            "still": ("time", [3.0, 3.0, 3.0 + 1e-10]),
            "wild": ("time", [1.0, -2.0, 4.0]),
            "lost": ("time", [1.0, 2.0, np.nan]),
        },
        coords={"time": [0.0, 1.0, 2.0]},
    )
    assert behavior(dataset) == [
        "Rising: never fell, from 1 to 4.",
        "Falling: never rose, from 4 to 1.",
        "Still: conserved at 3, relatively to 3e-11.",
        "Wild: from 1 to 4, between −2 and 4.",
        "Lost: no finite number at 1 of 3 depths.",
        "Lost: never fell, from 1 to 2.",
    ]


def test_sentences_about_clusters_are_those_of_the_tree():
    time = np.arange(4.0)
    angle = np.array([[0.0, 0.05, 1.0, 3.0], [0.0, 0.05, 0.5, 3.0], [0.0, 0.05, 0.1, 3.0], [0.0, 0.05, 0.1, 3.0]])
    dataset = shown.stored(time, np.stack([np.cos(angle), np.sin(angle)], axis=-1))
    said = data_of(page(dataset))["members"][0]["summary"]
    assert said[0] == "3 clusters at depth 0, 2 clusters at depth 3: chains of tokens nearer than 0.1."
    assert said[1] == "One merger, between depth 1 and 2."
    assert "from depth" in said[2]


def test_a_run_that_is_not_finished_says_so():
    manifest = {"status": "failed", "segments": [{"reason": "member 0 blew up"}], "members": [{"status": "not_finite"}]}
    shown_one = source(shown.run().assign_attrs(status="failed"))
    from particles.view.summary import ending

    said = ending(shown_one.dataset, manifest)
    assert said[0].startswith("The run failed: 9 frames") and "Reason: member 0 blew up." in said
    assert "It did not come to an end: a token or an observable is not finite." in said


def test_provenance_is_a_table():
    manifest = {
        "status": "done",
        "seed": 7,
        "summations": [{"kind": "Dense"}],
        "segments": [{"started": "then", "seconds": 3, "provenance": {"device": "cpu", "versions": {"jax": "1"}}}],
    }
    assert ("summation", "Dense") in provenance(manifest) and ("versions", "jax 1") in provenance(manifest)
    assert provenance({}) == []


def test_a_damaged_record_has_no_page(tmp_path):
    record = Record(tmp_path, {"status": "done", "segments": []})
    with pytest.raises(Damaged, match="no committed frame"):
        write(record, tmp_path / "view.html")
    assert not (tmp_path / "view.html").exists()


def test_mistakes_on_the_command_line_have_their_exit_codes(tmp_path, capsys):
    command = guarded(view_command)
    assert command(tmp_path / "nowhere") == 2
    assert "not a run directory" in capsys.readouterr().err
    manifest = {"format": FORMAT, "status": "done", "identity": "x", "segments": []}
    replace_json(tmp_path / "manifest.json", manifest)
    assert command(tmp_path) == 65
    assert "holds no committed frame" in capsys.readouterr().err


def test_a_result_shows_itself_in_a_notebook():
    dataset = shown.run(frames=4).assign_attrs(name="<b>")
    shown_still = still(dataset)
    assert "<b>&lt;b&gt;</b>" in shown_still and "data:image/png;base64,iVBOR" in shown_still and "<li>" in shown_still
    frame = view(dataset, height=300)._repr_html_()
    assert frame.startswith('<iframe sandbox="allow-scripts"') and "height:300px" in frame and "<script" not in frame


def test_a_study_that_counts_tokens_keeps_none():
    along = ("radius", np.arange(3.0))
    counts = xr.Dataset({"tokens": along, "worst": along}, {"radius": [1, 2, 3]})
    assert "The run kept no tokens" in page(counts.assign_attrs(name="worst"))


def test_a_page_says_whether_others_merged_where_a_cluster_fell_apart():
    """Of four tokens on a line one pair parts; the number of clusters rises unless two others meet meanwhile."""
    before, time = [0.0, 0.1, 5.0, 7.0], np.array([0.0, 1.0])
    cases = ([0.0, 2.0, 5.0, 5.1], ", between frames in which as many merged"), ([0.0, 2.0, 5.0, 7.0], ".")
    for after, words in cases:
        tree = branches(Euclidean(), time, np.array([before, after])[..., None], 0.5)
        assert any(line.startswith(f"Once a cluster fell apart{words}") for line in clusters(tree))
