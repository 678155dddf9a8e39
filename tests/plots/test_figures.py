"""The contract of a kind of figure, over every kind and every dataset; and what is said when one cannot serve."""

import matplotlib
import numpy as np
import pytest
import stored
from matplotlib.figure import Figure

from particles.declaration import family
from particles.plots import (
    AbstractFigure,
    CosineHistogram,
    Observables,
    Timelapse,
    figures,
    kind,
    kinds,
    styled,
    suitable,
)
from particles.plots.paths import path, picked, written

NUMBERS, LINE = {"observables"}, {"observables", "trajectories", "merge_tree", "density"}
OF_RUNS = {"trajectories", "timelapse", "observables", "cosines", "merge_tree"}
SERVED = {
    "numbers only": NUMBERS,
    "numbers of a sweep": NUMBERS,
    "line": LINE,
    "sweep of lines": LINE,
    "high sphere": OF_RUNS,
    "one frame": {"observables", "trajectories", "timelapse", "cosines"},
    "product": {"observables", "trajectories", "timelapse", "cosines", "ellipses"},
    "one frame on a line": {"observables", "trajectories"},
    "one token": {"observables", "trajectories", "timelapse", "density"},
    "one token in the plane": {"observables", "trajectories", "timelapse"},
    "with attention": {*OF_RUNS, "density", "attention", "attention_graph"},
    **{name: {*OF_RUNS, "ellipses"} for name in ("plane", "ball", "sweep of planes", "blown up")},
}
"""Which kinds serve a sample; where nothing is said, those for runs and the density of a circle or a sphere."""

OTHERS = {"chart", "density", "ellipses", "attention", "attention_graph"}


@pytest.mark.parametrize("sample", stored.SAMPLES)
def test_every_figure_draws_every_dataset_it_does_not_refuse(sample):
    dataset = stored.SAMPLES[sample]()
    before = dict(matplotlib.rcParams)
    assert set(suitable(dataset)) == SERVED.get(sample, {*OF_RUNS, "density"})
    for name, plate in figures(dataset):
        assert isinstance(plate.figure, Figure), name
        assert plate.figure.axes, name
        with styled():
            plate.figure.draw_without_rendering()  # layout and text; warnings are errors
        assert plate.caption.endswith(stored.CAPTION)
        assert len(plate.caption) > len(stored.CAPTION)
        assert plate.title == f"demo: {name}"
    assert dict(matplotlib.rcParams) == before


def test_kinds_are_found_by_their_name():
    assert set(kinds()) == OF_RUNS | OTHERS
    assert set(kinds().values()) == set(family(AbstractFigure).values())
    with pytest.raises(ValueError, match=r"unknown figure `trajectory`.*Did you mean `trajectories`"):
        kind("trajectory")


def test_figures_come_in_the_order_asked_for_and_faults_before_the_first():
    dataset = stored.run()
    assert [name for name, _ in figures(dataset, ("timelapse", Observables(log_depth=True)))] == [
        "timelapse", "observables",
    ]  # fmt: skip
    with pytest.raises(ValueError, match=r"needs stored tokens; set `plan.tokens = true`"):
        figures(stored.numbers_only(), ("observables", "cosines"))  # not iterated


@pytest.mark.parametrize(
    ("name", "dataset", "message"),
    [
        ("trajectories", stored.numbers_only(), "the figure of trajectories needs stored tokens; set `plan.tokens"),
        ("timelapse", stored.run(d=1, space="Euclidean"), "of dimension 2 or more, got 1; use `trajectories`"),
        ("cosines", stored.run(n=1), "two tokens or more, got 1; use `trajectories`"),
        ("cosines", stored.run(d=1, space="Euclidean"), "of dimension 2 or more, got 1; use `trajectories`"),
        ("trajectories", stored.run() * np.nan, "needs a frame that was reached"),
        ("observables", stored.run() * np.nan, "all values of this dataset are NaN"),
        ("observables", stored.run()[["tokens"]], "needs an observable; name some in `plan.watch`"),
        ("trajectories", stored.run().isel(time=slice(0)), "at least one token and one frame"),
        ("attention", stored.run(), "needs the observable `attention`; add it to `plan.watch`"),
        ("attention_graph", stored.attending().drop_vars("tokens"), "needs stored tokens; set `plan.tokens = true`"),
        ("density", stored.run(d=5), "for the circle, the line and the sphere of R^3; got Sphere of dimension 5"),
        ("ellipses", stored.run(), "for clouds in free space or in a ball; on a sphere use `trajectories`"),
        ("ellipses", stored.run(space="Euclidean", d=1), "two tokens of dimension 2 or more; use `trajectories`"),
    ],
)
def test_refusals_name_what_would_help(name, dataset, message):
    assert message in kind(name).refusal(dataset)


def test_a_logarithmic_depth_needs_positive_depths():
    assert "set `log_depth = false`" in Observables(log_depth=True).refusal(stored.run(frames=2))


def test_options_have_bounds():
    with pytest.raises(ValueError, match="`panels` of Timelapse must be at least 2"):
        Timelapse(panels=1)


def test_captions_say_what_is_left_out():
    assert "Shown are 9 of the 14 members" in kind("trajectories").caption(stored.sweep(14, frames=3))
    assert "Shown" not in kind("trajectories").caption(stored.sweep(9, frames=3))
    assert "8 evenly spaced tokens of the 24" in CosineHistogram(tokens=8).caption(stored.run())
    assert "evenly spaced" not in CosineHistogram(tokens=24).caption(stored.run())


def test_at_most_nine_members_evenly_picked_with_their_values_as_titles():
    dataset = stored.sweep(14, frames=3)
    (_, plate), = figures(dataset, ("trajectories",))  # fmt: skip
    titles = [axes.get_title() for axes in plate.figure.axes if axes.get_title()]
    assert titles == [rf"$\beta$ = {(k + 1) ** 2}" for k in picked(14, 9)]
    assert len(titles) == 9
    assert titles[0].endswith("= 1")
    assert titles[-1].endswith("= 196")


def test_a_path_leaves_out_padding_and_what_was_not_reached():
    dataset = stored.stopped()
    dataset["tokens"].values[:, :, 20:] = np.nan
    part = path(dataset, {"beta": 1}, frames=100)
    assert part.x.shape == (7, 20, 3)
    assert np.isfinite(part.x).all()
    np.testing.assert_array_equal(part.time, dataset["time"].values[:7])


def test_values_are_written_for_readers():
    assert [written(v) for v in (np.float64(4), 1.39843, 7, "dot", 1e-5)] == [
        "4", "1.398", "7", "dot", r"$1 \times 10^{-5}$",
    ]  # fmt: skip
