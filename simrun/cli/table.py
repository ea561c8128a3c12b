"""Success rates with intervals, in the layouts of the papers; never mixes protocols or fingerprints."""

from __future__ import annotations

import tempfile
from collections.abc import Sequence
from dataclasses import replace
from fnmatch import fnmatchcase
from itertools import combinations
from pathlib import Path
from typing import Annotated

import typer

from simrun.cli import options
from simrun.envs.machine.regular_files import open_to_write
from simrun.errors import UsageError
from simrun.results.caveats import caveats, notes_of, refuse_foreign_assets
from simrun.results.cells import Cell, group_by, grouped
from simrun.results.fingerprints import kept_apart
from simrun.results.imports.foreign import as_comparable, read_foreign
from simrun.results.pooling import cells_of
from simrun.results.published import compare_with_published
from simrun.results.publishing.bundle import Bundle, is_bundle
from simrun.results.run import Run
from simrun.results.statistics.contrasts import comparable, contrast_family
from simrun.results.statistics.times import timed
from simrun.results.statistics.twins import is_twin
from simrun.results.tables import Section, render, table_of_cells
from simrun.results.tables.verdicts import contrast_section, published_sections

_COMPARE = "all, imported, published, published:MODEL, CHECKPOINT, CHECKPOINT@EXECUTION, or the path of a run or bundle"

_TIMES = "times"
"""The layout whose comparisons are of steps to success."""


def command(
    runs: options.Runs,
    layout: Annotated[
        str,
        typer.Option(
            "--layout", "-l", help="auto, paper, a family of benchmarks, sweep, per-task, stages, times or robustness."
        ),
    ] = "auto",
    format_: Annotated[str, typer.Option("--format", "-f", help="text, md, latex, csv, json or html.")] = "text",
    compare: Annotated[
        str | None,
        typer.Option(help=f"Test for differences: {_COMPARE}."),
    ] = None,
    primary: Annotated[
        str | None,
        typer.Option(
            help="With --compare: A:B, the comparison declared beforehand; it is not corrected.", metavar="A:B"
        ),
    ] = None,
    margin: Annotated[
        float | None,
        typer.Option(help="With --compare: is A no worse than B by this much (points, or the unit of the score)?"),
    ] = None,
    by_task: Annotated[bool, typer.Option("--by-task", help="With --compare: task by task.")] = False,
    import_: Annotated[
        list[str] | None,
        typer.Option("--import", help="Show another tool's results too: BENCH=PATH; repeatable.", metavar="BENCH=PATH"),
    ] = None,
    import_episodes: Annotated[
        int | None, typer.Option(min=1, help="Episodes a task, where an imported file holds rates without counts.")
    ] = None,
    group: Annotated[
        str | None,
        typer.Option(
            help="Mean over training runs: what tells them apart in their names, seed_*; intervals count runs.",
            metavar="PATTERN",
        ),
    ] = None,
    tasks_random: Annotated[
        bool, typer.Option("--tasks-random", help="Take tasks as a sample: intervals that hold for new tasks.")
    ] = False,
    level: Annotated[float, typer.Option(help="Confidence level, in percent.")] = 95.0,
    protocol: options.OneProtocol = None,
    mix_fingerprints: options.MixFingerprints = False,
    allow_standins: Annotated[
        bool,
        typer.Option("--allow-standins", help="Give out numbers measured on stand-ins for upstream's data files."),
    ] = False,
    out: Annotated[Path | None, typer.Option("--out", "-o", help="Write to a file.")] = None,
) -> None:
    """Print a table, or write it to a file.

    Raises:
        UsageError: a folder without a run, an unknown name, nothing to show, or numbers that must not be reported.
        JournalError: a journal is damaged.
    """
    opened = [Run.read(path) for path in runs]
    cells = cells_of(opened, mix_fingerprints=mix_fingerprints)
    foreign = [cell for text in import_ or () for cell in read_foreign(text, import_episodes).cells()]
    if protocol is not None:
        cells = [cell for cell in cells if cell.protocol == protocol or fnmatchcase(cell.protocol, f"*{protocol}*")]
    if not cells:
        raise UsageError("there is nothing to show: no cell matches")
    if not 50 < level < 100:
        raise UsageError(f"--level must lie between 50 and 100, got {level:g}")
    cells = [replace(cell, level=level / 100, tasks_random=tasks_random) for cell in cells]
    foreign = [replace(cell, level=level / 100) for cell in foreign]
    if group is not None:
        cells = grouped(cells, group)
    if layout == _TIMES:
        cells, foreign = ([timed(cell) for cell in some] for some in (cells, foreign))
    if not allow_standins:
        _refuse_foreign_assets(opened, cells, format_, compare)
    table = table_of_cells([*cells, *foreign], layout, notes=[*_notes(opened, cells), *_imported(foreign)])
    if not table.sections:
        raise UsageError(f"layout {layout} shows none of {', '.join(sorted({cell.protocol for cell in cells}))}")
    if compare is not None:
        sections = _compared(
            cells, compare, foreign, primary=primary, margin=margin, by_task=by_task, by_time=layout == _TIMES
        )
        table = replace(table, sections=(*table.sections, *sections))
    text = render(table, format_)
    if out is None:
        print(text, end="")
        return
    try:
        with open_to_write(out) as file:
            file.write(text.encode(errors="backslashreplace"))
    except OSError as error:
        raise UsageError(f"the table cannot be written to {out}: {error.strerror}") from None


