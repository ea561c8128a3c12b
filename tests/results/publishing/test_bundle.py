"""Bundles: what was packed can be checked anywhere; what was changed is found, even with new checksums."""

from __future__ import annotations

import hashlib
import io
import json
import subprocess
import sys
import tarfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from simrun.api import evaluate
from simrun.cli.publish import command as publish
from simrun.cli.verify import check_bundle
from simrun.errors import DONE, FAILED, JournalError, UsageError
from simrun.results.publishing.bundle import SUFFIX, Bundle, is_bundle, write_bundle
from simrun.results.run import Run


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Run:
    """A run of two tasks whose rollouts were kept."""
    pytest.importorskip("pyarrow")
    folder = tmp_path_factory.mktemp("bundles") / "mine"
    tasks = ["reach_red", "press_button"]
    evaluate("scripted:expert", "tabletop", tasks=tasks, episodes="0:2", out=folder, record="all", workers=1)
    return Run.read(folder)


@pytest.fixture
def bundle(run: Run, tmp_path: Path) -> Path:
    path = tmp_path / f"mine{SUFFIX}"
    write_bundle(run, path)
    return path


def change(bundle: Path, name: str, edit: Callable[[bytes], bytes], *, new_sums: bool) -> None:
    """Write one file of a bundle anew, and on demand the checksums that go with it."""
    with tarfile.open(bundle) as archive:
        files = {entry.name: archive.extractfile(entry).read() for entry in archive}  # type: ignore[union-attr]
    files[name] = edit(files[name])
    if new_sums:
        head = json.loads(files["bundle.json"])
        head["files"][name] = hashlib.sha256(files[name]).hexdigest()
        files["bundle.json"] = json.dumps(head).encode()
    with tarfile.open(bundle, "w:gz") as archive:
        for entry, content in files.items():
            info = tarfile.TarInfo(entry)
            info.size = len(content)
            archive.addfile(info, io.BytesIO(content))


def flip_outcomes(journal: bytes) -> bytes:
    records = [json.loads(line) for line in journal.splitlines()]
    for record in records:
        record["success"] = not record["success"]
        del record["crc32"]
    return b"".join(json.dumps(record).encode() + b"\n" for record in records)


def shift_action(file: bytes) -> bytes:
    actions = np.load(io.BytesIO(file))
    actions[0, 0] += 0.1
    buffer = io.BytesIO()
    np.save(buffer, actions)
    return buffer.getvalue()


