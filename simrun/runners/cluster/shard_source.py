"""The jobs of a shard: its own blocks first, then what other shards have left or lost."""

from __future__ import annotations

import hashlib
import os
import time
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Mapping
from pathlib import Path

from simrun.errors import PolicyError, SimrunError
from simrun.results import EpisodeRecord
from simrun.results.plan import Job, JobKey
from simrun.results.run import Run
from simrun.runners.cluster.leases import Lease, LeaseFolder, LeaseKeeper, LeaseState
from simrun.runners.cluster.shards import Block, Shard, Sharding, share
from simrun.runners.engine.sources import JobQueue, JobSource, Stage

SHARD_WRITER = "shard-"
"""Journals of shards begin with this; every other journal is read by every shard."""

_POLLS_PER_LEASE = 6
_ENOUGH_FAILURES = 3


class FailedCheckpoints:
    """Which checkpoints are given up, as files that all shards see.

    One shard alone may lack a disk that the others see, so a checkpoint is left to the others until three failed.

    Args:
        run: the run folder.
    """

    def __init__(self, run: Path) -> None:
        self._path = run / "leases" / "failed"
        self._mine: set[str] = set()

    def add(self, checkpoint: str, error: SimrunError, writer: str) -> None:
        """This shard could not run the checkpoint; a server that went away may come back for others."""
        self._mine.add(checkpoint)
        if isinstance(error, PolicyError):
            folder = self._folder(checkpoint)
            folder.mkdir(parents=True, exist_ok=True)
            (folder / writer).write_text(f"{checkpoint}: {error}\n", encoding="utf-8", errors="backslashreplace")

    def __contains__(self, checkpoint: str) -> bool:
        folder = self._folder(checkpoint)
        return checkpoint in self._mine or (folder.exists() and len(list(folder.iterdir())) >= _ENOUGH_FAILURES)

    def messages(self) -> list[str]:
        """The last error of each checkpoint that failed anywhere."""
        files = (max(folder.iterdir()) for folder in sorted(self._path.glob("*")))
        return [file.read_text(encoding="utf-8").strip() for file in files]

    def clear(self) -> None:
        """Give every checkpoint a new chance."""
        for folder in list(self._path.glob("*")):
            for file in folder.iterdir():
                file.unlink()
            folder.rmdir()

    def _folder(self, checkpoint: str) -> Path:
        return self._path / hashlib.sha256(os.fsencode(checkpoint)).hexdigest()[:12]


