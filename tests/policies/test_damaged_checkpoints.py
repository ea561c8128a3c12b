"""Values of wrong types in what checkpoints, servers and other tools say: one sentence each, found by torture."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

import pytest

from simrun.envs import get_benchmark
from simrun.errors import CheckpointError, ServerError, UsageError
from simrun.policies.checkpoints import checkpoint_hash
from simrun.policies.dialects.connection import ServerAddress
from simrun.policies.dialects.groot import Groot, GrootPolicy
from simrun.policies.dialects.remote_policy import greeting_digest
from simrun.policies.families import families
from simrun.policies.inspection import inspect_checkpoint
from simrun.policies.loaders.lerobot_folder import LeRobotFolder
from simrun.policies.loaders.loader import LoadRequest
from simrun.policies.options import NetworkOptions
from simrun.policies.torch_runtime import read_weights
from simrun.policies.vlm4vla.configuration import Vlm4vlaOptions, read_configuration
from simrun.results.imports.foreign import read_foreign
from simrun.results.plots.fits import read_scores

LEROBOT: dict[str, Any] = {
    "type": "act",
    "input_features": {"observation.state": {"type": "STATE", "shape": [4]}},
    "output_features": {"action": {"type": "ACTION", "shape": [7]}},
    "chunk_size": 6,
}


def test_what_torch_s_reader_raises_of_a_damaged_file_is_one_sentence(tmp_path: Path) -> None:
    """Of a pickle that takes from an empty stack it raises IndexError."""
    pytest.importorskip("torch")
    for number, damage in enumerate((b"\x80\x02a.", b"\x80\x02.", b"\x80\x02e.", b"\x80\x02}s.", b"\x80\x02\x86.")):
        (tmp_path / f"{number}.pt").write_bytes(damage)
        request = LoadRequest("it", get_benchmark("tabletop"), NetworkOptions())
        with pytest.raises(CheckpointError):
            read_weights(request, tmp_path / f"{number}.pt")


def test_a_name_that_is_no_utf8_is_hashed(tmp_path: Path) -> None:
    (tmp_path / os.fsdecode(b"\xff.safetensors")).write_bytes(b"x")
    assert len(checkpoint_hash(str(tmp_path))) == 64


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("type", ["act"]),
        ("input_features", 3),
        ("input_features", {"observation.state": "x"}),
        ("output_features", {"action": {"shape": ["7"]}}),
        ("output_features", {"action": {"shape": [10**30]}}),
        ("normalization_mapping", {"STATE": ["MEAN_STD"]}),
        ("chunk_size", "/dev/zero"),
        ("n_obs_steps", float("nan")),
        ("n_action_steps", -1),
        ("temporal_ensemble_coeff", "0.01"),
        ("horizon", 16),
    ],
)
def test_a_lerobot_folder_with_values_of_wrong_types_is_named(tmp_path: Path, key: str, value: Any) -> None:
    (tmp_path / "config.json").write_text(json.dumps({**LEROBOT, key: value}))
    named = "n_action_steps" if key == "horizon" else key
    with pytest.raises(CheckpointError, match=f"config.json holds no usable {named}$"):
        inspect_checkpoint(str(tmp_path), [get_benchmark("tabletop")])


@pytest.mark.parametrize(
    "step", [{"registry_name": {}}, {"config": 3}, {"state_file": 7}, {"config": {"rename_map": {"a": {}}}}]
)
def test_a_step_of_a_processor_with_values_of_wrong_types_is_named(tmp_path: Path, step: dict[str, Any]) -> None:
    (tmp_path / "config.json").write_text(json.dumps(LEROBOT))
    (tmp_path / "policy_preprocessor.json").write_text(json.dumps({"steps": [step]}))
    folder = LeRobotFolder.find(str(tmp_path))
    assert folder is not None
    with pytest.raises(CheckpointError, match=r"policy_preprocessor\.json holds a step "):
        folder.steps("policy_preprocessor.json")


def test_damaged_statistics_are_not_replaced_in_silence(tmp_path: Path) -> None:
    numbers = {"q01": [-1.0] * 7, "q99": [1.0] * 7}
    config = {"model_type": "openvla", "norm_stats": {"libero_10": {"action": numbers}}, "auto_map": {"a": 3, "b": "x"}}
    (tmp_path / "config.json").write_text(json.dumps(config))
    assert inspect_checkpoint(str(tmp_path), []).properties["statistics"] == "libero_10"
    (tmp_path / "dataset_statistics.json").write_text("{")
    with pytest.raises(CheckpointError, match=r"dataset_statistics\.json cannot be read"):
        inspect_checkpoint(str(tmp_path), [])


@pytest.mark.parametrize(
    "change",
    [
        {"vlm": "x"},
        {"vlm": {"pretrained_model_name_or_path": ["x"] * 3000}},
        {"vlm": {"pretrained_model_name_or_path": True}},
        {"fwd_pred_next_n": float("inf")},
        {"norm_action": True, "norm_min": 10**400, "norm_max": 1},
        {"act_head": None},
    ],
)
def test_a_vlm4vla_configuration_with_values_of_wrong_types_is_named(tmp_path: Path, change: dict[str, Any]) -> None:
    head = {"type": "FCDecoder", "hidden_size": 16, "action_dim": 7}
    config = {"model": "qwen25vl", "fwd_pred_next_n": 10, "window_size": 1, "act_head": head, "vlm": {}}
    (tmp_path / "run.json").write_text(json.dumps({**config, **change}))
    with pytest.raises(CheckpointError, match=r"run\.json cannot be used"):
        read_configuration(tmp_path / "run.json", Vlm4vlaOptions())


@pytest.mark.parametrize("told", [None, 3, "x", {"delta_indices": 3}, {"delta_indices": []}, {"delta_indices": "x"}])
def test_what_a_groot_server_tells_otherwise_is_passed_over(told: Any) -> None:
    assert Groot().announced({"action": told}) == {"generation": "n1.6"}


@pytest.mark.parametrize("steps", [["x"], [1], [-(10**9)], [None], [0.5], [True]])
def test_frames_that_no_model_looks_at_are_refused(steps: list[Any]) -> None:
    convention = families()["groot"].convention("libero_10", {"generation": "n1.6"})
    assert convention is not None
    pytest.importorskip("zmq")
    address = ServerAddress("tcp://127.0.0.1:9", 1.0, 1000)
    with pytest.raises(ServerError, match="says that it looks at the frames"):
        GrootPolicy(address, {"video": {"delta_indices": steps}}, convention, None)


def test_a_greeting_with_names_that_are_no_texts_is_refused() -> None:
    with pytest.raises(ServerError, match="names are no texts"):
        greeting_digest({"action": {"x": 1, 2: 3}})
    assert greeting_digest({"b": b"x", "a": 1}) == greeting_digest({"a": 1, "b": b"x"})


@pytest.mark.parametrize(
    "row", ["a,x,nan,10", "a,x,inf,10", "a,x,1,1000000000000", "a,x,1", "a,x,1,2,3", "a,x,1,-2", "a,x,1e400,2"]
)
def test_counts_that_nobody_measured_are_refused(tmp_path: Path, row: str) -> None:
    (tmp_path / "counts.csv").write_text(f"model,task,successes,episodes\n{row}\n")
    with pytest.raises(UsageError):
        read_foreign(f"libero_10={tmp_path / 'counts.csv'}")


def test_scores_with_more_fields_than_names_are_refused(tmp_path: Path) -> None:
    (tmp_path / "scores.csv").write_text("checkpoint,loss\na,1,2\n")
    with pytest.raises(UsageError, match="row 1 has not as many fields"):
        read_scores(tmp_path / "scores.csv")
