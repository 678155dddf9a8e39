"""The figure of a merge tree: no line crosses another, widths are masses, and what is seen is what is stored."""

import json

import numpy as np
import pytest
import stored
from matplotlib.collections import LineCollection, QuadMesh
from matplotlib.colors import to_rgba

from particles.analysis import branches
from particles.plots import ClusterTree, styled
from particles.plots.branches import in_place, in_rows, rows
from particles.spaces import Euclidean

SPACE = Euclidean()


def merging(n=24, frames=80, seed=0):
    """Tokens on the line that meet in a random order, and never part."""
    generator = np.random.default_rng(seed)
    leader = [0, *(int(generator.integers(0, k)) for k in range(1, n))]
    meets = generator.uniform(1, frames, size=n)
    x = np.empty((frames, n))
    x[:, 0] = 0
    for k in range(1, n):
        meets[k] = min(meets[k], meets[leader[k]]) if leader[k] else meets[k]
        x[:, k] = 10.0 * k
    for frame in range(frames):
        for k in range(1, n):
            if frame >= meets[k]:
                x[frame, k] = x[frame, leader[k]]
    return np.arange(float(frames)), x[..., None]


def crossings(strokes):
    """How many upright steps cross a level line that is neither the branch's own nor ends there."""
    level = [s for s in strokes if not s.step]
    count = 0
    for step in (s for s in strokes if s.step):
        (t, a), (_, b) = step.points
        for line in level:
            (begin, y), (end, _) = line.points
            count += begin < t < end and min(a, b) < y < max(a, b)
    return count


@pytest.mark.parametrize("seed", range(4))
def test_in_a_tree_of_mergers_no_line_crosses_another(seed):
    tree = branches(SPACE, *merging(seed=seed), 1.0)
    assert len(tree.mergers) > 15
    chief = np.arange(12)
    height = rows(tree, chief)
    assert len(set(height)) == len(height)
    assert crossings(in_rows(tree, height)) == 0
    ordered = np.sort(height)
    assert np.diff(ordered).max() <= 1 + 1e-12
    assert crossings(in_rows(tree, np.arange(float(len(height))))) > 0  # in the order of their numbers


@pytest.mark.parametrize("seed", range(2))
def test_steps_lead_to_the_parent_between_two_frames_and_lines_carry_all_mass(seed):
    tree = branches(SPACE, *merging(seed=seed), 1.0)
    height = rows(tree, np.arange(len(tree.first)))
    strokes = in_rows(tree, height)
    steps = {s.branch: s for s in strokes if s.step}
    assert set(steps) == set(tree.mergers.tolist())
    for branch, step in steps.items():
        low, high = tree.died[branch]
        np.testing.assert_allclose(step.points[:, 0], (low + high) / 2)
        np.testing.assert_allclose(step.points[:, 1], height[[branch, tree.parent[branch]]])
    for t in (0.1, 20.2, 40.3, 78.9):
        across = [s for s in strokes if not s.step and s.points[0, 0] <= t < s.points[1, 0]]
        assert sum(s.mass for s in across) == pytest.approx(1)
        assert len(across) == tree.clusters[round(t)]


def test_a_birth_is_a_step_from_the_origin():
    frames = np.array([[0, 0.5, 1, 1.5], [0, 0.5, 3, 3.5], [0, 0.5, 3, 3.5]])[..., None]
    tree = branches(SPACE, np.arange(3.0), frames, 1.0)
    (step,) = [s for s in in_rows(tree, rows(tree, np.arange(2))) if s.step]
    assert (step.branch, step.birth) == (1, True)
    np.testing.assert_allclose(step.points[:, 0], 0.5)
    (slant,) = [s for s in in_place(tree, tree.representatives(SPACE, frames)[..., 0], np.inf) if s.birth]
    np.testing.assert_allclose(slant.points, [[0, 0.75], [1, 3.25]])


def test_on_the_circle_a_line_that_leaves_at_the_top_comes_in_below():
    angle = np.stack([np.linspace(3.0, 3.6, 13), np.linspace(-2.2, -2.6, 13)], axis=1)  # they meet at 3.7
    x = np.stack([np.cos(angle), np.sin(angle)], axis=-1)
    dataset = stored.stored(x, np.arange(13.0))
    figure = drawn(ClusterTree(delta=0.2), dataset)
    axes = figure.axes[0]
    assert axes.get_ylim() == (-np.pi, np.pi)
    segments = lines(axes).get_segments()
    assert all(np.abs(np.diff(one[:, 1])).max(initial=0) < 0.5 for one in segments)  # no vertical line
    first = [one for one in segments if one[0, 0] == 0 and abs(one[0, 1] - 3.0) < 1e-9]
    again = [one for one in segments if one[0, 0] == 0 and abs(one[0, 1] - 3.0 + 2 * np.pi) < 1e-9]
    assert len(first) == len(again) == 1
    height = again[0][:, 1] + 2 * np.pi
    np.testing.assert_allclose(height[:-1], angle[: len(height) - 1, 0], atol=1e-9)
    both = angle[len(height) - 1] + [0, 2 * np.pi]  # from there on they are one, between them
    np.testing.assert_allclose(height[-1], both.mean(), atol=1e-9)
    assert abs(np.diff(both)[0]) < 0.2