def _notes(runs: Sequence[Run], cells: Sequence[Cell]) -> list[str]:
    shown = {cell.protocol for cell in cells}
    prints = {name: one for run in runs for name, one in run.description.fingerprints.items()}
    notes = [note for run in runs for note in notes_of(run.description, shown)]
    return list(dict.fromkeys([*notes, *kept_apart(prints, [cell.fingerprint for cell in cells])]))


def _refuse_foreign_assets(runs: Sequence[Run], cells: Sequence[Cell], format: str, compare: str | None) -> None:
    """Only the text on the terminal may show such numbers unasked: it is looked at, and not copied into papers."""
    if compare is not None and compare.partition(":")[0] == "published":
        purpose = f"--compare {compare}"
    elif format != "text":
        purpose = f"--format {format}"
    else:
        return
    shown = [cell.fingerprint for cell in cells]
    refuse_foreign_assets([caveat for run in runs for caveat in caveats(run.description.fingerprints, shown)], purpose)


def _imported(foreign: Sequence[Cell]) -> list[str]:
    return [
        f"{cell.checkpoint} was imported ({cell.run}); its protocol, as far as known: "
        f"{cell.records[0].details['protocol as far as known']}. Its episodes are compared as independent ones."
        for cell in foreign
        if cell.records
    ]


def _compared(
    cells: Sequence[Cell],
    compare: str,
    foreign: Sequence[Cell],
    *,
    primary: str | None = None,
    margin: float | None = None,
    by_task: bool = False,
    by_time: bool = False,
) -> list[Section]:
    cells, left_out = comparable(cells)
    if compare == "imported":
        return _beside(cells, foreign, "imported results", imported=True)
    if Path(compare).exists():
        theirs = _cells_at(Path(compare))
        return _beside(cells, [timed(cell) for cell in theirs] if by_time else theirs, compare)
    kind, _, model = compare.partition(":")
    if kind == "published":
        if by_time:
            raise UsageError("no paper's steps to success are known; leave out --layout times")
        differences = compare_with_published(cells, model)
        if not differences:
            raise UsageError(f"there is no published number to compare with ({compare!r})")
        # Of all models those that can be tested: some papers print a mean without what its test needs.
        shown = differences if model else [one for one in differences if one.p_value is not None] or differences
        return published_sections(shown, left_out=len(differences) - len(shown))
    sections = []
    for (protocol,), group in group_by(cells, "plain_protocol").items():
        pairs = _all_pairs(group) if compare == "all" else _against(group, compare)
        if pairs:
            first = None if primary is None else _position(pairs, primary)
            family = contrast_family(pairs, by_task=by_task, primary=first)
            part = None if margin is None else margin / group[0].scoring.shown
            title = f"Comparisons{' of steps to success' if by_time else ''}, {protocol}"
            sections.append(contrast_section(family, title, margin=part, fewer_is_better=by_time, notes=left_out))
    if not sections:
        raise UsageError(
            f"--compare {compare!r} leaves no pair of cells; known: {_COMPARE}; {' '.join(left_out)}".rstrip("; ")
        )
    return sections


