"""msgpack with numpy arrays, in the codecs that policy servers speak; no pickle.

- openpi and starVLA: maps with *bytes* keys ``__ndarray__``, ``data``, ``dtype``, ``shape`` and ``__npgeneric__``;
- vla-eval: maps with *text* keys; images may come as PNG or JPEG under ``__image__``;
- XPolicyLab: the package msgpack-numpy's maps with *bytes* keys ``nd``, ``type``, ``kind``, ``shape``, ``data``;
- GR00T: maps with *text* keys ``__ndarray_class__`` and ``as_npy``, a file of ``numpy.save``.

Unlike the originals, decoding checks that an array's bytes match its shape, and that its type holds numbers.
"""

from __future__ import annotations

import io
import math
import tokenize
from collections.abc import Callable
from typing import Any

import msgpack
import numpy as np
import numpy.typing as npt

from simrun.envs.machine.regular_files import parse_json
from simrun.errors import DependencyError, ServerError

_NUMBERS = "biuf"

_MOST_DIMENSIONS = 32
_MOST_PRINTED = 200_000
"""numpy abridges each axis to six numbers and a mark: an array of many axes takes hours to print in a message."""
_LARGEST_SIZE = 2**31
_MOST_PIXELS = 2**26
_MOST_CONTAINERS = 1_000_000
_LONGEST_REASON = 300
_LONGEST_HEADER = 1024
_NPY_HEADERS = {(1, 0): np.lib.format.read_array_header_1_0, (2, 0): np.lib.format.read_array_header_2_0}
_DAMAGED = (
    *(ValueError, TypeError, LookupError, OverflowError, OSError, RecursionError, MemoryError),
    *(SyntaxError, tokenize.TokenError, msgpack.UnpackException),
)
"""What msgpack raises, and numpy of headers."""

_IMAGE_FORMATS = ("PNG", "JPEG")
"""What Pillow may read: other formats would start programs of their own, as Ghostscript."""


def pack_openpi(message: Any) -> bytes:
    """Encode a message as openpi and starVLA do, byte by byte."""
    packed: bytes = msgpack.packb(message, default=_encode_openpi)
    return packed


def pack_vlaeval(message: Any) -> bytes:
    """Encode a message as vla-eval does with raw images, byte by byte."""
    packed: bytes = msgpack.packb(message, default=_encode_vlaeval, use_bin_type=True)
    return packed


def pack_xpolicylab(message: Any) -> bytes:
    """Encode a message as XPolicyLab does, byte by byte."""
    packed: bytes = msgpack.packb(message, default=_encode_xpolicylab, use_bin_type=True)
    return packed


def pack_groot(message: Any) -> bytes:
    """Encode a message as GR00T does, byte by byte but for the padding that versions of numpy put into a header."""
    packed: bytes = msgpack.packb(message, default=_encode_groot)
    return packed


def unpack_xpolicylab(data: bytes) -> Any:
    """Decode a message of XPolicyLab.

    Raises:
        ServerError: it is no such message.
    """
    return _unpack(data, _decode_xpolicylab)


def unpack_groot(data: bytes) -> Any:
    """Decode a message of GR00T.

    Raises:
        ServerError: it is no such message.
    """
    return _unpack(data, _decode_groot)


def unpack_openpi(data: bytes) -> Any:
    """Decode a message of openpi or starVLA.

    Raises:
        ServerError: it is no such message.
    """
    return _unpack(data, _decode_openpi)


def unpack_vlaeval(data: bytes) -> Any:
    """Decode a message of vla-eval; images that are compressed need Pillow.

    Raises:
        DependencyError: an image is compressed and Pillow is missing.
        ServerError: it is no such message.
    """
    return _unpack(data, _decode_vlaeval)


def _unpack(data: bytes, hook: Callable[[dict[Any, Any]], Any]) -> Any:
    left = _MOST_CONTAINERS

    def counted(value: Any) -> Any:
        # An empty list is one byte here, and seventy in memory.
        nonlocal left
        left -= 1
        if left < 0:
            raise ValueError(f"more than {_MOST_CONTAINERS} lists and maps")
        return value

    try:
        return msgpack.unpackb(
            data, object_hook=lambda value: hook(counted(value)), list_hook=counted, raw=False, strict_map_key=False
        )
    except _DAMAGED as error:
        reason = repr(error)[:_LONGEST_REASON]
        raise ServerError(f"a message of {len(data)} bytes cannot be decoded: {reason}") from None


def _encode_openpi(value: Any) -> Any:
    if isinstance(value, (np.ndarray, np.generic)) and value.dtype.kind in "VOc":
        raise TypeError(f"values of type {value.dtype} cannot be sent")
    if isinstance(value, np.ndarray):
        return {b"__ndarray__": True, b"data": value.tobytes(), b"dtype": value.dtype.str, b"shape": value.shape}
    if isinstance(value, np.generic):
        return {b"__npgeneric__": True, b"data": value.item(), b"dtype": value.dtype.str}
    raise TypeError(f"a {type(value).__name__} cannot be sent")


