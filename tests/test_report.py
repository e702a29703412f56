"""Reports: known calls, known figures, honest intervals, on every page that shows them."""

import csv
import html
import io
import json
import subprocess
import sys
from datetime import datetime, timedelta
from pathlib import Path

import numpy as np
import pytest
from rich.console import Console

from ser_batch.errors import UsageError
from ser_batch.metadata.gathering import MetadataInputs
from ser_batch.reporting.figures.calls import measure
from ser_batch.reporting.figures.database import connect
from ser_batch.reporting.figures.estimates import (
    MIN_UNITS,
    Estimates,
    Scale,
    Units,
    difference_limits,
    estimate,
    p_values,
)
from ser_batch.reporting.figures.groups import chances_against_the_rest, figures_by
from ser_batch.reporting.figures.overview import make_report
from ser_batch.reporting.figures.periods import find_zone, parse_time
from ser_batch.reporting.figures.selection import Options
from ser_batch.reporting.figures.thresholds import crossed_thresholds
from ser_batch.reporting.pages.html import write_html
from ser_batch.reporting.pages.markdown import to_markdown
from ser_batch.reporting.pages.one_call import call_page
from ser_batch.reporting.pages.palette import COLOURS
from ser_batch.reporting.pages.plots import draw_plots
from ser_batch.reporting.pages.records import to_dict
from ser_batch.reporting.pages.strips import WIDTH
from ser_batch.reporting.pages.terminal import page
from ser_batch.results.manifest import Identity
from ser_batch.results.results import open_results
from ser_batch.text import clock
from tests.conftest import ser
from tests.results_fixture import LABELS, call, write_results
from tests.tables import live_file


@pytest.fixture
def results(tmp_path) -> Path:
    return write_results(
        tmp_path / "out",
        call("billing/calm.wav", [(0, 8)], [(10, 20)], [(10, 15, {"angry": 0.1}), (15, 20, {"happy": 0.7})]),
        call(
            "billing/storm.wav", [(0, 5)], [(4, 30), (80, 95)],
            [(5, 10, {"angry": 0.1}), (80, 85, {"angry": 0.9}), (85, 90, {"angry": 0.8}), (90, 95, {"angry": 0.35})],
            day=1,
        ),
        call("delivery/silent.wav", day=1),
        call("delivery/broken.wav", error="the file is empty (0 bytes)", day=2),
    )  # fmt: skip


def report_of(directory: Path, **options):
    """A report of calls of which only the time of the file is known, and counts."""
    options = {"undated": True, **options}
    with make_report(open_results(directory), Options(**options)) as opened:
        return opened.report


def text_of(renderable, width: int = WIDTH) -> str:
    console = Console(width=width, file=io.StringIO(), force_terminal=False)
    console.print(renderable)
    return console.file.getvalue()  # type: ignore[attr-defined]


def test_totals_add_up_and_shares_are_weighed_by_scored_time(results):
    total = report_of(results).total
    assert [total[name].value for name in ("recordings", "done", "failed")] == [4, 3, 1]
    assert total["audio_h"].value == pytest.approx(300 / 3600)
    assert total["scored_h"].value == pytest.approx(30 / 3600)
    assert total["angry_share"].value == pytest.approx(5 * (0.1 + 0.1 + 0.9 + 0.8 + 0.35) / 30)
    shares = report_of(results).shares()
    assert sum(shares.values()) == pytest.approx(1)
    assert total["abstained_share"].value == pytest.approx(0)
    assert total["failed_share"].value == pytest.approx(0.25)


def test_a_measure_of_what_nobody_measured_has_no_value_and_is_not_zero(tmp_path):
    total = report_of(write_results(tmp_path / "out", call("a.wav", error="broken"))).total
    assert total["failed_share"].value == 1
    assert total["angry_share"].value is None
    assert total["silence_share"].value is None
    assert (total["audio_h"].value, total["scored_h"].value) == (0, 0)


def test_quarters_are_of_the_call_and_sum_to_one(results):
    first, second, third, last = report_of(results).quarters
    # The calm call has ten seconds of scored speech: too little for an arc.
    assert (second, third) == (None, None)
    assert first.shares["angry"] == pytest.approx(0.1)
    assert last.shares["angry"] == pytest.approx((0.9 + 0.8 + 0.35) / 3)
    assert sum(last.shares[label] for label in LABELS) == pytest.approx(1)


