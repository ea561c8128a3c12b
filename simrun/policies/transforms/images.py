"""Transforms of camera images: resizing, cropping, turning, stacking, renaming."""

from __future__ import annotations

import io
from abc import abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace

import numpy as np
import numpy.typing as npt

from simrun.errors import CheckpointError, UnknownNameError, UsageError
from simrun.policies.foreign import require_module
from simrun.policies.policy import Observation
from simrun.policies.transforms.resampling import METHODS, crop_and_resize, resize
from simrun.policies.transforms.transform import ObservationTransform

Image = npt.NDArray[np.uint8]

_LONGEST_EDGE = 8192
_MOST_FRAMES = 1000
"""Pixels and frames beyond what any network sees."""


@dataclass(frozen=True)
class ImageTransform(ObservationTransform):
    """Base of transforms that change each image by itself.

    Attributes:
        cameras: cameras whose images are changed; None changes all.
    """

    cameras: Sequence[str] | None = field(default=None, kw_only=True)

    def apply(self, observation: Observation) -> Observation:
        """The changed observation.

        Raises:
            CheckpointError: a camera that is named here was not observed.
        """
        chosen = list(observation.images) if self.cameras is None else list(self.cameras)
        for camera in chosen:
            if camera not in observation.images:
                observed = ", ".join(observation.images) or "none"
                raise CheckpointError(f"transform {self.name} names camera {camera}; observed cameras are {observed}")
        changed = {camera: self.change(observation.images[camera]) for camera in chosen}
        return replace(observation, images={**observation.images, **changed})

    @abstractmethod
    def change(self, image: Image) -> Image:
        """The changed image, uint8 ``[height, width, 3]``."""


@dataclass(frozen=True)
class Resize(ImageTransform):
    """``resize``: to a fixed size, without keeping the aspect ratio.

    Attributes:
        height: new height in pixels.
        width: new width in pixels.
        method: whose pixels to reproduce, see `simrun.policies.transforms.resampling`.
    """

    name = "resize"
    height: int
    width: int
    method: str

    def __post_init__(self) -> None:
        _check_size(self.name, self.height, self.width)
        if self.method not in METHODS:
            raise UnknownNameError("resize method", self.method, list(METHODS))

    def change(self, image: Image) -> Image:
        return resize(image, self.height, self.width, self.method)


@dataclass(frozen=True)
class ResizeWithPadding(ImageTransform):
    """``resize_with_padding``: keep the aspect ratio, put black around; pixels of openpi's client.

    Attributes:
        height: new height in pixels.
        width: new width in pixels.
        method: whose pixels to reproduce; openpi's is ``bilinear``.
    """

    name = "resize_with_padding"
    height: int
    width: int
    method: str = "bilinear"

    def __post_init__(self) -> None:
        _check_size(self.name, self.height, self.width)

    def change(self, image: Image) -> Image:
        height, width = image.shape[:2]
        if (height, width) == (self.height, self.width):
            return image
        ratio = max(width / self.width, height / self.height)
        inner = resize(image, int(height / ratio), int(width / ratio), self.method)
        top, left = (self.height - inner.shape[0]) // 2, (self.width - inner.shape[1]) // 2
        padded = np.zeros((self.height, self.width, image.shape[2]), np.uint8)
        padded[top : top + inner.shape[0], left : left + inner.shape[1]] = inner
        return padded


@dataclass(frozen=True)
class CentreCrop(ImageTransform):
    """``centre_crop``: the middle of the image, enlarged; pixels of TensorFlow's ``crop_and_resize``.

    OpenVLA and VLM4VLA crop 0.9 of the area at test time because they were trained with random crops of it.

    Attributes:
        area: share of the area that is kept.
        height: height of the result; 0 keeps that of the image.
        width: width of the result; 0 keeps that of the image.
    """

    name = "centre_crop"
    area: float = 0.9
    height: int = 0
    width: int = 0

    def __post_init__(self) -> None:
        if not 0 < self.area <= 1:
            raise UsageError(f"transform {self.name}: area must lie in (0, 1], got {self.area:g}")
        _check_size(self.name, self.height or 1, self.width or 1)

    def change(self, image: Image) -> Image:
        side = np.sqrt(np.float32(self.area))
        offset = (1 - side) / np.float32(2)
        box = (float(offset), float(offset), float(offset + side), float(offset + side))
        return crop_and_resize(image, box, self.height or image.shape[0], self.width or image.shape[1])


