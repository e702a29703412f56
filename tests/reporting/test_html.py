"""The HTML report in a real browser: it works offline and with any file names."""

import base64
import csv
import gzip
import json
import os
import re
import shutil
import stat
from pathlib import Path
from urllib.parse import unquote_plus

import pytest
import soundfile

from ser_batch.errors import UsageError
from ser_batch.metadata.gathering import MetadataInputs
from ser_batch.reporting.figures.overview import make_report
from ser_batch.reporting.figures.selection import Options
from ser_batch.reporting.pages.html import write_html
from ser_batch.results.results import open_results
from tests.support.paths import EXAMPLES, ROOT
from tests.support.results import call, write_results

CHROMIUM = (
    shutil.which("chromium")
    or shutil.which("chromium-browser")
    or shutil.which("google-chrome")
)
browser_needed = pytest.mark.skipif(not CHROMIUM, reason="Chromium is not installed")
AXE = ROOT / "ser_batch/reporting/pages/page/node_modules/axe-core/axe.min.js"
EVIL = '<script>document.title="owned"</script>"><img src=x onerror=alert(1)>.wav'
QUEUE = "<b onclick=alert(1)>vip</b></script><script>alert(2)</script>"


@pytest.fixture
def results(tmp_path) -> Path:
    (tmp_path / "in" / "billing").mkdir(parents=True)
    shutil.copy(
        EXAMPLES / "billing" / "1001.wav", tmp_path / "in" / "billing" / "1001.wav"
    )
    place = {"input_root": str(tmp_path / "in")}
    storm = [
        (1, 4, {"angry": 0.1}),
        (80, 85, {"angry": 0.9}),
        (85, 90, {"angry": 0.8}),
        (90, 95, {"angry": 0.9}),
    ]
    calls = [
        call(
            f"delivery/{i:03}.wav",
            [(0, 5)],
            [(6, 9)],
            [(6, 9, {"angry": i / 200})],
            day=i % 5,
        )
        for i in range(120)
    ]
    return write_results(
        tmp_path / "out",
        call("billing/1001.wav", [(0, 5)], [(4, 30), (80, 95)], storm, **place),
        call(EVIL, [(0, 5)], [(6, 9)], [(6, 9, {"happy": 0.7})]),
        call("billing/broken.wav", error="the file is empty (0 bytes)"),
        *calls,
    )


@pytest.fixture
def metadata(tmp_path) -> Path:
    path = tmp_path / "calls.csv"
    rows = [
        "path,queue",
        f'"{EVIL.replace(chr(34), chr(34) * 2)}","{QUEUE}"',
        "billing/1001.wav,refunds",
    ]
    path.write_text("\n".join(rows) + "\n")
    return path


@pytest.fixture(scope="module")
def chromium():
    from playwright.sync_api import sync_playwright

    with sync_playwright() as driver:
        browser = driver.chromium.launch(
            executable_path=CHROMIUM, args=["--no-sandbox"]
        )
        yield browser
        browser.close()


class Page:
    """A page opened from disk with the network off, with its errors and warnings."""

    def __init__(self, browser, path: Path, chosen: str = "", **options) -> None:
        self.complaints: list[str] = []
        context = browser.new_context(offline=True, **options)
        self.page = context.new_page()
        self.page.on(
            "console",
            lambda m: (
                self.complaints.append(m.text)
                if m.type in ("error", "warning")
                else None
            ),
        )
        self.page.on("pageerror", lambda e: self.complaints.append(str(e)))
        self.page.on(
            "dialog",
            lambda d: (self.complaints.append(f"dialog: {d.message}"), d.dismiss()),
        )
        self.page.goto(path.as_uri() + chosen)
        self.page.wait_for_selector("body[data-ready]")

    def rows(self) -> list[str]:
        """Return the recordings of the rows in the document."""
        names = self.page.locator(".tabulator-row [tabulator-field=path] span")
        return [name.get_attribute("title") for name in names.all()]

    def search(self, text: str) -> None:
        """Search, and wait until the address says so."""
        self.page.fill("#search", text)
        self.until(
            lambda: (
                (f"q={text}" if text else "") in unquote_plus(self.page.url)
                and bool(text) == ("q=" in self.page.url)
            )
        )

    def until(self, holds) -> None:
        # The content security policy stops the driver from waiting for an expression.
        for _ in range(100):
            if holds():
                return
            self.page.wait_for_timeout(50)
        pytest.fail("nothing happened within five seconds")

    def count(self) -> str:
        return self.page.locator("#count").inner_text()


