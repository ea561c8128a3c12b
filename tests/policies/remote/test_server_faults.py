"""Servers that are away, die, hang, or send garbage: one sentence each, and a client that recovers."""

from __future__ import annotations

import time

import numpy as np
import pytest

from simrun.errors import CheckpointError, ServerError, UsageError
from simrun.policies.conventions import Convention
from simrun.policies.dialects.codecs import pack_openpi, pack_vlaeval, unpack_openpi, unpack_vlaeval
from simrun.policies.dialects.connection import ServerAddress
from simrun.policies.dialects.openpi import OpenpiPolicy
from simrun.policies.dialects.vlaeval_client import VlaevalPolicy, envelope
from simrun.policies.fitting import sample_observation
from simrun.policies.registry import load_policy

HELLO = {"harness_version": "0.8.0", "protocol_version": 1}
IDENTITY = {"convention": "identity"}
CHUNK = np.full((4, 3), 0.5, np.float32)


def _address(place: str, **changes) -> ServerAddress:
    return ServerAddress(**{"url": f"ws://{place}", "timeout": 2.0, "max_message_bytes": 1 << 20, **changes})


def test_nobody_listens(plane, impatient):
    with pytest.raises(ServerError, match=r"ws://127\.0\.0\.1:9 cannot be reached: .*is it running\?"):
        load_policy("openpi://127.0.0.1:9", plane)


@pytest.mark.parametrize("url", ["ws://", "ws://host", "openpi://host:port", "ws://host:99999"])
def test_what_is_no_address(plane, url):
    with pytest.raises((UsageError, CheckpointError), match=r"address|no checkpoint"):
        load_policy(url, plane)


def test_a_password_in_the_address_is_refused_and_not_repeated(plane):
    with pytest.raises(UsageError, match="write no password") as caught:
        load_policy("openpi://me:sesame@127.0.0.1:9", plane)
    assert "sesame" not in str(caught.value)


def test_a_server_that_dies_between_requests_is_found_again(listening, observe):
    lives = []

    def one_answer(socket):
        lives.append(1)
        socket.send(pack_openpi({}))
        socket.recv()
        socket.send(pack_openpi({"actions": CHUNK}))

    with listening(one_answer) as place:
        policy = OpenpiPolicy(_address(place), {}, {})
        np.testing.assert_array_equal(policy.infer([observe()])[0], CHUNK)
        with pytest.raises(ServerError, match="went away"):
            policy.infer([observe()])
        np.testing.assert_array_equal(policy.infer([observe()])[0], CHUNK)
        assert len(lives) == 2
        policy.close()


def test_a_server_that_comes_back_later_is_waited_for(listening, observe):
    def answers(socket):
        socket.send(pack_openpi({}))
        for _ in socket:
            socket.send(pack_openpi({"actions": CHUNK}))

    with listening(answers) as place:
        policy = OpenpiPolicy(_address(place), {}, {})
        policy.infer([observe()])
    with pytest.raises(ServerError, match="went away"):
        policy.infer([observe()])
    import threading

    port = int(place.rsplit(":", 1)[1])
    result = []
    waiting = threading.Thread(target=lambda: result.append(policy.infer([observe()])))
    waiting.start()
    time.sleep(0.7)
    with listening(answers, port):
        waiting.join(10)
        policy.close()
    np.testing.assert_array_equal(result[0][0], CHUNK)


def test_a_server_that_hangs_is_given_up(listening, observe):
    def hang(socket):
        socket.send(pack_openpi({}))
        socket.recv()
        time.sleep(1.5)

    with listening(hang) as place:
        policy = OpenpiPolicy(_address(place, timeout=0.3), {}, {})
        with pytest.raises(ServerError, match=r"gave no answer within 0\.3 s"):
            policy.infer([observe()])