def test_distributions_are_quantiles_over_single_calls(tmp_path):
    calls = [call(f"{i}.wav", scored=[(0, 10, {"angry": i / 100})]) for i in range(101)]
    spread = report_of(write_results(tmp_path / "out", *calls)).distributions
    assert spread["angry_share"] == pytest.approx([0.05, 0.25, 0.5, 0.75, 0.95], abs=1e-6)
    assert "customer_latency_s" not in spread  # nobody answers


def test_calls_that_stand_out_are_listed_with_a_reason_in_words(results):
    (storm,) = report_of(results).top
    assert storm.call["path"] == "billing/storm.wav"
    reasons = [m.reason for m in storm.moments()]
    assert reasons[0].startswith("anger for 1")
    assert "distress rises from 0.10 (5 s of speech) to 0.68 (15 s)" in reasons
    assert storm.moments()[0].start_s == storm.call["peak_at_s"] == 80


def test_more_calls_than_asked_for_are_not_listed(tmp_path):
    hot = [(0, 20, {"angry": 0.9})]
    directory = write_results(tmp_path / "out", *(call(f"{i}.wav", scored=hot) for i in range(5)))
    assert len(report_of(directory, top=2).top) == 2


def test_few_recordings_have_no_interval_and_more_have_one_that_holds_the_truth(tmp_path):
    rng = np.random.default_rng(0)
    angry = rng.beta(2, 6, 60)
    calls = [call(f"{i}.wav", scored=[(0, 10, {"angry": p})]) for i, p in enumerate(angry)]
    few = report_of(write_results(tmp_path / "few", *calls[: MIN_UNITS - 1])).total["angry_share"]
    assert (few.low, few.high) == (None, None)
    many = report_of(write_results(tmp_path / "many", *calls)).total["angry_share"]
    error = angry.std(ddof=1) / np.sqrt(60)
    assert many.value == pytest.approx(angry.mean(), abs=1e-6)
    assert many.high - many.low == pytest.approx(2 * 2.0 * error, rel=0.2)


def test_buckets_give_the_interval_that_single_recordings_give(tmp_path, monkeypatch):
    rng = np.random.default_rng(1)
    calls = [call(f"{i}.wav", scored=[(0, 10, {"angry": p})]) for i, p in enumerate(rng.beta(2, 6, 300))]
    directory = write_results(tmp_path / "out", *calls)
    widths = []
    for buckets in (1000, 60):
        monkeypatch.setattr("ser_batch.reporting.figures.groups.BUCKETS", buckets)
        figure = report_of(directory).total["angry_share"]
        widths.append(figure.high - figure.low)
    assert widths[1] == pytest.approx(widths[0], rel=0.35)


def test_groups_are_compared_by_the_same_measures(results):
    groups = report_of(results, by="folder").groups
    assert {key: group.recordings for key, group in groups.items()} == {"billing": 2, "delivery": 2}
    assert groups["billing"]["angry_share"].value == pytest.approx(5 * 2.25 / 30)
    assert groups["delivery"]["angry_share"].value is None
    assert groups["delivery"]["failed_share"].value == pytest.approx(0.5)


def test_metadata_join_and_group_and_what_is_unknown_has_a_group_of_its_own(results, tmp_path):
    (tmp_path / "m.csv").write_text("path,queue\nbilling/storm.wav,vip\n")
    groups = report_of(results, by="queue", inputs=MetadataInputs(tmp_path / "m.csv")).groups
    assert {key: group.recordings for key, group in groups.items()} == {"vip": 1, None: 3}


def test_an_unknown_column_is_refused_and_the_known_ones_are_listed(results):
    with pytest.raises(UsageError, match="--by team: there is no such column; there are folder, day"):
        report_of(results, by="team")


def test_a_period_takes_its_calls_alone(results):
    report = report_of(results, since=parse_time("2026-03-03"), until=parse_time("2026-03-03", end=True))
    assert report.total.recordings == 2
    assert list(report.days) == ["2026-03-03"]
    nothing = report_of(results, since=parse_time("2027-01-01"))
    assert nothing.total.recordings == 0
    assert "no recording lies in this period" in nothing.notes
    with pytest.raises(UsageError, match="is not before"):
        report_of(results, since=datetime(2026, 3, 2), until=datetime(2026, 3, 1))


