"""The verbs table, results, report, plot and plan, as a user calls them."""

from __future__ import annotations

import contextlib
import csv
import io
import json
import math
import os
from pathlib import Path

import pytest
from scipy import optimize
from typer.testing import CliRunner

from simrun.cli import app
from simrun.errors import SimrunError, UnknownNameError, UsageError
from simrun.results.pooling import cells_of
from simrun.results.publishing.paper import PAPER, write_paper_table
from simrun.results.records import field_types
from simrun.results.run import Run
from tests.results.synthetic_records import BRIDGE, BRIDGE_TASKS, MakeRun, chains, outcomes

VARIANTS = ["full", "half"]


@pytest.fixture
def run(make_run: MakeRun) -> Path:
    records = list(chains(0.85, 30, checkpoints=["step_1000", "step_2000"], executions=VARIANTS))
    return make_run(
        records + list(outcomes(dict.fromkeys(BRIDGE_TASKS, 0.5), 24, checkpoints=["step_1000"], protocol=BRIDGE))
    )


def call(*arguments: object) -> str:
    result = CliRunner().invoke(app, [str(argument) for argument in arguments])
    if result.exception is not None and not isinstance(result.exception, SystemExit):
        raise result.exception
    assert result.exit_code == 0, result.output
    return result.output


def write(*arguments: object) -> None:
    """The same for what is written to a file; the program's own stream can print any name, the runner's cannot."""
    with contextlib.suppress(UnicodeEncodeError):
        call(*arguments)


def test_table(run: Path, tmp_path: Path) -> None:
    text = call("table", run)
    assert "average length" in text
    assert "Eggplant" in text
    text = call("table", run, "--layout", "sweep", "--protocol", "calvin", "--format", "csv")
    assert {row["checkpoint"] for row in csv.DictReader(io.StringIO(text))} == {"step_1000", "step_2000"}
    assert call("table", run, "--format", "latex", "--out", tmp_path / "t.tex") == ""
    assert "\\toprule" in (tmp_path / "t.tex").read_text()


def test_table_compares(run: Path) -> None:
    assert "6 comparisons" in call("table", run, "--compare", "all")
    assert "2 comparisons" in call("table", run, "--compare", "step_1000")
    assert "3 comparisons" in call("table", run, "--compare", "step_2000@half")
    text = call("table", run, "--compare", "published:Qwen3VL-4B", "--format", "json")
    sections = json.loads(text)["sections"]
    assert {section["title"] for section in sections[-2:]} == {
        "Against published numbers: success",
        "Against published numbers: average length",
    }
    # Of all models, only what can be tested is shown, and the rest is counted; of a model that is named, everything.
    text = call("table", run, "--protocol", "calvin", "--compare", "published")
    assert "Left out: 156 that cannot be tested" in text
    assert "not testable" not in text
    text = call("table", run, "--protocol", "calvin", "--compare", "published:pi0")
    assert "not testable" in text
    assert "Left out" not in text
    with pytest.raises(UsageError, match="known: all, imported, published"):
        call("table", run, "--compare", "nobody")
    with pytest.raises(UsageError, match="no published number"):
        call("table", run, "--compare", "published:GPT-9")


def test_steps_to_success_are_tabulated_compared_and_drawn(make_run: MakeRun, tmp_path: Path) -> None:
    """Every success of these records came after 40 of 60 steps, every failure counts as 60."""
    run = make_run(list(outcomes({"a": 0.5}, 20, executions=VARIANTS)))
    row = next(csv.DictReader(io.StringIO(call("table", run, "--layout", "times", "--format", "csv"))))
    assert float(row["steps_to_success"]) == pytest.approx(60 - 20 * float(row["ever"]))
    text = call("table", run, "--layout", "times", "--compare", "all", "--margin", "3")
    assert "Comparisons of steps to success" in text
    assert "upper end of A - B lies below the margin" in text
    assert "times.svg" in call("plot", run, "--kind", "times", "--out", tmp_path / "times.svg")
    with pytest.raises(UsageError, match="no paper's steps"):
        call("table", run, "--layout", "times", "--compare", "published")


