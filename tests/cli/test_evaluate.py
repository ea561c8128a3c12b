"""The command line as a user meets it: in a process of its own, by exit codes and sentences."""

from __future__ import annotations

import csv
import json
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest


def simrun(*arguments: str, cwd: Path, **environment: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "simrun", *arguments],
        cwd=cwd,
        env={**os.environ, **environment},
        capture_output=True,
        text=True,
        timeout=300,
    )


SMALL = (
    "--bench",
    "tabletop",
    "--ckpt",
    "scripted:expert",
    "--tasks",
    "reach_red",
    "--episodes",
    "0:2",
    "--workers",
    "1",
)


def test_the_main_job(tmp_path: Path) -> None:
    done = simrun(*SMALL, "--exec", "full,single", "--out", "run", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    assert "scripted:expert" in done.stdout
    assert "100.0" in done.stdout
    assert "run folder: run" in done.stdout
    tables = tmp_path / "run" / "tables"
    assert sorted(path.suffix for path in tables.iterdir()) == [".csv", ".json", ".md"]
    assert json.loads(next(tables.glob("*.json")).read_text())
    assert list(csv.reader(next(tables.glob("*.csv")).read_text().splitlines()))
    description = json.loads((tmp_path / "run" / "run.json").read_text())
    assert description["configuration"]["bench"] == ["tabletop"]
    (fingerprint,) = description["fingerprints"].values()
    assert fingerprint["decisive"]["protocol"] == "tabletop/standard@1"
    record = json.loads((tmp_path / "run" / "journal" / "main.jsonl").read_text().splitlines()[0])
    assert record["fingerprint"] in description["fingerprints"]


def test_resume_finds_the_newest_run_of_the_same_configuration(tmp_path: Path) -> None:
    first = simrun(*SMALL, cwd=tmp_path)
    assert first.returncode == 0, first.stderr
    (run,) = (tmp_path / "runs").iterdir()
    before = (run / "journal" / "main.jsonl").read_bytes()
    assert simrun(*SMALL, "--resume", cwd=tmp_path).returncode == 0
    assert [path.name for path in (tmp_path / "runs").iterdir()] == [run.name]
    assert (run / "journal" / "main.jsonl").read_bytes() == before
    other = simrun(*SMALL, "--exec", "half", "--resume", cwd=tmp_path)
    assert other.returncode == 2
    assert "found no run of this configuration" in other.stderr


@pytest.mark.parametrize(
    ("arguments", "code", "sentence"),
    [
        (("--bench", "nonsense", "--ckpt", "scripted:zero"), 2, "unknown benchmark 'nonsense'"),
        (("--bench", "tabletop"), 2, "--ckpt is missing"),
        (("--bench", "tabletop", "--ckpt", "nothere.onnx"), 1, "there is no checkpoint nothere.onnx"),
        (("--bench", "tabletop", "--ckpt", "empty.onnx"), 1, "is empty"),
        (("--bench", "tabletop", "--ckpt", "scripted:zero", "--episodes", "0:99"), 2, "the last trial is 19"),
        (("--bench", "tabletop", "--ckpt", "scripted:zero", "--tasks", "fly"), 2, "unknown task of tabletop 'fly'"),
        (("--bench", "tabletop", "--ckpt", "scripted:zero", "--exec", "some"), 2, "unknown execution variant 'some'"),
        (("--bench", "tabletop", "--ckpt", "scripted:zero", "--seeds", "a"), 2, "no list of whole numbers"),
        (("--bench", "tabletop", "--ckpt", "scripted:zero", "--set", "x"), 2, "no KEY=VALUE"),
        (("--bench", "tabletop", "--ckpt", "scripted:zero", "--set", "x=1"), 2, "unknown setting of protocol"),
        (("--bench", "tabletop", "--ckpt", "scripted:zero", "--protocol", "x"), 2, "unknown protocol of tabletop"),
        (("--bench", "tabletop", "--ckpt", "json:loads"), 1, "--trust-checkpoint"),
        (("verify", "robotwin_hard"), 2, "no recordings are shipped for robotwin_hard; say what to compare with"),
        (("verify", "calvin", "--golden", ".", "--against", "upstream"), 2, "exclude each other"),
        (("verify", "calvin", "--golden", "nowhere"), 2, "there is no folder nowhere"),
        (("replay", "nowhere", "x"), 2, "holds no run"),
        (("list", "nonsense"), 2, "unknown benchmark"),
    ],
)
def test_bad_input_is_one_sentence(tmp_path: Path, arguments: tuple[str, ...], code: int, sentence: str) -> None:
    (tmp_path / "empty.onnx").touch()
    done = simrun(*arguments, cwd=tmp_path)
    assert sentence in " ".join(done.stderr.split())
    assert done.returncode == code
    assert "Traceback" not in done.stderr
    assert not any(path.stat().st_size for path in tmp_path.glob("runs/*/journal/*.jsonl"))


def test_missing_assets_say_what_to_set(tmp_path: Path) -> None:
    pytest.importorskip("pybullet")
    done = simrun(
        "--bench", "calvin", "--ckpt", "scripted:zero", "--episodes", "0", cwd=tmp_path, SIMRUN_ASSETS="/none"
    )
    assert done.returncode == 1
    assert "set SIMRUN_ASSETS" in done.stderr
    assert "Traceback" not in done.stderr


def test_another_configuration_in_the_same_folder_is_refused(tmp_path: Path) -> None:
    assert simrun(*SMALL, "--out", "run", cwd=tmp_path).returncode == 0
    done = simrun(*SMALL, "--exec", "half", "--out", "run", cwd=tmp_path)
    assert done.returncode == 2
    assert "exec: ['full'] there, ['half'] asked for" in done.stderr


def test_debug_shows_the_traceback(tmp_path: Path) -> None:
    done = simrun("--bench", "nonsense", "--ckpt", "x", "--debug", cwd=tmp_path)
    assert done.returncode == 2
    assert "Traceback" in done.stderr


def test_replay_runs_one_episode_again(tmp_path: Path) -> None:
    assert simrun(*SMALL, "--out", "run", cwd=tmp_path).returncode == 0
    episode = "tabletop/standard@1/reach_red/1/s0"
    done = simrun("replay", "run", episode, "--video", "one.mp4", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    assert "came out the same" in done.stdout
    assert (tmp_path / "one.mp4").stat().st_size > 1000
    full = simrun("replay", "run", episode, "--video", "/dev/full", cwd=tmp_path)
    assert full.returncode == 2
    assert "/dev/full cannot be written: No space left on device" in full.stderr
    journal = tmp_path / "run" / "journal" / "main.jsonl"
    unsigned = re.sub(',"crc32":"[0-9a-f]{8}"', "", journal.read_text())
    journal.write_text(unsigned.replace('"steps":', '"steps":1'))
    changed = simrun("replay", "run", episode, cwd=tmp_path)
    assert changed.returncode == 1
    assert "steps:" in changed.stdout
    unknown = simrun("replay", "run", "tabletop/standard@1/reach_red/9/s0", cwd=tmp_path)
    assert unknown.returncode == 2
    assert "ids read like" in unknown.stderr


def test_list_shows_what_there_is(tmp_path: Path) -> None:
    overview = simrun("list", cwd=tmp_path)
    assert overview.returncode == 0
    for name in ("calvin_abcd", "tabletop"):
        assert name in overview.stdout
        assert simrun("list", name, cwd=tmp_path).returncode == 0
    document = json.loads(simrun("list", "tabletop", "--json", cwd=tmp_path).stdout)
    assert document["default_protocol"] == "tabletop/standard@1"
    assert len(document["tasks"]) >= 6


def test_help_teaches(tmp_path: Path) -> None:
    done = simrun("--help", cwd=tmp_path)
    assert done.returncode == 0
    assert "simrun --bench calvin --ckpt" in done.stdout
    assert simrun("--version", cwd=tmp_path).stdout.strip()