def test_periods_and_directories_are_compared_with_the_size_of_the_difference(tmp_path):
    rng = np.random.default_rng(2)

    def week(name: str, mean: float, day: int):
        levels = np.clip(rng.normal(mean, 0.05, 40), 0, 1)
        return [call(f"{name}{i}.wav", scored=[(0, 10, {"angry": p})], day=day) for i, p in enumerate(levels)]

    now, then = week("now", 0.5, 7), week("then", 0.3, 0)
    both = write_results(tmp_path / "both", *now, *then)
    earlier = write_results(tmp_path / "then", *then)
    later = write_results(tmp_path / "now", *now)
    for directory, options in (
        (later, {"compare": str(earlier)}),
        (both, {"since": datetime(2026, 3, 9), "until": datetime(2026, 3, 16), "compare": "previous"}),
        (both, {"since": datetime(2026, 3, 9), "compare": "2026-03-01..2026-03-05"}),
    ):
        comparison = report_of(directory, **options).comparison
        assert comparison.recordings == 40
        change = comparison.change["angry_share"]
        assert change.value == pytest.approx(0.2, abs=0.04)
        assert 0 < change.low < change.value < change.high
    same = report_of(later, compare=str(later)).comparison.change["angry_share"]
    assert same.value == 0
    assert same.low < 0 < same.high


def test_only_changes_beyond_chance_are_clear_however_many_rows_there_are(tmp_path):
    rng = np.random.default_rng(3)

    def night(name: str, mean: float):
        levels = np.clip(rng.normal(mean, 0.1, 30), 0, 1)
        return write_results(
            tmp_path / name, *(call(f"{i}.wav", scored=[(0, 10, {"angry": p})]) for i, p in enumerate(levels))
        )

    calm, calm_again, angry = night("a", 0.3), night("b", 0.3), night("c", 0.6)
    assert report_of(calm, compare=str(calm_again)).comparison.clear == frozenset()
    clear = report_of(angry, compare=str(calm)).comparison.clear
    assert {"angry_share", "distress_share"} <= clear
    assert "+" in text_of(page(report_of(angry, compare=str(calm)))).split("angry share")[1].split("pp")[0]


def test_a_group_stands_out_only_where_it_differs_from_all_others_beyond_chance(tmp_path):
    rng = np.random.default_rng(4)
    calls = [
        call(f"{queue}/{i}.wav", scored=[(0, 10, {"angry": float(p)})])
        for queue, mean in (("a", 0.3), ("b", 0.3), ("c", 0.3), ("d", 0.7))
        for i, p in enumerate(np.clip(rng.normal(mean, 0.1, 20), 0, 1))
    ]
    report = report_of(write_results(tmp_path / "out", *calls), by="folder")
    assert ("d", "angry_share") in report.standing_out
    assert not {("a", "silence_share"), ("b", "silence_share")} & report.standing_out


def test_intervals_go_by_the_agent_where_the_metadata_name_one(tmp_path):
    """The calls of each agent are alike, so that ten times as many say no more."""
    rng = np.random.default_rng(5)
    calls, rows = [], ["path,agent"]
    for agent, p in enumerate(rng.beta(2, 6, 6)):
        for i in range(10):
            calls.append(call(f"{agent}-{i}.wav", scored=[(0, 10, {"angry": float(p)})]))
            rows.append(f"{agent}-{i}.wav,agent {agent}")
    directory = write_results(tmp_path / "out", *calls)
    (tmp_path / "m.csv").write_text("\n".join(rows) + "\n")
    inputs = MetadataInputs(tmp_path / "m.csv")
    clustered, single = report_of(directory, inputs=inputs), report_of(directory, inputs=inputs, cluster="none")
    assert (clustered.cluster, single.cluster) == ("agent", None)
    wide, narrow = clustered.total["angry_share"], single.total["angry_share"]
    assert wide.value == narrow.value
    assert wide.high - wide.low > 2 * (narrow.high - narrow.low)
    assert any("intervals go by agent (6)" in note for note in clustered.notes)
    # Within one agent, calls are what there is.
    assert report_of(directory, inputs=inputs, by="agent").groups["agent 0"]["failed_share"].high is not None
    with pytest.raises(UsageError, match="--cluster team: there is no such column"):
        report_of(directory, cluster="team")


def test_results_of_two_models_are_not_compared(tmp_path):
    ours = write_results(tmp_path / "a", call("a.wav"))
    theirs = write_results(tmp_path / "b", call("a.wav"), identity=Identity("other@2", "c", LABELS))
    with pytest.raises(UsageError, match="a difference would be one of models, not of calls"):
        report_of(ours, compare=str(theirs))


