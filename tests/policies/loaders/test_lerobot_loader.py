"""LeRobot folders, written by lerobot itself with tiny, randomly initialised policies."""

from __future__ import annotations

import json
import warnings

import numpy as np
import pytest

from simrun.errors import CheckpointError
from simrun.policies.registry import load_policy, recognise
from tests.policies.loaders.tiny_lerobot import act, features, save, statistics_of_training

CONFIG = {
    "type": "act",
    "n_obs_steps": 1,
    "chunk_size": 8,
    "input_features": {
        "observation.images.front": {"type": "VISUAL", "shape": [3, 12, 16]},
        "observation.state": {"type": "STATE", "shape": [4]},
    },
    "output_features": {"action": {"type": "ACTION", "shape": [3]}},
}


def _folder(tmp_path, **changes):
    (tmp_path / "config.json").write_text(json.dumps({**CONFIG, **changes}))
    (tmp_path / "model.safetensors").write_bytes(bytes(8))
    for name in ("policy_preprocessor.json", "policy_postprocessor.json"):
        (tmp_path / name).write_text('{"steps": []}')
    return tmp_path


def test_a_folder_is_recognised_with_what_it_holds(tmp_path):
    loader, reason = recognise(str(_folder(tmp_path)))
    assert loader.kind == "lerobot"
    assert "has type act and input_features" in reason
    described = loader.describe(str(tmp_path))
    assert described["chunk length"] == "8"
    assert described["cameras"] == "front 12x16"
    assert described["actions"] == "3"


def test_the_folder_of_a_training_step_is_recognised(tmp_path):
    (tmp_path / "pretrained_model").mkdir()
    _folder(tmp_path / "pretrained_model")
    assert recognise(str(tmp_path))[0].kind == "lerobot"


@pytest.mark.parametrize(
    ("name", "sentence"),
    [
        ("policy_preprocessor.json", "has no policy_preprocessor.json; without the normalisation"),
        ("policy_postprocessor.json", "has no policy_postprocessor.json"),
        ("model.safetensors", "there is no checkpoint .*model.safetensors"),
    ],
)
def test_a_missing_file_is_one_sentence(tmp_path, plane, name, sentence):
    (_folder(tmp_path) / name).unlink()
    with pytest.raises(CheckpointError, match=sentence):
        load_policy(str(tmp_path), plane)


@pytest.mark.parametrize("processor", ["policy_preprocessor.json", "policy_postprocessor.json"])
@pytest.mark.parametrize("step", ["action_tokenizer_processor", "groot_n1_7_vlm_encode_v1", "libero_processor", None])
def test_a_step_that_would_execute_code_needs_trust(tmp_path, plane, step, processor):
    """Two of lerobot's own steps hand a folder that they name to transformers with ``trust_remote_code``."""
    named = {"registry_name": step, "config": {"action_tokenizer_name": str(tmp_path), "trust_remote_code": True}}
    (_folder(tmp_path) / processor).write_text(json.dumps({"steps": [named]}))
    with pytest.raises(CheckpointError, match="if you trust its author, add --trust-checkpoint"):
        load_policy(str(tmp_path), plane)


def test_an_adapter_is_not_taken_for_a_policy(tmp_path, plane):
    (_folder(tmp_path) / "adapter_config.json").write_text("{}")
    with pytest.raises(CheckpointError, match="PEFT adapter"):
        load_policy(str(tmp_path), plane)


# --- with lerobot itself ---------------------------------------------------------------------------------------------


def _diffusion(**changes):
    from lerobot.policies.diffusion.configuration_diffusion import DiffusionConfig

    tiny = {"down_dims": (16, 32), "n_groups": 4, "diffusion_step_embed_dim": 16, "spatial_softmax_num_keypoints": 4}
    steps = {"horizon": 8, "n_action_steps": 4, "n_obs_steps": 2, "num_inference_steps": 3}
    steps |= {"pretrained_backbone_weights": None, "use_group_norm": True}
    return DiffusionConfig(**{**features(), **tiny, **steps, "crop_shape": None, "device": "cpu", **changes})


