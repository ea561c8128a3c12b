"""EpisodeRecord: everything that is kept of one finished episode; one JSON object a line of a journal."""

from __future__ import annotations

import re
from typing import Annotated, Any, Literal, TypedDict

from msgspec import Meta, Struct, field, msgpack
from msgspec.structs import asdict, fields

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
        """As bytes, which take a third of the memory; `EpisodeRecord.course` reads them."""
        return _packed(self)


_packed = msgpack.Encoder().encode
_unpacked = msgpack.Decoder(Course).decode


class EpisodeRecord(Struct, frozen=True, gc=False):
    """One episode of one checkpoint under one execution variant.

    Types and ranges are checked where a line is read (`simrun.results.lines`). Records hold no cycles, so that the
    garbage collector need not walk millions of them, and are small, so that millions fit into memory: what no table
    counts is packed, and read anew each time that somebody asks.

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

    def require_consistent(self, course: Course) -> None:
        """Check what types and ranges do not say.

        Args:
            course: its `course`.

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


FIELDS = (*fields(EpisodeRecord)[:-1], *fields(Course))
"""What a record has, as msgspec describes it, in order: what tables count, then what is packed."""

_SPELLED = {"Count": "int", "Measure": "float", "Status": "str", "Stage": "dict[str, Any]"}


def field_types() -> dict[str, str]:
    """Field of a record -> its type as text, in order."""
    kinds = EpisodeRecord.__annotations__ | Course.__annotations__
    return {
        known.name: re.sub(r"[A-Z]\w+", lambda found: _SPELLED.get(found[0], found[0]), kinds[known.name])
        for known in FIELDS
    }
