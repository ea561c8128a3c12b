"""How far episodes came, why they failed and what they cost: stages, groups of failures, inference and time."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from simrun.envs.episodes import Variant
from simrun.results.cells import State, initial_states
from simrun.results.records import EpisodeRecord
from simrun.results.statistics.estimates import Estimate, rate
from simrun.results.statistics.intervals import LEVEL, Interval

NOTHING = "nothing"
"""Stage of an episode that reached none."""


@dataclass(frozen=True)
class StageShare:
    """One stage of a task.

    Attributes:
        name: the stage.
        reached: share of initial states in which it was reached, at any time, with its interval.
        held: share in which it held after the last step.
        n: episodes that have it.
    """

    name: str
    reached: Estimate
    held: Estimate
    n: int


@dataclass(frozen=True)
class FailureGroup:
    """Failures that have something in common.

    Attributes:
        task: their task; of perturbed ones the task that they vary.
        value: what they have in common, by the grouping that was asked for.
        failures: the failed episodes, in the order they were run.
        n: episodes of the task, successful ones included; of perturbed ones those under the same perturbation.
        interval: of the share ``failures / n``.
    """

    task: str
    value: str
    failures: tuple[EpisodeRecord, ...]
    n: int
    interval: Interval

    @property
    def rate(self) -> float:
        """Share of the task's episodes that failed so."""
        return len(self.failures) / self.n


def stage_shares(records: Iterable[EpisodeRecord], level: float = LEVEL) -> list[StageShare]:
    """The stages of completed episodes of one task, in the benchmark's order."""
    records = list(records)
    states = initial_states(records)
    found: dict[str, tuple[dict[State, list[float]], dict[State, list[float]]]] = {}
    for record in records:
        if not record.completed:
            continue
        state = states[record.task, record.trial]
        for stage in record.stages:
            reached, held = found.setdefault(stage["name"], ({}, {}))
            reached.setdefault(state, []).append(float(stage["first_step"] is not None))
            held.setdefault(state, []).append(float(stage["held"]))
    shares = []
    for name, (reached, held) in found.items():
        first, last = rate(reached.values(), level), rate(held.values(), level)
        assert first is not None
        assert last is not None
        shares.append(StageShare(name, first, last, first.episodes))
    return shares


def last_stage(record: EpisodeRecord) -> str:
    """The last stage that an episode reached."""
    reached = [stage["name"] for stage in record.stages if stage["first_step"] is not None]
    return str(reached[-1]) if reached else NOTHING


def what_lacked(record: EpisodeRecord) -> str:
    """Why a failed episode failed, as far as its stages tell: what it never reached, or did not hold."""
    for stage in record.stages:
        if stage["first_step"] is None:
            return f"never: {stage['name']}"
    lost = [stage["name"] for stage in record.stages if not stage["held"]]
    return f"reached, and lost again: {', '.join(lost)}" if lost else "no stage tells"


def _last_progress(record: EpisodeRecord) -> str:
    steps = [stage["first_step"] for stage in record.stages if stage["first_step"] is not None]
    if not steps:
        return "no progress at all"
    part = max(steps) / max(1, record.steps)
    return f"last progress in the {'first' if part <= 1 / 3 else 'second' if part <= 2 / 3 else 'last'} third"


GROUPINGS: dict[str, Callable[[EpisodeRecord], str]] = {
    "stage": what_lacked,
    "task": lambda record: f"after: {last_stage(record)}",
    "instruction": lambda record: record.instruction,
    "perturbation": lambda record: "none",
    "time": _last_progress,
    "candidate": lambda record: f"{record.checkpoint} ({record.execution})",
}
"""By what failures can be grouped, always within a task; perturbations stand in the tasks, not in the records."""


def failure_groups(
    records: Sequence[EpisodeRecord], by: str = "stage", variants: Mapping[str, Variant] | None = None
) -> list[FailureGroup]:
    """Failed episodes grouped within their task, the largest group first.

    Intervals of their shares count initial states, however many seeds and candidates were run on each.

    Args:
        records: episodes of one protocol.
        by: a key of `GROUPINGS`.
        variants: task -> what it perturbs; by perturbation, tasks that vary one task stand together.
    """
    states = initial_states(records)
    wholes: dict[tuple[str, str], list[EpisodeRecord]] = {}
    groups: dict[tuple[str, str], list[EpisodeRecord]] = {}
    for record in records:
        if not record.completed:
            continue
        variant = (variants or {}).get(record.task) if by == "perturbation" else None
        task, value = (variant.twin_task, str(variant)) if variant else (record.task, GROUPINGS[by](record))
        wholes.setdefault((task, value if variant else ""), []).append(record)
        if not record.success:
            groups.setdefault((task, value), []).append(record)
    found = []
    for (task, value), failures in groups.items():
        whole = wholes.get((task, value)) or wholes[task, ""]
        members, outcomes = {id(record) for record in failures}, dict[State, list[float]]()
        for record in whole:
            outcomes.setdefault(states[record.task, record.trial], []).append(float(id(record) in members))
        share = rate(outcomes.values())
        assert share is not None
        assert share.interval is not None
        found.append(FailureGroup(task, value, tuple(failures), len(whole), share.interval))
    return sorted(found, key=lambda group: -len(group.failures))


PARTS = ("reset", "physics", "render", "inference")
"""Parts of an episode's time; what is left of ``wall`` is waiting and everything else."""


@dataclass(frozen=True)
class Cost:
    """The cost of some episodes, in seconds.

    Attributes:
        p50: median of an inference's time, to two digits.
        p95: 95th percentile of it.
        of_means: these two are of the episodes' mean inferences: a record is older than times of single ones.
        inference: all inference together; on a graphics card these are its seconds.
        inferences: number of them.
        wall: episodes' durations together; episodes that run side by side count each.
        parts: part of an episode's time -> seconds; ``other`` is what is left.
        joules: energy that the graphics card took meanwhile; None where it was not told of every episode.
    """

    p50: float
    p95: float
    of_means: bool
    inference: float
    inferences: int
    wall: float
    parts: dict[str, float]
    joules: float | None = None


def cost_of(records: Sequence[EpisodeRecord]) -> Cost | None:
    """The cost of completed episodes; None without any."""
    asked = [record for record in records if record.completed and record.inferences]
    of_means = not all(course.inference_times for record in asked if (course := record.course).timings)
    times, spent = Counter[float](), Counter[str]()
    episodes = told = inferences = 0
    for record in records:
        course = record.course
        if not record.completed or not course.timings:
            continue
        episodes += 1
        told += "joules" in course.timings
        inferences += record.inferences
        spent.update(course.timings)
        if of_means and record.inferences:
            times[course.timings.get("inference", 0.0) / record.inferences] += 1
        elif record.inferences:
            times.update(course.inference_times)
    if not episodes:
        return None
    parts = {part: float(spent[part]) for part in PARTS}
    parts["other"] = max(0.0, spent["wall"] - sum(parts.values()))
    return Cost(
        _quantile(times, 0.5),
        _quantile(times, 0.95),
        of_means,
        parts["inference"],
        inferences,
        float(spent["wall"]),
        parts,
        spent["joules"] if told == episodes else None,
    )


def _quantile(counts: Mapping[float, int], share: float) -> float:
    """The smallest value that at least this share of all does not exceed; 0 of nothing."""
    values = sorted(counts)
    if not values:
        return 0.0
    reached = np.cumsum([counts[value] for value in values])
    return values[int(np.searchsorted(reached, share * reached[-1]))]
