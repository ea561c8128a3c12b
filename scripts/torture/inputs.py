"""Malformed inputs: every reader of bytes, frames and command lines gets damaged and hostile versions of a good one."""

from __future__ import annotations

import contextlib
import io
import json
import os
import shutil
import subprocess
import sys
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import msgpack
import numpy as np
from judging import bounded, judged

from simrun.errors import SimrunError

SWEEP = (
    "--bench",
    "tabletop",
    "--ckpt",
    "scripted:random",
    "--tasks",
    "reach_*",
    "--episodes",
    "0:2",
    "--workers",
    "2",
    "--record",
    "1-per-task",
    "--video",
    "1-per-task",
)

Reader = Callable[[Path], Any]


class Readers:
    """The readers under test: name -> (a whole input, what reads it from a file of that content).

    Args:
        folder: an empty folder of their own.
    """

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._run = folder / "run"
        subprocess.run(
            [sys.executable, "-m", "simrun", *SWEEP, "--quiet", "--out", str(self._run)],
            check=True,
            capture_output=True,
        )

    def all(self) -> dict[str, tuple[bytes, Reader]]:
        """Name -> (a good input, its reader)."""
        from simrun.envs.laboratory.traces import read_arrays
        from simrun.envs.libero.initial_states import read_initial_states
        from simrun.envs.machine.data_files.archives import read_members
        from simrun.policies.conventions import read_sidecar
        from simrun.policies.dialects.codecs import unpack_openpi, unpack_vlaeval
        from simrun.runners.cluster.shards import Sharding
        from simrun.runners.engine.wire import FrameReader, pack
        from simrun.runners.search.watching.completeness import is_truncated
        from simrun.runners.search.watching.ledger import Ledger
        from simrun.runners.sweep import make_config, read_config

        frame = {"op": "step", "actions": np.zeros((4, 7), np.float32), "record": ["front"]}
        ledger = [{"event": "started", "checkpoint": "a", "digest": "1", "time": "now"}] * 3
        network = Path(__file__).parents[2] / "examples" / "checkpoints"
        openpi = {"actions": {b"__ndarray__": True, b"data": bytes(28), b"dtype": "<f4", b"shape": [7]}}
        configuration = b'bench = ["tabletop"]\nckpt = ["scripted:zero"]\nseeds = [0, 1]\n[set]\nmax_steps = 9\n'
        sidecar = b'kind = "onnx"\nstate = ["fold_axis_angle"]\nnative = { steps = 2 }\n'
        sharding = b'{"shards": 3, "episodes_per_block": 8}'
        action = {"type": "action", "payload": {"actions": [[0.0] * 7]}}
        line = "--bench tabletop --ckpt scripted:zero --episodes 0:1 --exec k=3 --set max_steps=3"
        return {
            "journal": (self._file("journal/main.jsonl"), self._journal),
            "run.json": (self._file("run.json"), lambda file: self._read_run("run.json", file)),
            "plan.json": (self._file("plan.json"), lambda file: self._read_run("plan.json", file)),
            "shards.json": (sharding, lambda file: self._read(Sharding.read, "shards.json", file)),
            "ledger of a watch": ("\n".join(map(json.dumps, ledger)).encode() + b"\n", Ledger),
            "configuration": (configuration, lambda file: make_config(read_config(file))),
            "sidecar": (sidecar, lambda file: self._sidecar(read_sidecar, file)),
            "lease names": (b"00003.held.shard-0000.7", self._lease),
            "wire frames": (pack(frame), lambda file: FrameReader().feed(file.read_bytes())),
            "openpi messages": (msgpack.packb(openpi), lambda file: unpack_openpi(file.read_bytes())),
            "images of messages": (_image(), lambda file: unpack_vlaeval(_message(file.read_bytes()))),
            "vla-eval messages": (msgpack.packb(action), lambda file: unpack_vlaeval(file.read_bytes())),
            "recordings": (_npz(), read_arrays),
            "initial states": (_pickled_states(), read_initial_states),
            "archives": (_zip(), lambda file: list(read_members(file.rename(file.with_suffix(".zip"))))),
            "onnx": (next(network.glob("*.onnx")).read_bytes(), lambda file: _inspect(file, ".onnx")),
            "safetensors": (_safetensors(), lambda file: is_truncated(file.rename(file.with_suffix(".safetensors")))),
            "command lines": (line.replace(" ", "\0").encode(), _command),
        }

    def _journal(self, file: Path) -> None:
        from simrun.results import read_journal

        known = list(read_journal(self._run / "journal" / "main.jsonl"))
        for record in read_journal(file):
            if record not in known:
                raise AssertionError(f"another record in silence: {record}")

    def _file(self, name: str) -> bytes:
        return (self._run / name).read_bytes()

    def _read_run(self, name: str, file: Path) -> None:
        from simrun.results.run import Run
        from simrun.results.tables import table_of_runs

        copy = self._folder / "copy"
        shutil.rmtree(copy, ignore_errors=True)
        shutil.copytree(self._run, copy)
        shutil.move(file, copy / name)
        table_of_runs([Run.read(copy)])

    def _read(self, read: Callable[[Path], Any], name: str, file: Path) -> None:
        folder = self._folder / "part"
        folder.mkdir(exist_ok=True)
        shutil.move(file, folder / name)
        read(folder)

    def _sidecar(self, read: Callable[[str], Any], file: Path) -> None:
        folder = self._folder / "checkpoint"
        folder.mkdir(exist_ok=True)
        shutil.move(file, folder / "simrun.toml")
        read(str(folder))

    def _lease(self, file: Path) -> None:
        from simrun.runners.cluster.leases import LeaseFolder

        run = self._folder / "leased"
        shutil.rmtree(run, ignore_errors=True)
        (run / "leases" / "0000").mkdir(parents=True)
        name = file.read_bytes().replace(b"/", b"_").replace(b"\0", b"_")[:200]
        if name.strip(b"."):
            (run / "leases" / "0000" / os.fsdecode(name)).touch()
        LeaseFolder(run).look_everywhere()


