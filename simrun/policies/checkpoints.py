"""Checkpoints as names: globs become sorted lists, and every checkpoint has a hash for the fingerprint."""

from __future__ import annotations

import glob
import hashlib
import os
import re
from collections.abc import Collection, Iterable, Sequence
from fnmatch import fnmatchcase
from importlib import util
from pathlib import Path

from simrun import doors
from simrun.envs.machine.folders import real_path
from simrun.envs.machine.regular_files import files_below, open_regular
from simrun.errors import CheckpointError, UnknownNameError
from simrun.policies.hub import SCHEME, HubName, folder_of, pinned

SIDECAR = "simrun.toml"
"""A file of this name beside or inside a checkpoint says how it is to be used."""

LARGEST_CHECKPOINT = 1 << 40
"""Bytes beyond which a file is no checkpoint: it has no end, or is mostly a hole."""

_WEBSOCKET = ("ws", "wss")
_MAGIC = re.compile(r"[*?\[]")
_URL = re.compile(r"(?P<scheme>[a-z][a-z0-9+.-]*)://.+")
_NAMED = re.compile(r"(?:scripted|replay):.*")
_BESIDE = (
    *("README*", "LICENSE*", "NOTICE*", ".*", "*.md", "*.log", "*.png", "*.jpg", "*.gif", "*.mp4", "*.csv", "*.yaml"),
    *("*.yml", "*.txt", "events.out.tfevents.*", "wandb", "logs", "assets", "__pycache__"),
)
"""Files beside a checkpoint that are no part of it."""
_COMPANIONS = (".json", ".toml", ".yaml", ".yml", ".txt", ".md", ".log", ".csv", ".png", ".mp4")


def is_url(checkpoint: str) -> bool:
    """Whether a checkpoint names a policy server.

    Raises:
        UnknownNameError: it is an address of a dialect that nobody offers.
    """
    match = _URL.fullmatch(checkpoint)
    if match is None or checkpoint.startswith(SCHEME):
        return False
    known = [*_WEBSOCKET, *doors.offers(doors.DIALECTS)]
    if match["scheme"] not in known:
        raise UnknownNameError("scheme of a policy server", match["scheme"], known)
    return True


def factory_parts(checkpoint: str) -> tuple[str, str] | None:
    """Module (dotted name or ``.py`` file) and attribute of ``module:factory``; None when it is no such name."""
    if is_url(checkpoint) or _NAMED.fullmatch(checkpoint) or os.path.exists(checkpoint):
        return None
    module, _, attribute = checkpoint.rpartition(":")
    return (module, attribute) if doors.is_target(checkpoint) else None


def expand_checkpoints(patterns: Iterable[str]) -> list[str]:
    """Turn what the user named into single checkpoints.

    Args:
        patterns: paths, globs (``runs/*/epoch_*.onnx``; ``**`` crosses folders), URLs, names on the hub, ``scripted:``,
            ``replay:`` and ``module:factory`` names.

    Returns:
        Checkpoints in the order of the patterns, each glob in natural order (``epoch_2`` before ``epoch_10``),
        without repetitions. A glob leaves out files that only accompany checkpoints (JSON, TOML, text). A name on the
        hub gets its commit, and is on this machine afterwards.

    Raises:
        CheckpointError: no pattern was given, nothing matches, or a checkpoint is missing or empty.
    """
    found: dict[str, None] = {}
    given = list(patterns)
    if not given:
        raise CheckpointError("no checkpoint was named; pass one with --ckpt, for instance --ckpt scripted:zero")
    for pattern in given:
        if not pattern.strip():
            raise CheckpointError("a checkpoint name is empty; pass a path, a glob, a URL or scripted:zero")
        if (name := HubName.parse(pattern)) is not None:
            found[str(pinned(name))] = None
            continue
        path = _local_path(pattern)
        if path is None:
            found[pattern] = None
        elif path.exists() or not _MAGIC.search(pattern):
            check_exists(str(path))
            found[pattern] = None
        else:
            found.update(dict.fromkeys(_matches(pattern)))
    return list(found)


def located(checkpoint: str) -> str:
    """Where a checkpoint lies: the path of one on the hub, which is fetched if need be; others are what they are.

    Raises:
        SimrunError: it cannot be had; see `simrun.policies.hub.pinned`.
    """
    name = HubName.parse(checkpoint)
    return checkpoint if name is None else str(folder_of(name))


def check_exists(checkpoint: str) -> Path:
    """The path of a checkpoint that must be there and must hold something.

    Raises:
        CheckpointError: it is missing or empty.
    """
    path = Path(checkpoint).expanduser()
    if not path.exists():
        parent = path.parent
        siblings = sorted((entry.name for entry in parent.iterdir()), key=natural_key) if parent.is_dir() else []
        near = f"; {parent} holds {', '.join(siblings[:8])}" if siblings else ""
        # A checkout beside the user may be named like an organisation.
        name = HubName.bare(checkpoint)
        hub = f"; the repository of that name on the hub is {name}" if name is not None else ""
        raise CheckpointError(f"there is no checkpoint {checkpoint}{near}{hub}")
    if path.is_dir():
        if not any(path.iterdir()):
            raise CheckpointError(f"the checkpoint folder {checkpoint} is empty")
    elif not path.is_file():
        raise CheckpointError(f"the checkpoint {checkpoint} is neither a regular file nor a folder")
    elif path.stat().st_size == 0:
        raise CheckpointError(f"the checkpoint file {checkpoint} is empty (0 bytes); was it still being written?")
    return path


