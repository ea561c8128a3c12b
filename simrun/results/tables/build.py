"""From records to a table, from a table to files."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

from simrun.errors import JournalError, UnknownNameError
from simrun.results.cells import Cell, gather
from simrun.results.plan import CellKey
from simrun.results.pooling import cells_of
from simrun.results.records import EpisodeRecord
from simrun.results.run import Run
from simrun.results.tables.data import to_csv, to_json
from simrun.results.tables.layouts import layout_named
from simrun.results.tables.markup import to_html, to_latex
from simrun.results.tables.model import Table
from simrun.results.tables.text import to_markdown, to_text

FORMATS: dict[str, Callable[[Table], str]] = {
    "text": to_text,
    "md": to_markdown,
    "latex": to_latex,
    "csv": to_csv,
    "json": to_json,
    "html": to_html,
}
"""Format name -> function that writes a table in it."""

SUFFIXES = {"text": "txt", "md": "md", "latex": "tex", "csv": "csv", "json": "json", "html": "html"}
"""Format name -> suffix of its files."""


def build_table(
    records: Sequence[EpisodeRecord],
    planned: Mapping[CellKey, Mapping[str, int]] | None = None,
    layout: str = "auto",
    *,
    notes: Sequence[str] = (),
) -> Table:
    """The table of one run.

    Args:
        records: its merged records; those of infrastructure errors are counted in no denominator.
        planned: (checkpoint, execution, protocol) -> task -> planned episodes over all seeds; a cell that has fewer
            is marked incomplete.
        layout: name of a layout, see `simrun.results.tables.layouts.layout_named`.
        notes: remarks on the whole table.

    Raises:
        UnknownNameError: no such layout.
    """
    return table_of_cells(gather(records, planned), layout, notes=notes)


def table_of_runs(runs: Sequence[Run], layout: str = "auto", *, mix_fingerprints: bool = False) -> Table:
    """The table of runs, with the remarks that belong under it.

    Raises:
        UnknownNameError: no such layout.
        JournalError: the same episode has two different outcomes in pooled runs.
    """
    notes = list(dict.fromkeys(note for run in runs for note in run.notes))
    return table_of_cells(cells_of(runs, mix_fingerprints=mix_fingerprints), layout, notes=notes)


def table_of_cells(cells: Sequence[Cell], layout: str = "auto", *, notes: Sequence[str] = ()) -> Table:
    """The table of cells that may come from several runs; see `build_table`.

    Raises:
        UnknownNameError: no such layout.
    """
    return Table(layout, tuple(layout_named(layout, cells)(cells)), tuple(notes))


def render(table: Table, format: str = "text") -> str:
    """Write a table in a format.

    Raises:
        UnknownNameError: no such format.
    """
    if format not in FORMATS:
        raise UnknownNameError("table format", format, list(FORMATS))
    return FORMATS[format](table)


def write_tables(table: Table, folder: Path, formats: Sequence[str] = ("md", "csv", "json")) -> list[Path]:
    """Write a table as ``<folder>/<layout>.<suffix>`` in several formats; returns the files.

    Raises:
        JournalError: a file cannot be written.
        UnknownNameError: no such format.
    """
    paths = []
    for format in formats:
        text = render(table, format)
        path = folder / f"{table.layout.replace(':', '.')}.{SUFFIXES[format]}"
        try:
            folder.mkdir(parents=True, exist_ok=True)
            path.write_text(text, encoding="utf-8", errors="backslashreplace")
        except OSError as error:
            raise JournalError(f"the table {path} cannot be written: {error.strerror}") from None
        paths.append(path)
    return paths
