"""Verbs over a run folder in which one thing is not what it should be: damaged, endless, too much, of another kind."""

from __future__ import annotations

import contextlib
import gzip
import io
import json
import random
import re
import shutil
from pathlib import Path

from damage import damaged, disguise
from folders import REPOSITORY, hurt
from judging import bounded, isolated, judged

OUT = "{out}"
RUN = "{run}"
SECONDS = 60
LONG = 150
"""Seconds that a verb may take which starts processes."""


PLOT = "{plot}"
PLOTS = ("steps", "box", "tasks", "stages", "forest")
SCORES = f"{RUN}/scores/scores.csv"
ONE = ("--tasks", "reach_*", "--quiet", "--workers", "1")
CONFIGURATION = 'bench = ["tabletop"]\nckpt = ["scripted:random"]\ntasks = ["reach_*"]\nepisodes = "0:2"\nworkers = 1\n'


_ONE = "--bench tabletop --tasks reach_red --episodes 0:1 --set max_steps=2 --quiet --workers 1 --timeout 40"
PATHS = (
    f"{_ONE} --ckpt {{bad}} --out {{out}}/run",
    f"{_ONE} --ckpt {{bad.onnx}} --out {{out}}/run",
    f"{_ONE} --ckpt {{bad.pt}} --out {{out}}/run",
    f"{_ONE} --ckpt {{bad}}/* --out {{out}}/run",
    f"{_ONE} --ckpt {{bad.py}}:make --out {{out}}/run",
    f"{_ONE} --ckpt replay:{{bad}} --out {{out}}/run",
    f"{_ONE} --ckpt scripted:zero --out {{bad}}",
    f"{_ONE} --ckpt scripted:zero --out {{bad}}/below",
    f"{_ONE} --ckpt scripted:zero --instructions {{bad.toml}} --out {{out}}/run",
    f"{_ONE} --ckpt scripted:zero --instructions {{bad.csv}} --out {{out}}/run",
    f"{_ONE} --ckpt scripted:zero --config {{bad.toml}} --out {{out}}/run",
    f"{_ONE} --ckpt {{run}}/checkpoints/net.onnx -p convention={{bad.toml}} --out {{out}}/run",
    f"{_ONE} --ckpt {{run}}/checkpoints/net.onnx -p python={{bad}} --out {{out}}/run",
    "--bench {bad.py}:Mine --ckpt scripted:zero --out {out}/run",
    "table {bad}",
    "table {run} {bad}",
    "table {run} -o {bad.md}",
    "table {run} --import libero_10={bad.json}",
    "table {run} --import calvin_abcd={bad}",
    "report {bad}",
    "report {run} -o {bad.html}",
    "plot {run} --kind steps -o {bad.png}",
    "plot {run} --kind scatter --scores {bad.csv} -o {out}/p.png",
    "results {bad}",
    "results {run} --export {bad.parquet}",
    "results {run} --export {bad.csv}",
    "repair {bad}",
    "publish {bad} --to {out}/x",
    "publish {run} --to {bad}",
    "view {bad} --port 0",
    "replay {bad} EPISODE",
    "replay {run} EPISODE --video {bad.mp4}",
    "inspect {bad}",
    "inspect {bad.safetensors}",
    "inspect {bad.pt2}",
    "serve {bad} --bench tabletop --port 0",
    "verify {bad.simrun.tar.gz}",
    "verify tabletop --golden {bad}",
    "verify policies --golden {bad}",
    "watch {bad} --bench tabletop --once --settle 0 --out {out}/watched --quiet",
    "watch {run}/checkpoints --bench tabletop --once --settle 0 --out {bad} --quiet --budget 2 --tasks reach_red",
    "select --bench tabletop --ckpt scripted:zero --ckpt scripted:random --budget 2 -t reach_red --out {bad} -q",
    "slurm status {bad}",
    "slurm resubmit {bad}",
    "slurm cancel {bad}",
    f"slurm --array 2 --dry-run -- {_ONE} --ckpt scripted:zero --out {{bad}}",
    f"slurm --array 2 --dry-run --container {{bad}} -- {_ONE} --ckpt scripted:zero --out {{out}}/run",
    "run-shard {bad} --shard 0/2",
    "doctor tabletop --out {bad}",
)
"""Command lines in which one path is strange."""

