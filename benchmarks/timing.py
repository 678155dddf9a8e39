"""Two ways to do a work, timed in turns; what a program in a process of its own takes in memory and processor time.

The machine is shared and noisy, so nothing here is a single reading: medians are compared and the spread is shown.
The two sides alternate (A B A B ...), so that a slow minute slows both. A pause before each reading lets the idle
threads of the other side, which spin for a while, go to sleep.
"""

import dataclasses
import os
import resource
import statistics
import subprocess
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from .row import Measured

PAUSE = 0.05  # seconds; OpenMP and XLA threads spin for a few milliseconds after their work


@dataclasses.dataclass(frozen=True)
class Times:
    """The readings of one side, in seconds."""

    readings: tuple[float, ...]

    @property
    def median(self) -> float:
        return statistics.median(self.readings)

    def __str__(self) -> str:
        digits = (f"{1e3 * time:.3g}" for time in (self.median, min(self.readings), max(self.readings)))
        return "{} ms ({}-{})".format(*digits)


def alternately(ours: Callable[[], Any], theirs: Callable[[], Any], rounds: int, note: str = "") -> Measured:
    """How many times longer theirs takes than ours. Each is called once beforehand, to compile and to warm up.

    Parameters
    ----------
    ours, theirs : the two works; each returns only when it is done.
    rounds : readings of each.
    """
    sides = (ours, theirs)
    readings: tuple[list[float], list[float]] = ([], [])
    for side in sides:
        side()
    for _ in range(rounds):
        for side, found in zip(sides, readings, strict=True):
            found.append(_seconds(side))
    left, right = (Times(tuple(found)) for found in readings)
    return Measured(right.median / left.median, str(left), str(right), note)


def _seconds(work: Callable[[], Any]) -> float:
    time.sleep(PAUSE)
    begun = time.perf_counter()
    work()
    return time.perf_counter() - begun


PEAK = """
import pathlib, resource, sys
status = pathlib.Path("/proc/self/status")
if status.exists():
    print(next(line.split()[1] for line in status.read_text().splitlines() if line.startswith("VmHWM")))
else:
    print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // (1024 if sys.platform == "darwin" else 1))
"""


def peak_memory(program: str, *arguments: object) -> int:
    """The largest number of bytes that a Python program held in memory at once, in a process of its own.

    On Linux `ru_maxrss` begins with what the parent held when it forked, so the kernel's own figure is read instead.
    """
    return 1024 * int(_said([sys.executable, "-c", program + PEAK, *map(str, arguments)], {}).split()[-1])


def processor_seconds(command: Sequence[str], environment: Mapping[str, str]) -> float:
    """User and system time of a command and of all its children."""
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    _said(command, environment)
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    return after.ru_utime - before.ru_utime + after.ru_stime - before.ru_stime


def _said(command: Sequence[str], environment: Mapping[str, str]) -> str:
    """What a command prints.

    Raises
    ------
    RuntimeError
        If it fails, with the last line of what it said.
    """
    done = subprocess.run(command, env={**os.environ, **environment}, capture_output=True, text=True, check=False)
    if done.returncode:
        raise RuntimeError(f"ended with code {done.returncode}: {done.stderr.strip().splitlines()[-1:]}")
    return done.stdout


def cores() -> int:
    """The processor cores that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
