"""One writer to a run directory.

The kernel holds the lock and lets go of it when the process ends, however it ends, so that no lock is ever stale. The
file says who holds it.
"""

import contextlib
import fcntl
import json
import os
import pathlib
import socket
from collections.abc import Iterator

from .files import opened, own

NAME = "lock"


class Locked(RuntimeError):
    """Another process is writing to this run directory."""


@contextlib.contextmanager
def writing(directory: pathlib.Path) -> Iterator[None]:
    """Holds a run directory for this process.

    Raises
    ------
    Locked
        If another process holds it, naming that process.
    Damaged
        If something else than a file stands in the place of the lock.
    """
    descriptor = own(directory / NAME, os.O_RDWR)
    try:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise Locked(f"{directory} is being written by {_holder(descriptor)}; wait for it, or stop it") from None
        os.ftruncate(descriptor, 0)
        os.write(descriptor, json.dumps({"pid": os.getpid(), "host": socket.gethostname()}).encode())
        yield
        os.ftruncate(descriptor, 0)
    finally:
        os.close(descriptor)


def held(directory: pathlib.Path) -> bool:
    """Whether a process holds a run directory at this moment."""
    try:
        with opened(directory / NAME) as file:
            fcntl.flock(file, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except BlockingIOError:
        return True
    except OSError:  # no lock, or something that nobody can hold
        return False
    return False


def _holder(descriptor: int) -> str:
    try:
        holder = json.loads(os.pread(descriptor, 4096, 0))
        return f"process {holder['pid']} on {holder['host']}"
    except (ValueError, KeyError, TypeError, RecursionError):  # what a lock says is for people
        return "another process"
