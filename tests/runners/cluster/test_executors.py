"""Executors, scripts and the slurm verbs, with a fake Slurm that runs the real scripts."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
from typer.testing import CliRunner

from simrun.cli import app
from simrun.errors import DependencyError, InfrastructureError, UnknownNameError, UsageError
from simrun.results import read_run
from simrun.runners.cluster.executors import EXECUTORS, make_executor
from simrun.runners.cluster.sharded_runs import ShardedRun, Task
from simrun.runners.cluster.slurm import Resources, SlurmExecutor, finish_script, shard_script
from tests.runners.cluster.conftest import LEASE, recorded_twice, wait_until
from tests.runners.cluster.fake_slurm import FakeSlurm
from tests.runners.conftest import outcomes

SWEEP = ["--bench", "tabletop", "--ckpt", "scripted:random", "--exec", "full,half"]
REACH = "reach_*"
LONG = {"episodes": "0:20", "tasks": "reach_*,push_*"}
LONG_EPISODES = 160


@pytest.fixture
def cluster(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> FakeSlurm:
    fake = FakeSlurm(tmp_path / "cluster", slots=2)
    monkeypatch.setenv("PATH", fake.path)
    return fake


def _simrun(*arguments: str) -> str:
    result = CliRunner().invoke(app, arguments, catch_exceptions=False)
    assert result.exit_code == 0, result.output
    return result.output


def _submit(run: Path, *options: str, episodes: str = "0:3", tasks: str = REACH, array: int = 3) -> str:
    return _simrun(
        *("slurm", "--array", str(array), "--lease", str(LEASE), *options),
        *("--", *SWEEP, "--tasks", tasks, "--episodes", episodes, "--workers", "1", "--out", str(run)),
    )


def test_an_array_runs_and_ends_in_tables(cluster: FakeSlurm, tmp_path: Path) -> None:
    run = tmp_path / "run"
    output = _submit(run)
    assert "submitted 3 shard(s) as array 1, and job 4" in output
    cluster.run()
    assert [(task.id, task.state) for task in cluster.tasks()] == [
        *((f"1_{index}", "COMPLETED") for index in range(3)),
        ("4", "COMPLETED"),
    ]
    assert len(read_run(run)) == 12
    assert (run / "tables").is_dir()
    assert "12 of 12 episodes" in (run / "slurm" / "logs" / "finish-4.log").read_text(encoding="utf-8")
    status = json.loads(_simrun("slurm", "status", str(run), "--json"))
    assert (status["completed"], status["planned"], status["lost"]) == (12, 12, 0)
    assert [task["state"] for task in status["tasks"]] == ["COMPLETED"] * 3
    assert "nothing is missing" in _simrun("slurm", "resubmit", str(run))
    with pytest.raises(UsageError, match="after two dashes"):
        _simrun("slurm", "--array", "2")


@pytest.mark.parametrize("executor", ["local", "debug"])
def test_the_same_without_slurm(cluster: FakeSlurm, tmp_path: Path, executor: str) -> None:
    _submit(tmp_path / "array")
    cluster.run()
    output = _submit(tmp_path / executor, "--executor", executor, array=2)
    assert "12 of 12 episodes" in output
    assert outcomes(read_run(tmp_path / executor)) == outcomes(read_run(tmp_path / "array"))
    with pytest.raises(UsageError, match="Ctrl-C"):
        make_executor(executor).cancel(tmp_path / executor)


LOCAL = """
import os, sys
from pathlib import Path

from simrun.runners.cluster.executors import LocalExecutor
from simrun.runners.cluster.sharded_runs import ShardedRun

