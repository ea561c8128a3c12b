"""The codecs, byte by byte, against messages that openpi-client 0.1.2 and vla-eval 0.8.0 packed."""

from __future__ import annotations

import contextlib
import io

import msgpack
import numpy as np
import pytest

from simrun.errors import ServerError
from simrun.policies.dialects import codecs
from simrun.policies.dialects.codecs import pack_openpi, pack_vlaeval, unpack_openpi, unpack_vlaeval

IMAGE = np.arange(24, dtype=np.uint8).reshape(2, 4, 3)
STATE = np.array([0.5, -1.25], np.float32)
OPENPI = {
    "observation/image": IMAGE,
    "observation/state": STATE,
    "prompt": "pick up the cube",
    "count": np.float32(2.5),
    "flag": True,
}
OPENPI_BYTES = bytes.fromhex(
    "85b16f62736572766174696f6e2f696d61676584c40b5f5f6e6461727261795f5fc3c40464617461c418000102030405060708090a0b"
    "0c0d0e0f1011121314151617c4056474797065a37c7531c405736861706593020403b16f62736572766174696f6e2f737461746584c4"
    "0b5f5f6e6461727261795f5fc3c40464617461c4080000003f0000a0bfc4056474797065a33c6634c40573686170659102a670726f6d"
    "7074b07069636b207570207468652063756265a5636f756e7483c40d5f5f6e7067656e657269635f5fc3c40464617461cb4004000000"
    "000000c4056474797065a33c6634a4666c6167c3"
)
VLAEVAL = {
    "type": "observation",
    "payload": {
        "images": {"agentview": IMAGE},
        "task_description": "pick up the cube",
        "states": STATE,
        "count": np.float64(2.5),
    },
    "seq": 7,
    "timestamp": 1234.5,
}
VLAEVAL_BYTES = bytes.fromhex(
    "84a474797065ab6f62736572766174696f6ea77061796c6f616484a6696d6167657381a96167656e747669657784ab5f5f6e64617272"
    "61795f5fc3a464617461c418000102030405060708090a0b0c0d0e0f1011121314151617a56474797065a37c7531a573686170659302"
    "0403b07461736b5f6465736372697074696f6eb07069636b207570207468652063756265a673746174657384ab5f5f6e646172726179"
    "5f5fc3a464617461c4080000003f0000a0bfa56474797065a33c6634a573686170659102a5636f756e74cb4004000000000000a37365"
    "7107a974696d657374616d70cb40934a0000000000"
)
VLAEVAL_PNG_BYTES = bytes.fromhex(
    "84a474797065ab6f62736572766174696f6ea77061796c6f616484a6696d6167657381a96167656e747669657784a95f5f696d616765"
    "5f5fc3a6666f726d6174a3706e67a464617461c44d89504e470d0a1a0a0000000d4948445200000004000000020802000000f0caea34"
    "0000001449444154789c63646064628601161e1e1e38070004a70063e1f0b4980000000049454e44ae426082a5736861706593020403"
    "b07461736b5f6465736372697074696f6eb07069636b207570207468652063756265a673746174657384ab5f5f6e6461727261795f5f"
    "c3a464617461c4080000003f0000a0bfa56474797065a33c6634a573686170659102a5636f756e74cb4004000000000000a373657107"
    "a974696d657374616d70cb40934a0000000000"
)


def _equal(left, right) -> bool:
    if isinstance(left, dict):
        return list(left) == list(right) and all(_equal(left[key], right[key]) for key in left)
    if isinstance(left, np.ndarray):
        return left.dtype == right.dtype and np.array_equal(left, right)
    return type(left) is type(right) and left == right


def test_openpis_bytes_are_written_and_read():
    assert pack_openpi(OPENPI) == OPENPI_BYTES
    assert _equal(unpack_openpi(OPENPI_BYTES), OPENPI)


def test_vlaevals_bytes_are_written_and_read():
    assert pack_vlaeval(VLAEVAL) == VLAEVAL_BYTES
    payload = {**VLAEVAL["payload"], "count": 2.5}
    assert _equal(unpack_vlaeval(VLAEVAL_BYTES), {**VLAEVAL, "payload": payload})


def test_vlaevals_compressed_images_are_read():
    pytest.importorskip("PIL")
    assert _equal(unpack_vlaeval(VLAEVAL_PNG_BYTES)["payload"]["images"], {"agentview": IMAGE})


def test_received_arrays_can_be_written_to():
    array = unpack_openpi(OPENPI_BYTES)["observation/state"]
    array[0] = 3
    assert array[0] == 3


FAULTS = {
    "too few bytes": {"data": bytes(4)},
    "another shape": {"shape": [3]},
    "a negative size": {"shape": [-2]},
    "a huge size": {"shape": [1 << 40]},
    "a shape that is text": {"shape": "two"},
    "Python objects": {"dtype": "|O8", "shape": [1]},
    "complex numbers": {"dtype": "<c8", "shape": [1]},
    "text": {"dtype": "|S8", "shape": [1]},
    "an unknown type": {"dtype": "no type"},
}


