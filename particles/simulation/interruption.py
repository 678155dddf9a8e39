"""Stopping in good order: a signal asks, the end of a chunk answers."""

import contextlib
import signal
import threading
from collections.abc import Iterator

ASKING = (signal.SIGINT, signal.SIGTERM, signal.SIGUSR1)


class Flag:
    """Whether somebody asked to stop, and how."""

    def __init__(self) -> None:
        self.asked: str | None = None

    def __call__(self, number: int, frame: object) -> None:
        if self.asked is not None and number == signal.SIGINT:
            raise KeyboardInterrupt
        self.asked = signal.Signals(number).name


@contextlib.contextmanager
def listening() -> Iterator[Flag]:
    """Turns SIGINT, SIGTERM and SIGUSR1 into a flag; a second SIGINT interrupts at once. Main thread only."""
    flag = Flag()
    if threading.current_thread() is not threading.main_thread():
        yield flag
        return
    before = {number: signal.signal(number, flag) for number in ASKING}
    try:
        yield flag
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
