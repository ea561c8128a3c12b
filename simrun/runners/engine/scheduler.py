"""The scheduler: one checkpoint on one benchmark, all workers busy, every episode recorded exactly once."""

from __future__ import annotations

import selectors
import time
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple, Protocol

from simrun.errors import (
    AssetError,
    DependencyError,
    PolicyError,
    PolicyProcessError,
    RendererError,
    ServerError,
    SimrunError,
    UsageError,
    WorkerError,
)
from simrun.policies import PolicySpec
from simrun.policies.inference import InferenceThread, Prediction, Request
from simrun.results import EpisodeRecord
from simrun.results.plan import Job
from simrun.runners.engine.batching import Batcher
from simrun.runners.engine.interruption import Interruption
from simrun.runners.engine.pool import Phase, Slot, WorkerPool
from simrun.runners.engine.process import WorkerProcess
from simrun.runners.engine.recording import Tape
from simrun.runners.engine.rollout import Rollout
from simrun.runners.engine.sizing import Stretch, WorkerCount
from simrun.runners.engine.sources import JobQueue
from simrun.runners.engine.staffing import Staffing

_TICK = 0.5
_START_FAILURES = 3
_DRAIN_SECONDS = 30.0
_FATAL_AT_SETUP = (AssetError, DependencyError, RendererError)


class Observer(Protocol):
    """What the scheduler tells while it works."""

    def tape(self, job: Job, slot: int) -> Tape:
        """Takes down what is to be kept of an episode that begins in a slot."""

    def cameras(self, slot: int) -> list[str] | None:
        """The cameras whose pictures the tape of a slot wants of each moment; None when it wants nothing."""

    def fingerprint(self) -> str:
        """Short hash of what decides results on this machine."""

    def finished(self, record: EpisodeRecord, rollout: Rollout) -> None:
        """An episode has a record; it must be on disk when this returns."""

    def inferred(self, batch: int, seconds: float) -> None:
        """A batch was predicted."""

    def measured(self, stretch: Stretch, workers: int) -> None:
        """A stretch of the run was measured, with so many workers."""

    def halved(self, batch: int, largest: int) -> None:
        """The memory of the policy's device did not hold a batch; no more than ``largest`` are asked from now on."""

    def retried(self, job: Job, error: SimrunError) -> None:
        """An episode was lost and will be run again."""

    def tick(self) -> None:
        """Some time has passed."""


@dataclass(frozen=True)
class FaultLimits:
    """How much may go wrong.

    Attributes:
        retries: how often an episode is started again.
        timeout: seconds a worker may take to answer one message.
    """

    retries: int
    timeout: float


class Replica(NamedTuple):
    """One of the policies that answer alike.

    Attributes:
        inference: its thread.
        batcher: decides who is served together; the same one for all of them, unless they remember what they saw: then
            each has its own slots.
    """

    inference: InferenceThread
    batcher: Batcher


