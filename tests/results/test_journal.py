"""Records and journals: nothing lost, nothing twice, old ones still read."""

from __future__ import annotations

import json
import re
import subprocess
import sys
import tracemalloc
import zlib
from pathlib import Path

import pytest
from msgspec.structs import replace

from simrun.envs import Episode
from simrun.errors import JournalError
from simrun.results import EpisodeRecord, JournalWriter, merge, read_journal, read_run
from simrun.results.journal import journal_line, set_aside_damage
from simrun.results.lines import read_line
from simrun.results.records import SCHEMA_VERSION, VOLATILE_FIELDS, field_types
from tests.results.synthetic_records import CALVIN, SUBTASKS, MakeRun, outcomes, record


def test_a_record_survives_the_journal(tmp_path: Path) -> None:
    records = [
        record(chain=SUBTASKS, score=2.0),
        record(trial=1, instruction="naïve \u2028 ☃", error=None, video="v.mp4"),
    ]
    with JournalWriter(tmp_path / "a.jsonl") as journal:
        for one in records:
            journal.append(one)
    assert list(read_journal(tmp_path / "a.jsonl")) == records


def test_subtasks_that_many_records_hold_are_kept_once_and_as_they_are() -> None:
    line = journal_line(record(protocol=CALVIN, score=2.0, chain=SUBTASKS))
    again = journal_line(record(protocol=CALVIN, score=2.0, chain=SUBTASKS, trial=1))
    first, second = (read_line(one[: one.rindex(b',"crc32"')] + b"}") for one in (line, again))
    assert first.trial != second.trial
    assert all(one is other for one, other in zip(*(one.details["subtasks"] for one in (first, second)), strict=True))
    # What equals for Python is another text.
    odd = replace(first, details={"subtasks": [{"task": SUBTASKS[0], "success": 1, "steps": 60.0}, 10**400, [None]]})
    read = read_line(json.dumps(odd.to_json()).encode())
    assert repr(read.details) == repr(odd.details)


def test_a_record_is_small() -> None:
    """A million fit into a laptop's memory: what no table counts is packed, what repeats is shared."""
    times = {"inference_times": {0.012: 3, 0.013: 2, 0.021: 1}, "timings": dict.fromkeys("abcde", 1.5)}
    lines = [journal_line(record(trial=trial % 9, policy_seed=trial, **times)) for trial in range(1000)]
    read_line(lines[0], signed=True)
    tracemalloc.start()
    records = [read_line(line, signed=True) for line in lines]
    size, _ = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert size / len(records) < 900
    assert records[7].timings == times["timings"]
    assert records[7].inference_times == times["inference_times"]
    assert (records[7].state_hash, records[7].finished_at) == ("b" * 64, "2026-01-01T00:00:02Z")


def test_every_field_is_documented() -> None:
    documentation = EpisodeRecord.__doc__ or ""
    for name in field_types():
        assert f"        {name}: " in documentation, name
    assert set(VOLATILE_FIELDS) < set(field_types())


def test_the_documentation_lists_every_field() -> None:
    text = (Path(__file__).resolve().parents[2] / "docs" / "results.md").read_text(encoding="utf-8")
    documentation = EpisodeRecord.__doc__ or ""
    for name in field_types():
        mark = "*" if name in VOLATILE_FIELDS else ""
        meaning = " ".join(documentation.split(f"        {name}: ", 1)[1].split("\n        ", 1)[0].split())
        assert f"| `{name}`{mark} |" in text, name
        assert meaning.replace("``", "`") in text, name


def test_a_torn_last_line_is_ignored_and_cut_off(tmp_path: Path) -> None:
    path = tmp_path / "a.jsonl"
    with JournalWriter(path) as journal:
        journal.append(record(trial=0))
    with path.open("ab") as file:
        file.write(b'{"checkpoint": "torn')
    assert len(list(read_journal(path))) == 1
    with JournalWriter(path) as journal:
        journal.append(record(trial=1))
    assert [one.trial for one in read_journal(path)] == [0, 1]


@pytest.mark.parametrize("line", [b"{not json\n", b"[1, 2]\n", b"\xff\xfe\n", b"\n"])
def test_a_damaged_line_is_named(tmp_path: Path, line: bytes) -> None:
    path = tmp_path / "a.jsonl"
    with JournalWriter(path) as journal:
        journal.append(record())
    path.write_bytes(path.read_bytes() + line + path.read_bytes())
    with pytest.raises(JournalError, match=r"line 2 of the journal .*a\.jsonl is damaged"):
        list(read_journal(path))