@pytest.mark.parametrize(
    ("condition", "crossed"),
    [
        ("angry_share > 0.3", True), ("angry_share>40 %", False), ("failed >= 1", True), ("valence < 0", True),
        ("fearful_share > 0", False), ("failed_share.low > 0", False), ("failed.low > 0", False), ("agent_slow_response_share < 1", False),
    ],
)  # fmt: skip
def test_thresholds_hold_or_do_not(results, condition, crossed):
    assert bool(crossed_thresholds(report_of(results), [condition])) is crossed


@pytest.mark.parametrize(
    "condition", ["angry > 0.2", "angry_share = 0.2", "angry_share > much", "__import__('os') > 1"]
)
def test_a_threshold_that_cannot_be_meant_is_refused(results, condition):
    with pytest.raises(UsageError, match="--fail-if"):
        crossed_thresholds(report_of(results), [condition])


def test_a_threshold_on_the_end_of_an_interval_waits_for_enough_calls(tmp_path):
    """Three angry calls of six are over 20 %, and may be luck; thirty of sixty are not."""
    for n, crossed in ((6, False), (60, True)):
        calls = [call(f"{i}.wav", scored=[(0, 20, {"angry": 0.9 * (i % 2)})]) for i in range(n)]
        report = report_of(write_results(tmp_path / str(n), *calls))
        assert crossed_thresholds(report, ["angry_episode_share > 20 %"])
        assert bool(crossed_thresholds(report, ["angry_episode_share.low > 20 %"])) is crossed


def test_the_exit_code_tells_a_scheduler_that_a_threshold_is_crossed(results):
    done = ser("report", results, "--fail-if", "angry_share > 0.3", "--format", "markdown")
    assert done.returncode == 4
    assert "threshold crossed: angry_share > 0.3: it is 0.375" in done.stderr
    assert "# Calls" in done.stdout
    assert ser("report", results, "--fail-if", "angry_share > 0.5").returncode == 0


def test_the_page_tells_calls_moments_groups_and_failures_within_100_columns(results):
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


def test_the_page_of_a_call_draws_both_channels(results):
    storm = report_of(results).top[0]
    text = text_of(call_page(storm, LABELS))
    assert max(map(len, text.splitlines())) <= WIDTH
    for part in ("agent", "customer", "distress", "sounds", "customer cuts in on agent (1.0 s)", "A angry"):
        assert part in text


def test_names_that_look_like_markup_are_shown_as_they_are(tmp_path):
    name = "[red]<script>alert(1)</script>|`x`.wav"
    directory = write_results(
        tmp_path / "out", call(name, scored=[(0, 9, {"angry": 0.9})]), call("[b]/broken.wav", error="[/]")
    )
    assert "[red]<script>" in text_of(page(report_of(directory)))
    markdown = to_markdown(report_of(directory))
    assert "<script>" not in markdown
    assert "\\[red\\]\\<script\\>" in markdown


def test_json_has_everything_that_the_page_has_and_no_nan(results):
    report = report_of(results, by="folder", compare=str(results))
    arguments = ("--format", "json", "--by", "folder", "--compare", results, "--undated", "include")
    values = json.loads(ser("report", results, *arguments).stdout)
    assert values == json.loads(json.dumps(to_dict(report), default=str))
    assert set(values["total"]) == set(values["measures"])
    assert values["top"][0]["moments"][0]["start_s"] == 80
    assert values["comparison"]["recordings"] == 4


def test_csv_has_a_row_for_each_recording_and_no_formula(tmp_path):
    directory = write_results(
        tmp_path / "out", call("=1+1.wav", scored=[(0, 9, {"angry": 0.9})]), call("b.wav", error="@broken")
    )
    rows = list(csv.DictReader(io.StringIO(ser("report", directory, "--format", "csv").stdout)))
    assert [row["path"] for row in rows] == ["'=1+1.wav", "b.wav"]
    assert rows[1]["error"] == "'@broken"
    assert float(rows[0]["angry_share"]) == pytest.approx(0.9)
    assert rows[1]["angry_share"] == ""


def test_plots_are_drawn_for_what_there_is(results, tmp_path):
    names = {path.name for path in draw_plots(report_of(results, by="folder"), tmp_path / "plots")}
    assert names == {f"{n}.{end}" for n in ("emotions", "quarters", "trend", "groups") for end in ("png", "svg")}
    assert all((tmp_path / "plots" / name).stat().st_size > 1000 for name in names)
    assert draw_plots(report_of(write_results(tmp_path / "none")), tmp_path / "empty") == []


