"""What a graphics card does for simrun: the Python half of ``scripts/device-check``, which says how to call it.

    python benchmarks/device_check.py all card|dry FOLDER OUT.json [--minutes 8] [--parts workers adaptive]
    python benchmarks/device_check.py part card|dry FOLDER OUT.json NAME
    python benchmarks/device_check.py reference FOLDER
    python benchmarks/device_check.py report OUT.json

``all`` runs each part in a process of its own, one after the other, and keeps in ``OUT.json`` what each has measured so
far, so that a part that fails or takes too long costs nothing but itself. FOLDER holds the reference pictures (drawn
here if it does not) and takes the networks. ``report`` prints the tables of docs/performance.md.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import signal
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from device.scale import CARD, DRY, Scale

_SCALES = {"card": CARD, "dry": DRY}
_PARTS = {
    "frames": 40,
    "frames_in_software": 60,
    "cards": 90,
    "networks": 120,
    "workers": 230,
    "memory": 60,
    "adaptive": 170,
    "together": 170,
    "workers_in_software": 60,
}
"""Part -> seconds that it may take at most."""

_LIBRARIES = "SOFTWARE_LIBRARIES"
"""Environment variable with a folder of Mesa's libraries, where the system has none."""


def rows_of(part: str, scale: Scale, folder: Path) -> Iterator[dict[str, Any]]:
    """What a part measures, row after row."""
    if part.startswith("frames"):
        from device.frames import rows

        yield from rows(scale, folder)
    elif part == "cards":
        from device.cards import rows

        yield from rows(scale, folder)
    elif part == "networks":
        from device.networks import rows

        yield from rows(scale, folder)
    else:
        from device import throughput

        if part == "workers_in_software":
            yield from throughput.software_rows(scale, folder)
        else:
            yield from getattr(throughput, f"{part}_rows")(scale, folder)


def run_part(part: str, scale: Scale, folder: Path, out: Path) -> None:
    """Write the rows of one part, each as soon as it is there."""
    kept: list[dict[str, Any]] = []
    for row in rows_of(part, scale, folder):
        kept.append(row)
        print(part, json.dumps(row), flush=True)
        temporary = out.with_suffix(".part")
        temporary.write_text(json.dumps(kept))
        temporary.replace(out)


def run_all(name: str, folder: Path, out: Path, minutes: float, parts: Sequence[str]) -> None:
    """Run every part of ``parts`` that there is time for."""
    began = time.monotonic()
    result: dict[str, Any] = {"scale": name, "machine": _machine(), "parts": {}}
    for part in parts:
        left = 60 * minutes - (time.monotonic() - began)
        entry: dict[str, Any] = {}
        if left < 15:
            entry["error"] = "not measured: no time was left"
        else:
            entry = _in_process(part, name, folder, min(_PARTS[part], left))
        result["parts"][part] = entry
        out.write_text(json.dumps(result, indent=1))
    print(json.dumps({part: entry.get("error", "done") for part, entry in result["parts"].items()}, indent=1))


def _in_process(part: str, name: str, folder: Path, limit: float) -> dict[str, Any]:
    file = folder / f"part-{part}.json"
    file.unlink(missing_ok=True)
    software = part.endswith("_in_software")
    environment = dict(os.environ)
    if software:
        environment["MUJOCO_GL"] = "osmesa"
        paths = (environment.get(_LIBRARIES), environment.get("LD_LIBRARY_PATH"))
        environment["LD_LIBRARY_PATH"] = ":".join(path for path in paths if path)
    began = time.monotonic()
    entry: dict[str, Any] = {}
    command = [sys.executable, __file__, "part", name, str(folder), str(file), part]
    # In a session of its own, so that what a part has started ends with it.
    with subprocess.Popen(
        command, env=environment, stderr=subprocess.PIPE, text=True, start_new_session=True
    ) as process:
        try:
            _, said = process.communicate(timeout=limit)
            if process.returncode:
                entry["error"] = said.strip()[-1500:]
        except subprocess.TimeoutExpired:
            os.killpg(process.pid, signal.SIGTERM)
            process.communicate()
            entry["error"] = f"stopped after {limit:.0f} s"
    entry["seconds"] = time.monotonic() - began
    entry["rows"] = json.loads(file.read_text()) if file.exists() else []
    return entry


def _machine() -> dict[str, Any]:
    smi = ["nvidia-smi", "--query-gpu=name,uuid,driver_version,memory.total", "--format=csv,noheader"]
    try:
        cards = subprocess.run(smi, capture_output=True, text=True, check=False).stdout.strip().splitlines()
    except OSError:
        cards = []
    return {
        "cards": cards,
        "cores": len(os.sched_getaffinity(0)),
        "memory_gib": os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 2**30,
        "python": platform.python_version(),
        "system": platform.platform(),
        "at": time.strftime("%Y-%m-%d"),
    }


def main() -> None:
    """Parse the command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    verbs = parser.add_subparsers(dest="verb", required=True)
    for verb in ("all", "part"):
        sub = verbs.add_parser(verb)
        sub.add_argument("scale", choices=_SCALES)
        sub.add_argument("folder", type=Path)
        sub.add_argument("out", type=Path)
        if verb == "all":
            sub.add_argument("--minutes", type=float, default=8.0)
            sub.add_argument("--parts", nargs="+", choices=_PARTS, default=list(_PARTS))
        else:
            sub.add_argument("part", choices=_PARTS)
    verbs.add_parser("reference").add_argument("folder", type=Path)
    verbs.add_parser("report").add_argument("out", type=Path)
    rate = verbs.add_parser("rate")
    rate.add_argument("scale", choices=_SCALES)
    rate.add_argument("folder", type=Path)
    rate.add_argument("millions", type=int)
    rate.add_argument("workers", type=int)
    rate.add_argument("go", type=Path)
    options = parser.parse_args()
    if options.verb == "all":
        run_all(options.scale, options.folder, options.out, options.minutes, options.parts)
    elif options.verb == "part":
        run_part(options.part, _SCALES[options.scale], options.folder, options.out)
    elif options.verb == "reference":
        from device.frames import REFERENCE, make_reference

        make_reference(options.folder / REFERENCE)
    elif options.verb == "report":
        from device.report import render

        print(render(json.loads(options.out.read_text())))
    else:
        from device.throughput import serve_rate

        serve_rate(_SCALES[options.scale], options.folder, options.millions, options.workers, options.go)


if __name__ == "__main__":
    main()
