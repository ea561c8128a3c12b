"""JSON of other tools: LeRobot's ``eval_info.json``, vla-eval's exports, results of chains by RoboVLMs and VLM4VLA.

Facts of the formats: huggingface/lerobot ``lerobot_eval.py`` (``per_task`` with ``metrics.successes``, older versions
``per_episode``); vla-eval 0.8.0 ``results/collector.py``; Robot-VLAs/RoboVLMs, evaluation of chains (checkpoint ->
``avg_seq_len``, ``chain_sr``, ``task_info``).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from simrun.envs.machine.regular_files import parse_json, read_document
from simrun.errors import UsageError
from simrun.results.imports.outcomes import MOST_EPISODES, Outcomes, Reader


def read_lerobot(path: Path, episodes: int | None) -> Sequence[Outcomes]:
    """``eval_info.json``: an outcome an episode."""
    document = _document(path)
    if not isinstance(document, dict):
        return []
    scores: dict[str, list[float]] = {}
    if isinstance(document.get("per_task"), list):
        for entry in document["per_task"]:
            task = f"{entry['task_group']}_{entry['task_id']}"
            scores[task] = [float(bool(one)) for one in entry["metrics"]["successes"]]
        protocol = ", ".join(map(str, document.get("per_group", {})))
    elif isinstance(document.get("per_episode"), list) and "aggregated" in document:
        scores["task"] = [float(bool(one["success"])) for one in document["per_episode"]]
        protocol = "one task"
    else:
        return []
    _require_episodes(scores, path)
    return [Outcomes("lerobot-eval", path.parent.name or path.stem, scores, protocol)]


def read_vla_eval(path: Path, episodes: int | None) -> Sequence[Outcomes]:
    """A result of vla-eval: an outcome an episode; its errors count as failures there, and are left out here."""
    document = _document(path)
    if not isinstance(document, dict) or not {"benchmark", "tasks", "harness_version"} <= document.keys():
        return []
    scores = {}
    for entry in document["tasks"]:
        sound = [one for one in entry["episodes"] if not one.get("failure_reason")]
        scores[str(entry["task"])] = [_score(one["metrics"], path) for one in sound]
    _require_episodes(scores, path)
    said = f"{document['benchmark']}, mode {document.get('mode', 'not said')}, seed {document.get('seed')}"
    if document.get("partial"):
        said += ", unfinished"
    return [Outcomes(f"vla-eval {document['harness_version']}", path.stem, scores, said)]


def read_chains(path: Path, episodes: int | None) -> Sequence[Outcomes]:
    """Chains of subtasks, one entry a checkpoint: how many sequences got how far."""
    document = _document(path)
    if not isinstance(document, dict):
        return []
    entries = {path.stem: document} if "chain_sr" in document else document
    found = []
    for name, entry in entries.items():
        if not isinstance(entry, dict) or not {"avg_seq_len", "chain_sr"} <= entry.keys():
            return []
        found.append(Outcomes("RoboVLMs' and VLM4VLA's loop", str(name), {"sequence": _lengths(entry, path, episodes)}))
    return found


def _lengths(entry: Mapping[str, Any], path: Path, episodes: int | None) -> list[float]:
    """The length of each chain, the longest first; their number follows from the solved subtasks."""
    mean = float(entry["avg_seq_len"])
    info = entry.get("task_info")
    if info and mean > 0:
        total = round(sum(int(task["success"]) for task in info.values()) / mean)
    elif info:
        total = sum(int(task["total"]) for task in info.values())
    elif episodes is not None:
        total = episodes
    else:
        raise UsageError(f"{path} does not say how many sequences it is of; say so with --import-episodes N")
    if not 0 <= total <= MOST_EPISODES:
        raise UsageError(f"{path} speaks of {total} sequences, which nobody ran")
    rates = [float(rate) for _, rate in sorted(entry["chain_sr"].items(), key=lambda item: int(item[0]))]
    reached = [round(rate * total) for rate in rates]
    if any(abs(rate * total - count) > 0.01 for rate, count in zip(rates, reached, strict=True)):
        raise UsageError(f"{path}: its success rates are none of {total} sequences")
    if abs(sum(reached) - mean * total) > 0.5:
        raise UsageError(f"{path}: its success rates do not sum to its average length")
    return [float(sum(index < count for count in reached)) for index in range(total)]


def _score(metrics: Mapping[str, Any], path: Path) -> float:
    for key in ("completed_subtasks", "success"):
        if key in metrics:
            return float(metrics[key])
    raise UsageError(f"{path}: an episode has neither success nor completed_subtasks among its metrics")


def _require_episodes(scores: Mapping[str, Sequence[float]], path: Path) -> None:
    if not any(map(len, scores.values())):
        raise UsageError(f"{path} holds no episode")


def _document(path: Path) -> Any:
    if not path.is_file() or path.suffix != ".json":
        return None
    try:
        return parse_json(read_document(path))
    except OSError as error:
        raise UsageError(f"{path} cannot be read: {error.strerror}") from None
    except ValueError as error:
        raise UsageError(f"{path} {error}") from None


def _checked(read: Reader) -> Reader:
    """The same, with a sentence where the file looks like its tool's and is not."""

    def checked(path: Path, episodes: int | None) -> Sequence[Outcomes]:
        try:
            return read(path, episodes)
        except (LookupError, TypeError, ValueError, AttributeError, ArithmeticError) as error:
            raise UsageError(f"{path} looks like a result of {read.__name__[5:]} but is damaged: {error!r}") from None

    return checked


READERS: tuple[Reader, ...] = tuple(map(_checked, (read_lerobot, read_vla_eval, read_chains)))