def test_a_bundle_is_confirmed_by_playing_it(bundle: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert is_bundle(bundle)
    assert check_bundle(bundle, 3, as_json=False) == DONE
    lines = capsys.readouterr().out.splitlines()
    assert len(lines) == 4
    assert all("last state equal to the last bit" in line for line in lines[:-1])
    assert lines[-1] == f"mine{SUFFIX}: 3 of 3 episodes came out as recorded"


def test_a_bundle_is_checked_in_another_folder_by_another_process(bundle: Path, tmp_path: Path) -> None:
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    moved = bundle.rename(elsewhere / bundle.name)
    environment = {"HOME": str(elsewhere), "PATH": "/usr/bin:/bin", "SIMRUN_HOME": str(elsewhere / "home")}
    command = [sys.executable, "-m", "simrun", "verify", str(moved), "--episodes", "1"]
    done = subprocess.run(command, cwd=elsewhere, env=environment, capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stderr
    assert "1 of 1 episodes came out as recorded" in done.stdout


def test_equal_runs_give_equal_bytes_but_for_the_time_of_compression(run: Run, tmp_path: Path) -> None:
    digests = []
    for name in ("one", "two"):
        write_bundle(run, tmp_path / f"{name}{SUFFIX}")
        digests.append(Bundle.unpack(tmp_path / f"{name}{SUFFIX}", tmp_path / name).digest)
    assert digests[0] == digests[1]


def test_everybody_draws_the_same_episodes(bundle: Path, tmp_path: Path) -> None:
    drawn = [[one.record.key for one in Bundle.unpack(bundle, tmp_path / name).sample(2)] for name in "ab"]
    assert drawn[0] == drawn[1]
    assert len(set(drawn[0])) == 2


@pytest.mark.parametrize(("name", "edit"), [("journal/main.jsonl", flip_outcomes), ("actions/00001.npy", shift_action)])
def test_a_changed_file_is_named(bundle: Path, name: str, edit: Any) -> None:
    change(bundle, name, edit, new_sums=False)
    with pytest.raises(JournalError, match=f"tampered with or damaged: {name} is not what was packed"):
        check_bundle(bundle, 5, as_json=False)


def test_a_flipped_outcome_with_new_checksums_is_found_by_playing(
    bundle: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    change(bundle, "journal/main.jsonl", flip_outcomes, new_sums=True)
    assert check_bundle(bundle, 2, as_json=False) == FAILED
    assert "success: False recorded, True here" in capsys.readouterr().out


def test_a_changed_action_with_new_checksums_is_found_by_its_hash(
    bundle: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for index in range(4):
        change(bundle, f"actions/{index:05d}.npy", shift_action, new_sums=True)
    assert check_bundle(bundle, 1, as_json=False) == FAILED
    assert "the actions are not those that the record was made with" in capsys.readouterr().out


def test_what_is_no_bundle_is_refused(tmp_path: Path) -> None:
    (tmp_path / f"bad{SUFFIX}").write_bytes(b"nothing")
    with pytest.raises(UsageError, match="is no bundle of simrun"):
        check_bundle(tmp_path / f"bad{SUFFIX}", 1, as_json=False)


@pytest.mark.parametrize("shown", ["/proc/kmsg", "/proc/version", "/proc/self/pagemap"])
def test_what_the_kernel_shows_as_a_file_is_not_waited_for(tmp_path: Path, shown: str) -> None:
    (tmp_path / f"shown{SUFFIX}").symlink_to(shown)
    with pytest.raises(UsageError, match="is no bundle of simrun"):
        check_bundle(tmp_path / f"shown{SUFFIX}", 1, as_json=False)


@pytest.mark.parametrize(
    ("name", "kind", "sentence"),
    [
        ("../escaped", tarfile.REGTYPE, "leads out of it"),
        ("/tmp/simrun-escaped", tarfile.REGTYPE, "leads out of it"),
        ("a/../../escaped", tarfile.DIRTYPE, "leads out of it"),
        ("link", tarfile.SYMTYPE, "neither file nor folder"),
    ],
)
def test_a_bundle_writes_nowhere_else(tmp_path: Path, name: str, kind: bytes, sentence: str) -> None:
    path = tmp_path / f"hostile{SUFFIX}"
    with tarfile.open(path, "w:gz") as archive:
        info = tarfile.TarInfo(name)
        info.type, info.linkname = kind, "/etc"
        archive.addfile(info, io.BytesIO())
    with pytest.raises(UsageError, match=sentence):
        Bundle.unpack(path, tmp_path / "there")
    assert sorted(entry.name for entry in tmp_path.iterdir()) == [path.name]
    assert not Path("/tmp/simrun-escaped").exists()


def test_a_run_without_rollouts_says_what_is_missing(run: Run, tmp_path: Path) -> None:
    path = tmp_path / f"bare{SUFFIX}"
    notes = write_bundle(run, path, actions=False)
    assert notes == ["4 records, 4 of them completed"]
    with pytest.raises(UsageError, match="holds no actions"):
        check_bundle(path, 1, as_json=False)


def test_every_form_is_written_and_nothing_is_uploaded_unasked(
    run: Run, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    publish(run.path, "hf://somebody/model", dataset=["tabletop=somebody/tabletop"], organization="a lab")
    folder = Path(f"{run.path}-published")
    said = capsys.readouterr().out
    assert "nothing was uploaded; --push would upload to hf://somebody/model" in said
    (entry,) = json.loads((folder / ".eval_results/tabletop.yaml").read_text())
    assert entry["dataset"] == {"id": "somebody/tabletop", "task_id": "standard"}
    assert entry["value"] == 100.0
    assert "4 initial states" in entry["notes"]
    document = json.loads((folder / "every_eval_ever/scripted_expert.json").read_text())
    assert document["model_info"]["id"] == "somebody/model"
    names = [result["evaluation_name"] for result in document["evaluation_results"]]
    assert names == [f"tabletop/standard@1{task}" for task in ("", "/reach_red", "/press_button")]
    first = document["evaluation_results"][0]["score_details"]
    assert first["score"] == 1.0
    assert first["uncertainty"]["num_samples"] == 4
    latex = (folder / "table.tex").read_text()
    assert r"95\% intervals" in latex
    assert "mujoco 3.8.1" in latex
    assert "## Evaluation in simulation" in (folder / "model-card-results.md").read_text()


def test_a_benchmark_without_data_set_is_said(run: Run, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    publish(run.path, str(tmp_path / "out"), forms="eval-results")
    assert "no .eval_results for tabletop" in capsys.readouterr().out
    with pytest.raises(UsageError, match="BENCH=OWNER/DATASET"):
        publish(run.path, str(tmp_path / "out"), dataset=["tabletop"])
    with pytest.raises(UsageError, match="pdf"):
        publish(run.path, str(tmp_path / "out"), forms="pdf")
