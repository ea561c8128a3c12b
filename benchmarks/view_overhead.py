"""What ``simrun view`` costs: whether it slows the run that it shows, how soon it is there, and its memory.

    python benchmarks/view_overhead.py speed [--ckpt CKPT] [--exec full,half,single] [--episodes 0:20] [--repetitions 3]
    python benchmarks/view_overhead.py paint [RUN] [--synthetic 100000]

``speed`` alternates runs with and without a page over them, on tabletop with one worker: the run is a process of its
own, the page is another one, and a reader holds its stream of events open all the while, as a browser does. A shared
machine is no steadier than some 5% from run to run; what the page takes of one core once it is there, which this tells
too, is the most that it can take from a run even where no core is left for it.

``paint`` opens the page over a run folder, finished or under way, or over a journal that no simulator made, in a
headless Chromium, and tells the first paint, when every episode had arrived, and the memory of server and page.
"""

from __future__ import annotations

import argparse
import os
import statistics
import subprocess
import sys
import tempfile
import threading
import time
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from http.client import HTTPException
from pathlib import Path

import psutil
from growth import synthetic

from simrun.results.run import Run
from simrun.runners.sweep import make_config, make_plan

sys.path.insert(0, str(Path(__file__).parents[1]))
from tests.results.page.webdriver import Browser


@contextmanager
def viewing(folder: Path) -> Iterator[tuple[psutil.Process, str]]:
    """The process of a page over a run folder, and its address."""
    command = [sys.executable, "-m", "simrun", "view", str(folder), "--port", "0"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as page:
        assert page.stdout is not None
        try:
            yield psutil.Process(page.pid), page.stdout.readline().strip()
        finally:
            page.terminate()


def timed_run(folder: Path, options: argparse.Namespace, *, watched: bool) -> tuple[float, float, float]:
    """CPU and wall seconds of a run, and the share of a core that the page over it takes once it is there."""
    arguments = ["--bench", "tabletop", "--ckpt", options.ckpt, "--exec", options.exec, "--workers", "1", "--quiet"]
    arguments += ["--tasks", options.tasks, "--episodes", options.episodes, "--out", str(folder)]
    began = time.perf_counter()
    run = subprocess.Popen([sys.executable, "-m", "simrun", *arguments], stdout=subprocess.DEVNULL)
    share = 0.0
    if watched:
        while not (folder / "run.json").exists():
            if run.poll() is not None:
                raise SystemExit("the run ended before it began")
            time.sleep(0.05)
        with viewing(folder) as (page, address):
            threading.Thread(target=read_events, args=(address,), daemon=True).start()
            start, there = sum(page.cpu_times()[:2]), time.perf_counter()
            _, _, usage = os.wait4(run.pid, 0)
            share = (sum(page.cpu_times()[:2]) - start) / (time.perf_counter() - there)
    else:
        _, _, usage = os.wait4(run.pid, 0)
    return usage.ru_utime + usage.ru_stime, time.perf_counter() - began, share


def read_events(address: str) -> None:
    """Read what a page tells its browsers, until it ends."""
    try:
        with urllib.request.urlopen(f"{address}events") as events:
            while events.read(4096):
                pass
    except (OSError, HTTPException):
        return


def speed(options: argparse.Namespace) -> None:
    """Measure and print the ratios."""
    plain, watched = [], []
    with tempfile.TemporaryDirectory() as scratch:
        for repetition in range(options.repetitions):
            plain.append(timed_run(Path(scratch) / f"plain{repetition}", options, watched=False))
            watched.append(timed_run(Path(scratch) / f"watched{repetition}", options, watched=True))
            without, with_it = plain[-1], watched[-1]
            print(f"{without[:2]} s, {with_it[:2]} s with the page", file=sys.stderr, flush=True)
    for index, name in enumerate(("CPU", "wall")):
        ratios = sorted(with_it[index] / without[index] for with_it, without in zip(watched, plain, strict=True))
        middle = statistics.median(row[index] for row in plain)
        spread = f"{ratios[0]:.3f} to {ratios[-1]:.3f}"
        print(f"{name}: {middle:.2f} s without, times {statistics.median(ratios):.3f} with ({spread})")
    print(f"the page takes {100 * statistics.median(row[2] for row in watched):.1f}% of a core")


def paint(folder: Path) -> None:
    """Open the page over a run folder, and print what it took."""
    known = sum(file.read_bytes().count(b"\n") for file in folder.glob("journal/*.jsonl"))
    with Browser() as browser:
        began = time.perf_counter()
        with viewing(folder) as (page, address):
            painted(browser, page, address, time.perf_counter() - began, known)


def painted(browser: Browser, page: psutil.Process, address: str, ready: float, known: int) -> None:
    """Print what a page takes until it shows what is known; its address was there after ``ready`` seconds."""
    opened = time.perf_counter()
    browser.open(address)
    browser.wait_until("performance.getEntriesByName('first-contentful-paint').length > 0", 60)
    first = browser.run("return performance.getEntriesByName('first-contentful-paint')[0].startTime") / 1000
    browser.wait_until(f"episodes.count >= {known}", 300)
    everything = time.perf_counter() - opened
    browser.press("4")
    browser.wait_until("document.getElementById('count')?.textContent", 30)
    heap = browser.run("return performance.memory.usedJSHeapSize") / 2**20
    count = browser.run("return episodes.count")
    server = page.memory_info().rss / 2**20
    spent = sum(page.cpu_times()[:2])
    print(
        f"{count} episodes: the address after {ready:.1f} s, first paint {first:.2f} s later, all of them there after "
        f"{everything:.1f} s; the server holds {server:.0f} MiB and took {spent:.1f} CPU s, the page's script holds "
        f"{heap:.0f} MiB"
    )


def main() -> None:
    """Measure one of the two."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("what", choices=("speed", "paint"))
    parser.add_argument("run", type=Path, nargs="?")
    parser.add_argument("--ckpt", default="examples/checkpoints/tabletop_bc.onnx")
    parser.add_argument("--exec", default="full,half,single")
    parser.add_argument("--tasks", default="*")
    parser.add_argument("--episodes", default="0:20")
    parser.add_argument("--repetitions", type=int, default=3)
    parser.add_argument("--synthetic", type=int, default=100_000, help="episodes made up where no run is named")
    options = parser.parse_args()
    if options.what == "speed":
        speed(options)
    elif options.run:
        paint(options.run)
    else:
        values = {
            "bench": ["calvin"],
            "ckpt": ["scripted:zero"],
            "policy_seeds": list(range(options.synthetic // 1000)),
        }
        config = make_config(values)
        with tempfile.TemporaryDirectory() as scratch:
            run = Run.prepare(Path(scratch) / "run", config.identity(), make_plan(config))
            synthetic(run.plan, run.path / "journal" / "main.jsonl")
            paint(run.path)


if __name__ == "__main__":
    main()
