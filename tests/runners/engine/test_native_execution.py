"""What the authors of a policy execute: steps of a chunk, frames of consecutive control steps, remarks, settings."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from simrun import evaluate
from simrun.errors import CheckpointError, UsageError
from simrun.policies import ChunkExecutor, ExecutionVariant, Observation, Policy, PolicySpec
from simrun.policies.execution import NativeExecution

pytest.importorskip("mujoco")

SHORT = {"episodes": "0:1", "workers": 1, "set": {"max_steps": 10, "max_steps_by_task": {}}, "tasks": ["push_*"]}


class Watching(Policy):
    """Keeps what it was shown."""

    def __init__(self, **changes: Any) -> None:
        self.spec = replace(PolicySpec("watching", 8, native=NativeExecution(3), cameras=("front",)), **changes)
        self.asked: list[Observation] = []

    def infer(self, observations: Sequence[Observation]) -> np.ndarray:
        self.asked += observations
        return np.zeros((len(observations), 8, 7), np.float32)


def test_native_executes_what_the_authors_do_and_says_what_that_is() -> None:
    policy = Watching()
    results = evaluate(policy, "tabletop", exec="native", **SHORT)
    assert [entry.step for entry in policy.asked if entry.episode == policy.asked[0].episode] == [0, 3, 6, 9]
    assert all(entry.native for entry in policy.asked)
    assert results.records[0].execution_horizon == 3
    assert "watching: native executes 3 of 8 actions." in str(results)


def test_without_a_word_of_its_authors_native_is_the_whole_chunk() -> None:
    policy = Watching(native=None)
    results = evaluate(policy, "tabletop", exec=["native", "full"], **SHORT)
    assert {record.execution for record in results.records} == {"native"}
    assert "native executes the whole chunk, for nobody says what its authors execute" in str(results)
    assert "full was not run, because it executes exactly what native does" in str(results)


@pytest.mark.parametrize("variant", ["native", "full", "single"])
def test_history_is_of_consecutive_control_steps_whatever_the_horizon(variant: str) -> None:
    policy = Watching(history=4)
    evaluate(policy, "tabletop", exec=variant, **SHORT)
    first = policy.asked[0].episode
    shown = {entry.step: entry for entry in policy.asked if entry.episode == first}
    for step, entry in shown.items():
        # Steps 0 to 3 before an episode's fourth; a chunk's first frame is kept where the horizon is shorter.
        expected = [past for past in range(step - 3, step) if past >= 0]
        assert [past.step for past in entry.past] == expected
        assert all(set(past.images) == {"front"} and len(past.proprio) == 7 for past in entry.past)
        for past in entry.past:
            if past.step in shown:
                np.testing.assert_array_equal(past.images["front"], shown[past.step].images["front"])
                np.testing.assert_array_equal(past.proprio, shown[past.step].proprio)


def test_a_policy_made_for_other_settings_is_one_sentence() -> None:
    policy = Watching(needs={"max_steps": 300})
    with pytest.raises(
        CheckpointError, match=r"was made for max_steps = 300, and tabletop/.* has 10; .*--set max_steps"
    ):
        evaluate(policy, "tabletop", exec="native", **SHORT)


def test_the_last_rows_of_a_chunk_where_upstream_executes_those() -> None:
    native = NativeExecution(5, last=True)
    plan = ChunkExecutor(ExecutionVariant("native"), 8, native=native)
    chunk = np.arange(8, dtype=np.float32)[:, None]
    np.testing.assert_array_equal(plan.plan(chunk)[:, 0], [3, 4, 5, 6, 7])
    assert native.describe(8) == "the last 5 of 8 actions"
    with pytest.raises(UsageError, match="takes 9 actions of each chunk, and the policy's hold 8"):
        ChunkExecutor(ExecutionVariant("native"), 8, native=NativeExecution(9))
