"""VLM4VLA checkpoints: tiny, randomly initialised networks on transformers' own models, in the published layout."""

from __future__ import annotations

import copy
import os

import numpy as np
import pytest

from simrun.envs import get_benchmark
from simrun.errors import CheckpointError
from simrun.policies.registry import load_policy, recognise
from simrun.policies.vlm4vla.configuration import Vlm4vlaOptions, read_configuration
from tests.policies.loaders.tiny_vlm4vla import CONFIG, MODELS, write, write_vlm4vla

# --- the configuration -----------------------------------------------------------------------------------------------


def test_a_configuration_is_read(tmp_path):
    options = Vlm4vlaOptions(path_map={"/cluster/hub": "/here"})
    config = read_configuration(write(tmp_path, CONFIG), options)
    assert (config.family, config.backbone, config.chunk_length) == ("qwen2.5-vl", "/here/backbone", 10)
    assert (config.action_range, config.mu, config.dtype) == ((-0.65, 0.65), None, "bfloat16")


def test_parents_are_merged_and_overridden(tmp_path):
    base = {**CONFIG, "act_head": {**CONFIG["act_head"], "latent": 3}}
    write(tmp_path, base, "base.json")
    write(tmp_path, {"parent": "base.json", "fwd_pred_next_n": 4, "act_head": {"hidden_size": 32}}, "middle.json")
    child = write(tmp_path, {"parent": "/cluster/configs/middle.json", "use_mu_law": True}, "child.json")
    config = read_configuration(child, Vlm4vlaOptions(path_map={"/cluster/configs": str(tmp_path)}))
    assert (config.chunk_length, config.head_size, config.queries, config.mu) == (4, 32, 3, 255.0)
    replaced = {"__override__": True, "type": "FCDecoder", "hidden_size": 8, "action_dim": 7}
    override = write(tmp_path, {"parent": "base.json", "act_head": replaced}, "override.json")
    assert read_configuration(override, Vlm4vlaOptions()).queries == 1


def test_a_missing_parent_is_named_unless_everything_is_there(tmp_path):
    whole = write(tmp_path, {**CONFIG, "parent": "/cluster/base.json"})
    assert read_configuration(whole, Vlm4vlaOptions()).chunk_length == 10
    child = write(tmp_path, {"parent": "/cluster/base.json", "fwd_pred_next_n": 4}, "child.json")
    with pytest.raises(CheckpointError, match=r"has the parent /cluster/base\.json, .*path_map"):
        read_configuration(child, Vlm4vlaOptions())
    circle = write(tmp_path, {"parent": "circle.json"}, "circle.json")
    with pytest.raises(CheckpointError, match="go round in a circle"):
        read_configuration(circle, Vlm4vlaOptions())


@pytest.mark.parametrize(
    ("changes", "sentence"),
    [
        ({"model": "internvl35"}, "model internvl35"),
        ({"window_size": 8}, "window_size 8"),
        ({"use_hand_rgb": True}, "use_hand_rgb"),
        ({"tcp_rel": True}, "tcp_rel"),
        ({"act_head": {**CONFIG["act_head"], "type": "FMDecoder"}}, "FMDecoder"),
        ({"act_head": {**CONFIG["act_head"], "action_dim": 14}}, "action_dim 14"),
    ],
)
def test_what_is_not_supported_is_named(tmp_path, changes, sentence):
    with pytest.raises(CheckpointError, match=f"asks for .*{sentence}.*not supported"):
        read_configuration(write(tmp_path, {**CONFIG, **changes}), Vlm4vlaOptions())


def test_an_incomplete_configuration_is_named(tmp_path):
    document = copy.deepcopy(CONFIG)
    del document["fwd_pred_next_n"]
    with pytest.raises(CheckpointError, match="lacks fwd_pred_next_n"):
        read_configuration(write(tmp_path, document), Vlm4vlaOptions())
    del document["act_head"]["hidden_size"]
    document["fwd_pred_next_n"] = 3
    with pytest.raises(CheckpointError, match="cannot be used: KeyError"):
        read_configuration(write(tmp_path, document), Vlm4vlaOptions())


def test_recognition_needs_weights_and_configuration(tmp_path):
    (tmp_path / "epoch=3-step=7.pt").write_bytes(b"PK")
    (tmp_path / "epoch=3-step=7.pt_loading_msg.json").write_text('{"missing_keys": []}')
    with pytest.raises(CheckpointError, match="no loader knows"):
        recognise(str(tmp_path / "epoch=3-step=7.pt"))
    write(tmp_path, CONFIG)
    for name in (tmp_path / "epoch=3-step=7.pt", tmp_path):
        loader, reason = recognise(str(name))
        assert loader.kind == "vlm4vla"
        assert "run-project.json beside it has act_head and vlm" in reason
    assert loader.describe(str(tmp_path))["chunk length"] == "10"


# --- with torch and transformers -------------------------------------------------------------------------------------


@pytest.fixture
def checkpoint(tmp_path):
    """Writes backbone folder, configuration and weights; returns the file of weights and the whole network."""
    pytest.importorskip("torch")
    pytest.importorskip("transformers")
    os.environ["TOKENIZERS_PARALLELISM"] = "false"
    return lambda family: write_vlm4vla(tmp_path, family)


