"""Folders and files that others made: checkpoints of every loader, results of other tools, recordings, bundles, runs.

Each subject is a folder that is whole, and what reads it. A trial hurts one thing in a copy, and reads that in a
process of its own, because libraries crash, hang and take memory there.
"""

from __future__ import annotations

import contextlib
import gzip
import hashlib
import importlib
import io
import json
import os
import pickle
import random
import shutil
import tarfile
import zipfile
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
from damage import damaged, disguise, stray
from judging import CANARY, PICKLED, isolated

from simrun.errors import SimrunError

REPOSITORY = Path(__file__).parents[2]
Attempt = Callable[[Path], Any]


class Folders:
    """The subjects.

    Args:
        folder: an empty folder of their own.
        run: an undamaged run, whose rollouts were kept.

    Attributes:
        subjects: name -> (a whole folder, what reads a copy of it).
    """

    def __init__(self, folder: Path, run: Path) -> None:
        # Imported once, not in the process of each trial.
        for library in (
            "torch",
            "safetensors.torch",
            "pyarrow.parquet",
            "onnxruntime",
            "matplotlib.pyplot",
            "starlette",
        ):
            with contextlib.suppress(ImportError):
                importlib.import_module(library)
        self._folder = folder / "folders"
        self._copy = folder / "subject"
        self._run = run
        self.subjects: dict[str, tuple[Path, Attempt]] = {}
        for name, (write, attempt) in _SUBJECTS.items():
            whole = self._folder / name.replace(" ", "_")
            whole.mkdir(parents=True)
            write(whole)
            self.subjects[name] = (whole, attempt)
        self.subjects["rollouts"] = (run, lambda copy: _every(f"replay:{copy}"))
        self.subjects["live page"] = (run, _page)
        bundle = self._folder / "bundle"
        _unpack(run, bundle)
        self.subjects["bundle with new checksums"] = (bundle, _bundle)

    def trial(self, name: str, draw: random.Random) -> tuple[str, str]:
        """Hurt one thing of a subject and read it; returns its name and what became of it."""
        whole, attempt = self.subjects[name]
        shutil.rmtree(self._copy, ignore_errors=True)
        shutil.copytree(whole, self._copy)
        hurt(self._copy, draw)
        return name, isolated(lambda: attempt(self._copy))


def hurt(folder: Path, draw: random.Random) -> None:
    """Do one bad thing to a folder."""
    files = sorted(path for path in folder.rglob("*") if path.is_file() and not path.is_symlink())
    file = draw.choice(files)
    kind = draw.random()
    if kind < 0.68:
        file.write_bytes(damaged(file.read_bytes(), draw))
    elif kind < 0.88:
        disguise(file, draw)
    elif kind < 0.94:
        stray(draw.choice((folder, file.parent)), draw)
    else:
        # The contents of another of them under its name.
        shutil.copyfile(draw.choice(files), folder / "other")
        (folder / "other").replace(file)


def _try_each(*attempts: Callable[[], Any]) -> None:
    """Make every attempt, whatever the others say; then raise the first refusal."""
    refusals = []
    for attempt in attempts:
        try:
            attempt()
        except SimrunError as error:
            refusals.append(error)
    if refusals:
        raise refusals[0]


def _every(checkpoint: str) -> None:
    """All that simrun does with a checkpoint until it is evaluated; the first refusal is raised at the end."""
    from simrun.envs import get_benchmark
    from simrun.policies.fitting import sample_observation
    from simrun.policies.inspection import inspect_checkpoint
    from simrun.policies.registry import (
        check_options,
        checkpoint_hash,
        declares_native,
        expand_checkpoints,
        load_policy,
    )
    from simrun.runners.search.watching.completeness import Contents, is_truncated
    from simrun.runners.search.watching.layouts import find_checkpoints

    benchmark = get_benchmark("tabletop")

    def load() -> None:
        policy = load_policy(checkpoint, benchmark)
        try:
            policy.infer([sample_observation(benchmark, policy.spec.cameras, 1, slot=0)])
        finally:
            policy.close()

    path = Path(checkpoint.removeprefix("replay:"))
    _try_each(
        lambda: expand_checkpoints([checkpoint]),
        lambda: check_options(checkpoint, None, {}),
        lambda: declares_native(checkpoint, None, ["tabletop", "libero_10"]),
        lambda: checkpoint_hash(checkpoint),
        lambda: inspect_checkpoint(checkpoint, [benchmark, get_benchmark("libero_10")]),
        lambda: (Contents.of(path), is_truncated(path), find_checkpoints(path if path.is_dir() else path.parent)),
        load,
    )