def test_an_unfinished_or_interrupted_run_is_told(results):
    (results / "run.json").write_text(json.dumps({"finished_at": None}))
    assert any("has not finished" in note for note in report_of(results).notes)
    (results / "run.json").write_text(json.dumps({"finished_at": "x", "interrupted": True, "counts": {"pending": 3}}))
    assert any("interrupted, 3 recordings were pending" in note for note in report_of(results).notes)


@pytest.mark.parametrize("made", [[], [call("a.wav", error="x")], [call("a.wav")]])
def test_results_without_segments_are_reported_in_every_format(tmp_path, made):
    directory = write_results(tmp_path / "out", *made)
    for format_ in ("table", "markdown", "json", "csv"):
        done = ser("report", directory, "--format", format_)
        assert (done.returncode, done.stderr) == (0, "")


def test_a_directory_that_is_not_ours_and_a_damaged_part_are_clear_errors(results, tmp_path):
    done = ser("report", tmp_path)
    assert done.returncode == 2
    assert "holds no results" in done.stderr
    live_file(results, "segments", "part-000001").write_bytes(b"PAR1 nothing PAR1")
    done = ser("report", results)
    assert done.returncode == 2
    assert "part-000001 is damaged" in done.stderr
    assert "Traceback" not in done.stderr


def test_an_interval_rests_on_those_that_have_the_measure(tmp_path):
    quiet = [call(f"{i}.wav", [(0, 5)]) for i in range(30)]
    report = report_of(write_results(tmp_path / "out", call("a.wav", [(0, 5)], [(8, 9)]), *quiet))
    latency = report.total["response_latency_s"]
    assert (latency.value, latency.low, latency.high, latency.recordings) == (pytest.approx(3), None, None, 1)
    failed = report.total["failed_share"]
    assert (failed.low, failed.high) == (0, pytest.approx(0.11, abs=0.005))  # Wilson: none of 31


def test_more_weeks_than_groups_are_a_trend_all_the_same(tmp_path):
    calls = [call(f"{i}.wav", [(0, 5)], day=7 * i) for i in range(210)]
    assert len(report_of(write_results(tmp_path / "out", *calls)).days) == 210


def test_columns_of_metadata_may_be_called_anything(results, tmp_path):
    names = [
        "done",
        "x",
        "two_sided",
        "tail_s",
        "ends_scored",
        "calls",
        "day",
        'a"b',
        "a b",
        "[/b]",
        "=cmd",
        "p_angry_s",
    ]
    text = ",".join(["path", *(f'"{n.replace(chr(34), chr(34) * 2)}"' for n in names)])
    (tmp_path / "m.csv").write_text(text + "\nbilling/storm.wav" + ",[red]v[/b]" * len(names) + "\n")
    for name in ("done", "x", 'a"b', "[/b]", "meta_day"):
        report = report_of(results, inputs=MetadataInputs(tmp_path / "m.csv"), by=name)
        assert {key: group.recordings for key, group in report.groups.items()} == {"[red]v[/b]": 1, None: 3}
        assert "[red]v[/b]" in text_of(page(report))


def test_recordings_that_had_vanished_have_no_time_and_break_nothing(tmp_path):
    gone = call("gone.wav", error="there is no such file")
    gone.recording["modified_at"] = None
    for name, calls in (("all", [gone]), ("some", [gone, call("a.wav", [(0, 5)], [(6, 9)], [(6, 9, {"angry": 0.9})])])):
        directory = write_results(tmp_path / name, *calls)
        report = report_of(directory)
        assert text_of(page(report))
        assert draw_plots(report, tmp_path / f"plots-{name}") is not None
        done = ser("report", directory, "--html", tmp_path / f"{name}.html", "--since", "")
        assert done.returncode == 2
        assert "'' is no time" in done.stderr
        assert ser("report", directory, "--html", tmp_path / f"{name}.html").returncode == 0


def test_a_reader_that_leaves_early_is_no_error(results):
    command = f"{sys.executable} -m ser_batch report {results} --format json | head -1"
    done = subprocess.run(["bash", "-c", command], capture_output=True, text=True)
    assert (done.stdout, done.stderr) == ("{\n", "")


