"""EpisodeRecord: everything that is kept of one finished episode; one JSON object a line of a journal."""

from __future__ import annotations

import re
from collections.abc import Callable, Collection
from sys import intern
from typing import Annotated, Any, Literal, TypedDict

from msgspec import NODEFAULT, Meta, Raw, Struct, ValidationError, defstruct, field, msgpack
from msgspec.json import Decoder, Encoder, decode
from msgspec.structs import asdict, astuple, fields

from simrun.envs import Episode
from simrun.envs.episodes import episode_id
from simrun.errors import JournalError
from simrun.results.plan import CellKey, JobKey

SCHEMA_VERSION = 1
"""Version of the record schema; written into every line."""

VOLATILE_FIELDS = (
    "attempts",
    "timings",
    "inference_times",
    "worker",
    "host",
    "started_at",
    "finished_at",
    "fingerprint",
    "video",
    "rollout",
    # Older records have none.
    "initial_hash",
)
"""Fields that may differ between two runs of the same episode; all others must be equal."""

Status = Literal["completed", "infrastructure_error"]
COMPLETED: Status = "completed"
INFRASTRUCTURE_ERROR: Status = "infrastructure_error"

Count = Annotated[int, Meta(ge=0, le=2**63 - 1)]
"""A whole number from 0 up that a column of a data base still holds."""

Measure = Annotated[float, Meta(ge=0, lt=2.0**63)]
"""A number from 0 up."""


class Stage(TypedDict):
    """Partial progress as a benchmark defines it: the step at which it first held (None: never), and at the end."""

    name: str
    first_step: Count | None
    held: bool


class Course(Struct, frozen=True, array_like=True, gc=False):
    """What a record says of how its episode went and no table counts; see `EpisodeRecord` for its fields."""

    actions_hash: str
    state_hash: str
    timings: dict[str, Measure] = field(default_factory=dict)
    inference_times: dict[Measure, Count] = field(default_factory=dict)
    delays: list[Count] = field(default_factory=list)
    started_at: str = ""
    finished_at: str = ""

    def pack(self) -> bytes:
        """As text of a third of its size; `EpisodeRecord.course` reads it."""
        return _packed(self)


_packed = msgpack.Encoder().encode
_unpacked = msgpack.Decoder(Course).decode


