"""Shards of a plan: blocks of jobs that are leased whole, and which shard begins where."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import asdict, dataclass
from itertools import groupby
from pathlib import Path

from simrun.envs import Episode, get_benchmark
from simrun.envs.machine.regular_files import read_object, write_json
from simrun.errors import UsageError
from simrun.results.plan import Candidate, Job, Plan
from simrun.runners.engine.sources import Stage

_FILE = "shards.json"
_LARGEST_BLOCK = 32
_BLOCKS_PER_SHARD = 4


@dataclass(frozen=True)
class Shard:
    """One of ``count`` equal parts of the work; ``index`` counts from 0."""

    index: int
    count: int

    @classmethod
    def parse(cls, text: str) -> Shard:
        """Read ``i/n``.

        Raises:
            UsageError: it is not of that form, or i is not in 0 to n - 1.
        """
        index, _, count = text.partition("/")
        if not (index.isdecimal() and count.isdecimal() and int(index) < int(count)):
            raise UsageError(f"--shard {text!r} is no i/n with i from 0 to n - 1; write for instance 0/4")
        return cls(int(index), int(count))


@dataclass(frozen=True)
class Block:
    """Some episodes of one task for one checkpoint, under all its variants: the unit that shards lease.

    Attributes:
        index: number of the block; names its lease.
        stage: checkpoint and protocol.
        candidates: the candidates of the checkpoint.
        episodes: episodes of one task.
        cost: expected cost, in control steps.
    """

    index: int
    stage: Stage
    candidates: tuple[Candidate, ...]
    episodes: tuple[Episode, ...]
    cost: float

    def __len__(self) -> int:
        """Number of jobs."""
        return len(self.candidates) * len(self.episodes)

    def jobs(self) -> Iterator[Job]:
        """The jobs, episodes outermost."""
        for episode in self.episodes:
            for candidate in self.candidates:
                yield Job(candidate, episode)

    def __str__(self) -> str:
        first, last = self.episodes[0], self.episodes[-1]
        return f"{self.stage.checkpoint} on {first.id} to {last.id}"


@dataclass(frozen=True)
class Sharding:
    """How a plan is cut; fixed when the shards are first planned, because leases name blocks by their number.

    Attributes:
        shards: shards that were planned; more or fewer may run, they lease from one another.
        episodes_per_block: most episodes of a block.
    """

    shards: int
    episodes_per_block: int

    @classmethod
    def choose(cls, plan: Plan, shards: int) -> Sharding:
        """Blocks as large as still leaves each shard a few of them.

        Large blocks load fewer models and touch fewer files; several a shard let idle shards take some over.
        """
        sizes = [len(episodes) for episodes in _by_task(plan)] * len(plan.checkpoints())
        for size in range(_LARGEST_BLOCK, 1, -1):
            if sum(-(-episodes // size) for episodes in sizes) >= _BLOCKS_PER_SHARD * shards:
                return cls(shards, size)
        return cls(shards, 1)

    @classmethod
    def read(cls, folder: Path) -> Sharding:
        """Read what `write` left in a run folder.

        Raises:
            UsageError: no shards were planned in this folder.
        """
        try:
            return cls(**read_object(folder / _FILE))
        except (OSError, ValueError, TypeError):
            raise UsageError(
                f"{folder} was not planned for shards; plan it with: simrun slurm --array N --dry-run -- --bench ..."
            ) from None

    def write(self, folder: Path) -> None:
        """Write it into a run folder."""
        write_json(folder / _FILE, asdict(self))

    def blocks(self, plan: Plan) -> list[Block]:
        """The blocks of a plan, benchmarks outermost, then checkpoints, then tasks."""
        costs = {
            (protocol.name, task.name): float(task.max_steps)
            for protocol in plan.protocols
            for task in get_benchmark(protocol.benchmark).tasks(protocol)
        }
        blocks: list[Block] = []
        for protocol in plan.protocols:
            tasks = [episodes for episodes in _by_task(plan) if episodes[0].protocol == protocol.name]
            for checkpoint in plan.checkpoints():
                candidates = tuple(entry for entry in plan.candidates if entry.checkpoint == checkpoint)
                for episodes in tasks:
                    cost = costs[protocol.name, episodes[0].task] * len(candidates)
                    for start in range(0, len(episodes), self.episodes_per_block):
                        part = tuple(episodes[start : start + self.episodes_per_block])
                        stage = Stage(protocol.name, checkpoint)
                        blocks.append(Block(len(blocks), stage, candidates, part, cost * len(part)))
        return blocks


def share(blocks: list[Block], shard: Shard) -> list[Block]:
    """The blocks a shard begins with.

    Shards are consecutive pieces of about equal cost: a checkpoint is loaded once for every shard that it reaches
    into, which is the least that is possible without giving shards unequal work, and tasks stay together.
    """
    total = sum(block.cost for block in blocks)
    mine = []
    before = 0.0
    for block in blocks:
        middle = before + block.cost / 2
        if int(middle / total * shard.count) == shard.index:
            mine.append(block)
        before += block.cost
    return mine


def _by_task(plan: Plan) -> list[list[Episode]]:
    return [
        list(episodes) for _, episodes in groupby(plan.episodes, key=lambda episode: (episode.protocol, episode.task))
    ]
