"""Commands that show a run from its record: figures, a film, a page."""

import dataclasses
import pathlib
import sys
from typing import TYPE_CHECKING, Annotated, Literal

import tyro

from .arguments import Flag, Place, Repeated
from .ending import DATA, DONE

if TYPE_CHECKING:
    from ..record import Record


def plot(
    run: Place,
    kinds: Annotated[tuple[str, ...], tyro.conf.Positional, tyro.conf.arg(metavar="[KIND ...]")] = (),
    /,
    *,
    out: pathlib.Path | None = None,
    format: Literal["png", "pdf", "svg"] = "png",
) -> int:
    """Draw figures of a run from its record.

    Args:
        run: run directory.
        kinds: kinds of figures; by default those that suit the run. `particles list figures` names them.
        out: folder for the files; by default RUN/figures.
        format: of the files.
    """
    from ..record import open_record

    record = open_record(run)
    record.verify()
    drawn = _draw(record, kinds, out or run / "figures", format)
    if not drawn:
        print("particles: nothing to draw: the run keeps neither tokens nor observables", file=sys.stderr)
        return DATA
    print(*drawn, sep="\n")
    return DONE


def view(run: Place, /, *, out: pathlib.Path | None = None, open: Flag = False) -> int:
    """Make a page to explore a run: one HTML file that needs nothing else.

    Args:
        run: run directory.
        out: the file; by default RUN/view.html.
        open: show it in the browser.
    """
    from ..record import open_record
    from ..view import write

    record, path = open_record(run), out or run / "view.html"
    path.parent.mkdir(parents=True, exist_ok=True)
    write(record, path)
    if open:
        import webbrowser

        webbrowser.open(path.resolve().as_uri())
    print(path)
    return DONE


@dataclasses.dataclass(frozen=True)
class Filming:
    """The film.

    Attributes:
        frames: pictures of the film, by default 300; those between stored frames are interpolated.
        depth: the film's clock: depth, its logarithm, or whichever lets waits not bore.
        seconds: how long the film is; two of `frames`, `seconds` and `fps` say the third.
        fps: pictures a second, by default 30.
        watch: an observable beside the tokens, by default the first three; may be given several times.
        turn: degrees by which a sphere turns meanwhile.
        trail: length of trails in pictures.
        width: of the picture in pixels.
    """

    frames: int | None = None
    depth: Literal["auto", "linear", "log"] = "auto"
    seconds: float | None = None
    fps: float | None = None
    watch: Repeated = ()
    turn: float = 60.0
    trail: int = 16
    width: int = 1280


def animate(
    run: Place,
    /,
    *,
    out: pathlib.Path | None = None,
    format: Literal["mp4", "gif"] | None = None,
    quiet: Flag = False,
    film: Annotated[Filming, tyro.conf.OmitArgPrefixes] = Filming(),
) -> int:
    """Make a film of a run from its record.

    Args:
        run: run directory.
        out: the file; by default RUN/figures/film.mp4, or film.gif where there is no ffmpeg.
        format: of the file; by default what its name says.
        quiet: no progress bar.
        film: what it shows and how fast.
    """
    from ..plots.film import Film, length, target
    from ..plots.film import animate as filmed
    from ..record import open_record

    pictures, pace = length(film.frames, film.seconds, film.fps)
    made = Film(pictures, pace, film.depth, film.watch, film.turn, film.trail, film.width)
    record = open_record(run)
    record.verify()
    place, note = target(out, format, run / "figures")
    if note:
        print(f"particles: {note}", file=sys.stderr)
    print(filmed(record.dataset, place, made, progress=not quiet))
    return DONE


def _draw(record: "Record", kinds: tuple[str, ...], folder: pathlib.Path, suffix: str) -> list[pathlib.Path]:
    from ..plots import figures, save

    folder.mkdir(parents=True, exist_ok=True)
    drawn = []
    for name, figure in figures(record.dataset, kinds or None):
        save(figure, folder / f"{name}.{suffix}")
        drawn.append(folder / f"{name}.{suffix}")
    return drawn
