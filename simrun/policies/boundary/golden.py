"""One recording of a policy boundary, and what is compared of it."""

from __future__ import annotations

import hashlib
import io
import re
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from scipy.spatial.transform import Rotation

from simrun.envs import Benchmark, Episode, benchmark_names, get_benchmark
from simrun.envs.laboratory.traces import read_arrays
from simrun.envs.machine.regular_files import DAMAGED_ARCHIVE, parse_object
from simrun.errors import AssetError, UsageError
from simrun.policies.foreign import require_module
from simrun.policies.policy import Observation

Array = npt.NDArray[Any]

_FAMILIES = {
    "model_servers/xvla.py": "vlaevalxvla",
    "vla_eval": "vlaeval",
    "starvla": "starvla",
    "openpi": "openpi",
    "openvla_oft": "openvla_oft",
    "univla": "univla",
    "openvla": "openvla",
    "lerobot": "lerobot",
    "robovlms": "robovlms",
    "vlm4vla": "vlm4vla",
    "groot": "groot",
    "gr00t": "groot",
    "cogact": "cogact",
    "x_vla": "xvla",
    "xpolicylab": "xpolicylab",
}
"""What a recording says of its family, or of the repository whose code made it -> the family; the first word counts."""


@dataclass
class Comparison:
    """What was compared of one recording."""

    images: int = 0
    images_equal: int = 0
    largest: dict[str, float] = field(default_factory=dict)
    mismatches: list[str] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)

    def image(self, seen: Array, expected: Array | str) -> None:
        """Compare an image with the recorded one, or with the SHA-256 of its bytes."""
        self.images += 1
        if isinstance(expected, str):
            equal = hashlib.sha256(np.ascontiguousarray(seen).tobytes()).hexdigest() == expected
            differing = np.asarray([0.0 if equal else 255.0])
        else:
            same_size = seen.shape == expected.shape
            differing = np.abs(seen.astype(int) - expected) if same_size else np.asarray([255.0])
            equal = not differing.any()
        self._note("images", float(differing.max()))
        if not equal:
            self._note("images (mean)", float(differing.mean()))
        self.images_equal += int(equal)

    def numbers(self, what: str, seen: Array, expected: Array) -> None:
        """Compare a state or actions."""
        if np.shape(seen) != np.shape(expected):
            self.mismatches.append(f"{what} of shape {list(np.shape(seen))}, recorded {list(np.shape(expected))}")
            return
        difference = np.abs(np.asarray(seen, np.float64) - np.asarray(expected, np.float64))
        self._note(what, float(difference.max(initial=0.0)))

    def text(self, what: str, seen: Any, expected: Any) -> None:
        """Compare a sentence, or anything that must be equal."""
        if seen != expected:
            self.mismatches.append(f"{what} {seen!r}, recorded {expected!r}")

    def _note(self, what: str, value: float) -> None:
        self.largest[what] = max(value, self.largest.get(what, 0.0))


class Golden:
    """One recording.

    Args:
        file: an ``.npz`` archive.

    Raises:
        UsageError: it is no recording of a policy boundary.
    """

    def __init__(self, file: Path) -> None:
        self.file = file
        try:
            self.arrays: dict[str, Array] = read_arrays(file)
            self.meta: dict[str, Any] = parse_object(str(self.arrays["meta"]))
        except (AssetError, ValueError, KeyError) as error:
            raise UsageError(f"{file} is no recording of a policy boundary: {error}") from None
        self.family = self._family()
        self.benchmark = self._benchmark()

    def _family(self) -> str:
        """The family, by what the recording says; its file may have any name."""
        said = str(self.meta.get("family") or self.meta.get("source", "")).lower().replace("-", "_")
        return next((family for word, family in _FAMILIES.items() if word in said), "")

    def _benchmark(self) -> Benchmark | None:
        """The benchmark that the recording names, else that whose cameras its pictures are of; None without any."""
        named = self.meta.get("benchmark") or self.meta.get("golden") or ""
        word = re.split(r"\W", str(named[0] if isinstance(named, list) else named).lower())[0]
        known = benchmark_names()
        wanted = next((name for name in (*[word] * (word in known), *known) if word and name.startswith(word)), None)
        pictured = {found[1] for key in self.arrays if (found := re.fullmatch(r"png_(.+)_\d+", key))}
        if wanted is None and pictured:
            wanted = next((name for name in known if pictured <= set(get_benchmark(name).cameras)), None)
        return None if wanted is None else get_benchmark(wanted)

    def get(self, key: str) -> Array:
        """An array of the recording."""
        found: Array = self.arrays[key]
        return found

    def has(self, key: str) -> bool:
        """Whether the recording holds an array."""
        return key in self.arrays

    def picture(self, key: str) -> npt.NDArray[np.uint8]:
        """A recorded PNG, decoded."""
        pillow = require_module("PIL.Image", "images", "comparing recorded pictures")
        try:
            image = pillow.open(io.BytesIO(self.arrays[key].tobytes()), formats=["PNG"]).convert("RGB")
        except (*DAMAGED_ARCHIVE, pillow.DecompressionBombError) as error:
            raise UsageError(f"{key} of {self.file} is no PNG: {error}") from None
        decoded: npt.NDArray[np.uint8] = np.asarray(image)
        return decoded

    def count(self, pattern: str) -> int:
        """How many numbered arrays there are."""
        return sum(re.fullmatch(pattern, key) is not None for key in self.arrays)

    def observation(
        self,
        index: int,
        step: int = 0,
        proprio: Array | None = None,
        frame: int | None = None,
        action_mode: str | None = None,
    ) -> Observation:
        """The observation that a query saw, with all cameras that were recorded."""
        assert self.benchmark is not None
        shown = index if frame is None else frame
        cameras = {}
        for camera in self.benchmark.cameras:
            key = next((f"png_{camera}_{i}" for i in (shown, 0) if self.has(f"png_{camera}_{i}")), None)
            if key is not None:
                cameras[camera] = self.picture(key)
        sentence = self.arrays.get(f"instruction_{index}", self.arrays.get("instruction", np.asarray("")))
        state = self.arrays.get(f"proprio_{index}") if proprio is None else proprio
        if state is None:
            state = np.zeros(len(self.benchmark.proprio_names))
        if action_mode is not None and len(state) + 6 == len(self.benchmark.proprio_of(action_mode)):
            state = np.concatenate([state, self._controller_pose(index, state)])
        protocol = self.benchmark.protocol()
        task = self._task(str(sentence))
        return Observation(
            slot=0,
            episode=Episode(protocol.name, task, 0),
            step=step,
            instruction=str(sentence),
            proprio=np.asarray(state, np.float32),
            images=cameras,
            generator=np.random.default_rng(0),
            native=True,
        )

    def _controller_pose(self, index: int, state: Array) -> Array:
        """The pose that a controller measures, as absolute control gives it: recorded, or turned from the body's."""
        recorded = f"upstream_controller_ee_ori_mat_{index}"
        if self.has(recorded):
            rotation = Rotation.from_matrix(self.get(recorded))
        else:
            site = Rotation.from_matrix([[0, 1, 0], [-1, 0, 0], [0, 0, 1]])
            rotation = Rotation.from_rotvec(np.asarray(state[3:6], np.float64)) * site
        pose: Array = np.concatenate([state[:3], rotation.as_rotvec()])
        return pose

    def _task(self, sentence: str) -> str:
        assert self.benchmark is not None
        tasks = self.benchmark.tasks(self.benchmark.protocol())
        return next((task.name for task in tasks if task.instruction == sentence), tasks[0].name)
