"""How a result shows itself in a notebook: asked for here, answered by a room on a higher floor.

A run and a record stand below everything that draws, and must not know it. They ask here; `particles/__init__.py`, the
only place that knows all rooms, says which one answers, and it is loaded when the first result is shown.
"""

from collections.abc import Callable
from typing import Any, Protocol


class Shows(Protocol):
    """A room that shows results."""

    def still(self, result: Any) -> str:
        """A picture with a summary, as HTML."""
        ...

    def view(self, result: Any, height: int) -> Any:
        """The page of a result, in a frame of a height in pixels."""
        ...


_rooms: list[Callable[[], Any]] = []


def answers(room: Callable[[], Any]) -> None:
    """Says which room shows results from now on; it is called, and loaded, when it is needed."""
    _rooms[:] = [room]


def room() -> Shows:
    """The room that shows results.

    Raises
    ------
    RuntimeError
        If there is none: `particles` was not imported as a whole.
    """
    if not _rooms:
        raise RuntimeError("nothing is there to show results; import `particles`")
    return _rooms[0]()
