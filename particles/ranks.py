"""Processes that move one system together, each of them a rank, and how they come to know of one another.

All ranks run the same program on the same numbers and take the same decisions; what is divided is the work of visiting
pairs, which `Sharded` does. The first rank alone writes. Whoever starts them says in the environment who they are, as
JAX itself, Slurm or Open MPI do; `launched` starts them on this machine, over its loopback interface.
"""

import contextlib
import dataclasses
import json
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping
from typing import Any

from . import machine

ADDRESS, COUNT, OWN = "JAX_COORDINATOR_ADDRESS", "JAX_NUM_PROCESSES", "JAX_PROCESS_ID"
LAUNCHER = "PARTICLES_LAUNCHER"  # the process that started this rank
STARTERS = {  # by what each says how many processes there are, which this is, and that it can be asked for the rest
    "Slurm": ("SLURM_NTASKS", "SLURM_PROCID", "SLURM_STEP_NODELIST"),
    "Open MPI": ("OMPI_COMM_WORLD_SIZE", "OMPI_COMM_WORLD_RANK", "OMPI_MCA_orte_hnp_uri"),
}
LONGEST = 512  # bytes of a word that ranks say to each other
GRACE = 20.0  # seconds in which ranks must end after one of them was lost
LOST = 75  # exit code of a run that lost a rank, and can be resumed
STOPPING = (signal.SIGTERM, signal.SIGUSR1, signal.SIGUSR2)


@dataclasses.dataclass(frozen=True)
class Ranks:
    """Those who move a system together, as one of them sees it."""

    count: int
    own: int

    @property
    def alone(self) -> bool:
        """Whether there is no other."""
        return self.count == 1

    @property
    def first(self) -> bool:
        """Whether this is the one that writes."""
        return self.own == 0

    def shared(self, content: bytes) -> bytes:
        """What the first one has, on all of them."""
        if self.alone:
            return content
        import numpy as np
        from jax.experimental import multihost_utils

        size = int(multihost_utils.broadcast_one_to_all(np.asarray(len(content), np.int32)))
        sent = np.frombuffer(content, np.uint8) if self.first else np.zeros(size, np.uint8)
        return np.asarray(multihost_utils.broadcast_one_to_all(sent)).tobytes()

    def agreed(self, word: str) -> str:
        """What the first of those who say something says; empty if nobody does."""
        if self.alone:
            return word
        import numpy as np
        from jax.experimental import multihost_utils

        said = np.frombuffer(word.encode()[:LONGEST].ljust(LONGEST, b"\0"), np.uint8)
        words = np.asarray(multihost_utils.process_allgather(said)).reshape(self.count, LONGEST)
        return next((text for row in words if (text := row.tobytes().rstrip(b"\0").decode(errors="replace"))), "")


def ranks() -> Ranks:
    """The ranks of this run."""
    import jax

    return Ranks(jax.process_count(), jax.process_index())


def foretold(environment: Mapping[str, str]) -> Ranks | None:
    """The ranks that whoever started this process announced; None where it is alone.

    Raises
    ------
    ValueError
        If the environment says a part of what must be known.
    """
    given = [name for name in (ADDRESS, COUNT, OWN) if name in environment]
    counts = {OWN, COUNT} & set(given)
    if counts and len(given) < 3:
        missing = sorted({ADDRESS, COUNT, OWN} - set(given))
        raise ValueError(f"{', '.join(given)} are set and {', '.join(missing)} is missing: give all three, or none")
    if counts:
        return _numbered(environment, COUNT, OWN)
    for count, own, more in STARTERS.values():
        if all(name in environment for name in (count, own)) and (more in environment or ADDRESS in environment):
            return _numbered(environment, count, own)
    return None


def _numbered(environment: Mapping[str, str], count: str, own: str) -> Ranks | None:
    many, one = environment[count], environment[own]
    if not (many.isdecimal() and one.isdecimal() and int(one) < int(many)):
        raise ValueError(f"{count} = {many} and {own} = {one}: expected a whole number and one below it, from 0 on")
    return Ranks(int(many), int(one)) if int(many) > 1 else None


def join() -> Ranks:
    """Joins the other ranks, if there are any; before anything is computed.

    Raises
    ------
    ValueError
        If the environment says a part of what must be known.
    """
    told = foretold(os.environ)
    if told is None:
        return Ranks(1, 0)
    import jax

    address = os.environ.get(ADDRESS)
    if address is None:  # Slurm or Open MPI is asked
        jax.distributed.initialize()
    else:
        here = address.rpartition(":")[0] in ("127.0.0.1", "localhost")
        bound = address if here else None  # on all interfaces, unless everybody is here
        jax.distributed.initialize(address, told.count, told.own, coordinator_bind_address=bound)
    return ranks()


