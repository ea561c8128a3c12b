"""Episode files from the expert-verified seed lists that the PyPI package ``vla-eval`` carries.

Version 0.8.0 (Apache-2.0) holds, for each of the 50 tasks and both splits, the first 100 seeds from 100000 upward
that cuRobo 0.7.0 solved with SAPIEN 3.0.0b1 on an H100, with one seen and one unseen instruction each. It does not
hold what the success checks of three tasks need; the environment derives that when such an episode starts.
"""

from __future__ import annotations

import hashlib
import json
import sys
from collections.abc import Mapping, Sequence
from importlib import metadata
from pathlib import Path
from typing import Any

from simrun.envs.robotwin.episode_files import AcceptedEpisode, EpisodeFile
from simrun.errors import AssetError, DependencyError

DISTRIBUTION = "vla-eval"
VERSION = "0.8.0"
"""The version whose lists were read and checked; others are refused rather than guessed at."""

_LISTS = "vla_eval/benchmarks/robotwin/expert_seeds"


def import_expert_seeds(
    benchmark: str, task_config: str, tasks: Sequence[str], package_folder: Path | None = None
) -> EpisodeFile:
    """Make an episode file from an installed ``vla-eval``; its code is not imported.

    Args:
        benchmark: ``robotwin_easy`` or ``robotwin_hard``.
        task_config: upstream's task configuration that the list was made with.
        tasks: names of the tasks, in order.
        package_folder: folder that holds ``vla_eval/`` (from ``pip install --target``); None looks in the
            present interpreter.

    Raises:
        DependencyError: vla-eval is not installed, or in another version.
        AssetError: its list is missing, damaged or lacks a task.
    """
    list_file = _locate(package_folder) / _LISTS / f"{task_config}.json"
    try:
        content = list_file.read_bytes()
        document = json.loads(content)
        episodes = tuple(
            AcceptedEpisode(task, int(entry["seed"]), {"seen": entry["seen"], "unseen": entry["unseen"]})
            for task in tasks
            for entry in document["tasks"][task]["episodes"]
        )
        accepted_by: list[Mapping[str, Any]] = document["provenance"]
    except OSError as error:
        raise AssetError(f"the seed list {list_file} cannot be read: {error.strerror}") from None
    except (ValueError, KeyError, TypeError, OverflowError) as error:
        raise AssetError(f"the seed list {list_file} is not what vla-eval {VERSION} carries ({error!r})") from None
    provenance = {
        "source": f"{DISTRIBUTION} {VERSION}",
        "file": f"{_LISTS}/{task_config}.json",
        "file_sha256": hashlib.sha256(content).hexdigest(),
        "planner": "curobo",
        "accepted_by": accepted_by,
        "task_fingerprints": {task: document["tasks"][task].get("fingerprint", "") for task in tasks},
    }
    return EpisodeFile(benchmark, task_config, provenance, episodes)


def _locate(package_folder: Path | None) -> Path:
    where = "this interpreter" if package_folder is None else str(package_folder)
    path = sys.path if package_folder is None else [str(package_folder)]
    found = next(iter(metadata.distributions(name=DISTRIBUTION, path=path)), None)
    if found is None:
        raise DependencyError(
            f"{DISTRIBUTION} is not installed in {where}; run: pip install --no-deps --target FOLDER "
            f"{DISTRIBUTION}=={VERSION}, and name FOLDER with --package-folder"
        )
    if found.version != VERSION:
        raise DependencyError(f"{DISTRIBUTION} {found.version} is installed in {where}, {VERSION} is needed")
    return Path(str(found.locate_file("")))
