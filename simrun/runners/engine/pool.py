"""The pool: worker processes that stay warm between episodes, checkpoints and execution variants."""

from __future__ import annotations

import contextlib
import os
import select
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from enum import Enum, auto
from pathlib import Path
from typing import Any

from simrun.envs import ActionSpec, Benchmark, Protocol
from simrun.envs.machine.capacity import usable_cores
from simrun.envs.machine.interpreters import find_interpreter
from simrun.errors import SimrunError
from simrun.policies import PolicySpec
from simrun.runners.engine.process import WorkerProcess
from simrun.runners.engine.rollout import Rollout
from simrun.runners.engine.sizing import Usage, usage_of
from simrun.runners.engine.wire import configuration

_PATIENCE = 5.0


class Phase(Enum):
    """What a slot is waiting for."""

    GREETING = auto()
    CONFIGURING = auto()
    READY = auto()
    RESETTING = auto()
    INFERRING = auto()
    STEPPING = auto()


@dataclass
class Slot:
    """A place for one worker process and the episode that runs in it.

    Attributes:
        index: number of the slot; also the number of its worker in messages and records.
        worker: the process, None before it is started and after it was lost.
        phase: what the slot is waiting for.
        since: when the worker was last told to reset or to step, on the monotonic clock.
        rollout: the episode in progress.
        last_task: task of the last episode, whose model the worker still holds.
        episodes: episodes started in the present process.
        setup: the configure message that the process was last sent.
        started: when the process was started, on the monotonic clock.
        retired: it shall take no further episode; its process ends with the one that runs.
    """

    index: int
    worker: WorkerProcess | None = None
    phase: Phase = Phase.GREETING
    since: float = 0.0
    rollout: Rollout | None = None
    last_task: str | None = None
    episodes: int = 0
    setup: dict[str, Any] = field(default_factory=dict)
    started: float = 0.0
    retired: bool = False