def test_asking_for_a_call_by_name(results):
    assert "billing/storm.wav" in ser("report", results, "--call", "storm.wav").stdout
    done = ser("report", results, "--call", "nobody.wav")
    assert done.returncode == 2
    assert "there is no such call here" in done.stderr
    storm = json.loads(ser("report", results, "--call", "billing/storm.wav", "--format", "json").stdout)
    assert (storm["talk_overs"][0]["by"], len(storm["segments"]), storm["moments"][0]["start_s"]) == (1, 4, 80)
    assert "failed: the file is empty" in ser("report", results, "--call", "delivery/broken.wav").stdout


def test_reporting_loads_neither_torch_nor_librosa(results):
    code = (
        "import sys; from ser_batch.cli.app import app\n"
        f"try: app(['report', {str(results)!r}, '--html', {str(results / 'r.html')!r}])\n"
        "except SystemExit: pass\n"
        "assert not {'torch', 'librosa', 'torchaudio'} & set(sys.modules)"
    )
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True).stderr.count("Error") == 0


def test_figures_do_not_depend_on_the_order_of_recordings(tmp_path):
    calls = [call(f"{i}.wav", scored=[(0, 10, {"angry": i / 40})]) for i in range(20)]
    values = []
    for name, order in (("a", calls), ("b", calls[::-1])):
        with connect() as connection:
            measure(connection, open_results(write_results(tmp_path / name, *order)))
            values.append(figures_by(connection, LABELS)[None]["angry_share"])
    assert values[0].low == pytest.approx(values[1].low)
    assert values[0].value == pytest.approx(values[1].value)


def test_a_clock_reads_minutes_and_hours():
    assert [clock(s) for s in (0, 61, 3600, 36061)] == ["00:00", "01:01", "1:00:00", "10:01:01"]


# Machado, Oliveira & Fernandes (2009), severity 1: what a colour blind person sees, in linear RGB.
_SEEN = {
    "normal": np.eye(3),
    "protanopia": np.array(
        [[0.152286, 1.052583, -0.204868], [0.114503, 0.786281, 0.099216], [-0.003882, -0.048116, 1.051998]]
    ),
    "deuteranopia": np.array(
        [[0.367322, 0.860646, -0.227968], [0.280085, 0.672501, 0.047413], [-0.011820, 0.042940, 0.968881]]
    ),
    "tritanopia": np.array(
        [[1.255528, -0.076749, -0.178779], [-0.078411, 0.930809, 0.147602], [0.004733, 0.691367, 0.303900]]
    ),
}


def _lab(rgb: np.ndarray) -> np.ndarray:
    """CIE L*a*b* (D65) of linear RGB."""
    xyz = np.clip(rgb, 0, 1) @ np.array([[0.4124, 0.2126, 0.0193], [0.3576, 0.7152, 0.1192], [0.1805, 0.0722, 0.9505]])
    t = xyz / (0.9505, 1.0, 1.089)
    f = np.where(t > 0.008856, np.cbrt(t), 7.787 * t + 16 / 116)
    return np.array([116 * f[1] - 16, 500 * (f[0] - f[1]), 200 * (f[1] - f[2])])


@pytest.mark.parametrize("sight", _SEEN)
def test_colours_of_emotions_are_told_apart_with_every_kind_of_sight(sight):
    seen = {}
    for label, colour in COLOURS.items():
        srgb = np.array([int(colour[i : i + 2], 16) for i in (1, 3, 5)]) / 255
        linear = np.where(srgb <= 0.04045, srgb / 12.92, ((srgb + 0.055) / 1.055) ** 2.4)
        seen[label] = _lab(_SEEN[sight] @ linear)
    names = list(seen)
    distances = {(a, b): np.linalg.norm(seen[a] - seen[b]) for i, a in enumerate(names) for b in names[i + 1 :]}
    closest = min(distances, key=lambda pair: distances[pair])
    assert distances[closest] > 10, closest


