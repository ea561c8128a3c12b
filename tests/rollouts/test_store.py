"""A set of rollouts: what comes back, what a crash leaves, and that it may not grow without bound."""

from __future__ import annotations

import json
import re
from pathlib import Path

import numpy as np
import pytest

from simrun.errors import JournalError, UsageError
from simrun.rollouts import RolloutSet, RolloutStore, Schema, Step, layout

SCHEMA = Schema("plane", {"front": (48, 64), "wrist": (32, 32)}, ("x", "y"), ("dx", "dy", "grip"), 10)


def make_steps(seed: int, count: int, kind: str = "f4") -> list[Step]:
    generator = np.random.default_rng(seed)
    return [
        Step(
            {name: generator.integers(0, 256, (*size, 3), np.uint8) for name, size in SCHEMA.cameras.items()},
            generator.random(2).astype(np.float32),
            generator.random(3).astype(kind),
            float(step == count - 1),
            "reach" if step < 3 else "lift",
        )
        for step in range(count)
    ]


def write(store: RolloutStore, steps: list[Step], **fields: object) -> int:
    episode = store.begin()
    for start in range(0, len(steps), 4):
        episode.predicted(np.full((8, 3), start, np.float32))
        for step in steps[start : start + 4]:
            episode.add(step)
    return store.commit(episode, fields)


@pytest.mark.parametrize("kind", ["<f4", "<f8"])
def test_everything_comes_back_to_the_last_bit(tmp_path: Path, kind: str) -> None:
    steps = make_steps(1, 7, kind)
    assert write(RolloutStore(tmp_path / "set", SCHEMA), steps, checkpoint="a.onnx", success=True) == 0
    (rollout,) = RolloutSet.open(tmp_path / "set")
    assert rollout.actions.dtype == np.dtype(kind)
    np.testing.assert_array_equal(rollout.actions, [step.action for step in steps])
    np.testing.assert_array_equal(rollout.states, [step.state for step in steps])
    np.testing.assert_array_equal(rollout.rewards, [0, 0, 0, 0, 0, 0, 1])
    for camera in SCHEMA.cameras:
        np.testing.assert_array_equal(list(rollout.frames(camera)), [step.images[camera] for step in steps])
    assert [(step, chunk[0, 0]) for step, chunk in rollout.predictions] == [(0, 0.0), (4, 4.0)]
    assert rollout.fields["tasks"] == ["reach", "lift"]
    assert rollout.fields["checkpoint"] == "a.onnx"
    assert rollout.fields["success"] is True


def test_a_set_grows_and_its_statistics_are_those_of_all(tmp_path: Path) -> None:
    steps = [make_steps(seed, 5 + seed) for seed in range(3)]
    for part in steps:
        write(RolloutStore(tmp_path, SCHEMA), part)
    info = json.loads((tmp_path / layout.INFO).read_text())
    assert (info["total_episodes"], info["total_frames"], info["total_tasks"]) == (3, 18, 2)
    assert [rollout.fields["dataset_from_index"] for rollout in RolloutSet.open(tmp_path)] == [0, 5, 11]
    actions = np.concatenate([[step.action for step in part] for part in steps]).astype(np.float64)
    stats = json.loads((tmp_path / layout.STATS).read_text())["action"]
    np.testing.assert_allclose(stats["mean"], actions.mean(axis=0))
    np.testing.assert_allclose(stats["std"], actions.std(axis=0))
    assert stats["min"] == actions.min(axis=0).tolist()
    assert stats["count"] == [18]


def test_what_a_crash_left_is_taken_away(tmp_path: Path) -> None:
    store = RolloutStore(tmp_path, SCHEMA)
    write(store, make_steps(1, 5))
    write(store, make_steps(2, 5))
    (tmp_path / layout.file_of("meta/episodes", 1)).unlink()
    cut_off = store.begin()
    cut_off.add(make_steps(3, 1)[0])
    again = RolloutStore(tmp_path, SCHEMA)
    assert again.episodes == 1
    assert not (tmp_path / layout.file_of("data", 1)).exists()
    assert not (tmp_path / "partial").exists()
    cut_off.discard()
    assert json.loads((tmp_path / layout.INFO).read_text())["total_frames"] == 5
    third = make_steps(4, 6)
    assert write(again, third) == 1
    np.testing.assert_array_equal(RolloutSet.open(tmp_path)[1].actions, [step.action for step in third])