@pytest.mark.parametrize(
    ("change", "complaint"),
    [
        ({"score": "high"}, "score is wrong: expected `float`, got `str`"),
        ({"success": 1}, "success is wrong: expected `bool`, got `int`"),
        ({"trial": None}, "trial is wrong: expected `int`, got `null`"),
        ({"surprise": 1}, "unknown field `surprise`"),
        ({"schema": SCHEMA_VERSION + 1}, "update simrun"),
        ({"schema": None}, "update simrun"),
    ],
)
def test_a_wrong_record_is_told_with_its_line(tmp_path: Path, change: dict, complaint: str) -> None:
    path = tmp_path / "a.jsonl"
    path.write_text(json.dumps(record().to_json() | change) + "\n")
    with pytest.raises(JournalError, match="line 1 of the journal") as caught:
        list(read_journal(path))
    assert complaint in str(caught.value)


@pytest.mark.parametrize(
    ("change", "told"),
    [
        ({"trial": 7}, "its fields, .*/7/s0, disagree"),
        ({"benchmark": "calvin_abcd"}, "says that its benchmark is calvin_abcd"),
        ({"score": -1.0}, "score is wrong: expected `float` >= 0"),
        ({"score": 10**400}, "score is wrong|is damaged"),
        ({"steps": -1}, "steps is wrong: expected `int` >= 0"),
        ({"steps": 2**63}, "steps is wrong: expected `int` <= 9223372036854775807"),
        ({"inferences": -3}, "inferences is wrong"),
        ({"attempts": -1}, "attempts is wrong"),
        ({"status": "done"}, "status is wrong: invalid enum value 'done'"),
        ({"first_success_step": 61, "steps": 60}, "first success is at step 61 of 60"),
        ({"timings": {"wall": -1.0}}, "timings"),
        ({"timings": {"wall": "long"}}, "timings"),
        ({"delays": [1, "x"]}, "delays.1. is wrong"),
        ({"delays": [True]}, "delays.0. is wrong"),
        ({"inference_times": {"0.01": True}}, "inference_times.*expected `int`, got `bool`"),
        ({"inference_times": {"slow": 4}}, "inference_times"),
        ({"inference_times": {"nan": 4}}, "inference_times"),
        ({"inference_times": {"0.01": 40}}, "times of another number"),
        ({"stages": [{"name": "a", "first_step": 1}]}, "stages.0. is wrong: object missing required field `held`"),
        ({"stages": ["a"]}, "stages.0. is wrong: expected `object`, got `str`"),
        ({"stages": [{"name": "a", "first_step": 99, "held": True}]}, "stage a begins at step 99"),
    ],
)
def test_values_out_of_range_are_damage(tmp_path: Path, change: dict, told: str) -> None:
    """In lines of simrun 0.1, which have no checksum, and in forged ones."""
    path = tmp_path / "a.jsonl"
    text = json.dumps(record().to_json() | change, separators=(",", ":")).encode()
    signed = text[:-1] + b',"crc32":"%08x"}' % zlib.crc32(text)
    for line in (text, signed):
        path.write_bytes(line + b"\n")
        with pytest.raises(JournalError, match=told):
            list(read_journal(path))


@pytest.mark.parametrize("number", ["NaN", "Infinity", "-Infinity", "1e400", "1" * 5000])
def test_numbers_that_are_none_are_damage(tmp_path: Path, number: str) -> None:
    path = tmp_path / "a.jsonl"
    for value in ('"wall": 1.5', '"score": 1.0', '"steps": 40'):
        text = json.dumps(record().to_json())
        assert value in text
        path.write_text(text.replace(value, value.split(":")[0] + ": " + number) + "\n")
        with pytest.raises(JournalError, match=r"line 1 of the journal .* is damaged"):
            list(read_journal(path))


def test_any_flipped_bit_is_damage(tmp_path: Path) -> None:
    """Five of a hundred gave another table in silence before lines had checksums."""
    path = tmp_path / "a.jsonl"
    line = journal_line(record())
    for place in range(len(line) - 1):
        for bit in range(8):
            damaged = bytearray(line)
            damaged[place] ^= 1 << bit
            path.write_bytes(bytes(damaged) + line)
            with pytest.raises(JournalError, match=r"line [12] of the journal"):
                list(read_journal(path))


def test_lines_of_the_first_version_are_read(tmp_path: Path) -> None:
    path = tmp_path / "a.jsonl"
    path.write_text("".join(json.dumps(record(trial=trial).to_json()) + "\n" for trial in range(3)))
    with JournalWriter(path) as journal:
        journal.append(record(trial=3))
    assert [one.trial for one in read_journal(path)] == [0, 1, 2, 3]
    *old, new = path.read_text().splitlines()
    assert not any("crc32" in line for line in old)
    assert re.fullmatch(r'\{.*,"crc32":"[0-9a-f]{8}"\}', new)
    assert json.loads(new)["trial"] == 3, "any reader of JSON lines reads them"


