"""Damage: bytes, values of JSON and TOML, members of archives, headers of arrays, and what is no regular file."""

from __future__ import annotations

import io
import json
import os
import random
import socket
import warnings
import zipfile
from pathlib import Path
from typing import Any

import numpy as np
from judging import PICKLED, Payload

HOSTILE_JSON = (
    b"[" * 100_000, b"1" * 5000, b"1e400", b"-1e400", b"NaN", b"Infinity", b"null", b"true", b'""', b"{}", b"[]", b"-1",
    b"99999999999999999999", b'"\\ud800"', b'"\\u0000"', b'"' + b"x" * 100_000 + b'"', b"0.1", b'[[["a"]]]',
)  # fmt: skip

HOSTILE_VALUES: tuple[Any, ...] = (
    *(None, True, False, "", "x", {}, [], [[[]]], -1, 0, 1, 2**31, 2**63, 10**30, 10**400, -(10**30), 1e308, 0.5),
    *(float("nan"), float("inf"), "NaN", "\x00", "\ud800", "../../../etc/passwd", "/dev/zero", "x" * 20_000),
    *({"a": {"b": [1, "2", None]}}, [{"name": "resize"}], ["x"] * 3000, [None], [1e999], "os.system", "{0.x}"),
    "\u202e\x1b[2J",
)  # fmt: skip


_OVERGROWN = (
    lambda whole: b"a." * 60_000 + b"a = 1\n" + whole,
    lambda whole: b"[" + b"a." * 60_000 + b"a]\n" + whole,
    lambda whole: whole + b"[" + b"[]," * 500_000 + b"0]",
    lambda whole: b"[" + b"[]," * 4_500_000 + b"0]",
    lambda whole: b"{" + b'"a":{' * 50_000,
    lambda whole: b"\x81\xa1a" * 2_000 + whole,
    lambda whole: b"\x91" * 600 + whole,
    lambda whole: b"\xdd\x00\x4c\x4b\x40" + b"\x90" * 5_000_000,
    lambda whole: whole.replace(b"\n", b"\r\n"),
    lambda whole: whole.replace(b"\n", b"\r") + b"\x85",
    lambda whole: b"\xef\xbb\xbf" + whole,
    lambda whole: b"\xff\xfe" + whole.decode("latin-1").encode("utf-16-le"),
    lambda whole: whole.replace(b"a", b"\xed\xa0\x80"),
    lambda whole: whole.replace(b"e", b"\xc0\xae"),
    lambda whole: whole + b"\n" * 1_000_000,
    lambda whole: whole + bytes(1_000_000),
    lambda whole: b",\n" * 1_000_000 + whole,
)
"""What is much larger than what it was, takes much more in memory than in a file, or is encoded otherwise."""


def mangle(whole: bytes, draw: random.Random) -> bytes:
    """One malformed version of a whole input."""
    kind = draw.randrange(10)
    data = bytearray(whole)
    place = draw.randrange(len(data) + 1)
    if kind == 0:
        return bytes(data[:place])
    if kind == 1:
        for _ in range(draw.choice((1, 1, 2, 8))):
            data[draw.randrange(len(data))] ^= 1 << draw.randrange(8)
        return bytes(data)
    if kind == 2:
        return bytes(data[:place]) + draw.randbytes(draw.choice((1, 4, 64))) + bytes(data[place:])
    if kind == 3:
        return bytes(data[:place] + data[place + draw.choice((1, 4, 64)) :])
    if kind == 4:
        return draw.randbytes(draw.choice((0, 1, 8, 300, 5000)))
    if kind == 5:
        return whole * draw.choice((2, 3)) if draw.random() < 0.5 else whole[place:] + whole[:place]
    if kind == 6:
        return draw.choice(HOSTILE_JSON)
    if kind == 7:
        return draw.choice(_OVERGROWN)(whole)
    # Put a hostile value in the place of a value of JSON or TOML.
    starts = [i for i, byte in enumerate(whole) if byte in b":=,[ "]
    if not starts:
        return bytes(data[:place])
    start = draw.choice(starts) + 1
    ends = [i for i in range(start, min(start + 400, len(whole))) if whole[i] in b",}]\n"] or [len(whole)]
    return whole[:start] + draw.choice(HOSTILE_JSON) + whole[ends[0] :]


