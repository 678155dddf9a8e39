"""Every claim, shrunk: it holds, its negative control does not, its figure is drawn, its config says it."""

import dataclasses
import importlib
import math
import pathlib
import subprocess
import sys

import jax
import numpy as np
import pytest
import xarray as xr

import particles as pt
from particles import chart, config
from particles.claim import AbstractClaim, claims, label
from particles.declaration import described, option, replaced
from particles.experiment import worst
from particles.plots import figures
from particles.record import keep
from particles.record.reader import bibliography

CLAIMS = claims()
CONFIGS = pathlib.Path(__file__).parent.parent / "configs" / "claims"


LONG = ("noisy_transition",)
"""Claims whose small forms run for longer than they are compiled."""


@pytest.mark.usefixtures("unchecked", "few_programs")
@pytest.mark.parametrize("name", CLAIMS)
def test_a_claim_holds_and_its_control_does_not(name, tmp_path, request):
    if name in LONG:
        request.getfixturevalue("optimized")
    claim = CLAIMS[name]().shrunk()
    data = claim.data()
    assert claim.outside(data) == ""
    checks = claim.checks(data)
    assert checks and all(check.holds for check in checks), [c for c in checks if not c.holds]
    assert set(keep(tmp_path, data)) == {str(name) for name in data.data_vars}
    panels = claim.chart(data)
    assert panels and chart.read(chart.written(panels)) == panels
    for panel in panels:
        for variable in panel.variables:
            assert {"symbol", "long_name"} & set(data[variable].attrs), f"{variable} of {name} has no words"
    drawn = dict(figures(data.assign_attrs(chart=chart.written(panels)), ("chart",)))
    assert len(drawn["chart"].figure.axes) >= len(panels)
    control = replaced(claim, {"control": True})
    broken = control.data()
    assert control.outside(broken) == ""
    missed = [check for check in control.checks(broken) if not check.holds and np.isfinite(check.measured)]
    assert missed, "the negative control holds"


@pytest.mark.parametrize("name", CLAIMS)
def test_a_claim_is_told_in_full(name):
    cls = CLAIMS[name]
    statement = (cls.__doc__ or "").split("\n")[0]
    assert statement.endswith(".") and 30 <= len(statement) <= 130
    assert cls.sources and all(key in bibliography() for key in cls.sources)
    assert 0 < cls.minutes <= 10
    assert cls.__module__ == f"experiments.{name}"


@pytest.mark.parametrize("name", CLAIMS)
def test_a_claim_has_a_config_that_says_all_of_it(name):
    loaded = config.load(CONFIGS / f"{name}.toml")
    assert type(loaded) is CLAIMS[name]
    assert described(loaded) == described(CLAIMS[name]())


@pytest.mark.parametrize(
    ("name", "parameters", "words"),
    [
        ("noisy_transition", {"below": 3.0}, "must lie between"),
        ("noisy_kuramoto", {"kappas": (2.1,)}, "Too close to the threshold"),
        ("noisy_fluctuations", {"around": (0.95,)}, "Too close to the threshold"),
        ("shared_fixed_point", {"radii": (1.2, 0.5)}, "must contract"),
        ("shared_fixed_point", {"radii": (0.8, -0.8)}, "no single rate"),
        ("shared_contraction", {"lip": 2.0}, "does not keep the ball"),
        ("injected_unique", {"slope": 1.0}, "must contract"),
        ("consensus_beta_zero", {"starts": (-0.5,)}, "is not between"),
        ("flat_repulsion", {"tokens": 5}, "even number"),
    ],
)
def test_parameters_outside_the_assumptions_are_no_verdict(name, parameters, words):
    assert words in CLAIMS[name](**parameters).outside(xr.Dataset())


def test_what_is_measured_can_show_that_it_is_outside():
    few = CLAIMS["ott_antonsen"](tokens=16, starts=(0.4,))
    assert "do not sample" in few.outside(few.data())


def test_the_page_of_claims_has_all_of_them():
    page = (pathlib.Path(__file__).parent.parent / "docs" / "claims.md").read_text()
    assert [line[3:] for line in page.splitlines() if line.startswith("## ")] == list(CLAIMS)


def test_configs_are_of_claims():
    assert {path.stem for path in CONFIGS.glob("*.toml")} == set(CLAIMS)


class Halves(AbstractClaim):
    """Half of a number and half of it are the number.

    Parameters
    ----------
    number : any.
    control : the negative control: a third in place of a half.

    Source
    ------
    vuckovic2020mathematical.
    """

    number: int = option(4)
    control: bool = option(False)
    sources = ("vuckovic2020mathematical",)

    def data(self) -> xr.Dataset:
        if self.number == 13:
            raise pt.Failed("unlucky")
        part = self.number / (3 if self.control else 2)
        words = {"symbol": "$h$", "long_name": "halves"}
        return xr.Dataset(
            {"half": ("k", np.array([part, part]), words)}, coords={"k": ("k", [1, 2], {"symbol": "$k$"})}
        )

    def outside(self, data: xr.Dataset) -> str:
        return "There is no negative number." if self.number < 0 else ""

    def checks(self, data: xr.Dataset) -> tuple[pt.Check, ...]:
        return (pt.Check("sum", float(data.half.sum()), self.number, 1e-12, "rounding"),)

    def chart(self, data: xr.Dataset) -> tuple[chart.Panel, ...]:
        return (chart.Curves("k", ("half",)),)

    def shrunk(self) -> "Halves":
        return self


