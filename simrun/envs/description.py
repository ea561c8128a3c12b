"""BenchmarkDescription: what can be known of a benchmark without its simulator, and the parts that it points to."""

from __future__ import annotations

import sys
from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from importlib import resources
from typing import TYPE_CHECKING, ClassVar

from simrun import doors
from simrun.envs.actions import ActionSpec
from simrun.envs.episodes import Episode, Task
from simrun.envs.protocols import Protocol, load_protocols
from simrun.envs.scoring import Scoring
from simrun.envs.table_form import TableForm
from simrun.errors import EpisodeRangeError, PolicyOutputError, UnknownNameError, UsageError

if TYPE_CHECKING:
    from importlib.resources.abc import Traversable

    from typing_extensions import Self


@dataclass(frozen=True)
class Requirements:
    """What a benchmark's interpreter must hold.

    Attributes:
        extra: name of the pip extra, ``pip install 'simrun[<extra>]'``; also that of its virtual environment.
        modules: modules that must be importable.
        constraints: distribution name -> version specifier the results were reproduced with, ``{"numpy": "<2"}``.
        python: versions of Python that its packages have wheels for.
    """

    extra: str = ""
    modules: tuple[str, ...] = ()
    constraints: Mapping[str, str] = field(default_factory=dict)
    python: str = ">=3.10"


@dataclass(frozen=True)
class DialectNames:
    """What a wire dialect calls things of a benchmark.

    Attributes:
        cameras: our camera -> the dialect's name of it; cameras that are not in it keep their names.
        units: what 1 of our action is in the dialect's, one number an axis; empty where they are the same.
    """

    cameras: Mapping[str, str] = field(default_factory=dict)
    units: tuple[float, ...] = ()


