"""Episodes played again: one of a run by its policy, those of a bundle from their actions alone."""

from __future__ import annotations

import hashlib
import tempfile
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from simrun.envs import Benchmark, Episode, get_benchmark
from simrun.envs.machine.interpreters import find_interpreter
from simrun.envs.machine.regular_files import open_to_write
from simrun.errors import SimrunError, UsageError, WorkerError
from simrun.results import EpisodeRecord
from simrun.results.plan import Candidate, Plan
from simrun.results.publishing.bundle import PlayedActions
from simrun.results.run import Run
from simrun.runners.engine.process import WorkerProcess
from simrun.runners.engine.progress import SilentDisplay
from simrun.runners.engine.session import run_session
from simrun.runners.engine.wire import configuration
from simrun.runners.sweep import SweepConfig

_SECONDS = 600.0
_OUTCOME = ("success", "success_any", "success_final", "first_success_step", "score", "steps")


def replay_record(
    config: SweepConfig, plan: Plan, record: EpisodeRecord, video: Path | None = None
) -> tuple[EpisodeRecord, dict[str, Any]]:
    """Run the episode of a record again, with the same checkpoint, execution variant and seeds.

    Args:
        config: the configuration of the run it comes from.
        plan: the plan of that run.
        record: what was recorded.
        video: where to write a video of it, None for no video.

    Returns:
        The new record, whose `EpisodeRecord.outcome` equals that of a faithful replay, and the fingerprint of this
        machine in full.

    Raises:
        PolicyError: the checkpoint failed this time.
        UsageError: the video cannot be written.
        InfrastructureError: the episode could not be run on this machine.
    """
    episode = Episode.parse(record.episode)
    protocol = next(entry for entry in plan.protocols if entry.name == episode.protocol)
    candidate = Candidate(record.checkpoint, record.execution, record.policy_seed)
    alone = config.model_copy(update={"workers": 1, "video": "all" if video else "none"})
    with tempfile.TemporaryDirectory(prefix="simrun-replay-") as folder:
        single = Plan((protocol,), (candidate,), (episode,))
        result = run_session(alone, Path(folder), SilentDisplay(), plan=single)
        for error in result.failures.values():
            raise error
        again = result.records[0]
        if not again.completed:
            raise WorkerError(f"episode {record.episode} could not be run: {again.error}")
        if video is not None and again.video is not None:
            _keep(Path(folder) / again.video, video)
        fingerprint = Run.read(Path(folder)).description.fingerprints.get(again.fingerprint, {})
    return again, fingerprint


def _keep(film: Path, video: Path) -> None:
    try:
        with open_to_write(video) as file:
            file.write(film.read_bytes())
    except OSError as error:
        raise UsageError(f"{video} cannot be written: {error.strerror}") from None


@dataclass(frozen=True)
class Finding:
    """What came out of one episode.

    Attributes:
        record: what was recorded of it.
        differing: what came out otherwise, ``success: True recorded, False here``; empty when nothing did.
        same_state: whether the last state is the recorded one to the last bit.
        same_actions: whether the actions are those that the record was made with.
        error: why it could not be played, None when it could.
    """

    record: EpisodeRecord
    differing: tuple[str, ...] = ()
    same_state: bool = False
    same_actions: bool = False
    error: str | None = None

    @property
    def confirmed(self) -> bool:
        """Whether the recorded outcome came out again, from the recorded actions."""
        return self.error is None and not self.differing and self.same_actions


def spot_check(plan: Plan, played: Sequence[PlayedActions]) -> Iterator[Finding]:
    """Play episodes again in a worker, as evaluations do, and compare what comes out with their records.

    Args:
        plan: the plan that the episodes belong to; it has the protocols.
        played: the episodes.

    Yields:
        One finding an episode.

    Raises:
        UsageError: a benchmark or a protocol of the plan is not known here.
        InfrastructureError: packages or data files are missing.
    """
    protocols = {protocol.name: protocol for protocol in plan.protocols}
    for one in played:
        benchmark = get_benchmark(one.record.benchmark)
        if hashlib.sha256(np.ascontiguousarray(one.actions).tobytes()).hexdigest() != one.record.actions_hash:
            yield Finding(one.record, ("the actions are not those that the record was made with",))
            continue
        message = configuration(benchmark, protocols[one.record.protocol], action_mode=one.action_mode)
        try:
            info, state_hash = _play(benchmark, message, one)
        except SimrunError as error:
            yield Finding(one.record, same_actions=True, error=str(error))
            continue
        differing = tuple(
            f"{name}: {getattr(one.record, name)!r} recorded, {info[name]!r} here"
            for name in _OUTCOME
            if info[name] != getattr(one.record, name)
        )
        yield Finding(one.record, differing, state_hash == one.record.state_hash, same_actions=True)


def _play(benchmark: Benchmark, message: dict[str, Any], one: PlayedActions) -> tuple[dict[str, Any], str | None]:
    """Info and state hash at the end of the actions."""
    with tempfile.TemporaryDirectory(prefix="simrun-spot-check-") as logs:
        worker = WorkerProcess(0, find_interpreter(benchmark), Path(logs) / "worker.log")
        try:
            worker.greet(_SECONDS)
            worker.call(message, _SECONDS)
            reply = worker.call({"op": "reset", "episode": one.record.episode, "record": None}, _SECONDS)
            done = 0
            while done < len(one.actions) and not (reply.get("terminated") or reply.get("truncated")):
                reply = worker.call({"op": "step", "actions": one.actions[done:], "record": None}, _SECONDS)
                done += reply["info"]["executed_steps"]
            worker.close()
        finally:
            worker.kill()
    return reply["info"], reply.get("state_hash")