class WorkerPool:
    """Starts, configures, recycles and replaces the workers of one benchmark.

    Args:
        benchmark: the benchmark.
        protocol: the protocol its environments run under.
        size: number of workers to begin with.
        logs: folder for what the simulators print.
        recycle: episodes after which a process is replaced.

    Raises:
        DependencyError: no interpreter can run the benchmark.
    """

    def __init__(self, benchmark: Benchmark, protocol: Protocol, size: int, logs: Path, recycle: int) -> None:
        self.benchmark = benchmark
        self.protocol = protocol
        self.slots = [Slot(index) for index in range(size)]
        self._interpreter = find_interpreter(benchmark)
        self._logs = logs
        self._recycle = recycle
        self._setup: dict[str, Any] = {}
        self._environment = worker_variables(benchmark, size)
        self.start_seconds = 0.0
        """The longest that a worker took from its start to its first episode."""

    def prepare(self, spec: PolicySpec) -> None:
        """Say what the next policy wants to see; workers are reconfigured only where that differs."""
        cameras = list(self.protocol.cameras) if spec.cameras is None else list(spec.cameras)
        self._setup = configuration(
            self.benchmark,
            self.protocol,
            cameras=cameras,
            action_mode=spec.action_mode,
            privileged=spec.privileged,
        )

    @property
    def live(self) -> list[Slot]:
        """The slots that take episodes."""
        return [slot for slot in self.slots if not slot.retired]

    def resize(self, count: int) -> list[Slot]:
        """Have so many workers from now on; returns the slots that come or go. The scheduler starts and ends them."""
        changed = []
        for slot in reversed(self.live):
            if len(self.live) > count:
                slot.retired = True
                changed.append(slot)
        for slot in self.slots:
            if slot.retired and slot not in changed and len(self.live) < count:
                slot.retired = False
                changed.append(slot)
        while len(self.live) < count:
            self.slots.append(Slot(len(self.slots)))
            changed.append(self.slots[-1])
        return changed

    def usage(self) -> dict[int, Usage]:
        """What this process and each worker have used of the machine, by process id."""
        pids = [os.getpid(), *(slot.worker.pid for slot in self.slots if slot.worker is not None)]
        return {pid: usage for pid in pids if (usage := usage_of(pid)) is not None}

    @property
    def action_spec(self) -> ActionSpec:
        """The action convention that the workers are configured for."""
        return self.benchmark.action_specs[self._setup["action_mode"]]

    @property
    def cameras(self) -> tuple[str, ...]:
        """Cameras that the workers observe with now."""
        return tuple(self._setup["cameras"])

    def warm_up(self, timeout: float) -> None:
        """Start every worker that is not there yet, without waiting for it.

        Raises:
            WorkerError: a process cannot be started.
        """
        for slot in self.live:
            if slot.worker is None:
                self.wake(slot, timeout)

    def is_worn_out(self, slot: Slot) -> bool:
        """Whether the slot's process has run its share of episodes and shall be replaced."""
        return slot.worker is not None and slot.episodes >= self._recycle

    def wake(self, slot: Slot, timeout: float) -> bool:
        """Bring a slot towards READY: start or configure its worker; True when it is ready now.

        Raises:
            WorkerError: the process cannot be started or is gone.
        """
        if slot.worker is None:
            slot.worker = WorkerProcess(
                slot.index, self._interpreter, self._logs / f"worker-{slot.index}.log", self._environment
            )
            slot.episodes = 0
            slot.last_task = None
            slot.setup = {}
            slot.started = time.monotonic()
            slot.phase = Phase.GREETING
            slot.worker.ask({"op": "hello"}, timeout)
            return False
        if slot.setup != self._setup:
            slot.phase = Phase.CONFIGURING
            slot.setup = self._setup
            slot.worker.ask(self._setup, timeout)
            return False
        if slot.phase is Phase.CONFIGURING and slot.started:
            self.start_seconds = max(self.start_seconds, time.monotonic() - slot.started)
            slot.started = 0.0
        slot.phase = Phase.READY
        return True

    def drop(self, slot: Slot) -> None:
        """Kill the slot's worker; the next `wake` starts a fresh one."""
        if slot.worker is not None:
            slot.worker.kill()
            slot.worker = None
        slot.rollout = None

    def fingerprint(self, timeout: float) -> dict[str, Any]:
        """The benchmark's fingerprint, which the first worker tells before its next episode.

        A process of its own would import the simulator once more, while the workers do: a third of a start.

        Raises:
            InfrastructureError: packages, assets or a renderer are missing there.
        """
        first, *others = self.live
        while not self._follow(first, timeout):
            self._configure_meanwhile(first, others, timeout)
        assert first.worker is not None
        report: dict[str, Any] = first.worker.call({"op": "fingerprint"}, timeout)["fingerprint"]
        return report

    def _configure_meanwhile(self, first: Slot, others: Sequence[Slot], timeout: float) -> None:
        """Configure workers as they greet, until the first one has something to say."""
        assert first.worker is not None
        owing = {
            slot.worker.fileno(): slot for slot in others if slot.worker is not None and slot.phase is Phase.GREETING
        }
        while owing:
            ready = select.select([first.worker.fileno(), *owing], [], [], _PATIENCE)[0]
            if not ready or first.worker.fileno() in ready:
                return
            for descriptor in ready:
                # Who fails is started again when it gets an episode.
                slot = owing.pop(descriptor)
                try:
                    self._follow(slot, timeout)
                except SimrunError:
                    self.drop(slot)

    def _follow(self, slot: Slot, timeout: float) -> bool:
        """Wait for the reply that a slot's worker owes, and wake it; True when it is ready."""
        if slot.worker is not None and slot.worker.deadline is not None:
            reply = slot.worker.answer()
            if slot.phase is Phase.GREETING:
                slot.worker.check_greeting(reply)
        return self.wake(slot, timeout)

    def close(self) -> None:
        """End every worker."""
        for slot in self.slots:
            with contextlib.suppress(Exception):
                self.drop(slot)


def worker_variables(benchmark: Benchmark, workers: int) -> dict[str, str]:
    """Environment variables for ``workers`` processes beside one another; a user's own settings win.

    Threads must not fight over the cores: software renderers get the share of a worker, numerical libraries one
    thread. A share of one core is none beside the worker's own: Mesa then draws in it, 5% cheaper than in a thread
    that it waits for, and small pictures in half the time of two threads.

    A simulator's heap is large and is walked from end to end at every step, and the runner comes in between: in
    large pages its addresses are found faster (glibc 2.35 and later; elsewhere the setting means nothing).
    """
    share = 1 if benchmark.draws_in_one_thread else usable_cores() // workers
    variables = {
        "OMP_NUM_THREADS": "1",
        "OPENBLAS_NUM_THREADS": "1",
        "MKL_NUM_THREADS": "1",
        "NUMBA_NUM_THREADS": "1",
        "LP_NUM_THREADS": str(share) if share > 1 else "0",
        "GLIBC_TUNABLES": "glibc.malloc.hugetlb=1",
    }
    return {name: value for name, value in variables.items() if name not in os.environ}
