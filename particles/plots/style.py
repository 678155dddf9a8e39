"""How every figure looks, and how it is put on paper.

A figure is drawn and saved under one style, `particles.mplstyle`, on top of matplotlib's own defaults: what a user has
set for himself neither leaks in nor is changed. A `Plate` is a drawn figure together with the words that belong to it;
`save` writes it with these words inside the file, so that a picture found alone still says what it shows. The same
plate gives the same bytes: no date is written.
"""

import io
import os
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any

import equinox as eqx
import matplotlib
import matplotlib.style
from matplotlib.figure import Figure

from ..record.files import replace

SINGLE = 3.4
"""Width of one column of print, in inches."""

DOUBLE = 7.0
"""Width of two columns of print, in inches."""

_SHEET = str(Path(__file__).with_name("particles.mplstyle"))


class Plate(eqx.Module):
    """A drawn figure with its title, its caption and the keys of the papers it rests on."""

    figure: Figure = eqx.field(static=True)
    title: str = eqx.field(static=True)
    caption: str = eqx.field(static=True)
    sources: str = eqx.field(static=True)


def styled() -> AbstractContextManager[None]:
    """The house style, for as long as the context lasts; matplotlib's parameters are as before afterwards."""
    return matplotlib.style.context(["default", _SHEET])


def save(plate: Plate, path: str | os.PathLike[str]) -> None:
    """Writes a figure as png (200 dots per inch), pdf or svg, by the suffix of the path.

    The file appears complete or not at all: it is written beside its place and moved there. Title, caption and sources
    are in its metadata. Text stays text in pdf and svg; dense bundles of lines are images inside them.

    Raises
    ------
    ValueError
        For another suffix.
    """
    path = Path(path)
    suffix = path.suffix.lower()
    if suffix not in _METADATA:
        raise ValueError(f"a figure is saved as one of {sorted(_METADATA)}; got `{path.name}`")
    drawn = io.BytesIO()
    with styled():
        plate.figure.savefig(drawn, format=suffix[1:], metadata=_METADATA[suffix](plate))
    replace(path, drawn.getvalue())


def _png(plate: Plate) -> dict[str, Any]:
    return {"Title": plate.title, "Description": plate.caption, "Source": plate.sources, "Software": "particles"}


def _pdf(plate: Plate) -> dict[str, Any]:
    words = {"Title": plate.title, "Subject": plate.caption, "Keywords": plate.sources, "Creator": "particles"}
    return words | {"CreationDate": None}


def _svg(plate: Plate) -> dict[str, Any]:
    keys = [key.strip() for key in plate.sources.split(",") if key.strip()]
    words = {"Title": plate.title, "Description": plate.caption, "Creator": "particles", "Date": None}
    return words | ({"Keywords": keys} if keys else {})


_METADATA = {".png": _png, ".pdf": _pdf, ".svg": _svg}
