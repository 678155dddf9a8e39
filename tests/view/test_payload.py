"""What a page is given: positions to the grid they are rounded to, what is left out, and words."""

import base64

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import shown
import xarray as xr

import particles as pt
from particles.view import payload, source
from particles.view.packing import NOWHERE, grid, packed
from particles.view.setting import attention, numbers, species
from particles.view.thinning import thinning
from particles.view.words import plain


def unpacked(data, part, dtype="<i2"):
    return np.frombuffer(base64.b64decode(part), dtype)


def positions(data, member=0):
    """The positions of a payload in the units of the record, NaN where a token is nowhere."""
    tokens = data["tokens"]
    q = unpacked(data, data["members"][member]["positions"]).reshape(-1, tokens["count"], len(tokens["scale"]))
    x = np.asarray(tokens["offset"]) + np.asarray(tokens["scale"]) * q
    return np.where(q == NOWHERE, np.nan, x)


def made(dataset, **options):
    return payload(source(dataset), **options)


@pytest.mark.parametrize(
    ("space", "d", "mode"), [("Sphere", 2, "circle"), ("Sphere", 3, "sphere"), ("Euclidean", 1, "line")]
)
def test_positions_are_those_of_the_record_to_half_a_step(space, d, mode):
    dataset = shown.run(space=space, d=d)
    data = made(dataset)
    error = np.abs(positions(data) - dataset["tokens"].values).max(axis=(0, 1))
    assert data["tokens"]["mode"] == mode
    assert np.all(error <= 0.5001 * np.asarray(data["tokens"]["scale"]))  # rounding of the decoded product itself
    assert np.all(np.asarray(data["tokens"]["scale"]) < 2.0001 * np.ptp(dataset["tokens"].values) / 65534)


def test_the_check_of_positions_can_fail():
    dataset = shown.run()
    data = made(dataset)
    data["tokens"]["offset"][0] += data["tokens"]["scale"][0]
    error = np.abs(positions(data) - dataset["tokens"].values).max(axis=(0, 1))
    assert not np.all(error <= 0.5001 * np.asarray(data["tokens"]["scale"]))


def test_a_shadow_has_the_most_variance_and_says_how_much():
    dataset = shown.run(d=8)
    data = made(dataset)
    x = dataset["tokens"].values.reshape(-1, 8)
    values = np.linalg.svd(x - x.mean(axis=0), compute_uv=False) ** 2
    kept = positions(data).reshape(-1, 3).var(axis=0).sum() * len(x)
    assert kept == pytest.approx(values[:3].sum(), rel=1e-3)  # the grid's steps, 1/65534 of the range
    share = 100 * values[:3].sum() / values.sum()
    assert data["tokens"]["mode"] == "principal"
    assert any(f"{share:.1f} % together" in note for note in data["notes"])


def test_vectors_of_more_dimensions_are_kept_for_pairs():
    dataset = shown.run(d=8)
    vectors = made(dataset)["members"][0]["vectors"]
    q = unpacked(None, vectors["data"]).reshape(len(vectors["frames"]), 12, 8)
    x = np.asarray(vectors["offset"]) + np.asarray(vectors["scale"]) * q
    assert np.abs(x - dataset["tokens"].values[vectors["frames"]]).max() <= 0.5001 * max(vectors["scale"])


def test_tokens_that_are_nowhere_are_marked_and_others_are_not():
    dataset = shown.run()
    dataset["tokens"].values[5:] = np.nan
    dataset["tokens"].values[:, 3, 1] = np.inf
    data = made(dataset)
    found = np.isnan(positions(data)).all(axis=-1)
    assert np.array_equal(found, ~np.isfinite(dataset["tokens"].values).all(axis=-1))
    assert data["members"][0]["summary"][0] == f"Its tokens were followed to depth {dataset['time'].values[4]:.4g}."


def test_positions_very_far_out_are_left_out_and_it_is_said():
    dataset = shown.run(space="Euclidean")
    dataset["tokens"].values[-1] = 1e30
    data = made(dataset)
    assert np.isnan(positions(data)[-1]).all() and np.isfinite(positions(data)[:-1]).all()
    assert any("12 positions are farther than" in note for note in data["notes"])


def test_depth_is_thinned_before_tokens_and_both_are_stated():
    dataset = shown.run(n=40, frames=100)
    columns, room = 3, 40 * 50 * 3 * 2 * 4 / 3
    half = thinning(dataset, columns, room)
    assert (len(half.frames), len(half.tokens)) == (50, 40)
    assert half.frames[0] == 0 and half.frames[-1] == 99
    assert half.notes == ("Shown are 50 of 100 frames, evenly picked, so that the page stays small.",)
    little = thinning(dataset, columns, room / 10)
    assert (len(little.frames), len(little.tokens)) == (16, 12)
    assert "Shown are 12 of 40 tokens, evenly picked by number." in little.notes
    assert thinning(dataset, columns, 1e9).notes == ()


def test_a_page_stays_within_its_bytes():
    dataset = shown.run(n=2000, frames=60)
    data = made(dataset, most_bytes=600_000)
    size = len(data["members"][0]["positions"]) + len(data["members"][0]["fields"]["height"])
    assert 300_000 < size < 600_000
    assert data["time"]["frames"][-1] == 59 and len(data["time"]["frames"]) < 60
    assert np.allclose(data["time"]["values"], dataset["time"].values[data["time"]["frames"]])


