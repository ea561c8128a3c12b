"""SimplerEnv-Bridge's laboratory: shipped recordings, those of ``mani_skill2_real2sim``, and how it is recorded."""

from __future__ import annotations

import contextlib
import json
import shutil
import tempfile
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from simrun.envs.episodes import Episode
from simrun.envs.laboratory.laboratory import Laboratory, RecordedActions, run_upstream, waves
from simrun.envs.laboratory.recordings import RecordingPlan
from simrun.envs.laboratory.traces import Array, Experiment, Lookup
from simrun.envs.machine.data_files import DataFiles
from simrun.envs.machine.vulkan import child_environment
from simrun.envs.simpler_bridge.data_files import CACHE_SUFFIX, ModelFiles
from simrun.envs.simpler_bridge.upstream_recordings import CAMERA, TASK_OF_RECORDING, Start, read_traces

_UPSTREAM = "mani_skill2_real2sim"
_TRIALS = (3, 14)
_STEPS = 30
_STANDINS = "recorded with stand-ins for the table, which nothing touches in this task, and for the eggplant's looks"


class BridgeLaboratory(Laboratory):
    """Replays traces of upstream with states, flags and pictures, and the start poses of all trials."""

    # The first frame is of the sink; the table is another room, which is made ready by itself.
    other_scenes = ("carrot",)
    shipped = (
        RecordingPlan("simpler_bridge_eggplant_0", "eggplant", 0, "expert", 120, CAMERA, note=_STANDINS),
        RecordingPlan("simpler_bridge_eggplant_5", "eggplant", 5, "expert", 60, CAMERA, note=_STANDINS),
    )

    def sample_actions(self, seed: int, count: int) -> npt.NDArray[np.float32]:
        """Waves of a few centimetres that sink to the objects; see `Laboratory.sample_actions`."""
        actions = waves(self.benchmark.action_specs[self.benchmark.default_action_mode], seed, count)
        actions[:, :3] *= 0.02
        actions[:, 2] -= 0.006
        actions[:, 3:6] *= 0.04
        actions[:, 6] = np.where(actions[:, 6] < 0, -1.0, 1.0)
        return actions

    def upstream_experiments(self, path: Path) -> Iterator[Experiment]:
        """One experiment a trace: a trial of one task, stepped by the reference environment."""
        self.prepare_process()
        from simrun.envs.simpler_bridge.trace_stage import TraceStage, start_poses

        files = ModelFiles(DataFiles.of(self.benchmark).folder())
        for trace, subject in read_traces(path):
            if isinstance(subject, Start):
                yield trace, TraceStage(subject, files)
            else:
                yield trace, Lookup({"start poses": partial(start_poses, subject, files)})

    def upstream_actions(self, episode: Episode, folder: Path) -> list[RecordedActions]:
        """Positive controls first, then the traces of the task's own file."""
        subject = next((theirs for theirs, ours in TASK_OF_RECORDING.items() if ours == episode.task), episode.task)
        key = f"ep{episode.trial:02d}_actions"
        return [
            RecordedActions(folder / "positive_controls.npz", f"{subject}_{key}"),
            RecordedActions(folder / f"golden_{subject}.npz", key),
        ]

    def record_upstream(self, python: str, out: Path) -> Iterator[str]:
        """Record two trials of all four tasks, with images, and the start poses.

        Upstream is given a copy of our own data files, so that both sides see the same table and no file of the user's
        is written to; the robot description is that of its own package.
        """
        with self._upstream(python) as run:
            yield "the rooms' collision meshes are made"
            played = {trial: self.sample_actions(trial, _STEPS).astype(np.float64) for trial in _TRIALS}
            for task in TASK_OF_RECORDING:
                file = out / f"golden_{task}.npz"
                run(task, played, file, "START_POSES")
                yield f"{_UPSTREAM} recorded {file.name}"

    def play_upstream(self, start: Any, actions: Array, python: str, folder: Path) -> Path:
        """Step mani_skill2_real2sim; ``start`` is an episode or a `Start`."""
        task, trial = (start.task, start.trial) if isinstance(start, Episode) else (start.task.name, start.trial)
        theirs = next(theirs for theirs, ours in TASK_OF_RECORDING.items() if ours == task)
        file = folder / f"golden_{theirs}.npz"
        with self._upstream(python) as run:
            run(theirs, {trial: actions.astype(np.float64)}, file)
        return file

    @contextlib.contextmanager
    def _upstream(self, python: str) -> Iterator[Callable[..., None]]:
        """What runs the recorder on (task, actions by trial, file, options), over a copy of our data files."""
        with tempfile.TemporaryDirectory(prefix="simrun-upstream-data-") as scratch:
            copy = copy_data(DataFiles.of(self.benchmark).folder() / "data", Path(scratch) / "data")
            environment = child_environment() | {"MS2_REAL2SIM_ASSET_DIR": str(copy)}
            recorder = str(Path(__file__).with_name("upstream_recorder.py"))

            def run(task: str, played: dict[int, Array], file: Path, *options: str) -> None:
                job = Path(scratch) / "actions.npz"
                arrays: dict[str, Any] = {f"ep{trial:02d}": actions for trial, actions in played.items()}
                np.savez(job, **arrays)
                run_upstream(_UPSTREAM, python, [recorder, "record", task, str(job), str(file), *options], environment)

            run_upstream(_UPSTREAM, python, [recorder, "cook", str(copy)], environment)
            yield run


def copy_data(data: Path, copy: Path) -> Path:
    """Copy the data files to where upstream may write its caches, with catalogues that name only what is there.

    Args:
        data: our data files.
        copy: the folder to make.

    Returns:
        ``copy``.
    """
    shutil.copytree(data, copy, ignore=shutil.ignore_patterns(f"*{CACHE_SUFFIX}"))
    for path in (copy, *copy.rglob("*")):
        path.chmod(0o755 if path.is_dir() else 0o644)
    # Upstream refuses a catalogue that names more models than there are.
    for catalogue in copy.glob("custom/info_*.json"):
        entries = json.loads(catalogue.read_text(encoding="utf-8"))
        present = {name: entry for name, entry in entries.items() if (copy / "custom/models" / name).is_dir()}
        catalogue.write_text(json.dumps(present), encoding="utf-8")
    return copy
