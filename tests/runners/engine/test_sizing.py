"""The number of workers follows what is measured: on the clock of a test, and in runs that change it all the time."""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Sequence
from itertools import cycle, pairwise
from pathlib import Path

import numpy as np
import pytest

from simrun.api import FunctionPolicy, evaluate
from simrun.envs import Episode, get_benchmark
from simrun.envs.machine.capacity import Capacity
from simrun.policies import Observation
from simrun.results.plan import Candidate, Job
from simrun.runners.engine import session, sizing
from simrun.runners.engine.pool import WorkerPool
from simrun.runners.engine.progress import SilentDisplay
from simrun.runners.engine.sizing import Stretch, Window, WorkerCount, usage_of
from simrun.runners.engine.sources import JobQueue
from simrun.runners.engine.staffing import Staffing
from tests.runners.conftest import Run, outcomes

CORES = 2


class Machine:
    """Cores, a policy that answers one batch after the other, and workers that ask it: throughput by their number.

    Args:
        step: CPU seconds of a worker between two answers.
        think: seconds of an inference, whatever the batch.
        max_batch: largest batch.
        each: seconds that each observation adds to an inference.
        thrash: share of the throughput that every worker beyond four a core costs.
    """

    def __init__(self, step: float, think: float, max_batch: int, each: float = 0.0, thrash: float = 0.0) -> None:
        self.step, self.think, self.max_batch, self.each, self.thrash = step, think, max_batch, each, thrash
        self.noise = np.random.default_rng(0)

    def inference(self, count: int) -> float:
        return self.think + self.each * min(count, self.max_batch)

    def rate(self, count: int) -> float:
        limits = [CORES / self.step if self.step else np.inf, count / (self.step + self.inference(count))]
        if self.inference(count):
            limits.append(min(count, self.max_batch) / self.inference(count))
        return min(limits) * (1 - self.thrash * max(0, count - 4 * CORES))

    def stretch(self, count: int) -> Stretch:
        rate = self.rate(count)
        batch = min(count, self.max_batch)
        inferring = min(1.0, rate * self.inference(count) / batch)
        thinking = rate * (self.step + self.inference(count))
        waiting = max(0.0, count - thinking) if inferring >= 0.99 else 0.0
        measured = rate * (1 + 0.01 * self.noise.standard_normal())
        return Stretch(measured, min(CORES, rate * self.step), inferring, waiting)


MACHINES = [
    Machine(0.008, 0.0, 16),
    Machine(0.008, 0.020, 16),
    Machine(0.008, 0.100, 16),
    Machine(0.008, 0.400, 16),
    Machine(0.090, 0.100, 16),
    Machine(0.090, 0.100, 1),
    Machine(0.008, 0.400, 1),
    Machine(0.500, 0.020, 1),
    Machine(0.008, 0.020, 16, each=0.010),
    Machine(0.001, 0.300, 16, thrash=0.05),
]


@pytest.mark.parametrize("machine", MACHINES, ids=lambda machine: f"{machine.step}-{machine.think}-{machine.max_batch}")
def test_the_number_found_is_within_a_tenth_of_the_best(machine: Machine) -> None:
    workers = WorkerCount(CORES, CORES, 16)
    for _ in range(12):
        workers.decide(machine.stretch(workers.count), 16, machine.max_batch)
    best = max(machine.rate(count) for count in range(1, 17))
    assert machine.rate(workers.count) >= 0.9 * best
    assert workers.count <= 16


def test_a_policy_that_serves_one_after_the_other_gets_no_more_workers_than_it_can_serve() -> None:
    workers = WorkerCount(16, 16, 128)
    machine = Machine(0.008, 0.400, 1)
    for _ in range(20):
        workers.decide(machine.stretch(workers.count), 100, 1)
    assert workers.count <= 3


def test_a_trial_that_does_not_help_is_taken_back_and_the_next_waits_twice_as_long() -> None:
    workers = WorkerCount(2, CORES, 16)
    same = Stretch(rate=100.0, processor=0.5, inferring=0.5, waiting=0.0)
    counts = [workers.decide(same, 16, 16) for _ in range(40)]
    # The second stretch with eight decides.
    assert counts[:3] == [8, 8, 2]
    trials = [index for index, count in enumerate(counts) if count == 8]
    assert [later - earlier for earlier, later in pairwise(trials[::2])] == [11, 19]


