"""What is on the paper is what is in the dataset."""

import matplotlib
import numpy as np
import pytest
import stored
from matplotlib.collections import PathCollection
from matplotlib.colors import to_hex, to_rgb

from particles.plots import CosineHistogram, Observables, Timelapse, Trajectories, styled
from particles.plots.cosines import cell_edges, densities
from particles.plots.palette import palette
from particles.plots.paths import curved, paths
from particles.plots.sight import facing
from particles.plots.strokes import depth_norm, strokes
from particles.plots.timelapse import moments
from particles.plots.views import Globe, Plane, principal, views


def drawn(figure, dataset):
    with styled():
        return figure.draw(dataset)


def bundles(axes):
    """The collections of strokes: those that are colored by depth."""
    return [c for c in axes.collections if isinstance(c, PathCollection) and c.get_array() is not None]


def segments(bundle):
    return np.concatenate([path.vertices for path in bundle.get_paths()]).reshape(-1, 2, 2)


def rows(array):
    """The rows of an array in an order of their own, so that two sets can be compared."""
    array = np.asarray(array).reshape(len(array), -1)
    return array[np.lexsort(array.T.round(9))]


def offsets(axes):
    points = [c for c in axes.collections if isinstance(c, PathCollection) and c.get_array() is None]
    return np.concatenate([np.asarray(c.get_offsets()) for c in points])


@pytest.mark.parametrize("space", ["Euclidean", "Ball"])
def test_in_the_plane_segments_are_the_tokens(space):
    dataset = stored.run(space=space, d=2)
    x = dataset["tokens"].values
    axes = drawn(Trajectories(), dataset).axes[0]
    (bundle,) = bundles(axes)
    np.testing.assert_allclose(segments(bundle)[:, 0].reshape(-1, 24, 2), x[:-1])
    np.testing.assert_allclose(segments(bundle)[:, 1].reshape(-1, 24, 2), x[1:])
    np.testing.assert_allclose(rows(offsets(axes)), rows(np.concatenate([x[0], x[-1]])))
    time = dataset["time"].values
    np.testing.assert_allclose(bundle.get_array(), (time[1:] + time[:-1]) / 2)
    assert [len(path.vertices) for path in bundle.get_paths()] == [2 * 24] * (len(time) - 1)


def test_on_the_sphere_each_stroke_is_on_the_side_of_its_view_depth():
    dataset = stored.run()
    (path,) = paths(dataset, 1, 100)
    (view,) = views(dataset, [path])
    assert isinstance(view, Globe)
    path = curved(dataset, path)
    x = path.x
    hidden, shown = bundles(drawn(Trajectories(), dataset).axes[0])
    height = ((x[:-1] + x[1:]) / 2 @ view.toward).ravel()
    assert (height < 0).any()
    assert (height >= 0).any()
    places = view.place(path.time, x)
    ends = np.stack([places[:-1], places[1:]], axis=-2).reshape(-1, 2, 2)
    np.testing.assert_allclose(segments(hidden), ends[height < 0])
    np.testing.assert_allclose(segments(shown), ends[height >= 0])
    assert hidden.get_zorder() < shown.get_zorder()
    # the far side is paler at every depth
    assert (hidden.cmap(np.linspace(0, 1, 9))[:, :3] > shown.cmap(np.linspace(0, 1, 9))[:, :3] - 1e-9).all()


def test_tokens_that_never_move_are_diamonds_and_said_to_be():
    time, x = stored.gathering()
    x[:, 3] = x[0, 3]
    dataset = stored.stored(x, time)
    (path,) = paths(dataset, 1, 100)
    assert list(np.flatnonzero(path.still())) == [3]
    axes = drawn(Trajectories(), dataset).axes[0]
    points = [c for c in axes.collections if isinstance(c, PathCollection) and c.get_array() is None]
    grays = [to_rgb("0.2"), to_rgb("0.75")]  # on the near side, and on the far one
    (diamond,) = [c for c in points if len(c.get_facecolor()) and tuple(c.get_facecolor()[0, :3]) in grays]
    assert len(diamond.get_paths()[0].vertices) == 5  # a square; a circle has more
    (view,) = views(dataset, [path])
    np.testing.assert_allclose(diamond.get_offsets(), view.place(path.time[-1:], path.x[-1:])[0, 3:4])
    assert "Diamonds" in Trajectories().shows(dataset) and "Diamonds" in Timelapse().shows(dataset)
    moving = stored.stored(*stored.gathering()[::-1])
    assert not paths(moving, 1, 100)[0].still().any() and "Diamonds" not in Trajectories().shows(moving)
    x[5, 3] = np.nan
    assert not paths(stored.stored(x, time), 1, 100)[0].still().any()
    resting = stored.stored(np.tile(x[:1], (len(time), 1, 1)), time)
    assert not paths(resting, 1, 100)[0].still().any()