_SWEPT = f"-- {_ONE} --ckpt scripted:zero --out {{out}}/run"
_NUMBERED = {
    "power --half-width 5": "--half-width --rate --level",
    "power --against 60": "--against --rate --discordance --power --seeds",
    "power --length 3 --against 4": "--length --correlation --best-of --power",
    "power --margin 3 --seeds 2": "--margin --own-share --best-of --level",
    "table {run}": "--level --import-episodes",
    "serve scripted:zero --bench tabletop --port 0": "--port --max-batch --seed",
    "view {run}": "--port",
    "replay {run} EPISODE": "--policy-seed",
    f"slurm --dry-run --array 2 {{}} {_SWEPT}": "--array --at-once --cpus-per-task --notice --lease",
    f"slurm --dry-run --array 2 {_SWEPT} {{}}": "--seeds --policy-seeds --episodes --max-batch --max-wait --retries "
    "--recycle --timeout --workers --replicas --video --set=max_steps= --set=trials= --exec=k= --exec=delay= "
    "--exec=ensemble= --episodes=0: --episodes=:: --perturb=camera: --perturb=noise: --perturb=light:",
    "select --bench tabletop --ckpt scripted:zero -t reach_red --out {out}/x -q --workers 1": "--budget --confidence",
    "watch {out} --bench tabletop --once --settle 0 --out {run}/x --quiet": "--budget --confidence --patience "
    "--keep-last --interval --settle --idle --time --timeout",
}
NUMBERS = tuple(
    # The option stands at the end, or where the line says.
    (line if "{}" in line else f"{line} {{}}").replace("{}", option + ("" if option[-1] in "=:" else " ") + "{n}")
    for line, options in _NUMBERED.items()
    for option in options.split()
)
"""Command lines in which one number is strange."""

_STRANGE = (
    *(
        "nan",
        "inf",
        "-inf",
        "0",
        "-0.0",
        "-1",
        "1e308",
        "1e-320",
        "1e400",
        str(10**18),
        str(10**30),
        "9" * 5000,
        "0x10",
    ),
    *(
        "1_000",
        "\u0663",
        "1.5",
        "",
        " ",
        "99.999999999999999",
        "100",
        "50",
        "1e-9",
        "2147483648",
        "65536",
        "true",
        "4097",
    ),
)


class Verbs:
    """Every verb that reads run folders.

    Args:
        folder: where an undamaged run lies under the name ``run``; the damaged copies go beside it.

    Attributes:
        lines: name of a verb -> its command line.
    """

    def __init__(self, folder: Path) -> None:
        self._run = folder / "run"
        self._copy = folder / "hurt"
        self._out = folder / "out"
        self._bundle = folder / "whole.simrun.tar.gz"
        _call(["publish", str(self._run), "--to", str(self._out), "--forms", "bundle"])
        shutil.move(next(self._out.glob("*.simrun.tar.gz")), self._bundle)
        self._episode = json.loads((self._run / "journal" / "main.jsonl").read_text().splitlines()[0])["episode"]
        self.lines = {
            "table": ["table", RUN, "--format", "json"],
            "table --layout": ["table", RUN, "--layout", "per-task", "--format", "md"],
            "results": ["results", RUN, "--format", "csv"],
            "results --sql": ["results", RUN, "--sql", "select count(*), sum(score) from episodes"],
            "results --export": ["results", RUN, "--export", f"{OUT}/episodes.parquet"],
            "report": ["report", RUN, "-o", f"{OUT}/report.html"],
            "repair": ["repair", RUN],
            "publish": ["publish", RUN, "--to", OUT],
            "slurm status": ["slurm", "status", RUN],
            "replay:RUN": ["inspect", f"replay:{RUN}"],
            "verify BUNDLE": ["verify", f"{OUT}/hurt.simrun.tar.gz", "--episodes", "1"],
            "plot": ["plot", RUN, "--kind", PLOT, "-o", f"{OUT}/plot.png"],
            "plot scatter": [
                "plot",
                RUN,
                "--kind",
                "scatter",
                "-o",
                f"{OUT}/p.svg",
                "--scores",
                f"{RUN}/scores/scores.csv",
            ],
            "table --import": ["table", RUN, "--import", f"libero_10={RUN}/imports/eval_info.json"],
        }
        select = ["select", "--bench", "tabletop", "--ckpt", "scripted:zero", "--ckpt", "scripted:random", "--budget"]
        watch = ["watch", f"{RUN}/checkpoints", "--bench", "tabletop", "--once", "--settle", "0", "--interval", "1s"]
        self.long_lines = {
            "resumption": ["--config", f"{RUN}/sweep.toml", "--out", RUN, "--quiet", "--timeout", "40"],
            "select": [
                *select,
                "2",
                "--tasks",
                "reach_*",
                "--out",
                RUN,
                "--quiet",
                "--workers",
                "1",
                "--timeout",
                "40",
            ],
            "watch": [
                *watch,
                "--budget",
                "2",
                "--tasks",
                "reach_*",
                "--out",
                f"{RUN}/watched",
                "--quiet",
                "--workers",
                "1",
            ],
            "serve": ["serve", f"{RUN}/checkpoints/net.onnx", "--bench", "tabletop", "--port", "0"],
            "verify --golden": ["verify", "tabletop", "--golden", f"{RUN}/golden"],
            "replay": ["replay", RUN, self._episode],
            "view": ["view", RUN, "--port", "0"],
        }

    def strange_path(self, draw: random.Random) -> tuple[str, str]:
        """Name something on a command line that is no such file or folder."""
        for path in (self._out, self._copy):
            shutil.rmtree(path, ignore_errors=True)
        self._out.mkdir()
        shutil.copytree(self._run, self._copy)
        _bring(self._copy, "checkpoints")
        line = draw.choice(PATHS)
        bad = self._out / draw.choice(("bad", "-bad", "b\udcffd", "b" * 220, "b\x1b[2Jd", "a b", "b%sd{0}"))
        words = []
        for part in line.split():
            word = part.replace(OUT, str(self._out)).replace(RUN, str(self._copy))
            if found := re.search(r"\{bad([.\w]*)\}", word):
                path = bad.with_name(bad.name + found[1])
                disguise(path, draw)
                word = word.replace(found[0], str(path))
            words.append(word)
        words = [self._episode if word == "EPISODE" else word for word in words]
        return "strange paths", isolated(lambda: _begun_and_ended(words), LONG)

    def strange_number(self, draw: random.Random) -> tuple[str, str]:
        """Name a number on a command line that nobody means."""
        for path in (self._out, self._copy):
            shutil.rmtree(path, ignore_errors=True)
        self._out.mkdir()
        shutil.copytree(self._run, self._copy)
        _bring(self._copy, "checkpoints")
        number = draw.choice(_STRANGE)
        words = draw.choice(NUMBERS).split()
        words = [
            word.replace(OUT, str(self._out)).replace(RUN, str(self._copy)).replace("{n}", number) for word in words
        ]
        words = [self._episode if word == "EPISODE" else word for word in words]
        return "strange numbers", isolated(lambda: _begun_and_ended(words), LONG)

    def trial(self, name: str, draw: random.Random) -> tuple[str, str]:
        """Hurt one thing and call a verb; returns its name and what became of it."""
        long = name in self.long_lines
        line = self.long_lines[name] if long else self.lines[name]
        for path in (self._copy, self._out):
            shutil.rmtree(path, ignore_errors=True)
        self._out.mkdir()
        shutil.copytree(self._run, self._copy)
        if name == "verify BUNDLE":
            whole = self._bundle.read_bytes()
            # What gzip finds by itself is one half; the other is in the archive.
            bad = damaged(whole, draw) if draw.random() < 0.5 else gzip.compress(damaged(gzip.decompress(whole), draw))
            (self._out / "hurt.simrun.tar.gz").write_bytes(bad)
        elif name in _OWN_PARTS:
            _bring(self._copy, _OWN_PARTS[name])
            hurt(self._copy / _OWN_PARTS[name], draw)
        else:
            hurt(self._copy, draw)
        words = [word.replace(RUN, str(self._copy)).replace(OUT, str(self._out)) for word in line]
        words = [draw.choice(PLOTS) if word == PLOT else word for word in words]
        if long:
            (self._copy / "sweep.toml").write_text(CONFIGURATION)
            return f"simrun {name}", isolated(lambda: _begun_and_ended(words), LONG)
        if name.startswith(("plot", "publish", "verify")):
            return f"simrun {name}", isolated(lambda: _call(words), SECONDS)
        return f"simrun {name}", judged(lambda: _call(words))