def test_a_traceback_becomes_its_last_line(listening, observe):
    def fail(socket):
        socket.send(pack_openpi({}))
        socket.recv()
        socket.send("Traceback (most recent call last):\n  File \"x.py\", line 1\nKeyError: 'observation/image'\n")
        socket.close(1011)

    with listening(fail) as place, pytest.raises(ServerError, match=r"reported: KeyError: 'observation/image'$"):
        OpenpiPolicy(_address(place), {}, {}).infer([observe()])


@pytest.mark.parametrize(
    ("answer", "sentence"),
    [
        (b"\xc1garbage", "sent garbage"),
        (pack_openpi([1, 2]), "sent a list, no map"),
        (pack_openpi({"action": CHUNK}), "without float actions"),
        (pack_openpi({"actions": CHUNK[0]}), "without float actions"),
        (pack_openpi({"actions": [[0.0] * 3]}), "without float actions"),
        (pack_openpi({"actions": CHUNK.astype(np.int64)}), "without float actions"),
        (pack_openpi({"actions": np.zeros((1 << 18, 3), np.float32)}), "went away.*(1009|over size limit|too big)"),
        ("", "reported: no reason"),
    ],
)
def test_garbage_is_one_sentence(listening, observe, answer, sentence):
    def send(socket):
        socket.send(pack_openpi({}))
        socket.recv()
        socket.send(answer)
        time.sleep(0.2)

    with listening(send) as place, pytest.raises(ServerError, match=sentence):
        OpenpiPolicy(_address(place), {}, {}).infer([observe()])


@pytest.mark.parametrize("greeting", [b"\xc1", pack_openpi("hello"), "hello"])
def test_a_server_of_another_kind_is_not_taken_for_one(listening, plane, greeting):
    def greet(socket):
        socket.send(greeting)
        time.sleep(0.3)

    with listening(greet) as place, pytest.raises(ServerError, match=r"cannot be decoded|no known policy server"):
        load_policy(f"ws://{place}", plane)


def _vlaeval(*answers, hello=None):
    """A vla-eval server that gives these answers to observations, one each."""

    def handle(socket):
        left = list(answers)
        for raw in socket:
            message = unpack_vlaeval(raw)
            if message["type"] == "hello":
                payload = HELLO if hello is None else hello
                socket.send(pack_vlaeval(envelope("hello", payload, message["seq"])))
            elif message["type"] == "observation":
                for answer in left.pop(0):
                    socket.send(answer(message["seq"]) if callable(answer) else answer)

    return handle


def _action(sequence: int) -> bytes:
    return pack_vlaeval(envelope("action", {"actions": CHUNK[0]}, sequence))


def test_vlaevals_errors_leave_the_next_request_alone(listening, observe, plane):
    def error(sequence):
        return pack_vlaeval(envelope("error", {"error": "observation_failed: KeyError: 'x'"}, sequence))

    with listening(_vlaeval([error], [_action])) as place:
        policy = VlaevalPolicy(_address(place), HELLO, Convention("as it is"), plane)
        with pytest.raises(ServerError, match=r"reported: observation_failed: KeyError: 'x'"):
            policy.infer([observe()])
        policy.close()


def test_late_answers_are_skipped_and_foreign_ones_refused(listening, observe, plane):
    with listening(_vlaeval([lambda seq: _action(seq - 1), _action], [lambda seq: _action(seq + 5)])) as place:
        policy = VlaevalPolicy(_address(place), HELLO, Convention("as it is"), plane)
        np.testing.assert_array_equal(policy.infer([observe()])[0, 0], CHUNK[0])
        with pytest.raises(ServerError, match="in place of action"):
            policy.infer([observe(step=1)])


@pytest.mark.parametrize(
    ("hello", "sentence"),
    [({"protocol_version": 2}, "answered hello with version 2"), ({}, "with version None")],
)
def test_another_version_of_vlaeval_is_refused(listening, observe, plane, hello, sentence):
    with listening(_vlaeval(hello=hello)) as place, pytest.raises(ServerError, match=sentence):
        VlaevalPolicy(_address(place), HELLO, Convention("as it is"), plane).infer([observe()])


