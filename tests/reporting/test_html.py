"""The HTML report: what is in it, with any file names, and where it is written."""

import base64
import gzip
import json
import os
import stat

import pytest

from ser_batch.errors import UsageError
from ser_batch.metadata.gathering import MetadataInputs
from ser_batch.reporting.figures.overview import make_report
from ser_batch.reporting.figures.selection import Options
from ser_batch.reporting.pages.html import write_html
from ser_batch.results.results import open_results
from tests.support.pages import EVIL, QUEUE, Page, browser_needed, write
from tests.support.results import call, write_results


@browser_needed
def test_the_report_opens_offline_and_lists_the_strongest_calls_first(
    many_calls, tmp_path, chromium
):
    made = Page(
        chromium,
        write(many_calls, tmp_path / "report.html"),
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
    many_calls, metadata, tmp_path, chromium
):
    inputs = MetadataInputs(metadata)
    made = Page(
        chromium, write(many_calls, tmp_path / "r.html", inputs=inputs, by="queue")
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
    many_calls, tmp_path, chromium
):
    (tmp_path / "m.csv").write_text(
        "path,<img src=x onerror=alert(1)>\nbilling/1001.wav,1\ndelivery/001.wav,2\n"
    )
    inputs = MetadataInputs(tmp_path / "m.csv")
    made = Page(chromium, write(many_calls, tmp_path / "r.html", inputs=inputs))
    assert "<img src=x" in made.page.locator(".tabulator-header").inner_text()
    made.page.click("#chooser summary")
    chooser = made.page.locator("#columns")
    made.until(lambda: "<img src=x" in chooser.inner_text())
    assert made.complaints == []


@browser_needed
def test_group_figures_in_the_html_report_match_json(many_calls, tmp_path, chromium):
    """Check a metadata column with the name of a built-in one as well."""
    rows = [
        "path,agent,unit",
        *(f"delivery/{i:03}.wav,agent {i % 6},team {i % 2}" for i in range(120)),
    ]
    (tmp_path / "m.csv").write_text("\n".join(rows) + "\n")
    inputs = MetadataInputs(tmp_path / "m.csv")
    for by in ("agent", "unit"):
        with make_report(
            open_results(many_calls), Options(inputs=inputs, undated=True, by=by)
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
def test_a_report_folder_loads_the_calls_it_shows(many_calls, tmp_path, chromium):
    index = write(many_calls, f"{tmp_path / 'pages'}/")
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


def test_only_changes_beyond_chance_stand_out(many_calls, tmp_path):
    text = write(many_calls, tmp_path / "same.html", compare=str(many_calls)).read_text(
        "utf-8"
    )
    assert "changed beyond chance:\nnothing." in text
    assert "<strong>" not in text.split("<main>")[1].split("</main>")[0]
    calm = write_results(
        tmp_path / "calm",
        *(call(f"{i}.wav", scored=[(6, 9, {"angry": i / 900})]) for i in range(90)),
    )
    text = write(many_calls, tmp_path / "more.html", compare=str(calm)).read_text(
        "utf-8"
    )
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
    many_calls, tmp_path, monkeypatch
):
    monkeypatch.setattr("ser_batch.reporting.pages.html.MAX_BYTES", 100_000)
    monkeypatch.setattr("ser_batch.reporting.pages.html.details", None)
    with pytest.raises(UsageError, match="123 calls would make a file.*--html DIR/"):
        write(many_calls, tmp_path / "report.html")
    assert not (tmp_path / "report.html").exists()


def test_only_regular_files_are_replaced(many_calls, tmp_path):
    os.mkfifo(tmp_path / "pipe")
    for target in (tmp_path / "pipe", ""):
        with pytest.raises(UsageError, match="is not a file that can be replaced"):
            write(many_calls, target)
    assert stat.S_ISFIFO((tmp_path / "pipe").stat().st_mode)


def test_no_name_of_the_results_is_in_the_file_as_markup(many_calls, tmp_path):
    text = write(many_calls, tmp_path / "report.html").read_text("utf-8")
    assert EVIL not in text
    data = text.split('id="data">')[1].split("</script>")[0]
    calls = json.loads(gzip.decompress(base64.b64decode(data)))["calls"]
    assert EVIL in {row["path"] for row in calls}


@browser_needed
def test_a_page_that_is_older_than_its_folder_shows_no_other_call(
    many_calls, tmp_path, chromium
):
    index = write(many_calls, f"{tmp_path / 'pages'}/")
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