def mangle_json(whole: bytes, draw: random.Random) -> bytes:
    """JSON that is whole, of which one or two values are hostile, missing, renamed or there twice."""
    document = json.loads(whole)
    for _ in range(draw.choice((1, 1, 1, 2))):
        document = _changed(document, draw)
    text = json.dumps(document)
    if draw.random() < 0.1 and text.startswith("{") and len(text) > 2:
        # The first key once more, with another value.
        key = next(iter(document))
        text = f"{text[:-1]}, {json.dumps(key)}: {json.dumps(draw.choice(HOSTILE_VALUES))}}}"
    return text.encode()


def _changed(value: Any, draw: random.Random) -> Any:
    if isinstance(value, (dict, list)) and value and draw.random() < 0.85:
        places = list(value) if isinstance(value, dict) else list(range(len(value)))
        place = draw.choice(places)
        kind = draw.random()
        if kind < 0.08:
            del value[place]
        elif kind < 0.14 and isinstance(value, dict):
            value[draw.choice(("unknown", "", "../x", "\x1b"))] = value.pop(place)
        elif kind < 0.2 and isinstance(value, list):
            value.append(value[place])
        else:
            value[place] = _changed(value[place], draw)
        return value
    return draw.choice(HOSTILE_VALUES)


def hostile_array(draw: random.Random) -> bytes:
    """A file of numpy's that promises too much, holds Python objects, or is of a type that nobody expects."""
    kind = draw.randrange(5)
    stream = io.BytesIO()
    if kind == 0:
        shape = draw.choice(("(1099511627776,)", "(-1,)", f"({10**30},)", "(0, 99999999)", "(2,) * 9", "()", "'x'"))
        typed = draw.choice(("<f8", "|O", "|V0", "<U99999999", "(1000000000,)<f4", "nonsense", "<M8[s]"))
        head = f"{{'descr': '{typed}', 'fortran_order': False, 'shape': {shape}, }}".ljust(117).encode() + b"\n"
        return b"\x93NUMPY\x01\x00" + len(head).to_bytes(2, "little") + head + bytes(64)
    if kind == 1:
        np.save(stream, np.array([Payload()], dtype=object), allow_pickle=True)
        return stream.getvalue()
    if kind == 2:
        return PICKLED
    strange: list[Any] = [
        *(np.full((5, 7), np.nan, np.float32), np.full((5, 7), np.inf), np.zeros((0, 7)), np.zeros((5, 0))),
        *(np.zeros((5, 7), np.complex64), np.zeros((5, 7), "<M8[s]"), np.zeros((5, 7), ">f8"), np.zeros((2,) * 20)),
        *(np.array("text"), np.zeros((5, 7), bool), np.zeros((5, 7), np.int8), np.zeros(3, [("a", "<f4")])),
        *(np.zeros(7), np.float64(3)),
    ]  # fmt: skip
    np.save(stream, draw.choice(strange))
    return stream.getvalue()


def mangle_zip(whole: bytes, draw: random.Random) -> bytes:
    """An archive of which one member is damaged, replaced, missing, renamed, there twice or promises too much."""
    with zipfile.ZipFile(io.BytesIO(whole)) as archive:
        members = {entry.filename: archive.read(entry) for entry in archive.infolist()}
    name = draw.choice(list(members))
    kind = draw.randrange(7)
    twice = None
    if kind == 0:
        members[name] = hostile_array(draw)
    elif kind == 1:
        members[name] = PICKLED
    elif kind == 2:
        del members[name]
    elif kind == 3:
        members[draw.choice(("../escaped", "/etc/x", "a\x00b", "\udcff".encode(errors="ignore").decode() or "y"))] = (
            members.pop(name)
        )
    elif kind == 4:
        twice = name
    elif kind == 5:
        members[name] = bytes(300 << 20)
    else:
        members[name] = mangle(members[name] or b"0", draw)
    stream = io.BytesIO()
    packing = (
        draw.choice((zipfile.ZIP_DEFLATED, zipfile.ZIP_STORED, zipfile.ZIP_LZMA)) if kind != 5 else zipfile.ZIP_DEFLATED
    )

    with warnings.catch_warnings(), zipfile.ZipFile(stream, "w", packing, compresslevel=1) as archive:
        warnings.simplefilter("ignore")
        for member, data in members.items():
            archive.writestr(member, data)
            if member == twice:
                archive.writestr(member, hostile_array(draw))
    return stream.getvalue()


