"""One episode in progress: what the policy sees, what of its chunk is executed, what is recorded."""

from __future__ import annotations

import hashlib
import math
import platform
import time
from collections import Counter
from dataclasses import replace
from datetime import datetime, timezone
from typing import Any

import numpy as np
import numpy.typing as npt

from simrun.envs import ActionSpec
from simrun.errors import PolicyError, SimrunError, UsageError
from simrun.policies import ChunkExecutor, ExecutionVariant, Observation, PolicySpec
from simrun.results import EpisodeRecord
from simrun.results.plan import Job
from simrun.results.records import COMPLETED
from simrun.runners.engine.recording import Tape


class Rollout:
    """An episode from its reset to its record; knows neither sockets nor threads.

    Args:
        job: what is run.
        slot: the slot it runs in.
        spec: the policy's specification.
        action_spec: the action convention of the benchmark.
        attempt: 1 for the first try.
        tape: takes down what is to be kept of it.
        frequency: control steps a second; 0 where they take no fixed time.

    Raises:
        UsageError: ``delay=measured`` where control steps take no fixed time.
    """

    def __init__(
        self,
        job: Job,
        slot: int,
        spec: PolicySpec,
        action_spec: ActionSpec,
        attempt: int,
        tape: Tape,
        frequency: float,
    ) -> None:
        self.job = job
        self.slot = slot
        self.attempt = attempt
        self.fresh = True
        self.steps = 0
        self.tape = tape
        self._spec = spec
        variant = ExecutionVariant.parse(job.candidate.execution)
        self._executor = ChunkExecutor(variant, spec.chunk_length, action_spec, spec.native)
        self._native = variant.kind == "native"
        self._recent: list[Observation] = []
        self._frequency = frequency
        if self._executor.variant.kind == "measured" and not frequency:
            raise UsageError(
                f"delay=measured: control steps of {job.episode.benchmark} take no fixed time; give delay=N"
            )
        self._generator = episode_generator(job)
        self._digest = hashlib.sha256()
        self._actions: npt.NDArray[np.floating] | None = None
        self._instruction: str | None = None
        self._sentence = ""
        self._inferences = 0
        self._delays: list[int] = []
        self._initial_hash = ""
        self._timings = dict.fromkeys(("reset", "physics", "render", "inference"), 0.0)
        self._inference_times = Counter[float]()
        self._started = time.perf_counter()
        self._started_at = _now()

    def observation(self, reply: dict[str, Any], images: dict[str, npt.NDArray[np.uint8]]) -> Observation:
        """The policy's view of a worker's reply to ``reset`` or ``step``."""
        seen = reply["observation"]
        if self._instruction is None:
            self._instruction = seen["instruction"]
        self._sentence = seen["instruction"]
        observation = Observation(
            slot=self.slot,
            episode=self.job.episode,
            step=self.steps,
            instruction=seen["instruction"],
            proprio=seen["proprio"],
            images=images,
            generator=self._generator,
            privileged=seen["privileged"],
            native=self._native,
        )
        return replace(observation, past=self._past(observation, reply)) if self._spec.history > 1 else observation

    def _past(self, now: Observation, reply: dict[str, Any]) -> tuple[Observation, ...]:
        """What was seen at the control steps before ``now``, as many as the policy looks at."""
        before = reply.get("past", ())
        if self.fresh:
            self._recent.clear()
        else:
            first = now.step - len(before)
            self._recent += [
                replace(now, step=first + index, proprio=entry["proprio"], images=entry["images"])
                for index, entry in enumerate(before)
            ]
        past = tuple(self._recent[1 - self._spec.history :])
        self._recent = [*past, now]
        return past

    def took(self, joules: float) -> None:
        """Note its share of the energy that its batch took."""
        self._timings["joules"] = self._timings.get("joules", 0.0) + joules

    def plan(self, chunk: npt.NDArray[np.floating], seconds: float, waited: float) -> npt.NDArray[np.floating]:
        """The actions to execute now, given the chunk predicted for the last observation.

        Args:
            chunk: the chunk.
            seconds: its share of the time that its batch took.
            waited: the time that its batch took.

        Raises:
            PolicyOutputError: ``delay=measured``, and it took longer than its chunk lasts.
        """
        self._inferences += 1
        self._timings["inference"] += seconds
        self._inference_times[float(f"{seconds:.1e}")] += 1
        self.fresh = False
        self.tape.predicted(chunk)
        delay = None
        if self._executor.variant.kind == "measured":
            delay = math.ceil(waited * self._frequency)
            self._delays.append(delay)
        self._actions = self._executor.plan(chunk, delay)
        return self._actions

    def absorb(self, reply: dict[str, Any]) -> None:
        """Account for a worker's reply to ``reset`` or ``step``."""
        self._initial_hash = reply.get("initial_hash", self._initial_hash)
        for part, seconds in reply["timings"].items():
            self._timings[part] += seconds
        info = reply["info"]
        self.steps = info["steps"]
        if self._actions is not None:
            # The bytes alone: how actions were grouped into chunks is no part of what was executed.
            self._digest.update(np.ascontiguousarray(self._actions[: info["executed_steps"]]).tobytes())
        self.tape.went_on(reply["snapshots"], self._actions, self._sentence)
        if info["instruction_changed"]:
            self._executor.reset()
            self.fresh = True

    def record(self, reply: dict[str, Any], fingerprint: str) -> EpisodeRecord:
        """The record of the finished episode, given the reply that ended it."""
        self.tape.ended = True
        info = dict(reply["info"])
        own = {name: info.pop(name) for name in (*_FLAGS, "stages", "steps", "score")}
        for transient in ("executed_steps", "instruction_changed"):
            info.pop(transient)
        episode = self.job.episode
        return EpisodeRecord.of(
            checkpoint=self.job.candidate.checkpoint,
            execution=self.job.candidate.execution,
            policy_seed=self.job.candidate.policy_seed,
            episode=episode.id,
            benchmark=episode.benchmark,
            protocol=episode.protocol,
            task=episode.task,
            trial=episode.trial,
            seed=episode.seed,
            wording=episode.wording,
            status=COMPLETED,
            **own,
            instruction=self._instruction or "",
            details=info,
            execution_horizon=self._executor.horizon,
            chunk_length=self._spec.chunk_length,
            inferences=self._inferences,
            inference_times=dict(sorted(self._inference_times.items())),
            delays=self._delays,
            actions_hash=self._digest.hexdigest(),
            state_hash=reply["state_hash"],
            initial_hash=self._initial_hash,
            fingerprint=fingerprint,
            worker=self.slot,
            **self._volatile(),
        )

    def lost(self, error: SimrunError) -> EpisodeRecord:
        """The record of an episode that was given up after its last attempt."""
        candidate = self.job.candidate
        return EpisodeRecord.infrastructure_error(
            checkpoint=candidate.checkpoint,
            execution=candidate.execution,
            policy_seed=candidate.policy_seed,
            episode=self.job.episode,
            error=f"{type(error).__name__}: {error}",
            worker=self.slot,
            **self._volatile(),
        )

    def blame(self, error: SimrunError) -> PolicyError:
        """The policy's error with the episode it happened in."""
        candidate = self.job.candidate
        kind = type(error) if isinstance(error, PolicyError) else PolicyError
        blamed = kind(f"({candidate.execution}) in episode {self.job.episode.id}, step {self.steps}: {error}")
        blamed.__cause__ = error
        return blamed

    def _volatile(self) -> dict[str, Any]:
        wall = time.perf_counter() - self._started
        return {
            "attempts": self.attempt,
            "timings": {part: round(seconds, 6) for part, seconds in {**self._timings, "wall": wall}.items()},
            "host": platform.node(),
            "started_at": self._started_at,
            "finished_at": _now(),
        }


_FLAGS = ("success", "success_any", "success_final", "first_success_step")


def episode_generator(job: Job) -> np.random.Generator:
    """The generator a stochastic policy draws from: fixed by the episode and the policy seed, nothing else."""
    digest = hashlib.sha256(job.episode.chance.encode()).digest()
    return np.random.default_rng([job.candidate.policy_seed, int.from_bytes(digest[:8], "big")])


def _now() -> str:
    return datetime.now(timezone.utc).isoformat(timespec="milliseconds")
