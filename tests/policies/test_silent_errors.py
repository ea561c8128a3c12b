"""What once went wrong in silence: each is an error with a sentence, or right, or a remark under the table.

What version 0.1 (commit d8b96c6) did, asked through its own interface; each test named fails on its code.

======================================================  ===========================================================
0.1                                                     test here, or in the file named
======================================================  ===========================================================
starVLA on LIBERO: 256x256 sent to a server of 224,     a_starvla_server_gets_its_size_and_its_gripper_opens,
its gripper 1 (open) stays 1, which closes              an_unknown_convention_is_an_error_...
vla-eval's absolute_action on CALVIN: 0.57 m becomes    what_a_vlaeval_server_announces_is_what_it_gets
28.5 in relative control; two cameras, a state sent
vla-eval's state on LIBERO: 6.28 rad off                the_sign_of_a_rotation_vector_is_part_of_the_convention
OpenVLA's loader passes over FiLM's backbone, an        neighbours_of_openvla_are_told_apart;
adapter, a second decoder; OFT has no preset            test_boundary.py (openvla_oft)
a library keeps its fresh weights: loaded               loaded_tensors_are_compared_with_the_file
processors without statistics: loaded                   processors_without_statistics_are_refused
n_action_steps 10 of 50: 50 executed, ``native`` is     what_a_lerobot_folder_says_is_used;
unknown, history one horizon apart                      verify policies (LeRobot's own loops)
a second server answers behind one address, hash the    another_server_behind_the_address_stops_the_run,
same: 2.0, 2.0, then 3.0                                a_run_is_not_resumed_with_another_server
two environments: 4 requests in one connection          environments_do_not_share_a_connection_...
openpi's keys are fixed, a resize beside an address     a_convention_in_a_file_reaches_a_server
is passed over (240x320 sent)
rename_map is passed over: camera1, ``inspect`` no      what_a_lerobot_folder_says_is_used, inspect_says_yes_...
``checkpoints/*``: 005000, 010000, last                 a_link_to_what_is_matched_itself_is_no_second_candidate
precision 16 is float16, bf16-mixed bfloat16; a logit   vlm4vla_computes_in_what_its_own_evaluation_does,
of 1e-9 opens: 6 of 60 recorded grippers differ         logits_just_above_zero_close_...
81% of a picture's pixels differ from TensorFlow's      jpeg_is_decoded_as_the_reference_decodes_it
"... loading state_dict for ACTPolicy:", and nothing;   causes_are_not_cut_off; remote/test_server_faults.py
"no answer within 0.3 s", and no option                 (a_first_answer_that_never_comes_names_its_option)
======================================================  ===========================================================
"""

from __future__ import annotations

import json
import struct

import numpy as np
import pytest

from simrun.envs import get_benchmark
from simrun.errors import CheckpointError
from simrun.policies.checkpoints import expand_checkpoints
from simrun.policies.conventions import entries_of
from simrun.policies.dialects.codecs import pack_openpi, pack_vlaeval, unpack_openpi, unpack_vlaeval
from simrun.policies.dialects.vlaeval_client import envelope
from simrun.policies.foreign import cause_of
from simrun.policies.inspection import inspect_checkpoint
from simrun.policies.loaders.lerobot_folder import LeRobotFolder
from simrun.policies.loaders.loader import LoadRequest
from simrun.policies.options import PathOptions
from simrun.policies.registry import load_policy
from simrun.policies.transforms.transform import TransformContext, build_transforms
from simrun.policies.vlm4vla.configuration import Vlm4vlaOptions, read_configuration

CHUNK = np.full((4, 3), 0.5, np.float32)


def _serve(asked, greeting=None, lives=None):
    """An openpi server that keeps its requests by connection."""

    def handle(socket):
        socket.send(pack_openpi(dict(greeting or {})))
        mine = []
        asked.append(mine)
        for message in socket:
            mine.append(unpack_openpi(message))
            socket.send(pack_openpi({"actions": CHUNK}))
            if lives is not None and len(mine) >= lives:
                return

    return handle


