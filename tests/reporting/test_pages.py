"""The terminal report, the report of one call, JSON, CSV and plots."""

import csv
import html
import io
import json
import subprocess
import sys

import msgspec
import pytest

from ser_batch.reporting.figures.overview import make_report
from ser_batch.reporting.figures.selection import Options
from ser_batch.reporting.pages.html import write_html
from ser_batch.reporting.pages.json_report import ReportRecord
from ser_batch.reporting.pages.markdown import to_markdown
from ser_batch.reporting.pages.one_call import call_page
from ser_batch.reporting.pages.plots import draw_plots
from ser_batch.reporting.pages.records import to_dict
from ser_batch.reporting.pages.strips import WIDTH
from ser_batch.reporting.pages.terminal import page
from ser_batch.results.manifest import Identity
from ser_batch.results.results import open_results
from tests.support.commands import ser
from tests.support.reports import report_of, text_of
from tests.support.results import LABELS, call, write_results


def test_the_terminal_report_shows_all_sections_within_100_columns(results):
    text = text_of(page(report_of(results, by="folder")))
    assert max(map(len, text.splitlines())) <= WIDTH
    for part in (
        "4 recordings: 3 done, 1 failed",
        "billing/storm.wav",
        "01:20",
        "anger for",
        "By folder",
        "is empty (0 bytes)",
    ):
        assert part in text


def test_the_report_of_a_call_shows_both_channels(results):
    storm = report_of(results).top[0]
    text = text_of(call_page(storm, LABELS))
    assert max(map(len, text.splitlines())) <= WIDTH
    for part in (
        "agent",
        "customer",
        "distress",
        "emotion",
        "customer interrupts agent (1.0 s)",
        "A angry",
    ):
        assert part in text


def test_names_that_look_like_markup_are_shown_literally(tmp_path):
    name = "[red]<script>alert(1)</script>|`x`.wav"
    directory = write_results(
        tmp_path / "out",
        call(name, scored=[(0, 9, {"angry": 0.9})]),
        call("[b]/broken.wav", error="[/]"),
    )
    assert "[red]<script>" in text_of(page(report_of(directory)))
    markdown = to_markdown(report_of(directory))
    assert "<script>" not in markdown
    assert "\\[red\\]\\<script\\>" in markdown


def test_json_contains_the_whole_report_and_no_nan(results):
    report = report_of(results, by="folder", compare=str(results))
    arguments = (
        "--format",
        "json",
        "--by",
        "folder",
        "--compare",
        results,
        "--undated",
        "include",
    )
    values = json.loads(ser("report", results, *arguments).stdout)
    assert msgspec.convert(values, ReportRecord) == values
    assert values == json.loads(json.dumps(to_dict(report), default=str))
    assert set(values["total"]) == set(values["measures"])
    assert values["top"][0]["moments"][0]["start_s"] == 80
    assert values["comparison"]["recordings"] == 4


def test_csv_has_a_row_for_each_recording_and_no_formulas(tmp_path):
    directory = write_results(
        tmp_path / "out",
        call("=1+1.wav", scored=[(0, 9, {"angry": 0.9})]),
        call("b.wav", error="@broken"),
    )
    rows = list(
        csv.DictReader(io.StringIO(ser("report", directory, "--format", "csv").stdout))
    )
    assert [row["path"] for row in rows] == ["'=1+1.wav", "b.wav"]
    assert rows[1]["error"] == "'@broken"
    assert float(rows[0]["angry_share"]) == pytest.approx(0.9)
    assert rows[1]["angry_share"] == ""


def test_plots_are_drawn_only_for_available_data(results, tmp_path):
    names = {
        path.name
        for path in draw_plots(report_of(results, by="folder"), tmp_path / "plots")
    }
    assert names == {
        f"{n}.{end}"
        for n in ("emotions", "quarters", "trend", "groups")
        for end in ("png", "svg")
    }
    assert all((tmp_path / "plots" / name).stat().st_size > 1000 for name in names)
    assert (
        draw_plots(report_of(write_results(tmp_path / "none")), tmp_path / "empty")
        == []
    )


def test_an_unfinished_or_interrupted_run_is_noted(results):
    (results / "run.json").write_text(json.dumps({"finished_at": None}))
    assert any("has not finished" in note for note in report_of(results).notes)
    (results / "run.json").write_text(
        json.dumps({"finished_at": "x", "interrupted": True, "counts": {"pending": 3}})
    )
    assert any(
        "interrupted, with 3 recordings pending" in note
        for note in report_of(results).notes
    )


def test_a_closed_pipe_is_not_an_error(results):
    command = f"{sys.executable} -m ser_batch report {results} --format json | head -1"
    done = subprocess.run(["bash", "-c", command], capture_output=True, text=True)
    assert (done.stdout, done.stderr) == ("{\n", "")