def test_an_orthographic_projection_keeps_what_it_should():
    globe = Globe(np.array([0.6, 0.0, 0.8]), 1.0)

    def place(p):
        return globe.place(np.zeros(1), np.array([[p]], float))[0, 0]

    np.testing.assert_allclose(place([0.6, 0, 0.8]), [0, 0], atol=1e-15)  # toward the reader: the middle
    np.testing.assert_allclose(place([0, 1, 0]), [1, 0], atol=1e-15)  # right
    assert place([0, 0, 1])[1] > 0
    assert place([0, 0, 1])[0] == 0
    x = stored.gathering()[1]
    square = (globe.place(np.zeros(15), x) ** 2).sum(-1) + (x @ globe.toward) ** 2
    np.testing.assert_allclose(square, 1)


def test_ends_are_seen_from_where_we_look():
    """One gathering anywhere, also at a pole, faces the reader; looking from its antipode, the check fails."""
    for end in ([0, 0, 1.0], [0, 0, -1.0], [1.0, 0, 0], [-0.6, 0.8, 0]):
        x = np.stack([stored.gathering()[1][0], np.tile(end, (24, 1))])
        dataset = stored.stored(x, np.array([0.0, 1.0]))
        toward = facing(paths(dataset, 1, 9))
        assert toward @ end > 0.19  # the belt ends 12 degrees from the equator and 40 from a pole: sin 12 = 0.2
        assert abs(np.linalg.norm(toward) - 1) < 1e-12
        assert not -toward @ end > 0.19


def test_an_angle_that_wraps_leaves_no_vertical_line_and_no_gap():
    turn = np.linspace(0, 4 * np.pi, 41) + 0.1
    x = np.stack([np.cos(turn), np.sin(turn)], axis=-1)[:, None]
    dataset = stored.stored(x, np.linspace(0, 1, 41))
    angle, ring = drawn(Trajectories(), dataset).axes[:2]
    (bundle,) = bundles(angle)
    step = np.diff(segments(bundle)[..., 1], axis=1).ravel()
    np.testing.assert_allclose(step, 0.1 * np.pi)
    assert len(step) == 40 + 2  # the two that cross are drawn at both edges
    tops = segments(bundle)[:, 1, 1]
    assert (tops > np.pi).any()
    assert (segments(bundle)[:, 0, 1] < -np.pi).any()
    np.testing.assert_allclose(segments(bundles(ring)[0])[3::4, 1], x[1:, 0], atol=1e-12)  # arcs of 0.314 in four


@pytest.mark.parametrize("d", [2, 3])
def test_on_a_sphere_a_path_between_frames_is_an_arc(d):
    """From one end of a great circle nearly to the other; a straight line would cut through the middle."""
    turn = np.array([0.0, 3.0, 3.01])
    x = 2.0 * np.stack([np.cos(turn), np.sin(turn), 0 * turn][:d], axis=-1)[:, None]
    dataset = stored.stored(x, turn).assign_attrs(radius=2.0)
    (path,) = paths(dataset, 1, 9)
    fine = curved(dataset, path)
    np.testing.assert_allclose(np.linalg.norm(fine.x, axis=-1), 2.0)
    middle = np.linalg.norm(fine.x[1:] + fine.x[:-1], axis=-1) / 2
    assert middle.min() > 1.9 and np.linalg.norm(x[0] + x[1]) / 2 < 0.2
    kept = np.isin(fine.time, path.time)
    np.testing.assert_allclose(fine.x[kept], path.x)
    plane = stored.stored(x, turn, "Euclidean")
    assert curved(plane, path) is path


def test_a_long_wait_is_seen_on_logarithmic_depth():
    x = stored.gathering()[1][..., :2]
    x /= np.linalg.norm(x, axis=-1, keepdims=True)
    quick, long = np.linspace(0, 4, len(x)), np.concatenate([[0], np.geomspace(0.01, 1e4, len(x) - 1)])
    for time, scale in ((quick, "linear"), (long, "symlog")):
        axes = drawn(Trajectories(), stored.stored(x, time)).axes[0]
        assert axes.get_xscale() == scale and axes.get_xlabel() == "depth $t$"