def test_an_unknown_convention_is_an_error_that_shows_the_benchmarks_side(listening, plane):
    with listening(_serve([])) as place, pytest.raises(CheckpointError) as caught:
        load_policy(f"openpi://{place}", plane)
    sentence = str(caught.value)
    assert "front 12x16, wrist 8x8" in sentence
    assert "4 values of state (x [m], y [m], gripper, speed [m/s])" in sentence
    assert "changes of x and y in metres" in sentence
    assert "-p convention=FILE.toml" in sentence
    assert "-p convention=identity" in sentence


def test_a_starvla_server_gets_its_size_and_its_gripper_opens(listening, observe):
    libero = get_benchmark("libero_10")
    asked: list = []

    def handle(socket):
        keys = {"available_unnorm_keys": ["franka"], "default_unnorm_key": "franka"}
        socket.send(pack_openpi({"action_chunk_size": 2, "training_obs_image_size": [224, 224], **keys}))
        for message in socket:
            asked.append(unpack_openpi(message))
            chunk = np.asarray([[[0.5, 0, 0, 0, 0, 0, gripper] for gripper in (1, 0)]], np.float32)
            socket.send(pack_openpi({"ok": True, "data": {"actions": chunk}}))

    images = {camera: np.zeros((256, 256, 3), np.uint8) for camera in libero.cameras}
    with listening(handle) as place:
        policy = load_policy(f"starvla://{place}", libero)
        (chunk,) = policy.infer([observe(images=images, proprio=np.zeros(8, np.float32))])
        policy.close()
    assert [image.shape for image in asked[-1]["examples"][0]["image"]] == [(224, 224, 3)] * 2
    # 1 opens there, and -1 here.
    assert chunk[:, -1].tolist() == [-1, 1]
    assert chunk[:, 0].tolist() == [0.5, 0.5]


def _vlaeval(asked, parameters, answer):
    """A vla-eval server that announces parameters of its environment."""

    def handle(socket):
        for message in socket:
            request = unpack_vlaeval(message)
            if request["type"] == "hello":
                hello = {"harness_version": "0.8.0", "protocol_version": 1, "observation_params": parameters}
                socket.send(pack_vlaeval(envelope("hello", hello, request["seq"])))
            elif request["type"] == "observation":
                asked.append(request["payload"])
                answered = {"actions": np.asarray(answer, np.float32)}
                socket.send(pack_vlaeval(envelope("action", answered, request["seq"])))

    return handle


def test_what_a_vlaeval_server_announces_is_what_it_gets(listening, observe):
    calvin = get_benchmark("calvin")
    pose = [0.1, 0.2, 0.57, 0, 0, 1.5, 1]
    asked: list = []
    seen = observe(images={"static": np.zeros((200, 200, 3), np.uint8)}, proprio=np.zeros(15, np.float32))
    with listening(_vlaeval(asked, {"absolute_action": True}, pose)) as place:
        policy = load_policy(f"vlaeval://{place}", calvin)
        (chunk,) = policy.infer([seen])
        policy.close()
    assert (policy.spec.action_mode, policy.spec.cameras) == ("absolute", ("static",))
    # A gripper above 0 closes in this mode.
    np.testing.assert_allclose(chunk[0], [0.1, 0.2, 0.57, 0, 0, 1.5, -1], atol=1e-6)
    assert list(asked[-1]["images"]) == ["rgb_static"]
    assert "states" not in asked[-1]


@pytest.mark.parametrize(("announced", "angle"), [({"quat_no_antipodal": True}, 4.0), ({}, 4.0 - 2 * np.pi)])
def test_the_sign_of_a_rotation_vector_is_part_of_the_convention(listening, observe, announced, angle):
    libero = get_benchmark("libero_10")
    asked: list = []
    proprio = np.asarray([0.1, 0, 0.3, 4.0, 0, 0, 0.04, -0.04], np.float32)
    seen = observe(images={"agentview": np.zeros((256, 256, 3), np.uint8)}, proprio=proprio)
    with listening(_vlaeval(asked, {"send_state": True, **announced}, np.zeros(7))) as place:
        policy = load_policy(f"vlaeval://{place}", libero)
        policy.infer([seen])
        policy.close()
    np.testing.assert_allclose(asked[-1]["states"], [0.1, 0, 0.3, angle, 0, 0, 0.04, -0.04], atol=1e-6)


