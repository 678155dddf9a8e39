"""Films: what is seen at a frame is what the record holds at its depth, and the file has the pictures it should."""

import json
import subprocess

import numpy as np
import pytest
import stored
from PIL import Image
from scipy.interpolate import PchipInterpolator

from particles.plots import styled
from particles.plots.depth import Depth, moving
from particles.plots.film import Film, animate, ffmpeg, length, target
from particles.plots.film.actors import HIDDEN, Cursor, Tokens
from particles.plots.film.hues import hues
from particles.plots.film.motion import between, on_space
from particles.plots.paths import path, paths
from particles.plots.views import Globe
from particles.spaces import Sphere

SMALL = Film(frames=5, fps=10, width=320)
"""A film that takes no time."""


def small(space="Sphere", d=3, frames=6, n=6):
    return stored.run(space=space, d=d, frames=frames, n=n)


def scene(film, dataset):
    """What moves in a film, with the depths of its frames."""
    clock = film.clock(dataset)
    depths = clock.spread(film.frames)
    with styled():
        cast = [film._role(dataset, at, clock, depths) for at in film._shown(dataset)]
        return (*film._scene(dataset, cast, clock, depths), depths, cast)


def test_the_clock_is_even_in_depth_or_in_its_logarithm():
    np.testing.assert_allclose(Depth(0.0, 8.0, None, "").spread(5), [0, 2, 4, 6, 8])
    found = Depth(0.0, 1e4, 0.1, "").spread(11)
    np.testing.assert_allclose(found, 0.1 * np.sinh(np.arange(11) / 10 * np.arcsinh(1e5)), rtol=1e-9)
    np.testing.assert_allclose(found[5:-1] / found[4:-2], 10**0.53, rtol=2e-3)  # arcsinh(1e5) / 10 = 1.22 = ln 10^0.53
    assert not np.allclose(np.diff(np.log(Depth(0.0, 1e4, None, "").spread(11)[1:])), np.log(10**0.53), rtol=0.1)


def test_the_clock_is_logarithmic_where_the_motion_is_early():
    time = np.concatenate([[0.0], np.geomspace(0.01, 100, 40)])
    angle = np.minimum(time, 1.0)[:, None] * np.array([1.0, -1.0])  # all motion in a hundredth of the depth
    early = stored.stored(np.stack([np.cos(angle), np.sin(angle)], axis=-1), time)
    even = stored.stored(np.stack([np.cos(angle), np.sin(angle)], axis=-1), np.linspace(0, 1, 41))
    late = even.assign_coords(time=time[-1] - time[::-1])
    floors = [moving(paths(d, 1, 99), "").floor for d in (early, even, late)]
    assert floors[0] == pytest.approx(0.05, abs=0.01)  # a twentieth of the motion
    assert floors[1:] == [None, None]
    assert moving(paths(late, 1, 99), "", True).floor is not None
    assert moving(paths(early, 1, 99), "", False).floor is None


def test_between_frames_tokens_follow_monotone_cubics_as_scipy_has_them():
    rng = np.random.default_rng(0)
    at, x = np.cumsum(rng.uniform(0.5, 2, 9)), rng.normal(size=(9, 4, 3))
    wanted = np.linspace(at[0], at[-1], 50)
    inner = (wanted >= at[1]) & (wanted <= at[-2])  # at the ends SciPy takes three points for a slope
    found = between(at, x, wanted)
    np.testing.assert_allclose(found[inner], PchipInterpolator(at, x)(wanted)[inner], atol=1e-12)
    np.testing.assert_array_equal(between(at, x, at), x)
    assert found.max() <= x.max() and found.min() >= x.min()


def test_between_frames_tokens_stay_on_the_sphere():
    dataset = small()
    time, x = dataset["time"].values, dataset["tokens"].values
    chords = between(time, x, np.linspace(0, time[-1], 23))
    assert np.abs(np.linalg.norm(chords, axis=-1) - 1).max() > 1e-3  # without the space they cut corners
    np.testing.assert_allclose(np.linalg.norm(on_space(Sphere(), chords), axis=-1), 1, atol=1e-12)


def test_a_token_that_is_lost_stays_where_it_was_last():
    x = np.zeros((3, 2, 2))
    x[:, 0, 0], x[2, 0] = [0, 1, 2], np.nan
    found = between(np.arange(3.0), x, np.array([0.5, 1.0, 1.25, 1.75, 2.0]))
    np.testing.assert_allclose(found[:3, 0, 0], [0.5, 1, 1], atol=0.2)
    assert found[2, 0, 0] == 1 and np.isnan(found[4, 0, 0])