def _decode_openpi(value: dict[Any, Any]) -> Any:
    if b"__ndarray__" in value:
        return _array(value[b"data"], value[b"dtype"], value[b"shape"])
    if b"__npgeneric__" in value:
        return _number_type(value[b"dtype"]).type(value[b"data"])
    return value


def _encode_vlaeval(value: Any) -> Any:
    if isinstance(value, np.ndarray):
        if value.dtype.kind not in _NUMBERS:
            raise TypeError(f"arrays of type {value.dtype} cannot be sent")
        return {"__ndarray__": True, "data": value.tobytes(), "dtype": value.dtype.str, "shape": list(value.shape)}
    if isinstance(value, np.generic):
        return value.item()
    raise TypeError(f"a {type(value).__name__} cannot be sent")


def _decode_vlaeval(value: dict[Any, Any]) -> Any:
    if "__image__" in value:
        if value["format"] == "raw":
            return _array(value["data"], value["dtype"], value["shape"])
        return _compressed_image(value["data"], value["shape"])
    if "__ndarray__" in value:
        return _array(value["data"], value["dtype"], value["shape"])
    return value


def _encode_xpolicylab(value: Any) -> Any:
    if isinstance(value, (np.ndarray, np.generic)) and value.dtype.kind not in _NUMBERS:
        raise TypeError(f"values of type {value.dtype} cannot be sent")
    if isinstance(value, np.ndarray):
        form = {b"nd": True, b"type": value.dtype.str, b"kind": b"", b"shape": value.shape}
        return {**form, b"data": value.tobytes()}
    if isinstance(value, np.generic):
        return {b"nd": False, b"type": value.dtype.str, b"data": value.tobytes()}
    raise TypeError(f"a {type(value).__name__} cannot be sent")


def _decode_xpolicylab(value: dict[Any, Any]) -> Any:
    if b"nd" not in value:
        return value
    if value[b"nd"]:
        return _array(value[b"data"], value[b"type"], value[b"shape"])
    return _array(value[b"data"], value[b"type"], [])[()]


def _encode_groot(value: Any) -> Any:
    if not isinstance(value, np.ndarray) or value.dtype.kind not in _NUMBERS:
        raise TypeError(f"a {type(value).__name__} cannot be sent")
    file = io.BytesIO()
    np.save(file, value, allow_pickle=False)
    return {"__ndarray_class__": True, "as_npy": file.getvalue()}


def _decode_groot(value: dict[Any, Any]) -> Any:
    if "__ModalityConfig_class__" in value:
        # A text of JSON in N1.5, a map from N1.6 on.
        return parse_json(value["as_json"]) if isinstance(value["as_json"], str) else value["as_json"]
    if "__ndarray_class__" not in value:
        return value
    # The header is read by itself: a few bytes must not announce an array that fills the memory.
    file = io.BytesIO(value["as_npy"])
    read = _NPY_HEADERS[np.lib.format.read_magic(file)]
    shape, in_columns, dtype = read(file, max_header_size=_LONGEST_HEADER)
    array = _array(file.read(), dtype.str, shape[::-1] if in_columns else shape)
    return array.T if in_columns else array


def _array(data: bytes, type_name: str, shape: Any) -> npt.NDArray[Any]:
    dtype = _number_type(type_name)
    if not isinstance(shape, list | tuple) or len(shape) > _MOST_DIMENSIONS:
        raise ValueError(f"an array of more than {_MOST_DIMENSIONS} dimensions, or of no shape at all")
    sizes = [int(size) for size in shape]
    if any(not 0 <= size <= _LARGEST_SIZE for size in sizes) or math.prod(sizes) * dtype.itemsize != len(data):
        raise ValueError(f"{len(data)} bytes are no array of type {dtype} and shape {sizes}")
    if math.prod(min(size, 7) for size in sizes) > _MOST_PRINTED:
        raise ValueError(f"an array of shape {sizes}; no observation and no answer has so many axes")
    return np.frombuffer(data, dtype).reshape(sizes).copy()


def _number_type(name: str) -> np.dtype[Any]:
    dtype = np.dtype(name)
    if dtype.kind not in _NUMBERS:
        raise ValueError(f"arrays of type {dtype} are not accepted")
    return dtype


def _compressed_image(data: bytes, shape: Any) -> npt.NDArray[np.uint8]:
    try:
        from PIL import Image
    except ImportError:
        raise DependencyError("a compressed image was received; reading it needs Pillow: pip install pillow") from None
    height, width = (int(size) for size in shape[:2])
    if height * width > _MOST_PIXELS:
        raise ValueError(f"an image of {height}x{width} is larger than any camera's")
    try:
        with Image.open(io.BytesIO(data), formats=_IMAGE_FORMATS) as image:
            # The size is known before anything is decoded: a small file must not become a huge image.
            if image.size != (width, height):
                raise ValueError(f"an image of {image.size[1]}x{image.size[0]} was announced as {list(shape)}")
            return np.asarray(image.convert("RGB"))
    except Exception as error:  # Pillow's readers raise whatever a damaged file leads to
        raise ValueError(f"an image cannot be decoded: {error}") from None
