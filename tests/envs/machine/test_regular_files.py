"""What a user or a checkpoint names may be a pipe, a device, a folder, a circle of links or without end."""

from __future__ import annotations

import os
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from simrun.envs.instructions import read_instructions
from simrun.envs.laboratory import traces
from simrun.envs.laboratory.recordings import EpisodeRecording, is_recording
from simrun.envs.libero.initial_states import read_initial_states
from simrun.envs.machine import regular_files
from simrun.envs.machine.data_files.archives import read_members
from simrun.envs.machine.locks import lock
from simrun.envs.machine.regular_files import files_below, parse_toml, read_document, read_object, read_regular
from simrun.errors import SimrunError
from simrun.policies.boundary.golden import Golden
from simrun.policies.checkpoints import checkpoint_hash
from simrun.policies.conventions import read_sidecar
from simrun.policies.loaders.lerobot_folder import safetensors_names
from simrun.policies.registry import recognise
from simrun.policies.transforms.scaling import read_statistics
from simrun.results import JournalWriter
from simrun.results.imports.foreign import read_foreign
from simrun.results.imports.text_results import read_rates
from simrun.results.journal import read_journal
from simrun.results.plots.fits import read_scores
from simrun.rollouts.reader import RolloutSet
from simrun.runners.search.watching.ledger import Ledger
from simrun.runners.sweep import read_config

DOTTED = b"a." * 50_000 + b"a = 1"
LONG_HEADER = b"[" + b"a." * 3_000 + b"a]\n" + b"b = 1\n" * 100_000
WIDE = ",".join(f"c{number}" for number in range(10_000)).encode() + (b"\n" + b"," * 9_999) * 6
BRANCHES = b"[" + b"[]," * 40_000 + b"0]"


def _opened_lock(path: Path) -> None:
    with lock(path):
        pass


def _info(path: Path) -> None:
    (path.parent / "meta").mkdir()
    path.rename(path.parent / "meta" / "info.json")
    RolloutSet.open(path.parent)


READERS: dict[str, tuple[str, Callable[[Path], Any]]] = {
    "sidecar": ("simrun.toml", lambda path: read_sidecar(_beside(path))),
    "hash of a sidecar": ("simrun.toml", lambda path: checkpoint_hash(_beside(path))),
    "checkpoint": ("net.onnx", lambda path: checkpoint_hash(str(path))),
    "onnx": ("net.onnx", lambda path: recognise(str(path))[0].describe(str(path))),
    "torch": ("net.pt", lambda path: recognise(str(path))),
    "safetensors": ("net.safetensors", safetensors_names),
    "statistics": ("statistics.json", lambda path: read_statistics(path, None, "action", "quantile")),
    "configuration": ("sweep.toml", read_config),
    "instructions": ("words.toml", read_instructions),
    "recording": ("one.npz", EpisodeRecording.read),
    "boundary": ("openpi_libero_a.npz", Golden),
    "initial states": ("one.pruned_init", read_initial_states),
    "archive": ("files.zip", lambda path: list(read_members(path))),
    "journal": ("main.jsonl", lambda path: list(read_journal(path))),
    "journal to write": ("main.jsonl", lambda path: JournalWriter(path).close()),
    "lock": ("main.lock", _opened_lock),
    "ledger": ("watch.jsonl", Ledger),
    "scores": ("scores.csv", read_scores),
    "imported": ("eval_info.json", lambda path: read_foreign(f"tabletop={path}")),
    "rollouts": ("info", _info),
}


def _beside(sidecar: Path) -> str:
    sidecar.with_name("net.onnx").write_bytes(b"weights")
    return str(sidecar.with_name("net.onnx"))


DISGUISES: dict[str, Callable[[Path], Any]] = {
    "pipe": os.mkfifo,
    "device": lambda path: path.symlink_to("/dev/zero"),
    "terminal": lambda path: path.symlink_to("/dev/full"),
    "circle": lambda path: path.symlink_to(path.name),
    "folder": lambda path: path.mkdir(),
}


@pytest.mark.parametrize("disguise", DISGUISES)
@pytest.mark.parametrize("reader", READERS)
@pytest.mark.usefixtures("in_time")
def test_what_is_no_regular_file_is_one_sentence(tmp_path: Path, reader: str, disguise: str) -> None:
    name, read = READERS[reader]
    DISGUISES[disguise](tmp_path / name)
    with pytest.raises((SimrunError, OSError)) as refused:
        read(tmp_path / name)
    assert 10 < len(str(refused.value)) < 600
    assert not isinstance(refused.value, OSError) or reader == "lock", "the lock's callers make sentences of it"


@pytest.fixture
def in_time():
    import faulthandler

    # A reader that hangs in a system call is not interrupted by Python.
    faulthandler.dump_traceback_later(60, exit=True)
    yield
    faulthandler.cancel_dump_traceback_later()


@pytest.mark.parametrize("disguise", DISGUISES)
def test_such_a_file_is_no_recording(tmp_path: Path, disguise: str) -> None:
    DISGUISES[disguise](tmp_path / "one.npz")
    assert not is_recording(tmp_path / "one.npz")


