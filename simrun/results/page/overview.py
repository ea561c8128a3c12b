"""What the page shows of all episodes together: progress, cells, stages, failures, cost; as JSON."""

from __future__ import annotations

import json
import os
from collections.abc import Iterable, Mapping, Sequence
from datetime import datetime, timedelta, timezone
from typing import Any

from simrun.envs.episodes import Variant
from simrun.envs.scoring import Scoring
from simrun.errors import SimrunError
from simrun.results.caveats import caveats
from simrun.results.cells import Cell, group_by
from simrun.results.plots.fits import checkpoint_step
from simrun.results.progress import GROUPINGS, cost_of, failure_groups, stage_shares
from simrun.results.records import EpisodeRecord
from simrun.results.run import Run
from simrun.results.statistics.estimates import Estimate, headline, task_estimate
from simrun.results.statistics.twins import variants_of
from simrun.results.tables.model import Column, Section, Value, estimate_text, heading, interval_text
from simrun.results.tables.robustness import deviations

_WINDOW = timedelta(minutes=10)
_SILENCE = timedelta(minutes=10)
_MOST_GROUPS = 60
_MOST_ERRORS = 20
_FILMS = 3

IndexOf = dict[int, int]
"""``id`` of a record in memory -> its number on the page."""


def overview(runs: Sequence[Run], cells: Sequence[Cell], numbers: IndexOf, now: datetime) -> dict[str, Any]:
    """The whole of it.

    Args:
        runs: the runs.
        cells: their cells.
        numbers: numbers of the records.
        now: the present moment, in UTC.
    """
    records = [record for run in runs for record in run.records]
    return {
        "title": ", ".join(run.name for run in runs),
        "at": now.strftime("%Y-%m-%d %H:%M:%S"),
        "labels": short_labels(cell.checkpoint for cell in cells),
        "runs": [_run(run, now) for run in runs],
        "cells": [_cell(cell) for cell in cells],
        "protocols": [_protocol(str(name), group) for (name,), group in group_by(cells, "protocol").items()],
        "deviations": [_deviations(section) for section in deviations(cells)],
        "failures": _failures(cells, numbers),
        "workers": _workers(records, now),
        "errors": _errors(records),
        "provenance": [
            {"name": f"{run.name}: {part}", "text": json.dumps(document, indent=1)}
            for run in runs
            for part, document in (
                ("configuration", run.description.configuration),
                ("fingerprints", run.description.fingerprints),
                ("interpreters of policies", {k: v for k, v in run.description.interpreters.items() if v}),
            )
            if document
        ],
    }


def short_labels(checkpoints: Iterable[str]) -> dict[str, str]:
    """Checkpoint -> its name without the folders that all of them share."""
    names = list(dict.fromkeys(checkpoints))
    paths = [name for name in names if "/" in name and ":" not in name]
    shared = os.path.commonpath([os.path.dirname(path) for path in paths]) if paths else ""
    if not shared:
        return {name: name for name in names}
    labels = {name: name[len(shared) :].lstrip("/") if name in paths else name for name in names}
    return labels if len(set(labels.values())) == len(names) else {name: name for name in names}


def _run(run: Run, now: datetime) -> dict[str, Any]:
    records = run.reported
    completed = sum(record.completed for record in records)
    planned = run.episodes_planned
    begun = min(filter(None, (record.started_at for record in records)), default="")
    ended = max((record.finished_at for record in records), default="")
    speed = _speed(records, now)
    goes_on = completed < planned and ended != "" and now - _moment(ended) < _SILENCE
    state = "complete" if completed >= planned else "running" if goes_on else "waiting" if not ended else "stopped"
    prints = dict.fromkeys(record.fingerprint for record in records if record.fingerprint)
    return {
        "name": run.name,
        "path": str(run.path),
        "state": state,
        "planned": planned,
        "completed": completed,
        "lost": len(records) - completed,
        "begun": _short_time(begun),
        "ended": _short_time(ended),
        "speed": speed,
        "remaining": (planned - completed) / speed if speed and state == "running" else None,
        "machines": list(dict.fromkeys(record.host for record in records if record.host)),
        "fingerprints": list(prints),
        "notes": run.notes,
        "not_for_reporting": [
            f"{caveat.protocol}: {caveat.reason}" for caveat in caveats(run.description.fingerprints, prints)
        ],
    }


def _cell(cell: Cell) -> dict[str, Any]:
    scoring = cell.scoring
    estimate = headline(cell)
    cost = cost_of(cell.records)
    return {
        "run": cell.run,
        "checkpoint": cell.checkpoint,
        "execution": cell.execution,
        "protocol": cell.protocol,
        "fingerprint": cell.fingerprint,
        "horizon": cell.horizon,
        "n": cell.n,
        "planned": cell.planned,
        "lost": cell.errors,
        "step": checkpoint_step(cell.checkpoint),
        **_estimate(estimate, scoring),
        "tasks": {task: _estimate(task_estimate(cell, task), scoring) for task in cell.tasks},
        "stages": {
            task: [
                {"name": share.name, "reached": share.reached.value, "held": share.held.value, "n": share.n}
                for share in stage_shares(record for record in cell.records if record.task == task)
            ]
            for task in cell.tasks
        },
        "cost": None
        if cost is None
        else {
            "p50": cost.p50,
            "p95": cost.p95,
            "of_means": cost.of_means,
            "inference": cost.inference,
            "inferences": cost.inferences,
            "wall": cost.wall,
            "parts": cost.parts,
            "joules": cost.joules,
        },
    }


