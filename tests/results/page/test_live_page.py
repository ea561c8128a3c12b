"""The live page: what it tells of a run that goes on, whom it refuses, and that it holds up under many episodes."""

from __future__ import annotations

import http.client
import json
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from urllib.parse import urlsplit

import pytest

from simrun.errors import UsageError
from simrun.results import JournalWriter
from tests.results.page import webdriver
from tests.results.page.test_frozen_page import needs_browser, sweep
from tests.results.synthetic_records import MakeRun

pytest.importorskip("starlette")
pytest.importorskip("uvicorn")

from simrun.results.page.server import Feed, make_app

ROOT = Path(__file__).resolve().parents[3]


@contextmanager
def viewing(*runs: Path) -> Iterator[str]:
    """The address of a server over runs, in a process of its own as a user has it."""
    command = [sys.executable, "-m", "simrun", "view", *map(str, runs), "--port", "0"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as server:
        assert server.stdout is not None
        try:
            address = server.stdout.readline().strip()
            assert address.startswith("http://127.0.0.1:"), address
            yield address
        finally:
            server.terminate()


def ask(address: str, **headers: str) -> tuple[int, bytes]:
    """Status and body of an answer, with headers as given."""
    parts = urlsplit(address)
    connection = http.client.HTTPConnection(str(parts.hostname), parts.port, timeout=30)
    connection.request("GET", parts.path, headers=headers)
    answer = connection.getresponse()
    body = answer.read()
    connection.close()
    return answer.status, body


def wait_for_episodes(address: str) -> None:
    end = time.monotonic() + 60
    while ask(f"{address}episode/0")[0] != 200:
        assert time.monotonic() < end
        time.sleep(0.1)


def test_a_feed_takes_in_what_journals_gain(make_run: MakeRun) -> None:
    records = sweep()
    folder = make_run(records, missing=40, journals=2)
    feed = Feed([folder])
    assert json.loads(feed.overview)["runs"][0]["state"] == "waiting"
    assert feed.look()
    assert len(feed.document) == len(feed.changes) == 200
    first = json.loads(feed.overview)
    assert first["runs"][0]["completed"] == 200
    assert first["runs"][0]["state"] == "stopped"
    assert not feed.look()
    with (folder / "journal" / "1.jsonl").open("ab") as torn:
        torn.write(b'{"checkpoint": "half a li')
    assert not feed.look()
    with JournalWriter(folder / "journal" / "2.jsonl") as journal:
        for one in records[200:]:
            journal.append(one)
    assert feed.look()
    assert feed.changes[200:] == list(range(200, 240))
    assert json.loads(json.dumps(feed.document.overview()))["runs"][0]["completed"] == 240
    again = Feed([folder])
    assert again.look()
    assert again.document.episodes()["total"] == 240


def test_a_folder_without_a_run_is_one_sentence(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="holds no run"):
        Feed([tmp_path])


def test_others_are_refused(make_run: MakeRun) -> None:
    with viewing(make_run(sweep())) as address:
        assert ask(address)[0] == 200
        port = address.split(":")[2].split("/")[0]
        assert ask(f"http://127.0.0.1:{port}/")[0] == 404
        assert ask(f"http://127.0.0.1:{port}/guess/episode/0")[0] == 404
        assert ask(address, Host="rebound.example")[0] == 403
        assert ask(address, Origin="http://evil.example")[0] == 403
        assert ask(address, **{"Sec-Fetch-Site": "cross-site"})[0] == 403
        wait_for_episodes(address)
        status, body = ask(f"{address}episode/9999")
        assert (status, body) == (404, b"there is no episode 9999")
        assert ask(f"{address}video/0")[0] == 404
        assert ask(f"{address}comparison/0/77")[0] == 404


def test_the_application_is_built_without_a_browser(make_run: MakeRun) -> None:
    assert callable(make_app(Feed([make_run(sweep())]), "secret", watch=False))


@needs_browser
def test_an_episode_arrives_without_reload(make_run: MakeRun) -> None:
    records = sweep()
    folder = make_run(records, missing=30)
    with viewing(folder) as address, webdriver.Browser() as browser:
        browser.open(address)
        browser.wait_until("document.getElementById('completed')?.textContent === '210'")
        browser.press("4")
        browser.wait_until("document.getElementById('count')?.textContent.startsWith('210 of 210')")
        with JournalWriter(folder / "journal" / "more.jsonl") as journal:
            for one in records[210:]:
                journal.append(one)
        browser.wait_until("document.getElementById('count').textContent.startsWith('240 of 240')")
        browser.wait_until("document.getElementById('completed').textContent === '240'")
        browser.press("3")
        browser.wait_until("document.querySelector('#comparison .verdict') !== null")
        assert not [message for message in browser.messages() if message["level"] == "SEVERE"]


@needs_browser
def test_what_the_reader_did_outlives_new_numbers(make_run: MakeRun) -> None:
    records = sweep()
    folder = make_run(records, missing=30)
    first = "document.querySelector('#main .card tbody tr td:nth-child(5)')"
    with viewing(folder) as address, webdriver.Browser(width=500) as browser:
        browser.open(address)
        browser.wait_until("document.getElementById('completed')?.textContent === '210'")
        browser.resize(390, 900)
        # Sorted by episodes, downwards; the button keeps the focus, the table stays where it was pushed to.
        for _ in range(2):
            browser.run("document.querySelector('#main .card th:nth-child(5) button').click()")
        browser.run("document.querySelector('#main .card th:nth-child(5) button').focus({ preventScroll: true })")
        browser.run("document.querySelector('#main .scroll').scrollLeft = 30")
        assert browser.run(f"return {first}.textContent") == "60"
        with JournalWriter(folder / "journal" / "more.jsonl") as journal:
            for one in records[210:]:
                journal.append(one)
        browser.wait_until("document.getElementById('completed').textContent === '240'")
        browser.wait_until("document.querySelector('#main .card').textContent.includes(' of 60') === false")
        assert browser.run("return document.querySelector('#main .card th[aria-sort]').getAttribute('aria-sort')") == (
            "descending"
        )
        assert browser.run("return document.activeElement.textContent") == "episodes"
        assert browser.run("return document.querySelector('#main .scroll').scrollLeft") == 30
        assert not [message for message in browser.messages() if message["level"] == "SEVERE"]


HOSTILE_REQUESTS = (
    ("episode/" + "9" * 5000, {}, 404),
    ("episode/-1", {}, 404),
    ("episode/x", {}, 404),
    ("comparison/0/99999", {}, 404),
    ("video/1e3", {}, 404),
    ("", {"Host": "[::1"}, 403),
    ("", {"Host": "["}, 403),
    ("", {"Origin": "http://["}, 403),
    ("", {"Origin": "null"}, 403),
    ("episode/0", {"Sec-Fetch-Site": "cross-site"}, 403),
)


def test_hostile_requests_are_answered_with_a_reason(make_run: MakeRun) -> None:
    with viewing(make_run(sweep(), missing=200)) as address:
        wait_for_episodes(address)
        for path, headers, wanted in HOSTILE_REQUESTS:
            status, body = ask(f"{address}{path}", **headers)
            assert status == wanted, (path[:30], headers, status, body[:200])
            assert b"Traceback" not in body
        # Whoever says nonsense of where it was begins anew.
        for told in ("x", "-1", "9" * 5000, "\xff", "99999999"):
            parts = urlsplit(address)
            connection = http.client.HTTPConnection(str(parts.hostname), parts.port, timeout=30)
            connection.request("GET", f"{parts.path}events", headers={"Last-Event-ID": told})
            answer = connection.getresponse()
            assert answer.status == 200
            assert answer.read(4) in (b"id: ", b": st")
            connection.close()
        assert ask(f"{address}episode/0")[0] == 200


@pytest.mark.slow
@needs_browser
def test_beside_a_real_run(tmp_path: Path) -> None:
    pytest.importorskip("mujoco")
    pytest.importorskip("onnxruntime")
    folder, network = tmp_path / "run", ROOT / "examples" / "checkpoints" / "tabletop_bc.onnx"
    command = [sys.executable, "-m", "simrun", "--bench", "tabletop", "--ckpt", str(network), "--exec", "full,single"]
    command += ["--tasks", "reach_red,red_in_bowl", "--workers", "1", "--record", "all", "--video", "all", "--quiet"]
    with subprocess.Popen([*command, "--out", str(folder)], stdout=subprocess.DEVNULL) as run:
        while not (folder / "plan.json").exists():
            assert run.poll() is None
            time.sleep(0.1)
        with viewing(folder) as address, webdriver.Browser() as browser:
            browser.open(f"{address}#episodes")
            browser.run("window.here = true")
            browser.wait_until("episodes.count >= 3", 60)
            assert browser.run("return document.querySelector('.chip').textContent") == "running"
            shown = "document.querySelectorAll('#episodes tbody tr').length"
            first = browser.run(f"return {shown}")
            browser.wait_until(f"{shown} > {first}", 60)

            # Filtered and sorted, and an episode's film played, while others arrive.
            browser.run("showEpisodes({ outcome: 'failure' })")
            browser.wait_until(f"{shown} > 0 && document.querySelectorAll('#episodes .failure').length === {shown}", 60)
            browser.run(
                "[...document.querySelectorAll('#episodes th button')].find((one) => one.innerText === 'steps').click()"
            )
            browser.wait_until(
                "document.querySelector('#episodes th[aria-sort=ascending]')?.textContent.startsWith('steps')"
            )
            browser.click("#episodes tbody tr")
            browser.wait_until("document.querySelector('#detail video')?.currentTime > 0.3", 30)
            assert browser.run("return document.querySelectorAll('#detail svg .executed').length") == 1
            browser.run("detail.close()")

            browser.wait_until("document.querySelector('.chip').textContent === 'complete'", 120)
            assert run.wait(60) == 0
            # Failures are seen at a glance, each at its end.
            browser.press("2")
            films = "[...document.querySelectorAll('.thumb video')]"
            browser.wait_until(f"{films}.filter((one) => one.currentTime > one.duration - 0.1).length >= 3", 30)

            # Two candidates, and where they part.
            browser.press("3")
            browser.wait_until("document.querySelector('#comparison .verdict') !== null")
            browser.click("#comparison tbody tr")
            browser.wait_until("document.getElementById('parting')?.textContent.startsWith('Executed actions part at')")
            browser.wait_until(
                "[...document.querySelectorAll('#detail video')].filter((one) => one.readyState > 1).length === 2"
            )
            browser.click("#play")
            browser.wait_until(
                "Math.min(...[...document.querySelectorAll('#detail video')].map((one) => one.currentTime)) > 0.4"
            )
            assert browser.run("return window.here")
            assert not [message for message in browser.messages() if message["level"] == "SEVERE"]
