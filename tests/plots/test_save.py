"""A saved figure carries its words, is the same twice, and leaves nothing else behind."""

import os

import matplotlib
import numpy as np
import pytest
import stored
from PIL import Image

from particles.plots import figures, kinds, save, styled


def plate(name="trajectories", dataset=None):
    ((_, drawn),) = figures(stored.run() if dataset is None else dataset, (name,))
    return drawn


def test_a_png_has_title_caption_and_sources(tmp_path):
    drawn = plate()
    save(drawn, tmp_path / "a.png")
    with Image.open(tmp_path / "a.png") as image:
        assert image.text["Title"] == "demo: trajectories"
        assert image.text["Description"] == drawn.caption
        assert "β = 4" in drawn.caption
        assert "vaswani2017attention" in image.text["Source"]
        assert image.size[0] == 680  # a column of 3.4 inches at 200 dots per inch
        assert np.asarray(image.convert("L")).std() > 5  # not blank


def test_text_in_a_pdf_is_text(tmp_path):
    save(plate("observables"), tmp_path / "a.pdf")
    content = (tmp_path / "a.pdf").read_bytes()
    assert b"/Type3" not in content
    assert b"/FontFile2" in content
    assert b"/Title" in content
    assert b"/Subject" in content
    assert b"/CreationDate" not in content
    with matplotlib.rc_context({"pdf.fonttype": 3}):  # the check can fail
        plate("observables").figure.savefig(tmp_path / "b.pdf")
    assert b"/Type3" in (tmp_path / "b.pdf").read_bytes()


def test_text_in_an_svg_is_text(tmp_path):
    drawn = plate("observables")
    save(drawn, tmp_path / "a.svg")
    content = (tmp_path / "a.svg").read_text(encoding="utf-8")
    assert ">energy</text>" in content
    assert "<dc:date>" not in content
    assert "demo: observables" in content
    assert drawn.caption in content
    assert "vaswani2017attention" in content


@pytest.mark.parametrize(
    ("name", "suffix"),
    [*((name, "png") for name in kinds() if name != "chart"), ("cosines", "pdf"), ("cosines", "svg")],
)
def test_the_same_dataset_gives_the_same_bytes(name, suffix, tmp_path):
    dataset = stored.run(space="Euclidean", d=2, frames=4) if name == "ellipses" else stored.attending()
    for attempt in "ab":
        save(plate(name, dataset), tmp_path / f"{attempt}.{suffix}")
    assert (tmp_path / f"a.{suffix}").read_bytes() == (tmp_path / f"b.{suffix}").read_bytes()


def test_a_users_own_settings_neither_leak_in_nor_change(tmp_path):
    save(plate("observables"), tmp_path / "a.png")
    with matplotlib.rc_context({"font.size": 30, "axes.facecolor": "red", "savefig.dpi": 10}):
        before = dict(matplotlib.rcParams)
        save(plate("observables"), tmp_path / "b.png")
        assert dict(matplotlib.rcParams) == before
        with styled():
            assert matplotlib.rcParams["font.size"] == 8
    assert (tmp_path / "a.png").read_bytes() == (tmp_path / "b.png").read_bytes()


def test_a_file_is_replaced_whole_or_not_at_all(tmp_path, monkeypatch):
    path = tmp_path / "a.png"
    path.write_bytes(b"before")
    drawn = plate("observables")

    def fail(*args, **kwargs):
        raise OSError("disk full")

    with monkeypatch.context() as patch:
        patch.setattr(os, "replace", fail)
        with pytest.raises(OSError, match="disk full"):
            save(drawn, path)
    assert path.read_bytes() == b"before"
    assert os.listdir(tmp_path) == ["a.png"]
    save(drawn, path)
    assert path.read_bytes()[:4] == b"\x89PNG"
    assert os.listdir(tmp_path) == ["a.png"]


def test_other_suffixes_are_refused(tmp_path):
    with pytest.raises(ValueError, match=r"one of \['.pdf', '.png', '.svg'\]; got `a.gif`"):
        save(plate("observables"), tmp_path / "a.gif")
    assert not os.listdir(tmp_path)