def test_damaged_lines_are_set_aside(tmp_path: Path) -> None:
    path = tmp_path / "a.jsonl"
    with JournalWriter(path) as journal:
        for trial in range(4):
            journal.append(record(trial=trial))
    lines = path.read_bytes().splitlines(keepends=True)
    lines[1] = lines[1].replace(b'"score":1.0', b'"score":0.0')
    lines.insert(3, b"\xff\x00 noise\n")
    lines.append(b'{"torn')
    path.write_bytes(b"".join(lines))
    before = path.read_bytes()
    told = set_aside_damage(path, write=False)
    assert path.read_bytes() == before
    assert [sentence.split(" of the journal")[0] for sentence in told] == ["line 2", "line 4"]
    assert f"it seems to be {record(trial=1).episode}" in told[0]
    assert set_aside_damage(path) == told
    assert [one.trial for one in read_journal(path)] == [0, 2, 3]
    assert path.with_suffix(".damaged").read_bytes() == lines[1] + lines[3]
    assert set_aside_damage(path) == []


def test_a_missing_field_is_told() -> None:
    document = record().to_json()
    del document["steps"]
    with pytest.raises(JournalError, match="missing required field `steps`"):
        read_line(json.dumps(document).encode())


def test_fields_with_a_default_may_be_missing() -> None:
    document = record(timings={}, host="", started_at="", finished_at="").to_json()
    for name in ("timings", "host", "started_at", "finished_at", "video", "fingerprint", "error"):
        del document[name]
    read = read_line(json.dumps(document).encode())
    assert read == record(timings={}, host="", started_at="", finished_at="")
    assert read.timings is not read_line(json.dumps(document).encode()).timings


def test_of_two_records_that_disagree_the_first_counts() -> None:
    first = record(timings={"wall": 1.0}, worker=0)
    again = record(timings={"wall": 2.0}, worker=3, attempts=2, host="elsewhere")
    differing: dict = {}
    assert list(merge([first, again], differing).values()) == [first]
    assert differing == {}
    assert list(merge([first, record(state_hash="c" * 64, steps=41)], differing).values()) == [first]
    assert differing == {first.key: ("steps", "state_hash")}


def test_a_completed_record_beats_an_infrastructure_error() -> None:
    done = record()
    episode = Episode.parse(done.episode)
    lost = EpisodeRecord.infrastructure_error(
        checkpoint=done.checkpoint, execution=done.execution, policy_seed=0, episode=episode, error="worker died"
    )
    assert lost.key == done.key
    assert list(merge([lost, done]).values()) == [done]
    assert list(merge([done, lost]).values()) == [done]
    assert not lost.completed


def test_a_run_is_read_over_its_journals(make_run: MakeRun) -> None:
    records = list(outcomes({"a": 0.5, "b": 0.5}, 20))
    assert sorted(read_run(make_run(records, journals=3)), key=lambda one: one.episode) == sorted(
        records, key=lambda one: one.episode
    )


def test_a_full_disk_loses_no_earlier_record(tmp_path: Path) -> None:
    """A process whose files may not grow beyond 4 KiB: the record that did not fit is reported, not half written."""
    script = """
import resource, signal, sys
from pathlib import Path
from simrun.errors import JournalError
from simrun.results import JournalWriter
from tests.results.synthetic_records import record
signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
resource.setrlimit(resource.RLIMIT_FSIZE, (4096, resource.RLIM_INFINITY))
journal = JournalWriter(Path(sys.argv[1]))
written = 0
try:
    for trial in range(100):
        journal.append(record(trial=trial))
        written += 1
except JournalError as error:
    assert "free space and resume" in str(error), error
resource.setrlimit(resource.RLIMIT_FSIZE, (resource.RLIM_INFINITY, resource.RLIM_INFINITY))
journal.append(record(trial=written))
journal.close()
print(written + 1)
"""
    root = Path(__file__).resolve().parents[2]
    path = tmp_path / "a.jsonl"
    done = subprocess.run(
        [sys.executable, "-c", script, str(path)], capture_output=True, text=True, check=True, cwd=root, timeout=60
    )
    assert [one.trial for one in read_journal(path)] == list(range(int(done.stdout)))


def test_a_record_that_nobody_could_read_is_not_written(tmp_path: Path) -> None:
    with JournalWriter(tmp_path / "a.jsonl") as journal:
        with pytest.raises(JournalError, match="puts too much into details"):
            journal.append(record(details={"log": "x" * (1 << 24)}))
        journal.append(record(trial=1))
    assert [one.trial for one in read_journal(tmp_path / "a.jsonl")] == [1]


def test_a_journal_that_cannot_be_opened_is_told(tmp_path: Path) -> None:
    with pytest.raises(JournalError, match="cannot be opened"):
        JournalWriter(tmp_path / "missing" / "a.jsonl")
    with pytest.raises(JournalError, match="cannot be read"):
        list(read_journal(tmp_path / "missing.jsonl"))
