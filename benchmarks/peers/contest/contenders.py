"""The three ways to run a workload, behind one interface: which processes to start, and where outcomes are read."""

from __future__ import annotations

import json
import sqlite3
import sys
import urllib.error
import urllib.request
import uuid
from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from pathlib import Path

from contest.preparation import Preparation
from contest.processes import Command, Service
from contest.workload import Outcome, Workload, read_outcomes
from simrun.envs.machine import bootstrap

SCRIPTS = Path(__file__).with_name("scripts")
_PORT = 8765


class Contender(ABC):
    """One way to run a workload.

    Args:
        preparation: interpreters, and environment variables of the benchmark.
    """

    name: str

    def __init__(self, preparation: Preparation) -> None:
        self.preparation = preparation

    @abstractmethod
    def commands(self, workload: Workload, folder: Path) -> Sequence[Command]:
        """The processes of a run; ``folder`` holds the workload and takes what they write."""

    def service(self, workload: Workload, folder: Path) -> Service | None:
        """A server that the processes need; None for none."""
        return None

    @abstractmethod
    def outcomes(self, workload: Workload, folder: Path) -> list[Outcome]:
        """How the episodes went."""

    def environment(self, folder: Path) -> dict[str, str]:
        """Environment variables of every process."""
        package = str(Path(__file__).resolve().parents[1])
        return {**self.preparation.environment, "PEERS_WORKLOAD": str(folder), "PYTHONPATH": package}


class Simrun(Contender):
    """simrun's command line."""

    name = "simrun"

    def commands(self, workload: Workload, folder: Path) -> Sequence[Command]:
        """See `Contender.commands`."""
        tasks = list(dict.fromkeys(trial.task for trial in workload.episodes))
        trials = list(dict.fromkeys(trial.trial for trial in workload.episodes))
        if workload.benchmark.startswith("robotwin"):
            trials = list(range(len(trials)))
        limit = "subtask_steps" if workload.benchmark == "calvin_abcd" else "max_steps"
        arguments = [sys.executable, "-m", "simrun", "--bench", workload.benchmark]
        arguments += ["--ckpt", f"{SCRIPTS / 'simrun_policy.py'}:make_policy", "--trust-checkpoint"]
        arguments += ["--protocol", workload.protocol, "--set", f"{limit}={workload.steps}"]
        arguments += [part for setting in self.preparation.settings for part in ("--set", setting)]
        arguments += ["--tasks", ",".join(tasks), "--episodes", ",".join(map(str, trials))]
        arguments += ["--workers", str(workload.workers), "--out", str(folder / "run"), "--quiet"]
        return [Command(arguments, folder / "simrun.log", self.environment(folder))]

    def outcomes(self, workload: Workload, folder: Path) -> list[Outcome]:
        """See `Contender.outcomes`."""
        lines = [
            json.loads(line)
            for journal in sorted((folder / "run" / "journal").glob("*.jsonl"))
            for line in journal.read_text(encoding="utf-8").splitlines()
        ]
        names = {(trial.task, place): trial.trial for place, trial in enumerate(workload.episodes)}
        robotwin = workload.benchmark.startswith("robotwin")
        return [
            Outcome(
                line["task"],
                names[line["task"], line["trial"]] if robotwin else line["trial"],
                bool(line["success"]),
                float(line["score"]),
                int(line["steps"]),
            )
            for line in lines
            if "task" in line
        ]


