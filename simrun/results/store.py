"""The store: records of runs as one table, for SQL (DuckDB), pandas and Parquet.

One row an episode, merged and migrated as everywhere else; the columns are the fields of
`simrun.results.records.EpisodeRecord` and ``run``, the name of the run folder. Columns are typed: ``timings.wall`` is a
number, ``stages`` a list of ``name``, ``first_step`` and ``held`` that ``unnest`` spreads, ``inference_times`` one of
``seconds`` and ``count``; only ``details`` is JSON.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from importlib import import_module
from pathlib import Path
from typing import Any

from simrun.envs.machine.regular_files import open_to_write
from simrun.errors import DependencyError, JournalError, UsageError
from simrun.results.records import field_types
from simrun.results.run import Run
from simrun.results.tables.data import spreadsheet_text

TABLE = "episodes"
"""Name of the table in SQL."""

_TYPES = {"str": "string", "int": "int64", "float": "float64", "bool": "bool_"}


class Store:
    """The records of some runs.

    Args:
        runs: the runs; each record carries the name of its own.

    Raises:
        DependencyError: pyarrow is missing.
    """

    def __init__(self, runs: Sequence[Run]) -> None:
        pyarrow = _import("pyarrow")
        records = [(run.name, record) for run in runs for record in run.records]
        columns = {"run": pyarrow.array([name for name, _ in records], pyarrow.string())}
        purposes = [run.purpose(record) for run in runs for record in run.records]
        columns["purpose"] = pyarrow.array(purposes, pyarrow.string())
        for name, text in field_types().items():
            values = [getattr(record, name) for _, record in records]
            kind = _TYPES.get(text.removesuffix(" | None"))
            if name == "timings":
                parts = sorted({part for value in values for part in value}) or ["wall"]
                columns["timings"] = pyarrow.array(
                    values, pyarrow.struct([(part, pyarrow.float64()) for part in parts])
                )
            elif name == "stages":
                stage = {"name": pyarrow.string(), "first_step": pyarrow.int64(), "held": pyarrow.bool_()}
                columns["stages"] = pyarrow.array(values, pyarrow.list_(pyarrow.struct(list(stage.items()))))
            elif name == "inference_times":
                time = [("seconds", pyarrow.float64()), ("count", pyarrow.int64())]
                times = [[{"seconds": seconds, "count": count} for seconds, count in one.items()] for one in values]
                columns[name] = pyarrow.array(times, pyarrow.list_(pyarrow.struct(time)))
            elif name == "delays":
                columns["delays"] = pyarrow.array(values, pyarrow.list_(pyarrow.int64()))
            elif kind is None:
                columns[name] = pyarrow.array([json.dumps(value) for value in values], pyarrow.string())
            else:
                columns[name] = pyarrow.array(values, getattr(pyarrow, kind)())
        self.arrow = pyarrow.table(columns)

    def query(self, sql: str) -> tuple[list[str], list[tuple[Any, ...]]]:
        """Run one SQL statement over the table ``episodes``; it can reach neither files nor network.

        Returns:
            Names of the columns, and the rows.

        Raises:
            DependencyError: DuckDB is missing.
            UsageError: the statement is wrong.
        """
        duckdb = _import("duckdb")
        connection = duckdb.connect()
        try:
            connection.register("raw_episodes", self.arrow)
            connection.execute(f"CREATE TABLE {TABLE} AS SELECT * REPLACE (details::JSON AS details) FROM raw_episodes")
            connection.execute("SET enable_external_access = false")
            result = connection.execute(sql)
            names = [column[0] for column in result.description or ()]
            return names, result.fetchall() if names else []
        except duckdb.Error as error:
            raise UsageError(f"the query failed: {str(error).strip().splitlines()[0]}") from None
        finally:
            connection.close()

    def to_pandas(self) -> Any:
        """The table as a pandas DataFrame.

        Raises:
            DependencyError: pandas is missing.
        """
        _import("pandas")
        return self.arrow.to_pandas()

    def export(self, path: Path) -> None:
        """Write the table as Parquet, CSV or JSON lines, by the file's suffix.

        Raises:
            UsageError: another suffix.
            JournalError: the file cannot be written.
        """
        writers = {".parquet": _write_parquet, ".csv": _write_csv, ".jsonl": _write_lines}
        if path.suffix not in writers:
            raise UsageError(f"cannot export to {path.name!r}; known suffixes: {', '.join(writers)}")
        try:
            writers[path.suffix](self.arrow, path)
        except OSError as error:
            raise JournalError(f"{path} cannot be written: {error.strerror or error}") from None


def _write_parquet(table: Any, path: Path) -> None:
    # Opened here, because Arrow takes no name that is no UTF-8.
    with open_to_write(path) as file:
        _import("pyarrow.parquet").write_table(table, file, compression="zstd")


def _write_csv(table: Any, path: Path) -> None:
    pyarrow = _import("pyarrow")
    for name in ("timings", "inference_times", "stages", "delays"):
        texts = pyarrow.array([json.dumps(value) for value in table[name].to_pylist()], pyarrow.string())
        table = table.set_column(table.schema.get_field_index(name), name, texts)
    for index, field in enumerate(table.schema):
        if pyarrow.types.is_string(field.type):
            guarded = [None if text is None else spreadsheet_text(text) for text in table[field.name].to_pylist()]
            table = table.set_column(index, field.name, pyarrow.array(guarded, pyarrow.string()))
    with open_to_write(path) as file:
        _import("pyarrow.csv").write_csv(table, file)


def _write_lines(table: Any, path: Path) -> None:
    with open_to_write(path) as file:
        for row in table.to_pylist():
            # As records hold them.
            times = {time["seconds"]: time["count"] for time in row["inference_times"]}
            row.update(details=json.loads(row["details"]), inference_times=times)
            file.write(json.dumps(row, separators=(",", ":")).encode() + b"\n")


def _import(module: str) -> Any:
    try:
        return import_module(module)
    except ImportError:
        package = module.split(".")[0]
        raise DependencyError(f"the store needs {package}: pip install 'simrun[report]'") from None