def test_a_claim_is_kept_judged_again_and_not_computed_again(tmp_path, monkeypatch):
    claim = Halves()
    directory = claim.directory(tmp_path)
    assert claim.verdict(claim.measure(directory)).outcome is pt.Outcome.holds
    monkeypatch.setattr(Halves, "data", lambda self: pytest.fail("computed again"))
    record = claim.measure(directory)
    assert record.status == "done" and record.dataset.attrs["name"] == "halves"
    np.testing.assert_array_equal(record.dataset.half, [2.0, 2.0])
    [(name, plate)] = figures(record.dataset, ("chart",))
    assert name == "chart" and "Half of a number" in plate.caption and "number 4" in plate.caption


def test_outcomes(tmp_path):
    outcomes = {}
    for claim in (Halves(), Halves(control=True), Halves(number=-2), Halves(number=13)):
        directory = claim.directory(tmp_path)
        if claim.number == 13:
            with pytest.raises(pt.Failed, match="unlucky"):
                claim.measure(directory)
            record = pt.open(directory)
        else:
            record = claim.measure(directory)
        outcomes[claim] = claim.verdict(record)
    assert [v.outcome.name for v in outcomes.values()] == ["holds", "fails", "outside", "not_converged"]
    assert [v.undecided for v in outcomes.values()] == ["", "", "There is no negative number.", "unlucky"]


def test_a_damaged_record_is_refused(tmp_path):
    claim = Halves()
    directory = claim.directory(tmp_path)
    claim.measure(directory)
    [block] = [
        path for path in (directory / "data.zarr" / "half").rglob("*") if path.is_file() and path.name != "zarr.json"
    ]
    block.write_bytes(bytes(len(block.read_bytes())))
    with pytest.raises(ValueError, match="`half` is not what the run left"):
        claim.measure(directory)


def test_a_claim_needs_double_precision(tmp_path):
    with jax.enable_x64(False), pytest.raises(ValueError, match="jax_enable_x64"):
        Halves().measure(tmp_path / "x")


def test_a_directory_with_something_else_is_refused(tmp_path):
    (tmp_path / "thesis.tex").touch()
    with pytest.raises(ValueError, match="not a run directory"):
        Halves().measure(tmp_path)
    first = Halves().directory(tmp_path)
    Halves().measure(first)
    with pytest.raises(ValueError, match="another run"):
        Halves(number=6).measure(first)


@pytest.mark.parametrize(
    ("measured", "sense", "holds"),
    [
        (1.05, "equal", True),
        (0.85, "equal", False),
        (0.2, "at_most", True),
        (1.2, "at_most", False),
        (1.2, "at_least", True),
        (0.8, "at_least", False),
        (float("nan"), "at_most", False),
        (float("nan"), "equal", False),
    ],
)
def test_checks(measured, sense, holds):
    assert pt.Check("x", measured, 1.0, 0.1, "", pt.Sense[sense]).holds is holds


def test_a_verdict_without_a_number_does_not_hold():
    assert pt.Verdict("nothing", ()).outcome is pt.Outcome.fails


def test_a_number_that_is_none_is_not_judged():
    """Neither found true nor false, whichever of the two is not defined; a number that is wrong counts all the same."""
    right, wrong = pt.Check("x", 1.0, 1.0, 0.1, ""), pt.Check("x", 2.0, 1.0, 0.1, "")
    lost = [pt.Check("share", *numbers, 0.1, "") for numbers in ((math.nan, 1.0), (1.0, math.nan))]
    for one in lost:
        verdict = pt.Verdict("claim", (), (right, one))
        assert verdict.outcome is pt.Outcome.undefined and "not defined here: share" in verdict.told
        assert "FAILS" not in str(one)
        assert pt.Verdict("claim", (), (wrong, one)).outcome is pt.Outcome.fails


def test_names():
    assert label(Halves) == "halves"
    assert all(dataclasses.fields(cls)[-1].name == "control" for cls in CLAIMS.values())


def test_worst_does_not_skip_what_is_no_number():
    values = xr.DataArray([0.1, float("nan"), -0.3])
    assert float(np.abs(values).max()) == 0.3
    assert np.isnan(worst(values)) and worst(values[[0, 2]]) == 0.3


def test_a_claim_is_another_with_other_code_beside_it(tmp_path, monkeypatch):
    package = tmp_path / "others"
    package.mkdir()
    (package / "__init__.py").touch()
    (package / "shared.py").write_text("NUMBER = 1\n")
    text = pathlib.Path(__file__).read_text().split("class Halves")[1].split("\n\n\ndef ")[0]
    head = "import numpy as np\nimport xarray as xr\nimport particles as pt\nfrom particles import chart\n"
    head += "from particles.claim import AbstractClaim\nfrom particles.declaration import option\n\nclass Thirds"
    (package / "thirds.py").write_text(head + text.replace("Halves", "Thirds"))
    monkeypatch.syspath_prepend(tmp_path)
    module = importlib.import_module("others.thirds")
    first = module.Thirds().identity()
    assert module.Thirds().identity() == first
    (package / "shared.py").write_text("NUMBER = 2\n")
    assert module.Thirds().identity() != first
    (package / "shared.py").write_text("NUMBER = 1\n")
    assert module.Thirds().identity() == first
    monkeypatch.setattr("particles.machine.libraries", lambda: {"scipy": "0.1"})
    assert module.Thirds().identity() != first


def test_a_package_in_the_place_of_ours_is_not_run(tmp_path):
    (tmp_path / "experiments").mkdir()
    (tmp_path / "experiments" / "__init__.py").write_text("raise SystemExit('somebody else')\n")
    command = [sys.executable, "-m", "particles", "list", "claims"]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, timeout=120)
    assert done.returncode == 2 and "not the one installed beside particles" in done.stderr
