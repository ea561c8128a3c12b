"""SweepConfig: everything a user asks for, from the command line, a TOML file or Python, checked once."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import replace
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Any

from pydantic import BaseModel, ConfigDict, Field, ValidationError, ValidationInfo, field_validator

from simrun.envs import Benchmark, Episode, Protocol, Task, canonical_name, get_benchmark
from simrun.envs.instructions import worded
from simrun.envs.machine.processes import LONGEST_WAIT
from simrun.envs.machine.regular_files import parse_toml, read_document
from simrun.envs.perturbations import NONE, Perturbation, perturbed
from simrun.errors import AssetError, EpisodeRangeError, UnknownNameError, UsageError
from simrun.policies import ExecutionVariant
from simrun.policies.options import DEVICE
from simrun.policies.registry import check_options, declares_native, expand_checkpoints
from simrun.results.plan import Candidate, Plan

EPISODE_CHOICES = (
    "none, failures, all, outcomes (a success and a failure of each task), or a number of episodes per task"
)


class SweepConfig(BaseModel):
    """What to evaluate, and how to run it.

    The first group of fields decides the results and is part of the run's identity; the second only says how
    the machine is used, and may change when a run is resumed.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    bench: list[str] = Field(min_length=1)
    """Benchmarks, by name or alias."""
    ckpt: list[str] = Field(min_length=1)
    """Checkpoints: paths, globs, URLs, ``scripted:...``, ``replay:...``."""
    exec: list[str] = []
    """Execution variants; none takes ``native`` where a checkpoint or its family says what that is, else ``full``."""
    protocol: str | None = None
    """Protocol name; None takes each benchmark's default."""
    set: dict[str, Any] = {}
    """Overrides of the protocol; they make a protocol of a new name."""
    tasks: list[str] | None = None
    """Task names or glob patterns; None takes all."""
    episodes: str | None = None
    """Trials of each task, for instance ``0:20`` or ``6,15``; None takes all."""
    seeds: list[int] = [0]
    """Episode seeds: what the trial does not fix."""
    policy_seeds: list[int] = [0]
    """Seeds of the policies' own randomness."""
    instructions: list[str] = []
    """What policies are told: ``none`` (the benchmark's own), ``empty``, ``swap`` or a file; each has its own rows."""
    perturb: list[str] = []
    """What is seen otherwise: ``none``, ``camera:2``, ``noise:1`` and the like; each has rows of its own."""
    policy: str | None = None
    """Kind of checkpoint, when it shall not be recognised from its files."""
    policy_options: dict[str, Any] = {}
    """Options of the checkpoint loader (device, dtype, preset, ...)."""
    trust_checkpoint: bool = False
    """Allow pickles and code of the checkpoint to be executed."""
    batch_invariant: bool = False
    """Pad every inference to one batch shape, so that results do not depend on who was batched with whom."""

    workers: int | None = Field(default=None, ge=1, le=4096)
    """Environment processes; None begins with one a usable core and follows what is measured as the run goes on."""
    devices: list[str] | None = Field(default=None, min_length=1)
    """Devices that policy processes compute on, one process each; None takes every card where there are several."""
    replicas: int | None = Field(default=None, ge=1, le=1024)
    """Policy processes on each device; None means one."""
    max_batch: int | None = Field(default=None, ge=1, le=1_000_000)
    """Largest inference batch; None chooses by the policy's device."""
    max_wait: float | None = Field(default=None, ge=0, le=LONGEST_WAIT)
    """Seconds a ready request waits for company; None follows the measured inference time."""
    retries: int = Field(default=2, ge=0)
    """How often an episode is started again after its worker died, hung or failed."""
    timeout: float = Field(default=600.0, gt=0, le=LONGEST_WAIT)
    """Seconds a worker may take to answer one message."""
    recycle: int = Field(default=200, ge=1)
    """Episodes after which a worker process is replaced by a fresh one."""
    video: str = "none"
    """Which episodes are filmed: none, failures, all, or a number of episodes per task."""
    record: str = "none"
    """Which episodes are kept as rollouts (observations, states, actions): the same choices."""

    @field_validator("bench")
    @classmethod
    def _known_benchmarks(cls, names: list[str]) -> list[str]:
        return list(dict.fromkeys(canonical_name(name) for name in names))

    @field_validator("exec")
    @classmethod
    def _known_variants(cls, variants: list[str]) -> list[str]:
        return list(dict.fromkeys(str(ExecutionVariant.parse(text)) for text in variants))

    @field_validator("devices")
    @classmethod
    def _known_devices(cls, names: list[str] | None) -> list[str] | None:
        for name in names or ():
            if not DEVICE.fullmatch(name):
                raise UsageError(f"--devices {name!r} is unknown; known: cpu, cuda, cuda:0, cuda:1 and so on")
        return None if names is None else list(dict.fromkeys(names))

    @field_validator("perturb")
    @classmethod
    def _known_perturbations(cls, texts: list[str]) -> list[str]:
        return list(dict.fromkeys(text if text == NONE else str(Perturbation.parse(text)) for text in texts))

    @field_validator("video", "record")
    @classmethod
    def _known_choice(cls, text: str, field: ValidationInfo) -> str:
        if text not in ("none", "failures", "all", "outcomes") and not re.fullmatch(r"\d+(-per-task)?", text):
            raise UsageError(f"--{field.field_name} {text!r} is unknown; known: {EPISODE_CHOICES}")
        return text

    def require_one_protocol(self, what: str) -> None:
        """Check that what ranks candidates ranks them by one score.

        Args:
            what: what ranks them, for the message.

        Raises:
            UsageError: there are several benchmarks, wordings or perturbations.
        """
        if len(self.bench) != 1 or len(self.instructions) > 1 or len(self.perturb) > 1:
            raise UsageError(
                f"{what} needs exactly one benchmark, one wording and one perturbation, or there would be no one "
                f"best; run {what} for each"
            )

    def identity(self) -> dict[str, Any]:
        """The fields that decide the results, JSON-ready; a run folder belongs to one identity."""
        unasked = {name for name in ("instructions", "perturb") if not getattr(self, name)}
        fields = self.model_dump(mode="json", exclude={*MACHINE_FIELDS, *unasked})
        # What is executed where nobody says stands in the plan; version 0.1 wrote its default here.
        return {**fields, "exec": self.exec or ["full"]}