class EpisodeRecord(Struct, frozen=True, gc=False):
    """One episode of one checkpoint under one execution variant.

    Types and ranges are checked where a line is read, by msgspec while it decodes. Records hold no cycles, so that
    the garbage collector need not walk millions of them, and are small, so that millions fit into memory: what no
    table counts is packed, and read anew each time that somebody asks.

    Attributes:
        checkpoint: the checkpoint as the user named it.
        execution: execution variant as text (``full``, ``k=4``, ...).
        policy_seed: seed of the policy's own randomness.
        episode: id of the episode, ``<protocol>/<task>/<trial>/s<seed>``.
        benchmark: canonical benchmark name.
        protocol: full protocol name.
        task: task name.
        trial: index of the initial state.
        seed: seed of what the trial does not fix.
        wording: which of the protocol's own sentences it was given; 0 where there is one, or the benchmark's own.
        status: ``completed``, or ``infrastructure_error``: then it is in no denominator.
        success: success by the protocol's rule.
        success_any: the success condition held after some step.
        success_final: the success condition held after the last step.
        first_success_step: control step of the first success, None without one.
        score: as its benchmark counts: 0 or 1, subtasks solved in a row, or a number with a unit.
        steps: control steps executed.
        instruction: the first instruction of the episode.
        stages: partial progress as the benchmark defines it, in order: ``name``, ``first_step`` (None: never) and
            whether it ``held`` after the last step.
        details: what only this benchmark records (a chain: its subtasks).
        execution_horizon: actions executed between two inferences.
        chunk_length: actions in a predicted chunk.
        inferences: chunks predicted.
        delays: control steps that each inference took, under ``delay=measured``; the first one is waited for.
        actions_hash: SHA-256 over the executed actions.
        state_hash: SHA-256 of the simulator's last state.
        initial_hash: SHA-256 of the state that it began in with what was asked; empty in older records.
        error: cause of an infrastructure error, None otherwise.
        attempts: how often the episode was started.
        timings: seconds spent in ``reset``, ``physics``, ``render``, ``inference`` and ``wall``; where the policy's
            graphics card tells, the ``joules`` that it took from one of its inferences to the next.
        inference_times: seconds that an inference took, rounded to two digits -> how many took so long; of a batch each
            has its share. Empty in older records.
        worker: index of the worker that ran it.
        host: name of the machine.
        started_at: UTC, ISO 8601.
        finished_at: UTC, ISO 8601.
        fingerprint: short hash of what decides results on the machine that ran it; see ``run.json``.
        video: path of its video in the run folder, None when it was not filmed or not kept.
        rollout: its rollout below the run folder's ``rollouts``, ``SET#INDEX``; None when it was not kept.
        schema: version of this schema.
    """

    checkpoint: str
    execution: str
    policy_seed: Count
    episode: str
    benchmark: str
    protocol: str
    task: str
    trial: Count
    seed: Count
    status: Status
    success: bool
    success_any: bool
    success_final: bool
    first_success_step: Count | None
    score: Measure
    steps: Count
    instruction: str
    details: dict[str, Any]
    execution_horizon: Count
    chunk_length: Count
    inferences: Count
    error: str | None = None
    attempts: Count = 1
    worker: Count = 0
    host: str = ""
    fingerprint: str = ""
    video: str | None = None
    rollout: str | None = None
    stages: list[Stage] = field(default_factory=list)
    wording: Count = 0
    initial_hash: str = ""
    schema: int = SCHEMA_VERSION
    packed_course: bytes = Course("", "").pack()

    @classmethod
    def of(cls, **values: Any) -> EpisodeRecord:
        """A record, given its fields by name; those that have a default may be left out.

        Raises:
            TypeError: one is missing or unknown.
        """
        course = {name: values.pop(name) for name in Course.__struct_fields__ if name in values}
        return cls(**values, packed_course=Course(**course).pack())

    @property
    def course(self) -> Course:
        """How the episode went: all of what is packed, read once."""
        return _unpacked(self.packed_course)

    @property
    def actions_hash(self) -> str:
        """SHA-256 over the executed actions."""
        return self.course.actions_hash

    @property
    def state_hash(self) -> str:
        """SHA-256 of the simulator's last state."""
        return self.course.state_hash

    @property
    def timings(self) -> dict[str, Measure]:
        """Seconds by what they were spent on, and joules."""
        return self.course.timings

    @property
    def inference_times(self) -> dict[Measure, Count]:
        """Seconds that an inference took -> how many took so long."""
        return self.course.inference_times

    @property
    def delays(self) -> list[Count]:
        """Control steps that each inference took, where they were counted."""
        return self.course.delays

    @property
    def started_at(self) -> str:
        """UTC, ISO 8601."""
        return self.course.started_at

    @property
    def finished_at(self) -> str:
        """UTC, ISO 8601."""
        return self.course.finished_at

    @property
    def key(self) -> JobKey:
        """What makes the record unique in a run: (checkpoint, execution, policy seed, episode id)."""
        return (self.checkpoint, self.execution, self.policy_seed, self.episode)

    @property
    def cell(self) -> CellKey:
        """The table row it counts for: (checkpoint, execution, protocol)."""
        return (self.checkpoint, self.execution, self.protocol)

    @property
    def completed(self) -> bool:
        """Whether it counts in a success rate."""
        return self.status == COMPLETED

    def outcome(self) -> dict[str, Any]:
        """Everything that must be the same whenever and wherever the episode is run."""
        return {name: value for name, value in self.to_json().items() if name not in VOLATILE_FIELDS}

    def to_json(self) -> dict[str, Any]:
        """A JSON-ready dictionary; what it holds is the record's own."""
        values = asdict(self)
        return values | asdict(_unpacked(values.pop("packed_course")))

    @classmethod
    def from_line(cls, line: bytes, *, signed: bool = False) -> EpisodeRecord:
        """Read what `to_json` gave, as JSON.

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
        record = cls(*values)
        if record.schema != SCHEMA_VERSION:
            raise JournalError(_of_schema(record.schema))
        record._check(course)
        return record

    def _check(self, course: Course) -> None:
        """Check what types and ranges do not say.

        Raises:
            JournalError: a value contradicts another one.
        """
        name = episode_id(self.protocol, self.task, self.trial, self.seed, self.wording)
        if self.episode != name:
            raise JournalError(f"a record's id {self.episode} and its fields, {name}, disagree")
        if self.benchmark != self.protocol.partition("/")[0]:
            raise JournalError(f"a record of {self.protocol} says that its benchmark is {self.benchmark}")
        if (self.first_success_step or 0) > self.steps:
            raise JournalError(f"a record's first success is at step {self.first_success_step} of {self.steps}")
        if course.inference_times and sum(course.inference_times.values()) != self.inferences:
            raise JournalError(f"a record has {self.inferences} inferences, and times of another number of them")
        for stage in self.stages:
            if (stage["first_step"] or 0) > self.steps:
                raise JournalError(
                    f"a record's stage {stage['name']} begins at step {stage['first_step']} of {self.steps}"
                )

    @classmethod
    def infrastructure_error(
        cls, *, checkpoint: str, execution: str, policy_seed: int, episode: Episode, error: str, **volatile: Any
    ) -> EpisodeRecord:
        """The record of an episode that could not be run; it is in no denominator and is run again on resume."""
        return cls.of(
            checkpoint=checkpoint,
            execution=execution,
            policy_seed=policy_seed,
            episode=episode.id,
            benchmark=episode.benchmark,
            protocol=episode.protocol,
            task=episode.task,
            trial=episode.trial,
            seed=episode.seed,
            wording=episode.wording,
            status=INFRASTRUCTURE_ERROR,
            success=False,
            success_any=False,
            success_final=False,
            first_success_step=None,
            score=0.0,
            steps=0,
            instruction="",
            details={},
            execution_horizon=0,
            chunk_length=0,
            inferences=0,
            actions_hash="",
            state_hash="",
            error=error,
            **volatile,
        )


_REPEATED = (
    *("checkpoint", "execution", "episode", "benchmark", "protocol", "task", "instruction", "host", "fingerprint"),
    "initial_hash",
)
"""Texts that many records share."""
_FIELDS = (*fields(EpisodeRecord)[:-1], *fields(Course))
"""Those of a line: a record's own, then what is packed."""
_NAMES = [known.name for known in _FIELDS]
_OWN, _ALL = len(fields(EpisodeRecord)) - 1, len(_FIELDS)
_TEXTS = tuple(map(_NAMES.index, _REPEATED))

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


