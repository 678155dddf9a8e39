"""Single linkage and trees of clusters, against closed forms, SciPy, brute force and the depths of `limits.mergers`."""

import dataclasses
import itertools

import jax.numpy as jnp
import numpy as np
import pytest
import xarray as xr
from scipy.cluster.hierarchy import linkage
from scipy.sparse.csgraph import connected_components
from scipy.spatial.distance import pdist, squareform

import particles as pt
from particles import limits
from particles.analysis import branches, dendrogram, dendrograms, merge_tree, persistence
from particles.observables import labels

LINE, SPHERE = pt.Euclidean(), pt.Sphere()
RNG = np.random.default_rng(5)
ROUNDING = 1e-14  # a few operations on numbers of order one


def at(angles):
    return np.stack([np.cos(angles), np.sin(angles)], axis=-1)


def on_line(*frames):
    """Frames of tokens on the line, at depths 0, 1, 2, ..."""
    return np.arange(float(len(frames))), np.asarray(frames, float)[..., None]


def grown(frames, delta=1.0, **more):
    return branches(LINE, *on_line(*frames), delta, **more)


def parts(label):
    """A partition as sets of tokens."""
    return {frozenset(np.flatnonzero(label == one).tolist()) for one in set(np.asarray(label).tolist())}


def wandering(frames=30, n=12, pace=0.5, seed=2):
    """Tokens on a random walk in an interval, so that clusters merge and fall apart."""
    x = np.cumsum(np.random.default_rng(seed).normal(size=(frames, n), scale=pace), axis=0)
    return np.arange(float(frames)), (6 * np.sin(x))[..., None]


# one depth


@pytest.mark.parametrize(
    ("space", "x", "deaths"),
    [
        (LINE, [[0.0, 0.0], [0.6, 0.8]], [1.0]),
        (SPHERE, [[1.0, 0.0], [0.0, 1.0]], [np.pi / 2]),
        (LINE, np.eye(12), [np.sqrt(2)] * 11),
        (SPHERE, np.eye(12), [np.pi / 2] * 11),
        (LINE, np.arange(12.0)[::-1, None] * 0.25, [0.25] * 11),
        (SPHERE, at(np.arange(12) * np.pi / 6), [np.pi / 6] * 11),  # the last gap closes the circle and merges nothing
    ],
)
def test_two_points_simplices_and_chains_merge_where_they_must(space, x, deaths):
    x = np.asarray(x)
    np.testing.assert_allclose(persistence(space, x), deaths, atol=ROUNDING)
    found, n = dendrogram(space, x), len(x)
    assert found.clusters(np.array([deaths[0] * (1 - 1e-9), deaths[0] * (1 + 1e-9)])).tolist() == [n, 1]
    assert found.plateau().clusters == n


@pytest.mark.parametrize("space", [LINE, SPHERE])
def test_the_deaths_are_the_heights_of_scipys_single_linkage(space):
    x = RNG.normal(size=(40, 3))
    x = x / np.linalg.norm(x, axis=1, keepdims=True)
    apart = squareform(pdist(x))
    apart = 2 * np.arcsin(np.minimum(apart / 2, 1)) if space is SPHERE else apart
    found = dendrogram(space, x)
    np.testing.assert_allclose(found.distances, linkage(squareform(apart), "single")[:, 2], atol=ROUNDING)
    np.testing.assert_allclose(apart[tuple(found.pairs.T)], found.distances, atol=ROUNDING)
    for delta in (0.1, 0.2, 0.4):
        count, component = connected_components(apart < delta, directed=False)
        assert found.clusters(delta) == count
        assert parts(found.labels(delta)) == parts(component)
    assert not np.allclose(found.distances, linkage(squareform(apart), "complete")[:, 2], atol=0.1)


