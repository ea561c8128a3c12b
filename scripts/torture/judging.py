"""What becomes of an attempt: refused in a sentence, taken, or a fault, within a time and a memory."""

from __future__ import annotations

import contextlib
import os
import pickle
import resource
import select
import signal
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from simrun.errors import SimrunError

MOST_SECONDS = 10
MOST_MEMORY = 3 * 1024**3
LONGEST_MESSAGE = 250_000
CANARY = Path(os.environ.setdefault("SIMRUN_TORTURE_CANARY", f"/tmp/simrun-torture-canary-{os.getpid()}"))
"""The file that every payload makes; nobody else does."""


class NoAnswerError(BaseException):
    """An attempt took too long; no handler of ordinary errors catches it."""


class Payload:
    """What unpickling it would execute makes the canary."""

    def __reduce__(self) -> tuple[Any, ...]:
        return os.mkdir, (str(CANARY),)


PICKLED = pickle.dumps(Payload())


@contextlib.contextmanager
def bounded(seconds: int = MOST_SECONDS) -> Iterator[None]:
    """Make what hangs an error."""

    def too_long(*_: object) -> None:
        raise NoAnswerError(f"no answer within {seconds} s")

    signal.signal(signal.SIGALRM, too_long)
    signal.alarm(seconds)
    try:
        yield
    finally:
        signal.alarm(0)


def judged(attempt: Callable[[], Any]) -> str:
    """What becomes of an attempt: ``refused``, ``taken``, or the fault."""
    before = _peak()
    try:
        attempt()
        outcome = "taken"
    except SimrunError as error:
        text = str(error)
        outcome = "refused" if len(text) <= LONGEST_MESSAGE else f"an endless message: {text[:120]}"
    except BaseException as error:  # the very thing that is looked for
        outcome = f"{type(error).__name__}: {str(error)[:120]}"
        if os.environ.get("SIMRUN_DEBUG"):
            import traceback

            traceback.print_exception(error, file=sys.__stderr__)
    if CANARY.exists():
        CANARY.rmdir()
        return "a payload was executed"
    taken = _peak() - before
    return outcome if taken <= MOST_MEMORY else f"it took {taken >> 20} MiB of memory"


def isolated(attempt: Callable[[], Any], seconds: int = 90) -> str:
    """The same, in a process of its own: libraries may crash there, hang in a system call and take memory."""
    reading, writing = os.pipe()
    process = os.fork()
    if process == 0:
        os.close(reading)
        quiet = open(os.devnull, "w")  # noqa: SIM115, the process ends with it
        sys.stdout = sys.stderr = quiet
        outcome = judged(lambda: _within(attempt, seconds))
        os.write(writing, outcome.encode(errors="replace")[:1000])
        os._exit(0)
    os.close(writing)
    try:
        return _outcome(process, reading, time.monotonic() + seconds + 5)
    finally:
        os.close(reading)


def _within(attempt: Callable[[], Any], seconds: int) -> None:
    with bounded(seconds):
        attempt()


def _outcome(process: int, reading: int, ends: float) -> str:
    ready, _, _ = select.select([reading], [], [], ends - time.monotonic())
    if not ready:
        os.kill(process, signal.SIGKILL)
    _, status = os.waitpid(process, 0)
    if not ready:
        return "it hung in a system call"
    said = os.read(reading, 1000).decode()
    if os.WIFSIGNALED(status):
        return f"its process ended by {signal.Signals(os.WTERMSIG(status)).name}"
    return said or f"its process ended with {os.WEXITSTATUS(status)}"


def _peak() -> int:
    """Bytes of memory that this process had at most."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
