"""Where a film is drawn: what stands still once, and over it, for every frame, what moves.

Laying out axes, labels and curves takes as long as a hundred frames of tokens. It is done once and kept as an image;
a frame restores that image and draws the actors on it.
"""

from collections.abc import Iterator, Sequence

import numpy as np
from jaxtyping import Float, UInt8
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure

from .actors import AbstractActor

INCHES = (8.0, 4.5)
"""The size of a film on paper: text of eight points is read at any number of pixels."""


def filmed(
    figure: Figure, actors: Sequence[AbstractActor], depths: Float[np.ndarray, " f"]
) -> Iterator[UInt8[np.ndarray, "height width 3"]]:
    """The pictures of a film, drawn one after the other as they are asked for."""
    canvas = FigureCanvasAgg(figure)
    for actor in actors:
        actor.move(len(depths) - 1, float(depths[-1]))
        for artist in actor.artists:
            artist.set_animated(True)
    figure.draw_without_rendering()  # for the layout, which is then left alone
    figure.set_layout_engine("none")
    canvas.draw()
    still = canvas.copy_from_bbox(figure.bbox)
    for k, t in enumerate(depths):
        canvas.restore_region(still)
        for actor in actors:
            actor.move(k, float(t))
            for artist in actor.artists:
                (actor.axes or figure).draw_artist(artist)
        yield np.ascontiguousarray(np.asarray(canvas.buffer_rgba())[..., :3])