def test_calls_of_no_known_start_lie_in_no_period_and_are_named(tmp_path):
    calls = [call(f"{i}.wav", scored=[(0, 10, {"angry": 0.1})], day=i) for i in range(3)]
    directory = write_results(tmp_path / "out", *calls)
    (tmp_path / "m.csv").write_text("path,started_at\n0.wav,2026-03-02T10:00\n")
    inputs = MetadataInputs(tmp_path / "m.csv")
    whole = report_of(directory, undated=False, inputs=inputs)
    assert whole.total.recordings == 3
    assert list(whole.days) == ["2026-03-02"]
    assert any(
        "no started_at is known of 2 of 3 recordings: no day or hour counts them" in note for note in whole.notes
    )
    march = {"inputs": inputs, "since": datetime(2026, 3, 1)}
    dated = report_of(directory, undated=False, **march)
    assert dated.total.recordings == 1
    assert any("when 2 recordings (1.wav, 2.wav) began: left out of the period" in note for note in dated.notes)
    assert report_of(directory, undated=True, **march).total.recordings == 3


def test_against_a_period_without_calls_nothing_is_said_to_have_changed(tmp_path):
    directory = write_results(tmp_path / "out", call("a.wav", scored=[(0, 10, {"angry": 0.1})]))
    report = report_of(directory, compare="2020-01-01..2020-01-02")
    with make_report(open_results(directory), Options(undated=True, compare="2020-01-01..2020-01-02")) as opened:
        written = write_html(opened, str(tmp_path / "page.html")).read_text("utf-8").split("<main>")[1]
    for text in (text_of(page(report)), to_markdown(report), written.split("<script")[0]):
        assert "nothing to compare with" in text
        assert "hanged" not in text


def test_today_until_nine_is_compared_with_yesterday_until_nine(tmp_path):
    """And a week with the same weekdays of the week before, until the same hour."""
    since, until = datetime(2026, 3, 10), datetime(2026, 3, 10, 9)
    calls, rows = [], ["path,started_at"]
    for hour in range(48):
        calls.append(call(f"{hour}.wav", scored=[(0, 10, {"angry": 0.1})]))
        rows.append(f"{hour}.wav,{datetime(2026, 3, 9) + timedelta(hours=hour):%Y-%m-%dT%H:%M}")
    (tmp_path / "m.csv").write_text("\n".join(rows) + "\n")
    directory = write_results(tmp_path / "out", *calls)
    options = {"inputs": MetadataInputs(tmp_path / "m.csv"), "compare": "previous"}
    today = report_of(directory, since=since, until=until, **options)
    assert (today.total.recordings, today.comparison.recordings) == (9, 9)
    assert today.comparison.against == "2026-03-09 00:00 to 2026-03-09 09:00"
    week = report_of(directory, since=datetime(2026, 3, 3), until=until, **options)
    assert week.comparison.against == "2026-02-23 00:00 to 2026-03-02 09:00"


def test_days_are_those_of_the_time_zone_that_is_asked_for(tmp_path):
    calls = [call(name, scored=[(0, 10, {})]) for name in ("a.wav", "b.wav", "c.wav")]
    directory = write_results(tmp_path / "out", *calls)
    # A quarter to midnight in UTC, written as such and in seconds since 1970; the third is wall-clock time anyway.
    (tmp_path / "m.csv").write_text(
        "path,started_at\na.wav,2026-03-02T23:45:00Z\nb.wav,1772495100\nc.wav,2026-03-02T23:45\n"
    )
    by_zone = {}
    for name in ("UTC", "Europe/Berlin"):
        report = report_of(directory, inputs=MetadataInputs(tmp_path / "m.csv", zone=find_zone(name)))
        by_zone[name] = {day: group.recordings for day, group in report.days.items()}
        assert report.timezone == name
    assert by_zone == {"UTC": {"2026-03-02": 3}, "Europe/Berlin": {"2026-03-02": 1, "2026-03-03": 2}}
    done = ser("report", directory, "--timezone", "Mars/Olympus")
    assert (done.returncode, "there is no such time zone" in done.stderr) == (2, True)


def test_fewer_agents_than_five_give_no_interval_and_a_note_says_so(tmp_path):
    """However many calls they have, and however the column is spelt."""
    rng = np.random.default_rng(6)
    calls = [call(f"{i}.wav", scored=[(0, 10, {"angry": float(p)})]) for i, p in enumerate(rng.beta(2, 6, 40))]
    rows = ["path,Agent", *(f"{i}.wav,agent {i % 4}" for i in range(40))]
    (tmp_path / "m.csv").write_text("\n".join(rows) + "\n")
    report = report_of(write_results(tmp_path / "out", *calls), inputs=MetadataInputs(tmp_path / "m.csv"))
    assert (report.cluster, report.total["angry_share"].low) == ("Agent", None)
    assert any("intervals go by Agent (4)" in note and "fewer than 5 give none" in note for note in report.notes)