@pytest.mark.parametrize(
    "answer",
    [pack_vlaeval({"type": "action"}), pack_vlaeval([]), lambda seq: pack_vlaeval(envelope("action", {}, seq))],
)
def test_vlaeval_garbage_is_one_sentence(listening, observe, plane, answer):
    with listening(_vlaeval([answer])) as place, pytest.raises(ServerError, match="the policy server ws://"):
        VlaevalPolicy(_address(place), HELLO, Convention("as it is"), plane).infer([observe()])


def _starvla(answer, metadata=None):
    def handle(socket):
        socket.send(pack_openpi(metadata or {"action_chunk_size": 4, "available_unnorm_keys": ["robotwin", "libero"]}))
        for raw in socket:
            socket.send(answer(unpack_openpi(raw)))

    return handle


def _answer(request):
    examples = request["examples"]
    actions = np.stack([np.full((4, 3), example["image"][0].mean(), np.float32) for example in examples])
    document = {"status": "ok", "ok": True, "type": "inference_result", "request_id": "default"}
    return pack_openpi({**document, "data": {"actions": actions, "asked": request["unnorm_key"] or ""}})


def test_starvla_batches_and_orders_images_by_camera(listening, plane, observe):
    requests = []

    def answer(request):
        requests.append(request)
        return _answer(request)

    with listening(_starvla(answer)) as place:
        options = {"batch_size": 8, "statistics_key": "libero", "send_state": True, **IDENTITY}
        policy = load_policy(f"starvla://{place}", plane, options=options)
        assert (policy.spec.chunk_length, policy.spec.max_batch_size) == (4, 8)
        seen = [observe(1), observe(2)]
        chunks = policy.infer(seen)
        policy.close()
    np.testing.assert_allclose(chunks[:, 0, 0], [entry.images["front"].mean() for entry in seen], rtol=1e-6)
    # The first ones are asked before anything is evaluated, to learn who answers.
    *_, request = requests
    assert set(request) == {"examples", "unnorm_key", "do_sample", "use_ddim", "num_ddim_steps"}
    assert request["unnorm_key"] == "libero"
    first = request["examples"][0]
    assert first["lang"] == "reach the red mark"
    np.testing.assert_array_equal(first["image"][1], seen[0].images["wrist"])
    np.testing.assert_array_equal(first["state"], seen[0].proprio[None])


def test_starvla_is_told_from_its_greeting_and_sends_one_at_a_time_unless_told(listening, plane):
    with listening(_starvla(_answer)) as place:
        policy = load_policy(f"ws://{place}", plane, options={**IDENTITY, "statistics_key": "libero"})
        assert (policy.spec.chunk_length, policy.spec.max_batch_size) == (4, 1)
        policy.close()


@pytest.mark.parametrize(
    ("answer", "sentence"),
    [
        ({"status": "error", "ok": False, "error": {"message": "CUDA out of memory"}}, "reported: CUDA out of memory"),
        ({"ok": True, "data": {"normalized_actions": CHUNK[None]}}, "it sent normalized_actions"),
        ({"ok": True}, "it sent nothing"),
    ],
)
def test_starvla_failures_are_one_sentence(listening, plane, answer, sentence):
    options = {**IDENTITY, "statistics_key": "libero"}
    server = listening(_starvla(lambda request: pack_openpi(answer)))
    with server as place, pytest.raises(ServerError, match=sentence):
        load_policy(f"starvla://{place}", plane, options=options)


