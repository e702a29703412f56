"""The HTML report in use: by mouse, by keyboard, by link, on paper."""

import csv
import re
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread

import pytest
import soundfile

from ser_batch.reporting.pages.recordings import Recordings
from tests.support.pages import Page, browser_needed, write
from tests.support.paths import EXAMPLES, ROOT
from tests.support.results import call, write_results

AXE = ROOT / "ser_batch/reporting/pages/page/node_modules/axe-core/axe.min.js"


@browser_needed
def test_sorting_searching_and_filtering_work_by_mouse(many_calls, tmp_path, chromium):
    made = Page(chromium, write(many_calls, tmp_path / "report.html"))
    page = made.page
    title = page.locator(".tabulator-col[tabulator-field=path]")
    title.click()
    assert made.rows() == sorted(made.rows())
    assert title.get_attribute("aria-sort") == "ascending"
    title.click()
    assert made.rows() == sorted(made.rows(), reverse=True)
    assert "sort=-path" in page.url
    made.search("billing")
    assert set(made.rows()) == {"billing/1001.wav", "billing/broken.wav"}
    assert page.locator("#cards .card b").first.inner_text() == "2"
    made.search("")
    # A click on a group filters everything, and a second one undoes it.
    page.click("#groups .range >> nth=0")
    assert made.count() == "120 of 123"
    page.click("#groups .range >> nth=0")
    assert made.count() == "123 of 123"
    page.click("#trend .u-over")
    assert made.count() != "123 of 123"
    page.click("#chips button")
    assert made.count() == "123 of 123"
    assert made.complaints == []


@browser_needed
def test_a_search_without_hits_says_so_and_can_be_cleared(
    many_calls, tmp_path, chromium
):
    made = Page(chromium, write(many_calls, tmp_path / "report.html"))
    made.search("nothing like it")
    assert made.page.locator(".nothing").inner_text().startswith("No calls match.")
    made.page.click("text=Clear filters")
    assert made.count() == "123 of 123"
    assert made.page.input_value("#search") == ""
    assert made.complaints == []


@browser_needed
def test_a_link_opens_what_its_sender_saw(many_calls, tmp_path, chromium):
    path = write(many_calls, tmp_path / "report.html")
    sender = Page(chromium, path)
    page = sender.page
    sender.search("billing")
    page.select_option("#group", "folder")
    page.select_option("#measure", "angry_share")
    page.click(".tabulator-col[tabulator-field=path]")
    page.locator(".tabulator-row").first.click()
    page.locator("#moments button").last.click()
    (second,) = re.findall("[#&]t=([0-9]+)", page.url)
    chosen = "#" + page.url.split("#")[1]
    receiver = Page(chromium, path, chosen)
    assert (
        receiver.rows() == sender.rows() == ["billing/1001.wav", "billing/broken.wav"]
    )
    assert receiver.page.input_value("#measure") == "angry_share"
    assert receiver.page.locator("#call-title").inner_text() == "billing/1001.wav"
    # The recording is shorter than the call is said to be.
    length_s = soundfile.info(EXAMPLES / "billing" / "1001.wav").duration
    wanted = pytest.approx(min(int(second), length_s), abs=0.1)
    player = "document.querySelector('#player').currentTime"
    receiver.until(lambda: receiver.page.evaluate(player) == wanted)
    assert "#" + receiver.page.url.split("#")[1] == chosen
    assert receiver.complaints == []


@browser_needed
def test_everything_can_be_done_with_the_keyboard(many_calls, tmp_path, chromium):
    made = Page(chromium, write(many_calls, tmp_path / "report.html"))
    page = made.page
    page.locator("#groups .range").first.press("Enter")
    assert made.count() != "123 of 123"
    page.locator("#groups .range").first.press("Enter")
    page.locator("#trend button.toggle").press("Enter")
    page.locator("#trend tbody button").first.press("Enter")
    assert made.count() != "123 of 123"
    page.locator("#chips button").press("Enter")
    first = page.locator(".tabulator-row").first
    first.focus()
    for key in ("ArrowDown", "ArrowUp", "Enter"):
        page.keyboard.press(key)
    page.wait_for_selector("#moments button")
    name = page.locator("#call-title").inner_text()
    assert name == "billing/1001.wav"
    page.keyboard.press("j")
    assert "t=" in page.url
    page.keyboard.press("n")
    assert page.locator("#call-title").inner_text() != name
    page.keyboard.press("p")
    assert page.locator("#call-title").inner_text() == name
    page.keyboard.press("Escape")
    assert page.locator("#call").is_hidden()
    assert "call=" not in page.url
    assert page.evaluate("document.activeElement.dataset.id") == first.get_attribute(
        "data-id"
    )
    assert made.complaints == []


@browser_needed
def test_the_skip_link_keeps_what_was_chosen(many_calls, tmp_path, chromium):
    made = Page(chromium, write(many_calls, tmp_path / "report.html"), "#q=billing")
    made.page.locator(".skip").press("Enter")
    assert made.page.evaluate("document.activeElement.id") == "calls"
    assert made.count() == "2 of 123"