def write(results: Path, target: Path | str, recordings=None, **options) -> Path:
    with make_report(
        open_results(results), Options(**{"undated": True, **options})
    ) as opened:
        return write_html(opened, str(target), recordings)


@browser_needed
def test_the_report_opens_offline_and_lists_the_strongest_calls_first(
    results, tmp_path, chromium
):
    made = Page(
        chromium,
        write(results, tmp_path / "report.html"),
        viewport={"width": 1440, "height": 900},
    )
    page = made.page
    assert made.rows()[0] == "billing/1001.wav"
    assert made.count() == "123 of 123"
    assert page.locator("#cards .card").count() == 5
    assert page.locator("#trend canvas").count() == 1
    assert page.locator("#groups .range").count() == 3
    top = page.locator("#table").bounding_box()["y"]
    assert top <= 420
    assert page.locator(".tabulator-row").first.bounding_box()["height"] == 36
    assert page.locator(".tabulator-row").count() <= 100
    assert made.complaints == []


@browser_needed
def test_hostile_names_and_metadata_are_shown_as_text(
    results, metadata, tmp_path, chromium
):
    inputs = MetadataInputs(metadata)
    made = Page(
        chromium, write(results, tmp_path / "r.html", inputs=inputs, by="queue")
    )
    page = made.page
    assert QUEUE in page.locator("#groups").inner_text()
    page.click("#groups button.toggle")
    assert QUEUE in page.locator("#groups table").inner_text()
    made.search("onerror")
    assert made.rows() == [EVIL]
    page.locator(".tabulator-row").first.click()
    assert page.locator("#call-title").inner_text() == EVIL
    assert QUEUE in page.locator("#call-facts").inner_text()
    page.wait_for_selector("#waveform > div")
    assert (
        page.evaluate("document.querySelectorAll('img[src=x], b[onclick]').length") == 0
    )
    assert page.title() != "owned"
    assert made.complaints == []


@browser_needed
def test_a_hostile_name_of_a_metadata_column_is_shown_as_text(
    results, tmp_path, chromium
):
    (tmp_path / "m.csv").write_text(
        "path,<img src=x onerror=alert(1)>\nbilling/1001.wav,1\ndelivery/001.wav,2\n"
    )
    inputs = MetadataInputs(tmp_path / "m.csv")
    made = Page(chromium, write(results, tmp_path / "r.html", inputs=inputs))
    assert "<img src=x" in made.page.locator(".tabulator-header").inner_text()
    made.page.click("#chooser summary")
    chooser = made.page.locator("#columns")
    made.until(lambda: "<img src=x" in chooser.inner_text())
    assert made.complaints == []


@browser_needed
def test_group_figures_in_the_html_report_match_json(results, tmp_path, chromium):
    """Check a metadata column with the name of a built-in one as well."""
    rows = [
        "path,agent,unit",
        *(f"delivery/{i:03}.wav,agent {i % 6},team {i % 2}" for i in range(120)),
    ]
    (tmp_path / "m.csv").write_text("\n".join(rows) + "\n")
    inputs = MetadataInputs(tmp_path / "m.csv")
    for by in ("agent", "unit"):
        with make_report(
            open_results(results), Options(inputs=inputs, undated=True, by=by)
        ) as opened:
            groups = opened.report.groups
            made = Page(chromium, write_html(opened, str(tmp_path / f"{by}.html")))
        made.page.click("#groups button.toggle")
        drawn = [
            row.locator("th, td").all_inner_texts()
            for row in made.page.locator("#groups tbody tr").all()
        ]
        assert len(drawn) == len(groups)
        for key, group in groups.items():
            figure = group["distress_share"]
            (said,) = [row for row in drawn if row[0] == (key or "(unknown)")]
            between = (
                ""
                if figure.low is None
                else f"{figure.low * 100:.1f} to {figure.high * 100:.1f} %"
            )
            n = str(figure.recordings)
            assert said[1:] == [f"{figure.value * 100:.1f} %", between, n]


