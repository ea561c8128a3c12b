"""Whatever kills a run, the same command goes on where it was."""

from __future__ import annotations

import json
import random
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from simrun.errors import CheckpointError, ConfigurationMismatchError, UsageError
from simrun.results import read_journal, read_run
from tests.runners.conftest import Run, outcomes

COMMAND = [
    sys.executable, "-m", "simrun", "--bench", "tabletop", "--ckpt", "scripted:random", "--ckpt", "scripted:expert",
    "--exec", "full,single", "--episodes", "0:3", "--workers", "2", "--quiet", "--out",
]  # fmt: skip


def start(out: Path) -> subprocess.Popen[bytes]:
    return subprocess.Popen([*COMMAND, str(out)], stdout=subprocess.DEVNULL, stderr=subprocess.PIPE)


def complete(out: Path) -> None:
    done = subprocess.run([*COMMAND, str(out)], stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, timeout=300)
    assert done.returncode == 0, done.stderr


def kill_and_resume(out: Path, kills: int) -> int:
    """Kill the runner at random moments, then let it finish; returns how often it was really killed."""
    generator = random.Random(0)
    killed = 0
    while killed < kills:
        process = start(out)
        try:
            process.wait(generator.uniform(0.3, 1.6))
        except subprocess.TimeoutExpired:
            process.send_signal(signal.SIGKILL)
            killed += 1
        process.communicate()
        if process.returncode == 0:
            break
    complete(out)
    return killed


def check_killed_run(tmp_path: Path, kills: int) -> None:
    complete(tmp_path / "undisturbed")
    expected = outcomes(read_run(tmp_path / "undisturbed"))
    total = 0
    for attempt in range(kills):
        out = tmp_path / f"killed-{attempt}"
        total += kill_and_resume(out, 4)
        lines = [record.key for record in read_journal(out / "journal" / "main.jsonl")]
        assert len(lines) == len(set(lines)), "an episode was recorded twice"
        assert outcomes(read_run(out)) == expected
        if total >= kills:
            break
    assert total >= kills
    time.sleep(0.5)
    assert not [line for line in processes() if str(tmp_path) in line]


def processes() -> list[str]:
    found = []
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit():
            try:
                found.append((entry / "cmdline").read_bytes().replace(b"\0", b" ").decode())
            except OSError:
                continue
    return found


def test_a_killed_runner_resumes(tmp_path: Path) -> None:
    check_killed_run(tmp_path, kills=4)


@pytest.mark.slow
def test_a_runner_killed_twenty_times_resumes(tmp_path: Path) -> None:
    check_killed_run(tmp_path, kills=20)


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_signals_end_cleanly_and_keep_what_is_recorded(tmp_path: Path, number: signal.Signals) -> None:
    out = tmp_path / "run"
    process = start(out)
    deadline = time.monotonic() + 60
    while not (out / "journal" / "main.jsonl").exists() or not (out / "journal" / "main.jsonl").stat().st_size:
        assert time.monotonic() < deadline
        assert process.poll() is None
        time.sleep(0.02)
    workers = {int(text) for text in Path(f"/proc/{process.pid}/task/{process.pid}/children").read_text().split()}
    process.send_signal(number)
    _, complaints = process.communicate(timeout=30)
    assert process.returncode == 130
    assert b"interrupted" in complaints
    assert b"Traceback" not in complaints
    assert workers
    assert not [pid for pid in workers if Path(f"/proc/{pid}").exists()]
    kept = outcomes(read_run(out))
    assert kept
    complete(out)
    final = outcomes(read_run(out))
    assert {key: final[key] for key in kept} == kept


def test_a_complete_run_runs_nothing_again(run: Run) -> None:
    first = run("run", tasks=["reach_red"]).run.path / "journal" / "main.jsonl"
    before = first.read_bytes()
    run("run", tasks=["reach_red"])
    assert first.read_bytes() == before


def test_another_configuration_is_refused_with_the_difference(run: Run) -> None:
    run("run", tasks=["reach_red"])
    with pytest.raises(ConfigurationMismatchError, match=r"exec: \['full'\] there, \['half'\] asked for"):
        run("run", tasks=["reach_red"], exec=["half"])


def test_a_changed_checkpoint_is_refused(run: Run, tmp_path: Path) -> None:
    result = run("run", tasks=["reach_red"], episodes="0:2")
    description = result.run.description.to_json()
    description["checkpoints"]["scripted:random"] = "0" * 64
    (result.run.path / "run.json").write_text(json.dumps(description))
    journal = result.run.path / "journal" / "main.jsonl"
    journal.write_text(journal.read_text().splitlines(keepends=True)[0])
    error = run("run", tasks=["reach_red"], episodes="0:2").failures["scripted:random"]
    assert isinstance(error, CheckpointError)
    assert "has changed since this run was started" in str(error)


def test_a_changed_file_that_an_option_or_a_kind_names_is_refused(run: Run, tmp_path: Path) -> None:
    module, convention = tmp_path / "lab.py", tmp_path / "ours.toml"
    module.write_text(
        "import numpy as np\n"
        "from simrun.policies import Policy, PolicySpec\n"
        "class Ours(Policy):\n"
        "    def __init__(self, path):\n"
        "        self.spec = PolicySpec('ours', 2, cameras=())\n"
        "    def infer(self, observations):\n"
        "        return np.zeros((len(observations), 2, 7), np.float32)\n"
    )
    convention.write_text("native = { steps = 1 }\n")
    (tmp_path / "ours.mine").write_text("weights")
    asked = {
        "ckpt": [str(tmp_path / "ours.mine")],
        "policy": f"{module}:Ours",
        "policy_options": {"convention": str(convention)},
        "trust_checkpoint": True,
        "tasks": ["reach_red"],
        "episodes": "0:2",
    }
    result = run("run", **asked)
    assert result.failures == {}
    journal = result.run.path / "journal" / "main.jsonl"
    first = journal.read_text().splitlines(keepends=True)[0]
    for file in (convention, module):
        journal.write_text(first)
        before = file.read_text()
        file.write_text(before + "\n")
        (error,) = run("run", **asked).failures.values()
        assert f"or {module} or {convention} has changed since this run was started" in str(error)
        file.write_text(before)
    assert run("run", **asked).failures == {}


def test_two_runners_on_one_folder_never_share_a_journal(run: Run, tmp_path: Path) -> None:
    result = run("run", tasks=["reach_red"], episodes="0:1")
    with result.run.own(), pytest.raises(UsageError, match="another simrun is writing"):
        run("run", tasks=["reach_red"], episodes="0:1")


def test_machine_settings_may_change_on_resume(run: Run) -> None:
    run("run", tasks=["reach_red"], workers=1, retries=0)
    assert not run("run", tasks=["reach_red"], workers=2, retries=5).failures