def _position(pairs: list[tuple[Cell, Cell]], primary: str) -> int:
    """Where the declared pair stands among the others; turned round where it was named the other way.

    Raises:
        UsageError: it is none of them.
    """
    for index, (a, b) in enumerate(pairs):
        names = [(cell.checkpoint, cell.execution, f"{cell.checkpoint}@{cell.execution}") for cell in (a, b)]
        for first, second, turned in ((0, 1, False), (1, 0, True)):
            if any(f"{x}:{y}" == primary for x in names[first] for y in names[second]):
                pairs[index] = (b, a) if turned else (a, b)
                return index
    known = ", ".join(f"{a.checkpoint}@{a.execution}:{b.checkpoint}@{b.execution}" for a, b in pairs[:4])
    raise UsageError(f"--primary {primary!r} is none of the comparisons; write for instance {known}")


def _cells_at(path: Path) -> list[Cell]:
    """The cells of a run folder or of a bundle."""
    if not is_bundle(path):
        return cells_of([Run.read(path)])
    with tempfile.TemporaryDirectory(prefix="simrun-bundle-") as scratch:
        # Its records are in memory when the folder goes.
        return [replace(cell, run=path.name) for cell in cells_of([Bundle.unpack(path, Path(scratch)).run])]


def _beside(cells: Sequence[Cell], others: Sequence[Cell], name: str, *, imported: bool = False) -> list[Section]:
    """Every cell against those of somebody else: of the same protocol, or of the same benchmark where imported."""
    sections = []
    for (protocol,), group in group_by(cells, "protocol").items():
        if imported:
            theirs = [as_comparable(one, str(protocol)) for one in others if one.benchmark == group[0].benchmark]
        else:
            theirs = [one for one in comparable(others)[0] if one.protocol == protocol]
        pairs = [(one, other) for one in group for other in theirs if imported or one.execution == other.execution]
        if pairs:
            sections.append(contrast_section(contrast_family(pairs), f"{protocol} against {name}"))
    if not sections:
        known = ", ".join(dict.fromkeys(other.protocol for other in others)) or "nothing"
        raise UsageError(f"--compare {name} leaves no pair of cells; it holds {known}")
    return sections


def _all_pairs(cells: Sequence[Cell]) -> list[tuple[Cell, Cell]]:
    """Those under one protocol, and one candidate's under its wordings and perturbations."""
    return [(a, b) for a, b in combinations(cells, 2) if a.protocol == b.protocol or is_twin(a, b)]


def _against(cells: Sequence[Cell], name: str) -> list[tuple[Cell, Cell]]:
    """Every cell against the reference; a checkpoint's name alone compares within each execution variant."""
    whole = {cell.protocol: cell for cell in reversed(cells) if f"{cell.checkpoint}@{cell.execution}" == name}
    if whole:
        return [(cell, whole[cell.protocol]) for cell in cells if whole.get(cell.protocol, cell) is not cell]
    references = {(cell.protocol, cell.execution): cell for cell in cells if cell.checkpoint == name}
    return [
        (cell, reference)
        for cell in cells
        if (reference := references.get((cell.protocol, cell.execution), cell)) is not cell
    ]
