"""The command line: `particles COMMAND`."""

import gc
import sys

import tyro

from .commands import COMMANDS
from .commands.ending import guarded

SELDOM = (20_000, 20, 100)
"""How many new objects Python waits for before it looks for cycles among them, and how often it looks among all.
Importing and tracing make objects by the million and hardly a cycle: Python's own pace costs a tenth of a command."""

DESCRIPTION = """The laboratory for transformers seen as interacting particles.

Exit codes: 0 done, 1 a claim failed, 2 bad config or usage, 65 bad data, 70 numerics failed, 74 disk, 75 interrupted
and resumable.
With PARTICLES_TRACEBACK set in the environment every error shows where it came from."""


def main() -> None:
    """Entry point of the command `particles`."""
    gc.set_threshold(*SELDOM)
    commands = {command.__name__.rstrip("_"): guarded(command) for command in COMMANDS}
    sys.exit(tyro.extras.subcommand_cli_from_dict(commands, prog="particles", description=DESCRIPTION))


if __name__ == "__main__":
    main()
