"""CPU of a whole run over the simulator's own calls: runner, workers, policy process, recording and page together.

    python benchmarks/run_limit.py [calvin libero_10 tabletop] [--episodes 4] [--steps 180] [--chunk 10]

The same episodes of a policy that holds still and looks at every camera are run with two workers: as they are; with the
policy in a process of its own; with a page over the run and a reader of its events beside that; and with ``--record
all`` beside both. Counted are the CPU seconds of all these processes from the first inference to the end, the resets
left out by what the records say of them. The limit is what `limit.py` measures on this machine: the physics calls of
each control step, and the drawing calls of a picture a chunk, of every step where it is recorded. Video encoders draw
nothing and count as what they take.
"""

from __future__ import annotations

import argparse
import resource
import tempfile
import threading
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import limit
import psutil
from recording_overhead import CpuClock
from view_overhead import read_events, viewing
from worker_counts import Thinker

from simrun.api import evaluate
from simrun.policies import Policy

WAYS = {
    "as it is": {},
    "policy process": {"process": True},
    "policy process and page": {"process": True, "page": True},
    "policy process, page and recording": {"process": True, "page": True, "record": True},
}
POLICY = f"{Path(__file__).resolve()}:make"


def make(benchmark: Any, options: dict[str, Any]) -> Policy:
    """The policy that holds still, in a process of its own."""
    return Thinker(benchmark.name, 0.0, None)


class Clock(CpuClock):
    """Opens a page over the run at its first inference, where there shall be one, and reads its events."""

    def __init__(self, folder: Path, stack: ExitStack, *, page: bool) -> None:
        super().__init__()
        self._folder, self._stack, self._page = folder, stack, page

    def inferred(self, batch: int, seconds: float) -> None:
        """Note the moment, then open the page."""
        first = self.begun is None
        super().inferred(batch, seconds)
        if first and self._page:
            _, address = self._stack.enter_context(viewing(self._folder))
            threading.Thread(target=read_events, args=(address,), daemon=True).start()


def spent() -> float:
    """CPU seconds of this process, of those that run, and of those that have ended."""
    own = psutil.Process()
    ended = resource.getrusage(resource.RUSAGE_CHILDREN)
    alive = sum(sum(child.cpu_times()[:2]) for child in own.children(recursive=True))
    return sum(own.cpu_times()[:2]) + alive + ended.ru_utime + ended.ru_stime


def run(
    bench: str, options: argparse.Namespace, *, process: bool = False, page: bool = False, record: bool = False
) -> tuple[float, int]:
    """CPU milliseconds of a control step without its share of the resets, and the number of steps."""
    wanted: dict[str, Any] = {"replicas": 1, "trust_checkpoint": True} if process else {}
    with tempfile.TemporaryDirectory() as scratch, ExitStack() as stack:
        clock = Clock(Path(scratch) / "run", stack, page=page)
        result = evaluate(
            POLICY if process else Thinker(bench, 0.0, None),
            bench,
            episodes=f"0:{options.episodes}",
            record="all" if record else "none",
            workers=2,
            out=Path(scratch) / "run",
            display=clock,
            set={"max_steps": options.steps, "max_steps_by_task": {}},
            **wanted,
            **({"tasks": [options.tasks[bench]]} if bench in options.tasks else {}),
        )
        stack.close()
        assert clock.begun is not None
        steps = sum(one.steps for one in result.records)
        # The clock starts when the first resets are over.
        first = {one.worker: one for one in sorted(result.records, key=lambda one: one.started_at, reverse=True)}
        resets = sum(one.timings["reset"] for one in result.records if one is not first[one.worker])
        return 1000 * (spent() - clock.begun - resets) / steps, steps


def main() -> None:
    """Measure and print one row a benchmark and way."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("benchmarks", nargs="*", default=["calvin"], help=", ".join(limit.COURSES))
    parser.add_argument("--episodes", type=int, default=4)
    parser.add_argument("--steps", type=int, default=180, help="longest episode")
    options = parser.parse_args()
    options.tasks = {name: course.task for name, course in limit.COURSES.items() if name != "calvin"}
    print(
        "| benchmark | | steps | CPU ms a control step | limit | CPU / limit |\n| --- | --- | --- | --- | --- | --- |"
    )
    for bench in options.benchmarks:
        asked = argparse.Namespace(chunks=[1, 10], turns=1, profile=False, blind=False)
        floor = {chunk: sum(row[2:]) for chunk, row in limit.in_interpreter(bench, asked).items()}
        for name, way in WAYS.items():
            milliseconds, steps = run(bench, options, **way)
            least = floor["1" if "record" in way else "10"]
            print(
                f"| {bench} | {name} | {steps} | {milliseconds:.2f} | {least:.2f} | {milliseconds / least:.2f} |",
                flush=True,
            )


if __name__ == "__main__":
    main()
