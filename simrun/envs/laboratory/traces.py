"""Traces: the one form in which a recorded episode is replayed and compared, whoever recorded it.

A trace is what was recorded, a stage is the simulator that plays it again. Benchmarks bring readers that turn their
upstream's recordings into traces, and stages that say what each recorded quantity is here; one replayer
(`simrun.envs.laboratory.replaying`) plays and compares all of them.
"""

from __future__ import annotations

import struct
import zipfile
from abc import ABC, abstractmethod
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

import numpy as np
import numpy.typing as npt

from simrun.envs.machine.numerics import describe_computing
from simrun.envs.machine.regular_files import DAMAGED_ARCHIVE, open_regular
from simrun.errors import AssetError, RendererError

Array = npt.NDArray[Any]
Image = npt.NDArray[np.uint8]

GREY_LEVELS = 2.0
"""Mean absolute difference of an image, in grey levels, that another graphics driver may show.

With the driver of a recording, images are equal to the last bit. A wrong lighting is 4 to 7 grey levels away, another
renderer of the same scene 16 to 22, as measured on one benchmark.
"""


DERIVED = 1e-9
"""Largest deviation of a derived quantity: gripper poses were seen to part by 4e-16 where the joints are equal."""


@dataclass(frozen=True)
class Rows:
    """One recorded quantity.

    Attributes:
        values: one row for each of ``steps``.
        steps: control steps executed before each row was recorded; 0 is the initial state.
        kind: how it is compared. ``exact``: to the last bit, deviations are reported. ``hash``: to the last bit, and a
            deviation would say nothing. ``flag``: equal or not, apart from the states. ``derived``: computed from exact
            quantities by code whose last bits are not the simulator's, so that `DERIVED` is allowed.
        names: what the values of a row are, for messages; empty where they have no names.
    """

    values: Sequence[Any] | Array
    steps: Sequence[int]
    kind: Literal["exact", "hash", "flag", "derived"] = "exact"
    names: Sequence[str] = ()

    @classmethod
    def of_states(cls, values: Array, **options: Any) -> Rows:
        """One row a state: the first is the initial one."""
        return cls(values, range(len(values)), **options)

    @classmethod
    def of_steps(cls, values: Array, **options: Any) -> Rows:
        """One row a control step: what it led to."""
        return cls(values, range(1, len(values) + 1), **options)

    @classmethod
    def at(cls, step: int, value: Any, **options: Any) -> Rows:
        """One row at one moment."""
        return cls([np.asarray(value)], [step], **options)


class Pictures(ABC):
    """The recorded pictures of a trace, and how far others may be from them.

    Args:
        cameras: control step -> cameras of the pictures recorded then.
    """

    def __init__(self, cameras: Mapping[int, Collection[str]]) -> None:
        self.cameras = cameras

    @abstractmethod
    def compare(self, step: int, camera: str, here: Any, renderer: str) -> tuple[bool, Mapping[str, float]]:
        """Compare one picture.

        Args:
            step: control steps executed before it.
            camera: what took it.
            here: what `Stage.picture` gave.
            renderer: what drew it.

        Returns:
            Whether it is equal to the last bit, and measure -> deviation.

        Raises:
            AssetError: the recorded picture cannot be read.
        """

    def tolerances(self, measures: Collection[str], renderer: str) -> Mapping[str, float]:
        """Measure -> deviation that ``renderer`` may show; those without one must be 0."""
        return {}


class GreyLevels(Pictures):
    """Pictures compared by their mean absolute difference, for which another driver has `GREY_LEVELS`.

    Args:
        images: (control step, camera) -> uint8 ``[height, width, 3]`` RGB, or the same as PNG file ``[n]``.
    """

    def __init__(self, images: Mapping[tuple[int, str], Image]) -> None:
        cameras: dict[int, list[str]] = {}
        for step, camera in images:
            cameras.setdefault(step, []).append(camera)
        super().__init__(cameras)
        self._images = images

    def compare(self, step: int, camera: str, here: Image, renderer: str) -> tuple[bool, Mapping[str, float]]:
        """Mean absolute difference; see `Pictures.compare`."""
        recorded = decoded(self._images[step, camera], f"{camera} at step {step}")
        if recorded.shape != here.shape:
            raise AssetError(f"{camera} at step {step} is recorded as {recorded.shape}, and is {here.shape} here")
        mean = float(np.abs(here.astype(np.float64) - recorded).mean())
        return mean == 0, {f"{camera} (mean)": mean}

    def tolerances(self, measures: Collection[str], renderer: str) -> Mapping[str, float]:
        """`GREY_LEVELS` for every camera."""
        return dict.fromkeys(measures, GREY_LEVELS)