def _tiny_smolvlm(folder):
    """The backbone's folder: configuration, byte tokeniser and processor, no weights."""
    import transformers
    from transformers.models.gpt2.tokenization_gpt2 import bytes_to_unicode

    folder.mkdir(parents=True)
    letters = {letter: index for index, letter in enumerate(bytes_to_unicode().values())}
    (folder / "vocab.json").write_text(json.dumps(letters))
    (folder / "merges.txt").write_text("#version: 0.2\n")
    images = {"image_token": "<image>", "global_image_token": "<global-img>"}
    tokenizer = transformers.GPT2TokenizerFast(
        str(folder / "vocab.json"),
        str(folder / "merges.txt"),
        bos_token="<|im_start|>",
        eos_token="<|im_end|>",
        pad_token="<|im_end|>",
        extra_special_tokens={**images, "fake_image_token": "<fake_token_around_image>"},
    )
    tower = {"hidden_size": 32, "intermediate_size": 48, "num_hidden_layers": 2, "num_attention_heads": 4}
    text = {"model_type": "llama", "vocab_size": len(tokenizer), "num_key_value_heads": 2, "head_dim": 8}
    transformers.SmolVLMConfig(
        text_config={**tower, **text},
        vision_config={**tower, "image_size": 512, "patch_size": 64},
        scale_factor=2,
        image_token_id=tokenizer.convert_tokens_to_ids("<image>"),
    ).save_pretrained(folder)
    transformers.SmolVLMProcessor(
        image_processor=transformers.SmolVLMImageProcessor(),
        tokenizer=tokenizer,
        video_processor=transformers.SmolVLMVideoProcessor(),
    ).save_pretrained(folder)


def _smolvla(backbone):
    from lerobot.policies.smolvla.configuration_smolvla import SmolVLAConfig

    tiny = {"num_vlm_layers": 2, "num_steps": 3, "expert_width_multiplier": 0.5, "load_vlm_weights": False}
    lengths = {"chunk_size": 6, "n_action_steps": 6, "device": "cpu"}
    return SmolVLAConfig(**features(), **tiny, **lengths, vlm_model_name=str(backbone))


OPTIONS = {"device": "cpu", "convention": "identity"}
"""The plane is no benchmark of LeRobot's: the policies are said to speak its convention."""


@pytest.fixture
def see(observe):
    def make(trial=0, step=0, **changes):
        pixels = np.random.default_rng([trial, step]).integers(0, 256, (32, 32, 3), dtype=np.uint8)
        return observe(trial, step, images={"front": pixels}, **changes)

    return make