def test_a_cut_is_the_observables_clusters_also_for_a_chain_whose_gaps_tie():
    """Gaps of 0.1 that differ by rounding, half of them below 0.1: the two programs must agree on each."""
    order = RNG.permutation(40)
    x = (0.1 * np.arange(40.0))[order, None]
    found = dendrogram(LINE, x)
    for delta in (0.05, 0.1 * (1 - 1e-12), 0.1, 0.1 * (1 + 1e-12), 0.3):
        expected = np.asarray(labels(LINE, jnp.asarray(x), jnp.asarray(delta)))
        np.testing.assert_array_equal(found.labels(delta), expected)
        assert found.clusters(delta) == len(set(expected.tolist()))
    assert 1 < found.clusters(0.1) < 40  # rounding decides here, and decides the same


def test_deaths_are_stable():
    """No death moves by more than twice the largest displacement; once is not enough."""
    x = RNG.normal(size=(40, 3))
    step = RNG.normal(size=x.shape)
    step *= 0.05 / np.linalg.norm(step, axis=1, keepdims=True)
    moved = np.abs(persistence(LINE, x + step) - persistence(LINE, x)).max()
    assert moved <= 2 * 0.05 + ROUNDING
    pair, away = np.array([[0.0, 0.0], [1.0, 0.0]]), np.array([[-0.05, 0.0], [0.05, 0.0]])
    sharp = np.abs(persistence(LINE, pair + away) - persistence(LINE, pair)).max()
    assert sharp == pytest.approx(2 * 0.05, abs=ROUNDING)
    assert not sharp <= 1.5 * 0.05


def test_the_longest_plateau_counts_blobs_and_is_as_stable_as_it_says():
    x = np.repeat(np.array([[0.0, 0.0], [3.0, 0.0], [0.0, 3.0], [3.0, 3.0]]), 10, axis=0)
    x = x + 0.2 * RNG.normal(size=x.shape)
    plateau = dendrogram(LINE, x).plateau()
    assert plateau.clusters == 4
    step = RNG.normal(size=x.shape)
    step *= 0.99 * plateau.stability / np.linalg.norm(step, axis=1, keepdims=True)
    assert dendrogram(LINE, x + step).clusters(plateau.delta) == 4
    pair = np.array([[0.0, 0.0], [1.0, 0.0]])
    plateau = dendrogram(LINE, pair).plateau()
    assert (plateau.clusters, plateau.low, plateau.high, plateau.stability) == (2, 0.0, 1.0, 0.25)
    for share, clusters in ((0.99, 2), (1.01, 1)):  # toward each other: the bound is attained
        closer = pair + share * plateau.stability * np.array([[1.0, 0.0], [-1.0, 0.0]])
        assert dendrogram(LINE, closer).clusters(plateau.delta) == clusters


def test_one_cluster_is_an_answer_only_under_a_ceiling():
    x = 1e-6 * RNG.normal(size=(40, 3))
    assert dendrogram(LINE, x).plateau().clusters > 1
    assert dendrogram(LINE, x).plateau(ceiling=1.0).clusters == 1
    with pytest.raises(ValueError, match="`ceiling` must be at least the last merger"):
        dendrogram(LINE, x).plateau(ceiling=1e-9)
    with pytest.raises(ValueError, match="a lone token is one cluster at every distance"):
        dendrogram(LINE, x[:1]).plateau()


@pytest.mark.parametrize(
    ("x", "message"),
    [
        (np.zeros((0, 2)), "at least one token"),
        (np.zeros(3), r"expected tokens of shape \(tokens, dim\)"),
        (np.array([[0.0, np.nan], [0.0, 0.0]]), "a token is not finite"),
        (np.array([[1e300, 0.0], [-1e300, 0.0]]), "distance is not finite"),
    ],
)
def test_clouds_that_have_no_dendrogram_are_refused(x, message):
    with pytest.raises(ValueError, match=message):
        dendrogram(LINE, x)


# through depth

