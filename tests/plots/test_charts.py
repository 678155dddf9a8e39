"""Charts: what a record describes is what is drawn of it."""

import numpy as np
import pytest
import xarray as xr
from matplotlib.colors import to_hex

from particles.chart import Curves, Map, fitted, written
from particles.plots import figures, save, styled, suitable

X = np.array([4.0, 16.0, 64.0])


def record(*panels, **more):
    """Measured numbers beside their theory, for two values of k, described by panels."""
    values, law = (
        np.array([[0.5, 0.25], [0.12, 0.07], [0.03, 0.02]]),
        np.array([[0.5, 0.24], [0.125, 0.06], [0.03, 0.015]]),
    )
    symbol = {"symbol": r"$\epsilon$"}
    variables = {
        "error": (("n", "k"), values, symbol | {"long_name": "measured"}),
        "law": (("n", "k"), law, symbol | {"long_name": "theory"}),
        "bound": ("n", 3 / X, symbol | {"long_name": "bound"}),
        "spread": (("n", "k"), 0.1 * values, {"long_name": "standard error"}),
        "plane": (("n", "k"), values, {"long_name": "share", "symbol": "$P$"}),
        "edge": ("n", [1.2, 1.5, 1.8], {"long_name": "transition"}),
    }
    coordinates = {"n": ("n", X, {"symbol": "$n$", "long_name": "tokens"}), "k": ("k", [1, 2], {"symbol": "$k$"})}
    words = {"name": "demo", "caption": "Demo.", "sources": "vuckovic2020mathematical", "chart": written(panels)}
    return xr.Dataset(variables | more, coordinates, words)


def drawn(*panels, **more):
    [(name, plate)] = figures(record(*panels, **more))
    assert name == "chart"
    with styled():
        plate.figure.draw_without_rendering()
    return plate


CURVES = Curves("n", ("error",), ("law",), ("bound",), "spread", by="k", log="xy", slopes=(-1.0, -1.0), title="errors")


def test_a_record_that_describes_a_chart_is_drawn_as_that():
    assert suitable(record(CURVES)) == ("chart",)
    plate = drawn(CURVES, Map("n", "k", "plane", ("edge",), log="x"))
    assert len(plate.figure.axes) == 3 and plate.title == "demo: chart"  # two panels and a colorbar
    assert plate.caption.startswith("Marks are measured") and plate.caption.endswith("Demo.")


def test_marks_are_measured_and_lines_are_theory_in_one_color():
    [axes] = drawn(CURVES).figure.axes
    lines = [line for line in axes.lines if len(line.get_xdata()) == len(X)]
    marks = [line for line in lines if line.get_linestyle() == "None" and line.get_marker() == "o"]
    theory = [line for line in lines if line.get_linestyle() == "-" and to_hex(line.get_color()) != to_hex("0.6")]
    bounds = [line for line in lines if line.get_linestyle() == "--"]
    assert (len(marks), len(theory), len(bounds)) == (2, 2, 1)
    assert [to_hex(m.get_color()) for m in marks] == [to_hex(t.get_color()) for t in theory]
    np.testing.assert_array_equal(marks[0].get_ydata(), [0.5, 0.12, 0.03])
    assert axes.get_xlabel() == "tokens $n$" and axes.get_xscale() == axes.get_yscale() == "log"
    assert [tick.get_text() for tick in axes.get_xticklabels()] == ["4", "16", "64"]
    words = [text.get_text() for text in axes.get_legend().get_texts()]
    assert words == ["$k$ = 1", "$k$ = 2", "measured", "theory", "bound", "slope -1"]


def test_a_guide_goes_through_the_last_point_of_its_curve():
    [axes] = drawn(CURVES).figure.axes
    guides = [line.get_ydata() for line in axes.lines if to_hex(line.get_color()) == to_hex("0.6")]
    np.testing.assert_allclose(guides, [0.03 * 64 / X, 0.02 * 64 / X])


def test_theory_may_stand_on_a_finer_grid():
    fine = {"fine": ("finer", np.linspace(4, 64, 50)), "smooth": ("finer", np.linspace(1, 0, 50))}
    [axes] = drawn(Curves("n", ("bound",), ("smooth",), along="fine"), **fine).figure.axes
    assert sorted(len(line.get_xdata()) for line in axes.lines) == [3, 50]


def test_what_has_no_place_is_left_out():
    lost = {"bound": ("n", [1.0, np.inf, np.nan], {"long_name": "lost"})}
    [axes] = drawn(Curves("n", ("bound",), log="y"), **lost).figure.axes
    assert np.isfinite(axes.lines[0].get_ydata()).sum() == 1


def test_a_fitted_slope_is_that_of_the_marks_and_stands_in_the_legend():
    x = np.geomspace(4, 64, 5)
    assert fitted(x, 3 * x**-0.5) == pytest.approx(-0.5)
    assert fitted(x, np.append(3 * x[:-1] ** -2.0, np.nan)) == pytest.approx(-2.0)
    assert np.isnan(fitted(x[:1], x[:1])) and np.isnan(fitted(x, 0 * x))
    found = np.array([fitted(X, values) for values in np.array([[0.5, 0.12, 0.03], [0.25, 0.07, 0.02]])])
    more = {"slope": ("k", found)}
    [axes] = drawn(Curves("n", ("error",), by="k", log="xy", fits=("slope",)), **more).figure.axes
    lines = [line for line in axes.lines if str(line.get_label()).startswith("slope")]
    assert [line.get_label() for line in lines] == [f"slope {one:.2f} fitted" for one in found]
    for line, one in zip(lines, found, strict=True):
        (x0, x1), (y0, y1) = line.get_data()
        assert np.log(y1 / y0) / np.log(x1 / x0) == pytest.approx(one)
    y = lines[0].get_ydata()
    assert np.sqrt(y[0] * y[1]) == pytest.approx((0.5 * 0.12 * 0.03) ** (1 / 3))  # the middle of the marks
    assert "slope -1.01 fitted" in [text.get_text() for text in axes.get_legend().get_texts()]


def test_a_path_over_a_plane_ends_in_a_filled_point():
    way = {"east": ("step", [4.0, 20.0, 60.0]), "north": ("step", [1.0, 1.5, 2.0])}
    axes = drawn(Map("n", "k", "plane", path=("east", "north")), **way).figure.axes[0]
    line, start, end = axes.lines
    np.testing.assert_array_equal(line.get_xdata(), way["east"][1])
    np.testing.assert_array_equal(line.get_ydata(), way["north"][1])
    assert (start.get_markerfacecolor(), end.get_markerfacecolor()) == ("none", "white")
    assert (start.get_xdata()[0], end.get_xdata()[0]) == (4.0, 60.0)


def test_a_missing_variable_and_a_record_without_chart_are_refused():
    with pytest.raises(ValueError, match=r"needs \['nothing'\], which it does not hold"):
        figures(record(Curves("n", ("nothing",))), ("chart",))
    with pytest.raises(ValueError, match="for records that describe one"):
        figures(xr.Dataset({"x": ("n", X)}), ("chart",))


def test_the_same_record_gives_the_same_bytes(tmp_path):
    for attempt in "ab":
        save(drawn(CURVES), tmp_path / f"{attempt}.png")
    assert (tmp_path / "a.png").read_bytes() == (tmp_path / "b.png").read_bytes()
