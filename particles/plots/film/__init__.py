"""Films of stored results: `animate(dataset, "film.mp4")`."""

from .film import Film as Film
from .film import animate as animate
from .reel import FORMATS as FORMATS
from .reel import ffmpeg as ffmpeg
from .reel import length as length
from .reel import target as target