class VlaEval(Contender):
    """vla-eval without Docker: its model server, and its command line once a shard, over its websocket."""

    name = "vla-eval"
    _BENCHMARKS: Mapping[str, str] = {
        "libero_10": "contest.scripts.vla_eval_benchmarks:LocalLIBERO",
        "calvin_abcd": "contest.scripts.vla_eval_benchmarks:LocalCALVIN",
    }

    def service(self, workload: Workload, folder: Path) -> Service | None:
        """See `Contender.service`."""
        script = str(SCRIPTS / "vla_eval_server.py")
        arguments = [self.preparation.vla_eval, script, "--address", f"127.0.0.1:{_PORT}", "--args.folder", str(folder)]
        return Service(Command(arguments, folder / "server.log", self.environment(folder)), _answers)

    def commands(self, workload: Workload, folder: Path) -> Sequence[Command]:
        """See `Contender.commands`."""
        config = folder / "vla_eval.json"
        config.write_text(json.dumps(self._configuration(workload)), encoding="utf-8")
        run = uuid.uuid4().hex
        script = str(Path(self.preparation.vla_eval).with_name("vla-eval"))
        common = [script, "run", "--no-docker", "--config", str(config), "--eval-id", run]
        common += ["--server-url", f"ws://127.0.0.1:{_PORT}", "--output-dir", str(folder / "run")]
        common += ["--num-shards", str(workload.workers), "--shard-id"]
        return [
            Command([*common, str(shard)], folder / f"shard{shard}.log", self.environment(folder))
            for shard in range(workload.workers)
        ]

    def outcomes(self, workload: Workload, folder: Path) -> list[Outcome]:
        """See `Contender.outcomes`."""
        outcomes = []
        for database in sorted((folder / "run").rglob("*.sqlite")):
            with sqlite3.connect(database) as connection:
                query = "SELECT task_name, episode_id, status, metrics, steps, context FROM episode_results"
                for name, episode, status, metrics, steps, context in connection.execute(query):
                    if status == "error":
                        raise SystemExit(f"vla-eval failed in {name}, episode {episode}; see {folder}")
                    values = json.loads(metrics)
                    success = bool(values["success"])
                    if workload.benchmark == "calvin_abcd":
                        task, trial = "sequence", int(json.loads(context)["seq_idx"])
                    else:
                        index = int(json.loads(context)["task_id"])
                        task = next(entry.task for entry in workload.episodes if entry.index == index)
                        trial = int(episode)
                    score = float(values.get("completed_subtasks", success))
                    outcomes.append(Outcome(task, trial, success, score, int(steps)))
        return outcomes

    def _configuration(self, workload: Workload) -> dict[str, object]:
        trials = [trial.trial for trial in workload.episodes]
        entry: dict[str, object] = {"benchmark": self._BENCHMARKS[workload.benchmark]}
        if workload.benchmark == "calvin_abcd":
            entry["tasks"] = [f"seq_{trial:04d}" for trial in trials]
            entry["params"] = {
                "dataset_path": self.preparation.environment["PEERS_CALVIN_DATASET"],
                "absolute_action": True,
                "send_wrist_image": True,
                "send_state": True,
                "ep_len": workload.steps,
            }
        else:
            indices = sorted({trial.index for trial in workload.episodes})
            entry["tasks"] = [self.preparation.instructions[index] for index in indices]
            entry["episodes_per_task"] = max(trials) + 1
            entry["max_steps"] = workload.steps
            entry["params"] = {
                "suite": workload.benchmark,
                "seed": 0,
                "send_wrist_image": True,
                "send_state": True,
            }
        return {"server": {"url": f"ws://127.0.0.1:{_PORT}", "timeout": 300}, "benchmarks": [entry]}


class Upstream(Contender):
    """The plain loop of the benchmark's own scripts, as many processes as workers, each with its share."""

    name = "upstream"
    _LOOPS: Mapping[str, str] = {
        "libero_10": "loop_libero.py",
        "calvin_abcd": "loop_calvin.py",
        "simpler_bridge": "loop_simpler.py",
        "robotwin_easy": "loop_robotwin.py",
    }

    def commands(self, workload: Workload, folder: Path) -> Sequence[Command]:
        """See `Contender.commands`."""
        script = SCRIPTS / self._LOOPS[workload.benchmark]
        start = [self.preparation.upstream, str(script)]
        if workload.benchmark.startswith("robotwin"):
            # RoboTwin's task code runs behind simrun's shims, in an interpreter that need not have simrun.
            expose = (
                f"import runpy; runpy.run_path({bootstrap.__file__!r})['expose'](*{bootstrap.location('simrun')!r})"
            )
            start[1:] = ["-c", f"{expose}; runpy.run_path({str(script)!r}, run_name='__main__')"]
        return [
            Command(
                [*start, str(folder), str(worker), str(folder / f"outcomes{worker}.json")],
                folder / f"loop{worker}.log",
                self.environment(folder),
            )
            for worker in range(workload.workers)
            if workload.share(worker)
        ]

    def outcomes(self, workload: Workload, folder: Path) -> list[Outcome]:
        """See `Contender.outcomes`."""
        return [outcome for file in sorted(folder.glob("outcomes*.json")) for outcome in read_outcomes(file)]


CONTENDERS: Mapping[str, type[Contender]] = {kind.name: kind for kind in (Simrun, VlaEval, Upstream)}
"""Contenders by name."""


def _answers() -> bool:
    try:
        with urllib.request.urlopen(f"http://127.0.0.1:{_PORT}/health", timeout=1) as reply:
            return bool(reply.status == 200)
    except (urllib.error.URLError, OSError):
        return False
