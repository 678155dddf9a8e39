"""Stopping in good order: a signal asks, the end of a chunk answers."""

import contextlib
import signal
import threading
from collections.abc import Callable, Iterator

ASKING = (signal.SIGINT, signal.SIGTERM, signal.SIGUSR1, signal.SIGUSR2)  # a scheduler warns by one of the last three


class Flag:
    """Whether somebody asked to stop, and how.

    Parameters
    ----------
    told : what else to look at beside signals: who or what asks to stop, or None.
    """

    def __init__(self, told: Callable[[], str | None] = lambda: None) -> None:
        self._signal: str | None = None
        self._told = told

    def __call__(self, number: int, frame: object) -> None:
        if self._signal is not None and number == signal.SIGINT:
            raise KeyboardInterrupt
        self._signal = signal.Signals(number).name

    @property
    def asked(self) -> str | None:
        """Who or what asked to stop; None if nobody did."""
        return self._signal or self._told()


@contextlib.contextmanager
def listening(told: Callable[[], str | None] = lambda: None) -> Iterator[Flag]:
    """Turns the signals that ask to stop into a flag; a second SIGINT interrupts at once. Main thread only."""
    flag = Flag(told)
    if threading.current_thread() is not threading.main_thread():
        yield flag
        return
    before = {number: signal.signal(number, flag) for number in ASKING}
    try:
        yield flag
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