class ShardSource(JobSource):
    """Leases one block after the other, and ends when no block is left to anybody.

    While others still hold blocks, a shard with nothing to do waits, to take over what they lose: blocks are
    small, so that lasts about as long as one of them.

    Args:
        run: the run, joined under this shard's name.
        shard: which blocks are its own.
        keeper: keeps its leases.
    """

    def __init__(self, run: Run, shard: Shard, keeper: LeaseKeeper) -> None:
        self._run = run
        self._keeper = keeper
        self._leases = LeaseFolder(run.path)
        self._failed = FailedCheckpoints(run.path)
        self._blocks = Sharding.read(run.path).blocks(run.plan)
        self._own = deque(share(self._blocks, shard))
        self._unfinished = self._folders_from(self._own[0].index if self._own else 0)
        self._done = self._recorded_by_others()
        self._leased: dict[JobKey, int] = {}
        self._recorded: set[JobKey] = set()
        self._ready: list[tuple[Block, list[Job]]] = []
        self._others_hold = False

    def stages(self) -> Iterator[Stage]:
        """The stage of whatever block was leased next."""
        while True:
            found = self._lease(None)
            if found is not None:
                self._ready = [found]
                yield found[0].stage
            elif self._others_hold:
                time.sleep(self._keeper.duration / _POLLS_PER_LEASE)
            else:
                return

    def most_jobs(self, protocol: str) -> int:
        """All jobs of a checkpoint, because they may all be left to this shard."""
        sizes: dict[Stage, int] = {}
        for block in self._blocks:
            if block.stage.protocol == protocol:
                sizes[block.stage] = sizes.get(block.stage, 0) + len(block)
        return max(sizes.values())

    def queue(self, stage: Stage, keep: Callable[[Job], bool], cost: Mapping[str, float]) -> JobQueue:
        """A queue that leases further blocks of the stage as it runs empty."""
        return _LeasedQueue(self, stage, keep, cost)

    def owns(self, job: Job) -> bool:
        """Whether the lease of the job's block still holds, and this shard did not record the job before.

        It may have, when it lost a block, took it back and so ran a job twice.
        """
        if job.key in self._recorded or not self.holds(job):
            return False
        self._recorded.add(job.key)
        return True

    def holds(self, job: Job) -> bool:
        """Whether the lease of the job's block still holds."""
        return self._keeper.owns(self._leased[job.key])

    def failed(self, checkpoint: str, error: SimrunError) -> None:
        """Leave the checkpoint to others, and give it up when enough of them failed too."""
        self._failed.add(checkpoint, error, self._run.writer)
        self._keeper.release_all()

    def next_block(self, stage: Stage) -> tuple[Block, list[Job]] | None:
        """Lease a block of a stage and give its missing jobs; None when there is none."""
        if self._ready:
            return self._ready.pop()
        return self._lease(stage)

    def own_jobs(self, protocol: str) -> int:
        """Jobs of this shard's own blocks of a protocol that it has not leased yet."""
        return sum(len(block) for block in self._own if block.stage.protocol == protocol)

    def complete(self, block: Block) -> None:
        """Every job of the block was run."""
        self._keeper.complete(block.index)

    def _lease(self, stage: Stage | None) -> tuple[Block, list[Job]] | None:
        while (taken := self._take_own(stage) or self._take_from_others(stage)) is not None:
            block, holders = taken
            done = self._done | self._recorded_by(holders, block)
            jobs = [job for job in block.jobs() if job.key not in done]
            if jobs:
                self._leased.update((job.key, block.index) for job in jobs)
                return block, jobs
            self.complete(block)
        return None

    def _take_own(self, stage: Stage | None) -> tuple[Block, list[str]] | None:
        while self._own and stage in (None, self._own[0].stage):
            block = self._own.popleft()
            if block.stage.checkpoint not in self._failed:
                holders = self._keeper.take(Lease(block.index, LeaseState.OPEN))
                if holders is not None:
                    return block, holders
        return None

    def _take_from_others(self, stage: Stage | None) -> tuple[Block, list[str]] | None:
        if self._own:
            return None
        self._others_hold = False
        for folder, blocks in list(self._unfinished.items()):
            blocks = [block for block in blocks if stage in (None, block.stage)]
            if not blocks:
                continue
            given_up = {name for name in {block.stage.checkpoint for block in blocks} if name in self._failed}
            leases = self._keeper.look(folder)
            if all(lease.state is LeaseState.DONE for lease in leases.values()):
                del self._unfinished[folder]
                continue
            # From the end, because the shard that began with these blocks goes through them from the front.
            for block in reversed(blocks):
                lease = leases.get(block.index)
                if lease is None or lease.state is LeaseState.DONE or block.stage.checkpoint in given_up:
                    continue
                if lease.state is LeaseState.OPEN or self._keeper.has_expired(lease):
                    holders = self._keeper.take(lease)
                    if holders is not None:
                        return block, holders
                self._others_hold = True
        return None

    def _folders_from(self, first: int) -> dict[Path, list[Block]]:
        """The blocks by lease folder, beginning with the one of block ``first`` so that idle shards spread."""
        folders: dict[Path, list[Block]] = {}
        for block in self._blocks[first:] + self._blocks[:first]:
            folders.setdefault(self._leases.folder(block.index), []).append(block)
        return folders

    def _recorded_by_others(self) -> set[JobKey]:
        """What sessions that are no shards recorded, before this shard began."""
        return _completed(self._run.read_journals(skip=SHARD_WRITER))

    def _recorded_by(self, writers: list[str], block: Block) -> set[JobKey]:
        keys = {job.key for job in block.jobs()}
        return _completed(record for writer in writers for record in self._run.read_journal_of(writer)) & keys


class _LeasedQueue(JobQueue):
    """The jobs of the leased blocks of one stage.

    All workers share the block at hand, and the next one is leased when its last job was handed out: the fewer
    blocks a shard holds, the more is left for others at the end.
    """

    def __init__(
        self, source: ShardSource, stage: Stage, keep: Callable[[Job], bool], cost: Mapping[str, float]
    ) -> None:
        super().__init__((), cost)
        self._source = source
        self._stage = stage
        self._keep = keep
        self._missing: list[tuple[Block, set[JobKey]]] = []
        self._refill()

    @property
    def left(self) -> int:
        """Jobs that wait here, and those that this shard was given beside them."""
        return len(self) + self._source.own_jobs(self._stage.protocol)

    def take(self, last_task: str | None) -> Job | None:
        """The next job whose lease still holds."""
        while (job := super().take(last_task)) is not None and not self._source.holds(job):
            super().finish(job)
            if len(self) == 0:
                self._refill()
        if len(self) == 0:
            self._refill()
        return job

    def finish(self, job: Job) -> None:
        """The job was run; with the last one of a block its lease is done."""
        super().finish(job)
        for entry in self._missing:
            block, keys = entry
            if job.key in keys:
                keys.remove(job.key)
                if not keys:
                    self._missing.remove(entry)
                    self._source.complete(block)
                return

    def _refill(self) -> None:
        while len(self) == 0 and (found := self._source.next_block(self._stage)) is not None:
            block, jobs = found
            jobs = list(filter(self._keep, jobs))
            if jobs:
                self._missing.append((block, {job.key for job in jobs}))
                self.add(jobs)
            else:
                self._source.complete(block)


def _completed(records: Iterable[EpisodeRecord]) -> set[JobKey]:
    return {record.key for record in records if record.completed}