def test_in_one_dimension_the_value_is_drawn_against_depth():
    dataset = stored.run(space="Euclidean", d=1)
    axes = drawn(Trajectories(), dataset).axes[0]
    ends = segments(bundles(axes)[0])[:, 1].reshape(-1, 24, 2)
    np.testing.assert_allclose(ends[..., 1], dataset["tokens"].values[1:, :, 0])
    np.testing.assert_allclose(ends[:, 0, 0], dataset["time"].values[1:])
    assert axes.get_xlabel() == "depth $t$"


def test_principal_directions_find_the_plane_that_the_tokens_are_in():
    generator = np.random.default_rng(1)
    basis = np.linalg.qr(generator.normal(size=(6, 6)))[0][:, :2]
    x = generator.normal(size=(200, 2)) * [3, 1] @ basis.T
    directions, shares = principal(x)
    assert shares[:2].sum() == pytest.approx(1)
    assert shares[0] > 0.8
    np.testing.assert_allclose(directions[:2] @ basis @ basis.T, directions[:2], atol=1e-9)
    np.testing.assert_allclose(directions @ directions.T, np.eye(3), atol=1e-12)
    assert all(row[np.abs(row).argmax()] > 0 for row in directions)


def test_tokens_that_are_not_finite_are_left_out_and_the_rest_is_drawn():
    dataset = stored.blown_up()
    (part,) = paths(dataset, 1, 100)
    view = views(dataset, [part])[0]
    assert isinstance(view, Plane)
    assert len(strokes(view, part).ends) == 14 * 24 - 1
    values = drawn(Observables(), dataset).axes[0].lines[0].get_ydata()
    np.testing.assert_array_equal(values, np.append(dataset["energy"].values[:-2], [np.nan, np.nan]))


def test_colors_go_to_where_the_motion_is():
    early, late = paths(stored.run(), 1, 100)[0], paths(stored.still(), 1, 100)[0]
    assert depth_norm([late])(2.0) == pytest.approx(0.5)  # no motion: linear; the last depth is 4
    half = np.interp(0.5 * early.motion()[-1], early.motion(), early.time)
    assert depth_norm([early])(half) == pytest.approx(0.5, abs=0.08)  # up to the distance of two frames
    assert [float(depth_norm([early])(t)) for t in (0.0, 4.0)] == [0, 1]


def test_a_timelapse_has_the_first_and_last_depth_and_equal_motion_between():
    time = np.linspace(0, 1, 101)
    x = np.stack([np.minimum(10 * time, 1), 0 * time], axis=-1)[:, None]  # moves in the first tenth only
    dataset = stored.stored(x, time, "Euclidean")
    (part,) = paths(dataset, 1, 400)
    frames = moments(part, 6)
    assert frames[0] == 0
    assert frames[-1] == 100
    np.testing.assert_allclose(np.diff(part.motion()[frames]), 0.2, atol=1e-12)
    even = np.linspace(0, 100, 6).astype(int)
    assert not np.allclose(np.diff(part.motion()[even]), 0.2)  # evenly spaced depths would miss it
    figure = drawn(Timelapse(), dataset)
    titles = [a.get_title() for a in figure.axes if a.get_title()]
    assert titles == [f"$t$ = {time[k]:.3g}" for k in frames]
    np.testing.assert_allclose([offsets(a)[0] for a in figure.axes[:6]], x[frames, 0])


def test_curves_are_the_values_and_a_member_keeps_its_color():
    dataset = stored.sweep(4)
    figure = drawn(Observables(), dataset)
    for axes, name in zip(figure.axes, ("energy", "radius"), strict=False):
        assert len(axes.lines) == 4
        for line, values in zip(axes.lines, dataset[name].values, strict=True):
            np.testing.assert_array_equal(line.get_xdata(), dataset["time"].values)
            np.testing.assert_array_equal(line.get_ydata(), values)
        assert axes.get_ylabel() == dataset[name].attrs["symbol"]
    colors = [[line.get_color() for line in axes.lines] for axes in figure.axes[:2]]
    assert colors[0] == colors[1]
    assert len(set(colors[0])) == 4
    assert [t.get_text() for t in figure.legends[0].get_texts()] == [rf"$\beta$ = {k}" for k in (1, 4, 9, 16)]