def test_a_cluster_keeps_its_color_through_mergers_and_the_younger_takes_that_of_the_elder():
    steps = [[0, 0.02, 1, 1.02, 2, 2.02], [0, 0.02, 0.5, 1.02, 2, 2.02], [0, 0.02, 0.5, 0.48, 2, 2.02]]
    steps += [[0.2, 0.2, 0.2, 0.21, 2, 2], [1.0] * 6]
    angle = np.asarray([[step[0], *step] for step in steps])  # the first cluster is the heaviest
    dataset = stored.stored(np.stack([np.cos(angle), np.sin(angle)], axis=-1), np.arange(5.0))
    at, part = {}, path(dataset, {}, 99)
    with styled():
        found = hues(dataset, at, part, Depth(0.0, 4.0, None, ""), 0.1, 99)
    color = [["".join(f"{round(255 * c):02x}" for c in token) for token in frame] for frame in found.color]
    assert found.clusters.tolist() == [3, 4, 3, 2, 1]
    first, middle, last = color[0][0], color[0][3], color[0][5]
    assert len({first, middle, last}) == 3
    for frame in color[:4]:  # clusters that live from the beginning
        assert frame[:3] == [first] * 3 and frame[5:] == [last] * 2
    assert color[2][3:5] == [middle] * 2  # one token left for a moment and came back
    assert color[3] == [first] * 5 + [last] * 2
    assert color[4] == [first] * 7
    assert hues(dataset, at, part, Depth(0.0, 4.0, None, ""), 0.1, 5).clusters is None  # too many to be told apart


def test_tokens_are_where_the_record_says_and_the_far_side_is_fainter():
    dataset = small(frames=5)
    dataset = dataset.assign_coords(time=np.arange(5.0))
    film = Film(frames=5, depth="linear", width=320)  # the frames of the film are those of the record
    _, actors, depths, cast = scene(film, dataset)
    (tokens,) = [actor for actor in actors if isinstance(actor, Tokens)]
    best = tokens.side(4)
    for k in range(5):
        tokens.move(k, float(depths[k]))
        view = tokens.side(k)
        assert isinstance(view, Globe)
        x = dataset["tokens"].values[k]
        near = x @ view.toward >= 0
        places = view.place(depths[k : k + 1], x[None])[0]
        np.testing.assert_allclose(tokens.points[1].get_offsets(), places[near], atol=1e-9)
        np.testing.assert_allclose(tokens.points[0].get_offsets().reshape(-1, 2), places[~near], atol=1e-9)
        color = cast[0].hues.at(float(k))[0]
        np.testing.assert_allclose(tokens.points[1].get_facecolor()[:, :3], color[near])
        np.testing.assert_allclose(
            tokens.points[0].get_facecolor()[:, :3].reshape(-1, 3), 1 - HIDDEN * (1 - color[~near])
        )
    start = tokens.side(0)
    turned = np.arctan2(*best.toward[1::-1]) - np.arctan2(*start.toward[1::-1])
    assert np.mod(turned, 2 * np.pi) == pytest.approx(np.radians(60))
    assert best.toward[2] == pytest.approx(start.toward[2])


def test_a_trail_is_the_way_a_token_came():
    dataset = small("Euclidean", 2, 5).assign_coords(time=np.arange(5.0))
    _, actors, _, _ = scene(Film(frames=5, depth="linear", trail=2, width=320), dataset)
    (tokens,) = [actor for actor in actors if isinstance(actor, Tokens)]
    tokens.move(4, 4.0)
    ends = np.concatenate([one.vertices.reshape(-1, 2, 2) for one in tokens.trails[1].get_paths()])
    x = dataset["tokens"].values
    expected = np.stack([x[2:4], x[3:5]], axis=-2).reshape(-1, 2, 2)
    key = lambda lines: lines[np.lexsort(lines.reshape(len(lines), -1).T.round(9))]  # noqa: E731
    np.testing.assert_allclose(key(ends), key(expected), atol=1e-9)


def test_the_cursor_is_at_the_depth_and_its_points_on_the_curves():
    dataset = small()
    _, actors, _, _ = scene(SMALL, dataset)
    cursor = next(actor for actor in actors if isinstance(actor, Cursor))
    cursor.move(0, 1.0)
    assert cursor.line.get_xdata() == [1.0, 1.0]
    expected = np.interp(1.0, dataset["time"].values, dataset["energy"].values)
    np.testing.assert_allclose(cursor.points.get_offsets(), [[1.0, expected]])


@pytest.mark.parametrize(
    "sample", ["circle", "high sphere", "line", "one token", "stopped early", "blown up", "product", "sweep of lines"]
)
def test_every_dataset_with_tokens_has_a_film(sample):
    dataset = stored.SAMPLES[sample]()
    shots = list(Film(frames=3, width=320).pictures(dataset))
    assert [shot.shape for shot in shots] == [(180, 320, 3)] * 3
    assert all(shot.std() > 5 for shot in shots)
    assert (shots[0] != shots[2]).any()