@pytest.fixture
def lerobot():
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        module = pytest.importorskip("lerobot.policies.factory", reason="needs lerobot", exc_type=ImportError)
        yield module


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore")
def test_act_gives_what_lerobot_gives(lerobot, tmp_path, plane, see):
    import torch

    network = save(tmp_path, act())
    policy = load_policy(str(tmp_path), plane, options=OPTIONS)
    assert (policy.spec.chunk_length, policy.spec.cameras, policy.spec.deterministic) == (6, ("front",), True)
    seen = [see(1), see(2)]
    chunks = policy.infer(seen)
    statistics = statistics_of_training()
    for entry, chunk in zip(seen, chunks, strict=True):
        image = torch.from_numpy(entry.images["front"]).permute(2, 0, 1)[None].float() / 255
        batch = {
            "observation.images.front": (image - 0.5) / 0.25,
            "observation.state": (torch.from_numpy(entry.proprio)[None] - 1) / 2,
        }
        with torch.inference_mode():
            raw = network.predict_action_chunk(batch)[0]
        expected = raw * statistics["action"]["std"] + statistics["action"]["mean"]
        np.testing.assert_allclose(chunk, expected.numpy(), atol=1e-4)


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore")
def test_act_in_bf16_is_near_float32(lerobot, tmp_path, plane, see):
    save(tmp_path, act())
    full = load_policy(str(tmp_path), plane, options=OPTIONS).infer([see(1)])
    half = load_policy(str(tmp_path), plane, options={**OPTIONS, "dtype": "bfloat16"}).infer([see(1)])
    np.testing.assert_allclose(half, full, atol=0.2)
    assert not np.array_equal(half, full)


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore")
def test_diffusion_repeats_itself_from_the_episodes_generator(lerobot, tmp_path, plane, see):
    save(tmp_path, _diffusion())
    policy = load_policy(str(tmp_path), plane, options=OPTIONS)
    assert (policy.spec.chunk_length, policy.spec.max_batch_size) == (4, 1)
    assert (policy.spec.history, policy.spec.stateful) == (2, False)
    assert not policy.spec.deterministic

    def roll(slot, trial, company):
        policy.reset([slot])
        generator = np.random.default_rng(trial)
        chunks = []
        for step in range(3):
            others = [see(9, step, slot=5)] if company else []
            chunks.append(policy.infer([*others, see(trial, step, slot=slot, generator=generator)])[-1])
        return np.stack(chunks)

    alone = roll(0, 1, company=False)
    np.testing.assert_array_equal(roll(3, 1, company=True), alone)
    assert not np.array_equal(roll(0, 2, company=False), alone)


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore")
def test_diffusion_sees_the_observation_before(lerobot, tmp_path, plane, see):
    save(tmp_path, _diffusion())
    policy = load_policy(str(tmp_path), plane, options=OPTIONS)

    def after(first):
        past = (see(first, 0),)
        return policy.infer([see(1, 1, past=past, generator=np.random.default_rng(0))])

    assert np.array_equal(after(1), after(1))
    assert not np.array_equal(after(1), after(2))


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore")
def test_smolvla_starts_from_each_episodes_noise_and_finds_its_backbone(lerobot, tmp_path, plane, see, two_episodes):
    _tiny_smolvlm(tmp_path / "hub" / "smolvlm")
    checkpoint = tmp_path / "smolvla"
    save(checkpoint, _smolvla(tmp_path / "hub" / "smolvlm"))
    (tmp_path / "hub").rename(tmp_path / "moved")
    with pytest.raises(CheckpointError, match="cannot be loaded by lerobot"):
        load_policy(str(checkpoint), plane, options=OPTIONS)
    elsewhere = {str(tmp_path / "hub"): str(tmp_path / "moved")}
    policy = load_policy(str(checkpoint), plane, options={**OPTIONS, "path_map": elsewhere})
    assert (policy.spec.chunk_length, policy.spec.max_batch_size, policy.spec.deterministic) == (6, None, False)
    seen = [see(trial, instruction="reach the red mark", generator=np.random.default_rng(trial)) for trial in (1, 2)]
    together = policy.infer(seen)
    for trial, chunk in zip((1, 2), together, strict=True):
        alone = policy.infer([see(trial, instruction="reach the red mark", generator=np.random.default_rng(trial))])[0]
        np.testing.assert_allclose(alone, chunk, atol=1e-3)
    other = policy.infer([see(1, instruction="reach the red mark", generator=np.random.default_rng(9))])[0]
    assert np.abs(other - together[0]).max() > 0.05
    two_episodes(checkpoint, size=(32, 32), policy_options={"path_map": elsewhere})


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("change", ["missing key", "truncated", "another size"])
def test_weights_that_do_not_fit_are_one_sentence(lerobot, tmp_path, plane, change):
    from safetensors.torch import load_file, save_file

    save(tmp_path, act())
    file = tmp_path / "model.safetensors"
    if change == "truncated":
        file.write_bytes(file.read_bytes()[: file.stat().st_size // 2])
    else:
        weights = load_file(file)
        name = "model.action_head.weight"
        if change == "missing key":
            del weights[name]
        else:
            weights[name] = weights[name][:2].clone()
        save_file(weights, file)
    with pytest.raises(CheckpointError, match="cannot be loaded by lerobot"):
        load_policy(str(tmp_path), plane, options=OPTIONS)


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore")
def test_observations_that_do_not_fit_are_one_sentence(lerobot, tmp_path, plane, see, observe):
    save(tmp_path, act())
    policy = load_policy(str(tmp_path), plane, options=OPTIONS)
    with pytest.raises(
        CheckpointError, match="trained on images 32x32 of front and does not resize; it is given 12x16"
    ):
        policy.infer([observe()])
    with pytest.raises(CheckpointError, match="wants 4 values of proprioception and gets 2"):
        policy.infer([see(proprio=np.zeros(2, np.float32))])


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("make", [act, _diffusion])
def test_two_episodes_on_the_tabletop(lerobot, tmp_path, two_episodes, make):
    save(tmp_path, make())
    first = two_episodes(tmp_path, size=(32, 32))
    again = two_episodes(tmp_path, size=(32, 32))
    assert [record.actions_hash for record in again] == [record.actions_hash for record in first]
