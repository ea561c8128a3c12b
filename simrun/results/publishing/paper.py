"""What every published form says of a result (title, method, versions, date), and a LaTeX table for a paper.

The table can be pasted into a document that loads booktabs; its captions stand for themselves.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import replace
from itertools import combinations
from pathlib import Path

from simrun.errors import JournalError
from simrun.results.cells import Cell, group_by
from simrun.results.fingerprints import leaves
from simrun.results.run import Run
from simrun.results.statistics.contrasts import comparable, contrast_family
from simrun.results.statistics.estimates import headline
from simrun.results.tables import Table, render, table_of_cells
from simrun.results.tables.verdicts import contrast_section

PAPER = "table.tex"

_MOST_PAIRS = 15
"""Comparisons that are printed; of more candidates a paper compares the few that it argues about."""

_NO_MEAN = "no mean, because of a planned task no episode was finished"

_VERSION = re.compile(r"\d+(\.\d+)+\S*")


def title_of(cell: Cell) -> str:
    """Checkpoint and how its chunks were executed."""
    return f"{cell.checkpoint}, executed {cell.execution}"


def method(cells: Sequence[Cell]) -> str:
    """How the numbers of some cells were made, as a sentence that stands for itself: protocol, n, seeds, intervals."""
    protocols = ", ".join(dict.fromkeys(cell.protocol for cell in cells))
    estimates = [estimate for cell in cells if (estimate := headline(cell)) is not None]
    states = sorted({estimate.n for estimate in estimates})
    span = f"{' to '.join(map(str, dict.fromkeys((states[0], states[-1]))))} initial states" if states else _NO_MEAN
    seeds = max((len(cell.policy_seeds) for cell in cells), default=1)
    intervals = [estimate.interval for estimate in estimates if estimate.interval]
    level = f"{intervals[0].level:.0%} intervals" if intervals else "no intervals"
    methods = ", ".join(dict.fromkeys(interval.method for interval in intervals))
    incomplete = sum(not cell.complete for cell in cells)
    sentence = f"Protocol {protocols}; {span}"
    sentence += f", {seeds} policy seeds averaged within each" if seeds > 1 else ""
    sentence += f"; {level}" + (f" ({methods})" if methods else "")
    sentence += f"; {incomplete} of {len(cells)} results are incomplete" if incomplete else ""
    return sentence + "."


def versions(run: Run, cells: Sequence[Cell]) -> dict[str, str]:
    """What the results were computed with: package -> version, simrun first; several versions are all named.

    The packages of a policy that lived in another interpreter are called so: ``policy's torch``.
    """
    prints = [run.description.fingerprints.get(cell.fingerprint, {}) for cell in cells]
    found: dict[str, dict[str, None]] = {}
    for fingerprint in prints:
        for name, value in leaves(fingerprint).items():
            if _VERSION.fullmatch(value):
                found.setdefault(name, {})[value] = None
    for checkpoint in dict.fromkeys(cell.checkpoint for cell in cells):
        for name, value in run.description.interpreters.get(checkpoint, {}).items():
            found.setdefault(f"policy's {name}", {})[value] = None
    return {name: " and ".join(values) for name, values in found.items()}


def date_of(cell: Cell) -> str:
    """When its last episode ended, UTC, ISO 8601; empty where no record says so."""
    return max((record.finished_at for record in cell.records), default="")


def write_paper_table(folder: Path, cells: Sequence[Cell], run: Run) -> list[str]:
    """Write the table, and with it the comparisons of all pairs where they are few; returns what was done.

    Raises:
        JournalError: it cannot be written.
    """
    table = table_of_cells(cells)
    sentences = [method(cells), _versions(run, cells)]
    sections = [replace(section, title=f"{section.title}. {' '.join(sentences)}") for section in table.sections]
    for (protocol,), group in group_by(cells, "protocol").items():
        whole, left_out = comparable(group)
        pairs = list(combinations(whole, 2))
        if pairs and len(pairs) <= _MOST_PAIRS:
            title = f"Comparisons under {protocol}"
            sections.append(contrast_section(contrast_family(pairs), title, notes=left_out))
    return [write_text(folder / PAPER, render(Table(table.layout, tuple(sections), tuple(run.notes)), "latex"))]


def write_text(path: Path, text: str) -> str:
    """Write a file; returns its name, to be said.

    Raises:
        JournalError: it cannot be written.
    """
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text, encoding="utf-8", errors="backslashreplace")
    except OSError as error:
        raise JournalError(f"{path} cannot be written: {error.strerror}") from None
    return str(path)


def _versions(run: Run, cells: Sequence[Cell]) -> str:
    found = versions(run, cells)
    told = ", ".join(f"{name} {version}" for name, version in found.items())
    return f"Computed with {told}." if told else "The versions are not recorded."
