"""How costs grow: start-up, workers and their memory, and bookkeeping for a thousand to a million episodes.

    python benchmarks/growth.py start [--bench libero_10] [--counts 2]
    python benchmarks/growth.py workers [--bench calvin] [--episodes 0:8] [--counts 1 2 4]
    python benchmarks/growth.py bookkeeping [--sizes 1000 10000 100000 1000000]

``start`` times ``simrun --help`` and the way to the first record of a new run; with a benchmark, the way to the first
inference of a policy that looks at every camera, and to one for each of its workers. ``workers`` runs the same
episodes with more and more workers, under a policy that holds still and looks at every camera, and gives control steps
a second from the first episode's start to the last one's end, and the memory of a worker (proportional set size).
``bookkeeping`` plans, resumes and tabulates runs whose journals are synthetic: no episode is simulated.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import resource
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Sequence, Sized
from datetime import datetime
from pathlib import Path
from typing import Any

import numpy as np
import psutil
from runner_overhead import CHUNK, neutral_chunk, zero_policy
from synthetic_records import synthetic_record

from simrun.api import FunctionPolicy, evaluate
from simrun.policies import Observation
from simrun.results.journal import journal_line
from simrun.results.plan import Plan
from simrun.results.pooling import cells_of
from simrun.results.run import Run
from simrun.results.tables import render, table_of_cells
from simrun.runners.engine.progress import SilentDisplay
from simrun.runners.engine.sources import PlanSource
from simrun.runners.sweep import make_config, make_plan

_REPETITIONS = 7
_SEQUENCES = 1000


def seconds(action: Callable[[], Any]) -> tuple[float, Any]:
    """Wall seconds of an action, and what it returned."""
    started = time.perf_counter()
    result = action()
    return time.perf_counter() - started, result


def processor(action: Callable[[], Any]) -> tuple[float, Any]:
    """CPU seconds of an action, and what it returned."""
    started = time.process_time()
    result = action()
    return time.process_time() - started, result


def start() -> None:
    """Time the command line up to its help, and up to the first record of a run."""
    command = [sys.executable, "-m", "simrun"]
    waits = [
        seconds(lambda: subprocess.run([*command, "--help"], stdout=subprocess.DEVNULL, check=True))[0]
        for _ in range(_REPETITIONS)
    ]
    print(f"simrun --help: {statistics.median(waits):.2f} s ({min(waits):.2f} to {max(waits):.2f})")
    empty = [
        seconds(lambda: subprocess.run([sys.executable, "-c", "pass"], check=True))[0] for _ in range(_REPETITIONS)
    ]
    print(f"Python alone: {statistics.median(empty):.2f} s ({min(empty):.2f} to {max(empty):.2f})")
    for bench in ("tabletop", "calvin"):
        with tempfile.TemporaryDirectory() as folder:
            line = [*command, "--bench", bench, "--ckpt", "scripted:zero", "--episodes", "0:1", "--quiet"]
            line += ["--workers", "1", "--out", f"{folder}/run"]
            began = time.time()
            whole, _ = seconds(lambda line=line: subprocess.run(line, stdout=subprocess.DEVNULL, check=True))
            record = json.loads((Path(folder) / "run/journal/main.jsonl").read_text().splitlines()[0])
            first = datetime.fromisoformat(record["started_at"]).timestamp() - began
            print(f"{bench}: first episode begins after {first:.2f} s; {whole:.2f} s in all")


class UntilBegun(SilentDisplay):
    """Ends a run, as a user does with Ctrl-C, when so many workers have begun."""

    def __init__(self, begun: Sized, wanted: int) -> None:
        super().__init__()
        self._begun, self._wanted = begun, wanted

    def tick(self) -> None:
        """Stop when all have."""
        if len(self._begun) >= self._wanted:
            raise KeyboardInterrupt


def start_of(bench: str, workers: int) -> None:
    """Time the way from the start of this process to the first inference, and to one for each worker."""
    begun: dict[int, float] = {}

    def predict(observations: Sequence[Observation]) -> np.ndarray:
        for seen in observations:
            begun.setdefault(seen.slot, time.time())
        return np.repeat(neutral_chunk(bench)[None], len(observations), axis=0)

    policy = FunctionPolicy(predict, CHUNK, name="zero")
    with tempfile.TemporaryDirectory() as folder, contextlib.suppress(KeyboardInterrupt):
        display = UntilBegun(begun, workers)
        evaluate(policy, bench, episodes="0:1", workers=workers, out=Path(folder) / "run", display=display)
    start = psutil.Process().create_time()
    first, last = min(begun.values()) - start, max(begun.values()) - start
    print(f"{bench}, {workers} workers: first inference after {first:.1f} s, one for each after {last:.1f} s")


class WorkerMemory(threading.Thread):
    """The largest memory of any child process, sampled twice a second."""

    def __init__(self) -> None:
        super().__init__(daemon=True)
        self.peak = 0
        self._over = threading.Event()

    def run(self) -> None:
        """Sample."""
        while not self._over.wait(0.5):
            for child in psutil.Process().children(recursive=True):
                try:
                    self.peak = max(self.peak, child.memory_full_info().pss)
                except psutil.Error:
                    continue

    def finish(self) -> int:
        """Stop; the peak in bytes."""
        self._over.set()
        self.join()
        return self.peak


def workers(bench: str, episodes: str, counts: Sequence[int]) -> None:
    """Run the same episodes with more and more workers."""
    baseline = 0.0
    for count in counts:
        watch = WorkerMemory()
        watch.start()
        records = evaluate(zero_policy(bench, cameras=None), bench, episodes=episodes, workers=count).records
        memory = watch.finish()
        begins = [datetime.fromisoformat(record.started_at) for record in records]
        ends = [datetime.fromisoformat(record.finished_at) for record in records]
        span = (max(ends) - min(begins)).total_seconds()
        rate = 3600 * len(records) / span
        baseline = baseline or rate
        speed = sum(record.steps for record in records) / span
        print(
            f"{bench}, {count} workers: {rate:.0f} episodes an hour ({rate / baseline:.2f} x), {speed:.0f} steps a "
            f"second, {memory / 2**20:.0f} MiB a worker",
            flush=True,
        )


def synthetic(plan: Plan, file: Path) -> None:
    """A journal in which every job of a plan is done."""
    generator = np.random.default_rng(0)
    [protocol], [checkpoint] = plan.protocols, plan.checkpoints()
    with file.open("wb") as stream:
        for job in plan.jobs(protocol, checkpoint):
            score = float(np.cumprod(generator.random(5) < 0.8).sum())
            stream.write(journal_line(synthetic_record(job.candidate, job.episode, score, chain=True)))


def bookkeeping(sizes: Sequence[int]) -> None:
    """CPU seconds to plan, resume and tabulate runs of growing size."""
    print("| episodes | plan, CPU s | resume | tabulate | microseconds an episode | MiB at most |")
    print("| --- | --- | --- | --- | --- | --- |")
    for size in sizes:
        seeds = list(range(max(1, size // _SEQUENCES)))
        values = {"bench": ["calvin"], "ckpt": ["scripted:zero"], "exec": ["full"], "policy_seeds": seeds}
        if size < _SEQUENCES:
            values["episodes"] = f"0:{size}"
        with tempfile.TemporaryDirectory() as name:
            path = Path(name) / "run"
            config = make_config(values)

            def prepared(config: Any = config, path: Path = path) -> Run:
                return Run.prepare(path, config.identity(), make_plan(config))

            plan_time, run = processor(prepared)
            synthetic(run.plan, path / "journal" / "main.jsonl")

            def resumed(prepared: Callable[[], Run] = prepared) -> Run:
                again = prepared()
                with again.own():
                    PlanSource(again.plan, again.done)
                return again

            resume_time, again = processor(resumed)
            # As a run ends: its records are in memory. A table of the folder alone reads them as a resumption does.
            table_time, _ = processor(lambda again=again: render(table_of_cells(cells_of([again]))))
            peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
        each = 1e6 * (plan_time + resume_time + table_time) / size
        print(
            f"| {size} | {plan_time:.2f} | {resume_time:.2f} | {table_time:.2f} | {each:.0f} | {peak:.0f} |", flush=True
        )


def main() -> None:
    """Run one of the three."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("what", choices=("start", "workers", "bookkeeping"))
    parser.add_argument("--bench")
    parser.add_argument("--episodes", default="0:8")
    parser.add_argument("--counts", type=int, nargs="+", default=[1, 2, 4])
    parser.add_argument("--sizes", type=int, nargs="+", default=[10**3, 10**4, 10**5, 10**6])
    options = parser.parse_args()
    if options.what == "start" and options.bench:
        start_of(options.bench, options.counts[0])
    elif options.what == "start":
        start()
    elif options.what == "workers":
        workers(options.bench or "calvin", options.episodes, options.counts)
    else:
        bookkeeping(options.sizes)


if __name__ == "__main__":
    main()
