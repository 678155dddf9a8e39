"""Studies: instruments put to any flow, kept, judged and drawn from what was kept."""

import dataclasses
import pathlib

import jax
import numpy as np
import pytest
import xarray as xr

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
