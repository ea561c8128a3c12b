"""Benchmarks of other packages, of scripts and as objects reach the workers, which can import simrun alone."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

import simrun
from simrun import doors
from simrun.envs import get_benchmark
from simrun.envs.registry import introduce
from simrun.errors import UsageError, WorkerError
from simrun.runners.engine.process import WorkerProcess
from simrun.runners.engine.wire import configuration

SOURCE = """
import numpy as np

from simrun.envs import ActionSpec, Benchmark, BenchmarkEnv, Protocol, Requirements, StepOutcome, Task
from {siblings} import LENGTH


class Corridor(Benchmark):
    name = "{name}"
    summary = "Walk to the end of a corridor."
    action_specs = {{"step": ActionSpec(("forwards",), (-1.0,), (1.0,), (0.0,), "metres a step")}}
    cameras = {{}}
    proprio_names = ("position [m]",)
    default_protocol = "{name}/plain@1"
    scored_as = "score"
    max_score = LENGTH
    score_unit = "metres"
    requirements = Requirements(extra="", modules=(), constraints={{}})

    def protocols(self):
        return {{"{name}/plain@1": Protocol("{name}/plain@1", "plain", 30, "first_success", {{}})}}

    def tasks(self, protocol):
        return [Task("walk", "walk to the end", 10, protocol.max_steps)]

    def fingerprint(self):
        return {{"corridor": 1}}

    def make_env(self, *, protocol=None, cameras=None, action_mode=None, privileged=False, render_mode=None):
        return Walk(self, self.protocol(protocol) if not isinstance(protocol, Protocol) else protocol, cameras=cameras)


class Walk(BenchmarkEnv):
    def _begin(self, episode, task):
        self._position = 0.1 * episode.trial

    def _advance(self, action):
        self._position += float(action[0])
        return StepOutcome(self._position >= LENGTH, max(0.0, min(self._position, LENGTH)))

    def _proprio(self):
        return np.array([self._position], np.float32)

    def _instruction(self):
        return "walk to the end"

    def _render_camera(self, camera, height, width):
        return np.zeros((height, width, 3), np.uint8)

    def state(self):
        return {{"position": np.array(self._position)}}

    def _shutdown(self):
        pass
"""


def forwards(observations):
    return [[[0.5]]] * len(observations)


@pytest.fixture
def package(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    """A package beside another one, on the path of this process alone."""
    folder = tmp_path / "site" / "corridor_package"
    (folder / "deeper").mkdir(parents=True)
    (folder / "__init__.py").write_text("")
    (folder / "deeper" / "__init__.py").write_text("LENGTH = 5.0\n")
    (folder / "bench.py").write_text(SOURCE.format(siblings="corridor_package.deeper", name="corridor"))
    (tmp_path / "site" / "corridor_neighbour.py").write_text("")
    monkeypatch.syspath_prepend(tmp_path / "site")
    return "corridor_package.bench:Corridor"


def test_a_package_of_this_interpreter_is_the_worker_s(package: str) -> None:
    results = simrun.evaluate(forwards, package, episodes="0:3", workers=2)
    assert [record.score for record in results.records] == [5.0, 5.0, 5.0]
    assert {record.protocol for record in results.records} == {"corridor/plain@1"}


def test_nothing_but_that_package_is_exposed(package: str, tmp_path: Path) -> None:
    worker = WorkerProcess(0, sys.executable, tmp_path / "log")
    try:
        worker.greet(60)
        benchmark = get_benchmark(package)
        message = configuration(benchmark, benchmark.protocol())
        with pytest.raises(UsageError, match="No module named 'corridor_package'"):
            worker.call({**message, "package": None}, 60)
        with pytest.raises(UsageError, match="No module named 'corridor_neighbour'"):
            worker.call({**message, "benchmark": "corridor_neighbour:Corridor"}, 60)
        worker.call(message, 60)
    finally:
        worker.kill()


def test_a_file_names_its_benchmark_by_its_path(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "deeper.py").write_text("")
    file = tmp_path / "my bench.py"
    file.write_text(
        SOURCE.format(siblings="math", name="corridor_file").replace("import LENGTH", "import pi as LENGTH")
    )
    monkeypatch.chdir(tmp_path)
    results = simrun.evaluate(forwards, "my bench.py:Corridor", episodes="0:1", workers=1)
    assert [record.steps for record in results.records] == [7]
    assert get_benchmark("corridor_file").target == f"{file}:Corridor"


SCRIPT = (
    SOURCE
    + """

