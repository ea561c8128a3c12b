"""Where a session's jobs come from, and the queue that hands them out.

All of a plan may be a session's own, or blocks that shards lease from one another. In the queue a worker keeps its
task, long work starts first, lost jobs come back.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections import deque
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping
from typing import NamedTuple

from simrun.errors import SimrunError
from simrun.results.plan import Job, JobKey, Plan


class JobQueue:
    """Hands out jobs so that loaded models are reused and the end is no tail.

    A worker is given the next job of the task it ran last. When that task is used up it takes the task with the
    most work left, so that several workers share a long task only when there is nothing else to start.

    Args:
        jobs: what is to be run, in the order of the plan.
        cost: task -> expected cost of one episode, any unit (its step limit).
        following: jobs that the same workers are given afterwards, from other queues.
    """

    def __init__(self, jobs: Iterable[Job], cost: Mapping[str, float], following: int = 0) -> None:
        self._tasks: dict[str, deque[Job]] = {}
        self._cost = cost
        self._following = following
        self._running: dict[str, int] = {}
        self.add(jobs)

    def add(self, jobs: Iterable[Job]) -> None:
        """Put jobs behind those that wait already."""
        for job in jobs:
            self._tasks.setdefault(job.episode.task, deque()).append(job)

    def __len__(self) -> int:
        return sum(len(jobs) for jobs in self._tasks.values())

    @property
    def left(self) -> int:
        """Jobs that wait here, and those that follow."""
        return len(self) + self._following

    def take(self, last_task: str | None) -> Job | None:
        """The next job for a worker that ran ``last_task``; None when none is left."""
        waiting = [task for task, jobs in self._tasks.items() if jobs]
        if not waiting:
            return None
        task = last_task if last_task in waiting else max(waiting, key=self._urgency)
        self._running[task] = self._running.get(task, 0) + 1
        return self._tasks[task].popleft()

    def finish(self, job: Job) -> None:
        """A job that was taken has ended, one way or the other."""
        self._running[job.episode.task] -= 1

    def put_back(self, job: Job) -> None:
        """A job that was taken must be run again, before the others of its task."""
        self._running[job.episode.task] -= 1
        self._tasks[job.episode.task].appendleft(job)

    def _urgency(self, task: str) -> float:
        return len(self._tasks[task]) * self._cost.get(task, 1.0) / (1 + self._running.get(task, 0))


class Stage(NamedTuple):
    """One checkpoint under one protocol (by name): what a policy is loaded for."""

    protocol: str
    checkpoint: str


class JobSource(ABC):
    """Gives a session its stages, and each stage its jobs."""

    @abstractmethod
    def stages(self) -> Iterator[Stage]:
        """The stages, in the order they are run; the next one is decided when the last one has ended."""

    @abstractmethod
    def most_jobs(self, protocol: str) -> int:
        """The most jobs that one stage of a protocol may have; more workers than that are no use."""

    @abstractmethod
    def queue(self, stage: Stage, keep: Callable[[Job], bool], cost: Mapping[str, float]) -> JobQueue:
        """The queue of a stage.

        Args:
            stage: the stage that `stages` gave last.
            keep: which of its jobs are to be run; the others repeat one that is.
            cost: task -> expected cost of one episode.
        """

    @abstractmethod
    def owns(self, job: Job) -> bool:
        """Whether a job that was run may be recorded; asked right before its record is written."""

    @abstractmethod
    def failed(self, checkpoint: str, error: SimrunError) -> None:
        """A checkpoint has failed; `stages` gives it no more."""


class PlanSource(JobSource):
    """Every missing job of a plan, for a session that shares its jobs with nobody.

    Args:
        plan: the plan.
        done: keys of the jobs that are recorded already.
    """

    def __init__(self, plan: Plan, done: Collection[JobKey]) -> None:
        self._failed: set[str] = set()
        self._todo: dict[Stage, list[Job]] = {}
        for protocol in plan.protocols:
            for checkpoint in plan.checkpoints():
                jobs = list(plan.jobs(protocol, checkpoint, done))
                if jobs:
                    self._todo[Stage(protocol.name, checkpoint)] = jobs

    def stages(self) -> Iterator[Stage]:
        """The stages with something to do, benchmarks outermost."""
        for stage in self._todo:
            if stage.checkpoint not in self._failed:
                yield stage

    def most_jobs(self, protocol: str) -> int:
        """The size of the largest stage of the protocol."""
        return max(len(jobs) for stage, jobs in self._todo.items() if stage.protocol == protocol)

    def queue(self, stage: Stage, keep: Callable[[Job], bool], cost: Mapping[str, float]) -> JobQueue:
        """All jobs of the stage."""
        same = [
            later for later in self._todo if later.protocol == stage.protocol and later.checkpoint not in self._failed
        ]
        following = sum(len(self._todo[later]) for later in same[same.index(stage) + 1 :])
        return JobQueue(filter(keep, self._todo[stage]), cost, following)

    def owns(self, job: Job) -> bool:
        """Always: nobody else runs it."""
        return True

    def failed(self, checkpoint: str, error: SimrunError) -> None:
        """Leave out what remains of the checkpoint."""
        self._failed.add(checkpoint)
