"""``.pt2`` files of ``torch.export``, and TorchScript files."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from simrun.envs.machine.regular_files import parse_json
from simrun.errors import CheckpointError
from simrun.policies.checkpoints import check_exists
from simrun.policies.choosing import choose_convention
from simrun.policies.conventions import Convention
from simrun.policies.fitting import fit
from simrun.policies.foreign import cause_of
from simrun.policies.loaders.loader import Evidence, Loader, LoadRequest
from simrun.policies.networks import OUTPUT, Arrays, Network, NetworkPolicy, TensorSpec, own_convention
from simrun.policies.options import NetworkOptions
from simrun.policies.policy import Policy
from simrun.policies.torch_runtime import archive_entries, choose_device, require_torch

METADATA_FILE = "simrun.json"
"""Extra file inside an archive: a JSON object with `simrun.policies.networks.METADATA_KEYS`."""

_ROLES = {"image": ("uint8", 4), "proprio": ("float32", 2), "instruction": ("int64", 2), "noise": ("float32", 2)}


@dataclass(frozen=True)
class ProgramOptions(NetworkOptions):
    """Options of exported programs, which keep the number type that they were exported in.

    Attributes:
        compile: compile the program with ``torch.compile``.
    """

    compile: bool = False


class TorchExportLoader(Loader[ProgramOptions]):
    """Loads programs of ``torch.export``; needs the user's trust, because torch reads them with pickle."""

    kind = "torch.export"
    looks_for = "a file *.pt2"
    evidence = Evidence.FORM
    options = ProgramOptions

    def recognise(self, checkpoint: str) -> str | None:
        path = Path(checkpoint)
        if path.suffix == ".pt2" and path.is_file():
            return "its name ends in .pt2"
        return None

    def own_convention(self, checkpoint: str) -> Convention:
        # What the file says of transforms can be read only by those who trust it.
        return Convention(Path(checkpoint).stem)

    def load(self, request: LoadRequest[ProgramOptions]) -> Policy:
        """Make the policy.

        Raises:
            CheckpointError: not trusted, unreadable, or unfit for the benchmark.
            DependencyError: torch is missing.
        """
        path = check_exists(request.checkpoint)
        request.require_trust(f"what torch.export's own format may hold: pickled Python objects in {path}")
        torch = require_torch(f"the checkpoint {path.name}")
        extra = {METADATA_FILE: ""}
        try:
            program = torch.export.load(path, extra_files=extra)
        except Exception as error:  # torch raises many kinds for files that are torn or of other versions
            raise CheckpointError(f"{path} cannot be opened as a torch.export program: {cause_of(error)}") from None
        device = choose_device(torch, request.options)
        inputs, positional = _program_inputs(torch, program)
        output = _program_output(torch, program)
        module = program.module().to(device)
        if request.options.compile:
            module = torch.compile(module)

        def call(tensors: dict[str, Any]) -> Any:
            values = list(tensors.values())
            return module(*values[:positional], **dict(list(tensors.items())[positional:]))

        network = Network(path.stem, device, inputs, output, _metadata(extra, path), _runner(torch, call, device, path))
        return _policy(network, request)


