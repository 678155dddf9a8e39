"""The command that holds published claims against computations."""

import pathlib
from typing import Annotated

import tyro

from .. import machine
from .arguments import Flag
from .ending import DONE, VERDICT


def verify(
    claims: Annotated[tuple[str, ...], tyro.conf.Positional, tyro.conf.arg(metavar="[CLAIM ...]")] = (),
    /,
    *,
    fast: Flag = False,
    controls: Flag = False,
    out: pathlib.Path = pathlib.Path("runs") / "claims",
    jobs: int | None = None,
    page: pathlib.Path | None = None,
) -> int:
    """Hold published claims against computations: the scoreboard. Exit code 1 if one fails.

    Args:
        claims: names of claims; by default all. `particles list claims` names them.
        fast: small forms of all of them, a few seconds each.
        controls: run the negative controls instead: law or expectation broken on purpose, so that each must fail.
        out: folder for the run directories and verify.json.
        jobs: how many to run at once; by default one for each core.
        page: also write the scoreboard as a page of Markdown.
    """
    from .. import scoreboard

    machine.trust()
    rows = scoreboard.verify(claims, out, fast=fast, control=controls, jobs=jobs)
    print(scoreboard.table(rows, controls))
    if page is not None:
        scoreboard.page(rows, page, fast=fast, control=controls)
    return DONE if scoreboard.good(rows, controls) else VERDICT
