"""How a line of JSON becomes a record: types and ranges are checked, and what many records share is kept once."""

from __future__ import annotations

from collections.abc import Callable
from functools import cache
from sys import intern
from typing import Any

from msgspec import NODEFAULT, Raw, ValidationError, defstruct, field
from msgspec.json import Decoder, Encoder, decode
from msgspec.structs import astuple

from simrun.errors import JournalError
from simrun.results.records import FIELDS, SCHEMA_VERSION, Course, EpisodeRecord, Stage

_REPEATED = (
    *("checkpoint", "execution", "episode", "benchmark", "protocol", "task", "instruction", "host", "fingerprint"),
    "initial_hash",
)
"""Texts that many records share."""

_NAMES = [known.name for known in FIELDS]
_TEXTS = tuple(map(_NAMES.index, _REPEATED))
_ALL = len(FIELDS)
_OWN = _ALL - len(Course.__struct_fields__)


def read_line(line: bytes, *, signed: bool = False) -> EpisodeRecord:
    """Read what `EpisodeRecord.to_json` gave, as JSON.

    Args:
        line: the JSON.
        signed: whether a checksum stands at its end, which the caller has checked.

    Raises:
        JournalError: the line is of a newer schema, contradicts itself, or a field is missing, unknown, of a wrong
            type or out of range.
        ValueError, RecursionError: it is no JSON.
    """
    try:
        values = list(astuple((_SIGNED if signed else _PLAIN).decode(line)))
        # What stands in many records is kept once: a million records fit into memory.
        for place in _TEXTS:
            values[place] = intern(values[place])
        for place, read in _PARTS:
            values[place] = _shared(bytes(values[place]), read)
    except ValidationError:
        raise JournalError(_what_is_wrong(line, signed)) from None
    course = Course(*values[_OWN:_ALL])
    values[_OWN:] = [course.pack()]
    record = EpisodeRecord(*values)
    if record.schema != SCHEMA_VERSION:
        raise JournalError(_of_schema(record.schema))
    record.require_consistent(course)
    return record


_MOST_SHARED = 1 << 14
_known: dict[bytes, Any] = {}
_bytes_of = Encoder().encode


def _shared(text: bytes, read: Callable[[bytes], Any] = decode) -> Any:
    """What a part of a line says; equal texts of many records are one object, which nobody changes."""
    if len(_known) > _MOST_SHARED:
        _known.clear()
    return _known[text] if text in _known else _known.setdefault(text, read(text))


def _read_details(text: bytes) -> dict[str, Any]:
    details = _DETAILS.decode(text)
    subtasks = details.get("subtasks")
    if type(subtasks) is list:
        subtasks[:] = [_shared(_bytes_of(one)) for one in subtasks]
    return details


def _read_stages(text: bytes) -> list[Stage]:
    return [_shared(_bytes_of(one)) for one in _STAGES.decode(text)]


_DETAILS, _STAGES = Decoder(dict[str, Any]), Decoder(list[Stage])
_READERS: dict[str, Callable[[bytes], Any]] = {"details": _read_details, "stages": _read_stages}
_PARTS = [(_NAMES.index(name), read) for name, read in _READERS.items()]


@cache
def _line_decoder(*, whole: bool, signed: bool) -> Decoder[Any]:
    """A decoder of lines; one that is not whole leaves text what many records share."""
    line: list[tuple[str, Any, Any]] = []
    for known in FIELDS:
        kind, default = known.type, known.default
        if known.default_factory is not NODEFAULT:
            default = field(default_factory=known.default_factory)
        if known.name in _READERS and not whole:
            kind, default = Raw, default if default is NODEFAULT else Raw(_bytes_of(known.default_factory()))
        line.append((known.name, kind, default))
    if signed:
        line.append(("crc32", str, NODEFAULT))
    return Decoder(defstruct("Line", line, kw_only=True, forbid_unknown_fields=True, gc=False))


_PLAIN, _SIGNED = (_line_decoder(whole=False, signed=signed) for signed in (False, True))


def _what_is_wrong(line: bytes, signed: bool) -> str:
    try:
        _line_decoder(whole=True, signed=signed).decode(line)
    except ValidationError as error:
        return _in_words(error, decode(line))
    return "a record is wrong"


def _in_words(error: ValidationError, document: Any) -> str:
    """What is wrong with a document that is no record; a ValueError where it is not even an object."""
    if not isinstance(document, dict):
        raise ValueError("no record")
    if document.get("schema") != SCHEMA_VERSION:
        return _of_schema(document.get("schema"))
    what, _, where = str(error).partition(" - at `$.")
    whose = f"'s {where[:-1]}" if where else ""
    return f"a record{whose} is wrong: {what[0].lower()}{what[1:]}"


def _of_schema(found: object) -> str:
    return f"a record has schema {found!r:.40}; this simrun reads {SCHEMA_VERSION}; update simrun"
