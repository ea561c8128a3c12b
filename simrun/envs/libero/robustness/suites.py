"""What the suites of perturbed tasks share: three ways to say the task, one trial's twin, files that may be missing."""

from __future__ import annotations

import re
import zipfile
from abc import abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from fnmatch import fnmatchcase
from functools import cache, lru_cache
from pathlib import Path

from simrun.envs.episodes import Task, Variant
from simrun.envs.libero.benchmark import LiberoSuite
from simrun.envs.libero.recipes import Recipe
from simrun.envs.libero.suites import instruction
from simrun.envs.machine.data_files import assets_root
from simrun.envs.protocols import Protocol
from simrun.errors import AssetError

PROMPTS = {
    "base": "LIBERO's own sentence, and the perturbed one only where language is what is perturbed",
    "bddl": "the sentence of the variant's task definition, as upstream's parser hands it on",
    "file_name": "the variant's file name, as the released code makes it: with the perturbation's numbers in it",
}
"""Setting ``prompt`` of the protocols -> what the policy is told."""

TWIN_PROTOCOL = "openvla@2"
"""Protocol of LIBERO's own suites with the environment seed and the step limits of these."""


@dataclass(frozen=True)
class PerturbedTask:
    """One variant of a task of LIBERO.

    Attributes:
        name: unique in its suite.
        base: the task of LIBERO.
        category: what is perturbed.
        level: how much; None where it is not published.
        says: whether language, or the task itself, is what is perturbed.
        same_states: whether it starts from the initial states of its twin.
        trials: its initial states.
        files: data files that it needs beyond LIBERO's, below the asset folder.
    """

    name: str
    base: str
    category: str
    level: int | None
    says: bool
    same_states: bool
    trials: int
    files: tuple[str, ...] = ()