_OWN_PARTS = {
    "plot scatter": "scores",
    "table --import": "imports",
    "watch": "checkpoints",
    "serve": "checkpoints",
    "verify --golden": "golden",
}
"""Verb -> what of the copy is hurt for it, instead of the run."""


def _bring(copy: Path, part: str) -> None:
    """Put something whole beside the run, for verbs that read something else."""
    folder = copy / part
    folder.mkdir()
    if part == "scores":
        (folder / "scores.csv").write_text("checkpoint,loss\nscripted:random,0.5\nscripted:zero,0.7\n")
    elif part == "imports":
        shutil.copytree(REPOSITORY / "tests" / "results" / "imports" / "files", folder, dirs_exist_ok=True)
    elif part == "checkpoints":
        shutil.copyfile(next((REPOSITORY / "examples" / "checkpoints").glob("*.onnx")), folder / "net.onnx")
        (folder / "simrun.toml").write_text("native = { steps = 2 }\n")
    else:
        shipped = sorted((REPOSITORY / "simrun" / "envs" / "tabletop" / "recordings").glob("*.npz"))
        shutil.copyfile(shipped[0], folder / shipped[0].name)


def _begun_and_ended(words: list[str]) -> None:
    """The same with a verb that serves until it is ended: it is ended as soon as it would begin to wait."""
    import uvicorn

    from simrun.policies.dialects.serving import PolicyServer

    PolicyServer.serve_forever = lambda self: None  # type: ignore[method-assign]
    # To be closed it waits for what was begun.
    PolicyServer.close = lambda self: None  # type: ignore[method-assign]
    uvicorn.Server.run = lambda self, sockets=None: None  # type: ignore[method-assign]
    _call(words, LONG)


def _call(words: list[str], seconds: int = SECONDS) -> None:
    """What the program does, in this process; an exit code is an answer."""
    import typer.main

    from simrun.cli import app

    with bounded(seconds), contextlib.redirect_stdout(io.StringIO()), contextlib.redirect_stderr(io.StringIO()):
        try:
            typer.main.get_command(app).main(words, prog_name="simrun", standalone_mode=False)
        except SystemExit:
            return
        except Exception as error:
            # Typer's own complaints about a command line.
            if type(error).__module__.partition(".")[0] in ("click", "typer"):
                return
            raise