def damaged(whole: bytes, draw: random.Random) -> bytes:
    """A malformed version in the way that goes deepest into what the bytes are, or of the bytes alone."""
    if draw.random() < 0.7:
        if whole[:1] in b"{[" and whole.strip():
            try:
                return mangle_json(whole, draw)
            except ValueError:
                pass
        elif whole.startswith(b"PK\x03\x04"):
            return mangle_zip(whole, draw)
        elif whole.startswith(b"\x93NUMPY"):
            return hostile_array(draw)
        elif len(whole) > 8 and int.from_bytes(whole[:8], "little") < len(whole) and whole[8:9] == b"{":
            length = int.from_bytes(whole[:8], "little")
            header = mangle_json(whole[8 : 8 + length], draw)
            return len(header).to_bytes(8, "little") + header + whole[8 + length :]
    return mangle(whole or b"0", draw)


DEVICES = {
    "zero": "/dev/zero",
    "full": "/dev/full",
    "terminal": "/dev/tty",
    "memory": "/proc/self/mem",
    "pages": "/proc/self/pagemap",
    "kernel": "/proc/kmsg",
    "without number": "/proc",
}

DISGUISES = (
    *("pipe", "circle", "dangling", "folder", "socket", "endless", "hole", "empty", "gone", "locked", "below"),
    *DEVICES,
)


def disguise(file: Path, draw: random.Random) -> str:
    """Put something into the place of a file that is none; returns what."""
    kind = draw.choice(DISGUISES)
    file.unlink(missing_ok=True)
    if kind == "pipe":
        os.mkfifo(file)
    elif kind in DEVICES:
        file.symlink_to(DEVICES[kind])
    elif kind == "circle":
        file.symlink_to(file.name)
    elif kind == "dangling":
        file.symlink_to("nowhere/at/all")
    elif kind == "folder":
        file.mkdir()
    elif kind == "socket":
        with socket.socket(socket.AF_UNIX) as made:
            # The path of a socket may be too long for the system.
            try:
                made.bind(str(file))
            except OSError:
                file.mkdir()
    elif kind in ("endless", "hole"):
        with file.open("wb") as made_file:
            made_file.truncate(1 << 43 if kind == "endless" else 1900 << 20)
    elif kind == "below":
        # What is named lies below a file.
        file.with_name(f"{file.name}-file").touch()
        file.symlink_to(f"{file.name}-file/x")
    elif kind in ("empty", "locked"):
        file.touch(0o000 if kind == "locked" else 0o666)
    return kind


def stray(folder: Path, draw: random.Random) -> None:
    """Put somebody else's thing into a folder, under a name that is no UTF-8 or means something to a shell."""
    name = draw.choice((b"\xff\xfe", b"-rf", b"a\nb", b"\x1b[2J", b"*", b"con", b" ", b"..data"))
    ending = draw.choice((b".jsonl", b".json", b"", b".log", b".npz", b".toml", b".mp4", b".safetensors", b".onnx"))
    os.makedirs(folder, exist_ok=True)
    path = os.path.join(os.fsencode(folder), name + ending)
    kind = draw.randrange(4)
    if kind == 0:
        os.makedirs(path, exist_ok=True)
    elif os.path.lexists(path):
        return
    elif kind == 1:
        os.mkfifo(path)
    elif kind == 2:
        os.symlink(b"..", path)
    else:
        with open(path, "wb") as strange:
            strange.write(draw.randbytes(50))
