"""Our clients against our servers: the same actions as in process, in both dialects."""

from __future__ import annotations

import contextlib
import select
import socket
import threading
import time
from urllib.parse import urlsplit
from urllib.request import urlopen

import numpy as np
import pytest

from simrun.errors import ServerError, UnknownNameError, UsageError
from simrun.policies import ExecutionVariant
from simrun.policies.dialects.serving import PolicyServer, ServerSettings
from simrun.policies.registry import load_policy


def _settings(dialect: str, **changes) -> ServerSettings:
    return ServerSettings(dialect=dialect, port=0, **changes)


def _tell(seen) -> float:
    return float(np.float32(seen.proprio.sum() + seen.images["front"].mean()))


def test_openpi_gives_the_policys_chunks(sums, plane, observe):
    with PolicyServer(sums, plane, _settings("openpi")) as server:
        policy = load_policy(server.url.replace("ws:", "openpi:"), plane)
        assert (policy.spec.chunk_length, policy.spec.max_batch_size) == (5, 1)
        seen = [observe(1), observe(2)]
        chunks = policy.infer(seen)
        np.testing.assert_allclose(chunks[:, 0, 0], [_tell(entry) for entry in seen], rtol=1e-6)
        np.testing.assert_array_equal(chunks[0, :, 2], [1, -1, 1, -1, 1])
        policy.close()


def test_vlaeval_gives_one_action_at_a_time_and_keeps_the_rest(sums, plane, observe):
    with PolicyServer(sums, plane, _settings("vlaeval")) as server:
        policy = load_policy(server.url.replace("ws:", "vlaeval:"), plane)
        assert policy.spec.chunk_length == 1
        policy.reset([0])
        actions = np.concatenate([policy.infer([observe(1, step)])[0] for step in range(7)])
        # Five actions come from what was seen at step 0, then two from step 5.
        np.testing.assert_allclose(actions[:5, 0], _tell(observe(1, 0)), rtol=1e-6)
        np.testing.assert_allclose(actions[5:, 0], _tell(observe(1, 5)), rtol=1e-6)
        np.testing.assert_array_equal(actions[:, 2], [1, -1, 1, -1, 1, 1, -1])
        policy.close()


def test_a_reset_empties_the_servers_chunk_and_memory(sums, plane, observe):
    with PolicyServer(sums, plane, _settings("vlaeval")) as server:
        policy = load_policy(server.url.replace("ws:", "vlaeval:"), plane)
        first = policy.infer([observe(1, 0)])[0, 0]
        policy.reset([0])
        second = policy.infer([observe(1, 3)])[0, 0]
        assert first[0] == pytest.approx(_tell(observe(1, 0)), rel=1e-6)
        assert second[0] == pytest.approx(_tell(observe(1, 3)), rel=1e-6)
        assert second[1] == first[1]
        policy.close()


def test_another_instruction_drops_the_rest_of_a_chunk(sums, plane, observe):
    with PolicyServer(sums, plane, _settings("vlaeval")) as server:
        policy = load_policy(server.url.replace("ws:", "vlaeval:"), plane)
        policy.infer([observe(1, 0)])
        changed = observe(1, 1, instruction="leave it alone")
        assert policy.infer([changed])[0, 0, 0] == pytest.approx(_tell(changed), rel=1e-6)
        policy.close()


@pytest.mark.parametrize(("variant", "asked_at"), [("half", [0, 2, 4]), ("single", [0, 1, 2, 3, 4]), ("k=3", [0, 3])])
def test_the_server_executes_chunks_by_its_variant(sums, plane, observe, variant, asked_at):
    settings = _settings("vlaeval", execution=ExecutionVariant.parse(variant))
    with PolicyServer(sums, plane, settings) as server:
        policy = load_policy(server.url.replace("ws:", "vlaeval:"), plane)
        actions = [policy.infer([observe(1, step)])[0, 0, 0] for step in range(5)]
        expected = [_tell(observe(1, max(step for step in asked_at if step <= now))) for now in range(5)]
        np.testing.assert_allclose(actions, expected, rtol=1e-6)
        policy.close()


def test_slots_have_sessions_of_their_own(sums, plane, observe):
    with PolicyServer(sums, plane, _settings("vlaeval")) as server:
        policy = load_policy(server.url.replace("ws:", "vlaeval:"), plane)
        chunks = policy.infer([observe(trial, slot=trial) for trial in range(4)])
        np.testing.assert_allclose(chunks[:, 0, 0], [_tell(observe(trial)) for trial in range(4)], rtol=1e-6)
        assert chunks[:, 0, 1].tolist() == [1018.0] * 4
        policy.close()


