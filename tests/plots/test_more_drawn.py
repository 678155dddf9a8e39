"""What is on the paper is what is in the dataset: attention, densities, ellipses, events."""

import numpy as np
import pytest
import stored
from matplotlib.collections import LineCollection, PathCollection, QuadMesh
from matplotlib.patches import Ellipse

from particles.analysis import merge_tree
from particles.plots import AttentionGraph, AttentionMatrix, Density, Ellipses, Observables, styled
from particles.plots.paths import paths
from particles.plots.views import views


def drawn(figure, dataset):
    assert figure.refusal(dataset) is None
    with styled():
        return figure.draw(dataset)


def images(figure):
    return [axes.images[0].get_array() for axes in figure.axes if axes.images]


def test_a_matrix_is_the_stored_weights_with_who_attends_along_the_rows():
    dataset = stored.attending()
    dataset["attention"].values[0, 0, 1, 5] = 0.9  # no order hides that this is not symmetric
    w = dataset["attention"].values
    shown = images(drawn(AttentionMatrix(panels=2, ordered=False), dataset))
    assert len(shown) == 4  # two heads at the first and the last depth
    for found, expected in zip(shown, (w[0, 0], w[-1, 0], w[0, 1], w[-1, 1]), strict=True):
        np.testing.assert_allclose(found, np.maximum(expected, 0.01 / 8))
    assert shown[0][1, 5] == 0.9 != shown[0][5, 1]


def test_clusters_are_blocks_unless_the_order_means_something():
    dataset = stored.attending(n=12)
    last = images(drawn(AttentionMatrix(), dataset))[3]
    token = dataset["tokens"].values[-1]
    together = (token @ token.T)[np.triu_indices(12, 1)] > 0.9
    near = lambda w: w[range(11), range(1, 12)].mean()  # noqa: E731
    plain = images(drawn(AttentionMatrix(ordered=False), dataset))[3]
    assert together.any() and near(last) > 2 * near(plain)
    causal = dataset.assign(attention=dataset["attention"].copy(data=np.tril(dataset["attention"].values)))
    np.testing.assert_array_equal(
        images(drawn(AttentionMatrix(), causal))[0], np.maximum(causal["attention"].values[0, 0], 0.01 / 12)
    )


def test_the_graph_joins_the_strongest_pairs_where_the_tokens_are():
    dataset = stored.attending()
    axes = drawn(AttentionGraph(panels=1, edges=5), dataset).axes[0]
    last = dataset.sizes["time"] - 1 if axes.get_title() != "$t$ = 0" else 0
    w = dataset["attention"].values[last].mean(axis=0)
    strength = np.maximum(w, w.T)[np.triu_indices(8, 1)]
    strongest = np.stack(np.triu_indices(8, 1))[:, np.argsort(strength)[-5:]].T
    (path,) = paths(dataset, 1, 9)
    (view,) = views(dataset, [path])
    places = view.place(path.time, path.x)[last]
    lines = [c for c in axes.collections if isinstance(c, LineCollection) and c.get_zorder() in (0.6, 2)]
    found = [np.asarray(one) for c in lines for one in c.get_segments()]
    assert len(found) == 5
    for pair in strongest:
        assert any(np.allclose(line, places[pair]) for line in found)
    assert sum(len(c.get_offsets()) for c in axes.collections if isinstance(c, PathCollection)) == 8


def test_a_density_is_the_histogram_of_the_angles_and_the_mean_field_is_drawn_over_it():
    dataset = stored.run(d=2)
    place = np.linspace(-np.pi, np.pi, 33)
    field = 1 + 0.5 * np.cos(place)[None] * np.linspace(0, 1, 15)[:, None]
    dataset = dataset.assign_coords(place=place).assign(mean_field=(("time", "place"), field))
    figure = drawn(Density(bins=16, curves=2), dataset)
    (mesh,) = [c for c in figure.axes[0].collections if isinstance(c, QuadMesh)]
    x = dataset["tokens"].values
    for k in (0, 7, 14):
        angle = np.arctan2(x[k, :, 1], x[k, :, 0])
        expected = np.histogram(angle, 16, (-np.pi, np.pi), density=True)[0] * 2 * np.pi  # uniform: 1
        np.testing.assert_allclose(mesh.get_array()[:, k], expected)
    lines = [line.get_ydata() for line in figure.axes[1].lines]
    np.testing.assert_allclose(lines, field[[0, -1]])
    assert "black lines are the mean-field density" in Density().caption(dataset)


def test_an_ellipse_has_the_axes_of_the_covariance():
    rng = np.random.default_rng(0)
    cloud = rng.normal(size=(200, 2)) @ np.array([[2.0, 0], [1.0, 0.5]]).T
    dataset = stored.stored(np.stack([cloud, 0.3 * cloud]), np.arange(2.0), "Euclidean")
    theory = np.stack([np.cov(cloud.T), np.eye(2)])
    dataset["covariance"] = (("time", "dim", "other"), theory)
    axes = drawn(Ellipses(deviations=2), dataset).axes[0]
    shown = [p for p in axes.patches if isinstance(p, Ellipse)]
    plain = [p for p in shown if p.get_linestyle() == "-"]
    for patch, x in zip(plain, (cloud, 0.3 * cloud), strict=True):
        np.testing.assert_allclose(patch.center, x.mean(axis=0))
        angle, half = np.radians(patch.angle), np.array([patch.width, patch.height]) / 2
        turn = np.array([[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]])
        np.testing.assert_allclose(turn @ np.diag(half**2) @ turn.T, 4 * np.cov(x.T, bias=True))
    assert len(shown) == 4 and [p.get_width() for p in shown if p.get_linestyle() == "--"][1] == pytest.approx(4)


def test_events_are_marked_where_the_merge_tree_has_them():
    angle = np.array([0.0, 0.02, 1.0, 2.0, 3.0])
    steps = [angle, angle * [1, 1, 0.05, 1, 1], angle * [1, 1, 0.05, 1, 0.67], angle * 0]
    x = np.stack([np.stack([np.cos(a), np.sin(a)], axis=-1) for a in steps])
    dataset = stored.stored(x, np.array([0.0, 1, 3, 4]))
    tree = merge_tree(dataset)
    dataset["clusters"] = ("time", tree.clusters.astype(float), {"long_name": "clusters"})
    dataset.attrs |= {"jumps": [0.25], "stops": [3.5]}
    axes = drawn(Observables(), dataset).axes[0]
    at = {dash: [line.get_xdata()[0] for line in axes.lines if line.get_linestyle() == dash] for dash in (":", "--")}
    assert at[":"] == sorted({tree.died[k].mean() for k in tree.mergers}) == [0.5, 2.0, 3.5]
    assert at["--"] == [0.25]
    words = Observables().caption(dataset)
    assert "dotted lines are mergers; dashed lines are jumps of the law; full lines are where a stop" in words
    assert all(line.get_linestyle() == "-" for line in drawn(Observables(events=False), dataset).axes[0].lines)
    assert "Upright" not in Observables(events=False).caption(dataset)