def test_a_trial_is_not_given_up_for_one_bad_stretch() -> None:
    workers = WorkerCount(2, CORES, 16)
    rates = {2: 100.0, 8: 300.0, 16: 400.0}
    slow = iter([1.0, 0.3, 1.0, 1.0, 0.7, 1.0, 1.0])
    for share in slow:
        workers.decide(Stretch(rates[workers.count] * share, 0.5, 0.5, 0.0), 16, 16)
    assert workers.count == 16


def test_too_many_that_were_kept_by_luck_go_again_when_fewer_are_faster() -> None:
    """Tabletop with a policy that answers at once, as measured on two cores."""
    rates = {9: 128.0, 6: 145.0, 4: 163.0, 3: 140.0, 2: 125.0}
    workers = WorkerCount(9, CORES, 16)
    counts = [workers.decide(Stretch(rates[workers.count], 1.95, 0.1, 0.0), 0, 16) for _ in range(30)]
    assert counts == [9, 6, 6, *[4] * 27]


def test_workers_that_were_worth_it_come_back_when_fewer_are_slower() -> None:
    rates = {9: 18.0, 6: 15.0}
    workers = WorkerCount(9, CORES, 16)
    counts = [workers.decide(Stretch(rates[workers.count], 1.95, 0.4, 0.0), 0, 16) for _ in range(40)]
    assert counts[:4] == [9, 6, 6, 9]
    assert [index for index, count in enumerate(counts) if count == 6] == [1, 2, 13, 14, 33, 34]


def test_a_burst_of_resets_is_no_reason_for_more_or_fewer() -> None:
    """CALVIN with 100 ms and LIBERO too: five more began at one odd stretch, which took the cores 10 s."""
    usual, burst = Stretch(20.0, 1.95, 0.9, 1.0), Stretch(16.0, 1.75, 0.5, 0.7)
    workers = WorkerCount(9, CORES, 16)
    assert [workers.decide(seen, 16, 16) for seen in [usual, burst] * 20] == [9] * 40
    crowd = Stretch(16.0, 1.95, 0.4, 0.7)
    assert [workers.decide(seen, 16, 16) for seen in [usual, crowd] * 20] == [9] * 40
    pause = Stretch(14.0, 1.2, 0.1, 0.0)
    assert [workers.decide(seen, 16, 16) for seen in [usual, pause] * 20] == [9] * 40
    assert [workers.decide(usual, 16, 16), *(workers.decide(burst, 16, 16) for _ in range(2))] == [9, 9, 14]


def test_behind_a_policy_that_computes_most_of_the_time_nobody_is_sent_away() -> None:
    """LIBERO with 400 ms an inference, as measured on two cores: fewer were tried, which took minutes each time."""
    rates = {2: 2.2, 8: 6.9, 12: 8.6, 16: 9.6}
    workers = WorkerCount(2, CORES, 16)
    busy = {2: 0.5, 8: 1.3, 12: 1.78, 16: 1.97}
    seen = (Stretch(rates[workers.count], busy[workers.count], 0.9, 1.5) for _ in range(40))
    counts = [workers.decide(stretch, 16, 16) for stretch in seen]
    assert counts == [8, 12, 12, *[16] * 37]


def test_no_worker_is_added_that_memory_does_not_hold() -> None:
    workers = WorkerCount(2, CORES, 16)
    idle = Stretch(rate=100.0, processor=0.2, inferring=0.5, waiting=0.0)
    assert workers.decide(idle, 0, 16) == 2
    assert workers.decide(idle, 1, 16) == 3


def test_workers_go_when_the_memory_is_used_up() -> None:
    workers = WorkerCount(8, 8, 64)
    assert workers.decide(Stretch(100.0, 8.0, 0.5, 0.0), -2, 16) == 6
    workers = WorkerCount(2, 2, 16)
    assert workers.decide(Stretch(100.0, 2.0, 0.5, 0.0), -5, 16) == 1


