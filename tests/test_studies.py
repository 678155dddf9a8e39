"""Studies: instruments put to any flow, kept, judged and drawn from what was kept."""

import dataclasses
import pathlib

import jax
import numpy as np
import pytest
import xarray as xr
from scipy.special import iv

import particles as pt
from particles import chart, config, studies
from particles.declaration import described, family, option
from particles.experiment import AbstractExperiment
from particles.plots import figures
from particles.record.reader import bibliography

MEMBERS = family(studies.AbstractFlowStudy)
STUDIES = {name: cls for name, cls in MEMBERS.items() if cls.__module__.startswith("particles.")}
CONFIGS = pathlib.Path(__file__).parent.parent / "configs"
FLOW = pt.Flow(pt.Sphere(), pt.Attention(pt.DotProduct(2.0)))
START = pt.starts.Uniform(6, 3)


@pytest.mark.parametrize("name", STUDIES)
def test_a_study_is_told_in_full(name):
    cls = STUDIES[name]
    statement = (cls.__doc__ or "").split("\n")[0]
    assert statement.endswith(".") and 30 <= len(statement) <= 130
    assert cls.sources and set(cls.sources) <= set(bibliography())
    assert all(key in (cls.__doc__ or "") for key in cls.sources)
    assert 0 < cls.minutes <= 5
    assert {"start", "flow", "name", "seed"} <= {field.name for field in dataclasses.fields(cls)}


def test_every_study_has_a_config():
    kinds = {type(config.load(path)).__name__ for path in CONFIGS.glob("*.toml")}
    assert set(STUDIES) <= kinds


class Spread(studies.AbstractFlowStudy):
    """The mean square of the coordinates of tokens on a sphere is known.

    Parameters
    ----------
    start, flow, name, seed : as everywhere.
    missed : whether a number did not converge.
    wrong : whether too little is measured.
    dull : whether nothing is claimed.

    Source
    ------
    vuckovic2020mathematical.
    """

    start: pt.starts.AbstractStart
    flow: pt.AbstractFlow
    missed: bool = option(False)
    wrong: bool = option(False)
    dull: bool = option(False)
    name: str = option("spread")
    seed: int = option(0, ge=0)
    sources = ("vuckovic2020mathematical",)

    def data(self) -> xr.Dataset:
        x = np.asarray(self.first())
        words = {"symbol": "$s$", "long_name": "mean square"}
        return xr.Dataset(
            {
                "square": ("k", [np.mean(x**2) * (0.5 if self.wrong else 1.0)], words),
                "square_converged": ("k", [not self.missed], {"long_name": "whether it converged"}),
            },
            coords={"k": ("k", [1], {"symbol": "$k$"})},
        )

    def checks(self, data: xr.Dataset) -> tuple[pt.Check, ...]:
        return () if self.dull else (pt.Check("mean square", float(data.square[0]), 1 / 3, 1e-12, "rounding"),)

    def chart(self, data: xr.Dataset) -> tuple[chart.Panel, ...]:
        return (chart.Curves("k", ("square",), flag="square_converged"),)

    def shrunk(self) -> "Spread":
        return self.small()


@pytest.mark.parametrize(
    ("parameters", "outcome"),
    [({}, "holds"), ({"wrong": True}, "fails"), ({"missed": True}, "not_converged"), ({"dull": True}, None)],
)
def test_a_study_is_kept_judged_and_drawn(parameters, outcome, tmp_path, monkeypatch):
    study = Spread(START, FLOW, **parameters)
    directory = study.directory(tmp_path)
    assert directory.name.startswith("spread-")
    study.measure(directory)
    monkeypatch.setattr(Spread, "data", lambda self: pytest.fail("computed again"))
    record = study.measure(directory)
    verdict = study.verdict(record)
    assert (verdict and verdict.outcome.name) == outcome
    [(_, plate)] = figures(record.dataset, study.figure_kinds())
    crosses = [line for line in plate.figure.axes[0].lines if line.get_marker() == "x"]
    assert bool(crosses) is bool(parameters.get("missed"))