def test_identity_is_possible_and_says_so(listening, plane):
    with listening(_serve([])) as place:
        policy = load_policy(f"openpi://{place}", plane, options={"convention": "identity"})
        policy.close()
    (note,) = policy.spec.notes
    assert "its convention was said to be plane's own (convention=identity)" in note


def test_a_convention_in_a_file_reaches_a_server(listening, plane, observe, tmp_path):
    file = tmp_path / "mine.toml"
    file.write_text(
        'cameras = ["front"]\nimages = [{ name = "resize", height = 6, width = 8, method = "area" }]\n'
        'names = { front = "images.cam_high" }\nstate = [{ name = "select_proprio", dimensions = [1, 0] }]\n'
        'prompt = "please {lower}"\nwire = { channels_first = true, state_key = "qpos" }\nnative = { steps = 2 }\n'
    )
    asked: list = []
    seen = observe(1, images={"front": observe(1).images["front"]})
    with listening(_serve(asked)) as place:
        policy = load_policy(f"openpi://{place}", plane, options={"convention": str(file)})
        policy.infer([seen])
        policy.close()
    request = asked[-1][-1]
    assert sorted(request) == ["images", "prompt", "qpos"]
    assert request["images"]["cam_high"].shape == (3, 6, 8)
    np.testing.assert_array_equal(request["qpos"], seen.proprio[[1, 0]].astype(np.float64))
    assert request["prompt"] == "please reach the red mark"
    assert policy.spec.native.describe(4) == "2 of 4 actions"


@pytest.mark.parametrize(
    ("text", "sentence"),
    [
        ('cameras = ["top"]', "looks at camera top; plane has front, wrist"),
        ('control_mode = "joint"', "is meant for the control mode joint .*; plane has relative, absolute"),
        ('state = [{ name = "select_proprio", dimensions = [9] }]', "names dimension 9, but there are 4"),
        ('imagse = ["rotate_180"]', "has unknown keys imagse; known: name"),
        ('prompt = "{task_name}"', r"may hold \{instruction\}, \{lower\} and \{task\} alone"),
        ("native = { step = 3 }", "native takes steps"),
        ('wire = { camera = "x" }', "takes state_key, prompt_key, channels_first; got camera"),
    ],
)
def test_a_convention_that_cannot_be_served_is_one_sentence(listening, plane, tmp_path, text, sentence):
    file = tmp_path / "mine.toml"
    file.write_text(text)
    with listening(_serve([])) as place, pytest.raises(Exception, match=sentence):
        load_policy(f"openpi://{place}", plane, options={"convention": str(file)})


def test_environments_do_not_share_a_connection_to_a_server_that_may_remember(listening, plane, observe):
    asked: list = []
    with listening(_serve(asked)) as place:
        policy = load_policy(f"openpi://{place}", plane, options={"convention": "identity"})
        policy.infer([observe(trial, slot=trial) for trial in (0, 1, 0, 1)])
        policy.close()
    # One connection told the greeting, one was asked twice before anything was evaluated, then one a slot.
    assert [len(mine) for mine in asked] == [0, 2, 2, 2]


def test_another_server_behind_the_address_stops_the_run(listening, plane, observe):
    greetings = [{"policy": "first"}] * 3 + [{"policy": "second"}] * 3
    asked: list = []

    def handle(socket):
        _serve(asked, greetings[len(asked)], lives=2)(socket)

    with listening(handle) as place:
        policy = load_policy(f"openpi://{place}", plane, options={"convention": "identity"})
        for _ in range(2):
            policy.infer([observe()])
        with pytest.raises(Exception, match=r"went away"):
            policy.infer([observe()])
        with pytest.raises(
            CheckpointError, match=r"another policy answers at .* than before: its greeting has changed"
        ):
            policy.infer([observe()])
        policy.close()