def _line_decoder(text: Collection[str] = (), *, signed: bool) -> Decoder[Any]:
    """A decoder of lines that leaves some fields text."""
    line: list[tuple[str, Any, Any]] = []
    for known in _FIELDS:
        kind, default = known.type, known.default
        if known.default_factory is not NODEFAULT:
            default = field(default_factory=known.default_factory)
        if known.name in text:
            kind, default = Raw, default if default is NODEFAULT else Raw(_bytes_of(known.default_factory()))
        line.append((known.name, kind, default))
    if signed:
        line.append(("crc32", str, NODEFAULT))
    return Decoder(defstruct("Line", line, kw_only=True, forbid_unknown_fields=True, gc=False))


_PLAIN, _SIGNED = (_line_decoder(_READERS, signed=signed) for signed in (False, True))


def _what_is_wrong(line: bytes, signed: bool) -> str:
    try:
        _line_decoder(signed=signed).decode(line)
    except ValidationError as error:
        return _in_words(error, decode(line))
    return "a record is wrong"


_SPELLED = {"Count": "int", "Measure": "float", "Status": "str", "Stage": "dict[str, Any]"}


def field_types() -> dict[str, str]:
    """Field of a record -> its type as text, in order."""
    kinds = EpisodeRecord.__annotations__ | Course.__annotations__
    return {name: re.sub(r"[A-Z]\w+", lambda found: _SPELLED.get(found[0], found[0]), kinds[name]) for name in _NAMES}


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