class PerturbedSuite(LiberoSuite):
    """A suite of LIBERO, perturbed.

    Class attributes:
        base_suite: the suite of LIBERO.
        max_steps: policy steps.
        wheel: the package that holds task definitions and initial states, a file of the asset folder.
    """

    base_suite: str
    max_steps: int
    wheel: str
    environment = "simrun.envs.libero.robustness.environment:PerturbedEnv"
    laboratory = "simrun.envs.libero.robustness.laboratory:PerturbedLaboratory"

    @property
    def package(self) -> str:
        """LIBERO's own folder: requirements and data files are the same."""
        return LiberoSuite.__module__.rpartition(".")[0]

    @abstractmethod
    def perturbed_tasks(self) -> Mapping[str, PerturbedTask]:
        """Name -> variant, in the official order; those too whose files are missing."""

    @abstractmethod
    def recipe(self, task: PerturbedTask, prompt: str) -> Recipe:
        """What the scene of a variant is made of.

        Args:
            task: the variant.
            prompt: the protocol's.

        Raises:
            AssetError: its definition cannot be read.
        """

    @abstractmethod
    def sentence(self, task: PerturbedTask) -> str:
        """The sentence of a variant's task definition.

        Raises:
            AssetError: it cannot be read.
        """

    def twin(self, task: PerturbedTask) -> tuple[str, str]:
        """Protocol and name of the unperturbed task that a variant is compared with."""
        return f"{self.base_suite}/{TWIN_PROTOCOL}", task.base

    def check_protocol(self, protocol: Protocol) -> None:
        """As for the suites of LIBERO, and the sentence is one that the suite's protocols know."""
        super().check_protocol(protocol)
        protocol.choice("prompt", tuple(one.settings["prompt"] for one in self.protocols().values()))

    @cache  # noqa: B019 (benchmarks live as long as the process)
    def protocols(self) -> Mapping[str, Protocol]:
        """Full protocol name -> protocol: one for each way to say the task."""
        protocols = [self._harness(prompt, f"the policy is told {meaning}") for prompt, meaning in PROMPTS.items()]
        return {protocol.name: protocol for protocol in protocols}

    def _harness(self, prompt: str, meaning: str) -> Protocol:
        return Protocol(
            f"{self.name}/{prompt}@1",
            f"The released harness; {meaning}.",
            self.max_steps,
            "first_success",
            {"agentview": (256, 256), "eye_in_hand": (256, 256)},
            settle_steps=10,
            settings={
                "environment_seed": 0,
                "seeding": "once",
                "interleaved_settling": False,
                "image_rotation": 180,
                "prompt": prompt,
            },
            source="openvla-oft experiments/robot/libero/run_libero_eval.py with the suite's own task list",
        )

    def tasks(self, protocol: Protocol) -> Sequence[Task]:
        """The variants whose data files are there; `left_out` says which are not."""
        missing = self._missing()
        return [self._task(task, protocol) for name, task in self.perturbed_tasks().items() if name not in missing]

    def task(self, protocol: Protocol, name: str) -> Task:
        """Look a variant up by name.

        Raises:
            AssetError: its data files are missing.
            UnknownNameError: no such variant.
        """
        if lacking := self._missing().get(name):
            raise AssetError(f"{name} of {self.name} needs {lacking[0]}, which is not in {self._folder()}")
        known = self.perturbed_tasks().get(name)
        return super().task(protocol, name) if known is None else self._task(known, protocol)

    def left_out(self, protocol: Protocol, asked: Sequence[str] | None = None) -> Sequence[str]:
        """Variants that cannot be run for want of data files, one sentence a category."""
        categories: dict[str, list[tuple[str, str]]] = {}
        for name, lacking in self._missing().items():
            if asked is not None and not any(fnmatchcase(name, pattern) for pattern in asked):
                continue
            categories.setdefault(self.perturbed_tasks()[name].category, []).append((name, lacking[0]))
        return [
            f"{self.name}: {len(names)} variant{'s' * (len(names) > 1)} of {category} left out, {names[0][0]} the "
            f"first: it needs {names[0][1]}, which is not in {self._folder()}; simrun setup {self.name} --from ARCHIVE "
            "takes it out of the hub's assets.zip"
            for category, names in categories.items()
        ]

    def wheel_file(self) -> Path:
        """Where the package lies."""
        return self._folder() / self.wheel

    def told(self, task: PerturbedTask, prompt: str) -> str:
        """The sentence that a policy is given.

        Args:
            task: the variant.
            prompt: the protocol's.

        Raises:
            AssetError: the variant's definition cannot be read.
        """
        if prompt == "bddl" or (prompt == "base" and task.says):
            return self.sentence(task)
        return instruction(task.base if prompt == "base" else self.file_name(task))

    def file_name(self, task: PerturbedTask) -> str:
        """The name of the variant's file, from which the released code makes the sentence."""
        return task.name

    def _task(self, task: PerturbedTask, protocol: Protocol) -> Task:
        variant = Variant(task.category, task.level, *self.twin(task), task.same_states)
        said = instruction(task.base)
        return Task(task.name, said, task.trials, protocol.step_limit(task.name), variant)

    def _folder(self) -> Path:
        return assets_root() / (self.asset_folder or "")

    def _missing(self) -> Mapping[str, tuple[str, ...]]:
        """Variant -> its data files that are not there; empty before any are, because setup will fetch them."""
        if not self.wheel_file().is_file():
            return {}
        folder = self._folder()
        there = cache(lambda file: (folder / file).is_file())
        lacking = {
            name: tuple(file for file in task.files if not there(file))
            for name, task in self.perturbed_tasks().items()
            if task.files
        }
        return {name: files for name, files in lacking.items() if files}


def read_member(wheel: Path, member: str) -> bytes:
    """Read a file of a wheel.

    Raises:
        AssetError: the wheel or the file in it is missing or damaged.
    """
    try:
        return _opened(wheel, wheel.stat().st_mtime_ns).read(member)
    except KeyError:
        raise AssetError(f"{wheel} holds no {member}") from None
    except (OSError, zipfile.BadZipFile) as error:
        raise AssetError(f"{wheel} cannot be read: {error}") from None


@lru_cache(maxsize=2)
def _opened(wheel: Path, written: int) -> zipfile.ZipFile:
    """A wheel, kept open: to read the list of its 20,000 files takes 0.2 s, and each variant needs it."""
    return zipfile.ZipFile(wheel)


def sentence_of(bddl: str) -> str:
    """The sentence of a task definition, as upstream's parser hands it on: in lower case, words apart by one space."""
    found = re.search(r"\(\s*:language\s+([^()]*)\)", re.sub(r";.*", "", bddl).lower())
    return " ".join(found[1].split()) if found else ""
