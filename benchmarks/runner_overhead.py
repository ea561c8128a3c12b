"""What the runner costs over a bare loop, how it scales, and what batching gains; ratios within one run.

    python benchmarks/runner_overhead.py [--repetitions 3] [--json out.json]

Needs SIMRUN_ASSETS for CALVIN. Three questions, each with the contenders in turn, again and again:

1. One worker against a bare in-process loop over the same environment, a zero policy, chunk 10: CALVIN without
   rendering, tabletop with rendering. Target: at least 90% of the bare throughput.
2. Two workers against one. Target on two idle cores: at least 1.8 times. Two bare processes against one are measured
   beside it: virtual cores share execution units, and nothing scales better than they do.
3. Eight environments against one policy whose inference takes 20 ms for every step, batched against unbatched.
   Target: at least 6.

The first question compares each episode with itself, because the speed of a shared machine changes by the second: the
policy has it run in the plain loop of another process when it is asked for the episode's first chunk, and that time is
taken off the runner's. An episode counts from the end of the one before to its own. The others compare throughput in
the steady state: between the moment when every worker has finished an episode and the moment when the first worker
runs out of episodes. So neither start-up nor the end counts.
"""

from __future__ import annotations

import argparse
import json
import tempfile
import time
from collections import defaultdict
from collections.abc import Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from datetime import datetime
from functools import cache
from multiprocessing import get_context
from pathlib import Path
from typing import Any

import numpy as np

from simrun.api import FunctionPolicy, evaluate
from simrun.envs import BenchmarkEnv, Episode, get_benchmark
from simrun.policies import Observation
from simrun.results import EpisodeRecord

CHUNK = 10


def neutral_chunk(benchmark: str) -> np.ndarray:
    """The neutral action for a whole chunk, ``[CHUNK, A]``."""
    spec = next(iter(get_benchmark(benchmark).action_specs.values()))
    return np.tile(spec.neutral_action(), (CHUNK, 1))


def zero_policy(benchmark: str, cameras: tuple[str, ...] | None, seconds: float = 0.0) -> FunctionPolicy:
    """A policy that sends the neutral action after thinking for ``seconds``."""
    chunk = neutral_chunk(benchmark)

    def predict(observations: Sequence[Observation]) -> np.ndarray:
        time.sleep(seconds)
        return np.repeat(chunk[None], len(observations), axis=0)

    return FunctionPolicy(predict, CHUNK, cameras, name="zero")


@dataclass(frozen=True)
class Span:
    """An episode that ``worker`` ran from ``start`` to ``end`` (seconds), with its number of control steps."""

    worker: int
    start: float
    end: float
    steps: int


def spans(records: list[EpisodeRecord]) -> list[Span]:
    """When the recorded episodes ran."""
    moments = [(record, *map(datetime.fromisoformat, (record.started_at, record.finished_at))) for record in records]
    return [Span(record.worker, start.timestamp(), end.timestamp(), record.steps) for record, start, end in moments]


def throughput(episodes: list[Span]) -> float:
    """Control steps a second of the steady state; an episode that is partly in it counts in part."""
    workers = {episode.worker for episode in episodes}
    ends = [[episode.end for episode in episodes if episode.worker == worker] for worker in workers]
    start, end = max(map(min, ends)), min(map(max, ends))
    inside = (
        episode.steps * max(0.0, min(end, episode.end) - max(start, episode.start)) / (episode.end - episode.start)
        for episode in episodes
    )
    return sum(inside) / (end - start)


def bare(benchmark: str, cameras: tuple[str, ...] | None, names: list[str], worker: int = 0) -> list[Span]:
    """A plain loop over episodes."""
    env = environment(benchmark, cameras)
    chunk = neutral_chunk(benchmark)
    finished = []
    for name in names:
        start = time.time()
        env.reset(options={"episode": Episode.parse(name)})
        done = False
        while not done:
            _, terminated, truncated, info = env.advance(chunk)
            done = terminated or truncated
            if not done:
                env.observe()
        finished.append(Span(worker, start, time.time(), info["steps"]))
    return finished