def test_a_call_can_be_selected_by_name(results):
    assert "billing/storm.wav" in ser("report", results, "--call", "storm.wav").stdout
    done = ser("report", results, "--call", "nobody.wav")
    assert done.returncode == 2
    assert done.stderr.endswith("no such call in these results\n")
    done = ser("report", results, "--call", "stomr.wav")
    assert (
        "no such call in these results; did you mean billing/storm.wav" in done.stderr
    )
    done = ser("report", results, "--call", ".wav")
    assert "give the full path" in done.stderr
    assert "billing/storm.wav" in ser("report", results, "--call", "storm").stdout
    storm = json.loads(
        ser("report", results, "--call", "billing/storm.wav", "--format", "json").stdout
    )
    assert (
        storm["talk_overs"][0]["by"],
        len(storm["segments"]),
        storm["moments"][0]["start_s"],
    ) == (1, 4, 80)
    assert (
        "failed: the file is empty"
        in ser("report", results, "--call", "delivery/broken.wav").stdout
    )


@pytest.mark.parametrize("made", [[], [call("a.wav", error="x")], [call("a.wav")]])
def test_results_without_segments_are_reported_in_every_format(tmp_path, made):
    directory = write_results(tmp_path / "out", *made)
    for format_ in ("table", "markdown", "json", "csv"):
        done = ser("report", directory, "--format", format_)
        assert (done.returncode, done.stderr) == (0, "")


HOT, COOL = [(0, 20, {"angry": 0.9})], [(0, 20, {"angry": 0.02})]


REPORT_TEXTS: dict[str, tuple[list, list[str], list[str]]] = {
    # The calls, texts that the report must contain, and texts that it must not.
    "nothing at all": (
        [],
        ["no recordings"],
        ["Emotions", "stands out", "Conversation"],
    ),
    "all failed": (
        [call("a.wav", error="broken")],
        ["0 done, 1 failed", "nothing was scored"],
        ["Emotions", "stands out"],
    ),
    "no speech": (
        [call("a.wav")],
        ["not scored: 1 analysed recording (no speech: 1)"],
        ["Emotions", "stands out"],
    ),
    "one calm call": (
        [call("a.wav", scored=COOL)],
        ["Nothing stands out"],
        ["worth listening", " to 0.", "calm", "middle 50 % of calls"],
    ),
    "one angry call": (
        [call("a.wav", scored=HOT)],
        ["worth listening", "anger for 20 s"],
        ["Nothing stands out"],
    ),
    "no confident label": (
        [call("a.wav", scored=[(0, 20, {"angry": 0.35, "happy": 0.3})])],
        ["no label for 100% of the time", "too unsure for any label: 1 recording"],
        ["worth listening"],
    ),
    "no roles": (
        [call("a.wav", scored=HOT, roles=(None, None), scored_role="agent")],
        ["everyone's emotions"],
        ["customers'", "agent talk"],
    ),
    "no known start": (
        [call("a.wav", scored=COOL)],
        ["started_at is unknown for 1 recording: not counted"],
        ["Trend"],
    ),
}


@pytest.mark.parametrize("case", REPORT_TEXTS)
def test_a_report_shows_only_what_the_results_support(tmp_path, case):
    calls, said, unsaid = REPORT_TEXTS[case]
    for made in calls:
        if made.segments and not any(made.segments["label"]):
            made.recording["not_scored"] = "abstained"
    directory = write_results(tmp_path / "out", *calls)
    report = report_of(directory, undated=False)
    terminal = " ".join(text_of(page(report), 400).split())
    for text in said:
        assert text in terminal
    for text in unsaid:
        assert text not in terminal
    with make_report(open_results(directory), Options()) as opened:
        written = html.unescape(
            write_html(opened, str(tmp_path / "page.html")).read_text("utf-8")
        )
    markdown = to_markdown(report).replace("\\", "")
    for note in report.notes:
        assert note in written
        assert " ".join(note.split()) in markdown
    if "Nothing stands out" in said:
        assert "Nothing stands out" in markdown


def test_a_model_with_one_label_has_a_report_without_distress(tmp_path, monkeypatch):
    monkeypatch.setattr("tests.support.results.LABELS", ("neutral",))
    made = call("a.wav", scored=[(0, 20, {"neutral": 1.0})])
    directory = write_results(
        tmp_path / "out", made, identity=Identity("one@1", "c", ("neutral",))
    )
    with make_report(open_results(directory)) as opened:
        said = text_of(page(opened.report), 400)
    assert "neutral" in said
    assert not {"distress", "worth listening", "valence -"} & {
        w for w in ("distress", "worth listening", "valence -") if w in said
    }
