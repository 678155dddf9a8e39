"""Progress of a run on standard error: a bar on a terminal, a line now and then in a pipe or a log."""

import sys
import time
from collections.abc import Callable
from types import TracebackType
from typing import Any

import tqdm

BAR = "{desc}: {percentage:3.0f}%|{bar}| {postfix}"
SILENCE = 30.0  # seconds between two lines in a log


class Progress:
    """A bar, or lines, and how much time is left.

    The first advance has compilation in it, so time left is worked out from what was made after that.

    Parameters
    ----------
    name : of the run.
    first, last : the numbers between which it goes.
    shown : whether anything is shown.
    stream : where to; standard error by default.
    clock : seconds from some moment on.
    """

    def __init__(
        self,
        name: str,
        first: float,
        last: float,
        shown: bool,
        stream: Any = None,
        clock: Callable[[], float] = time.monotonic,
    ):
        self.name, self.first, self.last, self.shown, self.clock = name, first, last, shown, clock
        self.stream = sys.stderr if stream is None else stream
        self.begun, self.written, self.mark = clock(), -SILENCE, None
        drawn = shown and self.stream.isatty()
        self.bar = tqdm.tqdm(
            total=last - first, desc=name, bar_format=BAR, disable=not drawn, file=self.stream, leave=True
        )

    def __enter__(self) -> "Progress":
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.bar.close()

    def show(self, reached: float, words: str) -> None:
        """Shows a number that is reached, with words beside it."""
        if not self.shown:
            return
        now, left = self.clock(), self._left(reached)
        words = f"{words} [{tqdm.tqdm.format_interval(now - self.begun)}<{left}]"
        if not self.bar.disable:
            self.bar.n = min(reached, self.last) - self.first
            self.bar.set_postfix_str(words)
        elif now - self.written >= SILENCE or reached >= self.last:
            self.written = now
            share = (reached - self.first) / (self.last - self.first)
            print(f"{self.name}: {share:.0%}, {words}", file=self.stream, flush=True)

    def _left(self, reached: float) -> str:
        """The time to the end, at the pace since the first advance; a question mark until there is one."""
        now = self.clock()
        if reached > self.first and self.mark is None:
            self.mark = now, reached
        since, start = self.mark or (now, reached)
        if reached >= self.last:
            return "00:00"
        if reached <= start or now <= since:
            return "?"
        return tqdm.tqdm.format_interval((self.last - reached) * (now - since) / (reached - start))