def _image() -> bytes:
    from PIL import Image

    stream = io.BytesIO()
    Image.new("RGB", (16, 8)).save(stream, "PNG")
    return stream.getvalue()


def _message(image: bytes) -> bytes:
    packed: bytes = msgpack.packb({"x": {"__image__": True, "format": "png", "data": image, "shape": [8, 16, 3]}})
    return packed


def _npz() -> bytes:
    stream = io.BytesIO()
    np.savez_compressed(stream, actions=np.zeros((5, 7), np.float32), note=np.array("text"))
    return stream.getvalue()


def _pickled_states() -> bytes:
    import pickle

    stream = io.BytesIO()
    with zipfile.ZipFile(stream, "w", zipfile.ZIP_DEFLATED) as file:
        file.writestr("archive/data.pkl", pickle.dumps(np.zeros((3, 9))))
        file.writestr("archive/version", "3")
    return stream.getvalue()


def _zip() -> bytes:
    stream = io.BytesIO()
    with zipfile.ZipFile(stream, "w", zipfile.ZIP_DEFLATED) as file:
        file.writestr("folder/a.json", "{}")
        file.writestr("folder/b.bin", bytes(1000))
    return stream.getvalue()


def _safetensors() -> bytes:
    header = json.dumps({"w": {"dtype": "F32", "shape": [25], "data_offsets": [0, 100]}}).encode()
    return len(header).to_bytes(8, "little") + header + bytes(100)


def _inspect(file: Path, ending: str) -> None:
    from simrun.policies.registry import recognise

    named = file.rename(file.with_suffix(ending))
    loader, _ = recognise(str(named))
    loader.describe(str(named))


def _command(file: Path) -> None:
    import click
    import typer.main

    from simrun.cli import app
    from simrun.cli.evaluate import complete_config
    from simrun.runners.sweep import make_plan

    arguments = [os.fsdecode(part) for part in file.read_bytes().split(b"\0")]
    command = typer.main.get_command(app)
    try:
        context = command.make_context("simrun", arguments, resilient_parsing=False)
    except (click.ClickException, click.exceptions.Exit, typer.Exit) as refusal:
        raise SimrunError(str(refusal)) from None
    except Exception as refusal:
        if type(refusal).__module__.startswith("typer"):
            raise SimrunError(str(refusal)) from None
        raise
    if context.invoked_subcommand is None:
        from simrun.cli import options

        try:
            make_plan(complete_config(options.given(context.params), None))
        except OSError as error:
            # The program's entry point makes one sentence of it.
            raise SimrunError(str(error)) from None


def try_input(reader: Reader, data: bytes, folder: Path) -> str:
    """What a reader does with an input."""
    file = folder / "input"
    file.write_bytes(data)

    def read() -> None:
        with bounded(), contextlib.redirect_stdout(io.StringIO()), contextlib.redirect_stderr(io.StringIO()):
            reader(file)

    try:
        return judged(read)
    finally:
        for left in folder.glob("input*"):
            left.unlink()
