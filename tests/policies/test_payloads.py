"""Payloads: nothing that a checkpoint, a server, a bundle or a rollout holds is executed; it is refused."""

from __future__ import annotations

import io
import json
import os
import pickle
import shutil
import struct
import threading
import zipfile
from collections.abc import Callable, Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any

import msgpack
import numpy as np
import pytest

from simrun.envs import get_benchmark
from simrun.envs.laboratory.recordings import EpisodeRecording
from simrun.envs.libero.initial_states import read_initial_states
from simrun.errors import CheckpointError, DependencyError, ServerError, SimrunError
from simrun.policies.boundary import verify_recording
from simrun.policies.dialects import codecs
from simrun.policies.inspection import inspect_checkpoint
from simrun.policies.registry import checkpoint_hash, load_policy
from simrun.runners.engine.wire import FrameReader
from simrun.runners.search.watching.completeness import is_truncated

NETWORK = next((Path(__file__).resolve().parents[2] / "examples" / "checkpoints").glob("*.onnx"))


class Payload:
    """Makes a folder when it is unpickled."""

    def __init__(self, canary: Path) -> None:
        self.canary = canary

    def __reduce__(self) -> tuple[Any, ...]:
        return os.mkdir, (str(self.canary),)


@pytest.fixture
def canary(tmp_path: Path):
    """The folder that a payload makes; it must not be there at the end."""
    made = tmp_path / "canary"
    # The proof that it would be noticed.
    pickle.loads(pickle.dumps(Payload(made)))
    made.rmdir()
    yield made
    assert not made.exists(), "a payload was executed"


def code(canary: Path) -> bytes:
    return f"import os\nos.mkdir({str(canary)!r})\nclass X: pass\ndef make(*a, **k): pass\n".encode()


def zipped(members: Mapping[str, bytes]) -> bytes:
    stream = io.BytesIO()
    with zipfile.ZipFile(stream, "w") as archive:
        for name, data in members.items():
            archive.writestr(name, data)
    return stream.getvalue()


def objects(canary: Path) -> bytes:
    """A file of numpy's whose array holds the payload."""
    stream = io.BytesIO()
    np.save(stream, np.array([Payload(canary)], dtype=object), allow_pickle=True)
    return stream.getvalue()


def safetensors() -> bytes:
    return struct.pack("<Q", 2) + b"{}"


def _script(folder: Path, canary: Path) -> str:
    held = {"constants.pkl": pickle.dumps(Payload(canary)), "data.pkl": pickle.dumps(Payload(canary))}
    (folder / "net.pt").write_bytes(zipped({f"a/{name}": data for name, data in {**held, "code/x.py": b""}.items()}))
    return str(folder / "net.pt")


def _exported(folder: Path, canary: Path) -> str:
    (folder / "net.pt2").write_bytes(zipped({"a/data.pkl": pickle.dumps(Payload(canary)), "a/version": b"1"}))
    return str(folder / "net.pt2")


def _lerobot(folder: Path, canary: Path) -> str:
    features = {"input_features": {}, "output_features": {"action": {"type": "ACTION", "shape": [7]}}}
    (folder / "config.json").write_text(json.dumps({"type": "act", "chunk_size": 5, "n_action_steps": 5, **features}))
    step = {"class": "os.mkdir", "config": {"path": str(canary)}}
    for name in ("policy_preprocessor.json", "policy_postprocessor.json"):
        (folder / name).write_text(json.dumps({"steps": [step]}))
    (folder / "model.safetensors").write_bytes(pickle.dumps(Payload(canary)))
    return str(folder)


def _openvla(folder: Path, canary: Path) -> str:
    mapped = {
        "auto_map": {"AutoConfig": "modeling.X", "AutoModelForVision2Seq": "modeling.X", "AutoProcessor": "modeling.X"}
    }
    for name in ("config.json", "preprocessor_config.json", "tokenizer_config.json"):
        (folder / name).write_text(json.dumps({"model_type": "openvla", "tokenizer_class": "X", **mapped}))
    (folder / "modeling.py").write_bytes(code(canary))
    (folder / "model.safetensors").write_bytes(safetensors())
    (folder / "action_head--1.pt").write_bytes(pickle.dumps(Payload(canary)))
    return str(folder)


