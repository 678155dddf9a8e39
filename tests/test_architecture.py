"""The house as a whole: floors, public names, and documents that run."""

import json
import pathlib
import re
import subprocess
import sys

import pytest

import particles as pt

HERE = pathlib.Path(__file__).parent.parent


def tool(*command):
    """A tool of this environment, run on the repository."""
    program, *arguments = command
    path = pathlib.Path(sys.executable).parent / program
    return subprocess.run([path, *arguments], cwd=HERE, capture_output=True, text=True)


def snippets(name):
    """The Python of a document, in order, as one program."""
    return "\n".join(re.findall(r"```python\n(.*?)```", (HERE / name).read_text(), flags=re.DOTALL))


DOCUMENTS = (
    "README.md",
    "docs/extending.md",
    "docs/guide/limits.md",
    "docs/guide/plans.md",
    "docs/guide/regularity.md",
    "docs/guide/summations.md",
    "docs/guide/view.md",
)


READER = """
import json, sys, traceback
ends = {}
for name, program in json.load(sys.stdin).items():
    try:
        exec(compile(program, name, "exec"), {"__name__": "__main__"})
        ends[name] = "ran"
    except BaseException:
        ends[name] = traceback.format_exc()
print(json.dumps(ends))
"""


@pytest.fixture(scope="module")
def ends():
    """How every document ends, each on its own in one process: importing takes longer than most of them."""
    programs = json.dumps({name: snippets(name) for name in DOCUMENTS})
    done = subprocess.run([sys.executable, "-W", "error", "-c", READER], input=programs, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout.splitlines()[-1])


@pytest.mark.parametrize("document", DOCUMENTS)
def test_documents_run(document, ends):
    assert ends[document] == "ran", ends[document]


def test_floors():
    done = tool("lint-imports")
    assert done.returncode == 0, done.stdout


def test_style():
    done = tool("ruff", "check")
    assert done.returncode == 0, done.stdout


def test_public_names_are_there_and_documented():
    for name in pt.__all__:
        found = getattr(pt, name)
        assert found.__doc__, name
    assert set(pt.__all__) <= set(dir(pt))
    with pytest.raises(AttributeError, match="no attribute 'Atention'"):
        _ = pt.Atention


def test_importing_is_cheap():
    probe = "import sys, particles; print([m for m in ('jax', 'numpy', 'matplotlib') if m in sys.modules])"
    done = subprocess.run([sys.executable, "-c", probe], capture_output=True, text=True)
    assert done.stdout == "[]\n"


def test_readme_has_the_commands_that_the_gate_runs():
    readme = (HERE / "README.md").read_text()
    commands = re.findall(r"```bash\n(.*?)\n```", readme, flags=re.DOTALL)
    assert len(commands) == 3
    assert commands[0].endswith("particles run configs/clusters.toml")
    assert "<!-- test command -->\n```bash\n" + commands[1] in readme
    assert "<!-- exhaustive test command -->\n```bash\n" + commands[2] in readme
    assert 'for tier in "test command" "exhaustive test command"' in (HERE / ".ci" / "run").read_text()


def test_the_package_carries_what_it_needs_at_run_time():
    for name in ("py.typed", "__init__.pyi", "references.bib", "plots/particles.mplstyle", "view/assets/main.js"):
        assert (HERE / "particles" / name).exists(), name


def test_constraints_are_plain_pins():
    for line in (HERE / "constraints.txt").read_text().splitlines():
        assert re.fullmatch(r"(#.*)|([A-Za-z0-9_.-]+==[0-9A-Za-z.]+( ; python_version [<>=]+ \"3\.\d+\")?)", line), line


def test_nouns_in_the_wrong_place_are_refused_without_the_help_of_a_type_checker():
    program = (
        "import particles as pt\ntry:\n    pt.Flow(pt.Attention(), pt.Sphere())\nexcept ValueError as e:\n    print(e)"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True)
    assert done.stdout == "`space` of Flow must be a Space; got Attention\n"
