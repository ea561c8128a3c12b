from __future__ import annotations

import dataclasses
import json

import numpy as np
import pytest

from simrun.errors import CheckpointError, UnknownNameError, UsageError
from simrun.policies import check_chunks
from simrun.policies.registry import load_policy, recognise


def _signed(**metadata: str) -> dict[str, str]:
    return {"simrun.transforms": '["gripper_sign"]', **metadata}


def test_a_network_sees_image_proprio_and_instruction(tmp_path, write_network, plane, observe):
    file = write_network(tmp_path / "net.onnx", metadata=_signed())
    policy = load_policy(str(file), plane)
    assert policy.spec.chunk_length == 5
    assert policy.spec.cameras == ("front",)
    assert policy.spec.deterministic
    here = observe(0)
    chunks = check_chunks(policy.infer([here, observe(1)]), 2, policy.spec, plane.action_specs["relative"])
    plane.action_specs["relative"].check_chunk(chunks[0])
    assert not np.array_equal(chunks[0], chunks[1])
    changed = [
        dataclasses.replace(here, images={"front": here.images["front"] // 2}),
        dataclasses.replace(here, proprio=here.proprio + 1),
        dataclasses.replace(here, instruction="leave it"),
    ]
    for other in changed:
        assert not np.array_equal(policy.infer([other])[0], chunks[0])


def test_the_network_computes_what_numpy_computes(tmp_path, write_network, plane, observe):
    import onnx
    from onnx import numpy_helper

    file = write_network(tmp_path / "net.onnx")
    weights = {entry.name: numpy_helper.to_array(entry) for entry in onnx.load(str(file)).graph.initializer}
    seen = observe(5)
    pixels = seen.images["front"].astype(np.float64) / 255
    patches = pixels.reshape(3, 4, 4, 4, 3).transpose(0, 2, 4, 1, 3)
    features = np.maximum(np.einsum("abcij,kcij->abk", patches, weights["kernel"]), 0).mean((0, 1))
    ids = [3, 1, 4, 2, 0, 0]  # reach=3, the=unknown, red=4, mark=2, padding
    state = np.concatenate([features, weights["table"][ids].mean(0), seen.proprio])
    expected = np.tanh(state @ weights["head"]).reshape(5, 3)
    np.testing.assert_allclose(load_policy(str(file), plane).infer([seen])[0], expected, atol=1e-5)


def test_a_float_image_gets_the_same_numbers(tmp_path, write_network, plane, observe):
    integer = load_policy(str(write_network(tmp_path / "a.onnx")), plane)
    floating = load_policy(str(write_network(tmp_path / "b.onnx", image_type="float32")), plane)
    np.testing.assert_array_equal(integer.infer([observe(2)]), floating.infer([observe(2)]))


def test_a_fixed_batch_is_split_and_padded(tmp_path, write_network, plane, observe):
    free = load_policy(str(write_network(tmp_path / "free.onnx")), plane)
    fixed = load_policy(str(write_network(tmp_path / "fixed.onnx", image=(2, 12, 16, 3), chunk=(2, 5, 3))), plane)
    observations = [observe(trial) for trial in range(5)]
    assert fixed.spec.max_batch_size == 2
    np.testing.assert_allclose(fixed.infer(observations), free.infer(observations), atol=1e-6)


def test_a_padded_batch_gives_the_same_bits_in_any_company(tmp_path, write_network, plane, observe):
    file = write_network(tmp_path / "net.onnx")
    policy = load_policy(str(file), plane, options={"batch_size": 8})
    together = policy.infer([observe(trial) for trial in range(8)])
    for trial in range(8):
        np.testing.assert_array_equal(policy.infer([observe(trial)])[0], together[trial])


def test_noise_comes_from_the_episode_generator(tmp_path, write_network, plane, observe):
    file = write_network(tmp_path / "net.onnx", noise=True)
    policy = load_policy(str(file), plane)
    assert not policy.spec.deterministic
    np.testing.assert_allclose(policy.infer([observe(1), observe(2)])[1], policy.infer([observe(2)])[0], atol=1e-6)
    generator = np.random.default_rng(3)
    drawn = [policy.infer([observe(1, generator=generator)])[0] for _ in range(2)]
    assert not np.array_equal(*drawn)


@pytest.mark.parametrize(
    ("changes", "sentence"),
    [
        ({"metadata": {"simrun.benchmark": "calvin_abcd"}}, "exported for calvin_abcd, not for plane"),
        ({"metadata": {"simrun.chunk_length": "7"}}, "declares chunks of 7 actions but gives 5"),
        ({"metadata": {"simrun.chunk_length": "many"}}, "no number"),
        ({"metadata": {"simrun.action_mode": "joints"}}, "wants action mode joints; plane has relative, absolute"),
        ({"metadata": {"simrun.cameras": "wrist"}}, "declares cameras wrist but has image inputs for front"),
        ({"metadata": {"simrun.vocabulary": ""}}, "does not say how it is encoded"),
        ({"metadata": {"simrun.vocabulary": "red, blue"}}, "no JSON"),
        ({"metadata": {"simrun.instruction_length": "9"}}, "declares instructions of 9 words"),
        ({"metadata": {"simrun.deterministic": "perhaps"}}, "must be true or false"),
        ({"metadata": {"simrun.transforms": "sign"}}, "no JSON"),
        ({"names": {"image_front": "image_back"}}, "looks at camera back; plane has front, wrist"),
        ({"names": {"proprio": "joints"}}, "has an input joints float32"),
        ({"names": {"actions": "output"}}, "no output named actions; it has output"),
    ],
)
def test_a_network_that_does_not_fit_is_one_sentence(tmp_path, write_network, plane, changes, sentence):
    with pytest.raises(CheckpointError, match=sentence):
        load_policy(str(write_network(tmp_path / "net.onnx", **changes)), plane)


def test_another_number_of_proprioceptive_values_is_named(tmp_path, write_network, plane, observe):
    file = write_network(tmp_path / "net.onnx", proprio=2)
    with pytest.raises(CheckpointError, match=r"wants 2 values of proprioception and gets 4 .*select_proprio"):
        load_policy(str(file), plane).infer([observe()])
    (tmp_path / "simrun.toml").write_text('transforms = [{name = "select_proprio", dimensions = [1, 0]}]')
    assert load_policy(str(file), plane).infer([observe()]).shape == (1, 5, 3)


def test_cameras_of_another_name_are_renamed(tmp_path, write_network, plane, observe):
    file = write_network(tmp_path / "net.onnx", names={"image_front": "image_static"})
    (tmp_path / "simrun.toml").write_text('transforms = [{name = "rename_cameras", names = {front = "static"}}]')
    renamed = load_policy(str(file), plane)
    assert renamed.spec.cameras == ("front",)
    plain = load_policy(str(write_network(tmp_path / "plain" / "net.onnx")), plane)
    np.testing.assert_array_equal(renamed.infer([observe()]), plain.infer([observe()]))


def test_another_image_size_is_not_resized_silently(tmp_path, write_network, plane, observe):
    policy = load_policy(str(write_network(tmp_path / "net.onnx", image=("batch", 24, 32, 3))), plane)
    with pytest.raises(CheckpointError, match=r"as \[24, 32, 3\], the protocol gives \[12, 16, 3\]; name a resize"):
        policy.infer([observe()])


@pytest.mark.parametrize("contents", [b"not a network at all", b"\x08\x09"])
def test_a_file_that_is_no_network_is_one_sentence(tmp_path, plane, contents):
    (tmp_path / "net.onnx").write_bytes(contents)
    with pytest.raises(CheckpointError, match="cannot be opened as an ONNX network"):
        load_policy(str(tmp_path / "net.onnx"), plane)


def test_a_truncated_network_is_one_sentence(tmp_path, write_network, plane):
    file = write_network(tmp_path / "net.onnx")
    file.write_bytes(file.read_bytes()[:-200])
    with pytest.raises(CheckpointError, match="cannot be opened as an ONNX network"):
        load_policy(str(file), plane)


def test_a_sidecar_takes_the_place_of_the_networks_own_transforms(tmp_path, write_network, plane, observe):
    file = write_network(tmp_path / "net.onnx", metadata=_signed())
    (tmp_path / "simrun.toml").write_text("transforms = []")
    gripper = load_policy(str(file), plane).infer([observe()])[0, :, 2]
    assert not np.isin(gripper, (-1, 1)).any()


@pytest.mark.parametrize(
    ("text", "error", "sentence"),
    [
        ("transforms = [", CheckpointError, "is no TOML"),
        ("transfroms = []", CheckpointError, "unknown keys transfroms"),
        ('transforms = ["wobble"]', UnknownNameError, "wobble"),
        ('transforms = [{name = "gripper_sign", angle = 3}]', UsageError, "takes dimensions; got angle"),
    ],
)
def test_a_wrong_sidecar_is_one_sentence(tmp_path, write_network, plane, text, error, sentence):
    file = write_network(tmp_path / "net.onnx")
    (tmp_path / "simrun.toml").write_text(text)
    with pytest.raises(error, match=sentence):
        load_policy(str(file), plane)


def test_recognition_by_name_and_by_request(tmp_path, write_network):
    file = write_network(tmp_path / "net.onnx")
    loader, reason = recognise(str(file))
    assert (loader.kind, reason) == ("onnx", "its name ends in .onnx")
    described = loader.describe(str(file))
    assert described["chunk length"] == "5"
    assert described["cameras"] == "front 12x16"
    assert json.loads(described["simrun.vocabulary"]) == ["mark", "reach", "red"]
    with pytest.raises(UnknownNameError, match="known: factory, lerobot, onnx"):
        recognise(str(file), "onxn")


def test_two_episodes_on_the_tabletop(tmp_path, write_network, two_episodes):
    first = two_episodes(write_network(tmp_path / "net.onnx"), size=(12, 16))
    again = two_episodes(tmp_path / "net.onnx", size=(12, 16), workers=2)
    # Two workers end in any order.
    assert {record.key: record.outcome() for record in again} == {record.key: record.outcome() for record in first}
    assert first[0].actions_hash != first[1].actions_hash


def test_noise_repeats_itself_with_the_policy_seed(tmp_path, write_network, two_episodes):
    file = write_network(tmp_path / "net.onnx", noise=True)
    first = two_episodes(file, size=(12, 16))
    assert [record.actions_hash for record in two_episodes(file, size=(12, 16))] == [
        record.actions_hash for record in first
    ]
    other = two_episodes(file, size=(12, 16), policy_seeds=[1])
    assert {record.actions_hash for record in other}.isdisjoint(record.actions_hash for record in first)