@pytest.mark.parametrize("dialect", ["openpi", "vlaeval"])
def test_the_dialect_is_told_from_the_greeting(sums, plane, observe, dialect):
    with PolicyServer(sums, plane, _settings(dialect)) as server:
        policy = load_policy(server.url, plane, options={"timeout": 5})
        assert policy.spec.chunk_length == (5 if dialect == "openpi" else 1)
        assert policy.infer([observe()])[0, 0, 0] == pytest.approx(_tell(observe()), rel=1e-6)
        policy.close()


def test_requests_that_wait_are_inferred_together(sums, plane, observe):
    gate = threading.Event()
    infer = sums.infer
    sums.infer = lambda observations: (gate.wait(10), infer(observations))[1]
    with PolicyServer(sums, plane, _settings("openpi")) as server:
        answers = {}

        def ask(trial):
            client = load_policy(server.url.replace("ws:", "openpi:"), plane)
            answers[trial] = client.infer([observe(trial)])[0, 0, 0]
            client.close()

        gate.set()
        threads = [threading.Thread(target=ask, args=(trial,)) for trial in range(6)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert answers == {trial: pytest.approx(_tell(observe(trial)), rel=1e-6) for trial in range(6)}
        assert sum(sums.batches) == 18


@pytest.mark.parametrize("dialect", ["openpi", "vlaeval"])
def test_a_policy_that_fails_is_reported_and_the_server_goes_on(sums, plane, observe, dialect):
    with PolicyServer(sums, plane, _settings(dialect)) as server:
        policy = load_policy(server.url.replace("ws:", f"{dialect}:"), plane)
        infer, sums.infer = sums.infer, lambda observations: 1 / 0
        with pytest.raises(ServerError, match=r"reported: .*policy sums failed: ZeroDivisionError"):
            policy.infer([observe()])
        sums.infer = infer
        assert policy.infer([observe()])[0, 0, 0] == pytest.approx(_tell(observe()), rel=1e-6)
        policy.close()


def test_a_token_is_asked_for(sums, plane, observe, impatient):
    with PolicyServer(sums, plane, _settings("openpi", token="open sesame")) as server:
        address = server.url.replace("ws:", "openpi:")
        for wrong in (None, "open barley"):
            with pytest.raises(ServerError, match="HTTP 401"):
                load_policy(address, plane, options={"token": wrong})
        load_policy(address, plane, options={"token": "open sesame"}).close()
        load_policy(f"{address}/?token=open%20sesame", plane).close()


def test_other_machines_need_a_token():
    with pytest.raises(UsageError, match="with --token"):
        ServerSettings(host="0.0.0.0")
    assert "sesame" not in repr(ServerSettings(host="0.0.0.0", token="sesame"))


def test_wrong_settings_are_one_sentence(sums, plane):
    with pytest.raises(UnknownNameError, match=r"known: .*openpi, starvla, vlaeval, xpolicylab"):
        ServerSettings(dialect="grpc")
    with pytest.raises(UsageError, match="starvla cannot be served; openpi and vlaeval and xpolicylab can"):
        ServerSettings(dialect="starvla")
    with (
        PolicyServer(sums, plane, _settings("openpi")) as server,
        pytest.raises(UsageError, match="cannot listen on"),
    ):
        PolicyServer(sums, plane, ServerSettings(port=int(server.url.rsplit(":", 1)[1])))


def test_health_is_answered(sums, plane):
    with PolicyServer(sums, plane, _settings("openpi", token="t")) as server:
        base = server.url.replace("ws:", "http:")
        with urlopen(f"{base}/healthz") as answer:
            assert answer.read() == b"OK\n"
        with urlopen(f"{base}/health") as answer:
            assert answer.read() == b'{"status": "ok"}\n'


@pytest.mark.parametrize(
    ("request_", "sentence"),
    [
        ({"prompt": "reach"}, "observation/front must be a uint8 image .*the request holds prompt"),
        ({"observation/front": np.zeros((4, 4, 3))}, "must be a uint8 image"),
        ({"observation/front": np.zeros((4, 4, 3), np.uint8)}, "holds no instruction"),
        ([1, 2], "the request is no map"),
    ],
)
def test_a_wrong_request_is_answered_with_a_sentence(sums, plane, request_, sentence):
    import re

    from websockets.sync.client import connect

    from simrun.policies.dialects.codecs import pack_openpi, unpack_openpi

    with (
        PolicyServer(sums, plane, _settings("openpi")) as server,
        connect(server.url, proxy=None) as socket,
    ):
        assert unpack_openpi(socket.recv())["keys"] == ["observation/front", "observation/state", "prompt"]
        socket.send(pack_openpi(request_))
        assert re.search(sentence, socket.recv())


@pytest.mark.parametrize("dialect", ["openpi", "vlaeval"])
def test_two_episodes_on_the_tabletop(tmp_path, write_network, two_episodes, dialect):
    from simrun.envs import get_benchmark

    file = write_network(tmp_path / "net.onnx")
    local = two_episodes(file, size=(12, 16))
    tabletop = get_benchmark("tabletop")
    settings = _settings(dialect, execution=ExecutionVariant.parse("half"))
    with PolicyServer(load_policy(str(file), tabletop), tabletop, settings) as server:
        served = two_episodes(server.url)
    # The same actions are executed, whoever holds the rest of the chunk.
    assert [record.actions_hash for record in served] == [record.actions_hash for record in local]
    assert [record.state_hash for record in served] == [record.state_hash for record in local]


def test_a_server_that_dies_in_mid_episode_loses_no_record(sums, tmp_path, write_network):
    from simrun.api import evaluate
    from simrun.envs import get_benchmark

    tabletop = get_benchmark("tabletop")
    file = write_network(tmp_path / "net.onnx")
    (tmp_path / "simrun.toml").write_text(
        'transforms = [{name = "resize", height = 12, width = 16, method = "area", cameras = ["front"]}, '
        '{name = "select_proprio", dimensions = [0, 1, 2, 6]}, {name = "pad_actions", dimension = 7}]'
    )
    policy = load_policy(str(file), tabletop)
    choice = {"episodes": "0:2", "tasks": [tabletop.tasks(tabletop.protocol())[0].name], "workers": 1}
    choice |= {"set": {"max_steps": 9, "max_steps_by_task": {}}, "exec": "half"}
    undisturbed = evaluate(str(file), "tabletop", **choice).records

    asked = []
    infer = policy.infer

    def failing_once(observations):
        asked.append(len(observations))
        if len(asked) == 4:
            raise RuntimeError("CUDA out of memory")
        return infer(observations)

    policy.infer = failing_once
    with PolicyServer(policy, tabletop, _settings("openpi")) as server:
        records = evaluate(server.url, "tabletop", **choice).records
    assert [record.status for record in records] == ["completed"] * 2
    assert [record.actions_hash for record in records] == [record.actions_hash for record in undisturbed]
    assert max(record.attempts for record in records) == 2


def _connect(server: PolicyServer, **options):
    return pytest.importorskip("websockets.sync.client").connect(server.url, max_size=None, **options)


def test_pages_of_other_origins_are_refused(sums, plane):
    exceptions = pytest.importorskip("websockets.exceptions")
    with PolicyServer(sums, plane, _settings("openpi")) as server:
        with pytest.raises(exceptions.InvalidStatus, match="403"):
            _connect(server, origin="https://elsewhere.example")
        with _connect(server, origin=server.url.replace("ws:", "http:")) as own:
            assert own.recv()


OPENINGS = {
    "an address that is none": b"GET //[ HTTP/1.1\r\nHost: x\r\n",
    "an origin that is none": b"GET / HTTP/1.1\r\nHost: x\r\nOrigin: http://[\r\n",
    "two origins": b"GET / HTTP/1.1\r\nHost: x\r\nOrigin: http://a\r\nOrigin: http://b\r\n",
    "two passwords": b"GET / HTTP/1.1\r\nHost: x\r\nAuthorization: a b\r\nAuthorization: c d\r\n",
    "a password of bytes": b"GET /?token=%ff%00 HTTP/1.1\r\nHost: x\r\nAuthorization: Api-Key \xff\xfe\r\n",
    "no host": b"GET / HTTP/1.1\r\n",
    "another method": b"POST / HTTP/1.1\r\nContent-Length: 5\r\n",
    "no words": bytes(range(256)),
    "a long line": b"GET /" + b"x" * 100_000,
    "many headers": b"GET / HTTP/1.1\r\n" + b"X: y\r\n" * 1000,
}


@pytest.mark.parametrize("opening", OPENINGS)
def test_no_opening_ends_in_a_traceback(sums, plane, caplog, opening):
    with PolicyServer(sums, plane, _settings("openpi", token="secret")) as server:
        place = urlsplit(server.url)
        with socket.create_connection((place.hostname, place.port), timeout=20) as client:
            client.sendall(OPENINGS[opening] + b"Upgrade: websocket\r\n\r\n")
            with contextlib.suppress(OSError):
                assert b" 101 " not in client.recv(1 << 16)
        with _connect(server, additional_headers={"Authorization": "Api-Key secret"}) as own:
            assert own.recv()
    assert not [entry for entry in caplog.records if entry.levelname == "ERROR"]


def test_what_websockets_says_of_a_client_is_one_line(caplog):
    import logging

    from simrun.cli.serve import in_one_line

    logger = logging.getLogger("websockets.server.test")
    logger.addFilter(in_one_line)
    try:
        raise AssertionError("of a library")
    except AssertionError:
        logger.error("unexpected %s error", "internal", exc_info=True)
    assert caplog.messages == ["unexpected internal error: AssertionError('of a library')"]
    assert caplog.records[0].exc_info is None


def test_no_more_clients_than_said(sums, plane):
    exceptions = pytest.importorskip("websockets.exceptions")
    with PolicyServer(sums, plane, _settings("openpi", max_connections=1)) as server, _connect(server) as first:
        assert first.recv()
        with pytest.raises(exceptions.InvalidStatus, match="503"):
            _connect(server)


def _frame(size: int, *, sent: int, fin: bool = True) -> bytes:
    """The beginning of a client's frame of ``size`` bytes."""
    return bytes([0x82 if fin else 0x02, 0xFF]) + size.to_bytes(8, "big") + bytes(4) + bytes(sent)


@pytest.mark.parametrize("fin", [True, False])
def test_unfinished_requests_are_bounded_in_all(sums, plane, observe, fin):
    """Clients that begin large requests and never end them; what others ask is answered meanwhile and after."""
    mebibyte = 1 << 20
    settings = _settings("openpi", max_message_bytes=2 * mebibyte, max_waiting_bytes=4 * mebibyte)
    with PolicyServer(sums, plane, settings) as server, contextlib.ExitStack() as opened:
        policy = load_policy(server.url.replace("ws:", "openpi:"), plane)
        shape = policy.infer([observe()])[0].shape
        hostile = [opened.enter_context(_connect(server)) for _ in range(4)]
        for client, sent in zip(hostile, (mebibyte, mebibyte, mebibyte, int(1.9 * mebibyte)), strict=True):
            client.recv()
            with contextlib.suppress(OSError):
                client.socket.sendall(_frame(2 * mebibyte - 1 if fin else sent, sent=sent, fin=fin))
            assert policy.infer([observe()])[0].shape == shape
        with pytest.raises(Exception, match=r"1013.*requests of more than 4 MiB in all wait for an answer|1006|close"):
            hostile[-1].recv(timeout=10)
        for client in hostile[:-1]:
            # Closing alone would tell nobody while the client's own thread waits in it.
            client.socket.shutdown(socket.SHUT_RDWR)
        for _ in range(20):
            assert policy.infer([observe()])[0].shape == shape
        policy.close()
        _until(lambda: sum(server._clients._held.values()) == 0)


def _until(reached) -> None:
    """Wait until something is so."""
    ends = time.monotonic() + 20
    while not reached():
        assert time.monotonic() < ends
        time.sleep(0.02)


def test_sockets_without_a_request_are_bounded(sums, plane):
    with PolicyServer(sums, plane, _settings("openpi", max_connections=2)) as server, contextlib.ExitStack() as opened:
        place = urlsplit(server.url)
        silent = [opened.enter_context(socket.create_connection((place.hostname, place.port))) for _ in range(9)]
        # Each is taken up by a thread of its own, so any of them may be the one too many.
        (sent_away, *_), _, _ = select.select(silent, [], [], 30)
        assert sent_away.recv(1) == b"", "sent away at once"
        for one in silent:
            one.close()
        for _ in range(50):
            with contextlib.suppress(Exception), _connect(server) as client:
                assert client.recv()
                break
            time.sleep(0.1)
        else:
            pytest.fail("nobody is served any more")


def test_a_bad_request_is_answered_with_its_reason_and_a_short_one(sums, plane):
    from simrun.policies.dialects.codecs import unpack_openpi

    msgpack = pytest.importorskip("msgpack")
    hostile = {b"__ndarray__": True, b"data": b"", b"dtype": "<f4", b"shape": [2**62] * 20_000}
    with PolicyServer(sums, plane, _settings("openpi")) as server, _connect(server) as client:
        client.recv()
        client.send(msgpack.packb({"state": hostile}))
        assert "more than 32 dimensions" in client.recv()
    with pytest.raises(ServerError) as caught:
        unpack_openpi(
            msgpack.packb({"a": {b"__ndarray__": True, b"data": bytes(10**6), b"dtype": "0" * 10**6, b"shape": [1]}})
        )
    assert len(str(caught.value)) < 500


def test_images_are_png_or_jpeg_whatever_pillow_could_read():
    import io

    from simrun.policies.dialects import codecs

    image = pytest.importorskip("PIL.Image").new("RGB", (4, 3))
    for name, accepted in (("PNG", True), ("JPEG", True), ("TIFF", False), ("EPS", False), ("GIF", False)):
        stream = io.BytesIO()
        image.save(stream, name)
        if accepted:
            assert codecs._compressed_image(stream.getvalue(), [3, 4, 3]).shape == (3, 4, 3)
        else:
            with pytest.raises(ValueError, match="cannot identify image file"):
                codecs._compressed_image(stream.getvalue(), [3, 4, 3])