GATHERING = [
    [0.0, 0.5, 5.0, 9.0, 9.5, 9.9],
    [0.0, 0.5, 3.0, 9.0, 9.5, 9.9],
    [0.0, 0.5, 1.2, 9.0, 9.5, 9.9],
    [0.0, 0.5, 1.2, 5.0, 5.5, 5.9],
    [0.0, 0.5, 1.2, 2.0, 2.5, 2.9],
    [0.0, 0.5, 1.2, 2.0, 2.5, 2.9],
]


def test_a_tree_says_who_merged_into_whom_and_between_which_depths():
    tree = grown(GATHERING)
    assert tree.clusters.tolist() == [3, 3, 2, 2, 1, 1]
    assert tree.parent.tolist() == [-1, 0, 0]
    assert tree.origin.tolist() == [-1, -1, -1]
    assert tree.born.tolist() == [[0, 0]] * 3
    assert tree.died.tolist() == [[5, np.inf], [1, 2], [3, 4]]
    assert tree.persistence.tolist() == [[5, np.inf], [1, 2], [3, 4]]
    assert tree.size.tolist() == [6, 1, 3]
    assert tree.mergers.tolist() == [1, 2]
    assert tree.sizes()[:, 0].tolist() == [2, 2, 3, 3, 6, 6]
    np.testing.assert_allclose(tree.masses().sum(axis=1), 1)
    x = on_line(*GATHERING)[1]
    np.testing.assert_array_equal(tree.distances, [one.distances for one in dendrograms(LINE, x)])
    mean = tree.representatives(LINE, x)[..., 0]
    np.testing.assert_allclose(mean[[0, 3, 4], 0], [0.25, 1.7 / 3, 9.1 / 6])
    assert np.isnan(mean[2, 1])


def test_of_equally_old_branches_the_heavier_goes_on():
    """Three tokens meet three: by masses the second group is heavier, and goes on."""
    tree = grown(GATHERING, masses=np.array([1.0, 1, 1, 2, 2, 2]))
    assert tree.parent.tolist() == [2, 0, -1]
    np.testing.assert_allclose(tree.masses()[-2], [0, 0, 1])
    np.testing.assert_allclose(tree.representatives(LINE, on_line(*GATHERING)[1])[-1, 2, 0], (1.7 + 2 * 7.4) / 9)
    weightless = grown(GATHERING, masses=np.array([0.0, 0, 0, 1, 1, 1]))
    assert np.isfinite(weightless.representatives(LINE, on_line(*GATHERING)[1])[0]).all()


def test_an_older_branch_goes_on_though_it_is_lighter():
    frames = [[0, 0.5, 1, 1.5, 2, 9], [0, 0.5, 1, 3, 3.5, 9], [0, 0.5, 1, 8, 8.5, 9], [0, 0.5, 1, 8, 8.5, 9]]
    tree = grown(frames)
    assert tree.origin.tolist() == [-1, -1, 0]  # tokens 3 and 4 fall off from the five
    assert tree.born[2].tolist() == [0, 1]
    assert tree.parent.tolist() == [-1, -1, 1]  # and are absorbed by token 5, which was there before
    assert tree.label[-1].tolist() == [0, 0, 0, 1, 1, 1]


def test_tokens_that_change_over_make_no_branch_and_pieces_of_two_make_one():
    over = grown([[0, 0.5, 1, 5, 5.5, 6], [0, 0.5, 4.5, 5, 5.5, 6]])
    assert len(over.first) == 2
    assert over.sizes().tolist() == [[3, 3], [2, 4]]
    pieces = grown([[0, 0.5, 1, 5, 5.5, 6], [0, 0.5, 3, 3.5, 5.5, 6]])
    assert pieces.origin.tolist() == [-1, -1, 0]
    assert pieces.sizes().tolist() == [[3, 3, 0], [2, 2, 2]]


