from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from simrun.errors import CheckpointError, UnknownNameError, UsageError
from simrun.policies.conventions import entries_of
from simrun.policies.transforms.transform import TransformContext, build_transforms


@pytest.fixture(scope="module")
def reference() -> dict[str, np.ndarray]:
    with np.load(Path(__file__).with_name("reference_images.npz")) as archive:
        return dict(archive)


@pytest.fixture
def apply(plane, observe):
    def run(entry, images, **changes):
        (transform,) = build_transforms(entries_of([entry], "test"), TransformContext(plane), "test")
        return transform.apply(observe(images=images, **changes))

    return run


def test_the_centre_crop_has_tensorflows_pixels(apply, reference):
    entry = {"name": "centre_crop", "area": 0.9, "height": 22, "width": 24}
    seen = apply(entry, {"front": reference["image"]})
    np.testing.assert_array_equal(seen.images["front"], reference["centre_crop"])


def test_the_centre_crop_keeps_the_size_unless_told(apply):
    image = np.zeros((200, 160, 3), np.uint8)
    image[5:-5, 4:-4] = 255
    seen = apply("centre_crop", {"front": image})
    assert seen.images["front"].shape == (200, 160, 3)
    assert seen.images["front"].min() == 255


def test_padding_keeps_the_aspect_ratio_with_openpis_pixels(apply, reference):
    seen = apply({"name": "resize_with_padding", "height": 24, "width": 24}, {"front": reference["image"]})
    np.testing.assert_array_equal(seen.images["front"], reference["resize_with_padding"])


def test_jpeg_is_near_tensorflows(apply, reference):
    pytest.importorskip("PIL")
    seen = apply("jpeg", {"front": reference["image"]})
    difference = np.abs(seen.images["front"].astype(int) - reference["jpeg"])
    untouched = np.abs(reference["image"].astype(int) - reference["jpeg"])
    # TensorFlow decodes with a faster, less exact cosine transform; the image is harsh coloured noise.
    assert difference.mean() < 2.1
    assert difference.mean() < 0.3 * untouched.mean()


def test_rotation_turns_rows_and_columns(apply):
    image = np.arange(2 * 3 * 3, dtype=np.uint8).reshape(2, 3, 3)
    np.testing.assert_array_equal(apply("rotate_180", {"front": image}).images["front"], image[::-1, ::-1])


def test_only_the_named_cameras_change(apply):
    images = {"front": np.zeros((4, 4, 3), np.uint8), "wrist": np.zeros((4, 4, 3), np.uint8)}
    entry = {"name": "resize", "height": 2, "width": 2, "method": "area", "cameras": ["wrist"]}
    seen = apply(entry, images)
    assert [seen.images[name].shape for name in ("front", "wrist")] == [(4, 4, 3), (2, 2, 3)]
    with pytest.raises(CheckpointError, match="names camera wrist; observed cameras are front"):
        apply(entry, {"front": images["front"]})


def test_cameras_are_renamed_and_ordered(apply):
    images = {"front": np.zeros((1, 1, 3), np.uint8), "wrist": np.ones((1, 1, 3), np.uint8)}
    seen = apply({"name": "rename_cameras", "names": {"wrist": "hand", "front": "primary"}}, images)
    assert list(seen.images) == ["hand", "primary"]
    assert seen.images["hand"][0, 0, 0] == 1


def test_frames_of_consecutive_control_steps_are_stacked(plane, observe):
    (stack,) = build_transforms(
        entries_of([{"name": "stack_frames", "count": 3}], "test"), TransformContext(plane), "t"
    )
    assert stack.history_needed(1) == 3
    moments = [observe(1, step) for step in range(4)]

    def stacked(*past):
        return stack.apply(observe(1, 3, past=past)).images["front"]

    np.testing.assert_array_equal(stacked(*moments[1:3]), [entry.images["front"] for entry in moments[1:4]])
    # At an episode's start the first one stands for those before it.
    first = moments[3].images["front"]
    np.testing.assert_array_equal(stacked(), [first] * 3)


@pytest.mark.parametrize(
    ("entry", "error", "sentence"),
    [
        ({"name": "resize", "height": 4}, UsageError, "width"),
        ({"name": "resize", "height": 0, "width": 4, "method": "area"}, UsageError, "must be positive"),
        ({"name": "resize", "height": 4, "width": 4, "method": "best"}, UnknownNameError, "best"),
        ({"name": "centre_crop", "area": 1.5}, UsageError, r"area must lie in \(0, 1\]"),
        ({"name": "stack_frames", "count": 0}, UsageError, "at least 1"),
        ({"name": "stack_frames", "count": 2, "_seen": {}}, UsageError, "takes count; got _seen"),
        ({"height": 4}, UsageError, "needs a name"),
        # What would fill the memory, or fail only where it is applied.
        ({"name": "resize", "height": 10**6, "width": 10**6}, UsageError, "no policy's is beyond 100000"),
        ({"name": "resize", "height": 10**5, "width": 10**5, "method": "area"}, UsageError, "at most 8192"),
        ({"name": "resize_with_padding", "height": 9000, "width": 4}, UsageError, "at most 8192"),
        ({"name": "centre_crop", "height": 10**5}, UsageError, "at most 8192"),
        ({"name": "stack_frames", "count": 10**5}, UsageError, "at most 1000"),
        ({"name": "resize", "height": "4", "width": 4}, UsageError, "height must be of type int, got '4'"),
        ({"name": "resize", "height": True, "width": 4}, UsageError, "height must be of type int, got True"),
        ({"name": "pad_actions", "dimension": 10**400}, UsageError, "no policy's is beyond"),
        ({"name": "pad_proprio", "size": 7.0}, UsageError, "size must be of type int"),
        ({"name": "prompt", "template": ["Do it"]}, UsageError, "template must be of type str"),
        ({"name": "prompt", "template": "{instruction:99999999999}"}, UsageError, "alone"),
        ({"name": "prompt", "template": "{instruction.__class__}"}, UsageError, "alone"),
        ({"name": "prompt", "template": "{lower!r}"}, UsageError, "alone"),
        ({"name": "prompt", "template": "{"}, UsageError, "alone"),
        ({"name": "prompt", "template": "{}"}, UsageError, "alone"),
        ({"name": "prompt", "template": "{task:{lower}}"}, UsageError, "alone"),
    ],
)
def test_wrong_parameters_are_one_sentence(plane, entry, error, sentence):
    with pytest.raises(error, match=sentence):
        build_transforms(entries_of([entry], "simrun.toml"), TransformContext(plane), "simrun.toml")
