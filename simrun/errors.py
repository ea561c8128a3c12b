"""Every exception that simrun raises on purpose, as one tree; and the exit codes of every verb.

.. code-block:: text

    SimrunError                      one clear sentence: what, where, how to fix it
    ├── UsageError                   the command or the call is wrong          exit code 2
    │   ├── UnknownNameError         no such benchmark, task, protocol, policy kind
    │   ├── EpisodeRangeError        an episode outside the benchmark
    │   └── ConfigurationMismatchError   the output folder holds another configuration
    ├── InfrastructureError          the machine, not the policy               exit code 1
    │   ├── AssetError               data files missing or wrong
    │   ├── DependencyError          a package missing, or in a wrong version
    │   ├── RendererError            EGL, OSMesa or Vulkan missing or failing
    │   ├── SimulatorError           the simulator itself reported an error
    │   ├── WorkerError              a worker process died, hung or broke the protocol
    │   ├── ServerError              a remote policy server went away
    │   │   └── PolicyProcessError   a policy's process died or hung
    │   └── JournalError             results cannot be read or written
    └── PolicyError                  the policy, not the machine               exit code 1
        ├── CheckpointError          a checkpoint missing, empty, unknown or unsafe
        │   └── UnknownKindError     a checkpoint that no loader knows
        └── PolicyOutputError        wrong shape, NaN, or a value outside the action convention

The two branches ``InfrastructureError`` and ``PolicyError`` never mix. Infrastructure errors are retried and
never enter a success rate; policy errors end the checkpoint that caused them and name the episode.
"""

from __future__ import annotations

import difflib
import re

DONE = 0
"""Exit code: everything that was asked for was done."""

FAILED = 1
"""Exit code: a checkpoint failed, an episode could not be run, or what was to be shown equal differs."""

MISUSED = 2
"""Exit code: the command line or the configuration is wrong, and nothing was run."""

OTHER_PROCESSOR = 7
"""Exit code of ``simrun verify``: what differs from a recording, upstream itself computes here too: the processor."""

INTERRUPTED = 130
"""Exit code: Ctrl-C or a signal ended it (128 + SIGINT, as shells have it); the same command goes on.

``simrun doctor`` alone has further codes: those of `simrun.envs.machine.diagnosis.Cause`, from 3 to 6.
"""


_UNPRINTABLE = re.compile(r"\r(?!\n)|[\x00-\x08\x0b\x0c\x0e-\x1f\x7f-\x9f\u202a-\u202e\u2066-\u2069\ud800-\udfff]")
_LONGEST_MESSAGE = 20_000


def printable(text: str) -> str:
    r"""Text of unknown origin for a terminal or a log: control characters are written as what they are called.

    Lines and tabulators stay; escape sequences, marks that turn the direction of writing, and bytes of a file name that
    are no UTF-8 become ``\x1b``, ``\u202e``, ``\udcff``.
    """
    return _UNPRINTABLE.sub(lambda found: found[0].encode("unicode_escape").decode(), text)


class SimrunError(Exception):
    """Base of all errors raised on purpose; its message is one sentence meant for the user.

    Whatever a server, a checkpoint or a path brings into it, it stays printable and of bounded length.
    """

    exit_code = FAILED
    worker_traceback = ""
    """Traceback of the worker process that reported it; shown with ``--debug``."""

    def __str__(self) -> str:
        text = super().__str__()
        if len(text) > _LONGEST_MESSAGE:
            half = _LONGEST_MESSAGE // 2
            text = f"{text[:half]} [... {len(text) - 2 * half} characters ...] {text[-half:]}"
        return printable(text)


class UsageError(SimrunError):
    """The command line, configuration or call is wrong; nothing was run."""

    exit_code = MISUSED


_MOST_NAMES = 150
_NEAR_NAMES = 5


class UnknownNameError(UsageError):
    """A benchmark, protocol, task, camera or policy kind that does not exist; of very many, the nearest are named."""

    def __init__(self, kind: str, name: str, known: list[str] | tuple[str, ...]) -> None:
        shown = list(known)
        if len(known) > _MOST_NAMES:
            shown = difflib.get_close_matches(name, known, _NEAR_NAMES, cutoff=0.0)
        more = f" and {len(known) - len(shown)} more" * (len(shown) < len(known))
        super().__init__(f"unknown {kind} {name!r}; known: {', '.join(shown) or 'none'}{more}")
        self.kind = kind
        self.name = name
        self.known = tuple(known)


class EpisodeRangeError(UsageError):
    """An episode (task, trial) that the benchmark's protocol does not hold."""


class ConfigurationMismatchError(UsageError):
    """A run folder was made by another configuration than the one asked for."""


class InfrastructureError(SimrunError):
    """The machine failed, not the policy; the episode is retried and never counted as a failure."""


class AssetError(InfrastructureError):
    """A data file of a benchmark is missing, truncated or not the expected one."""


class DependencyError(InfrastructureError):
    """A Python package is missing or in a version that does not reproduce the benchmark."""


class RendererError(InfrastructureError):
    """EGL, OSMesa or Vulkan is missing or failed to give a frame."""


class SimulatorError(InfrastructureError):
    """The simulator reported an error while it was stepped, reset or read."""


class WorkerError(InfrastructureError):
    """A worker process died, missed its deadline or broke the wire protocol."""


class ServerError(InfrastructureError):
    """A remote policy server could not be reached, went away or answered garbage."""


class PolicyProcessError(ServerError):
    """A policy's process died, hung or broke the wire protocol; its episodes are begun again."""


class JournalError(InfrastructureError):
    """Recorded results cannot be read or written."""


class PolicyError(SimrunError):
    """The policy failed, not the machine; reported with the episode that it happened in."""


class CheckpointError(PolicyError):
    """A checkpoint is missing, empty, of no known kind, or unsafe to load unasked."""


class UnknownKindError(CheckpointError):
    """A checkpoint is there, and no loader knows its kind; ``looked_for`` says what each kind's loader looks for."""

    def __init__(self, checkpoint: str, looked_for: dict[str, str]) -> None:
        super().__init__(
            f"no loader knows {checkpoint} ('simrun inspect' lists what they look for); if it holds your own network's "
            "weights, name the class that loads them: --policy lab.py:CLASS (the README shows one of ten lines)"
        )
        self.looked_for = looked_for


class PolicyOutputError(PolicyError):
    """A policy returned actions of a wrong shape, NaN, or outside the action convention."""
