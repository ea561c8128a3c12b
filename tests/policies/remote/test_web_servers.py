"""X-VLA's and CogACT's dialects: what is sent back, one ensemble an environment, and pages in place of answers."""

from __future__ import annotations

import base64
import contextlib
import http.server
import json
import socket
import threading
import time
from dataclasses import replace

import numpy as np
import pytest

from simrun.envs import Episode, get_benchmark
from simrun.errors import CheckpointError, ServerError
from simrun.policies.dialects.connection import ServerAddress
from simrun.policies.dialects.web import WebConnection
from simrun.policies.fitting import sample_observation
from simrun.policies.registry import load_policy

pytest.importorskip("PIL")
ROTATION = [1, 0.2, 0.1, 0.3, 1, 0.5]
"""Six numbers that are a rotation by columns and by rows."""


@contextlib.contextmanager
def _serving(answer, *, content="application/json", closes=False):
    """An HTTP server; ``answer`` gives (status, bytes) for a path and a body. One that closes says nothing of it."""

    class Handler(http.server.BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_POST(self):
            status, data = answer(self.path, self.rfile.read(int(self.headers["Content-Length"])))
            self.send_response(status)
            self.send_header("Content-Type", content)
            self.send_header("Content-Length", str(len(data)))
            self.end_headers()
            self.wfile.write(data)
            self.close_connection = closes

        def log_message(self, *arguments):
            pass

    http.server.ThreadingHTTPServer.block_on_close = False
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        thread = threading.Thread(target=server.serve_forever, daemon=True)
        thread.start()
        yield f"127.0.0.1:{server.server_address[1]}"
        server.shutdown()
        thread.join()


def _xvla(requests, rows=30):
    def answer(path, body):
        assert path == "/act"
        requests.append(json.loads(body))
        actions = np.tile(np.arange(rows, dtype=float)[:, None] / 100, (1, 20))
        actions[:, 3:9] = ROTATION
        return 200, json.dumps({"action": actions.tolist()}).encode()

    return answer


def _proprio(request):
    told = json.loads(request["proprio"])
    if isinstance(told, list):
        return np.asarray(told)
    return np.frombuffer(base64.b64decode(told["__numpy__"]), told["dtype"]).reshape(told["shape"])


@pytest.mark.parametrize(
    ("name", "kept", "stays"), [("libero_10", 9, 9), ("calvin", 10, 10), ("simpler_bridge", 10, 10)]
)
def test_what_was_executed_last_is_sent_back(name, kept, stays):
    bench, requests = get_benchmark(name), []
    with _serving(_xvla(requests)) as place:
        policy = load_policy(f"xvla://{place}", bench)
        requests.clear()
        seen = sample_observation(bench, policy.spec.cameras, 1, slot=0, action_mode=policy.spec.action_mode)
        policy.infer([seen])
        policy.infer([replace(seen, step=8)])
        policy.close()
    first, second = (_proprio(request) for request in requests)
    # Row 7 was the last of eight; position and gripper of row 7 are 0.07.
    np.testing.assert_allclose(second[:3], 0.07, atol=1e-7)
    np.testing.assert_allclose(second[3:9], ROTATION, atol=1e-7)
    np.testing.assert_array_equal(second[stays:], first[stays:])
    assert (second[9] == pytest.approx(0.07, abs=1e-7)) == (kept == 10)


@pytest.mark.parametrize(("name", "goes_on"), [("calvin", True), ("libero_10", False)])
def test_only_chains_carry_it_over_a_change_of_instruction_and_none_over_an_episode(name, goes_on):
    bench, requests = get_benchmark(name), []
    with _serving(_xvla(requests)) as place:
        policy = load_policy(f"xvla://{place}", bench)
        requests.clear()
        seen = sample_observation(bench, policy.spec.cameras, 1, slot=0, action_mode=policy.spec.action_mode)
        policy.infer([seen])
        policy.reset([0])
        policy.infer([replace(seen, step=8, instruction="do something else")])
        policy.reset([0])
        policy.infer([replace(seen, episode=Episode(seen.episode.protocol, seen.episode.task, 1))])
        policy.close()
    first, changed, anew = (_proprio(request) for request in requests)
    assert np.allclose(changed[:3], 0.07) == goes_on
    np.testing.assert_array_equal(anew, first)


def test_thresholds_of_the_gripper_are_those_of_the_task():
    bench = get_benchmark("simpler_bridge")
    level = {"value": 0.0}

    def answer(path, body):
        rows = np.zeros((2, 20))
        rows[:, 3:9], rows[:, 9] = ROTATION, level["value"]
        return 200, json.dumps({"action": rows.tolist()}).encode()

    with _serving(answer) as place:
        policy = load_policy(f"xvla://{place}", bench)
        seen = sample_observation(bench, policy.spec.cameras, 1, slot=0, action_mode=policy.spec.action_mode)
        for task, opens, closes in (("spoon", 0.69, 0.71), ("eggplant", 0.79, 0.81), ("cube", 0.9, 0.92)):
            for value, command in ((opens, 1), (closes, -1)):
                level["value"] = value
                shown = replace(seen, episode=replace(seen.episode, task=task))
                assert policy.infer([shown])[0, 0, -1] == command, (task, value)
        policy.close()


def _cogact(answers):
    def answer(path, body):
        assert path == "/api/inference"
        assert body.count(b"Content-Disposition: form-data") == 2
        return 200, json.dumps(answers(body)).encode()

    return answer


def test_cogacts_ensemble_is_kept_for_each_environment_and_forgotten_at_reset():
    bench, asked = get_benchmark("simpler_bridge"), []

    def answers(body):
        asked.append(body)
        return np.full((16, 7), 0.01 * len(asked)).tolist()

    with _serving(_cogact(answers)) as place:
        policy = load_policy(f"cogact://{place}", bench)
        assert policy.spec.native.also == "an adaptive ensemble of the last 7 chunks"
        seen = replace(sample_observation(bench, policy.spec.cameras, 1, slot=0), native=True)
        start = len(asked)
        first = policy.infer([seen])[0, 0, 0]
        mixed = policy.infer([replace(seen, step=1)])[0, 0, 0]
        other = policy.infer([replace(seen, slot=1)])[0, 0, 0]
        policy.reset([0])
        anew = policy.infer([seen])[0, 0, 0]
        policy.close()
    assert first == pytest.approx(0.01 * (start + 1))
    assert first < mixed < 0.01 * (start + 2)
    assert other == pytest.approx(0.01 * (start + 3))
    assert anew == pytest.approx(0.01 * (start + 4))
    assert b'"task_description": "' in asked[-1]
    assert b"\x89PNG" in asked[-1]


def test_a_cogact_server_with_an_ensemble_of_its_own_is_remarked_and_a_square_picture_refused():
    with _serving(_cogact(lambda body: [0.0] * 7)) as place:
        policy = load_policy(f"cogact://{place}", get_benchmark("simpler_bridge"))
        assert "it mixes over episodes" in policy.spec.notes[0]
        with pytest.raises(CheckpointError, match="wider than high; 224x224 is shown"):
            load_policy(
                f"cogact://{place}", get_benchmark("libero_10"), options={"convention": "openvla-libero-nocrop"}
            )


@pytest.mark.parametrize(
    ("status", "content", "body", "sentence"),
    [
        (
            404,
            "text/html",
            b"<html><title>Not Found</title></html>",
            r"/act answered with status 404 and text/html, no JSON",
        ),
        (200, "text/html", b"<html>jupyter</html>", r"no JSON: <html>jupyter</html>; is a policy server there\?"),
        (400, "application/json", b'{"error": "Request failed"}', "reported 400: Request failed"),
        (200, "application/json", b'{"actions": []}', r"answered without actions \[H, 20\]"),
        (200, "application/json", b"[" * 100_000, "no JSON"),
        (200, "application/json", b"x" * 2000, "answered with more than 1000 bytes"),
    ],
)
def test_a_page_and_other_wrong_answers_are_one_sentence(status, content, body, sentence):
    options = {"max_message_bytes": 1000} if b"xxx" in body else {}
    with (
        _serving(lambda path, asked: (status, body), content=content) as place,
        pytest.raises(ServerError, match=sentence),
    ):
        load_policy(f"xvla://{place}", get_benchmark("libero_10"), options=options)


def test_nobody_answers_and_nobody_is_there():
    bench = get_benchmark("libero_10")
    with (
        _serving(lambda path, body: (time.sleep(0.5), (200, b"{}"))[1]) as place,
        pytest.raises(ServerError, match=r"no answer within 0\.2 s; .*-p first_timeout=SECONDS"),
    ):
        load_policy(f"xvla://{place}", bench, options={"timeout": 0.1, "first_timeout": 0.2})
    with pytest.raises(ServerError, match=r"cannot be reached: .*is it running\?"):
        load_policy("xvla://127.0.0.1:9", bench)


ENDLESS = {
    "drops of an answer": (b"HTTP/1.1 200 OK\r\nContent-Length: 1000000\r\n\r\n", b"["),
    "drops until it closes": (b"HTTP/1.0 200 OK\r\n\r\n", b" "),
    "drops of a chunk": (b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n", b"1\r\n[\r\n"),
    "drops of a header": (b"HTTP/1.1 200 OK\r\nX: ", b"x"),
    "wait, wait": (b"", b"HTTP/1.1 100 Continue\r\n\r\n"),
}


@pytest.mark.parametrize("kind", ENDLESS)
def test_an_answer_that_never_ends_is_waited_for_no_longer_than_any(kind):
    """A socket's own time-out begins anew with every byte that comes."""
    first, drop = ENDLESS[kind]

    def trickle(listening):
        with contextlib.suppress(OSError), listening.accept()[0] as client:
            client.recv(1 << 16)
            client.sendall(first)
            while True:
                client.sendall(drop)
                time.sleep(0.05)

    with socket.create_server(("127.0.0.1", 0)) as listening:
        threading.Thread(target=trickle, args=[listening], daemon=True).start()
        address = ServerAddress(f"http://127.0.0.1:{listening.getsockname()[1]}", 0.5, 1 << 20)
        began = time.monotonic()
        with pytest.raises(ServerError, match=r"gave no answer within 0\.5 s"):
            WebConnection(address).post("/act", b"{}", "application/json")
        assert time.monotonic() - began < 5


def test_a_connection_that_the_server_has_closed_is_opened_again():
    bench, requests = get_benchmark("libero_10"), []
    with _serving(_xvla(requests), closes=True) as place:
        policy = load_policy(f"xvla://{place}", bench)
        seen = sample_observation(bench, policy.spec.cameras, 1, slot=0, action_mode=policy.spec.action_mode)
        assert policy.infer([seen]).shape == (1, 30, 7)
        assert len(requests) == 3
        policy.close()