@dataclass(frozen=True)
class Trace:
    """One recorded episode; without actions, quantities that need no stepping.

    Attributes:
        name: of the recording, for the report.
        actions: ``[T, A]``, as they were sent.
        rows: name -> what was recorded; names that share what stands before a slash are reported as one quantity.
        pictures: what was drawn; None where nothing was.
        must_succeed: it is a positive control, and must end in success here too.
        circumstances: what is known of the machine of the recording, flat: versions, kernels, renderer.
        note: what a reader must know of it.
    """

    name: str
    actions: Array
    rows: Mapping[str, Rows]
    pictures: Pictures | None = None
    must_succeed: bool = False
    circumstances: Mapping[str, str] = field(default_factory=dict)
    note: str = ""


class Stage(ABC):
    """A simulator that plays the actions of one trace; stands at its beginning after `begin`.

    Attributes:
        ended: whether the episode has ended, so that no action can follow.
        renderer: what draws here, known after the first picture.
        failure: what is wrong besides the compared quantities, None while nothing is.
        start: what upstream needs to begin where this stage begins, as `Laboratory.play_upstream` understands it; None
            where there is nothing to play.
    """

    ended = False
    renderer = ""
    failure: str | None = None
    start: Any = None

    @abstractmethod
    def begin(self) -> None:
        """Put the simulator into the initial state.

        Raises:
            SimrunError: the recording asks for what there is not here; it is reported as not reproduced.
        """

    @abstractmethod
    def read(self, name: str) -> Any:
        """The present value of one of the trace's quantities."""

    def step(self, action: Array) -> None:  # noqa: B027 (traces without actions need none)
        """Execute one control step."""

    def picture(self, camera: str) -> Any:
        """A picture, in the form that the trace's `Pictures` compare.

        Raises:
            RendererError: nothing renders here.
        """
        raise RendererError(f"there is no camera {camera} here")

    def succeeded(self) -> bool | None:
        """Whether the episode is solved now; None where the recording says nothing about it."""
        return None

    def circumstances(self) -> Mapping[str, str]:
        """What is known of this machine, under the names of `Trace.circumstances`."""
        return describe_computing()

    def close(self) -> None:  # noqa: B027 (most stages hold nothing to free)
        """Free the simulator."""


class Lookup(Stage):
    """A stage for quantities that need no stepping.

    Args:
        values: name -> what gives the quantity.
    """

    def __init__(self, values: Mapping[str, Callable[[], Any]]) -> None:
        self._values = values

    def begin(self) -> None:
        """Nothing is to be done."""

    def read(self, name: str) -> Any:
        """Compute the quantity."""
        return self._values[name]()


Experiment = tuple[Trace, Stage]
"""A trace and the stage on which it is replayed."""


LARGEST_ARRAYS = 2 * 1024**3
"""Bytes beyond which what a recording says that it unpacks to is not unpacked; the largest known has 3 MB."""

_PNG = b"\x89PNG\r\n\x1a\n"
_MOST_PIXELS = 2**26


def read_arrays(path: Path, *wanted: str) -> dict[str, Array]:
    """The arrays of a recording, without pickle.

    Args:
        path: an ``.npz`` archive.
        wanted: names of those that are read; none reads all.

    Raises:
        AssetError: the file cannot be read, or lacks one of them.
    """
    try:
        with open_regular(path) as stream, zipfile.ZipFile(stream) as archive:
            size = sum(entry.file_size for entry in archive.infolist())
            if size > LARGEST_ARRAYS:
                raise ValueError(f"it unpacks to {size} bytes")
            stream.seek(0)
            with np.load(stream, allow_pickle=False) as arrays:
                found = {name: arrays[name] for name in wanted or arrays.files}
    except DAMAGED_ARCHIVE as error:
        raise AssetError(f"the recording {path} cannot be read: {error or type(error).__name__}") from None
    # What is no array of numpy's comes as bytes.
    if strange := [name for name, value in found.items() if not isinstance(value, np.ndarray)]:
        raise AssetError(f"the recording {path} cannot be read: {strange[0]} is no array")
    return found


def decoded(image: Image, what: str) -> Image:
    """An image that may still be a PNG file, as uint8 ``[height, width, 3]`` RGB.

    Raises:
        AssetError: it is no image; the message says what it should be.
    """
    if image.ndim == 3:
        return image
    import cv2

    data = image.tobytes()
    try:
        # Width and height stand at a fixed place; a small file must not become a huge image.
        width, height = struct.unpack_from(">II", data, 16)
        known = data.startswith(_PNG) and width * height <= _MOST_PIXELS
        pixels = cv2.imdecode(image, cv2.IMREAD_COLOR) if known else None
    except (struct.error, cv2.error):
        pixels = None
    if pixels is None:
        raise AssetError(f"{what} is no image")
    rgb: Image = pixels[:, :, ::-1].astype(np.uint8)
    return rgb


_NO_CIRCUMSTANCE = ("reportable", "not_reportable_because")


def flattened(fingerprint: Mapping[str, Any]) -> dict[str, str]:
    """The circumstances that a fingerprint names, by their own names, as short texts."""
    flat: dict[str, str] = {}
    for name, value in fingerprint.items():
        if isinstance(value, Mapping):
            flat.update(flattened(value))
        elif name not in _NO_CIRCUMSTANCE:
            flat[name] = str(value)[:40]
    return flat