class Scheduler:
    """An event loop over the workers' sockets and the policy's threads.

    Args:
        pool: the workers; they stay warm when the scheduler ends in order.
        replicas: the policy, as often as there is one; whichever is free serves who waits.
        queue: the jobs.
        spec: the policy's specification.
        limits: how much may go wrong.
        observer: is told what happens.
        interruption: tells when the user asked to stop.
        count: decides how many workers there are; None leaves them as they are.
    """

    def __init__(
        self,
        pool: WorkerPool,
        replicas: Sequence[Replica],
        queue: JobQueue,
        spec: PolicySpec,
        limits: FaultLimits,
        observer: Observer,
        interruption: Interruption,
        count: WorkerCount | None = None,
    ) -> None:
        self._pool = pool
        self._replicas = replicas
        borrowed = all(replica.inference.policy.borrows_pictures for replica in replicas)
        self._copy_pictures = not borrowed or spec.history > 1
        self._queue = queue
        self._spec = spec
        self._limits = limits
        self._observer = observer
        self._interruption = interruption
        self._staffing = Staffing(pool, queue, count)
        self._attempts: dict[Job, int] = {}
        self._died_with: set[Job] = set()
        self._watched: dict[int, WorkerProcess] = {}
        self._start_failures = 0
        self._selector = selectors.DefaultSelector()

    def run(self) -> None:
        """Run every job of the queue.

        Raises:
            PolicyError: the policy failed; names the episode. Running episodes are dropped.
            ServerError: a remote policy stayed away; its missing episodes can be resumed.
            InfrastructureError: the benchmark cannot run on this machine at all, or the disk is full.
            KeyboardInterrupt: the user asked to stop; running episodes are dropped.
        """
        for replica in self._replicas:
            self._selector.register(replica.inference, selectors.EVENT_READ, replica)
        self._selector.register(self._interruption, selectors.EVENT_READ, None)
        orderly = False
        try:
            with self._interruption.deferred():
                for slot in self._pool.slots:
                    self._advance(slot)
                while self._working():
                    self._turn()
                    self._interruption.check()
            orderly = True
        except (PolicyError, ServerError):
            self._drain()
            orderly = True
            raise
        finally:
            self._selector.close()
            if not orderly:
                self._pool.close()

    # --- the loop --------------------------------------------------------------------------------------------

    def _working(self) -> bool:
        return len(self._queue) > 0 or any(slot.rollout is not None for slot in self._pool.slots)

    def _turn(self) -> None:
        for key, _ in self._selector.select(self._timeout()):
            if isinstance(key.data, Replica):
                self._take_prediction(key.data, key.data.inference.result())
            elif isinstance(key.data, Slot) and self._watched.get(key.data.index) is key.fileobj:
                self._take_reply(key.data)
        now = time.monotonic()
        for slot in self._pool.slots:
            if slot.worker is not None and slot.worker.deadline is not None and now > slot.worker.deadline:
                silence = f"worker {slot.index} gave no answer within {self._limits.timeout:g} s and was killed"
                self._lose(slot, WorkerError(silence))
        self._dispatch()
        self._measure()
        self._observer.tick()

    def _timeout(self) -> float:
        now = time.monotonic()
        workers = (slot.worker for slot in self._pool.slots if slot.worker is not None)
        moments = [worker.deadline for worker in workers if worker.deadline is not None]
        free = [replica.batcher.deadline() for replica in self._replicas if not replica.inference.busy]
        moments += [moment for moment in free if moment is not None]
        return max(0.0, min([_TICK, *(moment - now for moment in moments)]))

    # --- one slot --------------------------------------------------------------------------------------------

    def _advance(self, slot: Slot) -> None:
        """Bring an idle slot closer to its next episode, or end its worker if it is retired."""
        if slot.retired:
            self._end(slot)
            return
        if len(self._queue) == 0:
            return
        if self._pool.is_worn_out(slot):
            self._unwatch(slot)
            self._pool.drop(slot)
        try:
            # A reply that is still due (greeting, configuration) was asked for by the checkpoint before.
            pending = slot.worker is not None and slot.worker.deadline is not None
            ready = not pending and self._pool.wake(slot, self._limits.timeout)
            self._watch(slot)
            if ready:
                self._start(slot)
        except WorkerError as error:
            self._lose(slot, error)

    def _end(self, slot: Slot) -> None:
        self._unwatch(slot)
        self._pool.drop(slot)
        self._staffing.left(slot)
        # It may have left an episode behind, and the others may have found the queue empty before.
        for other in self._pool.live:
            if other.rollout is None:
                self._advance(other)

    def _start(self, slot: Slot) -> None:
        job = self._queue.take(slot.last_task)
        if job is None:
            return
        attempt = self._attempts.get(job, 0) + 1
        self._attempts[job] = attempt
        tape = self._observer.tape(job, slot.index)
        frequency = self._pool.benchmark.control_frequency
        slot.rollout = Rollout(job, slot.index, self._spec, self._pool.action_spec, attempt, tape, frequency)
        slot.last_task = job.episode.task
        slot.episodes += 1
        slot.phase = Phase.RESETTING
        slot.since = time.monotonic()
        assert slot.worker is not None
        reset = {"op": "reset", "episode": job.episode.id, "record": self._observer.cameras(slot.index)}
        slot.worker.ask(reset, self._limits.timeout)

    def _take_reply(self, slot: Slot) -> None:
        assert slot.worker is not None
        try:
            reply = slot.worker.poll()
            if reply is not None and slot.phase is Phase.GREETING:
                slot.worker.check_greeting(reply)
        except SimrunError as error:
            self._take_error(slot, error)
            return
        if reply is None:
            return
        if slot.rollout is not None:
            self._take_result(slot, slot.rollout, reply)
            return
        if slot.phase is Phase.CONFIGURING:
            self._start_failures = 0
        self._advance(slot)

    def _take_error(self, slot: Slot, error: SimrunError) -> None:
        if isinstance(error, PolicyError) and slot.rollout is not None:
            raise slot.rollout.blame(error) from error
        if isinstance(error, UsageError) or (slot.rollout is None and isinstance(error, _FATAL_AT_SETUP)):
            raise error
        self._lose(slot, error)

    def _take_result(self, slot: Slot, rollout: Rollout, reply: dict[str, Any]) -> None:
        assert slot.worker is not None
        rollout.absorb(reply)
        now = time.monotonic()
        if slot.phase is Phase.STEPPING:
            self._home(slot).batcher.stepped(now - slot.since)
        elif slot.phase is Phase.RESETTING:
            self._staffing.reset(now - slot.since)
        if reply["observation"] is not None:
            observation = rollout.observation(reply, slot.worker.images(copy=self._copy_pictures))
            slot.phase = Phase.INFERRING
            self._home(slot).batcher.add(Request(observation, rollout.fresh, rollout), now)
            return
        record = rollout.record(reply, self._observer.fingerprint())
        slot.rollout = None
        slot.phase = Phase.READY
        self._staffing.episode_ended()
        try:
            # The worker starts its next episode while the disk takes the record of this one.
            self._advance(slot)
        finally:
            self._observer.finished(record, rollout)
            self._queue.finish(rollout.job)

    def _lose(self, slot: Slot, error: SimrunError) -> None:
        """Replace a worker that died, hung or failed; its episode runs again from its start."""
        rollout = slot.rollout
        self._unwatch(slot)
        self._pool.drop(slot)
        if rollout is None:
            self._start_failures += 1
            if self._start_failures >= _START_FAILURES:
                raise error
        else:
            self._home(slot).batcher.discard(rollout)
            self._retry(rollout, error)
        self._advance(slot)

    def _retry(self, rollout: Rollout, error: SimrunError) -> None:
        if rollout.attempt <= self._limits.retries:
            self._queue.put_back(rollout.job)
            self._observer.retried(rollout.job, error)
        else:
            self._observer.finished(rollout.lost(error), rollout)
            self._queue.finish(rollout.job)

    # --- inference -------------------------------------------------------------------------------------------

    def _home(self, slot: Slot) -> Replica:
        """The replica whose batcher a slot waits in, always the same one, because it may remember the slot."""
        return self._replicas[slot.index % len(self._replicas)]

    def _dispatch(self) -> None:
        for replica in self._replicas:
            if replica.inference.busy:
                continue
            others = any(slot.phase is Phase.STEPPING for slot in self._pool.slots if slot.rollout)
            batch = replica.batcher.take(time.monotonic(), others)
            if batch and self._staffing.one_for_ever:
                # Nothing steps meanwhile, and a thread would have to be woken up and wake this one.
                prediction = replica.inference.predict(batch)
                self._staffing.inferred(prediction.seconds)
                self._take_prediction(replica, prediction)
            elif batch:
                replica.inference.submit(batch)

    def _take_prediction(self, replica: Replica, prediction: Prediction) -> None:
        served = [(self._pool.slots[request.observation.slot], request.owner) for request in prediction.batch]
        if isinstance(prediction.chunks, SimrunError):
            self._take_failure(replica, [slot for slot, owner in served if slot.rollout is owner], prediction.chunks)
            return
        if prediction.largest is not None and prediction.largest < replica.batcher.max_batch:
            replica.batcher.max_batch = prediction.largest
            self._observer.halved(len(served), prediction.largest)
        replica.batcher.inferred(len(served), prediction.seconds, time.monotonic())
        self._observer.inferred(len(served), prediction.seconds)
        self._staffing.served(slot for slot, _ in served)
        share = prediction.seconds / len(served)
        for (slot, owner), chunk in zip(served, prediction.chunks, strict=True):
            if slot.rollout is None or slot.rollout is not owner or slot.worker is None:
                continue
            try:
                actions = slot.rollout.plan(chunk, share, prediction.seconds)
                if prediction.joules is not None:
                    slot.rollout.took(prediction.joules / len(served))
            except PolicyError as error:
                raise slot.rollout.blame(error) from error
            slot.phase = Phase.STEPPING
            slot.since = time.monotonic()
            step = {
                "op": "step",
                "actions": actions,
                "record": self._observer.cameras(slot.index),
                "history": self._spec.history,
            }
            try:
                slot.worker.ask(step, self._limits.timeout)
            except WorkerError as error:
                self._lose(slot, error)

    def _take_failure(self, replica: Replica, slots: list[Slot], error: SimrunError) -> None:
        died = isinstance(error, PolicyProcessError)
        for slot in slots:
            rollout = slot.rollout
            assert rollout is not None
            if not isinstance(error, ServerError):
                raise rollout.blame(error) from error
            if rollout.attempt > self._limits.retries or (died and rollout.job in self._died_with):
                raise error
        if died:
            self._died_with.update(slot.rollout.job for slot in slots if slot.rollout is not None)
        if died and self._spec.stateful:
            # What the process remembered of its other slots is lost as well.
            others = [slot for slot in self._pool.slots if slot.rollout and not slot.rollout.fresh]
            lost = [slot for slot in others if slot not in slots and self._home(slot) is replica]
            for slot in lost:
                self._lose(slot, error)
        for slot in slots:
            rollout = slot.rollout
            assert rollout is not None
            slot.rollout = None
            slot.phase = Phase.READY
            self._retry(rollout, error)
            self._advance(slot)

    # --- how many workers ------------------------------------------------------------------------------------

    def _measure(self) -> None:
        busy = sum(replica.inference.busy for replica in self._replicas) / len(self._replicas)
        batchers = {id(replica.batcher): replica.batcher for replica in self._replicas}.values()
        seen = self._staffing.turn(sum(batcher.waiting for batcher in batchers), busy)
        if seen is None:
            return
        self._observer.measured(seen, len(self._pool.live))
        for slot in self._staffing.follow(seen, sum(replica.batcher.max_batch for replica in self._replicas)):
            if slot.rollout is None:
                self._advance(slot)

    # --- around the loop -------------------------------------------------------------------------------------

    def _watch(self, slot: Slot) -> None:
        assert slot.worker is not None
        if self._watched.get(slot.index) is not slot.worker:
            self._selector.register(slot.worker, selectors.EVENT_READ, slot)
            self._watched[slot.index] = slot.worker

    def _unwatch(self, slot: Slot) -> None:
        worker = self._watched.pop(slot.index, None)
        if worker is not None:
            self._selector.unregister(worker)

    def _drain(self) -> None:
        """Let the workers finish what they are doing, so that they can serve the next checkpoint."""
        deadline = time.monotonic() + _DRAIN_SECONDS
        for slot in self._pool.slots:
            slot.rollout = None
            while slot.worker is not None and slot.worker.deadline is not None:
                try:
                    slot.worker.wait(deadline - time.monotonic())
                    slot.worker.poll()
                except SimrunError:
                    self._pool.drop(slot)