def test_a_cell_that_lacks_a_task_is_compared_nowhere_and_stops_nothing(make_run: MakeRun, tmp_path: Path) -> None:
    """Table, forest plot, report and a paper's table: each says who is left out, and does the rest."""
    rates = {"short": 0.5, "long": 0.5}
    records = [one for name in (*VARIANTS, "single") for one in outcomes(rates, 12, executions=[name])]
    folder = make_run(records, missing=12)
    left_out = "Not compared: step_1000.onnx (single), 1 of 2 tasks."
    text = call("table", folder, "--compare", "all")
    assert text.count("24 paired") == 1
    assert left_out in text
    assert left_out in call("plot", folder, "--kind", "forest", "--out", tmp_path / "forest.svg")
    call("report", folder)
    assert left_out in (folder / "report.html").read_text()
    opened = Run.read(folder)
    write_paper_table(tmp_path, cells_of([opened]), opened)
    assert left_out.replace("_", r"\_\allowbreak{}") in (tmp_path / PAPER).read_text()


def test_table_of_several_runs(run: Path, make_run: MakeRun) -> None:
    other = make_run(list(chains(0.7, 30, checkpoints=["step_1000"])), "other")
    text = call("table", run, other, "--protocol", "calvin")
    assert "other" in text
    assert text.count("step_1000") == 3


def test_bad_input_is_one_sentence(run: Path, tmp_path: Path) -> None:
    for arguments, error, match in (
        (["table", tmp_path / "nothing"], UsageError, "holds no run"),
        (["table", run, "--layout", "nature"], UnknownNameError, "known: auto"),
        (["table", run, "--layout", "robotwin"], UnknownNameError, "known: auto, bridge, calvin"),
        (["table", run, "--protocol", "libero"], UsageError, "no cell matches"),
        (["results"], UsageError, "at least one run"),
        (["results", run, "--format", "xml"], UnknownNameError, "known: text"),
        (["power"], UsageError, "say what is wanted"),
        (["power", "--half-width", "70"], UsageError, "between 0 and 50"),
        (["plot", run, "--kind", "pie", "--out", "a.png"], UnknownNameError, "known: steps"),
        (["plot", run, "--kind", "scatter", "--out", "a.png", "--protocol", "calvin"], UsageError, "needs --scores"),
    ):
        with pytest.raises(error, match=match):
            call(*arguments)


def test_results_lists_queries_and_exports(run: Path, tmp_path: Path) -> None:
    rows = json.loads(call("results", run, "--format", "json"))
    assert len(rows) == 4 * 30 + 96
    assert rows[0]["episode"].startswith("calvin_abcd/standard@1/sequence/0/s0")
    assert "calvin_abcd/standard@1/sequence/29/s0" in call("results", run)
    pytest.importorskip("duckdb")
    text = call(
        "results", run, "--sql", "select benchmark, count(*) n from episodes group by 1 order by 1", "-f", "csv"
    )
    assert text == "benchmark,n\ncalvin_abcd,120\nsimpler_bridge,96\n"
    assert "216 episodes" in call("results", run, "--export", tmp_path / "all.parquet")


def test_the_schema_is_told_field_by_field() -> None:
    text = call("results", "--schema")
    assert "first_success_step: int | None\n    control step of the first success, None without one." in text
    assert "``SET#INDEX``; None when it was not kept." in text
    assert text.count("\n    ") == len(field_types()) + 2


def test_plots_and_report(run: Path, tmp_path: Path) -> None:
    pytest.importorskip("matplotlib")
    scores = tmp_path / "scores.csv"
    scores.write_text("checkpoint,vqa\nstep_1000,1\nstep_2000,3\n")
    for kind in ("steps", "box", "tasks", "forest", "scatter"):
        out = tmp_path / f"{kind}.svg"
        text = call("plot", run, "--kind", kind, "--out", out, "--protocol", "calvin", "--scores", scores)
        assert ("VLM4VLA, Figure 3: r = 0.839, R2 = 0.703" in text) == (kind == "scatter")
        assert out.read_text().startswith("<?xml")
    assert "report.html" in call("report", run)
    assert (run / "report.html").stat().st_size > 20_000


def test_plan_prints_the_sample_size() -> None:
    text = call("power", "--half-width", "5")
    assert text.startswith("381 episodes")
    assert "calvin_abcd: 1000 episodes, 3.1 points" in text
    text = call("power", "--rate", "50", "--against", "60", "--discordance", "20")
    assert "392 episodes each" in text
    assert "168 initial states" in text