@dataclass(frozen=True)
class Rotate180(ImageTransform):
    """``rotate_180``: turn the image upside down and left to right, as some training sets were."""

    name = "rotate_180"

    def change(self, image: Image) -> Image:
        return np.ascontiguousarray(image[::-1, ::-1])


@dataclass(frozen=True)
class JpegRoundTrip(ImageTransform):
    """``jpeg``: encode and decode, as OpenVLA does because its data sets hold JPEG images; needs Pillow.

    Libraries decode one stream to different pixels: TensorFlow, which OpenVLA uses, takes the fast integer cosine
    transform, Pillow and OpenCV the accurate one. 65% of the pixels differ, by 1 grey level in the mean.

    Attributes:
        quality: JPEG quality; TensorFlow's default is 95.
        decoder: ``accurate`` as Pillow's, or ``fast`` as TensorFlow's, which needs simplejpeg.
    """

    name = "jpeg"
    quality: int = 95
    decoder: str = "accurate"

    def __post_init__(self) -> None:
        if self.decoder not in ("accurate", "fast"):
            raise UnknownNameError("decoder of jpeg", self.decoder, ["accurate", "fast"])

    def change(self, image: Image) -> Image:
        """The changed image.

        Raises:
            DependencyError: Pillow or simplejpeg is not installed.
        """
        pillow = require_module("PIL.Image", "images", f"the transform {self.name}")
        encoded = io.BytesIO()
        pillow.fromarray(image).save(encoded, "JPEG", quality=self.quality, subsampling="4:2:0")
        if self.decoder == "accurate":
            return np.asarray(pillow.open(encoded).convert("RGB"))
        simplejpeg = require_module("simplejpeg", "images", f"the transform {self.name} with the fast decoder")
        decoded: Image = simplejpeg.decode_jpeg(encoded.getvalue(), fastdct=True, fastupsample=False)
        return decoded


@dataclass(frozen=True)
class FloatRoundTrip(ImageTransform):
    """``float_round_trip``: to [-1, 1] in single precision and back, cut off: grey levels 1 to 63 arrive one lower.

    vla-eval's images of chains go through torchvision's ``Normalize(0.5, 0.5)`` and back.
    """

    name = "float_round_trip"

    def change(self, image: Image) -> Image:
        one, half, levels = np.float32(1), np.float32(0.5), np.arange(256, dtype=np.float32)
        scaled = (levels / np.float32(255) - half) / half
        table = ((scaled + one) / np.float32(2) * np.float32(255)).astype(np.uint8)
        return table[image]


@dataclass(frozen=True)
class RenameCameras(ObservationTransform):
    """``rename_cameras``: give cameras the names that a network or server expects, in this order; drop the others.

    Attributes:
        names: the benchmark's camera -> the new name.
    """

    name = "rename_cameras"
    names: Mapping[str, str]

    def apply(self, observation: Observation) -> Observation:
        """The changed observation.

        Raises:
            CheckpointError: a camera that is named here was not observed.
        """
        missing = [camera for camera in self.names if camera not in observation.images]
        if missing:
            observed = ", ".join(observation.images) or "none"
            raise CheckpointError(f"transform {self.name} names camera {missing[0]}; observed cameras are {observed}")
        return replace(observation, images={new: observation.images[old] for old, new in self.names.items()})

    def cameras_needed(self, cameras: tuple[str, ...] | None) -> tuple[str, ...] | None:
        return tuple(self.names)


@dataclass(frozen=True)
class StackFrames(ObservationTransform):
    """``stack_frames``: the images of the last control steps of each camera as ``[count, height, width, 3]``.

    Oldest first; until enough were seen, the first one is repeated. The frames are of consecutive control steps,
    whatever the execution variant.

    Attributes:
        count: number of frames.
    """

    name = "stack_frames"
    count: int

    def __post_init__(self) -> None:
        if not 1 <= self.count <= _MOST_FRAMES:
            raise UsageError(f"transform {self.name}: count must be at least 1 and at most {_MOST_FRAMES}")

    def history_needed(self, history: int) -> int:
        return max(self.count, history)

    def apply(self, observation: Observation) -> Observation:
        seen = [*observation.past, observation][-self.count :]
        seen = [seen[0]] * (self.count - len(seen)) + seen
        stacks = {camera: np.stack([entry.images[camera] for entry in seen]) for camera in observation.images}
        return replace(observation, images=stacks)


def _check_size(name: str, height: int, width: int) -> None:
    if not (1 <= height <= _LONGEST_EDGE and 1 <= width <= _LONGEST_EDGE):
        raise UsageError(
            f"transform {name}: height and width must be positive and at most {_LONGEST_EDGE}, got {height} and {width}"
        )