# A process that was forked would ask libraries that may wait for another thread.
os.register_at_fork(before=lambda: os._exit(3))
LocalExecutor().submit(ShardedRun(Path(sys.argv[1]), 2))
"""


def test_local_shards_share_the_cores_and_end_with_their_runner(planned: Callable[..., ShardedRun]) -> None:
    work = planned(2, episodes="0:20")
    runner = subprocess.Popen([sys.executable, "-c", LOCAL, str(work.path)])
    try:
        wait_until(lambda: len(list((work.path / "journal").glob("shard-*.jsonl"))) == 2)
        children = Path(f"/proc/{runner.pid}/task/{runner.pid}/children")
        shards = [int(pid) for pid in children.read_text().split()]
        assert len(shards) == 2
        own, everybody = [os.sched_getaffinity(pid) for pid in shards], os.sched_getaffinity(0)
        assert set.union(*own) == everybody
        assert len(everybody) == 1 or not set.intersection(*own)
        for pid in shards:
            os.kill(pid, signal.SIGSTOP)
    finally:
        runner.kill()
        runner.wait()
    wait_until(lambda: not any(_alive(pid) for pid in shards), 20)


def _alive(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] not in "ZX"
    except OSError:
        return False


def test_a_signalled_task_requeues_itself_and_a_cancelled_one_does_not(cluster: FakeSlurm, tmp_path: Path) -> None:
    run = tmp_path / "run"
    _submit(run, **LONG)
    wait_until(lambda: bool(cluster.turn() or read_run(run)))
    (first, second) = (task for task in cluster.tasks() if task.state == "RUNNING")
    subprocess.run(["scancel", "--signal=USR1", first.id], check=True)
    subprocess.run(["scancel", second.id], check=True)
    cluster.run()
    states = {task.id: (task.state, task.restarts) for task in cluster.tasks()}
    assert states[first.id] == ("COMPLETED", 1)
    assert states[second.id] == ("CANCELLED", 0)
    assert {task.id: task.state for task in SlurmExecutor().tasks(run)}[second.id] == "CANCELLED"
    assert len(read_run(run)) == LONG_EPISODES
    assert not recorded_twice(run)


def test_cancel_keeps_what_was_recorded_and_resubmit_goes_on(cluster: FakeSlurm, tmp_path: Path) -> None:
    run = tmp_path / "run"
    _submit(run, **LONG)
    wait_until(lambda: bool(cluster.turn() or read_run(run)))
    with pytest.raises(UsageError, match="still there"):
        _simrun("slurm", "resubmit", str(run))
    _simrun("slurm", "cancel", str(run))
    cluster.run()
    recorded = len(read_run(run))
    assert 0 < recorded < LONG_EPISODES
    text = _simrun("slurm", "status", str(run))
    assert f"{recorded} of {LONG_EPISODES}" in text
    assert "resubmit" in text
    assert "submitted" in _simrun("slurm", "resubmit", str(run))
    cluster.run()
    assert len(read_run(run)) == LONG_EPISODES
    assert not recorded_twice(run)


def test_dry_run_writes_the_scripts_and_submits_nothing(cluster: FakeSlurm, tmp_path: Path) -> None:
    output = _submit(tmp_path / "run", "--dry-run", "--gres", "gpu:1", "--time", "1:00:00")
    assert "#SBATCH --gres=gpu:1" in output
    assert output.count("to start at") == 2
    assert not cluster.tasks()
    assert (tmp_path / "run" / "plan.json").exists()
    assert (tmp_path / "run" / "slurm" / "shards.sbatch").read_text(encoding="utf-8") in output
    shards, finish = (tmp_path / "run" / "slurm" / name for name in ("shards.sbatch", "finish.sbatch"))
    commands = output.split("--- submitted by\n")[1].splitlines()[:2]
    assert commands[0].startswith("array=$(sbatch --parsable --array 0-")
    assert commands[0].endswith(f" {shards})")
    assert commands[1] == f'sbatch --parsable --dependency "afterany:$array" {finish}'
    script = "\n".join([*commands, "echo done"])
    typed = subprocess.run(["bash", "-ec", script], capture_output=True, text=True, check=True)
    assert typed.stdout.endswith("done\n")
    assert [task.options.get("dependency") for task in cluster.tasks()][-1].startswith("afterany:")


def test_a_script_with_a_name_that_is_no_utf8_is_shown_and_kept(tmp_path: Path) -> None:
    image = os.fsdecode(os.fsencode(tmp_path) + b"/im\xffage.sif")
    line = ["slurm", "--array", "3", "--dry-run", "--container", image, "--", *SWEEP, "--out", str(tmp_path / "run")]
    shown = subprocess.run([sys.executable, "-m", "simrun", *line], capture_output=True, check=True).stdout
    assert b"apptainer exec" in shown
    assert os.fsencode(image) in (tmp_path / "run" / "slurm" / "shards.sbatch").read_bytes()


def test_the_script_asks_for_what_was_asked_for(tmp_path: Path) -> None:
    work = ShardedRun(tmp_path, 8, {"workers": 3, "video": "failures"})
    resources = Resources("gpu", "gpu:1", "4:00:00", 8, "32G", "--account=lab --qos high", None, None, 60)
    text = shard_script(work, resources)
    for line in (
        *("array=0-7", "partition=gpu", "gres=gpu:1", "time=4:00:00", "cpus-per-task=8", "mem=32G", "signal=B:USR1@60"),
        *("account=lab --qos high", "requeue"),
    ):
        assert f"#SBATCH --{line}\n" in text
    assert f"simrun run-shard {tmp_path} --workers 3 --video failures &" in text
    assert "#SBATCH --account=lab" in finish_script(work, resources)
    assert "gres" not in finish_script(work, resources)


def test_a_container_runs_the_shard(tmp_path: Path) -> None:
    text = shard_script(ShardedRun(tmp_path, 1), Resources(gres="gpu:1", container=Path("/images/simrun.sif")))
    assert re.search(r"^apptainer exec --nv --bind \S+ /images/simrun.sif simrun run-shard", text, re.MULTILINE)
    assert "activate" not in text


def test_conda_is_activated(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sys.prefix", "/opt/conda/envs/robots")
    monkeypatch.setattr("sys.base_prefix", "/opt/conda/envs/robots")
    monkeypatch.setenv("CONDA_PREFIX", "/opt/conda/envs/robots")
    monkeypatch.setenv("CONDA_EXE", "/opt/conda/bin/conda")
    text = shard_script(ShardedRun(tmp_path, 1), Resources())
    assert 'eval "$(/opt/conda/bin/conda shell.bash hook)"\nconda activate /opt/conda/envs/robots\n' in text


def test_several_cards_for_one_policy_are_refused() -> None:
    with pytest.raises(UsageError, match="gpu:1"):
        Resources(gres="gpu:a100:4")


def test_without_slurm_it_says_what_to_do(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(DependencyError, match="--executor local"):
        SlurmExecutor().submit(ShardedRun(tmp_path, 1))


def test_what_slurm_refuses_is_told(cluster: FakeSlurm, tmp_path: Path) -> None:
    executor = SlurmExecutor()
    work = ShardedRun(tmp_path, 1)
    shards, _ = executor.write_scripts(work)
    shards.write_text("echo no interpreter\n", encoding="utf-8")
    with pytest.raises(InfrastructureError, match="does not look like a batch script"):
        executor.submit(work)


def test_unknown_executors_are_named() -> None:
    with pytest.raises(UnknownNameError, match=", ".join(EXECUTORS)):
        make_executor("kubernetes")


def test_which_tasks_are_live() -> None:
    assert [Task("1_0", state).live for state in ("PENDING", "RUNNING", "FAILED", "NODE_FAIL")] == [
        *(True, True, False, False)
    ]


def test_the_page_shows_the_script(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Path, "cwd", lambda: Path("/home/you/sweeps"))
    monkeypatch.setattr("sys.prefix", "/home/you/venv")
    work = ShardedRun(Path("/home/you/sweeps/runs/chunks"), 32)
    script = shard_script(work, Resources("gpu", "gpu:1", "4:00:00", 8, "32G"))
    page = Path(__file__).parents[3] / "docs" / "slurm.md"
    assert f"```bash\n{script}```" in page.read_text(encoding="utf-8")


def test_a_limit_of_tasks_at_a_time_survives_the_submission(cluster: FakeSlurm, tmp_path: Path) -> None:
    work = ShardedRun(tmp_path, 4)
    SlurmExecutor(Resources(at_once=2)).write_scripts(work)
    SlurmExecutor().submit(work)
    assert {task.options["array"] for task in cluster.tasks() if task.index is not None} == {"0-3%2"}
