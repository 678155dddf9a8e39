"""What a finished run leaves to be looked at: its figures, and one file that holds everything.

The report is the page of a run with its figures, the verdict where something was claimed, and a summary in words. It is
made from the record alone, and can be made again.
"""

import pathlib
from collections.abc import Callable

from .experiment import Verdict
from .plots import figures, save, suitable
from .record import Record
from .record.files import folder
from .view import write

NAME = "report.html"


def illustrated(
    record: Record, kinds: tuple[str, ...], verdict: Verdict | None, said: Callable[[str], None]
) -> pathlib.Path:
    """Draws the figures of a run that is done and writes its report; where that is.

    A figure that cannot be drawn is no failure of the run: what it lacks is said, and the others are drawn.

    Parameters
    ----------
    kinds : of figures; none for those that suit the record.
    verdict : what came of a claim.
    said : is told of each figure in a sentence.

    Raises
    ------
    OSError
        If there is no room for them.
    """
    place = record.path / "figures"
    folder(place)
    drawn = []
    for kind in kinds or suitable(record.dataset):
        try:
            [(name, plate)] = figures(record.dataset, (kind,))
        except ValueError as refusal:
            said(f"particles: no figure `{kind}`: {refusal}")
            continue
        path = place / f"{name}.png"
        save(plate, path)
        said(f"drew {path}")
        drawn.append((name, path.read_bytes(), plate.caption))
    words = None if verdict is None else "\n".join([verdict.told, *map(str, verdict.checks)])
    return write(record, record.path / NAME, figures=drawn, verdict=words)
