"""How a result shows itself in a notebook: asked for here, answered by a room on a higher floor.

A run and a record stand below everything that draws, and must not know it. They ask here; `particles/__init__.py`, the
only place that knows all rooms, says which one answers, and it is loaded when the first result is shown.
"""

from collections.abc import Callable
from typing import Any

_rooms: list[Callable[[], Any]] = []


def answers(room: Callable[[], Any]) -> None:
    """Says which room shows results from now on: a function that loads it. It has `still` and `view`, as here."""
    _rooms[:] = [room]


def still(result: Any) -> str:
    """A picture of a result with a summary, as HTML."""
    return _rooms[0]().still(result)


def view(result: Any, height: int) -> Any:
    """The page of a result in a frame, which a notebook shows; its height is in pixels."""
    return _rooms[0]().view(result, height)
