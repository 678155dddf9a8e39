"""How a command ends: its exit code, and what is said of an error."""

import contextlib
import errno
import functools
import os
import sys
from collections.abc import Callable, Iterator

from .. import machine, ranks

DONE, VERDICT, USAGE, DATA, NUMERICS, DISK, INTERRUPTED = 0, 1, 2, 65, 70, 74, 75
NO_ROOM = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EIO, errno.EROFS)


def guarded(command: Callable[..., int]) -> Callable[..., int]:
    """The command with every error that a person can do something about turned into a message and an exit code."""

    @functools.wraps(command)
    def called(*args: object, **kwargs: object) -> int:
        try:
            for warning in machine.prepare():
                print(f"particles: warning: {warning}", file=sys.stderr)
            return command(*args, **kwargs)
        except KeyboardInterrupt:
            _leave("interrupted; what was committed is kept", INTERRUPTED)
            raise
        except Exception as error:
            code = _exit_code(error)
            if code is None or "PARTICLES_TRACEBACK" in os.environ:
                raise
            message = _told(error)
            if ranks.joined():  # an orderly end would wait for the others, who may be gone
                _leave(message, code)
            print(f"particles: {message}", file=sys.stderr)
            return code

    return called


@contextlib.contextmanager
def advising(advice: Callable[[str], str]) -> Iterator[None]:
    """Where a full disk is told with an advice of its own, made of the words that ask to try again."""
    try:
        yield
    except OSError as error:
        if error.errno in NO_ROOM:
            error.add_note(advice(_again(error)))
        raise


def _told(error: BaseException) -> str:
    """What is said of an error; of a full disk also what has become of a run, and what to do."""
    message = str(error) or type(error).__name__
    if isinstance(error, OSError) and error.errno in NO_ROOM:
        said = getattr(error, "__notes__", None) or [_again(error).capitalize()]
        return ". ".join(filter(None, [message, *said]))
    return message


def _again(error: OSError) -> str:
    room = error.errno in (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)
    return f"when {'there is room' if room else 'files can be written there'}, give the same command again"


def _leave(message: str, code: int) -> None:
    """Ends the process without taking the interpreter down in order: XLA may be compiling in other threads."""
    print(f"particles: {message}", file=sys.stderr)
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(code)


def _exit_code(error: BaseException) -> int | None:
    """The exit code of an error; None for one that is a fault of ours and deserves its traceback."""
    from ..integration import Failed
    from ..record import Damaged, Locked
    from ..simulation import Interrupted, Unfinished
    from ..stored import DataError

    if isinstance(error, OSError):
        return DISK if error.errno in NO_ROOM else USAGE
    codes = {
        (Interrupted,): INTERRUPTED,
        (Failed, machine.Untrusted): NUMERICS,
        (DataError, Damaged): DATA,
        (Unfinished, Locked, ValueError, MemoryError, ModuleNotFoundError): USAGE,
    }
    return next((code for classes, code in codes.items() if isinstance(error, classes)), None)
