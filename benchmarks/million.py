"""A million tokens from end to end, as a user would run them, and the memory that takes."""

import pathlib
import tempfile
import time

import numpy as np

from .row import Bound, Measured, Row
from .timing import peak_memory

RUN = """
import sys
from particles.__main__ import main
sys.argv = ["particles", "run", "configs/million.toml", "--out", sys.argv[1], "--quiet"]
try:
    code = main()
except SystemExit as end:
    code = end.code or 0
if code:
    sys.exit(code)
"""
FOUND: dict[str, float] = {}


def run() -> dict[str, float]:
    """Runs the config once: minutes, the largest memory in GiB, and how far the tokens have gathered."""
    if not FOUND:
        import particles

        with tempfile.TemporaryDirectory() as folder:
            begun = time.perf_counter()
            memory = peak_memory(RUN, folder)
            FOUND.update(minutes=(time.perf_counter() - begun) / 60, memory=memory / 2**30)
            (directory,) = pathlib.Path(folder).iterdir()
            dataset = particles.open(directory).dataset
            x = dataset.tokens.values[-1]
            FOUND.update(near=float(np.mean(x @ x.T > 0.99)), cosine=float(dataset.mean_cosine[-1]))
    return FOUND


def minutes(rounds: int) -> Measured:
    found = run()
    note = f"at the end {100 * found['near']:.0f} % of pairs within 8 degrees, mean cosine {found['cosine']:.3f}"
    return Measured(found["minutes"], "to depth 16, figures drawn", "-", note)


def memory(rounds: int) -> Measured:
    return Measured(run()["memory"], "at the peak")


ROWS = (
    Row("million-minutes", "run of configs/million.toml, 10^6 tokens on S^2", minutes, Bound("<=", 30, " min")),
    Row("million-memory", "memory of configs/million.toml", memory, Bound("<=", 4, " GiB")),
)