def test_a_file_without_an_end_is_not_read(tmp_path: Path) -> None:
    file = tmp_path / "endless"
    with file.open("wb") as made:
        made.truncate(1 << 42)
    for read in (read_regular, read_document, read_object):
        with pytest.raises(ValueError, match="is too large"):
            read(file)


BOMBS: dict[str, tuple[str, Callable[[Path], Any], bytes, str]] = {
    "dotted names in a sidecar": ("simrun.toml", lambda path: read_sidecar(_beside(path)), DOTTED, "too much for TOML"),
    "dotted names in a configuration": ("sweep.toml", read_config, b"[" + DOTTED[:-4] + b"]", "too much for TOML"),
    "dotted names in instructions": ("words.toml", read_instructions, b"a = {" + DOTTED + b"}", "too much for TOML"),
    "lines below a long name": ("sweep.toml", read_config, LONG_HEADER, "too much for TOML"),
    "deep TOML": ("sweep.toml", read_config, b"a = " + b"[" * 100_000, "nested too deeply"),
    "branches": ("statistics.json", READERS["statistics"][1], BRANCHES, "more than 40000 lists and objects"),
    "imported branches": ("eval_info.json", READERS["imported"][1], BRANCHES, "more than 40000 lists and objects"),
    "rows": ("scores.csv", read_scores, b"checkpoint,loss\n" + b",\n" * 20_001, "more than 40000 fields"),
    "columns": ("scores.csv", read_scores, WIDE, "more than 40000 fields"),
    "instructions": ("words.csv", read_instructions, b"task,instruction\n" + b",\n" * 20_001, "more than 40000"),
}


@pytest.mark.parametrize("bomb", BOMBS)
@pytest.mark.usefixtures("in_time")
def test_a_small_file_fills_neither_time_nor_memory(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, bomb: str) -> None:
    name, read, contents, sentence = BOMBS[bomb]
    for limit in ("_MOST_CELLS", "_MOST_CONTAINERS"):
        monkeypatch.setattr(regular_files, limit, getattr(regular_files, limit) // 100)
    (tmp_path / name).write_bytes(contents)
    began = time.process_time()
    with pytest.raises(SimrunError, match=sentence) as refused:
        read(tmp_path / name)
    assert len(str(refused.value)) < 600
    assert time.process_time() - began < 5


def test_folders_are_walked_as_far_as_any_checkpoint_goes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "a" / "b").mkdir(parents=True)
    files = [tmp_path / "a" / "b" / "c", tmp_path / "a" / "d", tmp_path / "e"]
    for file in files:
        file.touch()
    (tmp_path / "a" / "circle").symlink_to(tmp_path)
    (tmp_path / "a" / "nowhere").symlink_to("nothing")
    os.mkfifo(tmp_path / "pipe")
    assert files_below(tmp_path) == files
    monkeypatch.setattr(regular_files, "_MOST_ENTRIES", 7)
    with pytest.raises(ValueError, match="more than 7 files and folders"):
        files_below(tmp_path)
    with pytest.raises(SimrunError, match="more than 7 files and folders"):
        checkpoint_hash(str(tmp_path))
    with pytest.raises(SimrunError, match="more than 7 files and folders"):
        read_rates(tmp_path, None)
    monkeypatch.undo()
    with pytest.raises(ValueError, match="holds what cannot be read"):
        files_below(tmp_path / "e")


def test_what_people_write_is_taken() -> None:
    numbers = ", ".join(["0.125"] * 1000)
    assert len(parse_toml(f"a = [{numbers}]\n" + "[b.c.d]\ne.f = 1\n")["a"]) == 1000
    assert len(parse_toml("".join(f'task_{n} = ["Do it. Now. Please."]\n' for n in range(20_000)))) == 20_000


def test_a_document_that_nobody_could_read_is_not_written(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(regular_files, "LARGEST_FILE", 100)
    with pytest.raises(OSError, match=r"it would have 250 bytes, and 100 are the most"):
        regular_files.write_json(tmp_path / "plan.json", {"episodes": list(range(40))})
    assert not list(tmp_path.iterdir())


def test_a_journal_without_an_end_of_line_is_damaged(tmp_path: Path) -> None:
    file = tmp_path / "main.jsonl"
    with file.open("wb") as made:
        made.truncate(1 << 42)
    with pytest.raises(SimrunError, match="a line of it is longer than"):
        list(read_journal(file))
    with pytest.raises(SimrunError, match="its last line is longer than"):
        JournalWriter(file)


def test_an_archive_that_unpacks_to_too_much_is_not_unpacked(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(traces, "LARGEST_ARRAYS", 1000)
    np.savez_compressed(tmp_path / "one.npz", actions=np.zeros(10_000))
    with pytest.raises(SimrunError, match="it unpacks to 80128 bytes"):
        EpisodeRecording.read(tmp_path / "one.npz")