def _weights(folder: Path) -> None:
    """Read every file of tensors; nobody trusts them."""
    from simrun.envs import get_benchmark
    from simrun.policies.loaders.loader import LoadRequest
    from simrun.policies.options import NetworkOptions
    from simrun.policies.torch_runtime import read_weights

    def read(name: str) -> Any:
        return read_weights(LoadRequest(name, get_benchmark("tabletop"), NetworkOptions()), folder / name)

    _try_each(lambda: read("weights.pt"), lambda: read("weights.safetensors"))


def _lerobot(folder: Path) -> None:
    from simrun.envs import get_benchmark
    from simrun.policies.loaders.lerobot_folder import LeRobotFolder
    from simrun.policies.loaders.loader import LoadRequest
    from simrun.policies.options import PathOptions

    found = LeRobotFolder.find(str(folder))
    if found is None:
        _every(str(folder))
        return
    _try_each(
        lambda: found.check(LoadRequest(str(folder), get_benchmark("tabletop"), PathOptions())),
        lambda: _every(str(folder)),
    )


def _texts(folder: Path) -> None:
    """Files that users write: conventions, statistics, instructions, scores, configurations, ledgers."""
    from simrun.envs.instructions import read_instructions
    from simrun.policies.conventions import Convention, read_toml
    from simrun.policies.transforms.scaling import read_statistics
    from simrun.results.plots.fits import read_scores
    from simrun.runners.search.watching.ledger import Ledger
    from simrun.runners.sweep import make_config, make_plan, read_config

    _try_each(
        lambda: Convention.of(read_toml(folder / "convention.toml"), "convention.toml"),
        lambda: [read_statistics(folder / "statistics.json", "a", kind, "quantile") for kind in ("action", "proprio")],
        lambda: [read_instructions(folder / name) for name in ("words.toml", "words.json", "words.csv")],
        lambda: read_scores(folder / "scores.csv"),
        lambda: make_plan(make_config(read_config(folder / "sweep.toml"))),
        lambda: Ledger(folder / "watch.jsonl"),
    )


def _imports(folder: Path) -> None:
    """Results of other tools, whatever is in the folder now."""
    from simrun.results.imports.foreign import read_foreign

    refusals = []
    for place in (*sorted(folder.iterdir()), folder):
        for benchmark in ("libero_10", "calvin_abcd"):
            try:
                read_foreign(f"{benchmark}={place}", 100).cells()
            except SimrunError as error:
                refusals.append(error)
    # Most files are no result of every benchmark.
    if len(refusals) > 12:
        raise refusals[0]


def _recordings(folder: Path) -> None:
    """Our own recordings, and those of the policy boundary."""
    from simrun.envs.laboratory.recordings import EpisodeRecording, is_recording
    from simrun.policies.boundary import verify_boundary

    for report in verify_boundary(folder):
        if report.failure and report.failure.startswith(("AttributeError", "AssertionError", "RecursionError")):
            raise AssertionError(report.failure)
    refusals = []
    for file in sorted(folder.glob("*.npz")):
        is_recording(file)
        try:
            EpisodeRecording.read(file).trace(file.name, ["x"] * 4, {})
        except SimrunError as error:
            refusals.append(error)
    if len(refusals) > 1:
        raise refusals[0]


def _page(folder: Path) -> None:
    """The live page over a run that is not what it should be, asked whatever a browser of somebody's could ask."""
    from pages import ask_everything

    ask_everything(folder)