def test_a_run_is_not_resumed_with_another_server(listening, tmp_path):
    pytest.importorskip("mujoco")
    from simrun import evaluate

    chunk = np.zeros((4, 7), np.float32)

    def serve(greeting):
        def handle(socket):
            socket.send(pack_openpi({"benchmark": "tabletop", **greeting}))
            for _ in socket:
                socket.send(pack_openpi({"actions": chunk}))

        return handle

    choice = {"tasks": ["reach_red"], "workers": 1, "set": {"max_steps": 4, "max_steps_by_task": {}}, "exec": "full"}
    with listening(serve({"policy": "one"})) as place:
        evaluate(f"openpi://{place}", "tabletop", episodes="0:2", out=tmp_path / "run", **choice)
        port = int(place.rsplit(":", 1)[1])
    # One of the two episodes is missing, as after an interruption.
    journal = tmp_path / "run" / "journal" / "main.jsonl"
    journal.write_text(journal.read_text().splitlines(keepends=True)[0])
    with (
        listening(serve({"policy": "two"}), port) as place,
        pytest.raises(CheckpointError, match=r"another policy answers at .* than when this run was started"),
    ):
        evaluate(f"openpi://{place}", "tabletop", episodes="0:2", out=tmp_path / "run", **choice)


def _lerobot(folder, *, config=None, steps=(), after=(), tensors=()):
    """A LeRobot folder as far as it can be judged without lerobot."""
    features = {
        "observation.images.camera1": {"type": "VISUAL", "shape": [3, 12, 16]},
        "observation.images.empty_camera_0": {"type": "VISUAL", "shape": [3, 12, 16]},
        "observation.state": {"type": "STATE", "shape": [4]},
    }
    document = {
        "type": "act",
        "input_features": features,
        "output_features": {"action": {"type": "ACTION", "shape": [3]}},
        "chunk_size": 50,
        "n_action_steps": 10,
        "normalization_mapping": {"VISUAL": "IDENTITY", "STATE": "MEAN_STD", "ACTION": "MEAN_STD"},
        **(config or {}),
    }
    (folder / "config.json").write_text(json.dumps(document))
    (folder / "policy_preprocessor.json").write_text(json.dumps({"name": "pre", "steps": list(steps)}))
    (folder / "policy_postprocessor.json").write_text(json.dumps({"name": "post", "steps": list(after)}))
    header = json.dumps({name: {"dtype": "F32", "shape": [0], "data_offsets": [0, 0]} for name in tensors}).encode()
    for name in ("model.safetensors", "statistics.safetensors"):
        (folder / name).write_bytes(struct.pack("<Q", len(header)) + header)
    found = LeRobotFolder.find(str(folder))
    assert found is not None
    return found


NORMALISER = {"registry_name": "normalizer_processor", "config": {}, "state_file": "statistics.safetensors"}
UNNORMALISER = {**NORMALISER, "registry_name": "unnormalizer_processor"}
STATISTICS = [f"{name}.{part}" for name in ("observation.state", "action") for part in ("mean", "std")]


def _check(folder, plane, trusted=False):
    folder.check(LoadRequest(str(folder.path), plane, PathOptions(), trusted))


def test_processors_without_statistics_are_refused(tmp_path, plane):
    _check(_lerobot(tmp_path, steps=[NORMALISER], after=[UNNORMALISER], tensors=STATISTICS), plane)
    with pytest.raises(CheckpointError, match=r"policy_preprocessor\.json holds no mean and std of observation\.state"):
        _check(_lerobot(tmp_path, steps=[NORMALISER], after=[UNNORMALISER], tensors=STATISTICS[2:]), plane)
    with pytest.raises(CheckpointError, match=r"policy_postprocessor\.json holds no std of action"):
        _check(_lerobot(tmp_path, steps=[NORMALISER], after=[UNNORMALISER], tensors=STATISTICS[:3]), plane)
    without = _lerobot(tmp_path, tensors=STATISTICS)
    (tmp_path / "statistics.safetensors").unlink()
    with pytest.raises(CheckpointError, match=r"policy_preprocessor\.json holds no mean and std"):
        _check(without, plane)