def drawn(kind, dataset):
    assert kind.refusal(dataset) is None
    with styled():
        return kind.draw(dataset)


def lines(axes):
    (found,) = [c for c in axes.collections if isinstance(c, LineCollection)]
    return found


def spread(time, x):
    """A dataset in the plane, where branches lie in rows."""
    return stored.stored(np.concatenate([x, 0 * x], axis=-1), time, "Euclidean")


def test_the_heaviest_line_is_the_widest_and_branches_beyond_the_most_lie_faint_in_a_fan():
    time, x = merging()
    dataset, tree = spread(time, x), branches(SPACE, time, x, 0.1)
    strokes = lines(drawn(ClusterTree(branches=5), dataset).axes[0])
    assert strokes.get_linewidths().max() == pytest.approx(5.0)
    faint = [color for color in strokes.get_edgecolors() if tuple(color) == to_rgba("0.75")]
    full = lines(drawn(ClusterTree(), dataset).axes[0])
    assert len(faint) > 10
    assert not [color for color in full.get_edgecolors() if tuple(color) == to_rgba("0.75")]
    top = [lines_.get_segments() for lines_ in (strokes, full)]
    high = [max(one[:, 1].max() for one in segments) for segments in top]
    assert high[0] < 5 + 0.15 * len(tree.first) < high[1] + 5


def test_depth_is_logarithmic_where_most_happens_early():
    time, x = merging()
    slow, quick = spread(time, x), spread(np.concatenate([[0], np.geomspace(0.01, 1e4, len(time) - 1)]), x)
    for dataset, scale in ((slow, "linear"), (quick, "symlog")):
        figure = drawn(ClusterTree(), dataset)
        assert [axes.get_xscale() for axes in figure.axes[:2]] == [scale] * 2
        assert figure.axes[0].get_xlim() == pytest.approx((0, dataset["time"].values[-1]))
    assert drawn(ClusterTree(log_depth=True), slow).axes[0].get_xscale() == "symlog"
    assert drawn(ClusterTree(log_depth=False), quick).axes[0].get_xscale() == "linear"


def test_below_is_the_number_of_clusters_at_every_distance_with_the_chosen_one():
    dataset = stored.run(space="Euclidean", d=2)
    axes = drawn(ClusterTree(delta=0.2, split=0.3), dataset).axes[1]
    (image,) = [c for c in axes.collections if isinstance(c, QuadMesh)]
    edges = image.get_coordinates()[:, 0, 1]
    x = dataset["tokens"].values
    for frame in (0, 7, 14):
        for cell in (20, 90, 140):
            delta = np.sqrt(edges[cell] * edges[cell + 1])
            near = np.linalg.norm(x[frame][:, None] - x[frame][None, :], axis=-1) < delta
            count = np.isclose(np.linalg.eigvalsh(np.diag(near.sum(1)) - near.astype(float)), 0, atol=1e-9).sum()
            assert image.get_array()[cell, frame] == count  # the kernel of the graph's Laplacian
    assert sorted({line.get_ydata()[0] for line in axes.lines}) == [0.2, 0.3]
    assert {text.get_text() for text in axes.texts} == {r"$\delta$", "split"}


def test_the_caption_states_the_distance_of_the_record_or_the_one_asked_for():
    dataset = stored.run()
    assert "single linkage at distance 0.1." in ClusterTree().caption(dataset)
    assert "at distance 0.25, and fall apart at 0.5." in ClusterTree(delta=0.25, split=0.5).caption(dataset)
    dataset["clusters"] = ("time", np.ones(dataset.sizes["time"]), {"parameters": json.dumps({"delta": 0.7})})
    assert "single linkage at distance 0.7." in ClusterTree().caption(dataset)
    assert "Shown are 9 of the 14 members" in ClusterTree().caption(stored.sweep(14, frames=3))
    assert "Shown are 2 of the 3 members" in ClusterTree().caption(stored.stopped())  # the third never began


@pytest.mark.parametrize(
    ("kind", "dataset", "message"),
    [
        (ClusterTree(), stored.numbers_only(), "needs stored tokens; set `plan.tokens = true`"),
        (ClusterTree(), stored.run(frames=1), "two tokens at two depths or more; use `trajectories`"),
        (ClusterTree(), stored.run(n=1), "two tokens at two depths or more; use `trajectories`"),
        (ClusterTree(tokens=20), stored.run(), "at most 20 tokens; got 24: raise `tokens`"),
        (ClusterTree(split=0.05), stored.run(), "`split` of the merge tree must be at least `delta`, 0.1; got 0.05"),
        (ClusterTree(), stored.run(space="Product"), "does not say enough of its space, Product"),
    ],
)
def test_refusals_name_what_would_help(kind, dataset, message):
    assert message in kind.refusal(dataset)


def test_members_of_a_sweep_are_panels_on_one_scale():
    figure = drawn(ClusterTree(), stored.sweep(4, frames=3, d=2))
    assert [axes.get_title() for axes in figure.axes] == [rf"$\beta$ = {k}" for k in (1, 4, 9, 16)]
    assert len({axes.get_xlim() for axes in figure.axes}) == 1
    assert all(len(axes.collections) == 1 for axes in figure.axes)