def held(time, x, delta, split):
    """P_k = C_delta or (P_(k-1) and C_split), from matrices of distances."""
    partitions = []
    for frame in x[..., 0]:
        apart = np.abs(frame[:, None] - frame[None, :])
        near, far = (connected_components(apart < limit, directed=False)[1] for limit in (delta, split))
        graph = near[:, None] == near[None, :]
        if partitions:
            before = partitions[-1]
            graph |= (before[:, None] == before[None, :]) & (far[:, None] == far[None, :])
        partitions.append(connected_components(graph, directed=False)[1])
    return partitions


@pytest.mark.parametrize("split", [1.0, 1.6])
def test_branches_partition_the_tokens_as_they_should_at_every_frame(split):
    time, x = wandering()
    tree = branches(LINE, time, x, 1.0, split=split)
    for label, expected in zip(tree.label, held(time, x, 1.0, split), strict=True):
        assert parts(label) == parts(expected)
    births, deaths = np.zeros(len(time), int), np.zeros(len(time), int)
    np.add.at(births, tree.first[tree.origin >= 0], 1)
    np.add.at(deaths, tree.last[tree.parent >= 0] + 1, 1)
    np.testing.assert_array_equal(tree.clusters - tree.clusters[0], np.cumsum(births - deaths))
    alive = (tree.sizes() > 0).T
    for branch, seen in enumerate(alive):
        np.testing.assert_array_equal(np.flatnonzero(seen), np.arange(tree.first[branch], tree.last[branch] + 1))
    assert births.sum() > 5
    assert deaths.sum() > 5


def test_a_second_distance_keeps_a_gap_that_trembles_from_making_births_and_deaths():
    time = np.arange(40.0)
    gap = 1.0 + 0.05 * np.cos(2.4 * time)
    frames = [[0.0, one] for one in gap]
    plain, steady = grown(frames), grown(frames, split=1.2)
    assert (steady.origin >= 0).sum() == 0
    assert len(steady.mergers) == 1
    assert (plain.origin >= 0).sum() > 10  # without it
    np.testing.assert_array_equal(plain.clusters, 2 - (gap < 1))


def test_a_chain_whose_gaps_are_delta_to_rounding_comes_together_once_and_stays():
    x = np.arange(40.0) * (1 + 1e-13 * RNG.normal(size=(12, 1))) + 1e-13 * RNG.normal(size=(12, 40))
    x[0] *= 1.5
    tree, plain = grown(x, split=1 + 1e-9), grown(x)
    assert (tree.origin >= 0).sum() == 0
    assert np.all(np.diff(tree.clusters) <= 0)
    assert (plain.origin >= 0).sum() > 10


