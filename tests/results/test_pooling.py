"""Runs: what is pooled, what stands apart; the store over them."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from msgspec.structs import replace

from simrun.errors import JournalError, UsageError
from simrun.results import EpisodeRecord
from simrun.results.lines import read_line
from simrun.results.pooling import cells_of
from simrun.results.records import field_types
from simrun.results.run import Run
from simrun.results.statistics.estimates import headline
from simrun.results.statistics.intervals import wilson
from simrun.results.statistics.sequential import confidence_sequence
from simrun.results.store import Store
from tests.results.synthetic_records import SUBTASKS, MakeRun, chains, outcomes, record

PRINT = "0123456789ab"


def _printed(records: list[EpisodeRecord]) -> list[EpisodeRecord]:
    return [replace(one, fingerprint=PRINT) for one in records]


def test_planned_counts_follow_the_plan(make_run: MakeRun) -> None:
    records = list(outcomes({"a": 0.5}, 10, executions=["full", "half"], policy_seeds=[0, 1]))
    run = Run.read(make_run(records, missing=7, collapsed={"step_1000.onnx": {"single": "full"}}))
    assert list(run.planned.values()) == [{"a": 20}, {"a": 20}]
    assert [(cell.n, cell.planned) for cell in cells_of([run])] == [(20, 20), (13, 20)]
    assert run.notes == ["step_1000.onnx: single was not run, because it executes exactly what full does."]


def test_collapsed_variants_are_not_missing(make_run: MakeRun) -> None:
    path = make_run(list(outcomes({"a": 0.5}, 10, executions=["full", "half"])))
    document = json.loads((path / "run.json").read_text()) | {"collapsed": {"step_1000.onnx": {"half": "full"}}}
    (path / "run.json").write_text(json.dumps(document))
    assert [key[1] for key in Run.read(path).planned] == ["full"]


def test_shards_of_one_checkpoint_are_pooled(make_run: MakeRun) -> None:
    records = _printed(list(outcomes({"a": 0.5}, 30)))
    known = {"checkpoints": {"step_1000.onnx": "d" * 64}}
    first, second = make_run(records[:20], "first", **known), make_run(records[10:], "second", missing=5, **known)
    (cell,) = cells_of([Run.read(first), Run.read(second)])
    assert (cell.n, cell.planned, cell.run) == (25, 30, "first+second")


@pytest.mark.parametrize(
    ("description", "fingerprint"),
    [
        ({"checkpoints": {"step_1000.onnx": "e" * 64}}, PRINT),
        ({}, PRINT),
        ({"checkpoints": {"step_1000.onnx": "d" * 64}}, "f" * 12),
        ({"checkpoints": {"step_1000.onnx": "d" * 64}}, ""),
        ({"checkpoints": {"step_1000.onnx": "d" * 64}, "configuration": {"policy_options": {"dtype": "bf16"}}}, PRINT),
    ],
)
def test_everything_else_stands_apart(make_run: MakeRun, description: dict, fingerprint: str) -> None:
    records = list(outcomes({"a": 0.5}, 10))
    first = make_run(_printed(records), "first", checkpoints={"step_1000.onnx": "d" * 64})
    second = make_run([replace(one, fingerprint=fingerprint) for one in records], "second", **description)
    cells = cells_of([Run.read(first), Run.read(second)])
    assert [(cell.n, cell.run) for cell in cells] == [(10, "first"), (10, "second")]


def test_pooled_runs_must_agree(make_run: MakeRun) -> None:
    known = {"checkpoints": {"step_1000.onnx": "d" * 64}}
    one, other = record(fingerprint=PRINT), record(fingerprint=PRINT, state_hash="c" * 64)
    runs = [make_run([one], "first", **known), make_run([other], "second", **known)]
    with pytest.raises(JournalError, match=r"first and second hold episode .* with different state_hash, though"):
        cells_of([Run.read(path) for path in runs])


def test_no_run_is_told(tmp_path: Path, make_run: MakeRun) -> None:
    with pytest.raises(UsageError, match="holds no run"):
        Run.read(tmp_path)
    path = make_run([record()])
    (path / "plan.json").write_text("{torn")
    with pytest.raises(JournalError, match="is damaged"):
        Run.read(path)


def test_sql_sees_every_field(make_run: MakeRun) -> None:
    pytest.importorskip("duckdb")
    records = list(chains(0.8, 20, executions=["full", "half"]))
    store = Store([Run.read(make_run(records, "first"))])
    names, rows = store.query("SELECT * FROM episodes")
    assert names == ["run", "purpose", *field_types()]
    assert len(rows) == 40
    _, rows = store.query(
        "SELECT execution, avg(score), sum((timings->>'wall')::DOUBLE) FROM episodes GROUP BY 1 ORDER BY 1"
    )
    for execution, mean, seconds in rows:
        expected = [one.score for one in records if one.execution == execution]
        assert mean == pytest.approx(sum(expected) / 20)
        assert seconds == pytest.approx(30.0)
    _, rows = store.query("SELECT DISTINCT details->'subtasks'->0->>'task' FROM episodes")
    assert rows == [(SUBTASKS[0],)]


def test_a_query_reaches_nothing_else(make_run: MakeRun, tmp_path: Path) -> None:
    pytest.importorskip("duckdb")
    store = Store([Run.read(make_run([record()]))])
    (tmp_path / "secret.csv").write_text("a\n1\n")
    with pytest.raises(UsageError, match="the query failed"):
        store.query(f"SELECT * FROM '{tmp_path / 'secret.csv'}'")
    with pytest.raises(UsageError, match="the query failed"):
        store.query(f"COPY episodes TO '{tmp_path / 'out.csv'}'")
    with pytest.raises(UsageError, match="the query failed"):
        store.query("SELEC 1")
    assert not (tmp_path / "out.csv").exists()


def test_exports_hold_everything(make_run: MakeRun, tmp_path: Path) -> None:
    parquet = pytest.importorskip("pyarrow.parquet")
    records = [
        *chains(0.8, 10),
        record(first_success_step=None, error=None, video="videos/a.mp4", instruction='say "hi", 你'),
    ]
    store = Store([Run.read(make_run(records, "first"))])
    for suffix in ("parquet", "csv", "jsonl"):
        store.export(tmp_path / f"out.{suffix}")
    assert parquet.read_table(tmp_path / "out.parquet").equals(store.arrow)
    lines = [json.loads(line) for line in (tmp_path / "out.jsonl").read_text().splitlines()]
    assert {line.pop("run") for line in lines} == {"first"}
    assert {line.pop("purpose") for line in lines} == {"report"}
    again = [read_line(json.dumps(line).encode()).to_json() for line in lines]
    assert again == [one.to_json() for one in records]
    pandas = pytest.importorskip("pandas")
    frame = store.to_pandas()
    assert list(frame["score"]) == [one.score for one in records]
    assert pandas.read_csv(tmp_path / "out.csv")["instruction"].iloc[-1] == 'say "hi", 你'
    with pytest.raises(UsageError, match="known suffixes"):
        store.export(tmp_path / "out.xlsx")
    with pytest.raises(JournalError, match="cannot be written"):
        store.export(tmp_path / "missing" / "out.parquet")


def test_a_race_shows_the_half_that_chose_nobody(make_run: MakeRun) -> None:
    """Ten equal candidates at 50%: the winner's selection half is biased upwards, its report half is not."""
    names = [f"step_{n}.onnx" for n in range(1, 11)]
    records = list(outcomes({"a": 0.5}, 60, checkpoints=names))
    solved = {name: sum(one.score for one in records if one.checkpoint == name and one.trial < 30) for name in names}
    winner = max(names, key=lambda name: solved[name])
    run_records = [one for one in records if one.trial < 30 or one.checkpoint == winner]
    report = sorted({one.episode for one in records if one.trial >= 30})
    run = Run.read(make_run(run_records, report_episodes=report))
    (cell,) = cells_of([run])
    assert (cell.checkpoint, cell.n, cell.complete) == (winner, 30, True)
    own = [one.score for one in records if one.checkpoint == winner and one.trial >= 30]
    estimate = headline(cell)
    assert estimate is not None
    assert estimate.value == sum(own) / 30 < solved[winner] / 30
    assert "A race: shown are the episodes that chose nobody" in run.notes[0]
    _, rows = Store([run]).query("select purpose, count(*) from episodes group by purpose order by purpose")
    assert rows == [("report", 30), ("selection", 300)]


def test_a_narrowed_run_prints_its_anytime_interval(make_run: MakeRun) -> None:
    records = list(outcomes({"a": 0.5}, 40))
    (cell,) = cells_of([Run.read(make_run(records, missing=10, stopped_when_narrow=True))])
    estimate = headline(cell)
    assert cell.complete
    assert estimate is not None
    expected = confidence_sequence(sum(one.score for one in cell.records), 30)
    assert estimate.interval == expected
    assert expected.half_width > 1.3 * wilson(15, 30).half_width