@pytest.fixture
def calvin():
    return get_benchmark("calvin")


def _see(observe, trial, instruction="open the drawer", **changes):
    pixels = np.random.default_rng(trial).integers(0, 256, (200, 200, 3), dtype=np.uint8)
    return observe(trial, images={"static": pixels}, instruction=instruction, **changes)


def _options(tmp_path, **changes):
    return dict(device="cpu", path_map={"/cluster/hub": str(tmp_path / "hub")}, **changes)


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("family", MODELS)
def test_every_family_predicts_legal_chunks(family, checkpoint, calvin, observe, tmp_path):
    file, _ = checkpoint(family)
    policy = load_policy(str(file), calvin, options=_options(tmp_path))
    assert (policy.spec.chunk_length, policy.spec.cameras, policy.spec.deterministic) == (10, ("static",), True)
    seen = [_see(observe, 1), _see(observe, 2, "push the blue block to the left"), _see(observe, 3)]
    chunks = policy.infer(seen)
    for chunk in chunks:
        calvin.action_specs["relative"].check_chunk(chunk)
        assert np.abs(chunk[:, :6]).max() <= 0.65
    assert not np.array_equal(chunks[0], chunks[2])
    for entry, chunk in zip(seen, chunks, strict=True):
        np.testing.assert_allclose(policy.infer([entry])[0], chunk, atol=1e-5)
    other = policy.infer([_see(observe, 1, "close the drawer")])[0]
    assert not np.array_equal(other, chunks[0])


def _qwen_reference(network, backbone, image, instruction, third):
    """The published forward pass, written out for one request."""
    import torch
    import transformers

    processor = transformers.AutoProcessor.from_pretrained(
        backbone, min_pixels=28 * 28 * 256, max_pixels=1280 * 28 * 28
    )
    prompt = (
        "<|im_start|>system\nYou are a helpful assistant.<|im_end|>\n<|im_start|>user\n<|vision_start|><|image_pad|>"
        f"<|vision_end|>What action should the robotic arm take to {instruction}<|im_end|>\n<|im_start|>assistant\n"
    )
    from PIL import Image

    small = Image.fromarray(image).resize((224, 224), Image.BICUBIC)
    inputs = processor(text=[prompt], images=[small], return_tensors="pt")
    model = network.backbone
    embeddings = model.get_input_embeddings()(inputs["input_ids"])
    features = model.model.visual(inputs["pixel_values"], grid_thw=inputs["image_grid_thw"])
    features, depths = features if third else (features, None)
    places = inputs["input_ids"] == model.config.image_token_id
    assert int(places.sum()) == len(features) == (196 if third else 256)
    embeddings = embeddings.masked_scatter(places[..., None].expand_as(embeddings), features)
    sequence = torch.cat([embeddings, network.action_token[None, None]], dim=1)
    mask = torch.ones(sequence.shape[:2])
    if third:
        position = torch.arange(sequence.shape[1])[None, None].expand(3, 1, -1)
        marked = torch.cat([places, torch.zeros(1, 1, dtype=torch.bool)], dim=1)
        output = model.model.language_model(
            inputs_embeds=sequence,
            attention_mask=mask,
            position_ids=position,
            visual_pos_masks=marked,
            deepstack_visual_embeds=depths,
        )
        state = output.last_hidden_state[0, -1]
    else:
        output = model(inputs_embeds=sequence, attention_mask=mask, output_hidden_states=True)
        state = output.hidden_states[-1][0, -1]
    features = network.act_head["mlp"](state)
    arm = network.act_head["actions"]["mlp"](features).reshape(10, 6)
    gripper = network.act_head["gripper"]["mlp"](features)
    # norm_action scales the arm; the gripper opens where its sigmoid exceeds one half.
    return np.concatenate([0.65 * arm.numpy(), np.where(torch.sigmoid(gripper) > 0.5, 1, -1)[:, None]], axis=1)


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("family", ["qwen2.5-vl", "qwen3-vl"])
def test_qwen_computes_what_the_published_forward_pass_computes(family, checkpoint, calvin, observe, tmp_path):
    import torch

    file, network = checkpoint(family)
    policy = load_policy(str(file), calvin, options=_options(tmp_path))
    seen = _see(observe, 4)
    with torch.inference_mode():
        expected = _qwen_reference(
            network, tmp_path / "hub" / "backbone", seen.images["static"], seen.instruction, family == "qwen3-vl"
        )
    np.testing.assert_allclose(policy.infer([seen])[0], expected, atol=1e-4)