def check_inventory(folder: Path, used: Collection[str], kind: str) -> None:
    """Check that every file of a checkpoint folder is used, or is known to be no part of it.

    Args:
        folder: the folder.
        used: names, or patterns of names, of what its loader reads.
        kind: what it is loaded as, for the message.

    Raises:
        CheckpointError: a file has no known use; who passes over it may pass over half of a policy.
    """
    known = (*used, *_BESIDE, SIDECAR)
    names = sorted(entry.name for entry in folder.iterdir())
    if blocked := [name for name in names if not (folder / name).is_file() and not (folder / name).is_dir()]:
        raise CheckpointError(f"{folder} holds {blocked[0]}, which is neither a regular file nor a folder")
    strange = [name for name in names if not any(fnmatchcase(name, pattern) for pattern in known)]
    if strange:
        raise CheckpointError(
            f"{folder} holds {', '.join(strange[:5])}, which a loader of {kind} has no use for; a policy that "
            "is loaded without a part of it acts wrongly in silence: move away what is no part of it"
        )


def checkpoint_hash(checkpoint: str) -> str:
    """SHA-256 that names what a checkpoint is, hexadecimal.

    A file is hashed with its sidecar and a folder with all its files; ``module:factory`` by the source of the
    module; ``scripted:`` names and URLs by their text, because nothing more can be known of a server.

    Raises:
        CheckpointError: the checkpoint is missing or empty.
    """
    path = _local_path(located(checkpoint))
    if path is None:
        parts = factory_parts(checkpoint)
        source = None if parts is None else module_source(parts[0])
        digest = hashlib.sha256(os.fsencode(checkpoint))
        if source is not None:
            digest.update(_file_digest(source))
        return digest.hexdigest()
    path = check_exists(str(path))
    if path.is_dir():
        try:
            files = files_below(path)
        except ValueError as error:
            raise CheckpointError(f"{path} {error}") from None
        names = [file.relative_to(path).as_posix() for file in files]
    else:
        files = [path, *(entry for entry in (path.with_name(SIDECAR),) if os.path.lexists(entry))]
        names = ["checkpoint", SIDECAR][: len(files)]
    digest = hashlib.sha256()
    for name, file in zip(names, files, strict=True):
        digest.update(os.fsencode(name) + b"\0" + _file_digest(file))
    return digest.hexdigest()


def with_files(identity: str, files: Sequence[Path]) -> str:
    """The identity of a policy together with the contents of files beside its checkpoint; itself without any.

    Raises:
        CheckpointError: a file cannot be read.
    """
    if not files:
        return identity
    return hashlib.sha256(b"".join([os.fsencode(identity), *map(_file_digest, files)])).hexdigest()


def module_source(module: str) -> Path | None:
    """The file that ``module`` would execute, found without executing anything; None when it cannot be found."""
    if module.endswith(".py"):
        file = Path(module).expanduser()
        return file if file.exists() else None
    top, *rest = module.split(".")
    local = Path(*module.split("."))
    for candidate in (local.with_suffix(".py"), local / "__init__.py"):
        if candidate.exists():
            return candidate
    spec = util.find_spec(top)
    if spec is None:
        return None
    if not rest:
        return Path(spec.origin) if spec.origin and Path(spec.origin).exists() else None
    for root in spec.submodule_search_locations or ():
        base = Path(root).joinpath(*rest)
        for candidate in (base.with_suffix(".py"), base / "__init__.py"):
            if candidate.exists():
                return candidate
    return None


def natural_key(name: str) -> list[tuple[int, int, str]]:
    """Sort key that orders the numbers in a name by value."""
    return [(0, int(part), "") if part.isdecimal() else (1, 0, part) for part in re.split(r"(\d+)", name) if part]


def _local_path(checkpoint: str) -> Path | None:
    """The path that a checkpoint names; None for names that are no path of their own."""
    if checkpoint.startswith("replay:"):
        return Path(checkpoint.removeprefix("replay:")).expanduser()
    if is_url(checkpoint) or _NAMED.fullmatch(checkpoint) or factory_parts(checkpoint) is not None:
        return None
    return Path(checkpoint).expanduser()


def _matches(pattern: str) -> list[str]:
    prefix = "replay:" if pattern.startswith("replay:") else ""
    names = glob.glob(str(Path(pattern.removeprefix(prefix)).expanduser()), recursive=True)
    wanted = [name for name in names if not name.endswith(_COMPANIONS)]
    if not wanted:
        also = f" (only {', '.join(sorted(names)[:3])}, which are no checkpoints)" if names else ""
        raise CheckpointError(f"no checkpoint matches {pattern}{also}")
    ordered = sorted(_without_links(wanted), key=natural_key)
    for name in ordered:
        check_exists(name)
    return [prefix + name for name in ordered]


def _without_links(names: list[str]) -> list[str]:
    """Leave out links to what is matched itself: ``checkpoints/last`` beside the folder that it points to."""
    real = {real_path(Path(name)) for name in names if not Path(name).is_symlink()}
    return [name for name in names if not Path(name).is_symlink() or real_path(Path(name)) not in real]


def _file_digest(file: Path) -> bytes:
    digest = hashlib.sha256()
    try:
        with open_regular(file) as stream:
            if (size := os.fstat(stream.fileno()).st_size) > LARGEST_CHECKPOINT:
                raise ValueError(f"has {size} bytes, which no checkpoint has")
            while block := stream.read(1 << 22):
                if (size := size - len(block)) < 0:
                    raise ValueError("grows while it is read; is it being written?")
                digest.update(block)
    except OSError as error:
        raise CheckpointError(f"{file} cannot be read: {error.strerror}") from None
    except ValueError as error:
        raise CheckpointError(f"{file} {error}") from None
    return digest.digest()