@pytest.mark.parametrize(
    "step",
    [
        {"class": "subprocess.Popen", "config": {"args": ["touch", "executed"]}},
        {"registry_name": "normalizer_processor", "class": "os.system", "config": {"command": "touch executed"}},
        {"registry_name": "gym_hil_adapter_processor", "config": {}},
        {"config": {}},
    ],
)
@pytest.mark.parametrize("processor", ["steps", "after"])
def test_a_step_that_is_no_known_name_is_code_and_needs_trust(tmp_path, plane, monkeypatch, processor, step):
    monkeypatch.chdir(tmp_path)
    given = {"steps": [NORMALISER], "after": [UNNORMALISER]}
    folder = _lerobot(tmp_path, **{**given, processor: [*given[processor], step]}, tensors=STATISTICS)
    with pytest.raises(CheckpointError, match=r"would execute .*--trust-checkpoint"):
        load_policy(str(tmp_path), plane)
    _check(folder, plane, trusted=True)
    assert not (tmp_path / "executed").exists()


@pytest.mark.parametrize("kind", ["pi0_fast", "wall_x", "groot"])
def test_policies_whose_tokenisers_are_code_need_trust(tmp_path, plane, kind):
    folder = _lerobot(tmp_path, config={"type": kind}, steps=[NORMALISER], after=[UNNORMALISER], tensors=STATISTICS)
    with pytest.raises(CheckpointError, match=f"policies of type {kind} load"):
        _check(folder, plane)


def test_what_a_lerobot_folder_says_is_used(tmp_path):
    rename = {
        "registry_name": "rename_observations_processor",
        "config": {"rename_map": {"observation.images.front": "observation.images.camera1"}},
    }
    folder = _lerobot(tmp_path, steps=[rename])
    assert folder.cameras == ("front",)
    assert folder.native.describe(folder.chunk_length) == "10 of 50 actions"
    ensembled = _lerobot(tmp_path, config={"temporal_ensemble_coeff": 0.01, "n_action_steps": 1}, steps=[rename])
    assert ensembled.native.describe(50) == "1 of 50 actions, a temporal ensemble with coefficient 0.01"
    assert _lerobot(tmp_path, config={"n_obs_steps": 2}).history == 2


def test_inspect_says_yes_where_a_known_convention_does(tmp_path):
    folder = _lerobot(tmp_path, config={"output_features": {"action": {"type": "ACTION", "shape": [7]}}})
    document = json.loads((folder.path / "config.json").read_text())
    document["input_features"] = {
        "observation.images.image": {"type": "VISUAL", "shape": [3, 256, 256]},
        "observation.images.image2": {"type": "VISUAL", "shape": [3, 256, 256]},
        "observation.state": {"type": "STATE", "shape": [8]},
    }
    (folder.path / "config.json").write_text(json.dumps(document))
    libero, bridge = (get_benchmark(name) for name in ("libero_10", "simpler_bridge"))
    on_libero, on_bridge = inspect_checkpoint(str(tmp_path), [libero, bridge]).fits
    assert (on_libero.fits, on_libero.reason) == (True, "by the convention lerobot-libero")
    assert "agentview 256x256 as image" in on_libero.convention["cameras"]
    assert on_bridge.fits is False
    assert "-p convention=" in on_bridge.reason


@pytest.mark.parametrize(
    ("file", "sentence"),
    [
        (
            "action_decoder.pt",
            "it is UniVLA's, and its decoder .* not supported; have a function .* --ckpt module:function",
        ),
        ("noisy_action_projector--9_checkpoint.pt", "diffusion head"),
        ("vision_backbone--9_checkpoint.pt", "FiLM"),
        ("second_decoder.pt", "which a loader of OpenVLA has no use for"),
    ],
)
def test_neighbours_of_openvla_are_told_apart(tmp_path, file, sentence):
    (tmp_path / "config.json").write_text(json.dumps({"model_type": "openvla"}))
    (tmp_path / "model.safetensors").write_bytes(b"?")
    (tmp_path / file).write_bytes(b"?")
    with pytest.raises(CheckpointError, match=sentence):
        load_policy(str(tmp_path), get_benchmark("libero_10"), trust_checkpoint=True)