@cache
def environment(benchmark: str, cameras: tuple[str, ...] | None) -> BenchmarkEnv:
    """The environment of this process; workers keep theirs as well."""
    return get_benchmark(benchmark).make_env(cameras=cameras)


def bare_processes(benchmark: str, names: list[str], count: int) -> list[Span]:
    """The plain loop in ``count`` processes at once, each with its share of the episodes."""
    with ProcessPoolExecutor(count, mp_context=get_context("spawn")) as executor:
        shares = [executor.submit(bare, benchmark, (), names[index::count], index) for index in range(count)]
        return [span for share in shares for span in share.result()]


def ran(policy: FunctionPolicy, benchmark: str, workers: int, **options: Any) -> list[EpisodeRecord]:
    """Records of an evaluation in a scratch folder."""
    with tempfile.TemporaryDirectory() as folder:
        return evaluate(policy, benchmark, workers=workers, out=Path(folder), **options).records


def overhead(benchmark: str, cameras: tuple[str, ...] | None, options: dict[str, Any]) -> list[float]:
    """Time of the bare loop over that of one worker, episode by episode."""
    chunk = neutral_chunk(benchmark)
    loops = []
    with ProcessPoolExecutor(1, mp_context=get_context("spawn")) as executor:

        def run_bare_first(observations: Sequence[Observation]) -> np.ndarray:
            (observation,) = observations
            if observation.step == 0:
                start = time.perf_counter()
                (span,) = executor.submit(bare, benchmark, cameras, [observation.episode.id]).result()
                loops.append((span.end - span.start, time.perf_counter() - start))
            return chunk[None]

        policy = FunctionPolicy(run_bare_first, CHUNK, cameras, name="zero")
        ends = [episode.end for episode in spans(ran(policy, benchmark, 1, **options))]
    inside, outside = np.array(loops[1:]).T
    return list(inside / (np.diff(ends) - outside))


def scaling(benchmark: str, options: dict[str, Any]) -> dict[str, float]:
    """Two workers against one, and two bare processes against one."""
    one, two = (ran(zero_policy(benchmark, ()), benchmark, workers, **options) for workers in (1, 2))
    names = [record.episode for record in one]
    bare_one, bare_two = (throughput(bare_processes(benchmark, names, count)) for count in (1, 2))
    workers = throughput(spans(two))
    return {
        "two workers / one": workers / throughput(spans(one)),
        "two bare processes / one": bare_two / bare_one,
        "two workers / two bare processes": workers / bare_two,
    }


def batching() -> float:
    """Eight environments with a policy of 20 ms: throughput in batches over that one by one."""
    options = {"tasks": ["reach_*", "push_*"], "episodes": "0:8", "exec": "single"}
    batched = ran(zero_policy("tabletop", (), 0.02), "tabletop", 8, **options)
    single = ran(zero_policy("tabletop", (), 0.02), "tabletop", 8, max_batch=1, **options)
    return throughput(spans(batched)) / throughput(spans(single))


def main() -> None:
    """Take the measurements and print medians of their ratios, with the range of the middle half."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--repetitions", type=int, default=3)
    parser.add_argument("--json", type=Path)
    arguments = parser.parse_args()
    ratios: dict[str, list[float]] = defaultdict(list)
    for _ in range(arguments.repetitions):
        ratios["CALVIN, no rendering: runner / bare"] += overhead("calvin", (), {"episodes": "0:16"})
        ratios["tabletop, rendering: runner / bare"] += overhead("tabletop", None, {"episodes": "0:20"})
        for name, ratio in scaling("calvin", {"episodes": "0:24"}).items():
            ratios[f"CALVIN: {name}"].append(ratio)
        ratios["20 ms policy, 8 environments: batched / single"].append(batching())
    quartiles = {name: [float(value) for value in np.percentile(found, [50, 25, 75])] for name, found in ratios.items()}
    for name, (median, low, high) in quartiles.items():
        print(f"{name}: {median:.2f} ({low:.2f} to {high:.2f}, {len(ratios[name])} comparisons)")
    if arguments.json:
        arguments.json.write_text(json.dumps(quartiles, indent=1))


if __name__ == "__main__":
    main()
