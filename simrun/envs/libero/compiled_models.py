"""Compiled models kept as files: MuJoCo's compiler takes more than half of a worker's start, reading one a tenth of it.

A file's name says all that the compiler's result follows from: the XML text, the content of every file that it names,
MuJoCo's release, and the processor and C library that computed it. It ends with a checksum of the file itself, so that
a damaged one is compiled anew. The files are MuJoCo's own format, and what is read is equal to the last bit.
"""

from __future__ import annotations

import ctypes
import hashlib
import mmap
import os
import platform
import tempfile
import time
import zlib
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from functools import cache
from itertools import pairwise
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import mujoco
import numpy as np
import numpy.typing as npt

from simrun.envs.machine.folders import cache_folder
from simrun.envs.machine.numerics import describe_processor

FOLDER = "mujoco"
"""Folder of the models below simrun's cache folder."""

MOST_BYTES = 4 * 1024**3
"""What the folder holds at most."""

_IN_USE = 24 * 3600.0
"""Seconds for which a model that was used makes room for no other: a suite too large for the folder keeps a part."""

_ABANDONED = 3600.0
_PART = ".part"


@contextmanager
def models_from_files() -> Iterator[None]:
    """In this block robosuite takes models that were compiled before from their files."""
    from robosuite.utils.binding_utils import MjSim

    compiling = MjSim.__dict__["from_xml_string"]
    MjSim.from_xml_string = classmethod(lambda cls, xml: cls(compiled_model(xml)))
    try:
        yield
    finally:
        MjSim.from_xml_string = compiling


def compiled_model(xml: str) -> mujoco.MjModel:
    """The model that an XML text describes: from its file where there is one, else compiled and kept.

    Raises:
        ValueError: it cannot be compiled; a file that it names is missing or unreadable.
    """
    try:
        key, folder = model_key(xml), cache_folder() / FOLDER
        folder.mkdir(exist_ok=True)
        model = _read(folder, key)
    except (OSError, ValueError):
        # The compiler says what is wrong with a file; a machine without a place for models compiles each time.
        key, model = "", None
    if model is None:
        _keep_no_assets()
        model = mujoco.MjModel.from_xml_string(xml)
        if key:
            with suppress(OSError):
                _write(model, folder, key)
        _release_compiler()
    return model


def model_key(xml: str) -> str:
    """Digest of all that a compiled model follows from.

    Raises:
        OSError: a file that the text names cannot be read.
        ValueError: the text is no XML, or where a file lies follows from more than its name.
    """
    digest = hashlib.sha256(repr((mujoco.__version__, _computer(), xml)).encode())
    try:
        elements = list(ElementTree.fromstring(xml).iter())
    except ElementTree.ParseError as error:
        raise ValueError(str(error)) from None
    names = {value for element in elements for name, value in element.items() if name.startswith("file")}
    for path in sorted(map(Path, names)):
        if not path.is_absolute():
            raise ValueError(f"{path} is relative")
        digest.update(hashlib.sha256(path.read_bytes()).digest())
    return digest.hexdigest()[:32]


def release_texture(model: mujoco.MjModel, texture: int) -> None:
    """Give back the memory of a texture that OpenGL has copied; in the model it is black then."""
    begin, pixels = model.tex_adr[texture], model.tex_height[texture] * model.tex_width[texture]
    _give_back(model.tex_data[begin : begin + pixels * model.tex_nchannel[texture]])


def release_textures(model: mujoco.MjModel) -> None:
    """Give back the memory of all textures, those that nothing wears too, and what freeing left in pieces."""
    _give_back(model.tex_data)
    _trim_heap()


def release_surfaces(model: mujoco.MjModel) -> None:
    """Give back the memory of surfaces that OpenGL has copied and of bounding boxes; meshes that collide stay.

    MuJoCo looks at it for rays and signed distances only, which no task has. In the model it is zero then.
    """
    first = min(model.mesh_bvhadr[model.mesh_bvhnum > 0], default=model.nbvh)
    boxes = slice(first, first + model.mesh_bvhnum.sum())
    _give_back(model.mesh_normal, model.mesh_texcoord, model.mesh_facenormal, model.mesh_facetexcoord)
    _give_back(model.bvh_aabb[boxes], model.bvh_child[boxes], model.bvh_nodeid[boxes], model.bvh_depth[boxes])
    for begin, end in pairwise([-1, *_colliding_meshes(model), model.nmesh]):
        corners, faces, sides = (
            slice(*np.append(addresses, total)[[begin + 1, end]])
            for addresses, total in (
                (model.mesh_vertadr, model.nmeshvert),
                (model.mesh_faceadr, model.nmeshface),
                (model.mesh_polyadr, model.nmeshpoly),
            )
        )
        _give_back(model.mesh_vert[corners], model.mesh_polymapadr[corners], model.mesh_polymapnum[corners])
        _give_back(model.mesh_face[faces], model.mesh_polynormal[sides])


