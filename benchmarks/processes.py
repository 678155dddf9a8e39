"""One system moved by two processes with a core each, against one process with one core and with both.

What a process needs to start and to compile is the same however long it runs, so that a longer and a shorter run are
timed, and the difference is the work.
"""

import functools
import os
import pathlib
import subprocess
import sys
import tempfile
import time

from .row import Measured, Row
from .timing import cores

CONFIG = """
kind = "Simulation"
start = {{kind = "Uniform", tokens = 8192, dim = 3}}
[flow]
space = {{kind = "Sphere"}}
summation = {{kind = "Auto", tolerance = {tolerance}}}
[flow.law]
kind = "Attention"
[plan]
until = {until}
save = 2
dt = 0.1
solver = "Heun"
tokens = false
watch = ["radius"]
"""
SHORT, LONG = 0.4, 4.4
TOLERANCES = {"pairs": 0, "modes": 1e-9}


def seconds(folder: pathlib.Path, kind: str, until: float, processes: int, allowed: set[int]) -> float:
    """The wall time of a whole run."""
    name = f"{kind}-{until}-{processes}-{len(allowed)}"
    config = folder / f"{name}.toml"
    config.write_text(CONFIG.format(tolerance=TOLERANCES[kind], until=until))
    line = [
        sys.executable,
        "-m",
        "particles",
        "run",
        str(config),
        "--out",
        str(folder / name),
        "--quiet",
        "--no-figures",
    ]
    line += ["--processes", str(processes)] if processes > 1 else []
    begun = time.perf_counter()
    process = subprocess.Popen(line, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True)
    if hasattr(os, "sched_setaffinity"):
        os.sched_setaffinity(process.pid, allowed)
    said = process.communicate()[1]
    if process.returncode:
        raise RuntimeError(f"ended with code {process.returncode}: {said.strip().splitlines()[-1:]}")
    return time.perf_counter() - begun


@functools.cache
def scaling(kind: str) -> dict[str, float]:
    """Seconds for the same steps by one process with one core, by one with all, and by two with a core each."""
    everything = os.sched_getaffinity(0) if hasattr(os, "sched_getaffinity") else set(range(cores()))
    one = {min(everything)}
    sides = {"one process, one core": (1, one), "one process": (1, everything), "two processes": (2, everything)}
    with tempfile.TemporaryDirectory() as name:
        folder = pathlib.Path(name)
        return {
            side: seconds(folder, kind, LONG, *how) - seconds(folder, kind, SHORT, *how) for side, how in sides.items()
        }


def gain(kind: str, rounds: int) -> Measured:
    found = scaling(kind)
    alone, pair = found["one process, one core"], found["two processes"]
    return Measured(
        alone / pair, f"{pair:.2f} s", f"{alone:.2f} s", f"one process with both: {found['one process']:.2f} s"
    )


ROWS = tuple(
    Row(
        f"processes-{kind}",
        f"40 steps of n=8192 by {kind}, two processes; one on one core",
        functools.partial(gain, kind),
    )
    for kind in TOLERANCES
)
