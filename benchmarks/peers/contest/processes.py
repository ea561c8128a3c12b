"""What a run costs, seen from outside: CPU seconds and memory of whole process trees, and wall seconds."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import psutil

_LOG_TAIL = 1500


@dataclass(frozen=True)
class Command:
    """One process to start.

    Attributes:
        arguments: the command line.
        log: file that receives what it prints.
        environment: variables added to the present ones.
        folder: working folder; None keeps the present one.
    """

    arguments: Sequence[str]
    log: Path
    environment: Mapping[str, str] = field(default_factory=dict)
    folder: Path | None = None


@dataclass(frozen=True)
class Service:
    """A process that the others need, and that is ended after them.

    Attributes:
        command: starts it.
        ready: says whether it answers.
    """

    command: Command
    ready: Callable[[], bool]


@dataclass(frozen=True)
class Cost:
    """What a run took.

    Attributes:
        began: time of its start, seconds since the epoch.
        wall: seconds from the first start to the last end of the commands, services being ready.
        cpu: CPU seconds of all processes and all their descendants, services and start-up included.
        memory: largest sum of their memory (proportional set size), bytes, sampled once a second.
        timeline: moments (seconds since the epoch), and the CPU seconds spent until then.
    """

    began: float
    wall: float
    cpu: float
    memory: int
    timeline: tuple[tuple[float, float], ...]

    def cpu_after(self, moment: float) -> float:
        """CPU seconds spent after a moment, from the two samples around it."""
        moments, spent = zip(*self.timeline, strict=True)
        return self.cpu - float(np.interp(moment, moments, spent))


class _Watch(threading.Thread):
    """Looks at process trees once a second."""

    def __init__(self, roots: list[int]) -> None:
        super().__init__(daemon=True)
        self.peak = 0
        self.timeline = [(time.time(), 0.0)]
        self._roots = roots
        self._over = threading.Event()

    def run(self) -> None:
        """Sample."""
        while not self._over.wait(1.0):
            members = [member for pid in list(self._roots) for member in _tree(pid)]
            self.peak = max(self.peak, sum(_memory(member) for member in members))
            self.timeline.append((time.time(), sum(_cpu(member) for member in members)))

    def finish(self) -> None:
        """Stop."""
        self._over.set()
        self.join()


def measure(commands: Sequence[Command], service: Service | None = None) -> Cost:
    """Run commands side by side until all have ended.

    Raises:
        SystemExit: one of them failed; the end of its log is shown.
    """
    roots: list[int] = []
    watch = _Watch(roots)
    watch.start()
    cpu = 0.0
    server = None
    try:
        if service is not None:
            server = _start(service.command)
            roots.append(server.pid)
            _await(service, server)
        began, started = time.time(), time.perf_counter()
        running = [_start(command) for command in commands]
        roots += [process.pid for process in running]
        failed = None
        for command, process in zip(commands, running, strict=True):
            status, seconds = _reap(process)
            cpu += seconds
            if status != 0:
                failed = command
        wall = time.perf_counter() - started
        if failed is not None:
            raise SystemExit(f"{' '.join(failed.arguments[:4])} ... failed:\n{_tail(failed.log)}")
    finally:
        if server is not None:
            # Not SIGINT, which processes behind nohup ignore.
            server.send_signal(signal.SIGTERM)
            cpu += _reap(server)[1]
        watch.finish()
    return Cost(began, wall, cpu, watch.peak, tuple(watch.timeline))


def _start(command: Command) -> subprocess.Popen[bytes]:
    with command.log.open("ab") as log:
        return subprocess.Popen(
            command.arguments,
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=log,
            cwd=command.folder,
            env={**os.environ, **command.environment},
        )


def _reap(process: subprocess.Popen[bytes]) -> tuple[int, float]:
    """Exit status, and CPU seconds of the process and of all descendants that were waited for."""
    _, status, usage = os.wait4(process.pid, 0)
    process.returncode = os.waitstatus_to_exitcode(status)
    return process.returncode, usage.ru_utime + usage.ru_stime


def _await(service: Service, process: subprocess.Popen[bytes], seconds: float = 120.0) -> None:
    deadline = time.monotonic() + seconds
    while not service.ready():
        if time.monotonic() > deadline or not psutil.pid_exists(process.pid):
            raise SystemExit(f"{service.command.arguments[0]} does not serve:\n{_tail(service.command.log)}")
        time.sleep(0.2)


def _tree(pid: int) -> list[psutil.Process]:
    with contextlib.suppress(psutil.Error):
        process = psutil.Process(pid)
        return [process, *process.children(recursive=True)]
    return []


def _memory(process: psutil.Process) -> int:
    with contextlib.suppress(psutil.Error):
        return int(process.memory_full_info().pss)
    return 0


def _cpu(process: psutil.Process) -> float:
    """CPU seconds of a process and of its children that have ended; living ones are counted by themselves."""
    with contextlib.suppress(psutil.Error):
        return sum(process.cpu_times()[:4])
    return 0.0


def _tail(log: Path) -> str:
    return log.read_text(encoding="utf-8", errors="replace")[-_LOG_TAIL:]
