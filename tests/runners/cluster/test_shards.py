"""Blocks and shards: every job in exactly one, balanced, checkpoints and tasks together."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable

import pytest

from simrun.errors import PolicyError, UsageError
from simrun.results.plan import Plan
from simrun.results.run import Run
from simrun.runners.cluster.leases import LeaseFolder, LeaseKeeper
from simrun.runners.cluster.shard_source import ShardSource
from simrun.runners.cluster.sharded_runs import ShardedRun
from simrun.runners.cluster.shards import Shard, Sharding, share
from simrun.runners.engine.sources import PlanSource
from simrun.runners.sweep import make_config, make_plan


def _plan(checkpoints: int = 3, **values) -> Plan:
    config = make_config({"bench": ["tabletop"], "ckpt": ["x"], "exec": ["full", "single"], **values})
    return make_plan(config, [f"checkpoint-{index}" for index in range(checkpoints)])


@pytest.mark.parametrize("shards", [1, 2, 7, 32, 500])
def test_every_job_is_in_one_block_and_every_block_in_one_shard(shards: int) -> None:
    plan = _plan()
    blocks = Sharding.choose(plan, shards).blocks(plan)
    jobs = Counter(job.key for block in blocks for job in block.jobs())
    assert set(jobs.values()) == {1}
    assert len(jobs) == len(plan)
    given = [block.index for index in range(shards) for block in share(blocks, Shard(index, shards))]
    assert given == list(range(len(blocks)))


def test_shards_cost_about_the_same() -> None:
    plan = _plan(checkpoints=5)
    blocks = Sharding.choose(plan, 8).blocks(plan)
    costs = [sum(block.cost for block in share(blocks, Shard(index, 8))) for index in range(8)]
    assert max(costs) - min(costs) <= 2 * max(block.cost for block in blocks)


def test_a_checkpoint_is_loaded_as_few_times_as_possible() -> None:
    plan = _plan(checkpoints=10)
    blocks = Sharding.choose(plan, 4).blocks(plan)
    loads = sum(len({block.stage for block in share(blocks, Shard(index, 4))}) for index in range(4))
    assert loads <= 10 + 4 - 1


def test_a_task_stays_in_one_block_when_there_are_enough() -> None:
    plan = _plan(checkpoints=4)
    blocks = Sharding.choose(plan, 4).blocks(plan)
    assert len(blocks) == 4 * 8
    assert all(len({episode.task for episode in block.episodes}) == 1 for block in blocks)


def test_many_shards_make_small_blocks() -> None:
    plan = _plan(checkpoints=1)
    assert len(Sharding.choose(plan, 32).blocks(plan)) >= 4 * 32
    assert Sharding.choose(plan, 10_000).episodes_per_block == 1


@pytest.mark.parametrize("text", ["4/4", "1", "-1/3", "a/b", "1/0", ""])
def test_an_impossible_shard_is_refused(text: str) -> None:
    with pytest.raises(UsageError, match="0/4"):
        Shard.parse(text)


def test_what_is_left_counts_what_the_same_workers_are_given_next(planned: Callable[..., ShardedRun]) -> None:
    """A block may hold a few jobs only, and a checkpoint too: more workers pay all the same."""
    plan = _plan(checkpoints=3, episodes="0:4", tasks=["press_button", "reach_red"])
    whole = PlanSource(plan, ())
    queues = [whole.queue(stage, lambda _: True, {}) for stage in whole.stages()]
    assert [(len(queue), queue.left) for queue in queues] == [(16, 48), (16, 32), (16, 16)]
    whole.failed(plan.checkpoints()[2], PolicyError("gone"))
    assert whole.queue(next(whole.stages()), lambda _: True, {}).left == 32

    work = planned(shards=2)
    run = Run.join(work.path, "shard-0")
    with run.start(), LeaseKeeper(LeaseFolder(work.path), run.writer) as keeper:
        source = ShardSource(run, Shard(0, 2), keeper)
        queue = source.queue(next(source.stages()), lambda _: True, {})
        own = sum(len(list(block.jobs())) for block in share(Sharding.read(work.path).blocks(run.plan), Shard(0, 2)))
        assert 0 < len(queue) < queue.left == own