def _bundle(folder: Path) -> None:
    """A bundle whose checksums were made anew after it was changed."""
    from simrun.results.publishing.bundle import Bundle

    archive = folder.with_name("changed.simrun.tar.gz")
    files = {
        path.relative_to(folder).as_posix(): path.read_bytes()
        for path in sorted(folder.rglob("*"))
        if path.is_file() and not path.is_symlink() and path.stat().st_size < 1 << 30 and path.name != "bundle.json"
    }
    head = {"format": "simrun bundle", "version": 1, "run": "run", "simrun": "0"}
    head["files"] = {name: hashlib.sha256(data).hexdigest() for name, data in files.items()}  # type: ignore[assignment]
    stream = io.BytesIO()
    with tarfile.open(fileobj=stream, mode="w") as made:
        for name, data in {"bundle.json": json.dumps(head).encode(), **files}.items():
            entry = tarfile.TarInfo(name.encode(errors="replace").decode())
            entry.size = len(data)
            made.addfile(entry, io.BytesIO(data))
    archive.write_bytes(gzip.compress(stream.getvalue(), 1))
    target = folder.with_name("unpacked")
    shutil.rmtree(target, ignore_errors=True)
    bundle = Bundle.unpack(archive, target)
    bundle.sample(3)
    from simrun.results.tables import table_of_runs

    table_of_runs([bundle.run])


def _unpack(run: Path, target: Path) -> None:
    from simrun.results.publishing.bundle import write_bundle
    from simrun.results.run import Run

    archive = target.with_name("whole.simrun.tar.gz")
    write_bundle(Run.read(run), archive, videos=True)
    with tarfile.open(archive) as opened:
        opened.extractall(target)


# --- whole folders -----------------------------------------------------------------------------------------------


def _network() -> Path:
    return next((REPOSITORY / "examples" / "checkpoints").glob("*.onnx"))


def _write_onnx(folder: Path) -> None:
    shutil.copyfile(_network(), folder / "net.onnx")
    (folder / "simrun.toml").write_text('images = [{ name = "rotate_180" }]\nnative = { steps = 2 }\n')


def _safetensors(header: Mapping[str, Any], size: int) -> bytes:
    text = json.dumps(header).encode()
    return len(text).to_bytes(8, "little") + text + bytes(size)


def _write_weights(folder: Path) -> None:
    shape = {"dtype": "F32", "shape": [5, 5], "data_offsets": [0, 100]}
    (folder / "weights.safetensors").write_bytes(_safetensors({"w": shape, "__metadata__": {"format": "pt"}}, 100))
    (folder / "weights.pt").write_bytes(_zip(_torch_members({"w": 1.0, "nested": {"list": [1, 2]}})))


def _torch_members(value: Any) -> dict[str, bytes]:
    return {"archive/data.pkl": pickle.dumps(value, 2), "archive/version": b"3\n", "archive/byteorder": b"little"}


def _zip(members: Mapping[str, bytes]) -> bytes:
    stream = io.BytesIO()
    with zipfile.ZipFile(stream, "w") as archive:
        for name, data in members.items():
            archive.writestr(name, data)
    return stream.getvalue()


def _write_script(folder: Path) -> None:
    members = {**_torch_members([]), "archive/constants.pkl": PICKLED, "archive/code/__torch__.py": _CODE}
    (folder / "net.pt").write_bytes(_zip(members))


def _write_exported(folder: Path) -> None:
    members = {"net/version": b"1", "net/models/model.json": b"{}", "net/data/weights/model.pt": PICKLED}
    (folder / "net.pt2").write_bytes(_zip({**members, "net/extra/simrun.json": b"{}"}))


_CODE = f"import os\nos.mkdir({str(CANARY)!r})\n".encode()