@pytest.mark.parametrize("fault", FAULTS)
@pytest.mark.parametrize("unpack", [unpack_openpi, unpack_vlaeval])
def test_an_array_that_is_none_is_one_error(unpack, fault):
    array = {"__ndarray__": True, "data": bytes(8), "dtype": "<f4", "shape": [2], **FAULTS[fault]}
    if unpack is unpack_openpi:
        array = {key.encode(): value for key, value in array.items()}
    with pytest.raises(ServerError, match="cannot be decoded"):
        unpack(msgpack.packb({"x": array}))


@pytest.mark.parametrize("message", [b"", b"\xc1", OPENPI_BYTES[:-5], OPENPI_BYTES + b"?", b"GET / HTTP/1.1"])
@pytest.mark.parametrize("unpack", [unpack_openpi, unpack_vlaeval])
def test_bytes_that_are_no_message_are_one_error(unpack, message):
    with pytest.raises(ServerError, match=f"a message of {len(message)} bytes cannot be decoded"):
        unpack(message)


def test_an_array_of_many_axes_is_refused_before_it_is_printed():
    many = {b"__ndarray__": True, b"data": bytes(3**16), b"dtype": "|u1", b"shape": [3] * 16}
    with pytest.raises(ServerError, match="so many axes"):
        unpack_openpi(msgpack.packb({"actions": many}))
    six = {b"__ndarray__": True, b"data": bytes(8**6), b"dtype": "|u1", b"shape": [8] * 6}
    assert unpack_openpi(msgpack.packb({"actions": six}))["actions"].shape == (8,) * 6


def test_an_image_of_another_size_than_announced_is_refused():
    pytest.importorskip("PIL")
    lying = VLAEVAL_PNG_BYTES.replace(b"\xa5shape\x93\x02\x04\x03", b"\xa5shape\x93\x04\x02\x03")
    assert lying != VLAEVAL_PNG_BYTES
    with pytest.raises(ServerError, match="was announced as"):
        unpack_vlaeval(lying)


@pytest.mark.parametrize("unpack", [unpack_openpi, unpack_vlaeval, codecs.unpack_groot, codecs.unpack_xpolicylab])
def test_a_small_message_fills_no_memory(unpack, monkeypatch):
    """An empty list is one byte of a message and seventy of memory: 64 MiB of them were 4.5 GB."""
    monkeypatch.setattr(codecs, "_MOST_CONTAINERS", 1000)
    assert len(unpack(b"\xdc\x03\xe7" + b"\x90" * 999)) == 999
    for item in (b"\x90", b"\x80", b"\x91\x01"):
        with pytest.raises(ServerError, match="more than 1000 lists and maps"):
            unpack(b"\xdc\x04\x00" + item * 1024)


def _image(data, shape):
    return msgpack.packb({"__image__": True, "format": "png", "data": data, "shape": shape})


def test_no_image_fills_the_memory_or_ends_in_a_traceback():
    image = pytest.importorskip("PIL.Image")
    stream = io.BytesIO()
    image.new("1", (20_000, 20_000)).save(stream, "PNG")
    bomb = stream.getvalue()
    assert len(bomb) < 100_000
    for data, shape, sentence in (
        (bomb, [20_000, 20_000, 3], "larger than any camera's"),
        (bomb, [8, 8, 3], "cannot be decoded"),
        (bomb, [-8, 8, 3], "cannot be decoded"),
        (bomb, [], "cannot be decoded"),
        (bomb, "ab", "cannot be decoded"),
        (None, [8, 8, 3], "cannot be decoded"),
        (b"%!PS-Adobe-3.0 EPSF-3.0\n", [8, 8, 3], "cannot be decoded"),
    ):
        with pytest.raises(ServerError, match=sentence) as refused:
            unpack_vlaeval(_image(data, shape))
        assert len(str(refused.value)) < 500
    stream = io.BytesIO()
    image.new("RGB", (8, 8)).save(stream, "PNG")
    whole = stream.getvalue()
    assert unpack_vlaeval(_image(whole, [8, 8, 3])).shape == (8, 8, 3)
    for place in range(len(whole)):
        for damaged in (whole[:place], whole[:place] + bytes([whole[place] ^ 0xFF]) + whole[place + 1 :]):
            with contextlib.suppress(ServerError):
                assert unpack_vlaeval(_image(damaged, [8, 8, 3])).shape == (8, 8, 3)


@pytest.mark.parametrize("value", [np.array([object()]), np.array([1j]), np.array(["text"]), object()])
def test_what_is_no_number_is_not_sent(value):
    for pack in (pack_openpi, pack_vlaeval):
        if pack is pack_openpi and getattr(value, "dtype", np.dtype("O")).kind == "U":
            continue
        with pytest.raises(TypeError, match="cannot be sent"):
            pack({"x": value})