def _estimate(estimate: Estimate | None, scoring: Scoring) -> dict[str, Any]:
    if estimate is None:
        return {"value": None, "low": None, "high": None, "text": "", "between": ""}
    interval = estimate.interval
    return {
        "value": estimate.value,
        "low": None if interval is None else interval.low,
        "high": None if interval is None else interval.high,
        "text": scoring.number(estimate.value),
        "between": "" if interval is None else scoring.interval(interval.low, interval.high),
    }


def _protocol(name: str, cells: Sequence[Cell]) -> dict[str, Any]:
    scoring = cells[0].scoring
    return {
        "name": name,
        "kind": scoring.kind,
        "largest": scoring.largest,
        "heading": scoring.heading,
        "tasks": list(cells[0].in_order(task for cell in cells for task in cell.tasks)),
    }


def _deviations(section: Section) -> dict[str, Any]:
    """Wordings and perturbations against their twins, as the tables print them."""
    rows = [[_entry(row.values.get(column.key), column) for column in section.columns] for row in section.rows]
    columns = [{"title": heading(column), "text": column.unit == "text"} for column in section.columns]
    return {"title": section.title, "columns": columns, "rows": rows, "notes": section.footnotes}


def _entry(value: Value, column: Column) -> str:
    return f"{estimate_text(value, column)} {interval_text(value, column)}".strip()


def _failures(cells: Sequence[Cell], numbers: IndexOf) -> dict[str, list[dict[str, Any]]]:
    """Grouping -> groups, the largest first."""
    found: dict[str, list[dict[str, Any]]] = {by: [] for by in GROUPINGS}
    for (protocol,), group in group_by(cells, "protocol").items():
        records = [record for cell in group for record in cell.records]
        variants = _variants(group[0])
        for by in GROUPINGS:
            for failures in failure_groups(records, by, variants)[:_MOST_GROUPS]:
                films = [record for record in failures.failures if record.video or record.rollout]
                found[by].append(
                    {
                        "protocol": protocol,
                        "task": failures.task,
                        "value": failures.value,
                        "count": len(failures.failures),
                        "n": failures.n,
                        "rate": f"{100 * failures.rate:.1f}%",
                        "between": f"[{100 * failures.interval.low:.1f}, {100 * failures.interval.high:.1f}]",
                        "films": [numbers[id(record)] for record in films[:_FILMS]],
                        "members": [numbers[id(record)] for record in failures.failures[:500]],
                    }
                )
    return {by: sorted(groups, key=lambda entry: -entry["count"])[:_MOST_GROUPS] for by, groups in found.items()}


def _variants(cell: Cell) -> Mapping[str, Variant]:
    try:
        return variants_of(cell)
    except SimrunError:
        # Results travel; the package that knows what a task perturbs may not be here.
        return {}


def _workers(records: Sequence[EpisodeRecord], now: datetime) -> list[dict[str, Any]]:
    found: dict[tuple[str, int], list[EpisodeRecord]] = {}
    for record in records:
        found.setdefault((record.host, record.worker), []).append(record)
    return [
        {
            "host": host,
            "worker": worker,
            "episodes": len(done),
            "lost": sum(not record.completed for record in done),
            "last": max(record.finished_at for record in done)[11:19],
            "task": done[-1].task,
        }
        for (host, worker), done in sorted(found.items())
    ]


def _errors(records: Iterable[EpisodeRecord]) -> list[dict[str, Any]]:
    counts: dict[str, int] = {}
    for record in records:
        if record.error:
            counts[record.error] = counts.get(record.error, 0) + 1
    ranked = sorted(counts.items(), key=lambda entry: -entry[1])
    return [{"text": text, "count": count} for text, count in ranked[:_MOST_ERRORS]]


def _speed(records: Sequence[EpisodeRecord], now: datetime) -> float:
    """Episodes a second over the last minutes before the last one."""
    recent = [_moment(record.finished_at) for record in records[-5000:] if record.finished_at]
    recent = [moment for moment in recent if now - moment <= _WINDOW]
    return len(recent) / max(1.0, (now - min(recent)).total_seconds()) if recent else 0.0


def _moment(text: str) -> datetime:
    moment = datetime.fromisoformat(text.replace("Z", "+00:00"))
    return moment if moment.tzinfo else moment.replace(tzinfo=timezone.utc)


def _short_time(text: str) -> str:
    return text[:19].replace("T", " ")