@browser_needed
def test_sorting_searching_and_filtering_work_by_mouse(results, tmp_path, chromium):
    made = Page(chromium, write(results, tmp_path / "report.html"))
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
def test_a_search_without_hits_says_so_and_can_be_cleared(results, tmp_path, chromium):
    made = Page(chromium, write(results, tmp_path / "report.html"))
    made.search("nothing like it")
    assert made.page.locator(".nothing").inner_text().startswith("No calls match.")
    made.page.click("text=Clear filters")
    assert made.count() == "123 of 123"
    assert made.page.input_value("#search") == ""
    assert made.complaints == []


@browser_needed
def test_a_link_opens_what_its_sender_saw(results, tmp_path, chromium):
    path = write(results, tmp_path / "report.html")
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
def test_everything_can_be_done_with_the_keyboard(results, tmp_path, chromium):
    made = Page(chromium, write(results, tmp_path / "report.html"))
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
def test_a_moment_plays_a_reachable_recording_from_its_start(
    results, tmp_path, chromium
):
    made = Page(chromium, write(results, tmp_path / "report.html"))
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
def test_the_csv_contains_the_calls_shown(results, tmp_path, chromium):
    made = Page(chromium, write(results, tmp_path / "report.html"))
    made.search("billing")
    with made.page.expect_download() as waiting:
        made.page.click("#export")
    text = Path(waiting.value.path()).read_text("utf-8")
    rows = list(csv.DictReader(text.splitlines()))
    assert [row["path"] for row in rows] == ["billing/1001.wav", "billing/broken.wav"]
    assert rows[1]["status"] == "failed"
    assert 0 < float(rows[0]["distress_share"]) < 1


