"""The plan: a fixed, ordered, hashed list of what will be run, made before any worker starts."""

from __future__ import annotations

import hashlib
import json
from collections import Counter
from collections.abc import Collection, Iterator, Mapping
from dataclasses import asdict, dataclass
from functools import cached_property
from typing import Any, NamedTuple

from simrun.envs import Episode, Protocol
from simrun.errors import ConfigurationMismatchError

JobKey = tuple[str, str, int, str]
"""(checkpoint, execution, policy seed, episode id): what makes a record unique in a run."""

CellKey = tuple[str, str, str]
"""(checkpoint, execution variant, full protocol name): one row of a table."""


@dataclass(frozen=True)
class Candidate:
    """One row of the final table: a checkpoint under an execution variant, with one policy seed."""

    checkpoint: str
    execution: str
    policy_seed: int


class Job(NamedTuple):
    """One episode of one candidate: the unit that is scheduled, recorded and resumed."""

    candidate: Candidate
    episode: Episode

    @property
    def key(self) -> JobKey:
        """The key of its record, `EpisodeRecord.key`."""
        return (self.candidate.checkpoint, self.candidate.execution, self.candidate.policy_seed, self.episode.id)


@dataclass(frozen=True)
class Plan:
    """Every candidate is run on every episode.

    Attributes:
        protocols: the protocols of the episodes, one a benchmark, in the order they are run.
        candidates: the rows, in the order they are run.
        episodes: the episodes, in the order they are listed.
    """

    protocols: tuple[Protocol, ...]
    candidates: tuple[Candidate, ...]
    episodes: tuple[Episode, ...]

    @cached_property
    def hash(self) -> str:
        """SHA-256 over protocols, candidates and episodes, hexadecimal."""
        return hashlib.sha256(json.dumps(self._contents(), sort_keys=True).encode()).hexdigest()

    def jobs(self, protocol: Protocol, checkpoint: str, done: Collection[JobKey] = ()) -> Iterator[Job]:
        """Jobs of one checkpoint on one benchmark, episodes outermost so that all variants fill up together.

        Args:
            protocol: the benchmark's protocol.
            checkpoint: the checkpoint.
            done: keys of jobs that are left out.
        """
        candidates = [candidate for candidate in self.candidates if candidate.checkpoint == checkpoint]
        for episode in self.episodes:
            if episode.protocol == protocol.name:
                name = episode.id
                for one in candidates:
                    if (checkpoint, one.execution, one.policy_seed, name) not in done:
                        yield Job(one, episode)

    def checkpoints(self) -> list[str]:
        """The checkpoints, in order."""
        return list(dict.fromkeys(candidate.checkpoint for candidate in self.candidates))

    def planned(self, collapsed: Mapping[str, Collection[str]]) -> dict[CellKey, dict[str, int]]:
        """Episodes of each task that make a table row complete, over all policy seeds.

        Args:
            collapsed: checkpoint -> variants that were never run, because they execute what another one does.
        """
        protocols: dict[str, Counter[str]] = {}
        for episode in self.episodes:
            protocols.setdefault(episode.protocol, Counter())[episode.task] += 1
        planned: dict[CellKey, dict[str, int]] = {}
        for candidate in self.candidates:
            if candidate.execution in collapsed.get(candidate.checkpoint, ()):
                continue
            for protocol, tasks in protocols.items():
                entry = planned.setdefault((candidate.checkpoint, candidate.execution, protocol), {})
                for task, count in tasks.items():
                    entry[task] = entry.get(task, 0) + count
        return planned

    def keys_of(self, cell: CellKey) -> set[tuple[int, str]]:
        """(policy seed, episode id) of everything planned for a table row."""
        checkpoint, execution, protocol = cell
        episodes = [episode.id for episode in self.episodes if episode.protocol == protocol]
        return {
            (candidate.policy_seed, episode)
            for candidate in self.candidates
            if (candidate.checkpoint, candidate.execution) == (checkpoint, execution)
            for episode in episodes
        }

    def __len__(self) -> int:
        return len(self.candidates) * len(self.episodes)

    def to_json(self) -> dict[str, Any]:
        """A JSON-ready copy that `from_json` reads back."""
        return {"hash": self.hash, **self._contents()}

    @classmethod
    def from_json(cls, document: Mapping[str, Any]) -> Plan:
        """Read what `to_json` wrote.

        Raises:
            ConfigurationMismatchError: the hash in it is not the hash of its contents.
            KeyError, TypeError, UsageError: it is no plan at all.
        """
        plan = cls(
            tuple(Protocol.from_json(entry) for entry in document["protocols"]),
            tuple(Candidate(**entry) for entry in document["cells"]),
            tuple(Episode.parse(text) for text in document["episodes"]),
        )
        if plan.hash != document["hash"]:
            raise ConfigurationMismatchError("plan.json was changed after it was made: its hash does not match")
        return plan

    def _contents(self) -> dict[str, Any]:
        return {
            "protocols": [protocol.to_json() for protocol in self.protocols],
            "cells": [asdict(candidate) for candidate in self.candidates],
            "episodes": [episode.id for episode in self.episodes],
        }