def _write_lerobot(folder: Path) -> None:
    image, state = {"type": "VISUAL", "shape": [3, 32, 32]}, {"type": "STATE", "shape": [4]}
    config = {
        "type": "act",
        "input_features": {"observation.images.front": image, "observation.state": state},
        "output_features": {"action": {"type": "ACTION", "shape": [7]}},
        "normalization_mapping": {"VISUAL": "MEAN_STD", "STATE": "MEAN_STD", "ACTION": "MEAN_STD"},
        "chunk_size": 6,
        "n_action_steps": 6,
        "n_obs_steps": 1,
        "temporal_ensemble_coeff": None,
    }
    features = ("observation.images.front", "observation.state", "action")
    names = [f"{name}.{part}" for name in features for part in ("mean", "std")]
    header = {name: {"dtype": "F32", "shape": [1], "data_offsets": [4 * i, 4 * i + 4]} for i, name in enumerate(names)}
    for when, kind in (("pre", "normalizer_processor"), ("post", "unnormalizer_processor")):
        settings = {"norm_map": config["normalization_mapping"]}
        steps = [
            {"registry_name": "rename_observations_processor", "config": {"rename_map": {"a": "b"}}},
            {"registry_name": kind, "config": settings, "state_file": f"{kind}.safetensors"},
        ]
        (folder / f"policy_{when}processor.json").write_text(json.dumps({"name": when, "steps": steps}))
        (folder / f"{kind}.safetensors").write_bytes(_safetensors(header, 4 * len(names)))
    (folder / "config.json").write_text(json.dumps(config))
    (folder / "model.safetensors").write_bytes(_safetensors(header, 4 * len(names)))


def _write_openvla(folder: Path) -> None:
    numbers = {"q01": [-1.0] * 7, "q99": [1.0] * 7, "mask": [True] * 6 + [False]}
    statistics = {"libero_10_no_noops": {"action": numbers, "proprio": {"q01": [-1.0] * 8, "q99": [1.0] * 8}}}
    config = {
        "model_type": "openvla",
        "auto_map": {"AutoConfig": "modeling_prismatic.X", "AutoModelForVision2Seq": "modeling_prismatic.X"},
        "vision_backbone_id": "x",
        "norm_stats": statistics,
    }
    (folder / "config.json").write_text(json.dumps(config))
    (folder / "dataset_statistics.json").write_text(json.dumps(statistics))
    (folder / "modeling_prismatic.py").write_bytes(_CODE + b"# _regression_or_discrete_prediction\n")
    (folder / "model.safetensors").write_bytes(_safetensors({}, 0))
    (folder / "action_head--1.pt").write_bytes(PICKLED)
    for name in ("tokenizer.json", "tokenizer_config.json", "preprocessor_config.json"):
        (folder / name).write_text(json.dumps({"auto_map": {"AutoProcessor": "modeling_prismatic.X"}, "a": {"b": 1}}))


def _write_vlm4vla(folder: Path) -> None:
    head = {"type": "FCDecoder", "hidden_size": 16, "action_dim": 7, "down_sample": "none", "latent": 1}
    config = {
        "robovlm_name": "RoboQwen25VL",
        "parent": None,
        "model": "qwen25vl",
        "image_size": 224,
        "window_size": 1,
        "fwd_pred_next_n": 10,
        "use_hand_rgb": False,
        "act_head": {**head, "action_space": "continuous"},
        "vlm": {"type": "AutoModel", "pretrained_model_name_or_path": "backbone", "name": "qwen25vl"},
        "trainer": {"precision": "bf16"},
        "norm_action": True,
        "norm_min": -0.65,
        "norm_max": 0.65,
    }
    (folder / "run-project.json").write_text(json.dumps(config))
    (folder / "weights.pt").write_bytes(_zip(_torch_members({"state_dict": {}})))
    (folder / "backbone").mkdir()
    (folder / "backbone" / "config.json").write_text(
        json.dumps({"model_type": "qwen2_5_vl", "auto_map": {"AutoModel": "x.Y"}})
    )
    (folder / "backbone" / "x.py").write_bytes(_CODE)


def _write_replay(folder: Path) -> None:
    from simrun.envs import get_benchmark

    benchmark = get_benchmark("tabletop")
    task = benchmark.tasks(benchmark.protocol())[0].name
    size = benchmark.action_specs[benchmark.default_action_mode].dimension
    episodes = [{"task": task, "trial": trial, "file": "one.npz", "key": "actions", "skip": 0} for trial in range(3)]
    (folder / "index.json").write_text(json.dumps({"episodes": episodes}))
    np.savez_compressed(folder / "one.npz", actions=np.zeros((20, size), np.float32), meta=np.array("{}"))
    shutil.copyfile(folder / "one.npz", folder / f"{task}_0.npz")


