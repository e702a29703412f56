"""The HTML report in a real browser: it works offline and with any file names."""

import json
import os
import shutil
import stat
from pathlib import Path

import pytest

from ser_batch.errors import UsageError
from ser_batch.metadata.gathering import MetadataInputs
from ser_batch.reporting.figures.overview import make_report
from ser_batch.reporting.figures.selection import Options
from ser_batch.reporting.pages.html import write_html
from ser_batch.results.results import open_results
from tests.support.paths import EXAMPLES
from tests.support.results import call, write_results

CHROMIUM = (
    shutil.which("chromium")
    or shutil.which("chromium-browser")
    or shutil.which("google-chrome")
)
browser_needed = pytest.mark.skipif(not CHROMIUM, reason="Chromium is not installed")
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

    def __init__(self, browser, path: Path, **options) -> None:
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
        self.page.goto(path.as_uri())
        self.page.wait_for_selector("body[data-ready]")

    def rows(self) -> list[str]:
        return self.page.locator("#table tbody tr td:first-child").all_inner_texts()


def write(results: Path, target: Path | str, **options) -> Path:
    with make_report(
        open_results(results), Options(**{"undated": True, **options})
    ) as opened:
        return write_html(opened, str(target))


@browser_needed
def test_the_report_opens_offline_and_lists_the_strongest_calls_first(
    results, tmp_path, chromium
):
    made = Page(chromium, write(results, tmp_path / "report.html"))
    assert made.rows()[0] == "billing/1001.wav"
    assert len(made.rows()) == 50
    assert made.page.locator("#count").inner_text() == "123 of 123"
    assert made.page.locator(".chart .main-svg").count() >= 4
    assert made.complaints == []


@browser_needed
def test_hostile_names_and_metadata_are_shown_as_text(
    results, metadata, tmp_path, chromium
):
    made = Page(
        chromium,
        write(
            results, tmp_path / "r.html", inputs=MetadataInputs(metadata), by="queue"
        ),
    )
    page = made.page
    page.fill("#search", "onerror")
    assert made.rows() == [EVIL]
    page.select_option("#group", label="queue")
    page.locator("#table tbody tr").first.click()
    assert page.locator("#call-title").inner_text() == EVIL
    assert QUEUE in page.locator("#call-facts").inner_text()
    page.wait_for_selector("#timeline .main-svg")
    assert (
        page.evaluate("document.querySelectorAll('img[src=x], b[onclick]').length") == 0
    )
    assert page.title() != "owned"
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
        drawn = made.page.evaluate("document.getElementById('groups').data[0].text")
        assert len(drawn) == len(groups)
        for key, group in groups.items():
            figure = group["distress_share"]
            (said,) = [
                text for text in drawn if text.startswith(f"{key or '(unknown)'}: ")
            ]
            assert f"{figure.value * 100:.1f} %" in said
            between = (
                ""
                if figure.low is None
                else f"({figure.low * 100:.1f} to {figure.high * 100:.1f} %)"
            )
            assert between in said
            assert ("to" in said) == (figure.low is not None)


@browser_needed
def test_sorting_searching_filtering_and_paging_work(results, tmp_path, chromium):
    made = Page(chromium, write(results, tmp_path / "report.html"))
    page = made.page
    page.click("#table thead button[data-key=path]")
    assert made.rows() == sorted(made.rows())
    assert (
        page.locator("#table thead th").first.get_attribute("aria-sort") == "ascending"
    )
    page.click("#table thead button[data-key=path]")
    assert made.rows() == sorted(made.rows(), reverse=True)
    page.click("text=Next ›")
    assert "page 2 of 3" in page.locator("#pages").inner_text()
    page.fill("#search", "billing")
    assert set(made.rows()) == {"billing/1001.wav", "billing/broken.wav"}
    assert page.locator("#cards .card b").first.inner_text() == "2"
    page.fill("#search", "")
    # A click on a group filters everything, and a click on the chip removes the filter.
    point = page.locator("#groups .point").last
    point.scroll_into_view_if_needed()
    box = point.bounding_box()
    page.mouse.move(box["x"] + box["width"] / 2, box["y"] + box["height"] / 2, steps=5)
    page.wait_for_selector("#groups .hoverlayer .hovertext")
    page.mouse.click(box["x"] + box["width"] / 2, box["y"] + box["height"] / 2)
    page.wait_for_selector("#chips button")
    assert page.locator("#count").inner_text() != "123 of 123"
    page.click("#chips button")
    assert page.locator("#count").inner_text() == "123 of 123"
    assert made.complaints == []


