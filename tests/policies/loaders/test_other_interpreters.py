"""Checkpoints that run in an interpreter of another make than the runner's.

``SIMRUN_TEST_TORCH`` names a Python that holds numpy, torch, transformers and Pillow alone (transformers refuses its
image processors without Pillow), ``SIMRUN_TEST_LEROBOT`` one that holds lerobot:
``pytest -m slow tests/policies/loaders/test_other_interpreters.py``.
"""

from __future__ import annotations

import json
import os
import subprocess
from pathlib import Path

import pytest

import simrun
from simrun.envs.machine.interpreters import describe_interpreter
from tests.policies.loaders import tiny_lerobot, tiny_vlm4vla

pytestmark = [pytest.mark.slow, pytest.mark.filterwarnings("ignore")]


def interpreter(variable: str) -> str:
    if not os.environ.get(variable):
        pytest.skip(f"needs another interpreter: set {variable}")
    return os.environ[variable]


@pytest.fixture
def torch_python() -> str:
    python = interpreter("SIMRUN_TEST_TORCH")
    holds = describe_interpreter(python).packages
    assert {"numpy", "torch", "transformers"} <= set(holds)
    assert not {"simrun", "scipy", "gymnasium", "msgpack"} & set(holds), "nothing but what training has"
    return python


def written(python: str, module: object, *arguments: str) -> None:
    subprocess.run([python, str(module.__file__), *arguments], check=True, timeout=300)


def test_a_program_of_torch_export_runs_there_as_here(torch_python, tmp_path, two_episodes):
    torch = pytest.importorskip("torch")
    from tests.policies.loaders.test_torch_loaders import METADATA, Small, _inputs

    batch = torch.export.Dim("batch", min=1, max=64)
    program = torch.export.export(Small().eval(), _inputs(2), dynamic_shapes=[{0: batch}] * 3)
    file = tmp_path / "network.pt2"
    torch.export.save(program, file, extra_files={"simrun.json": json.dumps(METADATA)})
    here = two_episodes(file, size=(12, 16), trust_checkpoint=True)
    there = two_episodes(file, size=(12, 16), trust_checkpoint=True, policy_options={"python": torch_python})
    if describe_interpreter(torch_python).packages["torch"].split("+")[0] == torch.__version__.split("+")[0]:
        assert [record.outcome() for record in there] == [record.outcome() for record in here]


def test_vlm4vla_runs_there(torch_python, tmp_path, two_episodes):
    written(torch_python, tiny_vlm4vla, str(tmp_path), "paligemma")
    hub = {"/cluster/hub": str(tmp_path / "hub")}
    options = {"python": torch_python, "path_map": hub, "convention": "identity", "device": "cpu"}
    file = tmp_path / "run" / "epoch=3-step=7.pt"
    first = two_episodes(file, policy_options=options)
    several = two_episodes(file, policy_options=options, replicas=2, workers=2)
    # Episodes end in any order.
    assert {record.key: record.outcome() for record in several} == {record.key: record.outcome() for record in first}


TOKENIZERS = {
    "tokenizer_processor": {"tokenizer_name": "evil"},
    "action_tokenizer_processor": {"action_tokenizer_name": "evil", "paligemma_tokenizer_name": "evil"},
}


@pytest.mark.parametrize("answer", ["", "y\n" * 10])
@pytest.mark.parametrize("step", TOKENIZERS)
def test_a_tokeniser_that_brings_code_does_not_run_in_lerobot(tmp_path, step, answer):
    """Through lerobot's own processors, by simrun's own command; the answer to transformers' question lies ready."""
    python = interpreter("SIMRUN_TEST_LEROBOT")
    folder, evil, canary = tmp_path / "pretrained_model", tmp_path / "evil", tmp_path / "canary"
    written(python, tiny_lerobot, str(folder))
    evil.mkdir()
    mapped = dict.fromkeys(("AutoConfig", "AutoProcessor", "AutoFeatureExtractor"), "code.X")
    mapped["AutoTokenizer"] = ["code.X", "code.X"]
    for name in ("config.json", "processor_config.json", "preprocessor_config.json", "tokenizer_config.json"):
        (evil / name).write_text(json.dumps({"model_type": "unheard_of", "tokenizer_class": "X", "auto_map": mapped}))
    (evil / "code.py").write_text(f"import os\nos.mkdir({str(canary)!r})\nclass X: pass\n")
    config = {key: str(evil) if value == "evil" else value for key, value in TOKENIZERS[step].items()}
    processor = json.loads((folder / "policy_preprocessor.json").read_text())
    processor["steps"].append({"registry_name": step, "config": config})
    (folder / "policy_preprocessor.json").write_text(json.dumps(processor))
    script = LOADED.format(folder=str(folder), simrun=str(Path(simrun.__file__).parents[1]))
    done = subprocess.run([python, "-c", script], input=answer, capture_output=True, text=True, timeout=300)
    assert "CheckpointError" in done.stdout, done.stderr[-2000:]
    assert not canary.exists(), "a payload was executed"
    assert "y/N" not in done.stdout + done.stderr
    # The payload is one: transformers itself, told to trust it, runs it.
    trusting = f"import transformers; transformers.AutoTokenizer.from_pretrained({str(evil)!r}, trust_remote_code=True)"
    subprocess.run([python, "-c", trusting], capture_output=True, timeout=300)
    assert canary.exists()


LOADED = """
import sys
sys.path.append({simrun!r})
from simrun.errors import SimrunError
from simrun.policies.loaders.lerobot import LeRobotFolder, LeRobotPolicy
from simrun.policies.loaders.loader import LoadRequest
from simrun.policies.options import PathOptions
folder = LeRobotFolder.find({folder!r})
request = LoadRequest({folder!r}, None, PathOptions(device="cpu"))
for attempt in (lambda: folder.check(request), lambda: LeRobotPolicy(folder, request)):
    try:
        attempt()
        print("taken")
    except SimrunError as error:
        print(type(error).__name__, error)
        break
"""


def test_act_runs_in_lerobot_s_own_interpreter(tmp_path, two_episodes):
    python = interpreter("SIMRUN_TEST_LEROBOT")
    folder = tmp_path / "pretrained_model"
    written(python, tiny_lerobot, str(folder))
    first = two_episodes(folder, size=(32, 32), policy_options={"python": python})
    again = two_episodes(folder, size=(32, 32), policy_options={"python": python})
    assert [record.actions_hash for record in again] == [record.actions_hash for record in first]
