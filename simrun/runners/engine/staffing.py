"""Staffing: measures a run stretch by stretch, and gives its pool as many workers as that shows to be best."""

from __future__ import annotations

import os
import time
from collections.abc import Iterable

from simrun.envs.machine.capacity import WORKER_MEMORY, Capacity
from simrun.runners.engine.pool import Slot, WorkerPool
from simrun.runners.engine.sizing import Stretch, Window, WorkerCount
from simrun.runners.engine.sources import JobQueue

_GROWTH = 1.5
_WORTH = 2.0


class Staffing:
    """Watches a pool while a scheduler runs it.

    Args:
        pool: the workers.
        queue: the jobs that are left.
        count: decides how many workers there are; None leaves them as they are.
    """

    def __init__(self, pool: WorkerPool, queue: JobQueue, count: WorkerCount | None) -> None:
        self._pool = pool
        self._queue = queue
        self._count = count
        self._window = Window()
        self._began: float | None = None
        self._ended = 0
        self._restart(pool.live)

    @property
    def one_for_ever(self) -> bool:
        """Whether there is one worker, and never another."""
        return self._count is None and len(self._pool.slots) == 1

    def served(self, slots: Iterable[Slot]) -> None:
        """Chunks were predicted for these slots."""
        slots = list(slots)
        if self._began is None:
            self._began = time.monotonic()
        self._window.served(len(slots))
        # Who is retired goes on to the end of an episode, and flatters those who stay as long as that takes.
        if self._window.settled([slot.index for slot in slots if not slot.retired]):
            self._restart()

    def inferred(self, seconds: float) -> None:
        """The policy computed for so long while nothing else went on."""
        self._window.inferred(seconds)

    def reset(self, seconds: float) -> None:
        """An episode was reset, which took so long."""
        self._window.reset(seconds)

    def episode_ended(self) -> None:
        """An episode was completed."""
        self._ended += 1

    def left(self, slot: Slot) -> None:
        """The worker of a slot has ended, because it was one too many."""
        if self._window.settled([slot.index]):
            self._restart()

    def turn(self, waiting: int, inferring: float) -> Stretch | None:
        """What is so until the next turn.

        Args:
            waiting: requests that wait for the policy.
            inferring: share of the policies that compute.

        Returns:
            What a stretch of the run has shown, once one is long enough.
        """
        live = len(self._pool.live)
        self._window.turn(time.monotonic(), live, waiting, inferring)
        # At the end of the queue workers run out of work, which says nothing of their number.
        if not self._window.full(live) or len(self._queue) == 0:
            return None
        return self._window.stretch({pid: used.processor for pid, used in self._pool.usage().items()})

    def follow(self, seen: Stretch, max_batch: int) -> list[Slot]:
        """Have as many workers as a stretch calls for, and begin the next one.

        Args:
            seen: what the last one has shown.
            max_batch: the most requests that are served at the same time.

        Returns:
            The slots that come or go; the scheduler starts and ends them.
        """
        changed: list[Slot] = []
        if self._count is not None:
            room = self._room(seen)
            changed = self._pool.resize(self._count.decide(seen, room, max_batch))
        self._restart(changed)
        return changed

    def _restart(self, changing: Iterable[Slot] = ()) -> None:
        processor = {pid: used.processor for pid, used in self._pool.usage().items()}
        self._window.restart([slot.index for slot in changing], time.monotonic(), processor)

    def _room(self, seen: Stretch) -> int:
        """Workers that may be added: memory and queue have room, and idle cores gain more than twice a start's time."""
        usage, capacity = self._pool.usage(), Capacity.detect()
        workers = [used.memory for pid, used in usage.items() if pid != os.getpid()]
        each = round(_GROWTH * max(workers, default=WORKER_MEMORY))
        room = capacity.room(max(1, each), sum(used.memory for used in usage.values()))
        now = time.monotonic()
        # Episodes that are being played are half over, on average.
        done = self._ended + max(1, len(self._pool.live)) / 2
        left = self._queue.left * (now - (self._began or now)) / done
        if room > 0:
            worth = left * seen.idle(capacity.cores) > _WORTH * self._pool.start_seconds
            room = min(room, self._queue.left) if worth else 0
        return room
