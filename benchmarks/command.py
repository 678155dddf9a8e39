"""The processor time of a whole `particles run`, import to figures, with an empty and with a filled compile cache.

What a second of a processor is worth differs: beside it stands how long `import jax.numpy` takes there.
"""

import functools
import pathlib
import statistics
import sys
import tempfile

from .row import Bound, Measured, Row
from .timing import processor_seconds

CONFIG = "configs/clusters.toml"


def run(folder: pathlib.Path, cache: str, seed: int) -> float:
    command = [sys.executable, "-m", "particles", "run", CONFIG, f"seed={seed}", "--out", str(folder), "--quiet"]
    return processor_seconds(command, {"XDG_CACHE_HOME": str(folder / cache)})


def cold(rounds: int) -> Measured:
    """Every round finds an empty cache."""
    with tempfile.TemporaryDirectory() as folder:
        return shown([run(pathlib.Path(folder), f"cache-{k}", k) for k in range(repeats(rounds))])


def warm(rounds: int) -> Measured:
    """One run fills the cache and is not counted; each one after it has a seed of its own, so none is found done."""
    with tempfile.TemporaryDirectory() as folder:
        seconds = [run(pathlib.Path(folder), "cache", k) for k in range(1 + repeats(rounds))]
        return shown(seconds[1:])


def repeats(rounds: int) -> int:
    return 1 if rounds < 5 else 3


def shown(seconds: list[float]) -> Measured:
    middle = statistics.median(seconds)
    unit = min(processor_seconds([sys.executable, "-c", "import jax.numpy"], {}) for _ in range(3))
    note = f"user and system time; {middle / unit:.0f} times that of `import jax.numpy`, {unit:.2f} s here"
    return Measured(middle, f"{middle:.1f} s ({min(seconds):.1f}-{max(seconds):.1f})", "-", note)


ROWS = (
    Row("command-cold", f"particles run {CONFIG}, empty cache", functools.partial(cold), Bound("<=", 20, " s")),
    Row("command-warm", f"particles run {CONFIG}, filled cache", functools.partial(warm), Bound("<=", 8, " s")),
)