def test_loaded_tensors_are_compared_with_the_file(tmp_path):
    torch = pytest.importorskip("torch")
    from simrun.policies.torch_runtime import check_loaded

    network = torch.nn.Sequential(torch.nn.Linear(3, 4), torch.nn.Linear(4, 2))
    saved = {name: value.clone() for name, value in network.state_dict().items()}
    check_loaded(torch, network, saved, tmp_path)
    # Renamed on the way, and in another number type: the same tensors all the same.
    check_loaded(torch, network.half(), {f"policy.{name}": value for name, value in saved.items()}, tmp_path)
    fresh = torch.nn.Sequential(torch.nn.Linear(3, 4), torch.nn.Linear(4, 2))
    fresh[0].load_state_dict({"weight": saved["0.weight"], "bias": saved["0.bias"]})
    with pytest.raises(CheckpointError, match=r"of its 4 tensors 2 did not arrive \(1\.weight, 1\.bias\)"):
        check_loaded(torch, fresh, saved, tmp_path)


def test_a_link_to_what_is_matched_itself_is_no_second_candidate(tmp_path):
    for name in ("005000", "010000"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "config.json").write_text("{}")
    (tmp_path / "last").symlink_to("010000")
    found = expand_checkpoints([str(tmp_path / "*")])
    assert [name.rsplit("/", 1)[1] for name in found] == ["005000", "010000"]


@pytest.mark.parametrize(
    ("precision", "dtype"),
    [("bf16", "bfloat16"), ("fp16", "float16"), ("16", "float32"), ("bf16-mixed", "float32"), (32, "float32")],
)
def test_vlm4vla_computes_in_what_its_own_evaluation_does(tmp_path, precision, dtype):
    file = tmp_path / "config.json"
    head = {"type": "FCDecoder", "hidden_size": 16, "action_dim": 7}
    document = {"model": "kosmos", "fwd_pred_next_n": 10, "act_head": head, "vlm": {}}
    file.write_text(json.dumps({**document, "trainer": {"precision": precision}}))
    assert read_configuration(file, Vlm4vlaOptions()).dtype == dtype


@pytest.mark.parametrize(
    ("dtype", "closes", "opens"),
    [("float32", 1e-9, 1e-6), ("float16", 9e-4, 1.1e-3), ("bfloat16", 7.8e-3, 7.9e-3)],
)
def test_logits_just_above_zero_close_where_the_probability_rounds_to_a_half(plane, observe, dtype, closes, opens):
    (rule,) = build_transforms(
        entries_of([{"name": "gripper_logit", "dtype": dtype}], "t"), TransformContext(plane), "t"
    )
    chunk = np.asarray([[0, closes], [0, opens], [0, -1]], np.float32)
    assert rule.apply(chunk, observe())[:, 1].tolist() == [-1, 1, -1]


def test_jpeg_is_decoded_as_the_reference_decodes_it(plane, observe):
    pytest.importorskip("simplejpeg")
    images = {"front": np.random.default_rng(0).integers(0, 256, (32, 32, 3), dtype=np.uint8)}
    accurate, fast = (
        build_transforms(entries_of([{"name": "jpeg", "decoder": decoder}], "t"), TransformContext(plane), "t")[0]
        .apply(observe(images=images))
        .images["front"]
        .astype(int)
        for decoder in ("accurate", "fast")
    )
    assert 0 < np.abs(accurate - fast).mean() < 3


def test_causes_are_not_cut_off():
    error = RuntimeError('Error(s) in loading state_dict for ACTPolicy:\n\tMissing key(s): "model.a"\n')
    assert cause_of(error) == 'Error(s) in loading state_dict for ACTPolicy: Missing key(s): "model.a"'
