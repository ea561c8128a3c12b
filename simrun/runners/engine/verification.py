"""Recordings, replayed and made by a benchmark's laboratory in the interpreter that runs the benchmark's episodes."""

from __future__ import annotations

import contextlib
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from simrun.envs import Benchmark
from simrun.envs.laboratory.laboratory import Laboratory
from simrun.envs.laboratory.replaying import ReplayReport
from simrun.envs.machine.folders import real_path
from simrun.envs.machine.interpreters import find_interpreter
from simrun.runners.engine.process import WorkerProcess
from simrun.runners.engine.wire import address

_SECONDS = 1800.0
"""Time that one recording may take: loading a scene, compiling a shader or a controller, and some hundred steps."""


def verify(benchmark: Benchmark, folder: Path, python: str | None = None) -> Iterator[ReplayReport]:
    """Replay the recordings of a folder.

    Args:
        benchmark: the benchmark.
        folder: holds recordings, our own or upstream's; see `simrun.envs.laboratory.laboratory.Laboratory.verify`.
        python: interpreter in which upstream is importable, which is asked where a recording differs.

    Yields:
        One report a recording, as soon as it is replayed.

    Raises:
        UsageError: the folder holds no recording of this benchmark.
        InfrastructureError: packages or data files are missing, or the simulator died.
    """
    for finding in _work(benchmark, "verify", folder, python):
        yield ReplayReport(**finding)


def record(benchmark: Benchmark, folder: Path) -> Iterator[Path]:
    """Make the recordings that a benchmark ships, anew; the same machine gives the same arrays.

    Args:
        benchmark: the benchmark.
        folder: where they are written; made if need be.

    Yields:
        Each file, once it is written.

    Raises:
        InfrastructureError: packages, data files or the simulator failed.
    """
    folder.mkdir(parents=True, exist_ok=True)
    Laboratory.of(benchmark).prepare(folder)
    yield from map(Path, _work(benchmark, "record", folder))


def _work(benchmark: Benchmark, work: str, folder: Path, python: str | None = None) -> Iterator[Any]:
    with _worker(benchmark, folder) as worker:
        told = {"work": work, "folder": str(real_path(folder)), "python": python}
        request = {"op": "experiment", **address(benchmark), **told}
        worker.call(request, _SECONDS)
        while (finding := worker.call({"op": "finding"}, _SECONDS)["finding"]) is not None:
            yield finding


@contextlib.contextmanager
def _worker(benchmark: Benchmark, folder: Path) -> Iterator[WorkerProcess]:
    environment = Laboratory.of(benchmark).environment(folder)
    with tempfile.TemporaryDirectory(prefix="simrun-laboratory-") as logs:
        worker = WorkerProcess(0, find_interpreter(benchmark), Path(logs) / "worker.log", environment)
        try:
            worker.greet(_SECONDS)
            yield worker
            worker.close()
        finally:
            worker.kill()
