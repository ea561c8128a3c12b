"""RecordedRun: what is known of a run in memory, and what of it may be shown; `Run` adds the folder."""

from __future__ import annotations

import os
from collections.abc import Iterable
from functools import cached_property
from pathlib import Path

from simrun.envs.scoring import Scoring
from simrun.errors import JournalError, UsageError
from simrun.results.caveats import notes_of
from simrun.results.description import BenchmarkFacts, Description
from simrun.results.journal import add as add_record
from simrun.results.journal import merge
from simrun.results.plan import CellKey, JobKey, Plan
from simrun.results.records import COMPLETED, EpisodeRecord


class RecordedRun:
    """A run with its records.

    Args:
        path: the folder it stands in.
        plan: what is to be run.
        description: what was asked for, and what was found.
        records: its records.

    Attributes:
        path: the folder, absolute.
        plan: what is to be run.
        description: what was asked for, and what was found.
        differing: episodes of which two completed records disagree, and in which fields; the first one counts.
    """

    def __init__(self, path: Path, plan: Plan, description: Description, records: Iterable[EpisodeRecord] = ()) -> None:
        self.path = Path(os.path.abspath(path))
        self.plan = plan
        self.description = description
        self.differing: dict[JobKey, tuple[str, ...]] = {}
        self._scales: dict[str, Scoring | None] = {}
        self._records = merge(records, self.differing)

    @property
    def name(self) -> str:
        """Name of the folder."""
        return self.path.name

    @property
    def records(self) -> list[EpisodeRecord]:
        """The records in memory: those that were there, and those of this session."""
        return list(self._records.values())

    @property
    def done(self) -> set[JobKey]:
        """Keys of the records in memory that count; all other jobs are still to be run."""
        return {key for key, record in self._records.items() if record.status == COMPLETED}

    def _take(self, record: EpisodeRecord) -> None:
        if fields := add_record(self._records, record):
            self.differing.setdefault(record.key, fields)

    def check(self, record: EpisodeRecord) -> None:
        """Check a record against the scale of its benchmark.

        Raises:
            JournalError: its score is none of that benchmark.
        """
        try:
            scale = self._scales[record.benchmark]
        except KeyError:
            try:
                scale = self.facts(record.benchmark).scoring
            except UsageError:
                scale = None
            self._scales[record.benchmark] = scale
        try:
            if scale is not None:
                scale.check(record.score)
        except UsageError as error:
            raise JournalError(f"a record of {record.benchmark} is wrong: {error}") from None

    @cached_property
    def _planned(self) -> dict[CellKey, dict[str, int]]:
        return self.plan.planned({})

    @property
    def planned(self) -> dict[CellKey, dict[str, int]]:
        """Episodes of each task that make a table row complete, over all policy seeds; not of collapsed variants."""
        collapsed, report = self.description.collapsed, self.description.report_episodes
        if report is not None or self.description.stopped_when_narrow:
            held: dict[CellKey, dict[str, int]] = {}
            for record in self.reported:
                tasks = held.setdefault(record.cell, {})
                tasks[record.task] = tasks.get(record.task, 0) + 1
            return held
        return {key: tasks for key, tasks in self._planned.items() if key[1] not in collapsed.get(key[0], {})}

    @property
    def reported(self) -> list[EpisodeRecord]:
        """The records that tables and plots show: all, or in a race those of the episodes that choose nobody."""
        candidates, episodes = self._names
        if self.description.report_episodes is not None:
            episodes = episodes & self.description.report_episodes
        return [
            one
            for one in self._records.values()
            if one.episode in episodes and (one.checkpoint, one.execution, one.policy_seed) in candidates
        ]

    def holds(self, record: EpisodeRecord) -> bool:
        """Whether the plan holds a record; one that it does not hold counts nowhere."""
        candidates, episodes = self._names
        return (record.checkpoint, record.execution, record.policy_seed) in candidates and record.episode in episodes

    @cached_property
    def _names(self) -> tuple[set[tuple[str, str, int]], set[str]]:
        candidates = {(one.checkpoint, one.execution, one.policy_seed) for one in self.plan.candidates}
        return candidates, {episode.id for episode in self.plan.episodes}

    def purpose(self, record: EpisodeRecord) -> str:
        """What an episode was run for: ``selection`` or ``report`` in a race, ``until narrow``, or ``report``."""
        if self.description.stopped_when_narrow:
            return "until narrow"
        report = self.description.report_episodes
        return "report" if report is None or record.episode in report else "selection"

    @property
    def episodes_planned(self) -> int:
        """Episodes that make the run complete."""
        return sum(sum(tasks.values()) for tasks in self.planned.values())

    @property
    def notes(self) -> list[str]:
        """Remarks that belong under its table."""
        found = notes_of(self.description)
        if foreign := [record for record in self.records if not self.holds(record)]:
            found.insert(
                0,
                f"{len(foreign)} records of {self.name} are in no plan of it and count nowhere, the first one: "
                f"{foreign[0].episode}.",
            )
        if self.differing:
            (checkpoint, execution, _, episode), fields = next(iter(self.differing.items()))
            found.insert(
                0,
                f"{len(self.differing)} episodes of {self.name} were recorded more than once with different outcomes; "
                f"the first record counts, the others stay in the journal. The first of them: {episode} "
                f"({checkpoint}, {execution}), different in {', '.join(fields)}.",
            )
        return found

    def facts(self, benchmark: str) -> BenchmarkFacts:
        """What tables must know of a benchmark.

        Raises:
            UsageError: it stands neither in the run nor in an installed package.
        """
        return self.description.facts(benchmark)