def _colliding_meshes(model: mujoco.MjModel) -> npt.NDArray[np.int32]:
    """The meshes whose corners decide contacts, in order."""
    collides = (model.geom_contype != 0) | (model.geom_conaffinity != 0)
    collides[np.concatenate((model.pair_geom1, model.pair_geom2))] = True
    collides &= model.geom_type == mujoco.mjtGeom.mjGEOM_MESH
    meshes: npt.NDArray[np.int32] = np.unique(model.geom_dataid[collides])
    return meshes


def _give_back(*arrays: npt.NDArray[Any]) -> None:
    page = mmap.PAGESIZE
    release = ctypes.CDLL(None).madvise
    release.argtypes = [ctypes.c_void_p, ctypes.c_size_t, ctypes.c_int]
    for array in arrays:
        begin = -(-array.ctypes.data // page) * page
        length = (array.ctypes.data + array.nbytes - begin) // page * page
        if length > 0:
            release(begin, length, mmap.MADV_DONTNEED)


def _read(folder: Path, key: str) -> mujoco.MjModel | None:
    for path in folder.glob(f"{key}.*.mjb"):
        if path.suffixes[-2] == _checksum(path):
            # When it was last used decides what makes room for others.
            os.utime(path)
            return mujoco.MjModel.from_binary_path(str(path))
        path.unlink(missing_ok=True)
    return None


def _write(model: mujoco.MjModel, folder: Path, key: str) -> None:
    size = mujoco.mj_sizeModel(model)
    if not _make_room(folder, size):
        return
    descriptor, name = tempfile.mkstemp(suffix=_PART, dir=folder)
    os.close(descriptor)
    part = Path(name)
    try:
        mujoco.mj_saveModel(model, name, None)
        # MuJoCo does not say when the disk is full.
        if part.stat().st_size == size:
            part.replace(folder / f"{key}{_checksum(part)}.mjb")
    finally:
        part.unlink(missing_ok=True)


def _make_room(folder: Path, size: int) -> bool:
    """Whether there is room for so many bytes, when models that nobody has used of late have gone."""
    now, kept = time.time(), []
    for path in folder.iterdir():
        status = path.stat()
        if path.suffix == _PART and now - status.st_mtime > _ABANDONED:
            path.unlink(missing_ok=True)
        elif path.suffix == ".mjb":
            kept.append((status.st_mtime, status.st_size, path))
    free = MOST_BYTES - sum(bytes_ for _, bytes_, _ in kept)
    for used, bytes_, path in sorted(kept):
        if free >= size or now - used < _IN_USE:
            break
        path.unlink(missing_ok=True)
        free += bytes_
    return free >= size


def _checksum(path: Path) -> str:
    """``.1a2b3c4d``: a checksum of a file's bytes, as the last but one suffix of its name."""
    with path.open("rb") as file, mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as content:
        return f".{zlib.crc32(content):08x}"


@cache
def _computer() -> list[str]:
    """What the last bits of the compiler's sums may follow from: the processor's instructions and the C library."""
    return [platform.machine(), *platform.libc_ver(), *map(str, describe_processor().items())]


@cache
def _keep_no_assets() -> None:
    """Let MuJoCo's compiler cache none of the assets that it reads, before it has read any.

    A cache that already holds some must not be emptied: its size is then counted wrongly, and emptying it never ends.
    """
    library = Path(mujoco.__file__).with_name(f"libmujoco.so.{mujoco.__version__}")
    if library.exists():
        compiler = ctypes.CDLL(str(library))
        compiler.mj_globalCache.restype = ctypes.c_void_p
        compiler.mj_setCacheSize.argtypes = [ctypes.c_void_p, ctypes.c_size_t]
        compiler.mj_setCacheSize(compiler.mj_globalCache(), 0)


def _release_compiler() -> None:
    """Give back what MuJoCo's compiler keeps when it is through: the last XML, with every texture and mesh it named."""
    mujoco.MjModel.from_xml_string("<mujoco/>")
    _trim_heap()


def _trim_heap() -> None:
    trim = getattr(ctypes.CDLL(None), "malloc_trim", None)
    if trim is not None:
        trim(0)