def test_plans_for_lengths_seeds_margins_and_the_best_of_several() -> None:
    """Against statsmodels' power of z tests; a chain's variance by enumeration of its six lengths."""
    power = pytest.importorskip("statsmodels.stats.power")

    def states(text: str) -> list[int]:
        return [int(line.split()[0]) for line in text.splitlines() if line[0].isdigit()]

    def wanted(difference: float, deviation: float, alpha: float = 0.05) -> int:
        return math.ceil(power.zt_ind_solve_power(difference / deviation, alpha=alpha, power=0.8, ratio=0))

    variances = []
    for length in (3.5, 3.8):
        solved = optimize.brentq(lambda q, length=length: sum(q**k for k in range(1, 6)) - length, 0, 1)
        chances = [solved**k * (1 - solved) for k in range(5)] + [solved**5]
        variances.append(sum(chance * (k - length) ** 2 for k, chance in enumerate(chances)))
    apart = wanted(0.3, math.sqrt(sum(variances)))
    both = wanted(0.3, math.sqrt(sum(variances) - 2 * 0.5 * math.sqrt(variances[0] * variances[1])))
    assert states(call("power", "--length", "3.5", "--against", "3.8", "--correlation", "0.5")) == [apart, both]

    rates = math.sqrt(0.25 + 0.24)
    assert states(call("power", "--against", "60", "--seeds", "3"))[0] == wanted(0.1, rates * math.sqrt(0.5 + 0.5 / 3))
    text = call("power", "--against", "60", "--best-of", "10")
    assert states(text)[0] == wanted(0.1, rates, 0.05 / 9)
    # The expected largest of ten normal deviates is 1.5388 (Teichroew, 1956).
    n = states(text)[0]
    assert f"seems {100 * 1.5388 * 0.5 / math.sqrt(n):.2g} better" in text
    assert states(call("power", "--rate", "80", "--margin", "5"))[0] == wanted(0.05, math.sqrt(2 * 0.16))
    with pytest.raises(UsageError, match="is of a success rate"):
        call("power", "--length", "3.5", "--half-width", "5")


@pytest.mark.parametrize("ending", ["parquet", "csv", "jsonl"])
def test_a_name_that_is_no_utf8_is_exported_to(make_run: MakeRun, tmp_path: Path, ending: str) -> None:
    pytest.importorskip("pyarrow")
    run = make_run(list(chains(0.85, 3, executions=["full"])))
    file = tmp_path / os.fsdecode(f"b\xff.{ending}".encode("latin-1"))
    write("results", run, "--export", file)
    assert file.stat().st_size > 100


def test_a_run_whose_name_is_no_utf8_is_reported(make_run: MakeRun, tmp_path: Path) -> None:
    plain = make_run(list(chains(0.85, 3, executions=["full"])))
    run = plain.rename(tmp_path / os.fsdecode(b"run\xff"))
    write("report", run)
    assert r"run\udcff" in (run / "report.html").read_text(encoding="utf-8")
    for form in ("md", "csv", "html"):
        write("table", run, "-f", form, "-o", tmp_path / f"table.{form}")
        assert (tmp_path / f"table.{form}").read_text(encoding="utf-8")


@pytest.mark.parametrize(
    "line",
    ["table RUN -o out.md", "report RUN -o out.html", "results RUN --export o.parquet", "results RUN --export o.csv"],
)
def test_a_pipe_that_nobody_reads_is_not_waited_for(make_run: MakeRun, tmp_path: Path, line: str) -> None:
    pytest.importorskip("pyarrow")
    run = make_run(list(chains(0.85, 3, executions=["full"])))
    *words, name = line.split()
    os.mkfifo(tmp_path / name)
    with pytest.raises(SimrunError, match="cannot be written"):
        call(*(run if word == "RUN" else word for word in words), tmp_path / name)


def test_no_spreadsheet_takes_a_name_for_a_formula(make_run: MakeRun, tmp_path: Path) -> None:
    pytest.importorskip("pyarrow")
    formula = '=cmd|"/c calc"!A1'
    run = make_run(list(chains(0.85, 3, checkpoints=[formula], executions=["full"])))
    call("results", run, "--export", tmp_path / "all.csv")
    for text in (
        (tmp_path / "all.csv").read_text(),
        call("results", run, "-f", "csv"),
        call("table", run, "-f", "csv"),
    ):
        cells = [cell for row in csv.reader(io.StringIO(text)) for cell in row]
        assert f"'{formula}" in cells
        assert not any(cell.startswith("=") for cell in cells)
