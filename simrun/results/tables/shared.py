"""Columns, footnotes and marks that several layouts have in common."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import replace

from simrun.results.cells import Cell
from simrun.results.statistics.estimates import Estimate
from simrun.results.statistics.policy_seeds import seed_spread
from simrun.results.tables.model import Column, Row, Value

CHECKPOINT = Column("checkpoint", "checkpoint")
EXECUTION = Column("execution", "execution")
EPISODES = Column("episodes", "episodes")
NOTE = Column("note", "note")
PROTOCOL = Column("protocol", "protocol")
FINGERPRINT = Column("fingerprint", "fingerprint")
RUN = Column("run", "run")

CLOSE = 1e-9
"""Difference below which two means are equal: what rounding in their sums may leave."""


def identity_columns(cells: Sequence[Cell]) -> tuple[Column, ...]:
    """The columns that say which cell a row is; those that would be alike in every row are left out."""
    columns = [CHECKPOINT, EXECUTION, *distinguishing_columns(cells), Column("horizon", "horizon", "count")]
    if any(cell.members for cell in cells):
        columns.append(Column("training_runs", "training runs", "count"))
    if any(len(cell.policy_seeds) > 1 for cell in cells):
        columns.append(Column("policy_seeds", "policy seeds", "count"))
    return tuple(columns)


def distinguishing_columns(cells: Sequence[Cell]) -> list[Column]:
    """Run and fingerprint, where cells of more than one stand in a section."""
    return [column for column in (RUN, FINGERPRINT) if len({getattr(cell, column.key) for cell in cells}) > 1]


def closing_columns(cells: Sequence[Cell]) -> tuple[Column, ...]:
    """Spread between policy seeds where there are several, episode counts, and the note where a cell is incomplete."""
    scoring = cells[0].scoring
    spread: tuple[Column, ...] = ()
    if any(len(cell.policy_seeds) > 1 for cell in cells):
        spread = (Column.of_score("seed_deviation", "SD of seeds", scoring), Column("flip_rate", "flips", "percent"))
    return (*spread, EPISODES, NOTE) if any(not cell.complete for cell in cells) else (*spread, EPISODES)


def identity_values(cell: Cell) -> dict[str, Value]:
    """What the identity and closing columns hold for a cell."""
    spread = seed_spread(cell)
    return {
        "checkpoint": cell.checkpoint,
        "execution": cell.execution,
        "horizon": cell.horizon,
        "protocol": cell.protocol,
        "fingerprint": cell.fingerprint,
        "run": cell.run,
        "training_runs": len(cell.members) or 1,
        "policy_seeds": len(cell.policy_seeds),
        "seed_deviation": None if spread is None else spread.deviation,
        "flip_rate": None if spread is None else spread.flip_rate,
        "episodes": episodes_text([cell]),
        "note": cell.shortfall,
    }


def episodes_text(cells: Sequence[Cell]) -> str:
    """``n`` for complete cells, else ``k/n``."""
    done, planned = sum(cell.n for cell in cells), sum(cell.planned for cell in cells)
    return str(done) if done >= planned else f"{done}/{planned}"


def rankable(cell: Cell, others: Sequence[Cell]) -> bool:
    """Whether a cell may be called the best of its section: it is complete, and all share one fingerprint."""
    return cell.complete and len({other.fingerprint for other in others}) == 1


def mark_best(rows: Iterable[tuple[Row, bool]], keys: Sequence[str]) -> tuple[Row, ...]:
    """Mark the largest estimate of each of ``keys`` among the rows that may be ranked; ties are all marked.

    Args:
        rows: each row and whether it may be ranked.
        keys: columns to mark in.
    """
    rows = list(rows)
    marks: list[set[str]] = [set() for _ in rows]
    for key in keys:
        values = {
            index: value.value
            for index, (row, ranked) in enumerate(rows)
            if ranked and isinstance(value := row.values.get(key), Estimate)
        }
        if len(values) > 1:
            for index, value in values.items():
                if value >= max(values.values()) - CLOSE:
                    marks[index].add(key)
    return tuple(replace(row, best=frozenset(mark)) for (row, _), mark in zip(rows, marks, strict=True))


def footnotes(cells: Sequence[Cell], rows: Sequence[Row]) -> list[str]:
    """Protocol, n, intervals and fingerprint of the rows, and everything that was left out.

    Args:
        cells: the cells behind the rows.
        rows: the rows, whose estimates name their intervals.
    """
    notes = ["Protocol: " + ", ".join(dict.fromkeys(cell.protocol for cell in cells)) + "."]
    scales = dict.fromkeys(cell.scoring for cell in cells if cell.scoring.kind == "score")
    notes += [f"Scores: {scale.heading}, from 0 to {scale.largest:g}." for scale in scales]
    estimates = [value for row in rows for value in row.values.values() if isinstance(value, Estimate)]
    if estimates:
        seeds = any(len({(one.seed, one.wording, one.policy_seed) for one in cell.records}) > 1 for cell in cells)
        notes.append(_sizes(estimates, seeds))
        methods = dict.fromkeys(estimate.interval.method for estimate in estimates if estimate.interval)
        level = next((estimate.interval.level for estimate in estimates if estimate.interval), 0.95)
        notes.append(f"Intervals: {level:.0%}; {', '.join(methods)}.")
    if any(row.best for row in rows):
        notes.append("Marked: the best complete cell. Being chosen biases it upwards; --layout sweep corrects it.")
    if any(cell.anytime for cell in cells):
        notes.append(
            "Stopped when the mean was known well enough: its interval holds at any time; those of single tasks, and "
            "p-values, hold for plans fixed beforehand only."
        )
    if any(cell.members for cell in cells):
        notes.append(
            "Means over training runs: every run counts alike, and the interval is one for another run of the same "
            "training, on states like these; where several policy seeds were run they are averaged within each run."
        )
    if any(cell.tasks_random for cell in cells):
        notes.append("Tasks are taken as a sample: the interval of the mean over them is one for other such tasks.")
    copies = sum(cell.copies for cell in cells)
    if copies:
        trials = sum(len(cell.state_of) for cell in cells)
        notes.append(
            f"{copies} of {trials} trials began in exactly the state of another one of their task; together they count "
            "as one initial state."
        )
    errors = sum(cell.errors for cell in cells)
    if errors:
        notes.append(f"{errors} episodes ended by an infrastructure error and are in no denominator.")
    short = [cell for cell in cells if not cell.complete]
    if short:
        notes.append(f"Incomplete: {len(short)} of {len(cells)} cells; their numbers may still change.")
    prints = [name for name in dict.fromkeys(cell.fingerprint for cell in cells) if name]
    if prints:
        title = "Fingerprint: " if len(prints) == 1 and "+" not in prints[0] else "Fingerprints: "
        notes.append(title + ", ".join(prints) + ".")
    if any("+" in name for name in prints):
        notes.append("Records of different fingerprints were pooled because it was asked for.")
    return notes


def _sizes(estimates: Sequence[Estimate], several_seeds: bool) -> str:
    sizes = sorted({estimate.n for estimate in estimates})
    span = str(sizes[0]) if len(sizes) == 1 else f"{sizes[0]} to {sizes[-1]}"
    note = f"n = {span} initial states an estimate"
    if several_seeds:
        note += (
            "; the episodes are more, because every seed, and every sentence of a wording, runs the same states: they "
            "are averaged within each state and not counted as independent (SD of seeds: of the mean score between "
            "policy seeds; flips: pairs of policy seeds with one success and one failure on the same state). Policy "
            "seeds are the chance of one trained policy; what another training run would give they do not say"
        )
    return note + "."