def test_a_study_is_another_with_other_parameters():
    study = Spread(START, FLOW)
    assert study.identity() == Spread(START, FLOW).identity()
    others = (Spread(START, FLOW, seed=1), Spread(pt.starts.Uniform(7, 3), FLOW), Spread(START, FLOW, missed=True))
    assert len({study.identity(), *(other.identity() for other in others)}) == 4
    assert isinstance(study, AbstractExperiment) and described(study)["flow"]["kind"] == "Flow"


def test_what_a_study_refuses():
    with pytest.raises(ValueError, match="`name` must be"):
        Spread(START, FLOW, name="a b")
    with pytest.raises(ValueError, match="dimension 2 or more"):
        Spread(pt.starts.Uniform(6, 1), FLOW)
    with jax.enable_x64(False), pytest.raises(ValueError, match="jax_enable_x64"):
        Spread(START, FLOW).measure(pathlib.Path("never"))


def test_a_landscape_has_the_energies_of_the_run_where_its_way_begins_and_ends():
    flow = pt.Flow(pt.Sphere(), pt.Attention(pt.DotProduct(4.0)))
    data = studies.Landscape(pt.starts.Uniform(5, 2), flow, pt.Plan(until=2.0, save=8), points=201).data()
    energy = np.asarray(data.energy)
    assert np.all(np.diff(energy) > 0)
    for k in (0, -1):
        found = data.landscape.interp(across=data.way_across[k], up=data.way_up[k])
        assert abs(float(found) - energy[k]) < 1e-3 * abs(energy[-1] - energy[0])  # linear between grid points
    assert float(data.landscape.interp(across=data.way_across[0], up=data.way_up[-1] + 0.1)) != energy[0]


def test_the_mean_field_begins_as_the_start_does_and_goes_with_the_tokens():
    start = pt.starts.VonMisesFisher(600, 2, kappa=1.0)
    plan = pt.Plan(until=0.6, save=3)
    flow = pt.Flow(pt.Sphere(), pt.Attention(pt.DotProduct(1.0)))
    data = studies.MeanFieldDensity(start, flow, plan, clouds=100, modes=16).data()
    assert float(data.field_order[0]) == pytest.approx(iv(1, 1.0) / iv(0, 1.0), abs=4 / np.sqrt(60_000))
    assert np.abs(data.order - data.field_order).max() < 4 / np.sqrt(600)
    assert float(data.field_order[-1] - data.field_order[0]) > 0.1  # standing still would not pass
    np.testing.assert_allclose(data.mean_field.mean("place"), 1, atol=1e-12)
    angle = data.place.values
    first = (data.mean_field.values * np.exp(-1j * angle)).mean(axis=1)
    np.testing.assert_allclose(np.abs(first), data.field_order, atol=1e-12)  # the density is that of the modes
    mean = np.exp(-1j * np.arctan2(data["tokens"][..., 1], data["tokens"][..., 0])).mean(axis=1)
    assert np.abs(first - mean).max() < 4 / np.sqrt(600)  # and not its mirror image
    with pytest.raises(ValueError, match="on the circle"):
        studies.MeanFieldDensity(START, FLOW, plan)


def test_the_fitted_slope_of_a_method_is_its_order():
    flow = pt.Flow(pt.Sphere(), pt.Attention(pt.DotProduct(1.0)))
    study = studies.WorkPrecision(START, flow, 2.0, ("Bosh3",), (1e-6, 1e-7, 1e-8, 1e-9))
    data = study.data()
    assert float(data.slope[0]) == pytest.approx(-3, abs=0.4)  # steps are cut at the end and chosen by estimates
    assert np.all(np.diff(data.error[0]) < 0) and np.all(data.error[0] < 10 * data.tolerance)
