"""Records that no simulator made, for measuring what is done with records."""

from __future__ import annotations

from simrun.envs import Episode
from simrun.results import EpisodeRecord
from simrun.results.plan import Candidate


def synthetic_record(candidate: Candidate, episode: Episode, score: float, *, chain: bool) -> EpisodeRecord:
    """A completed episode as a run would have recorded it.

    Args:
        candidate: checkpoint, execution variant and policy seed.
        episode: the episode.
        score: subtasks solved of five for a chain, else 1.0 for a success.
        chain: whether it is a CALVIN sequence, with its subtasks in the details.
    """
    attempts = [{"task": f"subtask_{k}", "success": k < score, "steps": 60} for k in range(min(5, int(score) + 1))]
    solved = score >= (5 if chain else 1)
    return EpisodeRecord.of(
        checkpoint=candidate.checkpoint,
        execution=candidate.execution,
        policy_seed=candidate.policy_seed,
        episode=episode.id,
        benchmark=episode.benchmark,
        protocol=episode.protocol,
        task=episode.task,
        trial=episode.trial,
        seed=episode.seed,
        status="completed",
        success=solved,
        success_any=solved,
        success_final=solved,
        first_success_step=60 if solved else None,
        score=score,
        steps=360,
        instruction="open the drawer",
        details={"subtasks": attempts} if chain else {},
        execution_horizon=10,
        chunk_length=10,
        inferences=36,
        actions_hash="a" * 64,
        state_hash="b" * 64,
        initial_hash=f"{episode.trial:064x}",
        timings={"reset": 0.1, "physics": 1.0, "render": 2.0, "inference": 0.5, "wall": 3.7},
        inference_times={0.012: 9, 0.013: 14, 0.014: 8, 0.015: 4, 0.021: 1},
        host="node",
        started_at="2026-01-01T00:00:00+00:00",
        finished_at="2026-01-01T00:00:04+00:00",
        fingerprint="0123456789ab",
    )
