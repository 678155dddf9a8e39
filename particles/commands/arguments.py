"""How arguments are written on the command line."""

import pathlib
from typing import Annotated

import tyro

Flag = Annotated[bool, tyro.conf.FlagCreatePairsOff]
"""Off unless it is there."""

Place = Annotated[pathlib.Path, tyro.conf.Positional]
"""A file or a folder, in its position."""

Overrides = Annotated[tuple[str, ...], tyro.conf.Positional, tyro.conf.arg(metavar="[key.path=value ...]")]
"""Values to change in a config."""

Repeated = Annotated[tuple[str, ...], tyro.conf.UseAppendAction]
"""An option that may be given several times."""
