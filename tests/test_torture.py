"""A short form of ``scripts/torture``: malformed inputs and a few kills, no fault among them."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

SCRIPT = Path(__file__).resolve().parents[1] / "scripts" / "torture"


def torture(tmp_path: Path, *options: str) -> str:
    state = tmp_path / "state.jsonl"
    command = [sys.executable, str(SCRIPT), "--state", str(state), *options]
    done = subprocess.run(command, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr
    return state.read_text()


def test_malformed_inputs_are_refused_in_a_sentence_and_kills_change_nothing(tmp_path: Path) -> None:
    """A fixed amount of work: an input for each reader, dialect, folder, page and verb, and two kills."""
    pytest.importorskip("uvicorn")
    first = torture(tmp_path, "--kills", "2", "--inputs", "65", "--seed", "1")
    trials = [json.loads(line) for line in first.splitlines()]
    hurt = {what for kind, _, what, _ in trials if kind == "input"}
    assert len(hurt) >= 60, sorted(hurt)
    assert any(kind == "kill" for kind, *_ in trials)
    assert torture(tmp_path, "--kills", "0", "--inputs", "0") == first, "what is known is told, and not done again"


@pytest.mark.slow
def test_killed_runs_end_as_undisturbed_ones(tmp_path: Path) -> None:
    torture(tmp_path, "--kills", "20", "--inputs", "2000", "--seed", "2")
