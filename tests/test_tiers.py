"""The everyday tier keeps a guard of every kind of promise."""

import pathlib
import re

import pytest
import tiers

from particles.claim import claims

HERE = pathlib.Path(__file__).parent


def test_every_function_keeps_its_cheapest_case():
    lines = ["9.0 a.py::f[1]", "1.0 a.py::f[2]", "2.0 a.py::g", "0.5 a.py::h[x]", "0.6 a.py::h[y]", "30.0 a.py::dear"]
    seconds = tiers.measured(lines)
    assert tiers.exhaustive(seconds, budget=0.0) == ["a.py::dear", "a.py::f[1]", "a.py::h[y]"]
    assert tiers.exhaustive(seconds, budget=4.2) == ["a.py::dear", "a.py::f[1]"]
    assert tiers.exhaustive(seconds, budget=100.0) == []
    assert tiers.measured([*lines, "3.0 a.py::g"])["a.py::g"] == 3.0


def test_every_class_under_a_contract_and_what_is_named_are_kept():
    contract = "tests/test_contracts.py::{}[{}]"
    seconds = {contract.format(function, cls): cost for function, cost in (("a", 1.0), ("b", 2.0)) for cls in "XYZ"}
    seconds |= {"tests/test_claims.py::holds[ott_antonsen]": 40.0, "tests/test_claims.py::holds[wendel]": 3.0}
    seconds |= {"tests/test_claims.py::holds[two_clusters]": 2.0}
    left = tiers.exhaustive(seconds, budget=0.0)
    assert left == ["tests/test_claims.py::holds[wendel]", *(contract.format("b", cls) for cls in "YZ")]


def test_marks_are_of_tests_that_there_are():
    """A mark that names nothing is left over: measure again. And what is to be kept is kept."""
    listed = tiers.listed()
    assert all(map(tiers.is_exhaustive, ["tests/test_fuzz_record.py::test_harm[1000]", *listed]))
    assert not tiers.is_exhaustive("tests/test_fuzz_record.py::test_harm[100]")
    assert listed and not [test for test in listed if tiers.KEPT.search(test)]
    assert set(tiers.CLAIMS) <= set(claims())
    assert all((HERE.parent / "configs" / f"{name}.toml").exists() for name in tiers.CONFIGS)
    for test in listed:
        file, _, name = test.partition("::")
        assert re.search(rf"def {re.escape(name.partition('[')[0])}\b", (HERE.parent / file).read_text()), test


@pytest.mark.parametrize(
    ("arguments", "runs"),
    [
        ([], {"cheap"}),
        (["--tier", "exhaustive"], {"dear"}),
        (["--tier", "all"], {"cheap", "dear"}),
        (["test_some.py::test_dear"], {"dear"}),
    ],
)
def test_a_tier_is_chosen_on_the_command_line(pytester, monkeypatch, arguments, runs):
    (pytester.path / "exhaustive.txt").write_text("test_some.py::test_dear\n")
    monkeypatch.setattr(tiers, "LIST", pytester.path / "exhaustive.txt")
    tiers.listed.cache_clear()
    pytester.makepyfile(test_some="def test_cheap():\n    pass\n\ndef test_dear():\n    pass\n")
    source = (HERE / "conftest.py").read_text()
    hooks = source[source.index("def pytest_addoption") : source.index("def spent()")]
    pytester.makeconftest(f"import tiers\n\n\n{hooks}")
    found = pytester.inline_run("-p", "no:xdist", "-p", "no:cacheprovider", *arguments)
    passed = {report.nodeid.rpartition("test_")[2] for report in found.listoutcomes()[0]}
    assert passed == runs
    tiers.listed.cache_clear()
