"""A command of ours in a process of its own: what a worker is, on whatever executor it was started.

A call takes and returns plain words, so that nothing but the name of this function is ever pickled, and the process is
new, so that it is no fork of one in which JAX has started. Imports the standard library alone: whoever unpickles the
call pays nothing.
"""

import os
import subprocess
import sys

SAID = 4000  # characters of what a process said last that are kept


def command(arguments: list[str], environment: dict[str, str]) -> tuple[int, str]:
    """Runs `particles` with some arguments to its end; its exit code, and what it said last on standard error.

    The process is told who started it. It is in a group of its own, so that an interruption from a terminal reaches
    it through whoever began the work, and it is asked to end if this function is interrupted.
    """
    line = [sys.executable, "-m", "particles", *arguments, "--parent", str(os.getpid())]
    process = subprocess.Popen(
        line,
        env={**os.environ, **environment},
        stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        text=True,
        process_group=0,
    )
    try:
        said = process.communicate()[1]
    except BaseException:
        process.terminate()
        process.communicate()
        raise
    return process.returncode, said[-SAID:]