def joined() -> bool:
    """Whether this process is one of several ranks, and has not parted from them."""
    if "jax" not in sys.modules:
        return False
    import jax

    return jax.distributed.is_initialized()


def part() -> None:
    """Parts from the other ranks, all of whom do so now; there is no work in common any more."""
    if joined():
        import jax

        jax.distributed.shutdown()


def orphaned() -> str | None:
    """Why this rank should stop, if whoever started it was killed: nobody passes signals on to it any more."""
    launcher = os.environ.get(LAUNCHER)
    return "the end of the process that began it" if launcher and int(launcher) != os.getppid() else None


def launched(arguments: list[str], count: int) -> int:
    """Runs `particles` with some arguments as several ranks on this machine; the exit code of the run.

    Each rank keeps to its share of the cores. Signals are passed on; should this process be killed, they stop. Once a
    rank is lost, the others are given some seconds to find out and end in good order.
    """
    cores = sorted(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else []
    share = len(cores) // count
    address = f"127.0.0.1:{_free_port()}"
    told = {ADDRESS: address, COUNT: str(count), LAUNCHER: str(os.getpid())}
    environment = {**os.environ, **machine.for_workers(True, share <= 1), **told}
    processes = []
    for own in range(count):
        process = subprocess.Popen(
            [sys.executable, "-m", "particles", *arguments],
            env={**environment, OWN: str(own)},
            stdout=None if own == 0 else subprocess.DEVNULL,
            stdin=subprocess.DEVNULL,
        )
        if share:
            with contextlib.suppress(ProcessLookupError):  # it ended at once; its exit code says so
                os.sched_setaffinity(process.pid, cores[own * share : (own + 1) * share])
        processes.append(process)
    with _passed_on(processes):
        return _ended(processes)


def _ended(processes: list[subprocess.Popen]) -> int:
    """Waits for all; what became of the first that did not end well."""
    first, since = 0, 0.0
    while any(process.poll() is None for process in processes):
        bad = [process.returncode for process in processes if process.returncode]
        if bad and not first:
            first, since = bad[0], time.monotonic()
        if first and time.monotonic() - since > GRACE:
            for process in processes:
                if process.poll() is None:
                    process.kill()
        time.sleep(0.1)
    codes = [process.returncode for process in processes]
    first = first or next((code for code in codes if code), 0)
    wanting = first < 0 or first > 127  # killed, or ended by the service that ranks meet at
    if wanting:
        print(f"particles: a process was lost ({first}); what was committed is kept: resume", file=sys.stderr)
    return LOST if wanting else first


@contextlib.contextmanager
def _passed_on(processes: list[subprocess.Popen]) -> Iterator[None]:
    """Hands signals to all ranks; an interruption from a terminal reaches them by itself."""

    def pass_on(number: int, frame: Any) -> None:
        for process in processes:
            if process.poll() is None:
                process.send_signal(number)

    before = {number: signal.signal(number, pass_on) for number in STOPPING}
    before[signal.SIGINT] = signal.signal(signal.SIGINT, lambda number, frame: None)
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def _free_port() -> int:
    with socket.socket() as found:
        found.bind(("127.0.0.1", 0))
        return found.getsockname()[1]


def packed(arrays: Mapping[str, Any] | None, facts: Mapping[str, Any]) -> bytes:
    """Arrays by name and plain data as bytes; None for no arrays is kept apart from none of them."""
    import io

    import numpy as np

    buffer = io.BytesIO()
    words = json.dumps({"facts": dict(facts), "none": arrays is None}).encode()
    np.savez(buffer, **dict(arrays or {}), **{"": np.frombuffer(words, np.uint8)})  # pyright: ignore[reportArgumentType]
    return buffer.getvalue()


def unpacked(content: bytes) -> tuple[dict[str, Any] | None, dict[str, Any]]:
    """What was packed."""
    import io

    import numpy as np

    with np.load(io.BytesIO(content), allow_pickle=False) as archive:
        arrays = {name: archive[name] for name in archive.files}
    words = json.loads(arrays.pop("").tobytes())
    return (None if words["none"] else arrays), words["facts"]