def _vlm4vla(folder: Path, canary: Path) -> str:
    head = {"type": "FCDecoder", "hidden_size": 16, "action_dim": 7, "down_sample": "none"}
    backbone = {"type": "AutoModel", "pretrained_model_name_or_path": str(folder / "backbone")}
    config = {"robovlm_name": "x", "model": "qwen25vl", "fwd_pred_next_n": 10, "window_size": 1, "act_head": head}
    (folder / "run-project.json").write_text(json.dumps({**config, "vlm": backbone, "image_size": 224}))
    (folder / "weights.pt").write_bytes(pickle.dumps(Payload(canary)))
    (folder / "backbone").mkdir()
    mapped = {
        "AutoConfig": "modeling.X",
        "AutoModel": "modeling.X",
        "AutoProcessor": "modeling.X",
        "AutoTokenizer": ["modeling.X"] * 2,
    }
    for name in ("config.json", "preprocessor_config.json", "processor_config.json", "tokenizer_config.json"):
        (folder / "backbone" / name).write_text(json.dumps({"model_type": "unheard_of", "auto_map": mapped}))
    (folder / "backbone" / "modeling.py").write_bytes(code(canary))
    return str(folder / "weights.pt")


def _actions(folder: Path, canary: Path) -> str:
    (folder / "one.npz").write_bytes(zipped({"actions.npy": objects(canary)}))
    episodes = [{"task": "reach_red", "trial": trial, "file": "one.npz"} for trial in range(2)]
    (folder / "index.json").write_text(json.dumps({"episodes": episodes}))
    return f"replay:{folder}"


def _sidecar(folder: Path, canary: Path) -> str:
    (folder / "policy.py").write_bytes(code(canary))
    shutil.copyfile(NETWORK, folder / "net.onnx")
    (folder / "simrun.toml").write_text(f'kind = "{folder}/policy.py:make"\n')
    return str(folder / "net.onnx")


def _module(folder: Path, canary: Path) -> str:
    (folder / "policy.py").write_bytes(code(canary))
    return f"{folder}/policy.py:make"


def _onnx_library(folder: Path, canary: Path) -> str:
    """A network with weights in a file outside of its folder, and an operator of a library that nobody has."""
    onnx = pytest.importorskip("onnx")
    (folder.parent / "outside.bin").write_bytes(bytes(400))
    model = onnx.load(str(NETWORK))
    for tensor in model.graph.initializer[:1]:
        tensor.data_location = onnx.TensorProto.EXTERNAL
        del tensor.external_data[:]
        for key, value in (("location", "../outside.bin"), ("offset", "0"), ("length", "400")):
            tensor.external_data.add(key=key, value=value)
    model.graph.node[0].domain = "evil.library"
    (folder / "net.onnx").write_bytes(model.SerializeToString())
    return str(folder / "net.onnx")


CHECKPOINTS: dict[str, Callable[[Path, Path], str]] = {
    "TorchScript": _script,
    "torch.export": _exported,
    "LeRobot": _lerobot,
    "OpenVLA": _openvla,
    "VLM4VLA": _vlm4vla,
    "actions": _actions,
    "sidecar": _sidecar,
    "module": _module,
    "ONNX": _onnx_library,
}


@pytest.mark.parametrize("kind", CHECKPOINTS)
def test_a_checkpoint_executes_nothing_unasked(tmp_path: Path, canary: Path, kind: str) -> None:
    folder = tmp_path / "checkpoint"
    folder.mkdir()
    checkpoint = CHECKPOINTS[kind](folder, canary)
    tabletop = get_benchmark("tabletop")
    for look in (
        lambda: inspect_checkpoint(checkpoint, [tabletop, get_benchmark("libero_10")]),
        lambda: checkpoint_hash(checkpoint),
        lambda: is_truncated(folder),
    ):
        with suppress(SimrunError):
            look()
    with pytest.raises((CheckpointError, DependencyError)) as refused:
        _played(checkpoint, tabletop)
    assert "\n" not in str(refused.value), "one sentence"
    assert len(str(refused.value)) < 1000


