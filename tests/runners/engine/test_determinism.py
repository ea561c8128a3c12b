"""The same episode gives the same record, whoever runs it, when, and beside what."""

from __future__ import annotations

import random
from pathlib import Path
from typing import Any

import pytest

from simrun.runners.cluster.sharded_runs import plan_shards
from simrun.runners.engine import sources
from simrun.runners.sweep import make_config
from tests.runners.cluster.conftest import journalled, start_shard
from tests.runners.conftest import Run, outcomes

SWEEP = {"ckpt": ["scripted:random", "scripted:expert"], "exec": ["full", "half", "single"]}


def test_worker_count_and_order_change_nothing(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    def outcomes_of(out: str, **settings: Any) -> dict[Any, dict[str, Any]]:
        # Workers that are begun anew again and again may need minutes on a machine that others use.
        records = run(out, timeout=600, **settings, **SWEEP).records
        lost = {record.key: record.error for record in records if not record.completed}
        assert not lost, "the machine lost episodes, which says nothing of their outcomes"
        return outcomes(records)

    reference = outcomes_of("one", workers=1)
    assert outcomes_of("two", workers=2) == reference
    assert outcomes_of("four", workers=4, recycle=3) == reference

    class Shuffled(sources.JobQueue):
        def __init__(self, work, cost, following=0):
            work = list(work)
            random.Random(0).shuffle(work)
            super().__init__(work, cost, following)

        def take(self, last_task):
            return super().take(None)

    monkeypatch.setattr("simrun.runners.engine.sources.JobQueue", Shuffled)
    assert outcomes_of("shuffled", workers=3) == reference


def test_shards_add_up_to_the_whole(run: Run, tmp_path: Path) -> None:
    """Three processes at once, as a cluster starts them, that lease blocks from one another."""
    whole = run("whole", **SWEEP).records
    work = plan_shards(
        make_config({"bench": ["tabletop"], "episodes": "0:2", "workers": 1, **SWEEP}), tmp_path / "n", 3
    )
    shards = [start_shard(work, index) for index in range(3)]
    assert [shard.wait(300) for shard in shards] == [0, 0, 0]
    records = journalled(work.path)
    assert len(records) == len(whole), "every episode once, none twice"
    assert outcomes(records) == outcomes(whole)
    own = {file.name.split("-")[1] for file in (work.path / "journal").glob("shard-*.jsonl") if file.stat().st_size}
    assert own == {"0000", "0001", "0002"}, "each shard recorded something"


def test_policy_seeds_differ_and_repeat(run: Run) -> None:
    first = run("first", policy_seeds=[0, 1], tasks=["reach_red"]).records
    again = run("again", policy_seeds=[0, 1], tasks=["reach_red"], workers=1).records
    assert outcomes(first) == outcomes(again)
    actions = {record.policy_seed: record.actions_hash for record in first if record.trial == 0}
    assert actions[0] != actions[1]


def test_filming_changes_nothing(run: Run) -> None:
    plain = run("plain", tasks=["reach_red"]).records
    filmed = run("filmed", tasks=["reach_red"], video="all")
    assert outcomes(filmed.records) == outcomes(plain)
    for record in filmed.records:
        assert record.video is not None
        assert (filmed.run.path / record.video).stat().st_size > 1000


@pytest.mark.assets
def test_calvin_is_deterministic_too(run: Run) -> None:
    sweep = {"bench": ["calvin"], "ckpt": ["scripted:random"], "episodes": "0:3", "exec": ["full", "single"]}
    reference = outcomes(run("one", workers=1, **sweep).records)
    assert outcomes(run("two", workers=2, **sweep).records) == reference


@pytest.mark.assets
def test_calvin_replays_its_recordings_under_every_variant(run: Run, golden: Path) -> None:
    result = run(
        "replay",
        bench=["calvin"],
        ckpt=[f"replay:{golden / 'calvin'}"],
        episodes="6,15",
        exec=["full", "half", "single", "k=7"],
    )
    assert {record.score for record in result.records} == {5.0}
    states = {(record.trial, record.state_hash, record.actions_hash) for record in result.records}
    assert len(states) == 2, "every variant passes through the same states"
