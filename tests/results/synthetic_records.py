"""Synthetic records for tests of statistics and tables: coin flips, not rollouts of any policy.

Each outcome is drawn from a generator seeded by everything that names the episode, so that a record never depends
on which others were asked for.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path

import numpy as np

from simrun.envs import Episode, Protocol
from simrun.results import EpisodeRecord
from simrun.results.records import COMPLETED

MakeRun = Callable[..., Path]
"""Type of the fixture ``make_run``."""

CALVIN = "calvin_abcd/standard@1"
BRIDGE = "simpler_bridge/standard@1"
LIBERO = "libero_10/standard@2"
SUBTASKS = ("open_drawer", "lift_red_block_table", "turn_on_led", "stack_block", "push_into_drawer")
BRIDGE_TASKS = ("put_carrot_on_plate", "put_eggplant_in_basket", "put_spoon_on_towel", "stack_cube")


def synthetic_protocol(name: str) -> Protocol:
    """A protocol of a name, for plans that nobody will run."""
    return Protocol(name, "made up", max_steps=60, success_rule="first_success", cameras={})


def record(
    *,
    checkpoint: str = "step_1000.onnx",
    execution: str = "full",
    policy_seed: int = 0,
    protocol: str = LIBERO,
    task: str = "task_0",
    trial: int = 0,
    seed: int = 0,
    score: float = 1.0,
    chain: Sequence[str] = (),
    **changes: object,
) -> EpisodeRecord:
    """One completed episode with the given score."""
    episode = Episode(protocol, task, trial, seed)
    success = score >= (len(chain) or 1)
    attempts = [
        {"task": subtask, "success": index < score, "steps": 40}
        for index, subtask in enumerate(chain)
        if index <= score
    ]
    values: dict[str, object] = {
        "checkpoint": checkpoint,
        "execution": execution,
        "policy_seed": policy_seed,
        "episode": episode.id,
        "benchmark": episode.benchmark,
        "protocol": protocol,
        "task": task,
        "trial": trial,
        "seed": seed,
        "status": COMPLETED,
        "success": success,
        "success_any": success,
        "success_final": success,
        "first_success_step": 40 if success else None,
        "score": float(score),
        "steps": 40 if success else 60,
        "instruction": task.replace("_", " "),
        "details": {"subtasks": attempts} if chain else {},
        "execution_horizon": {"full": 10, "half": 5, "single": 1}.get(execution, 4),
        "chunk_length": 10,
        "inferences": 6,
        "actions_hash": "a" * 64,
        "state_hash": "b" * 64,
        "timings": {"wall": 1.5, "physics": 0.5},
        "host": "node-1",
        "started_at": "2026-01-01T00:00:00Z",
        "finished_at": "2026-01-01T00:00:02Z",
    }
    return EpisodeRecord.of(**(values | changes))  # type: ignore[arg-type]


def outcomes(
    rates: Mapping[str, float],
    trials: int,
    *,
    checkpoints: Sequence[str] = ("step_1000.onnx",),
    executions: Sequence[str] = ("full",),
    policy_seeds: Sequence[int] = (0,),
    protocol: str = LIBERO,
) -> Iterator[EpisodeRecord]:
    """Coin flips: task -> success rate, for every cell and trial."""
    for checkpoint in checkpoints:
        for execution in executions:
            for policy_seed in policy_seeds:
                for task, rate in rates.items():
                    for trial in range(trials):
                        draw = _generator(checkpoint, execution, policy_seed, protocol, task, trial).random()
                        yield record(
                            checkpoint=checkpoint,
                            execution=execution,
                            policy_seed=policy_seed,
                            protocol=protocol,
                            task=task,
                            trial=trial,
                            score=float(draw < rate),
                        )


def chains(
    rate: float,
    sequences: int,
    *,
    checkpoints: Sequence[str] = ("step_1000.onnx",),
    executions: Sequence[str] = ("full",),
    policy_seeds: Sequence[int] = (0,),
) -> Iterator[EpisodeRecord]:
    """CALVIN-like chains of five subtasks, each solved with probability ``rate`` until the first failure."""
    for checkpoint in checkpoints:
        for execution in executions:
            for policy_seed in policy_seeds:
                for trial in range(sequences):
                    draws = _generator(checkpoint, execution, policy_seed, CALVIN, "sequence", trial).random(5) < rate
                    yield record(
                        checkpoint=checkpoint,
                        execution=execution,
                        policy_seed=policy_seed,
                        protocol=CALVIN,
                        task="sequence",
                        trial=trial,
                        score=float(np.cumprod(draws).sum()),
                        chain=SUBTASKS,
                    )


def _generator(*names: object) -> np.random.Generator:
    digest = hashlib.sha256(repr(names).encode()).digest()
    return np.random.default_rng(int.from_bytes(digest[:8], "little"))
