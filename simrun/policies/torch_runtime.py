"""What every loader of a torch network needs: the device, the number type, safe reading of weights."""

from __future__ import annotations

import pickle
import struct
import warnings
import zipfile
from pathlib import Path
from typing import Any

from simrun.envs.machine.regular_files import open_regular
from simrun.errors import CheckpointError, DependencyError
from simrun.policies.checkpoints import check_exists
from simrun.policies.foreign import cause_of, require_module
from simrun.policies.loaders.loader import LoadRequest
from simrun.policies.options import NetworkOptions, TorchOptions


def require_torch(purpose: str) -> Any:
    """Import torch.

    Raises:
        DependencyError: it is not installed.
    """
    return require_module("torch", "torch", purpose)


def choose_device(torch: Any, options: NetworkOptions) -> str:
    """The device to compute on: the one asked for, else a GPU if there is one.

    Raises:
        DependencyError: a GPU was asked for and there is none.
    """
    if options.device == "auto":
        return "cuda:0" if torch.cuda.is_available() else "cpu"
    if options.device.startswith("cuda"):
        index = int(options.device.partition(":")[2] or 0)
        if not torch.cuda.is_available() or index >= torch.cuda.device_count():
            raise DependencyError(f"device {options.device} was asked for, but torch sees no such GPU")
        return f"cuda:{index}"
    return options.device


def choose_dtype(torch: Any, options: TorchOptions, default: Any) -> Any:
    """The number type of the weights: the one asked for, else the checkpoint's own."""
    return default if options.dtype is None else getattr(torch, options.dtype)


def maybe_compile(torch: Any, network: Any, options: TorchOptions) -> Any:
    """The network, compiled where the user asked for it."""
    return torch.compile(network) if options.compile else network


def read_weights(request: LoadRequest[Any], file: Path) -> Any:
    """Read a file of tensors: safetensors, or what ``torch.save`` wrote.

    Files of ``torch.save`` are pickles. They are read with ``weights_only``, which builds tensors and plain
    containers and nothing else; one that holds more is refused unless the user trusts it.

    Raises:
        CheckpointError: the file is missing, truncated, or holds Python objects and is not trusted.
        DependencyError: torch or safetensors is not installed.
    """
    path = check_exists(str(file))
    torch = require_torch(f"the checkpoint {path.name}")
    if path.suffix == ".safetensors":
        safetensors = require_module("safetensors.torch", "torch", f"the checkpoint {path.name}")
        try:
            return safetensors.load_file(str(path))
        except Exception as error:  # safetensors' own error has no base but Exception
            raise CheckpointError(f"{path} cannot be read as safetensors: {error}") from None
    try:
        with warnings.catch_warnings():
            # A file of another pickle protocol is refused below, or read all the same.
            warnings.simplefilter("ignore", UserWarning)
            return torch.load(path, map_location="cpu", weights_only=True)
    except pickle.UnpicklingError as error:
        if not zipfile.is_zipfile(path) and not _looks_like_a_pickle(path):
            raise CheckpointError(f"{path} cannot be read: {cause_of(error)}") from None
        request.require_trust(f"the Python objects pickled in {path} ({_blocked(error)})")
    except Exception as error:  # of a damaged file its reader raises whatever comes
        raise CheckpointError(f"{path} cannot be read: {cause_of(error)}") from None
    try:
        return torch.load(path, map_location="cpu", weights_only=False)
    except Exception as error:  # the objects' own code may raise anything
        raise CheckpointError(f"{path} cannot be unpickled: {type(error).__name__}: {error}") from error


def check_loaded(torch: Any, network: Any, saved: dict[str, Any], file: Path) -> None:
    """Compare the tensors of a network with those of the file that a library says it was loaded from.

    Libraries skip what they do not know, and some swallow every error; names may change on the way, numbers must not.

    Args:
        torch: the module.
        network: the loaded network.
        saved: name -> tensor of the file.
        file: the file, for messages.

    Raises:
        CheckpointError: a tensor of the file did not arrive, or one of the network's comes from elsewhere.
    """
    own = {name: value.detach().cpu() for name, value in network.state_dict().items()}
    arrived: set[str] = set()
    lost = []
    for name, value in saved.items():
        direct = [candidate for candidate in (name, f"model.{name}") if candidate in own]
        others = [candidate for candidate, held in own.items() if held.shape == value.shape]
        found = next((one for one in (*direct, *others) if _same(torch, own[one], value)), None)
        if found is None:
            lost.append(name)
        else:
            arrived.add(found)
    memory = {own[name].data_ptr() for name in arrived}
    strange = [name for name in own if name not in arrived and own[name].data_ptr() not in memory]
    # A tied tensor is saved once.
    strange = [name for name in strange if not any(_same(torch, own[name], own[other]) for other in arrived)]
    if lost or strange:
        raise CheckpointError(
            f"{file} was not loaded whole: of its {len(saved)} tensors {len(lost)} did not arrive ({_some(lost)}), and "
            f"of the network's {len(own)} {len(strange)} come from elsewhere ({_some(strange)})"
        )


def _same(torch: Any, held: Any, saved: Any) -> bool:
    return held.shape == saved.shape and bool(torch.equal(held, saved.to(held.dtype)))


def _some(names: list[str]) -> str:
    more = f" and {len(names) - 3} more" if len(names) > 3 else ""
    return ", ".join(names[:3]) + more if names else "none"


def archive_entries(path: Path) -> list[str]:
    """Names inside a ZIP archive, without its first folder; empty when the file is none."""
    try:
        with open_regular(path) as file, zipfile.ZipFile(file) as archive:
            return [name.partition("/")[2] or name for name in archive.namelist()]
    except (OSError, ValueError, zipfile.BadZipFile, NotImplementedError, RuntimeError, struct.error):
        return []


def _looks_like_a_pickle(path: Path) -> bool:
    with path.open("rb") as stream:
        return stream.read(1) == b"\x80"


def _blocked(error: Exception) -> str:
    """What ``weights_only`` refused, in a few words."""
    lines = [line.strip() for line in str(error).splitlines()]
    named = next((line for line in lines if "Unsupported" in line or "GLOBAL" in line), "")
    return named[:200] or "they are more than tensors"