MACHINE_FIELDS = (
    "workers",
    "devices",
    "replicas",
    "max_batch",
    "max_wait",
    "retries",
    "timeout",
    "recycle",
    "video",
    "record",
)
"""Fields of `SweepConfig` that may differ between a run and its resumption."""


def make_config(values: dict[str, Any]) -> SweepConfig:
    """Check values from any source.

    Raises:
        UsageError: an unknown key, a wrong type or an illegal value, each named.
    """
    try:
        return SweepConfig(**values)
    except ValidationError as error:
        problems = "; ".join(_phrase(problem) for problem in error.errors())
        raise UsageError(f"the configuration is wrong: {problems}") from None


def read_config(path: Path) -> dict[str, Any]:
    """Read a TOML file of `SweepConfig` fields.

    Raises:
        UsageError: the file cannot be read or is no TOML.
    """
    try:
        text = read_document(path)
    except OSError as error:
        raise UsageError(f"the configuration {path} cannot be read: {error.strerror}") from None
    except ValueError as error:
        raise UsageError(f"the configuration {path} {error}") from None
    try:
        return parse_toml(text)
    except ValueError as error:
        raise UsageError(f"the configuration {path} is no valid TOML: {error}") from None


def parse_range(text: str, size: int) -> list[int]:
    """Trial indices from text like ``0:20``, ``6,15`` or ``0:100:5,200``.

    Args:
        text: comma-separated indices and Python slices (the end is not included).
        size: number of trials there are.

    Raises:
        EpisodeRangeError: the text is no range, or reaches beyond the trials.
    """
    indices: list[int] = []
    for part in text.replace(" ", "").split(","):
        if re.fullmatch(r"\d{1,18}", part):
            indices.append(int(part))
        elif match := re.fullmatch(r"(\d{0,18}):(\d{0,18})(?::(\d{1,18}))?", part):
            stop = int(match[2]) if match[2] else size
            step = int(match[3] or 1)
            if step < 1:
                raise EpisodeRangeError(f"episodes {text!r}: the step of a range must be at least 1")
            if stop > size:
                raise EpisodeRangeError(f"episodes {text!r} reaches to {stop - 1}; the last trial is {size - 1}")
            indices.extend(range(int(match[1] or 0), stop, step))
        else:
            raise EpisodeRangeError(f"episodes {text!r} is no range; write for instance 0:20 or 6,15")
    if not indices:
        raise EpisodeRangeError(f"episodes {text!r} selects nothing")
    if max(indices) >= size:
        raise EpisodeRangeError(f"episodes {text!r} reaches to {max(indices)}; the last trial is {size - 1}")
    return list(dict.fromkeys(indices))


def select_protocol(config: SweepConfig, benchmark: Benchmark) -> Protocol:
    """The protocol a benchmark is run under, with the overrides applied.

    Raises:
        UsageError: the benchmark's data or simulator cannot serve an override.
    """
    protocol = benchmark.protocol(config.protocol).override(**config.set)
    for camera in protocol.cameras:
        if camera not in benchmark.cameras:
            raise UnknownNameError(f"camera of {benchmark.name}", camera, list(benchmark.cameras))
    benchmark.check_protocol(protocol)
    return protocol