def test_many_members_are_thinned_along_each_dimension():
    dataset = xr.Dataset({"a": (("seed", "beta", "time"), np.zeros((40, 30, 2)))}, coords={"time": [0.0, 1.0]})
    dataset = dataset.assign_coords(seed=np.arange(40), beta=np.arange(30.0))
    kept = thinning(dataset, 1, 1e9)
    assert np.prod([len(values) for values in kept.members.values()]) <= 256
    assert len(kept.notes) == 2 and kept.members["seed"][-1] == 39 and kept.members["beta"][-1] == 29


def test_clusters_keep_their_label_and_those_at_the_end_have_colors():
    data = made(shown.run(n=30, frames=20))
    tree = data["members"][0]["tree"]
    label = unpacked(None, tree["label"]).reshape(len(tree["frames"]), 30)
    assert len(set(label[-1])) == 3 == tree["clusters"][-1]
    assert {tree["color"][branch] for branch in label[-1]} == {0, 1, 2}
    assert all(len(set(label[-1][k::3])) == 1 for k in range(3))  # tokens with one end are together
    ends = label[-1][tree["order"]]
    assert np.count_nonzero(np.diff(ends)) == 2  # and stand together in the matrix


def test_a_sweep_has_its_members_in_order():
    dataset = shown.sweep()
    data = made(dataset)
    assert data["sweep"] == [{"name": "beta", "label": "β", "values": ["1", "4", "9"]}]
    for k in range(3):
        assert np.abs(positions(data, k) - dataset["tokens"].values[k]).max() < 1e-4
        curve = unpacked(None, data["members"][k]["curves"]["spread"], "<f4")
        assert np.allclose(curve, dataset["spread"].values[k], rtol=1e-6)


def test_numbers_for_each_token_are_there_to_be_colors():
    dataset = shown.run()
    data = made(dataset)
    [field] = data["fields"]
    q = unpacked(None, data["members"][0]["fields"]["height"]).reshape(9, 12)
    assert field["label"] == "height"
    assert np.abs(field["offset"][0] + field["scale"][0] * q - dataset["height"].values).max() <= field["scale"][0]


def test_species_are_read_from_the_law_and_the_start():
    cross = {"kind": "Cross", "queries": [0, 60], "keys": [60, 64]}
    assert species({"flow": {"law": {"kind": "Sum", "laws": [cross]}}}) == [60, 64]
    assert species({"start": {"kind": "Together", "parts": [{"tokens": 5}, {"tokens": 7}]}}) == [5, 12]
    assert species({"flow": {"law": {"kind": "Attention"}}}) == []


def test_weights_are_known_for_plain_attention_alone():
    dataset = shown.sweep()
    law = {"kind": "Attention", "score": {"kind": "DotProduct", "beta": 2.0}, "normalizer": {"kind": "Softmax"}}
    settings = {"flow": {"law": law}}
    assert attention(settings, dataset, {"beta": 9.0}) == {"score": "dot", "beta": 9.0, "causal": False}
    assert attention(settings, dataset, {})["beta"] == 2.0
    for slot, node in {"normalizer": {"kind": "Sinkhorn"}, "measure": {"kind": "Masses"}}.items():
        assert attention({"flow": {"law": law | {slot: node}}}, dataset, {}) is None
    with_map = law | {"score": {"kind": "DotProduct", "beta": 2.0, "query": 3.0}}
    assert attention({"flow": {"law": with_map}}, dataset, {}) is None


def test_tokens_that_were_kept_have_the_numbers_of_the_run():
    dataset = shown.run(n=4)
    dataset["tokens"].attrs["kept"] = "4 of 10 tokens, spread evenly by index"
    assert numbers(dataset, {"plan": {"tokens": 4}}) == [0, 3, 6, 9]


def held(x):
    """A run in memory with these tokens, `[time token dim]`."""
    one = jnp.asarray(1)
    return pt.Run(
        times=jnp.linspace(0.0, 1.0, len(x)),
        tokens=jnp.asarray(x),
        observed={"radius": jnp.asarray(np.linalg.norm(x, axis=-1).max(axis=-1))},
        final=jnp.asarray(x[-1]),
        depth=jnp.asarray(1.0),
        status=one,
        steps=one,
        rejected=one,
    )


def test_a_run_in_memory_is_shown_on_the_sphere_its_tokens_lie_on():
    _, x = shown.gathering(frames=4)
    data = made(held(2.0 * x))
    assert data["tokens"]["mode"] == "sphere" and data["tokens"]["radius"] == pytest.approx(2.0)
    assert data["notes"][0].startswith("All tokens are 2 from the origin")
    assert np.abs(positions(data) - 2.0 * x).max() < 1e-4
    _, x = shown.gathering(frames=4, space="Euclidean")
    assert made(held(x))["tokens"]["mode"] == "space"


def test_a_batch_of_runs_is_a_sweep():
    x = np.stack([shown.gathering(frames=3, seed=k)[1] for k in range(2)])
    data = made(jax.tree.map(lambda *leaves: jnp.stack(leaves), held(x[0]), held(x[1])))  # as vmap gives it
    assert data["sweep"] == [{"name": "batch", "label": "batch", "values": ["0", "1"]}]
    assert np.abs(positions(data, 1) - x[1]).max() < 1e-4


def test_a_grid_of_nothing_is_a_grid():
    still = grid([np.full((2, 3, 1), 0.7)])
    assert unpacked(None, still.pack(np.full((1, 1), 0.7)))[0] == 0 and still.offset[0] == 0.7
    assert np.isfinite(grid([np.full((2, 1), np.nan)]).offset).all()
    assert np.isinf(unpacked(None, packed([1e300], "<f4"), "<f4")[0])


def test_symbols_are_letters():
    assert plain(r"$\beta$") == "β" and plain("$g_0$") == "g₀" and plain(r"$\mathrm{erank}$") == "erank"