import simrun

{guard}simrun.evaluate(lambda seen: [[[0.5]]] * len(seen), Corridor(), episodes="0:2", workers=1, out="run")
"""
)


def run_script(folder: Path, guard: str) -> subprocess.CompletedProcess[str]:
    text = SCRIPT.format(siblings="math", name="corridor_script", guard=guard).replace(
        "import LENGTH", "import pi as LENGTH"
    )
    (folder / "script.py").write_text(text)
    return subprocess.run([sys.executable, "script.py"], cwd=folder, capture_output=True, text=True, timeout=120)


def test_a_script_evaluates_on_its_own_benchmark(tmp_path: Path) -> None:
    done = run_script(tmp_path, 'if __name__ == "__main__": ')
    assert done.returncode == 0, done.stderr
    assert len((tmp_path / "run" / "journal" / "main.jsonl").read_text().splitlines()) == 2


def test_a_script_without_a_guard_starts_no_workers_of_workers(tmp_path: Path) -> None:
    done = run_script(tmp_path, "")
    assert done.returncode != 0
    assert "write there: if __name__ == '__main__':" in done.stderr


def test_what_another_process_cannot_import_says_what_to_do(package: str) -> None:
    kind = type(get_benchmark(package))

    class Local(kind):
        name = "corridor_local"

    with pytest.raises(UsageError, match="define it at the top of that module"):
        simrun.evaluate(forwards, Local())
    code = "from simrun import doors\nclass Prompted: pass\ndoors.target_of_class(Prompted)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert "write it into a file and name it path/to/file.py:Prompted" in done.stderr


def test_an_object_that_its_class_would_not_make_again_is_refused(package: str) -> None:
    benchmark = doors.load(package, "benchmark")()
    benchmark.max_score = 7.0
    with pytest.raises(UsageError, match=r"would get another one than this \(max_score\)"):
        introduce(benchmark)


FAULTY = (
    SOURCE
    + """

class Misnamed(Corridor):
    name = "corridor_misnamed"


class Faulty(Corridor):
    name, default_protocol = "corridor_faulty", "corridor_faulty/plain@1"

    def protocols(self):
        return {{self.default_protocol: Protocol(self.default_protocol, "plain", 30, "first_success", {{}})}}

    def make_env(self, *, protocol=None, **options):
        return Flying(self, protocol, cameras=())


class Flying(Walk):
    def _advance(self, action):
        if self.episode.trial == 1:
            raise ValueError("wings are wet")
        return StepOutcome(False, 7.5)
"""
)


def test_a_stranger_s_mistakes_are_told_where_they_are(tmp_path: Path) -> None:
    file = tmp_path / "faulty.py"
    text = FAULTY.format(siblings="math", name="corridor_plain").replace("import LENGTH", "import pi as LENGTH")
    file.write_text(text)
    with pytest.raises(UsageError, match=r"named corridor_misnamed, so its protocol corridor_plain/plain@1 must be"):
        get_benchmark(f"{file}:Misnamed")
    results = simrun.evaluate(forwards, f"{file}:Faulty", episodes="0:2", workers=1, out=tmp_path / "run")
    scored, raised = sorted(results.records, key=lambda record: record.trial)
    assert scored.error is not None
    assert raised.error is not None
    assert "Flying is wrong at step 1: a score of 7.5 is no number from 0 to 3.14159" in scored.error
    line = text[: text.index("raise ValueError")].count("\n") + 1
    assert raised.error.endswith(f"ValueError: wings are wet (faulty.py, line {line})")


def test_a_missing_file_is_one_sentence() -> None:
    with pytest.raises(UsageError, match=r"there is no file .*nowhere\.py"):
        get_benchmark("nowhere.py:Corridor")


def test_a_file_without_content_is_not_read(tmp_path: Path) -> None:
    """What the kernel shows as a file has no size; /proc/kmsg says nothing for ever to whoever reads it."""
    (tmp_path / "kernel.py").symlink_to("/proc/kmsg")
    with pytest.raises(UsageError, match=r"there is no file .*kernel\.py, or it is empty"):
        get_benchmark(f"{tmp_path / 'kernel.py'}:Corridor")


def test_a_worker_starts_no_workers(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("SIMRUN_WORKER", "0")
    with pytest.raises((UsageError, WorkerError), match="a worker would start workers"):
        WorkerProcess(0, sys.executable, tmp_path / "log")
