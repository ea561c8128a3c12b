"""How workers share the cores, and what the first of them tells."""

from __future__ import annotations

import os
import select
import signal
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from simrun.envs import get_benchmark
from simrun.policies import PolicySpec
from simrun.runners.engine import pool
from simrun.runners.engine.pool import Phase, WorkerPool, worker_variables


@pytest.fixture(autouse=True)
def eight_cores(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pool, "usable_cores", lambda: 8)
    for name in worker_variables(get_benchmark("calvin"), 1):
        monkeypatch.delenv(name, raising=False)


def test_drawing_threads_are_a_workers_share_of_the_cores() -> None:
    assert worker_variables(get_benchmark("calvin"), 2)["LP_NUM_THREADS"] == "4"
    assert worker_variables(get_benchmark("calvin"), 8)["LP_NUM_THREADS"] == "0"
    assert worker_variables(get_benchmark("calvin"), 16)["LP_NUM_THREADS"] == "0"


def test_small_pictures_are_drawn_without_threads() -> None:
    assert worker_variables(get_benchmark("tabletop"), 1)["LP_NUM_THREADS"] == "0"


def test_the_users_own_setting_wins(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LP_NUM_THREADS", "3")
    variables = worker_variables(get_benchmark("calvin"), 2)
    assert "LP_NUM_THREADS" not in variables
    assert variables["OMP_NUM_THREADS"] == "1"


@contextmanager
def blind_pool(folder: Path, size: int) -> Iterator[WorkerPool]:
    """Workers of tabletop for a policy that looks at nothing; none of them is started yet."""
    benchmark = get_benchmark("tabletop")
    workers = WorkerPool(benchmark, benchmark.protocol(), size, folder, recycle=10)
    workers.prepare(PolicySpec("blind", 1, cameras=()))
    try:
        yield workers
    finally:
        workers.close()


@pytest.mark.parametrize("warm", [False, True])
def test_the_first_worker_tells_the_fingerprint_and_is_ready_then(tmp_path: Path, warm: bool) -> None:
    """A process of its own would import the simulator once more than there are workers."""
    with blind_pool(tmp_path, 1) as workers:
        if warm:
            workers.warm_up(60.0)
        report = workers.fingerprint(60.0)
        assert report["benchmark"] == "tabletop"
        assert [file.name for file in tmp_path.iterdir()] == ["worker-0.log"]
        [slot] = workers.slots
        assert slot.phase is Phase.READY
        assert slot.worker is not None
        process = slot.worker.pid
        assert workers.fingerprint(60.0) == report
        assert slot.worker.pid == process
        assert workers.start_seconds > 0


def test_the_other_workers_are_configured_while_the_first_one_is(tmp_path: Path) -> None:
    with blind_pool(tmp_path, 3) as workers:
        workers.warm_up(60.0)
        first, second, third = workers.slots
        assert second.worker is not None
        assert third.worker is not None
        os.kill(third.worker.pid, signal.SIGKILL)
        assert select.select([second.worker], [], [], 60.0)[0]
        workers.fingerprint(60.0)
        assert first.phase is Phase.READY
        assert second.phase is Phase.CONFIGURING
        assert second.worker.answer()["ok"]
        assert workers.wake(second, 60.0)
        assert third.worker is None


def test_a_worker_that_never_greets_holds_nobody_up(tmp_path: Path) -> None:
    with blind_pool(tmp_path, 2) as workers:
        workers.warm_up(600.0)
        first, second = workers.slots
        assert second.worker is not None
        os.kill(second.worker.pid, signal.SIGSTOP)
        assert workers.fingerprint(60.0)["benchmark"] == "tabletop"
        assert (first.phase, second.phase) == (Phase.READY, Phase.GREETING)
