"""What ``--record all`` costs beyond drawing and encoding, in CPU seconds of the whole run; the aim is at most 15%.

    python benchmarks/recording_overhead.py [BENCH[:TASK] ...] [--episodes 2] [--steps 120] [--repetitions 3]

The same episodes of a policy that holds still, chunks of 10, are run in three ways, in turn, one worker each: as they
are; with every camera drawn at every step and handed to the runner, which drops the pictures; with ``--record all``.
Counted is the CPU time of the runner, its worker and all encoders from the first inference on. The second less the
first is drawing; encoding is the CPU time of ffmpeg, which a script in its place writes down. The rest of recording is
what the runner alone takes more in the third way than in the second, in which the worker does the same.
"""

from __future__ import annotations

import argparse
import re
import resource
import statistics
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from unittest import mock

import imageio_ffmpeg
import psutil
from worker_counts import Thinker

from simrun.api import evaluate
from simrun.runners.engine.progress import SilentDisplay
from simrun.runners.engine.recording import Recorder

_SCRIPT = '#!/bin/bash\n"{ffmpeg}" "$@"\nstatus=$?\ntimes >> "$0.times"\nexit $status\n'
_TIMES = re.compile(r"(\d+)m([\d.]+)s (\d+)m([\d.]+)s")


class CpuClock(SilentDisplay):
    """Notes the CPU time of this process and all it started, at the first inference."""

    begun: float | None = None
    begun_alone = 0.0

    def inferred(self, batch: int, seconds: float) -> None:
        """Note the moment."""
        super().inferred(batch, seconds)
        if self.begun is None:
            own = psutil.Process()
            running = sum(sum(child.cpu_times()[:2]) for child in own.children(recursive=True))
            self.begun = running + sum(own.cpu_times()[:4])
            self.begun_alone = time.process_time()


@contextmanager
def watched_encoder() -> Iterator[Path]:
    """Let a script that notes CPU times stand for ffmpeg; gives the file of the times."""
    with tempfile.TemporaryDirectory() as folder:
        script = Path(folder) / "ffmpeg"
        script.write_text(_SCRIPT.format(ffmpeg=imageio_ffmpeg.get_ffmpeg_exe()))
        script.chmod(0o755)
        with mock.patch.object(imageio_ffmpeg, "get_ffmpeg_exe", return_value=str(script)):
            yield Path(f"{script}.times")


def every_camera(recorder: Recorder, slot: int) -> list[str]:
    """Takes the place of `Recorder.cameras`: everything is drawn, whoever wants it."""
    assert recorder._protocol is not None
    return list(recorder._protocol.cameras)


def run(bench: str, way: str, times: Path, options: argparse.Namespace) -> tuple[float, float, float, int]:
    """CPU seconds of one run, those of the runner alone and of encoding in it, and its steps."""
    clock = CpuClock()
    times.unlink(missing_ok=True)
    bench, _, task = bench.partition(":")
    wanted: dict[str, Any] = {"tasks": [task]} if task else {}
    if options.steps:
        wanted["set"] = {"max_steps": options.steps, "max_steps_by_task": {}}
    cameras = every_camera if way == "drawn" else Recorder.cameras
    with tempfile.TemporaryDirectory() as scratch, mock.patch.object(Recorder, "cameras", cameras):
        result = evaluate(
            Thinker(bench, 0.0, None),
            bench,
            episodes=f"0:{options.episodes}",
            record="all" if way == "recorded" else "none",
            workers=1,
            out=Path(scratch) / "run",
            display=clock,
            **wanted,
        )
    usages = map(resource.getrusage, (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN))
    ended = sum(usage.ru_utime + usage.ru_stime for usage in usages)
    alone = time.process_time() - clock.begun_alone
    assert clock.begun is not None
    spent = _TIMES.findall(times.read_text()) if times.exists() else []
    encoding = sum(60 * float(a) + float(b) + 60 * float(c) + float(d) for a, b, c, d in spent)
    return ended - clock.begun, alone, encoding, sum(one.steps for one in result.records)


def main() -> None:
    """Measure and print one row a benchmark."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    everywhere = ["tabletop", "calvin", "libero_10:LIVING_ROOM_SCENE1*"]
    parser.add_argument("benchmarks", nargs="*", default=everywhere, help="a benchmark, and which of its tasks")
    parser.add_argument("--episodes", type=int, default=2, help="initial states of each task")
    parser.add_argument("--steps", type=int, help="longest episode; the benchmark's own where it is not given")
    parser.add_argument("--repetitions", type=int, default=3)
    options = parser.parse_args()
    print("| | steps | CPU s as it is | drawing more | encoding | the rest of recording | of as it is | of drawn |")
    print("| --- | --- | --- | --- | --- | --- | --- | --- |")
    with watched_encoder() as times:
        for bench in options.benchmarks:
            rows = []
            for _ in range(options.repetitions):
                plain, _, _, steps = run(bench, "plain", times, options)
                drawn, without, _, _ = run(bench, "drawn", times, options)
                _, with_it, encoding, _ = run(bench, "recorded", times, options)
                rest = with_it - without
                rows.append((plain, drawn - plain, encoding, rest, 100 * rest / plain, 100 * rest / drawn))
                print(
                    f"{bench}: {rest:.2f} of {drawn:.2f} CPU s, {100 * rest / drawn:.1f}%", file=sys.stderr, flush=True
                )
            *seconds, of_plain, of_drawn = map(statistics.median, zip(*rows, strict=True))
            figures = " | ".join(f"{value:.2f}" for value in seconds)
            print(f"| {bench} | {steps} | {figures} | {of_plain:.0f}% | {of_drawn:.0f}% |", flush=True)


if __name__ == "__main__":
    main()