def test_the_order_of_tokens_does_not_matter_even_where_everything_ties():
    """Twelve tokens at equal gaps, of equal mass and age, that meet in pairs, fours and all."""
    start = np.arange(12.0) * 2
    pairs = start - 1.5 * (np.arange(12) % 2)
    fours = pairs - 2.8 * (np.arange(12) // 2 % 2)
    for time, x in (on_line(start, pairs, fours, fours / 10), wandering()):
        tree = branches(LINE, time, x, 1.0)
        order = RNG.permutation(12)
        other = branches(LINE, time, x[:, order], 1.0)
        for name in ("first", "last", "origin", "parent"):
            np.testing.assert_array_equal(getattr(other, name), getattr(tree, name))
        np.testing.assert_array_equal(other.label, tree.label[:, order])


def test_a_rotation_changes_the_numbers_of_branches_alone():
    """Where nothing ties, as with masses that are all different."""
    time = np.arange(30.0)
    x = RNG.normal(size=(12, 3)) + np.exp(0.1 * time)[:, None, None] * np.eye(3)[np.arange(12) % 3] - 1
    x = x / np.linalg.norm(x, axis=-1, keepdims=True)
    turn = np.linalg.qr(RNG.normal(size=(3, 3)))[0]
    masses = RNG.uniform(1, 2, size=12)
    tree, turned = (branches(SPHERE, time, one, 0.3, masses=masses) for one in (x, x @ turn))
    assert len(tree.mergers) > 5
    token = [np.flatnonzero(tree.label[frame] == k)[0] for k, frame in enumerate(tree.first)]
    number = np.append(turned.label[tree.first, token], -1)  # of each branch in the other tree; -1 stays -1
    np.testing.assert_array_equal(turned.label, number[tree.label])
    for name in ("first", "last"):
        np.testing.assert_array_equal(getattr(turned, name)[number[:-1]], getattr(tree, name))
    for name in ("origin", "parent"):
        np.testing.assert_array_equal(getattr(turned, name)[number[:-1]], number[getattr(tree, name)])
    mean, other = tree.representatives(SPHERE, x), turned.representatives(SPHERE, x @ turn)
    np.testing.assert_allclose(other[:, number[:-1]], mean @ turn, atol=ROUNDING)
    np.testing.assert_allclose(np.linalg.norm(mean[tree.sizes() > 0], axis=-1), 1)


def test_mergers_lie_between_the_frames_that_the_tree_says():
    """Depths found by halving to 1e-7 of the wait lie in the intervals; those of another beta do not."""
    x0, delta = jnp.asarray(at([0.0, 0.02, 1.0, 2.6])), 0.3
    flow = pt.Flow(SPHERE, pt.Attention(pt.DotProduct(6.0)))
    found = limits.mergers(flow, x0, 1e9, delta)
    depths = tuple(np.geomspace(0.1, 2 * found[-1].depth, 60))
    run = pt.solve(flow, x0, pt.Plan(depths[-1], save=depths, solver="Dopri8", rtol=1e-10, atol=1e-12)).complete()
    tree = branches(SPHERE, np.asarray(run.times), np.asarray(run.tokens), delta)
    assert len(tree.mergers) == len(found) == 2
    for branch, merger in zip(tree.mergers, found, strict=True):
        low, high = tree.died[branch]
        assert low <= merger.depth <= high < 1.2 * low
        assert not low <= 2 * merger.depth <= high
        assert parts(tree.label[tree.last[branch] + 1]) == parts(np.asarray(merger.labels))


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"frames": GATHERING[:1]}, "needs two frames or more, got 1; for one depth take `dendrogram`"),
        ({"frames": [[0.0], [1.0]]}, "needs two tokens or more, got 1"),
        ({"delta": 0.0}, "expected 0 < `delta` <= `split`"),
        ({"split": 0.5}, "expected 0 < `delta` <= `split`.*got delta=1 and split=0.5"),
        ({"masses": np.ones(5)}, "one mass for each of 6 tokens"),
        ({"masses": -np.ones(6)}, "must be finite, not negative"),
        ({"frames": [*GATHERING[:2], [np.nan] * 6]}, "a token is not finite"),
    ],
)
def test_what_has_no_tree_is_refused(change, message):
    with pytest.raises(ValueError, match=message):
        grown(**({"frames": GATHERING} | change))


def test_depths_must_increase_and_there_must_be_one_for_each_frame():
    time, x = on_line(*GATHERING)
    with pytest.raises(ValueError, match="must increase"):
        branches(LINE, time[::-1].copy(), x, 1.0)
    with pytest.raises(ValueError, match="at as many depths"):
        branches(LINE, time[1:], x, 1.0)


# records


@pytest.fixture(scope="module")
def record(tmp_path_factory):
    """A sweep over the radius of a sphere, which watches clusters at a distance of its own."""
    simulation = pt.Simulation(
        pt.starts.Uniform(8, 3),
        pt.Flow(SPHERE, pt.Attention(pt.DotProduct(4.0))),
        pt.Plan(2.0, save=10, watch=(pt.observables.Clusters(0.7),)),
        sweep={"flow.space.radius": (1.0, 2.0)},
    )
    return pt.simulate(simulation, path=tmp_path_factory.mktemp("run") / "run", progress=False)