def _write_module(folder: Path) -> None:
    (folder / "policy.py").write_bytes(_CODE)
    (folder / "simrun.toml").write_text('kind = "policy.py:make"\n')
    shutil.copyfile(_network(), folder / "net.onnx")


def _write_texts(folder: Path) -> None:
    statistics = {
        "a": {"action": {"q01": [0.0] * 7, "q99": [1.0] * 7}, "proprio": {"q01": [0.0] * 8, "q99": [1.0] * 8}}
    }
    (folder / "statistics.json").write_text(json.dumps(statistics))
    (folder / "convention.toml").write_text(
        'cameras = ["static"]\nimages = [{ name = "resize", height = 224, width = 224 }]\nnames = { static = "rgb" }\n'
        'state = ["fold_axis_angle"]\nprompt = "Do {lower}"\nnative = { steps = 5, actions = ["gripper_sign"] }\n'
        '[when]\ntype = "act"\n[wire]\nlayout = { x = 1 }\n[states]\nother = ["fold_axis_angle"]\n'
    )
    (folder / "words.toml").write_text('reach_red = ["go", "reach"]\n[reach_blue]\n0 = "reach it"\n')
    (folder / "words.json").write_text(json.dumps({"reach_red": ["go"], "reach_blue": {"0": ["reach it"]}}))
    (folder / "words.csv").write_text("task,trial,instruction\nreach_red,0,go\nreach_blue,,reach\n")
    (folder / "scores.csv").write_text("checkpoint,loss\nepoch_1,0.5\nepoch_2,0.25\n")
    (folder / "sweep.toml").write_text(
        'bench = ["tabletop"]\nckpt = ["scripted:zero"]\nseeds = [0]\nepisodes = "0:2"\n'
    )
    line = json.dumps({"event": "started", "checkpoint": "a", "digest": "1", "time": "now"})
    (folder / "watch.jsonl").write_text(f"{line}\n" * 3)


def _write_imports(folder: Path) -> None:
    shutil.copytree(REPOSITORY / "tests" / "results" / "imports" / "files", folder, dirs_exist_ok=True)
    (folder / "counts.csv").write_text("model,task,successes,episodes\na,x,3,10\na,y,4,10\n")
    videos = folder / "videos" / "task" / "a" / "b"
    videos.mkdir(parents=True)
    for name in ("success_obj_episode_1_x.mp4", "failure_obj_episode_2_x.mp4"):
        (videos / name).write_bytes(b"film")


def _write_recordings(folder: Path) -> None:
    shipped = sorted((REPOSITORY / "simrun" / "envs" / "tabletop" / "recordings").glob("*.npz"))
    shutil.copyfile(shipped[0], folder / "tabletop.npz")
    golden = Path(os.environ.get("SIMRUN_GOLDEN", "/nowhere")) / "policies"
    if (known := golden / "openpi_libero_axisangle_edges.npz").exists():
        shutil.copyfile(known, folder / known.name)


_SUBJECTS: dict[str, tuple[Callable[[Path], None], Attempt]] = {
    "onnx and sidecar": (_write_onnx, lambda copy: _every(str(copy / "net.onnx"))),
    "torch and safetensors": (_write_weights, _weights),
    "TorchScript": (_write_script, lambda copy: _every(str(copy / "net.pt"))),
    "torch.export": (_write_exported, lambda copy: _every(str(copy / "net.pt2"))),
    "LeRobot folder": (_write_lerobot, _lerobot),
    "OpenVLA folder": (_write_openvla, lambda copy: _every(str(copy))),
    "VLM4VLA checkpoint": (_write_vlm4vla, lambda copy: _every(str(copy / "weights.pt"))),
    "folder of actions": (_write_replay, lambda copy: _every(f"replay:{copy}")),
    "module as a checkpoint": (
        _write_module,
        lambda copy: (_every(str(copy / "net.onnx")), _every(f"{copy}/policy.py:make")),
    ),
    "texts of users": (_write_texts, _texts),
    "results of other tools": (_write_imports, _imports),
    "golden recordings": (_write_recordings, _recordings),
}
