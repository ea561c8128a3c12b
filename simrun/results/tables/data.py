"""Tables as CSV and JSON: raw numbers, rates from 0 to 1, for other programs."""

from __future__ import annotations

import csv
import io
import json
import math
from typing import Any

from simrun.results.statistics.estimates import Estimate
from simrun.results.tables.model import Section, Table, Value

FORMAT_VERSION = 1
"""Version of the JSON document."""


def to_csv(table: Table) -> str:
    """One header over all sections; an estimate spreads over ``key``, ``key_low``, ``key_high`` and ``key_n``."""
    names = list(dict.fromkeys(name for section in table.sections for name in _csv_names(section)))
    stream = io.StringIO()
    writer = csv.DictWriter(stream, ["section", *names, "best"], lineterminator="\n")
    writer.writeheader()
    for section in table.sections:
        for row in section.rows:
            entries: dict[str, Any] = {"section": spreadsheet_text(section.title), "best": " ".join(sorted(row.best))}
            for column in section.columns:
                entries.update(_csv_entries(column.key, row.values.get(column.key)))
            writer.writerow(entries)
    return stream.getvalue()


def to_json(table: Table) -> str:
    """The whole table, with methods, levels and counts of every estimate."""
    document = {
        "format": FORMAT_VERSION,
        "layout": table.layout,
        "sections": [
            {
                "title": section.title,
                "columns": [vars(column) for column in section.columns],
                "rows": [
                    {column.key: _json_value(row.values.get(column.key)) for column in section.columns}
                    | {"best": sorted(row.best)}
                    for row in section.rows
                ],
                "footnotes": list(section.footnotes),
            }
            for section in table.sections
        ],
        "notes": list(table.notes),
    }
    return json.dumps(document, indent=2, allow_nan=False) + "\n"


def _csv_names(section: Section) -> list[str]:
    names = []
    for column in section.columns:
        names.append(column.key)
        if any(isinstance(row.values.get(column.key), Estimate) for row in section.rows):
            names += [f"{column.key}_low", f"{column.key}_high", f"{column.key}_n"]
    return names


def _csv_entries(key: str, value: Value) -> dict[str, Any]:
    if isinstance(value, Estimate):
        entries: dict[str, Any] = {key: value.value, f"{key}_n": value.n}
        if value.interval is not None:
            entries |= {f"{key}_low": value.interval.low, f"{key}_high": value.interval.high}
        return entries
    return {key: spreadsheet_text(value) if isinstance(value, str) else value}


def spreadsheet_text(text: str) -> str:
    """A text that no spreadsheet takes for a formula; some take the signs of full width for the others."""
    return "'" + text if text.startswith(tuple("=+-@\t\r\n\uff1d\uff0b\uff0d\uff20")) else text


def _json_value(value: Value) -> Any:
    if isinstance(value, Estimate):
        document: dict[str, Any] = {"value": value.value, "n": value.n, "episodes": value.episodes}
        if value.successes is not None:
            document["successes"] = value.successes
        for name, interval in (("interval", value.interval), ("exact_interval", value.exact)):
            if interval is not None:
                document[name] = vars(interval)
        return document
    if isinstance(value, float) and not math.isfinite(value):
        return None
    return value