def test_numbers_run_from_dark_to_light_and_kinds_have_colors_of_their_own():
    numbers, kinds = stored.sweep(4), stored.sweep(4).assign_coords(beta=["Post", "Pre", "Peri", "Mix"])
    with styled():
        pens, own = ([palette(one).pen({"beta": k})["color"] for k in range(4)] for one in (numbers, kinds))
        cycle = matplotlib.rcParams["axes.prop_cycle"].by_key()["color"]
        light = [[0.2126, 0.7152, 0.0722] @ np.array(to_rgb(color)) for color in pens]
        assert np.all(np.diff(light) > 0.05)
        assert [to_hex(color) for color in own] == [to_hex(color) for color in cycle[:4]]


def test_many_members_have_a_colorbar_and_no_legend():
    figure = drawn(Observables(), stored.sweep(14, frames=3))
    assert not figure.legends
    assert figure.axes[-1].get_ylabel() == r"$\beta$"


def test_replicates_have_no_color_of_their_own():
    figure = drawn(Observables(), stored.grid())
    assert len(figure.axes[0].lines) == 6
    assert len({line.get_color() for line in figure.axes[0].lines}) == 3


def test_logarithmic_depth_starts_at_the_first_positive_depth():
    dataset = stored.run()
    axes = drawn(Observables(log_depth=True), dataset).axes[0]
    assert axes.get_xscale() == "log"
    assert axes.get_xlim()[0] == pytest.approx(dataset["time"].values[1])


def test_depth_is_logarithmic_where_frames_are():
    dataset = stored.run()
    assert drawn(Observables(), dataset).axes[0].get_xscale() == "linear"
    spread = dataset.assign_coords(time=np.append(0, np.geomspace(0.1, 1e3, dataset.sizes["time"] - 1)))
    assert drawn(Observables(), spread).axes[0].get_xscale() == "log"
    assert drawn(Observables(log_depth=False), spread).axes[0].get_xscale() == "linear"


def test_the_density_of_cosines_is_that_of_the_pairs():
    x = np.array([[[1.0, 0], [0, 2], [3, 0], [0, 0]]])  # pairs: 0, 1, 0; the origin is in none
    dataset = stored.stored(x, np.zeros(1), "Euclidean")
    (part,) = paths(dataset, 1, 9)
    density = densities(part, 4, 99)[0]
    np.testing.assert_allclose(density, [0, 0, 2 / 3 * 2, 1 / 3 * 2])
    many = paths(stored.run(), 1, 99)[0]
    np.testing.assert_allclose(densities(many, 20, 99).sum(axis=1) * 2 / 20, 1)


def test_the_image_of_cosines_has_the_depths_and_densities():
    dataset = stored.run()
    axes = drawn(CosineHistogram(bins=10), dataset).axes[0]
    image = axes.collections[0].get_array()
    unit = dataset["tokens"].values
    for k in (0, 7, 14):
        pairs = (unit[k] @ unit[k].T)[np.triu_indices(24, 1)]
        np.testing.assert_allclose(image[:, k], np.histogram(pairs, 10, (-1, 1), density=True)[0], atol=1e-12)
    assert axes.get_ylim() == (-1, 1)
    assert axes.get_xlim() == (0, 4)


def test_a_subsample_of_tokens_is_evenly_spaced():
    (part,) = paths(stored.run(), 1, 99)
    whole = densities(part.__class__(title="", time=part.time, x=part.x[:, [0, 12, 23]]), 20, 99)
    np.testing.assert_array_equal(densities(part, 20, 3), whole)


def test_cells_surround_their_depths():
    np.testing.assert_allclose(cell_edges(np.array([0.0, 1, 3])), [0, 0.5, 2, 3])
    np.testing.assert_allclose(cell_edges(np.array([2.0])), [1.5, 2.5])


def test_only_a_quantity_declared_positive_gets_a_logarithmic_axis():
    dataset = stored.run()
    time = dataset.sizes["time"]
    for positive, scale in ((True, "log"), (False, "linear")):
        dataset["energy"] = ("time", np.logspace(-3, 3, time), {"positive": positive})
        axes = {a.get_title(): a for a in drawn(Observables(), dataset).axes}["energy"]
        assert axes.get_yscale() == scale