@browser_needed
def test_a_moment_plays_a_reachable_recording_from_its_start(
    many_calls, tmp_path, chromium
):
    made = Page(chromium, write(many_calls, tmp_path / "report.html"))
    page = made.page
    page.locator(".tabulator-row").first.click()
    page.wait_for_selector("#moments button")
    assert "anger for 15 s" in page.locator("#moments").inner_text()
    assert page.locator("#player").get_attribute("src") == "in/billing/1001.wav"
    assert "customer interrupts agent" in page.locator("#cuts").inner_text()
    page.locator("#moments button").last.click()
    made.until(
        lambda: page.evaluate("document.querySelector('#player').currentTime") > 0
    )
    page.click("#close")
    made.search("delivery/001")
    page.locator(".tabulator-row").first.click()
    page.wait_for_selector("#moments button")
    assert page.locator("#player").is_hidden()
    assert "cannot be played" in page.locator("#player-note").inner_text()


@browser_needed
def test_space_plays_and_pauses_after_a_moment_was_clicked(
    many_calls, tmp_path, chromium
):
    made = Page(chromium, write(many_calls, tmp_path / "report.html"))
    page = made.page
    page.locator(".tabulator-row").first.click()
    page.locator("#moments button").first.click()
    playing = "!document.querySelector('#player').paused"
    for _ in range(2):
        before = page.evaluate(playing)
        page.keyboard.press("Space")
        made.until(lambda before=before: page.evaluate(playing) != before)


@browser_needed
def test_the_csv_contains_the_calls_shown(many_calls, tmp_path, chromium):
    made = Page(chromium, write(many_calls, tmp_path / "report.html"))
    made.search("billing")
    with made.page.expect_download() as waiting:
        made.page.click("#export")
    text = Path(waiting.value.path()).read_text("utf-8")
    rows = list(csv.DictReader(text.splitlines()))
    assert [row["path"] for row in rows] == ["billing/1001.wav", "billing/broken.wav"]
    assert rows[1]["status"] == "failed"
    assert 0 < float(rows[0]["distress_share"]) < 1


@browser_needed
def test_twenty_calls_are_printed(many_calls, tmp_path, chromium):
    page = Page(chromium, write(many_calls, tmp_path / "report.html")).page
    page.emulate_media(media="print")
    page.evaluate("dispatchEvent(new Event('beforeprint'))")
    assert page.locator("#printed tbody tr").count() == 20
    assert "billing/1001.wav" in page.locator("#printed tbody").inner_text()
    assert page.locator("#table").is_hidden()


@browser_needed
@pytest.mark.parametrize(
    "chosen",
    [
        "#call=unknown&t=abc",
        "#measure=nonsense&by=nothing&sort=nowhere",
        "#anger=abc&distress=-&period=never&day=x&is.=1&is.none=2",
        "#hide=,,&view=x&%",
    ],
)
def test_an_address_of_something_else_opens_the_report(
    many_calls, tmp_path, chromium, chosen
):
    made = Page(chromium, write(many_calls, tmp_path / "report.html"), chosen)
    assert made.page.locator("#cards .card").count() == 5
    assert made.complaints == []


@browser_needed
@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("width", [1440, 1024, 390])
def test_axe_finds_nothing_serious_at_any_width(
    many_calls, tmp_path, chromium, scheme, width
):
    """Also with a call open; nothing is wider than the screen."""
    if not AXE.exists():
        pytest.skip("axe-core is not installed: run `make test`")
    made = Page(
        chromium,
        write(many_calls, tmp_path / "report.html"),
        color_scheme=scheme,
        viewport={"width": width, "height": 844},
        bypass_csp=True,
    )
    page = made.page
    page.add_script_tag(path=AXE)
    for state in ("list", "call"):
        if state == "call":
            page.locator(".tabulator-row").first.click()
            page.wait_for_selector("#moments button")
        else:
            page.locator("#more > summary").click()
        assert page.evaluate("document.documentElement.scrollWidth") <= width
        found = page.evaluate("axe.run()")["violations"]
        serious = [
            (v["id"], [node["html"][:120] for node in v["nodes"]][:3])
            for v in found
            if v["impact"] in ("serious", "critical")
        ]
        assert serious == []


@browser_needed
def test_a_call_opens_on_a_server_that_does_not_answer_ranges(tmp_path, chromium):
    # Such a server gives recordings no length, and an endless timeline would freeze
    # the page; it did so in one of three loads.
    roots = {"input_root": str(EXAMPLES)}
    angry = [(2.0, 8.0, {"angry": 0.9})]
    results = write_results(
        tmp_path / "out",
        call("billing/1001.wav", [(0, 2)], [(2, 8)], angry, 57.0, **roots),
    )
    folder = tmp_path / "page"
    write(results, f"{folder}/", Recordings(folder, copy="calls"))
    handler = partial(SimpleHTTPRequestHandler, directory=str(folder))
    handler.log_message = lambda *_: None
    with ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        Thread(target=server.serve_forever, daemon=True).start()
        for _ in range(6):
            page = chromium.new_page()
            page.goto(f"http://127.0.0.1:{server.server_port}/")
            page.wait_for_selector("body[data-ready]")
            page.locator(".tabulator-row").first.click()
            page.wait_for_selector("#moments button")
            page.wait_for_timeout(300)
            assert page.locator("#waveform").is_visible()
            page.close()
        server.shutdown()
