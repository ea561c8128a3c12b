"""Bundles made to do harm: each is refused in a sentence, nothing is executed, and nothing is written elsewhere."""

from __future__ import annotations

import gzip
import hashlib
import io
import json
import os
import pickle
import tarfile
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from simrun.envs.machine.data_files.archives import read_members
from simrun.errors import AssetError, JournalError, UsageError
from simrun.results.publishing import bundle as bundles
from simrun.results.publishing.bundle import SUFFIX, Bundle, is_bundle

KEY = {"checkpoint": "a", "execution": "full", "policy_seed": 0, "episode": "tabletop/standard@1/reach_red/0/s0"}


def npy(value: Any, **settings: Any) -> bytes:
    stream = io.BytesIO()
    np.save(stream, value, **settings)
    return stream.getvalue()


def archive(*entries: tuple[tarfile.TarInfo, bytes]) -> bytes:
    """A tar file, compressed, whatever its heads say."""
    blocks = [info.tobuf(tarfile.GNU_FORMAT) + data.ljust(-(-len(data) // 512) * 512, b"\0") for info, data in entries]
    return gzip.compress(b"".join(blocks) + bytes(1024))


def entry(name: str, data: bytes = b"", kind: bytes = tarfile.REGTYPE, **fields: Any) -> tuple[tarfile.TarInfo, bytes]:
    info = tarfile.TarInfo(name)
    info.type, info.size = kind, len(data)
    for field, value in fields.items():
        setattr(info, field, value)
    return info, data


def packed(contents: Mapping[str, bytes], **head: Any) -> bytes:
    """A bundle whose checksums are right."""
    sums = {name: hashlib.sha256(data).hexdigest() for name, data in contents.items()}
    described = {"format": "simrun bundle", "version": 1, "run": "run", "files": sums, **head}
    held = {"bundle.json": json.dumps(described).encode(), **contents}
    return archive(*(entry(name, data) for name, data in held.items()))


def with_actions(actions: bytes, **fields: Any) -> bytes:
    listed = {**KEY, "action_mode": "osc", "file": "actions/00000.npy", **fields}
    return packed({"actions.json": json.dumps({"episodes": [listed]}).encode(), "actions/00000.npy": actions})


PAX_BACKWARDS = b"18 size=-1048576\n"
WIDE = npy(np.zeros(3)).replace(b"(3,)", b"(1099511627776,)", 1)

ARCHIVES: dict[str, tuple[bytes, str]] = {
    "an extension without an end": (archive(entry("x", kind=tarfile.XHDTYPE, size=1 << 40)), "which no honest one"),
    "a global extension": (archive(entry("x", kind=tarfile.XGLTYPE, size=1 << 31)), "which no honest one has"),
    "a long name": (archive(entry("x", kind=tarfile.GNUTYPE_LONGNAME, size=1 << 31)), "which no honest one has"),
    "a long link": (archive(entry("x", kind=tarfile.GNUTYPE_LONGLINK, size=1 << 31)), "which no honest one has"),
    "holes": (archive(entry("x", kind=tarfile.GNUTYPE_SPARSE, size=512)), "which no honest one has"),
    "a negative size": (archive(entry("x", size=-512)), "which no honest one has"),
    "backwards": (
        archive(entry("x", PAX_BACKWARDS, tarfile.XHDTYPE), entry("y", b"y")),
        "unpacks to more than|is no bundle",
    ),
    "a pipe": (archive(entry("x", kind=tarfile.FIFOTYPE)), "neither file nor folder"),
    "a device": (archive(entry("x", kind=tarfile.CHRTYPE, devmajor=1, devminor=5)), "neither file nor folder"),
    "a hard link": (archive(entry("x", kind=tarfile.LNKTYPE, linkname="/etc/passwd")), "neither file nor folder"),
    "an absolute path": (archive(entry("/tmp/simrun-escaped", b"x")), "leads out of it"),
    "a file that is a folder": (archive(entry("x", b"x"), entry("x/y", b"y")), "is no bundle of simrun"),
    "nothing": (b"", "is no bundle of simrun"),
    "an empty archive": (archive(), "is no bundle of simrun: .*No such file"),
    "half a stream": (gzip.compress(os.urandom(5000))[:3000], "is no bundle of simrun"),
    "no JSON": (archive(entry("bundle.json", b"[" * 100_000)), "it is no JSON"),
    "branches": (archive(entry("bundle.json", b"[" + b"[]," * 5_000_000 + b"0]")), "holds more than 4000000 lists"),
    "a list": (archive(entry("bundle.json", b"[]")), "it holds no object"),
    "another version": (packed({}, version=2), "of another version"),
    "no list of files": (packed({}, files=[["x", "y"]]), "lists no files"),
    "a file that is missing": (packed({}, files={"journal/main.jsonl": "0"}), "journal/main.jsonl is missing"),
    "a file from outside": (packed({}, files={"../../etc/passwd": "0"}), "is missing"),
    "a name that is none": (packed({}, files={"a\0b": "0"}), "is missing"),
    "a digest that is none": (packed({"x": b"x"}, files={"x": ["x"]}), "x is not what was packed"),
    "a file too many": (archive(*(entry(n, d) for n, d in [("bundle.json", json.dumps(
        {"format": "simrun bundle", "version": 1, "files": {}}).encode()), ("y", b"")])), "y is not on its list"),
}  # fmt: skip


def npz() -> bytes:
    stream = io.BytesIO()
    np.savez(stream, actions=np.zeros((5, 7)))
    return stream.getvalue()


ACTIONS: dict[str, bytes] = {
    "an archive of arrays": with_actions(npz()),
    "a trillion numbers": with_actions(WIDE),
    "one axis": with_actions(npy(np.zeros(7))),
    "whole numbers": with_actions(npy(np.zeros((5, 7), np.int64))),
    "complex numbers": with_actions(npy(np.zeros((5, 7), np.complex64))),
    "texts": with_actions(npy(np.array([["a"]]))),
    "no array": with_actions(b"nothing"),
    "empty": with_actions(b""),
    "half an array": with_actions(npy(np.zeros((5, 7)))[:-8]),
    "another file": with_actions(npy(np.zeros((5, 7))), file="actions/00009.npy"),
    "a file outside": with_actions(npy(np.zeros((5, 7))), file="../00000.npy"),
    "no file": with_actions(npy(np.zeros((5, 7))), file=None),
    "nobody's episode": with_actions(npy(np.zeros((5, 7))), episode="tabletop/standard@1/x/0/s0"),
    "an episode that is a list": with_actions(npy(np.zeros((5, 7))), episode=[]),
}


@pytest.fixture
def place(tmp_path: Path):
    """Where a bundle lies, alone; nothing else is there at the end, nor outside."""
    alone = tmp_path / "alone"
    alone.mkdir()
    yield alone / f"hostile{SUFFIX}"
    assert [path.name for path in alone.iterdir()] == [f"hostile{SUFFIX}"]
    assert not Path("/tmp/simrun-escaped").exists()


def refused(place: Path, target: Path, sentence: str, then: Callable[[Bundle], Any] | None = None) -> None:
    def use() -> None:
        unpacked = Bundle.unpack(place, target)
        if then is not None:
            then(unpacked)

    with pytest.raises((UsageError, JournalError), match=sentence) as told:
        use()
    assert "\n" not in str(told.value)
    assert len(str(told.value)) < 1000


@pytest.mark.parametrize("kind", ARCHIVES)
def test_a_hostile_archive_is_one_sentence(place: Path, tmp_path: Path, kind: str) -> None:
    data, sentence = ARCHIVES[kind]
    place.write_bytes(data)
    refused(place, tmp_path / "there", sentence)


@pytest.mark.parametrize("kind", ["an extension without an end", "a long name", "holes", "a negative size"])
def test_downloads_are_guarded_in_the_same_way(place: Path, kind: str) -> None:
    place.write_bytes(ARCHIVES[kind][0])
    with pytest.raises(AssetError, match="which no honest one has"):
        list(read_members(place))


def test_the_head_of_an_archive_is_not_taken_into_memory(place: Path, tmp_path: Path) -> None:
    """400 MiB of zeros are 400 kB in the archive; tarfile takes them for the extension of a name."""
    head, _ = entry("x", kind=tarfile.GNUTYPE_LONGNAME, size=400 << 20)
    with gzip.open(place, "wb", 1) as file:
        file.write(head.tobuf(tarfile.GNU_FORMAT))
        for _ in range(400):
            file.write(bytes(1 << 20))
    import tracemalloc

    tracemalloc.start()
    try:
        refused(place, tmp_path / "there", "which no honest one has")
        assert not is_bundle(place.rename(tmp_path / "unnamed"))
        assert tracemalloc.get_traced_memory()[1] < 50 << 20
    finally:
        tracemalloc.stop()
        (tmp_path / "unnamed").rename(place)


@pytest.mark.parametrize(("name", "value"), [("_MOST_FILES", 2), ("_MOST_BYTES", 2_000)])
def test_no_more_is_unpacked_than_anybody_bundles(
    place: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str, value: int
) -> None:
    monkeypatch.setattr(bundles, name, value)
    place.write_bytes(archive(*(entry(str(number), bytes(1000)) for number in range(3))))
    refused(place, tmp_path / "there", "it unpacks to more than")
    assert len(list((tmp_path / "there").iterdir())) == 2


@pytest.mark.parametrize("kind", ACTIONS)
def test_actions_that_are_none_are_one_sentence(
    place: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, kind: str
) -> None:
    monkeypatch.setattr(Bundle, "run", run_of_one_record())
    place.write_bytes(ACTIONS[kind])
    refused(place, tmp_path / "there", "an entry of actions.json cannot be used", lambda bundle: bundle.sample(3))


@pytest.mark.parametrize("index", [b"[]", b'{"episodes": 3}', b'{"episodes": null}', b"\xff", b"[" * 100_000])
def test_an_index_that_is_none_is_one_sentence(
    place: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, index: bytes
) -> None:
    monkeypatch.setattr(Bundle, "run", run_of_one_record())
    place.write_bytes(packed({"actions.json": index}))
    refused(place, tmp_path / "there", "its actions.json cannot be read", lambda bundle: bundle.sample(3))


def run_of_one_record() -> Any:
    from types import SimpleNamespace

    return SimpleNamespace(records=[SimpleNamespace(**KEY)])


def test_objects_in_actions_are_not_built(place: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    canary = tmp_path / "canary"

    class Payload:
        def __reduce__(self) -> tuple[Any, ...]:
            return os.mkdir, (str(canary),)

    monkeypatch.setattr(Bundle, "run", run_of_one_record())
    for data in (npy(np.array([[Payload()]], dtype=object), allow_pickle=True), pickle.dumps(Payload())):
        place.write_bytes(with_actions(data))
        refused(place, tmp_path / "there", "cannot be used", lambda bundle: bundle.sample(1))
    assert not canary.exists()


@pytest.mark.parametrize("disguise", ["pipe", "device", "folder", "circle", "nothing"])
def test_what_is_no_file_is_no_bundle(place: Path, tmp_path: Path, disguise: str) -> None:
    made: dict[str, Callable[[], Any]] = {
        "pipe": lambda: os.mkfifo(place),
        "device": lambda: place.symlink_to("/dev/zero"),
        "folder": place.mkdir,
        "circle": lambda: place.symlink_to(place.name),
        "nothing": lambda: place.symlink_to("nowhere"),
    }
    made[disguise]()
    refused(place, tmp_path / "there", "is no bundle of simrun")
    unnamed = place.rename(tmp_path / "unnamed")
    assert not is_bundle(unnamed)
    unnamed.rename(place)