@browser_needed
def test_a_call_can_be_opened_and_closed_with_the_keyboard(results, tmp_path, chromium):
    made = Page(chromium, write(results, tmp_path / "report.html"))
    page = made.page
    page.locator("#table tbody tr").first.focus()
    page.keyboard.press("ArrowDown")
    page.keyboard.press("ArrowUp")
    page.keyboard.press("Enter")
    page.wait_for_selector("dialog[open] #timeline .main-svg")
    assert page.url.split("#")[1].startswith("call=")
    page.keyboard.press("Escape")
    assert page.locator("dialog[open]").count() == 0
    assert page.evaluate("document.activeElement.tagName") == "TR"
    assert made.complaints == []


@browser_needed
def test_a_moment_plays_a_reachable_recording_from_its_start(
    results, tmp_path, chromium
):
    made = Page(chromium, write(results, tmp_path / "report.html"))
    page = made.page
    page.locator("#table tbody tr").first.click()
    page.wait_for_selector("#moments button")
    assert "anger for 15 s" in page.locator("#moments").inner_text()
    assert page.locator("#player").get_attribute("src") == "in/billing/1001.wav"
    assert "customer interrupts agent" in page.locator("#cuts").inner_text()
    page.locator("#moments button").last.click()
    # The content security policy stops the driver from waiting for an expression.
    for _ in range(100):
        if page.evaluate("document.querySelector('#player').currentTime") > 0:
            break
        page.wait_for_timeout(100)
    else:
        pytest.fail("the recording does not play")
    page.click("#close")
    page.fill("#search", "delivery/001")
    page.locator("#table tbody tr").first.click()
    page.wait_for_selector("#moments button")
    assert page.locator("#player").is_hidden()
    assert "not reachable" in page.locator("#player-note").inner_text()


@browser_needed
@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_text_is_readable_in_light_and_dark_mode(results, tmp_path, chromium, scheme):
    page = Page(
        chromium, write(results, tmp_path / "report.html"), color_scheme=scheme
    ).page
    colours = page.evaluate(
        "() => { const s = getComputedStyle(document.body);"
        " return [s.color, s.backgroundColor]"
        ".map(c => c.match(/[\\d.]+/g).slice(0, 3).map(Number)) }"
    )

    def luminance(rgb: list[float]) -> float:
        linear = [
            c / 255 / 12.92
            if c / 255 <= 0.04045
            else ((c / 255 + 0.055) / 1.055) ** 2.4
            for c in rgb
        ]
        return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]

    ink, paper = sorted(map(luminance, colours))
    assert (paper + 0.05) / (ink + 0.05) > 7  # WCAG 2.2, AAA
    assert (luminance(colours[1]) < 0.2) == (scheme == "dark")


@browser_needed
def test_nothing_is_wider_than_a_phone_screen(results, tmp_path, chromium):
    page = Page(
        chromium,
        write(results, tmp_path / "r.html"),
        viewport={"width": 390, "height": 844},
    ).page
    assert page.evaluate("document.documentElement.scrollWidth") <= 390


@browser_needed
def test_a_report_folder_loads_the_calls_it_shows(results, tmp_path, chromium):
    index = write(results, f"{tmp_path / 'pages'}/")
    assert index.name == "index.html"
    assert len(list((index.parent / "calls").iterdir())) == 3
    made = Page(chromium, index)
    made.page.fill("#search", "delivery/119")
    made.page.locator("#table tbody tr").first.click()
    made.page.wait_for_selector("#moments button")
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


def test_too_many_calls_for_a_file_are_refused_with_a_hint(
    results, tmp_path, monkeypatch
):
    monkeypatch.setattr("ser_batch.reporting.pages.html.MAX_CALLS", 100)
    with pytest.raises(
        UsageError, match="123 calls exceed the limit of a single file.*--html DIR/"
    ):
        write(results, tmp_path / "report.html")
    assert not (tmp_path / "report.html").exists()


def test_only_regular_files_are_replaced(results, tmp_path):
    os.mkfifo(tmp_path / "pipe")
    for target in (tmp_path / "pipe", ""):
        with pytest.raises(UsageError, match="is not a file that can be replaced"):
            write(results, target)
    assert stat.S_ISFIFO((tmp_path / "pipe").stat().st_mode)


def test_markup_in_names_is_escaped_in_the_file(results, tmp_path):
    text = write(results, tmp_path / "report.html").read_text("utf-8")
    assert "<script>document.title" not in text
    data = text.split('id="data">')[1].split("</script>")[0]
    assert EVIL in {row["path"] for row in json.loads(data)["calls"]}
