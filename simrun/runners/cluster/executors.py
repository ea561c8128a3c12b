"""Executors: who runs the shards of a planned sweep. Slurm, processes of this machine, or this process.

All three run the same shards (`simrun.runners.cluster.shard_session.run_shard`) and then the same last step
(`simrun.runners.cluster.sharded_runs.finish_run`); they differ in where, and in whether they wait.
"""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import sys
from collections.abc import Callable

from simrun.envs.machine.capacity import Capacity
from simrun.envs.machine.processes import RUNNER
from simrun.errors import UnknownNameError
from simrun.runners.cluster.shard_session import ShardDisplay, run_shard
from simrun.runners.cluster.sharded_runs import Executor, ShardedRun, finish_run
from simrun.runners.cluster.shards import Shard
from simrun.runners.cluster.slurm import Resources, SlurmExecutor
from simrun.runners.engine.interruption import Interruption


class LocalExecutor(Executor):
    """Waits until all shards have ended; Ctrl-C and SIGTERM end them in order."""

    def submit(self, work: ShardedRun) -> str:
        """Run every shard in a process of its own."""
        gpus = Capacity.detect().gpus
        processes: list[subprocess.Popen[bytes]] = []
        with Interruption():
            try:
                for index in range(work.shards):
                    processes.append(_start(work, index, gpus))
                codes = [process.wait() for process in processes]
            except KeyboardInterrupt:
                for process in processes:
                    process.send_signal(signal.SIGTERM)
                for process in processes:
                    process.wait()
                return "interrupted; go on with the same command"
        failed = sum(code != 0 for code in codes)
        return f"{finish_run(work.path)}" + (f"\n{failed} of {work.shards} shards reported problems" if failed else "")


def _start(work: ShardedRun, index: int, gpus: tuple[str, ...]) -> subprocess.Popen[bytes]:
    command = [sys.executable, "-m", "simrun", *work.shard_arguments(), "--shard", f"{index}/{work.shards}"]
    # By it the shard knows whose end is its own; a function between fork and exec could wait there for ever.
    environment = {**os.environ, RUNNER: str(os.getpid())}
    if gpus:
        environment["CUDA_VISIBLE_DEVICES"] = gpus[index % len(gpus)]
    cores = sorted(os.sched_getaffinity(0)) if hasattr(os, "sched_setaffinity") else []
    own = cores[index % len(cores) :: work.shards] if cores else []
    # A session of its own keeps the terminal's Ctrl-C from reaching the shard twice.
    process = subprocess.Popen(command, env=environment, start_new_session=True)
    if own:
        # What it starts inherits them; where it has ended already, that is told by its exit code.
        with contextlib.suppress(ProcessLookupError):
            os.sched_setaffinity(process.pid, own)
    return process


class DebugExecutor(Executor):
    """Waits until all shards have ended; Ctrl-C ends the one that runs, and leaves out the others."""

    def submit(self, work: ShardedRun) -> str:
        """Run every shard."""
        for index in range(work.shards):
            shard = Shard(index, work.shards)
            result = run_shard(work.path, shard, dict(work.machine), ShardDisplay(), work.lease)
            if result.interrupted:
                return f"interrupted in shard {index}; go on with the same command"
        return str(finish_run(work.path))


_KINDS: dict[str, Callable[[Resources | None], Executor]] = {
    "slurm": SlurmExecutor,
    "local": lambda resources: LocalExecutor(),
    "debug": lambda resources: DebugExecutor(),
}

EXECUTORS = tuple(_KINDS)
"""Names that `make_executor` knows."""


def make_executor(name: str, resources: Resources | None = None) -> Executor:
    """The executor of a name.

    Args:
        name: one of `EXECUTORS`.
        resources: what each task asks Slurm for; the other executors have no use for it.

    Raises:
        UnknownNameError: no such executor.
    """
    if name not in _KINDS:
        raise UnknownNameError("executor", name, EXECUTORS)
    return _KINDS[name](resources)