def _played(checkpoint: str, benchmark: Any) -> None:
    from simrun.policies.fitting import sample_observation

    policy = load_policy(checkpoint, benchmark)
    policy.infer([sample_observation(benchmark, policy.spec.cameras, 1, slot=0)])


def test_a_backbone_that_brings_code_is_refused(tmp_path: Path, canary: Path) -> None:
    pytest.importorskip("transformers")
    pytest.importorskip("torch")
    from simrun.policies.vlm4vla.backbones import BACKBONES

    _vlm4vla(tmp_path, canary)
    for backbone in set(BACKBONES.values()):
        # What transformers says; the loader makes a sentence of it.
        with pytest.raises(
            (ValueError, OSError, AttributeError), match=r"(?i)trust_remote_code|unheard_of|has no attribute"
        ):
            backbone(str(tmp_path / "backbone"), None)


@pytest.mark.parametrize("reader", ["recording", "boundary", "initial states"])
def test_a_recording_executes_nothing(tmp_path: Path, canary: Path, reader: str) -> None:
    file = tmp_path / "openpi_libero_a.npz"
    names = ("actions", "state_hashes", "proprio", "success", "score", "image_steps", "image_hashes", "thumbnails")
    names += ("episode", "action_mode", "camera", "about", "meta")
    file.write_bytes(zipped({f"{name}.npy": objects(canary) for name in names}))
    if reader == "recording":
        with pytest.raises(SimrunError, match="cannot be read"):
            EpisodeRecording.read(file)
    elif reader == "boundary":
        assert "Object arrays cannot be loaded" in str(verify_recording(file).failure)
    else:
        file.write_bytes(zipped({"archive/data.pkl": pickle.dumps(Payload(canary))}))
        with pytest.raises(SimrunError, match=r"posix\.mkdir is not admitted"):
            read_initial_states(file)


def test_a_rollout_executes_nothing(tmp_path: Path, canary: Path) -> None:
    pyarrow = pytest.importorskip("pyarrow")
    import pyarrow.parquet as parquet

    from simrun.rollouts import reader

    named = {b"ARROW:extension:name": b"arrow.py_extension_type"}
    marked = {**named, b"ARROW:extension:metadata": pickle.dumps(Payload(canary))}
    field = pyarrow.field("action", pyarrow.int64(), metadata=marked)
    parquet.write_table(pyarrow.table([pyarrow.array([1])], pyarrow.schema([field])), tmp_path / "a.parquet")
    assert reader._read(tmp_path / "a.parquet")["action"].to_pylist() == [1]


def test_a_small_rollout_fills_no_memory(tmp_path: Path) -> None:
    """Equal numbers take eight bytes each in memory, and next to nothing in a file."""
    pyarrow = pytest.importorskip("pyarrow")
    import pyarrow.parquet as parquet

    from simrun.rollouts import reader

    zeros = pyarrow.array(np.zeros(1_000_000, np.int64))
    with parquet.ParquetWriter(tmp_path / "a.parquet", pyarrow.schema([("action", pyarrow.int64())])) as writer:
        for _ in range(21):
            writer.write_table(pyarrow.table([zeros], ["action"]))
    assert (tmp_path / "a.parquet").stat().st_size < 100_000
    with pytest.raises(SimrunError, match="holds 21000000 values"):
        reader._read(tmp_path / "a.parquet")


@pytest.mark.parametrize("form", ["playlist", "concatenation", "pipe"])
def test_a_film_makes_nobody_read_other_files(tmp_path: Path, form: str) -> None:
    pytest.importorskip("imageio_ffmpeg")
    from simrun.rollouts.encoding import EXACT, VideoFile, read_frames

    other, film = tmp_path / "other.mp4", tmp_path / "film.mp4"
    video = VideoFile(other, 10, EXACT)
    video.add(np.full((32, 32, 3), 77, np.uint8))
    video.finish()
    if form == "playlist":
        film.write_text(f"#EXTM3U\n#EXT-X-TARGETDURATION:1\n#EXTINF:1,\n{other}\n#EXT-X-ENDLIST\n")
    elif form == "concatenation":
        film.write_text(f"ffconcat version 1.0\nfile {other}\n")
    else:
        os.mkfifo(film)
    with pytest.raises(SimrunError, match="cannot be read"):
        list(read_frames(film, 32, 32))