@browser_needed
@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("width", [1440, 1024, 390])
def test_axe_finds_nothing_serious_at_any_width(
    results, tmp_path, chromium, scheme, width
):
    """Also with a call open; nothing is wider than the screen."""
    if not AXE.exists():
        pytest.skip("axe-core is not installed: run `make test`")
    made = Page(
        chromium,
        write(results, tmp_path / "report.html"),
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
def test_a_report_folder_loads_the_calls_it_shows(results, tmp_path, chromium):
    index = write(results, f"{tmp_path / 'pages'}/")
    assert index.name == "index.html"
    assert len(list((index.parent / "calls").iterdir())) == 3
    made = Page(chromium, index)
    made.search("delivery/119")
    made.page.locator(".tabulator-row").first.click()
    made.page.wait_for_selector("#moments button")
    assert made.complaints == []


@browser_needed
def test_undated_calls_are_a_choice_of_their_own(tmp_path, chromium):
    rows = [call(f"{i}.wav", scored=[(6, 9, {"angry": 0.3})]) for i in range(3)]
    directory = write_results(tmp_path / "out", *rows)
    (tmp_path / "m.csv").write_text("path,started_at\n0.wav,2026-03-02T09:00:00\n")
    inputs = MetadataInputs(tmp_path / "m.csv")
    target = write(directory, tmp_path / "r.html", inputs=inputs, undated=False)
    made = Page(chromium, target)
    assert made.count() == "3 of 3"
    made.page.select_option("#filters select >> nth=0", "undated")
    assert sorted(made.rows()) == ["1.wav", "2.wav"]
    assert "No dated calls" in made.page.locator("#trend").inner_text()
    assert made.complaints == []


def test_only_changes_beyond_chance_stand_out(results, tmp_path):
    text = write(results, tmp_path / "same.html", compare=str(results)).read_text(
        "utf-8"
    )
    assert "changed beyond chance:\nnothing." in text
    assert "<strong>" not in text.split("<main>")[1].split("</main>")[0]
    calm = write_results(
        tmp_path / "calm",
        *(call(f"{i}.wav", scored=[(6, 9, {"angry": i / 900})]) for i in range(90)),
    )
    text = write(results, tmp_path / "more.html", compare=str(calm)).read_text("utf-8")
    assert "angry share <strong>+" in text


@pytest.mark.slow
@browser_needed
def test_results_without_scored_calls_make_a_report(tmp_path, chromium):
    for name, calls in (
        ("none", []),
        ("failed", [call("a.wav", error="broken")]),
        ("silent", [call("a.wav")]),
    ):
        directory = write_results(tmp_path / name, *calls)
        made = Page(chromium, write(directory, tmp_path / f"{name}.html"))
        assert len(made.rows()) == len(calls)
        assert made.complaints == []


def test_too_many_calls_for_a_file_are_refused_before_the_work(
    results, tmp_path, monkeypatch
):
    monkeypatch.setattr("ser_batch.reporting.pages.html.MAX_BYTES", 100_000)
    monkeypatch.setattr("ser_batch.reporting.pages.html.details", None)
    with pytest.raises(UsageError, match="123 calls would make a file.*--html DIR/"):
        write(results, tmp_path / "report.html")
    assert not (tmp_path / "report.html").exists()


def test_only_regular_files_are_replaced(results, tmp_path):
    os.mkfifo(tmp_path / "pipe")
    for target in (tmp_path / "pipe", ""):
        with pytest.raises(UsageError, match="is not a file that can be replaced"):
            write(results, target)
    assert stat.S_ISFIFO((tmp_path / "pipe").stat().st_mode)


def test_no_name_of_the_results_is_in_the_file_as_markup(results, tmp_path):
    text = write(results, tmp_path / "report.html").read_text("utf-8")
    assert EVIL not in text
    data = text.split('id="data">')[1].split("</script>")[0]
    calls = json.loads(gzip.decompress(base64.b64decode(data)))["calls"]
    assert EVIL in {row["path"] for row in calls}


@browser_needed
def test_space_plays_and_pauses_after_a_moment_was_clicked(results, tmp_path, chromium):
    made = Page(chromium, write(results, tmp_path / "report.html"))
    page = made.page
    page.locator(".tabulator-row").first.click()
    page.locator("#moments button").first.click()
    playing = "!document.querySelector('#player').paused"
    for _ in range(2):
        before = page.evaluate(playing)
        page.keyboard.press("Space")
        made.until(lambda before=before: page.evaluate(playing) != before)


@browser_needed
def test_twenty_calls_are_printed(results, tmp_path, chromium):
    page = Page(chromium, write(results, tmp_path / "report.html")).page
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
    results, tmp_path, chromium, chosen
):
    made = Page(chromium, write(results, tmp_path / "report.html"), chosen)
    assert made.page.locator("#cards .card").count() == 5
    assert made.complaints == []


@browser_needed
def test_a_page_that_is_older_than_its_folder_shows_no_other_call(
    results, tmp_path, chromium
):
    index = write(results, f"{tmp_path / 'pages'}/")
    made = Page(chromium, index)
    newer = write_results(
        tmp_path / "newer",
        *(call(f"new/{i}.wav", scored=[(6, 9, {"angry": 0.9})]) for i in range(9)),
    )
    write(newer, f"{tmp_path / 'pages'}/")
    made.page.locator(".tabulator-row").first.click()
    note = made.page.locator("#player-note")
    made.until(lambda: "the report has changed; reload it" in note.inner_text())
    assert made.page.locator("#moments li").count() == 0


@browser_needed
def test_the_skip_link_keeps_what_was_chosen(results, tmp_path, chromium):
    made = Page(chromium, write(results, tmp_path / "report.html"), "#q=billing")
    made.page.locator(".skip").press("Enter")
    assert made.page.evaluate("document.activeElement.id") == "calls"
    assert made.count() == "2 of 123"
