"""The page frozen into one file: self-contained, harmless, and usable in a real browser."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from msgspec.structs import replace

from simrun.errors import JournalError
from simrun.results import EpisodeRecord
from simrun.results.page import write_report
from simrun.results.page.overview import short_labels
from simrun.results.records import INFRASTRUCTURE_ERROR
from simrun.results.run import Run
from simrun.results.video import video_name, write_video
from tests.results.page import webdriver
from tests.results.synthetic_records import LIBERO, MakeRun, chains, outcomes, record

HOSTILE = "</script><img src=x onerror=\"document.title='owned'\">'\"&<b>@script@"

needs_browser = pytest.mark.skipif(not webdriver.available(), reason="needs chromium and chromedriver")


def sweep() -> list[EpisodeRecord]:
    checkpoints = [f"/data/run/step_{step}.onnx" for step in (1000, 2000)]
    records = list(outcomes({"a_task": 0.9, "b_task": 0.2}, 30, checkpoints=checkpoints, executions=["full", "half"]))
    return [
        replace(
            one,
            stages=[
                {"name": "grasped", "first_step": 5 if one.trial % 3 else None, "held": False},
                {"name": "placed", "first_step": 30 if one.success else None, "held": one.success},
            ],
        )
        for one in records
    ]


def boot_of(page: str) -> dict[str, Any]:
    (text,) = re.findall(r'<script type="application/json" id="boot">(.*?)</script>', page, re.DOTALL)
    boot: dict[str, Any] = json.loads(text)
    return boot


def film(run: Run, one: EpisodeRecord) -> None:
    frames = [np.full((64, 64, 3), 5 * index, np.uint8) for index in range(40)]
    write_video(run.path / str(one.video), frames, one)


def test_a_circle_of_links_in_its_place_is_one_sentence(make_run: MakeRun, tmp_path: Path) -> None:
    circle = tmp_path / "circle.html"
    circle.symlink_to(circle.name)
    run = Run.read(make_run([replace(one, video=f"videos/{video_name(one)}") for one in sweep()[:1]]))
    film(run, run.records[0])
    with pytest.raises(JournalError, match=r"circle\.html cannot be written: Too many levels of symbolic links"):
        write_report([run], circle, videos="linked")


def test_is_one_file_that_asks_for_nothing(make_run: MakeRun) -> None:
    run = Run.read(make_run(sweep()))
    page = write_report([run], run.path / "report.html").read_text(encoding="utf-8")
    markup = page.split('<script type="application/json"')[0]
    assert not re.findall(r"(?:src|href)\s*=\s*[\"'](?!#|data:)[^\"']*", markup)
    assert "default-src 'none'" in markup
    assert "connect-src 'none'" in markup


def test_it_holds_the_numbers_of_the_tables(make_run: MakeRun) -> None:
    run = Run.read(make_run(sweep()))
    boot = boot_of(write_report([run], run.path / "report.html").read_text(encoding="utf-8"))
    cells = boot["overview"]["cells"]
    assert [(cell["n"], cell["step"], cell["execution"]) for cell in cells] == [
        (60, 1000, "full"),
        (60, 1000, "half"),
        (60, 2000, "full"),
        (60, 2000, "half"),
    ]
    solved = sum(one.success for one in run.records if one.cell == run.records[0].cell)
    assert cells[0]["text"] == f"{100 * solved / 60:.1f}"
    assert cells[0]["low"] < cells[0]["value"] < cells[0]["high"]
    assert boot["overview"]["labels"] == {f"/data/run/step_{step}.onnx": f"step_{step}.onnx" for step in (1000, 2000)}
    assert boot["overview"]["runs"][0]["state"] == "complete"
    groups = boot["overview"]["failures"]["stage"]
    failed = [one for one in run.records if not one.success]
    assert sum(group["count"] for group in groups) == len(failed)
    assert {group["value"] for group in groups} == {"never: grasped", "never: placed"}
    comparison = boot["frozen"]["comparison/0/2"]
    assert sum(comparison["counts"]) == comparison["n"] == 60
    assert boot["frozen"]["episodes"]["total"] == 240


def test_no_text_of_a_record_becomes_markup(make_run: MakeRun) -> None:
    records = [replace(r, checkpoint=r.checkpoint + HOSTILE, instruction=HOSTILE) for r in chains(0.8, 6)]
    records.append(
        replace(record(checkpoint="x" + HOSTILE), status=INFRASTRUCTURE_ERROR, error=HOSTILE, execution=HOSTILE)
    )
    run = Run.read(make_run(records, fingerprints={HOSTILE: {HOSTILE: HOSTILE}}))
    page = write_report([run], run.path / "report.html").read_text(encoding="utf-8")
    assert "<img" not in page
    assert page.count("</script>") == 2
    assert boot_of(page)["overview"]["errors"] == [{"text": HOSTILE, "count": 1}]


def test_a_video_outside_the_run_is_not_linked(make_run: MakeRun, tmp_path: Path) -> None:
    (tmp_path / "secret.mp4").write_bytes(b"secret")
    run = Run.read(make_run([record(video="../secret.mp4"), record(trial=1, video="videos/missing.mp4")]))
    frozen = boot_of(write_report([run], run.path / "report.html", videos="embedded").read_text("utf-8"))["frozen"]
    assert [frozen[f"episode/{number}"]["video"] for number in range(2)] == [None, None]


def test_labels_drop_what_all_share() -> None:
    assert short_labels(["/a/b/c/x.onnx", "/a/b/d/x.onnx"]) == {
        "/a/b/c/x.onnx": "c/x.onnx",
        "/a/b/d/x.onnx": "d/x.onnx",
    }
    assert short_labels(["scripted:expert", "/a/x"]) == {"scripted:expert": "scripted:expert", "/a/x": "x"}
    assert short_labels(["x.onnx", "y/x.onnx"]) == {"x.onnx": "x.onnx", "y/x.onnx": "y/x.onnx"}


@needs_browser
@pytest.mark.parametrize("videos", ["linked", "embedded"])
def test_in_a_browser(make_run: MakeRun, videos: str) -> None:
    records = sweep()
    filmed = replace(records[7], instruction=HOSTILE)
    filmed = replace(filmed, video=f"videos/{video_name(filmed)}")
    records[7] = filmed
    other = next(
        index for index, one in enumerate(records) if one.episode == filmed.episode and one.cell != filmed.cell
    )
    records[other] = replace(records[other], video=f"videos/{video_name(records[other])}")
    run = Run.read(make_run(records))
    film(run, filmed)
    film(run, records[other])
    page = write_report([run], run.path / "report #1.html", videos=videos)

    with webdriver.Browser() as browser:
        browser.open(page)
        browser.wait_until("document.querySelectorAll('#main .card').length >= 5")
        assert browser.run("return document.getElementById('completed').textContent") == "240"

        # Keys lead from view to view; the list is searched, sorted and turned.
        browser.press("4")
        rows = "document.querySelectorAll('#episodes tbody tr')"
        browser.wait_until(f"{rows}.length === 100")
        browser.press("/")
        browser.keys("#search", "b_task")
        browser.wait_until("document.getElementById('count').textContent.startsWith('120 of 240')")
        browser.run("document.querySelector('#episodes thead th:nth-child(4) button').click()")
        browser.run("document.querySelector('#episodes thead th:nth-child(4) button').click()")
        assert browser.run(f"return {rows}[0].cells[3].textContent") == "29"
        browser.click("#next")
        browser.wait_until("document.getElementById('page').textContent === 'page 2 of 2'")

        # An episode is looked at: its film plays, and no text of it has become markup.
        browser.run("showEpisodes({ film: true })")
        browser.wait_until(f"{rows}.length === 2")
        browser.run(f"{rows}[0].click()")
        browser.wait_until("document.querySelector('#detail video')?.currentTime > 0.2")
        assert browser.run("return document.querySelector('#detail dl').textContent.includes('onerror')")
        assert browser.run("return document.title").startswith("simrun: ")
        browser.press("\ue00c")
        browser.wait_until("!document.getElementById('detail').open")

        # Why and compare.
        browser.press("2")
        assert browser.run("return document.querySelectorAll('.group').length") >= 3
        assert browser.run("return document.querySelectorAll('.stage').length") == 8
        browser.press("3")
        browser.wait_until("document.querySelector('#comparison .verdict') !== null")
        browser.run("document.querySelector('#comparison tbody tr').click()")
        browser.wait_until("document.getElementById('detail').open")
        assert "recorded" in browser.run("return document.getElementById('parting').textContent")
        assert "null" not in browser.run("return document.getElementById('detail').textContent")

        # Two films run in step, whether or not where they part is part of the file.
        browser.run("openPair(arguments[0], arguments[1])", 7, other)
        videos_ready = "[...document.querySelectorAll('#detail video')].filter((video) => video.readyState > 1)"
        browser.wait_until(f"{videos_ready}.length === 2")
        browser.click("#play")
        times = "[...document.querySelectorAll('#detail video')].map((video) => video.currentTime)"
        browser.wait_until(f"Math.min(...{times}) > 0.5")
        browser.press(" ")
        first, second = browser.run(f"return {times}")
        assert abs(first - second) < 0.2
        browser.wait_until("document.getElementById('play').textContent === 'Play'")

        for width in (390, 768, 1280, 1920):
            browser.resize(width, 900)
            for view in ("overview", "why", "compare", "episodes"):
                browser.run("detail.close(); go(arguments[0])", view)
                browser.wait_until("!document.getElementById('comparison') || document.querySelector('.verdict')")
                overflow = "return document.documentElement.scrollWidth - document.documentElement.clientWidth"
                assert browser.run(overflow) <= 0, f"{view} is wider than {width} pixels"
        assert not [message for message in browser.messages() if message["level"] == "SEVERE"]


@needs_browser
def test_light_and_dark_are_both_readable(make_run: MakeRun) -> None:
    run = Run.read(make_run(sweep()))
    page = write_report([run], run.path / "report.html")
    contrast = """
    const parse = (text) => text.match(/[\\d.]+/g).slice(0, 3).map(Number);
    const linear = (v) => (v / 255 <= .03928 ? v / 255 / 12.92 : ((v / 255 + .055) / 1.055) ** 2.4);
    const light = (rgb) => rgb.map(linear).reduce((sum, v, i) => sum + [.2126, .7152, .0722][i] * v, 0);
    const ground = light(parse(getComputedStyle(document.querySelector('.card')).backgroundColor));
    return ['td', 'th button', '.muted'].map((selector) => {
      const text = light(parse(getComputedStyle(document.querySelector('.card ' + selector)).color));
      return (Math.max(text, ground) + .05) / (Math.min(text, ground) + .05); });
    """
    with webdriver.Browser() as browser:
        for dark in (False, True):
            browser.prefer_dark(dark)
            browser.open(page)
            browser.wait_until("document.querySelector('.card td') !== null")
            assert browser.run("return document.documentElement.dataset.theme") == ("dark" if dark else "light")
            assert min(browser.run(contrast)) >= 4.5


def test_several_runs_show_their_names(make_run: MakeRun) -> None:
    runs = [Run.read(make_run([record(protocol=LIBERO, checkpoint=name)], name=name)) for name in ("first", "second")]
    overview = boot_of(write_report(runs, runs[0].path / "report.html").read_text("utf-8"))["overview"]
    assert overview["title"] == "first, second"
    assert [run["name"] for run in overview["runs"]] == ["first", "second"]