UNPACKERS = {
    "openpi": codecs.unpack_openpi,
    "vlaeval": codecs.unpack_vlaeval,
    "xpolicylab": codecs.unpack_xpolicylab,
    "groot": codecs.unpack_groot,
}


def _hostile_messages(canary: Path) -> dict[str, bytes]:
    pickled = pickle.dumps(Payload(canary))
    held = {"openpi": {b"__ndarray__": True, b"data": pickled, b"dtype": "|O", b"shape": [1]}}
    held["vlaeval"] = {"__ndarray__": True, "data": pickled, "dtype": "|O", "shape": [1]}  # type: ignore[dict-item]
    held["xpolicylab"] = {b"nd": True, b"type": "|O", b"kind": b"O", b"shape": [1], b"data": pickled}
    held["groot"] = {"__ndarray_class__": True, "as_npy": objects(canary)}  # type: ignore[dict-item]
    messages = {name: msgpack.packb({"actions": value, "payload": {"actions": value}}) for name, value in held.items()}
    return {**messages, "pickle": pickled, "extension": msgpack.packb(msgpack.ExtType(78, pickled))}


@pytest.mark.parametrize("message", ["openpi", "vlaeval", "xpolicylab", "groot", "pickle"])
def test_no_codec_builds_python_objects(canary: Path, message: str) -> None:
    data = _hostile_messages(canary)[message]
    for name, unpack in UNPACKERS.items():
        if message in (name, "pickle"):
            with pytest.raises(ServerError):
                unpack(data)
        else:
            unpack(data)


def test_no_worker_builds_python_objects(canary: Path) -> None:
    for data in _hostile_messages(canary).values():
        with suppress(SimrunError):
            FrameReader().feed(struct.pack("<I", len(data)) + data)


@pytest.mark.parametrize("moment", ["greeting", "answer"])
@pytest.mark.parametrize("message", ["openpi", "vlaeval", "xpolicylab", "pickle", "extension"])
@pytest.mark.parametrize("scheme", ["openpi", "vlaeval", "starvla"])
def test_a_server_makes_no_client_execute_anything(canary: Path, scheme: str, message: str, moment: str) -> None:
    from websockets.sync.server import serve

    data = _hostile_messages(canary)[message]

    def answer(socket: Any) -> None:
        if moment == "greeting":
            socket.send(data)
        else:
            socket.send(msgpack.packb({"action_chunk_size": 4, "available_unnorm_keys": ["any"], "type": "hello"}))
        for _ in socket:
            socket.send(data)

    options = {"timeout": 3, "first_timeout": 3}
    if scheme == "starvla":
        options |= {"statistics_key": "any", "convention": "identity"}  # type: ignore[dict-item]
    with serve(answer, "127.0.0.1", 0, compression=None) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        place = "{}:{}".format(*server.socket.getsockname()[:2])
        with pytest.raises(SimrunError) as refused:
            load_policy(f"{scheme}://{place}", get_benchmark("tabletop"), options=options)
    assert "\n" not in str(refused.value)
    assert len(str(refused.value)) < 2000


@pytest.mark.parametrize("dialect", ["openpi", "vlaeval"])
def test_a_client_makes_no_server_execute_anything(canary: Path, dialect: str) -> None:
    from websockets.exceptions import WebSocketException
    from websockets.sync import client

    from simrun.policies.dialects.serving import PolicyServer, ServerSettings

    tabletop = get_benchmark("tabletop")
    policy = load_policy("scripted:zero", tabletop)
    with PolicyServer(policy, tabletop, ServerSettings(dialect=dialect, port=0)) as server:
        for data in _hostile_messages(canary).values():
            with (
                suppress(WebSocketException, OSError),
                client.connect(server.url, compression=None, proxy=None) as socket,
            ):
                socket.send(data)
                for _ in range(3):
                    socket.recv(timeout=1)