def test_room_is_what_the_grant_leaves(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("simrun.envs.machine.capacity.available_memory", lambda: 100_000)
    assert Capacity(8, 10_000, ()).room(1000, used=4000) == 5
    assert Capacity(8, 10_000, ()).room(1000, used=11_500) == -2
    assert Capacity(8, None, ()).room(1000, used=11_500) == 90


def test_a_window_opens_when_everybody_has_begun() -> None:
    window = Window()
    window.restart([0, 1], 10.0, {7: 1.0})
    assert not window.settled([0])
    assert window.settled([1])
    window.restart((), 20.0, {7: 2.0})
    window.turn(20.0, live=2, waiting=0, inferring=True)
    window.turn(21.0, live=2, waiting=1, inferring=False)
    window.turn(23.0, live=2, waiting=0, inferring=True)
    window.reset(2.0)
    assert not window.full(2)
    for _ in range(8):
        window.served(1)
    assert window.full(2)
    seen = window.stretch({7: 5.0, 8: 1.5})
    # Of six seconds of two workers two went into the reset, which is worth the four chunks of as long.
    assert seen.rate == pytest.approx((8 + 4) / 3)
    assert seen.processor == pytest.approx((3.0 + 1.5) / 3)
    assert seen.inferring == pytest.approx(1 / 3)
    assert seen.waiting == pytest.approx(2 / 3)


def test_resets_that_take_longer_because_workers_share_the_cores_are_no_progress() -> None:
    """With 78 workers in place of 32 a run on 16 cores was slower, and was taken for faster."""
    window = Window()

    def rate(live: int, chunks: int, seconds: float) -> float:
        window.restart((), 0.0, {})
        window.turn(0.0, live, 0, inferring=0.5)
        window.turn(10.0, live, 0, inferring=0.5)
        for _ in range(chunks):
            window.served(1)
        for _ in range(chunks // 10):
            window.reset(seconds)
        return window.stretch({}).rate

    few = rate(32, 1000, 0.5)
    many = rate(78, 950, 4.0)
    assert many == pytest.approx(0.95 * few)


def test_resets_that_come_in_bursts_are_no_news() -> None:
    window = Window()
    rates = []
    # A worker takes a second for a chunk, and two for a reset; in the second stretch all reset once.
    for chunks, resets in [(40, 4), (32, 8), (48, 0)]:
        window.restart((), 0.0, {})
        window.turn(0.0, 4, 0, inferring=0.5)
        window.turn(12.0, 4, 0, inferring=0.5)
        for _ in range(chunks):
            window.served(1)
        for _ in range(resets):
            window.reset(2.0)
        rates.append(window.stretch({}).rate)
    assert rates == pytest.approx([4.0, 4.0, 4.0])


def test_a_slot_that_comes_or_goes_keeps_the_window_closed() -> None:
    window = Window()
    window.restart([2], 0.0, {})
    window.turn(10.0, 3, 0, inferring=False)
    window.served(40)
    assert not window.settled([0, 1])
    assert not window.full(3)
    assert window.settled([2])


def test_who_is_retired_is_no_part_of_what_is_measured(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The chunks of its last episode were counted for those that stayed: fewer looked faster than more."""
    monkeypatch.setattr(sizing, "_SHORTEST", 0.0)
    benchmark = get_benchmark("tabletop")
    pool = WorkerPool(benchmark, benchmark.protocol(), 6, tmp_path, 100)
    episodes = (Episode("tabletop/standard@1", "open_drawer", trial) for trial in range(9))
    queue = JobQueue((Job(Candidate("a", "full", 0), episode) for episode in episodes), {})
    staffing = Staffing(pool, queue, WorkerCount(6, CORES, 16))
    assert staffing.follow(Stretch(100.0, 2.0, 0.0, 0.0), 16) == []
    gone = staffing.follow(Stretch(100.0, 2.0, 0.0, 0.0), 16)
    assert [slot.index for slot in gone] == [5, 4]
    for _ in range(9):
        staffing.served(pool.slots)
    assert staffing.turn(0, 0.0) is None
    for slot in gone:
        staffing.left(slot)
    assert staffing.turn(0, 0.0) is None
    for _ in range(4):
        staffing.served(pool.live)
    assert staffing.turn(0, 0.0) is not None


@pytest.mark.parametrize(
    ("episodes", "processor", "workers"),
    [
        # Two workers have played 10 s, and no episode has ended: 6 that wait are 60 s of a run, 2 are 20 s.
        (6, 0.5, 8),
        (2, 0.5, 4),
        # A worker's start takes 4 s, and idle cores could gain 9 s; 3 s; 1.5 s.
        (6, 1.7, 3),
        (2, 1.7, 2),
        (1, 1.7, 2),
    ],
)
def test_workers_that_begin_too_late_to_pay_for_their_start_are_not_added(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, episodes: int, processor: float, workers: int
) -> None:
    benchmark = get_benchmark("tabletop")
    pool = WorkerPool(benchmark, benchmark.protocol(), 2, tmp_path, 100)
    states = (Episode("tabletop/standard@1", "reach_red", trial) for trial in range(episodes))
    queue = JobQueue((Job(Candidate("a", "full", 0), state) for state in states), {})
    staffing = Staffing(pool, queue, WorkerCount(2, CORES, 16))
    pool.start_seconds = 4.0
    monkeypatch.setattr(Capacity, "detect", lambda: Capacity(CORES, None, ()))
    staffing.served(pool.slots)
    now = time.monotonic()
    monkeypatch.setattr(time, "monotonic", lambda: now + 10.0)
    for _ in range(2):
        staffing.follow(Stretch(100.0, processor, 0.1, 0.0), 16)
    assert len(pool.live) == workers


@pytest.mark.parametrize(
    ("stretch", "text"),
    [
        (Stretch(1, 0.5, 0.62, 0), "inference: 62%"),
        (Stretch(1, 1.9, 0.62, 0), "simulation: 95%"),
        (Stretch(1, 2.2, 0.62, 0), "simulation: 100%"),
    ],
)
def test_the_bottleneck_is_what_is_busiest(stretch: Stretch, text: str) -> None:
    assert stretch.bottleneck(2) == text


class Noting(SilentDisplay):
    """Notes what limited the run."""

    def __init__(self) -> None:
        super().__init__()
        self.limits: list[str] = []

    def measured(self, bottleneck: str, workers: int) -> None:
        self.limits.append(bottleneck)


@pytest.mark.parametrize("workers", [1, 2])
def test_a_run_says_that_its_policy_limits_it(workers: int) -> None:
    """In the runner's own thread, as with one worker, and beside it."""

    def predict(observations: Sequence[Observation]) -> np.ndarray:
        time.sleep(0.3)
        return np.zeros((len(observations), 10, 7), np.float32)

    noting = Noting()
    evaluate(
        FunctionPolicy(predict, 10), "tabletop", tasks=["open_drawer"], episodes="0:4", workers=workers, display=noting
    )
    assert noting.limits
    assert all(limit.startswith("inference: ") for limit in noting.limits)
    # Of a cycle of 0.3 s the simulation takes some hundredths.
    assert min(int(limit.removeprefix("inference: ").removesuffix("%")) for limit in noting.limits) > 50


def test_linux_says_what_a_process_uses() -> None:
    used = usage_of(os.getpid())
    assert used is not None
    assert used.processor > 0
    assert 10 < used.memory < 100_000
    assert usage_of(2**22 + 1) is None


class Restless:
    """Wants another number of workers after every stretch."""

    counts = (1, 3, 2, 4)

    def __init__(self, count: int, cores: int, most: int) -> None:
        self._wanted = cycle(self.counts)
        self.decided: list[int] = []
        made.append(self)

    def decide(self, seen: Stretch, room: int, max_batch: int) -> int:
        self.decided.append(next(self._wanted))
        return self.decided[-1]


made: list[Restless] = []


@pytest.fixture
def restless(monkeypatch: pytest.MonkeyPatch) -> list[Restless]:
    monkeypatch.setattr(session, "WorkerCount", Restless)
    monkeypatch.setattr(sizing, "_SHORTEST", 0.0)
    monkeypatch.setattr(sizing, "_CHUNKS_EACH", 1)
    made.clear()
    return made


SWEEP = {"ckpt": ["scripted:random", "scripted:zero"], "exec": ["full", "single"], "episodes": "0:3"}


def test_workers_that_come_and_go_change_no_result_even_if_one_dies(
    run: Run, faulty: Callable[..., Path], restless: list[Restless]
) -> None:
    fixed = run("fixed", workers=2, **SWEEP).records
    assert not restless
    marker = faulty("kill")
    changing = run("changing", workers=None, **SWEEP).records
    assert marker.exists()
    assert outcomes(changing) == outcomes(fixed)
    assert max(record.attempts for record in changing) == 2
    assert len(restless) == 2
    assert all(len(one.decided) > 3 for one in restless)
    assert len({record.worker for record in changing}) > 2