def test_episodes_may_overlap_and_be_dropped(tmp_path: Path) -> None:
    store = RolloutStore(tmp_path, SCHEMA)
    first, second, dropped = store.begin(), store.begin(), store.begin()
    for one, two in zip(make_steps(1, 4), make_steps(2, 4), strict=True):
        first.add(one)
        second.add(two)
        dropped.add(two)
    dropped.discard()
    assert [store.commit(second, {"name": "b"}), store.commit(first, {"name": "a"})] == [0, 1]
    assert [rollout.fields["name"] for rollout in RolloutSet.open(tmp_path)] == ["b", "a"]
    assert not list(tmp_path.rglob("*.partial"))


def test_a_set_is_of_one_kind_and_of_bounded_size(tmp_path: Path) -> None:
    store = RolloutStore(tmp_path, SCHEMA, limit=10_000)
    assert not store.full
    write(store, make_steps(1, 5))
    assert store.full
    assert RolloutStore(tmp_path, SCHEMA, limit=10_000).full
    other = Schema("plane", {"front": (48, 64)}, SCHEMA.state, SCHEMA.action, 10)
    with pytest.raises(UsageError, match="other cameras"):
        RolloutStore(tmp_path, other)
    with pytest.raises(JournalError, match="without a step"):
        store.commit(store.begin(), {})


def test_a_damaged_set_is_one_sentence(tmp_path: Path) -> None:
    with pytest.raises(JournalError, match="no readable rollouts"):
        RolloutSet.open(tmp_path)
    write(RolloutStore(tmp_path, SCHEMA), make_steps(1, 2))
    (tmp_path / layout.file_of("data", 0)).write_bytes(b"PAR1")
    with pytest.raises(JournalError, match="cannot be read"):
        _ = RolloutSet.open(tmp_path)[0].actions


@pytest.mark.parametrize("number", ["1e999", "-1", "1e30", "[]", '"x"', "null"])
def test_a_set_of_no_number_of_episodes_is_one_sentence(tmp_path: Path, number: str) -> None:
    write(RolloutStore(tmp_path, SCHEMA), make_steps(1, 2))
    info = tmp_path / layout.INFO
    info.write_text(re.sub('"total_episodes": *1', f'"total_episodes": {number}', info.read_text()))
    with pytest.raises(JournalError, match="holds no readable rollouts"):
        RolloutSet.open(tmp_path)


def test_a_folder_of_the_kernels_in_a_rollouts_place_is_one_sentence(tmp_path: Path) -> None:
    write(RolloutStore(tmp_path, SCHEMA), make_steps(1, 2))
    data = tmp_path / layout.file_of("data", 0)
    data.unlink()
    data.symlink_to("/proc")
    with pytest.raises(JournalError, match="cannot be read"):
        _ = RolloutSet.open(tmp_path)[0].actions


@pytest.mark.parametrize("held", [{"other": [1]}, {layout.ACTION: [1]}, {layout.ACTION: ["x"], "task_index": [9]}, {}])
def test_a_rollout_of_other_columns_is_one_sentence(tmp_path: Path, held: dict[str, list[object]]) -> None:
    import pyarrow
    from pyarrow import parquet

    write(RolloutStore(tmp_path, SCHEMA), make_steps(1, 2))
    for what in ("data", "predictions"):
        parquet.write_table(pyarrow.table(held), tmp_path / layout.file_of(what, 0))
    rollout = RolloutSet.open(tmp_path)[0]
    for part in ("actions", "states", "rewards", "instructions", "predictions"):
        if held or part not in ("predictions", "instructions"):
            with pytest.raises(JournalError, match=r"the rollout .* is damaged"):
                getattr(rollout, part)