class BenchmarkDescription(ABC):
    """What can be known of a benchmark without its simulator; `Benchmark` adds how its environments are made.

    Parts that few need are named as ``module:Class`` and imported when they are used; where the name is empty, the
    part's own class serves.

    Class attributes:
        name: canonical name, also the prefix of its protocols.
        aliases: other names that the command line accepts.
        summary: one sentence for ``simrun list``.
        action_specs: control mode -> action convention; the first one is the default.
        cameras: camera name -> what it sees.
        proprio_names: one name (with unit) a value of the proprioception.
        proprio_names_in_mode: the same for control modes whose proprioception is another one.
        default_protocol: full name of the protocol used when none is named.
        scored_as: ``success``, ``chain`` (subtasks in a row) or ``score`` (a number with a unit).
        max_score: largest score of an episode.
        score_unit: what the score counts, for chains and scores: ``subtasks``, ``points``.
        control_frequency: control steps a second; 0 where they take no fixed time.
        seed_draws: what an episode's seed draws, as a phrase; empty where it draws nothing, and then there is only
            seed 0.
        table_form: how papers print it.
        dialect_names: scheme of a wire dialect -> what it calls cameras and units.
        requirements: what its interpreter must hold.
        asset_folder: folder below the assets root that holds its data files, None where it needs none.
        decided_by: what of the processor decides results, by the names of `describe_computing`: ``processor vendor``.
        draws_with_vulkan: whether Vulkan draws it; OpenGL does otherwise.
        scene_perturbations: what its renderer can draw otherwise without touching physics: ``camera``, ``light``.
        scene_is_fixed: why it can do no more, as a phrase.
        draws_in_one_thread: whether its pictures are so small that a software renderer's threads only cost time.
        environment: its `simrun.envs.environment.BenchmarkEnv`.
        machine: its `simrun.envs.machine.machine_setup.MachineSetup`.
        data_files: its `simrun.envs.machine.data_files.contract.DataFiles`.
        laboratory: its `simrun.envs.laboratory.laboratory.Laboratory`.
        expert: its `simrun.envs.expert.Expert`; empty where it has none.
        verbs: name of a command of its own -> ``module:app`` of the Typer application behind ``simrun NAME``.
    """

    name: str
    aliases: tuple[str, ...] = ()
    summary: str
    action_specs: Mapping[str, ActionSpec]
    cameras: Mapping[str, str]
    proprio_names: tuple[str, ...]
    proprio_names_in_mode: Mapping[str, tuple[str, ...]] = {}
    default_protocol: str
    scored_as: str = "success"
    max_score: float = 1.0
    score_unit: str = ""
    control_frequency: float = 0.0
    seed_draws: str = ""
    table_form: TableForm = TableForm()
    dialect_names: Mapping[str, DialectNames] = {}
    requirements: Requirements = Requirements()
    asset_folder: str | None = None
    decided_by: tuple[str, ...] = ()
    draws_with_vulkan: bool = False
    draws_in_one_thread: bool = False
    scene_perturbations: tuple[str, ...] = ()
    scene_is_fixed: str = ""
    environment: str = ""
    machine: str = ""
    data_files: str = ""
    laboratory: str = ""
    expert: str = ""
    verbs: Mapping[str, str] = {}

    @abstractmethod
    def tasks(self, protocol: Protocol) -> Sequence[Task]:
        """Tasks of the benchmark in its official order, with trials and step limits under ``protocol``."""

    def protocols(self) -> Mapping[str, Protocol]:
        """Full protocol name -> protocol: those that the files ``protocols/*.json`` beside it hold.

        Raises:
            UsageError: there are none.
        """
        found = load_protocols(self.package) if self.package else {}
        own = {name: protocol for name, protocol in found.items() if protocol.benchmark == self.name}
        if not own:
            raise UsageError(f"{self.name} has no protocol: {self.target} declares none, and none lies beside it")
        return own

    def left_out(self, protocol: Protocol, asked: Sequence[str] | None = None) -> Sequence[str]:
        """What of the benchmark `tasks` leaves out for want of data files, one sentence each; empty where nothing.

        Args:
            protocol: the protocol.
            asked: names of tasks, or patterns with ``*``, that it is asked of; None asks of all.
        """
        return ()

    def retired_protocols(self) -> Mapping[str, str]:
        """Full name of a protocol that cannot be run any more -> why, as a phrase; its records stay readable."""
        return {}

    def what_seed_draws(self, protocol: Protocol) -> str:
        """What an episode's seed draws under a protocol, as a phrase; empty where it draws nothing."""
        return self.seed_draws

    def sentences(self, protocol: Protocol) -> Mapping[str, str | None]:
        """What policies are asked for, by name, in the official order -> the sentence that asks for it.

        None where each episode has a sentence of its own; nothing at all where there are no instructions. The names are
        those of the tasks, but where a task asks for one thing after the other.
        """
        tasks = self.tasks(protocol)
        return {task.name: task.instruction for task in tasks} if any(task.instruction for task in tasks) else {}

    def asked(self, protocol: Protocol, task: str, trial: int) -> Sequence[str]:
        """What one trial of a task asks for, in order, by the names of `sentences`."""
        return (task,)

    def check_protocol(self, protocol: Protocol) -> None:  # noqa: B027 (most serve any)
        """Check that data and simulator can serve a protocol, overrides included, before anything is started.

        Raises:
            UsageError: they cannot; the message says what they can.
            UnknownNameError: a setting has a value that does not exist.
        """

    def not_reportable(self, protocol: Protocol) -> str | None:
        """Why results under a protocol must not stand beside published ones, as a phrase; None when they may."""
        return None

    @property
    def package(self) -> str:
        """Import path of the folder that holds its files; empty where its module lies in none."""
        return sys.modules[type(self).__module__].__package__ or ""

    def file(self, name: str) -> Traversable | None:
        """A file beside the benchmark, ``requirements.txt``; None where there is none."""
        found = resources.files(self.package) / name if self.package else None
        return found if found is not None and found.is_file() else None

    @property
    def scoring(self) -> Scoring:
        """How its episodes are scored."""
        return Scoring(self.scored_as, self.max_score, self.score_unit)

    @property
    def target(self) -> str:
        """``module:Class`` of the benchmark, by which another process finds it.

        Raises:
            UsageError: it is defined where no other process can import it.
        """
        return doors.target_of_class(type(self))

    @property
    def default_action_mode(self) -> str:
        """Name of the control mode used when none is asked for."""
        return next(iter(self.action_specs))

    def proprio_of(self, action_mode: str | None) -> tuple[str, ...]:
        """Names of the proprioception that goes with a control mode; None asks for the default one."""
        return self.proprio_names_in_mode.get(action_mode or self.default_action_mode, self.proprio_names)

    def names_in(self, dialect: str) -> DialectNames:
        """What a wire dialect calls its cameras and units; the same as we do where nothing is declared."""
        return self.dialect_names.get(dialect, DialectNames())

    def protocol(self, name: str | None = None) -> Protocol:
        """Look a protocol up by full name, or by the part after the slash, with or without version.

        Raises:
            UnknownNameError: no such protocol.
            UsageError: it cannot be run any more.
        """
        protocols = self.protocols()
        wanted = name or self.default_protocol
        self.check_not_retired(wanted)
        for candidate, protocol in protocols.items():
            short = candidate.split("/", 1)[1]
            if wanted in (candidate, short, short.split("@", 1)[0]):
                return protocol
        raise UnknownNameError(f"protocol of {self.name}", wanted, list(protocols))

    def check(self) -> None:
        """Check what the benchmark says of itself, without asking for its tasks, which may need data files.

        Raises:
            UsageError: the first rule that is broken, in one sentence.
        """
        _ = self.scoring
        for name, protocol in self.protocols().items():
            if protocol.name != name or protocol.benchmark != self.name:
                raise UsageError(
                    f"the benchmark {self.target} is named {self.name}, so its protocol {name} must be named "
                    f"{self.name}/PROTOCOL@VERSION, in Protocol.name too"
                )
            if foreign := sorted(set(protocol.cameras) - set(self.cameras)):
                raise UsageError(f"protocol {name} observes with {foreign[0]}, which {self.target}.cameras lacks")
        self.protocol()
        for mode, spec in self.action_specs.items():
            try:
                spec.check_action(spec.neutral_action())
            except PolicyOutputError as error:
                raise UsageError(f"the neutral action of {self.target}, mode {mode}, is not legal: {error}") from None

    def check_not_retired(self, name: str) -> None:
        """Check that a protocol, by its full name or the part after the slash, can still be run.

        Raises:
            UsageError: it cannot be run any more.
        """
        plain = name.split("+", 1)[0]
        for retired, reason in self.retired_protocols().items():
            if plain in (retired, retired.split("/", 1)[1]):
                raise UsageError(
                    f"protocol {retired} cannot be run any more: it {reason}; records made under it stay readable, "
                    f"and are never pooled with others; now there is {', '.join(self.protocols())}"
                )

    def task(self, protocol: Protocol, name: str) -> Task:
        """Look a task up by name.

        Raises:
            UnknownNameError: no such task.
        """
        tasks = self.tasks(protocol)
        for task in tasks:
            if task.name == name:
                return task
        raise UnknownNameError(f"task of {self.name}", name, [task.name for task in tasks])

    def check_episode(self, protocol: Protocol, episode: Episode) -> Task:
        """Check that an episode belongs to ``protocol`` and lies in its range; return its task.

        Raises:
            EpisodeRangeError: the trial is out of range.
            UnknownNameError: no such task.
            UsageError: the episode belongs to another protocol.
        """
        if episode.protocol != protocol.name:
            raise UsageError(f"episode {episode.id} does not belong to protocol {protocol.name}")
        task = self.task(protocol, episode.task)
        if not 0 <= episode.trial < task.trials:
            raise EpisodeRangeError(
                f"trial {episode.trial} of task {task.name} is out of range; "
                f"{protocol.name} has trials 0 to {task.trials - 1}"
            )
        if not 0 <= episode.wording < self.wordings(protocol, episode.task, episode.trial):
            raise EpisodeRangeError(f"{protocol.name} has no sentence number {episode.wording} for {episode.id}")
        return task

    def wordings(self, protocol: Protocol, task: str, trial: int) -> int:
        """Episodes that the sentences of a protocol make of one trial; 1 with the benchmark's own."""
        if not protocol.instructions:
            return 1
        return max(1, *(len(protocol.sentences(name, trial)) for name in self.asked(protocol, task, trial)))


class Part:
    """Something that belongs to a benchmark and is imported when it is used.

    A benchmark names a subclass as ``module:Class``; where it names none, the part's own class serves.

    Args:
        benchmark: the benchmark that it belongs to.

    Class attributes:
        attribute: name of the benchmark's attribute that names the subclass.
    """

    attribute: ClassVar[str]

    def __init__(self, benchmark: BenchmarkDescription) -> None:
        self.benchmark = benchmark

    @classmethod
    def of(cls, benchmark: BenchmarkDescription) -> Self:
        """This part of a benchmark.

        Raises:
            UsageError: what the benchmark names cannot be imported, or is no such part.
        """
        target = getattr(benchmark, cls.attribute)
        if not target:
            return cls(benchmark)
        found = doors.load(target, f"{cls.attribute} of {benchmark.name}")
        if not (isinstance(found, type) and issubclass(found, cls)):
            raise UsageError(f"{cls.attribute} of {benchmark.name}: {target} is no subclass of {cls.__name__}")
        return found(benchmark)