def test_starvla_statistics_must_be_offered(listening, plane):
    options = {"statistics_key": "bridge", **IDENTITY}
    with listening(_starvla(_answer)) as place, pytest.raises(CheckpointError, match="it offers robotwin, libero"):
        load_policy(f"starvla://{place}", plane, options=options)
    with listening(_starvla(_answer, {"env": "x"})) as place, pytest.raises(ServerError, match="is no starVLA server"):
        load_policy(f"starvla://{place}", plane, options=IDENTITY)
    odd = {"action_chunk_size": 4, "available_unnorm_keys": 7, "training_obs_image_size": "x"}
    with listening(_starvla(_answer, odd)) as place, pytest.raises(CheckpointError, match="it offers none"):
        load_policy(f"starvla://{place}", plane, options=options)
    # Several are offered, the harness names none and the server prefers none: somebody has to choose.
    with listening(_starvla(_answer)) as place, pytest.raises(CheckpointError, match="choose with -p statistics_key"):
        load_policy(f"starvla://{place}", plane, options=IDENTITY)


def test_the_first_answer_may_take_longer_and_its_wait_is_announced(listening, plane, monkeypatch, capsys):
    from simrun.policies.dialects import connection

    monkeypatch.setattr(connection, "_SILENCE", 0.05)
    times = iter([0.4, 0.0, 0.6])

    def slow(socket):
        socket.send(pack_openpi({}))
        for _ in socket:
            time.sleep(next(times))
            socket.send(pack_openpi({"actions": CHUNK}))

    with listening(slow) as place:
        options = {"timeout": 0.3, "first_timeout": 5.0, **IDENTITY}
        policy = load_policy(f"openpi://{place}", plane, options=options)
        told = capsys.readouterr().err
        assert told.count("waiting for the first answer of the policy server") == 1
        assert "given 5 s (-p first_timeout=SECONDS)" in told
        with pytest.raises(ServerError, match=r"no answer within 0\.3 s; .*-p timeout=SECONDS"):
            policy.infer([sample_observation(plane, None, 1)])
        policy.close()


def test_a_first_answer_that_never_comes_names_its_option(listening, plane):
    def silent(socket):
        socket.send(pack_openpi({}))
        for _ in socket:
            pass

    with listening(silent) as place, pytest.raises(ServerError, match=r"within 0\.2 s; .*-p first_timeout=SECONDS"):
        load_policy(f"openpi://{place}", plane, options={"timeout": 0.1, "first_timeout": 0.2, **IDENTITY})


def test_two_servers_that_greet_alike_are_told_apart_by_what_they_answer(listening, plane):
    """Issue 19: a remote policy has no identity; two servers of one kind greet with the same empty map."""
    state = {"actions": CHUNK, "lost": False}

    def answer(socket):
        socket.send(pack_openpi({}))
        for _ in socket:
            if state["lost"]:
                state["lost"] = False
                return
            socket.send(pack_openpi({"actions": state["actions"]}))

    with listening(answer) as place:
        first = load_policy(f"openpi://{place}", plane, options=IDENTITY)
        again = load_policy(f"openpi://{place}", plane, options=IDENTITY)
        assert first.spec.identity == again.spec.identity
        seen = [sample_observation(plane, None, 1, slot=0)]
        first.infer(seen)
        state["lost"] = True
        with pytest.raises(ServerError, match="went away"):
            first.infer(seen)
        # The same server answers the first question as before; another one does not.
        first.infer(seen)
        state |= {"lost": True, "actions": CHUNK + 0.25}
        with pytest.raises(ServerError, match="went away"):
            first.infer(seen)
        with pytest.raises(CheckpointError, match="it answers the same question otherwise"):
            first.infer(seen)
        other = load_policy(f"openpi://{place}", plane, options=IDENTITY)
        assert other.spec.identity != again.spec.identity
        for policy in (first, again, other):
            policy.close()


def test_a_server_that_draws_its_answers_is_known_by_its_greeting(listening, plane):
    generator = np.random.default_rng(0)

    def drawing(socket):
        socket.send(pack_openpi({"name": "flow"}))
        for _ in socket:
            socket.send(pack_openpi({"actions": generator.random((4, 3))}))

    with listening(drawing) as place:
        policies = [load_policy(f"openpi://{place}", plane, options=IDENTITY) for _ in range(2)]
    assert policies[0].spec.identity == policies[1].spec.identity