def test_what_an_agent_does_in_all_other_groups_is_one_unit_of_the_rest(tmp_path):
    rng = np.random.default_rng(7)
    drawn = [(f"{i}.wav", f"queue {i % 3}", f"agent {i % 7}", float(p)) for i, p in enumerate(rng.beta(2, 6, 60))]
    calls = [call(name, scored=[(0, 10, {"angry": p})]) for name, _, _, p in drawn]
    rows = ["path,queue,agent", *(f"{name},{queue},{agent}" for name, queue, agent, _ in drawn)]
    (tmp_path / "m.csv").write_text("\n".join(rows) + "\n")
    options = Options(inputs=MetadataInputs(tmp_path / "m.csv"))
    with connect() as connection:
        measure(connection, open_results(write_results(tmp_path / "out", *calls)), options)
        groups = figures_by(connection, LABELS, "queue", cluster="agent")
        found = chances_against_the_rest(connection, LABELS, groups, "queue", ["angry_share"], "agent")

    def estimated(chosen) -> Estimates:
        """The angry share of some calls, added up by agent."""
        by_agent: dict[str, list[float]] = {}
        for _, _, agent, p in chosen:
            by_agent.setdefault(agent, []).append(p)
        over, n = (np.array([f(v) for v in by_agent.values()], float)[:, None] for f in (sum, len))
        return estimate(Units(10 * over, 10 * n, n), [Scale.logit], are_recordings=False)

    for queue in groups:
        own, rest = (estimated([d for d in drawn if (d[1] == queue) is inside]) for inside in (True, False))
        expected = p_values(lambda level, a=own, b=rest: difference_limits(a, b, level), 1)[0]
        assert found[queue, "angry_share"] == pytest.approx(expected, rel=1e-3)


HOT, COOL = [(0, 20, {"angry": 0.9})], [(0, 20, {"angry": 0.02})]
SAYINGS: dict[str, tuple[list, list[str], list[str]]] = {
    # What there is, what the report must say of it, and what it must not.
    "nothing at all": ([], ["there is no recording"], ["Emotions", "stands out", "Conversation"]),
    "all failed": ([call("a.wav", error="broken")], ["0 done, 1 failed", "nothing was scored"], ["Emotions", "stands out"]),
    "nobody speaks": (
        [call("a.wav")], ["not scored: 1 analysed recording (1: no speech)"], ["Emotions", "stands out"],
    ),
    "one calm call": ([call("a.wav", scored=COOL)], ["Nothing stands out"], ["worth listening", " to 0.", "calm", "half of the calls"]),
    "one angry call": ([call("a.wav", scored=HOT)], ["worth listening", "anger for 20 s"], ["Nothing stands out"]),
    "the model is sure of nothing": (
        [call("a.wav", scored=[(0, 20, {"angry": 0.35, "happy": 0.3})])],
        ["no label for 100% of the time", "too unsure for any label: 1 recording"], ["worth listening"],
    ),
    "no roles": (
        [call("a.wav", scored=HOT, roles=(None, None), scored_role="agent")], ["everyone's emotions"], ["customers'", "agent talk"],
    ),
    "no known start": ([call("a.wav", scored=COOL)], ["no started_at is known of 1 recording: no day"], ["Trend"]),
}  # fmt: skip


@pytest.mark.parametrize("case", SAYINGS)
def test_a_report_says_no_more_than_it_knows(tmp_path, case):
    calls, said, unsaid = SAYINGS[case]
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
        written = html.unescape(write_html(opened, str(tmp_path / "page.html")).read_text("utf-8"))
    markdown = to_markdown(report).replace("\\", "")
    for note in report.notes:
        assert note in written
        assert " ".join(note.split()) in markdown
    if "Nothing stands out" in said:
        assert "Nothing stands out" in markdown


def test_a_model_of_one_label_has_a_report_that_claims_no_distress(tmp_path, monkeypatch):
    monkeypatch.setattr("tests.results_fixture.LABELS", ("neutral",))
    made = call("a.wav", scored=[(0, 20, {"neutral": 1.0})])
    directory = write_results(tmp_path / "out", made, identity=Identity("one@1", "c", ("neutral",)))
    with make_report(open_results(directory)) as opened:
        said = text_of(page(opened.report), 400)
    assert "neutral" in said
    assert not {"distress", "worth listening", "valence -"} & {
        w for w in ("distress", "worth listening", "valence -") if w in said
    }
