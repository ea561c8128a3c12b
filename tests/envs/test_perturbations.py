"""What is seen otherwise: levels, chance, refusals, and that physics knows nothing of it."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from simrun.envs import Episode, get_benchmark, hash_state
from simrun.envs.perturbations import AXES, Perturbation, SceneChange, disturbed, perturbed, scene_change
from simrun.errors import UnknownNameError, UsageError

TABLETOP = get_benchmark("tabletop")


def test_axes_are_named_with_their_version() -> None:
    assert str(Perturbation.parse("camera:2")) == "camera@1:2" == str(Perturbation.parse("camera@1:2"))
    protocol = perturbed(TABLETOP.protocol(), TABLETOP, "noise:1")
    assert protocol.name == "tabletop/standard@1+perturb=noise@1:1"
    assert protocol.plain == TABLETOP.protocol()


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("camera", "AXIS:LEVEL"),
        ("camera:0", "levels 1 to 5"),
        ("camera:6", "levels 1 to 5"),
        ("camera@2:1", "version 1"),
        ("fog:1", "axis of --perturb"),
    ],
)
def test_what_there_is_not_is_refused(text: str, words: str) -> None:
    with pytest.raises((UsageError, UnknownNameError), match=words):
        Perturbation.parse(text)


@pytest.mark.parametrize(
    ("benchmark", "axis", "words"),
    [
        ("simpler_bridge", "camera", "photograph, which has one point of view; it can in light, noise, blur"),
        ("calvin", "light", "no brightness of its light; it can in camera, noise, blur"),
    ],
)
def test_a_benchmark_that_cannot_do_it_says_why(benchmark: str, axis: str, words: str) -> None:
    chosen = get_benchmark(benchmark)
    with pytest.raises(UsageError, match=f"in {axis}: .*{words}"):
        perturbed(chosen.protocol(), chosen, f"{axis}:1")
    assert perturbed(chosen.protocol(), chosen, "blur:1").perturbation == "blur@1:1"


def test_noise_has_its_deviation_and_is_the_episodes_own() -> None:
    grey = np.full((200, 200, 3), 128, np.uint8)
    for level, deviation in enumerate(AXES["noise"].levels, start=1):
        noise = disturbed(grey, Perturbation("noise", level), "e", "front", 3) - 128.0
        assert noise.std() == pytest.approx(deviation, rel=0.02)
        assert abs(noise.mean()) < 1
    once = disturbed(grey, Perturbation("noise", 1), "e", "front", 3)
    np.testing.assert_array_equal(once, disturbed(grey, Perturbation("noise", 1), "e", "front", 3))
    for other in (("f", "front", 3), ("e", "wrist", 3), ("e", "front", 4)):
        assert np.any(once != disturbed(grey, Perturbation("noise", 1), *other))


def test_blur_is_a_gaussian_of_its_deviation() -> None:
    point = np.zeros((201, 201, 3), np.uint8)
    point[100, 100] = 255
    column = disturbed(np.repeat(point[:, 100:101], 201, axis=1), Perturbation("blur", 5))[:, 100, 0].astype(float)
    rows = np.arange(201) - 100
    deviation = np.sqrt((column * rows**2).sum() / column.sum())
    assert deviation == pytest.approx(0.026 * 201, rel=0.05)
    flat = np.full((64, 64, 3), 77, np.uint8)
    np.testing.assert_array_equal(disturbed(flat, Perturbation("blur", 3)), flat)


def test_a_camera_goes_around_what_it_looks_at() -> None:
    position, forward, up = np.array([1.0, 0, 0]), np.array([-1.0, 0, 0]), np.array([0, 0, 1.0])
    change = scene_change(Perturbation("camera", 3), "episode")
    moved, ahead, above = change.moved(position, forward, up, 1.0)
    np.testing.assert_allclose(moved + ahead, [0, 0, 0], atol=1e-12)
    # Two turns about axes at right angles make a little less than their hypotenuse.
    assert np.degrees(np.arccos(np.dot(moved, position))) == pytest.approx(8.0, abs=0.02)
    assert np.dot(ahead, above) == pytest.approx(0, abs=1e-12)
    assert not SceneChange()
    assert scene_change(Perturbation("light", 5), "episode") == SceneChange(light=0.2)
    assert scene_change(Perturbation("noise", 5), "episode") == SceneChange()


def test_tabletop_is_seen_otherwise_and_stays_the_same() -> None:
    plain, _ = play(TABLETOP.protocol())
    grey = {camera: image.mean() for camera, image in plain["images"].items()}
    for axis in AXES:
        found, state = play(perturbed(TABLETOP.protocol(), TABLETOP, f"{axis}:4"))
        again, _ = play(perturbed(TABLETOP.protocol(), TABLETOP, f"{axis}:4"))
        assert state == play(TABLETOP.protocol())[1]
        np.testing.assert_array_equal(found["proprio"], plain["proprio"])
        for camera, image in found["images"].items():
            np.testing.assert_array_equal(image, again["images"][camera])
            same = np.array_equal(image, plain["images"][camera])
            assert same == (axis == "camera" and camera == "wrist"), (axis, camera)
        if axis == "light":
            assert found["images"]["front"].mean() < 0.6 * grey["front"]


def play(protocol: Any, episode: str = "press_button", steps: int = 3) -> tuple[Any, str]:
    """The observation and the state's hash after some steps that do nothing."""
    env = get_benchmark(protocol.benchmark).make_env(protocol=protocol)
    try:
        env.begin(Episode(protocol.name, episode, 0))
        env.advance(np.tile(env.action_spec.neutral_action(), (steps, 1)))
        return env.observe(), hash_state(env.state())
    finally:
        env.close()