class TorchScriptLoader(Loader[NetworkOptions]):
    """Loads TorchScript modules; needs the user's trust, because such a program can read and write files.

    A script tells neither types nor shapes: images are given as uint8, and ``simrun.chunk_length`` must be in the
    extra file ``simrun.json``.
    """

    kind = "torchscript"
    looks_for = "a TorchScript archive (*.pt, *.ts with code/ and constants.pkl inside)"
    evidence = Evidence.CONTENT
    options = NetworkOptions

    def recognise(self, checkpoint: str) -> str | None:
        entries = archive_entries(Path(checkpoint))
        if "constants.pkl" in entries and any(name.startswith("code/") for name in entries):
            return "it is a ZIP archive with code/ and constants.pkl inside"
        return None

    def own_convention(self, checkpoint: str) -> Convention:
        # What the file says of transforms can be read only by those who trust it.
        return Convention(Path(checkpoint).stem)

    def load(self, request: LoadRequest[NetworkOptions]) -> Policy:
        """Make the policy.

        Raises:
            CheckpointError: not trusted, unreadable, or unfit for the benchmark.
            DependencyError: torch is missing.
        """
        path = check_exists(request.checkpoint)
        request.require_trust(f"the TorchScript program in {path}, which can read and write files")
        torch = require_torch(f"the checkpoint {path.name}")
        device = choose_device(torch, request.options)
        extra = {METADATA_FILE: ""}
        try:
            module = torch.jit.load(str(path), map_location=device, _extra_files=extra).eval()
        except Exception as error:  # as above
            raise CheckpointError(f"{path} cannot be opened as TorchScript: {cause_of(error)}") from None
        names = [argument.name for argument in module.forward.schema.arguments[1:]]
        inputs = tuple(_scripted_input(name) for name in names)
        run = _runner(torch, lambda tensors: module(*(tensors[name] for name in names)), device, path)
        output = TensorSpec(OUTPUT, "float32", (None, None, None))
        return _policy(Network(path.stem, device, inputs, output, _metadata(extra, path), run), request)


def _policy(network: Network, request: LoadRequest[Any]) -> Policy:
    policy = NetworkPolicy(network, request.benchmark, request.options.batch_size)
    convention = choose_convention(request.checkpoint, request.options, request.benchmark, own=own_convention(network))
    return fit(policy, request, convention)


def _runner(
    torch: Any, call: Callable[[dict[str, Any]], Any], device: str, path: Path
) -> Callable[[Arrays], npt.NDArray[np.floating]]:
    def run(inputs: Arrays) -> npt.NDArray[np.floating]:
        tensors = {name: torch.from_numpy(np.ascontiguousarray(array)).to(device) for name, array in inputs.items()}
        try:
            with torch.inference_mode():
                answer = call(tensors)
        except Exception as error:  # a network may fail in any way
            raise CheckpointError(f"the network {path.name} failed: {cause_of(error)}") from error
        actions = answer[OUTPUT] if isinstance(answer, dict) else answer[0] if isinstance(answer, tuple) else answer
        result: npt.NDArray[np.floating] = actions.float().cpu().numpy()
        return result

    return run


def _metadata(extra: dict[str, Any], path: Path) -> dict[str, str]:
    text = extra[METADATA_FILE]
    if not text:
        return {}
    try:
        document = parse_json(text)
    except ValueError as error:
        raise CheckpointError(f"{METADATA_FILE} in {path} {error}") from None
    if not isinstance(document, dict) or not all(isinstance(value, str) for value in document.values()):
        raise CheckpointError(f"{METADATA_FILE} in {path} must be a JSON object of texts")
    return document


def _program_inputs(torch: Any, program: Any) -> tuple[tuple[TensorSpec, ...], int]:
    """Inputs of a program in the order of its call, and how many of them are positional."""
    names = set(program.graph_signature.user_inputs)
    nodes = [node for node in program.graph.nodes if node.op == "placeholder" and node.name in names]
    positional = program.call_spec.in_spec.child(0).num_children
    return tuple(_tensor_spec(torch, node.name, node.meta["val"]) for node in nodes), positional


def _program_output(torch: Any, program: Any) -> TensorSpec:
    (output,) = (node for node in program.graph.nodes if node.op == "output")
    return _tensor_spec(torch, OUTPUT, output.args[0][0].meta["val"])


def _tensor_spec(torch: Any, name: str, value: Any) -> TensorSpec:
    shape = tuple(size if isinstance(size, int) else None for size in value.shape)
    return TensorSpec(name, str(value.dtype).removeprefix("torch."), shape)


def _scripted_input(name: str) -> TensorSpec:
    spec = TensorSpec(name, "", ())
    dtype, rank = _ROLES.get(spec.role, ("", 0))
    return TensorSpec(name, dtype, (None,) * rank)