def test_a_gif_has_its_frames_its_size_and_its_words(tmp_path):
    dataset = small()
    assert animate(dataset, tmp_path / "a.gif", SMALL) == tmp_path / "a.gif"
    with Image.open(tmp_path / "a.gif") as image:
        assert (image.n_frames, image.size, image.info["duration"]) == (5, (320, 180), 100)
        said = image.info["comment"].decode()
    assert said.startswith("demo: film\n6 tokens.") and "β = 4" in said and "vaswani2017attention" in said
    assert [entry.name for entry in tmp_path.iterdir()] == ["a.gif"]


@pytest.mark.skipif(ffmpeg() is None, reason="there is no ffmpeg")
def test_an_mp4_has_its_frames_its_size_and_its_words(tmp_path):
    animate(small(), tmp_path / "a.mp4", SMALL)
    asked = ["-v", "error", "-count_frames", "-show_streams", "-show_format", "-of", "json"]
    done = subprocess.run(["ffprobe", *asked, tmp_path / "a.mp4"], capture_output=True, text=True, check=True)
    said = json.loads(done.stdout)
    (stream,) = said["streams"]
    assert (stream["nb_read_frames"], stream["width"], stream["height"]) == ("5", 320, 180)
    assert (stream["avg_frame_rate"], stream["pix_fmt"]) == ("10/1", "yuv420p")
    tags = said["format"]["tags"]
    assert tags["title"] == "demo: film" and "β = 4" in tags["comment"]
    assert "vaswani2017attention" in tags["description"]


@pytest.mark.parametrize("suffix", ["gif", *(["mp4"] if ffmpeg() else [])])
def test_a_film_that_breaks_off_leaves_what_was_there(tmp_path, suffix, monkeypatch):
    place = tmp_path / f"a.{suffix}"
    place.write_bytes(b"before")

    def broken(*args):
        yield np.zeros((180, 320, 3), np.uint8)
        raise MemoryError("no more")

    monkeypatch.setattr(Film, "_pictures", broken)
    with pytest.raises(MemoryError, match="no more"):
        animate(small(), place, SMALL)
    assert [(entry.name, entry.read_bytes()) for entry in tmp_path.iterdir()] == [(place.name, b"before")]


@pytest.mark.parametrize(
    ("film", "dataset", "message"),
    [
        (SMALL, stored.numbers_only(), "a film needs stored tokens; set `plan.tokens = true`"),
        (SMALL, stored.run(frames=1), "two stored frames or more, got 1; `particles plot RUN` draws it"),
        (Film(watch=("enrgy",)), small(), "no observable `enrgy` to watch.*Did you mean `energy`"),
        (Film(depth="log"), small(frames=2), "two depths above zero; use `linear`"),
    ],
)
def test_refusals_come_at_once_and_name_what_would_help(film, dataset, message, tmp_path):
    with pytest.raises(ValueError, match=message):
        film.pictures(dataset)  # not iterated


def test_a_place_that_cannot_be_is_refused(tmp_path):
    for name, message in (("a.avi", r"one of \['mp4', 'gif'\]; got `a.avi`"), ("none/a.gif", "no folder")):
        with pytest.raises(ValueError, match=message):
            animate(small(), tmp_path / name, SMALL)


def test_frames_seconds_and_fps_are_two_numbers():
    assert length(None, None, None) == (300, 30.0)
    assert length(100, 5.0, None) == (100, 20.0)
    assert length(None, 5.0, 20.0) == (100, 20.0)
    assert length(100, None, 20.0) == (100, 20.0)
    for wrong in ((100, 5.0, 20.0), (None, 0.0, None), (None, np.nan, None)):
        with pytest.raises(ValueError, match="frames|seconds"):
            length(*wrong)


def test_without_ffmpeg_a_film_is_a_gif_and_says_so(tmp_path, monkeypatch):
    from particles.plots.film import reel

    monkeypatch.setattr(reel, "ffmpeg", lambda: None)
    place, note = target(None, None, tmp_path / "figures")
    assert place == tmp_path / "figures" / "film.gif" and "there is no ffmpeg" in note
    with pytest.raises(ValueError, match="needs ffmpeg: install it or the extra `film`, or make a gif"):
        animate(small(), tmp_path / "a.mp4", SMALL)
    with pytest.raises(ValueError, match="leave out one of the two"):
        target(tmp_path / "a.gif", "mp4", tmp_path)
    monkeypatch.setattr(reel, "ffmpeg", lambda: "ffmpeg")
    assert target(None, None, tmp_path)[0] == tmp_path / "film.mp4"
    assert target(tmp_path / "a.gif", None, tmp_path) == (tmp_path / "a.gif", "")
    assert target(tmp_path / "a", "gif", tmp_path)[0] == tmp_path / "a.gif"