def _other_reference(network, backbone, image, instruction, paligemma):
    """The published forward pass of PaliGemma and Kosmos-2: image features, text, query."""
    import torch
    import transformers

    model = network.backbone
    processor = transformers.AutoProcessor.from_pretrained(backbone)
    if paligemma:
        pixels = processor.image_processor(images=image, return_tensors="pt")["pixel_values"]
        projected = model.model.multi_modal_projector(model.model.vision_tower(pixels).last_hidden_state)
        features = projected / model.config.text_config.hidden_size**0.5
        prompt = f"<bos>{instruction}\n"
    else:
        from PIL import Image

        small = np.asarray(Image.fromarray(image).resize((224, 224), Image.BICUBIC), np.float32) / 255
        mean, spread = [0.48145466, 0.4578275, 0.40821073], [0.26862954, 0.26130258, 0.27577711]
        pixels = torch.tensor((small - mean) / spread, dtype=torch.float32).permute(2, 0, 1)[None]
        seen = model.vision_model.model.post_layernorm(model.vision_model(pixel_values=pixels)[0])
        features, _ = model.image_to_text_projection(torch.nn.functional.normalize(seen, dim=-1))
        prompt = f"<s><image><image_pad></image><p>{instruction}\n</p>"
    ids = processor.tokenizer(prompt, add_special_tokens=False, return_tensors="pt")["input_ids"]
    text = model.get_input_embeddings()(ids)
    sequence = torch.cat([features, text, network.action_token[None, None]], dim=1)
    mask = torch.ones(sequence.shape[:2], dtype=torch.long)
    options = {"inputs_embeds": sequence, "attention_mask": mask, "output_hidden_states": True, "use_cache": False}
    state = (model if paligemma else model.text_model)(**options).hidden_states[-1][0, -1]
    features = network.act_head["mlp"](state)
    arm = network.act_head["actions"]["mlp"](features).reshape(10, 6)
    gripper = network.act_head["gripper"]["mlp"](features)
    return np.concatenate([0.65 * arm.numpy(), np.where(gripper > 0, 1, -1)[:, None]], axis=1)


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("family", ["paligemma", "kosmos-2"])
def test_the_others_compute_what_the_published_forward_pass_computes(family, checkpoint, calvin, observe, tmp_path):
    import torch

    file, network = checkpoint(family)
    policy = load_policy(str(file), calvin, options=_options(tmp_path))
    seen = _see(observe, 4)
    with torch.inference_mode():
        expected = _other_reference(
            network, tmp_path / "hub" / "backbone", seen.images["static"], seen.instruction, family == "paligemma"
        )
    np.testing.assert_allclose(policy.infer([seen])[0], expected, atol=1e-4)


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize(
    ("change", "sentence"),
    [
        ("no head", r"lacks act_head\.actions\.mlp\.0\.weight.* and \d+ more"),
        ("no query", "lacks action_token"),
        ("one more", r"holds backbone\.extra\.weight, which the model does not have"),
        ("another shape", r"act_head\.mlp\.0\.weight is \[3, 32\], not \[16, 32\]"),
        ("no dictionary", "holds neither state_dict nor model_state_dict; it holds weights"),
    ],
)
def test_weights_that_do_not_fit_are_one_sentence(change, sentence, checkpoint, calvin, tmp_path):
    import torch

    file, _ = checkpoint("kosmos-2")
    document = torch.load(file, weights_only=True)
    weights = document["state_dict"]
    if change == "no head":
        document["state_dict"] = {name: value for name, value in weights.items() if "act_head" not in name}
    elif change == "no query":
        del weights["model.action_token"]
    elif change == "one more":
        weights["model.backbone.extra.weight"] = torch.zeros(1)
    elif change == "another shape":
        weights["model.act_head.mlp.0.weight"] = torch.zeros(3, 32)
    else:
        document = {"weights": weights}
    torch.save(document, file)
    with pytest.raises(CheckpointError, match=sentence):
        load_policy(str(file), calvin, options=_options(tmp_path))


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore")
def test_names_of_parallel_training_are_understood(checkpoint, calvin, observe, tmp_path):
    import torch

    file, _ = checkpoint("kosmos-2")
    expected = load_policy(str(file), calvin, options=_options(tmp_path)).infer([_see(observe, 1)])
    weights = torch.load(file, weights_only=True)["state_dict"]
    torch.save({"model_state_dict": {f"module.{name}": value for name, value in weights.items()}}, file)
    found = load_policy(str(file), calvin, options=_options(tmp_path)).infer([_see(observe, 1)])
    np.testing.assert_array_equal(found, expected)


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore")
def test_bf16_and_a_backbone_that_is_elsewhere(checkpoint, calvin, observe, tmp_path):
    file, _ = checkpoint("kosmos-2")
    with pytest.raises(CheckpointError, match="/cluster/hub/backbone, which is not on this machine; map its folder"):
        load_policy(str(file), calvin)
    full = load_policy(str(file), calvin, options=_options(tmp_path)).infer([_see(observe, 1)])
    half = load_policy(str(file), calvin, options=_options(tmp_path, dtype="bfloat16")).infer([_see(observe, 1)])
    np.testing.assert_allclose(half[:, :, :6], full[:, :, :6], atol=0.02)
    assert not np.array_equal(half, full)


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("family", MODELS)
def test_two_episodes_on_the_tabletop(family, checkpoint, tmp_path, two_episodes):
    file, _ = checkpoint(family)
    two_episodes(file, policy_options={"convention": "identity", "path_map": {"/cluster/hub": str(tmp_path / "hub")}})