def test_a_record_has_the_tree_of_its_tokens_at_its_own_distance_and_radius(record):
    for k, radius in enumerate((1.0, 2.0)):
        part = record.dataset.isel({"flow.space.radius": k})
        tree = merge_tree(part)
        assert tree.delta == 0.7
        np.testing.assert_array_equal(tree.clusters, part["clusters"].values)
        direct = branches(pt.Sphere(radius), part["time"].values, part["tokens"].values, 0.7)
        np.testing.assert_array_equal(tree.label, direct.label)
        np.testing.assert_array_equal(tree.distances, direct.distances)
    assert not np.allclose(merge_tree(part, space=SPHERE).distances, direct.distances, rtol=1e-2)
    assert merge_tree(part.drop_vars("clusters")).delta == float(pt.observables.Clusters().delta)
    with pytest.raises(ValueError, match=r"sweep over flow.space.radius; choose a run: .*isel\({'flow.space.ra"):
        merge_tree(record)


def stored(x, space="Euclidean", **attrs):
    coords = {"time": np.arange(float(len(x)))}
    return xr.Dataset({"tokens": (("time", "token", "dim"), x)}, coords, {"space": space} | attrs)


def test_padding_and_frames_that_were_not_reached_are_left_out():
    x = on_line(*GATHERING)[1]
    wide = np.full((8, 8, 1), np.nan)
    wide[:6, 1:7] = x
    wide[5, 3] = 1e300
    tree, plain = merge_tree(stored(wide), 1.0), grown(GATHERING[:5])
    assert tree.token.tolist() == [1, 2, 3, 4, 5, 6]
    assert dataclasses.replace(tree, token=plain.token).parent.tolist() == plain.parent.tolist()
    np.testing.assert_array_equal(tree.label, plain.label)
    weights = np.array([9.0, 1, 1, 1, 2, 2, 2, 9])
    heavier = merge_tree(stored(wide), 1.0, masses=weights)
    np.testing.assert_allclose(heavier.mass, weights[1:7] / 9)
    with pytest.raises(ValueError, match="one mass for each of 8 tokens"):
        merge_tree(stored(wide), 1.0, masses=weights[1:7])


def test_records_that_have_no_tree_say_why():
    dataset = stored(on_line(*GATHERING)[1])
    for part, message in (
        (dataset.drop_vars("tokens"), "holds no tokens; set `plan.tokens = true`"),
        (dataset.isel(time=slice(1)), "needs two frames or more, got 1"),
        (dataset.isel(token=slice(1)), "needs two tokens or more, got 1"),
        (dataset * np.nan, "needs two frames or more, got 0"),
        (stored(dataset["tokens"].values, "Product"), "does not say enough of its space, Product"),
        (stored(dataset["tokens"].values, "Sphere"), "does not say enough of its space, Sphere"),
        (stored(dataset["tokens"].values, "Torus"), "does not say enough of its space, Torus"),
    ):
        with pytest.raises(ValueError, match=message):
            merge_tree(part.assign_attrs(dataset.attrs | part.attrs))
    assert merge_tree(stored(dataset["tokens"].values, "Product"), 1.0, space=LINE).clusters.tolist() == [
        3, 3, 2, 2, 1, 1,
    ]  # fmt: skip


def test_small_clouds_agree_with_every_partition_by_chains():
    """Two tokens are together iff some order of the others makes a chain of gaps below delta."""
    x = RNG.normal(size=(5, 2))
    apart = np.linalg.norm(x[:, None] - x[None, :], axis=-1)
    for delta in (0.5, 1.0, 1.5):
        label = dendrogram(LINE, x).labels(delta)
        for i, j in itertools.combinations(range(5), 2):
            rest = [k for k in range(5) if k not in (i, j)]
            chains = (c for size in range(4) for c in itertools.permutations(rest, size))
            linked = any(all(apart[a, b] < delta for a, b in itertools.pairwise((i, *c, j))) for c in chains)
            assert linked == (label[i] == label[j])