def select_variants(config: SweepConfig, benchmark: Benchmark) -> list[tuple[Protocol, list[Episode]]]:
    """The protocol of a benchmark in every wording and perturbation that is asked for, each with its episodes.

    Raises:
        UsageError: the benchmark cannot serve one; a file of instructions does not fit.
        UnknownNameError: a task pattern matches nothing, or the benchmark does not have a task of the file.
        EpisodeRangeError: a range reaches beyond a task's trials.
    """
    plain = select_protocol(config, benchmark)
    episodes = select_episodes(config, benchmark, plain)
    states = list(dict.fromkeys((episode.task, episode.trial) for episode in episodes))
    variants = []
    for instructions in dict.fromkeys(config.instructions or [NONE]):
        said = worded(plain, benchmark, instructions, states)
        for perturbation in config.perturb or [NONE]:
            protocol = perturbed(said, benchmark, perturbation)
            own = [
                replace(episode, protocol=protocol.name, wording=wording)
                for episode in episodes
                for wording in range(benchmark.wordings(protocol, episode.task, episode.trial))
            ]
            variants.append((protocol, own))
    return variants


def select_episodes(config: SweepConfig, benchmark: Benchmark, protocol: Protocol) -> list[Episode]:
    """The episodes of one benchmark, in the official order of its tasks.

    Raises:
        AssetError: what a task pattern matches lacks its data files.
        UnknownNameError: a task pattern matches nothing.
        EpisodeRangeError: a range reaches beyond a task's trials.
    """
    if len(config.seeds) > 1 and not benchmark.what_seed_draws(protocol):
        raise UsageError(
            f"the episode seed draws nothing under {protocol.name}: {len(config.seeds)} seeds would be as many copies "
            "of the same episodes; leave --seeds out (--policy-seeds vary a policy's own randomness)"
        )
    episodes = []
    for task in _select_tasks(config, benchmark, protocol):
        trials = range(task.trials) if config.episodes is None else parse_range(config.episodes, task.trials)
        episodes += [Episode(protocol.name, task.name, trial, seed) for seed in config.seeds for trial in trials]
    return episodes


def make_plan(config: SweepConfig, checkpoints: Sequence[str] | None = None) -> Plan:
    """Expand a configuration into a plan.

    Args:
        config: what to run.
        checkpoints: names of the checkpoints, when they are no files (policies made in Python); None expands
            the patterns of the configuration.

    Raises:
        UsageError: an unknown protocol or task, a range beyond the trials, no checkpoint.
        CheckpointError: a checkpoint does not exist.
    """
    protocols = []
    episodes: list[Episode] = []
    for name in config.bench:
        for protocol, own in select_variants(config, get_benchmark(name)):
            protocols.append(protocol)
            episodes += own
    named = expand_checkpoints(config.ckpt) if checkpoints is None else checkpoints
    if checkpoints is None:
        # A mistyped option ends the run before its folder is made.
        for checkpoint in named:
            check_options(checkpoint, config.policy, config.policy_options)
    return Plan(tuple(protocols), _candidates(named, config, own=checkpoints is not None), tuple(episodes))


def _candidates(checkpoints: Sequence[str], config: SweepConfig, *, own: bool) -> tuple[Candidate, ...]:
    return tuple(
        Candidate(checkpoint, execution, policy_seed)
        for checkpoint in checkpoints
        for execution in config.exec or _usual_execution(checkpoint, config, own)
        for policy_seed in config.policy_seeds
    )


def _usual_execution(checkpoint: str, config: SweepConfig, own: bool) -> list[str]:
    """What is executed where nobody says: what the authors do, as far as the checkpoint or its family declares it."""
    declared = not own and declares_native(checkpoint, config.policy, config.bench)
    return ["native" if declared else "full"]


def _select_tasks(config: SweepConfig, benchmark: Benchmark, protocol: Protocol) -> list[Task]:
    tasks = list(benchmark.tasks(protocol))
    if config.tasks is None:
        return tasks
    for pattern in config.tasks:
        if not any(fnmatchcase(task.name, pattern) for task in tasks):
            if lacking := benchmark.left_out(protocol, [pattern]):
                raise AssetError(" ".join(lacking))
            raise UnknownNameError(f"task of {benchmark.name}", pattern, [task.name for task in tasks])
    return [task for task in tasks if any(fnmatchcase(task.name, pattern) for pattern in config.tasks)]


def _phrase(problem: Any) -> str:
    where = ".".join(str(part) for part in problem["loc"])
    if problem["type"] == "extra_forbidden":
        return f"unknown key {where!r}; known: {', '.join(SweepConfig.model_fields)}"
    return f"{where}: {problem['msg']}"
