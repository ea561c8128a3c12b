"""The page's data: what it asks for, by address, whether a server answers or the answers lie frozen in the file."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from datetime import datetime, timezone
from typing import Any

from simrun.errors import SimrunError, UsageError
from simrun.results.cells import Cell
from simrun.results.page.overview import overview
from simrun.results.parting import part, shared_states
from simrun.results.pooling import cells_of
from simrun.results.progress import last_stage
from simrun.results.records import EpisodeRecord
from simrun.results.run import Run
from simrun.results.statistics.contrasts import comparable, contrast
from simrun.results.statistics.exact_tests import PairedCounts
from simrun.rollouts.reader import rollout_at

VideoOf = Callable[[Run, EpisodeRecord, int], str | None]
"""Where the page finds the film of an episode, given its run, record and number; None without one."""

_MOST_PAIRS = 400


class Document:
    """The data of some runs, which may grow.

    Args:
        runs: the runs; what they hold already is taken in.
        video: where films are found.
        mix_fingerprints: pool records of different fingerprints.
    """

    def __init__(self, runs: Sequence[Run], video: VideoOf, *, mix_fingerprints: bool = False) -> None:
        self.runs = list(runs)
        self._video = video
        self._mix = mix_fingerprints
        self._rows: list[tuple[Run, EpisodeRecord]] = []
        self._numbers: list[dict[object, int]] = [{} for _ in self.runs]
        self._ids: dict[int, int] = {}
        self._cells: list[Cell] = []
        for run in self.runs:
            self.take(run, run.records)

    def __len__(self) -> int:
        return len(self._rows)

    def take(self, run: Run, records: Iterable[EpisodeRecord]) -> list[int]:
        """Take in records of a run that are new, or replace one; returns their numbers."""
        position = self.runs.index(run)
        changed = []
        for record in records:
            number = self._numbers[position].setdefault(record.key, len(self._rows))
            if number == len(self._rows):
                self._rows.append((run, record))
            else:
                self._rows[number] = (run, record)
            self._ids[id(record)] = number
            changed.append(number)
        return changed

    def overview(self, now: datetime | None = None) -> dict[str, Any]:
        """All episodes together, computed now; see `simrun.results.page.overview`."""
        self._cells = cells_of(self.runs, mix_fingerprints=self._mix)
        return overview(self.runs, self._cells, self._ids, now or datetime.now(timezone.utc))

    def episodes(self, numbers: Iterable[int] | None = None) -> dict[str, Any]:
        """Columns of episodes; texts that repeat are listed once and referred to by position.

        Args:
            numbers: the episodes; None means all.
        """
        chosen = list(range(len(self._rows)) if numbers is None else numbers)
        texts: dict[str, int] = {}
        columns: dict[str, list[Any]] = {"number": chosen, **{name: [] for name in (*_TEXTS, *_PLAIN)}}
        for number in chosen:
            run, record = self._rows[number]
            row = _row(run, record)
            for name in _TEXTS:
                columns[name].append(texts.setdefault(row[name], len(texts)))
            for name in _PLAIN:
                columns[name].append(row[name])
        return {"texts": list(texts), "columns": columns, "total": len(self._rows)}

    def episode(self, number: int, *, chart: bool = True) -> dict[str, Any]:
        """One episode in full.

        Args:
            number: which one.
            chart: with its recorded actions.

        Raises:
            UsageError: there is none of that number.
        """
        run, record = self.at(number)
        return {
            "number": number,
            "run": run.name,
            "id": record.episode,
            "task": record.task,
            "trial": record.trial,
            "seed": record.seed,
            "wording": record.wording,
            "checkpoint": record.checkpoint,
            "execution": record.execution,
            "policy_seed": record.policy_seed,
            "instruction": record.instruction,
            "outcome": _outcome(record),
            "score": record.score,
            "steps": record.steps,
            "error": record.error,
            "stages": record.stages,
            "subtasks": record.details.get("subtasks", []),
            "timings": record.timings,
            "inferences": record.inferences,
            "horizon": record.execution_horizon,
            "host": record.host,
            "finished": record.finished_at[:19].replace("T", " "),
            "video": self._video(run, record, number),
            **(_chart(run, record) if chart else {"chart": None}),
        }

    def comparison(self, a: int, b: int) -> dict[str, Any]:
        """Two cells, by their position in the overview; a ``remark`` alone where there is no mean to compare.

        Raises:
            UsageError: there are no such cells, or they cannot be compared.
        """
        try:
            first, second = self._cells[a], self._cells[b]
        except IndexError:
            raise UsageError(f"there are no cells {a} and {b}") from None
        if first.plain_protocol != second.plain_protocol:
            raise UsageError("cells of different protocols are not compared")
        whole, left_out = comparable([first, second])
        if len(whole) < 2:
            return {"remark": " ".join(left_out) or "One of the two has no episode yet.", "pairs": []}
        pairs = shared_states(first, second)
        found = contrast(first, second)
        scoring = first.scoring
        counts = None
        if scoring.kind == "success" and pairs:
            counts = PairedCounts.of([x.score for x, _ in pairs], [y.score for _, y in pairs])
        return {
            "a": scoring.number(found.value_a),
            "b": scoring.number(found.value_b),
            "difference": scoring.number(found.difference),
            "between": scoring.interval(found.interval.low, found.interval.high),
            "low": found.interval.low,
            "high": found.interval.high,
            "value": found.difference,
            "p": found.p_value,
            "test": found.test,
            "paired": found.paired,
            "n": len(pairs),
            "counts": None if counts is None else [counts.both, counts.only_a, counts.only_b, counts.neither],
            "pairs": [
                {"a": self._ids[id(x)], "b": self._ids[id(y)], "task": x.task, "trial": x.trial, "seed": x.seed}
                | {"outcome_a": _outcome(x), "outcome_b": _outcome(y), "score_a": x.score, "score_b": y.score}
                | {"steps_a": x.steps, "steps_b": y.steps}
                for x, y in pairs[:_MOST_PAIRS]
            ],
        }

    def parting(self, a: int, b: int) -> dict[str, Any]:
        """Where two episodes on one initial state part; a ``remark`` alone where that cannot be told.

        Raises:
            UsageError: there is none of such a number.
        """
        (run_a, first), (run_b, second) = self.at(a), self.at(b)
        try:
            found = part(run_a.path, first, run_b.path, second)
        except SimrunError as error:
            return {"remark": str(error)}
        if found is None:
            return {"remark": "not recorded: run with --record all to see where actions part"}
        distances = [round(float(value), 6) for value in found.distances]
        return {"actions": found.actions, "states": found.states, "distances": distances, "remark": ""}

    def at(self, number: int) -> tuple[Run, EpisodeRecord]:
        """Run and record of an episode.

        Raises:
            UsageError: there is none of that number.
        """
        if not 0 <= number < len(self._rows):
            raise UsageError(f"there is no episode {number}")
        return self._rows[number]


_TEXTS = ("run", "checkpoint", "execution", "protocol", "task", "instruction", "error", "stage")
_PLAIN = ("policy_seed", "trial", "seed", "outcome", "score", "steps", "seconds", "film")


def _row(run: Run, record: EpisodeRecord) -> dict[str, Any]:
    return {
        "run": run.name,
        "checkpoint": record.checkpoint,
        "execution": record.execution,
        "protocol": record.protocol,
        "task": record.task,
        "instruction": record.instruction,
        "error": record.error or "",
        "stage": last_stage(record) if record.stages else "",
        "policy_seed": record.policy_seed,
        "trial": record.trial,
        "seed": record.seed,
        "outcome": ("failure", "success", "not run").index(_outcome(record)),
        "score": record.score,
        "steps": record.steps,
        "seconds": round(record.timings.get("wall", 0.0), 1),
        "film": int(record.video is not None) + 2 * int(record.rollout is not None),
    }


def _outcome(record: EpisodeRecord) -> str:
    return ("success" if record.success else "failure") if record.completed else "not run"


def _chart(run: Run, record: EpisodeRecord) -> dict[str, Any]:
    """Actions as executed and as predicted, where they were recorded."""
    if record.rollout is None:
        return {"chart": None}
    try:
        rollout = rollout_at(run.path, record.rollout)
        return {
            "chart": {
                "names": rollout.of.action_names,
                "executed": _rounded(rollout.actions),
                "predicted": [{"step": step, "chunk": _rounded(chunk)} for step, chunk in rollout.predictions],
            }
        }
    except SimrunError as error:
        return {"chart": None, "chart_remark": str(error)}


def _rounded(rows: Any) -> list[list[float]]:
    return [[round(float(value), 5) for value in row] for row in rows]
