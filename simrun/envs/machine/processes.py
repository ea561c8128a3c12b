"""Running other programs: one runner that never hangs, never raises for what the program does, and names its end."""

from __future__ import annotations

import ctypes
import os
import shutil
import signal
import subprocess
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path

LONGEST_WAIT = 1e6
"""Seconds beyond which the system's own timers cannot wait."""

RUNNER = "SIMRUN_RUNNER"
"""Environment variable with the process id of the runner, in the processes that it starts."""

_PR_SET_PDEATHSIG = 1
# Looked up here, because between fork and exec nothing may wait for a lock of the loader.
_PRCTL = ctypes.CDLL(None).prctl if sys.platform == "linux" else None

_CAUSES = {
    signal.SIGKILL: "by the system when memory ran out, by a job's limit, or by hand",
    signal.SIGSEGV: "a crash in native code: simulator, driver or library",
    signal.SIGABRT: "native code gave up: simulator, driver or library",
    signal.SIGBUS: "a file or shared memory was cut short: a full disk or a full /dev/shm",
    signal.SIGILL: "native code made for another processor",
    signal.SIGFPE: "a division by zero in native code",
    signal.SIGSYS: "a system call that a sandbox forbids",
    signal.SIGTERM: "somebody or a job's limit asked it to end",
    signal.SIGINT: "interrupted from the keyboard",
    signal.SIGHUP: "its terminal was closed",
    signal.SIGXCPU: "the limit of processor time",
    signal.SIGPIPE: "who read its output went away",
}


def describe_signal(number: int) -> str:
    """A signal by its name and likely cause, ``SIGSEGV (a crash in native code: ...)``."""
    try:
        known = signal.Signals(number)
    except ValueError:
        return f"signal {number}"
    return f"{known.name} ({_CAUSES[known]})" if known in _CAUSES else known.name


def describe_exit(code: int) -> str:
    """How a process ended, as a phrase: ``exit code 3``, or the signal that ended it."""
    return f"exit code {code}" if code >= 0 else f"ended by {describe_signal(-code)}"


def die_with_parent() -> None:
    """Let the system kill this process when the one that started it ends, even while this one is stopped.

    Called in the new process, first thing; does something on Linux only. A process whose `RUNNER` ended before that
    ends here.
    """
    if _PRCTL is not None:
        _PRCTL(_PR_SET_PDEATHSIG, int(signal.SIGKILL))
    if runner := os.environ.get(RUNNER):
        try:
            os.kill(int(runner), 0)
        except ProcessLookupError:
            os._exit(1)


def dying_with_parent(command: Sequence[str]) -> list[str]:
    """A foreign program's command, so that the system kills it when its starter ends, even while it is stopped.

    By util-linux's ``setpriv``, which every Debian and Red Hat has; elsewhere the command as it is.
    """
    return [*_setpriv(), *command]


@cache
def _setpriv() -> tuple[str, ...]:
    found = shutil.which("setpriv")
    prefix = () if found is None else (found, "--pdeathsig", "KILL")
    # Busybox has one that does not know of it.
    return prefix if prefix and ask([*prefix, "true"]).ok else ()


@dataclass(frozen=True)
class Answer:
    """What a program said.

    Attributes:
        output: its standard output.
        complaints: its standard error.
        problem: why it is no answer, as a phrase; empty when the program ended with exit code 0.
        code: its exit code; None where it was not started or did not end.
    """

    output: str
    complaints: str
    problem: str = ""
    code: int | None = 0

    @property
    def ok(self) -> bool:
        """Whether the program ended with exit code 0."""
        return not self.problem

    @property
    def last_line(self) -> str:
        """The last line that it said, the best one to show of an error; `problem` where it said nothing."""
        lines = (self.complaints.strip() or self.output.strip()).splitlines()
        return lines[-1] if lines else self.problem


def ask(
    command: Sequence[str],
    *,
    seconds: float | None = None,
    environment: Mapping[str, str] | None = None,
    folder: Path | None = None,
) -> Answer:
    """Run a program to its end without input and keep what it says.

    Args:
        command: program and arguments; no shell is involved.
        seconds: time after which it is killed; None waits.
        environment: all of its environment variables; None gives it this process's.
        folder: its working folder.
    """
    try:
        done = subprocess.run(
            list(command),
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            errors="replace",
            timeout=seconds,
            env=environment,
            cwd=folder,
            check=False,
        )
    except subprocess.TimeoutExpired:
        return Answer("", "", f"{command[0]} gave no answer within {seconds:g} s", None)
    except OSError as error:
        return Answer("", "", f"{command[0]} cannot be run: {error.strerror or error}", None)
    problem = describe_exit(done.returncode) if done.returncode else ""
    return Answer(done.stdout, done.stderr, problem, done.returncode)
