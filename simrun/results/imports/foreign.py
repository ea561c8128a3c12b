"""Results that another tool measured: what is known of them, and the cells that they become.

A file says what it holds: outcomes of single episodes, or only how many of how many succeeded. Its initial states are
not known to be ours, so such a cell is compared as an independent sample, whatever its episodes are numbered.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

from msgspec import structs

from simrun.errors import UsageError
from simrun.results.cells import Cell
from simrun.results.description import installed_facts
from simrun.results.imports.json_results import READERS as JSON_READERS
from simrun.results.imports.outcomes import Outcomes
from simrun.results.imports.text_results import READERS as TEXT_READERS
from simrun.results.records import COMPLETED, EpisodeRecord

READERS = (*JSON_READERS, *TEXT_READERS)
"""In this order each is asked whether a path is one of its tool's."""


@dataclass(frozen=True)
class ForeignResults:
    """One file of another tool, read for one benchmark.

    Attributes:
        benchmark: name of the benchmark that the user says it is.
        path: the file or folder.
        outcomes: what it holds, one entry a model or setting.
    """

    benchmark: str
    path: Path
    outcomes: Sequence[Outcomes] = field(default_factory=tuple)

    def cells(self) -> list[Cell]:
        """One cell a model or setting."""
        return [self._cell(one) for one in self.outcomes]

    def _cell(self, one: Outcomes) -> Cell:
        protocol = f"{self.benchmark}/by {one.tool}@unknown"
        records = tuple(
            _record(self.benchmark, protocol, one, task, index, score)
            for task, scores in one.scores.items()
            for index, score in enumerate(scores)
        )
        facts = installed_facts(self.benchmark)
        largest = facts.scoring.largest
        if any(not 0 <= record.score <= largest for record in records):
            raise UsageError(f"{self.path} holds scores outside 0 to {largest:g}, which {self.benchmark} cannot have")
        return Cell(
            checkpoint=one.name,
            execution=one.execution,
            protocol=protocol,
            facts=facts,
            fingerprint="",
            run=f"{self.path.name}, by {one.tool}",
            records=records,
            errors=0,
            planned_tasks=Counter(record.task for record in records),
        )


def read_foreign(text: str, episodes: int | None = None) -> ForeignResults:
    """Read what ``--import`` names.

    Args:
        text: ``BENCH=PATH``.
        episodes: episodes of each task, for files that hold rates without counts.

    Raises:
        UsageError: no such file, no tool's result that is known, or one that cannot be used as it is.
    """
    benchmark, separator, name = text.partition("=")
    path = Path(name).expanduser()
    if not separator or not path.exists():
        raise UsageError(f"--import {text!r} is no BENCH=PATH of results that are there")
    for reader in READERS:
        outcomes = reader(path, episodes)
        if outcomes:
            return ForeignResults(benchmark, path, tuple(outcomes))
    raise UsageError(
        f"{path} is no result that simrun can read; known are eval_info.json of LeRobot, exports of vla-eval, "
        "result.json of RoboVLMs and VLM4VLA, a folder with _result.txt, a folder of SimplerEnv's videos, logs of "
        "openpi's and OpenVLA's evaluations, and CSV with the columns model, task, successes, episodes"
    )


def as_comparable(cell: Cell, protocol: str) -> Cell:
    """A foreign cell under our protocol's name, with states that are nobody else's, so that it is never paired."""
    records = tuple(
        structs.replace(record, protocol=protocol, trial=-1 - index) for index, record in enumerate(cell.records)
    )
    return replace(cell, protocol=protocol, records=records)


def _record(benchmark: str, protocol: str, one: Outcomes, task: str, index: int, score: float) -> EpisodeRecord:
    success = score > 0
    details: Mapping[str, str] = {"imported from": one.tool, "protocol as far as known": one.protocol}
    return EpisodeRecord.of(
        checkpoint=one.name,
        execution=one.execution,
        policy_seed=0,
        episode=f"{protocol}/{task}/{index}/s0",
        benchmark=benchmark,
        protocol=protocol,
        task=task,
        trial=index,
        seed=0,
        status=COMPLETED,
        success=success,
        success_any=success,
        success_final=success,
        first_success_step=None,
        score=score,
        steps=0,
        instruction="",
        details=dict(details),
        execution_horizon=0,
        chunk_length=0,
        inferences=0,
        actions_hash="",
        state_hash="",
    )
