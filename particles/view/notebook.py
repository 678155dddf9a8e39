"""Results that show themselves in a notebook: a still figure with a summary, and the page in a frame."""

import base64
import html
import pathlib
import tempfile
from typing import Any

from ..plots import figures, save, suitable
from .page import page
from .payload import payload
from .source import source

_STILLS = ("trajectories", "observables", "chart")
"""The first of these that suits a result is its still figure."""

_HEIGHT = 860
_LITTLE = 2_000_000  # bytes of a payload of which only the words are wanted


class Frame:
    """A page inside another one: what a notebook shows for it is an iframe that holds the whole page."""

    def __init__(self, text: str, height: int = _HEIGHT):
        self.text = text
        self.height = height

    def _repr_html_(self) -> str:
        inside = html.escape(self.text, quote=True)
        style = f"width:100%;height:{self.height}px;border:0"
        return f'<iframe sandbox="allow-scripts" style="{style}" srcdoc="{inside}"></iframe>'

    def __repr__(self) -> str:
        return f"Frame({len(self.text)} characters)"


def view(result: Any, height: int = _HEIGHT) -> Frame:
    """The page of a result, to be the last thing in a notebook's cell.

    Parameters
    ----------
    height : of the frame, in pixels.
    """
    return Frame(page(result), height)


def still(result: Any) -> str:
    """A still figure of a result with a summary, as HTML."""
    shown = source(result)
    data = payload(shown, _LITTLE)
    sentences = data["summary"] + (data["members"][0]["summary"] if len(data["members"]) == 1 else [])
    words = "".join(f"<li>{html.escape(one)}</li>" for one in sentences)
    return f"<div><b>{html.escape(shown.name)}</b>{_picture(shown.dataset)}<ul>{words}</ul></div>"


def _picture(dataset: Any) -> str:
    known = suitable(dataset)
    kind = next((name for name in _STILLS if name in known), None)
    if kind is None:
        return ""
    [(name, plate)] = figures(dataset, [kind])
    with tempfile.TemporaryDirectory() as folder:
        path = pathlib.Path(folder, "still.png")
        save(plate, path)
        image = base64.b64encode(path.read_bytes()).decode()
    return f'<div><img alt="{html.escape(name)}" style="max-width:640px" src="data:image/png;base64,{image}"></div>'
